/* maint.h -- keeping repositories fit: repacks, bitmaps, verification. */
#ifndef WEIR_GIT_MAINT_H
#define WEIR_GIT_MAINT_H

#include "git/git_priv.h"

void maint_note_pack(struct repo *r); /* a pack was taken in */
/* Starts a repack in the background when enough packs came together. Any thread. */
void maint_consider(struct repo *r);
/* Something failed over this repository: it is verified in the background and moved aside when git calls it damaged.
 * is_likely: nothing but damage can have been the reason; otherwise a verification that found it whole holds for an
 * hour, as it reads everything. Any thread. */
void maint_suspect(struct repo *r, bool is_likely, const char *why);
/* git fsck over the whole repository. 0; WEIR_E_DAMAGED with git's words in why; other codes. Workers only. */
int maint_verify(struct repo *r, struct cancel *cancel, struct buf *why);

/* Fetches it anew in the background after a quarantine, as far as weir may without a client's credential. */
void maint_refetch(struct repo *r);

#endif
