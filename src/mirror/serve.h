/* serve.h -- answers a GET or HEAD from a representation that is here: a stored response, one that is still coming (its
 * spool grows; body_bytes may be STORED_GROWING), or a queued write.
 *
 * Evaluates the client's conditions (RFC 9110 13.2.2), ranges (14) and If-Range, and replies 200, 206 (one range from
 * where the body is, without copying a file; several as multipart/byteranges up to SERVE_MOST_PARTS_BYTES, above it the
 * whole), 304, 412 or 416. What is stored with another status than 200 is sent as it is. Any thread that owns ex; when
 * several ranges of a file are wanted it reads the file: on a front thread it hands over to a worker of `lane`. */
#ifndef WEIR_MIRROR_SERVE_H
#define WEIR_MIRROR_SERVE_H

#include "core/exchange.h"
#include "mirror/stored.h"

#define SERVE_MOST_PARTS_BYTES (1u << 20)

/* s was given by upstream: If-Match and If-Unmodified-Since are passed over (RFC 9111 4.3.2), so never 412.
 * extra: further header lines (Age, Cache-Status, Weir-Overlay, ...), fewer than EXCHANGE_PROBLEM_LINES, borrowed until
 * this returns, as s is. */
void serve_stored(struct exchange *ex, struct lane *lane, struct stored *s, const struct header_line *extra,
		  size_t extra_count);
/* s is made of a write that is queued here: all conditions count, as they would at upstream. */
void serve_queued(struct exchange *ex, struct lane *lane, struct stored *s, const struct header_line *extra,
		  size_t extra_count);

#endif
