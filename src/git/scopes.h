/* scopes.h -- refs_scope: credential: what all credentials together are shown, and how many views are remembered. */
#ifndef WEIR_GIT_SCOPES_H
#define WEIR_GIT_SCOPES_H

#include "git/git_priv.h"

#define SCOPES_MOST 256 /* views of one repository; the one whose upstream was asked longest ago makes room */

/* What the main scope is to have under `prefixes` after `own` was listed there: own's refs, and those that another
 * scope was shown. The caller frees it. save_lock held. */
struct refs_listing *scopes_union(struct repo *r, const struct scope *own, struct slices prefixes);
/* A credential's own listing knows what upstream showed it; what is here whole is known to the main scope. One
 * reference to both in one. Any thread. */
struct refs *scopes_servable_of(const struct refs *own, const struct refs *main);
/* Drops scopes until one more may come, their files too. save_lock held, lock not; no scope may be in the caller's
 * hands. */
void scopes_make_room(struct repo *r);

#endif
