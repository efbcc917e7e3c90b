/* authz.c -- Basic and Bearer credentials: reading and writing the header's value.
 *
 * WHAT     Scheme and value apart, Base64 undone, and the way back.
 * WHY      weir presents its own credential to an upstream, and checks its own tokens; a client's is passed on as it
 *          is.
 * RULES    1. Nothing of a credential is logged here or put into an error.
 *          2. Controls are refused in both directions: a header's value with a line end in it would be two headers.
 * SEE      RFC 9110 section 11.4; RFC 7617 section 2; RFC 6750 section 2.1 */
#include "proto/authz.h"

#include "base/err.h"
#include "base/str.h"

/* Cuts "Scheme value": 0 with the value, -ENOENT for another scheme. The scheme's case does not matter. */
static int take_scheme(struct slice value, const char *scheme, struct slice *ret_rest)
{
	struct slice word, rest = slice_trim(value);

	if (value.n > AUTHZ_MAX_BYTES)
		return WEIR_E_TOO_LARGE;
	if (!slice_cut(&rest, ' ', &word) || !slice_ieq_str(word, scheme))
		return -ENOENT;
	*ret_rest = slice_trim(rest);
	return 0;
}

static bool has_control(struct slice s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
			return true;
	return false;
}

int authz_parse_basic(struct slice value, struct buf *ret_user, struct buf *ret_password)
{
	struct buf plain = BUF_EMPTY;
	struct slice rest, user;
	int r;

	r = take_scheme(value, "Basic", &rest);
	if (r < 0)
		goto out;
	(void)buf_reserve(&plain, rest.n);    /* so that no copy stays behind where it grew */
	r = str_base64_decode(rest, &plain);
	if (r < 0)
		goto out;
	rest = buf_slice(&plain);
	if (has_control(rest) || !slice_cut(&rest, ':', &user)) {
		r = WEIR_E_PARSE;
		goto out;
	}
	buf_add_slice(ret_user, user);
	buf_add_slice(ret_password, rest);
out:
	explicit_bzero(plain.data, plain.len);
	buf_fini(&plain);
	return r;
}

/* token68 (RFC 9110 11.2): letters, digits, -._~+/ and then any number of '='. */
static bool is_token68(struct slice s)
{
	size_t i = 0;

	while (i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
			   (s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] && strchr("-._~+/", s.p[i]))))
		i++;
	if (!i)
		return false;
	while (i < s.n && s.p[i] == '=')
		i++;
	return i == s.n;
}

int authz_parse_bearer(struct slice value, struct slice *ret_token)
{
	struct slice rest;
	int r;

	r = take_scheme(value, "Bearer", &rest);
	if (r < 0)
		return r;
	if (!is_token68(rest))
		return WEIR_E_PARSE;
	*ret_token = rest;
	return 0;
}

int authz_add_basic(struct buf *out, struct slice user, struct slice password)
{
	struct buf plain = BUF_EMPTY;

	if (slice_find(user, ':') >= 0 || has_control(user) || has_control(password))
		return WEIR_E_PARSE;
	(void)buf_reserve(&plain, user.n + 1 + password.n);    /* so that no copy stays behind where it grew */
	buf_add_slice(&plain, user);
	buf_add_char(&plain, ':');
	buf_add_slice(&plain, password);
	buf_add_str(out, "Basic ");
	str_base64_encode(buf_slice(&plain), out);
	explicit_bzero(plain.data, plain.len);
	buf_fini(&plain);
	return buf_error(out);
}

int authz_add_bearer(struct buf *out, struct slice token)
{
	if (!is_token68(token))
		return WEIR_E_PARSE;
	buf_add_str(out, "Bearer ");
	buf_add_slice(out, token);
	return buf_error(out);
}
