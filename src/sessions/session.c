/* session.c -- the sessions of this daemon: by which ids they are known, and how long they stay in memory.
 *
 * WHAT     A map from local ids and the server's to sessions. What has ended, is delivered and was not asked for in a
 *          while is in the database
 *          alone, where its ids stay for ever, and comes back when somebody names it.
 * RULES    Whoever keeps a pointer over a release of the lock has used it (session_use), and says when not any more. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "sessions/sessions_priv.h"

struct session *session_find(struct sessions *ss, struct slice id)
{
	struct session *s = map_get(ss->by_id, id);

	if (s)
		s->used_mono_ms = clock_mono_ms();
	return s;
}

static void enlist(struct sessions *ss, struct session *s)
{
	(void)map_put(ss->by_id, slice_str(s->local_id), s);
	if (s->hub_id)
		(void)map_put(ss->by_id, slice_str(s->hub_id), s);
	list_push_back(&ss->all, &s->node);
	ss->count += !(s->flags & SESSION_DONE);
	s->used_mono_ms = clock_mono_ms();
}

struct session *session_new(struct sessions *ss)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->number = ++ss->last_number;
	s->row_changes = 1; /* it has none yet */
	s->is_of_this_start = true;
	s->created_ms = s->updated_ms = s->beat_wall_ms = clock_wall_ms();
	s->beat_mono_ms = s->forwarded_mono_ms = clock_mono_ms();
	s->watch = "no";
	(void)snprintf(s->local_id, sizeof(s->local_id), "local-session-%lld-%lld", (long long)(s->created_ms / 1000),
		       (long long)s->number);
	enlist(ss, s);
	return s;
}

struct session *session_add_take(struct sessions *ss, struct session *s)
{
	struct session *there = map_get(ss->by_id, slice_str(s->local_id));

	if (there) {
		session_free(s);
		return there;
	}
	s->beat_mono_ms = s->forwarded_mono_ms = clock_mono_ms();
	enlist(ss, s);
	return s;
}

void session_set_hub_id(struct sessions *ss, struct session *s, const char *hub_id)
{
	ENSURE(!s->hub_id);
	s->hub_id = xstrdup(hub_id);
	session_changed(s);
	(void)map_put(ss->by_id, slice_str(hub_id), s);
}

void session_free(struct session *s)
{
	totals_free(s);
	json_decref(s->known);
	free(s->hub_id);
	free(s->product);
	free(s->version);
	free(s);
}

static void forget_id(struct sessions *ss, struct session *s, const char *id)
{
	if (map_get(ss->by_id, slice_str(id)) == s)
		(void)map_remove(ss->by_id, slice_str(id));
}

void session_forget(struct sessions *ss, struct session *s)
{
	ENSURE(s->uses == 0 && !s->waiter);
	watch_end(ss, s);
	forget_id(ss, s, s->local_id);
	if (s->hub_id)
		forget_id(ss, s, s->hub_id);
	list_remove(&s->node);
	ss->count -= !(s->flags & SESSION_DONE);
	session_free(s);
}

void session_unuse(struct sessions *ss, struct session *s)
{
	ENSURE(s->uses > 0);
	s->uses--;
}

struct session *session_get(struct sessions *ss, struct slice id)
{
	struct session *s, *row = NULL;

	pthread_mutex_lock(&ss->lock);
	s = session_find(ss, id);
	if (s)
		session_use(s);
	pthread_mutex_unlock(&ss->lock);
	if (s || id.n == 0 || id.n > SESSIONS_MOST_ID || ledger_find(ss, id, &row) < 0)
		return s;
	pthread_mutex_lock(&ss->lock);
	s = session_add_take(ss, row);
	session_use(s);
	pthread_mutex_unlock(&ss->lock);
	return s;
}

void session_key(const struct session *s, struct buf *out)
{
	buf_addf(out, "s/%s", s->local_id);
}

void sessions_enter(struct sessions *ss)
{
	ss->busy++;
}

void sessions_leave(struct sessions *ss)
{
	ENSURE(ss->busy > 0);
	if (--ss->busy == 0)
		pthread_cond_broadcast(&ss->idle);
}
