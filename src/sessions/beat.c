/* beat.c -- heartbeats to the server: one when a program sent one, and one now and then for each session that lives.
 *
 * RULES    Never queued: what matters of a heartbeat is that it is new. One at a time for each session; while the
 *          server is away, none. */
#include "base/clock.h"
#include "base/obj.h"
#include "sessions/sessions_priv.h"

#define PATIENCE_MS 5000

struct beat {
	struct sessions *ss;
	struct session *s; /* used */
	char *hub_id;
};

static void send(void *arg)
{
	struct beat *b = arg;
	struct sessions *ss = b->ss;
	struct hub_answer a = HUB_ANSWER_EMPTY;
	struct buf target = BUF_EMPTY;
	bool again;

	hub_target(&target, b->hub_id, "/heartbeat");
	if (!cancel_fired(ss->stop) &&
	    hub_call(ss, "POST", target.data, SLICE_LIT("{}"), PATIENCE_MS, 65536, ss->stop, &a) == 0 &&
	    a.status == 200)
		sessions_count(ss, OP_HEARTBEAT, OUTCOME_DELIVERED, 1); /* else: the next one may arrive */
	buf_fini(&target);
	buf_fini(&a.body);
	free(b->hub_id);
	pthread_mutex_lock(&ss->lock);
	b->s->is_beating = false;
	again = b->s->wants_beat;
	b->s->wants_beat = false;
	if (again && !ss->stopping)
		beat_wanted(ss, b->s);
	session_unuse(ss, b->s);
	sessions_leave(ss);
	pthread_mutex_unlock(&ss->lock);
	free(b);
}

void beat_wanted(struct sessions *ss, struct session *s)
{
	struct beat *b;

	if (s->is_beating) {
		s->wants_beat = true;
		return;
	}
	s->forwarded_mono_ms = clock_mono_ms();
	if (!s->hub_id || link_state_is_open(link_state(ss->link)))
		return;
	b = xcalloc(1, sizeof(*b));
	*b = (struct beat){ ss, s, xstrdup(s->hub_id) };
	if (pool_submit(ss->beat_lane, send, b) < 0) {
		free(b->hub_id);
		free(b);
		return;
	}
	s->is_beating = true;
	session_use(s);
	sessions_enter(ss);
}
