/* str.h -- reading small values out of text, and writing text safely. Pure; any thread. */
#ifndef WEIR_BASE_STR_H
#define WEIR_BASE_STR_H

#include "base/buf.h"

/* Decimal digits only (no sign, no space), checked for overflow. 0 or WEIR_E_PARSE. */
int str_parse_u64(struct slice s, uint64_t *ret);
/* "250ms", "3s", "5m", "24h", "7d". A bare 0 is accepted. 0 or WEIR_E_PARSE. */
int str_parse_duration_ms(struct slice s, int64_t *ret_ms);
/* "32KiB", "1MiB", "10GiB", "1TiB"; a bare number is bytes. 0 or WEIR_E_PARSE. */
int str_parse_bytes(struct slice s, uint64_t *ret_bytes);
void str_format_duration(int64_t ms, struct buf *out);  /* "3s", "1.5s", "2h": for people */
void str_format_bytes(uint64_t bytes, struct buf *out); /* "145.2 MiB": for people */

void str_hex(const void *p, size_t n, struct buf *out); /* lower case */
int str_unhex(struct slice hex, unsigned char *out, size_t out_bytes); /* exact length; 0 or WEIR_E_PARSE */
bool str_is_hex(struct slice s); /* all lower-case hexadecimal digits, at least one */

/* Adds s with control characters, quotes, backslashes and bytes above 126 as \xNN, cut after `most` bytes with "...":
 * how peers' bytes enter a log line or a message. */
void str_add_escaped(struct buf *out, struct slice s, size_t most);
/* Adds s as the inside of a JSON string (quotes not added; invalid UTF-8 becomes U+FFFD). */
void str_add_json(struct buf *out, struct slice s);
/* Standard Base64 (RFC 4648 section 4), padding required. 0 or WEIR_E_PARSE. */
int str_base64_decode(struct slice s, struct buf *out);
void str_base64_encode(struct slice s, struct buf *out);
/* Equality whose time does not depend on where the two differ. */
bool str_eq_const_time(struct slice a, struct slice b);

#endif
