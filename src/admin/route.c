/* route.c -- from a request's target to who answers it.
 *
 * WHY      Pure, with the services' tables as input: 404, 405 with a right Allow, and HEAD for every GET are one
 *          function. */
#include "admin/admin_priv.h"

#include "base/err.h"
#include "base/str.h"

#define PREFIX "/api/v1/"

struct slice route_path(struct slice target, struct slice *ret_query)
{
	struct slice rest = target, path, query;

	if (slice_starts(rest, "http://") || slice_starts(rest, "https://")) {
		ssize_t slash;

		rest = slice_from(rest, (size_t)slice_find(rest, ':') + 3);
		slash = slice_find(rest, '/');
		rest = slash < 0 ? SLICE_LIT("/") : slice_from(rest, (size_t)slash);
	}
	query = rest;
	(void)slice_cut(&query, '?', &path); /* without one, path is all and query is empty */
	if (ret_query)
		*ret_query = query;
	return path;
}

static bool path_fits(const struct admin_route *r, struct slice below)
{
	if (slice_ends(slice_str(r->path), "/"))
		return slice_starts(below, r->path) && below.n > strlen(r->path);
	return slice_eq_str(below, r->path);
}

static bool method_fits(const struct admin_route *r, struct slice method)
{
	return slice_eq_str(method, r->method) || (slice_eq_str(method, "HEAD") && !strcmp(r->method, "GET"));
}

static void allow(struct route_match *m, const char *method)
{
	size_t n = strlen(m->allow);

	(void)snprintf(m->allow + n, sizeof(m->allow) - n, "%s%s%s", n ? ", " : "", method,
		       !strcmp(method, "GET") ? ", HEAD" : "");
}

static void look_in(const struct admin_route *routes, void *state, struct slice method, struct slice below,
		    struct route_match *ret)
{
	for (const struct admin_route *r = routes; r && r->method; r++) {
		if (!path_fits(r, below))
			continue;
		ret->path_known = true;
		allow(ret, r->method);
		if (!ret->route && method_fits(r, method)) {
			ret->route = r;
			ret->state = state;
		}
	}
}

void route_find(const struct services *services, const struct admin_route *own, void *own_state, struct slice method,
		struct slice path, struct route_match *ret)
{
	struct slice below;

	*ret = (struct route_match){ .route = NULL };
	if (!slice_starts(path, PREFIX))
		return;
	below = slice_from(path, strlen(PREFIX));
	look_in(own, own_state, method, below, ret);
	for (size_t i = 0; i < services->count; i++)
		look_in(services->items[i].service->admin_routes, services->items[i].state, method, below, ret);
}

int route_decode(struct slice s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char byte = (unsigned char)s.p[i];
		char hex[2];

		if (byte == '%') {
			if (i + 2 >= s.n)
				return WEIR_E_PARSE;
			for (size_t k = 0; k < 2; k++) {
				hex[k] = s.p[i + 1 + k];
				if (hex[k] >= 'A' && hex[k] <= 'F')
					hex[k] = (char)(hex[k] - 'A' + 'a');
			}
			if (str_unhex((struct slice){ hex, 2 }, &byte, 1) < 0)
				return WEIR_E_PARSE;
			i += 2;
		}
		if (!byte)
			return WEIR_E_PARSE;
		buf_add_char(out, (char)byte);
	}
	return 0;
}
