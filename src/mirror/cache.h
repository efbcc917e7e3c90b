/* cache.h -- the stored responses of one mirror: found in memory when hot, else in SQLite, bodies as files; bounded.
 *
 * WHAT     <dir>/cache.db has a row for each response (key, vary, head, times, small body), <dir>/bodies/ a file for each larger body. An
 *          index in memory knows every key, so that "nothing is stored" is answered without the disk. Hot responses stay in memory whole
 *          (bodies above STORED_INLINE_BYTES as open files), up to memory_bytes and most_files.
 * RULES    1. The cache may be lost (invariant 7): rows are written soon after, not before, they are served; a row or body that does not match
 *             its checksum is set aside, counted and reported as not there. A body file is checked once for each run of the daemon, when first opened.
 *          2. Least recently used first, under disk.max; what somebody reads stays readable (its file is open).
 *          3. One response for each key and vary_key; a newer one replaces it.
 * THREADS  "front too": never blocks on disk. Others: workers. */
#ifndef WEIR_MIRROR_CACHE_H
#define WEIR_MIRROR_CACHE_H

#include "mirror/stored.h"

struct cache;

struct cache_options {
	const char *dir;            /* made when missing; copied */
	uint64_t max_bytes, low_bytes;
	uint64_t memory_bytes;      /* of the hot tier */
	unsigned most_files;        /* open ones in the hot tier */
};

/* 0; or a code with a sentence for the operator in err. A corrupt database is set aside: then it begins empty. Blocks. */
int cache_open(const struct cache_options *o, struct cache **ret, struct buf *err);
void cache_close(struct cache *c); /* writes what waits */
void cache_set_limits(struct cache *c, uint64_t max_bytes, uint64_t low_bytes);

/* The response stored under key that fits the request (its header lines; see vary_matches()). 0 and a reference; -ENOENT: none is stored;
 * -EAGAIN: one may be, but not in memory: ask cache_load(). Front too. Counts as use. */
int cache_peek(struct cache *c, struct slice key, const struct httplines *request, struct stored **ret);
/* The same from disk. 0; -ENOENT; -errno. */
int cache_load(struct cache *c, struct slice key, const struct httplines *request, struct stored **ret);
/* Keeps s (one more reference is taken; its id is set), in place of what had the same key and vary_key. A body file is given a name here: s->file must be a
 * complete spool made in cache_spool_dir(). Rows are written behind; what fits nowhere is not kept. 0; -ENOSPC; -errno. */
int cache_put(struct cache *c, struct stored *s);
/* Puts `fresh` (same body as `old`, new head and times: a 304) in place of old. Nothing happens when old is gone. */
int cache_update(struct cache *c, struct stored *old, struct stored *fresh);
/* All variants of a key are gone: for everybody who asks from here on. Front too (rows and files go behind). */
void cache_drop(struct cache *c, struct slice key);
/* This one only (found damaged, or replaced by an answer that may not be stored). Front too. */
void cache_drop_one(struct cache *c, struct stored *s);
/* Every key that begins with prefix ("" for all), for the operator. How many. */
uint64_t cache_drop_prefix(struct cache *c, struct slice prefix);

const char *cache_spool_dir(const struct cache *c);

struct cache_figures {
	uint64_t responses, bytes, evictions, damaged;
	uint64_t hot_responses, hot_bytes;
};
void cache_figures(struct cache *c, struct cache_figures *ret); /* front too */

#endif
