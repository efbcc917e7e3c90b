/* cache_index.c -- what the cache knows without the disk: every stored response, and the hot ones whole.
 *
 * WHAT     64 shards by the hash of the key, each a hash table with chains and a read-write lock. A node is 112
 *          bytes, 48 of them the budget's (128 as malloc counts), and takes one or two pointers of its table: at most
 *          144 bytes for a response that is on disk only.
 * WHY      A hit on a front thread is one hash, one shared lock, one look at Vary and one count; the shards keep two
 *          threads from meeting, and readers of one shard do not exclude each other. The use is noted with two
 *          relaxed atomics; the budget's order, behind a lock of its own, learns of it at most once a second for each
 *          response.
 * RULES    1. A node is in the index as long as NODE_GONE is not set; who sets it disposes of the node.
 *          2. The hot tier is cooled by second chance: a response at the front of its shard's ring goes unless it was
 *             used since the last look. What is not in the database yet stays.
 * THREADS  Any. Locks: see cache_priv.h. */
#include "mirror/cache_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/obj.h"

#define FIRST_BUCKETS 16
#define LOOKS_AT_ONCE 32 /* nodes of a ring, under the lock */

void index_init(struct cache *c)
{
	pthread_rwlockattr_t attr;

	ENSURE(pthread_rwlockattr_init(&attr) == 0);
	/* else a stream of readers keeps a drop waiting */
	ENSURE(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
	for (size_t i = 0; i < CACHE_SHARDS; i++) {
		struct shard *sh = &c->shards[i];
		ENSURE(pthread_rwlock_init(&sh->lock, &attr) == 0);
		sh->mask = FIRST_BUCKETS - 1;
		sh->buckets = xcalloc(FIRST_BUCKETS, sizeof(struct node *));
		list_init(&sh->hot[TIER_MEMORY]);
		list_init(&sh->hot[TIER_FILE]);
	}
	pthread_rwlockattr_destroy(&attr);
}

void index_fini(struct cache *c)
{
	for (size_t i = 0; i < CACHE_SHARDS; i++) {
		struct shard *sh = &c->shards[i];
		for (size_t b = 0; b <= sh->mask; b++)
			while (sh->buckets[b]) {
				struct node *n = sh->buckets[b];
				sh->buckets[b] = n->next;
				stored_unref(&n->hot);
				free(n);
			}
		free(sh->buckets);
		pthread_rwlock_destroy(&sh->lock);
	}
}

uint64_t key_hash(struct slice key)
{
	return hash_bytes(key.p, key.n);
}

uint32_t vary_hash(struct slice vary_key)
{
	return vary_key.n ? (uint32_t)hash_bytes(vary_key.p, vary_key.n) : 0;
}

/* Two keys of the same names fit no request both; of different names they may. */
uint32_t vary_names_hash(struct slice vary_key)
{
	struct slice line, name;
	uint64_t h = 0;

	while (vary_key.n) {
		(void)slice_cut(&vary_key, '\n', &line); /* each ends in one */
		(void)slice_cut(&line, ':', &name); /* without a value there is none */
		h = h * 31 + hash_bytes(name.p, name.n);
	}
	return (uint32_t)h;
}

/* --- the table, with the shard's lock --------------------------------------------------------------------------- */

static struct node **bucket(struct shard *sh, uint64_t hash)
{
	return &sh->buckets[hash & sh->mask];
}

struct node *cache_node_find(struct shard *sh, uint64_t hash, uint64_t id)
{
	struct node *n = *bucket(sh, hash);

	while (n && (n->hash != hash || n->id != id))
		n = n->next;
	return n;
}

struct node *node_rival(struct shard *sh, const struct node *n)
{
	struct node *at = sh->buckets[n->hash & sh->mask];

	while (at && (at == n || at->hash != n->hash || at->vary != n->vary || at->vary_names != n->vary_names))
		at = at->next;
	return at;
}

static void grow(struct shard *sh)
{
	struct node **old = sh->buckets;
	size_t old_mask = sh->mask;

	sh->mask = sh->mask * 2 + 1;
	sh->buckets = xcalloc(sh->mask + 1, sizeof(*sh->buckets));
	for (size_t i = 0; i <= old_mask; i++)
		while (old[i]) {
			struct node *n = old[i];
			old[i] = n->next;
			n->next = *bucket(sh, n->hash);
			*bucket(sh, n->hash) = n;
		}
	free(old);
}

void node_insert(struct cache *c, struct shard *sh, struct node *n)
{
	if (sh->count > sh->mask)
		grow(sh);
	n->next = *bucket(sh, n->hash);
	*bucket(sh, n->hash) = n;
	sh->count++;
}

static enum tier tier_of(const struct stored *s)
{
	return s->file ? TIER_FILE : TIER_MEMORY;
}

/* Off the hot tier; the reference is the caller's. */
static struct stored *node_chill(struct cache *c, struct node *n)
{
	struct stored *s = n->hot;

	if (!s)
		return NULL;
	list_remove(&n->ring);
	atomic_fetch_sub(&c->hot_count[tier_of(s)], 1);
	atomic_fetch_sub(&c->hot_bytes, stored_memory(s));
	n->hot = NULL;
	return s;
}

void node_warm(struct cache *c, struct shard *sh, struct node *n, struct stored *s)
{
	struct stored *old = node_chill(c, n);

	n->hot = stored_ref(s);
	list_push_back(&sh->hot[tier_of(s)], &n->ring);
	atomic_fetch_add(&c->hot_count[tier_of(s)], 1);
	atomic_fetch_add(&c->hot_bytes, stored_memory(s));
	atomic_fetch_or(&n->marks, NODE_USED); /* or it might be the first to go */
	stored_unref(&old); /* a 304: the new one shares the body, so no file is closed here */
}

void node_detach(struct cache *c, struct shard *sh, struct node *n, enum row_end end)
{
	struct node **at = bucket(sh, n->hash);
	struct stored *s = node_chill(c, n);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	sh->count--;
	n->flags |= NODE_GONE;
	rows_remove(c, n->id, n->flags & NODE_FILE, end, s);
}

void node_touch(struct cache *c, struct node *n)
{
	uint32_t now_s = (uint32_t)(clock_wall_ms() / 1000);
	uint32_t before_s = atomic_load_explicit(&n->used_s, memory_order_relaxed);

	if (!(atomic_load_explicit(&n->marks, memory_order_relaxed) & NODE_USED))
		atomic_fetch_or_explicit(&n->marks, NODE_USED, memory_order_relaxed);
	if (before_s == now_s || !atomic_compare_exchange_strong(&n->used_s, &before_s, now_s))
		return;
	atomic_fetch_or_explicit(&n->marks, NODE_UNSAVED, memory_order_relaxed);
	budget_touch(c->budget, &n->item);
}

bool node_is_newer(const struct stored *a, const struct stored *b)
{
	if (a->policy.date_s != b->policy.date_s)
		return a->policy.date_s > b->policy.date_s;
	if (a->response_wall_ms != b->response_wall_ms)
		return a->response_wall_ms > b->response_wall_ms;
	return a->id > b->id;
}

/* --- cooling ---------------------------------------------------------------------------------------------------- */

static bool is_too_hot(struct cache *c, enum tier *ret)
{
	if (atomic_load(&c->hot_count[TIER_FILE]) > c->most_files) {
		*ret = TIER_FILE;
		return true;
	}
	*ret = atomic_load(&c->hot_count[TIER_MEMORY]) ? TIER_MEMORY : TIER_FILE;
	return atomic_load(&c->hot_bytes) > c->memory_bytes;
}

static struct stored *cool_one(struct cache *c, struct shard *sh, enum tier t)
{
	for (unsigned looks = 0; looks < LOOKS_AT_ONCE && !list_is_empty(&sh->hot[t]); looks++) {
		struct node *n = LIST_ENTRY(sh->hot[t].next, struct node, ring);
		bool was_used = atomic_fetch_and(&n->marks, (uint8_t)~NODE_USED) & NODE_USED;

		if (!was_used && !(n->flags & NODE_PENDING))
			return node_chill(c, n);
		list_remove(&n->ring);
		list_push_back(&sh->hot[t], &n->ring);
	}
	return NULL;
}

void index_cool(struct cache *c)
{
	enum tier t;
	unsigned idle = 0;

	/* Two rounds find all that was not used; a third, what was used but once. Then all wait to be written. */
	while (idle < 3 * CACHE_SHARDS && is_too_hot(c, &t)) {
		struct shard *sh = &c->shards[atomic_fetch_add(&c->hot_hand, 1) % CACHE_SHARDS];
		struct stored *s;

		pthread_rwlock_wrlock(&sh->lock);
		s = cool_one(c, sh, t);
		pthread_rwlock_unlock(&sh->lock);
		idle = s ? 0 : idle + 1;
		stored_unref(&s);
	}
}
