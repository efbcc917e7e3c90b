/* suggest_test.c -- "did you mean". */
#include "core/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/obj.h"

static void test_the_distance_counts_slips_and_swaps(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned want;
	} rows[] = {
		{ "", "", 0 },
		{ "listen", "listen", 0 },
		{ "listen", "lisen", 1 },
		{ "listen", "lsiten", 1 },
		{ "listen", "LISTEN", 0 },
		{ "abc", "", 3 },
		{ "kitten", "sitting", 3 },
		{ "ca", "abc", 3 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(suggest_distance(slice_str(rows[i].a), slice_str(rows[i].b)), rows[i].want);
		assert_int_equal(suggest_distance(slice_str(rows[i].b), slice_str(rows[i].a)), rows[i].want);
	}
}

static void test_only_a_near_word_is_suggested(void **state)
{
	static const char *const words[] = { "serve", "check", "status", "repo", NULL };
	char longest[200];

	memset(longest, 'x', sizeof(longest));
	assert_string_equal(suggest_nearest(slice_str("stauts"), words), "status");
	assert_string_equal(suggest_nearest(slice_str("rep"), words), "repo");
	assert_string_equal(suggest_nearest(slice_str("Serve"), words), "serve");
	assert_null(suggest_nearest(slice_str("frobnicate"), words));
	assert_null(suggest_nearest(slice_str(""), words));
	assert_null(suggest_nearest((struct slice){ longest, sizeof(longest) }, words));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_distance_counts_slips_and_swaps),
		cmocka_unit_test(test_only_a_near_word_is_suggested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
