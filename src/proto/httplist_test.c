/* httplist_test.c */
#include "proto/httplist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void lists_are_walked(void **state)
{
	static const struct {
		const char *value, *elements; /* each followed by a bar */
	} rows[] = {
		{ "a, b,c", "a|b|c|" },
		{ ", ,a ,, b\t,", "a|b|" }, /* RFC 9110 5.6.1.2: empty elements */
		{ "", "" },
		{ " , ", "" },
		{ "a=\"b, c\", d", "a=\"b, c\"|d|" },
		{ "a=\"b\\\", c\", d", "a=\"b\\\", c\"|d|" },
		{ "a=\"b, c", "a=\"b, c|" }, /* no end: the rest of it */
		{ "a=\"b\\", "a=\"b\\|" },
		{ "a\\,b", "a\\|b|" }, /* a backslash means nothing outside */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice rest = slice_str(rows[i].value), element;
		struct buf got = BUF_EMPTY;

		while (httplist_next(&rest, &element)) {
			buf_add_slice(&got, element);
			buf_add_char(&got, '|');
		}
		assert_string_equal(got.data, rows[i].elements);
		buf_fini(&got);
	}
}

static void tokens_are_told_from_other_text(void **state)
{
	(void)state;
	assert_true(httplist_is_token(SLICE_LIT("a-Z0!#$%&'*+.^_`|~")));
	assert_false(httplist_is_token(SLICE_LIT("")));
	assert_false(httplist_is_token(SLICE_LIT("a b")));
	assert_false(httplist_is_token(SLICE_LIT("a\0b")));
	assert_false(httplist_is_token(SLICE_LIT("\xc3\xa4")));
	assert_false(httplist_is_token(SLICE_LIT("\"a\"")));
}

static void an_argument_is_cut_off(void **state)
{
	struct slice name, argument;

	(void)state;
	httplist_cut_argument(SLICE_LIT("a=b=c"), &name, &argument);
	assert_true(slice_eq_str(name, "a") && slice_eq_str(argument, "b=c"));
	httplist_cut_argument(SLICE_LIT("a = b"), &name, &argument);
	assert_true(slice_eq_str(name, "a") && slice_eq_str(argument, " b"));
	httplist_cut_argument(SLICE_LIT("a="), &name, &argument);
	assert_true(argument.p && argument.n == 0);
	httplist_cut_argument(SLICE_LIT("a"), &name, &argument);
	assert_true(slice_eq_str(name, "a") && !argument.p);
}

static void members_are_found_over_several_lines(void **state)
{
	const struct slice lines[] = { SLICE_LIT("Connection: close, X-A"), SLICE_LIT("Other: x-c"),
				       SLICE_LIT("connection: X-B") };
	const struct httplines h = { lines, ARRAY_LEN(lines) };

	(void)state;
	assert_true(httplist_has(&h, "connection", "x-a"));
	assert_true(httplist_has(&h, "connection", "x-b"));
	assert_false(httplist_has(&h, "connection", "x-c"));
	assert_false(httplist_has(&h, "connection", "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_are_walked),
		cmocka_unit_test(tokens_are_told_from_other_text),
		cmocka_unit_test(an_argument_is_cut_off),
		cmocka_unit_test(members_are_found_over_several_lines),
	};

	return cmocka_run_group_tests_name("httplist", tests, NULL, NULL);
}
