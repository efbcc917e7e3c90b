/* map.h -- a hash map from byte strings to pointers. Keys are copied; values are borrowed. Seeded SipHash-1-3, so
 * that a peer who picks keys cannot make it slow. Not thread-safe. The owner states a limit where keys come from
 * peers (map_count() tells). */
#ifndef WEIR_BASE_MAP_H
#define WEIR_BASE_MAP_H

#include "base/buf.h"

struct map;

struct map *map_new(void);
void map_free(struct map *m); /* NULL is fine; values are not touched */
void *map_get(const struct map *m, struct slice key); /* NULL when absent */
/* Sets key to value (not NULL); returns the value it replaced, or NULL. */
void *map_put(struct map *m, struct slice key, void *value);
void *map_remove(struct map *m, struct slice key); /* the value removed, or NULL */
size_t map_count(const struct map *m);
/* Iteration in no order: start with *pos = 0; false at the end. The map must not change meanwhile. */
bool map_next(const struct map *m, size_t *pos, struct slice *ret_key, void **ret_value);

/* The hash the map uses, for others who need one (seeded once per process). Any thread. */
uint64_t hash_bytes(const void *p, size_t n);

#endif
