/* history_test.c -- an hour of differences, by a clock that the tests decide. */
#include "admin/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define START_MS 1000000
#define WALL_MS 1700000000000 /* at START_MS */

static struct history *h;
static struct traffic git, files;

static int setup(void **state)
{
	git = (struct traffic){ .has_cache = true };
	files = (struct traffic){ .has_cache = false };
	h = history_new(START_MS);
	return 0;
}

static int teardown(void **state)
{
	history_free(h);
	return 0;
}

static struct history_totals totals(void)
{
	struct history_totals now = { .count = 0 };

	history_totals_add(&now, "git", &git);
	history_totals_add(&now, "files", &files);
	return now;
}

static void note_at(int64_t after_ms)
{
	struct history_totals now = totals();

	history_note(h, START_MS + after_ms, &now);
	history_totals_fini(&now);
}

static json_t *json_at(int64_t after_ms)
{
	struct history_totals now = totals();
	json_t *o = history_json(h, START_MS + after_ms, WALL_MS + after_ms, &now);

	history_totals_fini(&now);
	return o;
}

static json_t *service(json_t *o, size_t i)
{
	return json_array_get(json_object_get(o, "services"), i);
}

static int64_t cell(json_t *of, const char *column, size_t i)
{
	const json_t *v = json_array_get(json_object_get(of, column), i);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

static int64_t sum_of(json_t *of, const char *column)
{
	const json_t *v = json_object_get(json_object_get(of, "sum"), column);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

static void each_slot_holds_what_was_added_in_it(void **state)
{
	json_t *o;

	git.requests = 5;
	git.hits = 3;
	git.misses = 1;
	note_at(30000);
	git.requests = 7;
	git.hits = 4;
	note_at(60000);
	git.requests = 17;
	git.errors = 2;
	git.offline = 9;
	o = json_at(65000);
	assert_int_equal(json_array_size(json_object_get(o, "t")), 3);
	assert_int_equal(cell(o, "t", 0), WALL_MS + 30000);
	assert_int_equal(cell(o, "t", 2), WALL_MS + 65000);
	assert_true(json_real_value(json_array_get(json_object_get(o, "seconds"), 0)) == 30.0);
	assert_true(json_real_value(json_array_get(json_object_get(o, "seconds"), 2)) == 5.0);
	assert_string_equal(json_string_value(json_object_get(service(o, 0), "name")), "git");
	assert_int_equal(cell(service(o, 0), "requests", 0), 5);
	assert_int_equal(cell(service(o, 0), "requests", 1), 2);
	assert_int_equal(cell(service(o, 0), "requests", 2), 10);
	assert_int_equal(cell(service(o, 0), "offline", 2), 9);
	assert_int_equal(sum_of(service(o, 0), "requests"), 17);
	assert_int_equal(sum_of(service(o, 0), "errors"), 2);
	assert_true(json_real_value(json_object_get(json_object_get(service(o, 0), "sum"), "hit_rate")) == 0.8);
	json_decref(o);
}

static void a_service_without_a_cache_has_no_hits(void **state)
{
	json_t *o;

	files.requests = 4;
	o = json_at(1000);
	assert_int_equal(cell(service(o, 1), "requests", 0), 4);
	assert_null(json_object_get(service(o, 1), "hits"));
	assert_null(json_object_get(json_object_get(service(o, 1), "sum"), "hit_rate"));
	assert_true(json_is_null(json_object_get(json_object_get(service(o, 0), "sum"), "hit_rate"))); /* none asked */
	json_decref(o);
}

static void after_an_hour_the_oldest_leaves(void **state)
{
	json_t *o;

	for (int i = 1; i <= HISTORY_SLOTS + 50; i++) {
		git.requests += (uint64_t)i;
		note_at((int64_t)i * HISTORY_STEP_MS);
	}
	o = json_at((int64_t)(HISTORY_SLOTS + 50) * HISTORY_STEP_MS);
	assert_int_equal(json_array_size(json_object_get(o, "t")), HISTORY_SLOTS + 1);
	assert_int_equal(cell(service(o, 0), "requests", 0), 51);
	assert_int_equal(cell(service(o, 0), "requests", HISTORY_SLOTS - 1), HISTORY_SLOTS + 50);
	assert_int_equal(cell(service(o, 0), "requests", HISTORY_SLOTS), 0); /* the open one */
	json_decref(o);
}

static void what_is_older_than_an_hour_by_the_clock_is_gone_as_well(void **state)
{
	json_t *o;

	git.requests = 5;
	note_at(30000);
	git.requests = 6;
	note_at(60000);
	git.requests = 8;
	o = json_at(60000 + 3600 * 1000); /* the machine slept: nobody sampled */
	assert_int_equal(json_array_size(json_object_get(o, "t")), 1);
	assert_int_equal(cell(service(o, 0), "requests", 0), 2);
	assert_true(json_real_value(json_array_get(json_object_get(o, "seconds"), 0)) == 3600.0);
	json_decref(o);
}

static void a_name_that_comes_later_has_zeros_before(void **state)
{
	struct history_totals now = { .count = 0 };
	json_t *o;

	history_totals_add(&now, "git", &git);
	history_note(h, START_MS + 30000, &now);
	history_totals_fini(&now);
	files.requests = 3;
	note_at(60000);
	o = json_at(60000);
	assert_int_equal(cell(service(o, 1), "requests", 0), 0);
	assert_int_equal(cell(service(o, 1), "requests", 1), 3);
	assert_int_equal(cell(service(o, 1), "requests", 2), 0);
	json_decref(o);
}

static void a_name_that_is_not_told_of_did_nothing(void **state)
{
	json_t *o;

	files.requests = 3;
	note_at(30000);
	for (int i = 2; i <= HISTORY_SLOTS + 1; i++) { /* once around, over the slot of before */
		struct history_totals now = { .count = 0 };

		history_totals_add(&now, "git", &git);
		history_note(h, START_MS + (int64_t)i * HISTORY_STEP_MS, &now);
		history_totals_fini(&now);
	}
	o = json_at((int64_t)(HISTORY_SLOTS + 1) * HISTORY_STEP_MS);
	assert_int_equal(sum_of(service(o, 1), "requests"), 0);
	json_decref(o);
}

static void names_that_begin_alike_are_two(void **state)
{
	static const char first[] = "a-mirror-with-a-name-that-is-far-too-long-to-be-typed-by-anybody-whosoever-1";
	static const char second[] = "a-mirror-with-a-name-that-is-far-too-long-to-be-typed-by-anybody-whosoever-2";
	struct history_totals now = { .count = 0 };
	json_t *o;

	git.requests = 1;
	files.requests = 100;
	history_totals_add(&now, first, &git);
	history_totals_add(&now, second, &files);
	history_note(h, START_MS + 30000, &now);
	o = history_json(h, START_MS + 30000, WALL_MS, &now);
	history_totals_fini(&now);
	assert_int_equal(sum_of(service(o, 0), "requests"), 1);
	assert_int_equal(sum_of(service(o, 1), "requests"), 100);
	json_decref(o);
}

static void a_total_that_goes_back_counts_as_nothing(void **state)
{
	json_t *o;

	git.requests = 9;
	note_at(30000);
	git.requests = 4;
	o = json_at(31000);
	assert_int_equal(cell(service(o, 0), "requests", 1), 0);
	json_decref(o);
}

static bool is_near(const json_t *v, double want)
{
	return json_is_real(v) && json_real_value(v) > want - 1e-6 && json_real_value(v) < want + 1e-6;
}

static void latencies_are_of_their_slot(void **state)
{
	json_t *o;

	git.latency[3] = 100; /* 0.5 to 1 ms */
	note_at(30000);
	git.latency[9] = 100; /* 50 to 100 ms */
	o = json_at(31000);
	assert_true(is_near(json_array_get(json_object_get(service(o, 0), "p50_ms"), 0), 0.75));
	assert_true(is_near(json_array_get(json_object_get(service(o, 0), "p50_ms"), 1), 75));
	assert_true(json_is_null(json_array_get(json_object_get(service(o, 1), "p99_ms"), 0)));
	assert_true(is_near(json_object_get(json_object_get(service(o, 0), "sum"), "p99_ms"), 99));
	json_decref(o);
}

static void quantiles(void **state)
{
	const struct {
		size_t bucket, other;
		double q, want;
	} rows[] = {
		{ 0, 0, 0.5, 0.05 },     /* in the first bucket, from 0 on */
		{ 0, 0, 1, 0.1 },
		{ 3, 3, 0.01, 0.505 },
		{ 18, 18, 0.5, 60000 },  /* above all bounds: the last bound */
		{ 3, 18, 0.5, 1 },       /* half here, half there: the end of the first */
		{ 3, 18, 0.51, 60000 },
	};
	uint64_t none[TRAFFIC_BUCKETS] = { 0 };

	assert_true(history_quantile_ms(none, 0.5) < 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t b[TRAFFIC_BUCKETS] = { 0 };
		double got;

		b[rows[i].bucket] += 50;
		b[rows[i].other] += 50;
		got = history_quantile_ms(b, rows[i].q);
		if (got < rows[i].want - 1e-6 || got > rows[i].want + 1e-6)
			fail_msg("row %zu: got %g, want %g", i, got, rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_slot_holds_what_was_added_in_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_service_without_a_cache_has_no_hits, setup, teardown),
		cmocka_unit_test_setup_teardown(after_an_hour_the_oldest_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_older_than_an_hour_by_the_clock_is_gone_as_well, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_name_that_comes_later_has_zeros_before, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_that_is_not_told_of_did_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(names_that_begin_alike_are_two, setup, teardown),
		cmocka_unit_test_setup_teardown(a_total_that_goes_back_counts_as_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(latencies_are_of_their_slot, setup, teardown),
		cmocka_unit_test(quantiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
