/* pathkey.h -- one name for all spellings of a path (RFC 3986 6.2.2): what writes are ordered by. Pure; any thread. */
#ifndef WEIR_PROTO_PATHKEY_H
#define WEIR_PROTO_PATHKEY_H

#include "base/buf.h"

/* Adds the path of an origin-form target, without its query: escapes of unreserved bytes decoded, other escapes in
 * upper case, "." and ".." segments resolved. Nothing else is touched: "//" and a trailing '/' may mean something. Used
 * for ordering only, never sent. WEIR_E_PARSE when it does not begin with '/'; then nothing is added. */
int pathkey_add(struct slice target, struct buf *out);

#endif
