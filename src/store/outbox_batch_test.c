/* outbox_batch_test.c -- several entries of a key at once: order, what is behind a refused one, times, puts that do not
 * wait. */
#include "store/outbox.h"

#include <pthread.h>
#include <sqlite3.h>

#include "store/outbox_test_kit.h"

#define NOW 1000000

struct told {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned count;
	int code;
	uint64_t seqs[256];
};

static void tell(void *arg, int code, const struct outbox_receipt *receipt)
{
	struct told *t = arg;

	pthread_mutex_lock(&t->lock);
	t->seqs[t->count++] = receipt ? receipt->seq : 0;
	t->code = code;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static void wait_told(struct told *t, unsigned n)
{
	pthread_mutex_lock(&t->lock);
	while (t->count < n)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

static void put_some(struct kit *k, struct told *t, const char *key, unsigned n, bool alone, int64_t not_before)
{
	char body[16];

	*t = (struct told){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	for (unsigned i = 0; i < n; i++) {
		struct outbox_write w = { .key = slice_str(key),
					  .method = SLICE_LIT("POST"),
					  .uri = i % 2 ? SLICE_LIT("/odd") : SLICE_LIT("/even"),
					  .alone = alone,
					  .not_before_wall_ms = not_before };

		(void)snprintf(body, sizeof(body), "%u", i);
		w.body = slice_str(body);
		assert_int_equal(outbox_put_start(k->q, &w, tell, t), 0);
	}
	wait_told(t, n);
	assert_int_equal(t->code, 0);
}

static size_t lend_all(struct kit *k, struct outbox_entry *e, size_t most)
{
	int64_t next;

	assert_int_equal(outbox_lend(k->q, NOW, &e[0], &next), 0);
	return 1 + outbox_lend_more(k->q, &e[0], most - 1, 1 << 20, &e[1]);
}

static void settle_all(struct kit *k, struct outbox_entry *e, const enum outbox_state *to, size_t n)
{
	struct outbox_settlement each[16];
	uint64_t seqs[16];

	for (size_t i = 0; i < n; i++) {
		each[i] = (struct outbox_settlement){ .to = to[i],
						      .status = 200,
						      .not_an_attempt = to[i] == OUTBOX_QUEUED };
		seqs[i] = e[i].seq;
	}
	assert_int_equal(outbox_settle_all(k->q, seqs, each, n), 0);
	for (size_t i = 0; i < n; i++)
		outbox_entry_fini(&e[i]);
}

static void what_is_put_without_waiting_keeps_its_order(void **state)
{
	struct kit *k = *state;
	struct told t;

	put_some(k, &t, "/a", 200, true, 0);
	for (unsigned i = 1; i < 200; i++)
		assert_true(t.seqs[i] > t.seqs[i - 1]);
	kit_reopen(k);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(kit_lend(k, NOW), t.seqs[i]);
		kit_settle(k, t.seqs[i], OUTBOX_APPLIED);
	}
}

static void several_go_together_and_the_next_ones_after_them(void **state)
{
	static const enum outbox_state ends[] = { OUTBOX_APPLIED, OUTBOX_APPLIED, OUTBOX_QUEUED, OUTBOX_QUEUED };
	struct kit *k = *state;
	struct outbox_entry e[4];
	struct outbox_figures f;
	struct told t;

	put_some(k, &t, "/a", 6, true, 0);
	assert_int_equal(lend_all(k, e, 4), 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(e[i].seq, t.seqs[i]);
	assert_int_equal(kit_lend(k, NOW), 0); /* nothing overtakes them */
	settle_all(k, e, ends, 4);
	outbox_figures(k->q, &f);
	assert_int_equal(f.entries[OUTBOX_SENDING], 0);
	assert_int_equal(f.entries[OUTBOX_QUEUED], 4);
	for (unsigned i = 2; i < 6; i++) {
		assert_int_equal(kit_lend(k, NOW), t.seqs[i]);
		kit_settle(k, t.seqs[i], OUTBOX_APPLIED);
	}
	outbox_figures(k->q, &f);
	assert_int_equal(f.entries[OUTBOX_APPLIED], 6);
}

static void one_that_is_refused_alone_keeps_nobody_waiting(void **state)
{
	static const enum outbox_state ends[] = { OUTBOX_APPLIED, OUTBOX_HELD, OUTBOX_APPLIED };
	struct kit *k = *state;
	struct outbox_entry e[3];
	struct told t;

	put_some(k, &t, "/a", 4, true, 0);
	assert_int_equal(lend_all(k, e, 3), 3);
	settle_all(k, e, ends, 3);
	kit_reopen(k);
	assert_int_equal(kit_state(k, t.seqs[1]), OUTBOX_HELD);
	assert_int_equal(kit_lend(k, NOW), t.seqs[3]);
	kit_settle(k, t.seqs[3], OUTBOX_APPLIED);
	assert_true(outbox_is_idle(k->q));
	assert_int_equal(outbox_retry(k->ob, t.seqs[1]), 0);
	assert_int_equal(kit_lend(k, NOW), t.seqs[1]);
	kit_settle(k, t.seqs[1], OUTBOX_APPLIED);
}

static void one_that_others_depend_on_keeps_them_waiting(void **state)
{
	struct kit *k = *state;
	struct told t;

	put_some(k, &t, "/a", 2, false, 0);
	assert_int_equal(kit_lend(k, NOW), t.seqs[0]);
	kit_settle(k, t.seqs[0], OUTBOX_HELD);
	assert_int_equal(kit_lend(k, NOW), 0);
}

static void what_is_not_due_gathers_until_its_time_or_until_it_is_woken(void **state)
{
	static const enum outbox_state ends[] = { OUTBOX_APPLIED, OUTBOX_APPLIED };
	struct kit *k = *state;
	struct outbox_entry e[3];
	struct told t, later;
	int64_t next;

	put_some(k, &t, "/a", 2, true, NOW + 500);
	put_some(k, &later, "/b", 1, true, NOW + 700);
	assert_int_equal(outbox_lend(k->q, NOW, &e[0], &next), -ENOENT);
	assert_int_equal(next, NOW + 500);
	kit_reopen(k); /* the time is kept */
	assert_int_equal(kit_lend(k, NOW), 0);
	outbox_wake_key(k->q, SLICE_LIT("/a"));
	assert_int_equal(lend_all(k, e, 3), 2);
	settle_all(k, e, ends, 2);
	assert_int_equal(kit_lend(k, NOW), 0);
	assert_int_equal(kit_lend(k, NOW + 700), later.seqs[0]);
	kit_settle(k, later.seqs[0], OUTBOX_APPLIED);
}

static bool count(void *arg, const struct outbox_entry *e)
{
	(*(unsigned *)arg)++;
	return true;
}

static void a_key_is_looked_through_by_uri_and_place(void **state)
{
	struct kit *k = *state;
	struct told t;
	unsigned n = 0;

	put_some(k, &t, "/a", 10, true, 0);
	assert_int_equal(outbox_key_each(k->q, SLICE_LIT("/a"), (struct slice){ NULL, 0 }, 0, count, &n), 0);
	assert_int_equal(n, 10);
	n = 0;
	assert_int_equal(outbox_key_each(k->q, SLICE_LIT("/a"), SLICE_LIT("/odd"), t.seqs[3], count, &n), 0);
	assert_int_equal(n, 3);
}

static void a_full_queue_says_so_at_once(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = {
		.key = SLICE_LIT("/a"), .method = SLICE_LIT("POST"), .uri = SLICE_LIT("/"), .body = SLICE_LIT("x")
	};
	struct told t;

	k->limits.max_entries = 2;
	outbox_queue_set_limits(k->q, &k->limits);
	put_some(k, &t, "/a", 2, true, 0);
	assert_int_equal(outbox_put_start(k->q, &w, tell, &t), -EDQUOT);
	assert_int_equal(t.count, 2);
}

/* A record that cannot be written, and others in the same transaction and millisecond. */
static void one_that_fails_leaves_its_neighbours_alone(void **state)
{
	struct kit *k = *state;
	char *path = xstrf("%s/outbox.db", k->dir);
	struct told t = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	struct outbox_write w = { .key = SLICE_LIT("/a"), .method = SLICE_LIT("POST"), .body = SLICE_LIT("x") };
	sqlite3 *conn = NULL;

	assert_int_equal(sqlite3_open_v2(path, &conn, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(conn,
				      "CREATE TRIGGER no BEFORE INSERT ON entries WHEN NEW.uri='/odd'"
				      " BEGIN SELECT RAISE(FAIL, 'no'); END",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	(void)sqlite3_close(conn);
	outbox_gather(k->ob, true);
	for (int i = 0; i < 6; i++) {
		w.uri = i % 2 ? SLICE_LIT("/even") : SLICE_LIT("/odd");
		assert_int_equal(outbox_put_start(k->q, &w, tell, &t), 0);
	}
	outbox_gather(k->ob, false);
	wait_told(&t, 6);
	for (int i = 0; i < 6; i++)
		assert_int_equal(t.seqs[i] != 0, i % 2);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_put_without_waiting_keeps_its_order, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(several_go_together_and_the_next_ones_after_them, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(one_that_is_refused_alone_keeps_nobody_waiting, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(one_that_others_depend_on_keeps_them_waiting, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(what_is_not_due_gathers_until_its_time_or_until_it_is_woken, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(a_key_is_looked_through_by_uri_and_place, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(a_full_queue_says_so_at_once, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(one_that_fails_leaves_its_neighbours_alone, kit_set_up, kit_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
