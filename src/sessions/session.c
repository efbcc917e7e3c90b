/* session.c -- the sessions of this daemon: by which ids they are known, and how long they stay in memory.
 *
 * WHAT     A map from local ids and the server's to sessions. What has ended, is delivered and was not asked for in a
 *          while is in the database alone, where its ids stay for ever, and comes back when somebody names it.
 * RULES    Whoever keeps a pointer over a release of the lock has used it (session_use), and says when not any more. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json_merge.h"
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
	(void)snprintf(s->local_id, sizeof(s->local_id), LOCAL_ID_BEGINS "%lld-%lld", (long long)(s->created_ms / 1000),
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
	free(s->client_key);
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

void session_reopen(struct sessions *ss, struct session *s)
{
	if (!(s->flags & SESSION_DONE))
		return;
	s->flags &= ~(unsigned)SESSION_DONE;
	ss->count++;
	session_changed(s);
}

/* --- out of the database, with what the outbox has above it ----------------------------------------------------- */

static bool merge_state(void *arg, const struct outbox_entry *e)
{
	struct session *s = ((void **)arg)[0];
	struct sessions *ss = ((void **)arg)[1];
	json_t *v = NULL;

	if (op_read(ss, e, &v) == 0)
		json_merge(s->known, json_object_get(v, "state"));
	s->known_seq = e->seq;
	session_changed(s);
	json_decref(v);
	return true;
}

static bool note_end(void *arg, const struct outbox_entry *e)
{
	struct session *s = arg;

	if (!(s->flags & SESSION_ENDED)) {
		s->flags |= SESSION_ENDED;
		if (op_of_uri(buf_slice(&e->uri)) == OP_CRASH)
			s->flags = (s->flags | SESSION_CRASHED) & ~(unsigned)SESSION_HUNG;
		s->ended_ms = e->queued_wall_ms;
		session_changed(s);
	}
	return false;
}

static bool note_seq(void *arg, const struct outbox_entry *e)
{
	*(uint64_t *)arg = e->seq;
	return true;
}

/* seq of the last event of the daemon's own of this kind that waits; 0: none. */
static uint64_t last_own(struct sessions *ss, const struct session *s, struct slice key, const char *mark)
{
	char *uri = op_uri(s, OP_EVENT, mark);
	uint64_t seq = 0;

	(void)outbox_key_each(ss->queue, key, slice_str(uri), 0, note_seq, &seq); /* as far as it can be read */
	free(uri);
	return seq;
}

/* What was told of it, perhaps without its row. */
static void note_own(struct sessions *ss, struct session *s, struct slice key)
{
	uint64_t hung = last_own(ss, s, key, "hung"), recovered = last_own(ss, s, key, "recovered");
	unsigned before = s->flags;

	if (hung || recovered)
		s->flags = (s->flags & ~(unsigned)SESSION_HUNG) | (hung > recovered ? SESSION_HUNG : 0);
	if (last_own(ss, s, key, "crashed"))
		s->flags |= SESSION_CRASH_TOLD;
	if (s->flags != before)
		session_changed(s);
}

void session_catch_up(struct sessions *ss, struct session *s)
{
	static const enum op ends[] = { OP_END, OP_CRASH };
	void *both[] = { s, ss };
	struct buf key = BUF_EMPTY;
	char *uri;

	session_key(s, &key);
	s->is_created = s->hub_id != NULL;
	if (outbox_key_is_pending(ss->queue, buf_slice(&key))) {
		s->is_created = true;
		uri = op_uri(s, OP_STATE, NULL);
		(void)outbox_key_each(ss->queue, buf_slice(&key), slice_str(uri), s->known_seq, merge_state,
				      both); /* as far as it can be read */
		free(uri);
		note_own(ss, s, buf_slice(&key));
		for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
			uri = op_uri(s, ends[i], NULL);
			(void)outbox_key_each(ss->queue, buf_slice(&key), slice_str(uri), 0, note_end,
					      s); /* the same */
			free(uri);
		}
	}
	buf_fini(&key);
}

int session_get(struct sessions *ss, struct slice id, struct session **ret)
{
	struct session *s, *row = NULL;
	int r;

	pthread_mutex_lock(&ss->lock);
	s = session_find(ss, id);
	if (s)
		session_use(s);
	pthread_mutex_unlock(&ss->lock);
	*ret = s;
	if (s)
		return 0;
	if (id.n == 0 || id.n > ANSWER_MOST_ID)
		return -ENOENT;
	r = ledger_find(ss, id, &row);
	if (r < 0)
		return r;
	session_catch_up(ss, row);
	pthread_mutex_lock(&ss->lock);
	*ret = session_add_take(ss, row);
	session_use(*ret);
	pthread_mutex_unlock(&ss->lock);
	return 0;
}

struct session **sessions_use_all(struct sessions *ss, size_t *ret_count)
{
	struct session **all;
	size_t n = 0;

	pthread_mutex_lock(&ss->lock);
	LIST_FOREACH (it, &ss->all)
		n++;
	all = xcalloc(n + 1, sizeof(struct session *));
	*ret_count = n;
	n = 0;
	LIST_FOREACH (it, &ss->all) {
		all[n] = LIST_ENTRY(it, struct session, node);
		session_use(all[n++]);
	}
	pthread_mutex_unlock(&ss->lock);
	return all;
}

void sessions_unuse_all(struct sessions *ss, struct session **take, size_t count)
{
	pthread_mutex_lock(&ss->lock);
	for (size_t i = 0; i < count; i++)
		session_unuse(ss, take[i]);
	pthread_mutex_unlock(&ss->lock);
	free(take);
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
