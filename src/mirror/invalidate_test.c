/* invalidate_test.c */
#include "mirror/invalidate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/obj.h"

static void note(void *arg, struct slice target)
{
	buf_add_slice(arg, target);
	buf_add_char(arg, ' ');
}

static void an_unsafe_answer_invalidates_within_its_origin(void **state)
{
	static const struct {
		const char *method;
		int status;
		const char *location, *content_location, *gone;
	} rows[] = {
		/* RFC 9111 4.4 */
		{ "PUT", 204, NULL, NULL, "/a/b?c " },
		{ "POST", 201, "/a/new", NULL, "/a/b?c /a/new " },
		{ "POST", 303, "new?x", "https://UP:443/a/", "/a/b?c /a/new?x /a/ " },
		{ "PATCH", 200, NULL, "../z", "/a/b?c /z " },
		{ "DELETE", 204, "https://other/a", "http://up/a", "/a/b?c " },
		{ "FROBNICATE", 200, NULL, NULL, "/a/b?c " }, /* unknown: unsafe */
		{ "PUT", 302, "/elsewhere", NULL, "/a/b?c /elsewhere " },
		{ "PUT", 404, "/a", "/a", "" },
		{ "PUT", 500, "/a", "/a", "" },
		{ "PUT", 100, NULL, NULL, "" },
		{ "GET", 200, NULL, "/a", "" },
		{ "HEAD", 200, NULL, "/a", "" },
		{ "PROPFIND", 207, NULL, "/a", "" },
		{ "OPTIONS", 200, NULL, "/a", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *location = xstrf("Location: %s", rows[i].location ? rows[i].location : "https://other/");
		char *content = xstrf("Content-Location: %s",
				      rows[i].content_location ? rows[i].content_location : "https://other/");
		const struct slice lines[] = { slice_str(location), slice_str(content) };
		const struct httplines h = { lines, 2 };
		struct buf got = BUF_EMPTY;

		invalidate_after(slice_str(rows[i].method), rows[i].status, SLICE_LIT("https://up"),
				 SLICE_LIT("/a/b?c"), &h, note, &got);
		assert_string_equal(got.data, rows[i].gone);
		buf_fini(&got);
		free(location);
		free(content);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unsafe_answer_invalidates_within_its_origin),
	};

	return cmocka_run_group_tests_name("invalidate", tests, NULL, NULL);
}
