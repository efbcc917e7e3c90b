/* secret.c -- a secret that a file holds.
 *
 * RULES    1. Never empty, and one line: a line end within would make another header field of it.
 *          2. No copy stays behind in memory that was freed.
 *          3. Nothing of it gets into a message (invariant 10).
 * SEE      RFC 6750 section 2.1, RFC 7617 */
#include "core/secret.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/str.h"
#include "io/file.h"
#include "proto/authz.h"

static bool has_control(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return true;
	return false;
}

/* NULL, or what is wrong with it. */
static const char *fault_of(int code, struct slice secret)
{
	if (code == WEIR_E_TOO_LARGE)
		return "is larger than 64KiB, hence no secret";
	if (!secret.n)
		return "is empty";
	return has_control(secret) ? "is not one line of text" : NULL;
}

int secret_read(const char *path, char **ret, struct buf *why)
{
	struct buf text = BUF_EMPTY, unheard = BUF_EMPTY;
	struct slice s;
	const char *fault;
	int r;

	(void)buf_reserve(&text, SECRET_MOST_BYTES); /* so that no copy stays behind where it grew */
	r = file_read_all(path, SECRET_MOST_BYTES, &text);
	s = buf_slice(&text);
	while (s.n && isspace((unsigned char)s.p[s.n - 1]))
		s.n--;
	why = why ? why : &unheard;
	fault = fault_of(r, s);
	if (r < 0 && r != WEIR_E_TOO_LARGE) {
		buf_addf(why, "cannot be read: %s", err_text(r));
	} else if (fault) {
		buf_add_str(why, fault);
		r = -EINVAL;
	} else {
		*ret = slice_dup(s);
	}
	buf_fini(&unheard);
	secret_wipe(&text);
	return r;
}

void secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void secret_wipe(struct buf *b)
{
	if (b->cap)
		explicit_bzero(b->data, b->cap); /* also what was cut off its end */
	buf_fini(b);
}

void secret_fingerprint(const char *path, struct buf *out)
{
	struct stat st;

	if (stat(path, &st) < 0)
		buf_add_str(out, "missing");
	else
		buf_addf(out, "%lld %lld.%09ld %lld.%09ld %llu", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
			 st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec,
			 (unsigned long long)st.st_ino);
}

bool secret_is_presented(struct slice authorization, const char *secret)
{
	struct buf user = BUF_EMPTY, password = BUF_EMPTY;
	struct slice value = slice_trim(authorization), scheme;
	bool same = false;

	(void)buf_reserve(&password, value.n);
	if (authz_parse_basic(authorization, &user, &password) == 0)
		same = str_eq_const_time(buf_slice(&password), slice_str(secret));
	else if (slice_cut(&value, ' ', &scheme) && slice_ieq_str(scheme, "Bearer"))
		same = str_eq_const_time(slice_trim(value), slice_str(secret));
	buf_fini(&user);
	secret_wipe(&password);
	return same && *secret;
}
