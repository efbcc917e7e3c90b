/* vary.h -- which stored response fits a request (RFC 9111 4.1). Pure; any thread.
 *
 * A key is text: for each field that Vary names, in alphabetical order, "name" LF when the request has none, or
 * "name:value" LF; the value is that of all its lines as one list, the space around commas taken away. A field that the
 * request's own Connection names counts as absent, since upstream never saw it: else a client could have the answer to
 * one question kept as that to another. Of a Cookie the key has a SHA-256 only (invariant 10). */
#ifndef WEIR_MIRROR_VARY_H
#define WEIR_MIRROR_VARY_H

#include "proto/httplines.h"

#define VARY_MOST_NAMES 32
#define VARY_KEY_BYTES ((size_t)16 << 10)

/* Adds the key of `request` under the Vary lines of `answer`: empty when it has none. -EINVAL for "*", a name that is
 * no token, or Authorization when the request has one (not even its hash is kept here): no request ever fits;
 * WEIR_E_TOO_LARGE above the limits. In both cases better not stored; nothing is added. */
int vary_key(const struct httplines *answer, const struct httplines *request, struct buf *out);
/* Whether `request` has the values that `key` was made of. */
bool vary_matches(struct slice key, const struct httplines *request);

#endif
