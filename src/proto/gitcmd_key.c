/* gitcmd_key.c -- normal forms of what clients ask, and what may be shared between them.
 *
 * WHAT     A text that is equal for requests whose answers are interchangeable; whether an answer may be stored or
 *          joined at all; whether a pack is whole.
 * WHY      git repeats wants, sends haves in the order of its own walk, and signs each request with a session id. Two
 *          clients that ask for the same must meet.
 * RULES    1. What changes the bytes is in the key: version, object format, every flag, filter, depth, shallows,
 *             packfile-uris.
 *          2. What names a ref (deepen-not, want-ref, a filter's sparse:oid=<ref>) makes an answer that is right only
 *             now. A filter is taken as harmless only when its form is known.
 * SEE      docs/DESIGN.md, "Git, in depth", fetch; git-rev-list(1), --filter */
#include "proto/gitcmd.h"

#include "base/err.h"
#include "base/str.h"
#include "proto/url.h"

/* git gives up at a depth far above this; each level is one decoding. */
#define FILTER_MAX_DEPTH 8

static const char *format_text(const struct gitcmd *c)
{
	return oid_format_text(c->format == OID_UNKNOWN ? OID_SHA1 : c->format);
}

static void add_texts(struct buf *key, const char *label, const struct slice *items, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		buf_add_str(key, label);
		buf_add_char(key, ' ');
		buf_add_slice(key, items[i]);    /* a line of a packet: has no LF */
		buf_add_char(key, '\n');
	}
}

void gitcmd_canonical_lsrefs(const struct gitcmd *c, struct buf *key)
{
	struct slices least;

	buf_addf(key, "ls-refs %s%s%s%s\n", format_text(c), c->ls.peel ? " peel" : "", c->ls.symrefs ? " symrefs" : "",
		 c->ls.symrefs && c->ls.unborn ? " unborn" : "");    /* without symrefs, git ignores unborn */
	lsrefs_minimal((struct slices){ c->prefixes.items, c->prefixes.count }, &least);
	add_texts(key, "ref-prefix", least.items, least.count);
	free((void *)least.items);
	add_texts(key, "unknown", c->unknown.items, c->unknown.count);
}

static void add_oids(struct buf *key, const struct gitcmd *c, const char *label, const struct oid_list *ids)
{
	enum oid_format f = c->format == OID_UNKNOWN ? OID_SHA1 : c->format;
	struct oid_list sorted = { 0 };
	size_t i;

	if (!ids->count)
		return;
	sorted.items = xcalloc(ids->count, sizeof(*sorted.items));
	memcpy(sorted.items, ids->items, ids->count * sizeof(*sorted.items));
	sorted.count = ids->count;
	oid_list_sort_unique(&sorted);
	for (i = 0; i < sorted.count; i++) {
		buf_add_str(key, label);
		oid_add_hex(key, f, &sorted.items[i]);
		buf_add_char(key, '\n');
	}
	oid_list_fini(&sorted);
}

void gitcmd_fetch_key(const struct gitcmd *c, struct buf *key)
{
	buf_addf(key, "fetch %d %s %x", c->version, format_text(c), c->flags);
	if (c->deepen)
		buf_addf(key, " deepen=%llu", (unsigned long long)c->deepen);
	if (c->flags & GITCMD_DEEPEN_SINCE)
		buf_addf(key, " since=%llu", (unsigned long long)c->deepen_since);
	buf_add_char(key, '\n');
	add_texts(key, "filter", &c->filter, c->filter.n != 0);
	add_texts(key, "packfile-uris", &c->packfile_uris, c->packfile_uris.n != 0);
	add_texts(key, "want-ref", c->want_refs.items, c->want_refs.count);
	add_texts(key, "deepen-not", c->deepen_nots.items, c->deepen_nots.count);
	add_texts(key, "unknown", c->unknown.items, c->unknown.count);
	add_oids(key, c, "want ", &c->wants);
	add_oids(key, c, "shallow ", &c->shallows);
	add_oids(key, c, "have ", &c->haves);
}

static bool filter_names_refs(struct slice spec, enum oid_format f, int depth);

/* combine:A+B, each with its reserved characters escaped. */
static bool combined_names_refs(struct slice parts, enum oid_format f, int depth)
{
	struct slice part;
	bool more, names = false;

	do {
		struct buf plain = BUF_EMPTY;

		more = slice_cut(&parts, '+', &part);
		names = url_decode(part, &plain) < 0 || filter_names_refs(buf_slice(&plain), f, depth + 1);
		buf_fini(&plain);
	} while (more && !names);
	return names;
}

static bool filter_names_refs(struct slice spec, enum oid_format f, int depth)
{
	struct oid id;

	if (slice_eq_str(spec, "blob:none") || slice_starts(spec, "blob:limit=") || slice_starts(spec, "tree:") ||
	    slice_starts(spec, "object:type="))
		return false;
	if (slice_starts(spec, "sparse:oid="))
		return oid_parse(slice_from(spec, strlen("sparse:oid=")), &f, &id) < 0;
	if (slice_starts(spec, "combine:") && depth < FILTER_MAX_DEPTH)
		return combined_names_refs(slice_from(spec, strlen("combine:")), f, depth);
	return true;
}

bool gitcmd_fetch_names_refs(const struct gitcmd *c)
{
	if (c->deepen_nots.count || c->want_refs.count || c->unknown.count)
		return true;
	return c->filter.n && filter_names_refs(c->filter, c->format == OID_UNKNOWN ? OID_SHA1 : c->format, 0);
}

bool gitcmd_fetch_is_plain(const struct gitcmd *c)
{
	return !c->filter.n && !c->deepen && !c->deepen_nots.count && !c->shallows.count &&
	       !(c->flags & (GITCMD_DEEPEN_SINCE | GITCMD_DEEPEN_RELATIVE));
}
