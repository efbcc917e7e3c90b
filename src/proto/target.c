/* target.c -- reads the request target of the git listener.
 *
 * WHAT     /github.com/org/repo.git/info/refs?service=git-upload-pack, or the same as http://github.com/org/...,
 *          becomes host, repository, service.
 * WHY      The name made here becomes a folder, a lock, a cache key, an argument and an upstream URL. So it is
 *          canonical, and nothing in it can be read in two ways: whatever decodes to a slash, a backslash, a NUL or a
 *          control, and segments that walk ("." and "..", escaped or not) or look like options, are refused rather than
 *          repaired.
 * RULES    1. Escapes of unreserved bytes are decoded, before the checks; all others stay, in upper case. So a decoded
 *             byte is never '%' and nothing is decoded twice.
 *          2. Bytes that need an escape in a URI get one.
 *          3. One trailing ".git" is not part of the name: repo and repo.git are one repository.
 * SEE      RFC 9112 section 3.2; RFC 3986 sections 2.3, 3.3 and 6.2.2; gitprotocol-http(5), "URL Format" */
#include "proto/target.h"

#include "base/err.h"
#include "base/obj.h"

#define SUFFIX_INFO_REFS "/info/refs"
#define SUFFIX_UPLOAD_PACK "/git-upload-pack"
#define SUFFIX_RECEIVE_PACK "/git-receive-pack"

static int refuse(const char **ret_why, int err, const char *why)
{
	*ret_why = why;
	return err;
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool is_unreserved(int c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("-._~", c));
}

/* sub-delims, ':' and '@': may stand in a segment as they are, and escaped mean something else. */
static bool is_kept_raw(int c)
{
	return is_unreserved(c) || (c && strchr("!$&'()*+,;=:@", c));
}

static bool is_forbidden(int c)
{
	return c < ' ' || c == 127 || c == '\\' || c == '/';
}

/* Adds the canonical form of one byte or escape at s.p[0]; the bytes taken, or 0 when it is refused. */
static size_t add_canonical(struct buf *out, struct slice s)
{
	static const char hex[] = "0123456789ABCDEF";
	int c = (unsigned char)s.p[0], high, low;
	bool escaped = c == '%';

	if (escaped) {
		high = s.n >= 3 ? hex_value(s.p[1]) : -1;
		low = s.n >= 3 ? hex_value(s.p[2]) : -1;
		if (high < 0 || low < 0)
			return 0;
		c = high << 4 | low;
	}
	if (is_forbidden(c) || (!escaped && (c == '#' || c == ' ')))
		return 0;
	if (escaped ? is_unreserved(c) : is_kept_raw(c)) {
		buf_add_char(out, (char)c);
	} else {
		buf_add_char(out, '%');
		buf_add_char(out, hex[c >> 4]);
		buf_add_char(out, hex[c & 15]);
	}
	return escaped ? 3 : 1;
}

static int add_segment(struct buf *out, struct slice raw, const char **ret_why)
{
	size_t start = out->len, taken;
	struct slice made;

	while (raw.n) {
		taken = add_canonical(out, raw);
		if (!taken)
			return refuse(ret_why, WEIR_E_PARSE,
				      "the path has a control, a slash or backslash in disguise, or a broken escape");
		raw = slice_from(raw, taken);
	}
	made = slice_from(buf_slice(out), start);
	if (!made.n)
		return refuse(ret_why, WEIR_E_PARSE, "the path has an empty segment");
	if (slice_eq_str(made, ".") || slice_eq_str(made, ".."))
		return refuse(ret_why, WEIR_E_PARSE, "the path has a segment . or ..");
	if (made.p[0] == '-')
		return refuse(ret_why, WEIR_E_PARSE, "a segment of the path begins with -");
	if (made.n > TARGET_MAX_SEGMENT)
		return refuse(ret_why, WEIR_E_TOO_LARGE, "a segment of the path is too long");
	return 0;
}

/* raw: "org/repo.git/info/refs", without a leading slash. */
static int canonical_path(struct slice raw, struct buf *out, const char **ret_why)
{
	struct slice segment;
	size_t count = 0;
	bool more;
	int r;

	do {
		more = slice_cut(&raw, '/', &segment);
		if (++count > TARGET_MAX_SEGMENTS)
			return refuse(ret_why, WEIR_E_TOO_LARGE, "the path has too many segments");
		if (out->len)
			buf_add_char(out, '/');
		r = add_segment(out, segment, ret_why);
		if (r < 0)
			return r;
	} while (more);
	return 0;
}

static void set(char *where, struct slice s)
{
	ENSURE(s.n < TARGET_PATH_ROOM);
	if (s.n)
		memcpy(where, s.p, s.n);
	where[s.n] = '\0';
}

/* Sets path and sent_path from a repository's canonical path as it was sent. */
static int set_repo(struct target *t, struct slice sent, const char **ret_why)
{
	struct slice name = sent;

	if (slice_ends(sent, ".git"))
		name.n -= strlen(".git");
	if (!name.n || name.p[name.n - 1] == '/')
		return refuse(ret_why, WEIR_E_PARSE, "the path names no repository");
	/* "a/..git" and "a/...git" would leave a name that walks. */
	if (slice_ends(name, "/.") || slice_ends(name, "/..") || slice_eq_str(name, ".") || slice_eq_str(name, ".."))
		return refuse(ret_why, WEIR_E_PARSE, "the path has a segment . or ..");
	set(t->sent_path, sent);
	set(t->path, name);
	return 0;
}

/* OTHER: the repository ends with the first segment that ends in ".git", if there is one. */
static int set_other(struct target *t, struct slice path, const char **ret_why)
{
	struct slice rest = path, segment;
	bool more;

	t->kind = TARGET_OTHER;
	do {
		more = slice_cut(&rest, '/', &segment);
		if (more && segment.n > strlen(".git") && slice_ends(segment, ".git")) {
			set(t->rest, rest);
			return set_repo(t, (struct slice){ path.p, (size_t)(rest.p - path.p) - 1 }, ret_why);
		}
	} while (more);
	return set_repo(t, path, ret_why);
}

static bool take_suffix(struct slice *path, const char *suffix)
{
	if (!slice_ends(*path, suffix))
		return false;
	path->n -= strlen(suffix);
	return true;
}

static int set_service(struct target *t, const char **ret_why)
{
	struct buf value = BUF_EMPTY;
	int r;

	r = t->query.p ? url_query_get(t->query, "service", &value) : -ENOENT;
	if (r == 0)
		t->service = slice_eq_str(buf_slice(&value), "git-upload-pack")	   ? TARGET_SERVICE_UPLOAD_PACK
			     : slice_eq_str(buf_slice(&value), "git-receive-pack") ? TARGET_SERVICE_RECEIVE_PACK
										   : TARGET_SERVICE_OTHER;
	buf_fini(&value);
	if (r < 0 && r != -ENOENT)
		return refuse(ret_why, WEIR_E_PARSE, "the query is malformed or names the service twice");
	return 0;
}

static int set_kind(struct target *t, struct slice path, const char **ret_why)
{
	int r;

	if (take_suffix(&path, SUFFIX_INFO_REFS)) {
		t->kind = TARGET_INFO_REFS;
		r = set_service(t, ret_why);
		if (r < 0)
			return r;
	} else if (take_suffix(&path, SUFFIX_UPLOAD_PACK)) {
		t->kind = TARGET_UPLOAD_PACK;
	} else if (take_suffix(&path, SUFFIX_RECEIVE_PACK)) {
		t->kind = TARGET_RECEIVE_PACK;
	} else {
		return set_other(t, path, ret_why);
	}
	return set_repo(t, path, ret_why);
}

/* Takes "host[:port]" off the front: *rest is what follows the next slash. */
static int take_host(struct target *t, struct slice *rest, const char **ret_why)
{
	struct slice host;
	bool more = slice_cut(rest, '/', &host);

	if (url_normalize_hostport(host, t->host) < 0)
		return refuse(ret_why, WEIR_E_PARSE, "the host is malformed");
	if (!more || !rest->n)
		return refuse(ret_why, WEIR_E_PARSE, "the path names no repository");
	return 0;
}

/* After the scheme's "://" when there is one. */
static bool skip_scheme(struct slice *s)
{
	if (s->n >= 7 && slice_ieq_str((struct slice){ s->p, 7 }, "http://"))
		*s = slice_from(*s, 7);
	else if (s->n >= 8 && slice_ieq_str((struct slice){ s->p, 8 }, "https://"))
		*s = slice_from(*s, 8);
	else
		return false;
	return true;
}

static void cut_query(struct slice *s, struct slice *ret_query)
{
	struct slice rest = *s, head;

	if (slice_cut(&rest, '?', &head)) {
		*ret_query = rest;
		*s = head;
	}
}

/* rest: "host/path", the query cut off. */
static int parse_rest(struct target *t, struct slice rest, bool is_repo, const char **ret_why)
{
	struct buf path = BUF_EMPTY;
	int r;

	r = take_host(t, &rest, ret_why);
	if (r < 0)
		goto out;
	r = canonical_path(rest, &path, ret_why);
	if (r < 0)
		goto out;
	t->kind = TARGET_OTHER;
	r = is_repo ? set_repo(t, buf_slice(&path), ret_why) : set_kind(t, buf_slice(&path), ret_why);
out:
	buf_fini(&path);
	return r;
}

static void clear(struct target *t)
{
	t->kind = TARGET_OTHER;
	t->service = TARGET_SERVICE_NONE;
	t->absolute = false;
	t->host[0] = t->path[0] = t->sent_path[0] = t->rest[0] = '\0';
	t->query = t->origin_form = (struct slice){ 0 };
}

int target_parse(struct slice raw, struct target *ret, const char **ret_why)
{
	const char *ignored, **why = ret_why ? ret_why : &ignored;
	struct slice rest = raw;
	ssize_t slash;

	clear(ret);
	if (raw.n > TARGET_MAX_BYTES)
		return refuse(why, WEIR_E_TOO_LARGE, "the request target is too long");
	ret->absolute = skip_scheme(&rest);
	if (ret->absolute) {
		slash = slice_find(rest, '/');
		ret->origin_form = slash < 0 ? (struct slice){ 0 } : slice_from(rest, (size_t)slash);
	} else if (slice_starts(rest, "/")) {
		ret->origin_form = rest;
		rest = slice_from(rest, 1);
	} else {
		return refuse(why, WEIR_E_PARSE, "the request target is neither a path nor an http URL");
	}
	cut_query(&rest, &ret->query);
	return parse_rest(ret, rest, false, why);
}

void target_repo_key(const struct target *t, struct buf *out)
{
	buf_add_str(out, t->host);
	buf_add_char(out, '/');
	buf_add_str(out, t->path);
}

int target_parse_repo(struct slice name, struct target *ret, const char **ret_why)
{
	const char *ignored, **why = ret_why ? ret_why : &ignored;
	struct slice rest = name;

	clear(ret);
	if (name.n > TARGET_MAX_BYTES)
		return refuse(why, WEIR_E_TOO_LARGE, "the name is too long");
	ret->absolute = skip_scheme(&rest);
	if (!ret->absolute && slice_starts(rest, "/"))
		rest = slice_from(rest, 1);
	if (slice_find(rest, '?') >= 0)
		return refuse(why, WEIR_E_PARSE, "a repository's name has no query");
	if (slice_ends(rest, "/"))    /* as shells complete it */
		rest.n--;
	return parse_rest(ret, rest, true, why);
}
