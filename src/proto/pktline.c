/* pktline.c -- packet lines: cutting and writing them.
 *
 * WHAT     pkt_next() cuts packets off bytes that are all here; pkt_reader does the same for bytes that come in pieces;
 *          pkt_add*() writes.
 * WHY      Everything that git says is framed so. Two readers, as an answer of 60 MB should not be copied to be looked
 *          at: the reader copies only the packet that lies across two pieces.
 * RULES    1. A length is four hexadecimal digits, either case (git's own reader takes both); 0003 and anything above
 *             65520 is refused: there another reader might go on at another byte.
 *          2. Nothing is given out before the whole packet is here.
 * SEE      gitprotocol-common(5), "pkt-line Format"; gitprotocol-v2(5), "Packet-Line Framing" */
#include "proto/pktline.h"

#include "base/err.h"
#include "base/obj.h"

/* The length that four digits say, or WEIR_E_PARSE. */
static int read_length(const char *p)
{
	int i, n = 0;

	for (i = 0; i < 4; i++) {
		char c = p[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;

		if (digit < 0)
			return WEIR_E_PARSE;
		n = n << 4 | digit;
	}
	return n == 3 || n > PKT_MAX_BYTES ? WEIR_E_PARSE : n;
}

int pkt_next(struct slice *in, struct pkt *ret)
{
	static const enum pkt_type special[] = { PKT_FLUSH, PKT_DELIM, PKT_RESPONSE_END };
	int n;

	if (in->n < 4)
		return 0;
	n = read_length(in->p);
	if (n < 0)
		return n;
	if (n < 3) {
		*ret = (struct pkt){ .type = special[n] };
		*in = slice_from(*in, 4);
		return 1;
	}
	if (in->n < (size_t)n)
		return 0;
	*ret = (struct pkt){ .type = PKT_DATA, .data = { in->p + 4, (size_t)n - 4 } };
	*in = slice_from(*in, (size_t)n);
	return 1;
}

struct slice pkt_text(const struct pkt *p)
{
	struct slice s = p->data;

	if (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	return s;
}

void pkt_reader_init(struct pkt_reader *r)
{
	*r = (struct pkt_reader){ .part = BUF_LIMIT(PKT_MAX_BYTES) };
}

void pkt_reader_fini(struct pkt_reader *r)
{
	buf_fini(&r->part);
}

/* Moves bytes from *in until part has `want` of them; whether it has. */
static bool fill_part(struct pkt_reader *r, struct slice *in, size_t want)
{
	size_t n = want > r->part.len ? want - r->part.len : 0;

	if (n > in->n)
		n = in->n;
	buf_add(&r->part, in->p, n);
	*in = slice_from(*in, n);
	return r->part.len >= want;
}

int pkt_reader_next(struct pkt_reader *r, struct slice *in, struct pkt *ret)
{
	struct slice whole;
	int n;

	if (r->error)
		return r->error;
	if (r->given) {
		buf_reset(&r->part);
		r->given = false;
	}
	if (!r->part.len) {
		n = pkt_next(in, ret);
		if (n < 0)
			r->error = n;
		if (n)
			return n;
	}
	if (!in->n || !fill_part(r, in, 4))
		return 0;
	n = read_length(r->part.data);
	if (n < 0)
		return r->error = n;
	if (n > 4 && !fill_part(r, in, (size_t)n))
		return 0;
	whole = buf_slice(&r->part);
	n = pkt_next(&whole, ret);
	ENSURE(n == 1 && !whole.n);
	r->given = true;
	return 1;
}

bool pkt_reader_is_between(const struct pkt_reader *r)
{
	return !r->error && (r->given || !r->part.len);
}

size_t pkt_begin(struct buf *out)
{
	size_t at = out->len;

	buf_add(out, "0000", 4);
	return at;
}

void pkt_end(struct buf *out, size_t at)
{
	static const char hex[] = "0123456789abcdef";
	size_t n;
	int i;

	if (out->error)
		return;
	ENSURE(out->len >= at + 4);
	n = out->len - at;
	if (n > PKT_MAX_BYTES) {
		buf_truncate(out, at);
		out->error = WEIR_E_TOO_LARGE;
		return;
	}
	for (i = 0; i < 4; i++)
		out->data[at + (size_t)i] = hex[n >> (12 - 4 * i) & 15];
}

void pkt_add(struct buf *out, struct slice data)
{
	size_t at;

	if (data.n > PKT_MAX_DATA) {
		if (!out->error)
			out->error = WEIR_E_TOO_LARGE;
		return;
	}
	at = pkt_begin(out);
	buf_add_slice(out, data);
	pkt_end(out, at);
}

void pkt_add_str(struct buf *out, const char *s)
{
	pkt_add(out, slice_str(s));
}

void pkt_addf(struct buf *out, const char *fmt, ...)
{
	size_t at = pkt_begin(out);
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(out, fmt, ap);
	va_end(ap);
	pkt_end(out, at);
}

void pkt_add_flush(struct buf *out)
{
	buf_add(out, "0000", 4);
}

void pkt_add_delim(struct buf *out)
{
	buf_add(out, "0001", 4);
}

void pkt_add_response_end(struct buf *out)
{
	buf_add(out, "0002", 4);
}

void pkt_add_err(struct buf *out, struct slice text)
{
	size_t at = pkt_begin(out), i;

	buf_add(out, "ERR ", 4);
	for (i = 0; i < text.n && i < 4096; i++)
		buf_add_char(out, (unsigned char)text.p[i] < ' ' || text.p[i] == 127 ? ' ' : text.p[i]);
	pkt_end(out, at);
}

void pkt_add_band(struct buf *out, int band, struct slice data)
{
	ENSURE(band >= 1 && band <= 3);
	while (data.n) {
		size_t n = data.n < PKT_MAX_DATA - 1 ? data.n : PKT_MAX_DATA - 1, at = pkt_begin(out);

		buf_add_char(out, (char)band);
		buf_add(out, data.p, n);
		pkt_end(out, at);
		data = slice_from(data, n);
	}
}
