/* oid.c -- object ids and their hexadecimal form.
 *
 * WHAT     Parse, print, compare; a growing list that can be sorted.
 * WHY      A listing of 100,000 refs, or a request of 20,000 wants, is half the size in binary, and ids compare and
 *          hash at their natural length. Both formats share one struct, so that nothing above needs two versions.
 * SEE      gitformat-pack(5); gitprotocol-v2(5), "object-format" */
#include "proto/oid.h"

#include "base/err.h"
#include "base/obj.h"

static const char hex_digits[] = "0123456789abcdef";

size_t oid_bytes(enum oid_format f)
{
	return f == OID_SHA1 ? 20 : f == OID_SHA256 ? 32 : 0;
}

size_t oid_hex_chars(enum oid_format f)
{
	return 2 * oid_bytes(f);
}

const char *oid_format_text(enum oid_format f)
{
	return f == OID_SHA1 ? "sha1" : f == OID_SHA256 ? "sha256" : "unknown";
}

int oid_format_parse(struct slice s, enum oid_format *ret)
{
	if (slice_eq_str(s, "sha1"))
		*ret = OID_SHA1;
	else if (slice_eq_str(s, "sha256"))
		*ret = OID_SHA256;
	else
		return WEIR_E_PARSE;
	return 0;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int oid_parse(struct slice hex, enum oid_format *f, struct oid *ret)
{
	enum oid_format shown = hex.n == 40 ? OID_SHA1 : hex.n == 64 ? OID_SHA256 : OID_UNKNOWN;
	struct oid id = { { 0 } };
	size_t i;

	if (shown == OID_UNKNOWN || (*f != OID_UNKNOWN && *f != shown))
		return WEIR_E_PARSE;
	for (i = 0; i < hex.n / 2; i++) {
		int high = nibble(hex.p[2 * i]), low = nibble(hex.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return WEIR_E_PARSE;
		id.bytes[i] = (unsigned char)(high << 4 | low);
	}
	*f = shown;
	*ret = id;
	return 0;
}

void oid_to_hex(enum oid_format f, const struct oid *id, char ret[OID_MAX_HEX + 1])
{
	size_t i, n = oid_bytes(f);

	for (i = 0; i < n; i++) {
		ret[2 * i] = hex_digits[id->bytes[i] >> 4];
		ret[2 * i + 1] = hex_digits[id->bytes[i] & 15];
	}
	ret[2 * n] = '\0';
}

void oid_add_hex(struct buf *out, enum oid_format f, const struct oid *id)
{
	char *at = buf_reserve(out, oid_hex_chars(f));

	if (!at)
		return;
	oid_to_hex(f, id, at);    /* reserve keeps room for the NUL */
	out->len += oid_hex_chars(f);
}

bool oid_is_null(const struct oid *id)
{
	static const struct oid null;

	return oid_eq(id, &null);
}

bool oid_eq(const struct oid *a, const struct oid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

int oid_cmp(const struct oid *a, const struct oid *b)
{
	return memcmp(a, b, sizeof(*a));
}

void oid_list_add(struct oid_list *l, const struct oid *id)
{
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 16;
		l->items = xrealloc(l->items, l->room * sizeof(*l->items));
	}
	l->items[l->count++] = *id;
}

void oid_list_fini(struct oid_list *l)
{
	free(l->items);
	*l = (struct oid_list){ 0 };
}

static int cmp_for_qsort(const void *a, const void *b)
{
	return oid_cmp(a, b);
}

void oid_list_sort_unique(struct oid_list *l)
{
	size_t i, kept = 0;

	if (l->count)
		qsort(l->items, l->count, sizeof(*l->items), cmp_for_qsort);
	for (i = 0; i < l->count; i++)
		if (!kept || !oid_eq(&l->items[kept - 1], &l->items[i]))
			l->items[kept++] = l->items[i];
	l->count = kept;
}
