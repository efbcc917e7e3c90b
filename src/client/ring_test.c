/* ring_test.c */
#include "client/ring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static int put(struct weirc_ring *r, const char *text)
{
	return weirc_ring_put(r, 1, 7, text, strlen(text), 0);
}

static void expect_next(struct weirc_ring *r, const char *text)
{
	const struct weirc_record *record = weirc_ring_peek(r);

	assert_non_null(record);
	assert_int_equal(record->bytes, strlen(text));
	assert_memory_equal(record->text, text, record->bytes);
	weirc_ring_pop(r);
}

static void first_in_first_out(void **state)
{
	struct weirc_ring r;

	(void)state;
	assert_int_equal(weirc_ring_init(&r, 1024, 10), 0);
	assert_null(weirc_ring_peek(&r));
	assert_int_equal(weirc_ring_put(&r, 3, 42, "one", 3, 0), 0);
	assert_int_equal(put(&r, ""), 0);
	assert_int_equal(put(&r, "three"), 0);
	assert_int_equal(weirc_ring_peek(&r)->type, 3);
	assert_int_equal(weirc_ring_peek(&r)->when_ms, 42);
	expect_next(&r, "one");
	expect_next(&r, "");
	expect_next(&r, "three");
	assert_null(weirc_ring_peek(&r));
	assert_int_equal(weirc_ring_bytes(&r), 0);
	weirc_ring_fini(&r);
}

static void a_full_ring_takes_nothing_and_loses_nothing(void **state)
{
	struct weirc_ring r;

	(void)state;
	assert_int_equal(weirc_ring_init(&r, 128, 100), 0); /* four of 32 bytes */
	for (int i = 0; i < 4; i++)
		assert_int_equal(put(&r, "0123456789abcdef"), 0);
	assert_int_equal(put(&r, ""), -ENOBUFS);
	expect_next(&r, "0123456789abcdef");
	assert_int_equal(put(&r, "0123456789abcdefg"), -ENOBUFS); /* 48 */
	assert_int_equal(put(&r, "fits"), 0);
	for (int i = 0; i < 3; i++)
		expect_next(&r, "0123456789abcdef");
	expect_next(&r, "fits");
	assert_int_equal(weirc_ring_put(&r, 1, 0, NULL, 1 << 20, 0), -ENOBUFS);
	weirc_ring_fini(&r);
}

static void entries_are_limited_too(void **state)
{
	struct weirc_ring r;

	(void)state;
	assert_int_equal(weirc_ring_init(&r, 4096, 2), 0);
	assert_int_equal(put(&r, "a"), 0);
	assert_int_equal(put(&r, "b"), 0);
	assert_int_equal(put(&r, "c"), -ENOBUFS);
	expect_next(&r, "a");
	assert_int_equal(put(&r, "c"), 0);
	weirc_ring_fini(&r);
}

static void what_leaves_room_for_others_is_refused_sooner(void **state)
{
	struct weirc_ring r;
	int low = 0, high;

	(void)state;
	assert_int_equal(weirc_ring_init(&r, 16 * 1024, 1000), 0);
	while (weirc_ring_put(&r, 1, 0, "0123456789abcdef", 16, 4) == 0)
		low++;
	assert_in_range(low, 380, 384); /* three quarters of 512 records */
	for (high = low; put(&r, "0123456789abcdef") == 0;)
		high++;
	assert_int_equal(high, 512);
	weirc_ring_fini(&r);
	assert_int_equal(weirc_ring_init(&r, 1024 * 1024, 160), 0);
	for (low = 0; weirc_ring_put(&r, 1, 0, "x", 1, 4) == 0;)
		low++;
	assert_int_equal(low, 120);
	weirc_ring_fini(&r);
}

/* Every size at every place: what comes out is what went in, in order. */
static void records_of_all_sizes_go_around_the_end(void **state)
{
	char text[200], wanted[200];
	uint64_t in = 0, out = 0;
	struct weirc_ring r;

	(void)state;
	assert_int_equal(weirc_ring_init(&r, 1008, 64), 0);
	while (out < 20000) {
		size_t n = (size_t)(in * 7919 % sizeof(text));

		memset(text, (int)(in % 251), n);
		if (in - out < 60 && weirc_ring_put(&r, (uint32_t)(in % 5), (int64_t)in, text, n, 0) == 0) {
			in++;
			continue;
		}
		for (int pops = 0; pops < 3 && out < in; pops++, out++) {
			const struct weirc_record *record = weirc_ring_peek(&r);

			n = (size_t)(out * 7919 % sizeof(text));
			memset(wanted, (int)(out % 251), n);
			assert_int_equal(record->when_ms, out);
			assert_int_equal(record->bytes, n);
			assert_memory_equal(record->text, wanted, n);
			weirc_ring_pop(&r);
		}
		assert_true(weirc_ring_bytes(&r) <= r.size && r.entries == in - out);
	}
	weirc_ring_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_in_first_out),
		cmocka_unit_test(a_full_ring_takes_nothing_and_loses_nothing),
		cmocka_unit_test(entries_are_limited_too),
		cmocka_unit_test(what_leaves_room_for_others_is_refused_sooner),
		cmocka_unit_test(records_of_all_sizes_go_around_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
