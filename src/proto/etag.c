/* etag.c -- entity tags.
 *
 * WHY      Their lists are not read by httplist.c: a backslash in a tag is a plain byte and a tag is no quoted string,
 *          so "a\" ends where a quoted string would go on.
 * SEE      RFC 9110 sections 8.8.3, 13.1.1, 13.1.2 */
#include "proto/etag.h"

#include "base/err.h"

static bool is_etagc(char c)
{
	return (unsigned char)c >= 0x21 && c != '"' && c != 127;
}

/* Takes one tag off the front. */
static int take_tag(struct slice *s, struct etag *ret)
{
	bool weak = slice_starts(*s, "W/");
	struct slice rest = slice_from(*s, weak ? 2 : 0);
	size_t n = 1;

	if (!slice_starts(rest, "\""))
		return WEIR_E_PARSE;
	while (n < rest.n && is_etagc(rest.p[n]))
		n++;
	if (n == rest.n || rest.p[n] != '"')
		return WEIR_E_PARSE;
	*ret = (struct etag){ .opaque = { rest.p, n + 1 }, .weak = weak };
	*s = slice_from(rest, n + 1);
	return 0;
}

int etag_parse(struct slice value, struct etag *ret)
{
	struct etag tag;

	if (take_tag(&value, &tag) < 0 || value.n)
		return WEIR_E_PARSE;
	*ret = tag;
	return 0;
}

struct etag etag_of(const struct httplines *h)
{
	struct etag tag = { 0 };

	if (httplines_count(h, "etag") == 1)
		(void)etag_parse(httplines_get(h, "etag"), &tag); /* malformed: none */
	return tag;
}

bool etag_eq_weak(struct etag a, struct etag b)
{
	return a.opaque.p && b.opaque.p && slice_eq(a.opaque, b.opaque);
}

bool etag_eq_strong(struct etag a, struct etag b)
{
	return !a.weak && !b.weak && etag_eq_weak(a, b);
}

int etag_next(struct slice *rest, struct etag *ret)
{
	struct slice s = slice_trim(*rest);
	int r;

	while (slice_starts(s, ","))
		s = slice_trim(slice_from(s, 1));
	*rest = s;
	if (!s.n)
		return 0;
	r = take_tag(&s, ret);
	s = slice_trim(s);
	if (r < 0 || (s.n && s.p[0] != ','))
		return WEIR_E_PARSE;
	*rest = s;
	return 1;
}

enum etag_found etag_find(const struct httplines *h, const char *name, struct etag tag, bool strong)
{
	bool found = false;
	struct slice value;
	struct etag one;
	size_t at = 0;
	int r = 0;

	if (!httplines_count(h, name))
		return ETAG_FIELD_ABSENT;
	if (httplines_count(h, name) == 1 && slice_eq_str(httplines_get(h, name), "*"))
		return ETAG_FIELD_ANY;
	while (r == 0 && httplines_next(h, name, &at, &value))
		while ((r = etag_next(&value, &one)) > 0)
			found |= strong ? etag_eq_strong(one, tag) : etag_eq_weak(one, tag);
	return r < 0 ? ETAG_FIELD_MALFORMED : found ? ETAG_FIELD_MATCHES : ETAG_FIELD_OTHER;
}
