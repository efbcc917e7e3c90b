/* page.c -- the page at the admin root: how things stand, for whoever opens it in a browser.
 *
 * WHAT     One HTML page without scripts, that asks to be loaded again every few seconds: upstreams, what each
 *          service tells about itself, links to health, metrics and the API. A service's part is shown by its shape
 *          (numbers, texts, lists of objects), so that this file knows no service.
 * RULES    1. Everything that was not written here is escaped: repository names come from strangers.
 *          2. The page loads nothing, runs nothing, and may not be framed; its headers say so. */
#include "admin/admin_priv.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/str.h"
#include "core/health.h"

#define MOST_ROWS 50 /* of a list; the API has the rest */
#define MOST_COLUMNS 10

static const char style[] =
	"body{margin:0;font:15px/1.5 system-ui,sans-serif;color:#1d2b36;background:#f6f8f9}"
	"header{background:#12324a;color:#fff;padding:1.1em 2em}"
	"header h1{font-size:1.3em;margin:0;display:inline}header p{margin:.2em 0 0;opacity:.8}"
	"main{max-width:70em;margin:0 auto;padding:1em 2em 3em}h2{font-size:1.05em;margin:1.8em 0 .6em}"
	"table{border-collapse:collapse;width:100%;background:#fff;box-shadow:0 1px 2px #0002;border-radius:6px;"
	"overflow:hidden}"
	"th,td{text-align:left;padding:.45em .8em;border-top:1px solid #e8edf0;vertical-align:top}"
	"th{font-weight:600;background:#eef3f6;border:0}"
	"dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11em,1fr));gap:.7em;margin:0}"
	"dl div{background:#fff;box-shadow:0 1px 2px #0002;border-radius:6px;padding:.6em .9em}"
	"dt{color:#5a6b78;font-size:.85em}dd{margin:0;font-size:1.15em;overflow-wrap:anywhere}"
	".tag{display:inline-block;padding:.05em .6em;border-radius:1em;font-size:.85em;background:#dde4e9;"
	"color:#1d2b36}"
	".up,.healthy,.ready,.available{background:#cdeed7}"
	".down,.unhealthy,.quarantined,.unavailable{background:#f8d0cc}"
	".degraded,.disabled,.mixed,.syncing,.active{background:#fbe8b8}a{color:#0b5c94}"
	"footer{color:#5a6b78;margin-top:2em}"
	"@media(prefers-color-scheme:dark){body{background:#10181f;color:#dbe4ea}table,dl div{background:#18242d}"
	"th{background:#1f2e39}th,td{border-color:#263641}dt,footer{color:#93a4b1}a{color:#74b9ea}}";

static void add_html(struct buf *out, const char *s)
{
	for (; s && *s; s++) {
		switch (*s) {
		case '&': buf_add_str(out, "&amp;"); break;
		case '<': buf_add_str(out, "&lt;"); break;
		case '>': buf_add_str(out, "&gt;"); break;
		case '"': buf_add_str(out, "&quot;"); break;
		case '\'': buf_add_str(out, "&#39;"); break;
		default: buf_add_char(out, *s);
		}
	}
}

/* A column's or fact's name: cached_repos -> cached repos. */
static void add_name(struct buf *out, const char *key)
{
	char *words = xstrdup(key);

	for (char *c = words; *c; c++) {
		if (*c == '_')
			*c = ' ';
	}
	add_html(out, words);
	free(words);
}

static bool ends_in(const char *s, const char *end)
{
	return slice_ends(slice_str(s), end);
}

/* str_format_duration() in whole seconds; below one it would say "0ms". */
static void add_seconds(struct buf *out, int64_t ms)
{
	if (ms < 1000)
		buf_add_str(out, "0s");
	else
		str_format_duration(ms / 1000 * 1000, out);
}

static void add_ago(struct buf *out, const char *rfc3339)
{
	int64_t then;

	if (clock_parse_rfc3339(slice_str(rfc3339), &then) < 0) {
		add_html(out, rfc3339);
		return;
	}
	buf_add_str(out, "<time title=\"");
	add_html(out, rfc3339);
	buf_add_str(out, "\">");
	add_seconds(out, clock_wall_ms() - then);
	buf_add_str(out, " ago</time>");
}

static void add_value(struct buf *out, const char *key, const json_t *v)
{
	if (json_is_integer(v) && ends_in(key, "bytes")) {
		json_int_t n = json_integer_value(v);

		str_format_bytes(n > 0 ? (uint64_t)n : 0, out);
	} else if (json_is_integer(v)) {
		buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	} else if (json_is_real(v)) {
		buf_addf(out, "%g", json_real_value(v));
	} else if (json_is_boolean(v)) {
		buf_add_str(out, json_is_true(v) ? "yes" : "no");
	} else if (json_is_string(v) &&
		   (!strcmp(key, "state") || ends_in(key, "status") || !strcmp(key, "offline_mode"))) {
		buf_add_str(out, "<span class=\"tag ");
		add_html(out, json_string_value(v));
		buf_add_str(out, "\">");
		add_html(out, json_string_value(v));
		buf_add_str(out, "</span>");
	} else if (json_is_string(v) && (ends_in(key, "_at") || !strcmp(key, "since"))) {
		add_ago(out, json_string_value(v));
	} else if (json_is_string(v)) {
		add_html(out, json_string_value(v));
	}
}

static bool is_plain(const json_t *v)
{
	return json_is_number(v) || json_is_boolean(v) || json_is_string(v);
}

static void add_facts(struct buf *out, json_t *o, const char *prefix)
{
	const char *key;
	json_t *v;

	json_object_foreach(o, key, v) {
		if (json_is_object(v))
			add_facts(out, v, key);
		if (!is_plain(v))
			continue;
		buf_add_str(out, "<div><dt>");
		if (*prefix) {
			add_name(out, prefix);
			buf_add_char(out, ' ');
		}
		add_name(out, key);
		buf_add_str(out, "</dt><dd>");
		add_value(out, key, v);
		buf_add_str(out, "</dd></div>");
	}
}

static void add_row(struct buf *out, json_t *item, const char *const *columns, size_t count)
{
	buf_add_str(out, "<tr>");
	for (size_t i = 0; i < count; i++) {
		buf_add_str(out, "<td>");
		add_value(out, columns[i], json_object_get(item, columns[i]));
		buf_add_str(out, "</td>");
	}
	buf_add_str(out, "</tr>\n");
}

/* A list of objects as a table; the first one's plain members are the columns. */
static void add_list(struct buf *out, json_t *list)
{
	const char *columns[MOST_COLUMNS] = { NULL }, *key;
	json_t *item, *v;
	size_t count = 0, i;

	json_object_foreach(json_array_get(list, 0), key, v) {
		if (count < MOST_COLUMNS && !json_is_object(v) && !json_is_array(v))
			columns[count++] = key;
	}
	buf_add_str(out, "<table><tr>");
	for (i = 0; i < count; i++) {
		buf_add_str(out, "<th>");
		add_name(out, columns[i]);
		buf_add_str(out, "</th>");
	}
	buf_add_str(out, "</tr>\n");
	json_array_foreach(list, i, item) {
		if (i < MOST_ROWS)
			add_row(out, item, columns, count);
	}
	buf_add_str(out, "</table>\n");
	if (json_array_size(list) > MOST_ROWS)
		buf_addf(out, "<p>and %zu more; the API lists them all</p>\n", json_array_size(list) - MOST_ROWS);
}

static void add_link(void *arg, struct link *l)
{
	json_t *one = admin_link_json(l);

	if (one) /* NULL: a name that is not UTF-8 */
		(void)json_array_append_new(arg, one);
}

static void add_upstreams(struct buf *out, const struct services *services)
{
	json_t *list = json_array();

	admin_each_link(services, add_link, list);
	if (json_array_size(list)) {
		buf_add_str(out, "<h2>Upstreams</h2>\n");
		add_list(out, list);
	}
	json_decref(list);
}

/* The queues, and what is the matter with them when something is. */
static void add_outbox(struct buf *out, const json_t *components)
{
	json_t *status = outbox_status_json(), *queues = json_object_get(status, "queues");
	const char *reason = json_string_value(json_object_get(json_object_get(components, "outbox"), "reason"));

	if (json_array_size(queues)) {
		buf_add_str(out, "<h2>Outbox</h2>\n");
		add_list(out, queues);
		if (reason) {
			buf_add_str(out, "<p>");
			add_html(out, reason);
			buf_add_str(out, "</p>\n");
		}
	}
	json_decref(status);
}

static void add_service(struct buf *out, const struct service_instance *s)
{
	json_t *o = json_object(), *v;
	struct buf facts = BUF_EMPTY;
	const char *key;

	if (s->service->status)
		s->service->status(s->state, o);
	add_facts(&facts, o, "");
	if (json_object_size(o)) {
		buf_add_str(out, "<h2>Service ");
		add_html(out, s->service->name);
		buf_add_str(out, "</h2>\n");
	}
	if (facts.len)
		buf_addf(out, "<dl>%s</dl>\n", facts.data);
	json_object_foreach(o, key, v) {
		if (!json_is_array(v) || !json_is_object(json_array_get(v, 0)))
			continue;
		buf_add_str(out, "<h2>");
		add_name(out, key);
		buf_add_str(out, "</h2>\n");
		add_list(out, v);
	}
	buf_fini(&facts);
	json_decref(o);
}

static void add_links(struct buf *out, const struct services *services)
{
	buf_add_str(
		out,
		"<footer><p>This page is loaded again every 5 seconds. Also here: "
		"<a href=\"/healthz?detailed=true\">health</a>, "
		"<a href=\"/metrics\">metrics</a>, <a href=\"/api/v1/status\">status</a>, "
		"<a href=\"/api/v1/upstreams\">upstreams</a>, <a href=\"/api/v1/outbox\">outbox</a>");
	for (size_t i = 0; i < services->count; i++) {
		for (const struct admin_route *r = services->items[i].service->admin_routes; r && r->method; r++) {
			if (strcmp(r->method, "GET") != 0 || ends_in(r->path, "/"))
				continue;
			buf_addf(out, ", <a href=\"/api/v1/%s\">%s</a>", r->path, r->path);
		}
	}
	buf_add_str(out, ".</p></footer>\n");
}

static void add_page(struct buf *out, const struct services *services)
{
	json_t *health = health_json(services), *components;
	const char *state = json_string_value(json_object_get(health, "status"));

	buf_addf(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>weir: %s</title>\n",
		 state);
	buf_add_str(out, "<meta name=\"viewport\" content=\"width=device-width\">\n"
			 "<meta http-equiv=\"refresh\" content=\"5\">\n<style>");
	buf_add_str(out, style);
	buf_addf(out, "</style></head>\n<body><header><h1>weir</h1> <span class=\"tag %s\">%s</span><p>version %s, up ",
		 state, state, services->core->version);
	add_seconds(out, clock_mono_ms() - services->core->started_mono_ms);
	buf_add_str(out, "</p></header>\n<main>\n");
	(void)json_object_del(health, "version");
	(void)json_object_del(health, "uptime_seconds");
	buf_add_str(out, "<h2>Now</h2>\n<dl>");
	components = json_incref(json_object_get(health, "components")); /* which have tables of their own */
	(void)json_object_del(health, "components");
	add_facts(out, health, "");
	buf_add_str(out, "</dl>\n");
	json_decref(health);
	add_upstreams(out, services);
	add_outbox(out, components);
	json_decref(components);
	for (size_t i = 0; i < services->count; i++)
		add_service(out, &services->items[i]);
	add_links(out, services);
	buf_add_str(out, "</main></body></html>\n");
}

void page_handle(struct exchange *ex, const struct services *services)
{
	static const struct header_line headers[] = {
		{ "Content-Type", "text/html; charset=utf-8" },
		{ "Cache-Control", "no-store" },
		{ "Content-Security-Policy",
		  "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'" },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Referrer-Policy", "no-referrer" },
	};
	struct buf out = BUF_EMPTY;

	add_page(&out, services);
	exchange_reply(ex, 200, headers, sizeof(headers) / sizeof(headers[0]), blob_new_take(&out));
}
