/* fields.h -- which header fields of an answer are stored, passed on, and updated. Pure; any thread. */
#ifndef WEIR_MIRROR_FIELDS_H
#define WEIR_MIRROR_FIELDS_H

#include "proto/httplines.h"

/* Whether a field is for this connection only (RFC 9110 7.6.1): Connection, what Connection names in `h`, Keep-Alive,
 * Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade, and the Proxy-Auth... fields (RFC 9111 3.1). */
bool fields_is_hop_by_hop(const struct httplines *h, struct slice name);

/* Adds the block (see httplines.h) that is to be stored of an answer (RFC 9111 3.1): all but hop-by-hop fields, and
 * with a Date of `response_ms` when it has none (RFC 9110 6.6.1). Content-Length is left out: the stored body says
 * it. */
void fields_to_store(const struct httplines *answer, int64_t response_ms, struct buf *out);

/* Adds the block of a stored answer after a 304, or the 200 to a HEAD, validated it at `response_ms` (RFC 9111 3.2):
 * each field that `answer` has replaces all stored ones of its name; the others stay. Not taken over: hop-by-hop
 * fields, Content-Length, Content-Encoding, Content-Range (they describe bytes that are stored already), Set-Cookie
 * (made for the one client that asked). Date and Age are always those of `answer`: a stored Age says nothing any more.
 * Whether the result may still be stored, and its vary_key(), are asked anew. */
void fields_update(const struct httplines *stored, const struct httplines *answer, int64_t response_ms,
		   struct buf *out);

#endif
