/* budget.h -- a disk budget over things that can be fetched again: least recently used first, never one in use.
 * Any thread; evict callbacks run on the thread that calls budget_enforce(), without the budget's lock. Pinning,
 * resizing and so on do nothing to an item that is not in the budget (any more). */
#ifndef WEIR_CORE_BUDGET_H
#define WEIR_CORE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct budget;

struct budget_item { /* embedded by value in what is budgeted; all fields are the budget's */
	struct list node;
	uint64_t bytes;
	int64_t used_wall_ms;
	unsigned pins;
	bool known;
	unsigned round;
};

/* Frees the item's disk space and takes it out with budget_remove(), after which it may free the item; false: cannot
 * now (in use; skipped this round). The item may be pinned while this runs, so ask the owner whether it is in use. */
typedef bool budget_evict_fn(void *arg, struct budget_item *it);

struct budget *budget_new(uint64_t max_bytes, uint64_t low_bytes, budget_evict_fn *evict, void *arg);
void budget_free(struct budget *b);
void budget_set_limits(struct budget *b, uint64_t max_bytes, uint64_t low_bytes);
/* Also at start-up, in any order of use. */
void budget_add(struct budget *b, struct budget_item *it, uint64_t bytes, int64_t used_wall_ms);
void budget_resize(struct budget *b, struct budget_item *it, uint64_t bytes);
void budget_touch(struct budget *b, struct budget_item *it); /* used now */
void budget_pin(struct budget *b, struct budget_item *it);   /* in use: not evicted; also touches */
void budget_unpin(struct budget *b, struct budget_item *it);
/* When evict is under way for this very item on another thread, waits for its end: so hold no lock that evict takes. */
void budget_remove(struct budget *b, struct budget_item *it);
uint64_t budget_item_bytes(struct budget *b, const struct budget_item *it);
uint64_t budget_bytes(struct budget *b);
uint64_t budget_evictions(struct budget *b);
bool budget_is_over(struct budget *b);
/* When above max: evicts until at or below low or nothing more can go. Number evicted. Blocks: workers only; one
 * round at a time, a second caller gets 0 at once. */
unsigned budget_enforce(struct budget *b);

#endif
