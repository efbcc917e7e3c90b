/* arena.c -- bump allocation in blocks of 4 KiB or what is asked, whichever is more. */
#include "base/arena.h"

#include <stdalign.h>

#define BLOCK_BYTES 4096

struct arena_block {
	struct arena_block *next;
	size_t used, cap;
	alignas(max_align_t) char data[];
};

void arena_init(struct arena *a, size_t limit)
{
	*a = (struct arena){ .limit = limit };
}

void arena_fini(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *next = a->blocks->next;

		free(a->blocks);
		a->blocks = next;
	}
	a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t align = alignof(max_align_t), size;
	struct arena_block *b = a->blocks;
	void *p;

	if (n > a->limit || a->used > a->limit - n)
		return NULL;
	size = (n + align - 1) & ~(align - 1);
	if (!b || b->cap - b->used < size) {
		size_t cap = size > BLOCK_BYTES ? size : BLOCK_BYTES;

		b = xmalloc(sizeof(*b) + cap);
		*b = (struct arena_block){ .next = a->blocks, .cap = cap };
		a->blocks = b;
	}
	p = b->data + b->used;
	b->used += size;
	a->used += n;
	return p;
}

char *arena_dup(struct arena *a, struct slice s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (!p)
		return NULL;
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}
