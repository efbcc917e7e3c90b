/* refs_test.c -- merging and the two views. refs_git_test.c compares answers with git's own. */
#include "git/refs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "git/refs_test_priv.h"

static void a_whole_listing_replaces_all(void **state)
{
	struct refs *r = NULL;

	(void)state;
	learn(&r, NULL, LINES("a refs/heads/main", "a HEAD >refs/heads/main", "b refs/tags/v1 ^a"), 5);
	expect(r, REFS_SEEN, NULL, "a HEAD >refs/heads/main, a refs/heads/main, b refs/tags/v1 ^a");
	learn(&r, NULL, LINES("c HEAD >refs/heads/main", "c refs/heads/main", "d refs/heads/new"), 6);
	expect(r, REFS_SEEN, NULL, "c HEAD >refs/heads/main, c refs/heads/main, d refs/heads/new");
	assert_int_equal(refs_contact_wall_ms(r), 6);
	learn(&r, NULL, (const char *const[]){ NULL }, 7);
	expect(r, REFS_SEEN, NULL, "");
	refs_unref(&r);
	assert_null(r);
}

static void a_listing_under_prefixes_deletes_only_there(void **state)
{
	struct refs *r = NULL;

	(void)state;
	learn(&r, NULL,
	      LINES("a HEAD >refs/heads/main", "a refs/heads/main", "b refs/heads/old", "c refs/pull/1/head",
		    "d refs/tags/v1"),
	      5);
	learn(&r, LINES("refs/heads/", "refs/tags/v"), LINES("a refs/heads/main", "e refs/heads/new"), 6);
	expect(r, REFS_SEEN, NULL, "a HEAD >refs/heads/main, a refs/heads/main, e refs/heads/new, c refs/pull/1/head");
	/* A server may say more than was asked: taken, and nothing deleted for it. */
	learn(&r, LINES("refs/tags/"), LINES("f refs/pull/2/head"), 7);
	expect(r, REFS_SEEN, LINES("refs/pull/"), "c refs/pull/1/head, f refs/pull/2/head");
	refs_unref(&r);
}

static void new_names_push_out_what_is_in_their_way(void **state)
{
	struct refs *r = NULL;

	(void)state;
	learn(&r, NULL, LINES("a refs/heads/foo", "b refs/heads/foo-bar", "c refs/heads/x/y/z", "d refs/heads/x/yy"),
	      5);
	learn(&r, LINES("refs/heads/foo/"), LINES("e refs/heads/foo/bar"), 6);
	expect(r, REFS_SEEN, NULL, "b refs/heads/foo-bar, e refs/heads/foo/bar, c refs/heads/x/y/z, d refs/heads/x/yy");
	learn(&r, LINES("refs/heads/x/y"), LINES("f refs/heads/x/y"), 7);
	expect(r, REFS_SEEN, LINES("refs/heads/x"), "f refs/heads/x/y");
	learn(&r, LINES("refs/heads/foo"), LINES("a refs/heads/foo"), 8);
	expect(r, REFS_SEEN, LINES("refs/heads/foo"), "a refs/heads/foo");
	refs_unref(&r);
}

static void head_and_its_target_agree_when_one_comes_alone(void **state)
{
	struct refs *r = NULL;

	(void)state;
	learn(&r, NULL, LINES("a HEAD >refs/heads/main", "a refs/heads/main"), 5);
	learn(&r, LINES("refs/heads/"), LINES("b refs/heads/main"), 6);
	expect(r, REFS_SEEN, NULL, "b HEAD >refs/heads/main, b refs/heads/main");
	learn(&r, LINES("HEAD"), LINES("c HEAD >refs/heads/main"), 7);
	expect(r, REFS_SEEN, NULL, "c HEAD >refs/heads/main, c refs/heads/main");
	learn(&r, LINES("refs/heads/"), (const char *const[]){ NULL }, 8);
	expect(r, REFS_SEEN, NULL, "- HEAD >refs/heads/main");
	learn(&r, LINES("refs/heads/"), LINES("d refs/heads/main"), 9);
	expect(r, REFS_SEEN, NULL, "d HEAD >refs/heads/main, d refs/heads/main");
	learn(&r, LINES("HEAD"), LINES("- HEAD >refs/heads/main"), 10);
	expect(r, REFS_SEEN, NULL, "- HEAD >refs/heads/main");
	refs_unref(&r);

	/* A HEAD whose target was never asked for stays as it was told. */
	learn(&r, LINES("HEAD"), LINES("a HEAD >refs/heads/main"), 5);
	learn(&r, LINES("refs/tags/"), LINES("b refs/tags/v1"), 6);
	expect(r, REFS_SEEN, LINES("HEAD"), "a HEAD >refs/heads/main");
	refs_unref(&r);
}

static void a_symbolic_ref_may_name_a_symbolic_one(void **state)
{
	struct refs *r = NULL, *again;
	struct buf file = BUF_EMPTY;

	(void)state;
	learn(&r, NULL, LINES("- HEAD >refs/heads/main", "- refs/x/HEAD >HEAD"), 5);
	learn(&r, LINES("refs/x/"), LINES("a refs/x/HEAD >HEAD"), 6);
	expect(r, REFS_SEEN, NULL, "a HEAD >refs/heads/main, a refs/x/HEAD >HEAD");
	refs_save(r, &file);
	assert_int_equal(refs_load(buf_slice(&file), &again), 0);
	assert_false(refs_differs(r, again));
	refs_unref(&again);
	learn(&r, LINES("refs/x/"), LINES("- refs/x/HEAD >HEAD"), 7);
	expect(r, REFS_SEEN, NULL, "- HEAD >refs/heads/main, - refs/x/HEAD >HEAD");
	refs_unref(&r);
	buf_fini(&file);
}

static void of_two_lines_with_one_name_the_last_counts(void **state)
{
	struct refs *r = NULL;

	(void)state;
	learn(&r, NULL, LINES("a refs/heads/x", "b refs/heads/a", "c refs/heads/x", "d refs/heads/x"), 5);
	expect(r, REFS_SEEN, NULL, "b refs/heads/a, d refs/heads/x");
	refs_unref(&r);
}

static void offline_only_what_is_here_is_listed(void **state)
{
	struct refs *r = NULL;

	(void)state;
	learn(&r, NULL, LINES("b HEAD >refs/heads/main", "b refs/heads/main", "c refs/heads/dev", "d refs/tags/v1 ^b"),
	      5);
	expect(r, REFS_SERVABLE, NULL, "");
	assert_int_equal(refs_behind_count(r, (struct slices){ 0 }), 3);
	make_servable(&r, LINES("a refs/heads/main", "d refs/tags/v1 ^b", "e refs/heads/gone"), true);
	expect(r, REFS_SERVABLE, NULL, "a HEAD >refs/heads/main, a refs/heads/main, d refs/tags/v1 ^b");
	expect(r, REFS_SEEN, NULL, "b HEAD >refs/heads/main, c refs/heads/dev, b refs/heads/main, d refs/tags/v1 ^b");
	assert_int_equal(refs_behind_count(r, (struct slices){ 0 }), 2);
	struct slice tags = SLICE_LIT("refs/tags/");
	assert_int_equal(refs_behind_count(r, (struct slices){ &tags, 1 }), 0);
	/* What upstream moves stays servable as it was, what it deletes goes. */
	learn(&r, NULL, LINES("f HEAD >refs/heads/main", "f refs/heads/main"), 6);
	expect(r, REFS_SERVABLE, NULL, "a HEAD >refs/heads/main, a refs/heads/main");
	make_servable(&r, LINES("f refs/heads/main"), false);
	expect(r, REFS_SERVABLE, NULL, "f HEAD >refs/heads/main, f refs/heads/main");
	assert_int_equal(refs_behind_count(r, (struct slices){ 0 }), 0);
	make_servable(&r, (const char *const[]){ NULL }, false);
	expect(r, REFS_SERVABLE, NULL, "f HEAD >refs/heads/main, f refs/heads/main");
	make_servable(&r, (const char *const[]){ NULL }, true);
	expect(r, REFS_SERVABLE, NULL, "");
	refs_unref(&r);
}

static void heads_target_must_be_listed_offline(void **state)
{
	struct refs *r = NULL;

	(void)state;
	/* The default branch moved to one that is not here: the old one still stands. */
	learn(&r, NULL, LINES("a HEAD >refs/heads/main", "a refs/heads/main"), 5);
	make_servable(&r, LINES("a HEAD >refs/heads/main", "a refs/heads/main"), true);
	learn(&r, NULL, LINES("b HEAD >refs/heads/trunk", "a refs/heads/main", "b refs/heads/trunk"), 6);
	expect(r, REFS_SERVABLE, NULL, "a HEAD >refs/heads/main, a refs/heads/main");
	/* Once it is here, it counts. */
	make_servable(&r, LINES("b refs/heads/trunk"), false);
	expect(r, REFS_SERVABLE, NULL, "b HEAD >refs/heads/trunk, a refs/heads/main, b refs/heads/trunk");
	/* No target here at all: no HEAD. */
	make_servable(&r, LINES("a refs/tags/x"), true);
	expect(r, REFS_SERVABLE, NULL, "");
	refs_unref(&r);

	/* Detached. */
	learn(&r, NULL, LINES("c HEAD", "a refs/heads/main"), 5);
	make_servable(&r, LINES("a refs/heads/main"), true);
	expect(r, REFS_SERVABLE, NULL, "a refs/heads/main");
	make_servable(&r, LINES("c HEAD", "a refs/heads/main"), true);
	expect(r, REFS_SERVABLE, NULL, "c HEAD, a refs/heads/main");
	refs_unref(&r);

	/* Unborn upstream: unborn here. */
	learn(&r, NULL, LINES("- HEAD >refs/heads/main", "a refs/heads/x"), 5);
	make_servable(&r, LINES("a refs/heads/x"), true);
	expect(r, REFS_SERVABLE, NULL, "- HEAD >refs/heads/main, a refs/heads/x");
	refs_unref(&r);
}

static void unborn_is_said_only_to_who_asks(void **state)
{
	struct lsrefs_args symrefs = { .symrefs = true }, unborn = { .unborn = true };
	struct refs *r = NULL;
	struct buf out = BUF_EMPTY;

	(void)state;
	learn(&r, NULL, LINES("- HEAD >refs/heads/main"), 5);
	refs_answer_v2(r, &symrefs, REFS_SEEN, &out);
	refs_answer_v2(r, &unborn, REFS_SEEN, &out);
	assert_string_equal(out.data, "00000000");
	buf_fini(&out);
	refs_unref(&r);
}

static void prefixes_may_overlap_and_come_in_any_order(void **state)
{
	struct refs *r = NULL;

	(void)state;
	learn(&r, NULL,
	      LINES("a HEAD >refs/heads/a", "a refs/heads/a", "b refs/heads/a-b", "c refs/heads/ab", "d refs/tags/a"),
	      5);
	expect(r, REFS_SEEN, LINES("refs/tags/", "refs/heads/a", "HEAD", "refs/heads/ab"),
	       "a HEAD >refs/heads/a, a refs/heads/a, b refs/heads/a-b, c refs/heads/ab, d refs/tags/a");
	expect(r, REFS_SEEN, LINES("refs/heads/a-"), "b refs/heads/a-b");
	expect(r, REFS_SEEN, LINES("refs/heads/a/"), "");
	expect(r, REFS_SEEN, LINES("refs/tags/a", "x"), "d refs/tags/a");
	expect(r, REFS_SEEN, LINES("\xff"), "");
	expect(r, REFS_SEEN, LINES("refs/heads/b", ""),
	       "a HEAD >refs/heads/a, a refs/heads/a, b refs/heads/a-b, c refs/heads/ab, d refs/tags/a");
	refs_unref(&r);
}

static void ids_are_found_in_their_views(void **state)
{
	struct refs *r = NULL;
	struct oid id;

	(void)state;
	learn(&r, NULL, LINES("b refs/heads/main", "d refs/tags/v1 ^c"), 5);
	make_servable(&r, LINES("a refs/heads/main", "d refs/tags/v1 ^c"), true);
	id = oid_of('a');
	assert_int_equal(refs_has_oid(r, &id), REFS_HAS_SERVABLE);
	id = oid_of('b');
	assert_int_equal(refs_has_oid(r, &id), REFS_HAS_SEEN);
	id = oid_of('c');
	assert_int_equal(refs_has_oid(r, &id), REFS_HAS_SEEN | REFS_HAS_SERVABLE);
	id = oid_of('d');
	assert_int_equal(refs_has_oid(r, &id), REFS_HAS_SEEN | REFS_HAS_SERVABLE);
	id = oid_of('e');
	assert_int_equal(refs_has_oid(r, &id), 0);
	refs_unref(&r);
}

static void single_refs_can_be_looked_up(void **state)
{
	struct refs *r = NULL;
	struct refs_info info;
	struct oid a = oid_of('a'), b = oid_of('b');

	(void)state;
	learn(&r, NULL, LINES("a HEAD >refs/heads/main", "a refs/heads/main", "b refs/tags/v1 ^a"), 5);
	make_servable(&r, LINES("a HEAD >refs/heads/main", "a refs/heads/main"), true);
	assert_int_equal(refs_count(r), 3);
	assert_true(refs_find(r, SLICE_LIT("refs/tags/v1"), &info));
	assert_true(oid_eq(info.seen, &b) && oid_eq(info.seen_peeled, &a));
	assert_null(info.servable);
	assert_true(refs_find(r, SLICE_LIT("HEAD"), &info));
	assert_true(slice_eq_str(info.seen_symref, "refs/heads/main") &&
		    slice_eq_str(info.servable_symref, "refs/heads/main"));
	assert_true(oid_eq(info.servable, &a));
	assert_false(refs_find(r, SLICE_LIT("refs/tags/v"), &info));
	refs_at(r, 1, &info);
	assert_true(slice_eq_str(info.name, "refs/heads/main"));
	refs_unref(&r);
}

static void differences_are_noticed(void **state)
{
	const char *const *first = LINES("a HEAD >refs/heads/main", "a refs/heads/main", "b refs/tags/v1 ^a");
	struct refs *a = NULL, *b = NULL;

	(void)state;
	learn(&a, NULL, first, 5);
	learn(&b, NULL, first, 6);
	assert_false(refs_seen_differs(a, b));
	assert_false(refs_differs(a, b));
	make_servable(&b, LINES("a refs/heads/main"), true);
	assert_false(refs_seen_differs(a, b));
	assert_true(refs_differs(a, b));
	learn(&b, NULL, LINES("a HEAD >refs/heads/x", "a refs/heads/main", "b refs/tags/v1 ^a"), 7);
	assert_true(refs_seen_differs(a, b));
	refs_unref(&b);
	learn(&b, NULL, LINES("a HEAD >refs/heads/main", "a refs/heads/main", "b refs/tags/v1 ^c"), 7);
	assert_true(refs_seen_differs(a, b));
	refs_unref(&b);
	learn(&b, NULL, LINES("a HEAD >refs/heads/main", "c refs/heads/main", "b refs/tags/v1 ^a"), 7);
	assert_true(refs_seen_differs(a, b));
	refs_unref(&b);
	b = refs_set_upstream(a, 2, SLICE_LIT("fetch=filter\n"));
	assert_true(refs_differs(a, b));
	assert_false(refs_seen_differs(a, b));
	refs_unref(&b);
	learn(&b, LINES("HEAD", "refs/"), first, 7);
	assert_false(refs_seen_differs(a, b));
	assert_true(refs_differs(a, b));
	refs_unref(&a);
	refs_unref(&b);
}

static void another_object_format_starts_anew(void **state)
{
	struct refs_listing *l = refs_listing_new(OID_SHA256);
	struct refs *r = NULL, *next;

	(void)state;
	learn(&r, NULL, LINES("a refs/heads/main", "b refs/heads/x"), 5);
	next = refs_set_upstream(r, 2, SLICE_LIT("fetch\n"));
	refs_unref(&r);
	r = next;
	next = refs_merge(r, l, (struct slices){ (struct slice[]){ SLICE_LIT("refs/tags/") }, 1 }, 6);
	assert_int_equal(refs_format(next), OID_SHA256);
	assert_int_equal(refs_count(next), 0);
	assert_false(refs_covers_whole(next));
	assert_int_equal(refs_upstream_version(next), 2);
	refs_listing_free(l);
	refs_unref(&r);
	refs_unref(&next);
}

static void a_snapshot_outlives_the_one_it_was_made_from(void **state)
{
	struct refs *r = NULL, *held;

	(void)state;
	learn(&r, NULL, LINES("a HEAD >refs/heads/main", "a refs/heads/main"), 5);
	held = refs_ref(r);
	learn(&r, LINES("refs/tags/"), LINES("b refs/tags/v1"), 6);
	expect(held, REFS_SEEN, NULL, "a HEAD >refs/heads/main, a refs/heads/main");
	refs_unref(&held);
	expect(r, REFS_SEEN, NULL, "a HEAD >refs/heads/main, a refs/heads/main, b refs/tags/v1");
	refs_unref(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_listing_replaces_all),
		cmocka_unit_test(a_listing_under_prefixes_deletes_only_there),
		cmocka_unit_test(new_names_push_out_what_is_in_their_way),
		cmocka_unit_test(head_and_its_target_agree_when_one_comes_alone),
		cmocka_unit_test(a_symbolic_ref_may_name_a_symbolic_one),
		cmocka_unit_test(of_two_lines_with_one_name_the_last_counts),
		cmocka_unit_test(offline_only_what_is_here_is_listed),
		cmocka_unit_test(heads_target_must_be_listed_offline),
		cmocka_unit_test(unborn_is_said_only_to_who_asks),
		cmocka_unit_test(prefixes_may_overlap_and_come_in_any_order),
		cmocka_unit_test(ids_are_found_in_their_views),
		cmocka_unit_test(single_refs_can_be_looked_up),
		cmocka_unit_test(differences_are_noticed),
		cmocka_unit_test(another_object_format_starts_anew),
		cmocka_unit_test(a_snapshot_outlives_the_one_it_was_made_from),
	};

	return cmocka_run_group_tests_name("refs", tests, NULL, NULL);
}
