/* pktline_test.c -- packet lines, whole and byte by byte. */
#include "proto/pktline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

/* Reads `in` in pieces of `piece` bytes and writes what came out as "D(abc) F | R", "ERROR" for WEIR_E_PARSE, "..."
 * when cut. */
static void describe(struct slice in, size_t piece, struct buf *out)
{
	struct pkt_reader r;
	struct pkt pkt;
	int n = 0;

	pkt_reader_init(&r);
	while (in.n && n >= 0) {
		struct slice part = { in.p, in.n < piece ? in.n : piece };

		in = slice_from(in, part.n);
		while ((n = pkt_reader_next(&r, &part, &pkt)) > 0) {
			switch (pkt.type) {
			case PKT_FLUSH: buf_add_str(out, "F "); break;
			case PKT_DELIM: buf_add_str(out, "| "); break;
			case PKT_RESPONSE_END: buf_add_str(out, "R "); break;
			case PKT_DATA:
				buf_addf(out, "D(%.*s) ", (int)pkt_text(&pkt).n,
					 pkt_text(&pkt).p ? pkt_text(&pkt).p : "");
				break;
			}
		}
		assert_true(n < 0 || !part.n);
	}
	if (n < 0) {
		assert_int_equal(n, WEIR_E_PARSE);
		assert_int_equal(pkt_reader_next(&r, &in, &pkt), WEIR_E_PARSE);
		assert_false(pkt_reader_is_between(&r));
		buf_add_str(out, "ERROR");
	} else if (!pkt_reader_is_between(&r)) {
		buf_add_str(out, "...");
	}
	pkt_reader_fini(&r);
}

static void packets_come_out_alike_whatever_the_pieces(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "", "" },
		{ "0000", "F " },
		{ "00000001000200000008abcd", "F | R F D(abcd) " },
		{ "0004", "D() " },
		{ "00040004", "D() D() " },
		{ "0005\n", "D() " },
		{ "0006a\n0006\n\n", "D(a) D(\n) " },
		{ "000ahello\n000ahello0", "D(hello) D(hello0) " },
		{ "000Aabcdef000aABCDEF", "D(abcdef) D(ABCDEF) " },
		{ "000", "..." },
		{ "0", "..." },
		{ "0008abc", "..." },
		{ "0006ab0008abc", "D(ab) ..." },
		{ "0003", "ERROR" },
		{ "0006ab0003", "D(ab) ERROR" },
		{ "zzzz", "ERROR" },
		{ "00g0", "ERROR" },
		{ "+004", "ERROR" },
		{ " 004", "ERROR" },
		{ "0x04", "ERROR" },
		{ "fff1", "ERROR" },
		{ "ffff", "ERROR" },
		{ "000-", "ERROR" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t piece = 1; piece < 30; piece++) {
			struct buf got = BUF_EMPTY;

			describe(slice_str(rows[i].in), piece, &got);
			assert_string_equal(got.data, rows[i].want);
			buf_fini(&got);
		}
	}
}

static void the_largest_packet_passes_and_one_byte_more_does_not(void **state)
{
	struct buf wire = BUF_EMPTY, again = BUF_EMPTY;
	char *data = xmalloc(PKT_MAX_DATA + 1);
	struct slice in;
	struct pkt pkt;

	(void)state;
	memset(data, 'x', PKT_MAX_DATA + 1);
	pkt_add(&wire, (struct slice){ data, PKT_MAX_DATA });
	assert_int_equal(buf_error(&wire), 0);
	assert_int_equal(wire.len, PKT_MAX_BYTES);
	assert_memory_equal(wire.data, "fff0", 4);
	in = buf_slice(&wire);
	assert_int_equal(pkt_next(&in, &pkt), 1);
	assert_int_equal(pkt.data.n, PKT_MAX_DATA);
	describe(buf_slice(&wire), 7, &again);
	assert_int_equal(again.len, PKT_MAX_DATA + 4);

	pkt_add(&wire, (struct slice){ data, PKT_MAX_DATA + 1 });
	assert_int_equal(buf_error(&wire), WEIR_E_TOO_LARGE);
	assert_int_equal(wire.len, PKT_MAX_BYTES);
	buf_reset(&wire);
	pkt_addf(&wire, "%.*s!", PKT_MAX_DATA, data);
	assert_int_equal(buf_error(&wire), WEIR_E_TOO_LARGE);
	assert_int_equal(wire.len, 0);
	buf_fini(&wire);
	buf_fini(&again);
	free(data);
}

static void writers_write_what_git_writes(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	pkt_add_str(&b, "version 2\n");
	pkt_addf(&b, "agent=%s\n", "git/2.39.5");
	pkt_add_delim(&b);
	pkt_add(&b, (struct slice){ NULL, 0 });
	pkt_add_err(&b, slice_str("no\r\nway"));
	pkt_add_flush(&b);
	pkt_add_response_end(&b);
	assert_int_equal(buf_error(&b), 0);
	assert_string_equal(b.data, "000eversion 2\n0015agent=git/2.39.5\n00010004000fERR no  way00000002");
	buf_fini(&b);
}

static void sideband_data_is_cut_into_packets(void **state)
{
	size_t size = 2 * (PKT_MAX_DATA - 1) + 3, got = 0, packets = 0;
	char *data = xmalloc(size);
	struct buf b = BUF_EMPTY;
	struct slice in;
	struct pkt pkt;

	(void)state;
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 31);
	pkt_add_band(&b, 1, (struct slice){ data, size });
	pkt_add_band(&b, 2, (struct slice){ NULL, 0 });
	in = buf_slice(&b);
	while (pkt_next(&in, &pkt) == 1) {
		assert_int_equal(pkt.data.p[0], 1);
		assert_memory_equal(pkt.data.p + 1, data + got, pkt.data.n - 1);
		got += pkt.data.n - 1;
		packets++;
	}
	assert_int_equal(in.n, 0);
	assert_int_equal(got, size);
	assert_int_equal(packets, 3);
	buf_fini(&b);
	free(data);
}

static void whole_packets_are_not_copied(void **state)
{
	struct slice in = SLICE_LIT("0008abcd0008ef");
	const char *start = in.p;
	struct pkt_reader r;
	struct pkt pkt;

	(void)state;
	pkt_reader_init(&r);
	assert_int_equal(pkt_reader_next(&r, &in, &pkt), 1);
	assert_ptr_equal(pkt.data.p, start + 4);
	assert_int_equal(pkt_reader_next(&r, &in, &pkt), 0);
	assert_int_equal(in.n, 0);
	assert_false(pkt_reader_is_between(&r));
	in = SLICE_LIT("gh");
	assert_int_equal(pkt_reader_next(&r, &in, &pkt), 1);
	assert_true(slice_eq_str(pkt.data, "efgh"));
	assert_true(pkt_reader_is_between(&r));
	pkt_reader_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_come_out_alike_whatever_the_pieces),
		cmocka_unit_test(the_largest_packet_passes_and_one_byte_more_does_not),
		cmocka_unit_test(writers_write_what_git_writes),
		cmocka_unit_test(sideband_data_is_cut_into_packets),
		cmocka_unit_test(whole_packets_are_not_copied),
	};

	return cmocka_run_group_tests_name("pktline", tests, NULL, NULL);
}
