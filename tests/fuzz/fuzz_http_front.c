/* fuzz_http_front.c -- the reader of HTTP requests, in any bytes and any portions.
 *
 * WHAT     The first byte chooses how the rest is cut; then everything goes through the parser as a connection would do
 *          it, request after request. It is done twice, whole and in portions, and both must find the same requests.
 * WHY      Beside memory errors, the thing to find is a head or a body whose end depends on how TCP cut it: that is
 *          request smuggling against ourselves.
 * SEE      src/io/http_parse.h */
#include <stdint.h>

#include "base/buf.h"
#include "base/obj.h"
#include "io/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_HEAD 1024

/* Everything that was understood, as text. */
static void describe(const struct http_head *h, struct buf *out)
{
	buf_addf(out, "[%.*s %.*s %d form %d keep %d expect %d body %lld", (int)h->method.n, h->method.p,
		 (int)h->target.n, h->target.p, (int)h->minor, (int)h->form, h->keep_alive, h->expect_continue,
		 (long long)h->body);
	for (unsigned i = 0; i < h->count; i++)
		buf_addf(out, " %.*s=%.*s", (int)h->fields[i].name.n, h->fields[i].name.p, (int)h->fields[i].value.n,
			 h->fields[i].value.p);
	buf_add_str(out, "]");
}

/* Returns false when nothing more can be read. */
static bool feed(struct http_parse *hp, struct slice rest, struct buf *head, struct buf *out)
{
	static struct http_head h;
	struct slice piece;
	size_t used;

	for (;;) {
		enum http_event ev = http_parse_step(hp, rest.p, rest.n, &used, &piece);

		ENSURE(used <= rest.n);
		rest = slice_from(rest, used);
		switch (ev) {
		case HTTP_EV_MORE:
			ENSURE(rest.n == 0);
			return true;
		case HTTP_EV_HEAD:
			buf_reset(head);
			buf_add_slice(head, piece);
			if (http_parse_head(hp, buf_slice(head), &h) < 0)
				break;
			describe(&h, out);
			if (h.form == HTTP_FORM_AUTHORITY)
				return false;
			continue;
		case HTTP_EV_BODY:
			ENSURE(piece.n > 0);
			buf_add_slice(out, piece);
			continue;
		case HTTP_EV_END:
			buf_add_str(out, "<end>");
			http_parse_next(hp);
			ENSURE(http_parse_is_idle(hp));
			continue;
		case HTTP_EV_REFUSED:
			break;
		}
		buf_add_str(out, "<refused>"); /* not why: in portions, the second reader may be the first to see it */
		return false;
	}
}

static void run(const uint8_t *data, size_t size, unsigned cut, struct buf *out)
{
	struct http_parse hp;
	struct buf head = BUF_EMPTY;
	uint32_t dice = cut;
	size_t at = 0;
	bool more = true;

	http_parse_init(&hp, MOST_HEAD);
	while (more && at < size) {
		size_t n = size - at, most = cut < 128 ? cut : 1 + (dice = dice * 1103515245u + 12345u) % 97;
		char *copy;

		if (cut && n > most)
			n = most;
		copy = malloc(n); /* exactly as large, so that a read beyond it is seen */
		ENSURE(copy);
		memcpy(copy, data + at, n);
		more = feed(&hp, (struct slice){ copy, n }, &head, out);
		free(copy);
		at += n;
	}
	http_parse_fini(&hp);
	buf_fini(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_EMPTY, cut = BUF_EMPTY;

	if (!size)
		return 0;
	run(data + 1, size - 1, 0, &whole);
	run(data + 1, size - 1, data[0] ? data[0] : 1, &cut);
	ENSURE(slice_eq(buf_slice(&whole), buf_slice(&cut)));
	buf_fini(&whole);
	buf_fini(&cut);
	return 0;
}
