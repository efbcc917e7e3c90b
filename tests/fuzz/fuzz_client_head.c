/* fuzz_client_head.c -- what an upstream says as the head of its answer, line by line, as libcurl would hand it over.
 *
 * Besides memory errors: a head that is accepted has one framing only (RFC 9112 section 6.3), no folded line is left,
 * and the limits hold. */
#include <stdint.h>

#include "base/obj.h"
#include "io/client.h"
#include "io/client_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct client_head *h)
{
	struct slice *lines = xcalloc(h->count + 1, sizeof(*lines));
	struct slice length = { NULL, 0 };
	size_t total = 0, chunked = 0;

	client_head_lines(h, lines);
	for (size_t i = 0; i < h->count; i++) {
		struct slice value = lines[i], name;
		total += lines[i].n;
		ENSURE(lines[i].n > 0 && lines[i].p[0] != ' ' && lines[i].p[0] != '\t');
		ENSURE(slice_cut(&value, ':', &name) && name.n > 0);
		value = slice_trim(value);
		if (slice_ieq_str(name, "transfer-encoding"))
			chunked++;
		if (slice_ieq_str(name, "content-length")) {
			ENSURE(!length.p || slice_eq(length, value));
			length = value;
		}
	}
	ENSURE(total == h->raw.len && h->count <= CLIENT_HEAD_LINES && h->raw.len <= CLIENT_HEAD_BYTES);
	ENSURE(chunked <= 1 && !(chunked && length.p));
	ENSURE(h->status >= 200 && h->status <= 999);
	free(lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = { (const char *)data, size };
	struct client_head h;
	int r = 0;

	client_head_init(&h);
	while (rest.n > 0 && r == 0) {
		ssize_t end = slice_find(rest, '\n');
		size_t n = end < 0 ? rest.n : (size_t)end + 1;
		r = client_head_add(&h, (struct slice){ rest.p, n });
		rest = slice_from(rest, n);
	}
	ENSURE((r == 1) == h.is_complete);
	if (r == 1)
		check(&h);
	client_head_fini(&h);
	return 0;
}
