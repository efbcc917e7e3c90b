/* answers_test.c -- who keeps an answer alive, and when its maker is told to stop. */
#include "git/answers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct answers *as;

static int setup(void **state)
{
	(void)state;
	as = answers_new();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	answers_free(as); /* asserts that nothing is listed */
	return 0;
}

static struct answer *make(struct slice key, struct cancel **ret_cancel)
{
	struct spool *spool = NULL;
	struct answer *a;

	assert_int_equal(spool_new("/tmp", 0, &spool), 0);
	assert_int_equal(cancel_new(ret_cancel), 0);
	a = answer_new_take(as, key, spool, *ret_cancel);
	return a;
}

static void whoever_asks_the_same_reads_along(void **state)
{
	struct cancel *c;
	struct answer *maker = make(SLICE_LIT("k"), &c), *one = answer_find(as, SLICE_LIT("k"));

	(void)state;
	assert_ptr_equal(one, maker);
	assert_null(answer_find(as, SLICE_LIT("other")));
	answer_handed_over(maker);
	assert_false(cancel_fired(c));
	spool_complete(answer_spool(maker));
	answer_unref(&maker);
	assert_ptr_equal(answer_find(as, SLICE_LIT("k")), one); /* complete, still read: joined all the same */
	answer_leave(&(struct answer *){ one });
	answer_leave(&one);
	assert_null(answer_find(as, SLICE_LIT("k")));
	cancel_unref(&c);
}

static void the_last_reader_stops_the_maker_and_nobody_finds_it_any_more(void **state)
{
	struct cancel *c;
	struct answer *maker = make(SLICE_LIT("k"), &c), *one = answer_find(as, SLICE_LIT("k")),
		      *two = answer_join(one);

	(void)state;
	answer_handed_over(maker);
	answer_leave(&one);
	assert_null(one);
	assert_false(cancel_fired(c));
	answer_leave(&two);
	assert_true(cancel_fired(c));
	assert_null(answer_find(as, SLICE_LIT("k")));
	answer_unref(&maker);
	cancel_unref(&c);
}

static void an_answer_without_a_key_or_that_failed_is_not_found(void **state)
{
	struct cancel *c1, *c2;
	struct answer *secret = make((struct slice){ NULL, 0 }, &c1), *failed = make(SLICE_LIT("k"), &c2);

	(void)state;
	assert_null(answer_find(as, (struct slice){ NULL, 0 }));
	answer_unlist(failed);
	assert_null(answer_find(as, SLICE_LIT("k")));
	answer_handed_over(secret);
	answer_unref(&secret);
	answer_handed_over(failed);
	answer_unref(&failed);
	cancel_unref(&c1);
	cancel_unref(&c2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whoever_asks_the_same_reads_along, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_reader_stops_the_maker_and_nobody_finds_it_any_more, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_answer_without_a_key_or_that_failed_is_not_found, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
