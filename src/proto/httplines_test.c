/* httplines_test.c */
#include "proto/httplines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/obj.h"

static const struct slice lines[] = {
	SLICE_LIT("Vary: a"),	SLICE_LIT("no colon"), SLICE_LIT(": no name"), SLICE_LIT("vArY:b  "),
	SLICE_LIT("Various: c"), SLICE_LIT("Empty:"),
};
static const struct httplines all = { lines, ARRAY_LEN(lines) };

static void lines_of_one_name_are_found_whatever_their_case(void **state)
{
	struct slice value;
	size_t at = 0;

	(void)state;
	assert_true(httplines_next(&all, "vary", &at, &value));
	assert_true(slice_eq_str(value, "a"));
	assert_true(httplines_next(&all, "vary", &at, &value));
	assert_true(slice_eq_str(value, "b"));
	assert_false(httplines_next(&all, "vary", &at, &value));
	assert_int_equal(httplines_count(&all, "VARY"), 2);
	assert_int_equal(httplines_count(&all, "no colon"), 0);
	assert_true(slice_eq_str(httplines_get(&all, "various"), "c"));
}

static void an_empty_value_is_not_an_absent_one(void **state)
{
	(void)state;
	assert_non_null(httplines_get(&all, "empty").p);
	assert_int_equal(httplines_get(&all, "empty").n, 0);
	assert_null(httplines_get(&all, "absent").p);
}

static void a_block_is_cut_into_lines(void **state)
{
	struct slice got[2];

	(void)state;
	assert_int_equal(httplines_cut(SLICE_LIT("a: 1\nb: 2\nc: 3\n"), got, 2), 3);
	assert_true(slice_eq_str(got[0], "a: 1"));
	assert_true(slice_eq_str(got[1], "b: 2"));
	assert_int_equal(httplines_cut(SLICE_LIT(""), got, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_one_name_are_found_whatever_their_case),
		cmocka_unit_test(an_empty_value_is_not_an_absent_one),
		cmocka_unit_test(a_block_is_cut_into_lines),
	};

	return cmocka_run_group_tests_name("httplines", tests, NULL, NULL);
}
