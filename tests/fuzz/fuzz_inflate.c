/* fuzz_inflate.c -- gzip bodies in any bytes and any portions, with a small ceiling.
 *
 * The first two bytes choose the ceiling and the portions. Whole and in portions, the same has to be accepted, with the
 * same outcome, and never more than the ceiling comes out. What is refused may be so for different reasons (a body cut
 * short that would also have been too large). See src/io/inflate.h. */
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(const uint8_t *data, size_t size, size_t most, size_t portion, struct buf *out)
{
	struct inflate *i = inflate_new(most);
	size_t at = 0, taken;
	int r = 0;

	while (at < size && r == 0) {
		size_t n = size - at < portion ? size - at : portion, before = out->len;

		if (portion == SIZE_MAX) {
			r = inflate_feed(i, data + at, n, out);
			taken = n;
		} else {
			r = inflate_feed_some(i, data + at, n, portion, out, &taken);
			ENSURE(taken <= n);
			ENSURE(r || taken || out->len > before); /* it always goes on */
		}
		at += taken;
		ENSURE(out->len <= most);
	}
	if (r == 0)
		r = inflate_finish(i);
	inflate_free(&i);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_EMPTY, cut = BUF_EMPTY;
	size_t most, portion;
	int a, b;

	if (size < 2)
		return 0;
	most = (size_t)data[0] * 64;
	portion = 1 + data[1] % 64;
	a = run(data + 2, size - 2, most, SIZE_MAX, &whole);
	b = run(data + 2, size - 2, most, portion, &cut);
	ENSURE(!a == !b && (a || slice_eq(buf_slice(&whole), buf_slice(&cut))));
	buf_fini(&whole);
	buf_fini(&cut);
	return 0;
}
