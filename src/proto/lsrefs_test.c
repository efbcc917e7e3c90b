/* lsrefs_test.c -- names, prefixes, and upstream's answers in pieces of every size. */
#include "proto/lsrefs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

#define A40 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B40 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C64 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static void names_are_those_that_git_accepts(void **state)
{
	static const char *const good[] = { "HEAD",           "refs/heads/main",     "refs/heads/a/b/c",
					    "refs/x",         "refs/heads/a.b",      "refs/heads/a@b",
					    "refs/heads/@",   "refs/heads/-x",       "refs/pull/1/merge",
					    "refs/tags/v1.0", "refs/heads/\xc3\xa4", "refs/heads/a{b" };
	static const char *const bad[] = { "",
					   "refs",
					   "refs/",
					   "heads/main",
					   "head",
					   "FETCH_HEAD",
					   "/refs/heads/x",
					   "refs//heads",
					   "refs/heads/",
					   "refs/heads/.x",
					   "refs/.x/y",
					   "refs/heads/a..b",
					   "refs/heads/a.",
					   "refs/heads/x.lock",
					   "refs/x.lock/y",
					   "refs/heads/a b",
					   "refs/heads/a\tb",
					   "refs/heads/a\x7f",
					   "refs/heads/a~1",
					   "refs/heads/a^{}",
					   "refs/heads/a:b",
					   "refs/heads/a?",
					   "refs/heads/a*",
					   "refs/heads/a[",
					   "refs/heads/a\\b",
					   "refs/heads/a@{1}",
					   "refs/heads/../../x",
					   "--upload-pack=x",
					   "refs/heads/a\nb",
					   ".have",
					   "capabilities^{}" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(lsrefs_name_is_valid(slice_str(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (lsrefs_name_is_valid(slice_str(bad[i])))
			fail_msg("accepted %s", bad[i]);
	assert_false(lsrefs_name_is_valid((struct slice){ "refs/a\0b", 8 }));
}

static void a_set_of_prefixes_is_made_least(void **state)
{
	static const struct {
		const char *in[5], *want;
	} rows[] = {
		{ { "refs/tags/", "refs/heads/", "HEAD" }, "HEAD refs/heads/ refs/tags/ " },
		{ { "refs/heads/main", "refs/heads/", "refs/heads/x" }, "refs/heads/ " },
		{ { "a", "b", "a", "b" }, "a b " },
		{ { "refs/heads/a", "refs/heads/ab", "refs/heads/b" }, "refs/heads/a refs/heads/b " },
		{ { "refs/heads/a-", "refs/heads/a", "refs/heads/a/" }, "refs/heads/a " },
		{ { "x", "" }, "" },
		{ { NULL }, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice items[5];
		struct slices in = { items, 0 }, least;
		struct buf got = BUF_EMPTY;

		while (in.count < 5 && rows[i].in[in.count]) {
			items[in.count] = slice_str(rows[i].in[in.count]);
			in.count++;
		}
		lsrefs_minimal(in, &least);
		for (size_t k = 0; k < least.count; k++)
			buf_addf(&got, "%.*s ", (int)least.items[k].n, least.items[k].p);
		assert_string_equal(got.data, rows[i].want);
		assert_int_equal(lsrefs_is_whole(in), least.count == 0);
		free((void *)least.items);
		buf_fini(&got);
	}
}

struct heard {
	struct buf text;
	int stop_at;
};

static int hear(void *arg, const struct lsref *ref)
{
	struct heard *h = arg;
	struct lsrefs_args all = { .peel = true, .symrefs = true };
	struct buf line = BUF_EMPTY;

	lsrefs_add_ref(&line, ref->symref.n == 0 && ref->unborn ? OID_UNKNOWN : OID_SHA1, ref, &all);
	buf_add(&h->text, line.data + 4, line.len - 4);
	buf_fini(&line);
	return h->stop_at && --h->stop_at == 0 ? -ECANCELED : 0;
}

/* Packets from lines; "|" a delimiter, "." the flush, "!" a response end. */
static void make_wire(const char *const *lines, struct buf *out)
{
	for (; *lines; lines++) {
		if (strcmp(*lines, ".") == 0)
			pkt_add_flush(out);
		else if (strcmp(*lines, "|") == 0)
			pkt_add_delim(out);
		else if (strcmp(*lines, "!") == 0)
			pkt_add_response_end(out);
		else
			pkt_add_str(out, *lines);
	}
}

static int read_answer(struct slice wire, size_t piece, struct heard *h, struct buf *err, size_t *ignored)
{
	struct lsrefs_parser p;
	int r = 0, end;

	lsrefs_parser_init(&p, OID_UNKNOWN, hear, h);
	while (wire.n && r == 0) {
		struct slice part = { wire.p, wire.n < piece ? wire.n : piece };

		r = lsrefs_parser_feed(&p, part);
		wire = slice_from(wire, part.n);
	}
	if (r < 0)
		assert_int_equal(lsrefs_parser_feed(&p, SLICE_LIT("0000")), r);
	end = lsrefs_parser_finish(&p);
	assert_true(r == 0 || end == r);
	buf_add_slice(err, buf_slice(&p.err));
	*ignored = p.ignored;
	lsrefs_parser_fini(&p);
	return end;
}

static void answers_are_read_in_pieces_of_every_size(void **state)
{
	static const struct {
		const char *lines[8];
		int want;
		const char *text;
		size_t ignored;
	} rows[] = {
		{ { "." }, 0, "", 0 },
		{ { A40 " HEAD symref-target:refs/heads/main\n", A40 " refs/heads/main\n", "." },
		  0,
		  A40 " HEAD symref-target:refs/heads/main\n" A40 " refs/heads/main\n",
		  0 },
		{ { A40 " refs/tags/v1 peeled:" B40, "." }, 0, A40 " refs/tags/v1 peeled:" B40 "\n", 0 },
		{ { A40 " refs/heads/x future:attribute peeled:" B40 "\n", ".", "!" },
		  0,
		  A40 " refs/heads/x peeled:" B40 "\n",
		  0 },
		{ { "unborn HEAD symref-target:refs/heads/main\n", "." },
		  0,
		  "unborn HEAD symref-target:refs/heads/main\n",
		  0 },
		{ { "unborn HEAD\n", "." }, 0, "", 1 },
		{ { A40 " refs/heads/a..b\n", A40 " FETCH_HEAD\n", A40 " refs/heads/ok\n", "." },
		  0,
		  A40 " refs/heads/ok\n",
		  2 },
		{ { A40 " HEAD symref-target:../../x\n", "." }, 0, A40 " HEAD\n", 0 },
		{ { "0000000000000000000000000000000000000000 refs/heads/null\n", "." }, 0, "", 1 },
		{ { A40 " refs/heads/a\n" }, WEIR_E_CUT, A40 " refs/heads/a\n", 0 },
		{ { NULL }, WEIR_E_CUT, "", 0 },
		{ { "ERR access denied\n" }, WEIR_E_PROTOCOL, "", 0 },
		{ { A40 " refs/heads/a\n", "ERR late\n", "." }, WEIR_E_PROTOCOL, A40 " refs/heads/a\n", 0 },
		{ { A40 "\n", "." }, WEIR_E_PARSE, "", 0 },
		{ { A40 " \n", "." }, WEIR_E_PARSE, "", 0 },
		{ { "aaaa refs/heads/a\n", "." }, WEIR_E_PARSE, "", 0 },
		{ { A40 " refs/heads/a\n", C64 " refs/heads/b\n", "." }, WEIR_E_PARSE, A40 " refs/heads/a\n", 0 },
		{ { A40 " refs/heads/a peeled:xyz\n", "." }, WEIR_E_PARSE, "", 0 },
		{ { "|", "." }, WEIR_E_PARSE, "", 0 },
		{ { ".", "." }, WEIR_E_PARSE, "", 0 },
		{ { "!" }, WEIR_E_PARSE, "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf wire = BUF_EMPTY;

		make_wire(rows[i].lines, &wire);
		for (size_t piece = 1; piece <= wire.len + 1; piece++) {
			struct heard h = { .text = BUF_EMPTY };
			struct buf err = BUF_EMPTY;
			size_t ignored;

			assert_int_equal(read_answer(buf_slice(&wire), piece, &h, &err, &ignored), rows[i].want);
			assert_string_equal(h.text.data, rows[i].text);
			assert_int_equal(ignored, rows[i].ignored);
			assert_int_equal(err.len != 0, rows[i].want == WEIR_E_PROTOCOL);
			buf_fini(&h.text);
			buf_fini(&err);
		}
		buf_fini(&wire);
	}
}

static void a_cut_anywhere_is_noticed(void **state)
{
	static const char *const lines[] = { A40 " HEAD symref-target:refs/heads/main\n", A40 " refs/heads/main\n", ".",
					     NULL };
	struct buf wire = BUF_EMPTY;

	(void)state;
	make_wire(lines, &wire);
	for (size_t n = 0; n < wire.len; n++) {
		struct heard h = { .text = BUF_EMPTY };
		struct buf err = BUF_EMPTY;
		size_t ignored;

		assert_int_equal(read_answer((struct slice){ wire.data, n }, 5, &h, &err, &ignored), WEIR_E_CUT);
		buf_fini(&h.text);
		buf_fini(&err);
	}
	buf_fini(&wire);
}

static void the_callback_may_end_it(void **state)
{
	static const char *const lines[] = { A40 " refs/heads/a\n", A40 " refs/heads/b\n", A40 " refs/heads/c\n", ".",
					     NULL };
	struct heard h = { .text = BUF_EMPTY, .stop_at = 2 };
	struct buf wire = BUF_EMPTY, err = BUF_EMPTY;
	size_t ignored;

	(void)state;
	make_wire(lines, &wire);
	assert_int_equal(read_answer(buf_slice(&wire), 1000, &h, &err, &ignored), -ECANCELED);
	assert_string_equal(h.text.data, A40 " refs/heads/a\n" A40 " refs/heads/b\n");
	buf_fini(&h.text);
	buf_fini(&wire);
	buf_fini(&err);
}

static void questions_are_written_as_git_writes_them(void **state)
{
	struct slice prefixes[] = { SLICE_LIT("refs/heads/"), SLICE_LIT("HEAD") };
	struct lsrefs_args args = { .peel = true, .symrefs = true, .unborn = true, .prefixes = { prefixes, 2 } };
	struct buf b = BUF_EMPTY;

	(void)state;
	lsrefs_add_request(&b, &args, OID_SHA256, "weir/1");
	assert_string_equal(b.data,
			    "0014command=ls-refs\n0010agent=weir/10018object-format=sha2560001"
			    "0009peel\n000csymrefs\n000bunborn\n001bref-prefix refs/heads/\n0014ref-prefix HEAD\n0000");
	buf_reset(&b);
	lsrefs_add_request(&b, &(struct lsrefs_args){ 0 }, OID_UNKNOWN, NULL);
	assert_string_equal(b.data, "0014command=ls-refs\n00010000");
	buf_fini(&b);
}

static void attributes_stand_on_the_refs_own_line_and_only_when_asked_for(void **state)
{
	struct lsref ref = { .name = SLICE_LIT("HEAD"), .symref = SLICE_LIT("refs/heads/main"), .has_peeled = true };
	struct lsrefs_args none = { 0 }, all = { .peel = true, .symrefs = true, .unborn = true };
	struct buf b = BUF_EMPTY;

	(void)state;
	memset(ref.oid.bytes, 0xaa, 20);
	memset(ref.peeled.bytes, 0xbb, 20);
	lsrefs_add_ref(&b, OID_SHA1, &ref, &none);
	assert_string_equal(b.data, "0032" A40 " HEAD\n");
	buf_reset(&b);
	lsrefs_add_ref(&b, OID_SHA1, &ref, &all);
	assert_string_equal(b.data, "0080" A40 " HEAD symref-target:refs/heads/main peeled:" B40 "\n");
	buf_reset(&b);
	ref.unborn = true;
	lsrefs_add_ref(&b, OID_SHA1, &ref, &all);
	assert_string_equal(b.data, "002eunborn HEAD symref-target:refs/heads/main\n");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_those_that_git_accepts),
		cmocka_unit_test(a_set_of_prefixes_is_made_least),
		cmocka_unit_test(answers_are_read_in_pieces_of_every_size),
		cmocka_unit_test(a_cut_anywhere_is_noticed),
		cmocka_unit_test(the_callback_may_end_it),
		cmocka_unit_test(questions_are_written_as_git_writes_them),
		cmocka_unit_test(attributes_stand_on_the_refs_own_line_and_only_when_asked_for),
	};

	return cmocka_run_group_tests_name("lsrefs", tests, NULL, NULL);
}
