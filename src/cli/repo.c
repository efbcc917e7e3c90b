/* repo.c -- `weir repo ls | warm | verify | evict`.
 *
 * WHAT     Each is a request to the admin API; warm also looks on while the daemon works, and tells how far it is.
 * RULES    1. Several repositories: all are tried, each failure is said with its name, and one is enough for status 1.
 *          2. On a terminal progress is one line that is written over; elsewhere it is a line for each stage. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cli/admin_client.h"
#include "cli/repo_name.h"
#include "cli/table.h"

#define LOOK_EVERY_MS 500
#define FOLLOW_EVERY_MS 200

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static bool is_named(const json_t *item, const char *repo)
{
	const char *host = text_of(item, "host"), *path = text_of(item, "path");
	size_t n = host ? strlen(host) : 0;

	return host && path && !strncmp(repo, host, n) && repo[n] == '/' && !strcmp(repo + n + 1, path);
}

/* --- ls --- */

static void print_repos(json_t *items)
{
	static const char *const titles[] = { "REPOSITORY", "STATE", "SIZE", "REFS", "SEEN", "USED" };
	struct table t = TABLE_EMPTY(6);
	struct buf out = BUF_EMPTY;
	const json_t *r;
	size_t i;

	for (i = 0; i < 6; i++)
		table_add(&t, titles[i]);
	json_array_foreach(items, i, r) {
		table_add_take(&t, xstrf("%s/%s", text_of(r, "host") ? text_of(r, "host") : "?",
					 text_of(r, "path") ? text_of(r, "path") : "?"));
		table_add(&t, text_of(r, "state"));
		table_add_take(&t, table_bytes(json_number_value(json_object_get(r, "bytes"))));
		table_add_take(&t, xstrf("%lld", (long long)json_integer_value(json_object_get(r, "refs"))));
		table_add_take(&t, table_ago(text_of(r, "seen_at")));
		table_add_take(&t, table_ago(text_of(r, "used_at")));
	}
	if (t.count > 6)
		table_print(&t, "", &out);
	else
		buf_add_str(&out, "no repository is cached yet\n");
	(void)fwrite(out.data, 1, out.len, stdout); /* finish() of cli.c looks for errors */
	buf_fini(&out);
	table_fini(&t);
}

int cmd_repo_ls(const struct cli *cli)
{
	struct admin_client *c = NULL;
	json_t *items = NULL;
	int status = admin_client_open(cli, &c);

	if (!status)
		status = admin_list(c, "/api/v1/repos", &items);
	if (!status && cli->json) {
		(void)json_dumpf(items, stdout, JSON_INDENT(2)); /* as above */
		printf("\n");
	} else if (!status) {
		print_repos(items);
	}
	json_decref(items);
	admin_client_close(c);
	return status;
}

/* --- one action on one repository --- */

/* 0 with the answer; or an exit status, said. */
static int act(struct admin_client *c, const char *verb, const char *repo, struct admin_answer *ret)
{
	char *target = xstrf("/api/v1/repos/%s", verb);
	json_t *body = json_pack("{s:s}", "repo", repo);
	int status = body ? admin_call(c, "POST", target, body, ret) : EXIT_FAILED;

	if (!body) /* not UTF-8 */
		cli_complain("%s: no name of a repository", repo);
	json_decref(body);
	free(target);
	if (status || ret->status < 400)
		return status;
	cli_complain("%s: %s", repo, admin_answer_reason(ret));
	admin_answer_fini(ret);
	return EXIT_FAILED;
}

static int name_of(const char *typed, char **ret)
{
	struct buf name = BUF_EMPTY;

	if (repo_name_parse(slice_str(typed), &name) < 0) {
		cli_complain("\"%s\" names no repository; accepted: a URL as for git clone, or HOST/PATH", typed);
		buf_fini(&name);
		return EXIT_USAGE;
	}
	*ret = buf_detach(&name, NULL);
	return 0;
}

int cmd_repo_evict(const struct cli *cli)
{
	struct admin_answer a = { 0, NULL };
	struct admin_client *c = NULL;
	char *repo = NULL;
	int status = name_of(cli->args[0], &repo);

	if (!status)
		status = admin_client_open(cli, &c);
	if (!status)
		status = act(c, "evict", repo, &a);
	if (!status)
		printf("%s: evicted\n", repo);
	admin_answer_fini(&a);
	admin_client_close(c);
	free(repo);
	return status;
}

/* --- verify --- */

static int verify_one(struct admin_client *c, const char *repo)
{
	struct admin_answer a = { 0, NULL };
	const char *state, *words;
	int status = act(c, "verify", repo, &a);
	bool damaged;

	if (status)
		return status;
	state = text_of(a.json, "state");
	words = text_of(a.json, "detail");
	damaged = json_is_false(json_object_get(a.json, "ok")) || (state && !strcmp(state, "quarantined"));
	if (damaged)
		cli_complain("%s: damaged%s%s; it was set aside and is fetched again", repo, words ? ": " : "",
			     words ? words : "");
	else
		printf("%s: no damage found\n", repo);
	admin_answer_fini(&a);
	return damaged ? EXIT_FAILED : EXIT_DONE;
}

static int verify_all(struct admin_client *c)
{
	json_t *items = NULL;
	const json_t *r;
	size_t i;
	int status = admin_list(c, "/api/v1/repos", &items), worst = 0;

	json_array_foreach(items, i, r) {
		char *repo = xstrf("%s/%s", text_of(r, "host") ? text_of(r, "host") : "",
				   text_of(r, "path") ? text_of(r, "path") : "");

		status = verify_one(c, repo);
		free(repo);
		if (status > worst)
			worst = status;
		if (status == EXIT_NO_DAEMON)
			break;
	}
	json_decref(items);
	return status > worst ? status : worst;
}

int cmd_repo_verify(const struct cli *cli)
{
	struct admin_client *c = NULL;
	char *repo = NULL;
	int status = cli->arg_count ? name_of(cli->args[0], &repo) : 0;

	if (!status)
		status = admin_client_open(cli, &c);
	if (!status)
		status = repo ? verify_one(c, repo) : verify_all(c);
	admin_client_close(c);
	free(repo);
	return status;
}

/* --- warm --- */

/* Looks at a repository while another thread waits for the daemon's answer. */
struct onlooker {
	struct admin_client *client;
	const char *repo;
	bool terminal;
	int64_t began_ms;
	char stage[40]; /* last shown */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t change; /* on the monotonic clock */
	bool done;
};

/* The repository as the daemon lists it, a new reference; NULL when it does not (yet), or cannot be asked. */
static json_t *look(struct admin_client *c, const char *repo)
{
	json_t *items = NULL, *found = NULL, *r;
	size_t i;

	if (admin_list(c, "/api/v1/repos", &items))
		return NULL;
	json_array_foreach(items, i, r) {
		if (is_named(r, repo))
			found = json_incref(r);
	}
	json_decref(items);
	return found;
}

static void show_progress(struct onlooker *o, const json_t *item)
{
	const json_t *progress = json_object_get(item, "progress");
	const char *stage = text_of(progress, "stage");
	long long objects = (long long)json_integer_value(json_object_get(progress, "objects"));
	double seconds = json_number_value(json_object_get(progress, "seconds"));
	struct buf took = BUF_EMPTY;
	char *bytes, *rate;

	if (!stage || (!o->terminal && !strcmp(stage, o->stage)))
		return;
	(void)snprintf(o->stage, sizeof(o->stage), "%s", stage); /* cut: only compared and shown */
	str_format_duration((clock_mono_ms() - o->began_ms) / 1000 * 1000, &took);
	bytes = table_bytes(json_number_value(json_object_get(progress, "bytes")));
	rate = table_bytes(json_number_value(json_object_get(progress, "bytes")) / (seconds > 0.1 ? seconds : 0.1));
	if (o->terminal && objects > 0)
		printf("\r\033[K%s: %s, %s of %lld objects, %s/s, %s", o->repo, stage, bytes, objects, rate, took.data);
	else if (o->terminal)
		printf("\r\033[K%s: %s, %s, %s", o->repo, stage, bytes, took.data);
	else
		printf("%s: %s\n", o->repo, stage);
	(void)fflush(stdout); /* finish() of cli.c looks for errors */
	free(bytes);
	free(rate);
	buf_fini(&took);
}

/* False when it is over. */
static bool wait_a_little(struct onlooker *o)
{
	struct timespec until;
	bool done;

	ENSURE(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
	until.tv_nsec += LOOK_EVERY_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&o->lock);
	while (!o->done && pthread_cond_timedwait(&o->change, &o->lock, &until) == 0)
		;
	done = o->done;
	pthread_mutex_unlock(&o->lock);
	return !done;
}

static void *look_on(void *arg)
{
	struct onlooker *o = arg;

	while (wait_a_little(o)) {
		json_t *item = look(o->client, o->repo);

		if (item)
			show_progress(o, item);
		json_decref(item);
	}
	return NULL;
}

static bool onlooker_start(struct onlooker *o)
{
	pthread_condattr_t attr;

	ENSURE(pthread_mutex_init(&o->lock, NULL) == 0 && pthread_condattr_init(&attr) == 0);
	ENSURE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_cond_init(&o->change, &attr) == 0);
	(void)pthread_condattr_destroy(&attr);
	return pthread_create(&o->thread, NULL, look_on, o) == 0;
}

static void onlooker_stop(struct onlooker *o, bool started)
{
	pthread_mutex_lock(&o->lock);
	o->done = true;
	(void)pthread_cond_signal(&o->change);
	pthread_mutex_unlock(&o->lock);
	if (started)
		(void)pthread_join(o->thread, NULL);
	(void)pthread_cond_destroy(&o->change);
	(void)pthread_mutex_destroy(&o->lock);
	if (o->terminal && o->stage[0])
		printf("\r\033[K");
}

/* Why nothing came: what the daemon knows of the upstream, when that is away. */
static void complain_nothing_came(struct admin_client *c, const char *repo)
{
	json_t *items = NULL, *u;
	bool said = false;
	size_t i;

	if (admin_list(c, "/api/v1/upstreams", &items) == 0) {
		json_array_foreach(items, i, u) {
			const char *name = text_of(u, "name"), *state = text_of(u, "state");
			const char *error = text_of(u, "last_error");
			size_t n = name ? strlen(name) : 0;

			if (said || !n || strncmp(repo, name, n) != 0 || repo[n] != '/')
				continue;
			if (!state || !strcmp(state, "up"))
				break;
			cli_complain("%s: not fetched: upstream %s is %s%s%s", repo, name, state,
				     error && *error ? ": " : "", error ? error : "");
			said = true;
		}
	}
	json_decref(items);
	if (!said)
		cli_complain("%s: nothing of it could be fetched; the log of the daemon says why", repo);
}

/* After a 202: until the daemon no longer works on it. 0 with the item; or an exit status, said. */
static int follow(struct admin_client *c, const char *repo, json_t **ret_item)
{
	const struct timespec pause = { .tv_nsec = FOLLOW_EVERY_MS * 1000000L };

	for (;;) {
		json_t *item = look(c, repo);
		const char *state = text_of(item, "state"), *error = text_of(item, "last_error");

		if (!item) {
			complain_nothing_came(c, repo);
			return EXIT_FAILED;
		}
		if (state && strcmp(state, "syncing") != 0) {
			if (!error || !*error) {
				*ret_item = item;
				return 0;
			}
			cli_complain("%s: %s", repo, error);
			json_decref(item);
			return EXIT_FAILED;
		}
		json_decref(item);
		(void)nanosleep(&pause, NULL); /* cut short by a signal: looks a little sooner */
	}
}

static void print_warmed(const char *repo, const json_t *item, int64_t took_ms)
{
	char *bytes = table_bytes(json_number_value(json_object_get(item, "bytes")));
	struct buf took = BUF_EMPTY;

	str_format_duration(took_ms, &took);
	printf("%s: %s, %s, %lld refs, %s\n", repo, text_of(item, "state") ? text_of(item, "state") : "done", bytes,
	       (long long)json_integer_value(json_object_get(item, "refs")), took.data);
	free(bytes);
	buf_fini(&took);
}

static int warm_one(struct admin_client *c, const char *repo)
{
	struct onlooker o = {
		.client = c, .repo = repo, .terminal = isatty(STDOUT_FILENO), .began_ms = clock_mono_ms()
	};
	struct admin_answer a = { 0, NULL };
	json_t *item = NULL;
	bool started = onlooker_start(&o);
	int status = act(c, "warm", repo, &a);

	if (!status && a.status == 202)
		status = follow(c, repo, &item);
	onlooker_stop(&o, started);
	if (!status && !item)
		item = look(c, repo);
	if (!status)
		print_warmed(repo, item, clock_mono_ms() - o.began_ms);
	json_decref(item);
	admin_answer_fini(&a);
	return status;
}

int cmd_repo_warm(const struct cli *cli)
{
	struct admin_client *c = NULL;
	int status = admin_client_open(cli, &c), worst = 0;

	for (size_t i = 0; !status && i < cli->arg_count; i++) {
		char *repo = NULL;
		int one = name_of(cli->args[i], &repo);

		if (!one)
			one = warm_one(c, repo);
		free(repo);
		if (one > worst)
			worst = one;
		if (one == EXIT_NO_DAEMON)
			break;
	}
	admin_client_close(c);
	return status ? status : worst;
}
