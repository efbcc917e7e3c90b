/* outbox_test.c -- puts, the order in which they are lent, and their ends; a restart changes nothing. */
#include "store/outbox_test_kit.h"

static void entries_of_one_key_go_one_at_a_time_in_the_order_taken(void **state)
{
	struct kit *k = *state;
	uint64_t a = kit_put(k, "/a", "1"), b = kit_put(k, "/a", "2"), c = kit_put(k, "/b", "3");

	assert_true(a < b && b < c);
	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(kit_lend(k, 1), c);
	assert_int_equal(kit_lend(k, 1), 0);
	kit_settle(k, a, OUTBOX_APPLIED);
	assert_int_equal(kit_lend(k, 1), b);
	kit_settle(k, b, OUTBOX_APPLIED);
	kit_settle(k, c, OUTBOX_APPLIED);
	assert_true(outbox_is_idle(k->q));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(entries_of_one_key_go_one_at_a_time_in_the_order_taken, kit_set_up, kit_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
