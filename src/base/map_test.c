/* map_test.c -- the map against a plain array that is always right. */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define KEYS 500

static void a_map_agrees_with_a_plain_array_over_many_random_steps(void **state)
{
	static char values[KEYS];
	bool there[KEYS] = { false };
	struct map *m = map_new();
	unsigned seed = 12345;
	size_t count = 0;

	(void)state;
	for (int step = 0; step < 50000; step++) {
		char key[16];
		unsigned k;

		seed = seed * 1103515245u + 12345u;
		k = (seed >> 8) % KEYS;
		(void)snprintf(key, sizeof(key), "key-%u", k);
		if (seed >> 28 & 1) {
			assert_ptr_equal(map_put(m, slice_str(key), &values[k]), there[k] ? &values[k] : NULL);
			count += !there[k];
			there[k] = true;
		} else {
			assert_ptr_equal(map_remove(m, slice_str(key)), there[k] ? &values[k] : NULL);
			count -= there[k];
			there[k] = false;
		}
		assert_int_equal(map_count(m), count);
		assert_ptr_equal(map_get(m, slice_str(key)), there[k] ? &values[k] : NULL);
	}
	for (unsigned k = 0; k < KEYS; k++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "key-%u", k);
		assert_ptr_equal(map_get(m, slice_str(key)), there[k] ? &values[k] : NULL);
	}
	map_free(m);
}

static void iteration_meets_every_entry_once(void **state)
{
	struct map *m = map_new();
	int values[100] = { 0 };
	struct slice key;
	void *value;
	size_t pos = 0, met = 0;

	(void)state;
	assert_null(map_get(m, SLICE_LIT("nothing")));
	for (int i = 0; i < 100; i++)
		map_put(m, (struct slice){ (char *)&i, sizeof(i) }, &values[i]); /* keys with NUL bytes */
	while (map_next(m, &pos, &key, &value)) {
		int i;

		memcpy(&i, key.p, sizeof(i));
		assert_ptr_equal(value, &values[i]);
		values[i]++;
		met++;
	}
	assert_int_equal(met, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(values[i], 1);
	map_free(m);
	map_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_agrees_with_a_plain_array_over_many_random_steps),
		cmocka_unit_test(iteration_meets_every_entry_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
