/* locate.c -- upstream's own name in what passes: answers say paths instead of it, a Destination says it instead of
 * ours. */
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "mirror/mirror_priv.h"
#include "proto/url.h"

void lines_copy(struct lines *into, const struct lines *from)
{
	for (size_t i = 0; i < from->count; i++)
		lines_add(into, from->items[i]);
	into->full = into->full || from->full;
}

/* What follows `prefix` in s, when that begins a path, a query or nothing. */
static bool strip(struct slice s, const char *prefix, struct slice *ret)
{
	size_t n = strlen(prefix);

	if (s.n < n || !slice_ieq_str((struct slice){ s.p, n }, prefix))
		return false;
	*ret = slice_from(s, n);
	return !ret->n || ret->p[0] == '/' || ret->p[0] == '?' || ret->p[0] == '#';
}

static bool is_location(struct slice name)
{
	return slice_ieq_str(name, "location") || slice_ieq_str(name, "content-location");
}

static bool is_path(struct slice uri)
{
	return slice_starts(uri, "/") && !slice_starts(uri, "//");
}

bool mirror_own_path(struct mirror *m, struct slice uri, struct slice *ret)
{
	struct slice path = uri;

	return (is_path(uri) || strip(uri, m->origin, &path)) && strip(path, m->base_path, ret);
}

static void add_path(struct buf *out, struct slice path)
{
	if (!path.n || path.p[0] != '/')
		buf_add_char(out, '/');
	buf_add_slice(out, path);
}

static void add_location(struct mirror *m, struct slice value, struct buf *out)
{
	struct slice path;

	if (mirror_own_path(m, value, &path)) {
		add_path(out, path);
		return;
	}
	if (is_path(value))
		buf_add_str(out, m->origin);
	buf_add_slice(out, value);
}

void mirror_own_location(struct mirror *m, struct buf *block)
{
	struct slice rest = buf_slice(block), line, name, value;
	struct buf out = BUF_EMPTY;

	while (rest.n) {
		(void)slice_cut(&rest, '\n', &line);
		if (!httplines_split(line, &name, &value) || !is_location(name)) {
			buf_add_slice(&out, line);
		} else {
			buf_add_slice(&out, name);
			buf_add_str(&out, ": ");
			add_location(m, value, &out);
		}
		buf_add_char(&out, '\n');
	}
	buf_reset(block);
	buf_add_slice(block, buf_slice(&out));
	buf_fini(&out);
}

void mirror_upstream_destination(struct mirror *m, struct slice authority, struct lines *l)
{
	const struct httplines h = lines_view(l);
	struct slice value = httplines_get(&h, "destination"), path = value;
	struct url u;

	if (!value.p)
		return;
	if (value.n && value.p[0] != '/') {
		char ours[URL_HOSTPORT_ROOM], theirs[URL_HOSTPORT_ROOM];
		struct slice rest = value;

		if (url_parse(value, &u) != 0 || url_normalize_hostport(authority, ours) != 0)
			return;
		rest = slice_from(value, u.https ? 8 : 7);
		path = u.path;
		rest.n = (size_t)(path.p ? path.p - rest.p : (ssize_t)rest.n);
		if (url_normalize_hostport(rest, theirs) != 0 || strcmp(ours, theirs) != 0)
			return; /* of another server: upstream will say what it thinks of that */
		path.n = (size_t)(value.p + value.n - path.p);
	}
	path = (struct slice){ slice_dup(path), path.n }; /* the line goes */
	lines_remove(l, "destination");
	lines_addf(l, "Destination: %s%s%.*s", m->origin, m->base_path, (int)path.n, path.p);
	free((char *)path.p);
}
