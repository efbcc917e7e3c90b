/* range.c -- byte ranges.
 *
 * WHY      A request of a hundred bytes can ask for the same gigabyte a thousand times (CVE-2011-3192). So ranges are
 *          few, and overlap at most once.
 * SEE      RFC 9110 sections 14.1, 14.2, 14.4, 15.3.7 */
#include "proto/range.h"

#include "base/err.h"
#include "base/str.h"

/* Digits; what is above INT64_MAX counts as that. */
static int parse_position(struct slice s, int64_t *ret)
{
	uint64_t v;

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return WEIR_E_PARSE;
	if (!s.n)
		return WEIR_E_PARSE;
	*ret = str_parse_u64(s, &v) < 0 || v > INT64_MAX ? INT64_MAX : (int64_t)v;
	return 0;
}

static int parse_spec(struct slice s, struct range_spec *ret)
{
	struct slice first;

	*ret = (struct range_spec){ -1, -1 };
	if (!slice_cut(&s, '-', &first))
		return WEIR_E_PARSE;
	if (first.n && parse_position(first, &ret->first) < 0)
		return WEIR_E_PARSE;
	if ((s.n || !first.n) && parse_position(s, &ret->last) < 0)
		return WEIR_E_PARSE;
	return first.n && s.n && ret->last < ret->first ? WEIR_E_PARSE : 0;
}

/* The name of the unit is of any case (RFC 9110 14.1). */
static bool take_unit(struct slice *s, char after)
{
	struct slice unit;

	return slice_cut(s, after, &unit) && slice_ieq_str(unit, "bytes");
}

int range_parse(struct slice value, struct range_set *ret)
{
	struct range_set set = { 0 };
	struct slice one;
	bool more;

	if (!take_unit(&value, '='))
		return WEIR_E_PARSE;
	do {
		more = slice_cut(&value, ',', &one);
		one = slice_trim(one);
		if (!one.n)
			continue;
		if (set.count == RANGE_MOST || parse_spec(one, &set.specs[set.count++]) < 0)
			return WEIR_E_PARSE;
	} while (more);
	if (!set.count)
		return WEIR_E_PARSE;
	*ret = set;
	return 0;
}

/* False: not satisfiable. `length` is above 0. */
static bool resolve_one(struct range_spec spec, int64_t length, struct byte_range *ret)
{
	if (spec.first < 0) {
		*ret = (struct byte_range){ spec.last < length ? length - spec.last : 0, length - 1 };
		return spec.last > 0;
	}
	*ret = (struct byte_range){ spec.first, spec.last < 0 || spec.last >= length ? length - 1 : spec.last };
	return spec.first < length;
}

static bool overlaps_one_before(const struct byte_range *all, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (all[k].first <= all[i].last && all[i].first <= all[k].last)
			return true;
	return false;
}

static bool has_suffix(const struct range_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->specs[i].first < 0 && set->specs[i].last > 0)
			return true;
	return false;
}

int range_resolve(const struct range_set *set, int64_t length, struct byte_range ret[RANGE_MOST], size_t *ret_count)
{
	size_t n = 0, overlaps = 0;

	if (length == 0)
		return has_suffix(set) ? -EINVAL : -ERANGE;
	for (size_t i = 0; i < set->count; i++) {
		if (!resolve_one(set->specs[i], length, &ret[n]))
			continue;
		overlaps += overlaps_one_before(ret, n);
		n++;
	}
	if (!n)
		return -ERANGE;
	if (overlaps > 1)
		return -EINVAL;
	*ret_count = n;
	return 0;
}

void range_format_content(struct byte_range r, int64_t complete, struct buf *out)
{
	buf_addf(out, "bytes %lld-%lld/", (long long)r.first, (long long)r.last);
	if (complete < 0)
		buf_add_char(out, '*');
	else
		buf_addf(out, "%lld", (long long)complete);
}

void range_format_unsatisfied(int64_t complete, struct buf *out)
{
	buf_addf(out, "bytes */%lld", (long long)complete);
}
