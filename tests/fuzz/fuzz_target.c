/* fuzz_target.c -- request targets, repository names, URLs, hosts, credentials.
 *
 * What is accepted must be safe (nothing that walks, looks like an option, or hides a slash) and canonical: read again,
 * it gives itself. */
#include "base/obj.h"
#include "proto/authz.h"
#include "proto/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ensure_safe(const char *path)
{
	struct slice rest = slice_str(path), segment;
	bool more;

	for (const char *p = path; *p; p++) {
		ENSURE(*p > ' ' && *p < 127 && *p != '\\' && *p != '#' && *p != '?');
		if (*p == '%') {
			ENSURE(p[1] && p[2]);
			ENSURE(memcmp(p, "%2F", 3) != 0 && memcmp(p, "%5C", 3) != 0 && memcmp(p, "%00", 3) != 0);
			ENSURE(memcmp(p, "%2E", 3) != 0 && memcmp(p, "%2D", 3) != 0);
		}
	}
	do {
		more = slice_cut(&rest, '/', &segment);
		ENSURE(segment.n && segment.p[0] != '-' && segment.n <= TARGET_MAX_SEGMENT);
		ENSURE(!slice_eq_str(segment, ".") && !slice_eq_str(segment, ".."));
	} while (more);
}

static void check_target(const struct target *t)
{
	char host[URL_HOSTPORT_ROOM];
	struct buf key = BUF_EMPTY, again = BUF_EMPTY, with_suffix = BUF_EMPTY;
	struct target same;

	ensure_safe(t->path);
	ensure_safe(t->sent_path);
	if (t->rest[0])
		ensure_safe(t->rest);
	ENSURE(url_normalize_hostport(slice_str(t->host), host) == 0 && strcmp(host, t->host) == 0);
	target_repo_key(t, &key);
	/* A name that ends in .git again ("a.git.git") loses one more when it is read, so it gets one on top. */
	buf_addf(&with_suffix, "%s.git", key.data);
	if (target_parse_repo(buf_slice(&with_suffix), &same, NULL) == 0) {
		target_repo_key(&same, &again);
		ENSURE(strcmp(key.data, again.data) == 0);
	}
	buf_fini(&key);
	buf_fini(&again);
	buf_fini(&with_suffix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = { (const char *)data, size }, token;
	struct buf user = BUF_EMPTY, password = BUF_EMPTY, header = BUF_EMPTY;
	char host[URL_HOSTPORT_ROOM];
	struct target t;
	struct url u;

	if (target_parse(in, &t, NULL) == 0)
		check_target(&t);
	if (target_parse_repo(in, &t, NULL) == 0)
		check_target(&t);
	if (url_parse(in, &u) == 0) {
		ENSURE(u.port >= 1 && u.port <= 65535);
		ENSURE(url_normalize_hostport(slice_str(u.host), host) == 0 && strcmp(host, u.host) == 0);
		(void)url_host_is_loopback(u.host);
	}
	(void)url_query_get(in, "service", &header);
	buf_reset(&header);
	if (authz_parse_basic(in, &user, &password) == 0)
		ENSURE(authz_add_basic(&header, buf_slice(&user), buf_slice(&password)) == 0);
	if (authz_parse_bearer(in, &token) == 0)
		ENSURE(authz_add_bearer(&header, token) == 0);
	buf_reset(&user);
	url_encode(&user, in, "");
	buf_reset(&password);
	if (!slice_has_nul(in)) {
		ENSURE(url_decode(buf_slice(&user), &password) == 0);
		ENSURE(slice_eq(buf_slice(&password), in));
	}
	buf_fini(&user);
	buf_fini(&password);
	buf_fini(&header);
	return 0;
}
