/* exchange_body.c -- the body of a request, as services see it: peeked at on the front, or read by a worker, gzip
 * undone.
 *
 * WHAT     Bytes come from the pipe (body_pipe.h), which the front fills as it reads. An encoded body goes through
 *          inflate.h.
 * WHY      Small bodies are the rule and are whole in the pipe before handle() runs, so a front thread may look at
 *          them; a large one streams, with the client held back by TCP as soon as the pipe is full.
 * RULES    1. What comes out of gzip counts against limits.request_body as what goes in does: a bomb is refused, not
 *             stored.
 *          2. A failure stays: whoever reads on gets it again.
 *          3. Peeking takes nothing away; a worker that reads later begins at the first byte.
 * THREADS  The owner's; reading blocks, so it is for workers. */
#include "core/front_priv.h"

#include "base/err.h"

#define PEEK_BYTES (256 * 1024) /* an inflated body above this goes to a worker */
#define RAW_BYTES (16 * 1024)

int64_t exchange_body_announced(const struct exchange *ex)
{
	return ex->head.body;
}

bool exchange_body_is_encoded(const struct exchange *ex)
{
	return ex->body_encoded;
}

int exchange_body_peek(struct exchange *ex, struct slice *ret)
{
	struct inflate *inf;
	struct slice raw;
	int r;

	if (ex->head.body == 0) {
		*ret = (struct slice){ "", 0 };
		return 0;
	}
	if (atomic_load(&ex->wants_continue) || !body_pipe_peek(&ex->body, &raw))
		return -EAGAIN;
	if (ex->body_unknown_coding)
		return WEIR_E_PROTOCOL;
	if (!ex->body_encoded) {
		*ret = raw;
		return 0;
	}
	buf_fini(&ex->peeked);
	buf_init(&ex->peeked, PEEK_BYTES);
	inf = inflate_new(ex->body_limit);
	r = inflate_feed(inf, raw.p, raw.n, &ex->peeked);
	if (r == 0)
		r = inflate_finish(inf);
	inflate_free(&inf);
	if (r == WEIR_E_TOO_LARGE && ex->body_limit > PEEK_BYTES)
		return -EAGAIN;
	if (r < 0)
		return r;
	*ret = buf_slice(&ex->peeked);
	return 0;
}

static ssize_t take_raw(struct exchange *ex, char *into, size_t room)
{
	bool resume;
	ssize_t n;

	if (ex->body_error)
		return ex->body_error;
	if (ex->head.body == 0)
		return 0;
	if (atomic_exchange(&ex->wants_continue, false))
		loop_post(ex->front->loop, conn_continue, ex);
	n = body_pipe_take(&ex->body, into, room, &resume);
	if (resume)
		/* in the mail before our reply, so the exchange is there */
		loop_post(ex->front->loop, conn_resume_body, ex);
	if (n < 0)
		ex->body_error = (int)n;
	return n;
}

ssize_t exchange_body_read_raw(struct exchange *ex, char *into, size_t room)
{
	ENSURE(!loop_is_front());
	return take_raw(ex, into, room);
}

/* Fills `inflated`. 1: something is there; 0: the end; or the failure. */
static int inflate_more(struct exchange *ex)
{
	size_t taken;
	ssize_t n;
	int r;

	if (!ex->inflate)
		ex->inflate = inflate_new(ex->body_limit);
	buf_reset(&ex->inflated);
	ex->inflated_at = 0;
	while (!ex->inflated.len) {
		if (ex->raw_at == ex->raw.len) {
			if (ex->raw_ended)
				return inflate_finish(ex->inflate);
			buf_reset(&ex->raw);
			ex->raw_at = 0;
			n = take_raw(ex, buf_reserve(&ex->raw, RAW_BYTES), RAW_BYTES);
			if (n < 0)
				return (int)n;
			ex->raw.len = (size_t)n;
			ex->raw_ended = n == 0;
		}
		r = inflate_feed_some(ex->inflate, ex->raw.data + ex->raw_at, ex->raw.len - ex->raw_at,
				      EXCHANGE_FRONT_BODY, &ex->inflated, &taken);
		if (r < 0)
			return r;
		ex->raw_at += taken;
	}
	return 1;
}

ssize_t exchange_body_read(struct exchange *ex, char *into, size_t room)
{
	size_t n;
	int r;

	ENSURE(!loop_is_front());
	if (ex->body_error)
		return ex->body_error;
	if (ex->body_unknown_coding && ex->head.body != 0)
		return ex->body_error = WEIR_E_PROTOCOL;
	if (!ex->body_encoded || ex->head.body == 0)
		return take_raw(ex, into, room);
	if (ex->inflated_at == ex->inflated.len) {
		r = inflate_more(ex);
		if (r <= 0)
			return ex->body_error = r;
	}
	n = ex->inflated.len - ex->inflated_at < room ? ex->inflated.len - ex->inflated_at : room;
	memcpy(into, ex->inflated.data + ex->inflated_at, n);
	ex->inflated_at += n;
	return (ssize_t)n;
}

int exchange_body_read_all(struct exchange *ex, struct buf *out)
{
	char piece[8192];
	ssize_t n;

	while ((n = exchange_body_read(ex, piece, sizeof(piece))) > 0) {
		buf_add(out, piece, (size_t)n);
		if (buf_error(out))
			return buf_error(out);
	}
	return (int)n;
}
