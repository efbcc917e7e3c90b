/* oid.h -- object ids: SHA-1 or SHA-256, binary here, lower-case hexadecimal on the wire.
 *
 * An id does not say which of the two it is; whoever holds ids also holds an `enum oid_format`. Pure; any thread. */
#ifndef WEIR_PROTO_OID_H
#define WEIR_PROTO_OID_H

#include "base/buf.h"

#define OID_MAX_BYTES 32
#define OID_MAX_HEX 64

enum oid_format {
	OID_UNKNOWN, /* not known yet: where a parser accepts it, the first id decides */
	OID_SHA1,
	OID_SHA256,
};

struct oid {
	unsigned char bytes[OID_MAX_BYTES]; /* SHA-1: 20 bytes, then zeros */
};

size_t oid_bytes(enum oid_format f);          /* 20 or 32; 0 for OID_UNKNOWN */
size_t oid_hex_chars(enum oid_format f);      /* 40 or 64; 0 for OID_UNKNOWN */
const char *oid_format_text(enum oid_format f); /* "sha1", "sha256", "unknown": as in object-format= */
int oid_format_parse(struct slice s, enum oid_format *ret); /* "sha1" or "sha256"; else WEIR_E_PARSE */
/* Exactly one id; upper case is accepted, as git does. *f OID_UNKNOWN becomes what the length says.
 * 0 or WEIR_E_PARSE. */
int oid_parse(struct slice hex, enum oid_format *f, struct oid *ret);
void oid_add_hex(struct buf *out, enum oid_format f, const struct oid *id);
void oid_to_hex(enum oid_format f, const struct oid *id, char ret[OID_MAX_HEX + 1]);
bool oid_is_null(const struct oid *id);
bool oid_eq(const struct oid *a, const struct oid *b);
int oid_cmp(const struct oid *a, const struct oid *b); /* as memcmp: the order of the hexadecimal form */

/* A growing list of ids. */
struct oid_list {
	struct oid *items;
	size_t count, room;
};
void oid_list_add(struct oid_list *l, const struct oid *id);
void oid_list_fini(struct oid_list *l);
void oid_list_sort_unique(struct oid_list *l);

#endif
