/* totals_test.c -- samples in, totals out: which belong together, which bucket, what is kept over a restart. */
#include "sessions/sessions_priv.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"

static struct session *s;

static int set_up(void **state)
{
	s = xcalloc(1, sizeof(*s));
	return 0;
}

static int tear_down(void **state)
{
	totals_free(s);
	free(s);
	return 0;
}

static json_t *parse(const char *text)
{
	json_t *v = NULL;

	assert_int_equal(json_read(slice_str(text), JSON_READ_INFINITY, &v, NULL), 0);
	return v;
}

static void finish(struct total *t, int code)
{
	struct list done;

	list_init(&done);
	total_finish(t, code, &done);
	LIST_FOREACH_SAFE (it, next, &done) {
		json_decref(LIST_ENTRY(it, struct sample, node)->value);
		free(LIST_ENTRY(it, struct sample, node));
	}
}

/* The record after a sample; malloc'ed. */
static char *add(const char *metric)
{
	json_t *v = parse(metric);
	struct buf record = BUF_EMPTY, why = BUF_EMPTY;
	struct total *t = NULL;

	if (totals_take(s, v, NULL, NULL, &t, &why) < 0)
		fail_msg("%s: %s", metric, why.data);
	json_decref(v);
	total_begin(t, &record);
	finish(t, 0);
	buf_fini(&why);
	return buf_detach(&record, NULL);
}

static void expect(const char *metric, const char *record)
{
	char *got = add(metric);

	assert_string_equal(got, record);
	free(got);
}

static void counters_are_told_apart_by_name_and_tags_in_any_order(void **state)
{
	expect("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":2,\"tags\":[\"y\",\"x\"]}",
	       "{\"name\":\"a\",\"value\":2,\"tags\":[\"x\",\"y\"]}");
	expect("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":3,\"tags\":[\"x\",\"y\"]}",
	       "{\"name\":\"a\",\"value\":5,\"tags\":[\"x\",\"y\"]}");
	expect("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":1}",
	       "{\"name\":\"a\",\"value\":1,\"tags\":[]}");
	expect("{\"type\":\"counter\",\"name\":\"b\",\"value\":1,\"delta\":0.5}",
	       "{\"name\":\"b\",\"value\":0.5,\"tags\":[]}");
	expect("{\"type\":\"counter\",\"name\":\"b\",\"value\":1,\"delta\":1}",
	       "{\"name\":\"b\",\"value\":1.5,\"tags\":[]}");
}

static void a_counter_beyond_64_bits_goes_on_as_a_double(void **state)
{
	expect("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":9223372036854775807}",
	       "{\"name\":\"a\",\"value\":9223372036854775807,\"tags\":[]}");
	expect("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":1}",
	       "{\"name\":\"a\",\"value\":9.223372036854776e+18,\"tags\":[]}");
}

static void a_sample_counts_in_the_first_bucket_that_has_room_and_above_all_in_the_last(void **state)
{
	static const struct {
		const char *value;
		const char *counts;
	} rows[] = {
		{ "1", "[1,0,0]" },   { "1.5", "[1,1,0]" }, { "-7", "[2,1,0]" },
		{ "100", "[2,1,1]" }, { "10", "[2,1,2]" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *metric = xstrf(
			"{\"type\":\"histogram\",\"name\":\"h\",\"value\":%s,\"metadata\":{\"buckets\":[2,1,10]}}",
			rows[i].value);
		char *got = add(metric);
		json_t *record = parse(got);
		char *counts = json_dumps(json_object_get(record, "counts"), JSON_COMPACT);

		assert_string_equal(counts, rows[i].counts);
		assert_int_equal(json_integer_value(json_object_get(record, "count")), i + 1);
		free(counts);
		json_decref(record);
		free(got);
		free(metric);
	}
}

static void an_infinite_bound_may_be_written_in_any_way_and_makes_another_histogram_in_each(void **state)
{
	static const char *const ways[] = { "Infinity", "\"inf\"", "\"Infinity\"" };

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		char *metric =
			xstrf("{\"type\":\"histogram\",\"name\":\"h\",\"value\":7,\"metadata\":{\"buckets\":[1,%s]}}",
			      ways[i]);
		char *got = add(metric);

		assert_non_null(strstr(got, "\"bounds\":[1,\"Infinity\"]"));
		assert_non_null(strstr(got, i == 2 ? "\"counts\":[0,2]"
						   : "\"counts\":[0,1]")); /* Infinity is read as the string */
		free(got);
		free(metric);
	}
}

static void buckets_that_are_no_numbers_are_refused_and_leave_nothing(void **state)
{
	json_t *v =
		parse("{\"type\":\"histogram\",\"name\":\"h\",\"value\":7,\"metadata\":{\"buckets\":[1,\"many\"]}}");
	struct buf why = BUF_EMPTY;
	struct total *t = NULL;

	assert_int_equal(totals_take(s, v, NULL, NULL, &t, &why), WEIR_E_PARSE);
	assert_true(why.len > 0);
	assert_false(totals_is_dirty(s));
	buf_fini(&why);
	json_decref(v);
}

static void a_sample_that_could_not_be_written_counts_nowhere(void **state)
{
	json_t *v = parse("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":0.1}");
	struct buf record = BUF_EMPTY, why = BUF_EMPTY;
	struct total *t = NULL;

	free(add("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":2}"));
	assert_int_equal(totals_take(s, v, NULL, NULL, &t, &why), 0);
	total_begin(t, &record);
	assert_string_equal(record.data, "{\"name\":\"a\",\"value\":2.1,\"tags\":[]}");
	assert_int_equal(totals_take(s, v, NULL, NULL, &t, &why), 0); /* while that is written */
	assert_int_equal(totals_take(s, v, NULL, NULL, &t, &why), 0);
	finish(t, -ENOSPC);
	buf_reset(&record);
	total_begin(t, &record);
	assert_string_equal(record.data, "{\"name\":\"a\",\"value\":2.2,\"tags\":[]}");
	finish(t, 0);
	json_decref(v);
	buf_fini(&record);
	buf_fini(&why);
}

static void unit_tags_and_metadata_are_those_of_the_first_sample(void **state)
{
	static const char first[] =
		"{\"type\":\"histogram\",\"name\":\"h\",\"value\":1,\"unit\":\"s\",\"tags\":[\"b\",\"a\"],"
		"\"metadata\":{\"buckets\":[2],\"page\":7}}";
	static const char second[] =
		"{\"type\":\"histogram\",\"name\":\"h\",\"value\":2,\"unit\":\"ms\",\"tags\":[\"a\",\"b\"],"
		"\"metadata\":{\"buckets\":[2],\"page\":8}}";

	free(add(first));
	expect(second,
	       "{\"bounds\":[2],\"counts\":[2],\"sum\":3.0,\"count\":2,\"metadata\":{\"page\":7},\"name\":\"h\",\"unit\":\"s\","
	       "\"tags\":[\"b\",\"a\"]}");
}

static void a_total_goes_on_from_its_record(void **state)
{
	assert_int_equal(
		totals_load(s, SLICE_LIT("c\"a\"[]"), SLICE_LIT("{\"name\":\"a\",\"value\":40,\"tags\":[]}"), false),
		0);
	assert_false(totals_is_dirty(s));
	expect("{\"type\":\"counter\",\"name\":\"a\",\"value\":1,\"delta\":2}",
	       "{\"name\":\"a\",\"value\":42,\"tags\":[]}");
	assert_true(totals_is_dirty(s));
	assert_true(totals_load(s, SLICE_LIT("x"), SLICE_LIT("{}"), false) < 0);
	assert_true(totals_load(s, SLICE_LIT("cx"), SLICE_LIT("{"), false) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(counters_are_told_apart_by_name_and_tags_in_any_order, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_counter_beyond_64_bits_goes_on_as_a_double, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_sample_counts_in_the_first_bucket_that_has_room_and_above_all_in_the_last, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			an_infinite_bound_may_be_written_in_any_way_and_makes_another_histogram_in_each, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(buckets_that_are_no_numbers_are_refused_and_leave_nothing, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_sample_that_could_not_be_written_counts_nowhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(unit_tags_and_metadata_are_those_of_the_first_sample, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_total_goes_on_from_its_record, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
