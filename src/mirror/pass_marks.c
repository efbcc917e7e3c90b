/* pass_marks.c -- URIs whose answers cannot be shared, so that nobody waits for another's: each asks for himself at
 * once.
 *
 * A table of hashes without locks or keys: two URIs that meet in a slot cost a collapse or a wait, never a wrong
 * answer. It is forgotten when an answer can be shared again, or another URI takes the slot. */
#include "base/map.h"
#include "mirror/mirror_priv.h"

static uint64_t hash_of(struct slice target)
{
	return hash_bytes(target.p, target.n) | 1; /* 0 is a slot without a mark */
}

static atomic_uint_fast64_t *slot_of(struct mirror *m, uint64_t hash)
{
	return &m->passes[(hash >> 1) % MIRROR_PASS_SLOTS];
}

void pass_note(struct mirror *m, struct slice target, bool is_shareable)
{
	uint64_t hash = hash_of(target);
	atomic_uint_fast64_t *slot = slot_of(m, hash);

	if (!is_shareable)
		atomic_store_explicit(slot, hash, memory_order_relaxed);
	else if (atomic_load_explicit(slot, memory_order_relaxed) == hash)
		atomic_store_explicit(slot, 0, memory_order_relaxed);
}

bool pass_is(struct mirror *m, struct slice target)
{
	uint64_t hash = hash_of(target);

	return atomic_load_explicit(slot_of(m, hash), memory_order_relaxed) == hash;
}
