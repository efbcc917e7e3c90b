/* access.c -- credentials and grants.
 *
 * RULES    1. A grant belongs to one Authorization value and one repository; a public repository is one with a grant
 *             for no value at all.
 *          2. Upstream's no ends the grant of that value; a no to no credential ends the public one.
 *          3. Values are in memory only while a request or its job lasts, and are wiped. */
#include "git/access.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "core/secret.h"

/* weir's own credential as an Authorization value. Read each time: a rotated token counts at once. */
static int own_value(struct upstream *up, struct buf *out)
{
	struct buf why = BUF_EMPTY;
	char *secret = NULL;
	int r = secret_read(up->secret_file, &secret, &why);

	if (r < 0) {
		log_event(LOG_ERROR, "secret_not_read", LOG_STR("upstream", up->match),
			  LOG_STR("file", up->secret_file), LOG_STR("why", why.data), LOG_END);
		r = -EIO;
	} else if (up->auth == GIT_AUTH_BEARER) {
		buf_addf(out, "Bearer %s", secret);
	} else {
		buf_add_str(out, "Basic ");
		str_base64_encode(slice_str(secret), out);
	}
	secret_free(secret);
	buf_fini(&why);
	return r;
}

static int init(struct credential *c, struct upstream *up, const char *repo_key, struct slice client)
{
	struct git_service *g = up->g;

	if (up->auth == GIT_AUTH_PASSTHROUGH) {
		buf_add_slice(&c->value, client);
	} else if (up->auth != GIT_AUTH_NONE) {
		int r = own_value(up, &c->value);

		c->own = true;
		if (r < 0)
			return r;
	}
	/* weir's own credential is one for all its clients, whatever the token's present value is. */
	grants_key(g->grants, slice_str(up->match), slice_str(repo_key),
		   c->own ? SLICE_LIT("weir's own") : buf_slice(&c->value), &c->key);
	if (c->own || c->value.len)
		grants_key(g->grants, slice_str(up->match), slice_str(repo_key), (struct slice){ NULL, 0 },
			   &c->public_key);
	else
		c->public_key = c->key;
	return 0;
}

int credential_init(struct credential *c, struct upstream *up, const char *repo_key, struct slice client)
{
	bool own = up->auth == GIT_AUTH_BEARER || up->auth == GIT_AUTH_BASIC;

	*c = (struct credential){ .value = BUF_EMPTY };
	if (own && up->g->client_token && !secret_is_presented(client, up->g->client_token))
		return -EACCES;
	return init(c, up, repo_key, client);
}

int credential_init_own(struct credential *c, struct upstream *up, const char *repo_key)
{
	*c = (struct credential){ .value = BUF_EMPTY };
	return init(c, up, repo_key, (struct slice){ NULL, 0 });
}

void credential_fini(struct credential *c)
{
	if (!c->value.data)
		return; /* never made */
	if (c->value.cap)
		explicit_bzero(c->value.data, c->value.len);
	buf_fini(&c->value);
}

void credential_copy(struct credential *to, const struct credential *from)
{
	*to = *from;
	to->value = (struct buf)BUF_EMPTY;
	buf_add_slice(&to->value, buf_slice(&from->value));
}

bool access_is_granted(struct git_service *g, const struct credential *c, bool offline)
{
	const struct git_config *cfg = git_config(g);
	int64_t age = offline ? cfg->offline_grant : cfg->grant_ttl;

	return grants_has(g->grants, &c->key, age) || grants_has(g->grants, &c->public_key, age);
}

void access_note(struct git_service *g, const struct credential *c)
{
	grants_note(g->grants, &c->key);
}

void access_revoke(struct git_service *g, const struct credential *c)
{
	grants_revoke(g->grants, &c->key);
}
