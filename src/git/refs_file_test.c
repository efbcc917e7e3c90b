/* refs_file_test.c -- what is kept of a snapshot: what was asked, its file, git's files; and limits. */
#include "git/refs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "git/refs_test_priv.h"

#define AAAA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
/* An id of one digit. */
#define HEX(c) \
#c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c #c

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
		cmocka_unit_test(what_was_asked_is_remembered),
		cmocka_unit_test(what_was_asked_is_remembered_within_limits),
		cmocka_unit_test(a_listing_has_limits),
		cmocka_unit_test(a_file_brings_everything_back),
		cmocka_unit_test(a_file_that_does_not_hold_is_refused),
		cmocka_unit_test(git_gets_its_files),
		cmocka_unit_test(a_hundred_thousand_refs_are_fine),
	};

	return cmocka_run_group_tests_name("refs_file", tests, NULL, NULL);
}
