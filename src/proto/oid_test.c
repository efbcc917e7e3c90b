/* oid_test.c */
#include "proto/oid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

#define HEX40 "0123456789abcdef0123456789abcdef01234567"
#define HEX64 HEX40 "89abcdef0123456789abcdef"

static void ids_are_read_and_written_in_both_formats(void **state)
{
	static const struct {
		const char *hex;
		enum oid_format given, shown; /* shown OID_UNKNOWN: refused */
	} rows[] = {
		{ HEX40, OID_SHA1, OID_SHA1 },
		{ HEX40, OID_UNKNOWN, OID_SHA1 },
		{ HEX64, OID_SHA256, OID_SHA256 },
		{ HEX64, OID_UNKNOWN, OID_SHA256 },
		{ HEX40, OID_SHA256, OID_UNKNOWN },
		{ HEX64, OID_SHA1, OID_UNKNOWN },
		{ HEX40 "0", OID_SHA1, OID_UNKNOWN },
		{ "", OID_UNKNOWN, OID_UNKNOWN },
		{ "0123456789abcdef0123456789abcdef0123456g", OID_SHA1, OID_UNKNOWN },
		{ "-123456789abcdef0123456789abcdef01234567", OID_SHA1, OID_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum oid_format f = rows[i].given;
		struct oid id;
		struct buf out = BUF_EMPTY;
		int r = oid_parse(slice_str(rows[i].hex), &f, &id);

		if (rows[i].shown == OID_UNKNOWN) {
			assert_int_equal(r, WEIR_E_PARSE);
			assert_int_equal(f, rows[i].given);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(f, rows[i].shown);
		oid_add_hex(&out, f, &id);
		assert_string_equal(out.data, rows[i].hex);
		buf_fini(&out);
	}
}

static void upper_case_is_read_and_never_written(void **state)
{
	enum oid_format f = OID_SHA1;
	char hex[OID_MAX_HEX + 1];
	struct oid id;

	(void)state;
	assert_int_equal(oid_parse(SLICE_LIT("0123456789ABCDEF0123456789ABCDEF01234567"), &f, &id), 0);
	oid_to_hex(f, &id, hex);
	assert_string_equal(hex, HEX40);
}

static void format_names_are_gits(void **state)
{
	enum oid_format f = OID_UNKNOWN;

	(void)state;
	assert_int_equal(oid_format_parse(SLICE_LIT("sha256"), &f), 0);
	assert_string_equal(oid_format_text(f), "sha256");
	assert_int_equal(oid_format_parse(SLICE_LIT("sha1"), &f), 0);
	assert_string_equal(oid_format_text(f), "sha1");
	assert_int_equal(oid_format_parse(SLICE_LIT("md5"), &f), WEIR_E_PARSE);
	assert_string_equal(oid_format_text(OID_UNKNOWN), "unknown");
}

static void a_list_sorts_and_forgets_repetition(void **state)
{
	struct oid_list l = { 0 };
	struct oid id = { { 0 } };

	(void)state;
	oid_list_sort_unique(&l);
	assert_int_equal(l.count, 0);
	for (int i = 0; i < 100; i++) {
		id.bytes[0] = (unsigned char)(i * 37 % 10);
		oid_list_add(&l, &id);
	}
	oid_list_sort_unique(&l);
	assert_int_equal(l.count, 10);
	assert_true(oid_is_null(&l.items[0]));
	for (size_t i = 1; i < l.count; i++)
		assert_true(oid_cmp(&l.items[i - 1], &l.items[i]) < 0);
	oid_list_fini(&l);
	assert_null(l.items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_read_and_written_in_both_formats),
		cmocka_unit_test(upper_case_is_read_and_never_written),
		cmocka_unit_test(format_names_are_gits),
		cmocka_unit_test(a_list_sorts_and_forgets_repetition),
	};

	return cmocka_run_group_tests_name("oid", tests, NULL, NULL);
}
