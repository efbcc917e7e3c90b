/* cli_test.c -- whole commands, each in a process of its own: exit status, standard output, standard error.
 *
 * The daemon is real but for its one service: `admin` is played here with canned answers (src/admin is not to be
 * known in this folder), so that commands can be seen against what a daemon might say. */
#include "cli/cli.h"

#include "base/obj.h"
#include "base/str.h"

/* --- the service that plays admin --- */

static const struct canned {
	const char *method, *target; /* of the request; target may end in '*' */
	const char *body;            /* that the request must contain; NULL: any */
	int status;
	const char *answer;
} canned[] = {
	{ "GET", "/api/v1/status", NULL, 200,
	  "{\"version\": \"1.2\", \"uptime_seconds\": 90, \"listeners\": [{\"name\": \"git\", \"address\": "
	  "\"127.0.0.1:1\"}],"
	  " \"upstreams\": [{\"name\": \"git.test\", \"service\": \"git\", \"state\": \"down\", \"since\": null, "
	  "\"last_error\": \"refused\"}],"
	  " \"health\": {\"status\": \"degraded\", \"cached_repos\": 2, \"cache_stats\": {\"hits\": 7, \"misses\": "
	  "1, \"stale_serves\": 0}},"
	  " \"git\": {\"bytes\": 2048, \"top\": [{\"repo\": \"git.test/a\", \"hits\": 5}], \"disk\": {\"max_bytes\": "
	  "4096}}}" },
	{ "GET", "/api/v1/repos", NULL, 200,
	  "{\"items\": [{\"host\": \"git.test\", \"path\": \"org/a\", \"state\": \"ready\", \"bytes\": 1536, "
	  "\"refs\": 3}], \"next\": \"x y\"}" },
	{ "GET", "/api/v1/repos?after=x%20y", NULL, 200,
	  "{\"items\": [{\"host\": \"git.test\", \"path\": \"org/b\", \"state\": \"ready\", \"bytes\": 10, \"refs\": "
	  "1}], \"next\": null}" },
	{ "GET", "/api/v1/upstreams", NULL, 200,
	  "{\"items\": [{\"name\": \"gone.test\", \"state\": \"down\", \"last_error\": \"refused\"}],"
	  " \"next\": null}" },
	{ "POST", "/api/v1/repos/warm", "gone.test/x\"", 202, "{}" },
	{ "POST", "/api/v1/repos/warm", "strange.test/x\"", 202, "{}" },
	{ "POST", "/api/v1/repos/warm", "git.test/org/a\"", 200, "{}" },
	{ "POST", "/api/v1/repos/warm", "git.test/org/b\"", 202, "{}" },
	{ "POST", "/api/v1/repos/verify", "git.test/org/a\"", 200, "{\"ok\": true}" },
	{ "POST", "/api/v1/repos/verify", "git.test/org/b\"", 200, "{\"ok\": false, \"detail\": \"a pack is torn\"}" },
	{ "POST", "/api/v1/repos/evict", "git.test/org/a\"", 204, "" },
	{ "GET", "/api/v1/outbox?state=held&service=a%20b", NULL, 200,
	  "{\"items\": [{\"id\": \"one\", \"state\": \"held\"}], \"next\": \"17\"}" },
	{ "GET", "/api/v1/outbox?state=held&service=a%20b&after=17", NULL, 200,
	  "{\"items\": [{\"id\": \"two\", \"state\": \"held\"}], \"next\": null}" },
	{ "GET", "/api/v1/outbox/one", NULL, 200, "{\"id\": \"one\", \"state\": \"held\", \"method\": \"PUT\"}" },
	{ "GET", "/api/v1/outbox/one/body", NULL, 200, "{ours}" },
	{ "POST", "/api/v1/outbox/one/retry", NULL, 200,
	  "{\"id\": \"one\", \"state\": \"queued\", \"method\": \"PUT\", \"raw_uri\": \"/a\"}" },
	{ "POST", "/api/v1/outbox/one/resolve", "{\"keep\":\"theirs\"}", 200,
	  "{\"id\": \"one\", \"state\": \"resolved\", \"method\": \"PUT\", \"raw_uri\": \"/a\", \"service\": \"files\","
	  " \"body_bytes\": 4}" },
	{ "DELETE", "/api/v1/outbox/one", NULL, 409, "{\"detail\": \"one is being sent\"}" },
	{ "POST", "/api/v1/outbox/flush", "{\"service\":\"files\"}", 200,
	  "{\"items\": [{\"service\": \"files\", \"queued\": 3, \"upstream\": \"down\"}], \"next\": null}" },
	{ "POST", "/api/v1/repos/", NULL, 404,
	  "{\"title\": \"No such repository\", \"status\": 404, \"detail\": \"it is not cached\"}" },
};

/* A repository that takes a while: after it is asked for, so many looks at the list find it under way. */
static const struct canned slow_warm = { "POST", "/api/v1/repos/warm", "git.test/slow\"", 202, "{}" };
static const struct canned slow_list = {
	"GET", "/api/v1/repos", NULL, 200,
	"{\"items\": [{\"host\": \"git.test\", \"path\": \"slow\", \"state\": \"syncing\","
	" \"progress\": {\"stage\": \"receiving\", \"bytes\": 77}}], \"next\": null}",
};
static const struct canned slow_done = {
	"GET", "/api/v1/repos", NULL, 200,
	"{\"items\": [{\"host\": \"git.test\", \"path\": \"slow\", \"state\": \"ready\","
	" \"bytes\": 99, \"refs\": 4}], \"next\": null}",
};
static atomic_int slow_looks = -1; /* left; -1: nobody asked */

static bool fits(const struct canned *c, struct exchange *ex, struct slice body)
{
	struct slice target = exchange_target(ex);
	bool all_below = slice_ends(slice_str(c->target), "/");

	return slice_eq_str(exchange_method(ex), c->method) &&
	       (all_below ? slice_starts(target, c->target) : slice_eq_str(target, c->target)) &&
	       (!c->body || memmem(body.p, body.n, c->body, strlen(c->body)));
}

static const struct canned *slow_answer(struct exchange *ex, struct slice body)
{
	if (fits(&slow_warm, ex, body)) {
		atomic_store(&slow_looks, 8); /* more than lie between two looks of the onlooker */
		return &slow_warm;
	}
	if (atomic_load(&slow_looks) < 0 || !fits(&slow_list, ex, body))
		return NULL;
	return atomic_load(&slow_looks) && atomic_fetch_sub(&slow_looks, 1) > 0 ? &slow_list : &slow_done;
}

static void handle(struct exchange *ex)
{
	const struct header_line headers[] = { { "Content-Type", "application/json" } };
	struct slice body = { "", 0 };
	const char *wanted = exchange_service_arg(ex);
	const struct canned *slow;

	if (exchange_body_peek(ex, &body) < 0) {
		exchange_reply(ex, 400, NULL, 0, NULL);
		return;
	}
	if (wanted && !slice_eq_str(exchange_header(ex, "authorization"), wanted)) {
		exchange_reply(ex, 401, NULL, 0, NULL);
		return;
	}
	slow = slow_answer(ex, body);
	if (slow) {
		exchange_reply(ex, slow->status, headers, 1, blob_new_copy(slow->answer, strlen(slow->answer)));
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(canned); i++) {
		if (fits(&canned[i], ex, body)) {
			exchange_reply(ex, canned[i].status, headers, 1,
				       blob_new_copy(canned[i].answer, strlen(canned[i].answer)));
			return;
		}
	}
	exchange_reply(ex, 404, NULL, 0, NULL);
}

static int start(const struct core *core, const void *section, void **ret_state, struct buf *err)
{
	const struct config_admin *a = section;
	struct listener_options o = { .name = "admin", .where = &a->listen, .handle = handle,
				      .arg = (void *)(uintptr_t)(a->token_file ? "Bearer let-me-in" : NULL) };

	*ret_state = NULL;
	return server_listen(core->server, &o, err);
}

static void reload(void *state, const void *section)
{
	printf("reloaded\n");
	(void)fflush(stdout);
}

static void stop(void *state)
{
	printf("stopped\n");
	(void)fflush(stdout);
}

static const struct service player = {
	.name = "admin", .section = &config_admin_section, .start = start, .reload = reload, .stop = stop
};
static const struct service *const services[] = { &player, NULL };

#include "cli/cli_test_kit.h" /* runs them */

/* --- without a daemon --- */

static void test_usage_errors_are_told_with_what_was_meant(void **state)
{
	static const struct {
		const char *args[5], *words;
	} rows[] = {
		{ { NULL }, "usage: weir COMMAND" },
		{ { "stauts" }, "no command stauts; did you mean weir status?" },
		{ { "frobnicate" }, "no command frobnicate; see weir --help" },
		{ { "repo" }, "usage: weir repo COMMAND" },
		{ { "repo", "wram" }, "repo: no command wram" },
		{ { "serve", "--confg", "x" }, "serve: no option --confg; did you mean --config?" },
		{ { "serve", "--json" }, "serve: no option --json; see weir serve --help" },
		{ { "status", "--json=yes" }, "no option --json=yes" },
		{ { "serve", "-x" }, "serve: no option -x" },
		{ { "serve", "-c" }, "serve: --config needs a value: --config FILE" },
		{ { "serve", "extra" }, "serve: \"extra\" is one argument too many; usage: weir serve" },
		{ { "repo", "evict" }, "repo evict: an argument is missing; usage: weir repo evict URL" },
		{ { "repo", "warm", "github.com" },
		  "\"github.com\" names no repository; accepted: a URL as for git clone, or HOST/PATH" },
		{ { "outbox", "ls", "--state", "lost" }, "\"lost\" is no state; accepted: queued, sending, applied" },
		{ { "outbox", "resolve", "one" }, "say which version is to stay: --keep ours, or --keep theirs" },
		{ { "outbox", "resolve", "one", "--keep=both" }, "say which version is to stay" },
		{ { "outbox", "show" }, "outbox show: an argument is missing; usage: weir outbox show ID" },
		{ { "outbxo" }, "no command outbxo; did you mean weir outbox?" },
		{ { "serve", "--set", "a" }, "--set: \"a\" is not KEY=VALUE" },
		{ { "status", "--admin", "no address" }, "\"no address\" is no address of an admin listener" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(weir(rows[i].args), 2);
		expect_said(&err, rows[i].words);
		assert_string_equal(out.data, "");
	}
}

static void test_help_and_version_go_to_standard_output(void **state)
{
	static const struct {
		const char *args[4], *words;
	} rows[] = {
		{ { "--help" }, "repo verify [URL]" },    { { "help" }, "usage: weir COMMAND" },
		{ { "--version" }, "weir " WEIR_VERSION }, { { "serve", "-h" }, "usage: weir serve [OPTION]..." },
		{ { "repo", "--help" }, "repo evict" },    { { "repo", "--version" }, "weir " WEIR_VERSION },
		{ { "repo", "warm", "--help" }, "URL..." }, { { "repo", "evict", "-V" }, "weir " WEIR_VERSION },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(weir(rows[i].args), 0);
		expect_said(&out, rows[i].words);
		assert_string_equal(err.data, "");
	}
}

static void test_options_take_their_values_in_every_usual_form(void **state)
{
	static const char *const rows[][4] = {
		{ "check", "-c", "weir.yaml" },
		{ "check", "-cweir.yaml" },
		{ "check", "--config", "weir.yaml" },
		{ "check", "--config=weir.yaml" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(weir(rows[i]), 0);
		expect_said(&out, "weir.yaml: no problem found\n");
		expect_said(&out, "  admin        127.0.0.1:0\n");
	}
	assert_int_equal(weir(ARGS("check", "--set=admin.listen=127.0.0.1:7", "--set", "data_dir=x")), 0);
	expect_said(&out, "127.0.0.1:7\n");
	assert_int_equal(weir(ARGS("check", "--", "-c")), 2);
}

static void test_a_broken_configuration_is_2_for_check_and_serve(void **state)
{
	put("broken.yaml", "log: {level: loud}\nadmin: {lisen: x}\n");
	assert_int_equal(weir(ARGS("check", "-c", "broken.yaml")), 2);
	expect_said(&err, "broken.yaml:1: log.level: ");
	expect_said(&err, "broken.yaml:2: admin.lisen: no such key (did you mean listen?)");
	assert_string_equal(out.data, "");
	assert_int_equal(weir(ARGS("serve", "-c", "broken.yaml")), 2);
	expect_said(&err, "broken.yaml:1: log.level: ");
	put("broken.yaml", "log: {level: info}\n");
	assert_int_equal(weir(ARGS("serve", "-c", "broken.yaml")), 2);
	expect_said(&err, "broken.yaml names no service to run");
	assert_int_equal(weir(ARGS("status", "-c", "broken.yaml")), 2);
	expect_said(&err, "has no section `admin`");
}

static void test_without_a_daemon_commands_exit_with_3(void **state)
{
	static const char *const rows[][4] = { { "status" },
					       { "repo", "ls" },
					       { "repo", "warm", "git.test/a" },
					       { "repo", "verify" },
					       { "repo", "evict", "git.test/a" },
					       { "outbox", "ls" },
					       { "outbox", "body", "one" },
					       { "outbox", "flush" } };

	assert_int_equal(setenv("WEIR_ADMIN", "127.0.0.1:1", 1), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(weir(rows[i]), 3);
		expect_said(&err, "no daemon answers at 127.0.0.1:1");
		expect_said(&err, "weir serve");
		assert_string_equal(out.data, "");
	}
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

/* --- with one --- */

static void test_a_daemon_starts_reloads_and_stops(void **state)
{
	pid_t pid = daemon_start();

	put("weir.yaml", "data_dir: elsewhere\nlog: {level: warn}\nadmin: {listen: \"127.0.0.1:0\"}\n");
	assert_int_equal(kill(pid, SIGHUP), 0);
	wait_until_said("daemon.out", "ready\nreloaded\n");
	wait_until_said("daemon.err", "config_needs_restart key=data_dir");
	wait_until_said("daemon.err", "config_reloaded file=weir.yaml log_level=warn");
	put("weir.yaml", "data_dir: data\nlog: {level: loud}\nadmin: {listen: \"127.0.0.1:0\"}\n");
	assert_int_equal(kill(pid, SIGHUP), 0);
	wait_until_said("daemon.err", "error config_rejected problem=\"weir.yaml:2: log.level: ");
	put("weir.yaml", "data_dir: data\nadmin: {listen: \"127.0.0.1:0\"}\n");
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(wait_for(pid), 0);
	wait_until_said("daemon.out", "ready\nreloaded\nstopped\n");
	daemon_stop(daemon_start(), SIGINT);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

static void test_a_daemon_whose_descriptors_were_closed_serves_and_ends_well(void **state)
{
	static const char *const args[] = { "serve", "--set", "admin.listen=127.0.0.1:0", NULL };
	const struct timespec pause = { .tv_nsec = 5000000 };
	pid_t pid;
	int i = 0;

	(void)unlink("daemon.out");
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char *argv[] = { (char *)(uintptr_t) "weir", (char *)(uintptr_t)args[0], (char *)(uintptr_t)args[1],
				 (char *)(uintptr_t)args[2], NULL };

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		redirect(STDERR_FILENO, "daemon.err");
		(void)close(STDIN_FILENO);
		(void)close(STDOUT_FILENO);
		exit(cli_main(4, argv, services, services));
	}
	do {
		buf_reset(&out);
		assert_int_equal(nanosleep(&pause, NULL), 0);
		if (file_read_all("daemon.err", MOST_OUTPUT, &out) == 0 && strstr(out.data, "info started"))
			break;
	} while (++i < 2000);
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(wait_for(pid), 0);
}

static void test_one_folder_has_one_daemon(void **state)
{
	pid_t pid = daemon_start();
	char number[24];

	assert_int_equal(weir(ARGS("serve")), 2);
	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	expect_said(&err, number);
	assert_string_equal(out.data, "");
	daemon_stop(pid, SIGTERM);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

static void test_an_address_in_use_is_said_and_is_1(void **state)
{
	pid_t pid = daemon_start();
	char *set = xstrf("admin.listen=%s", getenv("WEIR_ADMIN"));

	assert_int_equal(weir(ARGS("serve", "--set", set, "--set", "data_dir=other")), 1);
	expect_said(&err, getenv("WEIR_ADMIN"));
	assert_string_equal(out.data, "");
	free(set);
	daemon_stop(pid, SIGTERM);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

static void test_commands_show_what_the_daemon_says(void **state)
{
	pid_t pid = daemon_start();

	assert_int_equal(weir(ARGS("status")), 0);
	expect_said(&out, "weir 1.2, up 90s, degraded\n");
	expect_said(&out, "  answers       7 from the cache, 1 from upstream, 0 stale\n");
	expect_said(&out, "  git.test  git      down   -      refused\n");
	expect_said(&out, "  bytes           2.0 KiB\n");
	expect_said(&out, "  disk max bytes  4.0 KiB\n");
	expect_said(&out, "    git.test/a  5\n");
	assert_int_equal(weir(ARGS("status", "--json")), 0);
	expect_said(&out, "\"uptime_seconds\": 90");

	assert_int_equal(weir(ARGS("repo", "ls")), 0);
	expect_said(&out, "git.test/org/a  ready  1.5 KiB  3     -     -\n");
	expect_said(&out, "git.test/org/b");
	assert_int_equal(weir(ARGS("repo", "ls", "--json")), 0);
	assert_int_equal(out.data[0], '[');
	expect_said(&out, "org/b");
	daemon_stop(pid, SIGTERM);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

static void test_commands_steer_and_tell_which_failed(void **state)
{
	pid_t pid = daemon_start();

	assert_int_equal(weir(ARGS("repo", "warm", "https://git.test/org/a.git", "git.test/org/b")), 0);
	expect_said(&out, "git.test/org/a: ready, 1.5 KiB, 3 refs, ");
	expect_said(&out, "git.test/org/b: ready, 10 B, 1 refs, ");
	assert_int_equal(weir(ARGS("repo", "warm", "git.test/org/none", "git.test/org/a")), 1);
	expect_said(&err, "weir: git.test/org/none: it is not cached\n");
	expect_said(&out, "git.test/org/a: ready");

	assert_int_equal(weir(ARGS("repo", "warm", "gone.test/x", "strange.test/x")), 1);
	expect_said(&err, "weir: gone.test/x: not fetched: upstream gone.test is down: refused\n");
	expect_said(&err, "weir: strange.test/x: nothing of it could be fetched; the log of the daemon says why\n");

	assert_int_equal(weir(ARGS("repo", "verify", "git.test/org/a")), 0);
	expect_said(&out, "git.test/org/a: no damage found\n");
	assert_int_equal(weir(ARGS("repo", "verify")), 1);
	expect_said(&err, "git.test/org/b: damaged: a pack is torn");

	assert_int_equal(weir(ARGS("repo", "evict", "git.test/org/a")), 0);
	expect_said(&out, "git.test/org/a: evicted\n");
	assert_int_equal(weir(ARGS("repo", "evict", "git.test/org/none")), 1);
	daemon_stop(pid, SIGTERM);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

static void test_the_outbox_is_looked_at_and_steered(void **state)
{
	pid_t pid = daemon_start();

	assert_int_equal(weir(ARGS("outbox", "ls", "--state=held", "--service", "a b", "--json")), 0);
	expect_said(&out, "\"one\"");
	expect_said(&out, "\"two\"");
	assert_int_equal(weir(ARGS("outbox", "show", "one")), 0);
	expect_said(&out, "  state            held\n");
	assert_int_equal(weir(ARGS("outbox", "show", "../one")), 1);
	expect_said(&err, "weir: ../one: Not Found\n");
	assert_int_equal(weir(ARGS("outbox", "body", "one")), 0);
	assert_string_equal(out.data, "{ours}"); /* as it is, no line end added */
	assert_int_equal(weir(ARGS("outbox", "body", "two")), 1);
	assert_string_equal(out.data, "");
	assert_int_equal(weir(ARGS("outbox", "retry", "two", "one")), 1);
	expect_said(&err, "weir: two: Not Found\n");
	expect_said(&out, "one: queued: PUT /a\n");
	assert_int_equal(weir(ARGS("outbox", "resolve", "one", "--keep", "theirs")), 0);
	expect_said(&out, "one: resolved: PUT /a to files, 4 B, queued -; what the upstream has stays\n");
	assert_int_equal(weir(ARGS("outbox", "drop", "one")), 1);
	expect_said(&err, "weir: one: one is being sent\n");
	assert_int_equal(weir(ARGS("outbox", "flush", "--service", "files")), 0);
	expect_said(&out, "files: 3 queued; the upstream is down: they go when it is back\n");
	daemon_stop(pid, SIGTERM);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

static void test_warm_tells_how_far_it_is(void **state)
{
	pid_t pid = daemon_start();

	assert_int_equal(weir(ARGS("repo", "warm", "git.test/slow")), 0);
	assert_true(slice_starts(buf_slice(&out), "git.test/slow: receiving\ngit.test/slow: ready, 99 B, 4 refs, "));
	daemon_stop(pid, SIGTERM);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
}

static void test_the_token_goes_only_where_it_belongs(void **state)
{
	pid_t pid;
	char *address, *set;

	put("weir.yaml", "data_dir: data\nadmin: {listen: \"127.0.0.1:0\", token_file: token}\n");
	pid = daemon_start();
	address = xstrdup(getenv("WEIR_ADMIN"));
	/* An address by itself: the configuration lying about is not asked for a token. */
	assert_int_equal(weir(ARGS("status")), 1);
	expect_said(&err, "asks for a token, and none was given");
	assert_int_equal(weir(ARGS("status", "-c", "weir.yaml")), 0);
	assert_int_equal(setenv("WEIR_ADMIN_TOKEN_FILE", "token", 1), 0);
	assert_int_equal(weir(ARGS("status")), 0);
	put("guessed", "guess\n");
	assert_int_equal(setenv("WEIR_ADMIN_TOKEN_FILE", "guessed", 1), 0);
	assert_int_equal(weir(ARGS("status")), 1);
	expect_said(&err, "does not know this one");
	assert_null(strstr(err.data, "guess"));
	assert_int_equal(setenv("WEIR_ADMIN_TOKEN_FILE", "nowhere", 1), 0);
	assert_int_equal(weir(ARGS("status")), 2);
	assert_int_equal(unsetenv("WEIR_ADMIN_TOKEN_FILE"), 0);
	assert_int_equal(unsetenv("WEIR_ADMIN"), 0);
	/* From the configuration alone, as on the machine itself. */
	set = xstrf("admin.listen=%s", address);
	assert_int_equal(weir(ARGS("status", "--set", set)), 0);
	free(set);
	free(address);
	daemon_stop(pid, SIGTERM);
	put("weir.yaml", "data_dir: data\nadmin: {listen: \"127.0.0.1:0\"}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage_errors_are_told_with_what_was_meant),
		cmocka_unit_test(test_help_and_version_go_to_standard_output),
		cmocka_unit_test(test_options_take_their_values_in_every_usual_form),
		cmocka_unit_test(test_a_broken_configuration_is_2_for_check_and_serve),
		cmocka_unit_test(test_without_a_daemon_commands_exit_with_3),
		cmocka_unit_test(test_a_daemon_starts_reloads_and_stops),
		cmocka_unit_test(test_a_daemon_whose_descriptors_were_closed_serves_and_ends_well),
		cmocka_unit_test(test_one_folder_has_one_daemon),
		cmocka_unit_test(test_an_address_in_use_is_said_and_is_1),
		cmocka_unit_test(test_commands_show_what_the_daemon_says),
		cmocka_unit_test(test_commands_steer_and_tell_which_failed),
		cmocka_unit_test(test_the_outbox_is_looked_at_and_steered),
		cmocka_unit_test(test_warm_tells_how_far_it_is),
		cmocka_unit_test(test_the_token_goes_only_where_it_belongs),
	};

	return cmocka_run_group_tests(tests, ground_make, ground_clear);
}
