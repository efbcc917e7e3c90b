/* inflate.h -- a gzip body, piece by piece, with a limit on what comes out (a bomb is refused, not stored).
 * RFC 1952, RFC 9110 section 8.4.1.3. Pure; any thread. */
#ifndef WEIR_IO_INFLATE_H
#define WEIR_IO_INFLATE_H

#include "base/buf.h"

struct inflate;

struct inflate *inflate_new(uint64_t most_bytes);
void inflate_free(struct inflate **i);
/* Takes bytes, appends what they inflate to. 0; WEIR_E_PARSE (not gzip, bad checksum, bytes after the end);
 * WEIR_E_TOO_LARGE (more than most_bytes in all, or out's own limit). */
int inflate_feed(struct inflate *i, const void *p, size_t n, struct buf *out);
/* As inflate_feed, but stops when `out` has grown by about `room` bytes: *ret_taken tells how much of p was used. */
int inflate_feed_some(struct inflate *i, const void *p, size_t n, size_t room, struct buf *out, size_t *ret_taken);
int inflate_finish(struct inflate *i); /* at the end of input: 0, or WEIR_E_PARSE when the stream is not complete */

#endif
