/* buf_test.c */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"

static void appending_grows_and_ends_in_nul(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	assert_int_equal(buf_error(&b), 0);
	assert_int_equal(b.len, strlen(b.data));
	assert_memory_equal(b.data, "0,1,2,3,", 8);
	buf_consume(&b, 2);
	assert_memory_equal(b.data, "1,2,", 4);
	buf_truncate(&b, 3);
	assert_string_equal(b.data, "1,2");
	buf_fini(&b);
	assert_string_equal(b.data, "");
}

static void a_limit_is_kept_and_remembered(void **state)
{
	struct buf b = BUF_LIMIT(10);

	(void)state;
	buf_add_str(&b, "0123456789");
	assert_int_equal(buf_error(&b), 0);
	buf_add_char(&b, 'x');
	assert_int_equal(buf_error(&b), WEIR_E_TOO_LARGE);
	assert_string_equal(b.data, "0123456789");
	buf_reset(&b);
	buf_addf(&b, "%s", "a longer text than ten");
	assert_int_equal(buf_error(&b), WEIR_E_TOO_LARGE);
	buf_add_str(&b, "x");
	assert_int_equal(b.len, 0);
	buf_fini(&b);
}

static void a_long_format_is_whole(void **state)
{
	struct buf b = BUF_EMPTY;
	char big[2000];

	(void)state;
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	buf_addf(&b, "<%s>", big);
	assert_int_equal(b.len, sizeof(big) + 1);
	assert_int_equal(b.data[b.len - 1], '>');
	buf_fini(&b);
}

static void detaching_an_empty_buf_gives_an_empty_string(void **state)
{
	struct buf b = BUF_EMPTY;
	size_t n = 7;
	char *p = buf_detach(&b, &n);

	(void)state;
	assert_string_equal(p, "");
	assert_int_equal(n, 0);
	free(p);
}

static void slices_are_cut_compared_and_trimmed(void **state)
{
	struct slice s = SLICE_LIT("a=b=c"), head;

	(void)state;
	assert_true(slice_cut(&s, '=', &head));
	assert_true(slice_eq_str(head, "a"));
	assert_true(slice_cut(&s, '=', &head));
	assert_false(slice_cut(&s, '=', &head));
	assert_true(slice_eq_str(head, "c"));
	assert_int_equal(s.n, 0);
	assert_true(slice_eq_str(slice_trim(SLICE_LIT(" \tx y\t ")), "x y"));
	assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("ab")) < 0);
	assert_true(slice_cmp(SLICE_LIT("b"), SLICE_LIT("ab")) > 0);
	assert_int_equal(slice_cmp((struct slice){ NULL, 0 }, SLICE_LIT("")), 0);
	assert_true(slice_ieq_str(SLICE_LIT("HoSt"), "host"));
	assert_true(slice_starts(SLICE_LIT("refs/heads/x"), "refs/"));
	assert_false(slice_ends(SLICE_LIT("x"), "longer"));
	assert_true(slice_has_nul((struct slice){ "a\0b", 3 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appending_grows_and_ends_in_nul),
		cmocka_unit_test(a_limit_is_kept_and_remembered),
		cmocka_unit_test(a_long_format_is_whole),
		cmocka_unit_test(detaching_an_empty_buf_gives_an_empty_string),
		cmocka_unit_test(slices_are_cut_compared_and_trimmed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
