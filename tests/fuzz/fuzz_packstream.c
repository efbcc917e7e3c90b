/* fuzz_packstream.c -- upstreams' answers to a fetch. The first byte chooses protocol and size of the pieces.
 *
 * In pieces or whole, the pack that is found, the state and the outcome must be the same. */
#include "base/obj.h"
#include "proto/packstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int gather(void *arg, const char *p, size_t n)
{
	buf_add(arg, p, n);
	return 0;
}

static int read_all(struct packstream *ps, int version, struct buf *pack, struct slice all, size_t piece)
{
	int r = 0;

	packstream_init(ps, version, gather, pack);
	while (r == 0 && all.n) {
		struct slice part = { all.p, all.n < piece ? all.n : piece };

		r = packstream_feed(ps, part);
		all = slice_from(all, part.n);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_EMPTY, pieces = BUF_EMPTY;
	struct packstream a, b;
	struct slice all;
	int version, r;

	if (!size)
		return 0;
	all = (struct slice){ (const char *)data + 1, size - 1 };
	version = data[0] & 1 ? 2 : 0;
	r = read_all(&a, version, &whole, all, size);
	ENSURE(read_all(&b, version, &pieces, all, (size_t)(data[0] >> 1) % 64 + 1) == r);
	ENSURE(a.state == b.state && slice_eq(buf_slice(&whole), buf_slice(&pieces)));
	ENSURE(slice_eq(buf_slice(&a.err), buf_slice(&b.err)) &&
	       slice_eq(buf_slice(&a.shallow), buf_slice(&b.shallow)));
	packstream_fini(&a);
	packstream_fini(&b);
	buf_fini(&whole);
	buf_fini(&pieces);
	return 0;
}
