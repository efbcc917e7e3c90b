/* read.c -- looking at sessions: what is here, with what the server knows when it is quick to say so.
 *
 * RULES    1. A failing or slow server never fails a read: the local record answers then.
 *          2. What is in the queue is shown as if it had arrived; an operation that the server has already, and whose
 *             end is not recorded here yet, is recognised by its time, which is as exact as a microsecond.
 *          3. `id` is the server's once it is known; `local_id` stands beside it. */
#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "core/json_merge.h"
#include "proto/url.h"
#include "sessions/sessions_priv.h"

#define MOST_SHOWN  10000 /* operations of the queue in one answer */
#define MOST_ANSWER (16 << 20) /* of the server */

static json_t *time_json(int64_t wall_ms)
{
	struct buf text = BUF_EMPTY;
	json_t *v;

	clock_format_rfc3339(wall_ms, &text);
	v = json_string(text.data);
	buf_fini(&text);
	return v;
}

static void set(json_t *o, const char *name, json_t *take)
{
	(void)json_object_set_new(o, name, take); /* fails only for what is no value: then it is left out */
}

static const char *id_of(const struct session *s)
{
	return s->hub_id ? s->hub_id : s->local_id;
}

/* What only this daemon knows, over what the server said. */
static void overlay(const struct session *s, json_t *o)
{
	set(o, "id", json_string(id_of(s)));
	set(o, "local_id", json_string(s->local_id));
	set(o, "watch", json_string(s->watch));
	if (!(s->flags & SESSION_ENDED))
		return;
	set(o, "active", json_false());
	set(o, "suspended", json_false());
	if (!json_is_string(json_object_get(o, "ended_at")))
		set(o, "ended_at", time_json(s->ended_ms));
	if (s->flags & SESSION_CRASHED)
		set(o, "crashed", json_true());
}

json_t *session_json(struct sessions *ss, const struct session *s)
{
	json_t *o = json_object();

	set(o, "id", json_string(id_of(s)));
	set(o, "created_at", time_json(s->created_ms));
	set(o, "updated_at", time_json(s->updated_ms));
	set(o, "active", json_boolean(!(s->flags & SESSION_ENDED)));
	set(o, "suspended", json_false());
	set(o, "crashed", json_boolean(s->flags & SESSION_CRASHED));
	set(o, "hung", json_boolean(s->flags & SESSION_HUNG));
	set(o, "state", json_deep_copy(s->known));
	set(o, "last_heartbeat", time_json(s->beat_wall_ms));
	set(o, "machine_id", json_string(ss->machine_id));
	set(o, "hostname", json_string(ss->hostname));
	overlay(s, o);
	return o;
}

/* --- what waits in the queue ------------------------------------------------------------------------------------ */

struct adding {
	struct sessions *ss;
	json_t *o;
	bool is_hubs; /* the server's view, which may have some of it already */
	size_t events, metrics, history; /* how many items of it the server told of */
	unsigned shown;
};

static json_t *list_in(json_t *o, const char *name)
{
	json_t *list = json_object_get(o, name);

	if (!json_is_array(list)) {
		list = json_array();
		set(o, name, list);
	}
	return list;
}

/* Among the first n: one with the time and the name of this one. */
static bool is_there(const json_t *list, size_t n, const json_t *item)
{
	const json_t *time = json_object_get(item, "timestamp"), *name = json_object_get(item, "name");

	for (size_t i = n; i > 0; i--) {
		const json_t *one = json_array_get(list, i - 1);

		if (json_equal(json_object_get(one, "timestamp"), time) &&
		    (!name || json_equal(json_object_get(one, "name"), name)))
			return true;
	}
	return false;
}

static void add_state(struct adding *a, json_t *item)
{
	json_t *history = list_in(a->o, "state_history"), *state = json_object_get(a->o, "state"), *one;

	if (!a->is_hubs || is_there(history, a->history, item) || !json_is_object(state))
		return;
	json_merge(state, json_object_get(item, "state"));
	one = json_pack("{s:O, s:o}", "timestamp", json_object_get(item, "timestamp"), "state", json_deep_copy(state));
	(void)json_array_append_new(history, one);
}

static bool add_operation(void *arg, const struct outbox_entry *e)
{
	struct adding *a = arg;
	enum op op = op_of_uri(buf_slice(&e->uri));
	json_t *item = NULL, *list;

	if ((op != OP_STATE && op != OP_EVENT && op != OP_METRIC) || op_read(a->ss, e, &item) < 0)
		return true; /* settled meanwhile, or damaged: `weir outbox` shows it */
	list = op == OP_STATE ? NULL : list_in(a->o, op == OP_EVENT ? "events" : "metrics");
	if (!list)
		add_state(a, item);
	else if (!is_there(list, op == OP_EVENT ? a->events : a->metrics, item))
		(void)json_array_append(list, item); /* is a value */
	json_decref(item);
	return ++a->shown < MOST_SHOWN;
}

static void add_queue(struct sessions *ss, const struct session *s, json_t *o, bool is_hubs)
{
	struct adding a = { .ss = ss, .o = o, .is_hubs = is_hubs };
	struct buf key = BUF_EMPTY;

	session_key(s, &key);
	a.events = json_array_size(list_in(o, "events"));
	a.metrics = json_array_size(list_in(o, "metrics"));
	a.history = json_array_size(json_object_get(o, "state_history"));
	(void)outbox_key_each(ss->queue, buf_slice(&key), (struct slice){ NULL, 0 }, 0, add_operation,
			      &a); /* what can be read */
	buf_fini(&key);
}

/* --- /session --------------------------------------------------------------------------------------------------- */

/* What the server says, when it does so in time; NULL otherwise. */
static json_t *ask(struct sessions *ss, const char *target, struct cancel *cancel)
{
	int64_t patience = sessions_config(ss)->register_patience;
	struct hub_answer a = HUB_ANSWER_EMPTY;
	json_t *v = NULL;

	if (!link_state_is_open(link_state(ss->link)) &&
	    hub_call(ss, "GET", target, (struct slice){ NULL, 0 }, patience > 0 ? patience : 1, MOST_ANSWER, cancel,
		     &a) == 0 &&
	    a.status == 200)
		(void)json_read(buf_slice(&a.body), 0, &v, NULL); /* NULL, then */
	buf_fini(&a.body);
	return v;
}

json_t *read_view(struct sessions *ss, struct session *s, struct cancel *cancel)
{
	struct buf target = BUF_EMPTY;
	json_t *o = NULL;
	char *hub_id;

	pthread_mutex_lock(&ss->lock);
	hub_id = s->hub_id ? xstrdup(s->hub_id) : NULL;
	pthread_mutex_unlock(&ss->lock);
	if (hub_id) {
		hub_target(&target, hub_id, "");
		o = ask(ss, target.data, cancel);
	}
	if (o && !json_is_object(o)) {
		json_decref(o);
		o = NULL;
	}
	if (o) {
		add_queue(ss, s, o, true);
		pthread_mutex_lock(&ss->lock);
		overlay(s, o);
		pthread_mutex_unlock(&ss->lock);
	} else {
		pthread_mutex_lock(&ss->lock);
		o = session_json(ss, s);
		pthread_mutex_unlock(&ss->lock);
		add_queue(ss, s, o, false);
	}
	buf_fini(&target);
	free(hub_id);
	return o;
}

void read_session(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);
	struct slice query = exchange_target(ex), path;
	struct buf id = BUF_EMPTY;
	struct session *s;
	int r;

	(void)slice_cut(&query, '?', &path);
	if (url_query_get(query, "session_id", &id) < 0 || !id.len) {
		exchange_reply_text(ex, 400, "Invalid request: say which session, as in /session?session_id=ID");
		buf_fini(&id);
		return;
	}
	r = session_get(ss, buf_slice(&id), &s);
	if (r == 0)
		sessions_reply_json(ex, 200, read_view(ss, s, exchange_cancel(ex)));
	else
		sessions_reply_unknown(ex, r);
	if (r == 0) {
		pthread_mutex_lock(&ss->lock);
		session_unuse(ss, s);
		pthread_mutex_unlock(&ss->lock);
	}
	buf_fini(&id);
}

/* --- /sessions -------------------------------------------------------------------------------------------------- */

/* The server's list, with the local ones that it does not have, and what is known here of those that it has. */
void read_sessions(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);
	json_t *list = ask(ss, "/api/data/sessions", exchange_cancel(ex)), *one;
	struct map *by_id = map_new();
	struct session **all;
	size_t i, count;

	if (!json_is_array(list)) {
		json_decref(list);
		list = json_array();
	}
	json_array_foreach(list, i, one)
	{
		const char *id = json_string_value(json_object_get(one, "id"));

		if (id)
			(void)map_put(by_id, slice_str(id), one);
	}
	all = sessions_use_all(ss, &count);
	for (i = 0; i < count; i++) {
		pthread_mutex_lock(&ss->lock); /* for each alone: there may be thousands, with states of a megabyte */
		one = all[i]->hub_id ? map_get(by_id, slice_str(all[i]->hub_id)) : NULL;
		if (one)
			overlay(all[i], one);
		else if (all[i]->is_created)
			(void)json_array_append_new(list, session_json(ss, all[i]));
		pthread_mutex_unlock(&ss->lock);
	}
	sessions_unuse_all(ss, all, count);
	map_free(by_id);
	sessions_reply_json(ex, 200, list);
}

/* --- /queue ----------------------------------------------------------------------------------------------------- */

json_t *read_queue_json(struct sessions *ss)
{
	struct outbox_figures f;
	struct link_info info;
	json_t *o = json_object();
	int64_t age;
	char reason[200];

	outbox_figures(ss->queue, &f);
	link_info(ss->link, &info);
	delivery_pause_reason(ss->delivery, reason);
	age = f.oldest_wall_ms ? clock_wall_ms() - f.oldest_wall_ms : 0;
	set(o, "entries", json_integer((json_int_t)(f.entries[OUTBOX_QUEUED] + f.entries[OUTBOX_SENDING])));
	set(o, "held", json_integer((json_int_t)f.entries[OUTBOX_HELD]));
	set(o, "bytes",
	    json_integer((json_int_t)(f.bytes[OUTBOX_QUEUED] + f.bytes[OUTBOX_SENDING] + f.bytes[OUTBOX_HELD])));
	set(o, "oldest_age_seconds", json_real(age > 0 ? (double)age / 1000 : 0));
	set(o, "retries", json_integer((json_int_t)atomic_load(&ss->retries)));
	set(o, "server", json_string(link_state_text(info.state)));
	set(o, "paused", json_string(reason));
	return o;
}
