/* cover_test.c -- which questions are fresh. */
#include "git/cover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define PREFIXES(...)                                                                                                  \
	((struct slices){ (const struct slice[]){ __VA_ARGS__ },                                                       \
			  sizeof((const struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice) })
#define P(text) SLICE_LIT(text)

static const struct slices whole;

static void nothing_is_fresh_at_first_or_without_a_ttl(void **state)
{
	struct cover c = COVER_EMPTY;

	(void)state;
	assert_false(cover_is_fresh(&c, whole, 0, 1000));
	assert_false(cover_is_fresh(&c, PREFIXES(P("HEAD")), INT64_MAX / 2, 1000));
	cover_note(&c, whole, 100);
	assert_false(cover_is_fresh(&c, whole, 100, 0));
	assert_true(cover_is_fresh(&c, whole, 100, 1));
	cover_fini(&c);
}

static void a_whole_answer_makes_every_question_fresh_for_its_time(void **state)
{
	struct cover c = COVER_EMPTY;

	(void)state;
	cover_note(&c, whole, 1000);
	assert_true(cover_is_fresh(&c, whole, 1500, 500));
	assert_true(cover_is_fresh(&c, PREFIXES(P("HEAD"), P("refs/x")), 1500, 500));
	assert_false(cover_is_fresh(&c, whole, 1501, 500));
	assert_false(cover_is_fresh(&c, PREFIXES(P("HEAD")), 1501, 500));
	cover_fini(&c);
}

static void a_part_makes_only_what_lies_within_it_fresh(void **state)
{
	struct cover c = COVER_EMPTY;

	(void)state;
	cover_note(&c, PREFIXES(P("refs/heads/"), P("HEAD")), 1000);
	assert_true(cover_is_fresh(&c, PREFIXES(P("refs/heads/main")), 1000, 10));
	assert_true(cover_is_fresh(&c, PREFIXES(P("HEAD"), P("refs/heads/"), P("refs/heads/x")), 1000, 10));
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/tags/")), 1000, 10));
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/heads/main"), P("refs/tags/")), 1000, 10));
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/")), 1000, 10));
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/heads")), 1000, 10));
	assert_false(cover_is_fresh(&c, whole, 1000, 10));
	assert_false(cover_is_fresh(&c, PREFIXES(P("")), 1000, 10));
	cover_fini(&c);
}

static void parts_age_on_their_own(void **state)
{
	struct cover c = COVER_EMPTY;

	(void)state;
	cover_note(&c, PREFIXES(P("refs/heads/")), 1000);
	cover_note(&c, PREFIXES(P("refs/tags/")), 1900);
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/heads/"), P("refs/tags/")), 2000, 500));
	assert_true(cover_is_fresh(&c, PREFIXES(P("refs/tags/")), 2000, 500));
	cover_note(&c, PREFIXES(P("refs/heads/")), 2000);
	assert_true(cover_is_fresh(&c, PREFIXES(P("refs/heads/"), P("refs/tags/")), 2000, 500));
	assert_int_equal(c.count, 2);
	/* An answer that took long does not make an older question newer. */
	cover_note(&c, PREFIXES(P("refs/heads/")), 1200);
	assert_true(cover_is_fresh(&c, PREFIXES(P("refs/heads/")), 2400, 500));
	/* A wider one replaces the parts within it; what is newer stays. */
	cover_note(&c, PREFIXES(P("refs/")), 1950);
	assert_true(cover_is_fresh(&c, PREFIXES(P("refs/heads/")), 2450, 450));
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/tags/")), 2450, 450));
	cover_note(&c, whole, 3000);
	assert_int_equal(c.count, 0);
	cover_fini(&c);
}

static void forgetting_forgets_all(void **state)
{
	struct cover c = COVER_EMPTY;

	(void)state;
	cover_note(&c, whole, 1000);
	cover_note(&c, PREFIXES(P("refs/heads/")), 1001);
	cover_forget(&c);
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/heads/")), 1001, 1000));
	assert_false(cover_is_fresh(&c, whole, 1001, 1000));
	cover_fini(&c);
}

static void the_oldest_parts_go_first(void **state)
{
	struct cover c = COVER_EMPTY;
	struct slice prefix;
	char text[64];

	(void)state;
	for (int i = 0; i < COVER_MAX + 10; i++) {
		prefix = (struct slice){ text, (size_t)snprintf(text, sizeof(text), "refs/heads/%04d/", i) };
		cover_note(&c, (struct slices){ &prefix, 1 }, 1000 + i);
	}
	assert_int_equal(c.count, COVER_MAX);
	assert_false(cover_is_fresh(&c, PREFIXES(P("refs/heads/0009/")), 1300, 10000));
	assert_true(cover_is_fresh(&c, PREFIXES(P("refs/heads/0010/")), 1300, 10000));
	cover_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_fresh_at_first_or_without_a_ttl),
		cmocka_unit_test(a_whole_answer_makes_every_question_fresh_for_its_time),
		cmocka_unit_test(a_part_makes_only_what_lies_within_it_fresh),
		cmocka_unit_test(parts_age_on_their_own),
		cmocka_unit_test(forgetting_forgets_all),
		cmocka_unit_test(the_oldest_parts_go_first),
	};

	return cmocka_run_group_tests_name("cover", tests, NULL, NULL);
}
