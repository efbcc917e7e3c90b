/* rand_test.c -- jitter: a fleet whose members wait for random times must really spread. */
#include "base/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define DRAWS 20000

static void jitter_reaches_both_ends_and_nothing_beyond(void **state)
{
	unsigned seen[6] = { 0 };

	for (int i = 0; i < DRAWS; i++) {
		int64_t ms = rand_jitter_ms(5);

		assert_in_range(ms, 0, 5);
		seen[ms]++;
	}
	for (int i = 0; i <= 5; i++) /* 3,333 each; ten standard deviations are 527 */
		assert_in_range(seen[i], 2800, 3870);
}

/* A thousand sidecars that saw the upstream go in one moment must not come back in one moment. */
static void jitter_spreads_evenly_over_the_whole_of_a_wait(void **state)
{
	unsigned in_tenth[10] = { 0 };

	for (int i = 0; i < DRAWS; i++)
		in_tenth[rand_jitter_ms(299999) / 30000]++;
	for (int i = 0; i < 10; i++) /* 2,000 each; ten standard deviations are 424 */
		assert_in_range(in_tenth[i], 1570, 2430);
}

static void no_wait_has_no_jitter(void **state)
{
	for (int i = 0; i < 100; i++) {
		assert_int_equal(rand_jitter_ms(0), 0);
		assert_int_equal(rand_jitter_ms(-7), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jitter_reaches_both_ends_and_nothing_beyond),
		cmocka_unit_test(jitter_spreads_evenly_over_the_whole_of_a_wait),
		cmocka_unit_test(no_wait_has_no_jitter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
