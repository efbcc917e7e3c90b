/* uriref.c -- references of answers, resolved.
 *
 * WHY      A server says Location: ../new or //files/new or https://files.example.com:443/new and means one place; what
 *          is cached for that place goes by its origin-form target.
 * SEE      RFC 3986 sections 5.2 and 5.3; RFC 9110 sections 4.3.1, 8.7, 10.2.2 */
#include "proto/uriref.h"

#include "base/err.h"
#include "proto/url.h"

static bool is_clean(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return true;
}

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

static void add_target(struct buf *out, struct slice path, struct slice query)
{
	add_without_dots(out, path.n ? path : SLICE_LIT("/"));
	if (query.p) {
		buf_add_char(out, '?');
		buf_add_slice(out, query);
	}
}

static int resolve_absolute(const struct url *origin, struct slice reference, struct buf *out)
{
	struct url u;

	if (url_parse(reference, &u) < 0 || u.https != origin->https || u.port != origin->port ||
	    strcmp(u.host, origin->host) != 0)
		return -EXDEV;
	add_target(out, u.path, u.query);
	return 0;
}

static void cut_query(struct slice s, struct slice *ret_path, struct slice *ret_query)
{
	*ret_query = (struct slice){ 0 };
	if (slice_cut(&s, '?', ret_path))
		*ret_query = s;
}

static void resolve_path(struct slice target, struct slice reference, struct buf *out)
{
	struct slice base_path, base_query, path, query;
	struct buf merged = BUF_EMPTY;

	cut_query(target, &base_path, &base_query);
	cut_query(reference, &path, &query);
	if (!path.n) {
		path = base_path;
		query = query.p ? query : base_query;
	} else if (path.p[0] != '/') {
		while (base_path.p[base_path.n - 1] != '/')
			base_path.n--;
		buf_add_slice(&merged, base_path);
		buf_add_slice(&merged, path);
		path = buf_slice(&merged);
	}
	add_target(out, path, query);
	buf_fini(&merged);
}

int uriref_resolve(struct slice origin, struct slice target, struct slice reference, struct buf *out)
{
	struct slice fragment = reference;
	struct buf whole = BUF_EMPTY;
	struct url o;
	int r = 0;

	(void)slice_cut(&fragment, '#', &reference); /* none: all of it */
	if (reference.n > URIREF_MAX_BYTES)
		return WEIR_E_TOO_LARGE;
	if (url_parse(origin, &o) < 0 || !slice_starts(target, "/") || !is_clean(reference))
		return WEIR_E_PARSE;
	if (slice_starts(reference, "//")) {
		buf_addf(&whole, "%s:", o.https ? "https" : "http");
		buf_add_slice(&whole, reference);
		r = resolve_absolute(&o, buf_slice(&whole), out);
	} else if (has_scheme(reference)) {
		r = resolve_absolute(&o, reference, out);
	} else {
		resolve_path(target, reference, out);
	}
	buf_fini(&whole);
	return r;
}
