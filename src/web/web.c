/* web.c -- answers with a page, or with what a page loads.
 *
 * RULES    1. What a page may do is said in its headers, and that is little: scripts and styles from this listener alone,
 *             none inline, no frame around it, no form that goes anywhere. What programs sent is shown by a page as
 *             text; should one ever fail at that, the headers still stand.
 *          2. An asset's name changes with its bytes, so it may be kept for ever; a page is asked for each time, and
 *             is mostly a 304.
 *          3. Compressed at build time: nothing is computed here, and nothing copied, so that readers who take their time
 *             cost no more than their connection.
 * THREADS  Front threads. All is constant.
 * SEE      docs/decisions/0012-pages-in-the-binary.md; RFC 9110 12.5.3 and 13.1.2, RFC 8246 (immutable) */
#include "web/web.h"

#include "base/obj.h"
#include "proto/etag.h"
#include "proto/httplist.h"
#include "web/web_priv.h"

#define ASSETS "/assets/"

static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
			     "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/* A weight of 0 in any of its spellings: "0", "0.", "0.000". */
static bool is_zero(struct slice weight)
{
	for (size_t i = 0; i < weight.n; i++)
		if (weight.p[i] != '0' && weight.p[i] != '.')
			return false;
	return weight.n > 0;
}

bool web_takes_gzip(struct slice rest)
{
	struct slice element, coding, parameter, name, weight;
	bool any = false;

	while (httplist_next(&rest, &element)) {
		bool yes = true;

		(void)slice_cut(&element, ';', &coding);
		coding = slice_trim(coding);
		while (element.n) {
			(void)slice_cut(&element, ';', &parameter);
			httplist_cut_argument(slice_trim(parameter), &name, &weight);
			if (slice_ieq_str(name, "q") && is_zero(weight))
				yes = false;
		}
		if (slice_ieq_str(coding, "gzip") || slice_ieq_str(coding, "x-gzip"))
			return yes; /* named: what "*" says is for the others */
		if (slice_eq_str(coding, "*"))
			any = yes;
	}
	return any;
}

/* If-None-Match compares weakly: a proxy on the way may have made the tag weak (RFC 9110 13.1.2). */
static bool is_known(struct exchange *ex, const char *etag)
{
	struct slice rest = exchange_header(ex, "if-none-match");
	struct etag mine = { .opaque = slice_str(etag) }, theirs;

	if (slice_eq_str(slice_trim(rest), "*"))
		return true;
	while (etag_next(&rest, &theirs) == 1)
		if (etag_eq_weak(mine, theirs))
			return true;
	return false;
}

static void send_file(struct exchange *ex, const struct web_file *f)
{
	bool packed = f->packed.n && web_takes_gzip(exchange_header(ex, "accept-encoding"));
	struct slice bytes = packed ? f->packed : f->plain;
	const char *etag = packed ? f->packed_etag : f->etag;
	bool known = is_known(ex, etag);
	const struct header_line lines[] = {
		{ "ETag", etag },
		{ "Cache-Control", f->path ? "public, max-age=31536000, immutable" : "no-cache" },
		{ "Vary", "Accept-Encoding" },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Referrer-Policy", "no-referrer" },
		{ "Content-Security-Policy", policy },
		{ "Cross-Origin-Resource-Policy", "same-origin" },
		{ "Cross-Origin-Opener-Policy", "same-origin" },
		{ "Content-Type", f->type },
		{ "Content-Encoding", "gzip" },
	};

	exchange_reply(ex, known ? 304 : 200, lines, ARRAY_LEN(lines) - (known ? 2 : packed ? 0 : 1),
		       known ? NULL : blob_new_static(bytes.p, bytes.n));
}

static const struct web_file *find(enum web_app app, struct slice path)
{
	if (slice_eq_str(path, "/"))
		return &web_pages[app];
	for (size_t i = 0; i < web_asset_count; i++)
		if (slice_eq_str(path, web_assets[i].path))
			return &web_assets[i];
	return NULL;
}

/* The admin listener's errors are problems (RFC 9457), the hub's a line. */
static void refuse(struct exchange *ex, enum web_app app, int status, const char *title, const char *detail)
{
	bool is_problem = app == WEB_DASHBOARD;
	const struct header_line lines[] = {
		{ "Content-Type", is_problem ? "application/problem+json" : "text/plain; charset=utf-8" },
		{ "Cache-Control", "no-store" },
		{ "Allow", "GET, HEAD" },
	};
	struct buf b = BUF_EMPTY;

	if (is_problem)
		buf_addf(&b, "{\"title\": \"%s\", \"status\": %d, \"detail\": \"%s\"}\n", title, status, detail);
	else
		buf_addf(&b, "%s; %s\n", title, detail);
	exchange_reply(ex, status, lines, status == 405 ? 3 : 2, blob_new_take(&b));
}

bool web_handle(struct exchange *ex, enum web_app app, struct slice path)
{
	const struct web_file *f = find(app, path);

	if (!f && !slice_starts(path, ASSETS))
		return false;
	if (!slice_eq_str(exchange_method(ex), "GET") && !exchange_is_head(ex))
		refuse(ex, app, 405, "Method not allowed", "this path takes GET, HEAD");
	else if (!f)
		refuse(ex, app, 404, "No such asset",
		       "a page of another version may have asked for it: load the page again");
	else
		send_file(ex, f);
	return true;
}
