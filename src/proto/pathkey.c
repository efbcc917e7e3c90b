/* pathkey.c -- see pathkey.h. A broken escape stays as it is: the server that is asked decides what it means. */
#include "proto/pathkey.h"

#include <string.h>

#include "base/err.h"
#include "base/str.h"

static bool is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c));
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static void add_unescaped(struct slice path, struct buf *out)
{
	for (size_t i = 0; i < path.n; i++) {
		int high = i + 2 < path.n && path.p[i] == '%' ? hex_digit(path.p[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(path.p[i + 2]) : -1;

		if (low < 0) {
			buf_add_char(out, path.p[i]);
			continue;
		}
		if (is_unreserved((unsigned char)(high << 4 | low)))
			buf_add_char(out, (char)(high << 4 | low));
		else
			buf_addf(out, "%%%X%X", (unsigned)high, (unsigned)low);
		i += 2;
	}
}

static bool is_dots(struct slice segment, const char *dots)
{
	return slice_eq_str(segment, dots);
}

/* RFC 3986 5.2.4, over whole segments. Each one that stays is written with the '/' before it. */
static void add_without_dots(struct slice path, struct buf *out)
{
	size_t begin = out->len;
	struct slice rest = slice_from(path, 1), segment;
	bool more = true;

	while (more) {
		more = slice_cut(&rest, '/', &segment);
		if (is_dots(segment, ".") || is_dots(segment, "..")) {
			while (is_dots(segment, "..") && out->len > begin && out->data[out->len - 1] != '/')
				buf_truncate(out, out->len - 1);
			if (is_dots(segment, "..") && out->len > begin)
				buf_truncate(out, out->len - 1);
			if (!more)
				buf_add_char(out, '/');
			continue;
		}
		buf_add_char(out, '/');
		buf_add_slice(out, segment);
	}
}

int pathkey_add(struct slice target, struct buf *out)
{
	struct buf plain = BUF_EMPTY;
	struct slice path = target;

	if (!target.n || target.p[0] != '/')
		return WEIR_E_PARSE;
	(void)slice_cut(&target, '?', &path); /* without a query it is all of it */
	add_unescaped(path, &plain);
	add_without_dots(buf_slice(&plain), out);
	buf_fini(&plain);
	return 0;
}
