/* beat.c -- heartbeats to the server: one when a program sent one, and one now and then for each session that lives.
 *
 * RULES    1. Never queued: what matters of a heartbeat is that it is new. One at a time for each session; while the
 *             server is away, none.
 *          2. Before a session is created, all that the server may think asleep are heard of: it takes a machine's
 *             sessions without a fresh heartbeat for crashed when the machine comes with a new one (DATACAT_API.md,
 *             "Machine tracking"), and after an outage that would be every one, also those whose end is still in the
 *             queue. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/obj.h"
#include "sessions/sessions_priv.h"

#define PATIENCE_MS 5000

#define FRESH_MS 20000 /* more than the pause between two heartbeats, less than any server's patience */

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
	bool again, heard;

	hub_target(&target, b->hub_id, "/heartbeat");
	heard = !cancel_fired(ss->stop) &&
		hub_call(ss, "POST", target.data, SLICE_LIT("{}"), PATIENCE_MS, 65536, ss->stop, &a) == 0 &&
		a.status == 200;
	if (heard)
		sessions_count(ss, OP_HEARTBEAT, OUTCOME_DELIVERED, 1); /* else: the next one may arrive */
	buf_fini(&target);
	buf_fini(&a.body);
	free(b->hub_id);
	pthread_mutex_lock(&ss->lock);
	b->s->is_beating = false;
	if (heard)
		b->s->heard_mono_ms = clock_mono_ms();
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

/* With the lock held. One that the server may not have heard of lately, used; NULL: none. */
static struct session *unheard(struct sessions *ss)
{
	int64_t now = clock_mono_ms(), back_ms = atomic_load(&ss->back_mono_ms);

	for (struct list *n = ss->all.next; n != &ss->all; n = n->next) {
		struct session *s = CONTAINER_OF(n, struct session, node);

		if (s->hub_id && !(s->flags & SESSION_DONE) &&
		    (s->heard_mono_ms <= back_ms || now - s->heard_mono_ms > FRESH_MS)) {
			session_use(s);
			return s;
		}
	}
	return NULL;
}

static int be_heard(struct sessions *ss, const char *hub_id, struct cancel *cancel)
{
	struct hub_answer a = HUB_ANSWER_EMPTY;
	struct buf target = BUF_EMPTY;
	int r;

	hub_target(&target, hub_id, "/heartbeat");
	r = hub_call(ss, "POST", target.data, SLICE_LIT("{}"), PATIENCE_MS, 65536, cancel, &a);
	buf_fini(&target);
	buf_fini(&a.body);
	return r; /* whatever the answer: nobody who says no will be told more by a second try */
}

int beat_before_creation(struct sessions *ss, struct cancel *cancel)
{
	struct session *s;
	char *hub_id;
	int r = 0;

	pthread_mutex_lock(&ss->lock);
	while (r == 0 && (s = unheard(ss))) {
		hub_id = xstrdup(s->hub_id);
		pthread_mutex_unlock(&ss->lock);
		r = be_heard(ss, hub_id, cancel);
		free(hub_id);
		pthread_mutex_lock(&ss->lock);
		if (r == 0)
			s->heard_mono_ms = clock_mono_ms();
		session_unuse(ss, s);
	}
	pthread_mutex_unlock(&ss->lock);
	return r;
}
