/* cache_priv.h -- what the files of the cache share: cache.c (the contract of cache.h), cache_index.c (what is in
 * memory), cache_rows.c (into the database), cache_reader.c, cache_load.c and cache_open.c (back from disk).
 *
 * LOCKS    shard.lock -> the budget's, the database queue's. No I/O under any. cache.load_lock: alone. */
#ifndef WEIR_MIRROR_CACHE_PRIV_H
#define WEIR_MIRROR_CACHE_PRIV_H

#include <pthread.h>

#include "core/budget.h"
#include "mirror/cache.h"
#include "store/db.h"

#define CACHE_SHARDS 64
#define CACHE_EPOCHS 4096
#define CACHE_IDLE_READERS 4

enum node_flags { /* under the shard's lock */
	NODE_FILE = 1,     /* the body is a file */
	NODE_CHECKED = 2,  /* which agreed with its sum in this run */
	NODE_PENDING = 4,  /* its row is not in the database yet as it is in memory: stays hot */
	NODE_GONE = 8,     /* detached: whoever did that disposes of it */
	NODE_UNNAMED = 16, /* its file has no name yet: no row is written */
};
enum node_marks { /* atomic */
	NODE_USED = 1,    /* since the hot tier looked last */
	NODE_UNSAVED = 2, /* used_s is not in the database */
};

/* One stored response in the index: 112 bytes. The hash stands for the key: whoever reads compares the key itself,
 * and dropping or replacing a namesake loses what may be lost. */
struct node {
	struct budget_item item;
	struct node *next; /* in its bucket */
	uint64_t hash;     /* of the key */
	uint64_t id;
	struct list ring;   /* of its shard's hot ones */
	struct stored *hot; /* one reference; NULL: on disk only */
	_Atomic uint32_t used_s;
	uint32_t vary, vary_names; /* hashes of the vary key, and of the names in it */
	uint16_t version;          /* counts updates */
	uint8_t flags;
	_Atomic uint8_t marks;
};

static inline bool stored_is_large(const struct stored *s)
{
	return s->body_bytes > STORED_INLINE_BYTES;
}

enum tier { TIER_MEMORY, TIER_FILE, TIERS };

struct shard {
	_Alignas(64) pthread_rwlock_t lock;
	struct node **buckets;
	size_t mask, count;      /* buckets - 1; nodes */
	struct list hot[TIERS];  /* second chance: the front goes next, unless used since */
};

struct cache {
	unsigned magic;
	char *dir, *bodies;
	uint64_t memory_bytes, most_files;
	_Atomic uint64_t max_bytes, low_bytes;
	struct budget *budget;
	struct metric *evictions; /* or NULL */
	atomic_bool only_files;   /* while cache_give_way() frees disk: rows would free none */
	struct shard shards[CACHE_SHARDS];
	_Atomic uint64_t epochs[CACHE_EPOCHS];
	_Atomic uint64_t next_id;
	_Atomic uint64_t hot_count[TIERS], hot_bytes;
	_Atomic unsigned hot_hand;
	_Atomic uint64_t damaged, not_kept, waiting_bytes;
	_Atomic uint64_t removals, synced; /* of rows: submitted; so many of them were on the platter */
	_Atomic int not_kept_code; /* the last, so that a change is logged once */
	_Atomic int64_t uses_saved_ms; /* monotonic */
	struct db *db;
	struct rows *rows; /* the writer thread's */
	pthread_mutex_t load_lock;
	pthread_cond_t loaded;
	struct list loads;                           /* under load_lock */
	struct reader *readers[CACHE_IDLE_READERS];  /* idle ones, likewise */
	unsigned reader_count;
};

/* --- cache_index.c: nobody else touches buckets, rings or flags. With the shard's lock: where it says so --- */
void index_init(struct cache *c);
void index_fini(struct cache *c);
uint64_t key_hash(struct slice key);
uint32_t vary_hash(struct slice vary_key);
uint32_t vary_names_hash(struct slice vary_key);
static inline struct shard *shard_of(struct cache *c, uint64_t hash)
{
	return &c->shards[hash >> 58];
}
_Static_assert(CACHE_SHARDS == 1 << (64 - 58), "the shard is the hash's highest bits");

struct node *cache_node_find(struct shard *sh, uint64_t hash, uint64_t id); /* with the lock */
/* Another of the same key and vary key; likewise. */
struct node *node_rival(struct shard *sh, const struct node *n);
void node_insert(struct cache *c, struct shard *sh, struct node *n); /* with the lock for writing */
enum row_end { ROW_DROPPED, ROW_DAMAGED };
/* Out of index and hot tier, with the lock for writing; row and file go behind: who finds nothing in the index any more
 * and then syncs has their removal before the sync. The node is the caller's, for node_dispose() without the lock. */
void node_detach(struct cache *c, struct shard *sh, struct node *n, enum row_end end);
void node_warm(struct cache *c, struct shard *sh, struct node *n, struct stored *s); /* takes a reference; likewise */
void node_touch(struct cache *c, struct node *n); /* with the lock, reading will do */
bool node_is_newer(const struct stored *a, const struct stored *b);
void index_cool(struct cache *c); /* until the hot tier is within its limits, as far as may be; no lock held */

/* --- cache_rows.c --- */
struct row { /* borrowed from the statement until the next step or reset */
	uint64_t id;
	int64_t used_ms; /* not from reader_row() */
	bool is_file;
	uint64_t body_bytes, head_bytes;
	uint32_t body_crc;
	struct slice key, vary, head;
	int status;
	bool guarded;
	int64_t request_ms, response_ms;
};

int rows_open(struct cache *c, bool *ret_damaged);
void rows_close(struct cache *c); /* runs what waits first */
int rows_begin_anew(struct cache *c); /* instead of a corrupt database, which is set aside; the index is empty */
int rows_sync(struct cache *c); /* cache_sync() */
/* With the shard's lock, so that the order is that of the index. */
void rows_put(struct cache *c, struct node *n);
void rows_update(struct cache *c, struct node *n);
/* The row goes, and then the file: away, or into damaged/. Takes hot (may be NULL): its file is closed there. */
void rows_remove(struct cache *c, uint64_t id, bool is_file, enum row_end end, struct stored *hot);
void rows_save_uses(struct cache *c); /* of all that were used since the last time; behind */

char *body_path(const struct cache *c, uint64_t id); /* the caller frees */

/* --- cache_reader.c --- */
uint32_t row_crc(const struct row *row); /* of all but used_ms and head_bytes */
typedef void rows_fn(void *arg, const struct row *row);
int rows_scan(struct cache *c, rows_fn *fn, void *arg); /* by id; without head, status, times and sum */
struct reader;
int reader_get(struct cache *c, struct reader **ret);
void reader_put(struct cache *c, struct reader *r); /* NULL is fine */
void readers_close(struct cache *c);
/* 0; -ENOENT; WEIR_E_DAMAGED (the sum does not agree); another code. The row is borrowed until the next call. */
int reader_row(struct reader *r, uint64_t id, struct row *ret);
int reader_body(struct reader *r, uint64_t id, struct slice *ret); /* likewise, unchecked; the row stays */

/* --- cache_open.c --- */
int index_load(struct cache *c); /* from the database; sweeps the bodies' folder. 0 or a code */

/* --- cache.c --- */
void node_dispose(struct cache *c, struct node *n); /* frees n, which is detached. No lock held */
struct node *cache_node_new(struct slice key, struct slice vary, uint64_t id, bool is_file);
uint64_t response_bytes(const struct cache *c, uint64_t head_bytes, struct slice key, struct slice vary, uint64_t body);
void cache_not_kept(struct cache *c, int code); /* counts, and logs what is new */

#endif
