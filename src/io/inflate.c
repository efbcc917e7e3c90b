/* inflate.c -- zlib, fed in pieces, with a ceiling.
 *
 * WHAT     One gzip member (RFC 1952). zlib checks header, CRC-32 and length; we add the ceiling and refuse bytes after
 *          the end.
 * WHY      RFC 1952 allows several members in a row. No HTTP client sends that for a request, and two readers differ
 *          about it (some stop after the first), so it is refused like any framing that can be read in two ways.
 * RULES    1. No more than most_bytes ever come out, whatever goes in: output room is counted before zlib gets it.
 *          2. A failure is remembered; whoever feeds on gets it again.
 * THREADS  None of its own; one caller at a time.
 * SEE      RFC 9110 section 8.4.1.3 */
#include "io/inflate.h"

#include <zlib.h>

#include "base/err.h"
#include "base/obj.h"

#define WINDOW_GZIP_ONLY (15 + 16) /* zlib.h: add 16 to decode only gzip */
#define PIECE_BYTES 16384

struct inflate {
	z_stream z;
	uint64_t left; /* that may still come out */
	bool ended;
	int error;
};

struct inflate *inflate_new(uint64_t most_bytes)
{
	struct inflate *i = xcalloc(1, sizeof(*i));

	i->left = most_bytes;
	ENSURE(inflateInit2(&i->z, WINDOW_GZIP_ONLY) == Z_OK); /* else memory is out: fixed size */
	return i;
}

void inflate_free(struct inflate **ip)
{
	struct inflate *i = *ip;

	*ip = NULL;
	if (!i)
		return;
	(void)inflateEnd(&i->z); /* tells about unfinished streams, which is no concern here */
	free(i);
}

/* One call of zlib, with at most `room` bytes of output. 0, or the failure. *ret_made: bytes that came out. */
static int step(struct inflate *i, size_t room, struct buf *out, size_t *ret_made)
{
	char extra[1];
	bool probing = false;
	size_t give = room < PIECE_BYTES ? room : PIECE_BYTES;
	char *at;
	int z;

	if (i->left < give)
		give = (size_t)i->left;
	if (out->limit && out->limit - out->len < give)
		give = out->limit - out->len;
	if (give == 0) {
		/* At a ceiling: only the trailer may be left. One byte of room tells. */
		probing = true;
		give = 1;
		at = extra;
	} else {
		at = buf_reserve(out, give);
		if (!at)
			return WEIR_E_TOO_LARGE;
	}
	i->z.next_out = (Bytef *)at;
	i->z.avail_out = (uInt)give;
	z = inflate(&i->z, Z_NO_FLUSH);
	*ret_made = give - i->z.avail_out;
	if (probing && *ret_made)
		return WEIR_E_TOO_LARGE;
	if (!probing) {
		out->len += *ret_made;
		out->data[out->len] = '\0';
		i->left -= *ret_made;
	}
	if (z == Z_STREAM_END)
		i->ended = true;
	else if (z != Z_OK && z != Z_BUF_ERROR)
		return WEIR_E_PARSE;
	return 0;
}

int inflate_feed_some(struct inflate *i, const void *p, size_t n, size_t room, struct buf *out, size_t *ret_taken)
{
	size_t taken = 0, made = 0, grown = 0;

	*ret_taken = 0;
	if (i->error)
		return i->error;
	for (;;) {
		size_t piece = n - taken < PIECE_BYTES ? n - taken : PIECE_BYTES;

		if (i->ended) {
			if (taken < n)
				i->error = WEIR_E_PARSE; /* bytes after the end */
			break;
		}
		if (grown >= room)
			break;
		/* zlib's pointer is not const by age; it only reads */
		i->z.next_in = (Bytef *)(uintptr_t)((const char *)p + taken);
		i->z.avail_in = (uInt)piece;
		i->error = step(i, room - grown, out, &made);
		taken += piece - i->z.avail_in;
		grown += made;
		if (i->error)
			break;
		if (!made && i->z.avail_in == piece && !i->ended)
			break; /* nothing went in, nothing came out: all is taken */
	}
	*ret_taken = taken;
	return i->error;
}

int inflate_feed(struct inflate *i, const void *p, size_t n, struct buf *out)
{
	size_t taken;

	return inflate_feed_some(i, p, n, SIZE_MAX, out, &taken);
}

int inflate_finish(struct inflate *i)
{
	if (i->error)
		return i->error;
	return i->ended ? 0 : WEIR_E_PARSE;
}
