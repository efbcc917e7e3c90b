/* cache.c -- the stored responses of one mirror.
 *
 * WHAT     The contract of cache.h, by the index in memory (cache_index.c), the database behind it (cache_rows.c) and
 *          the way back from it (cache_load.c).
 * WHY      The index answers at once what is fresh in memory and what is not here at all, so front threads never ask
 *          a disk. Everything else is behind: an answer is in the index before its row is written.
 * RULES    1. Index first, then disk: a node goes into the index, and out of it, under its shard's lock, and its job
 *             is submitted there or for a node that nobody else can find any more. So the rows follow in the index's
 *             order.
 *          2. A body file has its name before its row is written, and loses it after its row is gone: what a kill
 *             leaves behind is a file without a row, which the next start sweeps.
 *          3. Epochs: a drop counts one of 4,096 counters up, by the key's hash, before it looks for nodes; a put
 *             compares it under the shard's lock. A namesake in the same counter only costs a response its place.
 *          4. core/budget.h keeps the order of use for the disk. Its lock is taken within a shard's; evicting takes
 *             the shard's without it.
 * THREADS  See cache.h. Locks: see cache_priv.h. */
#include "mirror/cache.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "io/file.h"
#include "mirror/cache_priv.h"
#include "mirror/vary.h"

#define CACHE_MAGIC        0x63616368u
#define ROW_BYTES          512 /* what a row takes beside its text, about */
#define MOST_WAITING_BYTES ((uint64_t)64 << 20) /* of responses whose rows wait to be written */
#define SAVE_USES_MS       (10 * 60 * 1000)

/* --- nodes ------------------------------------------------------------------------------------------------------ */

struct node *cache_node_new(struct slice key, struct slice vary, uint64_t id, bool is_file)
{
	struct node *n = xcalloc(1, sizeof(*n));

	_Static_assert(sizeof(*n) == 112, "the essay of cache_index.c says so");
	n->hash = key_hash(key);
	n->id = id;
	n->vary = vary_hash(vary);
	n->vary_names = vary_names_hash(vary);
	n->flags = is_file ? NODE_FILE : 0;
	list_init(&n->ring);
	return n;
}

void node_dispose(struct cache *c, struct node *n)
{
	ENSURE(n->flags & NODE_GONE);
	budget_remove(c->budget, &n->item);
	free(n);
}

/* What it counts for: files in blocks; and a least share, so that the budget bounds the index too. */
uint64_t response_bytes(const struct cache *c, uint64_t head_bytes, struct slice key, struct slice vary, uint64_t body)
{
	uint64_t n = ROW_BYTES + head_bytes + key.n + vary.n, least = c->max_bytes / CACHE_MOST_RESPONSES;

	n += body > STORED_INLINE_BYTES ? (body + 4095) & ~(uint64_t)4095 : body;
	return n > least ? n : least;
}

static uint64_t bytes_of(const struct cache *c, const struct stored *s)
{
	return response_bytes(c, s->head.len, buf_slice(&s->key), buf_slice(&s->vary_key), s->body_bytes);
}

static bool evict(void *arg, struct budget_item *it)
{
	struct cache *c = arg;
	struct node *n = CONTAINER_OF(it, struct node, item);
	struct shard *sh = shard_of(c, n->hash);
	bool stays;

	pthread_rwlock_wrlock(&sh->lock);
	/* If it is gone, its disposer waits in budget_remove() for us. */
	stays = (n->flags & NODE_GONE) || (atomic_load(&c->only_files) && !(n->flags & NODE_FILE));
	if (!stays)
		node_detach(c, sh, n, ROW_DROPPED);
	pthread_rwlock_unlock(&sh->lock);
	if (stays)
		return false;
	node_dispose(c, n);
	if (c->evictions)
		metric_add(c->evictions, 1);
	return true;
}

static void keep_within_limits(struct cache *c)
{
	index_cool(c);
	if (budget_enforce(c->budget) || clock_mono_ms() - atomic_load(&c->uses_saved_ms) > SAVE_USES_MS)
		rows_save_uses(c);
}

void cache_not_kept(struct cache *c, int code)
{
	atomic_fetch_add(&c->not_kept, 1);
	if (atomic_exchange(&c->not_kept_code, code) != code)
		log_event(LOG_WARN, "cache_not_kept", LOG_STR("folder", c->dir), LOG_ERR("error", code), LOG_END);
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

static void cache_free(struct cache *c)
{
	readers_close(c);
	rows_close(c);
	budget_free(c->budget);
	index_fini(c);
	pthread_mutex_destroy(&c->load_lock);
	pthread_cond_destroy(&c->loaded);
	free(c->dir);
	free(c->bodies);
	c->magic = 0;
	free(c);
}

static void set_limits(struct cache *c, uint64_t max_bytes, uint64_t low_bytes)
{
	atomic_store(&c->max_bytes, max_bytes);
	atomic_store(&c->low_bytes, low_bytes < max_bytes ? low_bytes : max_bytes);
}

static struct cache *cache_new(const struct cache_options *o)
{
	struct cache *c = aligned_alloc(_Alignof(struct cache), sizeof(*c)); /* shards begin at cache lines */

	ENSURE(c);
	memset(c, 0, sizeof(*c));
	c->magic = CACHE_MAGIC;
	c->dir = xstrdup(o->dir);
	c->bodies = xstrf("%s/bodies", o->dir);
	c->memory_bytes = o->memory_bytes;
	c->most_files = o->most_files;
	set_limits(c, o->max_bytes, o->low_bytes);
	c->evictions = o->evictions;
	c->next_id = 1;
	c->uses_saved_ms = clock_mono_ms();
	c->budget = budget_new(o->max_bytes, o->low_bytes, evict, c);
	for (size_t i = 0; i < CACHE_EPOCHS; i++)
		c->epochs[i] = 1;
	list_init(&c->loads);
	ENSURE(pthread_mutex_init(&c->load_lock, NULL) == 0);
	ENSURE(pthread_cond_init(&c->loaded, NULL) == 0);
	index_init(c);
	return c;
}

int cache_open(const struct cache_options *o, struct cache **ret, struct buf *err)
{
	struct cache *c = cache_new(o);
	bool damaged = false;
	int r;

	r = dir_make_all(c->bodies, 0700);
	if (r == 0)
		r = rows_open(c, &damaged);
	if (r == 0)
		r = index_load(c);
	if (r == WEIR_E_DAMAGED) { /* found by reading: large ones are not checked before */
		damaged = true;
		r = rows_begin_anew(c);
	}
	if (r < 0) {
		if (r == -EPROTO)
			buf_addf(err, "%s/cache.db was written by a newer weir: remove it or use that version", o->dir);
		else
			buf_addf(err, "cannot open the cache in %s: %s", o->dir, err_text(r));
		cache_free(c);
		return r;
	}
	if (damaged) {
		atomic_fetch_add(&c->damaged, 1);
		log_event(LOG_WARN, "cache_damaged", LOG_STR("folder", c->dir), LOG_STR("file", "cache.db"), LOG_END);
	}
	keep_within_limits(c);
	*ret = c;
	return 0;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	OBJ_CHECK(c, CACHE_MAGIC);
	rows_save_uses(c);
	cache_free(c);
}

void cache_set_limits(struct cache *c, uint64_t max_bytes, uint64_t low_bytes)
{
	OBJ_CHECK(c, CACHE_MAGIC);
	set_limits(c, max_bytes, low_bytes);
	budget_set_limits(c->budget, max_bytes, low_bytes);
	keep_within_limits(c);
}

unsigned cache_give_way(struct cache *c, uint64_t bytes)
{
	uint64_t used = budget_bytes(c->budget), left = used > bytes ? used - bytes : 0;
	unsigned n;

	OBJ_CHECK(c, CACHE_MAGIC);
	atomic_store(&c->only_files, true);
	budget_set_limits(c->budget, left, left);
	n = budget_enforce(c->budget);
	atomic_store(&c->only_files, false);
	budget_set_limits(c->budget, atomic_load(&c->max_bytes), atomic_load(&c->low_bytes));
	(void)cache_sync(c); /* files go behind their rows */
	return n;
}

/* --- finding ---------------------------------------------------------------------------------------------------- */

static bool fits(const struct stored *s, struct slice key, const struct httplines *request)
{
	return slice_eq(buf_slice(&s->key), key) &&
	       (s->vary_key.len == 0 || vary_matches(buf_slice(&s->vary_key), request));
}

int cache_peek(struct cache *c, struct slice key, const struct httplines *request, struct stored **ret)
{
	uint64_t hash = key_hash(key);
	struct shard *sh = shard_of(c, hash);
	struct node *best = NULL, *cold = NULL, *n;
	int r;

	OBJ_CHECK(c, CACHE_MAGIC);
	pthread_rwlock_rdlock(&sh->lock);
	for (n = sh->buckets[hash & sh->mask]; n; n = n->next) {
		if (n->hash != hash)
			continue;
		if (!n->hot)
			cold = n;
		else if (fits(n->hot, key, request) && (!best || node_is_newer(n->hot, best->hot)))
			best = n;
	}
	/* One on disk may fit as well, and be newer, when it was chosen by other fields (RFC 9111 4.1). */
	for (n = best ? cold : NULL; n && best; n = n->next)
		if (n->hash == hash && !n->hot && n->vary_names != best->vary_names)
			best = NULL;
	r = best ? 0 : cold ? -EAGAIN : -ENOENT;
	if (best) {
		node_touch(c, best);
		*ret = stored_ref(best->hot);
	}
	pthread_rwlock_unlock(&sh->lock);
	return r;
}

/* --- keeping ---------------------------------------------------------------------------------------------------- */

static _Atomic uint64_t *epoch_of(struct cache *c, uint64_t hash)
{
	return &c->epochs[hash % CACHE_EPOCHS];
}

uint64_t cache_epoch(struct cache *c, struct slice key)
{
	OBJ_CHECK(c, CACHE_MAGIC);
	return atomic_load(epoch_of(c, key_hash(key)));
}

/* Detached nodes, by `next`. */
static void push(struct node **list, struct node *n)
{
	n->next = *list;
	*list = n;
}

static void dispose_all(struct cache *c, struct node *list)
{
	while (list) {
		struct node *n = list;
		list = n->next;
		node_dispose(c, n);
	}
}

/* Which has to make room among the variants of a hash; NULL: there is room. */
static struct node *longest_unused(struct shard *sh, uint64_t hash)
{
	struct node *oldest = NULL;
	unsigned count = 0;

	for (struct node *n = sh->buckets[hash & sh->mask]; n; n = n->next) {
		if (n->hash != hash)
			continue;
		count++;
		if (!oldest || n->used_s < oldest->used_s || (n->used_s == oldest->used_s && n->id < oldest->id))
			oldest = n;
	}
	return count > CACHE_MOST_VARIANTS ? oldest : NULL;
}

/* Into the index, in place of what it replaces. With the lock for writing. */
static void publish(struct cache *c, struct shard *sh, struct node *n, struct stored *s, struct node **gone)
{
	struct node *old = node_rival(sh, n);
	int64_t now_ms = clock_wall_ms();

	if (old) {
		node_detach(c, sh, old, ROW_DROPPED);
		push(gone, old);
	}
	s->id = n->id;
	atomic_store(&n->used_s, (uint32_t)(now_ms / 1000));
	node_insert(c, sh, n);
	node_warm(c, sh, n, s);
	budget_add(c->budget, &n->item, bytes_of(c, s), now_ms);
	old = longest_unused(sh, n->hash);
	if (old) {
		node_detach(c, sh, old, ROW_DROPPED);
		push(gone, old);
	}
}

/* A file gets its name, while its response is served already. 0; -ESTALE: dropped meanwhile; -errno. */
static int name_body(struct cache *c, struct shard *sh, uint64_t hash, struct stored *s)
{
	char *path = body_path(c, s->id);
	int r = spool_keep(s->file, path);
	struct node *n, *lost = NULL;

	pthread_rwlock_wrlock(&sh->lock);
	n = cache_node_find(sh, hash, s->id);
	if (n && r == 0) {
		n->flags &= (uint8_t)~NODE_UNNAMED;
		rows_put(c, n);
	} else if (n) {
		node_detach(c, sh, n, ROW_DROPPED);
		lost = n;
	}
	pthread_rwlock_unlock(&sh->lock);
	if (!n)
		(void)unlink(path); /* dropped before it had a name, or just after: either way nobody names it */
	if (lost)
		node_dispose(c, lost);
	free(path);
	return !n ? -ESTALE : r;
}

int cache_put(struct cache *c, struct stored *s, uint64_t epoch)
{
	const bool is_large = stored_is_large(s);
	struct node *n, *gone = NULL;
	struct shard *sh;
	int r = 0;

	OBJ_CHECK(c, CACHE_MAGIC);
	ENSURE(s->id == 0 && !(s->body && is_large));
	if (bytes_of(c, s) > c->low_bytes)
		r = -ENOSPC;
	else if (atomic_load(&c->waiting_bytes) > MOST_WAITING_BYTES)
		r = -EBUSY;
	if (r < 0) {
		cache_not_kept(c, r);
		return r;
	}
	n = cache_node_new(buf_slice(&s->key), buf_slice(&s->vary_key), atomic_fetch_add(&c->next_id, 1), is_large);
	sh = shard_of(c, n->hash);
	n->flags |= NODE_PENDING | (is_large ? NODE_UNNAMED : 0);
	pthread_rwlock_wrlock(&sh->lock);
	if (atomic_load(epoch_of(c, n->hash)) != epoch) {
		pthread_rwlock_unlock(&sh->lock);
		free(n);
		return -ESTALE;
	}
	publish(c, sh, n, s, &gone);
	if (!is_large)
		rows_put(c, n);
	pthread_rwlock_unlock(&sh->lock); /* from here on n may be gone */
	dispose_all(c, gone);
	if (is_large)
		r = name_body(c, sh, key_hash(buf_slice(&s->key)), s);
	if (r < 0 && r != -ESTALE)
		cache_not_kept(c, r);
	keep_within_limits(c);
	return r;
}

int cache_update(struct cache *c, struct stored *old, struct stored *fresh)
{
	uint64_t hash = key_hash(buf_slice(&old->key));
	struct shard *sh = shard_of(c, hash);
	struct node *n, *gone = NULL, *twin;

	OBJ_CHECK(c, CACHE_MAGIC);
	ENSURE(fresh->id == 0 && fresh->body == old->body && slice_eq(buf_slice(&fresh->key), buf_slice(&old->key)));
	pthread_rwlock_wrlock(&sh->lock);
	n = cache_node_find(sh, hash, old->id);
	if (!n) {
		pthread_rwlock_unlock(&sh->lock);
		return -ENOENT;
	}
	fresh->id = n->id;
	n->vary = vary_hash(buf_slice(&fresh->vary_key));
	n->vary_names = vary_names_hash(buf_slice(&fresh->vary_key));
	twin = node_rival(sh, n);
	if (twin) {
		node_detach(c, sh, twin, ROW_DROPPED);
		push(&gone, twin);
	}
	node_warm(c, sh, n, fresh);
	node_touch(c, n);
	budget_resize(c->budget, &n->item, bytes_of(c, fresh));
	/* A row without a name for its file is still to come; one that waits for too much other stays as it is. */
	if (!(n->flags & NODE_UNNAMED) && atomic_load(&c->waiting_bytes) < MOST_WAITING_BYTES)
		rows_update(c, n);
	pthread_rwlock_unlock(&sh->lock);
	dispose_all(c, gone);
	return 0;
}

/* --- dropping --------------------------------------------------------------------------------------------------- */

bool cache_drop(struct cache *c, struct slice key)
{
	uint64_t hash = key_hash(key);
	struct shard *sh = shard_of(c, hash);
	struct node *gone = NULL, *next;
	bool any;

	OBJ_CHECK(c, CACHE_MAGIC);
	pthread_rwlock_wrlock(&sh->lock);
	atomic_fetch_add(epoch_of(c, hash), 1);
	for (struct node *n = sh->buckets[hash & sh->mask]; n; n = next) {
		next = n->next;
		if (n->hash != hash)
			continue;
		node_detach(c, sh, n, ROW_DROPPED);
		push(&gone, n);
	}
	pthread_rwlock_unlock(&sh->lock);
	any = gone != NULL;
	dispose_all(c, gone);
	return any;
}

static bool drop_node(struct cache *c, uint64_t hash, uint64_t id)
{
	struct shard *sh = shard_of(c, hash);
	struct node *n;

	pthread_rwlock_wrlock(&sh->lock);
	n = cache_node_find(sh, hash, id);
	if (n)
		node_detach(c, sh, n, ROW_DROPPED);
	pthread_rwlock_unlock(&sh->lock);
	if (n)
		node_dispose(c, n);
	return n != NULL;
}

void cache_drop_one(struct cache *c, struct stored *s)
{
	OBJ_CHECK(c, CACHE_MAGIC);
	(void)drop_node(c, key_hash(buf_slice(&s->key)), s->id); /* it may be gone already */
}

struct sweep_prefix {
	struct cache *c;
	struct slice prefix;
	uint64_t count;
};

static bool begins(struct slice key, struct slice prefix)
{
	return key.n >= prefix.n && (prefix.n == 0 || memcmp(key.p, prefix.p, prefix.n) == 0);
}

static void drop_row(void *arg, const struct row *row)
{
	struct sweep_prefix *s = arg;

	if (begins(row->key, s->prefix))
		s->count += drop_node(s->c, key_hash(row->key), row->id);
}

static uint64_t drop_hot(struct cache *c, struct shard *sh, struct slice prefix)
{
	struct node *gone = NULL, *next;
	uint64_t count = 0;

	pthread_rwlock_wrlock(&sh->lock);
	for (size_t b = 0; b <= sh->mask; b++)
		for (struct node *n = sh->buckets[b]; n; n = next) {
			next = n->next;
			if (!n->hot || !begins(buf_slice(&n->hot->key), prefix))
				continue;
			node_detach(c, sh, n, ROW_DROPPED);
			push(&gone, n);
			count++;
		}
	pthread_rwlock_unlock(&sh->lock);
	dispose_all(c, gone);
	return count;
}

/* The hot ones first: what is on disk only after that has its row there. */
uint64_t cache_drop_prefix(struct cache *c, struct slice prefix)
{
	struct sweep_prefix s = { .c = c, .prefix = prefix };

	OBJ_CHECK(c, CACHE_MAGIC);
	for (size_t i = 0; i < CACHE_EPOCHS; i++)
		atomic_fetch_add(&c->epochs[i], 1);
	for (size_t i = 0; i < CACHE_SHARDS; i++)
		s.count += drop_hot(c, &c->shards[i], prefix);
	(void)rows_scan(c, drop_row, &s); /* a database that cannot be read serves nothing either */
	return s.count;
}

int cache_sync(struct cache *c)
{
	uint64_t removals = atomic_load(&c->removals), synced = atomic_load(&c->synced);
	int r;

	OBJ_CHECK(c, CACHE_MAGIC);
	r = rows_sync(c);
	while (r == 0 && synced < removals && !atomic_compare_exchange_weak(&c->synced, &synced, removals))
		;
	return r;
}

int cache_sync_drops(struct cache *c)
{
	OBJ_CHECK(c, CACHE_MAGIC);
	return atomic_load(&c->synced) >= atomic_load(&c->removals) ? 0 : cache_sync(c);
}

/* --- figures ---------------------------------------------------------------------------------------------------- */

const char *cache_spool_dir(const struct cache *c)
{
	OBJ_CHECK(c, CACHE_MAGIC);
	return c->bodies;
}

void cache_figures(struct cache *c, struct cache_figures *ret)
{
	OBJ_CHECK(c, CACHE_MAGIC);
	*ret = (struct cache_figures){
		.bytes = budget_bytes(c->budget),
		.evictions = budget_evictions(c->budget),
		.damaged = c->damaged,
		.not_kept = c->not_kept,
		.hot_responses = c->hot_count[TIER_MEMORY] + c->hot_count[TIER_FILE],
		.hot_bytes = c->hot_bytes,
		.hot_files = c->hot_count[TIER_FILE],
	};
	for (size_t i = 0; i < CACHE_SHARDS; i++) {
		pthread_rwlock_rdlock(&c->shards[i].lock);
		ret->responses += c->shards[i].count;
		pthread_rwlock_unlock(&c->shards[i].lock);
	}
}
