/* end.c -- a session ends: said by its program, or found by watch.c.
 *
 * RULES    1. It has ended locally before anything is sent, and whoever asks sees that (GET /session).
 *          2. What was gathered goes before the end, and all of it at once: nothing waits for the batch interval any
 *             more.
 *          3. The operation in the outbox is what counts; the row follows, at the latest before the operation is
 *             settled (deliver.c), and never before it is there. When it cannot be kept the session lives on, and is
 *             watched on.
 *          4. Whoever ends a session whose end is on its way is answered when that is durable, not sooner. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "sessions/sessions_priv.h"

struct listener {
	struct list node;
	op_fn *cb;
	void *arg;
};

struct end {
	struct sessions *ss;
	struct session *s;
	struct list listeners; /* who want to hear of it */
};

static void listen_to(struct end *e, op_fn *cb, void *arg)
{
	struct listener *l = xcalloc(1, sizeof(*l));

	*l = (struct listener){ .cb = cb, .arg = arg };
	list_push_back(&e->listeners, &l->node);
}

static void end_free(struct end *e)
{
	LIST_FOREACH_SAFE (it, next, &e->listeners)
		free(LIST_ENTRY(it, struct listener, node));
	free(e);
}

static void mark(struct session *s, enum op op)
{
	s->flags_before_end = s->flags;
	s->flags |= SESSION_ENDED;
	if (op == OP_CRASH) /* which is more than hung */
		s->flags = (s->flags | SESSION_CRASHED) & ~(unsigned)SESSION_HUNG;
	s->ended_ms = s->updated_ms = clock_wall_ms();
}

static void unmark(struct session *s)
{
	const unsigned ours = SESSION_ENDED | SESSION_CRASHED | SESSION_HUNG;

	s->flags = (s->flags & ~ours) | (s->flags_before_end & ours);
	s->ended_ms = 0;
}

static void on_end(void *arg, int code, uint64_t seq)
{
	struct end *e = arg;
	struct session *s = e->s;

	pthread_mutex_lock(&e->ss->lock);
	s->ending = NULL;
	if (code == 0) {
		e->ss->ended += s->is_of_this_start;
		watch_end(e->ss, s);
	} else {
		unmark(s); /* and it is watched on */
	}
	session_changed(s);
	(void)ledger_save_start(e->ss, s, NULL, NULL); /* when it cannot now, the next look does */
	pthread_mutex_unlock(&e->ss->lock);
	LIST_FOREACH (it, &e->listeners) {
		const struct listener *l = LIST_ENTRY(it, struct listener, node);

		if (l->cb)
			l->cb(l->arg, code, seq);
	}
	end_free(e);
}

static int put(struct sessions *ss, struct session *s, const struct ending *how, struct end *e)
{
	struct buf body = BUF_EMPTY;
	int r;

	buf_add_char(&body, '{');
	op_add_now(&body);
	if (how->reason) {
		buf_add_str(&body, ",\"reason\":");
		json_write_text(slice_str(how->reason), &body);
	}
	buf_add_char(&body, '}');
	r = op_put(ss, s, how->op, buf_slice(&body), true, on_end, e);
	buf_fini(&body);
	return r;
}

int session_end(struct sessions *ss, struct session *s, const struct ending *how, op_fn *cb, void *arg)
{
	struct end *e;
	int r;

	if (s->ending) {
		listen_to(s->ending, cb, arg);
		return 0;
	}
	e = xcalloc(1, sizeof(*e));
	*e = (struct end){ .ss = ss, .s = s };
	list_init(&e->listeners);
	listen_to(e, cb, arg);
	totals_flush(ss, s);
	mark(s, how->op);
	s->ending = e;
	r = put(ss, s, how, e);
	if (r < 0) {
		s->ending = NULL;
		unmark(s);
		end_free(e);
	}
	return r;
}
