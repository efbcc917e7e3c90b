/* httpdate_test.c */
#include "proto/httpdate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

#define IN_1994 784111777  /* Sun, 06 Nov 1994 08:49:37 GMT */
#define IN_2026 1795000000 /* 18 Nov 2026 */
#define IN_2080 3500000000 /* 28 Nov 2080 */

static void the_three_forms_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} rows[] = {
		{ "Sun, 06 Nov 1994 08:49:37 GMT", IN_1994 },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", IN_1994 },
		{ "Sun Nov  6 08:49:37 1994", IN_1994 },
		{ "Wed Nov 16 08:49:37 1994", IN_1994 + 10 * 86400 },
		{ "Mon, 06 Nov 1994 08:49:37 GMT", IN_1994 }, /* it was a Sunday */
		{ "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
		{ "Wed, 31 Dec 1969 23:59:59 GMT", -1 },
		{ "Thu, 29 Feb 2024 12:00:00 GMT", 1709208000 },
		{ "Tue, 29 Feb 2000 00:00:00 GMT", 951782400 },
		{ "Sat, 31 Dec 2016 23:59:60 GMT", 1483228800 }, /* a leap second */
		{ "Tue, 19 Jan 2038 03:14:08 GMT", 2147483648 },
		{ "Sat, 01 Jan 0000 00:00:00 GMT", HTTPDATE_FIRST_S },
		{ "Fri, 31 Dec 9999 23:59:59 GMT", HTTPDATE_LAST_S },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t got = 42;

		assert_int_equal(httpdate_parse(slice_str(rows[i].text), IN_2026, &got), 0);
		assert_int_equal(got, rows[i].seconds);
	}
}

static void whatever_else_is_refused(void **state)
{
	static const char *const rows[] = {
		"", "0", "-1", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
		"sun, 06 nov 1994 08:49:37 gmt", "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ",
		" Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06  Nov 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 29 Feb 1900 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT", "Son, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06 Okt 1994 08:49:37 GMT", "Sun, 06-Nov-94 08:49:37 GMT", "Sunday, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994", "Sun Nov  6 08:49:37 1994 GMT",
		"Sun, 06 Nov 19940 08:49:37 GMT", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMTGMT",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t got = 42;

		assert_int_equal(httpdate_parse(slice_str(rows[i]), IN_2026, &got), WEIR_E_PARSE);
		assert_int_equal(got, 42);
	}
}

static void a_year_of_two_digits_lies_at_most_fifty_years_ahead(void **state)
{
	static const struct {
		int64_t now_s;
		const char *text, *means;
	} rows[] = {
		{ IN_2026, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT" },
		{ IN_2026, "Sunday, 01-Jan-00 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT" },
		{ IN_2026, "Sunday, 01-Jan-76 00:00:00 GMT", "Wed, 01 Jan 2076 00:00:00 GMT" },
		/* fifty years and some weeks */
		{ IN_2026, "Sunday, 31-Dec-76 00:00:00 GMT", "Fri, 31 Dec 1976 00:00:00 GMT" },
		{ IN_2026, "Sunday, 01-Jan-77 00:00:00 GMT", "Sat, 01 Jan 1977 00:00:00 GMT" },
		{ IN_1994, "Sunday, 01-Jan-10 00:00:00 GMT", "Fri, 01 Jan 2010 00:00:00 GMT" }, /* soon, not long ago */
		{ IN_2080, "Sunday, 01-Jan-10 00:00:00 GMT", "Wed, 01 Jan 2110 00:00:00 GMT" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;
		int64_t seconds;

		assert_int_equal(httpdate_parse(slice_str(rows[i].text), rows[i].now_s, &seconds), 0);
		httpdate_format(seconds, &got);
		assert_string_equal(got.data, rows[i].means);
		buf_fini(&got);
	}
}

/* gmtime_r() is another implementation of the same calendar. */
static void what_is_written_is_read_again_for_dates_of_ten_thousand_years(void **state)
{
	(void)state;
	for (int64_t s = HTTPDATE_FIRST_S; s <= HTTPDATE_LAST_S; s += 86400 * 11 + 3671) {
		struct buf text = BUF_EMPTY;
		time_t t = (time_t)s;
		char theirs[64];
		int64_t again;
		struct tm tm;

		httpdate_format(s, &text);
		assert_int_equal(httpdate_parse(buf_slice(&text), IN_2026, &again), 0);
		assert_int_equal(again, s);
		assert_non_null(gmtime_r(&t, &tm));
		assert_true(strftime(theirs, sizeof(theirs), " %H:%M:%S GMT", &tm) > 0);
		assert_true(slice_ends(buf_slice(&text), theirs));
		assert_true(strftime(theirs, sizeof(theirs), "%a, %d %b ", &tm) > 0);
		assert_true(slice_starts(buf_slice(&text), theirs));
		buf_fini(&text);
	}
}

static void times_that_no_date_can_tell_become_the_nearest(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	httpdate_format(INT64_MAX, &b);
	httpdate_format(INT64_MIN, &b);
	assert_string_equal(b.data, "Fri, 31 Dec 9999 23:59:59 GMTSat, 01 Jan 0000 00:00:00 GMT");
	buf_fini(&b);
}

static void a_wait_is_read_in_both_forms_and_has_an_end(void **state)
{
	static const struct {
		const char *value;
		int64_t ms;
	} rows[] = {
		{ "0", 0 },
		{ "7", 7000 },
		{ "60", 60000 },
		{ "61", 60000 },
		{ "31536000", 60000 }, /* a year */
		{ "18446744073709551615", 60000 },
		{ "18446744073709551616", 0 },
		{ "-1", 0 },
		{ "1.5", 0 },
		{ "", 0 },
		{ "soon", 0 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 6500 },
		{ "Sun, 06 Nov 1994 08:49:30 GMT", 0 },
		{ "Sun, 06 Nov 1994 08:49:31 GMT", 500 },
		{ "Sun, 06 Nov 2094 08:49:37 GMT", 60000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(httpdate_retry_after_ms(slice_str(rows[i].value), 784111770500, 60000), rows[i].ms);
	assert_int_equal(httpdate_retry_after_ms((struct slice){ NULL, 0 }, 784111770500, 60000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wait_is_read_in_both_forms_and_has_an_end),
		cmocka_unit_test(the_three_forms_are_read),
		cmocka_unit_test(whatever_else_is_refused),
		cmocka_unit_test(a_year_of_two_digits_lies_at_most_fifty_years_ahead),
		cmocka_unit_test(what_is_written_is_read_again_for_dates_of_ten_thousand_years),
		cmocka_unit_test(times_that_no_date_can_tell_become_the_nearest),
	};

	return cmocka_run_group_tests_name("httpdate", tests, NULL, NULL);
}
