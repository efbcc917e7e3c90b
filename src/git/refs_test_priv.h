/* refs_test_priv.h -- snapshots as short texts, for the tests of refs*.c. */
#ifndef WEIR_GIT_REFS_TEST_PRIV_H
#define WEIR_GIT_REFS_TEST_PRIV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "git/refs.h"

#define LINES(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define MOST 32

/* "a" is the id aaaa...; one hexadecimal digit is enough to tell ids apart here. */
static inline struct oid oid_of(char c)
{
	struct oid id = { { 0 } };
	int n = c >= 'a' ? c - 'a' + 10 : c - '0';

	memset(id.bytes, n << 4 | n, 20);
	return id;
}

/* "a refs/heads/x", "a refs/tags/v1 ^b", "a HEAD >refs/heads/main", "- HEAD >refs/heads/main" (unborn). */
static inline struct lsref ref_of(const char *text)
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

static inline struct slices slices_of(const char *const *prefixes, struct slice store[MOST])
{
	size_t n = 0;

	for (; prefixes && prefixes[n]; n++)
		store[n] = slice_str(prefixes[n]);
	return (struct slices){ store, n };
}

/* *r becomes the snapshot after upstream answered `lines` to a question for `prefixes` (NULL: whole). */
static inline void learn(struct refs **r, const char *const *prefixes, const char *const *lines, int64_t wall_ms)
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

static inline void make_servable(struct refs **r, const char *const *lines, bool complete)
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
static inline void say(const struct refs *r, enum refs_view v, const char *const *prefixes, struct buf *out)
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

static inline void expect(const struct refs *r, enum refs_view v, const char *const *prefixes, const char *want)
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

#endif
