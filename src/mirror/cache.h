/* cache.h -- the stored responses of one mirror: found in memory when hot, else in SQLite, bodies as files; bounded.
 *
 * WHAT     <dir>/cache.db has a row for each response (key, vary, head, times, small body), <dir>/bodies/ a file for
 *          each larger body. An index in memory knows every response, so that "nothing is stored" is answered without
 *          the disk. Hot responses stay in memory whole (bodies above STORED_INLINE_BYTES as open files), up to
 *          memory_bytes and most_files.
 * RULES    1. The cache may be lost (invariant 7): rows are written soon after they are served, not before. A row or
 *             body that does not match its checksum is set aside, counted, and reported as not there. A body file is
 *             checked once for each run of the daemon, when it is first opened.
 *          2. Least recently used first, under max_bytes; what somebody reads stays readable (its file is open).
 *          3. One response for each key and vary_key; a newer one replaces it. At most CACHE_MOST_VARIANTS for a key:
 *             the one longest unused makes room.
 *          4. An answer that was asked for before a cache_drop() of its key is not stored after it: see
 *             cache_epoch().
 * THREADS  "front too": never blocks on disk. Others: workers. */
#ifndef WEIR_MIRROR_CACHE_H
#define WEIR_MIRROR_CACHE_H

#include "core/metrics.h"
#include "mirror/stored.h"

#define CACHE_MOST_VARIANTS 64
#define CACHE_MOST_RESPONSES ((uint64_t)4 << 20) /* about 600 MB of index: each counts at least so much of max_bytes */

struct cache;

struct cache_options {
	const char *dir;            /* made when missing; copied. Its lock is the owner's (core/dirlock.h) */
	uint64_t max_bytes, low_bytes;
	uint64_t memory_bytes;      /* of the hot tier */
	unsigned most_files;        /* open ones in the hot tier */
	struct metric *evictions;   /* counted there, too; may be NULL */
};

/* 0; or a code with a sentence for the operator in err. A corrupt database is set aside: then it begins empty. */
int cache_open(const struct cache_options *o, struct cache **ret, struct buf *err);
void cache_close(struct cache *c); /* writes what waits; NULL is fine */
void cache_set_limits(struct cache *c, uint64_t max_bytes, uint64_t low_bytes);

/* The response stored under key that fits the request (its header lines; see vary_matches()), of several the most
 * recent (RFC 9111 4). 0 and a reference; -ENOENT: none is stored; -EAGAIN: one may be, but not in memory: ask
 * cache_load(). Counts as use. Front too. */
int cache_peek(struct cache *c, struct slice key, const struct httplines *request, struct stored **ret);
/* The same from disk; who asks for a key that is being loaded waits for that. 0; -ENOENT (also: damaged); -errno: not
 * now. */
int cache_load(struct cache *c, struct slice key, const struct httplines *request, struct stored **ret);

/* To be taken before upstream is asked, and given to cache_put() with the answer: it changes when the key is dropped.
 * Never 0. Front too. */
uint64_t cache_epoch(struct cache *c, struct slice key);
/* Keeps s in place of what had the same key and vary_key. One more reference is taken; its id is set: each s is put
 * once. A body in memory is at most STORED_INLINE_BYTES; s->file must be a complete spool made in cache_spool_dir():
 * a large one gets its name here, synced, while s is served already; a small one is copied into its row. Rows are
 * written behind. 0; -ESTALE: the key was dropped since `epoch`; -ENOSPC: larger than low_bytes, or the disk is
 * full; -EBUSY: too much waits to be written; -errno. Then it is not kept (counted but for -ESTALE), and what was
 * there before is, but for a large one that got no name: that had taken its place. 0 is no promise: one whose row cannot
 * be written afterwards goes again, counted. */
int cache_put(struct cache *c, struct stored *s, uint64_t epoch);
/* Puts `fresh` (same key and body as `old`, new head and times: a 304) in place of old; its id is set, a reference
 * taken. 0; -ENOENT: old is gone, nothing happened. Front too. */
int cache_update(struct cache *c, struct stored *old, struct stored *fresh);
/* All variants of a key are gone: for everybody who asks from here on. Whether there were any. Front too (rows and
 * files go behind: cache_sync()). */
bool cache_drop(struct cache *c, struct slice key);
/* This one only (found damaged, or replaced by an answer that may not be stored). Front too. */
void cache_drop_one(struct cache *c, struct stored *s);
/* Every key that begins with prefix ("" for all): for the operator, and for the members of a collection that was
 * deleted, moved or copied. Nothing that upstream was asked for before is stored after it, whatever its key; looks at
 * every response there is. How many. Blocks. */
uint64_t cache_drop_prefix(struct cache *c, struct slice prefix);
/* Waits until all that was put and dropped before is in the database and on the platter: neither a kill -9 nor a
 * power cut brings back what was dropped. 0; -ENOSPC: something dropped is still there, and is tried again; or another
 * code: then a power cut might. */
int cache_sync(struct cache *c);
/* The same when anything was dropped since the last time, by whomever: a write whose URI was dropped is acknowledged
 * after this. Else it costs nothing. */
int cache_sync_drops(struct cache *c);

/* The disk is full, and somebody's write matters more than what can be fetched again (invariant 7): the least recently
 * used of those that are files go, until `bytes` fewer are in use or none is left. How many went: on return their space
 * is free. */
unsigned cache_give_way(struct cache *c, uint64_t bytes);

const char *cache_spool_dir(const struct cache *c);

struct cache_figures {
	uint64_t responses, bytes, evictions, damaged;
	uint64_t not_kept; /* full disk, larger than the budget, too much waiting, errors */
	uint64_t hot_responses, hot_bytes, hot_files;
};
void cache_figures(struct cache *c, struct cache_figures *ret); /* front too */

#endif
