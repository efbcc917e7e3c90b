/* hub_series_test.c -- which series there are among metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/obj.h"
#include "hub/hub_series.h"

static void metric(struct hub_series_set *set, int second, const char *rest)
{
	struct buf body = BUF_EMPTY;

	buf_addf(&body, "{\"timestamp\":\"2026-01-02T03:00:%02dZ\",%s}", second, rest);
	assert_true(hub_series_take(set, buf_slice(&body)));
	buf_fini(&body);
}

static char *written(struct hub_series_set *set)
{
	static struct buf out = BUF_EMPTY;

	buf_reset(&out);
	hub_series_write(set, &out);
	hub_series_free(set);
	return out.data;
}

static void a_series_is_a_name_a_type_and_tags_in_any_order(void **state)
{
	struct hub_series_set *set = hub_series_new();

	metric(set, 5, "\"name\":\"t\",\"type\":\"gauge\",\"value\":2.5,\"unit\":\"C\",\"tags\":[\"b\",\"a\"]");
	metric(set, 3, "\"name\":\"t\",\"type\":\"gauge\",\"value\":1,\"unit\":\"K\",\"tags\":[\"a\",\"b\"]");
	metric(set, 4, "\"name\":\"t\",\"type\":\"timer\",\"value\":1,\"tags\":[\"a\",\"b\"]");
	metric(set, 6, "\"name\":\"t\",\"type\":\"gauge\",\"value\":7");
	metric(set, 9, "\"name\":\"t\",\"type\":\"gauge\",\"value\":4,\"unit\":\"C\",\"tags\":[\"b\",\"a\"]");
	metric(set, 9, "\"name\":\"a\\\"\",\"type\":\"gauge\",\"value\":0.125");
	assert_false(hub_series_take(set, SLICE_LIT("{\"timestamp\":\"2026-01-02T03:00:00Z\",\"name\":\"t\"}")));
	assert_false(hub_series_take(
		set, SLICE_LIT("{\"timestamp\":\"2026-01-02T03:00:00Z\",\"name\":\"t\",\"type\":\"gauge\","
			       "\"value\":1,\"tags\":[\"}")));
	assert_string_equal(
		written(set),
		"{\"items\":[{\"name\":\"a\\\"\",\"type\":\"gauge\",\"tags\":[],\"unit\":\"\",\"first_at\":1767322809000,"
		"\"last_at\":1767322809000,\"last\":0.125,\"count\":1,\"min\":0.125,\"max\":0.125,\"mean\":0.125,\"median\":0.125,"
		"\"exact\":true},"
		"{\"name\":\"t\",\"type\":\"gauge\",\"tags\":[\"a\",\"b\"],\"unit\":\"C\",\"first_at\":1767322803000,"
		"\"last_at\":1767322809000,\"last\":4,\"count\":3,\"min\":1,\"max\":4,\"mean\":2.5,\"median\":2.5,\"exact\":true},"
		"{\"name\":\"t\",\"type\":\"gauge\",\"tags\":[],\"unit\":\"\",\"first_at\":1767322806000,"
		"\"last_at\":1767322806000,\"last\":7,\"count\":1,\"min\":7,\"max\":7,\"mean\":7,\"median\":7,\"exact\":true},"
		"{\"name\":\"t\",\"type\":\"timer\",\"tags\":[\"a\",\"b\"],\"unit\":\"\",\"first_at\":1767322804000,"
		"\"last_at\":1767322804000,\"last\":1,\"count\":1,\"min\":1,\"max\":1,\"mean\":1,\"median\":1,\"exact\":true}],"
		"\"left_out\":0,\"next\":null}");
}

static void series_beyond_the_limit_are_counted_as_left_out(void **state)
{
	struct hub_series_set *set = hub_series_new();
	struct buf long_name = BUF_EMPTY;
	char rest[80];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 1010; i++) {
			(void)snprintf(rest, sizeof(rest), "\"name\":\"n%04d\",\"type\":\"gauge\",\"value\":%d", i, i);
			metric(set, 0, rest);
		}
	}
	buf_addf(&long_name, "\"name\":\"%5000d\",\"type\":\"gauge\",\"value\":1", 7);
	metric(set, 0, long_name.data);
	buf_fini(&long_name);
	assert_non_null(strstr(written(set), "\"left_out\":21,"));
}

static void tags_are_compared_in_order(void **state)
{
	static const struct {
		const char *list, *want;
	} rows[] = { { "[\"b\",\"a\"]", "[\"a\",\"b\"]" },
		     { "[]", "[]" },
		     { "[\"b,a\"]", "[\"b,a\"]" },
		     { "[\"\",\"\\\"x\\\"\"]", "[\"\",\"\\\"x\\\"\"]" } };
	struct buf many = BUF_EMPTY, out = BUF_EMPTY;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_reset(&out);
		assert_true(hub_tags_sort(slice_str(rows[i].list), &out));
		assert_string_equal(out.data, rows[i].want);
	}
	for (int i = 999; i > 400; i--)
		buf_addf(&many, "%s\"%d\"", i == 999 ? "[" : ",", i);
	buf_add_char(&many, ']');
	buf_reset(&out);
	assert_true(hub_tags_sort(buf_slice(&many), &out));
	assert_true(slice_starts(buf_slice(&out), "[\"401\",\"402\",") && out.len == many.len);
	buf_reset(&many);
	buf_addf(&many, "[\"%5000d\"]", 1);
	assert_false(hub_tags_sort(buf_slice(&many), &out));
	assert_false(hub_tags_sort(SLICE_LIT("[\"a\""), &out));
	buf_fini(&many);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_series_is_a_name_a_type_and_tags_in_any_order),
		cmocka_unit_test(series_beyond_the_limit_are_counted_as_left_out),
		cmocka_unit_test(tags_are_compared_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
