/* json.h -- reading JSON without building anything: is this one value, and where is that member of it?
 *
 * Strict (RFC 8259): nothing behind the value, no control characters or broken UTF-8 in strings, no bare NaN, at most
 * WEIRC_JSON_DEPTH levels. Pure; any bytes may come. */
#ifndef WEIR_CLIENT_JSON_H
#define WEIR_CLIENT_JSON_H

#include <stdbool.h>
#include <stddef.h>

#define WEIRC_JSON_DEPTH 16

/* Is it one JSON value, with nothing but white space around it? object: and an object. */
bool weirc_json_is_value(const char *p, size_t n, bool object);
/* The text of a member of an object, which is a string of 1 to room - 1 bytes without escapes: copied, NUL-terminated.
 * 0, or -EPROTO: the text is not an object, or has no such member. Of a name that comes twice, the last counts. */
int weirc_json_text_of(const char *p, size_t n, const char *name, char *ret, size_t room);

#endif
