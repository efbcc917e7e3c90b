/* session.c -- `weir session ls | show | flush`: what the session daemon holds, from the admin API. */
#include <stdio.h>

#include "base/obj.h"
#include "base/str.h"
#include "cli/admin_client.h"
#include "cli/table.h"
#include "proto/url.h"

#define PATH      "/api/v1/sessions"
#define MOST_TEXT 500

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool is(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

static void print(struct buf *take)
{
	(void)fwrite(take->data, 1, take->len, stdout); /* finish() of cli.c looks for errors */
	buf_fini(take);
}

static void print_json(const json_t *v)
{
	(void)json_dumpf(v, stdout, JSON_INDENT(2)); /* as above */
	printf("\n");
}

static int check(const char *name, struct admin_answer *a)
{
	if (a->status < 400)
		return 0;
	cli_complain("%s: %s", name, admin_answer_reason(a));
	admin_answer_fini(a);
	return EXIT_FAILED;
}

/* --- ls ---------------------------------------------------------------------------------------------------------- */

static const char *state_of(const json_t *s)
{
	if (is(s, "crashed"))
		return is(s, "delivered") ? "crashed" : "crashed, undelivered";
	if (!is(s, "active"))
		return is(s, "delivered") ? "ended" : "ended, undelivered";
	return is(s, "hung") ? "hung" : is(s, "paused") ? "paused" : "active";
}

static void add_row(struct table *t, const json_t *s)
{
	long long pid = (long long)json_integer_value(json_object_get(s, "parent_pid"));

	table_add(t, text_of(s, "id"));
	table_add(t, text_of(s, "product"));
	table_add(t, text_of(s, "version"));
	table_add(t, state_of(s));
	table_add_take(t, pid ? xstrf("%lld%s", pid,
				      strcmp(text_of(s, "watch"), "no") || !is(s, "active") ? "" : " (unwatched)")
			      : xstrdup(""));
	table_add_take(t, table_ago(text_of(s, "created_at")));
	table_add_take(t, table_ago(text_of(s, "last_heartbeat")));
}

static void print_list(const json_t *items)
{
	static const char *const titles[] = { "ID", "PRODUCT", "VERSION", "STATE", "PID", "CREATED", "HEARD" };
	struct table t = TABLE_EMPTY(ARRAY_LEN(titles));
	struct buf out = BUF_EMPTY;
	const json_t *s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(titles); i++)
		table_add(&t, titles[i]);
	json_array_foreach(items, i, s) add_row(&t, s);
	if (json_array_size(items))
		table_print(&t, "", &out);
	else
		buf_add_str(&out, "no sessions\n");
	table_fini(&t);
	print(&out);
}

int cmd_session_ls(const struct cli *cli)
{
	struct admin_client *c = NULL;
	json_t *items = NULL;
	int status = admin_client_open(cli, &c);

	if (!status)
		status = admin_list(c, PATH, &items);
	if (!status && cli->json)
		print_json(items);
	else if (!status)
		print_list(items);
	json_decref(items);
	admin_client_close(c);
	return status;
}

/* --- show -------------------------------------------------------------------------------------------------------- */

static void add_fact(struct buf *out, const char *name, const char *value)
{
	if (!*value)
		return;
	buf_addf(out, "  %-15s ", name);
	str_add_escaped(out, slice_str(value), MOST_TEXT);
	buf_add_char(out, '\n');
}

static void add_state(struct buf *out, const json_t *s)
{
	char *text = json_dumps(json_object_get(s, "state"), JSON_INDENT(2) | JSON_ENCODE_ANY);

	if (text)
		buf_addf(out, "state %s\n", text);
	free(text);
}

static void add_items(struct buf *out, const json_t *s, const char *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(s, list), i, item)
	{
		char *value = json_dumps(json_object_get(item, "value"), JSON_ENCODE_ANY | JSON_COMPACT);

		buf_addf(out, "%-7.*s %-27s ", (int)strlen(list) - 1, list, text_of(item, "timestamp"));
		str_add_escaped(out, slice_str(text_of(item, "name")), MOST_TEXT);
		if (value)
			buf_addf(out, " = %s", value);
		else if (*text_of(item, "category"))
			buf_addf(out, " (%s)", text_of(item, "category"));
		buf_add_char(out, '\n');
		free(value);
	}
}

static void print_session(const json_t *s)
{
	struct buf out = BUF_EMPTY;

	str_add_escaped(&out, slice_str(text_of(s, "id")), MOST_TEXT);
	buf_addf(&out, ": %s\n", state_of(s));
	add_fact(&out, "product", text_of(s, "product"));
	add_fact(&out, "version", text_of(s, "version"));
	add_fact(&out, "local id", text_of(s, "local_id"));
	add_fact(&out, "created", text_of(s, "created_at"));
	add_fact(&out, "heard of", text_of(s, "last_heartbeat"));
	add_fact(&out, "ended", text_of(s, "ended_at"));
	add_fact(&out, "watched by", text_of(s, "watch"));
	add_state(&out, s);
	add_items(&out, s, "events");
	add_items(&out, s, "metrics");
	print(&out);
}

int cmd_session_show(const struct cli *cli)
{
	struct admin_answer a = { 0, NULL };
	struct admin_client *c = NULL;
	struct buf target = BUF_EMPTY;
	int status = admin_client_open(cli, &c);

	buf_add_str(&target, PATH "/");
	url_encode(&target, slice_str(cli->args[0]), "");
	if (!status)
		status = admin_call(c, "GET", target.data, NULL, &a);
	if (!status)
		status = check(cli->args[0], &a);
	if (!status && cli->json)
		print_json(a.json);
	else if (!status)
		print_session(a.json);
	admin_answer_fini(&a);
	admin_client_close(c);
	buf_fini(&target);
	return status;
}

/* --- flush ------------------------------------------------------------------------------------------------------- */

int cmd_session_flush(const struct cli *cli)
{
	struct admin_answer a = { 0, NULL };
	struct admin_client *c = NULL;
	int status = admin_client_open(cli, &c);

	if (!status)
		status = admin_call(c, "POST", PATH "/flush", NULL, &a);
	if (!status)
		status = check("flush", &a);
	if (!status) {
		const json_t *q = json_object_get(a.json, "queue");
		const char *server = text_of(q, "server");
		bool is_away = !strcmp(server, "down") || !strcmp(server, "disabled");

		printf("%lld operations queued%s\n", (long long)json_integer_value(json_object_get(q, "entries")),
		       is_away ? "; the server is away: they go when it is back" : ", due now");
	}
	admin_answer_fini(&a);
	admin_client_close(c);
	return status;
}
