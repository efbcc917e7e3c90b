/* refs.h -- the refs snapshot of one repository: what upstream last said, and what of it can be served.
 *
 * Immutable and counted: whoever holds a reference reads without a lock; a change makes a new snapshot and the owner
 * swaps its pointer. Each ref has two values (docs/DESIGN.md, "Git, in depth"): *seen*, what upstream last said, and
 * *servable*, the newest whose whole closure is in the local repository. A ref that upstream deleted is in neither.
 *
 * Any thread. Nothing blocks. Making a snapshot costs O(n log n) in the refs; 100,000 refs take about 10 MiB. */
#ifndef WEIR_GIT_REFS_H
#define WEIR_GIT_REFS_H

#include "proto/lsrefs.h"

#define REFS_MAX_COUNT 1000000     /* refs in a listing: WEIR_E_TOO_LARGE */
#define REFS_MAX_COVERED 1024      /* prefixes remembered as covered; the oldest go first */
#define REFS_MAX_TEXT (64 * 1024)  /* bytes of upstream's capability lines */

struct refs;
struct refs_listing;

enum refs_view { REFS_SEEN, REFS_SERVABLE };

/* One ref. Slices and pointers are good as long as the snapshot. */
struct refs_info {
	struct slice name;
	bool seen_unborn;                /* a symbolic ref whose target upstream does not have */
	const struct oid *seen, *seen_peeled;         /* NULL: none */
	const struct oid *servable, *servable_peeled; /* NULL: none */
	struct slice seen_symref, servable_symref;    /* n 0: not symbolic */
	struct oid store[4];             /* what the pointers point at: do not move the struct */
};

/* ---- a listing: what one question to upstream brought, in any order ---- */

struct refs_listing *refs_listing_new(enum oid_format f); /* OID_UNKNOWN: set it before merging */
void refs_listing_free(struct refs_listing *l);           /* NULL is fine */
/* An lsrefs_fn: arg is the listing. Copies. Of two lines with one name the last counts. 0 or WEIR_E_TOO_LARGE. */
int refs_listing_add(void *arg, const struct lsref *ref);
void refs_listing_set_format(struct refs_listing *l, enum oid_format f);
size_t refs_listing_count(const struct refs_listing *l);

/* ---- snapshots ---- */

/* A snapshot with nothing in it, nothing covered, never in contact; one reference. */
struct refs *refs_new(enum oid_format f);
struct refs *refs_ref(const struct refs *r);
void refs_unref(struct refs **r); /* *r may be NULL; *r is NULL afterwards */

/* The snapshot after upstream answered a question for `prefixes` (as asked of upstream) at wall_ms. `listing` must come
 * from a question with peel and symrefs (and unborn, where offered), whatever the client itself asked for, and is only
 * read.
 *  - a listed ref gets its seen value; its servable value stays;
 *  - a ref that is not listed but within the prefixes is gone, servable value and all;
 *  - a new name pushes out old ones that are in its way (foo against foo/bar);
 *  - a symbolic ref and its target agree afterwards, when only one of them was listed;
 *  - the prefixes are covered since wall_ms, and that is the last contact.
 * old may be NULL. Another object format than old's: nothing of old stays. One reference; never NULL. */
struct refs *refs_merge(const struct refs *old, const struct refs_listing *listing, struct slices prefixes,
			int64_t wall_ms);

/* What the local repository holds whole: items as name, oid, peeled, symref. Names that upstream does not list (any
 * more) are passed over. complete: refs that are not named lose their servable value; otherwise they keep it. One
 * reference. */
struct refs *refs_set_servable(const struct refs *old, const struct lsref *items, size_t count, bool complete);
/* The same snapshot with upstream's protocol version and capability lines (struct advert: version, caps). */
struct refs *refs_set_upstream(const struct refs *old, int version, struct slice caps);

enum oid_format refs_format(const struct refs *r);
int refs_upstream_version(const struct refs *r);       /* -1: not known */
struct slice refs_upstream_caps(const struct refs *r); /* valid as long as r */
int64_t refs_contact_wall_ms(const struct refs *r);    /* last answer of upstream that was merged; 0: never */

size_t refs_count(const struct refs *r); /* HEAD and unborn ones included */
void refs_at(const struct refs *r, size_t i, struct refs_info *ret); /* sorted by name, HEAD before refs/ */
bool refs_find(const struct refs *r, struct slice name, struct refs_info *ret); /* false: not listed */
/* Lines that an answer to a whole question has in this view, unborn ones not counted. */
size_t refs_listed_count(const struct refs *r, enum refs_view v);
/* Refs under the prefixes whose servable value is not the seen one: a sync has work to do. Symbolic refs are not
 * counted. */
size_t refs_behind_count(const struct refs *r, struct slices prefixes);
/* Whether seen values (or HEAD's target) differ: upstream moved between the two. */
bool refs_seen_differs(const struct refs *a, const struct refs *b);
/* Whether any value differs, or what is covered or known of upstream (not: contact time): worth writing to disk. */
bool refs_differs(const struct refs *a, const struct refs *b);

enum refs_has { REFS_HAS_SEEN = 1, REFS_HAS_SERVABLE = 2 };
/* In which views the id is the value or the peeled value of a ref: a set of enum refs_has. By hash. */
unsigned refs_has_oid(const struct refs *r, const struct oid *id);

/* ---- what was ever asked ---- */

/* Whether a question for `prefixes` lies within what upstream ever answered: only then may memory answer it offline. */
bool refs_covers(const struct refs *r, struct slices prefixes);
bool refs_covers_whole(const struct refs *r);
/* Wall time since when the question is covered by what was asked: the oldest of the parts; 0: not covered. */
int64_t refs_covered_since(const struct refs *r, struct slices prefixes);

/* ---- answers ---- */

/* The answer to ls-refs: packets and the flush, as git upload-pack would say for a repository with these refs.
 * REFS_SERVABLE lists only refs whose servable value is there, symbolic refs with their target's value; HEAD whose
 * target is not listed is left out (or unborn, when upstream's is). The caller checks refs_covers() before. Cost: what
 * is listed. */
void refs_answer_v2(const struct refs *r, const struct lsrefs_args *args, enum refs_view v, struct buf *out);
/* The refs of a v0 or v1 advertisement ("version 1" line included) up to the flush, as git upload-pack says them. caps:
 * from advert_add_v0_caps(); symref=HEAD:... is added here. */
void refs_advertise_v0(const struct refs *r, int version, struct slice caps, enum refs_view v, struct buf *out);
/* How many lines an answer in this view would have, unborn ones not counted; tells an empty answer from one that hides
 * what is not here. Cost: the prefixes, not the refs. */
size_t refs_match_count(const struct refs *r, struct slices prefixes, enum refs_view v);

/* ---- files ---- */

/* The snapshot's file content (docs/formats/refs-snapshot.md), version REFS_FILE_VERSION, for store/wholefile's checked
 * files. */
#define REFS_FILE_NAME "refs"
#define REFS_FILE_VERSION 1
void refs_save(const struct refs *r, struct buf *out);
int refs_load(struct slice data, struct refs **ret); /* 0, WEIR_E_PARSE, WEIR_E_TOO_LARGE */
/* git's packed-refs with the servable refs (symbolic ones left out). */
void refs_packed_refs(const struct refs *r, struct buf *out);
/* HEAD's file: "ref: refs/heads/main\n", or an id when it is detached and servable. -ENOENT: HEAD is not known. */
int refs_head_file(const struct refs *r, struct buf *out);

#endif
