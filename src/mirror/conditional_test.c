/* conditional_test.c */
#include "mirror/conditional.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/obj.h"
#include "mirror/policy.h"

#define NOON 784123200 /* Sun, 06 Nov 1994 12:00:00 GMT */
#define BEFORE "Sun, 06 Nov 1994 11:59:59 GMT"
#define AT_NOON "Sun, 06 Nov 1994 12:00:00 GMT"
#define AFTER "Sun, 06 Nov 1994 12:00:01 GMT"

struct head {
	struct slice lines[8];
	struct httplines h;
};

static const struct httplines *head(struct head *to, const char *block)
{
	to->h = (struct httplines){ to->lines, httplines_cut(slice_str(block), to->lines, 8) };
	assert_true(to->h.count <= 8);
	return &to->h;
}

static const struct conditional_view strong = { true, { SLICE_LIT("\"a\""), false }, NOON, NOON + 5 };
static const struct conditional_view weak = { true, { SLICE_LIT("\"a\""), true }, NOON, NOON };
static const struct conditional_view bare = { true, { { 0 }, false }, POLICY_NO_TIME, NOON };
static const struct conditional_view nothing = { false, { { 0 }, false }, POLICY_NO_TIME, POLICY_NO_TIME };

static void preconditions_are_judged_in_the_order_of_rfc_9110_13_2_2(void **state)
{
	static const struct {
		const struct conditional_view *view;
		const char *request;
		int get, put; /* outcome for each method */
	} rows[] = {
		{ &strong, "", 0, 0 },
		/* 13.1.1 If-Match: strong comparison */
		{ &strong, "If-Match: \"a\"\n", 0, 0 },
		{ &strong, "If-Match: \"b\", \"a\"\n", 0, 0 },
		{ &strong, "If-Match: \"b\"\nIf-Match: \"a\"\n", 0, 0 },
		{ &strong, "If-Match: \"b\"\n", 412, 412 },
		{ &strong, "If-Match: W/\"a\"\n", 412, 412 },
		{ &weak, "If-Match: \"a\"\n", 412, 412 },
		{ &weak, "If-Match: W/\"a\"\n", 412, 412 },
		{ &strong, "If-Match: *\n", 0, 0 },
		{ &bare, "If-Match: *\n", 0, 0 },
		{ &bare, "If-Match: \"a\"\n", 412, 412 },
		{ &nothing, "If-Match: *\n", 412, 412 },
		{ &nothing, "If-Match: \"a\"\n", 412, 412 },
		{ &strong, "If-Match: a\n", 412, 412 },
		{ &strong, "If-Match: \"a\", b\n", 412, 412 },
		{ &strong, "If-Match:\n", 412, 412 },
		/* 13.1.4 If-Unmodified-Since */
		{ &strong, "If-Unmodified-Since: " AFTER "\n", 0, 0 },
		{ &strong, "If-Unmodified-Since: " AT_NOON "\n", 0, 0 },
		{ &strong, "If-Unmodified-Since: " BEFORE "\n", 412, 412 },
		{ &strong, "If-Unmodified-Since: yesterday\n", 0, 0 },
		{ &strong, "If-Unmodified-Since: " BEFORE "\nIf-Unmodified-Since: " BEFORE "\n", 0, 0 },
		{ &bare, "If-Unmodified-Since: " BEFORE "\n", 0, 0 },
		{ &nothing, "If-Unmodified-Since: " BEFORE "\n", 0, 0 },
		/* step 2 only without If-Match */
		{ &strong, "If-Match: \"a\"\nIf-Unmodified-Since: " BEFORE "\n", 0, 0 },
		{ &strong, "If-Match: \"b\"\nIf-Unmodified-Since: " AFTER "\n", 412, 412 },
		/* 13.1.2 If-None-Match: weak comparison */
		{ &strong, "If-None-Match: \"a\"\n", 304, 412 },
		{ &strong, "If-None-Match: W/\"a\"\n", 304, 412 },
		{ &weak, "If-None-Match: \"a\"\n", 304, 412 },
		{ &strong, "If-None-Match: \"b\", \"c\"\n", 0, 0 },
		{ &strong, "If-None-Match: \"b\"\nIf-None-Match: \"a\"\n", 304, 412 },
		{ &strong, "If-None-Match: *\n", 304, 412 },
		{ &bare, "If-None-Match: *\n", 304, 412 },
		{ &bare, "If-None-Match: \"a\"\n", 0, 0 },
		{ &nothing, "If-None-Match: *\n", 0, 0 },
		{ &nothing, "If-None-Match: \"a\"\n", 0, 0 },
		{ &strong, "If-None-Match: a\n", 0, 0 },
		{ &strong, "If-None-Match: \"a\", b\n", 0, 0 },
		/* 13.1.3 If-Modified-Since: GET and HEAD alone */
		{ &strong, "If-Modified-Since: " AFTER "\n", 304, 0 },
		{ &strong, "If-Modified-Since: " AT_NOON "\n", 304, 0 },
		{ &strong, "If-Modified-Since: Sunday, 06-Nov-94 12:00:00 GMT\n", 304, 0 },
		{ &strong, "If-Modified-Since: " BEFORE "\n", 0, 0 },
		{ &strong, "If-Modified-Since: now\n", 0, 0 },
		{ &strong, "If-Modified-Since: " AFTER "\nIf-Modified-Since: " AFTER "\n", 0, 0 },
		{ &bare, "If-Modified-Since: " AFTER "\n", 0, 0 },
		{ &nothing, "If-Modified-Since: " AFTER "\n", 0, 0 },
		/* step 4 only without If-None-Match */
		{ &strong, "If-None-Match: \"b\"\nIf-Modified-Since: " AFTER "\n", 0, 0 },
		{ &strong, "If-None-Match: \"a\"\nIf-Modified-Since: " BEFORE "\n", 304, 412 },
		/* steps 1 and 3 */
		{ &strong, "If-Match: \"a\"\nIf-None-Match: \"a\"\n", 304, 412 },
		{ &strong, "If-Match: \"b\"\nIf-None-Match: \"b\"\n", 412, 412 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct head h;

		head(&h, rows[i].request);
		assert_int_equal(conditional_judge(SLICE_LIT("GET"), &h.h, rows[i].view, NOON), rows[i].get);
		assert_int_equal(conditional_judge(SLICE_LIT("HEAD"), &h.h, rows[i].view, NOON), rows[i].get);
		assert_int_equal(conditional_judge(SLICE_LIT("PUT"), &h.h, rows[i].view, NOON), rows[i].put);
		assert_int_equal(conditional_judge(SLICE_LIT("DELETE"), &h.h, rows[i].view, NOON), rows[i].put);
	}
}

static void a_cache_leaves_to_the_origin_what_is_the_origins(void **state)
{
	static const struct {
		const struct conditional_view *view;
		const char *request;
		int get;
	} rows[] = {
		/* RFC 9111 4.3.2 */
		{ &strong, "If-Match: \"b\"\n", 0 },
		{ &strong, "If-Unmodified-Since: " BEFORE "\n", 0 },
		{ &strong, "If-Match: \"b\"\nIf-None-Match: \"a\"\n", 304 },
		{ &strong, "If-Modified-Since: " AT_NOON "\n", 304 },
		{ &strong, "If-Modified-Since: " BEFORE "\n", 0 },
		{ &strong, "If-None-Match: \"b\"\nIf-Modified-Since: " AFTER "\n", 0 },
		/* Date stands for a Last-Modified that is missing */
		{ &bare, "If-Modified-Since: " AT_NOON "\n", 304 },
		{ &bare, "If-Modified-Since: " BEFORE "\n", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct head h;

		head(&h, rows[i].request);
		assert_int_equal(conditional_judge_cached(SLICE_LIT("GET"), &h.h, rows[i].view, NOON), rows[i].get);
	}
}

static void a_range_applies_to_the_very_same_bytes(void **state)
{
	static const struct {
		const struct conditional_view *view;
		const char *request;
		bool applies;
	} rows[] = {
		/* RFC 9110 13.1.5 */
		{ &strong, "Range: bytes=0-\n", true },
		{ &strong, "If-Range: \"a\"\n", true },
		{ &strong, "If-Range: \"b\"\n", false },
		{ &strong, "If-Range: W/\"a\"\n", false },
		{ &weak, "If-Range: W/\"a\"\n", false },
		{ &weak, "If-Range: \"a\"\n", false },
		{ &strong, "If-Range: " AT_NOON "\n", true },
		{ &strong, "If-Range: " AFTER "\n", false },
		{ &strong, "If-Range: " BEFORE "\n", false },
		/* 8.8.2.2: changed within the second that it was sent: weak */
		{ &weak, "If-Range: " AT_NOON "\n", false },
		{ &bare, "If-Range: " AT_NOON "\n", false },
		{ &strong, "If-Range: a\n", false },
		{ &strong, "If-Range: \"a\", \"b\"\n", false },
		{ &strong, "If-Range: \"a\"\nIf-Range: \"a\"\n", false },
		{ &nothing, "If-Range: \"a\"\n", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct head h;

		head(&h, rows[i].request);
		assert_int_equal(conditional_range_applies(&h.h, rows[i].view, NOON), rows[i].applies);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(preconditions_are_judged_in_the_order_of_rfc_9110_13_2_2),
		cmocka_unit_test(a_cache_leaves_to_the_origin_what_is_the_origins),
		cmocka_unit_test(a_range_applies_to_the_very_same_bytes),
	};

	return cmocka_run_group_tests_name("conditional", tests, NULL, NULL);
}
