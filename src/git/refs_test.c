/* refs_test.c -- merging, the two views, what is covered, and the file. refs_git_test.c compares answers with git's
 * own. */
#include "git/refs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"

#define LINES(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define MOST 32

/* "a" is the id aaaa...; one hexadecimal digit is enough to tell ids apart here. */
static struct oid oid_of(char c)
{
	struct oid id = { { 0 } };
	int n = c >= 'a' ? c - 'a' + 10 : c - '0';

	memset(id.bytes, n << 4 | n, 20);
	return id;
}

/* "a refs/heads/x", "a refs/tags/v1 ^b", "a HEAD >refs/heads/main", "- HEAD >refs/heads/main" (unborn). */
static struct lsref ref_of(const char *text)
{
	struct slice s = slice_str(text), word;
	struct lsref ref = { 0 };
	bool more;

	assert_true(slice_cut(&s, ' ', &word));
	ref.unborn = word.p[0] == '-';
	if (!ref.unborn)
		ref.oid = oid_of(word.p[0]);
	more = slice_cut(&s, ' ', &ref.name);
	while (more) {
		more = slice_cut(&s, ' ', &word);
		if (word.p[0] == '>') {
			ref.symref = slice_from(word, 1);
		} else {
			ref.has_peeled = true;
			ref.peeled = oid_of(word.p[1]);
		}
	}
	return ref;
}

static struct slices slices_of(const char *const *prefixes, struct slice store[MOST])
{
	size_t n = 0;

	for (; prefixes && prefixes[n]; n++)
		store[n] = slice_str(prefixes[n]);
	return (struct slices){ store, n };
}

/* *r becomes the snapshot after upstream answered `lines` to a question for `prefixes` (NULL: whole). */
static void learn(struct refs **r, const char *const *prefixes, const char *const *lines, int64_t wall_ms)
{
	struct refs_listing *l = refs_listing_new(OID_SHA1);
	struct slice store[MOST];
	struct refs *next;

	for (; *lines; lines++) {
		struct lsref ref = ref_of(*lines);

		assert_int_equal(refs_listing_add(l, &ref), 0);
	}
	next = refs_merge(*r, l, slices_of(prefixes, store), wall_ms);
	refs_listing_free(l);
	refs_unref(r);
	*r = next;
}

static void make_servable(struct refs **r, const char *const *lines, bool complete)
{
	struct lsref items[MOST];
	struct refs *next;
	size_t n = 0;

	for (; lines[n]; n++)
		items[n] = ref_of(lines[n]);
	next = refs_set_servable(*r, items, n, complete);
	refs_unref(r);
	*r = next;
}

/* The answer with packet lengths gone and ids cut to a digit: "a HEAD >refs/heads/main, a refs/heads/main". */
static void say(const struct refs *r, enum refs_view v, const char *const *prefixes, struct buf *out)
{
	struct slice store[MOST], wire, line, word;
	struct lsrefs_args args = {
		.peel = true, .symrefs = true, .unborn = true, .prefixes = slices_of(prefixes, store)
	};
	struct buf answer = BUF_EMPTY;
	struct pkt pkt;
	bool more, first = true;

	refs_answer_v2(r, &args, v, &answer);
	wire = buf_slice(&answer);
	buf_reset(out);
	while (pkt_next(&wire, &pkt) == 1 && pkt.type == PKT_DATA) {
		line = pkt_text(&pkt);
		if (out->len)
			buf_add_str(out, ", ");
		first = true;
		do {
			more = slice_cut(&line, ' ', &word);
			if (first)
				buf_add_char(out, slice_eq_str(word, "unborn") ? '-' : word.p[0]);
			else if (slice_starts(word, "symref-target:"))
				buf_addf(out, " >%.*s", (int)word.n - 14, word.p + 14);
			else if (slice_starts(word, "peeled:"))
				buf_addf(out, " ^%c", word.p[7]);
			else
				buf_addf(out, " %.*s", (int)word.n, word.p);
			first = false;
		} while (more);
	}
	assert_int_equal(pkt.type, PKT_FLUSH);
	assert_int_equal(wire.n, 0);
	buf_fini(&answer);
}

static void expect(const struct refs *r, enum refs_view v, const char *const *prefixes, const char *want)
{
	struct slice store[MOST];
	struct buf got = BUF_EMPTY;
	size_t lines = 0;

	say(r, v, prefixes, &got);
	assert_string_equal(got.data, want);
	for (const char *p = want; *p; p = strstr(p, ", ") ? strstr(p, ", ") + 2 : "")
		lines += *p != '-';
	assert_int_equal(refs_match_count(r, slices_of(prefixes, store), v), lines);
	if (!prefixes)
		assert_int_equal(refs_listed_count(r, v), lines);
	buf_fini(&got);
}

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

static void what_was_asked_is_remembered(void **state)
{
	struct slice store[MOST];
	struct refs *r = refs_new(OID_SHA1);

	(void)state;
	assert_false(refs_covers(r, slices_of(LINES("HEAD"), store)));
	learn(&r, LINES("refs/heads/main"), LINES("a refs/heads/main"), 50);
	learn(&r, LINES("refs/tags/"), (const char *const[]){ NULL }, 60);
	assert_true(refs_covers(r, slices_of(LINES("refs/heads/main"), store)));
	assert_true(refs_covers(r, slices_of(LINES("refs/heads/main2"), store)));
	assert_true(refs_covers(r, slices_of(LINES("refs/tags/v1", "refs/heads/main"), store)));
	assert_int_equal(refs_covered_since(r, slices_of(LINES("refs/tags/v1", "refs/heads/main"), store)), 50);
	assert_int_equal(refs_covered_since(r, slices_of(LINES("refs/tags/v1"), store)), 60);
	assert_false(refs_covers(r, slices_of(LINES("refs/heads/"), store)));
	assert_false(refs_covers(r, slices_of(LINES("refs/tags/", "HEAD"), store)));
	assert_false(refs_covers(r, (struct slices){ 0 }));
	assert_false(refs_covers_whole(r));
	learn(&r, LINES("refs/"), LINES("a refs/heads/main"), 70);
	assert_true(refs_covers(r, slices_of(LINES("refs/heads/"), store)));
	assert_int_equal(refs_covered_since(r, slices_of(LINES("refs/tags/v1"), store)), 70);
	assert_false(refs_covers(r, (struct slices){ 0 }));
	learn(&r, NULL, LINES("a refs/heads/main"), 80);
	assert_true(refs_covers_whole(r));
	assert_true(refs_covers(r, slices_of(LINES("anything"), store)));
	learn(&r, LINES("refs/heads/"), LINES("a refs/heads/main"), 90);
	assert_int_equal(refs_covered_since(r, slices_of(LINES("refs/heads/x"), store)), 90);
	assert_int_equal(refs_covered_since(r, slices_of(LINES("refs/tags/"), store)), 80);
	assert_int_equal(refs_covered_since(r, (struct slices){ 0 }), 80);
	refs_unref(&r);
}

static void what_was_asked_is_remembered_within_limits(void **state)
{
	struct refs *r = refs_new(OID_SHA1), *next;
	struct refs_listing *l = refs_listing_new(OID_UNKNOWN);
	struct slice *many = xcalloc(REFS_MAX_COVERED + 10, sizeof(*many)), first = SLICE_LIT("refs/first/");
	char *text = xcalloc(REFS_MAX_COVERED + 10, 32);

	(void)state;
	for (size_t i = 0; i < REFS_MAX_COVERED + 10; i++)
		many[i] = (struct slice){ text + 32 * i, (size_t)snprintf(text + 32 * i, 32, "refs/many/%05zu/", i) };
	next = refs_merge(r, l, (struct slices){ &first, 1 }, 5);
	refs_unref(&r);
	r = next;
	assert_true(refs_covers(r, (struct slices){ &first, 1 }));
	next = refs_merge(r, l, (struct slices){ many, REFS_MAX_COVERED + 10 }, 6);
	refs_unref(&r);
	r = next;
	assert_int_equal(refs_format(r), OID_SHA1);
	assert_false(refs_covers(r, (struct slices){ &first, 1 }));
	assert_false(refs_covers(r, (struct slices){ many, 1 }));
	assert_true(refs_covers(r, (struct slices){ many + 10, REFS_MAX_COVERED }));
	refs_listing_free(l);
	refs_unref(&r);
	free(many);
	free(text);
}

static void a_listing_has_limits(void **state)
{
	struct refs_listing *l = refs_listing_new(OID_UNKNOWN);
	char *name = xmalloc(LSREFS_MAX_NAME + 1);
	struct lsref ref = { .name = { name, LSREFS_MAX_NAME } };

	(void)state;
	memset(name, 'x', LSREFS_MAX_NAME + 1);
	assert_int_equal(refs_listing_add(l, &ref), 0);
	ref.name.n++;
	assert_int_equal(refs_listing_add(l, &ref), WEIR_E_TOO_LARGE);
	assert_int_equal(refs_listing_count(l), 1);
	ref.name.n = 1;
	for (size_t i = 1; i < REFS_MAX_COUNT; i++)
		assert_int_equal(refs_listing_add(l, &ref), 0);
	assert_int_equal(refs_listing_add(l, &ref), WEIR_E_TOO_LARGE);
	refs_listing_free(l);
	refs_listing_free(NULL);
	free(name);
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

static void a_file_brings_everything_back(void **state)
{
	struct refs *r = NULL, *again, *next;
	struct buf file = BUF_EMPTY, second = BUF_EMPTY;
	struct slice store[MOST];

	(void)state;
	learn(&r, LINES("HEAD", "refs/"),
	      LINES("- HEAD >refs/heads/none", "a refs/heads/main", "b refs/remotes/origin/HEAD >refs/heads/main",
		    "c refs/tags/v1 ^d"),
	      1234);
	make_servable(&r, LINES("e refs/heads/main", "c refs/tags/v1 ^d", "e HEAD >refs/heads/main"), true);
	next = refs_set_upstream(r, 2, SLICE_LIT("agent=git/2\nls-refs=unborn\n"));
	refs_unref(&r);
	r = next;
	refs_save(r, &file);
	assert_int_equal(refs_load(buf_slice(&file), &again), 0);
	assert_false(refs_differs(r, again));
	refs_save(again, &second);
	assert_string_equal(second.data, file.data);
	assert_int_equal(refs_contact_wall_ms(again), 1234);
	assert_true(slice_eq_str(refs_upstream_caps(again), "agent=git/2\nls-refs=unborn\n"));
	assert_int_equal(refs_upstream_version(again), 2);
	assert_int_equal(refs_covered_since(again, slices_of(LINES("refs/heads/x", "HEAD"), store)), 1234);
	assert_false(refs_covers_whole(again));
	assert_int_equal(refs_listed_count(again, REFS_SERVABLE), refs_listed_count(r, REFS_SERVABLE));
	refs_unref(&again);
	/* Cut anywhere, it is refused. */
	for (size_t n = 0; n < file.len; n++)
		assert_int_equal(refs_load((struct slice){ file.data, n }, &again), WEIR_E_PARSE);
	refs_unref(&r);
	buf_reset(&file);
	r = refs_new(OID_UNKNOWN);
	refs_save(r, &file);
	assert_int_equal(refs_load(buf_slice(&file), &again), 0);
	assert_false(refs_differs(r, again));
	refs_unref(&again);
	refs_unref(&r);
	buf_fini(&file);
	buf_fini(&second);
}

#define AAAA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void a_file_that_does_not_hold_is_refused(void **state)
{
	static const char *const rows[] = {
		"",
		"format sha1\n",
		"format md5\nend 0\n",
		"end 1\n",
		"end 0",
		"end 0\nend 0\n",
		"end x\n",
		"nonsense\nend 0\n",
		"contact -1\nend 0\n",
		"upstream 3\nend 0\n",
		"covered 0\nend 0\n",
		"covered 5 \nend 0\n",
		"ref " AAAA " - - - - - refs/heads/a\nend 1\n", /* ids before the format */
		"format sha256\nref " AAAA " - - - - - refs/heads/a\nend 1\n",
		"format sha1\nref " AAAA " - - - - - refs/heads/a\nend 2\n",
		"format sha1\nref - - - - - - refs/heads/a\nend 1\n",
		"format sha1\nref unborn - - - - - HEAD\nend 1\n",
		"format sha1\nref = - - - - - refs/heads/a\nend 1\n",
		"format sha1\nref " AAAA " - - = - - refs/heads/a\nend 1\n",
		"format sha1\nref " AAAA " - - - - = HEAD\nend 1\n",
		"format sha1\nref " AAAA " - - - ../x - HEAD\nend 1\n",
		"format sha1\nref " AAAA " - - - - - refs/heads/a b\nend 1\n",
		"format sha1\nref " AAAA " - - - - - ../../etc\nend 1\n",
		"format sha1\nref " AAAA " - - - - refs/heads/a\nend 1\n",
		"format sha1\nref " AAAA " - - - - - refs/heads/b\nref " AAAA " - - - - - refs/heads/a\nend 2\n",
		"format sha1\nref " AAAA " - - - - - refs/heads/a\nref " AAAA " - - - - - refs/heads/a\nend 2\n",
	};
	struct refs *r = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (refs_load(slice_str(rows[i]), &r) != WEIR_E_PARSE)
			fail_msg("accepted %s", rows[i]);
	assert_null(r);
	assert_int_equal(refs_load(SLICE_LIT("format sha1\nref " AAAA " - - - - - refs/heads/a\nend 1\n"), &r), 0);
	refs_unref(&r);
}

#define HEX(c) \
#c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c

static void git_gets_its_files(void **state)
{
	struct refs *r = NULL;
	struct buf out = BUF_EMPTY;

	(void)state;
	learn(&r, NULL, LINES("a HEAD >refs/heads/main", "a refs/heads/main", "b refs/tags/v1 ^c", "d refs/heads/far",
			      "a refs/remotes/origin/HEAD >refs/heads/main"), 5);
	assert_int_equal(refs_head_file(r, &out), 0);
	assert_string_equal(out.data, "ref: refs/heads/main\n");
	buf_reset(&out);
	make_servable(&r,
		      LINES("e refs/heads/main", "b refs/tags/v1 ^c", "e refs/remotes/origin/HEAD >refs/heads/main"),
		      true);
	refs_packed_refs(r, &out);
	assert_string_equal(out.data, "# pack-refs with: peeled fully-peeled sorted \n" HEX(e) " refs/heads/main\n" HEX(
					      b) " refs/tags/v1\n^" HEX(c) "\n");
	buf_reset(&out);
	learn(&r, LINES("HEAD"), LINES("f HEAD"), 6);
	assert_int_equal(refs_head_file(r, &out), -ENOENT);
	make_servable(&r, LINES("f HEAD"), false);
	assert_int_equal(refs_head_file(r, &out), 0);
	assert_string_equal(out.data, HEX(f) "\n");
	buf_reset(&out);
	learn(&r, LINES("HEAD"), (const char *const[]){ NULL }, 7);
	assert_int_equal(refs_head_file(r, &out), -ENOENT);
	refs_unref(&r);
	buf_fini(&out);
}

static void a_hundred_thousand_refs_are_fine(void **state)
{
	struct refs_listing *l = refs_listing_new(OID_SHA1);
	struct lsrefs_args args = { .peel = true, .symrefs = true };
	struct slice one = SLICE_LIT("refs/heads/branch-054321");
	struct buf out = BUF_EMPTY;
	struct refs *r, *again;
	char name[64];
	int64_t start, whole = INT64_MAX, hundred = INT64_MAX;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		unsigned n = i * 7919u % 100000u;    /* not in order */
		struct lsref ref = { .name = { name,
					       (size_t)snprintf(name, sizeof(name), "refs/heads/branch-%06u", n) } };

		memcpy(ref.oid.bytes, &n, sizeof(n));
		ref.oid.bytes[19] = 1;
		assert_int_equal(refs_listing_add(l, &ref), 0);
	}
	r = refs_merge(NULL, l, (struct slices){ 0 }, 5);
	refs_listing_free(l);
	assert_int_equal(refs_count(r), 100000);
	/* A prefix costs what it lists, not what there is: 100 questions for one take less than one for all. */
	for (int round = 0; round < 5; round++) {
		args.prefixes = (struct slices){ NULL, 0 };
		start = clock_mono_us();
		buf_reset(&out);
		refs_answer_v2(r, &args, REFS_SEEN, &out);
		whole = clock_mono_us() - start < whole ? clock_mono_us() - start : whole;
		args.prefixes = (struct slices){ &one, 1 };
		start = clock_mono_us();
		for (int i = 0; i < 100; i++) {
			buf_reset(&out);
			refs_answer_v2(r, &args, REFS_SEEN, &out);
		}
		hundred = clock_mono_us() - start < hundred ? clock_mono_us() - start : hundred;
	}
	assert_int_equal(out.len, 4 + 40 + 1 + one.n + 1 + 4);
	assert_true(hundred < whole);
	buf_reset(&out);
	refs_save(r, &out);
	assert_int_equal(refs_load(buf_slice(&out), &again), 0);
	assert_false(refs_differs(r, again));
	refs_unref(&again);
	refs_unref(&r);
	buf_fini(&out);
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
		cmocka_unit_test(what_was_asked_is_remembered),
		cmocka_unit_test(what_was_asked_is_remembered_within_limits),
		cmocka_unit_test(a_listing_has_limits),
		cmocka_unit_test(ids_are_found_in_their_views),
		cmocka_unit_test(single_refs_can_be_looked_up),
		cmocka_unit_test(differences_are_noticed),
		cmocka_unit_test(another_object_format_starts_anew),
		cmocka_unit_test(a_snapshot_outlives_the_one_it_was_made_from),
		cmocka_unit_test(a_file_brings_everything_back),
		cmocka_unit_test(a_file_that_does_not_hold_is_refused),
		cmocka_unit_test(git_gets_its_files),
		cmocka_unit_test(a_hundred_thousand_refs_are_fine),
	};

	return cmocka_run_group_tests_name("refs", tests, NULL, NULL);
}
