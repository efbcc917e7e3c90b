/* credential.c -- what a client's own credential may read here: what upstream has said to it (invariants 4 and 6). */
#include "mirror/mirror_priv.h"

static void key_of(struct mirror *m, struct slice target, struct slice credential, struct grant_key *ret)
{
	grants_key(m->grants, slice_str(m->name), target, credential, ret);
}

bool credential_may_read_offline(struct mirror *m, struct slice target, struct slice credential)
{
	struct grant_key k;

	key_of(m, target, credential, &k);
	return grants_has(m->grants, &k, mirror_config(m)->offline_grant);
}

void credential_note(struct mirror *m, struct slice target, struct slice credential, int status)
{
	struct grant_key k;

	if (!credential.n)
		return;
	key_of(m, target, credential, &k);
	if ((status >= 200 && status < 300) || status == 304)
		grants_note(m->grants, &k);
	else if (status == 401 || status == 403 || status == 404 || status == 410)
		grants_revoke(m->grants, &k);
}
