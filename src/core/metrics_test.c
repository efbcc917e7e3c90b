/* metrics_test.c -- what is exported is exactly the text format, and counting is right from many threads. */
#include "core/metrics.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/obj.h"
#include "io/child.h"
#include "io/file.h"

static const char *const operations[] = { "ls-refs", "fetch", NULL };
static const char *const statuses[] = { "ok", "error", NULL };
static const double few_buckets[] = { 0.5, 1, -1 };

static const struct metric_family requests = {
	.name = "weir_t_requests_total", .help = "Requests, by \\ and\nso on.", .type = METRIC_COUNTER,
	.labels = { { "operation", operations }, { "status", statuses } },
};
static const struct metric_family up = {
	.name = "weir_t_up", .help = "Up.", .type = METRIC_GAUGE, .labels = { { .name = "upstream" } },
};
static const struct metric_family seconds = {
	.name = "weir_t_seconds", .help = "Time.", .type = METRIC_HISTOGRAM, .labels = { { "operation", operations } },
	.buckets = few_buckets,
};
static const struct metric_family plain = { .name = "weir_t_plain_total",
					    .help = "No labels.",
					    .type = METRIC_COUNTER };

static struct metrics *m;
static struct buf out;

static int setup(void **state)
{
	m = metrics_new();
	buf_init(&out, 0);
	return 0;
}

static int teardown(void **state)
{
	metrics_free(m);
	buf_fini(&out);
	return 0;
}

static void assert_rendered(const char *want)
{
	buf_reset(&out);
	metrics_render(m, &out);
	assert_string_equal(out.data, want);
}

static void fixed_label_sets_are_there_from_the_start(void **state)
{
	metrics_register(m, &requests);
	metrics_register(m, &requests);
	metrics_register(m, &up);
	metrics_register(m, &plain);
	assert_rendered("# HELP weir_t_requests_total Requests, by \\\\ and\\nso on.\n"
			"# TYPE weir_t_requests_total counter\n"
			"weir_t_requests_total{operation=\"ls-refs\",status=\"ok\"} 0\n"
			"weir_t_requests_total{operation=\"ls-refs\",status=\"error\"} 0\n"
			"weir_t_requests_total{operation=\"fetch\",status=\"ok\"} 0\n"
			"weir_t_requests_total{operation=\"fetch\",status=\"error\"} 0\n"
			"# HELP weir_t_up Up.\n"
			"# TYPE weir_t_up gauge\n"
			"# HELP weir_t_plain_total No labels.\n"
			"# TYPE weir_t_plain_total counter\n"
			"weir_t_plain_total 0\n");
}

static void counters_and_gauges_count(void **state)
{
	metric_add(METRIC(m, &plain), UINT64_MAX / 2);
	metric_add(METRIC(m, &plain), 2);
	metric_set(METRIC(m, &up, "a\"b\\c\nd"), 0.1);
	metric_set(METRIC(m, &up, "big"), 1e21);
	metric_set(METRIC(m, &up, "nan"), NAN);
	metric_set(METRIC(m, &up, "inf"), -INFINITY);
	assert_rendered("# HELP weir_t_plain_total No labels.\n# TYPE weir_t_plain_total counter\n"
			"weir_t_plain_total 9223372036854775809\n"
			"# HELP weir_t_up Up.\n# TYPE weir_t_up gauge\n"
			"weir_t_up{upstream=\"a\\\"b\\\\c\\nd\"} 0.1\n"
			"weir_t_up{upstream=\"big\"} 1e+21\n"
			"weir_t_up{upstream=\"nan\"} NaN\n"
			"weir_t_up{upstream=\"inf\"} -Inf\n");
	assert_true(metric_value(METRIC(m, &up, "big")) == 1e21);
}

static void histograms_cumulate(void **state)
{
	struct metric *h = METRIC(m, &seconds, "fetch");

	metric_observe(h, 0.25);
	metric_observe(h, 0.5); /* a bound belongs to its bucket */
	metric_observe(h, 0.75);
	metric_observe(h, 8);
	assert_true(metric_value(h) == 4);
	assert_rendered("# HELP weir_t_seconds Time.\n# TYPE weir_t_seconds histogram\n"
			"weir_t_seconds_bucket{operation=\"ls-refs\",le=\"0.5\"} 0\n"
			"weir_t_seconds_bucket{operation=\"ls-refs\",le=\"1\"} 0\n"
			"weir_t_seconds_bucket{operation=\"ls-refs\",le=\"+Inf\"} 0\n"
			"weir_t_seconds_sum{operation=\"ls-refs\"} 0\n"
			"weir_t_seconds_count{operation=\"ls-refs\"} 0\n"
			"weir_t_seconds_bucket{operation=\"fetch\",le=\"0.5\"} 2\n"
			"weir_t_seconds_bucket{operation=\"fetch\",le=\"1\"} 3\n"
			"weir_t_seconds_bucket{operation=\"fetch\",le=\"+Inf\"} 4\n"
			"weir_t_seconds_sum{operation=\"fetch\"} 9.5\n"
			"weir_t_seconds_count{operation=\"fetch\"} 4\n");
}

static void a_series_keeps_its_address(void **state)
{
	struct metric *a = METRIC(m, &requests, "fetch", "ok");

	for (int i = 0; i < 500; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "u%d", i);
		(void)METRIC(m, &up, name);
	}
	assert_ptr_equal(METRIC(m, &requests, "fetch", "ok"), a);
	assert_ptr_not_equal(METRIC(m, &requests, "fetch", "error"), a);
}

static void two_tables_of_one_name_are_one_family(void **state)
{
	static const struct metric_family again = {
		.name = "weir_t_plain_total", .help = "No labels.", .type = METRIC_COUNTER,
	};

	metric_add(METRIC(m, &plain), 1);
	metrics_register(m, &again);
	metric_add(METRIC(m, &again), 1);
	assert_rendered(
		"# HELP weir_t_plain_total No labels.\n# TYPE weir_t_plain_total counter\nweir_t_plain_total 2\n");
}

static void more_than_a_thousand_series_share_one(void **state)
{
	struct metric *other = NULL;
	char name[16];

	for (int i = 0; i < 1100; i++) {
		(void)snprintf(name, sizeof(name), "u%d", i);
		other = METRIC(m, &up, name);
		metric_set(other, i);
	}
	assert_ptr_equal(other, METRIC(m, &up, "other"));
	assert_ptr_not_equal(other, METRIC(m, &up, "u999"));
	assert_true(metric_value(METRIC(m, &up, "u999")) == 999);
	metrics_render(m, &out);
	assert_non_null(strstr(out.data, "weir_t_up{upstream=\"other\"} 1099\n"));
	assert_null(strstr(out.data, "\"u1000\""));
}

static double seven(void *arg)
{
	return 7 + *(int *)arg;
}

static void functions_are_asked_until_removed(void **state)
{
	int extra = 1;

	metrics_set_fn(m, &up, (const char *const[]){ "a", NULL }, seven, &extra);
	metric_set(METRIC(m, &up, "b"), 2);
	assert_true(metrics_sum(m, &up, NULL, NULL) == 10);
	metrics_render(m, &out);
	assert_non_null(strstr(out.data, "weir_t_up{upstream=\"a\"} 8\n"));
	metrics_remove_fn(m, &extra);
	buf_reset(&out);
	metrics_render(m, &out);
	assert_null(strstr(out.data, "\"a\""));
	assert_true(metrics_sum(m, &up, NULL, NULL) == 2);
}

static void sums_can_be_of_one_label_value(void **state)
{
	metric_add(METRIC(m, &requests, "fetch", "ok"), 3);
	metric_add(METRIC(m, &requests, "fetch", "error"), 4);
	metric_add(METRIC(m, &requests, "ls-refs", "ok"), 5);
	assert_true(metrics_sum(m, &requests, NULL, NULL) == 12);
	assert_true(metrics_sum(m, &requests, "operation", "fetch") == 7);
	assert_true(metrics_sum(m, &requests, "status", "ok") == 8);
	assert_true(metrics_sum(m, &requests, "status", "none") == 0);
}

static void *count_much(void *arg)
{
	char name[16];

	for (int i = 0; i < 20000; i++) {
		(void)snprintf(name, sizeof(name), "u%d", i % 50);
		metric_add(METRIC(m, &requests, "fetch", "ok"), 1);
		metric_observe(METRIC(m, &seconds, "fetch"), 1);
		metric_set(METRIC(m, &up, name), 1);
	}
	return NULL;
}

static void many_threads_lose_no_count(void **state)
{
	pthread_t t[4];

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, count_much, NULL), 0);
	for (int i = 0; i < 20; i++) {
		buf_reset(&out);
		metrics_render(m, &out); /* meanwhile */
	}
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	assert_true(metric_value(METRIC(m, &requests, "fetch", "ok")) == 80000);
	assert_true(metrics_sum(m, &up, NULL, NULL) == 50);
	buf_reset(&out);
	metrics_render(m, &out);
	assert_non_null(strstr(out.data, "weir_t_seconds_sum{operation=\"fetch\"} 80000\n"));
	assert_non_null(strstr(out.data, "weir_t_seconds_count{operation=\"fetch\"} 80000\n"));
}

static void promtool_accepts_it_all(void **state)
{
	static const struct metric_family latency = {
		.name = "weir_t_latency_seconds",
		.help = "Time.",
		.type = METRIC_HISTOGRAM,
		.labels = { { "operation", operations } },
		.buckets = metric_latency_buckets,
	};
	struct child_options o = { .argv = (const char *const[]){ "promtool", "check", "metrics", NULL } };
	struct buf said = BUF_EMPTY;
	int r;

	metrics_register_process(m, "1.2.3");
	metrics_register(m, &requests);
	metric_observe(METRIC(m, &latency, "fetch"), 0.02);
	metric_set(METRIC(m, &up, "a\"b\\c\nd"), 0.1);
	metrics_render(m, &out);
	assert_non_null(strstr(out.data, "weir_build_info{version=\"1.2.3\"} 1\n"));
	assert_true(metrics_sum(m,
				&(struct metric_family){ .name = "weir_process_resident_memory_bytes",
							 .type = METRIC_GAUGE },
				NULL, NULL) > 500000);
	r = child_run(&o, buf_slice(&out), NULL, &said, 60000, NULL, NULL);
	if (r == -ENOENT)
		skip(); /* Debian package prometheus */
	assert_string_equal(said.data, "");
	assert_int_equal(r, 0);
	buf_fini(&said);
}

static void open_descriptors_are_counted(void **state)
{
	static const struct metric_family fds = { .name = "weir_process_open_fds",
						  .help = "Open file descriptors.",
						  .type = METRIC_GAUGE };
	double before;
	int fd;

	metrics_register_process(m, "1");
	before = metrics_sum(m, &fds, NULL, NULL);
	fd = dup(1);
	assert_true(metrics_sum(m, &fds, NULL, NULL) == before + 1);
	fd_close(&fd);
	assert_true(metrics_sum(m, &fds, NULL, NULL) == before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(fixed_label_sets_are_there_from_the_start, setup, teardown),
		cmocka_unit_test_setup_teardown(counters_and_gauges_count, setup, teardown),
		cmocka_unit_test_setup_teardown(histograms_cumulate, setup, teardown),
		cmocka_unit_test_setup_teardown(a_series_keeps_its_address, setup, teardown),
		cmocka_unit_test_setup_teardown(two_tables_of_one_name_are_one_family, setup, teardown),
		cmocka_unit_test_setup_teardown(more_than_a_thousand_series_share_one, setup, teardown),
		cmocka_unit_test_setup_teardown(functions_are_asked_until_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(sums_can_be_of_one_label_value, setup, teardown),
		cmocka_unit_test_setup_teardown(many_threads_lose_no_count, setup, teardown),
		cmocka_unit_test_setup_teardown(promtool_accepts_it_all, setup, teardown),
		cmocka_unit_test_setup_teardown(open_descriptors_are_counted, setup, teardown),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
