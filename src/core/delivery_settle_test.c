/* delivery_settle_test.c -- each thing that can come of a delivery, and what becomes of the entry then. */
#include "core/delivery.h"

#include "core/delivery_test_kit.h"

/* --- what came of it --- */

static void fail_three_times(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (e->attempts >= 3) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = CARRIED_LATER;
	ret->status = 503;
	buf_add_str(&ret->error, "status 503");
}

static void it_is_tried_again_until_it_is_taken(void **state)
{
	struct outbox_entry e;
	uint64_t seq;

	behave = fail_three_times;
	seq = put("/a");
	wait_state(seq, OUTBOX_APPLIED);
	e = get(seq);
	assert_int_equal(e.attempts, 4);
	assert_int_equal(e.last_status, 201);
	outbox_entry_fini(&e);
	assert_int_equal(seen.begun, 4);
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"deferred\"} 3");
}

static void what_upstream_asks_for_is_the_least_wait_but_not_believed_without_end(void **state)
{
	int64_t before = clock_wall_ms();
	struct outbox_entry e;
	uint64_t seq;

	behave = in_a_year;
	seq = put("/a");
	wait_begun(1);
	wait_state(seq, OUTBOX_QUEUED);
	e = get(seq);
	assert_true(e.next_attempt_wall_ms >= before + DELIVERY_RETRY_AFTER_MOST_MS);
	assert_true(e.next_attempt_wall_ms <= clock_wall_ms() + DELIVERY_RETRY_AFTER_MOST_MS);
	assert_string_equal(e.last_error.data, "status 429");
	outbox_entry_fini(&e);
	behave = applied;
	delivery_flush(d);
	wait_state(seq, OUTBOX_APPLIED);
}

static void ask_the_upstream(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	struct client_request rq = { .method = "GET", .target = SLICE_LIT("/x") };
	struct client_result res;
	int r = link_call(l, &rq, NULL, cancel, &res);

	if (r == 0) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = r == WEIR_E_OPEN ? CARRIED_NOT : CARRIED_LATER;
	buf_add_str(&ret->error, err_text(r));
}

static void when_the_upstream_is_back_nobody_waits_for_the_end_of_a_back_off(void **state)
{
	uint64_t seq;

	behave = ask_the_upstream;
	delivery_set_retry(d, 24 * HOUR_MS, 24 * HOUR_MS);
	upstream_stop();
	seq = put("/a"); /* the first failure opens the breaker, and the link's probe looks from then on */
	wait_begun(1);
	for (int ms = 0; link_state(l) != LINK_DOWN && ms < PATIENCE_MS; ms++)
		usleep(1000);
	wait_state(seq, OUTBOX_QUEUED);
	upstream_start();
	wait_state(seq, OUTBOX_APPLIED);
	assert_int_equal(seen.begun, 2);
}

static void refuse(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	static const char words[] = "because of the moon. ";

	ret->to = CARRIED_HELD;
	ret->status = 400;
	buf_add_str(&ret->error, "refused");
	buf_add_str(&ret->answer_type, "text/plain");
	while (ret->answer.len <= OUTBOX_MOST_ANSWER)
		buf_add_str(&ret->answer, words);
}

static void a_refusal_is_held_with_upstreams_words(void **state)
{
	struct outbox_entry e;
	uint64_t seq;

	behave = refuse;
	seq = put("/a");
	wait_state(seq, OUTBOX_HELD);
	e = get(seq);
	assert_int_equal(e.last_status, 400);
	assert_int_equal(e.answer.len, OUTBOX_MOST_ANSWER);
	assert_string_equal(e.answer_type.data, "text/plain");
	assert_string_equal(e.last_error.data, "refused");
	outbox_entry_fini(&e);
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"held\"} 1");
}

static void find_changed(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (slice_eq_str(buf_slice(&e->base.etag), "\"theirs\"")) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = CARRIED_CONFLICT;
	ret->status = 412;
	ret->base.known = true;
	buf_add_str(&ret->base.etag, "\"theirs\"");
}

static void a_conflict_keeps_their_version_and_ours_can_be_put_over_it(void **state)
{
	struct buf err = BUF_EMPTY;
	struct outbox_entry e;
	uint64_t seq;

	behave = find_changed;
	seq = put("/a");
	wait_state(seq, OUTBOX_CONFLICT);
	e = get(seq);
	assert_string_equal(e.theirs.etag.data, "\"theirs\"");
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"conflict\"} 1");

	rebase_error = WEIR_E_REFUSED;
	assert_int_equal(delivery_rebase_entry(d, &e, &err), WEIR_E_REFUSED);
	assert_string_equal(err.data, "the line is cut");
	assert_int_equal(state_of(seq), OUTBOX_CONFLICT);

	rebase_error = 0;
	rebase_to = (struct outbox_base){ .known = true, .etag = BUF_EMPTY };
	buf_add_str(&rebase_to.etag, "\"theirs\"");
	buf_reset(&err);
	assert_int_equal(delivery_rebase_entry(d, &e, &err), 0);
	wait_state(seq, OUTBOX_APPLIED);
	assert_true(delivery_rebase_entry(d, &e, &err) < 0); /* too late */
	assert_true(err.len > 0);
	outbox_base_fini(&rebase_to);
	outbox_entry_fini(&e);
	buf_fini(&err);
}

static size_t lent_more;

/* All that is there goes together: the second is refused, the last one was not reached. */
static void take_more(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	size_t n = delivery_lend_more(d, e, 10, 1 << 20, ret);

	applied(e, cancel, ret);
	if (!n)
		return; /* the last one again, alone */
	lent_more = n;
	for (size_t i = 0; i + 1 < n; i++)
		applied(&ret->more[i].entry, cancel, &ret->more[i].came);
	ret->more[0].came.to = CARRIED_HELD;
	ret->more[0].came.status = 400;
	buf_add_str(&ret->more[0].came.error, "it is wrong");
}

static void several_of_a_key_go_together_and_each_ends_as_it_should(void **state)
{
	struct outbox_write w = { .key = SLICE_LIT("/b"),
				  .method = SLICE_LIT("POST"),
				  .uri = SLICE_LIT("/b"),
				  .body = SLICE_LIT("x"),
				  .alone = true,
				  .not_before_wall_ms = clock_wall_ms() + HOUR_MS,
				  .expect_tail = OUTBOX_ANY };
	struct outbox_receipt got[4];
	struct outbox_entry e;

	behave = take_more;
	lent_more = 0;
	for (size_t i = 0; i < ARRAY_LEN(got); i++)
		assert_int_equal(outbox_put(q, &w, &got[i]), 0);
	outbox_wake_key(q, w.key);
	for (size_t i = 0; i < ARRAY_LEN(got); i++)
		wait_state(got[i].seq, i == 1 ? OUTBOX_HELD : OUTBOX_APPLIED);
	assert_int_equal(lent_more, 3);
	assert_int_equal(seen.begun, 2);
	e = get(got[1].seq);
	assert_string_equal(e.last_error.data, "it is wrong");
	assert_int_equal(e.attempts, 1);
	outbox_entry_fini(&e);
	e = get(got[3].seq);
	assert_int_equal(e.attempts, 1); /* what was not reached was no attempt */
	outbox_entry_fini(&e);
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"applied\"} 3");
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"held\"} 1");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_is_tried_again_until_it_is_taken),
		T(what_upstream_asks_for_is_the_least_wait_but_not_believed_without_end),
		T(when_the_upstream_is_back_nobody_waits_for_the_end_of_a_back_off),
		T(a_refusal_is_held_with_upstreams_words),
		T(a_conflict_keeps_their_version_and_ours_can_be_put_over_it),
		T(several_of_a_key_go_together_and_each_ends_as_it_should),
	};

	return cmocka_run_group_tests_name("delivery_settle", tests, NULL, NULL);
}
