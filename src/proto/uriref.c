/* uriref.c -- references of answers, resolved.
 *
 * WHY      A server says Location: ../new or //files/new or https://files.example.com:443/new and means one place; what
 *          is cached for that place goes by its origin-form target.
 * SEE      RFC 3986 sections 5.2 and 5.3; RFC 9110 sections 4.3.1, 8.7, 10.2.2 */
#include "proto/uriref.h"

#include "base/err.h"
#include "proto/url.h"

/* A colon before any of "/?" ends a scheme. */
static bool has_scheme(struct slice s)
{
	for (size_t i = 0; i < s.n && s.p[i] != '/' && s.p[i] != '?'; i++)
		if (s.p[i] == ':')
			return true;
	return false;
}

/* Drops the last segment of what was added since `start`, its slash included. */
static void drop_segment(struct buf *out, size_t start)
{
	while (out->len > start && out->data[out->len - 1] != '/')
		buf_truncate(out, out->len - 1);
	if (out->len > start)
		buf_truncate(out, out->len - 1);
}

/* RFC 3986 5.2.4, for a path that begins with '/': segment by segment, each with the slash before it. */
static void add_without_dots(struct buf *out, struct slice path)
{
	size_t start = out->len;
	struct slice segment;
	bool more = true;

	path = slice_from(path, 1);
	while (more) {
		more = slice_cut(&path, '/', &segment);
		if (slice_eq_str(segment, "..")) {
			drop_segment(out, start);
		} else if (!slice_eq_str(segment, ".")) {
			buf_add_char(out, '/');
			buf_add_slice(out, segment);
			continue;
		}
		if (!more)
			buf_add_char(out, '/');
	}
}

/* An absolute URL, whose dots go now. */
static int add_target_of(struct slice whole, const struct url *origin, struct buf *out)
{
	struct url u;

	if (url_parse(whole, &u) < 0)
		return WEIR_E_PARSE;
	if (u.https != origin->https || u.port != origin->port || strcmp(u.host, origin->host) != 0)
		return -EXDEV;
	add_without_dots(out, u.path.n ? u.path : SLICE_LIT("/"));
	if (u.query.p) {
		buf_add_char(out, '?');
		buf_add_slice(out, u.query);
	}
	return 0;
}

static struct slice without_query(struct slice target)
{
	struct slice path;

	(void)slice_cut(&target, '?', &path); /* none: all of it */
	return path;
}

/* RFC 3986 5.2.2, for a reference that begins with a path, a query, or not at all. */
static void merge(struct slice target, struct slice reference, struct buf *whole)
{
	struct slice base = without_query(target);

	if (!reference.n)
		base = target;
	else if (reference.p[0] == '/')
		base.n = 0;
	else if (reference.p[0] != '?')
		while (base.p[base.n - 1] != '/')
			base.n--;
	buf_add_slice(whole, base);
	buf_add_slice(whole, reference);
}

int uriref_resolve(struct slice origin, struct slice target, struct slice reference, struct buf *out)
{
	struct slice fragment = reference;
	struct buf whole = BUF_EMPTY;
	struct url o;
	int r;

	(void)slice_cut(&fragment, '#', &reference); /* none: all of it */
	if (reference.n > URIREF_MAX_BYTES)
		return WEIR_E_TOO_LARGE;
	if (url_parse(origin, &o) < 0 || !slice_starts(target, "/"))
		return WEIR_E_PARSE;
	if (has_scheme(reference)) {
		buf_add_slice(&whole, reference);
	} else {
		buf_addf(&whole, "%s:", o.https ? "https" : "http");
		if (!slice_starts(reference, "//")) {
			buf_addf(&whole, "//%s:%u", o.host, o.port);
			merge(target, reference, &whole);
		} else {
			buf_add_slice(&whole, reference);
		}
	}
	r = add_target_of(buf_slice(&whole), &o, out);
	buf_fini(&whole);
	return r;
}
