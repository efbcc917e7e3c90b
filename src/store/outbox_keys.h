/* outbox_keys.h -- the keys of a queue in the order of their bytes, each with what waits under it (private to the
 * outbox).
 *
 * A treap, as three questions have to be quick with a million keys: which key is this, which directory keys are above
 * it, and which key below a directory has the earliest entry. Not thread-safe: the queue's lock guards it. */
#ifndef WEIR_STORE_OUTBOX_KEYS_H
#define WEIR_STORE_OUTBOX_KEYS_H

#include "base/buf.h"
#include "base/list.h"

#define OUTBOX_NO_SEQ UINT64_MAX

struct outbox_item;

struct outbox_key {
	struct outbox_key *left, *right, *up;
	struct outbox_key *earliest;  /* of this one and all below it in the tree: whose `first` is the smallest */
	uint64_t first;               /* 0: one is being sent; else the seq of the first pending; OUTBOX_NO_SEQ: none */
	struct list pending;          /* items queued, sending or held, by seq */
	struct list conflicts;        /* items in conflict, in no order */
	struct outbox_item *sending;  /* one of the pending that are being sent */
	uint32_t sending_count;
	struct list wait;             /* among the waiters of an item of another key, or on nothing */
	uint32_t in_flux;             /* items that a job of the transaction under way changes */
	uint32_t priority, heap_at;   /* heap_at: place in the heap of what may go, from 1; 0: not there */
	size_t len;
	char text[];
};

struct outbox_keys {
	struct outbox_key *root;
	uint64_t seed;
	/* how many keys end in '/'; the longest there has been since there were none */
	size_t directories, longest_directory;
};

static inline struct slice outbox_key_text(const struct outbox_key *k)
{
	return (struct slice){ k->text, k->len };
}
static inline bool outbox_key_is_directory(struct slice key)
{
	return key.n > 0 && key.p[key.n - 1] == '/';
}

struct outbox_key *outbox_keys_find(const struct outbox_keys *ks, struct slice text); /* NULL: not there */
/* found, or made with nothing under it */
struct outbox_key *outbox_keys_make(struct outbox_keys *ks, struct slice text);
void outbox_keys_remove(struct outbox_keys *ks, struct outbox_key *k);                /* frees it */
void outbox_keys_set_first(struct outbox_key *k, uint64_t first);
/* The next directory key above `text`, from the root down: start with *at = 0. NULL: no more. */
struct outbox_key *outbox_keys_above(const struct outbox_keys *ks, struct slice text, size_t *at);
/* The key that begins with `text`, and is longer, whose `first` is the smallest. NULL: there is no such key. */
struct outbox_key *outbox_keys_earliest_below(const struct outbox_keys *ks, struct slice text);

#endif
