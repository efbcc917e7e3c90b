/* take_in.h -- the pack of a fetch answer that passed through from upstream: into the repository, or looked at only;
 * and the answer itself among the kept ones, once its pack was found right. */
#ifndef WEIR_GIT_TAKE_IN_H
#define WEIR_GIT_TAKE_IN_H

#include "git/git_priv.h"
#include "store/spool.h"

struct take_in;

/* The repository and the complete spool are referenced, ids and key copied. version: of the answer's protocol, 2 or 0.
 * had_haves: the client had objects, so that the pack may stand on what is not here. key: to keep the answer under;
 * empty: it is not kept. */
struct take_in *take_in_new(struct repo *r, struct spool *answer, int version, const struct oid_list *wants,
			    bool had_haves, struct slice key);
void take_in_free(struct take_in **t); /* *t may be NULL */
/* Verifies the pack (invariant 11), takes it in, makes its refs servable, keeps the answer. Failures are logged and
 * counted. In the repository's sync lane only. Blocks. */
void take_in_run(struct take_in *t);
/* For an answer whose pack is cut (shallow): checked like any other, down to where it is cut, and the answer kept when
 * it is right. The repository gets nothing of it. Without a key nothing is done. Blocks: any worker. */
void take_in_look(struct take_in *t);

#endif
