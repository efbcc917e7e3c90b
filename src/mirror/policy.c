/* policy.c -- RFC 9111, decided.
 *
 * WHAT     Requests and answers are read once into small structs; three questions are put to them: may it be stored,
 *          how old is it, may it be served.
 * WHY      A cache that decides here, without I/O, can be checked row by row against the RFC. Where the RFC leaves a
 *          choice, this is a shared cache in front of file servers that must still answer when the line is down:
 *          it stores whatever it may, also what is stale at once, and serves the stale only when it has to.
 * RULES    1. no-store and private are never stored; what 3.5 forbids to share is kept guarded or not at all.
 *          2. Answers that say "not now" (429, 5xx of gateways) or "not you" (401, 407) are not stored, whatever they
 *             allow: they would stand in the way of the last good answer (invariant 4), or of the next credential.
 *          3. A directive of a request never forbids what is served when upstream is away: they are wishes (5.2.1).
 * SEE      RFC 9111 sections 3, 4, 5.2; RFC 9110 section 15.1; RFC 5861; RFC 8246; RFC 9213; RFC 6585 */
#include "mirror/policy.h"

#include "base/obj.h"
#include "proto/httpdate.h"
#include "proto/httplist.h"

#define HEURISTIC_MOST_MS (24 * 3600 * (int64_t)1000)

enum policy_method policy_method(struct slice method)
{
	static const char *const safe[] = { "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH" };

	if (slice_eq_str(method, "GET"))
		return POLICY_GET;
	if (slice_eq_str(method, "HEAD"))
		return POLICY_HEAD;
	for (size_t i = 0; i < ARRAY_LEN(safe); i++)
		if (slice_eq_str(method, safe[i]))
			return POLICY_SAFE;
	return POLICY_UNSAFE;
}

void policy_request_read(struct slice method, const struct httplines *h, struct policy_request *ret)
{
	ret->method = policy_method(method);
	cachecontrol_parse_request(h, &ret->cc);
	ret->has_authorization = httplines_count(h, "authorization") > 0;
	ret->has_range = httplines_count(h, "range") > 0;
	ret->has_conditions = httplines_count(h, "if-none-match") || httplines_count(h, "if-modified-since");
	ret->has_origin_conditions = httplines_count(h, "if-match") || httplines_count(h, "if-unmodified-since");
}

static int64_t get_date(const struct httplines *h, const char *name, int64_t now_s)
{
	int64_t s;

	if (httplines_count(h, name) != 1 || httpdate_parse(httplines_get(h, name), now_s, &s) < 0)
		return POLICY_NO_TIME;
	return s;
}

/* RFC 9111 5.1: of a list, or of several lines, the first member; what is no number is ignored. */
static int64_t get_age(const struct httplines *h)
{
	struct slice rest = httplines_get(h, "age"), first;
	int64_t v = 0;

	(void)slice_cut(&rest, ',', &first); /* no comma: all of it */
	first = slice_trim(first);
	for (size_t i = 0; i < first.n; i++) {
		if (first.p[i] < '0' || first.p[i] > '9')
			return 0;
		v = v * 10 + (first.p[i] - '0');
		if (v > CC_MOST_SECONDS)
			v = CC_MOST_SECONDS;
	}
	return v;
}

void policy_response_read(int status, const struct httplines *h, int64_t now_s, struct policy_response *ret)
{
	ret->status = status;
	ret->is_targeted = cachecontrol_parse_targeted(h, "cdn-cache-control", &ret->cc) == 0;
	if (!ret->is_targeted)
		cachecontrol_parse(h, &ret->cc);
	ret->has_expires = httplines_count(h, "expires") > 0;
	ret->has_set_cookie = httplines_count(h, "set-cookie") > 0;
	ret->has_content_range = httplines_count(h, "content-range") > 0;
	ret->has_vary_any = httplist_has(h, "vary", "*");
	ret->etag = etag_of(h);
	ret->date_s = get_date(h, "date", now_s);
	ret->expires_s = get_date(h, "expires", now_s);
	ret->last_modified_s = get_date(h, "last-modified", now_s);
	ret->age_s = get_age(h);
}

/* --- may it be stored? ---------------------------------------------------------------------------------------- */

static bool is_in(int status, const int *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == status)
			return true;
	return false;
}

/* RFC 9110 15.1, but 206: parts are not stored. */
static bool is_heuristic(int status)
{
	static const int list[] = { 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501 };

	return is_in(status, list, ARRAY_LEN(list));
}

/* What must-understand asks for (5.2.2.3): codes whose meaning for a cache is known here. */
static bool is_understood(int status)
{
	static const int more[] = { 302, 303, 307, 451 };

	return is_heuristic(status) || is_in(status, more, ARRAY_LEN(more));
}

/* Not an answer for the next who asks: parts, 304 and answers to conditions, ranges and framing of one request;
 * challenges; what says "later" (rule 2); what RFC 6585 forbids (428, 429, 431, 511). */
static bool is_for_one(int status)
{
	static const int list[] = { 206, 304, 401, 407, 408, 412, 416, 417, 421, 425,
				    428, 429, 431, 500, 502, 503, 504, 511 };

	return status < 200 || is_in(status, list, ARRAY_LEN(list));
}

static const char *why_not(const struct policy_request *rq, const struct policy_response *rs)
{
	const struct cachecontrol *cc = &rs->cc;
	bool shared = (cc->flags & CC_PUBLIC) || cc->s_maxage_s != CC_ABSENT;

	if (rq->method != POLICY_GET)
		return "not a GET";
	if (is_for_one(rs->status) || rs->has_content_range)
		return "status";
	if (rq->cc.flags & CC_NO_STORE)
		return "no-store of the request";
	if ((cc->flags & CC_MUST_UNDERSTAND) && !is_understood(rs->status))
		return "must-understand";
	/* 5.2.2.3: beside must-understand, no-store is meant for those who do not */
	if ((cc->flags & CC_NO_STORE) && !(cc->flags & CC_MUST_UNDERSTAND))
		return "no-store";
	if (cc->flags & CC_PRIVATE)
		return "private";
	if (rs->has_vary_any)
		return "vary";
	/* RFC 9111 7.3 leaves it to us. Servers that send a session's cookie along with a page seldom mean all of their
	 * users to get it; one that does says so. */
	if (rs->has_set_cookie && !shared)
		return "set-cookie";
	if (!is_heuristic(rs->status) && !shared && cc->max_age_s == CC_ABSENT &&
	    (!rs->has_expires || rs->is_targeted))
		return "no lifetime";
	return NULL;
}

enum policy_keep policy_may_store(const struct policy_request *rq, const struct policy_response *rs,
				  const char **ret_why)
{
	const char *why = why_not(rq, rs);
	bool may_share = (rs->cc.flags & (CC_PUBLIC | CC_MUST_REVALIDATE)) || rs->cc.s_maxage_s != CC_ABSENT;

	if (why) {
		if (ret_why)
			*ret_why = why;
		return POLICY_KEEP_NOT;
	}
	return rq->has_authorization && !may_share ? POLICY_KEEP_GUARDED : POLICY_KEEP_SHARED;
}

/* --- how old is it? ------------------------------------------------------------------------------------------- */

static int64_t at_least_0(int64_t v)
{
	return v > 0 ? v : 0;
}

static int64_t date_or_received_s(const struct policy_response *rs, const struct policy_times *t)
{
	return rs->date_s != POLICY_NO_TIME ? rs->date_s : t->response_ms / 1000;
}

/* 4.2.2: a tenth of what has gone by since the last change, but not more than a day. */
static int64_t heuristic_ms(const struct policy_response *rs, const struct policy_times *t)
{
	int64_t ms;

	if (rs->last_modified_s == POLICY_NO_TIME || (!is_heuristic(rs->status) && !(rs->cc.flags & CC_PUBLIC)))
		return 0;
	ms = at_least_0(date_or_received_s(rs, t) - rs->last_modified_s) * 100;
	return ms < HEURISTIC_MOST_MS ? ms : HEURISTIC_MOST_MS;
}

int64_t policy_lifetime_ms(const struct policy_response *rs, const struct policy_times *t)
{
	if (rs->cc.s_maxage_s != CC_ABSENT)
		return rs->cc.s_maxage_s * 1000;
	if (rs->cc.max_age_s != CC_ABSENT)
		return rs->cc.max_age_s * 1000;
	if (rs->has_expires && !rs->is_targeted)
		return rs->expires_s == POLICY_NO_TIME
			       ? 0
			       : at_least_0(rs->expires_s - date_or_received_s(rs, t)) * 1000;
	return heuristic_ms(rs, t);
}

int64_t policy_age_ms(const struct policy_response *rs, const struct policy_times *t, int64_t now_ms)
{
	/* in whole seconds, as a Date has no smaller ones */
	int64_t apparent_ms = at_least_0(t->response_ms / 1000 - date_or_received_s(rs, t)) * 1000;
	int64_t corrected_ms = rs->age_s * 1000 + at_least_0(t->response_ms - t->request_ms);
	int64_t initial_ms = apparent_ms > corrected_ms ? apparent_ms : corrected_ms;

	return initial_ms + at_least_0(now_ms - t->response_ms);
}

/* --- may it be served? ---------------------------------------------------------------------------------------- */

static unsigned stale_forbidden(const struct cachecontrol *cc)
{
	return (cc->flags & CC_MUST_REVALIDATE ? POLICY_FORBIDS_MUST_REVALIDATE : 0u) |
	       (cc->flags & CC_PROXY_REVALIDATE ? POLICY_FORBIDS_PROXY_REVALIDATE : 0u) |
	       (cc->s_maxage_s != CC_ABSENT ? POLICY_FORBIDS_S_MAXAGE : 0u) |
	       (cc->flags & CC_NO_CACHE ? POLICY_FORBIDS_NO_CACHE : 0u);
}

/* Whether a time of so many seconds, which may be absent, covers it. */
static bool covers(int64_t seconds, int64_t stale_ms)
{
	return seconds != CC_ABSENT && stale_ms <= seconds * 1000;
}

static enum policy_reuse reuse_online(const struct policy_request *rq, const struct policy_response *rs,
				      const struct policy_verdict *v)
{
	const struct cachecontrol *wish = &rq->cc;
	int64_t stale_ms = v->age_ms - v->lifetime_ms;

	if ((wish->flags | rs->cc.flags) & CC_NO_CACHE)
		return POLICY_MUST_VALIDATE;
	if (wish->max_age_s != CC_ABSENT && v->age_ms > wish->max_age_s * 1000)
		return POLICY_MUST_VALIDATE;
	if (wish->max_age_s == 0)
		return POLICY_MUST_VALIDATE; /* also in the millisecond in which it came: that is what clients mean */
	if (wish->min_fresh_s != CC_ABSENT && -stale_ms < wish->min_fresh_s * 1000)
		return POLICY_MUST_VALIDATE;
	if (stale_ms < 0)
		return POLICY_FRESH;
	if (v->forbidden)
		return POLICY_MUST_VALIDATE;
	if (covers(wish->max_stale_s, stale_ms))
		return POLICY_FRESH;
	/* who names a max-age without max-stale wants nothing stale (5.2.1.1) */
	if (wish->max_age_s == CC_ABSENT && covers(rs->cc.stale_while_revalidate_s, stale_ms))
		return POLICY_STALE_WHILE_REVALIDATE;
	return POLICY_MUST_VALIDATE;
}

static bool allowed_offline(const struct policy_request *rq, const struct policy_response *rs,
			    const struct policy_operator *op, const struct policy_verdict *v)
{
	unsigned forbidden = v->forbidden & ~op->override;
	int64_t stale_ms = v->age_ms - v->lifetime_ms;

	if (stale_ms < 0)
		return !(forbidden & POLICY_FORBIDS_NO_CACHE);
	if (forbidden || op->serve_stale_ms == 0)
		return false;
	return op->serve_stale_ms == POLICY_STALE_FOREVER || stale_ms <= op->serve_stale_ms ||
	       covers(rs->cc.stale_if_error_s, stale_ms) || covers(rq->cc.stale_if_error_s, stale_ms);
}

void policy_reuse(const struct policy_request *rq, const struct policy_response *rs, const struct policy_times *t,
		  const struct policy_operator *op, int64_t now_ms, struct policy_verdict *ret)
{
	ret->age_ms = policy_age_ms(rs, t, now_ms);
	ret->lifetime_ms = policy_lifetime_ms(rs, t);
	ret->forbidden = stale_forbidden(&rs->cc);
	ret->reuse = reuse_online(rq, rs, ret);
	ret->stale_allowed = allowed_offline(rq, rs, op, ret);
}
