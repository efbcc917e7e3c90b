/* cache_test.c -- what was put is found by what fits, until it is replaced, dropped or evicted; and after a restart. */
#include "mirror/cache.h"

#include "mirror/cache_test_kit.h"

#define BIG (STORED_INLINE_BYTES + 1000)

static void what_was_put_is_found(void **state)
{
	struct kit_lines rq;
	struct stored *s = NULL;

	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, ""), &s), -ENOENT);
	assert_int_equal(kit_put("/a", "small", 100), 0);
	assert_int_equal(kit_put("/b", "large", BIG), 0);
	assert_int_equal(kit_put("/c", "", 0), 0);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), &rq.view, &s), 0);
	assert_int_equal(s->status, 200);
	assert_string_equal(s->reply[0].name, "Content-Type");
	assert_string_equal(s->reply[0].value, "text/plain");
	stored_unref(&s);
	assert_true(kit_has("/a", "small", 100));
	assert_true(kit_has("/b", "large", BIG));
	assert_true(kit_has("/c", "", 0));
	assert_int_equal(kit_figures().responses, 3);
	assert_int_equal(kit_figures().hot_files, 1);
}

static void what_was_put_is_found_after_a_restart(void **state)
{
	struct kit_lines rq;
	struct stored *s = NULL;

	assert_int_equal(kit_put_for("/a", "", "ETag: \"1\"\nDate: Fri, 20 Nov 2026 10:00:00 GMT\n", "small", 100), 0);
	assert_int_equal(kit_put("/b", "large", BIG), 0);
	assert_int_equal(kit_put("/c", "", 0), 0);
	kit_reopen();
	assert_int_equal(kit_figures().responses, 3);
	assert_int_equal(kit_figures().hot_responses, 0);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, ""), &s), -EAGAIN);
	assert_int_equal(cache_load(cache, SLICE_LIT("/a"), &rq.view, &s), 0);
	assert_true(slice_eq_str(s->policy.etag.opaque, "\"1\""));
	stored_unref(&s);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), &rq.view, &s), 0);
	stored_unref(&s);
	assert_true(kit_has("/a", "small", 100));
	assert_true(kit_has("/b", "large", BIG));
	assert_true(kit_has("/c", "", 0));
	assert_int_equal(kit_figures().damaged, 0);
}

static void a_small_body_that_came_as_a_file_goes_into_the_row(void **state)
{
	struct buf body = kit_body("chunked", 500);
	struct stored *s = NULL;
	struct stored_parts p = { .key = SLICE_LIT("/a"),
				  .status = 200,
				  .file = kit_spool(buf_slice(&body)),
				  .body_bytes = 500,
				  .body_crc = crc32c(0, body.data, body.len) };

	assert_int_equal(stored_new(&p, &s), 0);
	assert_int_equal(cache_put(cache, s, cache_epoch(cache, p.key)), 0);
	stored_unref(&s);
	assert_true(kit_has("/a", "chunked", 500));
	kit_reopen();
	assert_true(kit_has("/a", "chunked", 500));
	assert_int_equal(kit_figures().hot_files, 0);
	buf_fini(&body);
}

/* --- variants (RFC 9111 4.1) --- */

static void a_request_gets_the_variant_that_fits(void **state)
{
	for (int restarted = 0; restarted < 2; restarted++) {
		if (!restarted) {
			assert_int_equal(
				kit_put_for("/a", "Accept-Language: de\n", "Vary: Accept-Language\n", "hallo", 50), 0);
			assert_int_equal(
				kit_put_for("/a", "Accept-Language: en\n", "Vary: Accept-Language\n", "hello", 50), 0);
			assert_int_equal(kit_put_for("/a", "", "Vary: Accept-Language\n", "?", BIG), 0);
		} else {
			kit_reopen();
		}
		assert_true(kit_has_for("/a", "Accept-Language: de\n", "hallo", 50));
		assert_true(kit_has_for("/a", "Accept-Language: en\n", "hello", 50));
		assert_true(kit_has_for("/a", "Host: x\n", "?", BIG));
		assert_false(kit_has_for("/a", "Accept-Language: fr\n", "hello", 50));
		assert_int_equal(kit_figures().responses, 3);
	}
}

/* "A cache MUST use the most recent" (RFC 9111 4), by Date, also when that one is on disk only. */
static void of_several_that_fit_the_most_recent_is_served(void **state)
{
	static const char old_head[] = "Vary: A\nDate: Fri, 20 Nov 2026 10:00:00 GMT\n";
	static const char new_head[] = "Vary: B\nDate: Fri, 20 Nov 2026 10:00:01 GMT\n";
	struct kit_lines rq;
	struct stored *s = NULL;

	assert_int_equal(kit_put_for("/a", "A: 1\nB: 2\n", new_head, "new", 50), 0);
	assert_int_equal(kit_put_for("/a", "A: 1\nB: 2\n", old_head, "old", 50), 0);
	assert_true(kit_has_for("/a", "A: 1\nB: 2\n", "new", 50));
	assert_true(kit_has_for("/a", "A: 1\nB: 3\n", "old", 50));
	kit_reopen();
	assert_true(kit_has_for("/a", "A: 1\nB: 3\n", "old", 50)); /* this one is hot now, the other is not */
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, "A: 1\nB: 2\n"), &s), -EAGAIN);
	assert_true(kit_has_for("/a", "A: 1\nB: 2\n", "new", 50));
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), &rq.view, &s), 0);
	stored_unref(&s);
}

static void a_key_has_so_many_variants_and_no_more(void **state)
{
	char request[40], text[20];

	for (int i = 0; i < CACHE_MOST_VARIANTS + 10; i++) {
		(void)snprintf(request, sizeof(request), "User-Agent: %d\n", i);
		(void)snprintf(text, sizeof(text), "%d.", i);
		assert_int_equal(kit_put_for("/a", request, "Vary: User-Agent\n", text, 50), 0);
	}
	for (int restarted = 0; restarted < 2; restarted++) {
		assert_int_equal(kit_figures().responses, CACHE_MOST_VARIANTS);
		assert_false(kit_has_for("/a", "User-Agent: 0\n", "0.", 50));
		assert_true(kit_has_for("/a", "User-Agent: 73\n", "73.", 50));
		kit_reopen();
	}
}

/* --- replacing, updating, dropping --- */

static void a_newer_response_replaces_the_one_before(void **state)
{
	assert_int_equal(kit_put("/a", "first", 100), 0);
	assert_int_equal(kit_put("/a", "second", BIG), 0);
	assert_true(kit_has("/a", "second", BIG));
	assert_int_equal(kit_put("/a", "third", BIG), 0);
	assert_true(kit_has("/a", "third", BIG));
	assert_int_equal(kit_figures().responses, 1);
	kit_reopen();
	assert_int_equal(kit_figures().responses, 1);
	assert_true(kit_has("/a", "third", BIG));
	assert_int_equal(kit_files("bodies"), 1);
}

/* A 304: new head and times, the body stays. */
static void validate(const char *key, const char *head)
{
	struct kit_lines rq;
	struct stored *old = NULL, *fresh = NULL;
	struct stored_parts p;

	if (cache_peek(cache, slice_str(key), kit_lines(&rq, ""), &old) < 0)
		assert_int_equal(cache_load(cache, slice_str(key), &rq.view, &old), 0);
	p = (struct stored_parts){ .key = slice_str(key),
				   .head = slice_str(head),
				   .status = 200,
				   .request_wall_ms = 5,
				   .response_wall_ms = 6,
				   .body = old->body ? blob_ref(old->body) : NULL,
				   .file = old->file ? spool_ref(old->file) : NULL,
				   .body_bytes = old->body_bytes,
				   .body_crc = old->body_crc };
	assert_int_equal(stored_new(&p, &fresh), 0);
	assert_int_equal(cache_update(cache, old, fresh), 0);
	stored_unref(&old);
	stored_unref(&fresh);
}

static void a_304_changes_head_and_times_and_keeps_the_body(void **state)
{
	static const char *const keys[] = { "/small", "/large", "/none" };
	static const size_t sizes[] = { 100, BIG, 0 };

	for (int i = 0; i < 3; i++)
		assert_int_equal(kit_put(keys[i], "body", sizes[i]), 0);
	for (int round = 0; round < 3; round++) { /* hot; from disk; from disk and updated there again */
		for (int i = 0; i < 3; i++) {
			struct kit_lines rq;
			struct stored *s = NULL;
			validate(keys[i], round == 1 ? "ETag: \"2\"\nMore: 1\n" : "ETag: \"1\"\n");
			assert_int_equal(cache_peek(cache, slice_str(keys[i]), kit_lines(&rq, ""), &s), 0);
			assert_int_equal(s->lines.count, round == 1 ? 2 : 1);
			assert_int_equal(s->response_wall_ms, 6);
			stored_unref(&s);
			assert_true(kit_has(keys[i], "body", sizes[i]));
		}
		kit_reopen();
		for (int i = 0; i < 3; i++) {
			struct kit_lines rq;
			struct stored *s = NULL;
			assert_int_equal(cache_load(cache, slice_str(keys[i]), kit_lines(&rq, ""), &s), 0);
			assert_int_equal(s->lines.count, round == 1 ? 2 : 1);
			assert_int_equal(s->request_wall_ms, 5);
			stored_unref(&s);
			assert_true(kit_has(keys[i], "body", sizes[i]));
		}
	}
	assert_int_equal(kit_figures().responses, 3);
	assert_int_equal(kit_figures().damaged, 0);
}

static void a_304_for_what_is_gone_does_nothing(void **state)
{
	struct stored *old = kit_stored("/a", "", "", "old", 10), *fresh;
	struct stored_parts p = { .key = SLICE_LIT("/a"), .status = 200, .body = blob_ref(old->body) };

	assert_int_equal(cache_put(cache, old, cache_epoch(cache, SLICE_LIT("/a"))), 0);
	assert_int_equal(stored_new(&p, &fresh), 0);
	cache_drop(cache, SLICE_LIT("/a"));
	assert_int_equal(cache_update(cache, old, fresh), -ENOENT);
	assert_int_equal(kit_put("/a", "newer", 10), 0);
	assert_int_equal(cache_update(cache, old, fresh), -ENOENT);
	assert_true(kit_has("/a", "newer", 10));
	stored_unref(&old);
	stored_unref(&fresh);
}

static void what_was_dropped_is_gone_for_everybody_and_after_a_restart(void **state)
{
	assert_int_equal(kit_put("/a", "a", 100), 0);
	assert_int_equal(kit_put_for("/a", "X: 1\n", "Vary: X\n", "x", BIG), 0);
	assert_int_equal(kit_put("/b", "b", BIG), 0);
	cache_drop(cache, SLICE_LIT("/a"));
	for (int restarted = 0; restarted < 2; restarted++) {
		assert_false(kit_is_there("/a"));
		assert_false(kit_has_for("/a", "X: 1\n", "x", BIG));
		assert_true(kit_has("/b", "b", BIG));
		assert_int_equal(kit_figures().responses, 1);
		kit_reopen();
	}
	assert_int_equal(kit_files("bodies"), 1);
	cache_drop(cache, SLICE_LIT("/b")); /* from disk only */
	cache_sync(cache);
	assert_false(kit_is_there("/b"));
	assert_int_equal(kit_files("bodies"), 0);
	assert_int_equal(kit_figures().bytes, 0);
}

static void one_variant_can_be_dropped_alone(void **state)
{
	struct kit_lines rq;
	struct stored *s = NULL;

	assert_int_equal(kit_put_for("/a", "X: 1\n", "Vary: X\n", "one", 100), 0);
	assert_int_equal(kit_put_for("/a", "X: 2\n", "Vary: X\n", "two", 100), 0);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, "X: 1\n"), &s), 0);
	cache_drop_one(cache, s);
	cache_drop_one(cache, s); /* again: nothing */
	stored_unref(&s);
	assert_false(kit_has_for("/a", "X: 1\n", "one", 100));
	assert_true(kit_has_for("/a", "X: 2\n", "two", 100));
}

static void a_prefix_drops_what_is_hot_and_what_is_on_disk(void **state)
{
	assert_int_equal(kit_put("/d/a", "a", 100), 0);
	assert_int_equal(kit_put("/d/b", "b", BIG), 0);
	assert_int_equal(kit_put("/e", "e", 100), 0);
	kit_reopen();
	assert_int_equal(kit_put("/d/c", "c", BIG), 0);
	assert_true(kit_has("/d/a", "a", 100)); /* hot again */
	assert_int_equal(cache_drop_prefix(cache, SLICE_LIT("/d/")), 3);
	assert_int_equal(cache_drop_prefix(cache, SLICE_LIT("/d/")), 0);
	assert_false(kit_is_there("/d/a"));
	assert_false(kit_is_there("/d/b"));
	assert_false(kit_is_there("/d/c"));
	assert_true(kit_has("/e", "e", 100));
	assert_int_equal(kit_put("/f", "f", 100), 0);
	assert_int_equal(cache_drop_prefix(cache, SLICE_LIT("")), 2);
	kit_reopen();
	assert_int_equal(kit_figures().responses, 0);
	assert_int_equal(kit_files("bodies"), 0);
}

/* RFC 9111 4.4: what was asked for before the write must not be stored after it. */
static void an_answer_from_before_a_drop_is_not_stored(void **state)
{
	uint64_t before = cache_epoch(cache, SLICE_LIT("/a")), other = cache_epoch(cache, SLICE_LIT("/other"));
	struct stored *s = kit_stored("/a", "", "", "stale", 100), *b = kit_stored("/a", "", "", "big", BIG);

	assert_true(before != 0);
	cache_drop(cache, SLICE_LIT("/a")); /* nothing is stored yet */
	assert_int_equal(cache_put(cache, s, before), -ESTALE);
	assert_int_equal(cache_put(cache, b, before), -ESTALE);
	assert_false(kit_is_there("/a"));
	assert_int_equal(kit_figures().not_kept, 0);
	assert_int_equal(cache_put(cache, s, cache_epoch(cache, SLICE_LIT("/a"))), 0);
	cache_drop_one(cache, s); /* which leaves the epoch */
	assert_int_equal(cache_put(cache, b, cache_epoch(cache, SLICE_LIT("/a"))), 0);
	assert_int_equal(other, cache_epoch(cache, SLICE_LIT("/other")));
	before = cache_epoch(cache, SLICE_LIT("/a"));
	(void)cache_drop_prefix(cache, SLICE_LIT("/x"));
	assert_true(before != cache_epoch(cache, SLICE_LIT("/a")));
	stored_unref(&s);
	stored_unref(&b);
}

/* --- limits --- */

static void the_hot_tier_keeps_within_its_memory_and_files(void **state)
{
	char key[20];

	kit_options.memory_bytes = 40000;
	kit_options.most_files = 3;
	kit_reopen();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 40; i++) {
			(void)snprintf(key, sizeof(key), "/%d", i);
			if (round == 0)
				assert_int_equal(kit_put(key, key, i % 4 ? 4000 : BIG), 0);
			else
				assert_true(kit_has(key, key, i % 4 ? 4000 : BIG));
		}
		cache_sync(cache); /* what waits to be written stays in memory until then */
		assert_int_equal(kit_put("/last", "last", 10), 0);
		assert_in_range(kit_figures().hot_bytes, 1, 40000);
		assert_in_range(kit_figures().hot_files, 0, 3);
		assert_int_equal(kit_figures().responses, 41);
	}
}

static _Atomic int64_t wall_ms = 1800000000000;

static int64_t fake_clock(int wall)
{
	return wall ? wall_ms : wall_ms - 1000000000000;
}

static void the_least_recently_used_goes_first_also_after_a_restart(void **state)
{
	static const char *const keys[] = { "/a", "/b", "/c", "/d" };

	clock_set_fake(fake_clock);
	kit_options.max_bytes = 5 * 40000;
	kit_options.low_bytes = 4 * 40000;
	kit_reopen();
	for (int i = 0; i < 4; i++, wall_ms += 1000)
		assert_int_equal(kit_put(keys[i], keys[i], 38000), 0);
	assert_true(kit_is_there("/a")); /* b is the oldest now, then c */
	wall_ms += 1000;
	assert_int_equal(kit_put("/e", "/e", 38000), 0);
	wall_ms += 1000;
	kit_reopen();
	assert_int_equal(kit_figures().responses, 5);
	assert_int_equal(kit_put("/f", "/f", 38000), 0);
	assert_int_equal(kit_figures().evictions, 2);
	assert_false(kit_is_there("/b"));
	assert_false(kit_is_there("/c"));
	assert_true(kit_has("/d", "/d", 38000));
	assert_true(kit_has("/a", "/a", 38000));
	assert_true(kit_has("/f", "/f", 38000));
	cache_set_limits(cache, 2 * 40000, 40000);
	assert_int_equal(kit_figures().responses, 1);
	kit_reopen();
	assert_int_equal(kit_figures().responses, 1);
}

static void what_somebody_reads_stays_readable(void **state)
{
	struct kit_lines rq;
	struct stored *s = NULL;
	struct buf got = BUF_EMPTY, want = kit_body("large", BIG);

	assert_int_equal(kit_put("/a", "large", BIG), 0);
	assert_int_equal(cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, ""), &s), 0);
	cache_set_limits(cache, 1000, 500);
	cache_sync(cache);
	assert_int_equal(kit_figures().responses, 0);
	assert_int_equal(kit_files("bodies"), 0);
	kit_body_of(s, &got);
	assert_true(slice_eq(buf_slice(&got), buf_slice(&want)));
	stored_unref(&s);
	buf_fini(&got);
	buf_fini(&want);
}

static void what_is_larger_than_the_budget_is_not_kept(void **state)
{
	kit_options.max_bytes = kit_options.low_bytes = 100000;
	kit_reopen();
	assert_int_equal(kit_put("/a", "a", 20000), 0);
	assert_int_equal(kit_put("/b", "b", 100000), -ENOSPC);
	assert_int_equal(kit_figures().not_kept, 1);
	assert_true(kit_has("/a", "a", 20000));
	assert_false(kit_is_there("/b"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_put_is_found),
		T(what_was_put_is_found_after_a_restart),
		T(a_small_body_that_came_as_a_file_goes_into_the_row),
		T(a_request_gets_the_variant_that_fits),
		T(of_several_that_fit_the_most_recent_is_served),
		T(a_key_has_so_many_variants_and_no_more),
		T(a_newer_response_replaces_the_one_before),
		T(a_304_changes_head_and_times_and_keeps_the_body),
		T(a_304_for_what_is_gone_does_nothing),
		T(what_was_dropped_is_gone_for_everybody_and_after_a_restart),
		T(one_variant_can_be_dropped_alone),
		T(a_prefix_drops_what_is_hot_and_what_is_on_disk),
		T(an_answer_from_before_a_drop_is_not_stored),
		T(the_hot_tier_keeps_within_its_memory_and_files),
		T(the_least_recently_used_goes_first_also_after_a_restart),
		T(what_somebody_reads_stays_readable),
		T(what_is_larger_than_the_budget_is_not_kept),
	};

	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
