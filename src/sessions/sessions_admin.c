/* sessions_admin.c -- /api/v1/sessions: what the daemon holds, and a flush of it.
 *
 *	GET  sessions         {"items": [...], "next": null, "queue": {...}}: sessions that live, are not delivered yet, or
 *	                      were asked for lately
 *	GET  sessions/{id}    one, by either id, as /session shows it
 *	POST sessions/flush   all that waits for its time goes now
 *
 * THREADS  Workers, as states may be large and there may be thousands. */
#include <errno.h>

#include "base/err.h"
#include "base/obj.h"
#include "proto/url.h"
#include "sessions/sessions_priv.h"

static void add_details(const struct session *s, json_t *o)
{
	(void)json_object_set_new(o, "product", json_string(s->product));
	(void)json_object_set_new(o, "version", json_string(s->version));
	(void)json_object_set_new(o, "parent_pid", json_integer(s->pid));
	(void)json_object_set_new(o, "paused", json_boolean(s->flags & SESSION_PAUSED));
	(void)json_object_set_new(o, "delivered", json_boolean(s->flags & SESSION_DONE));
}

static json_t *item(struct sessions *ss, const struct session *s)
{
	json_t *o = session_json(ss, s);

	add_details(s, o);
	return o;
}

static void list_all(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);
	json_t *items = json_array();
	size_t count;
	struct session **all = sessions_use_all(ss, &count);

	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&ss->lock); /* for each alone, as in read.c */
		if (all[i]->is_created)
			(void)json_array_append_new(items, item(ss, all[i]));
		pthread_mutex_unlock(&ss->lock);
	}
	sessions_unuse_all(ss, all, count);
	sessions_reply_json(ex, 200,
			    json_pack("{s:o, s:n, s:o}", "items", items, "next", "queue", read_queue_json(ss)));
}

static void list(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);

	OBJ_CHECK(ss, SESSIONS_MAGIC);
	exchange_to_worker(ex, ss->read_lane, list_all);
}

static void show_one(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);
	struct slice path = exchange_target(ex), rest;
	struct buf id = BUF_EMPTY;
	struct session *s = NULL;
	int r = -ENOENT;
	json_t *o;

	(void)slice_cut(&path, '?', &rest);
	rest = slice_from(rest,
			  (size_t)((const char *)memrchr(rest.p, '/', rest.n) - rest.p) + 1); /* the route has one */
	if (url_decode(rest, &id) == 0)
		r = session_get(ss, buf_slice(&id), &s);
	buf_fini(&id);
	if (r < 0 && r != -ENOENT) {
		exchange_reply_problem(ex, 503, "The session cannot be looked up now", "%s", err_text(r));
		return;
	}
	if (r < 0) {
		exchange_reply_problem(ex, 404, "No such session", "no session has this id; see `weir session ls`");
		return;
	}
	o = read_view(ss, s, exchange_cancel(ex));
	pthread_mutex_lock(&ss->lock);
	add_details(s, o);
	session_unuse(ss, s);
	pthread_mutex_unlock(&ss->lock);
	sessions_reply_json(ex, 200, o);
}

static void show(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);

	OBJ_CHECK(ss, SESSIONS_MAGIC);
	exchange_to_worker(ex, ss->read_lane, show_one);
}

static void flush_all(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);

	sessions_flush(ss);
	sessions_reply_json(ex, 200, json_pack("{s:o}", "queue", read_queue_json(ss)));
}

static void flush(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);

	OBJ_CHECK(ss, SESSIONS_MAGIC);
	exchange_to_worker(ex, ss->read_lane, flush_all);
}

const struct admin_route sessions_admin_routes[] = {
	{ "GET", "sessions", list },
	{ "GET", "sessions/", show },
	{ "POST", "sessions/flush", flush },
	{ NULL, NULL, NULL },
};
