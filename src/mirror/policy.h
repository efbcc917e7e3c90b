/* policy.h -- what RFC 9111 says of one request and one response: may this shared cache store it, how long is it
 * fresh, may it be served now. Decisions only: no I/O, no clock, no memory. Any thread.
 *
 * Beside it: fields.h (what of the header is stored, and updated by a 304), vary.h (which stored response fits), and
 * conditional.h (preconditions), invalidate.h (what a write makes untrue). */
#ifndef WEIR_MIRROR_POLICY_H
#define WEIR_MIRROR_POLICY_H

#include "proto/cachecontrol.h"
#include "proto/etag.h"
#include "proto/httplines.h"

#define POLICY_NO_TIME INT64_MIN /* a date that is absent or malformed */

enum policy_method {
	POLICY_GET,
	POLICY_HEAD,
	POLICY_SAFE,   /* OPTIONS, TRACE, PROPFIND, REPORT, SEARCH: no effect (RFC 9110 9.2.1), no answer kept */
	POLICY_UNSAFE, /* every other, unknown ones too: after it, stored answers are doubtful (RFC 9111 4.4) */
};
enum policy_method policy_method(struct slice method); /* case matters (RFC 9110 9.1) */

struct policy_request {
	enum policy_method method;
	struct cachecontrol cc; /* Pragma read into it */
	bool has_authorization;
	bool has_range;
	bool has_conditions; /* If-None-Match, If-Modified-Since: conditional_judge_cached() answers them */
	bool has_origin_conditions; /* If-Match, If-Unmodified-Since: for upstream to judge (RFC 9111 4.3.2) */
};

/* `h` is not kept. */
void policy_request_read(struct slice method, const struct httplines *h, struct policy_request *ret);

struct policy_response {
	int status;
	struct cachecontrol cc; /* of CDN-Cache-Control when that is there and valid */
	bool is_targeted;       /* it was: then Expires is not looked at (RFC 9213 2.1) */
	bool has_expires;       /* expires_s is POLICY_NO_TIME when it is malformed, or there twice: in the past */
	bool has_set_cookie, has_content_range, has_vary_any;
	struct etag etag;       /* borrowed from the lines; opaque.p NULL: none */
	int64_t date_s, expires_s, last_modified_s; /* since 1970; POLICY_NO_TIME */
	int64_t age_s;          /* 0 when absent or malformed */
};

/* `now_s` settles the century of two-digit years. The lines are borrowed for the tag only. */
void policy_response_read(int status, const struct httplines *h, int64_t now_s, struct policy_response *ret);

enum policy_keep {
	POLICY_KEEP_NOT,
	/* Asked for with a credential, and RFC 9111 3.5 lets nobody else have it without asking upstream. It may be
	 * kept to be served to a credential that upstream has just accepted for it (a 304 to that one's request), or
	 * offline to one that holds a grant (invariant 6). Never without. */
	POLICY_KEEP_GUARDED,
	POLICY_KEEP_SHARED,
};

/* RFC 9111 3. Of a whole answer to a GET; *ret_why, a static phrase, tells the reason of a KEEP_NOT. `ret_why` may be
 * NULL. The request's no-store counts; whether its URI can be stored under (userinfo, length) is the caller's. */
enum policy_keep policy_may_store(const struct policy_request *rq, const struct policy_response *rs,
				  const char **ret_why);

/* When the answer that is stored, or last validated, was asked for and came; wall clock. */
struct policy_times {
	int64_t request_ms, response_ms;
};

int64_t policy_lifetime_ms(const struct policy_response *rs, const struct policy_times *t); /* RFC 9111 4.2.1 */
/* RFC 9111 4.2.3, never negative: a wall clock that jumped back makes nothing younger than it came. */
int64_t policy_age_ms(const struct policy_response *rs, const struct policy_times *t, int64_t now_ms);

/* What may forbid a stale answer while upstream is unavailable (RFC 9111 4.2.4), and an operator may override. */
enum policy_stale_forbidden {
	POLICY_FORBIDS_MUST_REVALIDATE = 1 << 0,
	POLICY_FORBIDS_PROXY_REVALIDATE = 1 << 1,
	POLICY_FORBIDS_S_MAXAGE = 1 << 2,
	POLICY_FORBIDS_NO_CACHE = 1 << 3,
};

#define POLICY_STALE_FOREVER (-1)

struct policy_operator {
	/* how long after it became stale: POLICY_STALE_FOREVER, milliseconds, or 0 for never. A stale-if-error of the
	 * response or the request lengthens a time, but not "never" */
	int64_t serve_stale_ms;
	unsigned override; /* enum policy_stale_forbidden that do not count, offline only */
};

enum policy_reuse {
	POLICY_FRESH, /* may be served as it is: fresh enough, or the client takes one so stale (max-stale) */
	POLICY_STALE_WHILE_REVALIDATE, /* may be served now; ask upstream in the background (RFC 5861 3) */
	POLICY_MUST_VALIDATE, /* only after upstream said so; with only-if-cached: 504 (RFC 9111 5.2.1.7) */
};

struct policy_verdict {
	enum policy_reuse reuse;
	/* May be served if upstream turns out to be unavailable (invariant 4), whatever the request says of ages: its
	 * directives are wishes (RFC 9111 5.2.1), and a reload offline had better show something. */
	bool stale_allowed;
	int64_t age_ms, lifetime_ms; /* lifetime - age is Cache-Status's ttl; negative: stale */
	unsigned forbidden;          /* enum policy_stale_forbidden of the response */
};

/* For a stored response that fits the request (URI, method, vary.h). A KEEP_GUARDED one must be validated, whatever the
 * verdict, unless its grant says else. */
void policy_reuse(const struct policy_request *rq, const struct policy_response *rs, const struct policy_times *t,
		  const struct policy_operator *op, int64_t now_ms, struct policy_verdict *ret);

#endif
