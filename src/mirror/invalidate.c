/* invalidate.c -- what a write makes untrue.
 *
 * WHY      Only the same origin: else one server could empty the cache of another.
 * SEE      RFC 9111 section 4.4 */
#include "mirror/invalidate.h"

#include "mirror/policy.h"
#include "proto/uriref.h"

static void tell_where_it_leads(const struct httplines *answer, const char *name, struct slice origin,
				struct slice target, invalidate_fn *fn, void *arg)
{
	struct buf led_to = BUF_EMPTY;
	struct slice value;
	size_t at = 0;

	while (httplines_next(answer, name, &at, &value)) {
		buf_reset(&led_to);
		if (uriref_resolve(origin, target, value, &led_to) == 0) /* else: another origin, or nowhere */
			fn(arg, buf_slice(&led_to));
	}
	buf_fini(&led_to);
}

void invalidate_after(struct slice method, int status, struct slice origin, struct slice target,
		      const struct httplines *answer, invalidate_fn *fn, void *arg)
{
	if (policy_method(method) != POLICY_UNSAFE || status < 200 || status > 399)
		return;
	fn(arg, target);
	tell_where_it_leads(answer, "location", origin, target, fn, arg);
	tell_where_it_leads(answer, "content-location", origin, target, fn, arg);
}
