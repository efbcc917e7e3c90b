/* sessions_admin.c -- /api/v1/sessions: what the daemon holds, and a flush of it.
 *
 *	GET  sessions         {"items": [...], "next": null, "queue": {...}}: sessions that live or are not delivered yet, or were asked for lately
 *	POST sessions/flush   all that waits for its time goes now
 *
 * THREADS  Front threads: all of it is in memory. */
#include "base/obj.h"
#include "sessions/sessions_priv.h"

static json_t *item(struct sessions *ss, const struct session *s)
{
	json_t *o = session_json(ss, s);

	(void)json_object_set_new(o, "product", json_string(s->product));
	(void)json_object_set_new(o, "version", json_string(s->version));
	(void)json_object_set_new(o, "parent_pid", json_integer(s->pid));
	(void)json_object_set_new(o, "paused", json_boolean(s->flags & SESSION_PAUSED));
	(void)json_object_set_new(o, "delivered", json_boolean(s->flags & SESSION_DONE));
	return o;
}

static void list(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);
	json_t *items = json_array();

	OBJ_CHECK(ss, SESSIONS_MAGIC);
	pthread_mutex_lock(&ss->lock);
	LIST_FOREACH(it, &ss->all) {
		const struct session *s = LIST_ENTRY(it, struct session, node);

		if (s->is_created)
			(void)json_array_append_new(items, item(ss, s));
	}
	pthread_mutex_unlock(&ss->lock);
	sessions_reply_json(ex, 200, json_pack("{s:o, s:n, s:o}", "items", items, "next", "queue", read_queue_json(ss)));
}

static void flush(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);

	OBJ_CHECK(ss, SESSIONS_MAGIC);
	sessions_flush(ss);
	sessions_reply_json(ex, 200, json_pack("{s:o}", "queue", read_queue_json(ss)));
}

const struct admin_route sessions_admin_routes[] = {
	{ "GET", "sessions", list },
	{ "POST", "sessions/flush", flush },
	{ NULL, NULL, NULL },
};
