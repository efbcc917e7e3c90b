/* json_test.c */
#include "client/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static void what_is_json_and_what_is_not(void **state)
{
	static const struct {
		const char *text;
		bool value, object;
	} rows[] = {
		{ "{}", true, true },
		{ " {\"a\" : [1, -0.5e+3, true, false, null, \"x\\u00e4\\n\"], \"b\":{}} \n", true, true },
		{ "[]", true, false },
		{ "0", true, false },
		{ "\"\xc3\xa4\"", true, false },
		{ "", false, false },
		{ "{} {}", false, false },
		{ "{\"a\":1,}", false, false },
		{ "[1,]", false, false },
		{ "{a:1}", false, false },
		{ "{\"a\" 1}", false, false },
		{ "{\"a\":}", false, false },
		{ "01", false, false },
		{ "1.", false, false },
		{ ".5", false, false },
		{ "+1", false, false },
		{ "1e", false, false },
		{ "-", false, false },
		{ "NaN", false, false },
		{ "tru", false, false },
		{ "\"a", false, false },
		{ "\"\\x\"", false, false },
		{ "\"\\u12g4\"", false, false },
		{ "\"a\nb\"", false, false },
		{ "\"\xff\"", false, false },
		{ "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", true, false }, /* 16 */
		{ "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", false, false },
		{ "{\"a\":{\"b\":[{\"c\":1}]}}", true, true },
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		size_t n = strlen(rows[i].text);

		assert_int_equal(weirc_json_is_value(rows[i].text, n, false), rows[i].value);
		assert_int_equal(weirc_json_is_value(rows[i].text, n, true), rows[i].object);
	}
	assert_false(weirc_json_is_value("{}\0", 3, true)); /* a NUL is no space */
}

static void every_beginning_of_an_object_is_none(void **state)
{
	static const char text[] = "{\"a\":[1.5e3,true,{\"b\":\"\\u00e4\\\"\"}],\"c\":null}";

	(void)state;
	for (size_t n = 0; n < sizeof(text) - 1; n++)
		assert_false(weirc_json_is_value(text, n, true));
	assert_true(weirc_json_is_value(text, sizeof(text) - 1, true));
}

static void the_text_of_a_member(void **state)
{
	static const struct {
		const char *text, *id; /* NULL: there is none */
	} rows[] = {
		{ "{\"session_id\":\"abc-1\"}", "abc-1" },
		{ "{\"x\":{\"session_id\":\"no\"},\"session_id\" : \"yes\" , \"y\":1}", "yes" },
		{ "{\"session_id\":\"a\",\"session_id\":\"b\"}", "b" },
		{ "{\"session_id\":\"a\",\"session_id\":7}", NULL },
		{ "{\"session_id\":\"\"}", NULL },
		{ "{\"session_id\":7}", NULL },
		{ "{\"session_id\":\"a\\u0022\"}", NULL },
		{ "{\"session_id\":\"1234567890123456\"}", NULL }, /* too long for the room */
		{ "{\"session_id\":\"123456789012345\"}", "123456789012345" },
		{ "{\"session_ids\":\"a\"}", NULL },
		{ "[\"session_id\"]", NULL },
		{ "{\"session_id\":\"a\"", NULL },
	};
	char id[16];

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		int r = weirc_json_text_of(rows[i].text, strlen(rows[i].text), "session_id", id, sizeof(id));

		assert_int_equal(r, rows[i].id ? 0 : -EPROTO);
		if (rows[i].id)
			assert_string_equal(id, rows[i].id);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_json_and_what_is_not),
		cmocka_unit_test(every_beginning_of_an_object_is_none),
		cmocka_unit_test(the_text_of_a_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
