/* repo_name_test.c -- what people type for a repository. */
#include "cli/repo_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void test_every_common_form_becomes_host_and_path(void **state)
{
	static const struct {
		const char *typed, *wanted; /* NULL: refused */
	} rows[] = {
		{ "github.com/org/repo", "github.com/org/repo" },
		{ "https://github.com/org/repo", "github.com/org/repo" },
		{ "https://github.com/org/repo.git", "github.com/org/repo" },
		{ "https://github.com/org/repo/", "github.com/org/repo" },
		{ " http://git.corp:8443/a/b/c.git ", "git.corp:8443/a/b/c" },
		{ "git.corp:8443/a/b", "git.corp:8443/a/b" },
		{ "git@github.com:org/repo.git", "github.com/org/repo" },
		{ "ssh://git@github.com/org/repo", "github.com/org/repo" },
		{ "https://ann@github.com/org/repo", "github.com/org/repo" },
		{ "github.com", NULL },
		{ "github.com/", NULL },
		{ "https://", NULL },
		{ "/org/repo", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out = BUF_EMPTY;
		int err = repo_name_parse(slice_str(rows[i].typed), &out);

		assert_int_equal(err, rows[i].wanted ? 0 : WEIR_E_PARSE);
		assert_string_equal(out.data, rows[i].wanted ? rows[i].wanted : "");
		buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_common_form_becomes_host_and_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
