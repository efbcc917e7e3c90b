/* advert_test.c -- upstreams' advertisements in pieces of every size, and what weir makes of them. */
#include "proto/advert.h"

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
#define Z40 "0000000000000000000000000000000000000000"
#define LINES(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Packets from lines: "." the flush, "|" a delimiter; '@' in a line stands for NUL. */
static void make_wire(const char *const *lines, struct buf *out)
{
	for (; *lines; lines++) {
		size_t at = out->len;

		if (strcmp(*lines, ".") == 0)
			pkt_add_flush(out);
		else if (strcmp(*lines, "|") == 0)
			pkt_add_delim(out);
		else
			pkt_add_str(out, *lines);
		for (; at < out->len; at++)
			if (out->data[at] == '@')
				out->data[at] = '\0';
	}
}

static int hear(void *arg, const struct lsref *ref)
{
	enum oid_format f = ref->oid.bytes[20] ? OID_SHA256 : OID_SHA1;
	struct buf *out = arg;
	struct lsrefs_args all = { .peel = true, .symrefs = true };
	struct buf line = BUF_EMPTY;

	lsrefs_add_ref(&line, f, ref, &all);
	buf_add(out, line.data + 4, line.len - 4);
	buf_fini(&line);
	return 0;
}

static int read_in_pieces(struct advert *a, struct buf *refs, struct slice wire, size_t piece)
{
	int r = 0, end;

	advert_init(a, hear, refs);
	while (wire.n && r == 0) {
		struct slice part = { wire.p, wire.n < piece ? wire.n : piece };

		r = advert_feed(a, part);
		wire = slice_from(wire, part.n);
	}
	end = advert_finish(a);
	assert_true(r == 0 || end == r);
	return end;
}

static void read_lines(struct advert *a, const char *const *lines)
{
	struct buf wire = BUF_EMPTY, refs = BUF_EMPTY;

	make_wire(lines, &wire);
	assert_int_equal(read_in_pieces(a, &refs, buf_slice(&wire), 1), 0);
	buf_fini(&wire);
	buf_fini(&refs);
}

static void advertisements_are_read_in_pieces_of_every_size(void **state)
{
	static const struct {
		const char *lines[10];
		int want, version;
		enum oid_format format;
		const char *caps, *refs;
	} rows[] = {
		{ { "version 2\n", "agent=git/2.39.5\n", "ls-refs=unborn\n", "fetch=shallow filter\n",
		    "object-format=sha256\n", "." },
		  0,
		  2,
		  OID_SHA256,
		  "agent=git/2.39.5\nls-refs=unborn\nfetch=shallow filter\nobject-format=sha256\n",
		  "" },
		{ { "# service=git-upload-pack\n", ".", "version 2\n", "ls-refs\n", "fetch\n", "." },
		  0,
		  2,
		  OID_SHA1,
		  "ls-refs\nfetch\n",
		  "" },
		{ { "# service=git-upload-pack\n", ".", A40 " HEAD@multi_ack symref=HEAD:refs/heads/main agent=x\n",
		    A40 " refs/heads/main\n", B40 " refs/tags/v1\n", C40 " refs/tags/v1^{}\n", "." },
		  0,
		  0,
		  OID_SHA1,
		  "multi_ack\nsymref=HEAD:refs/heads/main\nagent=x\n",
		  A40 " HEAD symref-target:refs/heads/main\n" A40 " refs/heads/main\n" B40 " refs/tags/v1 peeled:" C40
		      "\n" },
		{ { "# service=git-upload-pack\n", ".", "version 1\n", A40 " refs/heads/main@ofs-delta", "." },
		  0,
		  1,
		  OID_SHA1,
		  "ofs-delta\n",
		  A40 " refs/heads/main\n" },
		{ { D64 " refs/heads/main@object-format=sha256 x\n", "." },
		  0,
		  0,
		  OID_SHA256,
		  "object-format=sha256\nx\n",
		  D64 " refs/heads/main\n" },
		{ { A40 " refs/heads/main\n", "." }, 0, 0, OID_SHA1, "", A40 " refs/heads/main\n" },
		{ { "# service=git-upload-pack\n", ".", Z40 " capabilities^{}@a b\n", "." },
		  0,
		  0,
		  OID_SHA1,
		  "a\nb\n",
		  "" },
		{ { "# service=git-upload-pack\n", ".", "." }, 0, 0, OID_SHA1, "", "" },
		{ { A40 " refs/heads/main@shallow\n", "shallow " B40 "\n", "shallow " C40 "\n", "." },
		  0,
		  0,
		  OID_SHA1,
		  "shallow\n",
		  A40 " refs/heads/main\n" },
		{ { A40 " refs/heads/a..b@x\n", A40 " refs/heads/ok\n", "." },
		  0,
		  0,
		  OID_SHA1,
		  "x\n",
		  A40 " refs/heads/ok\n" },
		{ { A40 " HEAD@symref=HEAD:../../etc\n", "." },
		  0,
		  0,
		  OID_SHA1,
		  "symref=HEAD:../../etc\n",
		  A40 " HEAD\n" },
		/* refused */
		{ { NULL }, WEIR_E_CUT, -1, 0, NULL, NULL },
		{ { "version 2\n", "fetch\n" }, WEIR_E_CUT, 2, 0, NULL, NULL },
		{ { "# service=git-upload-pack\n", "." }, WEIR_E_CUT, -1, 0, NULL, NULL },
		{ { A40 " refs/heads/main@x\n" }, WEIR_E_CUT, 0, 0, NULL, NULL },
		{ { "." }, WEIR_E_PARSE, -1, 0, NULL, NULL },
		{ { "# service=git-upload-archive\n", ".", "." }, WEIR_E_PARSE, -1, 0, NULL, NULL },
		{ { "# service=git-upload-pack\n", "version 2\n", "." }, WEIR_E_PARSE, -1, 0, NULL, NULL },
		{ { "version 2\n", "object-format=md5\n", "." }, WEIR_E_PARSE, 2, 0, NULL, NULL },
		{ { "version 2\n", "a\001b\n", "." }, WEIR_E_PARSE, 2, 0, NULL, NULL },
		{ { "version 2\n", ".", "." }, WEIR_E_PARSE, 2, 0, NULL, NULL },
		{ { "version 2\n", "|", "." }, WEIR_E_PARSE, 2, 0, NULL, NULL },
		{ { "version 3\n", "." }, WEIR_E_PARSE, 0, 0, NULL, NULL },
		{ { "hello\n", "." }, WEIR_E_PARSE, 0, 0, NULL, NULL },
		{ { A40 " refs/heads/a@x\n", C40 " refs/heads/b^{}\n", "." }, WEIR_E_PARSE, 0, 0, NULL, NULL },
		{ { A40 " refs/heads/a@x\n", C40 " refs/heads/a^{}\n", C40 " refs/heads/a^{}\n", "." },
		  WEIR_E_PARSE,
		  0,
		  0,
		  NULL,
		  NULL },
		{ { A40 " refs/heads/a@x\n", D64 " refs/heads/b\n", "." }, WEIR_E_PARSE, 0, 0, NULL, NULL },
		{ { A40 " refs/heads/a@x\n", B40 " refs/heads/b@y\n", "." }, WEIR_E_PARSE, 0, 0, NULL, NULL },
		{ { A40 " refs/heads/a@x\n", "shallow " B40 "\n", B40 " refs/heads/b\n", "." },
		  WEIR_E_PARSE,
		  0,
		  0,
		  NULL,
		  NULL },
		{ { "# service=git-upload-pack\n", ".", "ERR no such repository\n" },
		  WEIR_E_PROTOCOL,
		  -1,
		  0,
		  NULL,
		  NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf wire = BUF_EMPTY;

		make_wire(rows[i].lines, &wire);
		for (size_t piece = 1; piece <= wire.len + 1; piece++) {
			struct buf refs = BUF_EMPTY;
			struct advert a;
			int r = read_in_pieces(&a, &refs, buf_slice(&wire), piece);

			if (r != rows[i].want)
				fail_msg("row %zu: got %d, expected %d", i, r, rows[i].want);
			assert_int_equal(a.version, rows[i].version);
			if (r == 0) {
				assert_int_equal(a.format, rows[i].format);
				assert_string_equal(a.caps.data, rows[i].caps);
				assert_string_equal(refs.data, rows[i].refs);
			}
			advert_fini(&a);
			buf_fini(&refs);
		}
		buf_fini(&wire);
	}
}

static void an_empty_repository_and_a_shallow_one_are_told(void **state)
{
	struct advert a;

	(void)state;
	read_lines(&a, LINES("# service=git-upload-pack\n", ".", Z40 " capabilities^{}@a\n", "."));
	assert_true(a.empty);
	advert_fini(&a);
	read_lines(&a, LINES(A40 " refs/heads/main@shallow\n", "shallow " B40, "shallow " C40, "."));
	assert_false(a.empty);
	assert_int_equal(a.shallows, 2);
	advert_fini(&a);
}

static void an_error_text_is_kept_and_escaped(void **state)
{
	struct buf wire = BUF_EMPTY, refs = BUF_EMPTY;
	struct advert a;

	(void)state;
	pkt_add_str(&wire, "ERR no\033[31m such repository\n");
	assert_int_equal(read_in_pieces(&a, &refs, buf_slice(&wire), 3), WEIR_E_PROTOCOL);
	assert_string_equal(a.err.data, "no\\x1b[31m such repository");
	advert_fini(&a);
	buf_fini(&wire);
	buf_fini(&refs);
}

static void a_dumb_servers_answer_is_refused(void **state)
{
	struct slice dumb = SLICE_LIT(A40 "\trefs/heads/main\n"), page = SLICE_LIT("<!DOCTYPE html><html>"),
		     none = SLICE_LIT("");
	struct buf refs = BUF_EMPTY;
	struct advert a;

	(void)state;
	assert_int_equal(read_in_pieces(&a, &refs, dumb, 1), WEIR_E_PARSE);
	advert_fini(&a);
	assert_int_equal(read_in_pieces(&a, &refs, page, 100), WEIR_E_PARSE);
	advert_fini(&a);
	assert_int_equal(read_in_pieces(&a, &refs, none, 1), WEIR_E_CUT);
	advert_fini(&a);
	buf_fini(&refs);
}

static void capabilities_are_found(void **state)
{
	struct slice value;
	struct advert a;

	(void)state;
	read_lines(&a, LINES("version 2\n", "agent=git/2=x\n", "ls-refs=unborn\n", "fetch=shallow filter\n",
			     "server-option\n", "."));
	assert_true(advert_has(&a, "agent", &value));
	assert_true(slice_eq_str(value, "git/2=x"));
	assert_true(advert_has(&a, "server-option", &value));
	assert_int_equal(value.n, 0);
	assert_false(advert_has(&a, "server", NULL));
	assert_false(advert_has(&a, "object-info", NULL));
	assert_true(advert_has_feature(&a, "fetch", "filter"));
	assert_false(advert_has_feature(&a, "fetch", "filt"));
	assert_false(advert_has_feature(&a, "nothing", "filter"));
	advert_fini(&a);
}

static void what_was_kept_can_be_restored(void **state)
{
	struct advert a, b;

	(void)state;
	read_lines(&a, LINES("version 2\n", "fetch=shallow filter\n", "object-format=sha256\n", "."));
	advert_init(&b, NULL, NULL);
	assert_int_equal(advert_restore(&b, a.version, buf_slice(&a.caps)), 0);
	assert_int_equal(b.version, 2);
	assert_int_equal(b.format, OID_SHA256);
	assert_string_equal(b.caps.data, a.caps.data);
	assert_int_equal(advert_finish(&b), 0);
	advert_fini(&a);
	advert_fini(&b);
	advert_init(&b, NULL, NULL);
	assert_int_equal(advert_restore(&b, 3, SLICE_LIT("")), WEIR_E_PARSE);
	assert_int_equal(advert_restore(&b, 2, SLICE_LIT("a\n\nb")), WEIR_E_PARSE);
	advert_fini(&b);
}

static void only_what_both_keep_is_promised(void **state)
{
	static const char *const local[] = { "version 2\n",
					     "agent=git/2.39.5\n",
					     "ls-refs=unborn\n",
					     "fetch=shallow wait-for-done filter ref-in-want sideband-all\n",
					     "server-option\n",
					     "object-format=sha1\n",
					     "object-info\n",
					     "session-id=x\n",
					     ".",
					     NULL };
	static const struct {
		const char *upstream[10], *want[10];
	} rows[] = {
		{ { "version 2", "ls-refs=unborn", "fetch=shallow filter ref-in-want packfile-uris", "server-option",
		    "bundle-uri", "object-format=sha1", "." },
		  { "version 2\n", "agent=weir/1\n", "ls-refs=unborn\n", "fetch=shallow filter\n", "server-option\n",
		    "object-format=sha1\n", "." } },
		{ { "version 2", "ls-refs", "fetch", "." },
		  { "version 2\n", "agent=weir/1\n", "ls-refs\n", "fetch\n", "object-format=sha1\n", "." } },
		{ { "version 2", "ls-refs=unborn future", "fetch=filter sideband-all wait-for-done shallow",
		    "object-info", "." },
		  { "version 2\n", "agent=weir/1\n", "ls-refs=unborn\n",
		    "fetch=shallow wait-for-done filter sideband-all\n", "object-format=sha1\n", "object-info\n",
		    "." } },
		{ { A40 " HEAD@shallow filter multi_ack\n", "." },
		  { "version 2\n", "agent=weir/1\n", "ls-refs\n", "fetch=shallow filter\n", "object-format=sha1\n",
		    "." } },
		{ { A40 " HEAD@multi_ack\n", "." },
		  { "version 2\n", "agent=weir/1\n", "ls-refs\n", "fetch\n", "object-format=sha1\n", "." } },
		/* "" stands for: nothing known of upstream */
		{ { "" },
		  { "version 2\n", "agent=weir/1\n", "ls-refs=unborn\n",
		    "fetch=shallow wait-for-done filter sideband-all\n", "server-option\n", "object-format=sha1\n",
		    "object-info\n", "." } },
	};
	struct advert ours;

	(void)state;
	read_lines(&ours, local);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY, want = BUF_EMPTY;
		struct advert theirs;
		bool known = rows[i].upstream[0][0] != '\0';

		if (known)
			read_lines(&theirs, rows[i].upstream);
		else
			advert_init(&theirs, NULL, NULL);
		make_wire(rows[i].want, &want);
		advert_add_v2(&got, known ? &theirs : NULL, &ours, OID_SHA1, "weir/1");
		assert_string_equal(got.data, want.data);
		advert_fini(&theirs);
		buf_fini(&got);
		buf_fini(&want);
	}
	advert_fini(&ours);
}

static void v0_capabilities_leave_out_what_speaks_of_somebody_else(void **state)
{
	struct advert ours, theirs;
	struct buf got = BUF_EMPTY;

	(void)state;
	read_lines(
		&ours,
		LINES(A40
		      " HEAD@multi_ack thin-pack side-band side-band-64k shallow deepen-since no-progress filter "
			"no-done "
		      "symref=HEAD:refs/heads/x object-format=sha1 agent=git/2 session-id=s\n",
		      "."));
	advert_add_v0_caps(&got, NULL, &ours, OID_SHA256, "weir/1");
	assert_string_equal(
		got.data, "multi_ack thin-pack side-band side-band-64k shallow deepen-since no-progress filter no-done "
			  "object-format=sha256 agent=weir/1");
	buf_reset(&got);
	read_lines(&theirs, LINES("version 2\n", "fetch=filter\n", "."));
	advert_add_v0_caps(&got, &theirs, &ours, OID_SHA1, "weir/1");
	assert_string_equal(
		got.data,
		"multi_ack thin-pack side-band side-band-64k no-progress filter no-done "
		"object-format=sha1 agent=weir/1");
	advert_fini(&theirs);
	buf_reset(&got);
	read_lines(&theirs, LINES(B40 " HEAD@side-band-64k shallow\n", "."));
	advert_add_v0_caps(&got, &theirs, &ours, OID_SHA1, "weir/1");
	assert_string_equal(got.data,
			    "multi_ack side-band side-band-64k shallow no-progress object-format=sha1 agent=weir/1");
	buf_reset(&got);
	advert_add_v0_caps(&got, NULL, NULL, OID_SHA1, "weir/1");
	assert_string_equal(
		got.data,
		"multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative "
		"no-progress include-tag multi_ack_detailed no-done object-format=sha1 agent=weir/1");
	advert_fini(&theirs);
	advert_fini(&ours);
	buf_fini(&got);
}

static void what_is_written_is_read_back(void **state)
{
	struct lsref head = { .name = SLICE_LIT("HEAD") },
		     tag = { .name = SLICE_LIT("refs/tags/v1"), .has_peeled = true };
	struct buf wire = BUF_EMPTY, refs = BUF_EMPTY;
	struct advert a;

	(void)state;
	memset(head.oid.bytes, 0xaa, 20);
	memset(tag.oid.bytes, 0xbb, 20);
	memset(tag.peeled.bytes, 0xcc, 20);
	advert_add_service(&wire, "git-upload-pack");
	advert_add_v0_version(&wire, 1);
	advert_add_v0_ref(&wire, OID_SHA1, &head, SLICE_LIT("ofs-delta symref=HEAD:refs/heads/main"));
	advert_add_v0_ref(&wire, OID_SHA1, &tag, (struct slice){ 0 });
	pkt_add_flush(&wire);
	assert_int_equal(read_in_pieces(&a, &refs, buf_slice(&wire), 4), 0);
	assert_int_equal(a.version, 1);
	assert_string_equal(refs.data,
			    A40 " HEAD symref-target:refs/heads/main\n" B40 " refs/tags/v1 peeled:" C40 "\n");
	advert_fini(&a);
	buf_reset(&wire);
	buf_reset(&refs);
	advert_add_service(&wire, "git-upload-pack");
	advert_add_v0_version(&wire, 0);
	advert_add_v0_empty(&wire, OID_SHA256, SLICE_LIT("object-format=sha256"));
	pkt_add_flush(&wire);
	assert_int_equal(read_in_pieces(&a, &refs, buf_slice(&wire), 4), 0);
	assert_true(a.empty);
	assert_int_equal(a.format, OID_SHA256);
	advert_fini(&a);
	buf_fini(&wire);
	buf_fini(&refs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(advertisements_are_read_in_pieces_of_every_size),
		cmocka_unit_test(an_empty_repository_and_a_shallow_one_are_told),
		cmocka_unit_test(an_error_text_is_kept_and_escaped),
		cmocka_unit_test(a_dumb_servers_answer_is_refused),
		cmocka_unit_test(capabilities_are_found),
		cmocka_unit_test(what_was_kept_can_be_restored),
		cmocka_unit_test(only_what_both_keep_is_promised),
		cmocka_unit_test(v0_capabilities_leave_out_what_speaks_of_somebody_else),
		cmocka_unit_test(what_is_written_is_read_back),
	};

	return cmocka_run_group_tests_name("advert", tests, NULL, NULL);
}
