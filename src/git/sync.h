/* sync.h -- bringing a repository's objects here: one sync at a time for each repository, shared by all who need it. */
#ifndef WEIR_GIT_SYNC_H
#define WEIR_GIT_SYNC_H

#include "git/access.h"
#include "git/ask.h"

struct take_in;

/* After a listing: a sync follows in the background a second later when the policy is full and something of sync_refs
 * is not here yet. */
void sync_consider(struct repo *r, const struct credential *cred, const char *sent_path);
/* Its second half, when the time has come (keeper.c): unless one is under way. */
void sync_if_due(struct repo *r, const struct credential *cred, const char *sent_path);
/* Starts one in the background whatever is here: warm, webhook, after a quarantine. Upstream is asked for its refs
 * first. */
void sync_start(struct repo *r, const struct credential *cred, const char *sent_path);
/* Parks ex until a sync that was asked for the ids in `wants` has ended, then runs fn(ex, 0, const struct ask_result *)
 * on a worker. The caller looks again whether all is here now. cred is copied. The caller owns ex. */
void sync_wait(struct repo *r, const struct credential *cred, const char *sent_path, const struct oid_list *wants,
	       struct exchange *ex, flight_resume_fn *fn);
/* The streaming way: a fetch that goes to upstream as it is, its pack being taken in afterwards, counts as the
 * repository's sync, so that nobody fetches the same beside it. Returns the flight to land, or NULL: a sync is under
 * way already. */
struct flight *sync_try_lead(struct repo *r);
/* Lands the flight of sync_try_lead() without a pack: who waits looks again, or hears of the failure. Takes the
 * flight. */
void sync_give_up(struct repo *r, struct flight *flight, const struct ask_result *why);
/* Takes in the pack of an answer that passed through, in the background, then what else sync_refs covers, then lands
 * the flight. Both are taken. */
void sync_take_in(struct repo *r, const struct credential *cred, const char *sent_path, struct flight *flight,
		  struct take_in *passed);
/* Whether a sync, or a pack being taken in, is under way. */
bool sync_is_under_way(struct repo *r);
/* Parks ex until it has ended; as sync_wait() without wanting anything. */
void sync_wait_for_end(struct repo *r, const struct credential *cred, const char *sent_path, struct exchange *ex,
		       flight_resume_fn *fn);
/* One sync now, on the calling worker, in the repository's sync lane only (warm uses it). */
void sync_run(struct repo *r, const struct credential *cred, const char *sent_path, bool list_first, bool background,
	      struct cancel *cancel, struct ask_result *ret);

#endif
