/* gitcmd_test.c -- what clients ask of upload-pack, in pieces of every size, and what may be shared between them. */
#include "proto/gitcmd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

#define A40 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B40 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C40 "cccccccccccccccccccccccccccccccccccccccc"
#define D64 "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

/* Packets from lines, one row of a table: "|" a delimiter, "." the flush, "!" a response end. */
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

static int read_in_pieces(struct gitcmd *c, int version, struct slice wire, size_t piece)
{
	int r = 0, end;

	gitcmd_init(c, version);
	while (wire.n && r == 0) {
		struct slice part = { wire.p, wire.n < piece ? wire.n : piece };

		r = gitcmd_feed(c, part);
		wire = slice_from(wire, part.n);
	}
	end = gitcmd_finish(c);
	assert_true(r == 0 || end == r);
	if (end < 0)
		assert_non_null(c->why);
	return end;
}

static void read_lines(struct gitcmd *c, int version, const char *const *lines)
{
	struct buf wire = BUF_EMPTY;

	make_wire(lines, &wire);
	assert_int_equal(read_in_pieces(c, version, buf_slice(&wire), 1), 0);
	buf_fini(&wire);
}

#define LINES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void the_versions_of_git_protocol_are_found(void **state)
{
	static const struct {
		const char *header;
		int version;
	} rows[] = {
		{ "", 0 },
		{ "version=2", 2 },
		{ "version=1", 1 },
		{ "version=0", 0 },
		{ "version=1:version=2", 2 },
		{ "version=2:version=1", 2 },
		{ "a:b=c:version=2:x", 2 },
		{ "version=22", 0 },
		{ " version=2", 0 },
		{ "version=2 ", 0 },
		{ "xversion=2", 0 },
		{ ":::", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(gitcmd_protocol_version(slice_str(rows[i].header)), rows[i].version);
}

static void requests_are_told_apart_in_pieces_of_every_size(void **state)
{
	static const struct {
		int version;
		const char *lines[10];
		int want;
		enum gitcmd_kind kind;
	} rows[] = {
		{ 2, { "." }, 0, GITCMD_PROBE },
		{ 0, { "." }, 0, GITCMD_PROBE },
		{ 1, { "." }, 0, GITCMD_PROBE },
		{ 2, { "command=ls-refs\n", "." }, 0, GITCMD_LS_REFS },
		{ 2,
		  { "command=ls-refs", "agent=git/2", "object-format=sha1", "|", "peel\n", "symrefs", "." },
		  0,
		  GITCMD_LS_REFS },
		{ 2,
		  { "agent=x", "command=fetch", "|", "want " A40 "\n", "have " B40, "done\n", "." },
		  0,
		  GITCMD_FETCH },
		{ 2, { "command=object-info", "|", "size", "oid " A40, "." }, 0, GITCMD_OBJECT_INFO },
		{ 2, { "command=bundle-uri\n", "." }, 0, GITCMD_OTHER },
		{ 2, { "command=fetch", "object-format=sha256", "|", "want " D64, "." }, 0, GITCMD_FETCH },
		{ 0,
		  { "want " A40 " multi_ack_detailed side-band-64k\n", "want " B40 "\n", ".", "done\n" },
		  0,
		  GITCMD_FETCH },
		{ 0, { "want " A40, ".", "have " B40 "\n", "." }, 0, GITCMD_FETCH },
		{ 0, { "want " A40, ".", "have " B40 "\n", ".", "have " C40, "done" }, 0, GITCMD_FETCH },
		{ 0, { "want " A40 " shallow\n", "shallow " B40, "deepen 1", "." }, 0, GITCMD_FETCH },
		/* refused */
		{ 2, { NULL }, WEIR_E_PARSE, 0 },
		{ 0, { NULL }, WEIR_E_PARSE, 0 },
		{ 2, { "agent=git/2", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "agent=git/2", "|", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "|", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "command=fetch", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "want " A40 }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch" }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "|", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "want " A40, ".", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "want " A40, "!" }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "want abc", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "want --help", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "want " A40, "have " D64, "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "object-format=sha256", "|", "want " A40, "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "object-format=md5", "|", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "object-format=sha1", "object-format=sha256", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "deepen 0", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "deepen -1", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "deepen 2147483648", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "deepen 1", "deepen 2", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "filter a", "filter b", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=fetch", "|", "filter ", "." }, WEIR_E_PARSE, 0 },
		{ 2, { "command=ls-refs", "|", "ref-prefix a\nref-prefix b\n", "." }, WEIR_E_PARSE, 0 },
		{ 0, { "command=ls-refs\n", "|", "." }, WEIR_E_PARSE, 0 },
		{ 0, { "want " A40 "\n" }, WEIR_E_PARSE, 0 },
		{ 0, { "want " A40 "\n", ".", "have " B40 "\n" }, WEIR_E_PARSE, 0 },
		{ 0, { "have " A40 "\n", "." }, WEIR_E_PARSE, 0 },
		{ 0, { "deepen 1\n", "." }, WEIR_E_PARSE, 0 },
		{ 0, { "want " A40 "\n", ".", "done", "." }, WEIR_E_PARSE, 0 },
		{ 0, { "want " A40 "\n", ".", "want " B40, "." }, WEIR_E_PARSE, 0 },
		{ 0, { ".", "want " A40 "\n", ".", "done" }, WEIR_E_PARSE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf wire = BUF_EMPTY;

		make_wire(rows[i].lines, &wire);
		for (size_t piece = 1; piece <= wire.len + 1; piece++) {
			struct gitcmd c;
			int r = read_in_pieces(&c, rows[i].version, buf_slice(&wire), piece);

			if (r != rows[i].want)
				fail_msg("row %zu: got %d (%s), expected %d", i, r, c.why ? c.why : "-", rows[i].want);
			if (r == 0)
				assert_int_equal(c.kind, rows[i].kind);
			gitcmd_fini(&c);
		}
		buf_fini(&wire);
	}
}

static void a_nul_in_a_line_is_refused(void **state)
{
	struct buf wire = BUF_EMPTY;
	struct gitcmd c;

	(void)state;
	pkt_add_str(&wire, "command=ls-refs");
	pkt_add_delim(&wire);
	pkt_add(&wire, (struct slice){ "ref-prefix a\0b", 14 });
	pkt_add_flush(&wire);
	assert_int_equal(read_in_pieces(&c, 2, buf_slice(&wire), 3), WEIR_E_PARSE);
	gitcmd_fini(&c);
	buf_fini(&wire);
}

static void ls_refs_arguments_are_kept(void **state)
{
	struct gitcmd c;

	(void)state;
	read_lines(&c, 2,
		   LINES("command=ls-refs\n", "agent=git/2.39.5-Linux", "server-option=a=b", "session-id=s1", "|",
			 "peel\n", "unborn\n", "ref-prefix HEAD\n", "ref-prefix refs/heads/\n", "newer\n", "."));
	assert_true(c.ls.peel);
	assert_false(c.ls.symrefs);
	assert_true(c.ls.unborn);
	assert_int_equal(c.ls.prefixes.count, 2);
	assert_true(slice_eq_str(c.ls.prefixes.items[1], "refs/heads/"));
	assert_true(slice_eq_str(c.agent, "git/2.39.5-Linux"));
	assert_true(slice_eq_str(c.session_id, "s1"));
	assert_int_equal(c.server_options.count, 1);
	assert_true(slice_eq_str(c.server_options.items[0], "a=b"));
	assert_int_equal(c.unknown.count, 1);
	assert_true(slice_eq_str(c.unknown.items[0], "newer"));
	gitcmd_fini(&c);
}

static void fetch_arguments_are_kept(void **state)
{
	struct gitcmd c;

	(void)state;
	read_lines(&c, 2,
		   LINES("command=fetch", "|", "thin-pack", "no-progress", "include-tag", "ofs-delta", "sideband-all\n",
			 "wait-for-done", "deepen-relative", "shallow " C40, "deepen 3", "deepen-since 1700000000",
			 "deepen-not refs/heads/old\n", "filter blob:none", "packfile-uris https",
			 "want-ref refs/heads/main", "want " B40 "\n", "want " A40 "\n", "want " B40 "\n",
			 "have " C40 "\n", "done\n", "."));
	assert_int_equal(c.flags, GITCMD_DONE | GITCMD_THIN_PACK | GITCMD_NO_PROGRESS | GITCMD_INCLUDE_TAG |
					  GITCMD_OFS_DELTA | GITCMD_SIDEBAND_ALL | GITCMD_WAIT_FOR_DONE |
					  GITCMD_DEEPEN_RELATIVE | GITCMD_DEEPEN_SINCE);
	assert_int_equal(c.wants.count, 3);
	assert_int_equal(c.wants.items[0].bytes[0], 0xbb);
	assert_int_equal(c.haves.count, 1);
	assert_int_equal(c.shallows.count, 1);
	assert_int_equal(c.deepen, 3);
	assert_int_equal(c.deepen_since, 1700000000);
	assert_true(slice_eq_str(c.deepen_nots.items[0], "refs/heads/old"));
	assert_true(slice_eq_str(c.filter, "blob:none"));
	assert_true(slice_eq_str(c.packfile_uris, "https"));
	assert_true(slice_eq_str(c.want_refs.items[0], "refs/heads/main"));
	assert_int_equal(c.unknown.count, 0);
	assert_int_equal(c.format, OID_SHA1);
	assert_false(gitcmd_fetch_is_plain(&c));
	assert_true(gitcmd_fetch_names_refs(&c));
	gitcmd_fini(&c);
}

static void v0_capabilities_are_kept(void **state)
{
	struct gitcmd c;

	(void)state;
	read_lines(&c, 0,
		   LINES("want " A40
			 " multi_ack_detailed no-done side-band-64k thin-pack no-progress include-tag ofs-delta "
			 "deepen-since deepen-not filter object-format=sha1 agent=git/2.39.5 strange\n",
			 "want " B40 "\n", "filter tree:0\n", ".", "have " C40 "\n", "done\n"));
	assert_int_equal(c.version, 0);
	assert_int_equal(c.flags, GITCMD_DONE | GITCMD_MULTI_ACK_DETAILED | GITCMD_NO_DONE | GITCMD_SIDE_BAND_64K |
					  GITCMD_THIN_PACK | GITCMD_NO_PROGRESS | GITCMD_INCLUDE_TAG |
					  GITCMD_OFS_DELTA);
	assert_int_equal(c.wants.count, 2);
	assert_int_equal(c.haves.count, 1);
	assert_true(slice_eq_str(c.agent, "git/2.39.5"));
	assert_true(slice_eq_str(c.filter, "tree:0"));
	assert_int_equal(c.unknown.count, 1);
	assert_true(slice_eq_str(c.unknown.items[0], "strange"));
	gitcmd_fini(&c);
}

static void key_of(bool fetch, int version, const char *const *lines, struct buf *key)
{
	struct gitcmd c;

	read_lines(&c, version, lines);
	if (fetch)
		gitcmd_fetch_key(&c, key);
	else
		gitcmd_canonical_lsrefs(&c, key);
	gitcmd_fini(&c);
}

static void expect_keys(bool equal, bool fetch, int version, const char *const *one, const char *const *other)
{
	struct buf a = BUF_EMPTY, b = BUF_EMPTY;

	key_of(fetch, version, one, &a);
	key_of(fetch, version, other, &b);
	if (equal)
		assert_string_equal(a.data, b.data);
	else
		assert_string_not_equal(a.data, b.data);
	buf_fini(&a);
	buf_fini(&b);
}

static void equal_ls_refs_questions_have_one_key(void **state)
{
	const char *const *base =
		LINES("command=ls-refs", "|", "peel", "symrefs", "ref-prefix HEAD", "ref-prefix refs/heads/", ".");

	(void)state;
	expect_keys(true, false, 2, base,
		    LINES("command=ls-refs\n", "agent=x", "session-id=y", "object-format=sha1", "|", "symrefs\n",
			  "ref-prefix refs/heads/a\n", "ref-prefix refs/heads/\n", "ref-prefix HEAD\n",
			  "ref-prefix HEAD\n", "peel\n", "."));
	expect_keys(false, false, 2, base, LINES("command=ls-refs", "|", "peel", "symrefs", "ref-prefix HEAD", "."));
	expect_keys(false, false, 2, base,
		    LINES("command=ls-refs", "|", "peel", "symrefs", "unborn", "ref-prefix HEAD",
			  "ref-prefix refs/heads/", "."));
	expect_keys(false, false, 2, base,
		    LINES("command=ls-refs", "|", "peel", "ref-prefix HEAD", "ref-prefix refs/heads/", "."));
	expect_keys(false, false, 2, LINES("command=ls-refs", "object-format=sha256", "."),
		    LINES("command=ls-refs", "."));
	expect_keys(true, false, 2, LINES("command=ls-refs", "|", "unborn", "."), LINES("command=ls-refs", "."));
	expect_keys(true, false, 2, LINES("command=ls-refs", "|", "ref-prefix ", "ref-prefix x", "."),
		    LINES("command=ls-refs", "."));
}

static void equal_fetches_have_one_key(void **state)
{
	const char *const *base = LINES("command=fetch", "|", "thin-pack", "ofs-delta", "want " A40, "want " B40,
					"have " C40, "done", ".");

	(void)state;
	expect_keys(true, true, 2, base,
		    LINES("command=fetch\n", "agent=x", "session-id=y", "server-option=z", "object-format=sha1", "|",
			  "want " B40 "\n", "want " A40, "want " B40, "have " C40, "have " C40 "\n", "ofs-delta",
			  "thin-pack", "done", "."));
	static const char *const extra[] = {
		"no-progress",  "include-tag",         "sideband-all",   "wait-for-done",         "deepen 1",
		"shallow " A40, "filter tree:0",       "deepen-since 5", "deepen-relative",       "have " A40,
		"want " C40,    "packfile-uris https", "deepen-not x",   "want-ref refs/heads/x", "unknown"
	};
	for (size_t i = 0; i < ARRAY_LEN(extra); i++)
		expect_keys(false, true, 2, base,
			    LINES("command=fetch", "|", "thin-pack", "ofs-delta", extra[i], "want " A40, "want " B40,
				  "have " C40, "done", "."));
	expect_keys(false, true, 2, base,
		    LINES("command=fetch", "|", "thin-pack", "ofs-delta", "want " A40, "want " B40, "have " C40, "."));
	/* a have is no want, nor a shallow */
	expect_keys(false, true, 2, LINES("command=fetch", "|", "want " A40, "have " B40, "."),
		    LINES("command=fetch", "|", "want " A40, "shallow " B40, "."));
	expect_keys(false, true, 0, LINES("want " A40 " side-band-64k", ".", "done"),
		    LINES("want " A40 " side-band", ".", "done"));
	expect_keys(true, true, 0, LINES("want " A40 " side-band-64k agent=a", ".", "done"),
		    LINES("want " A40 " agent=b side-band-64k\n", "want " A40, ".", "done\n"));
}

static void what_names_refs_is_known(void **state)
{
	static const struct {
		const char *arg;
		bool names_refs, plain;
	} rows[] = {
		{ "thin-pack", false, true },
		{ "filter blob:none", false, false },
		{ "filter blob:limit=1k", false, false },
		{ "filter tree:0", false, false },
		{ "filter object:type=commit", false, false },
		{ "filter sparse:oid=" A40, false, false },
		{ "filter sparse:oid=main", true, false },
		{ "filter sparse:oid=" A40 ":path", true, false },
		{ "filter combine:blob:none+tree:3", false, false },
		{ "filter combine:blob:none+sparse:oid%3dmain", true, false },
		{ "filter combine:blob:none+sparse:oid%3d" A40, false, false },
		{ "filter combine:combine%3atree:1%2bsparse%253aoid%253dmain", true, false },
		{ "filter combine:%zz", true, false },
		{ "filter newer:thing", true, false },
		{ "deepen-not refs/heads/x", true, false },
		{ "want-ref refs/heads/x", true, true },
		{ "newer-argument", true, true },
		{ "deepen 1", false, false },
		{ "deepen-since 1", false, false },
		{ "deepen-relative", false, false },
		{ "shallow " B40, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct gitcmd c;

		read_lines(&c, 2, LINES("command=fetch", "|", rows[i].arg, "want " A40, "."));
		if (gitcmd_fetch_names_refs(&c) != rows[i].names_refs || gitcmd_fetch_is_plain(&c) != rows[i].plain)
			fail_msg("wrong about: %s", rows[i].arg);
		gitcmd_fini(&c);
	}
}

static void too_many_prefixes_mean_everything(void **state)
{
	struct buf wire = BUF_EMPTY, key = BUF_EMPTY;
	struct gitcmd c;

	(void)state;
	pkt_add_str(&wire, "command=ls-refs");
	pkt_add_delim(&wire);
	for (int i = 0; i < LSREFS_MAX_PREFIXES; i++)
		pkt_addf(&wire, "ref-prefix refs/heads/%d\n", i);
	pkt_add_flush(&wire);
	assert_int_equal(read_in_pieces(&c, 2, buf_slice(&wire), 1000), 0);
	assert_true(c.prefixes_dropped);
	assert_true(lsrefs_is_whole(c.ls.prefixes));
	gitcmd_canonical_lsrefs(&c, &key);
	assert_string_equal(key.data, "ls-refs sha1\n");
	gitcmd_fini(&c);
	buf_fini(&wire);
	buf_fini(&key);
}

static void limits_are_kept(void **state)
{
	struct buf wire = BUF_EMPTY;
	char *big = xmalloc(60001);
	struct gitcmd c;
	int r = 0;

	(void)state;
	pkt_add_str(&wire, "command=fetch");
	pkt_add_delim(&wire);
	for (int i = 0; i < GITCMD_MAX_LINES; i++)
		pkt_add_str(&wire, "done");
	gitcmd_init(&c, 2);
	assert_int_equal(gitcmd_feed(&c, buf_slice(&wire)), WEIR_E_TOO_LARGE);
	assert_non_null(c.why);
	gitcmd_fini(&c);

	memset(big, 'x', 60000);
	big[60000] = '\0';
	buf_reset(&wire);
	pkt_add_str(&wire, "command=other");
	pkt_add_delim(&wire);
	gitcmd_init(&c, 2);
	assert_int_equal(gitcmd_feed(&c, buf_slice(&wire)), 0);
	buf_reset(&wire);
	pkt_add_str(&wire, big);
	for (int i = 0; i < 1000 && r == 0; i++)
		r = gitcmd_feed(&c, buf_slice(&wire));
	assert_int_equal(r, WEIR_E_TOO_LARGE);
	gitcmd_fini(&c);
	buf_fini(&wire);
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_versions_of_git_protocol_are_found),
		cmocka_unit_test(requests_are_told_apart_in_pieces_of_every_size),
		cmocka_unit_test(a_nul_in_a_line_is_refused),
		cmocka_unit_test(ls_refs_arguments_are_kept),
		cmocka_unit_test(fetch_arguments_are_kept),
		cmocka_unit_test(v0_capabilities_are_kept),
		cmocka_unit_test(equal_ls_refs_questions_have_one_key),
		cmocka_unit_test(equal_fetches_have_one_key),
		cmocka_unit_test(what_names_refs_is_known),
		cmocka_unit_test(too_many_prefixes_mean_everything),
		cmocka_unit_test(limits_are_kept),
	};

	return cmocka_run_group_tests_name("gitcmd", tests, NULL, NULL);
}
