/* access.h -- whose credential goes upstream, and who may read what (invariants 6 and 10). */
#ifndef WEIR_GIT_ACCESS_H
#define WEIR_GIT_ACCESS_H

#include "git/git_priv.h"

/* What a request may do, as far as its credential goes. The value is wiped by credential_fini(). */
struct credential {
	struct buf value;          /* Authorization value for upstream; empty: none */
	bool own;                  /* weir's: all clients of this upstream are one */
	struct grant_key key;      /* of this value for this repository */
	struct grant_key public_key; /* of no credential at all */
};

/* client: the Authorization value of the request, or empty. 0; -EACCES: the client must present weir's client token
 * first; -EIO: weir's secret file cannot be read (logged). Reads a file when the upstream has a secret: for auth
 * passthrough and none it does not block. */
int credential_init(struct credential *c, struct upstream *up, const char *repo_key, struct slice client);
/* The same for weir's own background work: no client token is asked for; with auth passthrough it is no credential. */
int credential_init_own(struct credential *c, struct upstream *up, const char *repo_key);
void credential_fini(struct credential *c);
void credential_copy(struct credential *to, const struct credential *from);

/* Whether the cache may answer this credential now: upstream accepted it, or everybody, within the lifetime that
 * holds. */
bool access_is_granted(struct git_service *g, const struct credential *c, bool offline);
void access_note(struct git_service *g, const struct credential *c);   /* upstream said yes */
void access_revoke(struct git_service *g, const struct credential *c); /* upstream said no: ends what it was allowed */

#endif
