/* cachecontrol.h -- the directives that steer caches, of requests and responses alike (RFC 9111 5.2, RFC 5861,
 * RFC 8246, RFC 9213). Pure; any thread.
 *
 * Where a field is malformed or contradicts itself, the stricter reading holds (RFC 9111 4.2.1): an invalid max-age is
 * 0, of two the smaller counts, no-store=x is no-store, while public=x, which would allow something, says nothing. The
 * qualified forms no-cache="..." and private="..." count as if they named no field, as RFC 9111 5.2.2.4 and 5.2.2.7
 * foresee. Unknown directives are passed over. */
#ifndef WEIR_PROTO_CACHECONTROL_H
#define WEIR_PROTO_CACHECONTROL_H

#include "proto/httplines.h"

#define CC_ABSENT (-1)
#define CC_MOST_SECONDS 2147483648 /* 2^31: what larger numbers count as (RFC 9111 1.2.2) */

enum cachecontrol_flag {
	CC_NO_CACHE = 1 << 0,
	CC_NO_STORE = 1 << 1,
	CC_NO_TRANSFORM = 1 << 2,
	CC_ONLY_IF_CACHED = 1 << 3,  /* of requests */
	CC_MUST_REVALIDATE = 1 << 4, /* from here on of responses */
	CC_PROXY_REVALIDATE = 1 << 5,
	CC_MUST_UNDERSTAND = 1 << 6,
	CC_PRIVATE = 1 << 7,
	CC_PUBLIC = 1 << 8,
	CC_IMMUTABLE = 1 << 9,
};

struct cachecontrol {
	unsigned flags; /* enum cachecontrol_flag */
	/* seconds, 0 to CC_MOST_SECONDS, or CC_ABSENT */
	int64_t max_age_s;
	int64_t s_maxage_s;
	int64_t stale_while_revalidate_s;
	int64_t stale_if_error_s;
	int64_t min_fresh_s; /* invalid: CC_MOST_SECONDS; of two the larger */
	int64_t max_stale_s; /* without a number: CC_MOST_SECONDS, any staleness; invalid: 0 */
};

/* All Cache-Control lines of a message. */
void cachecontrol_parse(const struct httplines *h, struct cachecontrol *ret);
/* The same of a request, where Pragma: no-cache is no-cache if there is no Cache-Control (RFC 9111 5.4). */
void cachecontrol_parse_request(const struct httplines *h, struct cachecontrol *ret);
/* A targeted field, such as CDN-Cache-Control: a Dictionary of RFC 8941 whose lines are read as one, of two equal keys
 * the last counts, and members of the wrong type are passed over (RFC 9213 2.1). 0: it stands in place of Cache-Control
 * and Expires; -ENOENT: absent or empty; WEIR_E_PARSE: to be ignored as a whole (RFC 9213 2.2). On failure *ret is not
 * touched. */
int cachecontrol_parse_targeted(const struct httplines *h, const char *name, struct cachecontrol *ret);

#endif
