/* outbox_restart_test.c -- what a stop, a clock that jumps, a failed commit and age leave of an outbox. */
#include "store/db.h"
#include "store/outbox_test_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/str.h"

/* --- clocks ----------------------------------------------------------------------------------------------------- */

static int64_t fake_wall_ms;

static int64_t fake_clock(int wall)
{
	return wall ? fake_wall_ms : 1000;
}

static void ids_go_up_whatever_the_clock_does(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = kit_write("/a", "x");
	struct outbox_receipt got;
	char last[OUTBOX_ID_ROOM] = "";
	uint64_t last_seq = 0;

	clock_set_fake(fake_clock);
	fake_wall_ms = 1700000000000;
	for (int i = 0; i < 12; i++) {
		static const int64_t jump_ms[] = { 0, 1, 3600000, -7200000, -86400000LL * 365, 86400000 };
		fake_wall_ms += jump_ms[i % 6];
		assert_int_equal(outbox_put(k->q, &w, &got), 0);
		assert_true(got.seq > last_seq);
		assert_true(strcmp(got.id, last) > 0);
		last_seq = got.seq;
		memcpy(last, got.id, sizeof(last));
		if (i % 3 == 2)
			kit_reopen(k);
		if (i == 8) { /* nothing is left, but the last seq is known */
			for (uint64_t seq; (seq = kit_lend(k, INT64_MAX / 2)) != 0;)
				kit_settle(k, seq, OUTBOX_APPLIED);
			assert_int_equal(outbox_purge(k->q, fake_wall_ms + 86400000), 9);
			fake_wall_ms -= 86400000;
			kit_reopen(k);
		}
	}
	clock_set_fake(NULL);
}

static void an_attempt_that_a_clock_put_off_by_a_year_is_made_after_a_restart(void **state)
{
	struct kit *k = *state;
	int64_t now = clock_wall_ms();
	struct outbox_settlement s = { .to = OUTBOX_QUEUED,
				       .status = 503,
				       .next_attempt_wall_ms = now + 86400000LL * 365 };
	uint64_t a = kit_put(k, "/a", "1");

	assert_int_equal(kit_lend(k, now), a);
	assert_int_equal(outbox_settle(k->q, a, &s), 0);
	kit_reopen(k);
	assert_int_equal(kit_lend(k, clock_wall_ms()), a);
}

static bool count_entry(void *arg, const struct outbox_entry *e)
{
	(*(unsigned *)arg)++;
	return true;
}

static unsigned count_entries(struct kit *k)
{
	unsigned n = 0;

	assert_int_equal(outbox_list(k->ob, NULL, -1, 0, SIZE_MAX, count_entry, &n), 0);
	return n;
}

/* --- stops ------------------------------------------------------------------------------------------------------ */

static void what_was_being_sent_is_queued_again_and_held_when_it_must_be_sent_once(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = kit_write("/b", "x");
	struct outbox_receipt once;
	uint64_t a = kit_put(k, "/a", "1");
	struct outbox_entry e;

	w.once = true;
	w.is_base = false;
	assert_int_equal(outbox_put(k->q, &w, &once), 0);
	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(kit_lend(k, 1), once.seq);
	kit_reopen(k);
	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(kit_lend(k, 1), 0);
	for (int restarts = 0; restarts < 2; restarts++) {
		assert_int_equal(outbox_get(k->ob, once.seq, &e), 0);
		assert_int_equal(e.state, OUTBOX_HELD);
		assert_int_equal(e.attempts, 1);
		assert_true(slice_starts(buf_slice(&e.last_error), OUTBOX_OUTCOME_UNKNOWN));
		outbox_entry_fini(&e);
		kit_reopen(k);
	}
	assert_int_equal(outbox_damaged(k->ob), 0);
	assert_int_equal(outbox_retry(k->ob, once.seq), 0);
	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(kit_lend(k, 1), once.seq);
	kit_settle(k, once.seq, OUTBOX_APPLIED);
}

static void a_write_that_is_sent_once_and_was_not_sent_is_not_counted(void **state)
{
	struct kit *k = *state;
	struct outbox_settlement s = { .to = OUTBOX_QUEUED, .not_an_attempt = true };
	struct outbox_write w = kit_write("/b", "x");
	struct outbox_receipt got;
	struct outbox_entry e;

	w.once = true;
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	assert_int_equal(kit_lend(k, 1), got.seq);
	assert_int_equal(outbox_settle(k->q, got.seq, &s), 0);
	kit_reopen(k);
	assert_int_equal(outbox_get(k->ob, got.seq, &e), 0);
	assert_int_equal(e.state, OUTBOX_QUEUED);
	assert_int_equal(e.attempts, 0);
	outbox_entry_fini(&e);
}

static void touch(struct kit *k, const char *name, const char *text)
{
	char *path = xstrf("%s/%s", k->dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	fd_close(&fd);
	free(path);
}

static void bodies_without_a_record_are_swept_and_strangers_stay(void **state)
{
	struct kit *k = *state;

	(void)kit_put_large(k, "/a", 100000);
	touch(k, "bodies/0123456789abcdef0123456789abcdef", "orphan");
	touch(k, "bodies/0123456789abcdef0123456789abcdef.tmp-0123456789abcdef", "half");
	touch(k, "bodies/notes.txt", "not ours");
	kit_reopen(k);
	assert_int_equal(kit_files(k, "bodies"), 2);
	assert_int_equal(outbox_damaged(k->ob), 0);
}

static void queues_that_nobody_opens_stay_as_they_are(void **state)
{
	struct kit *k = *state;
	struct outbox_queue *other = outbox_queue(k->ob, "other", &k->limits);
	struct outbox_write w = kit_write("/a", "x");
	struct outbox_receipt got;

	assert_int_equal(outbox_put(other, &w, &got), 0);
	kit_reopen(k);
	assert_true(outbox_is_idle(k->q));
	assert_int_equal(kit_state(k, got.seq), OUTBOX_QUEUED);
	assert_int_equal(outbox_drop(k->ob, got.seq), 0);
	assert_int_equal(kit_state(k, got.seq), OUTBOX_DROPPED);
}

/* --- a commit that fails ---------------------------------------------------------------------------------------- */

#define WRITERS 8
#define MOST_ACKNOWLEDGED 4000

struct failing {
	struct kit *k;
	atomic_uint count;
	uint64_t acknowledged[MOST_ACKNOWLEDGED];
};

/* Each is based on the one before, and a conflict of one takes along all that are: puts and settlements that share a
 * transaction know each other. */
static void *put_until_it_fails(void *arg)
{
	struct failing *f = arg;
	struct outbox_write w = kit_write("/a", "some bytes");
	struct outbox_receipt got;
	int r;

	while ((r = outbox_put(f->k->q, &w, &got)) == 0) {
		unsigned at = atomic_fetch_add(&f->count, 1);
		ENSURE(at < MOST_ACKNOWLEDGED);
		f->acknowledged[at] = got.seq;
	}
	ENSURE(r == -EIO);
	return NULL;
}

static void *conflict_until_it_fails(void *arg)
{
	struct failing *f = arg;
	struct outbox_settlement conflict = { .to = OUTBOX_CONFLICT, .status = 412 };
	struct outbox_entry e;
	int64_t next;
	int r;

	while ((r = outbox_lend(f->k->q, 1, &e, &next)) != -EIO) {
		if (r == 0) {
			r = outbox_settle(f->k->q, e.seq, &conflict);
			ENSURE(r == 0 || r == -EIO);
			outbox_entry_fini(&e);
		} else {
			sched_yield();
		}
	}
	return NULL;
}

static void nothing_acknowledged_is_lost_when_a_commit_fails(void **state)
{
	struct failing f = { .k = *state };
	struct rlimit before, small = { .rlim_cur = 512 * 1024 };
	pthread_t threads[WRITERS + 1];
	struct outbox_figures figures;

	(void)signal(SIGXFSZ, SIG_IGN); /* EFBIG instead */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, i ? put_until_it_fails : conflict_until_it_fails, &f), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(outbox_is_readonly(f.k->ob));
	outbox_figures(f.k->q, &figures);
	assert_int_equal(figures.entries[OUTBOX_QUEUED] + figures.entries[OUTBOX_CONFLICT], f.count);
	assert_true(figures.entries[OUTBOX_CONFLICT] > 0);
	kit_reopen(f.k);
	assert_false(outbox_is_readonly(f.k->ob));
	outbox_figures(f.k->q, &figures);
	assert_true(figures.entries[OUTBOX_QUEUED] + figures.entries[OUTBOX_CONFLICT] >= f.count);
	for (unsigned i = 0; i < f.count; i++)
		(void)kit_state(f.k, f.acknowledged[i]); /* it is there */
	(void)kit_put(f.k, "/b", "1");
}

/* --- age -------------------------------------------------------------------------------------------------------- */

/* Lends a POST and settles it while somebody else's sqlite3 holds the database: its end cannot be written. */
static uint64_t send_once_unrecorded(struct kit *k)
{
	struct outbox_write w = kit_write("/orders", "an order");
	struct outbox_settlement s = { .to = OUTBOX_HELD, .status = 422, .error = SLICE_LIT("upstream answered 422"),
				       .answer = SLICE_LIT("no such thing"), .answer_type = SLICE_LIT("text/plain") };
	char *path = xstrf("%s/outbox.db", k->dir);
	struct outbox_receipt got;
	sqlite3 *other;

	w.method = SLICE_LIT("POST");
	w.once = true;
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	assert_int_equal(kit_lend(k, INT64_MAX / 2), got.seq);
	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_true(outbox_settle(k->q, got.seq, &s) < 0);
	assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(other), SQLITE_OK);
	assert_int_equal(outbox_drop(k->ob, got.seq), -EBUSY);
	free(path);
	return got.seq;
}

/* Not sent again, and not in the dark until a restart either. */
static void the_end_of_a_write_that_was_sent_once_is_written_as_soon_as_that_is_possible(void **state)
{
	struct kit *k = *state;
	uint64_t seq = send_once_unrecorded(k);
	struct outbox_entry e;

	assert_int_equal(kit_lend(k, INT64_MAX / 2), 0);
	assert_int_equal(outbox_get(k->ob, seq, &e), 0);
	assert_int_equal(e.state, OUTBOX_HELD);
	assert_int_equal(e.last_status, 422);
	assert_string_equal(e.last_error.data, "upstream answered 422");
	assert_string_equal(e.answer.data, "no such thing");
	outbox_entry_fini(&e);
	assert_int_equal(outbox_drop(k->ob, seq), 0);
	kit_reopen(k);
	assert_int_equal(kit_state(k, seq), OUTBOX_DROPPED);
}

static void a_stop_before_that_makes_an_unknown_outcome_of_it(void **state)
{
	struct kit *k = *state;
	uint64_t seq = send_once_unrecorded(k);
	struct outbox_entry e;

	kit_reopen(k);
	assert_int_equal(kit_lend(k, INT64_MAX / 2), 0);
	assert_int_equal(outbox_get(k->ob, seq, &e), 0);
	assert_int_equal(e.state, OUTBOX_HELD);
	assert_true(slice_starts(buf_slice(&e.last_error), OUTBOX_OUTCOME_UNKNOWN));
	outbox_entry_fini(&e);
}

static void settled_entries_are_listed_until_they_are_old(void **state)
{
	struct kit *k = *state;
	int64_t now = clock_wall_ms();
	struct outbox_figures f;
	uint64_t a = kit_put(k, "/a", "1"), b = kit_put(k, "/b", "22"), c = kit_put(k, "/c", "333");

	assert_int_equal(kit_lend(k, 1), a);
	kit_settle(k, a, OUTBOX_APPLIED);
	assert_int_equal(outbox_drop(k->ob, b), 0);
	assert_int_equal(outbox_purge(k->q, now), 0);
	outbox_figures(k->q, &f);
	assert_int_equal(f.entries[OUTBOX_APPLIED], 1);
	assert_int_equal(f.bytes[OUTBOX_DROPPED], 2);
	assert_int_equal(outbox_purge(k->q, now + 100000), 2);
	outbox_figures(k->q, &f);
	assert_int_equal(f.entries[OUTBOX_APPLIED] + f.entries[OUTBOX_DROPPED], 0);
	assert_int_equal(f.bytes[OUTBOX_DROPPED], 0);
	assert_int_equal(count_entries(k), 1);
	assert_int_equal(kit_state(k, c), OUTBOX_QUEUED);
}

#define KIT(test) cmocka_unit_test_setup_teardown(test, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIT(ids_go_up_whatever_the_clock_does),
		KIT(an_attempt_that_a_clock_put_off_by_a_year_is_made_after_a_restart),
		KIT(what_was_being_sent_is_queued_again_and_held_when_it_must_be_sent_once),
		KIT(a_write_that_is_sent_once_and_was_not_sent_is_not_counted),
		KIT(bodies_without_a_record_are_swept_and_strangers_stay),
		KIT(queues_that_nobody_opens_stay_as_they_are),
		KIT(nothing_acknowledged_is_lost_when_a_commit_fails),
		KIT(the_end_of_a_write_that_was_sent_once_is_written_as_soon_as_that_is_possible),
		KIT(a_stop_before_that_makes_an_unknown_outcome_of_it),
		KIT(settled_entries_are_listed_until_they_are_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
