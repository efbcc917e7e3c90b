/* str_test.c -- rows of input, wanted result. */
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"

static void durations_and_sizes_need_a_known_unit(void **state)
{
	static const struct {
		const char *in;
		int64_t ms; /* -1: refused */
	} durations[] = {
		{ "250ms", 250 }, { "3s", 3000 },   { "5m", 300000 }, { "24h", 86400000 }, { "7d", 604800000 }, { "0", 0 },
		{ "0s", 0 },	  { "3", -1 },	    { "", -1 },	      { "s", -1 },	   { "-1s", -1 },	{ "1.5s", -1 },
		{ "1 s", -1 },	  { "1sec", -1 },   { "99999999999999999999s", -1 },	   { "9223372036854775807d", -1 },
	};
	static const struct {
		const char *in;
		int64_t bytes;
	} sizes[] = {
		{ "32KiB", 32768 }, { "1MiB", 1 << 20 }, { "100GiB", 100LL << 30 }, { "1TiB", 1LL << 40 }, { "17", 17 },
		{ "1KB", -1 },	    { "1kib", -1 },	 { "", -1 },		    { "9999999999TiB", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
		int64_t ms = -1;

		assert_int_equal(str_parse_duration_ms(slice_str(durations[i].in), &ms),
				 durations[i].ms < 0 ? WEIR_E_PARSE : 0);
		assert_int_equal(ms, durations[i].ms);
	}
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t bytes = (uint64_t)-1;

		assert_int_equal(str_parse_bytes(slice_str(sizes[i].in), &bytes), sizes[i].bytes < 0 ? WEIR_E_PARSE : 0);
		assert_int_equal(bytes, sizes[i].bytes);
	}
}

static void people_read_durations_and_sizes(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	str_format_duration(250, &b);
	buf_add_char(&b, ' ');
	str_format_duration(3500, &b);
	buf_add_char(&b, ' ');
	str_format_duration(300000, &b);
	buf_add_char(&b, ' ');
	str_format_bytes(512, &b);
	buf_add_char(&b, ' ');
	str_format_bytes(152253235, &b);
	assert_string_equal(b.data, "250ms 3.5s 5m 512 B 145.2 MiB");
	buf_fini(&b);
}

static void what_a_peer_sent_cannot_leave_its_quotes(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	str_add_escaped(&b, (struct slice){ "a\"b\n\0c", 6 }, 100);
	assert_string_equal(b.data, "a\\x22b\\x0a\\x00c");
	buf_reset(&b);
	str_add_escaped(&b, SLICE_LIT("abcdef"), 3);
	assert_string_equal(b.data, "abc...");
	buf_reset(&b);
	str_add_json(&b, SLICE_LIT("q\"\\\t\xc3\xa9\xff\xed\xa0\x80"));
	assert_string_equal(b.data, "q\\\"\\\\\\u0009\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	buf_fini(&b);
}

static void base64_goes_both_ways_and_has_one_spelling(void **state)
{
	static const char *const refused[] = { "YQ", "YQ=", "YR==", "Y===", "YWJ=", "YW Jj", "YQ==YQ==", "====" };
	struct buf b = BUF_EMPTY, back = BUF_EMPTY;

	(void)state;
	for (size_t n = 0; n < 20; n++) {
		buf_reset(&b);
		buf_reset(&back);
		str_base64_encode((struct slice){ "\xff\0user:pass-word\x80xyz", n }, &b);
		assert_int_equal(str_base64_decode(buf_slice(&b), &back), 0);
		assert_int_equal(back.len, n);
		assert_memory_equal(back.data, "\xff\0user:pass-word\x80xyz", n);
	}
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		assert_int_equal(str_base64_decode(slice_str(refused[i]), &back), WEIR_E_PARSE);
	buf_fini(&b);
	buf_fini(&back);
}

static void hexadecimal_goes_both_ways(void **state)
{
	struct buf b = BUF_EMPTY;
	unsigned char out[3];

	(void)state;
	str_hex("\x00\xab\xff", 3, &b);
	assert_string_equal(b.data, "00abff");
	assert_int_equal(str_unhex(buf_slice(&b), out, 3), 0);
	assert_memory_equal(out, "\x00\xab\xff", 3);
	assert_int_equal(str_unhex(SLICE_LIT("00ab"), out, 3), WEIR_E_PARSE);
	assert_int_equal(str_unhex(SLICE_LIT("00abfg"), out, 3), WEIR_E_PARSE);
	assert_true(str_is_hex(SLICE_LIT("0af")));
	assert_false(str_is_hex(SLICE_LIT("0AF")));
	buf_fini(&b);
}

static void comparing_secrets_knows_equal_from_not(void **state)
{
	(void)state;
	assert_true(str_eq_const_time(SLICE_LIT("secret"), SLICE_LIT("secret")));
	assert_false(str_eq_const_time(SLICE_LIT("secret"), SLICE_LIT("secreT")));
	assert_false(str_eq_const_time(SLICE_LIT("secret"), SLICE_LIT("secretsecret")));
	assert_false(str_eq_const_time(SLICE_LIT("secretsecret"), SLICE_LIT("secret")));
	assert_false(str_eq_const_time(SLICE_LIT("a"), SLICE_LIT("")));
}

static void times_are_read_and_written(void **state)
{
	static const struct {
		const char *in;
		int64_t ms;
	} rows[] = {
		{ "1994-11-06T08:49:37Z", 784111777000 },
		{ "1994-11-06T08:49:37.5Z", 784111777500 },
		{ "1994-11-06T09:49:37.123456789+01:00", 784111777123 },
		{ "1994-11-06T08:49:37", -1 },
		{ "1994-13-06T08:49:37Z", -1 },
		{ "1994-11-06T08:49:37.Z", -1 },
		{ "1994-11-06T08:49:37Zx", -1 },
	};
	struct buf b = BUF_EMPTY;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = -1;

		assert_int_equal(clock_parse_rfc3339(slice_str(rows[i].in), &ms), rows[i].ms < 0 ? WEIR_E_PARSE : 0);
		assert_int_equal(ms, rows[i].ms);
	}
	clock_format_rfc3339(784111777123, &b);
	buf_add_char(&b, ' ');
	clock_format_http(784111777123, &b);
	assert_string_equal(b.data, "1994-11-06T08:49:37.123Z Sun, 06 Nov 1994 08:49:37 GMT");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_and_sizes_need_a_known_unit),
		cmocka_unit_test(people_read_durations_and_sizes),
		cmocka_unit_test(what_a_peer_sent_cannot_leave_its_quotes),
		cmocka_unit_test(base64_goes_both_ways_and_has_one_spelling),
		cmocka_unit_test(hexadecimal_goes_both_ways),
		cmocka_unit_test(comparing_secrets_knows_equal_from_not),
		cmocka_unit_test(times_are_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
