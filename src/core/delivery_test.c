/* delivery_test.c -- what goes, and when: order, the link, pauses, a stop, the clocks. */
#include "core/delivery.h"

#include "core/delivery_priv.h"
#include "core/delivery_test_kit.h"

/* --- what goes, and when --- */

static void what_is_put_is_carried_once_and_in_order_for_each_key(void **state)
{
	static const char *const keys[] = { "/a", "/b", "/c", "/d" };
	uint64_t seqs[40];

	for (size_t i = 0; i < ARRAY_LEN(seqs); i++)
		seqs[i] = put(keys[i % 4]);
	wait_count(OUTBOX_APPLIED, ARRAY_LEN(seqs));
	assert_int_equal(seen.begun, ARRAY_LEN(seqs));
	for (size_t key = 0; key < 4; key++) {
		uint64_t last = 0;

		for (size_t i = 0; i < ARRAY_LEN(seqs); i++) {
			size_t place = 0;

			while (place < ARRAY_LEN(seqs) && seen.seqs[i] != seqs[place])
				place++;
			assert_true(place < ARRAY_LEN(seqs));
			if (place % 4 != key)
				continue;
			assert_true(seen.seqs[i] > last);
			last = seen.seqs[i];
		}
	}
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"applied\"} 40");
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"held\"} 0");
	assert_metric("weir_outbox_entries{service=\"files\",state=\"applied\"} 40");
	assert_metric("weir_outbox_oldest_age_seconds{service=\"files\"} 0");
	assert_metric("weir_outbox_damaged_total 0");
}

static void nothing_goes_while_the_upstream_is_switched_off_and_all_when_it_is_on_again(void **state)
{
	uint64_t seqs[5];
	json_t *o = json_object();

	link_enable(l, false);
	for (size_t i = 0; i < ARRAY_LEN(seqs); i++)
		seqs[i] = put(i % 2 ? "/a" : "/b");
	delivery_flush(d); /* not even then */
	delivery_status(d, o);
	assert_int_equal(json_integer_value(json_object_get(o, "queued")), 5);
	assert_int_equal(json_integer_value(json_object_get(o, "bytes")), 20);
	assert_string_equal(json_string_value(json_object_get(o, "upstream")), "disabled");
	assert_true(json_is_string(json_object_get(o, "oldest_at")));
	assert_string_equal(json_string_value(json_object_get(o, "paused")), "");
	json_decref(o);
	assert_metric("weir_outbox_entries{service=\"files\",state=\"queued\"} 5");
	assert_metric("weir_outbox_bytes{service=\"files\",state=\"queued\"} 20");
	assert_int_equal(seen.begun, 0);
	link_enable(l, true);
	wait_count(OUTBOX_APPLIED, 5);
	for (size_t i = 0; i < ARRAY_LEN(seqs); i++)
		assert_int_equal(state_of(seqs[i]), OUTBOX_APPLIED);
}

static void it_begins_with_one_at_a_time(void **state)
{
	char key[20];

	link_enable(l, false);
	for (int i = 0; i < 60; i++) {
		(void)snprintf(key, sizeof(key), "/%d", i);
		(void)put(key);
	}
	link_enable(l, true);
	wait_count(OUTBOX_APPLIED, 60);
	/* Each answer doubles how many may run; so does a slow second add one. */
	for (unsigned i = 0; i < 60; i++) {
		unsigned ended = seen.ended_at[i], most = ended < 3 ? 1u << ended : PARALLEL;

		most += (unsigned)((clock_mono_ms() - seen.began_ms) / 1000) + 1;
		assert_true(seen.running_at[i] <= (most < PARALLEL ? most : PARALLEL));
	}
	assert_int_equal(seen.running_at[0], 1);
}

static void hang(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (slice_starts(buf_slice(&e->key), "/hang"))
		wait_gate();
	applied(e, cancel, ret);
}

static void entries_that_hang_hold_up_nobody_else(void **state)
{
	uint64_t bad[2], good;

	behave = hang;
	link_enable(l, false);
	bad[0] = put("/hang/1");
	bad[1] = put("/hang/2");
	good = put("/good");
	link_enable(l, true); /* begins with one at a time, and that one hangs */
	wait_state(good, OUTBOX_APPLIED);
	assert_int_equal(state_of(bad[0]), OUTBOX_SENDING);
	assert_int_equal(state_of(bad[1]), OUTBOX_SENDING);
	open_gate();
	wait_state(bad[0], OUTBOX_APPLIED);
	wait_state(bad[1], OUTBOX_APPLIED);
}

static void what_was_queued_before_a_restart_goes_after_it(void **state)
{
	uint64_t seq;

	link_enable(l, false);
	seq = put("/a");
	stop_delivery();
	outbox_close(ob);
	link_enable(l, true);
	open_outbox();
	start_delivery(1, 5);
	wait_state(seq, OUTBOX_APPLIED);
	assert_int_equal(seen.begun, 1);
}

static void say_nothing(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
}

static void what_cannot_be_tried_now_is_not_tried_in_a_circle(void **state)
{
	int64_t before = clock_mono_ms();
	struct outbox_entry e;
	uint64_t seq;

	behave = say_nothing; /* as when there are no descriptors: trouble of this machine's own */
	seq = put("/a");
	wait_begun(3);
	assert_true(clock_mono_ms() - before >= 2 * DELIVERY_REST_MS);
	behave = applied;
	wait_state(seq, OUTBOX_APPLIED);
	e = get(seq);
	assert_int_equal(e.attempts, 1); /* the others were none */
	outbox_entry_fini(&e);
}

/* --- pause and stop --- */

static void unauthorized(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (atomic_load(&new_token)) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = CARRIED_PAUSE;
	ret->status = 401;
	buf_add_str(&ret->error, "status 401: the token has run out");
}

static void wait_paused(bool yes)
{
	for (int ms = 0; delivery_is_paused(d) != yes && ms < PATIENCE_MS; ms++)
		usleep(1000);
	assert_int_equal(delivery_is_paused(d), yes);
}

static void a_refused_credential_pauses_the_queue_until_there_is_another(void **state)
{
	struct outbox_entry e;
	struct delivery_sum sum;
	char reason[200];
	uint64_t seq;

	behave = unauthorized;
	seq = put("/a");
	(void)put("/b");
	(void)put("/c");
	wait_paused(true);
	wait_count(OUTBOX_QUEUED, 3);
	delivery_pause_reason(d, reason);
	assert_string_equal(reason, "status 401: the token has run out");
	e = get(seq);
	assert_int_equal(e.last_status, 401);
	outbox_entry_fini(&e);
	assert_metric("weir_outbox_paused{service=\"files\"} 1");
	delivery_sum(&sum);
	assert_int_equal(sum.paused, 1);
	assert_int_equal(sum.entries[OUTBOX_QUEUED], 3);
	assert_int_equal(sum.bytes, 12);
	assert_false(sum.is_readonly);
	atomic_store(&new_token, true);
	wait_count(OUTBOX_APPLIED, 3);
	wait_paused(false);
	assert_metric("weir_outbox_paused{service=\"files\"} 0");
}

static void unauthorized_once(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (e->last_status == 401)
		applied(e, cancel, ret);
	else
		unauthorized(e, cancel, ret);
}

static void an_operator_ends_a_pause(void **state)
{
	uint64_t seq;

	behave = unauthorized_once;
	seq = put("/a");
	wait_paused(true);
	wait_state(seq, OUTBOX_QUEUED);
	delivery_resume(d);
	wait_state(seq, OUTBOX_APPLIED);
	assert_false(delivery_is_paused(d));
}

static void wait_for_the_cancel(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	struct pollfd p = { .fd = cancel_fd(cancel), .events = POLLIN };

	(void)poll(&p, 1, PATIENCE_MS); /* it says nothing of what came of it: not an attempt */
}

static void a_stop_cancels_what_is_under_way_and_it_is_queued_as_before(void **state)
{
	struct outbox_entry e;
	uint64_t seq;

	behave = wait_for_the_cancel;
	seq = put("/a");
	wait_begun(1);
	assert_ptr_equal(delivery_find(ob, "files"), d);
	assert_null(delivery_find(ob, "other"));
	stop_delivery();
	assert_null(delivery_find(ob, "files"));
	e = get(seq);
	assert_int_equal(e.state, OUTBOX_QUEUED);
	assert_int_equal(e.attempts, 0);
	outbox_entry_fini(&e);
}

/* --- the wall clock --- */

static atomic_llong wall_offset_ms;

static int64_t set_back(int wall)
{
	struct timespec t;

	clock_gettime(wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000 + (wall ? atomic_load(&wall_offset_ms) : 0);
}

static void a_wall_clock_that_was_set_back_delays_nobody(void **state)
{
	uint64_t seq;

	atomic_store(&wall_offset_ms, 0);
	clock_set_fake(set_back);
	delivery_set_retry(d, 1, 1);
	behave = in_a_year;
	seq = put("/a");
	wait_begun(1);
	wait_state(seq, OUTBOX_QUEUED);
	behave = applied;
	atomic_store(&wall_offset_ms, -24LL * HOUR_MS);
	delivery_poke(d);
	wait_state(seq, OUTBOX_APPLIED);
	clock_set_fake(NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_put_is_carried_once_and_in_order_for_each_key),
		T(nothing_goes_while_the_upstream_is_switched_off_and_all_when_it_is_on_again),
		T(it_begins_with_one_at_a_time),
		T(entries_that_hang_hold_up_nobody_else),
		T(what_was_queued_before_a_restart_goes_after_it),
		T(what_cannot_be_tried_now_is_not_tried_in_a_circle),
		T(a_refused_credential_pauses_the_queue_until_there_is_another),
		T(an_operator_ends_a_pause),
		T(a_stop_cancels_what_is_under_way_and_it_is_queued_as_before),
		T(a_wall_clock_that_was_set_back_delays_nobody),
	};

	return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
