/* web_test.c -- pages and assets over a real socket, with a small table in the place of what `embed` writes. */
#include "web/web.h"

#include "core/front_test_site.h"
#include "web/web_priv.h"

#define PAGE "<!doctype html><title>hub</title>"

const struct web_file web_pages[] = {
	{ NULL, "text/html; charset=utf-8", "\"p1\"", "\"p1-gz\"", { PAGE, sizeof(PAGE) - 1 }, { NULL, 0 } },
	{ NULL, "text/html; charset=utf-8", "\"p2\"", "\"p2-gz\"", { "dash", 4 }, { NULL, 0 } },
};
const struct web_file web_assets[] = {
	{ "/assets/a-1.js", "text/javascript; charset=utf-8", "\"a\"", "\"a-gz\"", { "long text", 9 }, { "short", 5 } },
	{ "/assets/b-2.svg", "image/svg+xml", "\"b\"", "\"b-gz\"", { "<svg/>", 6 }, { NULL, 0 } },
};
const size_t web_asset_count = 2;

static void handle_pages(struct exchange *ex)
{
	struct slice path, rest = exchange_target(ex);

	(void)slice_cut(&rest, '?', &path);
	if (!web_handle(ex, slice_starts(rest, "dashboard") ? WEB_DASHBOARD : WEB_HUB, path))
		exchange_reply_text(ex, 200, "not a page");
}

static int begin(void **state)
{
	site_handle = handle_pages;
	start();
	return 0;
}

static int end(void **state)
{
	return stop() ? 0 : -1;
}

/* Sends a request with more header lines (each with its CRLF) on a connection of its own; the answer's body is freed by
 * forget(). */
static int ask(const char *method, const char *target, const char *lines, struct answer *ret)
{
	struct buf b = BUF_EMPTY;
	int fd = dial();

	buf_addf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method, target, lines);
	say(fd, b.data);
	(void)hear(fd, ret, strcmp(method, "HEAD") != 0);
	buf_fini(&b);
	close(fd);
	return ret->status;
}

static void a_page_is_asked_for_each_time_and_may_do_little(void **state)
{
	struct answer a;

	assert_int_equal(ask("GET", "/", "", &a), 200);
	assert_string_equal(a.body.data, PAGE);
	assert_non_null(field(&a, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
	assert_non_null(field(&a, "\r\nCache-Control: no-cache\r\n"));
	assert_non_null(field(&a, "\r\nETag: \"p1\"\r\n"));
	assert_non_null(field(&a, "\r\nX-Content-Type-Options: nosniff\r\n"));
	assert_non_null(field(&a, "\r\nReferrer-Policy: no-referrer\r\n"));
	assert_non_null(field(&a, "\r\nContent-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
				  "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
				  "form-action 'none'\r\n"));
	assert_null(field(&a, "unsafe"));
	forget(&a);
	assert_int_equal(ask("GET", "/?dashboard", "", &a), 200);
	assert_string_equal(a.body.data, "dash");
	forget(&a);
}

static void an_asset_is_kept_for_ever_and_comes_packed_to_those_who_take_that(void **state)
{
	struct answer a;

	assert_int_equal(ask("GET", "/assets/a-1.js", "", &a), 200);
	assert_string_equal(a.body.data, "long text");
	assert_non_null(field(&a, "\r\nCache-Control: public, max-age=31536000, immutable\r\n"));
	assert_non_null(field(&a, "\r\nVary: Accept-Encoding\r\n"));
	assert_non_null(field(&a, "\r\nETag: \"a\"\r\n"));
	assert_null(field(&a, "Content-Encoding"));
	forget(&a);
	assert_int_equal(ask("GET", "/assets/a-1.js", "Accept-Encoding: br, gzip\r\n", &a), 200);
	assert_string_equal(a.body.data, "short");
	assert_non_null(field(&a, "\r\nContent-Encoding: gzip\r\n"));
	assert_non_null(field(&a, "\r\nContent-Type: text/javascript; charset=utf-8\r\n"));
	assert_non_null(field(&a, "\r\nETag: \"a-gz\"\r\n"));
	forget(&a);
	assert_int_equal(ask("GET", "/assets/b-2.svg", "Accept-Encoding: gzip\r\n", &a), 200);
	assert_string_equal(a.body.data, "<svg/>"); /* packing did not make it shorter */
	assert_null(field(&a, "Content-Encoding"));
	assert_non_null(field(&a, "\r\nContent-Type: image/svg+xml\r\n"));
	forget(&a);
}

static void head_tells_the_length_and_sends_nothing(void **state)
{
	struct answer a;

	assert_int_equal(ask("HEAD", "/assets/a-1.js", "Accept-Encoding: gzip\r\n", &a), 200);
	assert_non_null(field(&a, "\r\nContent-Length: 5\r\n"));
	assert_non_null(field(&a, "\r\nContent-Encoding: gzip\r\n"));
}

static void what_the_reader_has_is_not_sent_again(void **state)
{
	static const struct {
		const char *lines;
		int status;
	} rows[] = {
		{ "If-None-Match: \"a\"\r\n", 304 },
		{ "If-None-Match: W/\"a\"\r\n", 304 },
		{ "If-None-Match: \"x\", \"a\"\r\n", 304 },
		{ "If-None-Match: *\r\n", 304 },
		{ "If-None-Match: \"x\"\r\n", 200 },
		{ "If-None-Match: a\r\n", 200 },
		{ "If-None-Match: \"a-gz\"\r\n", 200 },
		{ "If-None-Match: \"a-gz\"\r\nAccept-Encoding: gzip\r\n", 304 },
		{ "If-None-Match: \"a\"\r\nAccept-Encoding: gzip\r\n", 200 },
	};
	struct answer a;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (ask("GET", "/assets/a-1.js", rows[i].lines, &a) != rows[i].status)
			fail_msg("row %zu: %d", i, a.status);
		assert_int_equal(a.body.len > 0, rows[i].status == 200);
		assert_non_null(field(&a, "\r\nETag: \"a"));
		assert_non_null(field(&a, "\r\nContent-Security-Policy: "));
		forget(&a);
	}
}

static void what_is_no_page_is_left_to_the_service(void **state)
{
	struct answer a;

	for (const char *const *path = (const char *const[]){ "/x", "/asset", "/index.html", "//", NULL }; *path; path++) {
		assert_int_equal(ask("GET", *path, "", &a), 200);
		assert_string_equal(a.body.data, "not a page\n");
		forget(&a);
	}
}

static void what_no_page_has_is_refused(void **state)
{
	struct answer a;

	assert_int_equal(ask("GET", "/assets/a-2.js", "", &a), 404);
	assert_non_null(field(&a, "\r\nCache-Control: no-store\r\n")); /* a newer weir may have it */
	forget(&a);
	assert_int_equal(ask("GET", "/assets/", "", &a), 404);
	forget(&a);
	assert_int_equal(ask("GET", "/assets/../hub.html", "", &a), 404);
	forget(&a);
	assert_int_equal(ask("POST", "/", "Content-Length: 0\r\n", &a), 405);
	assert_non_null(field(&a, "\r\nAllow: GET, HEAD\r\n"));
	forget(&a);
}

static void gzip_is_taken_by_its_name_or_by_the_star(void **state)
{
	static const struct {
		const char *value;
		bool takes;
	} rows[] = {
		{ "", false },
		{ "gzip", true },
		{ "GZIP", true },
		{ "x-gzip", true },
		{ "deflate, gzip;q=0.5, br", true },
		{ "gzip;q=0", false },
		{ "gzip ; q=0.000", false },
		{ "gzip;q=0.001", true },
		{ "gzip;q=1.0", true },
		{ "*", true },
		{ "*;q=0", false },
		{ "*, gzip;q=0", false },
		{ "*;q=0, gzip", true },
		{ "identity", false },
		{ "gzipped", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (web_takes_gzip(slice_str(rows[i].value)) != rows[i].takes)
			fail_msg("%s", rows[i].value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_asked_for_each_time_and_may_do_little),
		cmocka_unit_test(an_asset_is_kept_for_ever_and_comes_packed_to_those_who_take_that),
		cmocka_unit_test(head_tells_the_length_and_sends_nothing),
		cmocka_unit_test(what_the_reader_has_is_not_sent_again),
		cmocka_unit_test(what_is_no_page_is_left_to_the_service),
		cmocka_unit_test(what_no_page_has_is_refused),
		cmocka_unit_test(gzip_is_taken_by_its_name_or_by_the_star),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
