/* outbox_index.h -- what a queue holds that is not settled, in memory: who waits for whom, and who is due (private to
 * the outbox).
 *
 * Nothing here touches the disk. The caller holds the queue's lock for every call; items are added, moved and removed
 * by the database's writer thread only, so that thread may walk them without it. */
#ifndef WEIR_STORE_OUTBOX_INDEX_H
#define WEIR_STORE_OUTBOX_INDEX_H

#include <stdatomic.h>

#include "store/outbox.h"
#include "store/outbox_keys.h"

/* An entry. With its slot in the array by seq, its slot in the heap and a key of its own: OUTBOX_INDEX_BYTES at most,
 * beside the key's text. */
struct outbox_item {
	uint64_t seq;
	struct outbox_key *key;     /* NULL: damaged, keeps nobody waiting */
	/* pending of the key; or conflicts, which keep nobody waiting: in conflict, or held alone */
	struct list in_key;
	struct list waiters;        /* keys whose first entry waits for this one */
	struct outbox_item *parent; /* not settled either; outbox_index_set_parent() */
	uint32_t children;          /* whose parent this is */
	int64_t due_ms, queued_ms;
	uint64_t body_bytes;
	uint32_t uri_hash;
	uint8_t state;      /* as everybody sees it: what is durable, and what is being sent */
	uint8_t next_state; /* as the transaction under way has it: for jobs on the writer thread */
	bool once, is_base, is_overlay;
	bool is_alone;      /* held, it keeps nobody waiting */
	bool is_durable;    /* false: its put is in a transaction that is not committed */
	bool in_flux;       /* a job of the transaction under way changes it: neither lent nor changed by another */
	bool is_damaged;
	bool is_unanswered; /* deferred as nothing answered: due when the upstream is back */
	bool is_counted;    /* among the figures */
	bool is_gone; /* its put failed at the commit, while it is in flux by a job behind the put: removed with that */
};

struct outbox_slot {
	uint64_t seq;
	struct outbox_item *item; /* NULL: gone */
};

struct outbox_index {
	struct outbox_keys keys;
	struct outbox_slot *slots; /* by seq */
	size_t slot_count, slot_cap, slots_gone;
	struct outbox_key **heap;  /* keys whose first entry may go, by its due_ms, then seq; from 1 on */
	size_t heap_count, heap_cap;
	int64_t last_now_ms;       /* of the last look for what is due: the wall clock may be set back */
	atomic_uint_fast64_t pending;
	uint64_t entries[OUTBOX_STATES], bytes[OUTBOX_STATES];
};

static inline bool outbox_state_is_pending(unsigned s)
{
	return s == OUTBOX_QUEUED || s == OUTBOX_SENDING || s == OUTBOX_HELD;
}

/* Whether the item, in this state, stands in its key's order. */
static inline bool outbox_item_is_pending(const struct outbox_item *i, unsigned state)
{
	return outbox_state_is_pending(state) && !(i->is_alone && state == OUTBOX_HELD);
}

void outbox_index_fini(struct outbox_index *ix);
struct outbox_item *outbox_index_find(const struct outbox_index *ix, uint64_t seq); /* NULL: settled, or never was */
size_t outbox_index_after(const struct outbox_index *ix, uint64_t seq); /* the first slot with a greater one */
/* Takes `item` (seq above all before; state QUEUED, HELD or CONFLICT). A damaged one gets no key. */
void outbox_index_add_take(struct outbox_index *ix, struct outbox_item *item, struct slice key);
/* Frees it. Only one whose put failed may still have children: theirs failed, too, and they are about to go. */
void outbox_index_remove(struct outbox_index *ix, struct outbox_item *item);
/* To another state; a settled one is removed and freed. Whoever waited for it is looked at again. */
void outbox_index_move(struct outbox_index *ix, struct outbox_item *item, enum outbox_state to);
/* What item->is_durable, in_flux, due_ms, next_state say has changed. */
void outbox_index_reconsider(struct outbox_index *ix, struct outbox_item *item);
void outbox_index_set_parent(struct outbox_item *item, struct outbox_item *parent);
/* It keeps nobody waiting any more: held, and without a key and a parent. */
void outbox_index_set_damaged(struct outbox_index *ix, struct outbox_item *item);
/* Counts an entry that is (again) listed in `state`, or no longer: the figures of settled ones too. */
void outbox_index_count(struct outbox_index *ix, enum outbox_state state, uint64_t bytes, int by);

bool outbox_index_is_pending(const struct outbox_index *ix, struct slice key);
/* Of what is committed: that alone can be read, so that alone a decision can rest on. */
uint64_t outbox_index_tail(const struct outbox_index *ix, struct slice key);
/* The same as the transaction under way has it. Writer thread. */
struct outbox_item *outbox_index_next_tail(const struct outbox_index *ix, struct slice key);
/* Marks one as being sent, too: queued, of a key of which the first already is. */
void outbox_index_send_too(struct outbox_index *ix, struct outbox_item *item);
/* The first that is due, marked as being sent. NULL: *ret_next_ms says when. */
struct outbox_item *outbox_index_take_due(struct outbox_index *ix, int64_t now_ms, int64_t *ret_next_ms);
/* Changes due_ms of all that are queued to what fn says. */
void outbox_index_redate(struct outbox_index *ix, int64_t (*fn)(const struct outbox_item *item, void *arg), void *arg);
int64_t outbox_index_oldest_ms(const struct outbox_index *ix); /* queued_ms of the oldest pending; 0: none */

#endif
