/* end.c -- a session ends: said by its program, or found by watch.c.
 *
 * RULES    1. It has ended locally before anything is sent, and whoever asks sees that (GET /session).
 *          2. What was gathered goes before the end, and all of it at once: nothing waits for the batch interval any
 *             more.
 *          3. The operation in the outbox is what counts; the row follows, at the latest before the operation is
 *             settled (deliver.c). */
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "sessions/sessions_priv.h"

struct end {
	struct sessions *ss;
	struct session *s;
	op_fn *cb;
	void *arg;
};

static void on_end(void *arg, int code, uint64_t seq)
{
	struct end *e = arg;

	pthread_mutex_lock(&e->ss->lock);
	if (code == 0) {
		e->ss->ended += e->s->is_of_this_start;
	} else {
		e->s->flags &= ~(unsigned)(SESSION_ENDED | SESSION_CRASHED);
		e->s->ended_ms = 0;
	}
	e->s->wants_save = true;
	(void)ledger_save_start(e->ss, e->s, NULL, NULL); /* when it cannot now, the next start sees the operation */
	pthread_mutex_unlock(&e->ss->lock);
	if (e->cb)
		e->cb(e->arg, code, seq);
	free(e);
}

int session_end(struct sessions *ss, struct session *s, const struct ending *how, op_fn *cb, void *arg)
{
	struct end *e = xcalloc(1, sizeof(*e));
	struct buf body = BUF_EMPTY;
	int r;

	*e = (struct end){ ss, s, cb, arg };
	totals_flush(ss, s);
	s->flags |= SESSION_ENDED | (how->op == OP_CRASH ? SESSION_CRASHED : 0);
	s->ended_ms = s->updated_ms = clock_wall_ms();
	s->wants_save = true;
	buf_add_char(&body, '{');
	op_add_now(&body);
	if (how->reason) {
		buf_add_str(&body, ",\"reason\":");
		json_write_text(slice_str(how->reason), &body);
	}
	buf_add_char(&body, '}');
	r = op_put(ss, s, how->op, buf_slice(&body), true, on_end, e);
	if (r < 0) {
		s->flags &= ~(unsigned)(SESSION_ENDED | SESSION_CRASHED);
		s->ended_ms = 0;
		free(e);
	} else {
		watch_end(ss, s);
	}
	buf_fini(&body);
	return r;
}
