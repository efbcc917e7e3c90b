/* grants.h -- who upstream has accepted for what (invariant 6).
 *
 * A grant is a keyed hash (HMAC-SHA-256, key in a 0600 file of the data directory) over service, upstream, resource
 * and credential, with the wall time of upstream's last yes. Nothing of the credential is kept. In memory, bounded
 * (1,000,000; the oldest go first), and in a SQLite table so that offline grants outlive a restart. Any thread;
 * lookups do not block. */
#ifndef WEIR_CORE_GRANTS_H
#define WEIR_CORE_GRANTS_H

#include "base/buf.h"
#include "store/db.h"

struct grants;

struct grant_key {
	unsigned char bytes[32];
};

/* Opens <dir>/grants.key (made when missing) and <dir>/grants.db. 0; or a code with a sentence in err. Grants older
 * than keep_ms are dropped. What is damaged is set aside, with a warning: then there are no grants. Blocks. */
int grants_open(const char *dir, int64_t keep_ms, struct grants **ret, struct buf *err);
void grants_close(struct grants *g);
/* upstream: its service and name; resource: the repository or URI; credential: the Authorization value as sent, or
 * empty for none. */
void grants_key(struct grants *g, struct slice upstream, struct slice resource, struct slice credential,
		struct grant_key *ret);
/* Whether upstream said yes at most max_age_ms ago. A grant from the future (clock set back) does not count. */
bool grants_has(struct grants *g, const struct grant_key *k, int64_t max_age_ms);
void grants_note(struct grants *g, const struct grant_key *k);   /* upstream said yes; durable soon after, to 10 s */
void grants_revoke(struct grants *g, const struct grant_key *k); /* upstream said no; durable soon after */

#endif
