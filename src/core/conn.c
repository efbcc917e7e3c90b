/* conn.c -- a client's connection: reading requests, one exchange at a time.
 *
 * WHAT     The states of front_priv.h's drawing. Bytes come in at conn_read(), go through the parser in conn_run(),
 *          become an exchange that is given to the listener's handler; conn_send.c sends the reply and comes back by
 *          conn_sent().
 * WHY      One exchange at a time makes pipelining right by construction: the rest of what was read waits in `in`, and
 *          no more is read, so that a client is held back by TCP.
 * RULES    1. Whoever calls something that may end the connection looks at its state afterwards; the memory is there
 *             until the end of the loop's turn (conn_life.c).
 *          2. The watch is changed as rarely as possible, each change being two system calls: reading stays armed while
 *             an exchange is handled, and is put to sleep only when bytes really come at that time.
 * THREADS  The front's.
 * SEE      RFC 9112 sections 9.3 to 9.6 */
#include "core/front_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define LINGER_MS 2000 /* for the peer to read our last answer and to close: RFC 9112 9.6 */

/* Our last byte is written: lets the peer read it, throws away what it still sends, then closes. */
static void linger(struct conn *c)
{
	if (c->peer_ended) {
		conn_close(c);
		return;
	}
	c->state = CONN_LINGER;
	buf_fini(&c->in);
	stream_finish(&c->stream);
	conn_wait(c, CONN_WAIT_LINGER, LINGER_MS);
}

/* --- what to wait for --- */

void conn_wait(struct conn *c, int what, int64_t ms)
{
	c->waits_for = what;
	c->deadline_ms = ms ? clock_mono_ms() + ms : 0;
}

static bool wants_input(const struct conn *c)
{
	if (c->peer_ended || c->dead)
		return false;
	switch (c->state) {
	case CONN_READING:
	case CONN_LINGER:
		return true;
	case CONN_HANDLING:
		return c->body_open && !c->body_full && !atomic_load(&c->ex->wants_continue);
	case CONN_SENDING:
	case CONN_CLOSED:
		break;
	}
	return false;
}

void conn_arm(struct conn *c)
{
	unsigned want = 0;

	if (c->state == CONN_CLOSED || c->dead || !c->watch)
		return;
	switch (c->state) {
	case CONN_READING:
	case CONN_HANDLING:
		want = LOOP_GONE | (wants_input(c) ? LOOP_READ : c->armed & LOOP_READ);
		if (wants_input(c) && c->stream.wait == LOOP_WRITE)
			want |= LOOP_WRITE; /* a TLS handshake wants to be written */
		break;
	case CONN_SENDING:
		if (c->waits_for == CONN_WAIT_SEND)
			want = c->stream.wait;
		else /* for the spool to grow */
			want = LOOP_GONE | (c->armed & LOOP_READ);
		break;
	case CONN_LINGER:
		want = LOOP_READ;
		break;
	case CONN_CLOSED:
		break;
	}
	if (want != c->armed)
		loop_watch_set(c->watch, want);
	c->armed = want;
}

/* --- a request --- */

static void answer_options(struct exchange *ex)
{
	static const struct header_line allow = { "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" };

	exchange_reply(ex, 204, &allow, 1, NULL); /* RFC 9110 9.3.7: "*" is the server as a whole */
}

static void refuse_connect(struct exchange *ex)
{
	reply_refusal(ex, HTTP_REFUSE_CONNECT);
}

/* Runs fn(ex) and, if it replied, sends that. Afterwards the exchange may be gone. */
static void call(struct conn *c, struct exchange *ex, exchange_fn *fn)
{
	bool was_running = c->running;

	c->running = true;
	c->reply_here = false;
	fn(ex);
	if (c->reply_here) {
		c->reply_here = false;
		conn_answer(ex);
	}
	c->running = was_running;
}

void conn_call(struct exchange *ex, exchange_fn *fn)
{
	struct conn *c = ex->conn;

	OBJ_CHECK(c, CONN_MAGIC);
	call(c, ex, fn);
	if (c->state == CONN_READING)
		conn_sent(c); /* it kept still while running */
	conn_arm(c);
}

static void dispatch(struct conn *c)
{
	struct exchange *ex = c->ex;
	exchange_fn *fn = c->listener->handle;

	c->state = CONN_HANDLING;
	ex->started_us = clock_mono_us();
	conn_wait(c, CONN_WAIT_BODY, c->body_open && wants_input(c) ? c->front->limits.body_timeout_ms : 0);
	if (ex->head.form == HTTP_FORM_ASTERISK)
		fn = answer_options;
	else if (ex->head.form == HTTP_FORM_AUTHORITY && !c->listener->absolute_form)
		fn = refuse_connect;
	call(c, ex, fn);
}

static void refuse_now(struct conn *c, struct exchange *ex, enum http_refuse why)
{
	bool was_running = c->running;

	c->running = true;
	c->close_after = true;
	c->state = CONN_HANDLING;
	reply_refusal(ex, why);
	c->reply_here = false;
	conn_answer(ex);
	c->running = was_running;
}

void conn_refuse(struct conn *c, enum http_refuse why)
{
	if (!c->ex)
		c->ex = exchange_new(c);
	refuse_now(c, c->ex, why);
}

static bool check_rules(struct conn *c, struct exchange *ex, enum http_refuse *ret)
{
	const struct listener *l = c->listener;
	struct slice origin;

	/* Invariant 13. With absolute_form the target names a host elsewhere, which is the service's business. */
	if (l->check_host && l->loopback && (ex->head.form == HTTP_FORM_ORIGIN ||
	    (ex->head.form == HTTP_FORM_ABSOLUTE && !l->absolute_form)) && !host_is_ours(l, ex->head.authority)) {
		*ret = HTTP_REFUSE_MISDIRECTED;
		return false;
	}
	origin = http_head_get(&ex->head, "origin");
	if (l->check_origin && origin.p && !origin_is_ours(origin, ex->head.authority)) {
		*ret = HTTP_REFUSE_ORIGIN;
		return false;
	}
	if (ex->head.body > 0 && (uint64_t)ex->head.body > ex->body_limit) {
		*ret = HTTP_REFUSE_BODY_LARGE;
		return false;
	}
	return true;
}

static void on_head(struct conn *c, struct slice piece)
{
	struct exchange *ex = c->ex = exchange_new(c);
	enum http_refuse why;

	buf_add_slice(&ex->head_bytes, piece);
	if (http_parse_head(&c->parse, buf_slice(&ex->head_bytes), &ex->head) < 0) {
		conn_refuse(c, c->parse.refusal);
		return;
	}
	exchange_set_head(ex);
	c->body_open = ex->head.body != 0;
	c->body_full = false;
	c->body_seen = 0;
	if (!check_rules(c, ex, &why)) {
		conn_refuse(c, why);
		return;
	}
	if (c->body_open && atomic_load(&ex->wants_continue))
		dispatch(c); /* whoever answers may not want the body at all */
	else if (c->body_open)
		conn_wait(c, CONN_WAIT_BODY, c->front->limits.body_timeout_ms);
}

static void on_body(struct conn *c, struct slice piece)
{
	struct exchange *ex = c->ex;

	c->body_seen += piece.n;
	if (c->body_seen > ex->body_limit && c->state == CONN_READING) {
		conn_refuse(c, HTTP_REFUSE_BODY_LARGE);
		return;
	}
	if (c->body_seen > ex->body_limit) {
		body_pipe_fail(&ex->body, WEIR_E_TOO_LARGE);
		c->body_full = true;
		conn_wait(c, CONN_WAIT_BODY, 0);
		return;
	}
	c->body_full = body_pipe_put(&ex->body, piece);
	conn_wait(c, CONN_WAIT_BODY, c->body_full ? 0 : c->front->limits.body_timeout_ms);
	if (c->state == CONN_READING && c->body_seen >= EXCHANGE_FRONT_BODY && c->parse.phase != HTTP_OVER)
		dispatch(c);
}

static void on_end(struct conn *c)
{
	if (c->body_open)
		body_pipe_end(&c->ex->body);
	c->body_open = false;
	if (c->state == CONN_READING)
		dispatch(c);
	else
		conn_wait(c, CONN_WAIT_BODY, 0);
}

/* Parses what there is until a reply has to be waited for. */
static void conn_run(struct conn *c, const char *fresh, size_t n)
{
	bool queued = c->in.len > 0, more = true;
	struct slice rest = { fresh, n }, piece;
	size_t used;

	if (queued) {
		buf_add(&c->in, fresh, n);
		rest = buf_slice(&c->in);
	}
	c->running = true;
	while (more && c->state != CONN_LINGER && wants_input(c)) {
		enum http_event ev = http_parse_step(&c->parse, rest.p, rest.n, &used, &piece);

		rest = slice_from(rest, used);
		switch (ev) {
		case HTTP_EV_MORE:
			if (c->waits_for == CONN_WAIT_IDLE && !http_parse_is_idle(&c->parse))
				conn_wait(c, CONN_WAIT_HEAD, c->front->limits.header_timeout_ms);
			more = false;
			break;
		case HTTP_EV_HEAD:
			on_head(c, piece);
			break;
		case HTTP_EV_BODY:
			on_body(c, piece);
			break;
		case HTTP_EV_END:
			on_end(c);
			break;
		case HTTP_EV_REFUSED:
			if (c->state == CONN_HANDLING) { /* in the body of a request that a worker reads */
				c->close_after = c->body_full = true;
				server_count(c->front->server->refused[c->parse.refusal]);
				body_pipe_fail(&c->ex->body, WEIR_E_PARSE);
			} else {
				conn_refuse(c, c->parse.refusal);
			}
			more = false;
			break;
		}
	}
	c->running = false;
	if (c->state == CONN_CLOSED || c->state == CONN_LINGER)
		return; /* `in` is gone, or not wanted */
	if (!queued)
		buf_add_slice(&c->in, rest);
	else
		buf_consume(&c->in, c->in.len - rest.n);
	if (!c->in.len)
		buf_fini(&c->in);
}

void conn_read(struct conn *c)
{
	struct front *f = c->front;
	ssize_t n;

	/* A few turns, so that a large body does not pay for a poll each time; level-triggered, so nothing is missed.
	 * TLS keeps bytes that no poll tells about: there, to the end. */
	for (int turn = 0; wants_input(c) && (turn < 4 || c->stream.tls); turn++) {
		c->stream.wait = LOOP_READ;
		n = stream_read(&c->stream, f->read_buf, FRONT_READ_BYTES);
		if (n == -EAGAIN)
			break;
		if (n == 0)
			c->peer_ended = true;
		if (n <= 0) {
			conn_lost(c);
			return;
		}
		if (c->state == CONN_LINGER)
			continue;
		conn_run(c, f->read_buf, (size_t)n);
		if (n < FRONT_READ_BYTES && !c->stream.tls)
			break;
	}
	conn_arm(c);
}

void conn_event(void *arg, unsigned events)
{
	struct conn *c = arg;

	OBJ_CHECK(c, CONN_MAGIC);
	if (c->state == CONN_CLOSED || c->dead)
		return;
	if (events & LOOP_DEAD) {
		c->armed = 0;
		c->peer_ended = true;
		conn_lost(c);
		return;
	}
	if (wants_input(c) && (events & (LOOP_READ | LOOP_WRITE))) {
		conn_read(c);
		return;
	}
	if (events & LOOP_GONE && (c->state == CONN_HANDLING || (c->state == CONN_SENDING && c->ex->spool))) {
		c->peer_ended = true;
		conn_lost(c);
		return;
	}
	if (c->state == CONN_SENDING && c->waits_for == CONN_WAIT_SEND && (events & c->stream.wait)) {
		if (conn_pump(c))
			conn_arm(c);
		return;
	}
	if (events & LOOP_READ) { /* rule 2 */
		c->armed &= ~(unsigned)LOOP_READ;
		loop_watch_set(c->watch, c->armed);
	}
}

/* --- called by others on this thread --- */

void conn_sent(struct conn *c)
{
	if (c->ex) {
		exchange_finish(c->ex, c->sent, true);
		exchange_free(c->ex);
		c->ex = NULL;
		buf_fini(&c->out);
		c->out_at = 0;
		if (c->close_after || c->body_open || c->parse.phase != HTTP_OVER) {
			linger(c);
			return;
		}
		http_parse_next(&c->parse);
		c->parse.most_head = c->front->limits.header_bytes; /* may have changed */
		c->state = CONN_READING;
		conn_wait(c, CONN_WAIT_IDLE, c->front->limits.idle_timeout_ms);
		if (c->front->stopping && !c->in.len && !c->running) {
			linger(c);
			return;
		}
	}
	if (c->running)
		return; /* conn_run() goes on by itself */
	if (c->in.len)
		conn_run(c, NULL, 0);
	if (c->stream.tls && c->state == CONN_READING)
		conn_read(c);
	conn_arm(c);
}

void conn_resume_body(void *arg)
{
	struct exchange *ex = arg;
	struct conn *c;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	c = ex->conn;
	if (c->dead || c->state != CONN_HANDLING || c->parse.phase == HTTP_BAD || c->body_seen > ex->body_limit)
		return;
	c->body_full = false;
	conn_wait(c, CONN_WAIT_BODY, c->front->limits.body_timeout_ms);
	conn_run(c, NULL, 0);
	if (wants_input(c))
		conn_read(c);
	conn_arm(c);
}

void conn_interim(void *arg)
{
	struct interim *i = arg;
	struct iovec iov = { i->text.data, i->text.len };
	struct conn *c;
	ssize_t n;

	OBJ_CHECK(i->ex, EXCHANGE_MAGIC);
	c = i->ex->conn;
	if (!c->dead && c->state == CONN_HANDLING) {
		n = stream_writev(&c->stream, &iov, 1, false);
		if (n != (ssize_t)iov.iov_len && n != -EAGAIN)
			conn_cut(c); /* half of it would spoil what follows */
	}
	buf_fini(&i->text);
	free(i);
}

void conn_continue(void *arg)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct iovec iov = { (void *)(uintptr_t)line, sizeof(line) - 1 }; /* only read */
	struct exchange *ex = arg;
	struct conn *c;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	c = ex->conn;
	if (c->dead || c->state != CONN_HANDLING)
		return;
	/* Nothing else is under way to the client, so the socket has room for 25 bytes; if not, something is very wrong
	 * with it. */
	if (stream_writev(&c->stream, &iov, 1, false) != (ssize_t)iov.iov_len)
		conn_cut(c);
	else
		conn_resume_body(ex);
}
