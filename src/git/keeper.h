/* keeper.h -- what the git service does by itself as time passes: it keeps the `warm` repositories filled and remembers
 * when repositories were used. One thread. */
#ifndef WEIR_GIT_KEEPER_H
#define WEIR_GIT_KEEPER_H

#include "git/access.h"

struct keeper *keeper_start(struct git_service *g);
/* Runs sync_if_due() for the repository KEEPER_SYNC_DELAY_MS from now; once, however often it is asked for meanwhile.
 * cred is copied. Any thread. */
#define KEEPER_SYNC_DELAY_MS 1000
void keeper_sync_later(struct keeper *k, struct repo *r, const struct credential *cred, const char *sent_path);
/* An upstream is back, or settings changed: look now. Any thread; never blocks long. */
void keeper_wake(struct keeper *k);
void keeper_stop(struct keeper *k); /* joins; NULL is fine */

/* Fills one repository in the background, with the upstream's own credential or none. name: as people write it. 0;
 * -EINVAL: no such name or host, with a sentence in err; -EAGAIN, -ESHUTDOWN: not now. The repository then counts as
 * syncing until it is done. */
int warm_start(struct git_service *g, struct slice name, struct buf *err);

#endif
