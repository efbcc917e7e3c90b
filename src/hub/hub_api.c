/* hub_api.c -- where a request to the hub goes, and what it is told when it cannot.
 *
 * RULES    1. The key is checked before anything else of a request is looked at, its body above all. Only /health
 *             needs none, and the pages, which hold no data.
 *          2. Success is 200 with JSON. An error is text/plain, one line, and says what is wrong.
 *          3. Host and Origin were checked by the front (invariant 13).
 * THREADS  Front threads.
 * SEE      the original's API, section "Server"; docs/formats/session-batch.md for what is weir's own */
#include <errno.h>
#include <stdarg.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/health.h"
#include "hub/hub_priv.h"
#include "web/web.h"

static const struct {
	const char *method, *path; /* '*': a session's id, which is one segment */
	hub_route_fn *handle;
	int what;
} routes[] = {
	{ "POST", "/api/sessions", hub_post_create, 0 },
	{ "GET", "/api/sessions/*", hub_get_original, 0 },
	{ "POST", "/api/sessions/*/state", hub_post_op, HUB_OP_STATE },
	{ "POST", "/api/sessions/*/events", hub_post_op, HUB_OP_EVENT },
	{ "POST", "/api/sessions/*/metrics", hub_post_op, HUB_OP_METRIC },
	{ "POST", "/api/sessions/*/heartbeat", hub_post_op, HUB_OP_HEARTBEAT },
	{ "POST", "/api/sessions/*/end", hub_post_op, HUB_OP_END },
	{ "POST", "/api/sessions/*/crash", hub_post_op, HUB_OP_CRASH },
	{ "POST", "/api/sessions/*/batch", hub_post_batch, 0 },
	{ "GET", "/api/data/products", hub_get_look, HUB_LOOK_PRODUCTS },
	{ "GET", "/api/data/sessions/*/state", hub_get_look, HUB_LOOK_STATE },
	{ "GET", "/api/data/sessions/*/timeline", hub_get_look, HUB_LOOK_TIMELINE },
	{ "GET", "/api/data/sessions/*/series", hub_get_look, HUB_LOOK_SERIES },
	{ "GET", "/api/data/sessions/*/series/points", hub_get_look, HUB_LOOK_POINTS },
	{ "GET", "/api/data/sessions", hub_get_list, 0 },
	{ "GET", "/api/data/sessions/*", hub_get_look, HUB_LOOK_SESSION },
	{ "GET", "/api/data/sessions/*/events", hub_get_look, HUB_LOOK_EVENTS },
	{ "GET", "/api/data/sessions/*/metrics", hub_get_look, HUB_LOOK_METRICS },
	{ "GET", "/api/data/sessions/*/history", hub_get_look, HUB_LOOK_HISTORY },
};

struct hub_request *hub_request_of(struct exchange *ex)
{
	return exchange_data(ex);
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

/* `header` may be NULL. */
static void reply_line(struct exchange *ex, int status, const char *header, const char *value, struct buf *take)
{
	struct header_line lines[] = {
		{ "Content-Type", "text/plain; charset=utf-8" },
		{ "Cache-Control", "no-store" },
		{ header, value },
	};

	buf_add_char(take, '\n');
	exchange_reply(ex, status, lines, header ? 3 : 2, blob_new_take(take));
}

static void count_refusal(struct exchange *ex, enum hub_refusal why)
{
	metric_add(hub_request_of(ex)->h->metrics.refusals[why], 1);
}

void hub_refuse(struct exchange *ex, enum hub_refusal why, int status, const char *fmt, ...)
{
	struct buf line = BUF_EMPTY;
	va_list ap;

	count_refusal(ex, why);
	va_start(ap, fmt);
	buf_vaddf(&line, fmt, ap);
	va_end(ap);
	reply_line(ex, status, status == 503 ? "Retry-After" : NULL, "1", &line);
}

void hub_refuse_code(struct exchange *ex, int code)
{
	struct hub *h = hub_request_of(ex)->h;

	if (err_is_unavailable(code)) {
		hub_refuse(ex, HUB_REFUSED_STORE, 503, "The hub's database is away; nothing was kept, send it again");
		return;
	}
	switch (code) {
	case -ENOENT: hub_refuse(ex, HUB_REFUSED_SESSION, 404, "Session not found"); break;
	case -ENOSPC: hub_refuse(ex, HUB_REFUSED_STORE, 507, "The disk of the hub is full; nothing was kept"); break;
	case -ESHUTDOWN: hub_refuse(ex, HUB_REFUSED_BUSY, 503, "The hub is stopping; send it again"); break;
	case -EBUSY: hub_refuse(ex, HUB_REFUSED_BUSY, 503, "Too many large answers are being sent; ask again"); break;
	case -EAGAIN: hub_refuse(ex, HUB_REFUSED_BUSY, 503, "The hub's database is busy; send it again"); break;
	case -ETIMEDOUT: hub_refuse(ex, HUB_REFUSED_BUSY, 503, "That takes the hub's database too long; ask for less, or later"); break;
	case -EINPROGRESS:
		hub_refuse(ex, HUB_REFUSED_STORE, 504,
			   "The hub's database went away while this was being kept, and nobody knows whether it was; look before "
			   "you send it again");
		break;
	case -ECANCELED: exchange_reply_dropped(ex); break; /* the client has left */
	case -EIO:
		atomic_store(&h->store_failed, true);
		/* fall through */
	default:
		log_event(LOG_ERROR, "hub_store_failed", LOG_ERR("error", code), LOG_STR("request", exchange_id(ex)),
			  LOG_END);
		hub_refuse(ex, HUB_REFUSED_STORE, 500, "The hub's database cannot do that: %s", err_text(code));
		break;
	}
}

void hub_reply_json(struct exchange *ex, struct buf *take)
{
	static const struct header_line lines[] = { { "Content-Type", "application/json" },
						    { "Cache-Control", "no-store" } };

	exchange_reply(ex, 200, lines, ARRAY_LEN(lines), blob_new_take(take));
}

static void reply_health(struct exchange *ex, struct hub *h)
{
	struct buf b = BUF_EMPTY;

	buf_addf(
		&b,
		"{\"status\":\"healthy\",\"service\":\"datacat-server\",\"version\":\"1.0.0\",\"weir\":\"%s\",\"batch\":true}",
		h->core->version);
	hub_reply_json(ex, &b);
}

/* --- the way in ------------------------------------------------------------------------------------------------- */

static bool is_allowed(struct hub *h, struct exchange *ex)
{
	struct slice given = exchange_header(ex, "authorization");
	bool yes;

	pthread_mutex_lock(&h->lock);
	yes = !h->key || (slice_starts(given, "Bearer ") &&
			  str_eq_const_time(slice_from(given, strlen("Bearer ")), slice_str(h->key)));
	pthread_mutex_unlock(&h->lock);
	return yes;
}

static struct slice path_of(struct slice target, struct slice *ret_query)
{
	struct slice rest = target, path;

	if (slice_starts(rest, "http://") || slice_starts(rest, "https://")) {
		ssize_t slash;

		rest = slice_from(rest, (size_t)slice_find(rest, ':') + 3);
		slash = slice_find(rest, '/');
		rest = slash < 0 ? SLICE_LIT("/") : slice_from(rest, (size_t)slash);
	}
	(void)slice_cut(&rest, '?', &path); /* without one, path is all and rest is empty */
	*ret_query = rest;
	return path;
}

/* Segment by segment; *ret_id is what stands in the place of '*'. */
static bool path_fits(const char *pattern, struct slice path, struct slice *ret_id)
{
	struct slice left = slice_str(pattern), a, b;
	bool more_a, more_b;

	do {
		more_a = slice_cut(&left, '/', &a);
		more_b = slice_cut(&path, '/', &b);
		if (slice_eq_str(a, "*"))
			*ret_id = b;
		else if (!slice_eq(a, b))
			return false;
	} while (more_a && more_b);
	return more_a == more_b;
}

static void refuse_method(struct exchange *ex, const struct buf *allow)
{
	struct buf line = BUF_EMPTY;

	count_refusal(ex, HUB_REFUSED_METHOD);
	buf_addf(&line, "Method not allowed; this path takes %s", allow->data);
	reply_line(ex, 405, "Allow", allow->data, &line);
}

static void route(struct exchange *ex, struct slice path)
{
	struct hub_request *q = hub_request_of(ex);
	struct slice method = exchange_method(ex);
	struct buf allow = BUF_EMPTY;
	bool found = false;

	for (size_t i = 0; i < ARRAY_LEN(routes) && !found; i++) {
		bool is_get = strcmp(routes[i].method, "GET") == 0;

		q->id = SLICE_LIT("none");
		if (!path_fits(routes[i].path, path, &q->id))
			continue;
		found = slice_eq_str(method, routes[i].method) || (is_get && slice_eq_str(method, "HEAD"));
		q->is_write = !is_get;
		q->what = routes[i].what;
		if (!found)
			buf_addf(&allow, "%s%s", allow.len ? ", " : "", is_get ? "GET, HEAD" : routes[i].method);
		else if (!q->id.n)
			hub_refuse(ex, HUB_REFUSED_PATH, 400,
				   "Invalid request: the session's id is missing in the path");
		else
			routes[i].handle(ex, q->id, routes[i].what);
	}
	if (!found && allow.len)
		refuse_method(ex, &allow);
	else if (!found)
		hub_refuse(ex, HUB_REFUSED_PATH, 404, "No such path");
	buf_fini(&allow);
}

static void done(void *arg, int status, uint64_t bytes_sent, bool whole)
{
	struct hub_request *q = arg;
	struct hub_metrics *m = &q->h->metrics;

	if (q->write)
		hub_write_free(q->write);
	if (q->is_large)
		(void)atomic_fetch_sub(&q->h->large_answers, 1);
	metric_observe(q->is_write ? m->duration_write : m->duration_read,
		       (double)(clock_mono_us() - q->started_us) / 1e6);
}

static void refuse_stranger(struct exchange *ex)
{
	struct buf line = BUF_EMPTY;

	count_refusal(ex, HUB_REFUSED_KEY);
	buf_add_str(&line, "Unauthorized: send Authorization: Bearer with the hub's API key");
	reply_line(ex, 401, "WWW-Authenticate", "Bearer realm=\"weir hub\"", &line);
}

void hub_handle(struct exchange *ex)
{
	struct hub *h = exchange_service_arg(ex);
	struct hub_request *q = arena_alloc(exchange_arena(ex), sizeof(*q)); /* the first of it: there is room */
	struct slice path;

	OBJ_CHECK(h, HUB_MAGIC);
	*q = (struct hub_request){ .h = h, .started_us = exchange_started_us(ex) };
	exchange_set_data(ex, q);
	exchange_set_done_hook(ex, done, q);
	path = path_of(exchange_target(ex), &q->query);
	if (slice_eq_str(path, "/health"))
		reply_health(ex, h);
	else if (web_handle(ex, WEB_HUB, path))
		return;
	else if (!is_allowed(h, ex))
		refuse_stranger(ex);
	else if (!health_handle(ex, h->core->services))
		route(ex, path);
}
