/* api.c -- the parts of /api/v1/ that belong to no one service: status, upstreams; the outbox is in outbox.c.
 *
 *   GET /api/v1/status             version, uptime, listeners, upstreams, health, outbox, and a member for each service
 *   GET /api/v1/history            what each service answered during the last hour, in columns
 *   GET /api/v1/upstreams          {"items": [...], "next": null}
 *   PUT /api/v1/upstreams/{name}   {"enabled": bool}: until the next restart; all links of that name
 *
 * THREADS  Front threads, but for the history; what is asked of services is in memory (service.h: status() never blocks
 *          for long). */
#include "admin/admin_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/health.h"

/* --- answers --- */

static struct blob *as_blob(json_t *take, size_t flags)
{
	char *text = json_dumps(take, flags);
	struct buf body = BUF_EMPTY;

	json_decref(take);
	buf_addf(&body, "%s\n", text ? text : "null");
	free(text);
	return blob_new_take(&body);
}

static void reply(struct exchange *ex, int status, json_t *take, size_t flags)
{
	const struct header_line headers[] = { { "Content-Type", "application/json" },
					       { "Cache-Control", "no-store" } };

	exchange_reply(ex, status, headers, 2, as_blob(take, flags));
}

void admin_reply_json(struct exchange *ex, int status, json_t *take)
{
	reply(ex, status, take, JSON_INDENT(2));
}

void admin_reply_problem_with(struct exchange *ex, int status, const char *title, const char *detail, const char *name,
			      const char *value)
{
	const struct header_line headers[] = { { "Content-Type", "application/problem+json" },
					       { "Cache-Control", "no-store" },
					       { name, value } };

	exchange_reply(ex, status, headers, name ? 3 : 2,
		       as_blob(json_pack("{s:s, s:i, s:s}", "title", title, "status", status, "detail", detail),
			       JSON_INDENT(2)));
}

/* --- upstreams --- */

void admin_each_link(const struct services *services, void (*fn)(void *arg, struct link *l), void *arg)
{
	for (size_t i = 0; i < services->count; i++) {
		const struct service_instance *s = &services->items[i];

		if (s->service->each_link)
			s->service->each_link(s->state, fn, arg);
	}
}

json_t *admin_time_json(int64_t wall_ms)
{
	struct buf b = BUF_EMPTY;
	json_t *v;

	if (!wall_ms)
		return json_null();
	clock_format_rfc3339(wall_ms, &b);
	v = json_string(b.data);
	buf_fini(&b);
	return v;
}

json_t *admin_link_json(struct link *l)
{
	struct buf error = BUF_EMPTY; /* as words of others it may be anything; JSON has to be UTF-8 */
	struct link_info info;
	json_t *o;

	link_info(l, &info);
	str_add_escaped(&error, slice_str(info.last_error), sizeof(info.last_error));
	o = json_pack("{s:s, s:s, s:s, s:b, s:s, s:o, s:s}", "name", info.name, "service", info.service, "url",
		      info.url, "enabled", info.enabled, "state", link_state_text(info.state), "since",
		      admin_time_json(info.since_wall_ms), "last_error", error.data);
	buf_fini(&error);
	return o;
}

static void add_link(void *arg, struct link *l)
{
	json_t *one = admin_link_json(l);

	if (one) /* NULL: a name that is not UTF-8 */
		(void)json_array_append_new(arg, one);
}

static json_t *upstreams_json(const struct services *services)
{
	json_t *list = json_array();

	admin_each_link(services, add_link, list);
	return list;
}

static void handle_upstreams(struct exchange *ex)
{
	const struct admin *a = exchange_service_arg(ex);

	OBJ_CHECK(a, ADMIN_MAGIC);
	admin_reply_json(ex, 200, json_pack("{s:o, s:n}", "items", upstreams_json(a->core->services), "next"));
}

struct switching {
	struct slice name;
	bool enabled;
	unsigned found;
	json_t *shown; /* the first one */
};

static void switch_link(void *arg, struct link *l)
{
	struct switching *s = arg;
	struct link_info info;

	link_info(l, &info);
	if (!slice_eq_str(s->name, info.name))
		return;
	link_enable(l, s->enabled);
	log_event(LOG_INFO, s->enabled ? "upstream_enabled" : "upstream_disabled", LOG_STR("upstream", info.name),
		  LOG_STR("service", info.service), LOG_END);
	if (!s->found++)
		s->shown = admin_link_json(l);
}

/* Reads {"enabled": bool}; anything else in it is a mistake that should be heard of. NULL: right; else what is
 * wrong. */
static const char *read_switch(struct slice body, bool *ret_enabled)
{
	json_error_t why;
	json_t *o = json_loadb(body.p ? body.p : "", body.n, 0, &why), *enabled;
	const char *fault = NULL;

	enabled = json_object_get(o, "enabled");
	if (!o)
		fault = "the body is not JSON; accepted: {\"enabled\": true} or {\"enabled\": false}";
	else if (!json_is_boolean(enabled) || json_object_size(o) != 1)
		fault = "accepted: {\"enabled\": true} or {\"enabled\": false}, and nothing else";
	else
		*ret_enabled = json_is_true(enabled);
	json_decref(o);
	return fault;
}

static void handle_switch(struct exchange *ex)
{
	const struct admin *a = exchange_service_arg(ex);
	struct slice path = route_path(exchange_target(ex), NULL), body = { NULL, 0 };
	struct switching s = { .found = 0 };
	struct buf name = BUF_EMPTY;
	const char *fault;
	int err = exchange_body_peek(ex, &body);

	OBJ_CHECK(a, ADMIN_MAGIC);
	if (err == -EAGAIN || (!err && body.n > ADMIN_MOST_BODY) || err == WEIR_E_TOO_LARGE) {
		exchange_reply_problem(ex, 413, "Body too large", "at most %d bytes are read here", ADMIN_MOST_BODY);
		return;
	}
	fault = err ? "the body cannot be read" : read_switch(body, &s.enabled);
	if (!fault && route_decode(slice_from(path, strlen("/api/v1/upstreams/")), &name) < 0)
		fault = "the upstream's name is not encoded rightly";
	if (fault) {
		exchange_reply_problem(ex, 400, "Bad request", "%s", fault);
	} else {
		s.name = buf_slice(&name);
		admin_each_link(a->core->services, switch_link, &s);
		if (s.found)
			admin_reply_json(ex, 200, s.shown);
		else
			exchange_reply_problem(ex, 404, "No such upstream",
					       "GET /api/v1/upstreams lists those that exist");
	}
	buf_fini(&name);
}

/* --- status --- */

static json_t *listeners_json(const struct core *core)
{
	json_t *list = json_array();

	for (size_t i = 0; i < server_listener_count(core->server); i++) {
		char address[128];
		const char *name;

		server_listener_at(core->server, i, &name, address, sizeof(address));
		(void)json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "address", address));
	}
	return list;
}

static void handle_status(struct exchange *ex)
{
	const struct admin *a = exchange_service_arg(ex);
	const struct services *services;
	json_t *o;

	OBJ_CHECK(a, ADMIN_MAGIC);
	services = a->core->services;
	o = json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "version", a->core->version, "uptime_seconds",
		      (json_int_t)((clock_mono_ms() - a->core->started_mono_ms) / 1000), "started_at",
		      admin_time_json(a->core->started_wall_ms), "listeners", listeners_json(a->core), "upstreams",
		      upstreams_json(services), "health", health_json(services), "outbox", outbox_status_json());
	for (size_t i = 0; i < services->count; i++) {
		const struct service_instance *s = &services->items[i];
		json_t *into;

		if (!s->service->status)
			continue;
		into = json_object();
		s->service->status(s->state, into);
		(void)json_object_set_new(o, s->service->name, into);
	}
	admin_reply_json(ex, 200, o);
}

static void history(struct exchange *ex)
{
	const struct admin *a = exchange_service_arg(ex);

	reply(ex, 200, sampler_json(a->sampler), JSON_COMPACT | JSON_REAL_PRECISION(6)); /* much, and no one reads it */
}

static void handle_history(struct exchange *ex)
{
	const struct admin *a = exchange_service_arg(ex);

	OBJ_CHECK(a, ADMIN_MAGIC);
	exchange_to_worker(ex, a->lane, history); /* with a hundred mirrors it takes a while */
}

const struct admin_route admin_api_routes[] = {
	{ "GET", "status", handle_status },
	{ "GET", "history", handle_history },
	{ "GET", "upstreams", handle_upstreams },
	{ "PUT", "upstreams/", handle_switch },
	{ "GET", "outbox", outbox_handle_list },
	{ "POST", "outbox/flush", outbox_handle_flush },
	{ "GET", "outbox/", outbox_handle_show },
	{ "POST", "outbox/", outbox_handle_act },
	{ "DELETE", "outbox/", outbox_handle_drop },
	{ NULL, NULL, NULL },
};
