/* table_test.c -- columns for people. */
#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/obj.h"

static void test_columns_are_as_wide_as_their_widest_cell(void **state)
{
	struct table t = TABLE_EMPTY(3);
	struct buf out = BUF_EMPTY;

	for (size_t i = 0; i < 3; i++)
		table_add(&t, ((const char *[]){ "NAME", "STATE", "WHY" })[i]);
	table_add(&t, "a-long-name");
	table_add(&t, "up");
	table_add(&t, NULL);
	table_add(&t, "b");
	table_add(&t, "");
	table_add_take(&t, xstrdup("because"));
	table_add(&t, "half a row is not printed");
	table_print(&t, "> ", &out);
	assert_string_equal(out.data, "> NAME         STATE  WHY\n"
				      "> a-long-name  up     -\n"
				      "> b            -      because\n");
	buf_fini(&out);
	table_fini(&t);
}

static void test_a_cell_cannot_drive_the_terminal(void **state)
{
	struct table t = TABLE_EMPTY(1);
	struct buf out = BUF_EMPTY;

	table_add(&t, "\033[2Jgone\n");
	table_print(&t, "", &out);
	assert_string_equal(out.data, "\\x1b[2Jgone\\x0a\n");
	buf_fini(&out);
	table_fini(&t);
}

static int64_t new_year_2026(int wall)
{
	return wall ? 1767225600000 : 1;
}

static void test_times_are_told_as_ages(void **state)
{
	static const struct {
		const char *time, *wanted;
	} rows[] = {
		{ "2025-12-31T23:59:59.500Z", "now" },
		{ "2025-12-31T23:59:50.400Z", "9s ago" },
		{ "2025-12-31T23:50:00Z", "10m ago" },
		{ "2025-12-31T12:00:00Z", "12h ago" },
		{ "2025-12-01T00:00:00Z", "31d ago" },
		{ "2027-01-01T00:00:00Z", "now" },
		{ "yesterday", "-" },
		{ NULL, "-" },
	};

	clock_set_fake(new_year_2026);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *got = table_ago(rows[i].time);

		assert_string_equal(got, rows[i].wanted);
		free(got);
	}
	clock_set_fake(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns_are_as_wide_as_their_widest_cell),
		cmocka_unit_test(test_a_cell_cannot_drive_the_terminal),
		cmocka_unit_test(test_times_are_told_as_ages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
