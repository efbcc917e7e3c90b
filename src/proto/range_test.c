/* range_test.c */
#include "proto/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

/* "first-last|" of each resolved range, or the code. */
static void resolve(const char *value, int64_t length, struct buf *out)
{
	struct byte_range got[RANGE_MOST];
	struct range_set set;
	size_t count = 0;
	int r = range_parse(slice_str(value), &set);

	if (r == 0)
		r = range_resolve(&set, length, got, &count);
	if (r < 0)
		buf_add_str(out, r == WEIR_E_PARSE ? "ignore" : r == -ERANGE ? "416" : r == -EINVAL ? "whole" : "?");
	for (size_t i = 0; i < count; i++)
		buf_addf(out, "%lld-%lld|", (long long)got[i].first, (long long)got[i].last);
}

static void ranges_are_resolved_against_a_length(void **state)
{
	static const struct {
		const char *value;
		int64_t length;
		const char *means;
	} rows[] = {
		/* RFC 9110 14.1.2, the examples for 10,000 bytes */
		{ "bytes=0-499", 10000, "0-499|" },
		{ "bytes=500-999", 10000, "500-999|" },
		{ "bytes=-500", 10000, "9500-9999|" },
		{ "bytes=9500-", 10000, "9500-9999|" },
		{ "bytes=0-0,-1", 10000, "0-0|9999-9999|" },
		{ "bytes= 0-999, 4500-5499, -1000", 10000, "0-999|4500-5499|9000-9999|" },
		{ "bytes=500-600,601-999", 10000, "500-600|601-999|" },
		{ "bytes=500-700,601-999", 10000, "500-700|601-999|" },
		{ "BYTES=0-1", 10, "0-1|" },
		{ "bytes=,0-1 ,,3-4,", 10, "0-1|3-4|" },
		/* beyond the end */
		{ "bytes=5-99999999999999999999999", 10, "5-9|" },
		{ "bytes=-99999999999999999999999", 10, "0-9|" },
		{ "bytes=-10", 10, "0-9|" },
		{ "bytes=9-9", 10, "9-9|" },
		{ "bytes=0-10", 10, "0-9|" },
		{ "bytes=10-", 10, "416" },
		{ "bytes=10-20,-0", 10, "416" },
		{ "bytes=99999999999999999999999-", 10, "416" },
		{ "bytes=10-20,1-2", 10, "1-2|" },
		{ "bytes=0-", 0, "416" },
		{ "bytes=-0", 0, "416" },
		{ "bytes=-1", 0, "whole" },
		/* 14.2: more than two that overlap */
		{ "bytes=0-5,3-8", 10, "0-5|3-8|" },
		{ "bytes=0-,0-,0-", 10, "whole" },
		{ "bytes=0-5,3-8,6-9", 10, "whole" },
		{ "bytes=0-1,3-4,0-1,3-4", 10, "whole" },
		{ "bytes=-5,5-,7-7", 10, "whole" },
		/* malformed, or not for us: as if there were none */
		{ "bytes=2-1", 10, "ignore" },
		{ "bytes=0-1,2-1", 10, "ignore" },
		{ "bytes=", 10, "ignore" },
		{ "bytes=,", 10, "ignore" },
		{ "bytes=-", 10, "ignore" },
		{ "bytes=1", 10, "ignore" },
		{ "bytes=a-b", 10, "ignore" },
		{ "bytes=0 - 1", 10, "ignore" },
		{ "bytes=0-1-2", 10, "ignore" },
		{ "bytes=+1-2", 10, "ignore" },
		{ "bytes=0x1-2", 10, "ignore" },
		{ "bytes =0-1", 10, "ignore" },
		{ "bytes 0-1", 10, "ignore" },
		{ "lines=0-1", 10, "ignore" },
		{ "", 10, "ignore" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;

		resolve(rows[i].value, rows[i].length, &got);
		assert_string_equal(got.data, rows[i].means);
		buf_fini(&got);
	}
}

static void sixteen_ranges_are_served_and_seventeen_ignored(void **state)
{
	struct buf value = BUF_EMPTY;
	struct range_set set;

	(void)state;
	buf_add_str(&value, "bytes=0-0");
	for (int i = 1; i < RANGE_MOST; i++)
		buf_addf(&value, ",%d-%d", 2 * i, 2 * i);
	assert_int_equal(range_parse(buf_slice(&value), &set), 0);
	assert_int_equal(set.count, RANGE_MOST);
	buf_add_str(&value, ",100-100");
	assert_int_equal(range_parse(buf_slice(&value), &set), WEIR_E_PARSE);
	buf_fini(&value);
}

static void content_range_is_written(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	range_format_content((struct byte_range){ 0, 9 }, 100, &b);
	buf_add_char(&b, '|');
	range_format_content((struct byte_range){ 0, 9 }, -1, &b);
	buf_add_char(&b, '|');
	range_format_unsatisfied(100, &b);
	assert_string_equal(b.data, "bytes 0-9/100|bytes 0-9/*|bytes */100");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_resolved_against_a_length),
		cmocka_unit_test(sixteen_ranges_are_served_and_seventeen_ignored),
		cmocka_unit_test(content_range_is_written),
	};

	return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
