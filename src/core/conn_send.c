/* conn_send.c -- an answer on its way out.
 *
 * WHAT     Puts the head together and sends it with the body: a blob by the same writev(2), a spool by sendfile(2) as
 *          it grows, in chunks when its length is not known (RFC 9112 7.1), until close for HTTP/1.0.
 * WHY      Most answers are small and fit the socket's buffer, so the first write is tried at once, from memory shared
 *          by all connections; only what is left over is kept with the connection.
 * RULES    1. A spool that failed, or ended short of the announced length, ends in a reset: never in what looks like a
 *             whole answer.
 *          2. No turn of the loop sends more than TURN_BYTES for one client while others wait.
 * THREADS  The front's; a spool's note comes from any thread and only posts. */
#include "core/front_priv.h"

#include "base/clock.h"
#include "base/err.h"

#define TURN_BYTES (4 * 1024 * 1024)
#define SMALL_BYTES 1024
#define CHUNK_BYTES (1024 * 1024 * 1024) /* a chunk is as large as what the spool has; this keeps sums small */

/* --- the head --- */

static void add_number(struct buf *b, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + n % 10);
	while (n /= 10);
	buf_add(b, digits + at, sizeof(digits) - at);
}

static void add_date(struct front *f)
{
	int64_t now_s = clock_wall_ms() / 1000;

	if (now_s != f->date_s || !f->date.len) {
		buf_reset(&f->date);
		clock_format_http(now_s * 1000, &f->date);
		f->date_s = now_s;
	}
	buf_add_str(&f->head, "Date: ");
	buf_add_slice(&f->head, buf_slice(&f->date));
	buf_add_str(&f->head, "\r\n");
}

static bool status_has_body(int status)
{
	return status >= 200 && status != 204 && status != 304; /* RFC 9110 6.4.1 */
}

static void add_length(struct buf *h, uint64_t bytes)
{
	buf_add_str(h, "Content-Length: ");
	add_number(h, bytes);
	buf_add_str(h, "\r\n");
}

/* Content-Length, or chunked, or the end of the connection. Returns whether a body follows. */
static bool add_framing(struct conn *c, struct exchange *ex)
{
	struct buf *h = &c->front->head;
	int64_t length = ex->spool ? ex->total_bytes : ex->blob ? (int64_t)blob_slice(ex->blob).n : 0;

	c->chunked = c->last_chunk = false;
	if (ex->head_only && ex->status != 204 && ex->total_bytes >= 0) /* RFC 9110 8.6: never in a 204 */
		add_length(h, (uint64_t)ex->total_bytes);
	if (ex->head_only || !status_has_body(ex->status))
		return false;
	if (length >= 0) {
		add_length(h, (uint64_t)length);
	} else if (exchange_is_head(ex)) {
		return false; /* the length that GET would have is not known: RFC 9110 8.6 lets it out */
	} else if (ex->head.minor == 1) {
		buf_add_str(h, "Transfer-Encoding: chunked\r\n");
		c->chunked = true;
	} else {
		c->close_after = true;
	}
	return !exchange_is_head(ex) && length != 0;
}

/* Returns whether a body follows. */
static bool build_head(struct conn *c, struct exchange *ex)
{
	struct buf *h = &c->front->head;
	bool body;

	buf_reset(h);
	buf_add_str(h, "HTTP/1.1 ");
	add_number(h, (uint64_t)ex->status);
	buf_add_char(h, ' ');
	buf_add_str(h, http_status_text(ex->status));
	buf_add_str(h, "\r\n");
	if (!ex->has_date)
		add_date(c->front);
	buf_add_slice(h, buf_slice(&ex->lines));
	body = add_framing(c, ex);
	if (c->close_after)
		buf_add_str(h, "Connection: close\r\n");
	else if (ex->head.minor == 0)
		buf_add_str(h, "Connection: keep-alive\r\n");
	buf_add_str(h, "X-Request-Id: ");
	buf_add_str(h, ex->id);
	buf_add_str(h, "\r\n\r\n");
	return body;
}

/* --- sending --- */

static struct slice blob_rest(const struct conn *c)
{
	if (!c->ex->blob)
		return (struct slice){ NULL, 0 };
	return slice_from(blob_slice(c->ex->blob), c->body_at);
}

/* The first write: head and blob at once. 0, or -errno. */
static int send_first(struct conn *c)
{
	struct buf *h = &c->front->head;
	struct slice body = blob_rest(c);
	struct iovec iov[2] = { { h->data, h->len }, { (void *)(uintptr_t)body.p, body.n } }; /* only read */
	size_t done;
	ssize_t n;

	if (body.n && body.n <= SMALL_BYTES) { /* copying is cheaper than a vector */
		buf_add_slice(h, body);
		iov[0] = (struct iovec){ h->data, h->len };
		c->body_at = c->sent = body.n;
		body.n = 0;
	}
	n = stream_writev(&c->stream, iov, body.n ? 2 : 1, false);

	if (n < 0 && n != -EAGAIN)
		return (int)n;
	done = n < 0 ? 0 : (size_t)n;
	if (done < h->len) {
		buf_add(&c->out, h->data + done, h->len - done);
	} else if (done > h->len) {
		c->body_at = c->sent = done - h->len;
	}
	return 0;
}

/* What waits in `out`, then the blob. 1 when all is out, 0 when the socket is full, -errno. */
static int send_memory(struct conn *c)
{
	for (;;) {
		struct slice body = blob_rest(c);
		size_t head = c->out.len - c->out_at;
		struct iovec iov[2] = { { c->out.data + c->out_at, head }, { (void *)(uintptr_t)body.p, body.n } };
		ssize_t n;

		if (!head && !body.n)
			break;
		n = stream_writev(&c->stream, head ? iov : iov + 1, head && body.n ? 2 : 1, c->piece_left > 0);
		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		if ((size_t)n < head) {
			c->out_at += (size_t)n;
			continue;
		}
		c->out_at += head;
		c->body_at += (size_t)n - head;
		c->sent += (size_t)n - head;
	}
	buf_reset(&c->out);
	c->out_at = 0;
	return 1;
}

enum next { NEXT_SEND, NEXT_WAIT, NEXT_DONE, NEXT_CUT };

static void queue_chunk(struct conn *c, uint64_t size)
{
	if (c->body_at)
		buf_add_str(&c->out, "\r\n"); /* ends the chunk before */
	buf_addf(&c->out, "%llx\r\n", (unsigned long long)size);
	if (!size)
		buf_add_str(&c->out, "\r\n"); /* no trailers */
}

/* What comes after the bytes that are out: asks the spool. */
static enum next next_piece(struct conn *c)
{
	struct exchange *ex = c->ex;
	uint64_t bytes = 0, most = CHUNK_BYTES, end = ex->spool_from + (uint64_t)ex->total_bytes;
	enum spool_state state;
	int err = 0;

	if (!ex->spool || c->last_chunk || (ex->total_bytes >= 0 && c->body_at == end))
		return NEXT_DONE;
	state = spool_peek(ex->spool, &bytes, &err);
	if (state == SPOOL_FAILED)
		return NEXT_CUT; /* rule 1 */
	if (ex->total_bytes >= 0 && end - c->body_at < most)
		most = end - c->body_at;
	if (bytes > c->body_at) {
		c->piece_left = bytes - c->body_at < most ? bytes - c->body_at : most;
		if (c->chunked)
			queue_chunk(c, c->piece_left);
		return NEXT_SEND;
	}
	if (state == SPOOL_GROWING)
		return NEXT_WAIT;
	if (ex->total_bytes >= 0)
		return NEXT_CUT; /* rule 1: short */
	if (!c->chunked)
		return NEXT_DONE;
	queue_chunk(c, 0);
	c->last_chunk = true;
	return NEXT_SEND;
}

static void spool_changed(void *arg);

/* How much may be sent from the file without waiting for a disk; 0: it is being read, and the mail will tell. */
static uint64_t resident_bytes(struct conn *c)
{
	struct exchange *ex = c->ex;

	if (ex->watch)
		return UINT64_MAX; /* it grows: what it has was written a moment ago */
	if (c->resident_to <= c->body_at) {
		if (!read_ahead_is_needed(spool_fd(ex->spool), c->body_at)) {
			c->resident_to = c->body_at + READ_AHEAD_WINDOW;
		} else if (atomic_exchange(&ex->noted, true)) {
			return 0; /* it is on its way */
		} else {
			c->resident_to = c->body_at + READ_AHEAD_BYTES;
			read_ahead_start(c->front->server->read_ahead, ex->spool, c->body_at, c->front->loop,
					 spool_changed, ex);
			return 0;
		}
	}
	return c->resident_to - c->body_at;
}

/* Of the piece under way, from the file. 1 when it is out, 0 when the socket is full or the turn is over, -EINPROGRESS
 * when the disk is asked, -errno. */
static int send_file(struct conn *c, uint64_t *turn_left)
{
	while (c->piece_left) {
		size_t want = c->piece_left < *turn_left ? (size_t)c->piece_left : (size_t)*turn_left;
		uint64_t resident;
		ssize_t n;

		if (!want) {
			c->stream.wait = LOOP_WRITE;
			return 0;
		}
		resident = resident_bytes(c);
		if (!resident)
			return -EINPROGRESS;
		if (want > resident)
			want = (size_t)resident;
		n = stream_sendfile(&c->stream, spool_fd(c->ex->spool), c->body_at, want, c->front->read_buf,
				    FRONT_READ_BYTES);
		if (n == 0)
			return -EIO; /* shorter than the spool says */
		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		c->body_at += (uint64_t)n;
		c->sent += (uint64_t)n;
		c->piece_left -= (uint64_t)n;
		*turn_left -= (uint64_t)n;
	}
	return 1;
}

bool conn_pump(struct conn *c)
{
	uint64_t turn_left = TURN_BYTES;
	int r;

	for (;;) {
		r = send_memory(c);
		if (r > 0)
			r = send_file(c, &turn_left);
		if (r == -EINPROGRESS) {
			conn_wait(c, CONN_WAIT_IDLE, 0);
			return true;
		}
		if (r < 0) {
			conn_cut(c);
			return false;
		}
		if (r == 0) {
			conn_wait(c, CONN_WAIT_SEND, c->front->limits.send_timeout_ms);
			return true;
		}
		switch (next_piece(c)) {
		case NEXT_SEND:
			break;
		case NEXT_WAIT:
			conn_wait(c, CONN_WAIT_IDLE, 0);
			return true;
		case NEXT_CUT:
			conn_cut(c);
			return false;
		case NEXT_DONE:
			conn_sent(c);
			return c->state != CONN_CLOSED;
		}
	}
}

/* --- spools --- */

static void spool_changed(void *arg)
{
	struct exchange *ex = arg;
	struct conn *c;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	atomic_store(&ex->noted, false);
	if (ex->ended) {
		exchange_free(ex);
		return;
	}
	c = ex->conn;
	if (c->state == CONN_SENDING && c->waits_for != CONN_WAIT_SEND && conn_pump(c))
		conn_arm(c);
}

static void note(void *arg)
{
	struct exchange *ex = arg;

	if (!atomic_exchange(&ex->noted, true))
		loop_post(ex->front->loop, spool_changed, ex);
}

/* The head waits in `out`, so that it leaves together with the first bytes of the spool. 0, or -EIO when the spool has
 * failed already. */
static int begin_spool(struct conn *c, struct exchange *ex)
{
	uint64_t bytes;
	int err;

	if (spool_peek(ex->spool, &bytes, &err) == SPOOL_GROWING)
		ex->watch = spool_watch(ex->spool, note, ex);
	buf_add_slice(&c->out, buf_slice(&c->front->head));
	return next_piece(c) == NEXT_CUT ? -EIO : 0;
}

/* --- the reply has come back to its front --- */

void conn_answer(void *arg)
{
	struct exchange *ex = arg;
	struct conn *c;
	bool body;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	c = ex->conn;
	OBJ_CHECK(c, CONN_MAGIC);
	ENSURE(c->ex == ex && c->state == CONN_HANDLING);
	if (c->dead) {
		exchange_finish(ex, 0, false);
		exchange_free(ex);
		c->ex = NULL;
		conn_close(c);
		return;
	}
	c->state = CONN_SENDING;
	c->sent = c->piece_left = c->resident_to = 0;
	c->body_at = ex->spool_from;
	if (ex->dropped) { /* though the client is there: nothing to say to it */
		conn_cut(c);
		return;
	}
	if (!ex->head.keep_alive || c->body_open || c->front->stopping)
		c->close_after = true;
	body = build_head(c, ex);
	if (!body) {
		blob_unref(&ex->blob);
		spool_unref(&ex->spool);
	}
	if ((ex->spool ? begin_spool(c, ex) : send_first(c)) < 0)
		conn_cut(c);
	else if (conn_pump(c))
		conn_arm(c);
}
