/* text_test.c */
#include "client/text.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static void expect_text(struct weirc_text *t, const char *wanted)
{
	assert_int_equal(t->failed, 0);
	assert_int_equal(t->len, strlen(wanted));
	assert_memory_equal(t->data, wanted, t->len);
	t->len = 0;
}

static void strings_become_json_and_utf8(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "\"\"" },
		{ "plain", "\"plain\"" },
		{ "a\"b\\c\n\r\t", "\"a\\\"b\\\\c\\n\\r\\t\"" },
		{ "\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\"" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "a\xff" "b", "\"a\xef\xbf\xbd" "b\"" },
		{ "\xc3", "\"\xef\xbf\xbd\"" },                             /* cut off */
		{ "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },             /* overlong */
		{ "\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" }, /* above U+10FFFF */
		{ NULL, "null" },
	};
	char storage[256];
	struct weirc_text t;

	(void)state;
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	for (size_t i = 0; i < LEN(rows); i++) {
		weirc_text_json(&t, rows[i].in);
		expect_text(&t, rows[i].out);
	}
}

static void numbers_read_back_equal(void **state)
{
	static const double rows[] = {
		0,    0.1,  -0.5, 1.0 / 3,           1e15, 1e16, -1e15, 123456789012345678.0, 5e-324, 1.7e308,
		-2.5, 59.8, 1e-7, 4503599627370497.5
	};
	char storage[64];
	struct weirc_text t;

	(void)state;
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	for (size_t i = 0; i < LEN(rows); i++) {
		weirc_text_number(&t, rows[i]);
		weirc_text_char(&t, '\0');
		assert_int_equal(t.failed, 0);
		assert_true(strtod(t.data, NULL) == rows[i]); /* to the bit */
		t.len = 0;
	}
	for (uint64_t i = 1, bits = 88172645463325252; i < 200000; i++) {
		double v;

		bits ^= bits << 13; /* xorshift: the same numbers each time */
		bits ^= bits >> 7;
		bits ^= bits << 17;
		if (i % 2)
			memcpy(&v, &bits, sizeof(v)); /* any double */
		else
			v = (double)(int64_t)(bits >> 20) / (i % 3 ? 1e9 : 1e6) - 4000; /* some decimals */
		if (!isfinite(v))
			continue;
		weirc_text_number(&t, v);
		weirc_text_char(&t, '\0');
		assert_int_equal(t.failed, 0);
		assert_true(strtod(t.data, NULL) == v);
		t.len = 0;
	}
	weirc_text_number(&t, -0.000000001);
	expect_text(&t, "-0.000000001");
	weirc_text_number(&t, 8999999.25);
	expect_text(&t, "8999999.25");
	weirc_text_number(&t, 0.1);
	expect_text(&t, "0.1");
	weirc_text_number(&t, 60);
	expect_text(&t, "60");
	weirc_text_number(&t, -0.0);
	expect_text(&t, "-0");
	weirc_text_number(&t, NAN);
	weirc_text_number(&t, -INFINITY);
	expect_text(&t, "nullnull");
}

static void a_locale_does_not_change_numbers(void **state)
{
	static const char *const locales[] = { "de_DE.UTF-8", "ps_AF.UTF-8", "fr_FR.UTF-8", "de_DE", "da_DK.UTF-8" };
	char storage[64];
	struct weirc_text t;
	size_t tried = 0;

	(void)state;
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	for (size_t i = 0; i < LEN(locales); i++) {
		if (!setlocale(LC_NUMERIC, locales[i]))
			continue;
		tried++;
		weirc_text_number(&t, 0.5);
		expect_text(&t, "0.5");
	}
	setlocale(LC_NUMERIC, "C");
	if (!tried)
		skip();
}

static void integers_and_hexadecimal(void **state)
{
	char storage[64];
	struct weirc_text t;

	(void)state;
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	weirc_text_int(&t, INT64_MIN);
	expect_text(&t, "-9223372036854775808");
	weirc_text_int(&t, 0);
	expect_text(&t, "0");
	weirc_text_hex(&t, 0xabc, 8);
	expect_text(&t, "00000abc");
	weirc_text_hex(&t, UINT64_MAX, 1);
	expect_text(&t, "ffffffffffffffff");
}

static void a_text_grows_up_to_its_limit_and_remembers_its_failure(void **state)
{
	char storage[8], big[100];
	struct weirc_text t;

	(void)state;
	memset(big, 'x', sizeof(big));
	weirc_text_init(&t, storage, sizeof(storage), 100);
	weirc_text_str(&t, "12345678");
	assert_ptr_equal(t.data, storage);
	weirc_text_char(&t, '9');
	assert_ptr_not_equal(t.data, storage);
	weirc_text_add(&t, big, 91);
	assert_int_equal(t.failed, 0);
	assert_int_equal(t.len, 100);
	weirc_text_char(&t, '!');
	assert_int_equal(t.failed, -EMSGSIZE);
	assert_int_equal(t.len, 100);
	t.len = 0;
	weirc_text_char(&t, '!'); /* room again, but what is in it is not whole */
	assert_int_equal(t.len, 0);
	weirc_text_fini(&t);
}

static void fixed_storage_never_becomes_the_heap(void **state)
{
	char storage[8];
	struct weirc_text t;

	(void)state;
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	weirc_text_str(&t, "123456789");
	assert_int_equal(t.failed, -EMSGSIZE);
	assert_ptr_equal(t.data, storage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings_become_json_and_utf8),
		cmocka_unit_test(numbers_read_back_equal),
		cmocka_unit_test(a_locale_does_not_change_numbers),
		cmocka_unit_test(integers_and_hexadecimal),
		cmocka_unit_test(a_text_grows_up_to_its_limit_and_remembers_its_failure),
		cmocka_unit_test(fixed_storage_never_becomes_the_heap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
