/* request.c -- where a request to a mirror goes, and how it is answered.
 *
 * WHAT     mirror_handle(): refuses what no mirror can do (leaving HTTP, TRACE, a client without the token), then by
 *          method: GET and HEAD to read.c, the outbox's methods to write.c, all others straight through (pass.c).
 * RULES    1. The raw target is what is cached and sent on: nothing is decoded on the way (DESIGN "Front").
 *          2. Every answer has a Cache-Status (RFC 9211); those of weir's own are problem details that say what to do.
 * THREADS  Front threads, and whoever owns the exchange. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "mirror/mirror_priv.h"
#include "mirror/serve.h"

#define RETRY_AFTER_S "5"
#define ALLOWED "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

struct request *request_of(struct exchange *ex)
{
	return exchange_data(ex);
}

/* --- the end of a request --- */

static void done(void *arg, int status, uint64_t bytes, bool whole)
{
	struct request *q = arg;
	struct mirror_metrics *mm = &q->m->metrics;

	(void)bytes;
	metric_add(mm->requests[q->how][!whole || status >= 400], 1);
	metric_observe(mm->duration[q->how], (double)(clock_mono_us() - exchange_started_us(q->ex)) / 1e6);
	stored_unref(&q->old);
}

bool request_is_offline(struct request *q)
{
	return link_state_is_open(link_state(q->m->link));
}

void request_with_body_to_worker(struct request *q, struct lane *whole, struct lane *slow, exchange_fn *fn)
{
	struct slice body;
	bool is_whole = !exchange_body_is_encoded(q->ex) && exchange_body_peek(q->ex, &body) == 0;

	request_to_worker(q, is_whole ? whole : slow, fn);
}

void request_to_worker(struct request *q, struct lane *lane, exchange_fn *fn)
{
	exchange_to_worker(q->ex, lane, fn);
}

/* --- answers --- */

void request_problem(struct request *q, int status, enum mirror_cache how, const char *cache_status, const char *title,
		     const char *fmt, ...)
{
	struct header_line lines[7] = { { "Content-Type", "application/problem+json" },
					{ "Cache-Control", "no-store" },
					{ "Cache-Status", cache_status } };
	struct buf detail = BUF_EMPTY, body = BUF_EMPTY;
	size_t n = 3;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&detail, fmt, ap);
	va_end(ap);
	buf_addf(&body, "{\"title\": \"%s\", \"status\": %d, \"detail\": \"", title, status);
	str_add_json(&body, buf_slice(&detail));
	buf_add_str(&body, "\"}\n");
	if (status == 503 || status == 504 || status == 507)
		lines[n++] = (struct header_line){ "Retry-After", RETRY_AFTER_S };
	if (status == 401)
		lines[n++] = (struct header_line){ "WWW-Authenticate", "Bearer realm=\"weir\"" };
	if (status == 405)
		lines[n++] = (struct header_line){ "Allow", ALLOWED };
	if (how == MIRROR_OVERLAY)
		lines[n++] = (struct header_line){ "Weir-Overlay", "queued" };
	q->how = how;
	exchange_reply(q->ex, status, lines, n, blob_new_take(&body));
	buf_fini(&detail);
}

void request_unavailable(struct request *q, int code)
{
	const char *name = q->m->name;

	if (code == WEIR_E_PROTOCOL || code == WEIR_E_PARSE || code == WEIR_E_TOO_LARGE)
		request_problem(q, 502, MIRROR_MISS, "weir; fwd=miss", "Bad answer from upstream",
				"the upstream of mirror %s answered in a way that is not HTTP (%s); look at the server",
				name, err_text(code));
	else if (err_is_unavailable(code) && q->policy.method == POLICY_UNSAFE)
		request_problem(q, 504, MIRROR_OFFLINE, "weir; fwd=bypass; detail=offline", "Upstream is away",
				"the upstream of mirror %s is away (%s); nothing was done: try again when it is back",
				name, err_text(code));
	else if (code == -ENOKEY)
		request_problem(
			q, 503, MIRROR_REFUSED, "weir; fwd=miss", "No token",
			"mirror %s cannot read its token_file; see weir's log, and mend the file: it is read again by itself",
			name);
	else if (code == -EAGAIN || code == WEIR_E_CANCELLED)
		request_problem(q, 503, MIRROR_REFUSED, "weir; fwd=miss", "Too busy",
				"mirror %s has no worker free for this, or is stopping; try again soon", name);
	else if (err_is_unavailable(code))
		request_problem(
			q, 504, MIRROR_OFFLINE, "weir; fwd=miss; detail=offline", "Upstream is away",
			"the upstream of mirror %s is away (%s) and nothing that may be served is stored for this "
			"URI; try again when it is back, or read it once while it is there",
			name, err_text(code));
	else
		request_problem(q, code == -ENOSPC ? 507 : 500, MIRROR_REFUSED, "weir; fwd=miss",
				"Trouble of weir's own", "mirror %s cannot do this now: %s; see weir's log and disk",
				name, err_text(code));
}

void request_unknown(struct request *q, int code, int status)
{
	if (status)
		request_problem(
			q, 504, MIRROR_PASSTHROUGH, "weir; fwd=bypass", "The outcome is unknown",
			"upstream of mirror %s answered %d, but its answer did not come whole, or cannot be passed on (%s); it "
			"has most likely acted on the request: look there before you repeat it",
			q->m->name, status, err_text(code));
	else
		request_problem(
			q, 504, MIRROR_PASSTHROUGH, "weir; fwd=bypass", "The outcome is unknown",
			"no answer came from upstream of mirror %s after the request went out (%s); it may have acted on it: "
			"look there before you repeat it",
			q->m->name, err_text(code));
}

void request_serve(struct request *q, struct stored *s, enum mirror_cache how, const char *cache_status)
{
	struct header_line extra[3] = { { "Cache-Status", cache_status } };
	const struct policy_times t = { s->request_wall_ms, s->response_wall_ms };
	int64_t age_ms = policy_age_ms(&s->policy, &t, clock_wall_ms());
	char age[24];
	size_t n = 1;

	q->how = how;
	if (how == MIRROR_OVERLAY)
		extra[n++] = (struct header_line){ "Weir-Overlay", "queued" };
	/* RFC 9111 5.1: of what was not just made by upstream. */
	else if (how != MIRROR_MISS || s->policy.age_s > 0) {
		(void)snprintf(age, sizeof(age), "%lld", (long long)(age_ms / 1000));
		extra[n++] = (struct header_line){ "Age", age };
	}
	(how == MIRROR_OVERLAY ? serve_queued : serve_stored)(q->ex, q->m->disk_lane, s, extra, n);
}

/* --- the beginning --- */

/* Origin-form of what came: absolute-form is what a proxy is sent (RFC 9112 3.2.2); the front has checked its host. */
static struct slice origin_form(struct slice raw)
{
	struct slice rest = raw;
	ssize_t at;

	if (raw.n && raw.p[0] == '/')
		return raw;
	if (slice_starts(rest, "http://"))
		rest = slice_from(rest, 7);
	else if (slice_starts(rest, "https://"))
		rest = slice_from(rest, 8);
	else
		return (struct slice){ NULL, 0 };
	at = slice_find(rest, '/');
	return at < 0 ? SLICE_LIT("/") : slice_from(rest, (size_t)at);
}

static struct request *request_new(struct mirror *m, struct exchange *ex)
{
	struct request *q = arena_alloc(exchange_arena(ex), sizeof(*q));
	struct slice credential;

	ENSURE(q); /* the arena has 1 MiB, and this is the first */
	*q = (struct request){ .m = m, .ex = ex, .how = MIRROR_REFUSED, .serial = atomic_fetch_add(&m->serials, 1) };
	exchange_set_data(ex, q);
	exchange_set_done_hook(ex, done, q);
	q->method = exchange_method(ex);
	q->target = origin_form(exchange_target(ex));
	heads_of_request(ex, &q->lines);
	q->h = lines_view(&q->lines);
	policy_request_read(q->method, &q->h, &q->policy);
	credential = httplines_get(&q->h, "authorization");
	if (mirror_config(m)->token_file)
		q->policy.has_authorization = false; /* weir's own goes upstream, whatever the client sends */
	else
		q->credential = credential;
	return q;
}

/* Addressed to this server, not to what is behind it: "*", or no hop is left (RFC 9110 7.6.2). */
static bool is_own_options(struct request *q)
{
	return slice_eq_str(q->method, "OPTIONS") &&
	       (!q->target.n || slice_eq_str(httplines_get(&q->h, "max-forwards"), "0"));
}

/* The listener's own token has done its work: it is no credential towards upstream, and not for its eyes. */
static void take_client_token(struct request *q)
{
	if (!q->m->client_token)
		return;
	lines_remove(&q->lines, "authorization");
	q->h = lines_view(&q->lines);
	q->policy.has_authorization = false;
	q->credential = (struct slice){ NULL, 0 };
}

static bool is_refused(struct request *q)
{
	static const struct header_line own[] = { { "Allow", ALLOWED }, { "Cache-Status", "weir; fwd=bypass" } };
	struct mirror *m = q->m;

	if (q->lines.full)
		request_problem(q, 431, MIRROR_REFUSED, "weir; fwd=bypass", "Too large",
				"the request's header fields are too large for mirror %s; send fewer or shorter ones",
				m->name);
	else if (!mirror_admits(m, httplines_get(&q->h, "authorization")))
		request_problem(q, 401, MIRROR_REFUSED, "weir; fwd=bypass", "Token needed",
				"mirror %s wants the token of its client_token_file: Authorization: Bearer TOKEN",
				m->name);
	else if (heads_is_upgrade(&q->h))
		request_problem(q, 501, MIRROR_REFUSED, "weir; fwd=bypass", "Not passed on",
				"websockets and other upgrades do not pass through a cache; connect to %s itself",
				m->origin);
	else if (slice_eq_str(q->method, "TRACE"))
		request_problem(q, 405, MIRROR_REFUSED, "weir; fwd=bypass", "Not allowed",
				"TRACE would show others' header fields; use another method");
	else if (is_own_options(q))
		exchange_reply(q->ex, 204, own, ARRAY_LEN(own), NULL);
	else if (!q->target.n)
		request_problem(q, 400, MIRROR_REFUSED, "weir; fwd=bypass", "No path",
				"the request target has no path; send one that begins with '/'");
	else
		return false;
	return true;
}

void mirror_handle(struct exchange *ex)
{
	struct mirror *m = exchange_service_arg(ex);
	struct request *q;

	OBJ_CHECK(m, MIRROR_MAGIC);
	q = request_new(m, ex);
	if (is_refused(q))
		return;
	take_client_token(q);
	if ((q->policy.method == POLICY_GET || q->policy.method == POLICY_HEAD) && !exchange_body_announced(ex))
		/* with a body it is a question of its own (RFC 9110 9.3.1), which no key tells from others */
		read_begin(q);
	else if (mirror_queues(mirror_config(m), q->method))
		write_begin(q);
	else
		pass_begin(q);
}
