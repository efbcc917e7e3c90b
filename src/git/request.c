/* request.c -- making, answering and counting one git request.
 *
 * WHAT     The parts that ls-refs, fetch, advertisements and pushes have in common.
 * RULES    1. Every answer carries Cache-Status (RFC 9211) that agrees with the counters.
 *          2. An error never looks like an empty success: before git's protocol has begun it is an HTTP status with a
 *             text/plain body, afterwards an ERR packet. git shows both as `remote: ...` or `fatal: remote error: ...`.
 *          3. Every message names weir, the upstream and what to do.
 * THREADS  Whoever owns the exchange. */
#include "git/request.h"

#include <stdarg.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "git/answers.h"

#define NO_CACHE "no-cache, max-age=0, must-revalidate"

static void on_done(void *arg, int status, uint64_t bytes_sent, bool whole)
{
	struct git_request *q = arg;
	double seconds = (double)(clock_mono_us() - exchange_started_us(q->ex)) / 1e6;
	bool ok = whole && !q->failed && status < 400;

	(void)bytes_sent;
	git_metrics_request(&q->g->metrics, q->op, q->cache, ok, seconds);
	if (q->reading)
		answer_leave(&q->reading);
	if (q->has_cmd)
		gitcmd_fini(&q->cmd);
	buf_fini(&q->body);
	credential_fini(&q->cred);
	repo_unref(&q->repo);
}

static enum git_operation operation_of(const struct target *t)
{
	if (t->kind == TARGET_RECEIVE_PACK || t->service == TARGET_SERVICE_RECEIVE_PACK)
		return GIT_OP_PUSH;
	if (t->kind == TARGET_UPLOAD_PACK)
		return GIT_OP_FETCH; /* or ls-refs: its body tells */
	return GIT_OP_ADVERTISE;
}

static void refuse_host(struct exchange *ex, struct git_service *g, const char *host)
{
	metric_add(g->metrics.refusals[GIT_REFUSED_HOST], 1);
	exchange_reply_text(
		ex, 403,
		"weir: %s is not among the upstreams that this weir may reach; add to git.upstreams in weir.yaml: "
		"- {match: \"%s\", url: \"https://%s\"}",
		host, host, host);
}

/* The repository and the credential of an understood target. False: answered. */
static bool resolve(struct git_request *q, struct upstream *up)
{
	struct buf key = BUF_EMPTY;
	int r;

	target_repo_key(&q->target, &key);
	q->repo = repo_get(q->g, up, key.data, q->target.path);
	pthread_mutex_lock(&q->repo->lock);
	q->was_known = q->repo->state == REPO_READY && q->repo->seen_at_ms;
	pthread_mutex_unlock(&q->repo->lock);
	r = credential_init(&q->cred, up, key.data, exchange_header(q->ex, "authorization"));
	buf_fini(&key);
	if (r == 0)
		return true;
	q->failed = true;
	if (r == -EACCES) {
		static const struct header_line ask = { "WWW-Authenticate", "Basic realm=\"weir\"" };
		struct blob *text = blob_new_copy("weir: this listener wants its client token as the password\n", 59);

		metric_add(q->g->metrics.refusals[GIT_REFUSED_TOKEN], 1);
		exchange_reply(q->ex, 401, &ask, 1, text);
	} else {
		request_reply_error(q, 500, "the secret for %s cannot be read; see weir's log", up->match);
	}
	return false;
}

struct git_request *request_new(struct exchange *ex, struct git_service *g)
{
	struct git_request *q = arena_alloc(exchange_arena(ex), sizeof(*q));
	struct upstream *up;
	const char *why = NULL;
	int r;

	ENSURE(q != NULL); /* the arena is fresh and its ceiling far above this */
	memset(q, 0, sizeof(*q));
	q->ex = ex;
	q->g = g;
	q->body = (struct buf)BUF_EMPTY;
	r = target_parse(exchange_target(ex), &q->target, &why);
	if (r < 0) {
		metric_add(g->metrics.refusals[GIT_REFUSED_TARGET], 1);
		exchange_reply_text(
			ex, r == WEIR_E_TOO_LARGE ? 414 : 400,
			"weir: this is not a repository's address: %s. Addresses look like /github.com/org/repo",
			why ? why : "malformed");
		return NULL;
	}
	up = upstream_find(g, q->target.host);
	if (!up) {
		refuse_host(ex, g, q->target.host);
		return NULL;
	}
	q->op = operation_of(&q->target);
	q->version = gitcmd_protocol_version(exchange_header(ex, "git-protocol"));
	exchange_set_data(ex, q);
	exchange_set_done_hook(ex, on_done, q);
	return resolve(q, up) ? q : NULL;
}

/* --- answers --- */

static const char *cache_status(const struct git_request *q, char room[64])
{
	switch (q->cache) {
	case GIT_CACHE_HIT:
		if (q->ttl_ms <= 0)
			return "weir; hit";
		(void)snprintf(room, 64, "weir; hit; ttl=%lld", (long long)(q->ttl_ms / 1000));
		return room;
	case GIT_CACHE_REFRESHED:
		return "weir; fwd=stale; stored";
	case GIT_CACHE_MISS:
		return "weir; fwd=uri-miss; stored";
	case GIT_CACHE_OFFLINE:
		return "weir; hit; detail=offline";
	default:
		return "weir; fwd=bypass";
	}
}

void request_reply_blob(struct git_request *q, const char *content_type, struct blob *body)
{
	char room[64];
	struct header_line headers[] = {
		{ "Content-Type", content_type },
		{ "Cache-Control", NO_CACHE },
		{ "Cache-Status", cache_status(q, room) },
	};

	exchange_reply(q->ex, 200, headers, ARRAY_LEN(headers), body);
}

void request_reply_spool(struct git_request *q, const char *content_type, struct spool *s)
{
	uint64_t bytes;
	char room[64];
	struct header_line headers[] = {
		{ "Content-Type", content_type },
		{ "Cache-Control", NO_CACHE },
		{ "Cache-Status", cache_status(q, room) },
	};

	/* A complete one goes with its length: no chunks, and the connection lives on for HTTP/1.0 too. */
	exchange_reply_spool(q->ex, 200, headers, ARRAY_LEN(headers), s,
			     spool_peek(s, &bytes, NULL) == SPOOL_COMPLETE ? (int64_t)bytes : -1);
}

static void reply_text(struct git_request *q, int status, const struct ask_result *r, struct buf *text)
{
	struct header_line headers[5];
	char room[64];
	size_t n = 0;

	q->failed = true;
	headers[n++] = (struct header_line){ "Content-Type", "text/plain; charset=utf-8" };
	headers[n++] = (struct header_line){ "Cache-Control", NO_CACHE };
	headers[n++] = (struct header_line){ "Cache-Status", cache_status(q, room) };
	if (r && r->authenticate.len)
		headers[n++] = (struct header_line){ "WWW-Authenticate", r->authenticate.data };
	if (r && r->retry_after.len)
		headers[n++] = (struct header_line){ "Retry-After", r->retry_after.data };
	else if (status == 503)
		headers[n++] = (struct header_line){ "Retry-After", "5" };
	buf_add_char(text, '\n');
	exchange_reply(q->ex, status, headers, n, blob_new_take(text));
}

void request_reply_error(struct git_request *q, int status, const char *fmt, ...)
{
	struct buf text = BUF_EMPTY;
	va_list ap;

	buf_add_str(&text, "weir: ");
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	reply_text(q, status, NULL, &text);
}

static void reply_err_packet(struct git_request *q, struct buf *text)
{
	struct buf packet = BUF_EMPTY;

	q->failed = true;
	pkt_add_err(&packet, buf_slice(text));
	buf_fini(text);
	request_reply_blob(q, TYPE_RESULT, blob_new_take(&packet));
}

void request_reply_err_packet(struct git_request *q, const char *fmt, ...)
{
	struct buf text = BUF_EMPTY;
	va_list ap;

	buf_add_str(&text, "weir: ");
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	reply_err_packet(q, &text);
}

/* What to do about upstream's no. */
static const char *advice(int status)
{
	switch (status) {
	case 401:
		return "check the user name and password or token";
	case 403:
		return "check whether this credential may do that";
	case 404:
	case 410:
		return "check the repository's address, and whether this credential may read it";
	default:
		return "see what upstream's documentation says of it, and try again";
	}
}

/* What upstream's failure means for a person. */
static void explain(const struct git_request *q, const struct ask_result *r, struct buf *text)
{
	const char *host = q->repo->up->match;
	struct buf reason = BUF_EMPTY;

	ask_result_reason(r, &reason);
	buf_add_str(text, "weir: ");
	if (r->outcome == ASK_UNAVAILABLE && !git_config(q->g)->offline_mode)
		buf_addf(text, "upstream %s is unavailable (%s) and offline_mode is off; try again later", host,
			 reason.data);
	else if (r->outcome == ASK_UNAVAILABLE && q->was_known)
		buf_addf(
			text,
			"upstream %s is unavailable (%s), and what was asked for is not in the cache of %s, or not for this "
			"credential; try again when upstream is back",
			host, reason.data, q->repo->key);
	else if (r->outcome == ASK_UNAVAILABLE)
		buf_addf(text,
			 "upstream %s is unavailable (%s) and %s is not in the cache; try again when upstream is back",
			 host, reason.data, q->repo->key);
	else if (r->outcome == ASK_REFUSED)
		buf_addf(text, "upstream %s %s; %s", host, reason.data, advice(r->status));
	else
		buf_addf(text, "upstream %s gave an answer that cannot be used (%s); see weir's log", host,
			 reason.data);
	buf_fini(&reason);
}

static int status_for(const struct ask_result *r)
{
	if (r->outcome == ASK_REFUSED)
		return r->status ? r->status : 502;
	if (r->outcome == ASK_FAILED)
		return 502;
	return r->err == WEIR_E_SILENT || r->err == WEIR_E_STALLED ? 504 : 503;
}

/* While upstream is away: a repository is here, not for everybody, and the client has not said who it is. git sends its
 * credential only when it is asked for one. Who did say is not told 401: git would forget a password that may be
 * right. */
static bool is_to_say_who(const struct git_request *q, const struct ask_result *r)
{
	return r->outcome == ASK_UNAVAILABLE && q->was_known && !q->cred.value.len && git_config(q->g)->offline_mode &&
	       q->repo->up->auth == GIT_AUTH_PASSTHROUGH && !access_is_granted(q->g, &q->cred, true);
}

static void ask_who(struct git_request *q)
{
	struct ask_result challenge = ASK_RESULT_EMPTY;
	struct buf text = BUF_EMPTY;

	buf_addf(&challenge.authenticate, "Basic realm=\"%s\"", q->repo->up->match);
	buf_addf(&text,
		 "weir: upstream %s is unavailable, and %s is in the cache for those who were allowed to read it",
		 q->repo->up->match, q->repo->key);
	reply_text(q, 401, &challenge, &text);
	ask_result_fini(&challenge);
}

void request_reply_ask(struct git_request *q, const struct ask_result *r)
{
	struct buf text = BUF_EMPTY;
	int status = status_for(r);

	if (is_to_say_who(q, r)) {
		ask_who(q);
		return;
	}

	if (r->outcome != ASK_REFUSED)
		log_event(LOG_WARN, "upstream_failed_request", LOG_STR("repository", q->repo->key),
			  LOG_INT("status", r->status), LOG_ERR("why", r->err), LOG_STR("detail", r->text.data),
			  LOG_STR("request", exchange_id(q->ex)), LOG_END);
	explain(q, r, &text);
	/* Upstream's no keeps its status; of our own troubles git shows the words only when they come in its
	 * protocol. */
	if (q->target.kind == TARGET_UPLOAD_PACK && (r->outcome != ASK_REFUSED || !r->status))
		reply_err_packet(q, &text);
	else
		reply_text(q, status, r, &text);
}

/* --- falling back --- */

bool request_may_fall_back(struct git_request *q)
{
	return git_config(q->g)->offline_mode && access_is_granted(q->g, &q->cred, true);
}

/* An outage makes these lines by the thousand; the counters count each, the log tells of one a second. */
static bool is_to_be_logged(struct repo *r, uint64_t *ret_left_out)
{
	int64_t now = clock_mono_ms();
	bool yes;

	pthread_mutex_lock(&r->lock);
	yes = !r->fallback_logged_ms || now - r->fallback_logged_ms >= 1000;
	*ret_left_out = r->fallbacks_unlogged;
	r->fallbacks_unlogged = yes ? 0 : r->fallbacks_unlogged + 1;
	if (yes)
		r->fallback_logged_ms = now;
	pthread_mutex_unlock(&r->lock);
	return yes;
}

void request_note_fallback(struct git_request *q, const struct refs *refs, const char *why)
{
	int64_t contact = refs ? refs_contact_wall_ms(refs) : 0;
	int64_t age = clock_wall_ms() - contact;
	bool stale = contact && age > git_config(q->g)->stale_after;
	uint64_t left_out;

	q->cache = GIT_CACHE_OFFLINE;
	metric_add(q->g->metrics.shared.fallbacks, 1);
	if (stale)
		metric_add(q->g->metrics.shared.stale, 1);
	if (!is_to_be_logged(q->repo, &left_out))
		return;
	log_event(LOG_INFO, "offline_fallback", LOG_STR("repository", q->repo->key),
		  LOG_STR("operation", git_operation_text(q->op)), LOG_STR("why", why), LOG_INT("more", left_out),
		  LOG_STR("request", exchange_id(q->ex)), LOG_END);
	if (stale)
		log_event(LOG_WARN, "stale_serve", LOG_STR("repository", q->repo->key), LOG_INT("age_s", age / 1000),
			  LOG_STR("request", exchange_id(q->ex)), LOG_END);
}
