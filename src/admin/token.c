/* token.c -- the bearer token of the admin listener.
 *
 * WHY      Basic is taken as well (any user name, the token as password): a browser cannot be told to send Bearer,
 *          and the page is for people. A foreign page still cannot drive the API by what the browser remembers, as a
 *          foreign Origin is refused before anything else (invariant 13).
 * SEE      RFC 6750 section 2.1, RFC 7617 */
#include "admin/admin_priv.h"

#include <ctype.h>

#include "base/err.h"
#include "base/str.h"
#include "io/file.h"

#define MOST_TOKEN_BYTES (64 * 1024)

int token_read(const char *path, char **ret)
{
	struct buf text = BUF_EMPTY;
	int err = file_read_all(path, MOST_TOKEN_BYTES, &text);
	struct slice s = buf_slice(&text);

	while (s.n && isspace((unsigned char)s.p[s.n - 1]))
		s.n--;
	if (!err && (!s.n || slice_has_nul(s)))
		err = -EINVAL;
	if (!err)
		*ret = slice_dup(s);
	explicit_bzero(text.data, text.len);
	buf_fini(&text);
	return err;
}

void token_free(char *token)
{
	if (token)
		explicit_bzero(token, strlen(token));
	free(token);
}

static bool basic_holds(struct slice encoded, const char *token)
{
	struct buf decoded = BUF_LIMIT(MOST_TOKEN_BYTES + 1024);
	struct slice password, user;
	bool same = false;

	if (str_base64_decode(encoded, &decoded) == 0) {
		password = buf_slice(&decoded);
		same = slice_cut(&password, ':', &user) && str_eq_const_time(password, slice_str(token));
	}
	explicit_bzero(decoded.data, decoded.len);
	buf_fini(&decoded);
	return same;
}

bool token_is_presented(struct slice authorization, const char *token)
{
	struct slice value = slice_trim(authorization), scheme;

	if (!slice_cut(&value, ' ', &scheme))
		return false;
	value = slice_trim(value);
	if (slice_ieq_str(scheme, "Bearer"))
		return str_eq_const_time(value, slice_str(token));
	return slice_ieq_str(scheme, "Basic") && basic_holds(value, token);
}
