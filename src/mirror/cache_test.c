/* cache_test.c -- what was put is found by what fits, until it is replaced, dropped or evicted; and after a restart. */
#include "mirror/cache.h"

#include "mirror/cache_test_kit.h"

#define BIG (STORED_INLINE_BYTES + 1000)

static void what_was_put_is_found(void **state)
{
	struct kit_lines rq;
	struct stored *s = NULL;

	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, ""), &s), -ENOENT);
	assert_int_equal(kit_put("/a", "small", 100), 0);
	assert_int_equal(kit_put("/b", "large", BIG), 0);
	assert_int_equal(kit_put("/c", "", 0), 0);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), &rq.view, &s), 0);
	assert_int_equal(s->status, 200);
	assert_string_equal(s->reply[0].name, "Content-Type");
	assert_string_equal(s->reply[0].value, "text/plain");
	stored_unref(&s);
	assert_true(kit_has("/a", "small", 100));
	assert_true(kit_has("/b", "large", BIG));
	assert_true(kit_has("/c", "", 0));
	assert_int_equal(kit_figures().responses, 3);
	assert_int_equal(kit_figures().hot_files, 1);
}

static void what_was_put_is_found_after_a_restart(void **state)
{
	struct kit_lines rq;
	struct stored *s = NULL;

	assert_int_equal(kit_put_for("/a", "", "ETag: \"1\"\nDate: Fri, 20 Nov 2026 10:00:00 GMT\n", "small", 100), 0);
	assert_int_equal(kit_put("/b", "large", BIG), 0);
	assert_int_equal(kit_put("/c", "", 0), 0);
	kit_reopen();
	assert_int_equal(kit_figures().responses, 3);
	assert_int_equal(kit_figures().hot_responses, 0);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, ""), &s), -EAGAIN);
	assert_int_equal(cache_load(cache, SLICE_LIT("/a"), &rq.view, &s), 0);
	assert_true(slice_eq_str(s->policy.etag.opaque, "\"1\""));
	stored_unref(&s);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), &rq.view, &s), 0);
	stored_unref(&s);
	assert_true(kit_has("/a", "small", 100));
	assert_true(kit_has("/b", "large", BIG));
	assert_true(kit_has("/c", "", 0));
	assert_int_equal(kit_figures().damaged, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_put_is_found),
		T(what_was_put_is_found_after_a_restart),
	};

	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
