/* refs_merge.c -- changes to a refs snapshot: listings that come in, values that become servable.
 *
 * WHAT     refs_listing gathers an upstream's answer; refs_merge() and refs_set_servable() make the next snapshot; the
 *          record of which prefixes were ever covered is kept here too.
 * WHY      Clients ask for parts (a clone: HEAD, refs/heads/, refs/tags/), so an answer says nothing about refs outside
 *          its prefixes. It deletes only what it would have listed.
 * RULES    1. Nothing outside the prefixes is lost, except what a listed name makes impossible: git cannot have foo and
 *             foo/bar, and a later fetch into the local repository would fail for ever.
 *          2. HEAD and its target agree: when one of them comes in alone, the other follows.
 *          3. A servable value goes only with its ref; a sync replaces it.
 * SEE      docs/DESIGN.md, "Git, in depth"; PITFALLS "Goblet" (no prune, foo against foo/bar) */
#include "git/refs.h"

#include "base/err.h"
#include "base/obj.h"
#include "git/refs_priv.h"

#define LISTING_MAGIC 0x4c495354u

struct listed {
	size_t name, symref; /* offsets in text */
	size_t name_n, symref_n;
	bool unborn, has_peeled;
	struct oid oid, peeled;
};

struct refs_listing {
	unsigned magic;
	enum oid_format format;
	struct listed *items;
	size_t count, room;
	struct buf text;
};

struct refs_listing *refs_listing_new(enum oid_format f)
{
	struct refs_listing *l = xcalloc(1, sizeof(*l));

	l->magic = LISTING_MAGIC;
	l->format = f;
	buf_init(&l->text, REFS_TEXT_LIMIT);
	return l;
}

void refs_listing_free(struct refs_listing *l)
{
	if (!l)
		return;
	OBJ_CHECK(l, LISTING_MAGIC);
	buf_fini(&l->text);
	free(l->items);
	l->magic = 0;
	free(l);
}

int refs_listing_add(void *arg, const struct lsref *ref)
{
	struct refs_listing *l = arg;
	struct listed *item;

	OBJ_CHECK(l, LISTING_MAGIC);
	if (l->count >= REFS_MAX_COUNT || ref->name.n > LSREFS_MAX_NAME || ref->symref.n > LSREFS_MAX_NAME)
		return WEIR_E_TOO_LARGE;
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		l->items = xrealloc(l->items, l->room * sizeof(*l->items));
	}
	item = &l->items[l->count];
	*item = (struct listed){ .unborn = ref->unborn, .has_peeled = ref->has_peeled && !ref->unborn };
	if (!ref->unborn)
		item->oid = ref->oid;
	if (item->has_peeled)
		item->peeled = ref->peeled;
	item->name = l->text.len;
	item->name_n = ref->name.n;
	buf_add_slice(&l->text, ref->name);
	item->symref = l->text.len;
	item->symref_n = ref->symref.n;
	buf_add_slice(&l->text, ref->symref);
	if (buf_error(&l->text))
		return WEIR_E_TOO_LARGE;
	l->count++;
	return 0;
}

void refs_listing_set_format(struct refs_listing *l, enum oid_format f)
{
	OBJ_CHECK(l, LISTING_MAGIC);
	l->format = f;
}

size_t refs_listing_count(const struct refs_listing *l)
{
	return l->count;
}

static int cmp_drafts(const void *a, const void *b)
{
	return slice_cmp(((const struct refs_draft *)a)->name, ((const struct refs_draft *)b)->name);
}

struct ordered {
	struct refs_draft draft;
	size_t seq; /* qsort is not stable */
};

static int cmp_ordered(const void *a, const void *b)
{
	const struct ordered *x = a, *y = b;
	int r = slice_cmp(x->draft.name, y->draft.name);

	return r ? r : (x->seq > y->seq) - (x->seq < y->seq);
}

/* Sorts drafts and keeps of equal names the one that was given last; how many are left. */
static size_t sort_drafts(struct refs_draft *drafts, size_t count)
{
	struct ordered *all;
	size_t i, kept = 0;

	for (i = 1; i < count && cmp_drafts(&drafts[i - 1], &drafts[i]) < 0; i++)
		;
	if (i >= count)
		return count;    /* upstreams mostly list in order */
	all = xcalloc(count, sizeof(*all));
	for (i = 0; i < count; i++)
		all[i] = (struct ordered){ drafts[i], i };
	qsort(all, count, sizeof(*all), cmp_ordered);
	for (i = 0; i < count; i++) {
		if (kept && slice_eq(drafts[kept - 1].name, all[i].draft.name))
			kept--;
		drafts[kept++] = all[i].draft;
	}
	free(all);
	return kept;
}

/* The listing as drafts, sorted. *ret_count is how many; the caller frees. */
static struct refs_draft *drafts_of_listing(const struct refs_listing *l, size_t *ret_count)
{
	struct refs_draft *drafts = xcalloc(l->count, sizeof(*drafts));
	size_t i;

	for (i = 0; i < l->count; i++) {
		const struct listed *item = &l->items[i];

		drafts[i] = (struct refs_draft){
			.name = { l->text.data + item->name, item->name_n },
			.unborn = item->unborn,
			.listed = true,
			.seen = item->unborn ? NULL : item->oid.bytes,
			.seen_peeled = item->has_peeled ? item->peeled.bytes : NULL,
			.seen_symref = { l->text.data + item->symref, item->symref_n },
		};
	}
	*ret_count = sort_drafts(drafts, l->count);
	return drafts;
}

static struct refs_draft *find_draft(struct refs_draft *drafts, size_t count, struct slice name)
{
	struct refs_draft key = { .name = name };

	return count ? bsearch(&key, drafts, count, sizeof(*drafts), cmp_drafts) : NULL;
}

/* Whether a listed name makes `name` impossible: one of its parents, or something below it. */
static bool is_in_the_way(struct refs_draft *listed, size_t count, struct slice name)
{
	struct buf below = BUF_EMPTY;
	size_t i, low = 0, high = count;
	bool found;

	for (i = strlen("refs/"); i < name.n; i++)
		if (name.p[i] == '/' && find_draft(listed, count, (struct slice){ name.p, i }))
			return true;
	buf_add_slice(&below, name);
	buf_add_char(&below, '/');
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (slice_cmp(listed[mid].name, buf_slice(&below)) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	found = low < count && slice_starts(listed[low].name, below.data);
	buf_fini(&below);
	return found;
}

/* Whether `name` lies under one of the minimal prefixes (none: everything). Only the last one that is not above the
 * name can be a prefix of it, as none is a prefix of another. */
static bool is_asked(struct slices least, struct slice name)
{
	size_t low = 0, high = least.count;
	struct slices one;

	if (!least.count)
		return true;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (slice_cmp(least.items[mid], name) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return false;
	one = (struct slices){ &least.items[low - 1], 1 };
	return lsrefs_match(one, name);
}

/* Walks both sorted lists; *out has room for all. */
static size_t merge_lists(const struct refs *old, struct refs_draft *listed, size_t count, struct slices least,
			  struct refs_draft *out)
{
	size_t i = 0, k = 0, n = 0, old_count = old ? old->count : 0;
	struct refs_draft was;
	int order;

	while (i < old_count || k < count) {
		if (i < old_count)
			refs_draft_of(old, i, &was);
		order = i >= old_count ? 1 : k >= count ? -1 : slice_cmp(was.name, listed[k].name);
		if (order < 0) {
			i++;
			if (!is_asked(least, was.name) && !is_in_the_way(listed, count, was.name))
				out[n++] = was;
			continue;
		}
		out[n] = listed[k++];
		if (order == 0) {
			i++;
			out[n].servable = was.servable;
			out[n].servable_peeled = was.servable_peeled;
			out[n].servable_symref = was.servable_symref;
		}
		n++;
	}
	return n;
}

/* Rule 2: of a symbolic ref and its target, what came in now decides for what did not. */
static size_t settle_symrefs(struct refs_draft *drafts, size_t count, struct slices least)
{
	size_t i, kept = 0;

	for (i = 0; i < count; i++) {
		struct refs_draft *d = &drafts[i], *t;

		if (!d->seen_symref.n)
			continue;
		t = find_draft(drafts, count, d->seen_symref);
		if (t == d || (d->listed && t && t->listed))
			continue;
		if (d->listed && t) {
			t->seen = d->seen;    /* NULL when d is unborn: dropped below, unless t is symbolic itself */
			t->seen_peeled = d->seen_peeled;
			t->unborn = !t->seen && t->seen_symref.n;
		} else if (!d->listed && t && t->listed && t->seen) {
			d->unborn = false;
			d->seen = t->seen;
			d->seen_peeled = t->seen_peeled;
		} else if (!d->listed && !t && is_asked(least, d->seen_symref)) {
			d->unborn = true;    /* the target was asked for and is not there */
			d->seen = d->seen_peeled = NULL;
		}
	}
	for (i = 0; i < count; i++)
		if (drafts[i].seen || drafts[i].unborn)
			drafts[kept++] = drafts[i];
	return kept;
}

struct refs *refs_merge(const struct refs *old, const struct refs_listing *listing, struct slices prefixes,
			int64_t wall_ms)
{
	const struct refs *base = old;
	struct refs_draft *listed, *drafts;
	struct slices least;
	struct refs *made;
	enum oid_format f = listing->format;
	size_t listed_count, count;

	OBJ_CHECK(listing, LISTING_MAGIC);
	if (f == OID_UNKNOWN && old)
		f = old->format;
	if (base && base->format != f)
		base = NULL;
	lsrefs_minimal(prefixes, &least);
	listed = drafts_of_listing(listing, &listed_count);
	drafts = xcalloc(listed_count + (base ? base->count : 0), sizeof(*drafts));
	count = merge_lists(base, listed, listed_count, least, drafts);
	count = settle_symrefs(drafts, count, least);
	made = refs_freeze(f, drafts, count);
	if (base)
		refs_copy_rest(made, base);
	else if (old)
		refs_set_caps(made, old->upstream_version, refs_upstream_caps(old));
	refs_note_covered(made, least, wall_ms);
	made->contact_wall_ms = wall_ms;
	free(drafts);
	free(listed);
	free((void *)least.items);
	return made;
}

struct refs *refs_set_servable(const struct refs *old, const struct lsref *items, size_t count, bool complete)
{
	struct refs_draft *drafts = xcalloc(old->count, sizeof(*drafts)), *d;
	struct refs *made;
	size_t i;

	for (i = 0; i < old->count; i++) {
		refs_draft_of(old, i, &drafts[i]);
		if (complete) {
			drafts[i].servable = drafts[i].servable_peeled = NULL;
			drafts[i].servable_symref = (struct slice){ 0 };
		}
	}
	for (i = 0; i < count; i++) {
		d = find_draft(drafts, old->count, items[i].name);
		if (!d)
			continue;
		d->servable = items[i].unborn ? NULL : items[i].oid.bytes;
		d->servable_peeled = !items[i].unborn && items[i].has_peeled ? items[i].peeled.bytes : NULL;
		d->servable_symref = items[i].symref;
	}
	made = refs_freeze(old->format, drafts, old->count);
	refs_copy_rest(made, old);
	free(drafts);
	return made;
}

struct refs *refs_set_upstream(const struct refs *old, int version, struct slice caps)
{
	struct refs_draft *drafts = xcalloc(old->count, sizeof(*drafts));
	struct refs *made;
	size_t i;

	for (i = 0; i < old->count; i++)
		refs_draft_of(old, i, &drafts[i]);
	made = refs_freeze(old->format, drafts, old->count);
	refs_copy_rest(made, old);
	refs_set_caps(made, version, caps);
	free(drafts);
	return made;
}

void refs_set_caps(struct refs *r, int version, struct slice caps)
{
	if (caps.n > REFS_MAX_TEXT)
		caps.n = 0;    /* absurd; without it the repository is served all the same */
	free(r->caps);
	r->caps = slice_dup(caps);
	r->caps_n = caps.n;
	r->upstream_version = version;
}

void refs_copy_rest(struct refs *to, const struct refs *old)
{
	size_t i;

	refs_set_caps(to, old->upstream_version, refs_upstream_caps(old));
	to->whole_since_wall_ms = old->whole_since_wall_ms;
	to->contact_wall_ms = old->contact_wall_ms;
	to->covered = xcalloc(old->covered_count, sizeof(*to->covered));
	to->covered_count = old->covered_count;
	for (i = 0; i < old->covered_count; i++) {
		to->covered[i] = old->covered[i];
		to->covered[i].prefix = slice_dup((struct slice){ old->covered[i].prefix, old->covered[i].n });
	}
}

static void drop_covered(struct refs *r, size_t i)
{
	free(r->covered[i].prefix);
	r->covered[i] = r->covered[--r->covered_count];
}

/* Rare and small: at most REFS_MAX_COVERED of them. */
static void cover_prefix(struct refs *r, struct slice prefix, int64_t wall_ms)
{
	size_t i, oldest = 0;

	for (i = 0; i < r->covered_count;) {
		struct slice known = { r->covered[i].prefix, r->covered[i].n };

		if (lsrefs_match((struct slices){ &prefix, 1 }, known))
			drop_covered(r, i);    /* within the new one, or equal */
		else
			i++;
	}
	if (r->covered_count >= REFS_MAX_COVERED) {
		for (i = 1; i < r->covered_count; i++)
			if (r->covered[i].since_wall_ms < r->covered[oldest].since_wall_ms)
				oldest = i;
		drop_covered(r, oldest);
	}
	r->covered = xrealloc(r->covered, (r->covered_count + 1) * sizeof(*r->covered));
	r->covered[r->covered_count++] = (struct refs_covered){ slice_dup(prefix), prefix.n, wall_ms ? wall_ms : 1 };
}

static int cmp_covered(const void *a, const void *b)
{
	const struct refs_covered *x = a, *y = b;

	return slice_cmp((struct slice){ x->prefix, x->n }, (struct slice){ y->prefix, y->n });
}

void refs_note_covered(struct refs *r, struct slices least, int64_t wall_ms)
{
	size_t i;

	if (!least.count) {
		while (r->covered_count)
			drop_covered(r, r->covered_count - 1);
		r->whole_since_wall_ms = wall_ms ? wall_ms : 1;
		return;
	}
	/* A question may have 65,535 prefixes; the last are as good as any. */
	for (i = least.count > REFS_MAX_COVERED ? least.count - REFS_MAX_COVERED : 0; i < least.count; i++)
		cover_prefix(r, least.items[i], wall_ms);
	if (r->covered_count)
		qsort(r->covered, r->covered_count, sizeof(*r->covered), cmp_covered);
}

/* Wall time of the newest answer that `prefix` lay within; 0: none. */
static int64_t prefix_since(const struct refs *r, struct slice prefix)
{
	int64_t newest = r->whole_since_wall_ms;
	size_t i;

	for (i = 0; i < r->covered_count; i++) {
		struct slice known = { r->covered[i].prefix, r->covered[i].n };

		if (r->covered[i].since_wall_ms > newest && lsrefs_match((struct slices){ &known, 1 }, prefix))
			newest = r->covered[i].since_wall_ms;
	}
	return newest;
}

int64_t refs_covered_since(const struct refs *r, struct slices prefixes)
{
	int64_t oldest = r->whole_since_wall_ms, since;
	struct slices least;
	size_t i;

	lsrefs_minimal(prefixes, &least);
	for (i = 0; i < least.count; i++) {
		since = prefix_since(r, least.items[i]);
		if (!i || since < oldest)
			oldest = since;
	}
	free((void *)least.items);
	return oldest;
}

bool refs_covers(const struct refs *r, struct slices prefixes)
{
	return r->whole_since_wall_ms || refs_covered_since(r, prefixes) != 0;
}

bool refs_covers_whole(const struct refs *r)
{
	return r->whole_since_wall_ms != 0;
}
