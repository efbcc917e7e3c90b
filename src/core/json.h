/* json.h -- JSON of peers, read strictly and written so that it reads back equal (RFC 8259).
 *
 * The values are jansson's. Beside its grammar (no trailing bytes, no NaN, no unquoted names, no control characters,
 * valid UTF-8 without lone surrogates) these hold:
 *   - the whole is an object or an array, at most JSON_MOST_DEPTH deep and of about JSON_MOST_VALUES values;
 *   - U+0000 is refused, in names and in strings: nothing behind a C string could keep it;
 *   - an integer that fits 64 bits with sign is exact; a larger one is a double, as every number with '.' or 'e' is; a
 *     number beyond a double is refused;
 *   - of a repeated name the last value counts.
 * Pure; any thread. */
#ifndef WEIR_CORE_JSON_H
#define WEIR_CORE_JSON_H

#include <jansson.h>

#include "base/buf.h"

#define JSON_MOST_DEPTH  100
#define JSON_MOST_VALUES 500000 /* a value takes up to 150 bytes of memory, and as little as 3 of text */

enum json_read_flag {
	/* The bare token Infinity, as Python's json writes float("inf"), is read where a value may stand: as the string
	 * "Infinity". For histogram buckets; a field that wants a number refuses that string by its type. */
	JSON_READ_INFINITY = 1,
	/* What json_write() made and we have kept, perhaps wrapped or merged: the limits of depth and number do not
	 * hold. */
	JSON_READ_KEPT = 2,
};

/* 0 with a new reference; WEIR_E_PARSE with half a sentence that says what and where ("'}' expected near ... (byte
 * 17)") added to why, which may be NULL. The size of text is the caller's to limit. */
int json_read(struct slice text, unsigned flags, json_t **ret, struct buf *why);

/* Appends v, compact, members in the order in which they were set. Doubles take the fewest digits that read back equal,
 * and always a '.' or an 'e', so that they read back as doubles. v is no deeper than what json_read() gives, or a few
 * levels more. */
void json_write(const json_t *v, struct buf *out);
void json_write_text(struct slice s, struct buf *out); /* as a JSON string, quotes included */

#endif
