/* refs_answer.c -- a refs snapshot as git clients want to hear it.
 *
 * WHAT     ls-refs (v2), the ref advertisement (v0, v1), and the files packed-refs and HEAD of the local repository.
 * WHY      What is said here must be what git upload-pack would say, byte by byte: refs_test.c compares the two.
 * RULES    1. Order: HEAD, then by name. Each ref once, however the prefixes overlap.
 *          2. An unborn HEAD is said only to who asked for unborn and symrefs, and never in v0 or v1.
 *          3. REFS_SERVABLE shows nothing whose objects are not here (invariant 5).
 * SEE      gitprotocol-v2(5), "ls-refs"; gitprotocol-pack(5), "Reference Discovery"; git-pack-refs(1) */
#include "git/refs.h"

#include "base/err.h"
#include "base/obj.h"
#include "git/refs_priv.h"
#include "proto/advert.h"

/* Calls visit(arg, start, end) for each run of entries under the prefixes, in order. */
static void each_run(const struct refs *r, struct slices prefixes, void (*visit)(void *arg, size_t start, size_t end),
		     void *arg)
{
	struct slices least;
	size_t p, start;

	lsrefs_minimal(prefixes, &least);
	if (!least.count)
		visit(arg, 0, r->count);
	for (p = 0; p < least.count; p++) {
		start = refs_lower_bound(r, least.items[p]);
		visit(arg, start, refs_prefix_end(r, start, least.items[p]));
	}
	free((void *)least.items);
}

struct answer {
	const struct refs *r;
	const struct lsrefs_args *args;
	enum refs_view view;
	struct buf *out;
	struct slice caps;
	size_t count;
};

/* Fills in what a line needs; false when the entry is not listed. */
static bool line_of(const struct answer *a, const struct refs_entry *e, struct lsref *ret)
{
	struct refs_shown shown;

	if (!refs_show(a->r, e, a->view, &shown))
		return false;
	*ret = (struct lsref){ .name = refs_name(a->r, e), .unborn = shown.unborn, .symref = shown.symref };
	if (shown.id)
		memcpy(ret->oid.bytes, shown.id, a->r->id_bytes);
	if (shown.peeled) {
		memcpy(ret->peeled.bytes, shown.peeled, a->r->id_bytes);
		ret->has_peeled = true;
	}
	return true;
}

static void add_v2_lines(void *arg, size_t start, size_t end)
{
	struct answer *a = arg;
	struct lsref line;

	for (; start < end; start++) {
		if (!line_of(a, &a->r->entries[start], &line))
			continue;
		if (!line.unborn || (a->args->unborn && a->args->symrefs))
			lsrefs_add_ref(a->out, a->r->format, &line, a->args);
	}
}

void refs_answer_v2(const struct refs *r, const struct lsrefs_args *args, enum refs_view v, struct buf *out)
{
	struct answer a = { .r = r, .args = args, .view = v, .out = out };

	each_run(r, args->prefixes, add_v2_lines, &a);
	pkt_add_flush(out);
}

static void count_lines(void *arg, size_t start, size_t end)
{
	struct answer *a = arg;

	a->count += a->r->listed[a->view][end] - a->r->listed[a->view][start];
}

size_t refs_match_count(const struct refs *r, struct slices prefixes, enum refs_view v)
{
	struct answer a = { .r = r, .view = v };

	each_run(r, prefixes, count_lines, &a);
	return a.count;
}

static void add_v0_lines(void *arg, size_t start, size_t end)
{
	struct answer *a = arg;
	struct lsref line;

	for (; start < end; start++) {
		if (!line_of(a, &a->r->entries[start], &line) || line.unborn)
			continue;
		advert_add_v0_ref(a->out, a->r->format, &line, a->caps);
		a->caps = (struct slice){ 0 };
		a->count++;
	}
}

void refs_advertise_v0(const struct refs *r, int version, struct slice caps, enum refs_view v, struct buf *out)
{
	const struct refs_entry *head = refs_entry_find(r, SLICE_LIT("HEAD"));
	struct answer a = { .r = r, .view = v, .out = out };
	struct refs_shown shown;
	struct buf words = BUF_EMPTY;

	buf_add_slice(&words, caps);
	if (head && refs_show(r, head, v, &shown) && !shown.unborn && shown.symref.n) {
		buf_add_str(&words, words.len ? " symref=HEAD:" : "symref=HEAD:");
		buf_add_slice(&words, shown.symref);
	}
	a.caps = buf_slice(&words);
	advert_add_v0_version(out, version);
	add_v0_lines(&a, 0, r->count);
	if (!a.count)
		advert_add_v0_empty(out, r->format == OID_UNKNOWN ? OID_SHA1 : r->format, a.caps);
	pkt_add_flush(out);
	buf_fini(&words);
}

static void add_hex(struct buf *out, const struct refs *r, const unsigned char *id)
{
	struct oid oid = { { 0 } };

	memcpy(oid.bytes, id, r->id_bytes);
	oid_add_hex(out, r->format, &oid);
}

void refs_packed_refs(const struct refs *r, struct buf *out)
{
	size_t i;

	buf_add_str(out, "# pack-refs with: peeled fully-peeled sorted \n");    /* git's own line ends in a blank */
	for (i = 0; i < r->count; i++) {
		const struct refs_entry *e = &r->entries[i];

		if (!e->servable || e->seen_symref || e->servable_symref || !slice_starts(refs_name(r, e), "refs/"))
			continue;
		add_hex(out, r, refs_id(r, e->servable));
		buf_add_char(out, ' ');
		buf_add_slice(out, refs_name(r, e));
		buf_add_char(out, '\n');
		if (!e->servable_peeled)
			continue;
		buf_add_char(out, '^');
		add_hex(out, r, refs_id(r, e->servable_peeled));
		buf_add_char(out, '\n');
	}
}

int refs_head_file(const struct refs *r, struct buf *out)
{
	const struct refs_entry *head = refs_entry_find(r, SLICE_LIT("HEAD"));
	struct refs_shown shown;

	if (!head)
		return -ENOENT;
	if (refs_show(r, head, REFS_SERVABLE, &shown) && !shown.unborn && !shown.symref.n) {
		add_hex(out, r, shown.id);
		buf_add_char(out, '\n');
		return buf_error(out);
	}
	if (!shown.symref.n)
		shown.symref = refs_string(r, head->seen_symref);
	if (!shown.symref.n)
		shown.symref = refs_string(r, head->servable_symref);
	if (!shown.symref.n)
		return -ENOENT;    /* detached at a commit that is not here */
	buf_add_str(out, "ref: ");
	buf_add_slice(out, shown.symref);
	buf_add_char(out, '\n');
	return buf_error(out);
}
