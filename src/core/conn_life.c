/* conn_life.c -- a connection's beginning, its deadlines, and its end.
 *
 * WHAT     Accepting (or refusing) a client; the sweep that looks at deadlines; all ways in which a connection ends.
 * WHY      Deadlines are looked at a few times a second for all connections at once: a timer for each request would
 *          cost more than the request, and nobody minds a quarter of a second in thirty.
 * RULES    1. A connection is freed at the end of the loop's turn (conn_close() only marks), so whoever stands on the
 *             stack may still look at it.
 *          2. While an exchange is out, its connection stays, even when the socket is closed: the reply comes back to
 *             it.
 * THREADS  The front's.
 * SEE      RFC 9112 section 9.5 */
#include "core/front_priv.h"

#include "base/clock.h"
#include "base/err.h"

/* --- ends --- */

static void bury(void *arg)
{
	struct front *f = arg;

	LIST_FOREACH_SAFE(it, next, &f->closed) {
		struct conn *c = LIST_ENTRY(it, struct conn, link);

		list_remove(&c->link);
		c->magic = 0;
		free(c);
	}
}

void conn_close(struct conn *c)
{
	struct front *f = c->front;
	struct server *s = f->server;

	ENSURE(!c->ex && c->state != CONN_CLOSED);
	c->state = CONN_CLOSED;
	loop_watch_close(&c->watch);
	stream_close(&c->stream);
	http_parse_fini(&c->parse);
	buf_fini(&c->in);
	buf_fini(&c->out);
	list_remove(&c->link);
	if (list_is_empty(&f->closed))
		loop_post(f->loop, bury, f);
	list_push_back(&f->closed, &c->link);
	if (list_is_empty(&f->conns))
		loop_set_tick(f->loop, 0, conn_sweep, f);
	pthread_mutex_lock(&s->lock);
	if (atomic_fetch_sub(&s->connections, 1) == 1)
		pthread_cond_broadcast(&s->none_left);
	pthread_mutex_unlock(&s->lock);
}

void conn_lost(struct conn *c)
{
	struct exchange *ex = c->ex;

	if (c->state == CONN_CLOSED || c->dead)
		return;
	if (ex && c->state == CONN_HANDLING) {
		c->dead = true;
		c->deadline_ms = 0;
		loop_watch_close(&c->watch);
		stream_close(&c->stream);
		server_count(c->front->server->gone);
		body_pipe_fail(&ex->body, WEIR_E_CANCELLED);
		exchange_note_gone(ex);
		return; /* rule 2 */
	}
	if (ex && c->state == CONN_SENDING) {
		server_count(c->front->server->gone);
		exchange_note_gone(ex);
		exchange_finish(ex, c->sent, false);
	}
	if (ex)
		exchange_free(ex);
	c->ex = NULL;
	conn_close(c);
}

void conn_cut(struct conn *c)
{
	if (c->state == CONN_CLOSED || c->dead)
		return;
	loop_watch_close(&c->watch);
	stream_reset(&c->stream);
	conn_lost(c);
}

/* --- time --- */

static void on_deadline(struct conn *c)
{
	c->deadline_ms = 0;
	switch (c->waits_for) {
	case CONN_WAIT_IDLE:
	case CONN_WAIT_LINGER:
		conn_close(c);
		break;
	case CONN_WAIT_HEAD:
		if (!stream_is_ready(&c->stream) || http_parse_is_idle(&c->parse)) {
			conn_close(c); /* nobody to talk to */
			break;
		}
		conn_refuse(c, HTTP_REFUSE_HEAD_SLOW);
		conn_arm(c);
		break;
	case CONN_WAIT_BODY:
		if (c->state == CONN_HANDLING) {
			c->close_after = c->body_full = true;
			body_pipe_fail(&c->ex->body, -ETIMEDOUT);
		} else {
			conn_refuse(c, HTTP_REFUSE_BODY_SLOW);
		}
		conn_arm(c);
		break;
	case CONN_WAIT_SEND:
		conn_cut(c);
		break;
	}
}

void conn_sweep(void *arg)
{
	struct front *f = arg;
	int64_t now = clock_mono_ms();

	LIST_FOREACH_SAFE(it, next, &f->conns) {
		struct conn *c = LIST_ENTRY(it, struct conn, link);

		if (c->deadline_ms && c->deadline_ms <= now && !c->dead)
			on_deadline(c);
	}
}

void conn_stop_all(struct front *f, bool cut)
{
	LIST_FOREACH_SAFE(it, next, &f->conns) {
		struct conn *c = LIST_ENTRY(it, struct conn, link);

		if (cut) {
			atomic_store(&f->server->was_cut, true);
			conn_cut(c);
		} else if (c->state == CONN_READING && !c->ex && http_parse_is_idle(&c->parse)) {
			conn_close(c);
		}
	}
}

/* --- the beginning --- */

static void refuse_connection(struct front *f, struct listener *l, int fd)
{
	static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
				     "Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n";
	struct stream s = { .fd = fd };
	struct iovec iov = { (void *)(uintptr_t)answer, sizeof(answer) - 1 }; /* only read */

	server_count(f->server->refused[HTTP_REFUSE_CONNECTIONS]);
	if (!l->tls)
		(void)stream_writev(&s, &iov, 1, false); /* if it does not fit, closing says enough */
	stream_close(&s);
}

void conn_new(struct front *f, struct listener *l, int fd, const char *peer)
{
	struct server *s = f->server;
	struct conn *c;

	if (atomic_fetch_add(&s->connections, 1) >= atomic_load_explicit(&s->most_connections, memory_order_relaxed)) {
		atomic_fetch_sub(&s->connections, 1);
		refuse_connection(f, l, fd);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	c->magic = CONN_MAGIC;
	c->front = f;
	c->listener = l;
	buf_init(&c->in, 0);
	buf_init(&c->out, 0);
	http_parse_init(&c->parse, f->limits.header_bytes);
	(void)snprintf(c->peer, sizeof(c->peer), "%s", peer);
	if (list_is_empty(&f->conns))
		loop_set_tick(f->loop, FRONT_TICK_MS, conn_sweep, f);
	list_push_back(&f->conns, &c->link);
	if (stream_init_take(&c->stream, fd, l->tls) < 0 ||
	    loop_watch_open(f->loop, fd, conn_event, c, &c->watch) < 0) {
		conn_close(c);
		return;
	}
	if (l->tls)
		conn_wait(c, CONN_WAIT_HEAD, f->limits.header_timeout_ms); /* for the handshake as well */
	else
		conn_wait(c, CONN_WAIT_IDLE, f->limits.idle_timeout_ms);
	conn_read(c); /* most clients have sent by now */
}
