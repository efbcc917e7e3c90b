/* outbox.c -- `weir outbox ls | show | body | retry | drop | resolve | flush`.
 *
 * WHAT     Each is a request to the admin API, for each entry named.
 * RULES    Several entries: all are tried, each failure is said with its id, and one is enough for status 1. */
#include "cli/outbox.h"

#include <stdio.h>

#include "base/obj.h"
#include "base/str.h"
#include "cli/admin_client.h"
#include "cli/table.h"
#include "proto/url.h"
#include "store/outbox.h"

#define PATH "/api/v1/outbox"

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
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

/* /api/v1/outbox/ID/verb; malloc'ed */
static char *target_of(const char *id, const char *verb)
{
	struct buf b = BUF_EMPTY;

	buf_add_str(&b, PATH "/");
	url_encode(&b, slice_str(id), "");
	if (*verb)
		buf_addf(&b, "/%s", verb);
	return buf_detach(&b, NULL);
}

/* 0 with an answer below 400; or an exit status, said. */
static int check(const char *name, struct admin_answer *a)
{
	if (a->status < 400)
		return 0;
	cli_complain("%s: %s", name, admin_answer_reason(a));
	admin_answer_fini(a);
	return EXIT_FAILED;
}

/* --- ls ---------------------------------------------------------------------------------------------------------- */

static int check_state(const struct cli *cli)
{
	struct buf all = BUF_EMPTY;
	enum outbox_state s;

	if (!cli->state || outbox_state_parse(slice_str(cli->state), &s) == 0)
		return 0;
	for (unsigned i = 0; i < OUTBOX_STATES; i++)
		buf_addf(&all, "%s%s", i ? ", " : "", outbox_state_text(i));
	cli_complain("outbox ls: --state: \"%s\" is no state; accepted: %s", cli->state, all.data);
	buf_fini(&all);
	return EXIT_USAGE;
}

static void add_filter(struct buf *target, const char *name, const char *value)
{
	if (!value)
		return;
	buf_addf(target, "%c%s=", strchr(target->data, '?') ? '&' : '?', name);
	url_encode(target, slice_str(value), "");
}

int cmd_outbox_ls(const struct cli *cli)
{
	struct buf target = BUF_EMPTY, out = BUF_EMPTY;
	struct admin_client *c = NULL;
	json_t *items = NULL;
	int status = check_state(cli);

	buf_add_str(&target, PATH);
	add_filter(&target, "state", cli->state);
	add_filter(&target, "service", cli->service);
	if (!status)
		status = admin_client_open(cli, &c);
	if (!status)
		status = admin_list(c, target.data, &items);
	if (!status && cli->json)
		print_json(items);
	else if (!status)
		outbox_print_list(items, cli->state || cli->service, &out);
	print(&out);
	json_decref(items);
	admin_client_close(c);
	buf_fini(&target);
	return status;
}

/* --- show, body -------------------------------------------------------------------------------------------------- */

int cmd_outbox_show(const struct cli *cli)
{
	struct admin_answer a = { 0, NULL };
	struct admin_client *c = NULL;
	struct buf out = BUF_EMPTY;
	char *target = target_of(cli->args[0], "");
	int status = admin_client_open(cli, &c);

	if (!status)
		status = admin_call(c, "GET", target, NULL, &a);
	if (!status)
		status = check(cli->args[0], &a);
	if (!status && cli->json)
		print_json(a.json);
	else if (!status)
		outbox_print_entry(a.json, &out);
	print(&out);
	admin_answer_fini(&a);
	admin_client_close(c);
	free(target);
	return status;
}

int cmd_outbox_body(const struct cli *cli)
{
	struct admin_answer a = { 0, NULL };
	struct admin_client *c = NULL;
	char *target = target_of(cli->args[0], "body");
	int status = admin_client_open(cli, &c);

	if (!status)
		status = admin_download(c, target, stdout, &a);
	if (!status)
		status = check(cli->args[0], &a);
	admin_answer_fini(&a);
	admin_client_close(c);
	free(target);
	return status;
}

/* --- verbs ------------------------------------------------------------------------------------------------------- */

struct verb {
	const char *method, *path; /* path: after the id; "": none */
	json_t *body;              /* may be NULL */
	void (*say)(const struct cli *cli, const json_t *entry, struct buf *out); /* after "ID: " */
};

static int act(struct admin_client *c, const struct cli *cli, const struct verb *v, const char *id)
{
	struct admin_answer a = { 0, NULL };
	char *target = target_of(id, v->path);
	struct buf out = BUF_EMPTY;
	int status = admin_call(c, v->method, target, v->body, &a);

	if (!status)
		status = check(id, &a);
	if (!status) {
		buf_addf(&out, "%s: ", id);
		v->say(cli, a.json, &out);
		buf_add_char(&out, '\n');
	}
	print(&out);
	admin_answer_fini(&a);
	free(target);
	return status;
}

static int act_on_all(const struct cli *cli, const struct verb *v)
{
	struct admin_client *c = NULL;
	int status = admin_client_open(cli, &c), worst = 0;

	for (size_t i = 0; !status && i < cli->arg_count; i++) {
		int one = act(c, cli, v, cli->args[i]);

		if (one > worst)
			worst = one;
		if (one == EXIT_NO_DAEMON)
			break;
	}
	admin_client_close(c);
	return status ? status : worst;
}

static void say_queued(const struct cli *cli, const json_t *entry, struct buf *out)
{
	buf_addf(out, "%s: ", text_of(entry, "state"));
	outbox_add_name(entry, out);
	buf_addf(out, "%s", cli->keep ? ", over what the upstream has now" : "");
}

int cmd_outbox_retry(const struct cli *cli)
{
	const struct verb v = { "POST", "retry", NULL, say_queued };

	return act_on_all(cli, &v);
}

/* Enough to know what is lost, and to find its sender. */
static void say_given_up(const struct cli *cli, const json_t *entry, struct buf *out)
{
	char *size = table_bytes(json_number_value(json_object_get(entry, "body_bytes")));
	char *ago = table_ago(text_of(entry, "queued_at"));

	buf_addf(out, "%s: ", text_of(entry, "state"));
	outbox_add_name(entry, out);
	buf_addf(out, " to %s, %s, queued %s%s", text_of(entry, "service"), size, ago,
		 cli->keep ? "; what the upstream has stays" : "");
	if (slice_starts(slice_str(text_of(entry, "last_error")), OUTBOX_OUTCOME_UNKNOWN))
		buf_add_str(out, "; the upstream may have done it all the same");
	free(size);
	free(ago);
}

int cmd_outbox_drop(const struct cli *cli)
{
	const struct verb v = { "DELETE", "", NULL, say_given_up };

	return act_on_all(cli, &v);
}

int cmd_outbox_resolve(const struct cli *cli)
{
	bool ours = cli->keep && !strcmp(cli->keep, "ours");
	struct verb v = { "POST", "resolve", NULL, ours ? say_queued : say_given_up };
	int status;

	if (!cli->keep || (!ours && strcmp(cli->keep, "theirs") != 0)) {
		cli_complain("outbox resolve: say which version is to stay: --keep ours, or --keep theirs");
		return EXIT_USAGE;
	}
	v.body = json_pack("{s:s}", "keep", cli->keep);
	status = act_on_all(cli, &v);
	json_decref(v.body);
	return status;
}

/* --- flush ------------------------------------------------------------------------------------------------------- */

static void print_flushed(const json_t *items)
{
	struct buf out = BUF_EMPTY;
	const json_t *q;
	size_t i;

	json_array_foreach(items, i, q) {
		const char *upstream = text_of(q, "upstream");
		long long n = (long long)json_integer_value(json_object_get(q, "queued"));
		bool is_away = !strcmp(upstream, "down") || !strcmp(upstream, "disabled");

		buf_addf(&out, "%s: %lld queued", text_of(q, "service"), n);
		if (is_away)
			buf_addf(&out, "; the upstream is %s: they go when it is back", upstream);
		else if (n)
			buf_add_str(&out, ", due now");
		buf_add_char(&out, '\n');
	}
	if (!out.len)
		buf_add_str(&out, "no service queues writes\n");
	print(&out);
}

int cmd_outbox_flush(const struct cli *cli)
{
	json_t *body = cli->service ? json_pack("{s:s}", "service", cli->service) : NULL;
	struct admin_answer a = { 0, NULL };
	struct admin_client *c = NULL;
	int status;

	if (cli->service && !body) { /* not UTF-8: no name, and not all of them either */
		cli_complain("outbox flush: --service: \"%s\" is no service", cli->service);
		return EXIT_USAGE;
	}
	status = admin_client_open(cli, &c);
	if (!status)
		status = admin_call(c, "POST", PATH "/flush", body, &a);
	if (!status)
		status = check(cli->service ? cli->service : "flush", &a);
	if (!status)
		print_flushed(json_object_get(a.json, "items"));
	admin_answer_fini(&a);
	admin_client_close(c);
	json_decref(body);
	return status;
}
