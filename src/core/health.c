/* health.c -- /healthz, /livez, /readyz and /metrics, the same on every listener.
 *
 *   /livez    200 as long as the process answers
 *   /readyz   200 until a stop begins (then 503), or while a service cannot do its work at all
 *   /healthz  200 `ok`; 503 when a service is unhealthy; ?detailed=true: the JSON of the interface contract
 *
 * WHY      An upstream that is down never fails any of these: a load balancer that took weir out of service in an
 *          outage would take away the one thing that still works. It shows as "degraded" in the detailed answer.
 * THREADS  Front threads. Everything asked here is in memory. */
#include "core/health.h"

#include "base/clock.h"
#include "base/obj.h"
#include "core/delivery.h"

struct link_count {
	unsigned up, away, unknown;
	json_t *list; /* of {"name", "state"} */
};

static const char *const state_names[] = {
	[HEALTH_OK] = "healthy", [HEALTH_DEGRADED] = "degraded", [HEALTH_UNHEALTHY] = "unhealthy"
};

static void count_link(void *arg, struct link *l)
{
	struct link_count *n = arg;
	struct link_info info;

	link_info(l, &info);
	if (info.state == LINK_UP)
		n->up++;
	else if (link_state_is_open(info.state))
		n->away++;
	else
		n->unknown++;
	(void)json_array_append_new(n->list,
				    json_pack("{s:s, s:s}", "name", info.name, "state", link_state_text(info.state)));
}

/* The sum over services; `reason` is of the worst. */
static struct service_health gather(const struct services *services)
{
	struct service_health sum = { .state = HEALTH_OK };

	for (size_t i = 0; i < services->count; i++) {
		const struct service_instance *s = &services->items[i];
		struct service_health one = { .state = HEALTH_OK };

		if (!s->service->health)
			continue;
		s->service->health(s->state, &one);
		if (one.state > sum.state) {
			sum.state = one.state;
			sum.reason = one.reason;
		}
		sum.cached_repos += one.cached_repos;
		sum.hits += one.hits;
		sum.misses += one.misses;
		sum.stale_serves += one.stale_serves;
		sum.offline_possible |= one.offline_possible;
	}
	return sum;
}

static const char *upstream_status(const struct link_count *n)
{
	if (!n->up && !n->away)
		return "unknown";
	if (!n->away)
		return "available";
	return n->up || n->unknown ? "mixed" : "unavailable";
}

/* What waits for an upstream is healthy; what waits for a person is not. */
static enum health_state outbox_state(const struct delivery_sum *sum, const char **ret_reason)
{
	const struct {
		bool applies;
		enum health_state state;
		const char *reason;
	} rows[] = {
		{ sum->is_readonly, HEALTH_UNHEALTHY, "a sync has failed: no writes are taken until a restart" },
		{ sum->paused > 0, HEALTH_DEGRADED, "delivery is paused: an upstream wants another credential" },
		{ sum->entries[OUTBOX_CONFLICT] > 0, HEALTH_DEGRADED, "there are conflicts: see weir outbox ls" },
		{ sum->entries[OUTBOX_HELD] > 0, HEALTH_DEGRADED, "writes are held: see weir outbox ls" },
		{ sum->damaged > 0, HEALTH_DEGRADED, "damage was found: see weir outbox ls" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!rows[i].applies)
			continue;
		*ret_reason = rows[i].reason;
		return rows[i].state;
	}
	return HEALTH_OK;
}

static json_t *component(enum health_state state, const char *reason)
{
	json_t *o = json_pack("{s:s}", "status", state_names[state]);

	if (reason)
		(void)json_object_set_new(o, "reason", json_string(reason));
	return o;
}

/* *ret_state: never worse than degraded, as reading goes on. */
static json_t *outbox_component(enum health_state *ret_state)
{
	const char *reason = NULL;
	struct delivery_sum sum;
	enum health_state state;
	json_t *o;

	delivery_sum(&sum);
	state = outbox_state(&sum, &reason);
	o = component(state, reason);
	(void)json_object_set_new(o, "queued", json_integer((json_int_t)sum.entries[OUTBOX_QUEUED]));
	*ret_state = state == HEALTH_OK ? HEALTH_OK : HEALTH_DEGRADED;
	return o;
}

json_t *health_json(const struct services *services)
{
	struct service_health sum = gather(services);
	struct link_count links = { .list = json_array() };
	enum health_state shown, of_outbox;
	json_t *outbox = outbox_component(&of_outbox);

	for (size_t i = 0; i < services->count; i++) {
		if (services->items[i].service->each_link)
			services->items[i].service->each_link(services->items[i].state, count_link, &links);
	}
	shown = sum.state == HEALTH_OK && links.away ? HEALTH_DEGRADED : sum.state;
	shown = shown == HEALTH_OK ? of_outbox : shown;
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:{s:I, s:I, s:I}, s:{s:o, s:o, s:o}}", "status",
			 state_names[shown], "version", services->core->version, "uptime_seconds",
			 (json_int_t)((clock_mono_ms() - services->core->started_mono_ms) / 1000), "upstream_status",
			 upstream_status(&links), "offline_mode",
			 !sum.offline_possible ? "disabled"
			 : links.away          ? "active"
					       : "inactive",
			 "cached_repos", (json_int_t)sum.cached_repos, "cache_stats", "hits", (json_int_t)sum.hits,
			 "misses", (json_int_t)sum.misses, "stale_serves", (json_int_t)sum.stale_serves, "components",
			 "disk", component(sum.state, sum.reason), "outbox", outbox, "upstreams", links.list);
}

/* --- answers --- */

static void reply(struct exchange *ex, int status, const char *type, struct buf *body)
{
	const struct header_line headers[] = { { "Content-Type", type }, { "Cache-Control", "no-store" } };

	exchange_reply(ex, status, headers, 2, blob_new_take(body));
}

static void reply_line(struct exchange *ex, int status, const char *line)
{
	struct buf body = BUF_EMPTY;

	buf_addf(&body, "%s\n", line);
	reply(ex, status, "text/plain; charset=utf-8", &body);
}

/* Query of the form a=b&detailed=true. */
static bool wants_detail(struct slice query)
{
	struct slice part;
	bool more = query.n > 0;

	while (more) {
		more = slice_cut(&query, '&', &part);
		if (slice_eq_str(part, "detailed=true") || slice_eq_str(part, "detailed=1") ||
		    slice_eq_str(part, "detailed"))
			return true;
	}
	return false;
}

static void answer_health(struct exchange *ex, struct slice query, const struct services *services)
{
	struct service_health sum = gather(services);
	int status = sum.state == HEALTH_UNHEALTHY ? 503 : 200;
	struct buf body = BUF_EMPTY;
	json_t *json;
	char *text;

	if (!wants_detail(query)) {
		reply_line(ex, status, status == 200 ? "ok" : sum.reason ? sum.reason : "unhealthy");
		return;
	}
	json = health_json(services);
	text = json_dumps(json, JSON_INDENT(2));
	buf_addf(&body, "%s\n", text ? text : "{}");
	free(text);
	json_decref(json);
	reply(ex, status, "application/json", &body);
}

static void answer_ready(struct exchange *ex, const struct services *services)
{
	struct service_health sum = gather(services);

	if (atomic_load(&services->stopping))
		reply_line(ex, 503, "stopping");
	else if (sum.state == HEALTH_UNHEALTHY)
		reply_line(ex, 503, sum.reason ? sum.reason : "unhealthy");
	else
		reply_line(ex, 200, "ok");
}

static void answer_metrics(struct exchange *ex, const struct services *services)
{
	struct buf body = BUF_EMPTY;

	metrics_render(services->core->metrics, &body);
	reply(ex, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

bool health_handle_path(struct exchange *ex, struct slice path_and_query, const struct services *services)
{
	static const char *const paths[] = { "/healthz", "/livez", "/readyz", "/metrics" };
	const struct header_line headers[] = { { "Allow", "GET, HEAD" },
					       { "Content-Type", "text/plain; charset=utf-8" } };
	struct slice path, query = path_and_query, method = exchange_method(ex);
	size_t which = 0;

	(void)slice_cut(&query, '?', &path);
	while (which < 4 && !slice_eq_str(path, paths[which]))
		which++;
	if (which == 4)
		return false;
	if (exchange_refuse_foreign(ex))
		return true;
	if (!slice_eq_str(method, "GET") && !slice_eq_str(method, "HEAD")) {
		exchange_reply(ex, 405, headers, 2, blob_new_copy("only GET and HEAD here\n", 23));
		return true;
	}
	switch (which) {
	case 0: answer_health(ex, query, services); break;
	case 1: reply_line(ex, 200, "ok"); break;
	case 2: answer_ready(ex, services); break;
	default: answer_metrics(ex, services); break;
	}
	return true;
}

bool health_handle(struct exchange *ex, const struct services *services)
{
	return health_handle_path(ex, exchange_target(ex),
				  services); /* an absolute-form target begins with no '/': not ours */
}
