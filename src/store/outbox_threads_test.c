/* outbox_threads_test.c -- the hook, and many who put, drop, lend and settle at once. */
#include "store/outbox_test_kit.h"

#include <pthread.h>
#include <stdatomic.h>

static void count_call(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static void the_hook_is_called_for_what_may_matter_and_not_after_it_is_taken_away(void **state)
{
	struct kit *k = *state;
	atomic_uint calls = 0;
	unsigned before;

	outbox_set_change_hook(k->q, count_call, &calls);
	(void)kit_put(k, "/a", "1");
	assert_int_equal(calls, 1);
	kit_settle(k, kit_lend(k, 1), OUTBOX_HELD);
	assert_true(calls >= 2);
	before = calls;
	outbox_flush(k->q);
	assert_true(calls > before);
	outbox_set_change_hook(k->q, NULL, NULL);
	before = calls;
	(void)kit_put(k, "/b", "1");
	assert_int_equal(calls, before);
}

struct racer {
	struct kit *k;
	pthread_t thread;
	unsigned puts, again;
};

/* Reads the tail, puts on top of it, looks again when another was quicker. */
static void *race(void *arg)
{
	struct racer *r = arg;

	while (r->puts < 50) {
		struct outbox_write w = kit_write("/a", "x");
		struct outbox_receipt got;
		int code;

		w.expect_tail = outbox_key_tail(r->k->q, w.key);
		code = outbox_put(r->k->q, &w, &got);
		if (code == 0)
			r->puts++;
		else if (code == -EAGAIN)
			r->again++;
		else
			break;
	}
	return NULL;
}

static void two_that_expect_the_same_tail_cannot_both_come_in(void **state)
{
	struct kit *k = *state;
	struct racer racers[4];
	uint64_t before = 0;
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
		racers[i] = (struct racer){ .k = k };
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
		assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
		assert_int_equal(racers[i].puts, 50);
	}
	for (uint64_t seq; (seq = kit_lend(k, 1)) != 0; n++) { /* one chain: each is based on the one before */
		struct outbox_entry e;
		assert_int_equal(outbox_get(k->ob, seq, &e), 0);
		assert_int_equal(e.parent, 0); /* as its parent is applied */
		outbox_entry_fini(&e);
		assert_true(seq > before);
		before = seq;
		kit_settle(k, seq, OUTBOX_APPLIED);
	}
	assert_int_equal(n, 200);
}

struct crowd {
	struct kit *k;
	atomic_bool stop;
	atomic_uint put, applied, dropped;
	atomic_int sending[4]; /* of each key */
};

/* ENSURE: cmocka's assertions are for the thread that runs the test. */
static void *crowd_putter(void *arg)
{
	static const char *const keys[] = { "/0", "/1", "/2", "/3" };
	struct crowd *c = arg;

	for (unsigned i = 0; i < 150; i++) {
		struct outbox_write w = kit_write(keys[i % 4], "x");
		struct outbox_receipt got;

		ENSURE(outbox_put(c->k->q, &w, &got) == 0);
		atomic_fetch_add(&c->put, 1);
		if (i % 5 == 0) {
			int r = outbox_drop(c->k->ob, got.seq);
			if (r == 0)
				atomic_fetch_add(&c->dropped, 1);
			else
				ENSURE(r == -EBUSY || r == -EINVAL);
		}
		(void)outbox_key_is_pending(c->k->q, w.key);
	}
	return NULL;
}

static void *crowd_carrier(void *arg)
{
	struct crowd *c = arg;
	struct outbox_settlement applied = { .to = OUTBOX_APPLIED, .status = 200 },
				 later = { .to = OUTBOX_QUEUED, .status = 503 };
	struct outbox_entry e;
	int64_t next;

	for (;;) {
		bool last = atomic_load(&c->stop);
		int r = outbox_lend(c->k->q, INT64_MAX - 1, &e, &next), key;

		if (r == -ENOENT && last && outbox_is_idle(c->k->q))
			return NULL;
		if (r < 0) {
			ENSURE(r == -ENOENT);
			sched_yield();
			continue;
		}
		key = e.key.data[1] - '0';
		ENSURE(atomic_fetch_add(&c->sending[key], 1) == 0);
		ENSURE(e.parent == 0);
		atomic_fetch_sub(&c->sending[key], 1);
		if (e.attempts == 0 && e.seq % 3 == 0) {
			ENSURE(outbox_settle(c->k->q, e.seq, &later) == 0);
		} else {
			ENSURE(outbox_settle(c->k->q, e.seq, &applied) == 0);
			atomic_fetch_add(&c->applied, 1);
		}
		outbox_entry_fini(&e);
	}
}

static void everybody_at_once_loses_nothing(void **state)
{
	struct crowd c = { .k = *state };
	pthread_t putters[4], carriers[3];
	struct outbox_figures f;

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&putters[i], NULL, crowd_putter, &c), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&carriers[i], NULL, crowd_carrier, &c), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(putters[i], NULL), 0);
	atomic_store(&c.stop, true);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_join(carriers[i], NULL), 0);
	assert_int_equal(c.put, 600);
	assert_int_equal(c.applied + c.dropped, 600);
	outbox_figures(c.k->q, &f);
	assert_int_equal(f.entries[OUTBOX_APPLIED], c.applied);
	assert_int_equal(f.entries[OUTBOX_DROPPED], c.dropped);
	assert_int_equal(f.entries[OUTBOX_QUEUED] + f.entries[OUTBOX_SENDING], 0);
	kit_reopen(c.k);
	outbox_figures(c.k->q, &f);
	assert_int_equal(f.entries[OUTBOX_APPLIED], c.applied);
	assert_int_equal(f.entries[OUTBOX_DROPPED], c.dropped);
}

#define KIT(test) cmocka_unit_test_setup_teardown(test, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIT(the_hook_is_called_for_what_may_matter_and_not_after_it_is_taken_away),
		KIT(two_that_expect_the_same_tail_cannot_both_come_in),
		KIT(everybody_at_once_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
