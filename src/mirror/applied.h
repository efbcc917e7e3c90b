/* applied.h -- upstream has taken a write: what becomes of the stored responses, and what the next write is based
 * on. */
#ifndef WEIR_MIRROR_APPLIED_H
#define WEIR_MIRROR_APPLIED_H

#include "mirror/mirror_priv.h"

struct applied {
	struct slice method, target;
	struct slice destination; /* of a MOVE or COPY, as it went upstream; p NULL: none */
	int status;
	struct slice head;      /* the block of upstream's answer */
	struct spool *body;     /* what was written, complete; borrowed; NULL: not at hand */
	uint64_t body_bytes;
	uint32_t body_crc;
	bool is_encoded;        /* it was sent with a Content-Encoding */
};

/* Drops what the write made untrue (RFC 9111 4.4; of a collection all that is in it), durably: before the write is
 * acknowledged. Workers; blocks. */
void applied_invalidate(struct mirror *m, const struct applied *a);
/* Finds out what is there now and puts it into the cache, so that it can be read in the next outage; *ret (initialised
 * by the caller; may be NULL) becomes what a write on top of this one is based on. Best effort: without an answer
 * ret->known is false. Workers; blocks. */
void applied_learn(struct mirror *m, const struct applied *a, struct cancel *cancel, struct outbox_base *ret);

#endif
