/* budget.c -- a disk budget: least recently used first, never one in use.
 *
 * WHAT     A list of items in order of use, and the sum of their bytes. When the sum is above the maximum, items are
 *          evicted from the old end until it is at or below the low mark, so that eviction is rare and then thorough.
 * WHY      The cache may be lost, but must not fill the disk (PITFALLS: a bounded disk, temporary packs included).
 * RULES    1. The callback runs without the lock. While it runs, its item is marked, and who removes that item from
 *             another thread waits: so the callback never holds an item that was freed.
 *          2. Each item is offered at most once in a round: one that cannot go now does not stop the others.
 *          3. Items added in another order than that of their use are sorted before the next eviction, once.
 * THREADS  Any; one round at a time (a second caller returns at once: the first is at it). */
#include "core/budget.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"

#define BUDGET_MAGIC 0x62756467u

struct budget {
	unsigned magic;
	pthread_mutex_t lock;
	pthread_cond_t evicted; /* the item being evicted is no longer */
	uint64_t max_bytes, low_bytes, bytes, evictions;
	budget_evict_fn *evict;
	void *arg;
	struct list items; /* the least recently used first, unless is_unsorted */
	size_t count;
	bool is_unsorted, is_enforcing;
	unsigned round;
	struct budget_item *evicting; /* offered to the callback just now */
	pthread_t evictor;
};

struct budget *budget_new(uint64_t max_bytes, uint64_t low_bytes, budget_evict_fn *evict, void *arg)
{
	struct budget *b = xcalloc(1, sizeof(*b));

	b->magic = BUDGET_MAGIC;
	b->max_bytes = max_bytes;
	b->low_bytes = low_bytes < max_bytes ? low_bytes : max_bytes;
	b->evict = evict;
	b->arg = arg;
	list_init(&b->items);
	ENSURE(pthread_mutex_init(&b->lock, NULL) == 0);
	ENSURE(pthread_cond_init(&b->evicted, NULL) == 0);
	return b;
}

void budget_free(struct budget *b)
{
	if (!b)
		return;
	OBJ_CHECK(b, BUDGET_MAGIC);
	LIST_FOREACH_SAFE(it, next, &b->items) { /* the items are others' */
		LIST_ENTRY(it, struct budget_item, node)->known = false;
		list_remove(it);
	}
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->evicted);
	b->magic = 0;
	free(b);
}

void budget_set_limits(struct budget *b, uint64_t max_bytes, uint64_t low_bytes)
{
	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	b->max_bytes = max_bytes;
	b->low_bytes = low_bytes < max_bytes ? low_bytes : max_bytes;
	pthread_mutex_unlock(&b->lock);
}

void budget_add(struct budget *b, struct budget_item *it, uint64_t bytes, int64_t used_wall_ms)
{
	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	ENSURE(!it->known);
	*it = (struct budget_item){ .bytes = bytes, .used_wall_ms = used_wall_ms, .known = true };
	if (!list_is_empty(&b->items))
		b->is_unsorted |= LIST_ENTRY(b->items.prev, struct budget_item, node)->used_wall_ms > used_wall_ms;
	list_push_back(&b->items, &it->node);
	b->bytes += bytes;
	b->count++;
	pthread_mutex_unlock(&b->lock);
}

void budget_resize(struct budget *b, struct budget_item *it, uint64_t bytes)
{
	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	if (it->known) {
		b->bytes = b->bytes - it->bytes + bytes;
		it->bytes = bytes;
	}
	pthread_mutex_unlock(&b->lock);
}

/* With the lock held. */
static void touch(struct budget *b, struct budget_item *it)
{
	it->used_wall_ms = clock_wall_ms();
	list_remove(&it->node);
	list_push_back(&b->items, &it->node);
}

void budget_touch(struct budget *b, struct budget_item *it)
{
	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	if (it->known)
		touch(b, it);
	pthread_mutex_unlock(&b->lock);
}

void budget_pin(struct budget *b, struct budget_item *it)
{
	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	if (it->known) {
		it->pins++;
		touch(b, it);
	}
	pthread_mutex_unlock(&b->lock);
}

void budget_unpin(struct budget *b, struct budget_item *it)
{
	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	if (it->known) {
		ENSURE(it->pins > 0);
		it->pins--;
	}
	pthread_mutex_unlock(&b->lock);
}

void budget_remove(struct budget *b, struct budget_item *it)
{
	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	while (b->evicting == it && !pthread_equal(b->evictor, pthread_self()))
		pthread_cond_wait(&b->evicted, &b->lock);
	if (it->known) {
		list_remove(&it->node);
		it->known = false;
		b->bytes -= it->bytes;
		b->count--;
	}
	pthread_mutex_unlock(&b->lock);
}

uint64_t budget_item_bytes(struct budget *b, const struct budget_item *it)
{
	uint64_t bytes;

	pthread_mutex_lock(&b->lock);
	bytes = it->bytes;
	pthread_mutex_unlock(&b->lock);
	return bytes;
}

uint64_t budget_bytes(struct budget *b)
{
	uint64_t n;

	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	n = b->bytes;
	pthread_mutex_unlock(&b->lock);
	return n;
}

uint64_t budget_evictions(struct budget *b)
{
	uint64_t n;

	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	n = b->evictions;
	pthread_mutex_unlock(&b->lock);
	return n;
}

bool budget_is_over(struct budget *b)
{
	bool is_over;

	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	is_over = b->bytes > b->max_bytes;
	pthread_mutex_unlock(&b->lock);
	return is_over;
}

/* --- eviction, with the lock held ------------------------------------------------------------------------------- */

struct entry { /* of a list being sorted */
	struct budget_item *item;
};

static int by_use(const void *a, const void *c)
{
	int64_t x = ((const struct entry *)a)->item->used_wall_ms, y = ((const struct entry *)c)->item->used_wall_ms;

	return (x > y) - (x < y);
}

static void sort_by_use(struct budget *b)
{
	struct entry *all = xcalloc(b->count + 1, sizeof(*all));
	size_t n = 0;

	LIST_FOREACH(it, &b->items)
		all[n++].item = LIST_ENTRY(it, struct budget_item, node);
	qsort(all, n, sizeof(*all), by_use);
	list_init(&b->items);
	for (size_t i = 0; i < n; i++)
		list_push_back(&b->items, &all[i].item->node);
	free(all);
	b->is_unsorted = false;
}

static struct budget_item *next_victim(struct budget *b)
{
	if (b->is_unsorted)
		sort_by_use(b);
	LIST_FOREACH(at, &b->items) {
		struct budget_item *it = LIST_ENTRY(at, struct budget_item, node);
		if (it->pins == 0 && it->round != b->round)
			return it;
	}
	return NULL;
}

static bool offer(struct budget *b, struct budget_item *it)
{
	bool is_gone;

	it->round = b->round;
	b->evicting = it;
	b->evictor = pthread_self();
	pthread_mutex_unlock(&b->lock);
	is_gone = b->evict(b->arg, it); /* it may be freed now */
	pthread_mutex_lock(&b->lock);
	b->evicting = NULL;
	pthread_cond_broadcast(&b->evicted);
	b->evictions += is_gone;
	return is_gone;
}

unsigned budget_enforce(struct budget *b)
{
	struct budget_item *it;
	unsigned n = 0;

	OBJ_CHECK(b, BUDGET_MAGIC);
	pthread_mutex_lock(&b->lock);
	if (b->is_enforcing || b->bytes <= b->max_bytes) {
		pthread_mutex_unlock(&b->lock);
		return 0;
	}
	b->is_enforcing = true;
	if (++b->round == 0) /* 0 is for items not offered yet */
		b->round = 1;
	while (b->bytes > b->low_bytes && (it = next_victim(b)))
		n += offer(b, it);
	b->is_enforcing = false;
	pthread_mutex_unlock(&b->lock);
	return n;
}
