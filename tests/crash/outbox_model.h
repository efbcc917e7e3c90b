/* outbox_model.h -- the outbox as store/outbox.h promises it, without a disk: what the real one is compared with.
 *
 * A state of the world is a small array. When an operation is under way, or was answered with a code that leaves open
 * whether it was done, there are two worlds; what is found after the restart must be one of them, wholly. That proves
 * more than "nothing is lost": no operation is there in part. Entries are named by the order in which they were put. */
#ifndef WEIR_CRASH_OUTBOX_MODEL_H
#define WEIR_CRASH_OUTBOX_MODEL_H

#include "store/outbox.h"

#define MODEL_ENTRIES 24
#define MODEL_WORLDS  64

struct model_entry {
	bool is_there, is_once, is_unknown; /* is_unknown: held as its outcome is */
	char key; /* a capital one is of another queue */
	uint8_t state, parent; /* parent: number + 1 */
	unsigned base; /* the number in its entity tag */
};

struct world {
	struct model_entry e[MODEL_ENTRIES];
};

struct worlds {
	unsigned n;
	struct world w[MODEL_WORLDS];
};

enum model_op { M_PUT, M_LEND, M_SETTLE, M_RETRY, M_REBASE, M_RESOLVE, M_DROP, M_PURGE, M_GIVE_BACK, M_RESTART };

struct model_call {
	enum model_op op;
	unsigned i; /* the entry */
	char key; /* M_PUT; M_PURGE: one of the queue */
	bool is_once, wants_parent;
	uint8_t to; /* M_SETTLE */
	unsigned base; /* of a put or a rebase; what a settlement tells */
};

void world_do(struct world *w, const struct model_call *c);
/* Whether the entry may be lent: queued, and nothing of its key before it that is queued, sending or held. */
bool world_may_lend(const struct world *w, unsigned i);
bool world_is_same(const struct world *a, const struct world *b);

/* The call may have been done, or not: both. worlds_done: it was. */
void worlds_maybe(struct worlds *ws, const struct model_call *c);
void worlds_done(struct worlds *ws, const struct model_call *c);

#endif
