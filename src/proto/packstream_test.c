/* packstream_test.c -- answers in pieces of every size. */
#include "proto/packstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"

static int gather(void *arg, const char *p, size_t n)
{
	buf_add(arg, p, n);
	return 0;
}

/* Feeds `answer` in pieces of `step` bytes. */
static int read_all(int version, struct slice answer, size_t step, struct packstream *ps, struct buf *pack)
{
	int r = 0;

	packstream_init(ps, version, gather, pack);
	for (size_t at = 0; r == 0 && at < answer.n; at += step)
		r = packstream_feed(ps, (struct slice){ answer.p + at, answer.n - at < step ? answer.n - at : step });
	return r;
}

static void check(int version, const struct buf *answer, int want, enum packstream_state state, const char *pack_text, const char *err)
{
	for (size_t step = 1; step <= answer->len; step++) {
		struct buf pack = BUF_EMPTY;
		struct packstream ps;

		assert_int_equal(read_all(version, buf_slice(answer), step, &ps, &pack), want);
		assert_int_equal(ps.state, state);
		assert_string_equal(pack.data, pack_text);
		assert_string_equal(ps.err.data, err);
		packstream_fini(&ps);
		buf_fini(&pack);
	}
}

/* Only what the last byte brings. */
static void check_at_end(int version, const struct buf *answer, int want)
{
	struct buf pack = BUF_EMPTY;
	struct packstream ps;

	assert_int_equal(read_all(version, buf_slice(answer), 1, &ps, &pack), want);
	packstream_fini(&ps);
	buf_fini(&pack);
}

static void where_history_is_cut_is_remembered(void **state)
{
	struct buf b = BUF_EMPTY, pack = BUF_EMPTY;
	struct packstream ps;

	(void)state;
	pkt_add_str(&b, "shallow-info\n");
	pkt_add_str(&b, "shallow 0123\n");
	pkt_add_str(&b, "shallow 4567");
	pkt_add_delim(&b);
	pkt_add_str(&b, "packfile\n");
	pkt_add_flush(&b);
	assert_int_equal(read_all(2, buf_slice(&b), 3, &ps, &pack), 0);
	assert_string_equal(ps.shallow.data, "0123\n4567\n");
	packstream_fini(&ps);
	buf_fini(&b);
	buf_fini(&pack);
}

static void the_pack_of_a_v2_answer_is_found_behind_its_sections(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	pkt_add_str(&b, "acknowledgments\n");
	pkt_add_str(&b, "ready\n");
	pkt_add_delim(&b);
	pkt_add_str(&b, "packfile\n");
	pkt_add_band(&b, 2, SLICE_LIT("Counting objects\r"));
	pkt_add_band(&b, 1, SLICE_LIT("PACKab"));
	pkt_add_band(&b, 1, SLICE_LIT("packfile\n")); /* bytes of a pack, not a section */
	check(2, &b, 0, PACKSTREAM_PACK, "PACKabpackfile\n", "");
	pkt_add_flush(&b);
	check(2, &b, 0, PACKSTREAM_ENDED, "PACKabpackfile\n", "");
	pkt_add_str(&b, "more");
	check_at_end(2, &b, WEIR_E_PROTOCOL);
	buf_fini(&b);
}

static void a_round_without_a_pack_has_none(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	pkt_add_str(&b, "acknowledgments\n");
	pkt_add_str(&b, "NAK\n");
	pkt_add_flush(&b);
	check(2, &b, 0, PACKSTREAM_BEFORE, "", "");
	buf_fini(&b);
}

static void v0_has_its_pack_behind_nak(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	pkt_add_str(&b, "NAK\n");
	pkt_add_band(&b, 1, SLICE_LIT("PACK"));
	pkt_add_flush(&b);
	check(0, &b, 0, PACKSTREAM_ENDED, "PACK", "");
	buf_reset(&b);
	pkt_add_str(&b, "NAK\n");
	buf_add_str(&b, "PACK without a band");
	check(0, &b, WEIR_E_PROTOCOL, PACKSTREAM_BEFORE, "", "");
	buf_fini(&b);
}

static void what_the_sender_says_of_its_failure_is_kept(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	pkt_add_str(&b, "ERR upload-pack: not our ref 123\n");
	check(2, &b, WEIR_E_PROTOCOL, PACKSTREAM_BEFORE, "", "upload-pack: not our ref 123");
	buf_reset(&b);
	pkt_add_str(&b, "packfile\n");
	pkt_add_band(&b, 1, SLICE_LIT("PA"));
	pkt_add_band(&b, 3, SLICE_LIT("aborting\x1b\n"));
	check(2, &b, WEIR_E_PROTOCOL, PACKSTREAM_PACK, "PA", "aborting\\x1b");
	buf_fini(&b);
}

static int refuse(void *arg, const char *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return -ENOSPC;
}

static void a_taker_that_fails_ends_the_reading(void **state)
{
	struct packstream ps;
	struct buf b = BUF_EMPTY;

	(void)state;
	pkt_add_str(&b, "packfile\n");
	pkt_add_band(&b, 1, SLICE_LIT("PACK"));
	packstream_init(&ps, 2, refuse, NULL);
	assert_int_equal(packstream_feed(&ps, buf_slice(&b)), -ENOSPC);
	assert_int_equal(packstream_feed(&ps, SLICE_LIT("0000")), -ENOSPC);
	packstream_fini(&ps);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_pack_of_a_v2_answer_is_found_behind_its_sections),
		cmocka_unit_test(where_history_is_cut_is_remembered),
		cmocka_unit_test(a_round_without_a_pack_has_none),
		cmocka_unit_test(v0_has_its_pack_behind_nak),
		cmocka_unit_test(what_the_sender_says_of_its_failure_is_kept),
		cmocka_unit_test(a_taker_that_fails_ends_the_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
