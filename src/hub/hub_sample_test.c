/* hub_sample_test.c -- numbers and their quantiles: exact while there is room, near it afterwards. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/obj.h"
#include "hub/hub_sample.h"

static const char *written(struct hub_sample *s)
{
	static struct buf out = BUF_EMPTY;

	buf_reset(&out);
	hub_sample_write_members(s, &out);
	return out.data;
}

static void few_numbers_are_told_exactly(void **state)
{
	static const struct {
		double in[5];
		int n;
		const char *want;
	} rows[] = {
		{ { 0 }, 0, "\"count\":0,\"min\":null,\"max\":null,\"mean\":null,\"median\":null,\"exact\":true" },
		{ { -2.5 }, 1, "\"count\":1,\"min\":-2.5,\"max\":-2.5,\"mean\":-2.5,\"median\":-2.5,\"exact\":true" },
		{ { 9, 1 }, 2, "\"count\":2,\"min\":1,\"max\":9,\"mean\":5,\"median\":5,\"exact\":true" },
		{ { 9, 1, 2, 100, 3 }, 5, "\"count\":5,\"min\":1,\"max\":100,\"mean\":23,\"median\":3,\"exact\":true" },
		{ { 1e308, 1e308 },
		  2,
		  "\"count\":2,\"min\":1e+308,\"max\":1e+308,\"mean\":null,\"median\":1e+308,\"exact\":true" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hub_sample_pool pool = { .kept = 0 };
		struct hub_sample s = { .n = 0 };

		for (int j = 0; j < rows[i].n; j++)
			hub_sample_add(&pool, &s, rows[i].in[j]);
		assert_string_equal(written(&s), rows[i].want);
		hub_sample_fini(&s);
	}
}

static void near(double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance))
		fail_msg("%g is not within %g of %g", got, tolerance, want);
}

static void quantiles_lie_between_numbers(void **state)
{
	struct hub_sample_pool pool = { .kept = 0 };
	struct hub_sample s = { .n = 0 };

	assert_true(isnan(hub_sample_quantile(&s, 0.5)));
	for (int i = 100; i >= 0; i--)
		hub_sample_add(&pool, &s, i);
	near(hub_sample_quantile(&s, 0), 0, 0);
	near(hub_sample_quantile(&s, 0.5), 50, 1e-9);
	near(hub_sample_quantile(&s, 0.995), 99.5, 1e-9);
	near(hub_sample_quantile(&s, 1), 100, 0);
	hub_sample_fini(&s);
}

static void more_than_fits_is_estimated_in_bounded_memory(void **state)
{
	struct hub_sample_pool pool = { .kept = 0 };
	struct hub_sample many = { .n = 0 }, few = { .n = 0 }, late = { .n = 0 };

	for (int i = 0; i < 10; i++)
		hub_sample_add(&pool, &few, i);
	for (int i = 0; i < 2 * HUB_SAMPLE_POOL; i++) /* a value that is rising: all of it has to be in the choice */
		hub_sample_add(&pool, &many, i);
	for (int i = 0; i < 5000; i++)
		hub_sample_add(&pool, &late, i % 100);
	assert_int_equal(many.n, HUB_SAMPLE_LEAST);
	assert_int_equal(late.n, HUB_SAMPLE_LEAST);
	assert_true(many.room <= HUB_SAMPLE_LEAST);
	near(hub_sample_quantile(&many, 0.5), HUB_SAMPLE_POOL, 0.08 * 2 * HUB_SAMPLE_POOL);
	near(hub_sample_quantile(&late, 0.9), 90, 6);
	near(hub_sample_quantile(&few, 0.5), 4.5, 1e-9);
	assert_true(many.min == 0 && many.max == 2 * HUB_SAMPLE_POOL - 1 && many.count == 2 * HUB_SAMPLE_POOL);
	assert_non_null(strstr(written(&many), "\"exact\":false"));
	assert_non_null(strstr(written(&few), "\"exact\":true"));
	hub_sample_fini(&many);
	hub_sample_fini(&few);
	hub_sample_fini(&late);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_numbers_are_told_exactly),
		cmocka_unit_test(quantiles_lie_between_numbers),
		cmocka_unit_test(more_than_fits_is_estimated_in_bounded_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
