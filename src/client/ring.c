/* ring.c -- see ring.h.
 *
 *          head                      tail
 *      ----+--------+-----+----------+--------------      A record is never split: when the rest before the end of the
 *          | record | rec | record   |                    memory is too short, a record of type SKIP fills it.
 *
 * All sizes are multiples of ALIGN, so a SKIP always has room for its head.
 *
 * RULES    head <= tail <= head + size. Entries do not count SKIPs, bytes do. */
#include "client/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 16
#define SKIP  UINT32_MAX

_Static_assert(sizeof(struct weirc_record) <= ALIGN, "the head of a SKIP fits everywhere");

static size_t aligned(size_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

int weirc_ring_init(struct weirc_ring *r, size_t bytes, size_t most_entries)
{
	*r = (struct weirc_ring){ .size = bytes / ALIGN * ALIGN, .most_entries = most_entries };
	if (r->size < ALIGN || most_entries == 0)
		return -EINVAL;
	r->data = malloc(r->size);
	return r->data ? 0 : -ENOMEM;
}

void weirc_ring_fini(struct weirc_ring *r)
{
	free(r->data);
	r->data = NULL;
}

static struct weirc_record *at(struct weirc_ring *r, uint64_t position)
{
	return (struct weirc_record *)(void *)(r->data + position % r->size);
}

static void put_record(struct weirc_ring *r, uint32_t type, int64_t when_ms, const char *text, size_t n)
{
	struct weirc_record *record = at(r, r->tail);

	record->bytes = (uint32_t)n;
	record->type = type;
	record->when_ms = when_ms;
	if (text && n)
		memcpy(record->text, text, n);
	r->tail += aligned(sizeof(*record) + n);
}

int weirc_ring_put(struct weirc_ring *r, uint32_t type, int64_t when_ms, const char *text, size_t n, unsigned keep)
{
	size_t need = aligned(sizeof(struct weirc_record) + n), to_end = r->size - (size_t)(r->tail % r->size);
	size_t free_bytes = r->size - weirc_ring_bytes(r), gap = to_end < need ? to_end : 0;

	if (need > r->size || free_bytes < gap + need || free_bytes - gap - need < r->size / 16 * keep ||
	    r->most_entries - r->entries <= r->most_entries / 16 * keep)
		return -ENOBUFS;
	if (gap)
		put_record(r, SKIP, 0, NULL, gap - sizeof(struct weirc_record));
	put_record(r, type, when_ms, text, n);
	r->entries++;
	return 0;
}

const struct weirc_record *weirc_ring_peek(struct weirc_ring *r)
{
	if (r->entries == 0)
		return NULL;
	if (at(r, r->head)->type == SKIP)
		weirc_ring_pop(r);
	return at(r, r->head);
}

void weirc_ring_pop(struct weirc_ring *r)
{
	const struct weirc_record *record = at(r, r->head);

	if (record->type != SKIP)
		r->entries--;
	r->head += aligned(sizeof(*record) + record->bytes);
	if (r->entries == 0 && r->head == r->tail)
		r->head = r->tail = 0; /* the first pages stay warm */
}
