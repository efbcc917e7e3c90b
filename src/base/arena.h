/* arena.h -- memory of one request, freed at once. It has a ceiling, as peers decide how much a request needs:
 * above it arena_alloc() gives NULL, and the caller refuses the request cleanly. Nothing that outlives the request
 * points in. Not thread-safe: it belongs to the thread that owns the exchange. */
#ifndef WEIR_BASE_ARENA_H
#define WEIR_BASE_ARENA_H

#include "base/buf.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used, limit; /* bytes handed out, most that may be */
};

void arena_init(struct arena *a, size_t limit);
void arena_fini(struct arena *a);
void *arena_alloc(struct arena *a, size_t n); /* aligned for any type, not cleared; NULL above the limit */
char *arena_dup(struct arena *a, struct slice s); /* NUL-terminated copy; NULL above the limit */

#endif
