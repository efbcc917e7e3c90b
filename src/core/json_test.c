/* json_test.c -- what is JSON, what is not, and that what is written reads back equal. */
#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

/* Reads and writes; "" when refused. */
static const char *through(const char *text, unsigned flags)
{
	static struct buf out = BUF_EMPTY;
	struct buf why = BUF_EMPTY;
	json_t *v = NULL;
	int r = json_read(slice_str(text), flags, &v, &why);

	buf_reset(&out);
	assert_int_equal(r == 0, v != NULL);
	assert_int_equal(r<0, why.len> 0);
	if (v)
		json_write(v, &out);
	json_decref(v);
	buf_fini(&why);
	return out.data;
}

static void what_is_read_is_written_back(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "{}", "{}" },
		{ " [ 1 , -2 ,\n3 ] ", "[1,-2,3]" },
		{ "{\"b\":1,\"a\":{\"z\":null,\"y\":[true,false]}}",
		  "{\"b\":1,\"a\":{\"z\":null,\"y\":[true,false]}}" },
		{ "[\"\\u00e9\\n\\\"\\\\\"]", "[\"\xc3\xa9\\u000a\\\"\\\\\"]" },
		{ "[\"\\ud83d\\ude00\"]", "[\"\xf0\x9f\x98\x80\"]" },
		{ "[0.1, 1.5e300, 5.0, 1e2, 3.141592653589793, 5e-324]", "[0.1,1.5e+300,5.0,100.0,3.141592653589793,"
									 "4.94065645841247e-324]" },
		{ "[9223372036854775807,-9223372036854775808]", "[9223372036854775807,-9223372036854775808]" },
		{ "{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(through(rows[i].in, 0), rows[i].want);
}

static void integers_beyond_64_bits_are_doubles(void **state)
{
	assert_string_equal(through("[9223372036854775808]", 0), "[9.223372036854776e+18]");
	assert_string_equal(through("[-9223372036854775809, 1]", 0), "[-9.223372036854776e+18,1]");
	assert_string_equal(through("{\"a\":100000000000000000000000000000}", 0), "{\"a\":1e+29}");
	assert_string_equal(through("[\"100000000000000000000000000000\"]", 0), "[\"100000000000000000000000000000\"]");
}

static void what_is_no_json_is_refused(void **state)
{
	static const char *const rows[] = {
		"",
		" ",
		"{",
		"}",
		"[1,]",
		"{\"a\":1,}",
		"{a:1}",
		"{'a':1}",
		"[1] x",
		"{}{}",
		"[NaN]",
		"[Infinity]",
		"[-Infinity]",
		"[01]",
		"[+1]",
		"[.5]",
		"[1.]",
		"[1e400]",
		"[-1e400]",
		"[\"a\nb\"]",
		"[\"\\x\"]",
		"[\"\\u0000\"]",
		"{\"\\u0000\":1}",
		"[\"\xff\"]",
		"[\"\xc0\x80\"]",
		"[\"\xed\xa0\x80\"]",
		"[\"\\ud800\"]",
		"5",
		"\"a\"",
		"null",
		"\xef\xbb\xbf{}",
		"[tru]",
		"/* */ []",
		"[99999999999999999999-]",
		"[\"a",
		"[\"a\\",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(through(rows[i], 0), "");
}

static void a_number_beyond_a_double_is_refused_however_it_is_written(void **state)
{
	struct buf text = BUF_EMPTY;

	buf_add_char(&text, '[');
	for (int i = 0; i < 400; i++)
		buf_add_char(&text, '9');
	buf_add_char(&text, ']');
	assert_string_equal(through(text.data, 0), "");
	buf_fini(&text);
}

static void infinity_is_a_value_for_those_who_ask_for_it(void **state)
{
	assert_string_equal(through("{\"buckets\":[1,Infinity]}", JSON_READ_INFINITY),
			    "{\"buckets\":[1,\"Infinity\"]}");
	assert_string_equal(through("[\"Infinity\", Infinity ]", JSON_READ_INFINITY), "[\"Infinity\",\"Infinity\"]");
	assert_string_equal(through("{Infinity:1}", JSON_READ_INFINITY), "");
	assert_string_equal(through("{Infinity :1}", JSON_READ_INFINITY), "");
	assert_string_equal(through("[-Infinity]", JSON_READ_INFINITY), "");
	assert_string_equal(through("[NaN]", JSON_READ_INFINITY), "");
	assert_string_equal(through("[InfinityInfinity]", JSON_READ_INFINITY), "");
	assert_string_equal(through("[Infinite]", JSON_READ_INFINITY), "");
}

static void nesting_and_values_have_a_limit(void **state)
{
	struct buf text = BUF_EMPTY;

	for (int i = 0; i < JSON_MOST_DEPTH; i++)
		buf_add_char(&text, '[');
	for (int i = 0; i < JSON_MOST_DEPTH; i++)
		buf_add_char(&text, ']');
	assert_string_equal(through(text.data, 0), text.data);
	buf_reset(&text);
	for (int i = 0; i < 1000000; i++)
		buf_add_char(&text, '[');
	assert_string_equal(through(text.data, 0), "");
	buf_reset(&text);
	buf_add_str(&text, "[\"");
	for (int i = 0; i < 1000; i++)
		buf_add_str(&text, "[{");
	buf_add_str(&text, "\"]");
	assert_string_equal(through(text.data, 0), text.data); /* in a string they are letters */
	buf_reset(&text);
	buf_add_str(&text, "[[]");
	for (int i = 0; i < JSON_MOST_VALUES; i++)
		buf_add_str(&text, ",[]");
	buf_add_str(&text, "]");
	assert_string_equal(through(text.data, 0), "");
	buf_fini(&text);
}

static void a_nul_byte_ends_no_text(void **state)
{
	json_t *v = NULL;

	assert_int_equal(json_read((struct slice){ "[1]\0", 4 }, 0, &v, NULL), WEIR_E_PARSE);
	assert_int_equal(json_read((struct slice){ "[1\0]", 4 }, 0, &v, NULL), WEIR_E_PARSE);
	assert_null(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_read_is_written_back),
		cmocka_unit_test(integers_beyond_64_bits_are_doubles),
		cmocka_unit_test(what_is_no_json_is_refused),
		cmocka_unit_test(a_number_beyond_a_double_is_refused_however_it_is_written),
		cmocka_unit_test(infinity_is_a_value_for_those_who_ask_for_it),
		cmocka_unit_test(nesting_and_values_have_a_limit),
		cmocka_unit_test(a_nul_byte_ends_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
