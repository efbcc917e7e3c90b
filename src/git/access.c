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
#include "io/file.h"

#define SECRET_MOST_BYTES 65536

/* weir's own credential as an Authorization value. Read each time: a rotated token counts at once. */
static int own_value(struct upstream *up, struct buf *out)
{
	struct buf secret = BUF_EMPTY;
	int r = file_read_all(up->secret_file, SECRET_MOST_BYTES, &secret);

	while (r == 0 && secret.len && strchr("\r\n \t", secret.data[secret.len - 1]))
		buf_truncate(&secret, secret.len - 1);
	if (r < 0 || !secret.len) {
		log_event(LOG_ERROR, "secret_not_read", LOG_STR("upstream", up->match),
			  LOG_STR("file", up->secret_file), LOG_STR("why", r < 0 ? err_text(r) : "it is empty"),
			  LOG_END);
		r = -EIO;
	} else if (up->auth == GIT_AUTH_BEARER) {
		buf_add_str(out, "Bearer ");
		buf_add_slice(out, buf_slice(&secret));
	} else {
		buf_add_str(out, "Basic ");
		str_base64_encode(buf_slice(&secret), out);
	}
	explicit_bzero(secret.data, secret.len);
	buf_fini(&secret);
	return r;
}

/* "Bearer TOKEN", or "Basic base64(anything:TOKEN)", which is what git can send. */
static bool presents_token(struct slice client, const char *token)
{
	struct buf plain = BUF_EMPTY;
	struct slice user, rest;
	bool ok = false;

	if (client.n > 7 && slice_ieq_str((struct slice){ client.p, 7 }, "bearer "))
		return str_eq_const_time(slice_trim(slice_from(client, 7)), slice_str(token));
	if (client.n > 6 && slice_ieq_str((struct slice){ client.p, 6 }, "basic ") &&
	    str_base64_decode(slice_trim(slice_from(client, 6)), &plain) == 0) {
		rest = buf_slice(&plain);
		ok = slice_cut(&rest, ':', &user) && str_eq_const_time(rest, slice_str(token));
	}
	explicit_bzero(plain.data, plain.len);
	buf_fini(&plain);
	return ok;
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
	if (own && up->g->client_token && !presents_token(client, up->g->client_token))
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
