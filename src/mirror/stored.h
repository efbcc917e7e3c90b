/* stored.h -- one stored response: made once, never changed, counted. What changes (a 304's new headers) is a new
 * one, which shares the body.
 *
 * Any thread may read one it holds a reference to; its body is bytes in memory or a complete spool over a file. */
#ifndef WEIR_MIRROR_STORED_H
#define WEIR_MIRROR_STORED_H

#include <stdatomic.h>

#include "base/blob.h"
#include "core/exchange.h"
#include "mirror/policy.h"
#include "store/spool.h"

#define STORED_INLINE_BYTES (64 * 1024) /* larger bodies are files beside the database */
#define STORED_GROWING UINT64_MAX       /* body_bytes of an answer that is still coming, and whose end is not known */
#define STORED_MOST_HEAD (64 * 1024)    /* bytes of header lines: such a response is not stored */

struct stored {
	unsigned magic;
	atomic_uint refs;
	/* of its row, set by the cache alone; 0: never in it. It may be gone from there */
	uint64_t id;
	struct buf key;                /* what it is found by: the raw target of a GET; "METHOD target" of others */
	struct buf vary_key;           /* vary_key() of the request that fetched it; empty: no Vary */
	int status;
	bool guarded;                  /* only for credentials that upstream accepts (invariant 6) */
	int64_t request_wall_ms, response_wall_ms; /* of the fetch, or of the last validation: RFC 9111 4.2.3 */
	struct buf head;               /* the block of fields_to_store() or fields_update() */
	struct httplines lines;        /* of it */
	/* the same as a reply carries them, NUL-terminated: without Age, Content-Length and X-Request-Id; and Via */
	struct header_line *reply;
	size_t reply_count;
	char *reply_text;
	struct policy_response policy; /* its tag points into head */
	struct blob *body;             /* small bodies; NULL: see file */
	struct spool *file;            /* complete; NULL: see body. Both NULL: no body */
	uint64_t body_bytes;
	uint32_t body_crc;
};

/* One reference. Slices are copied; body or file (either may be NULL) are taken, a reference each, also on failure.
 * policy is read here. WEIR_E_TOO_LARGE when the head is above STORED_MOST_HEAD or 4,096 lines. */
struct stored_parts {
	struct slice key, vary_key, head; /* head: a block, see httplines.h */
	int status;
	bool guarded;
	int64_t request_wall_ms, response_wall_ms;
	struct blob *body;
	struct spool *file;
	uint64_t body_bytes; /* of a file; counted here for a body in memory */
	uint32_t body_crc;   /* CRC32C of the body; 0: made here of a body in memory. A file's must be given */
};
int stored_new(const struct stored_parts *p, struct stored **ret);
struct stored *stored_ref(struct stored *s);
void stored_unref(struct stored **s); /* *s may be NULL. The last one may close a file */
size_t stored_memory(const struct stored *s); /* bytes it takes in memory, about */

#endif
