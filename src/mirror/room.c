/* room.c -- a disk that is full of what can be fetched again is no reason to refuse what cannot (invariant 7). */
#include <errno.h>

#include "base/log.h"
#include "mirror/mirror_priv.h"

#define ROOM_BYTES (64u << 20) /* what the cache gives up at a time */
/* A smaller cache is not what the disk is full of: answers that pass are no reason to lose it. */
#define WORTH_BYTES (4u << 20)

bool mirror_make_room(struct mirror *m)
{
	unsigned n = cache_give_way(m->cache, ROOM_BYTES);

	if (n)
		log_event(LOG_WARN, "cache_gave_way", LOG_STR("service", m->name), LOG_INT("responses", n),
			  LOG_STR("why", "the disk is full"), LOG_END);
	return n > 0;
}

int mirror_append_write(struct mirror *m, struct spool *s, const char *p, size_t n)
{
	int r = spool_append(s, p, n);

	return r == -ENOSPC && mirror_make_room(m) ? spool_append(s, p, n) : r;
}

int mirror_append_answer(struct mirror *m, struct spool *s, const char *p, size_t n)
{
	struct cache_figures f;
	int r = spool_append(s, p, n);

	if (r != -ENOSPC)
		return r;
	cache_figures(m->cache, &f);
	return f.bytes >= WORTH_BYTES && mirror_make_room(m) ? spool_append(s, p, n) : r;
}
