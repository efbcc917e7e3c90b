/* cancel_test.c -- firing, parties, and waking who polls. */
#include "io/cancel.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static bool readable(const struct cancel *c)
{
	struct pollfd p = { cancel_fd(c), POLLIN, 0 };

	return poll(&p, 1, 0) == 1;
}

static void firing_is_seen_by_flag_and_descriptor_for_ever(void **state)
{
	struct cancel *c;

	assert_int_equal(cancel_new(&c), 0);
	assert_false(cancel_fired(c));
	assert_false(readable(c));
	cancel_fire(c);
	cancel_fire(c);
	assert_true(cancel_fired(c));
	assert_true(readable(c));
	assert_true(readable(c));
	cancel_unref(&c);
	assert_null(c);
	cancel_unref(&c);
}

static void no_cancel_is_never_fired(void **state)
{
	assert_false(cancel_fired(NULL));
	assert_int_equal(cancel_fd(NULL), -1);
}

static void the_last_party_that_leaves_fires_it(void **state)
{
	struct cancel *c;

	assert_int_equal(cancel_new(&c), 0);
	cancel_join(c);
	cancel_leave(c);
	assert_false(cancel_fired(c));
	cancel_leave(c);
	assert_true(cancel_fired(c));
	cancel_join(c); /* too late */
	assert_true(cancel_fired(c));
	cancel_unref(&c);
}

static void a_reference_keeps_it(void **state)
{
	struct cancel *c, *second;

	assert_int_equal(cancel_new(&c), 0);
	second = cancel_ref(c);
	cancel_unref(&c);
	cancel_fire(second);
	assert_true(readable(second));
	cancel_unref(&second);
}

static void *fire(void *arg)
{
	cancel_fire(arg);
	return NULL;
}

static void who_polls_is_woken_from_another_thread(void **state)
{
	struct cancel *c;
	struct pollfd p;
	pthread_t t;

	assert_int_equal(cancel_new(&c), 0);
	p = (struct pollfd){ cancel_fd(c), POLLIN, 0 };
	assert_int_equal(pthread_create(&t, NULL, fire, c), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	pthread_join(t, NULL);
	cancel_unref(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(firing_is_seen_by_flag_and_descriptor_for_ever),
		cmocka_unit_test(no_cancel_is_never_fired),
		cmocka_unit_test(the_last_party_that_leaves_fires_it),
		cmocka_unit_test(a_reference_keeps_it),
		cmocka_unit_test(who_polls_is_woken_from_another_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
