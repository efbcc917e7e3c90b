/* repo_name.c -- what people type for a repository, as the admin API names it.
 *
 * WHY      One has the URL of a repository at hand, from a browser or from .git/config, rather than weir's name of
 *          it. */
#include "cli/repo_name.h"

#include "base/err.h"

static struct slice without_end(struct slice s, const char *end)
{
	return slice_ends(s, end) ? (struct slice){ s.p, s.n - strlen(end) } : s;
}

/* git@host:path, which is not host:port/path: it has a user. */
static bool cut_scp(struct slice s, struct slice *ret_host, struct slice *ret_path)
{
	struct slice rest = s, user;

	if (!slice_cut(&rest, '@', &user) || slice_find(user, '/') >= 0 || !slice_cut(&rest, ':', ret_host))
		return false;
	*ret_path = rest;
	return slice_find(*ret_host, '/') < 0;
}

int repo_name_parse(struct slice typed, struct buf *out)
{
	static const char *const schemes[] = { "https://", "http://", "ssh://", "git://", NULL };
	struct slice s = slice_trim(typed), host, path;
	bool has_scheme = false;

	for (size_t i = 0; schemes[i] && !has_scheme; i++) {
		has_scheme = slice_starts(s, schemes[i]);
		if (has_scheme)
			s = slice_from(s, strlen(schemes[i]));
	}
	if (has_scheme || !cut_scp(s, &host, &path)) {
		(void)slice_cut(&s, '/', &host); /* without a slash the path is empty, and refused below */
		path = s;
		if (slice_find(host, '@') >= 0)
			host = slice_from(host, (size_t)slice_find(host, '@') + 1);
	}
	while (path.n && path.p[0] == '/')
		path = slice_from(path, 1);
	while (slice_ends(path, "/"))
		path.n--;
	path = without_end(path, ".git");
	if (!host.n || !path.n || slice_has_nul(typed))
		return WEIR_E_PARSE;
	buf_add_slice(out, host);
	buf_add_char(out, '/');
	buf_add_slice(out, path);
	return 0;
}
