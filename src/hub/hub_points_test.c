/* hub_points_test.c -- charts of gauges, counters, timers and histograms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/obj.h"
#include "hub/hub_points.h"

#define BEGIN 1767322800000LL

static struct hub_points *begin(int seconds, size_t steps, const char *type)
{
	return hub_points_new(hub_span_of(BEGIN, BEGIN + seconds * 1000LL, steps), SLICE_LIT("m"),
			      type ? slice_str(type) : (struct slice){ NULL, 0 }, SLICE_LIT("[]"));
}

static void metric(struct hub_points *p, int second, const char *type, const char *rest)
{
	struct buf body = BUF_EMPTY;

	buf_addf(&body, "{\"timestamp\":\"2026-01-02T03:%02d:%02dZ\",\"name\":\"m\",\"type\":\"%s\",%s}", second / 60,
		 second % 60, type, rest);
	assert_true(hub_points_take(p, buf_slice(&body)));
	buf_fini(&body);
}

static void value(struct hub_points *p, int second, const char *type, double v)
{
	char rest[60];

	(void)snprintf(rest, sizeof(rest), "\"value\":%.17g", v);
	metric(p, second, type, rest);
}

/* Totals of the buckets up to 1, 2, 4 and above. */
static void histogram(struct hub_points *p, int second, int a, int b, int c, int d, double sum)
{
	char rest[300];

	(void)snprintf(
		rest, sizeof(rest),
		"\"value\":0.5,\"metadata\":{\"k\":{\"sum\":9},\"buckets\":[{\"le\":1,\"count\":%d},{\"le\":2,\"count\":%d},"
		"{\"le\":4,\"count\":%d},{\"le\":\"inf\",\"count\":%d}],\"sum\":%g,\"count\":%d}",
		a, b, c, d, sum, a + b + c + d);
	metric(p, second, "histogram", rest);
}

static char *written(struct hub_points *p)
{
	static struct buf out = BUF_EMPTY;

	buf_reset(&out);
	hub_points_write(p, &out);
	hub_points_free(p);
	return out.data;
}

#define HAS(text, part)                                      \
	do {                                                 \
		if (!strstr(text, part))                     \
			fail_msg("no %s in %s", part, text); \
	} while (0)

static void a_gauge_is_reduced_to_its_steps(void **state)
{
	struct hub_points *p = begin(40, 4, NULL);
	const char *got;

	value(p, 1, "gauge", 5);
	value(p, 9, "gauge", 2);
	value(p, 5, "gauge", 8);
	metric(p, 6, "counter", "\"value\":77"); /* the first one's type counts */
	metric(p, 6, "gauge", "\"value\":78,\"tags\":[\"t\"]");
	assert_true(hub_points_take(
		p, SLICE_LIT("{\"timestamp\":\"x\",\"name\":\"other\",\"type\":\"gauge\",\"value\":79}")));
	metric(p, 39, "gauge", "\"value\":-1.5,\"unit\":\"C\"");
	value(p, 40, "gauge", 9);
	got = written(p);
	assert_string_equal(
		got, "{\"name\":\"m\",\"type\":\"gauge\",\"tags\":[],\"unit\":\"\",\"since\":1767322800000,"
		     "\"until\":1767322840000,\"step_ms\":10000,\"t\":[1767322809000,1767322839000],\"min\":[2,-1.5],"
		     "\"max\":[8,-1.5],\"mean\":[5,-1.5],\"last\":[8,-1.5],\"count\":[3,1],"
		     "\"stats\":{\"count\":4,\"min\":-1.5,\"max\":8,\"mean\":3.375,\"median\":3.5,\"exact\":true},"
		     "\"outside\":{\"before\":0,\"after\":1},\"left_out\":0}");
}

static void a_counter_has_rates_that_are_never_negative(void **state)
{
	struct hub_points *p = begin(50, 5, "counter");
	const char *got;

	value(p, 5, "counter", 100); /* nobody knows since when */
	value(p, 15, "counter", 150);
	value(p, 17, "counter", 160);
	value(p, 25, "counter", 8); /* began anew */
	value(p, 45, "counter", 8);
	got = written(p);
	HAS(got, "\"rate\":[null,5,1,0],\"stats\"");
	HAS(got, "\"rate_stats\":{\"count\":4,\"min\":0,\"max\":5,\"mean\":2.75,\"median\":3,\"exact\":true}");
}

static void what_was_before_the_range_is_where_growth_begins(void **state)
{
	struct hub_points *p = hub_points_new(hub_span_of(BEGIN + 10000, BEGIN + 20000, 1), SLICE_LIT("m"),
					      SLICE_LIT("counter"), SLICE_LIT("[]"));
	const char *got;

	value(p, 2, "counter", 10);
	value(p, 12, "counter", 30);
	got = written(p);
	HAS(got, "\"rate\":[2]");
	HAS(got, "\"outside\":{\"before\":1,\"after\":0}");
}

static void a_timer_has_quantiles_of_its_samples(void **state)
{
	struct hub_points *p = begin(10, 1, "timer");
	const char *got;

	for (int i = 100; i >= 0; i--)
		value(p, 1, "timer", i);
	got = written(p);
	HAS(got, "\"p50\":[50],\"p90\":[90],\"p99\":[99],\"stats\"");
}

static void a_histogram_shows_what_was_observed_between_its_totals(void **state)
{
	struct hub_points *p = begin(40, 4, "histogram");
	const char *got;

	histogram(p, 5, 4, 0, 0, 0, 2); /* all since the beginning */
	histogram(p, 15, 4, 10, 0, 0, 17);
	histogram(p, 25, 4, 10, 4, 1, 40);
	histogram(p, 35, 0, 2, 0, 0, 3); /* began anew */
	got = written(p);
	HAS(got, "\"count\":[4,10,5,2]");
	HAS(got, "\"min\":[0,1,2,1],\"max\":[1,2,4,2],\"mean\":[0.5,1.5,4.6,1.5]");
	HAS(got, "\"p50\":[0.5,1.5,3.25,1.5],\"p90\":[0.9,1.9,4,1.9],\"p99\":[0.99,1.99,4,1.99]");
	HAS(got,
	    "\"buckets\":[{\"le\":1,\"count\":0},{\"le\":2,\"count\":2},{\"le\":4,\"count\":0},{\"le\":\"inf\",\"count\":0}]");
	HAS(got,
	    "\"stats\":{\"count\":21,\"min\":0,\"max\":4,\"mean\":2.0476190476190474,\"median\":1.5416666666666665,\"exact\":false}");
}

static void buckets_that_are_no_continuation_are_left_out(void **state)
{
	struct hub_points *p = begin(40, 1, "histogram");
	const char *got;

	histogram(p, 5, 1, 0, 0, 0, 1);
	metric(p, 6, "histogram", "\"value\":1,\"metadata\":{\"buckets\":[{\"le\":9,\"count\":5}]}");
	metric(p, 7, "histogram", "\"value\":1");
	metric(p, 8, "histogram", "\"value\":1,\"metadata\":{\"buckets\":[{\"le\":{\"x\":1},\"count\":5}]}");
	histogram(p, 9, 3, 0, 0, 0, 1);
	got = written(p);
	HAS(got, "\"count\":[3]");
	HAS(got, "\"left_out\":3}");
	p = begin(40, 1, "histogram"); /* without buckets it is what a timer is */
	metric(p, 7, "histogram", "\"value\":3");
	got = written(p);
	HAS(got, "\"p50\":[3]");
	assert_null(strstr(got, "\"buckets\""));
}

static void a_series_that_is_not_there_has_no_points(void **state)
{
	struct hub_points *p = begin(10, 5, NULL);

	HAS(written(p),
	    "\"type\":null,\"tags\":[],\"unit\":\"\",\"since\":1767322800000,\"until\":1767322810000,\"step_ms\":2000,"
	    "\"t\":[],\"min\":[],\"max\":[],\"mean\":[],\"last\":[],\"count\":[],\"stats\":{\"count\":0,\"min\":null,");
}

static void points_of_long_ago_have_their_times(void **state)
{
	struct hub_points *p = hub_points_new(hub_span_of(-20000, -10000, 1), SLICE_LIT("m\xff"),
					      (struct slice){ NULL, 0 }, SLICE_LIT("[]"));

	assert_true(hub_points_take(p, SLICE_LIT("{\"timestamp\":\"1969-12-31T23:59:45Z\",\"name\":\"m\xef\xbf\xbd\","
						 "\"type\":\"gauge\",\"value\":1}")));
	HAS(written(p), "\"t\":[-15000]");
}

static void tags_may_stand_in_any_order(void **state)
{
	struct hub_points *p = hub_points_new(hub_span_of(BEGIN, BEGIN + 1000, 1), SLICE_LIT("m"),
					      (struct slice){ NULL, 0 }, SLICE_LIT("[\"b\",\"a\"]"));

	metric(p, 0, "gauge", "\"value\":1,\"tags\":[\"a\",\"b\"]");
	metric(p, 0, "gauge", "\"value\":2,\"tags\":[\"b\",\"a\"]");
	metric(p, 0, "gauge", "\"value\":3,\"tags\":[\"a\"]");
	metric(p, 0, "gauge", "\"value\":4,\"tags\":[\"a\"]");
	metric(p, 0, "gauge", "\"value\":5");
	metric(p, 0, "gauge", "\"value\":6,\"tags\":[\"a,b\"]");
	HAS(written(p), "\"min\":[1],\"max\":[2]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gauge_is_reduced_to_its_steps),
		cmocka_unit_test(a_counter_has_rates_that_are_never_negative),
		cmocka_unit_test(what_was_before_the_range_is_where_growth_begins),
		cmocka_unit_test(a_timer_has_quantiles_of_its_samples),
		cmocka_unit_test(a_histogram_shows_what_was_observed_between_its_totals),
		cmocka_unit_test(buckets_that_are_no_continuation_are_left_out),
		cmocka_unit_test(a_series_that_is_not_there_has_no_points),
		cmocka_unit_test(points_of_long_ago_have_their_times),
		cmocka_unit_test(tags_may_stand_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
