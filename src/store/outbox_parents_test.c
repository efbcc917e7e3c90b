/* outbox_parents_test.c -- what an entry is based on, and what the end of one does to those that are based on it. */
#include "store/outbox_test_kit.h"

static void base_is(struct kit *k, uint64_t seq, uint64_t parent, const char *etag)
{
	struct outbox_entry e;

	assert_int_equal(outbox_get(k->ob, seq, &e), 0);
	assert_int_equal(e.parent, parent);
	if (!parent) {
		assert_int_equal(e.base.known, etag != NULL);
		if (etag)
			assert_string_equal(e.base.etag.data, etag);
	}
	outbox_entry_fini(&e);
}

static uint64_t put_based(struct kit *k, const char *key, const char *etag)
{
	struct outbox_write w = kit_write(key, "x");
	struct outbox_receipt got;

	w.base = (struct outbox_base){ .known = true, .etag = BUF_EMPTY };
	buf_add_str(&w.base.etag, etag);
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	outbox_base_fini(&w.base);
	return got.seq;
}

static void settle_with_base(struct kit *k, uint64_t seq, enum outbox_state to, const char *etag)
{
	struct outbox_settlement s = { .to = to, .status = 412, .base = { .known = true, .etag = BUF_EMPTY } };

	buf_add_str(&s.base.etag, etag);
	assert_int_equal(outbox_settle(k->q, seq, &s), 0);
	outbox_base_fini(&s.base);
}

static void a_child_is_based_on_what_upstream_has_when_its_parent_is_applied(void **state)
{
	struct kit *k = *state;
	uint64_t a = put_based(k, "/a", "\"v1\""), b = put_based(k, "/a", "\"not this\""),
		 c = put_based(k, "/a", "\"nor this\"");

	base_is(k, a, 0, "\"v1\"");
	base_is(k, b, a, NULL);
	base_is(k, c, b, NULL);
	assert_int_equal(kit_lend(k, 1), a);
	settle_with_base(k, a, OUTBOX_APPLIED, "\"v2\"");
	base_is(k, b, 0, "\"v2\"");
	base_is(k, c, b, NULL);
	kit_reopen(k);
	assert_int_equal(kit_lend(k, 1), b);
	settle_with_base(k, b, OUTBOX_APPLIED, "\"v3\"");
	base_is(k, c, 0, "\"v3\"");
}

static void a_write_to_another_uri_or_on_a_post_has_no_parent(void **state)
{
	struct kit *k = *state;
	struct outbox_write w = kit_write("/a", "x");
	struct outbox_receipt got;

	w.method = SLICE_LIT("POST");
	w.is_base = w.wants_parent = false;
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	base_is(k, put_based(k, "/a", "\"v1\""), 0, "\"v1\"");
	w = kit_write("/a", "x");
	w.uri = SLICE_LIT("/a?other");
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	base_is(k, got.seq, 0, NULL);
}

static void descendants_follow_into_conflict_and_back(void **state)
{
	struct kit *k = *state;
	uint64_t a = put_based(k, "/a", "\"v1\""), b = put_based(k, "/a", "\"-\""), c = put_based(k, "/a", "\"-\"");
	struct outbox_base now = { .known = true, .etag = BUF_EMPTY };
	struct outbox_entry e;
	uint64_t d;

	assert_int_equal(kit_lend(k, 1), a);
	settle_with_base(k, a, OUTBOX_CONFLICT, "\"theirs\"");
	assert_int_equal(kit_state(k, a), OUTBOX_CONFLICT);
	assert_int_equal(kit_state(k, b), OUTBOX_CONFLICT);
	assert_int_equal(kit_state(k, c), OUTBOX_CONFLICT);
	assert_int_equal(outbox_get(k->ob, c, &e), 0);
	assert_string_equal(e.theirs.etag.data, "\"theirs\"");
	outbox_entry_fini(&e);
	assert_true(outbox_is_idle(k->q));
	d = put_based(k, "/a", "\"theirs\"");
	base_is(k, d, 0, "\"theirs\""); /* not on what is in conflict */
	kit_reopen(k);
	buf_add_str(&now.etag, "\"theirs\"");
	assert_int_equal(outbox_rebase(k->ob, a, &now), 0);
	assert_int_equal(kit_state(k, c), OUTBOX_QUEUED);
	base_is(k, a, 0, "\"theirs\"");
	base_is(k, b, a, NULL);
	base_is(k, c, b, NULL);
	assert_int_equal(kit_lend(k, 1), a);
	settle_with_base(k, a, OUTBOX_APPLIED, "\"v2\"");
	assert_int_equal(kit_lend(k, 1), b);
	base_is(k, b, 0, "\"v2\"");
	outbox_base_fini(&now);
}

static void children_of_what_is_dropped_or_resolved_inherit_its_base(void **state)
{
	struct kit *k = *state;
	uint64_t a = put_based(k, "/a", "\"v1\""), b = put_based(k, "/a", "\"-\""), c = put_based(k, "/a", "\"-\"");

	assert_int_equal(outbox_drop(k->ob, b), 0);
	base_is(k, c, a, NULL);
	assert_int_equal(outbox_drop(k->ob, a), 0);
	base_is(k, c, 0, "\"v1\"");
	assert_int_equal(kit_lend(k, 1), c);
	settle_with_base(k, c, OUTBOX_CONFLICT, "\"theirs\"");
	assert_int_equal(outbox_resolve(k->ob, c), 0);
	assert_int_equal(kit_state(k, c), OUTBOX_RESOLVED);
	assert_true(outbox_is_idle(k->q));
}

static void retrying_a_child_alone_gives_it_the_base_of_the_oldest_it_was_built_on(void **state)
{
	struct kit *k = *state;
	uint64_t a = put_based(k, "/a", "\"v1\""), b = put_based(k, "/a", "\"-\""), c = put_based(k, "/a", "\"-\"");

	assert_int_equal(kit_lend(k, 1), a);
	settle_with_base(k, a, OUTBOX_CONFLICT, "\"theirs\"");
	assert_int_equal(outbox_retry(k->ob, b), 0);
	assert_int_equal(kit_state(k, a), OUTBOX_CONFLICT);
	assert_int_equal(kit_state(k, c), OUTBOX_QUEUED);
	base_is(k, b, 0, "\"v1\"");
	base_is(k, c, b, NULL);
	assert_int_equal(kit_lend(k, 1), b);
	settle_with_base(k, b, OUTBOX_APPLIED, "\"v2\"");
	base_is(k, c, 0, "\"v2\"");
}

#define KIT(test) cmocka_unit_test_setup_teardown(test, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIT(a_child_is_based_on_what_upstream_has_when_its_parent_is_applied),
		KIT(a_write_to_another_uri_or_on_a_post_has_no_parent),
		KIT(descendants_follow_into_conflict_and_back),
		KIT(children_of_what_is_dropped_or_resolved_inherit_its_base),
		KIT(retrying_a_child_alone_gives_it_the_base_of_the_oldest_it_was_built_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
