/* scrub.h -- whether the packs on disk are still what was taken in.
 *
 * git sends packed bytes on without looking at them, since whoever gets them checks. So a bit that flips on disk would
 * fail clients one after the other. Each repository's packs are read once after a start and once a day, one repository
 * at a time; what is not right is suspected (maint.h), verified by git, moved aside and fetched anew. */
#ifndef WEIR_GIT_SCRUB_H
#define WEIR_GIT_SCRUB_H

#include "git/git_priv.h"

#define SCRUB_FIRST_MS 20000 /* after the start: clients come first */
#define SCRUB_EVERY_MS (24 * 3600 * 1000)

/* Compares every pack and its index below git_dir with the hash at its end. 0; WEIR_E_DAMAGED with the file's name in
 * why; WEIR_E_CANCELLED; -errno. A file that goes meanwhile (a repack) is passed over. Blocks: workers only. */
int scrub_packs(const char *git_dir, enum oid_format f, struct cancel *cancel, struct buf *why);
/* Starts a scrub of the repository for which it is due the longest, unless one is under way. */
void scrub_one(struct git_service *g);

#endif
