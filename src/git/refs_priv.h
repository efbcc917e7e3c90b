/* refs_priv.h -- the inside of a refs snapshot, for refs*.c only. See refs.c for how it lies in memory. */
#ifndef WEIR_GIT_REFS_PRIV_H
#define WEIR_GIT_REFS_PRIV_H

#include <stdatomic.h>

#include "git/refs.h"

#define REFS_MAGIC 0x52454653u
#define REFS_TEXT_LIMIT (512u * 1024 * 1024) /* names and targets of one snapshot, so that offsets fit 32 bits */

/* Offsets and indices are one too high, so that 0 says "none". */
struct refs_entry {
	uint32_t name, seen_symref, servable_symref; /* offset of a NUL-terminated string in text */
	uint16_t name_n;
	bool unborn;
	uint32_t seen, seen_peeled, servable, servable_peeled; /* number of an id; equal ids have equal numbers */
};

struct refs_covered {
	char *prefix;
	size_t n;
	int64_t since_wall_ms;
};

struct refs {
	unsigned magic;
	atomic_uint holders;
	enum oid_format format;
	size_t id_bytes;
	struct refs_entry *entries;
	size_t count;
	char *text;         /* one block for all strings; offset 0 is an empty one */
	size_t text_n;
	unsigned char *ids; /* id_bytes each, no two equal */
	unsigned char *has; /* for each id: enum refs_has */
	size_t ids_count;
	uint32_t *table;    /* open addressing over ids */
	size_t table_size;  /* a power of two */
	uint32_t *listed[2]; /* by enum refs_view: how many lines stand before each entry, and count + 1st: all */
	struct refs_covered *covered;
	size_t covered_count;
	int64_t whole_since_wall_ms; /* 0: never asked for everything */
	int64_t contact_wall_ms;
	int upstream_version;
	char *caps;
	size_t caps_n;
};

/* One ref on its way into a snapshot: everything is borrowed. Ids are format's bytes, NULL: none. */
struct refs_draft {
	struct slice name;
	bool unborn;
	bool listed; /* refs_merge(): stands in the listing */
	const unsigned char *seen, *seen_peeled, *servable, *servable_peeled;
	struct slice seen_symref, servable_symref;
};

/* Makes a snapshot of drafts sorted by name without repetition. Nothing covered, no upstream, no contact. */
struct refs *refs_freeze(enum oid_format f, const struct refs_draft *drafts, size_t count);
/* Takes over what of old is not about single refs: covered, upstream, contact. */
void refs_copy_rest(struct refs *to, const struct refs *old);
void refs_draft_of(const struct refs *r, size_t i, struct refs_draft *ret);
/* Notes that upstream answered for the (minimal) prefixes. */
void refs_note_covered(struct refs *r, struct slices least, int64_t wall_ms);
void refs_set_caps(struct refs *r, int version, struct slice caps);

/* First entry whose name is not below `name`. */
size_t refs_lower_bound(const struct refs *r, struct slice name);
/* One after the last entry from `start` on whose name begins with prefix; start: its refs_lower_bound(). */
size_t refs_prefix_end(const struct refs *r, size_t start, struct slice prefix);
const struct refs_entry *refs_entry_find(const struct refs *r, struct slice name); /* NULL: none */
struct slice refs_name(const struct refs *r, const struct refs_entry *e);
struct slice refs_string(const struct refs *r, uint32_t offset); /* 0: empty */
const unsigned char *refs_id(const struct refs *r, uint32_t number); /* 0: NULL */

/* What an entry shows in a view: false when it is not listed. */
struct refs_shown {
	bool unborn;
	const unsigned char *id, *peeled; /* peeled NULL: none */
	struct slice symref;
};
bool refs_show(const struct refs *r, const struct refs_entry *e, enum refs_view v, struct refs_shown *ret);

#endif
