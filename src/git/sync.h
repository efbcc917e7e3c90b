/* sync.h -- bringing a repository's objects here: one sync at a time for each repository, shared by all who need it. */
#ifndef WEIR_GIT_SYNC_H
#define WEIR_GIT_SYNC_H

#include "git/access.h"
#include "git/ask.h"

/* After a listing: starts a sync in the background when the policy is full and something of sync_refs is not here yet. */
void sync_consider(struct repo *r, const struct credential *cred, const char *sent_path);
/* Starts one in the background whatever is here: warm, webhook, after a quarantine. Upstream is asked for its refs first. */
void sync_start(struct repo *r, const struct credential *cred, const char *sent_path);
/* Parks ex until a sync that was asked for the ids in `wants` has ended, then runs fn(ex, 0, const struct ask_result *) on a worker.
 * The caller looks again whether all is here now. cred is copied. The caller owns ex. */
void sync_wait(struct repo *r, const struct credential *cred, const char *sent_path, const struct oid_list *wants,
	       struct exchange *ex, flight_resume_fn *fn);
/* One sync now, on the calling worker, in the repository's sync lane only (warm uses it). */
void sync_run(struct repo *r, const struct credential *cred, const char *sent_path, bool list_first, bool background,
	      struct cancel *cancel, struct ask_result *ret);

#endif
