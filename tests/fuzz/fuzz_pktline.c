/* fuzz_pktline.c -- packets cut from any bytes, whole and in pieces.
 *
 * The first byte chooses the size of the pieces. Both readers must give the same packets, what was cut must be written
 * back byte by byte, and the parsers of ref listings stand behind the same bytes. */
#include "base/obj.h"
#include "proto/lsrefs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(struct buf *out, const struct pkt *pkt)
{
	switch (pkt->type) {
	case PKT_FLUSH: pkt_add_flush(out); break;
	case PKT_DELIM: pkt_add_delim(out); break;
	case PKT_RESPONSE_END: pkt_add_response_end(out); break;
	case PKT_DATA: pkt_add(out, pkt->data); break;
	}
}

static int keep(void *arg, const struct lsref *ref)
{
	ENSURE(lsrefs_name_is_valid(ref->name));
	ENSURE(!ref->symref.n || lsrefs_name_is_valid(ref->symref));
	++*(size_t *)arg;
	return 0;
}

static void read_listing(struct slice all, size_t piece)
{
	struct lsrefs_parser p;
	size_t count = 0;

	lsrefs_parser_init(&p, OID_UNKNOWN, keep, &count);
	while (all.n) {
		struct slice part = { all.p, all.n < piece ? all.n : piece };

		if (lsrefs_parser_feed(&p, part) < 0)
			break;
		all = slice_from(all, part.n);
	}
	(void)lsrefs_parser_finish(&p);
	ENSURE(count == p.count);
	lsrefs_parser_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_EMPTY, pieces = BUF_EMPTY;
	struct slice in, all;
	struct pkt_reader r;
	struct pkt pkt;
	size_t piece;
	int n, end = 0;

	if (size < 1)
		return 0;
	piece = data[0] % 23 + 1u;
	all = in = (struct slice){ (const char *)data + 1, size - 1 };
	while ((n = pkt_next(&in, &pkt)) > 0)
		write_again(&whole, &pkt);

	pkt_reader_init(&r);
	for (struct slice rest = all; rest.n && end == 0;) {
		struct slice part = { rest.p, rest.n < piece ? rest.n : piece };

		rest = slice_from(rest, part.n);
		while ((end = pkt_reader_next(&r, &part, &pkt)) > 0)
			write_again(&pieces, &pkt);
	}
	ENSURE(end == n);
	ENSURE(pkt_reader_is_between(&r) == (end == 0 && !in.n));
	ENSURE(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
	ENSURE(whole.len == all.n - in.n);
	pkt_reader_fini(&r);
	buf_fini(&whole);
	buf_fini(&pieces);
	read_listing(all, piece);
	return 0;
}
