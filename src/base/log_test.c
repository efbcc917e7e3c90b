/* log_test.c -- what reaches standard error, read back through a pipe. */
#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

static int64_t now_ms = 784111777123;

static int64_t fake_clock(int wall)
{
	return wall ? now_ms : now_ms - 784000000000;
}

static int saved_stderr, pipe_fds[2];

static int setup(void **state)
{
	(void)state;
	clock_set_fake(fake_clock);
	saved_stderr = dup(STDERR_FILENO);
	assert_int_equal(pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC), 0);
	assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
	close(saved_stderr);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	clock_set_fake(NULL);
	return 0;
}

static const char *written(void)
{
	static char text[8192];
	ssize_t n = read(pipe_fds[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void a_line_has_time_level_event_and_fields(void **state)
{
	(void)state;
	log_configure(LOG_INFO, LOG_TEXT);
	log_event(LOG_DEBUG, "not_shown", LOG_END);
	log_event(LOG_WARN, "stale_serve", LOG_STR("repository", "git.test/a b"), LOG_INT("age_s", -3),
		  LOG_ERR("why", WEIR_E_DNS), LOG_SLICE("peer", ((struct slice){ "x\nerror forged", 14 })), LOG_END);
	assert_string_equal(written(), "1994-11-06T08:49:37.123Z warn stale_serve repository=\"git.test/a b\" age_s=-3 "
				       "why=\"host name does not resolve\" peer=\"x\\x0aerror forged\"\n");
}

static void json_lines_are_json(void **state)
{
	(void)state;
	log_configure(LOG_INFO, LOG_JSON);
	log_event(LOG_INFO, "upstream_up", LOG_STR("upstream", "a\"b"), LOG_INT("n", 5), LOG_END);
	assert_string_equal(written(), "{\"time\":\"1994-11-06T08:49:37.123Z\",\"level\":\"info\",\"event\":\"upstream_up\","
				       "\"upstream\":\"a\\\"b\",\"n\":5}\n");
}

static void repeats_within_a_second_collapse_into_a_count(void **state)
{
	(void)state;
	log_configure(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < 100; i++)
		log_event(LOG_INFO, "again", LOG_INT("n", 1), LOG_END);
	assert_string_equal(written(), "1994-11-06T08:49:37.123Z info again n=1\n");
	log_event(LOG_INFO, "other", LOG_END);
	assert_string_equal(written(), "1994-11-06T08:49:37.123Z info again n=1 repeated=99\n"
				       "1994-11-06T08:49:37.123Z info other\n");
	now_ms += 5000;
	log_event(LOG_INFO, "other", LOG_END);
	assert_string_equal(written(), "1994-11-06T08:49:42.123Z info other\n");
	log_flush();
	assert_string_equal(written(), "");
}

static void a_value_is_cut_at_its_limit(void **state)
{
	char big[2000];

	(void)state;
	log_configure(LOG_INFO, LOG_TEXT);
	memset(big, 'z', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_event(LOG_INFO, "big", LOG_STR("v", big), LOG_END);
	assert_true(strlen(written()) < 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_has_time_level_event_and_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(json_lines_are_json, setup, teardown),
		cmocka_unit_test_setup_teardown(repeats_within_a_second_collapse_into_a_count, setup, teardown),
		cmocka_unit_test_setup_teardown(a_value_is_cut_at_its_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
