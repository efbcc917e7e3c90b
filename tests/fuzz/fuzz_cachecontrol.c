/* fuzz_cachecontrol.c -- the header fields that steer caches: lists, quoted strings, entity tags, cache directives, as
 * lines of a head.
 *
 * One line more never makes anything allowed that was not; lists, taken apart and put together, stay the same. */
#include "base/err.h"
#include "base/obj.h"
#include "proto/cachecontrol.h"
#include "proto/etag.h"
#include "proto/httplist.h"

#define MOST_LINES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_element(struct slice element)
{
	struct slice name, argument;

	ENSURE(element.n && slice_trim(element).n == element.n);
	httplist_cut_argument(element, &name, &argument);
	ENSURE(name.n + argument.n <= element.n);
}

static void check_list(struct slice value)
{
	struct slice rest = value, element;
	struct buf one = BUF_EMPTY, two = BUF_EMPTY;

	while (httplist_next(&rest, &element)) {
		check_element(element);
		buf_addf(&one, "%s", one.len ? ", " : "");
		buf_add_slice(&one, element);
	}
	rest = buf_slice(&one);
	while (httplist_next(&rest, &element)) {
		buf_addf(&two, "%s", two.len ? ", " : "");
		buf_add_slice(&two, element);
	}
	ENSURE(slice_eq(buf_slice(&one), buf_slice(&two)));
	buf_fini(&one);
	buf_fini(&two);
}

static void check_tags(struct slice value)
{
	struct slice rest = value;
	struct etag tag, same;
	size_t before = SIZE_MAX;

	while (etag_next(&rest, &tag) > 0) {
		ENSURE(rest.n < before);
		before = rest.n;
		ENSURE(tag.opaque.n >= 2 && etag_parse(tag.opaque, &same) == 0 && !same.weak);
		ENSURE(etag_eq_weak(tag, same) && etag_eq_strong(tag, same) == !tag.weak);
	}
}

static void ensure_number(int64_t v)
{
	ENSURE(v >= CC_ABSENT && v <= CC_MOST_SECONDS);
}

static void ensure_stricter(int64_t before, int64_t after)
{
	ensure_number(after);
	ENSURE(before == CC_ABSENT || (after != CC_ABSENT && after <= before));
}

/* `b` has a line more than `a`. */
static void check_stricter(const struct cachecontrol *a, const struct cachecontrol *b)
{
	ENSURE((a->flags & b->flags) == a->flags);
	ensure_stricter(a->max_age_s, b->max_age_s);
	ensure_stricter(a->s_maxage_s, b->s_maxage_s);
	ensure_stricter(a->stale_while_revalidate_s, b->stale_while_revalidate_s);
	ensure_stricter(a->stale_if_error_s, b->stale_if_error_s);
	ensure_stricter(a->max_stale_s, b->max_stale_s);
	ensure_number(b->min_fresh_s);
	ENSURE(b->min_fresh_s >= a->min_fresh_s);
}

static void check_head(const struct httplines *h)
{
	struct cachecontrol before, after;
	struct etag tag = etag_of(h);
	int r;

	cachecontrol_parse(&(struct httplines){ NULL, 0 }, &before);
	for (size_t i = 1; i <= h->count; i++) {
		cachecontrol_parse(&(struct httplines){ h->lines, i }, &after);
		check_stricter(&before, &after);
		before = after;
	}
	cachecontrol_parse_request(h, &after);
	ENSURE((before.flags & after.flags) == before.flags);
	r = cachecontrol_parse_targeted(h, "cdn-cache-control", &after);
	ENSURE(r == 0 || r == -ENOENT || r == WEIR_E_PARSE);
	if (r == 0) {
		ensure_number(after.max_age_s);
		ensure_number(after.s_maxage_s);
	}
	if (tag.opaque.p)
		ENSURE(etag_find(h, "if-none-match", tag, true) != ETAG_FIELD_MATCHES ||
		       etag_find(h, "if-none-match", tag, false) == ETAG_FIELD_MATCHES);
	(void)httplist_has(h, "connection", "close");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice lines[MOST_LINES], name, value;
	struct httplines h = { lines, httplines_cut((struct slice){ (const char *)data, size }, lines, MOST_LINES) };

	if (h.count > MOST_LINES)
		return 0;
	for (size_t i = 0; i < h.count; i++)
		if (httplines_split(h.lines[i], &name, &value)) {
			check_list(value);
			check_tags(value);
		}
	check_head(&h);
	return 0;
}
