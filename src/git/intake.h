/* intake.h -- one pack on its way into a repository, through quarantine (invariant 11).
 *
 *	begin: a quarantine folder, `git index-pack --strict` reading a pipe -> write... -> finish: index-pack's verdict,
 *	connectivity of the tips, then the files move into objects/pack, the .idx last, and the folder is synced.
 *
 * Whatever goes wrong before the last step leaves the repository as it was; what a crash leaves lies below
 * <git_dir>/objects/incoming-* and is swept by intake_sweep(). Blocks: workers only. */
#ifndef WEIR_GIT_INTAKE_H
#define WEIR_GIT_INTAKE_H

#include "io/cancel.h"
#include "proto/oid.h"

struct intake;

struct intake_options {
	const char *git_dir;
	enum oid_format format;
	uint64_t most_bytes;   /* a larger pack is refused by index-pack; 0: no limit */
	bool background;       /* one thread, idle priority */
	bool only_look;        /* checked like any other, and then not kept */
	/* Ids, one a line, at which the pack's history is cut (only_look); borrowed while intake_begin() runs. */
	struct slice shallow;
	struct cancel *cancel; /* may be NULL; borrowed until the end */
};

int intake_begin(const struct intake_options *o, struct intake **ret); /* 0 or -errno */
/* Bytes of the pack. 0; WEIR_E_CANCELLED; WEIR_E_CHILD: index-pack has ended already, intake_finish() tells why. */
int intake_write(struct intake *in, const char *p, size_t n);
/* The pack is complete, as far as its sender says. 0: it is in, durable, and every tip is there with all it refers to.
 * WEIR_E_DAMAGED: it was refused; -ENOSPC, -EIO...; WEIR_E_CANCELLED. why (may be NULL) gets git's own words for a
 * person. */
int intake_finish(struct intake *in, const struct oid_list *tips, struct buf *why);
uint64_t intake_bytes(const struct intake *in); /* written so far */
void intake_free(struct intake **in); /* kills what runs, removes the quarantine; *in may be NULL */

/* The [fsck] section of a repository's config with the same verdicts as at the door, so that a verification does not
 * call damaged what was taken in. */
void intake_add_fsck_config(struct buf *out);

/* Removes what crashes left in quarantine. Not while an intake of this repository is under way. */
void intake_sweep(const char *git_dir);

#endif
