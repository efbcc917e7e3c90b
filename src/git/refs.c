/* refs.c -- the refs snapshot: how it lies in memory, what it can tell.
 *
 * WHAT     An array of entries sorted by name; all strings in one block; each distinct id once, found by hash.
 *
 *            entries  [name|seen|servable|...] -> offsets into text, numbers into ids
 *            text     NUL name NUL target NUL name NUL ...
 *            ids      20 or 32 bytes each          table  hash -> number
 *
 * WHY      Every ls-refs is answered from it, by front threads, without a lock: so it never changes, and a prefix is
 *          two binary searches. Most refs have one id for seen and servable, and many share one with a tag: numbers
 *          instead of ids keep 100,000 refs near 10 MiB and make "did it move" a comparison of integers.
 * RULES    1. Names are sorted as bytes, which puts HEAD before refs/ and is the order of git's own answers.
 *          2. In the servable view a symbolic ref has its target's value or is not there (invariant 5).
 * SEE      refs_merge.c (changes), refs_answer.c (answers), refs_file.c (disk); docs/DESIGN.md, "Git, in depth" */
#include "git/refs.h"

#include "base/err.h"
#include "base/map.h"
#include "base/obj.h"
#include "git/refs_priv.h"

struct slice refs_string(const struct refs *r, uint32_t offset)
{
	return offset ? slice_str(r->text + offset) : (struct slice){ 0 };
}

struct slice refs_name(const struct refs *r, const struct refs_entry *e)
{
	return (struct slice){ r->text + e->name, e->name_n };
}

const unsigned char *refs_id(const struct refs *r, uint32_t number)
{
	return number ? r->ids + (number - 1) * r->id_bytes : NULL;
}

/* The place in the table where the id is, or where it would go. */
static size_t table_slot(const struct refs *r, const unsigned char *id)
{
	size_t at = hash_bytes(id, r->id_bytes) & (r->table_size - 1);

	while (r->table[at] && memcmp(refs_id(r, r->table[at]), id, r->id_bytes) != 0)
		at = (at + 1) & (r->table_size - 1);
	return at;
}

/* The id's number; it is taken in when it is new. The arrays have room. */
static uint32_t intern(struct refs *r, const unsigned char *id, unsigned has)
{
	size_t at;

	if (!id)
		return 0;
	at = table_slot(r, id);
	if (!r->table[at]) {
		memcpy(r->ids + r->ids_count * r->id_bytes, id, r->id_bytes);
		r->has[r->ids_count] = 0;
		r->table[at] = (uint32_t)++r->ids_count;
	}
	r->has[r->table[at] - 1] |= (unsigned char)has;
	return r->table[at];
}

static uint32_t keep_string(struct refs *r, struct slice s)
{
	size_t at = r->text_n;

	if (!s.n)
		return 0;
	memcpy(r->text + at, s.p, s.n);
	r->text[at + s.n] = '\0';
	r->text_n += s.n + 1;
	return (uint32_t)at;
}

static void fill_entry(struct refs *r, struct refs_entry *e, const struct refs_draft *d)
{
	e->name = keep_string(r, d->name);
	e->name_n = (uint16_t)d->name.n;
	e->unborn = d->unborn;
	e->seen = intern(r, d->seen, REFS_HAS_SEEN);
	e->seen_peeled = intern(r, d->seen_peeled, REFS_HAS_SEEN);
	e->servable = intern(r, d->servable, REFS_HAS_SERVABLE);
	e->servable_peeled = intern(r, d->servable_peeled, REFS_HAS_SERVABLE);
	e->seen_symref = keep_string(r, d->seen_symref);
	e->servable_symref =
		slice_eq(d->servable_symref, d->seen_symref) ? e->seen_symref : keep_string(r, d->servable_symref);
}

/* Sizes the blocks for the worst case: no id shared. */
static void make_room(struct refs *r, const struct refs_draft *drafts, size_t count)
{
	size_t i, text = 1, ids = 0;

	for (i = 0; i < count; i++) {
		const struct refs_draft *d = &drafts[i];

		text += d->name.n + d->seen_symref.n + d->servable_symref.n + 3;
		ids += (d->seen != NULL) + (d->seen_peeled != NULL) + (d->servable != NULL) +
		       (d->servable_peeled != NULL);
	}
	ENSURE(text <= UINT32_MAX && ids < UINT32_MAX / 4);
	for (r->table_size = 16; r->table_size < ids + ids / 2; r->table_size *= 2)
		;
	r->entries = xcalloc(count, sizeof(*r->entries));
	r->text = xcalloc(text, 1);
	r->text_n = 1;
	r->ids = xmalloc(ids * r->id_bytes);
	r->has = xmalloc(ids);
	r->table = xcalloc(r->table_size, sizeof(*r->table));
}

struct refs *refs_freeze(enum oid_format f, const struct refs_draft *drafts, size_t count)
{
	struct refs *r = xcalloc(1, sizeof(*r));
	struct refs_shown shown;
	enum refs_view v;
	size_t i;

	r->magic = REFS_MAGIC;
	atomic_init(&r->holders, 1);
	r->format = f;
	r->id_bytes = f == OID_UNKNOWN ? OID_MAX_BYTES : oid_bytes(f);
	r->upstream_version = -1;
	r->count = count;
	r->caps = xcalloc(1, 1);
	make_room(r, drafts, count);
	for (i = 0; i < count; i++) {
		ENSURE(!i || slice_cmp(drafts[i - 1].name, drafts[i].name) < 0);
		fill_entry(r, &r->entries[i], &drafts[i]);
	}
	/* What the worst case reserved and sharing saved goes back. */
	r->text = xrealloc(r->text, r->text_n);
	r->ids = xrealloc(r->ids, r->ids_count ? r->ids_count * r->id_bytes : 1);
	r->has = xrealloc(r->has, r->ids_count ? r->ids_count : 1);
	for (v = REFS_SEEN; v <= REFS_SERVABLE; v++) {
		r->listed[v] = xcalloc(count + 1, sizeof(*r->listed[v]));
		for (i = 0; i < count; i++)
			r->listed[v][i + 1] =
				r->listed[v][i] + (refs_show(r, &r->entries[i], v, &shown) && !shown.unborn);
	}
	return r;
}

struct refs *refs_new(enum oid_format f)
{
	return refs_freeze(f, NULL, 0);
}

struct refs *refs_ref(const struct refs *r)
{
	struct refs *mine = (struct refs *)r;    /* the count is the only thing that changes */

	OBJ_CHECK(mine, REFS_MAGIC);
	atomic_fetch_add_explicit(&mine->holders, 1, memory_order_relaxed);
	return mine;
}

void refs_unref(struct refs **rp)
{
	struct refs *r = *rp;
	size_t i;

	*rp = NULL;
	if (!r)
		return;
	OBJ_CHECK(r, REFS_MAGIC);
	if (atomic_fetch_sub_explicit(&r->holders, 1, memory_order_acq_rel) != 1)
		return;
	for (i = 0; i < r->covered_count; i++)
		free(r->covered[i].prefix);
	free(r->covered);
	free(r->caps);
	free(r->entries);
	free(r->text);
	free(r->ids);
	free(r->has);
	free(r->table);
	free(r->listed[REFS_SEEN]);
	free(r->listed[REFS_SERVABLE]);
	r->magic = 0;
	free(r);
}

void refs_draft_of(const struct refs *r, size_t i, struct refs_draft *ret)
{
	const struct refs_entry *e = &r->entries[i];

	*ret = (struct refs_draft){
		.name = refs_name(r, e),
		.unborn = e->unborn,
		.seen = refs_id(r, e->seen),
		.seen_peeled = refs_id(r, e->seen_peeled),
		.servable = refs_id(r, e->servable),
		.servable_peeled = refs_id(r, e->servable_peeled),
		.seen_symref = refs_string(r, e->seen_symref),
		.servable_symref = refs_string(r, e->servable_symref),
	};
}

size_t refs_lower_bound(const struct refs *r, struct slice name)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (slice_cmp(refs_name(r, &r->entries[mid]), name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

size_t refs_prefix_end(const struct refs *r, size_t start, struct slice prefix)
{
	size_t low = start, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		struct slice name = refs_name(r, &r->entries[mid]);

		if (name.n >= prefix.n && (!prefix.n || memcmp(name.p, prefix.p, prefix.n) == 0))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct refs_entry *refs_entry_find(const struct refs *r, struct slice name)
{
	size_t i = refs_lower_bound(r, name);

	return i < r->count && slice_eq(refs_name(r, &r->entries[i]), name) ? &r->entries[i] : NULL;
}

/* The servable value of a symbolic ref's target, as the entry's own. */
static bool show_target(const struct refs *r, struct slice target, struct refs_shown *ret)
{
	const struct refs_entry *t = target.n ? refs_entry_find(r, target) : NULL;

	if (!t || !t->servable)
		return false;
	*ret = (struct refs_shown){ .id = refs_id(r, t->servable),
				    .peeled = refs_id(r, t->servable_peeled),
				    .symref = target };
	return true;
}

static bool show_servable(const struct refs *r, const struct refs_entry *e, struct refs_shown *ret)
{
	if (show_target(r, refs_string(r, e->seen_symref), ret))
		return true;
	if (!e->servable_symref && e->servable) {
		*ret = (struct refs_shown){ .id = refs_id(r, e->servable), .peeled = refs_id(r, e->servable_peeled) };
		return true;
	}
	if (show_target(r, refs_string(r, e->servable_symref), ret))
		return true;
	*ret = (struct refs_shown){ .unborn = true, .symref = refs_string(r, e->seen_symref) };
	return e->unborn;
}

bool refs_show(const struct refs *r, const struct refs_entry *e, enum refs_view v, struct refs_shown *ret)
{
	if (v == REFS_SERVABLE)
		return show_servable(r, e, ret);
	*ret = (struct refs_shown){ .unborn = e->unborn,
				    .id = refs_id(r, e->seen),
				    .peeled = refs_id(r, e->seen_peeled),
				    .symref = refs_string(r, e->seen_symref) };
	return e->unborn || e->seen;
}

enum oid_format refs_format(const struct refs *r)
{
	return r->format;
}

int refs_upstream_version(const struct refs *r)
{
	return r->upstream_version;
}

struct slice refs_upstream_caps(const struct refs *r)
{
	return (struct slice){ r->caps, r->caps_n };
}

int64_t refs_contact_wall_ms(const struct refs *r)
{
	return r->contact_wall_ms;
}

size_t refs_count(const struct refs *r)
{
	return r->count;
}

static const struct oid *load_id(const struct refs *r, uint32_t number, struct oid *store)
{
	if (!number)
		return NULL;
	*store = (struct oid){ { 0 } };
	memcpy(store->bytes, refs_id(r, number), r->id_bytes);
	return store;
}

void refs_at(const struct refs *r, size_t i, struct refs_info *ret)
{
	const struct refs_entry *e;

	ENSURE(i < r->count);
	e = &r->entries[i];
	ret->name = refs_name(r, e);
	ret->seen_unborn = e->unborn;
	ret->seen = load_id(r, e->seen, &ret->store[0]);
	ret->seen_peeled = load_id(r, e->seen_peeled, &ret->store[1]);
	ret->servable = load_id(r, e->servable, &ret->store[2]);
	ret->servable_peeled = load_id(r, e->servable_peeled, &ret->store[3]);
	ret->seen_symref = refs_string(r, e->seen_symref);
	ret->servable_symref = refs_string(r, e->servable_symref);
}

bool refs_find(const struct refs *r, struct slice name, struct refs_info *ret)
{
	const struct refs_entry *e = refs_entry_find(r, name);

	if (!e)
		return false;
	refs_at(r, (size_t)(e - r->entries), ret);
	return true;
}

size_t refs_listed_count(const struct refs *r, enum refs_view v)
{
	return r->listed[v][r->count];
}

size_t refs_behind_count(const struct refs *r, struct slices prefixes)
{
	const struct slice everything = { 0 };
	struct slices least;
	size_t i, p, behind = 0;

	lsrefs_minimal(prefixes, &least);
	for (p = 0; p < (least.count ? least.count : 1); p++) {
		struct slice prefix = least.count ? least.items[p] : everything;
		size_t start = refs_lower_bound(r, prefix), end = refs_prefix_end(r, start, prefix);

		for (i = start; i < end; i++) {
			const struct refs_entry *e = &r->entries[i];

			behind += !e->seen_symref && !e->unborn && e->seen != e->servable;
		}
	}
	free((void *)least.items);
	return behind;
}

unsigned refs_has_oid(const struct refs *r, const struct oid *id)
{
	uint32_t number = r->table[table_slot(r, id->bytes)];

	return number ? r->has[number - 1] : 0;
}

static bool same_id(const struct refs *a, uint32_t in_a, const struct refs *b, uint32_t in_b)
{
	if (!in_a || !in_b)
		return in_a == in_b;
	return memcmp(refs_id(a, in_a), refs_id(b, in_b), a->id_bytes) == 0;
}

static bool same_seen(const struct refs *a, const struct refs_entry *x, const struct refs *b,
		      const struct refs_entry *y)
{
	return slice_eq(refs_name(a, x), refs_name(b, y)) && x->unborn == y->unborn &&
	       same_id(a, x->seen, b, y->seen) && same_id(a, x->seen_peeled, b, y->seen_peeled) &&
	       slice_eq(refs_string(a, x->seen_symref), refs_string(b, y->seen_symref));
}

bool refs_seen_differs(const struct refs *a, const struct refs *b)
{
	size_t i;

	if (a->count != b->count || (a->count && a->format != b->format))
		return true;
	for (i = 0; i < a->count; i++)
		if (!same_seen(a, &a->entries[i], b, &b->entries[i]))
			return true;
	return false;
}

bool refs_differs(const struct refs *a, const struct refs *b)
{
	size_t i;

	if (refs_seen_differs(a, b) || a->format != b->format || a->upstream_version != b->upstream_version ||
	    !slice_eq(refs_upstream_caps(a), refs_upstream_caps(b)) || a->covered_count != b->covered_count ||
	    !a->whole_since_wall_ms != !b->whole_since_wall_ms)
		return true;
	for (i = 0; i < a->covered_count; i++)
		if (!slice_eq((struct slice){ a->covered[i].prefix, a->covered[i].n },
			      (struct slice){ b->covered[i].prefix, b->covered[i].n }))
			return true;
	for (i = 0; i < a->count; i++) {
		const struct refs_entry *x = &a->entries[i], *y = &b->entries[i];

		if (!same_id(a, x->servable, b, y->servable) ||
		    !same_id(a, x->servable_peeled, b, y->servable_peeled) ||
		    !slice_eq(refs_string(a, x->servable_symref), refs_string(b, y->servable_symref)))
			return true;
	}
	return false;
}
