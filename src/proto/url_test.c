/* url_test.c */
#include "proto/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void urls_are_taken_apart_or_refused(void **state)
{
	static const struct {
		const char *in, *want; /* want NULL: refused */
	} rows[] = {
		{ "https://github.com", "https github.com 443 path= query=-" },
		{ "http://github.com", "http github.com 80 path= query=-" },
		{ "HTTPS://GitHub.COM/Org/Repo", "https github.com 443 path=/Org/Repo query=-" },
		{ "http://h:8080/a?b=c?d", "http h 8080! path=/a query=b=c?d" },
		{ "http://h:80/", "http h 80! path=/ query=-" },
		{ "http://h?x", "http h 80 path= query=x" },
		{ "http://h/?", "http h 80 path=/ query=" },
		{ "http://[::1]:81/x", "http [::1] 81! path=/x query=-" },
		{ "http://[FE80::1]/", "http [fe80::1] 80 path=/ query=-" },
		{ "http://127.0.0.1:1", "http 127.0.0.1 1! path= query=-" },
		{ "http://my_host.local/%41%2f", "http my_host.local 80 path=/%41%2f query=-" },
		{ "", NULL },
		{ "http:", NULL },
		{ "http:/h", NULL },
		{ "http://", NULL },
		{ "http:///x", NULL },
		{ "ftp://h", NULL },
		{ "file:///etc/passwd", NULL },
		{ "ext::sh -c x", NULL },
		{ "h/x", NULL },
		{ "//h/x", NULL },
		{ "http://user@h/", NULL },
		{ "http://user:pass@h/", NULL },
		{ "http://h:/", NULL },
		{ "http://h:0/", NULL },
		{ "http://h:65536/", NULL },
		{ "http://h:-1/", NULL },
		{ "http://h:080000/", NULL },
		{ "http://h:8o/", NULL },
		{ "http://h:1:2/", NULL },
		{ "http://h#x", NULL },
		{ "http://h/a#x", NULL },
		{ "http://h/a b", NULL },
		{ "http://h/a\tb", NULL },
		{ "http://h/\xc3\xa4", NULL },
		{ "http://h\\@evil/", NULL },
		{ "http://h/%", NULL },
		{ "http://h/%4", NULL },
		{ "http://h/%4g", NULL },
		{ "http://-h/", NULL },
		{ "http://h-/", NULL },
		{ "http://.h/", NULL },
		{ "http://h./", NULL },
		{ "http://a..b/", NULL },
		{ "http://h%41/", NULL },
		{ "http://[::1/", NULL },
		{ "http://[::1]x/", NULL },
		{ "http://[::1%25lo]/", NULL },
		{ "http://[xyz]/", NULL },
		{ "http://[]/", NULL },
		{ "http://::1/", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;
		struct url u;
		int r = url_parse(slice_str(rows[i].in), &u);

		if (!rows[i].want) {
			if (r != WEIR_E_PARSE)
				fail_msg("accepted %s", rows[i].in);
			continue;
		}
		assert_int_equal(r, 0);
		buf_addf(&got, "%s %s %u%s path=", u.https ? "https" : "http", u.host, u.port, u.port_given ? "!" : "");
		buf_add_slice(&got, u.path);
		buf_add_str(&got, " query=");
		buf_add_slice(&got, u.query.p ? u.query : slice_str("-"));
		assert_string_equal(got.data, rows[i].want);
		buf_fini(&got);
	}
}

static void a_host_has_one_spelling(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "GitHub.com", "github.com" },
		{ "h:443", "h" },
		{ "h:80", "h" },
		{ "h:08443", "h:8443" },
		{ "h:8443", "h:8443" },
		{ "[::1]:443", "[::1]" },
		{ "[::1]:9", "[::1]:9" },
		{ "a_b.c-d", "a_b.c-d" },
		{ "_x", "_x" },
		{ "10.0.0.1:3000", "10.0.0.1:3000" },
		{ "", NULL },
		{ ":80", NULL },
		{ "h:", NULL },
		{ "h:x", NULL },
		{ "h:99999", NULL },
		{ "..", NULL },
		{ ".", NULL },
		{ "-x", NULL },
		{ "--upload-pack=x", NULL },
		{ "a/b", NULL },
		{ "a b", NULL },
		{ "a\\b", NULL },
		{ "a@b", NULL },
		{ "a%2eb", NULL },
		{ "[::1]:", NULL },
		{ "[::1", NULL },
	};
	char out[URL_HOSTPORT_ROOM], longest[URL_MAX_HOST + 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int r = url_normalize_hostport(slice_str(rows[i].in), out);

		if ((r == 0) != (rows[i].want != NULL))
			fail_msg("wrong about %s", rows[i].in);
		if (rows[i].want)
			assert_string_equal(out, rows[i].want);
	}
	assert_int_equal(url_normalize_hostport((struct slice){ "a\0b", 3 }, out), WEIR_E_PARSE);
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(url_normalize_hostport((struct slice){ longest, URL_MAX_HOST }, out), 0);
	assert_int_equal(url_normalize_hostport((struct slice){ longest, URL_MAX_HOST + 1 }, out), WEIR_E_PARSE);
}

static void loopback_is_known(void **state)
{
	static const char *const yes[] = { "localhost",    "localhost:8080", "127.0.0.1",
					   "127.8.9.1:80", "[::1]",          "[::1]:8080" };
	static const char *const no[] = { "localhost.example.com",
					  "128.0.0.1",
					  "127.0.0.1.example.com",
					  "127.1",
					  "[::2]",
					  "",
					  "0.0.0.0",
					  "evil",
					  "[::1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(url_host_is_loopback(yes[i]));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(url_host_is_loopback(no[i]));
}

static void escapes_go_there_and_back(void **state)
{
	struct buf a = BUF_EMPTY, b = BUF_EMPTY;

	(void)state;
	url_encode(&a, SLICE_LIT("a b/c%\x01\xff~-._+"), "/");
	assert_string_equal(a.data, "a%20b/c%25%01%FF~-._%2B");
	assert_int_equal(url_decode(buf_slice(&a), &b), 0);
	assert_string_equal(b.data, "a b/c%\x01\xff~-._+");
	buf_reset(&a);
	url_encode(&a, (struct slice){ "\0", 1 }, "");
	assert_string_equal(a.data, "%00");
	assert_int_equal(url_decode(buf_slice(&a), &b), WEIR_E_PARSE);
	assert_int_equal(url_decode(SLICE_LIT("%"), &b), WEIR_E_PARSE);
	assert_int_equal(url_decode(SLICE_LIT("a%1"), &b), WEIR_E_PARSE);
	assert_int_equal(url_decode(SLICE_LIT("%xy"), &b), WEIR_E_PARSE);
	buf_fini(&a);
	buf_fini(&b);
}

static void query_values_are_found_once(void **state)
{
	static const struct {
		const char *query, *value;
		int r;
	} rows[] = {
		{ "service=git-upload-pack", "git-upload-pack", 0 },
		{ "a=b&service=x&c", "x", 0 },
		{ "service", "", 0 },
		{ "service=", "", 0 },
		{ "service=a%2Db", "a-b", 0 },
		{ "%73ervice=x", "x", 0 },
		{ "service=a=b", "a=b", 0 },
		{ "", NULL, -ENOENT },
		{ "services=x", NULL, -ENOENT },
		{ "service=a&service=b", NULL, -EEXIST },
		{ "service=a&serv%69ce=a", NULL, -EEXIST },
		{ "service=%", NULL, WEIR_E_PARSE },
		{ "service=%00", NULL, WEIR_E_PARSE },
		{ "%zz&service=a", NULL, WEIR_E_PARSE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf v = BUF_EMPTY;

		assert_int_equal(url_query_get(slice_str(rows[i].query), "service", &v), rows[i].r);
		assert_string_equal(v.data, rows[i].value ? rows[i].value : "");
		buf_fini(&v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_are_taken_apart_or_refused), cmocka_unit_test(a_host_has_one_spelling),
		cmocka_unit_test(loopback_is_known),		   cmocka_unit_test(escapes_go_there_and_back),
		cmocka_unit_test(query_values_are_found_once),
	};

	return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
