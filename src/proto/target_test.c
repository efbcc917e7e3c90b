/* target_test.c -- request targets, evil ones included. */
#include "proto/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void describe(const struct target *t, struct buf *out)
{
	static const char *const kinds[] = { "refs", "upload", "receive", "other" };
	static const char *const services[] = { "", ":upload", ":receive", ":other" };

	buf_addf(out, "%s%s%s ", t->absolute ? "abs " : "", kinds[t->kind], services[t->service]);
	target_repo_key(t, out);
	buf_addf(out, " %s", t->sent_path);
	if (t->rest[0])
		buf_addf(out, " + %s", t->rest);
}

static void targets_are_understood(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "/github.com/org/repo/info/refs?service=git-upload-pack",
		  "refs:upload github.com/org/repo org/repo" },
		{ "/github.com/org/repo.git/info/refs?service=git-upload-pack",
		  "refs:upload github.com/org/repo org/repo.git" },
		{ "/GitHub.COM/Org/Repo.git/git-upload-pack", "upload github.com/Org/Repo Org/Repo.git" },
		{ "/github.com:443/org/repo/git-receive-pack", "receive github.com/org/repo org/repo" },
		{ "/git.corp:8443/org/repo/info/refs?service=git-receive-pack",
		  "refs:receive git.corp:8443/org/repo org/repo" },
		{ "/gitlab.com/a/b/c/d.git/info/refs?service=git-upload-pack",
		  "refs:upload gitlab.com/a/b/c/d a/b/c/d.git" },
		{ "/[::1]:3000/r/info/refs?service=x", "refs:other [::1]:3000/r r" },
		{ "/h/r/info/refs", "refs h/r r" },
		{ "/h/r/info/refs?", "refs h/r r" },
		{ "/h/r/info/refs?a=b&service=git-upload%2dpack", "refs:upload h/r r" },
		{ "http://github.com/org/repo/info/refs?service=git-upload-pack",
		  "abs refs:upload github.com/org/repo org/repo" },
		{ "http://GitHub.com:80/org/repo/git-upload-pack", "abs upload github.com/org/repo org/repo" },
		{ "HTTP://h:8080/r.git/git-upload-pack", "abs upload h:8080/r r.git" },
		{ "https://h/r/git-upload-pack", "abs upload h/r r" },
		/* what is not ours to answer */
		{ "/h/org/repo.git/info/lfs/objects/batch", "other h/org/repo org/repo.git + info/lfs/objects/batch" },
		{ "/h/org/repo.git/HEAD", "other h/org/repo org/repo.git + HEAD" },
		{ "/h/org/repo.git/objects/info/packs", "other h/org/repo org/repo.git + objects/info/packs" },
		{ "/h/org/repo/archive/x.zip", "other h/org/repo/archive/x.zip org/repo/archive/x.zip" },
		{ "/h/org/repo.git", "other h/org/repo org/repo.git" },
		{ "/h/a.git/b.git/info/refs", "refs h/a.git/b a.git/b.git" },
		/* one spelling */
		{ "/h/%7Euser/%72epo/git-upload-pack", "upload h/~user/repo ~user/repo" },
		{ "/h/a%2bb/git-upload-pack", "upload h/a%2Bb a%2Bb" },
		{ "/h/a+b/git-upload-pack", "upload h/a+b a+b" },
		{ "/h/a%2eb/git-upload-pack", "upload h/a.b a.b" },
		{ "/h/repo%2egit/git-upload-pack", "upload h/repo repo.git" },
		{ "/h/a%20b/git-upload-pack", "upload h/a%20b a%20b" },
		{ "/h/a\"b/git-upload-pack", "upload h/a%22b a%22b" },
		{ "/h/\xc3\xa4/git-upload-pack", "upload h/%C3%A4 %C3%A4" },
		{ "/h/%c3%a4/git-upload-pack", "upload h/%C3%A4 %C3%A4" },
		{ "/h/a%252fb/git-upload-pack", "upload h/a%252fb a%252fb" },
		{ "/h/.github/git-upload-pack", "upload h/.github .github" },
		{ "/h/a@b:c;d=e,f/git-upload-pack", "upload h/a@b:c;d=e,f a@b:c;d=e,f" },
		{ "/h/r/git-upload-pack?x=/../..", "upload h/r r" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;
		struct target t;
		const char *why = "";
		int r = target_parse(slice_str(rows[i].in), &t, &why);

		if (r < 0)
			fail_msg("refused %s: %s", rows[i].in, why);
		describe(&t, &got);
		assert_string_equal(got.data, rows[i].want);
		buf_fini(&got);
	}
}

static void evil_targets_are_refused(void **state)
{
	static const char *const rows[] = {
		"",
		"*",
		"/",
		"//",
		"/h",
		"/h/",
		"/h//info/refs",
		"/h//r/info/refs",
		"//h/r/info/refs",
		"/h/a//b/info/refs",
		"/h/r//git-upload-pack",
		"/h/../r/info/refs",
		"/h/./r/info/refs",
		"/h/a/../b/info/refs",
		"/h/a/..",
		"/h/%2e%2e/r/info/refs",
		"/h/%2E%2e/r/info/refs",
		"/h/.%2e/r/info/refs",
		"/h/%2e/r/info/refs",
		"/../etc/passwd",
		"/%2e%2e/etc/passwd",
		"/h/a%2fb/info/refs",
		"/h/a%2Fb/info/refs",
		"/h/a%5cb/info/refs",
		"/h/a\\b/info/refs",
		"/h/a%00b/info/refs",
		"/h/r%00.git/info/refs",
		"/h/a%0ab/info/refs",
		"/h/a%0d%0ab/info/refs",
		"/h/a%7fb/info/refs",
		"/h/a%1bb/info/refs",
		"/h/a\x7f/info/refs",
		"/h/a\tb/info/refs",
		"/h/a b/info/refs",
		"/h/a#b/info/refs",
		"/h/a%/info/refs",
		"/h/a%4/info/refs",
		"/h/a%g0/info/refs",
		"/h/-oProxyCommand=x/info/refs",
		"/h/--upload-pack=x/info/refs",
		"/h/a/-b/info/refs",
		"/h/%2dx/info/refs",
		"/-h/r/info/refs",
		"/--upload-pack=x/r/info/refs",
		"/h/.git/info/refs",
		"/h/a/.git/info/refs",
		"/h/..git/info/refs",
		"/h/...git/info/refs",
		"/h/a/..git",
		"/h%2fx/r/info/refs",
		"/h%00/r/info/refs",
		"/h:0/r/info/refs",
		"/h:99999/r/info/refs",
		"/h:80:80/r/info/refs",
		"/h:x/r/info/refs",
		"/user@h/r/info/refs",
		"/h./r/info/refs",
		"/h_\xc3\xa4/r/info/refs",
		"/h/r/info/refs?service=git-upload-pack&service=git-receive-pack",
		"/h/r/info/refs?service=%",
		"/h/r/info/refs?service=git-upload-pack%00",
		"h/r/info/refs",
		"http:/h/r/info/refs",
		"http://",
		"http:///r/info/refs",
		"http://h",
		"http://h/",
		"http://user:pw@h/r/info/refs",
		"http://h:x/r/info/refs",
		"http://h?x/r/info/refs",
		"ftp://h/r/info/refs",
		"file:///etc/passwd",
		"ext::sh -c id",
		"h:443",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct target t;
		const char *why = NULL;

		if (target_parse(slice_str(rows[i]), &t, &why) != WEIR_E_PARSE)
			fail_msg("accepted %s", rows[i]);
		assert_non_null(why);
	}
	assert_int_equal(target_parse((struct slice){ "/h/a\0b/info/refs", 16 }, &(struct target){ 0 }, NULL),
			 WEIR_E_PARSE);
}

static void a_whole_target_is_one_shape_whatever_its_length(void **state)
{
	/* A cut anywhere is either refused or a target whose name is a beginning of the whole one's. */
	struct slice whole = SLICE_LIT("/github.com/org/group/repo.git/info/refs?service=git-upload-pack");
	struct target t;

	(void)state;
	for (size_t n = 0; n <= whole.n; n++) {
		struct slice raw = { whole.p, n };

		if (target_parse(raw, &t, NULL) == 0)
			assert_memory_equal(t.path, "org/group/repo.git/info/refs", strlen(t.path));
	}
	assert_int_equal(t.service, TARGET_SERVICE_UPLOAD_PACK);
	assert_string_equal(t.path, "org/group/repo");
}

static void limits_are_kept(void **state)
{
	struct target t;
	struct buf b = BUF_EMPTY;

	(void)state;
	buf_add_str(&b, "/h");
	for (int i = 0; i < TARGET_MAX_SEGMENTS; i++)
		buf_add_str(&b, "/a");
	assert_int_equal(target_parse(buf_slice(&b), &t, NULL), 0);
	buf_add_str(&b, "/a");
	assert_int_equal(target_parse(buf_slice(&b), &t, NULL), WEIR_E_TOO_LARGE);

	buf_reset(&b);
	buf_add_str(&b, "/h/");
	for (int i = 0; i < TARGET_MAX_SEGMENT; i++)
		buf_add_char(&b, 'a');
	assert_int_equal(target_parse(buf_slice(&b), &t, NULL), 0);
	buf_add_char(&b, 'a');
	assert_int_equal(target_parse(buf_slice(&b), &t, NULL), WEIR_E_TOO_LARGE);

	/* Escaping counts: 86 bytes become 258. */
	buf_reset(&b);
	buf_add_str(&b, "/h/");
	for (int i = 0; i < 86; i++)
		buf_add_char(&b, '"');
	assert_int_equal(target_parse(buf_slice(&b), &t, NULL), WEIR_E_TOO_LARGE);

	buf_reset(&b);
	buf_add_str(&b, "/h/r?");
	while (b.len < TARGET_MAX_BYTES)
		buf_add_char(&b, 'q');
	assert_int_equal(target_parse(buf_slice(&b), &t, NULL), 0);
	buf_add_char(&b, 'q');
	assert_int_equal(target_parse(buf_slice(&b), &t, NULL), WEIR_E_TOO_LARGE);
	buf_fini(&b);
}

static void absolute_form_also_tells_what_an_origin_would_have_seen(void **state)
{
	struct target t, again;

	(void)state;
	assert_int_equal(
		target_parse(SLICE_LIT("http://127.0.0.1:8080/h/r/info/refs?service=git-upload-pack"), &t, NULL), 0);
	assert_string_equal(t.host, "127.0.0.1:8080");
	assert_true(slice_eq_str(t.origin_form, "/h/r/info/refs?service=git-upload-pack"));
	assert_true(slice_eq_str(t.query, "service=git-upload-pack"));
	assert_int_equal(target_parse(t.origin_form, &again, NULL), 0);
	assert_string_equal(again.host, "h");
	assert_string_equal(again.path, "r");
	assert_null(again.rest[0] ? "rest" : NULL);
}

static void names_are_read_as_people_type_them(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "github.com/org/repo", "github.com/org/repo" },
		{ "github.com/org/repo.git", "github.com/org/repo" },
		{ "https://GitHub.com/org/repo.git", "github.com/org/repo" },
		{ "http://h:8080/r/", "h:8080/r" },
		{ "/h/r", "h/r" },
		{ "h/r/git-upload-pack", "h/r/git-upload-pack" },
		{ "h", NULL },
		{ "h/", NULL },
		{ "", NULL },
		{ "h/../x", NULL },
		{ "h/r?x", NULL },
		{ "h/.git", NULL },
		{ "--help", NULL },
		{ "git@h:r", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf key = BUF_EMPTY;
		struct target t;
		int r = target_parse_repo(slice_str(rows[i].in), &t, NULL);

		if ((r == 0) != (rows[i].want != NULL))
			fail_msg("wrong about %s", rows[i].in);
		if (r == 0) {
			target_repo_key(&t, &key);
			assert_string_equal(key.data, rows[i].want);
		}
		buf_fini(&key);
	}
}

static void a_key_is_its_own_canonical_form(void **state)
{
	static const char *const rows[] = { "/H:443/A%7e/b%2Bc.git/info/refs", "/h/\"x\"/%c3%a4/git-upload-pack",
					    "/h/a.git/b/HEAD" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf key = BUF_EMPTY, again = BUF_EMPTY;
		struct target t;

		assert_int_equal(target_parse(slice_str(rows[i]), &t, NULL), 0);
		target_repo_key(&t, &key);
		assert_int_equal(target_parse_repo(buf_slice(&key), &t, NULL), 0);
		target_repo_key(&t, &again);
		assert_string_equal(again.data, key.data);
		buf_fini(&key);
		buf_fini(&again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets_are_understood),
		cmocka_unit_test(evil_targets_are_refused),
		cmocka_unit_test(a_whole_target_is_one_shape_whatever_its_length),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(absolute_form_also_tells_what_an_origin_would_have_seen),
		cmocka_unit_test(names_are_read_as_people_type_them),
		cmocka_unit_test(a_key_is_its_own_canonical_form),
	};

	return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
