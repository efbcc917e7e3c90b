/* daemon_life_test.c -- when datacat-daemon ends, by a clock that the test turns. */
#include "cli/daemon_life.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct life life;
static struct life_facts facts;

static int begin(void **state)
{
	life = (struct life){ 0 };
	facts = (struct life_facts){ .now_ms = 1000 };
	return 0;
}

/* Asks each 250 ms for so long; the first verdict other than LIFE_GOES_ON. */
static enum life_verdict pass(int64_t ms)
{
	enum life_verdict v = life_look(&life, &facts);

	for (int64_t end = facts.now_ms + ms; v == LIFE_GOES_ON && facts.now_ms < end; v = life_look(&life, &facts))
		facts.now_ms += 250;
	return v;
}

static void it_waits_for_its_first_session_as_long_as_it_takes(void **state)
{
	assert_int_equal(pass(3600 * 1000), LIFE_GOES_ON);
}

static void it_ends_three_seconds_after_the_last_session(void **state)
{
	facts.live = 2;
	assert_int_equal(pass(60000), LIFE_GOES_ON);
	facts.live = 1;
	facts.ended = 1;
	assert_int_equal(pass(60000), LIFE_GOES_ON);
	facts.live = 0;
	facts.ended = 2;
	assert_int_equal(pass(2750), LIFE_GOES_ON);
	assert_int_equal(pass(500), LIFE_ENDS);
}

static void a_session_that_came_and_went_between_two_looks_counts(void **state)
{
	facts.ended = 1;
	assert_int_equal(pass(2000), LIFE_GOES_ON);
	facts.ended = 2;
	assert_int_equal(pass(2750), LIFE_GOES_ON);
	assert_int_equal(pass(500), LIFE_ENDS);
}

static void a_new_session_keeps_it(void **state)
{
	facts.ended = 1;
	assert_int_equal(pass(2750), LIFE_GOES_ON);
	facts.live = 1;
	assert_int_equal(pass(60000), LIFE_GOES_ON);
	facts.live = 0;
	facts.ended = 2;
	facts.waiting = 5; /* and while it is leaving, too */
	assert_int_equal(pass(4000), LIFE_GOES_ON);
	facts.live = 1;
	assert_int_equal(pass(60000), LIFE_GOES_ON);
}

static void it_stays_while_delivery_makes_progress_but_not_for_ever(void **state)
{
	enum life_verdict v = LIFE_GOES_ON;
	int64_t began;

	facts.ended = 1;
	facts.waiting = 1000;
	v = pass(3000);
	began = facts.now_ms;
	for (; v == LIFE_GOES_ON && facts.now_ms < began + 60000; facts.waiting--)
		v = pass(1000);
	assert_int_equal(v, LIFE_ENDS);
	assert_true(facts.now_ms - began >= LIFE_MOST_LEAVING_MS - 1000);
	assert_true(facts.now_ms - began <= LIFE_MOST_LEAVING_MS + 1000);
}

static void it_does_not_wait_for_a_server_that_is_away(void **state)
{
	facts.ended = 1;
	facts.waiting = 1000;
	assert_int_equal(pass(3000 + 4750), LIFE_GOES_ON);
	assert_int_equal(pass(500), LIFE_ENDS);
}

static void its_owners_end_is_told_once_and_then_it_leaves(void **state)
{
	facts.live = 1;
	assert_int_equal(pass(10000), LIFE_GOES_ON);
	facts.owner_gone = true;
	assert_int_equal(pass(250), LIFE_OWNER_GONE);
	facts.waiting = 3; /* what it says of that */
	facts.live = 0;
	facts.ended = 1;
	assert_int_equal(pass(1000), LIFE_GOES_ON);
	facts.waiting = 0;
	assert_int_equal(pass(250), LIFE_ENDS);
}

static void sigterm_ends_it_at_once_or_in_three_seconds_at_most(void **state)
{
	facts.live = 1;
	assert_int_equal(pass(1000), LIFE_GOES_ON);
	facts.asked_to_end = true;
	facts.waiting = 1;
	assert_int_equal(pass(2750), LIFE_GOES_ON);
	assert_int_equal(pass(500), LIFE_ENDS);
	(void)begin(state);
	facts.asked_to_end = true;
	assert_int_equal(pass(0), LIFE_ENDS);
}

static void one_that_took_a_folder_over_ends_when_that_is_empty(void **state)
{
	life.delivers_only = true;
	facts.live = 1; /* what another daemon left: nobody will speak to it here */
	facts.waiting = 3;
	assert_int_equal(pass(3600 * 1000), LIFE_GOES_ON);
	facts.waiting = 0;
	assert_int_equal(pass(250), LIFE_ENDS);
	(void)begin(state);
	life.delivers_only = true;
	assert_int_equal(pass(750), LIFE_GOES_ON); /* it looks first what there is */
	assert_int_equal(pass(500), LIFE_ENDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(it_waits_for_its_first_session_as_long_as_it_takes, begin),
		cmocka_unit_test_setup(it_ends_three_seconds_after_the_last_session, begin),
		cmocka_unit_test_setup(a_session_that_came_and_went_between_two_looks_counts, begin),
		cmocka_unit_test_setup(a_new_session_keeps_it, begin),
		cmocka_unit_test_setup(it_stays_while_delivery_makes_progress_but_not_for_ever, begin),
		cmocka_unit_test_setup(it_does_not_wait_for_a_server_that_is_away, begin),
		cmocka_unit_test_setup(its_owners_end_is_told_once_and_then_it_leaves, begin),
		cmocka_unit_test_setup(sigterm_ends_it_at_once_or_in_three_seconds_at_most, begin),
		cmocka_unit_test_setup(one_that_took_a_folder_over_ends_when_that_is_empty, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
