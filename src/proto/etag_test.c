/* etag_test.c */
#include "proto/etag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void one_tag_is_read(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *opaque;
		bool weak;
	} rows[] = {
		{ "\"xyzzy\"", 0, "\"xyzzy\"", false },
		{ "W/\"xyzzy\"", 0, "\"xyzzy\"", true },
		{ "\"\"", 0, "\"\"", false },
		{ "\"a,b\\\"", 0, "\"a,b\\\"", false }, /* a backslash escapes nothing */
		{ "\"\xc3\xa4\"", 0, "\"\xc3\xa4\"", false },
		{ "w/\"xyzzy\"", WEIR_E_PARSE, "", false }, /* RFC 9110 8.8.3: W is case-sensitive */
		{ "W/ \"xyzzy\"", WEIR_E_PARSE, "", false },
		{ "xyzzy", WEIR_E_PARSE, "", false },
		{ "\"xyzzy", WEIR_E_PARSE, "", false },
		{ "\"a b\"", WEIR_E_PARSE, "", false },
		{ "\"a\" ", WEIR_E_PARSE, "", false },
		{ "\"a\"b", WEIR_E_PARSE, "", false },
		{ "W/", WEIR_E_PARSE, "", false },
		{ "*", WEIR_E_PARSE, "", false },
		{ "", WEIR_E_PARSE, "", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct etag got = { SLICE_LIT(""), false };

		assert_int_equal(etag_parse(slice_str(rows[i].text), &got), rows[i].r);
		assert_true(slice_eq_str(got.opaque, rows[i].opaque));
		assert_int_equal(got.weak, rows[i].weak);
	}
}

static struct etag tag(const char *text)
{
	struct etag t = { { 0 }, false };

	if (text)
		assert_int_equal(etag_parse(slice_str(text), &t), 0);
	return t;
}

static void tags_are_compared_as_in_the_table_of_rfc_9110_8_8_3_2(void **state)
{
	static const struct {
		const char *a, *b;
		bool strong, weak;
	} rows[] = {
		{ "W/\"1\"", "W/\"1\"", false, true }, { "W/\"1\"", "W/\"2\"", false, false },
		{ "W/\"1\"", "\"1\"", false, true },   { "\"1\"", "\"1\"", true, true },
		{ "\"a\"", "\"A\"", false, false },    { NULL, "\"1\"", false, false },
		{ NULL, NULL, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(etag_eq_strong(tag(rows[i].a), tag(rows[i].b)), rows[i].strong);
		assert_int_equal(etag_eq_strong(tag(rows[i].b), tag(rows[i].a)), rows[i].strong);
		assert_int_equal(etag_eq_weak(tag(rows[i].a), tag(rows[i].b)), rows[i].weak);
	}
}

static void lists_are_searched_over_all_lines(void **state)
{
	static const struct {
		const char *one, *two; /* values of If-None-Match */
		enum etag_found strong, weak; /* looking for "a" */
	} rows[] = {
		{ NULL, NULL, ETAG_FIELD_ABSENT, ETAG_FIELD_ABSENT },
		{ "*", NULL, ETAG_FIELD_ANY, ETAG_FIELD_ANY },
		{ "\"a\"", NULL, ETAG_FIELD_MATCHES, ETAG_FIELD_MATCHES },
		{ "W/\"a\"", NULL, ETAG_FIELD_OTHER, ETAG_FIELD_MATCHES },
		{ " ,\"b\" ,, \"a\",", NULL, ETAG_FIELD_MATCHES, ETAG_FIELD_MATCHES },
		{ "\"b\"", "\"a\"", ETAG_FIELD_MATCHES, ETAG_FIELD_MATCHES },
		{ "\"b,a\"", NULL, ETAG_FIELD_OTHER, ETAG_FIELD_OTHER },
		{ "", NULL, ETAG_FIELD_OTHER, ETAG_FIELD_OTHER },
		{ "a", NULL, ETAG_FIELD_MALFORMED, ETAG_FIELD_MALFORMED },
		{ "\"a\", b", NULL, ETAG_FIELD_MALFORMED, ETAG_FIELD_MALFORMED },
		{ "\"a\" \"b\"", NULL, ETAG_FIELD_MALFORMED, ETAG_FIELD_MALFORMED },
		{ "\"a\", *", NULL, ETAG_FIELD_MALFORMED, ETAG_FIELD_MALFORMED },
		{ "*", "*", ETAG_FIELD_MALFORMED, ETAG_FIELD_MALFORMED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *one = xstrf("If-None-Match: %s", rows[i].one ? rows[i].one : "");
		char *two = xstrf("If-None-Match: %s", rows[i].two ? rows[i].two : "");
		const struct slice lines[] = { slice_str(one), slice_str(two) };
		const struct httplines h = { lines, (rows[i].one != NULL) + (size_t)(rows[i].two != NULL) };

		assert_int_equal(etag_find(&h, "if-none-match", tag("\"a\""), true), rows[i].strong);
		assert_int_equal(etag_find(&h, "if-none-match", tag("\"a\""), false), rows[i].weak);
		free(one);
		free(two);
	}
}

static void a_response_with_two_tags_has_none(void **state)
{
	const struct slice lines[] = { SLICE_LIT("ETag: \"a\""), SLICE_LIT("ETag: \"b\"") };
	const struct httplines one = { lines, 1 }, two = { lines, 2 };

	(void)state;
	assert_true(slice_eq_str(etag_of(&one).opaque, "\"a\""));
	assert_null(etag_of(&two).opaque.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_tag_is_read),
		cmocka_unit_test(tags_are_compared_as_in_the_table_of_rfc_9110_8_8_3_2),
		cmocka_unit_test(lists_are_searched_over_all_lines),
		cmocka_unit_test(a_response_with_two_tags_has_none),
	};

	return cmocka_run_group_tests_name("etag", tests, NULL, NULL);
}
