/* client_test.c -- the calls without any daemon: what is taken, what is refused, and that nothing waits. With one:
 * tests/stories/66-client-library.py. */
#include <weir/client.h>

#include <errno.h>
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Nobody listens there: port 1 is for root, and for a service that nobody runs. */
#define NOWHERE "127.0.0.1:1"

static struct weir_client *opened(struct weir_client_options o)
{
	struct weir_client *c;

	o.product = o.product ? o.product : "test";
	o.version = "1";
	o.daemon = NOWHERE;
	assert_int_equal(weir_client_open(&o, &c), 0);
	return c;
}

static struct weir_client_stats stats_of(struct weir_client *c)
{
	struct weir_client_stats s;

	assert_int_equal(weir_client_stats(c, &s, sizeof(s)), 0);
	return s;
}

static void options_that_are_none(void **state)
{
	static const struct weir_client_options rows[] = {
		{ .version = "1" },
		{ .product = "", .version = "1" },
		{ .product = "p" },
		{ .product = "p", .version = "1", .daemon = "example.com:80" },
		{ .product = "p", .version = "1", .queue_bytes = 1000 },
		{ .product = "p", .version = "1", .queue_bytes = SIZE_MAX },
		{ .product = "p", .version = "1", .queue_entries = SIZE_MAX },
		{ .product = "p", .version = "1", .heartbeat_ms = -1 },
		{ .product = "p", .version = "1", .answer_ms = -1 },
		{ .product = "p", .version = "1", .flags = 1u << 31 },
	};
	struct weir_client *c = (struct weir_client *)1;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(weir_client_open(&rows[i], &c), -EINVAL);
		assert_null(c);
	}
	assert_int_equal(weir_client_open(NULL, &c), -EINVAL);
	assert_int_equal(weir_client_open(&rows[0], NULL), -EINVAL);
}

static void the_environment_says_where_the_daemon_is(void **state)
{
	const struct weir_client_options o = { .product = "p", .version = "1" };
	struct weir_client *c;

	(void)state;
	setenv("WEIR_SESSIONS_LISTEN", "elsewhere:80", 1);
	assert_int_equal(weir_client_open(&o, &c), -EINVAL);
	setenv("WEIR_SESSIONS_LISTEN", NOWHERE, 1);
	assert_int_equal(weir_client_open(&o, &c), 0);
	assert_int_equal(weir_client_close(c, 0), -ETIMEDOUT);
	unsetenv("WEIR_SESSIONS_LISTEN");
}

static void no_client_takes_nothing_and_does_no_harm(void **state)
{
	struct weir_client_stats s;

	(void)state;
	assert_int_equal(weir_client_state(NULL, WEIR_FIELDS(weir_int("a", 1))), -EINVAL);
	assert_int_equal(weir_client_state_json(NULL, "{}"), -EINVAL);
	assert_int_equal(weir_event(NULL, .name = "x"), -EINVAL);
	assert_int_equal(weir_info(NULL, "x", "%d", 1), -EINVAL);
	assert_int_equal(weir_client_gauge(NULL, "x", 1, NULL), -EINVAL);
	assert_int_equal(weir_client_counter(NULL, "x", 1, NULL), -EINVAL);
	assert_int_equal(weir_client_histogram(NULL, "x", 1, NULL), -EINVAL);
	assert_int_equal(weir_client_timer(NULL, "x", 1, NULL), -EINVAL);
	assert_int_equal(weir_client_pause(NULL), -EINVAL);
	assert_int_equal(weir_client_resume(NULL), -EINVAL);
	assert_int_equal(weir_client_flush(NULL, 1000), -EINVAL);
	assert_int_equal(weir_client_catch_crashes(NULL, "/tmp"), -EINVAL);
	assert_int_equal(weir_client_stats(NULL, &s, sizeof(s)), -EINVAL);
	weir_client_heartbeat(NULL);
	assert_int_equal(weir_client_close(NULL, 1000), 0);
}

static void what_is_told_without_a_daemon_is_kept_and_counted(void **state)
{
	struct weir_client *c = opened((struct weir_client_options){ 0 });
	struct weir_client_stats s;

	(void)state;
	assert_int_equal(weir_client_state(c, WEIR_FIELDS(weir_int("a", 1))), 0);
	assert_int_equal(weir_client_state(c, NULL), -EINVAL);
	assert_int_equal(weir_info(c, "x", "%s", "text"), 0);
	assert_int_equal(weir_client_event(c, NULL), -EINVAL);
	assert_int_equal(weir_client_counter(c, "x", 1, NULL), 0);
	assert_int_equal(weir_client_pause(c), 0);
	{
		WEIR_TIME_SCOPE(c, "scope");
	}
	s = stats_of(c);
	assert_int_equal(s.taken[WEIR_CLIENT_STATE], 1);
	assert_int_equal(s.taken[WEIR_CLIENT_EVENT], 1);
	assert_int_equal(s.taken[WEIR_CLIENT_METRIC], 2);
	assert_int_equal(s.taken[WEIR_CLIENT_PAUSE], 1);
	assert_int_equal(s.queued_entries, 5);
	assert_true(s.queued_bytes > 100 && s.queued_bytes < 2000);
	assert_string_equal(s.session_id, "");
	assert_int_equal(weir_client_flush(c, 20), -ETIMEDOUT);
	assert_int_equal(weir_client_close(c, 20), -ETIMEDOUT);
}

static void a_full_queue_counts_what_it_drops(void **state)
{
	struct weir_client *c = opened((struct weir_client_options){ .queue_bytes = 256 * 1024 });
	static char large[WEIR_CLIENT_MOST_BYTES - 1000], larger[WEIR_CLIENT_MOST_BYTES];
	struct weir_client_stats s;
	int n = 0;

	(void)state;
	memset(large, 'x', sizeof(large) - 1);
	memset(larger, 'x', sizeof(larger) - 1);
	while (weir_event(c, .name = "x", .message = large) == 0)
		n++;
	assert_in_range(n, 3, 4);
	assert_int_equal(weir_event(c, .name = "x", .message = large), -ENOBUFS);
	assert_int_equal(weir_event(c, .name = "x", .message = larger), -EMSGSIZE);
	assert_int_equal(weir_client_gauge(c, "x", 1, NULL), -ENOBUFS); /* a quarter is not for metrics */
	assert_int_equal(weir_info(c, "x", "%d", 1), 0);
	s = stats_of(c);
	assert_int_equal(s.dropped[WEIR_CLIENT_EVENT], 3);
	assert_int_equal(s.dropped[WEIR_CLIENT_METRIC], 1);
	assert_int_equal(weir_client_close(c, 0), -ETIMEDOUT);
}

static void a_short_structure_is_filled_as_far_as_it_goes(void **state)
{
	struct weir_client *c = opened((struct weir_client_options){ 0 });
	char room[sizeof(struct weir_client_stats) + 16];

	(void)state;
	memset(room, 'x', sizeof(room));
	assert_int_equal(weir_client_stats(c, (struct weir_client_stats *)(void *)room, 8), 0);
	assert_int_equal(room[7], 0);
	assert_int_equal(room[8], 'x');
	assert_int_equal(weir_client_stats(c, (struct weir_client_stats *)(void *)room, sizeof(room)), 0);
	assert_int_equal(room[sizeof(room) - 1], 0);
	assert_int_equal(weir_client_close(c, 0), -ETIMEDOUT);
}

static void errno_is_what_the_message_says_and_stays(void **state)
{
	struct weir_client *c = opened((struct weir_client_options){ 0 });

	(void)state;
	errno = ENOSPC;
	assert_int_equal(weir_info(c, "x", "%m"), 0);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(weir_client_close(c, 0), -ETIMEDOUT);
}

static void many_clients_of_one_process(void **state)
{
	struct weir_client *c[20];

	(void)state;
	for (int i = 0; i < 20; i++) {
		c[i] = opened((struct weir_client_options){ 0 });
		assert_int_equal(weir_info(c[i], "x", "%d", i), 0);
	}
	for (int i = 0; i < 20; i++)
		assert_int_equal(weir_client_close(c[i], 0), -ETIMEDOUT);
}

static void crashes_are_one_clients_at_a_time(void **state)
{
	struct weir_client *a = opened((struct weir_client_options){ 0 }),
			   *b = opened((struct weir_client_options){ 0 });
	char folder[] = "/tmp/weir-client-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(weir_client_catch_crashes(a, "/proc/nowhere"), -ENOENT);
	assert_int_equal(weir_client_catch_crashes(a, folder), 0);
	assert_int_equal(weir_client_catch_crashes(b, folder), -EBUSY);
	assert_int_equal(weir_client_close(a, 0), -ETIMEDOUT);
	assert_int_equal(weir_client_catch_crashes(b, folder), 0);
	assert_int_equal(weir_client_close(b, 0), -ETIMEDOUT);
	assert_int_equal(rmdir(folder), 0); /* and nothing is left */
}

static sigjmp_buf survived;

static void survive(int sig)
{
	(void)sig;
	siglongjmp(survived, 1);
}

/* A crash that the program lives through, with the daemon away: close does not take the only copy of its report. */
static void a_report_that_nobody_has_heard_outlives_close(void **state)
{
	struct weir_client *c = opened((struct weir_client_options){ 0 });
	char folder[] = "/tmp/weir-client-XXXXXX", command[64], pattern[64];
	glob_t g;

	(void)state;
	assert_non_null(mkdtemp(folder));
	signal(SIGFPE, survive);
	assert_int_equal(weir_client_catch_crashes(c, folder), 0);
	if (sigsetjmp(survived, 1) == 0)
		raise(SIGFPE);
	assert_int_equal(weir_client_close(c, 0), -ETIMEDOUT);
	(void)snprintf(pattern, sizeof(pattern), "%s/*.crash", folder);
	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	assert_int_equal(g.gl_pathc, 1);
	globfree(&g);
	signal(SIGFPE, SIG_DFL);
	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

static void errno_is_left_alone(void **state)
{
	struct weir_client *c = opened((struct weir_client_options){ 0 });

	(void)state;
	errno = 77;
	assert_int_equal(weir_client_gauge(c, "x", 5e-324, NULL), 0); /* strtod says ERANGE of it */
	assert_int_equal(errno, 77);
	assert_int_equal(weir_client_close(c, 0), -ETIMEDOUT);
}

static void a_child_after_fork_has_none(void **state)
{
	struct weir_client *c = opened((struct weir_client_options){ 0 });
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		int r = weir_info(c, "x", "no") == -ECHILD && weir_client_flush(c, 1000) == -ECHILD;

		weir_client_heartbeat(c);
		_exit(r && weir_client_close(c, 1000) == -ECHILD ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(weir_info(c, "x", "yes"), 0);
	assert_int_equal(weir_client_close(c, 0), -ETIMEDOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_that_are_none),
		cmocka_unit_test(the_environment_says_where_the_daemon_is),
		cmocka_unit_test(no_client_takes_nothing_and_does_no_harm),
		cmocka_unit_test(what_is_told_without_a_daemon_is_kept_and_counted),
		cmocka_unit_test(a_full_queue_counts_what_it_drops),
		cmocka_unit_test(a_short_structure_is_filled_as_far_as_it_goes),
		cmocka_unit_test(errno_is_what_the_message_says_and_stays),
		cmocka_unit_test(many_clients_of_one_process),
		cmocka_unit_test(crashes_are_one_clients_at_a_time),
		cmocka_unit_test(a_report_that_nobody_has_heard_outlives_close),
		cmocka_unit_test(errno_is_left_alone),
		cmocka_unit_test(a_child_after_fork_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
