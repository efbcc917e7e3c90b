/* conditional.h -- preconditions of a request, judged against a representation that is here (RFC 9110 13). Pure; any
 * thread. Of use for cached answers, and for writes judged against the view that a client was given. */
#ifndef WEIR_MIRROR_CONDITIONAL_H
#define WEIR_MIRROR_CONDITIONAL_H

#include "proto/etag.h"
#include "proto/httplines.h"

struct conditional_view {
	bool exists;             /* there is a current representation: then */
	struct etag etag;        /* opaque.p NULL: it has none */
	int64_t last_modified_s; /* POLICY_NO_TIME: it has none */
	int64_t date_s;          /* of the answer that gave it; POLICY_NO_TIME: none */
};

enum conditional_outcome {
	CONDITIONAL_GO_ON = 0,          /* as if there were no conditions */
	CONDITIONAL_NOT_MODIFIED = 304, /* GET and HEAD only */
	CONDITIONAL_FAILED = 412,
};

/* RFC 9110 13.2.2, steps 1 to 4, in the place of the origin: for queued content and offline writes. `now_s` settles
 * two-digit years. A malformed If-Match fails, as a list without our tag would; a malformed If-None-Match lets the
 * request go on; a malformed date, or two, is ignored (13.1.3, 13.1.4). */
enum conditional_outcome conditional_judge(struct slice method, const struct httplines *request,
					   const struct conditional_view *view, int64_t now_s);
/* The same for an answer from the cache to a GET or HEAD: steps 3 and 4, as If-Match and If-Unmodified-Since are the
 * origin's business, and with Date in place of a missing Last-Modified (RFC 9111 4.3.2). */
enum conditional_outcome conditional_judge_cached(struct slice method, const struct httplines *request,
						  const struct conditional_view *view, int64_t now_s);
/* Step 5: whether the Range of a GET applies; true without If-Range. A tag is compared strongly; a date only counts
 * when it is exactly the Last-Modified and that is strong: at least a second before Date (RFC 9110 8.8.2.2, 13.1.5). */
bool conditional_range_applies(const struct httplines *request, const struct conditional_view *view, int64_t now_s);

#endif
