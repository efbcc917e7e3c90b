/* budget.h -- a disk budget over things that can be fetched again: least recently used first, never one in use.
 * Any thread; evict callbacks run on the thread that calls budget_enforce(), without the budget's lock. */
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
};

/* Frees the item's disk space and takes it out with budget_remove(); false: cannot now (skipped this round). */
typedef bool budget_evict_fn(void *arg, struct budget_item *it);

struct budget *budget_new(uint64_t max_bytes, uint64_t low_bytes, budget_evict_fn *evict, void *arg);
void budget_free(struct budget *b);
void budget_set_limits(struct budget *b, uint64_t max_bytes, uint64_t low_bytes);
void budget_add(struct budget *b, struct budget_item *it, uint64_t bytes, int64_t used_wall_ms); /* also at start-up, in any order of use */
void budget_resize(struct budget *b, struct budget_item *it, uint64_t bytes);
void budget_touch(struct budget *b, struct budget_item *it); /* used now */
void budget_pin(struct budget *b, struct budget_item *it);   /* in use: not evicted; also touches */
void budget_unpin(struct budget *b, struct budget_item *it);
void budget_remove(struct budget *b, struct budget_item *it);
uint64_t budget_bytes(struct budget *b);
uint64_t budget_evictions(struct budget *b);
bool budget_is_over(struct budget *b);
/* When above max: evicts until at or below low or nothing more can go. Number evicted. Blocks: workers only. */
unsigned budget_enforce(struct budget *b);

#endif
