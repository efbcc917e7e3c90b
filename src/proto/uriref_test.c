/* uriref_test.c */
#include "proto/uriref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void references_are_resolved_within_one_origin(void **state)
{
	static const struct {
		const char *reference;
		int r;
		const char *target;
	} rows[] = {
		/* RFC 3986 5.4, with base http://a/b/c/d;p?q */
		{ "g", 0, "/b/c/g" },
		{ "./g", 0, "/b/c/g" },
		{ "g/", 0, "/b/c/g/" },
		{ "/g", 0, "/g" },
		{ "//a/g", 0, "/g" },
		{ "//g", -EXDEV, "" },
		{ "?y", 0, "/b/c/d;p?y" },
		{ "g?y", 0, "/b/c/g?y" },
		{ "#s", 0, "/b/c/d;p?q" },
		{ "g#s", 0, "/b/c/g" },
		{ "g?y#s", 0, "/b/c/g?y" },
		{ ";x", 0, "/b/c/;x" },
		{ "", 0, "/b/c/d;p?q" },
		{ ".", 0, "/b/c/" },
		{ "./", 0, "/b/c/" },
		{ "..", 0, "/b/" },
		{ "../", 0, "/b/" },
		{ "../g", 0, "/b/g" },
		{ "../..", 0, "/" },
		{ "../../g", 0, "/g" },
		{ "../../../g", 0, "/g" },
		{ "/./g", 0, "/g" },
		{ "/../g", 0, "/g" },
		{ "g.", 0, "/b/c/g." },
		{ "..g", 0, "/b/c/..g" },
		{ "./../g", 0, "/b/g" },
		{ "g/./h", 0, "/b/c/g/h" },
		{ "g/../h", 0, "/b/c/h" },
		{ "g;x=1/../y", 0, "/b/c/y" },
		{ "g?y/../x", 0, "/b/c/g?y/../x" },
		{ "/x//y", 0, "/x//y" },
		/* origins */
		{ "http://a/x?y#z", 0, "/x?y" },
		{ "HTTP://A:80/x", 0, "/x" },
		{ "http://a", 0, "/" },
		{ "http://a?x", 0, "/?x" },
		{ "http://a/x/../../y", 0, "/y" },
		{ "https://a/x", -EXDEV, "" },
		{ "http://a:81/x", -EXDEV, "" },
		{ "http://b/x", -EXDEV, "" },
		{ "http://u@a/x", WEIR_E_PARSE, "" },
		{ "ftp://a/x", WEIR_E_PARSE, "" },
		{ "mailto:x", WEIR_E_PARSE, "" },
		{ "http:g", WEIR_E_PARSE, "" },
		/* not a reference */
		{ "a b", WEIR_E_PARSE, "" },
		{ "\xc3\xa4", WEIR_E_PARSE, "" },
		{ "/a\rb", WEIR_E_PARSE, "" },
		{ "%zz", WEIR_E_PARSE, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;

		assert_int_equal(uriref_resolve(SLICE_LIT("http://a"), SLICE_LIT("/b/c/d;p?q"),
						slice_str(rows[i].reference), &got),
				 rows[i].r);
		assert_string_equal(got.data, rows[i].target);
		buf_fini(&got);
	}
}

static void absurd_input_is_refused(void **state)
{
	struct buf long_one = BUF_EMPTY, out = BUF_EMPTY;

	(void)state;
	while (long_one.len <= URIREF_MAX_BYTES)
		buf_add_char(&long_one, 'x');
	assert_int_equal(uriref_resolve(SLICE_LIT("http://a"), SLICE_LIT("/"), buf_slice(&long_one), &out),
			 WEIR_E_TOO_LARGE);
	assert_int_equal(uriref_resolve(SLICE_LIT("http://a"), SLICE_LIT("*"), SLICE_LIT("/x"), &out), WEIR_E_PARSE);
	assert_int_equal(uriref_resolve(SLICE_LIT("a"), SLICE_LIT("/"), SLICE_LIT("/x"), &out), WEIR_E_PARSE);
	assert_int_equal(out.len, 0);
	buf_fini(&long_one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(references_are_resolved_within_one_origin),
		cmocka_unit_test(absurd_input_is_refused),
	};

	return cmocka_run_group_tests_name("uriref", tests, NULL, NULL);
}
