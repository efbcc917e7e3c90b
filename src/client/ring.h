/* ring.h -- the queue: records of any size, one behind the other, in a piece of memory of fixed size.
 *
 * Pure, without a lock: the client's guards put, peek and pop. A record that was peeked at stays where it is until it
 * is popped, so that the one who takes them may read it without the lock. */
#ifndef WEIR_CLIENT_RING_H
#define WEIR_CLIENT_RING_H

#include <stddef.h>
#include <stdint.h>

struct weirc_record {
	uint32_t bytes; /* of text */
	uint32_t type;
	int64_t when_ms; /* when it was told, by the clock of weirc_told_ms() */
	char text[];
};

struct weirc_ring {
	unsigned char *data;
	size_t size; /* a multiple of the alignment of records */
	uint64_t head, tail; /* counted on for ever: the place is the remainder by size */
	size_t entries, most_entries;
};

/* 0, -EINVAL or -ENOMEM. */
int weirc_ring_init(struct weirc_ring *r, size_t bytes, size_t most_entries);
void weirc_ring_fini(struct weirc_ring *r);
/* Copies. keep: so many sixteenths of bytes and of entries have to stay free. 0, or -ENOBUFS: nothing was put. */
int weirc_ring_put(struct weirc_ring *r, uint32_t type, int64_t when_ms, const char *text, size_t n, unsigned keep);
const struct weirc_record *weirc_ring_peek(struct weirc_ring *r); /* the oldest; NULL: there is none */
void weirc_ring_pop(struct weirc_ring *r);
static inline size_t weirc_ring_bytes(const struct weirc_ring *r)
{
	return (size_t)(r->tail - r->head);
}

#endif
