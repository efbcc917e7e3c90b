/* status.c -- `weir status`: what GET /api/v1/status says, for people or as it is.
 *
 * WHAT     Health and counters first, upstreams as a table, then what each service tells about itself.
 * WHY      The service's part is printed by its shape (a number, a text, a list of objects), not by its names, so
 *          that a service can tell something new without this file knowing of it. */
#include <stdio.h>

#include "base/str.h"
#include "cli/admin_client.h"
#include "cli/table.h"

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static json_int_t number_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void print_head(const json_t *status, struct buf *out)
{
	const json_t *health = json_object_get(status, "health"), *stats = json_object_get(health, "cache_stats");
	struct table t = TABLE_EMPTY(2);
	struct buf up = BUF_EMPTY;

	if (number_of(status, "uptime_seconds"))
		str_format_duration(number_of(status, "uptime_seconds") * 1000, &up);
	else
		buf_add_str(&up, "0s");
	buf_addf(out, "weir %s, up %s, %s\n\n", text_of(status, "version") ? text_of(status, "version") : "?", up.data,
		 text_of(health, "status") ? text_of(health, "status") : "?");
	table_add(&t, "upstreams");
	table_add(&t, text_of(health, "upstream_status"));
	table_add(&t, "offline mode");
	table_add(&t, text_of(health, "offline_mode"));
	table_add(&t, "repositories");
	table_add_take(&t, xstrf("%lld", (long long)number_of(health, "cached_repos")));
	table_add(&t, "answers");
	table_add_take(&t,
		       xstrf("%lld from the cache, %lld from upstream, %lld stale", (long long)number_of(stats, "hits"),
			     (long long)number_of(stats, "misses"), (long long)number_of(stats, "stale_serves")));
	table_print(&t, "  ", out);
	table_fini(&t);
	buf_fini(&up);
}

static void print_listeners(const json_t *status, struct buf *out)
{
	struct table t = TABLE_EMPTY(2);
	const json_t *l;
	size_t i;

	json_array_foreach(json_object_get(status, "listeners"), i, l) {
		table_add(&t, text_of(l, "name"));
		table_add(&t, text_of(l, "address"));
	}
	if (t.count)
		buf_add_str(out, "\nListeners\n");
	table_print(&t, "  ", out);
	table_fini(&t);
}

static void print_upstreams(const json_t *status, struct buf *out)
{
	static const char *const titles[] = { "NAME", "SERVICE", "STATE", "SINCE", "LAST ERROR" };
	struct table t = TABLE_EMPTY(5);
	const json_t *u;
	size_t i;

	for (i = 0; i < 5; i++)
		table_add(&t, titles[i]);
	json_array_foreach(json_object_get(status, "upstreams"), i, u) {
		table_add(&t, text_of(u, "name"));
		table_add(&t, text_of(u, "service"));
		table_add(&t, text_of(u, "state"));
		table_add_take(&t, table_ago(text_of(u, "since")));
		table_add(&t, text_of(u, "last_error"));
	}
	if (t.count > 5) {
		buf_add_str(out, "\nUpstreams\n");
		table_print(&t, "  ", out);
	}
	table_fini(&t);
}

/* --- what a service tells, by shape --- */

static bool ends_in(const char *s, const char *end)
{
	return slice_ends(slice_str(s), end);
}

/* A scalar as text; NULL for what is none. */
static char *scalar(const char *key, const json_t *v)
{
	if (json_is_integer(v) && (ends_in(key, "bytes") || ends_in(key, "size")))
		return table_bytes((double)json_integer_value(v));
	if (json_is_integer(v))
		return xstrf("%lld", (long long)json_integer_value(v));
	if (json_is_real(v))
		return xstrf("%g", json_real_value(v));
	if (json_is_boolean(v))
		return xstrdup(json_is_true(v) ? "yes" : "no");
	if (json_is_string(v) && ends_in(key, "_at"))
		return table_ago(json_string_value(v));
	return json_is_string(v) ? xstrdup(json_string_value(v)) : NULL;
}

static void add_fact(struct table *t, const char *prefix, const char *key, const json_t *v)
{
	char *words = scalar(key, v), *name;

	if (!words)
		return;
	name = xstrf("%s%s%s", prefix, *prefix ? " " : "", key);
	for (char *c = name; *c; c++) {
		if (*c == '_')
			*c = ' ';
	}
	table_add_take(t, name);
	table_add_take(t, words);
}

/* A list of objects, the first one's scalars being the columns. */
static void print_list(const char *title, json_t *list, struct buf *out)
{
	json_t *first = json_array_get(list, 0), *v, *item;
	const char *columns[TABLE_MOST_COLUMNS] = { NULL }, *key;
	struct table t = TABLE_EMPTY(0);
	size_t i;

	json_object_foreach(first, key, v) {
		if (t.columns < TABLE_MOST_COLUMNS && !json_is_object(v) && !json_is_array(v))
			columns[t.columns++] = key;
	}
	if (!t.columns)
		return;
	for (i = 0; i < t.columns; i++)
		table_add(&t, columns[i]);
	json_array_foreach(list, i, item) {
		for (size_t c = 0; c < t.columns; c++)
			table_add_take(&t, scalar(columns[c], json_object_get(item, columns[c])));
	}
	buf_addf(out, "  %s\n", title);
	table_print(&t, "    ", out);
	table_fini(&t);
}

static void print_service(const char *title, json_t *service, struct buf *out)
{
	struct table t = TABLE_EMPTY(2);
	const char *key, *inner;
	json_t *v, *w;

	json_object_foreach(service, key, v) {
		add_fact(&t, "", key, v);
		if (json_is_object(v)) {
			json_object_foreach(v, inner, w)
				add_fact(&t, key, inner, w);
		}
	}
	buf_addf(out, "\n%s\n", title);
	table_print(&t, "  ", out);
	table_fini(&t);
	json_object_foreach(service, key, v) {
		if (json_is_array(v) && json_array_size(v))
			print_list(key, v, out);
	}
}

static void print_status(json_t *status)
{
	struct buf out = BUF_EMPTY;
	const char *key;
	json_t *v;

	print_head(status, &out);
	print_listeners(status, &out);
	print_upstreams(status, &out);
	json_object_foreach(status, key, v) {
		char *title;

		if (!json_is_object(v) || !strcmp(key, "health") || !json_object_size(v))
			continue;
		title = strcmp(key, "outbox") ? xstrf("Service %s", key) : xstrdup("Outbox"); /* which is no service */
		print_service(title, v, &out);
		free(title);
	}
	(void)fwrite(out.data, 1, out.len, stdout); /* finish() of cli.c looks for errors */
	buf_fini(&out);
}

int cmd_status(const struct cli *cli)
{
	struct admin_answer a = { 0, NULL };
	struct admin_client *c = NULL;
	int status = admin_client_open(cli, &c);

	if (!status)
		status = admin_call(c, "GET", "/api/v1/status", NULL, &a);
	if (!status && a.status != 200) {
		cli_complain("status: %s", admin_answer_reason(&a));
		status = EXIT_FAILED;
	}
	if (!status && cli->json) {
		(void)json_dumpf(a.json, stdout, JSON_INDENT(2)); /* as above */
		printf("\n");
	} else if (!status) {
		print_status(a.json);
	}
	admin_answer_fini(&a);
	admin_client_close(c);
	return status;
}
