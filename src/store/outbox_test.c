/* outbox_test.c -- puts, limits, who goes when, ends, an operator's verbs, overlays and lists. */
#include "store/outbox_test_kit.h"

#include "base/clock.h"
#include "base/str.h"

/* --- order ------------------------------------------------------------------------------------------------------ */

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
	assert_false(outbox_is_idle(k->q));
	kit_settle(k, b, OUTBOX_APPLIED);
	kit_settle(k, c, OUTBOX_APPLIED);
	assert_true(outbox_is_idle(k->q));
}

static void a_directory_goes_after_what_was_below_it_and_before_what_came_later(void **state)
{
	struct kit *k = *state;
	uint64_t x = kit_put(k, "/d/x", "1"), d = kit_put(k, "/d/", ""), y = kit_put(k, "/d/y", "2"),
		 o = kit_put(k, "/dx", "3");

	assert_int_equal(kit_lend(k, 1), x);
	assert_int_equal(kit_lend(k, 1), o);
	assert_int_equal(kit_lend(k, 1), 0);
	kit_settle(k, x, OUTBOX_APPLIED);
	assert_int_equal(kit_lend(k, 1), d);
	assert_int_equal(kit_lend(k, 1), 0);
	assert_true(outbox_key_is_pending(k->q, SLICE_LIT("/d/new")));
	assert_true(outbox_key_is_pending(k->q, SLICE_LIT("/d/y")));
	assert_false(outbox_key_is_pending(k->q, SLICE_LIT("/e")));
	kit_settle(k, d, OUTBOX_APPLIED);
	assert_false(outbox_key_is_pending(k->q, SLICE_LIT("/d/new")));
	assert_true(outbox_key_is_pending(k->q, SLICE_LIT("/d/")));
	assert_int_equal(kit_lend(k, 1), y);
}

static void what_is_deferred_keeps_its_place_and_its_time(void **state)
{
	struct kit *k = *state;
	struct outbox_settlement later = {
		.to = OUTBOX_QUEUED, .status = 503, .error = SLICE_LIT("503"), .next_attempt_wall_ms = 1000
	};
	uint64_t a = kit_put(k, "/a", "1"), b = kit_put(k, "/a", "2");
	struct outbox_entry e;
	int64_t next;

	assert_int_equal(kit_lend(k, 500), a);
	assert_int_equal(outbox_settle(k->q, a, &later), 0);
	assert_int_equal(outbox_lend(k->q, 999, &e, &next), -ENOENT);
	assert_int_equal(next, 1000);
	assert_int_equal(kit_lend(k, 1000), a);
	assert_int_equal(outbox_get(k->ob, a, &e), 0);
	assert_int_equal(e.state, OUTBOX_SENDING);
	assert_int_equal(e.attempts, 1);
	assert_int_equal(e.last_status, 503);
	assert_string_equal(e.last_error.data, "503");
	outbox_entry_fini(&e);
	later.not_an_attempt = true;
	assert_int_equal(outbox_settle(k->q, a, &later), 0);
	assert_int_equal(outbox_get(k->ob, a, &e), 0);
	assert_int_equal(e.attempts, 1);
	outbox_entry_fini(&e);
	assert_int_equal(kit_lend(k, 1000), a);
	kit_settle(k, a, OUTBOX_APPLIED);
	assert_int_equal(kit_lend(k, 1000), b);
	assert_int_equal(outbox_lend(k->q, 1000, &e, &next), -ENOENT);
	assert_true(next == INT64_MAX);
}

static void those_that_nothing_answered_go_when_the_upstream_is_back_and_others_when_flushed(void **state)
{
	struct kit *k = *state;
	struct outbox_settlement later = { .to = OUTBOX_QUEUED, .next_attempt_wall_ms = 100000 };
	uint64_t a = kit_put(k, "/a", "1"), b = kit_put(k, "/b", "2");

	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(kit_lend(k, 1), b);
	assert_int_equal(outbox_settle(k->q, a, &later), 0);
	later.status = 503;
	assert_int_equal(outbox_settle(k->q, b, &later), 0);
	assert_int_equal(kit_lend(k, 10), 0);
	outbox_wake_unanswered(k->q, 10, 0);
	assert_int_equal(kit_lend(k, 10), a);
	assert_int_equal(kit_lend(k, 10), 0);
	outbox_flush(k->q);
	assert_int_equal(kit_lend(k, 10), b);
}

static void held_keeps_waiting_and_conflict_does_not(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = kit_write("/a", "2");
	struct outbox_receipt second;
	uint64_t a = kit_put(k, "/a", "1");

	w.wants_parent = false;
	assert_int_equal(outbox_put(k->q, &w, &second), 0);
	assert_int_equal(kit_lend(k, 1), a);
	kit_settle(k, a, OUTBOX_HELD);
	assert_int_equal(kit_lend(k, 1), 0);
	assert_true(outbox_key_is_pending(k->q, SLICE_LIT("/a")));
	assert_int_equal(outbox_retry(k->ob, a), 0);
	assert_int_equal(kit_lend(k, 1), a);
	kit_settle(k, a, OUTBOX_CONFLICT);
	assert_int_equal(kit_lend(k, 1), second.seq);
	/* Queued anew it goes first again, but not beside what is being sent. */
	assert_int_equal(outbox_retry(k->ob, a), 0);
	assert_int_equal(kit_lend(k, 1), 0);
	kit_settle(k, second.seq, OUTBOX_APPLIED);
	assert_int_equal(kit_lend(k, 1), a);
}

/* --- what is put is what is got --------------------------------------------------------------------------------- */

static void read_spool(struct spool *s, struct buf *out)
{
	uint64_t n;

	assert_int_equal(spool_peek(s, &n, NULL), SPOOL_COMPLETE);
	buf_reset(out);
	assert_non_null(buf_reserve(out, n));
	assert_int_equal(pread(spool_fd(s), out->data, n, 0), (ssize_t)n);
	out->len = n;
	out->data[n] = '\0';
}

static void everything_that_was_put_can_be_read_again(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = kit_write("/a/b.txt", "hello");
	struct outbox_receipt got;
	struct outbox_entry e;
	struct spool *s;
	struct buf body = BUF_EMPTY;

	w.uri = SLICE_LIT("/a/b.txt?x=1");
	w.once = true;
	w.base = (struct outbox_base){ .known = true, .etag = BUF_EMPTY, .mod_time = 12345 };
	buf_add_str(&w.base.etag, "W/\"v1\"");
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	for (int restarts = 0; restarts < 2; restarts++) {
		assert_int_equal(outbox_find(k->ob, slice_str(got.id), &e), 0);
		assert_int_equal(e.seq, got.seq);
		assert_string_equal(e.id, got.id);
		assert_int_equal(strlen(e.id), 23);
		assert_string_equal(e.queue.data, "files");
		assert_string_equal(e.key.data, "/a/b.txt");
		assert_string_equal(e.uri.data, "/a/b.txt?x=1");
		assert_string_equal(e.method.data, "PUT");
		assert_string_equal(e.headers.data, "Content-Type: text/plain\n");
		assert_string_equal(e.content_type.data, "text/plain");
		assert_int_equal(e.idempotency_key.len, 36);
		assert_true(e.once && e.base.known && !e.base.absent && !e.damaged);
		assert_string_equal(e.base.etag.data, "W/\"v1\"");
		assert_int_equal(e.base.mod_time, 12345);
		assert_int_equal(e.body_bytes, 5);
		assert_int_equal(e.queued_wall_ms, got.queued_wall_ms);
		assert_int_equal(outbox_body(k->ob, &e, &s), 0);
		read_spool(s, &body);
		assert_string_equal(body.data, "hello");
		spool_unref(&s);
		outbox_entry_fini(&e);
		kit_reopen(k);
	}
	assert_int_equal(outbox_find(k->ob, SLICE_LIT("0000000000000001-000000"), &e), -ENOENT);
	assert_int_equal(outbox_find(k->ob, SLICE_LIT("nonsense"), &e), -ENOENT);
	got.id[22] = got.id[22] == '0' ? '1' : '0';
	assert_int_equal(outbox_find(k->ob, slice_str(got.id), &e), -ENOENT);
	buf_fini(&body);
	outbox_base_fini(&w.base);
}

static void a_large_body_is_a_file_until_it_is_applied(void **state)
{
	struct kit *k = *state;
	uint64_t a = kit_put_large(k, "/a", 200000), b = kit_put_large(k, "/b", OUTBOX_INLINE_BYTES + 1);
	struct outbox_entry e;
	struct spool *s;
	struct buf body = BUF_EMPTY;

	assert_int_equal(kit_files(k, "bodies"), 2);
	assert_int_equal(outbox_get(k->ob, a, &e), 0);
	assert_int_equal(outbox_body(k->ob, &e, &s), 0);
	read_spool(s, &body);
	assert_int_equal(body.len, 200000);
	assert_int_equal(body.data[199999], 'x');
	assert_int_equal(kit_lend(k, 1), a);
	kit_settle(k, a, OUTBOX_APPLIED);
	assert_int_equal(kit_files(k, "bodies"), 1);
	read_spool(s, &body); /* who has it open keeps it */
	spool_unref(&s);
	assert_int_equal(outbox_body(k->ob, &e, &s), -ENOENT);
	assert_int_equal(outbox_damaged(k->ob), 0);
	outbox_entry_fini(&e);
	assert_int_equal(outbox_drop(k->ob, b), 0);
	assert_int_equal(kit_files(k, "bodies"), 1);
	assert_int_equal(outbox_purge(k->q, clock_wall_ms() + 2000), 2);
	assert_int_equal(kit_files(k, "bodies"), 0);
	buf_fini(&body);
}

/* --- limits ----------------------------------------------------------------------------------------------------- */

static int put_code(struct kit *k, const char *key, const char *body)
{
	struct outbox_write w = kit_write(key, body);
	struct outbox_receipt got;

	return outbox_put(k->q, &w, &got);
}

static void what_is_above_a_limit_is_refused_and_nothing_is_kept(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = kit_write("/a", "");
	struct outbox_receipt got;
	struct outbox_figures f;
	char *head = xcalloc(1, OUTBOX_MOST_HEAD + 1);
	uint64_t first;

	k->limits.max_entries = 2;
	k->limits.max_bytes = 10;
	k->limits.max_body = 8;
	outbox_queue_set_limits(k->q, &k->limits);
	assert_int_equal(put_code(k, "/a", "123456789"), WEIR_E_TOO_LARGE);
	assert_int_equal(outbox_spool_new(k->q, &w.spool), 0);
	assert_int_equal(spool_append(w.spool, "123456789", 9), WEIR_E_TOO_LARGE);
	assert_int_equal(outbox_put(k->q, &w, &got), WEIR_E_DAMAGED);
	spool_unref(&w.spool);
	memset(head, 'h', OUTBOX_MOST_HEAD);
	w.headers = slice_str(head);
	assert_int_equal(outbox_put(k->q, &w, &got), WEIR_E_TOO_LARGE);
	first = kit_put(k, "/a", "1234567");
	assert_int_equal(put_code(k, "/b", "1234"), -EDQUOT);
	(void)kit_put(k, "/b", "123");
	assert_int_equal(put_code(k, "/c", ""), -EDQUOT);
	assert_int_equal(outbox_drop(k->ob, first), 0);
	assert_int_equal(put_code(k, "/c", "1234567"), 0);
	assert_int_equal(put_code(k, "/d", ""), -EDQUOT);
	outbox_figures(k->q, &f);
	assert_int_equal(f.refused_large, 2);
	assert_int_equal(f.refused_full, 3);
	assert_int_equal(f.entries[OUTBOX_QUEUED], 2);
	assert_int_equal(f.bytes[OUTBOX_QUEUED], 10);
	assert_int_equal(f.entries[OUTBOX_DROPPED], 1);
	kit_reopen(k); /* it counts what it finds */
	assert_int_equal(put_code(k, "/d", ""), -EDQUOT);
	free(head);
}

static void a_disk_without_room_takes_nothing_until_there_is_room(void **state)
{
	struct kit *k = *state;
	struct outbox_figures f;

	k->limits.min_free_bytes = UINT64_MAX;
	outbox_queue_set_limits(k->q, &k->limits);
	assert_int_equal(put_code(k, "/a", "1"), -ENOSPC);
	outbox_figures(k->q, &f);
	assert_int_equal(f.refused_disk, 1);
	assert_int_equal(f.oldest_wall_ms, 0);
	assert_true(outbox_is_idle(k->q));
	k->limits.min_free_bytes = 1;
	outbox_queue_set_limits(k->q, &k->limits);
	assert_int_equal(put_code(k, "/a", "1"), 0);
}

/* --- verbs ------------------------------------------------------------------------------------------------------ */

static void verbs_are_refused_where_they_make_no_sense(void **state)
{
	struct kit *k = *state;
	struct outbox_base none = { 0 };
	uint64_t a = kit_put(k, "/a", "1");

	assert_int_equal(outbox_resolve(k->ob, a), -EINVAL);
	assert_int_equal(outbox_rebase(k->ob, a, &none), -EINVAL);
	assert_int_equal(outbox_retry(k->ob, a + 1), -ENOENT);
	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(outbox_drop(k->ob, a), -EBUSY);
	assert_int_equal(outbox_retry(k->ob, a), -EBUSY);
	kit_settle(k, a, OUTBOX_APPLIED);
	assert_int_equal(outbox_drop(k->ob, a), -EINVAL);
	assert_int_equal(outbox_retry(k->ob, a), -EINVAL);
}

static void a_refusal_is_kept_with_what_is_held(void **state)
{
	struct kit *k = *state;
	char *answer = xcalloc(1, OUTBOX_MOST_ANSWER + 100);
	struct outbox_settlement s = { .to = OUTBOX_HELD, .status = 403, .error = SLICE_LIT("403 Forbidden"),
				       .answer_type = SLICE_LIT("text/html") };
	uint64_t a = kit_put(k, "/a", "1");
	struct outbox_entry e;

	memset(answer, 'n', OUTBOX_MOST_ANSWER + 99);
	s.answer = slice_str(answer);
	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(outbox_settle(k->q, a, &s), 0);
	assert_int_equal(outbox_get(k->ob, a, &e), 0);
	assert_int_equal(e.last_status, 403);
	assert_int_equal(e.answer.len, OUTBOX_MOST_ANSWER);
	assert_string_equal(e.answer_type.data, "text/html");
	outbox_entry_fini(&e);
	assert_int_equal(outbox_resolve(k->ob, a), 0);
	free(answer);
}

/* --- overlays and lists ----------------------------------------------------------------------------------------- */

static void an_overlay_is_the_last_put_or_delete_of_the_uri(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = kit_write("/a", "patch");
	struct outbox_receipt got;
	struct outbox_entry e;
	uint64_t a = kit_put(k, "/a", "1"), b = kit_put(k, "/a", "2");

	w.method = SLICE_LIT("PATCH");
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	assert_int_equal(outbox_overlay(k->q, SLICE_LIT("/a"), SLICE_LIT("/a"), &e), 0);
	assert_int_equal(e.seq, b);
	outbox_entry_fini(&e);
	assert_int_equal(outbox_overlay(k->q, SLICE_LIT("/a"), SLICE_LIT("/a?x"), &e), -ENOENT);
	assert_int_equal(outbox_overlay(k->q, SLICE_LIT("/b"), SLICE_LIT("/b"), &e), -ENOENT);
	assert_int_equal(outbox_drop(k->ob, b), 0);
	assert_int_equal(outbox_overlay(k->q, SLICE_LIT("/a"), SLICE_LIT("/a"), &e), 0);
	assert_int_equal(e.seq, a);
	outbox_entry_fini(&e);
	assert_int_equal(kit_lend(k, 1), a);
	kit_settle(k, a, OUTBOX_CONFLICT);
	assert_int_equal(outbox_overlay(k->q, SLICE_LIT("/a"), SLICE_LIT("/a"), &e), -ENOENT);
}

struct seen {
	uint64_t seq[16];
	size_t n;
};

static bool see(void *arg, const struct outbox_entry *e)
{
	struct seen *s = arg;

	s->seq[s->n++] = e->seq;
	return s->n < ARRAY_LEN(s->seq);
}

static void lists_come_in_pages_by_queue_and_state(void **state)
{
	struct kit *k = *state;
	struct outbox_queue *other = outbox_queue(k->ob, "sessions", &k->limits);
	struct outbox_write w = kit_write("/s", "s");
	struct outbox_receipt got;
	uint64_t a = kit_put(k, "/a", "1"), b = kit_put(k, "/b", "2"), c = kit_put(k, "/c", "3");
	struct seen s = { .n = 0 };

	assert_int_equal(outbox_put(other, &w, &got), 0);
	assert_int_equal(outbox_list(k->ob, NULL, -1, 0, 2, see, &s), 0);
	assert_int_equal(s.n, 2);
	assert_int_equal(outbox_list(k->ob, NULL, -1, s.seq[1], 10, see, &s), 0);
	assert_int_equal(s.n, 4);
	assert_true(s.seq[0] == a && s.seq[1] == b && s.seq[2] == c && s.seq[3] == got.seq);
	assert_int_equal(kit_lend(k, 1), a);
	assert_int_equal(kit_lend(k, 1), b);
	kit_settle(k, b, OUTBOX_HELD);
	s.n = 0;
	assert_int_equal(outbox_list(k->ob, "files", OUTBOX_SENDING, 0, 10, see, &s), 0);
	assert_true(s.n == 1 && s.seq[0] == a);
	s.n = 0;
	assert_int_equal(outbox_list(k->ob, "files", OUTBOX_QUEUED, 0, 10, see, &s), 0);
	assert_true(s.n == 1 && s.seq[0] == c);
	s.n = 0;
	assert_int_equal(outbox_list(k->ob, NULL, OUTBOX_HELD, 0, 10, see, &s), 0);
	assert_true(s.n == 1 && s.seq[0] == b);
	kit_settle(k, a, OUTBOX_APPLIED);
}

#define KIT(test) cmocka_unit_test_setup_teardown(test, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIT(entries_of_one_key_go_one_at_a_time_in_the_order_taken),
		KIT(a_directory_goes_after_what_was_below_it_and_before_what_came_later),
		KIT(what_is_deferred_keeps_its_place_and_its_time),
		KIT(those_that_nothing_answered_go_when_the_upstream_is_back_and_others_when_flushed),
		KIT(held_keeps_waiting_and_conflict_does_not),
		KIT(everything_that_was_put_can_be_read_again),
		KIT(a_large_body_is_a_file_until_it_is_applied),
		KIT(what_is_above_a_limit_is_refused_and_nothing_is_kept),
		KIT(a_disk_without_room_takes_nothing_until_there_is_room),
		KIT(verbs_are_refused_where_they_make_no_sense),
		KIT(a_refusal_is_kept_with_what_is_held),
		KIT(an_overlay_is_the_last_put_or_delete_of_the_uri),
		KIT(lists_come_in_pages_by_queue_and_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
