/* pathkey_test.c -- all spellings of a path get one name, and different paths do not. */
#include "proto/pathkey.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void spellings_of_one_path_get_one_name(void **state)
{
	static const struct {
		const char *target, *key;
	} rows[] = {
		{ "/", "/" },
		{ "/a/b.txt", "/a/b.txt" },
		{ "/a/b.txt?x=1", "/a/b.txt" },
		{ "/a/b?x=/../..", "/a/b" },
		{ "/%61/b%2Etxt", "/a/b.txt" },
		{ "/a%2fb", "/a%2Fb" },
		{ "/a%2Fb", "/a%2Fb" },
		{ "/a/./b", "/a/b" },
		{ "/a/../b", "/b" },
		{ "/a/%2e%2E/b", "/b" },
		{ "/a/b/..", "/a/" },
		{ "/a/b/.", "/a/b/" },
		{ "/..", "/" },
		{ "/../../a", "/a" },
		{ "/a//b", "/a//b" },
		{ "/a/", "/a/" },
		{ "/a/...", "/a/..." },
		{ "/a%", "/a%" },
		{ "/a%2", "/a%2" },
		{ "/a%zz", "/a%zz" },
		{ "/%00", "/%00" },
		{ "/a?", "/a" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;

		assert_int_equal(pathkey_add(slice_str(rows[i].target), &got), 0);
		assert_string_equal(got.data, rows[i].key);
		buf_fini(&got);
	}
}

static void what_is_no_path_is_refused(void **state)
{
	static const char *const rows[] = { "", "*", "a/b", "?x", "http://h/a" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;

		assert_int_equal(pathkey_add(slice_str(rows[i]), &got), WEIR_E_PARSE);
		assert_int_equal(got.len, 0);
		buf_fini(&got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spellings_of_one_path_get_one_name),
		cmocka_unit_test(what_is_no_path_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
