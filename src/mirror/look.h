/* look.h -- what upstream has of a URI now: asked with weir's own credential, for writes that wait. Workers; blocks. */
#ifndef WEIR_MIRROR_LOOK_H
#define WEIR_MIRROR_LOOK_H

#include "mirror/mirror_priv.h"

struct look {
	int64_t total_ms;        /* given: for the whole exchange; 0: as long as something comes */
	int status;
	struct outbox_base now;  /* known when the status is 2xx, 404 or 410 (absent) */
	int64_t length;          /* Content-Length; -1: not said */
	bool is_encoded;         /* it has a Content-Encoding: lengths and bytes do not compare */
	int64_t request_wall_ms, response_wall_ms;
	struct buf head;         /* the block */
	struct buf body;         /* of a GET, up to its limit */
};
void look_init(struct look *k, size_t most_body); /* all zeros is not enough */
void look_fini(struct look *k);

/* HEAD, or GET (its body into k->body: WEIR_E_TOO_LARGE above its limit). 0: an answer came, see status; or
 * link_call()'s code. */
int look_at(struct mirror *m, const char *method, struct slice target, struct cancel *cancel, struct look *k);
/* Whether upstream has exactly these bytes there: 1, 0, or a code when it could not be found out (of ours, too:
 * WEIR_E_DAMAGED when they are fewer, -errno). k has what it said besides. */
int look_same(struct mirror *m, struct slice target, struct spool *body, uint64_t bytes, struct cancel *cancel,
	      struct look *k);
/* The validators in a block of header lines. */
void look_validators(struct slice head, struct outbox_base *ret);

#endif
