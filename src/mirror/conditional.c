/* conditional.c -- preconditions.
 *
 * SEE      RFC 9110 sections 13.1 and 13.2.2, whose steps the functions are named after; RFC 9111 section 4.3.2 */
#include "mirror/conditional.h"

#include "mirror/policy.h"
#include "proto/httpdate.h"

/* The field's date; false when it is absent, there twice, or malformed. */
static bool get_date(const struct httplines *h, const char *name, int64_t now_s, int64_t *ret)
{
	return httplines_count(h, name) == 1 && httpdate_parse(httplines_get(h, name), now_s, ret) == 0;
}

/* Steps 1 and 2: whether the change, or whatever it is, is to be made to what the client knows. */
static bool origin_conditions_hold(const struct httplines *h, const struct conditional_view *view, int64_t now_s)
{
	struct etag none = { 0 };
	int64_t since;

	switch (etag_find(h, "if-match", view->exists ? view->etag : none, true)) {
	case ETAG_FIELD_ANY: return view->exists;
	case ETAG_FIELD_MATCHES: return true;
	case ETAG_FIELD_OTHER:
	case ETAG_FIELD_MALFORMED: return false;
	case ETAG_FIELD_ABSENT: break;
	}
	if (!view->exists || view->last_modified_s == POLICY_NO_TIME ||
	    !get_date(h, "if-unmodified-since", now_s, &since))
		return true;
	return view->last_modified_s <= since;
}

/* Steps 3 and 4: whether the client has it already. */
static enum conditional_outcome judge_known(bool reads, const struct httplines *h,
					    const struct conditional_view *view, int64_t modified_s, int64_t now_s)
{
	struct etag none = { 0 };
	bool known = false;
	int64_t since;

	switch (etag_find(h, "if-none-match", view->exists ? view->etag : none, false)) {
	case ETAG_FIELD_ANY:
		known = view->exists;
		break;
	case ETAG_FIELD_MATCHES:
		known = true;
		break;
	case ETAG_FIELD_OTHER:
	case ETAG_FIELD_MALFORMED: break;
	case ETAG_FIELD_ABSENT:
		known = reads && view->exists && modified_s != POLICY_NO_TIME &&
			get_date(h, "if-modified-since", now_s, &since) && modified_s <= since;
		break;
	}
	return !known ? CONDITIONAL_GO_ON : reads ? CONDITIONAL_NOT_MODIFIED : CONDITIONAL_FAILED;
}

static bool is_read(struct slice method)
{
	return slice_eq_str(method, "GET") || slice_eq_str(method, "HEAD");
}

enum conditional_outcome conditional_judge(struct slice method, const struct httplines *request,
					   const struct conditional_view *view, int64_t now_s)
{
	if (!origin_conditions_hold(request, view, now_s))
		return CONDITIONAL_FAILED;
	return judge_known(is_read(method), request, view, view->last_modified_s, now_s);
}

enum conditional_outcome conditional_judge_cached(struct slice method, const struct httplines *request,
						  const struct conditional_view *view, int64_t now_s)
{
	int64_t modified_s = view->last_modified_s == POLICY_NO_TIME ? view->date_s : view->last_modified_s;

	return judge_known(is_read(method), request, view, modified_s, now_s);
}

bool conditional_range_applies(const struct httplines *request, const struct conditional_view *view, int64_t now_s)
{
	struct slice value = httplines_get(request, "if-range");
	struct etag tag;
	int64_t date;

	if (!value.p)
		return true;
	if (httplines_count(request, "if-range") != 1 || !view->exists)
		return false;
	if (etag_parse(value, &tag) == 0)
		return etag_eq_strong(tag, view->etag);
	return view->last_modified_s != POLICY_NO_TIME && view->date_s != POLICY_NO_TIME &&
	       httpdate_parse(value, now_s, &date) == 0 && date == view->last_modified_s &&
	       view->date_s > view->last_modified_s;
}
