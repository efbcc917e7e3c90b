#include "core/front_test_site.h"

#include "mirror/heads.h"

/* --- lists --- */

static struct arena arena;

static struct httplines of(const char *const *lines, size_t count)
{
	struct slice *s = arena_alloc(&arena, (count + 1) * sizeof(*s));

	for (size_t i = 0; i < count; i++)
		s[i] = slice_str(lines[i]);
	return (struct httplines){ s, count };
}
#define OF(...) of((const char *const[]){ __VA_ARGS__ }, ARRAY_LEN(((const char *const[]){ __VA_ARGS__ })))

static int setup(void **state)
{
	arena_init(&arena, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_fini(&arena);
	return 0;
}

static void a_list_of_lines_grows_and_loses_lines_by_name(void **state)
{
	struct lines l;

	lines_init(&l, &arena);
	for (int i = 0; i < 100; i++)
		lines_addf(&l, "X-%d: %d", i % 10, i);
	lines_add(&l, slice_str("no line at all"));
	assert_int_equal(l.count, 101);
	lines_remove(&l, "x-3");
	assert_int_equal(l.count, 91);
	assert_true(slice_eq_str(l.items[3], "X-4: 4"));
	assert_true(slice_eq_str(l.items[90], "no line at all"));
	assert_false(l.full);
}

static void a_full_arena_is_noted(void **state)
{
	struct arena small;
	struct lines l;

	arena_init(&small, 1000);
	lines_init(&l, &small);
	lines_add(&l, slice_str("a: b"));
	assert_false(l.full);
	lines_addf(&l, "c: %900d", 1);
	assert_true(l.full);
	assert_int_equal(l.count, 1);
	arena_fini(&small);
}

/* --- an answer's lines --- */

static void an_answer_goes_on_without_what_belongs_to_upstreams_connection(void **state)
{
	const struct httplines in = OF("Content-Type: text/plain", "Content-Length: 7", "Connection: X-Private, close",
				       "X-Private: 1", "Keep-Alive: timeout=5", "Transfer-Encoding: chunked",
				       "x-request-id: theirs", "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Via: 1.0 fred",
				       "Content-Encoding: br", "X-Empty:", "not a line", "Bad Name: x");
	static const char *const wanted[][2] = {
		{ "Content-Type", "text/plain" }, { "Date", "Sun, 06 Nov 1994 08:49:37 GMT" }, { "Via", "1.0 fred" },
		{ "Content-Encoding", "br" },     { "X-Empty", "" },                           { "Via", "1.1 weir" },
	};
	size_t n = 0;
	struct header_line *got = heads_for_reply(&in, &arena, 2, &n);

	assert_non_null(got);
	assert_int_equal(n, ARRAY_LEN(wanted));
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(got[i].name, wanted[i][0]);
		assert_string_equal(got[i].value, wanted[i][1]);
	}
}

static void control_characters_of_upstream_end_no_line_of_ours(void **state)
{
	static const char line[] = "X-A: a\rSet-Cookie: b\0c";
	const struct slice lines[] = { { line, sizeof(line) - 1 } };
	const struct httplines in = { lines, 1 };
	size_t n = 0;
	struct header_line *got = heads_for_reply(&in, &arena, 0, &n);

	assert_int_equal(n, 2);
	assert_string_equal(got[0].value, "a Set-Cookie: b c");
}

static void no_lines_when_the_arena_is_full(void **state)
{
	const struct httplines in = OF("A: b", "C: d");
	struct arena small;
	size_t n = 77;

	for (size_t limit = 0; limit < 52; limit++) {
		arena_init(&small, limit);
		assert_null(heads_for_reply(&in, &small, 0, &n));
		arena_fini(&small);
	}
	assert_int_equal(n, 77);
}

static void only_what_would_leave_http_is_an_upgrade(void **state)
{
	const struct {
		struct httplines in;
		bool is;
	} rows[] = {
		{ OF("Connection: Upgrade", "Upgrade: websocket"), true },
		{ OF("Connection: keep-alive, upgrade", "Upgrade: WebSocket"), true },
		{ OF("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"), false },
		{ OF("Connection: Upgrade", "Upgrade: h2c, websocket"), true },
		{ OF("Upgrade: websocket"), false },
		{ OF("Connection: upgrade"), false },
		{ OF("Connection: close", "Upgrade: websocket"), false },
		{ OF("Connection: upgrade", "Upgrade: TLS/1.0"), true },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(heads_is_upgrade(&rows[i].in), rows[i].is);
}

/* --- a request's lines, over a real socket: the service answers with what it would send upstream --- */

static unsigned flags;

static void tell_lines(struct exchange *ex)
{
	struct lines in, out;
	struct httplines h;
	struct buf b = BUF_EMPTY;

	heads_of_request(ex, &in);
	h = lines_view(&in);
	heads_to_upstream(ex, &h, flags, &out);
	for (size_t i = 0; i < out.count; i++)
		buf_addf(&b, "%.*s\n", (int)out.items[i].n, out.items[i].p);
	exchange_reply(ex, 200, NULL, 0, blob_new_take(&b));
}

/* The port of the client is not known beforehand: "for" is compared without it. */
static void check(const char *request, const char *wanted)
{
	struct answer a;
	char *port, *end;
	int fd = dial();

	say(fd, request);
	assert_int_equal(hear(fd, &a, true), 200);
	port = strstr(a.body.data, "for=\"127.0.0.1:");
	if (port) {
		port += strlen("for=\"127.0.0.1:");
		end = strchr(port, '"');
		assert_true(end > port);
		memmove(port, end, strlen(end) + 1);
	}
	assert_string_equal(a.body.data, wanted);
	forget(&a);
	close(fd);
}

static void a_request_goes_on_with_what_a_proxy_adds(void **state)
{
	site_handle = tell_lines;
	flags = 0;
	start();
	check("GET /a HTTP/1.1\r\nHost: localhost:80\r\nX-Request-Id: me\r\nUser-Agent: x\r\nX-Empty:\r\n\r\n",
	      "User-Agent: x\nX-Empty:\nVia: 1.1 weir\nForwarded: for=\"127.0.0.1:\";host=\"localhost:80\";proto=http\n"
	      "X-Request-Id: me\n");
	check("GET /a HTTP/1.1\r\nHost: localhost\r\nvia: 1.0 fred\r\nForwarded: for=10.0.0.1\r\n"
	      "X-Request-Id: me\r\n\r\n",
	      "via: 1.0 fred\nForwarded: for=10.0.0.1\nVia: 1.1 weir\n"
	      "Forwarded: for=\"127.0.0.1:\";host=localhost;proto=http\nX-Request-Id: me\n");
	assert_true(stop());
}

static void what_belongs_to_the_clients_connection_stays_here(void **state)
{
	site_handle = tell_lines;
	flags = HEADS_FOR_OUTBOX;
	start();
	check("PUT /a HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"
	      "TE: trailers\r\nProxy-Authorization: Basic eDp5\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n"
	      "If-Match: \"a\"\r\nAuthorization: Bearer t\r\n\r\nx",
	      "Content-Type: text/plain\nIf-Match: \"a\"\nAuthorization: Bearer t\n");
	check("PUT /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n"
	      "X-Request-Id: me\r\n\r\n0\r\n\r\n",
	      "X-Request-Id: me\n");
	assert_true(stop());
}

static void credentials_and_conditions_stay_here_when_told(void **state)
{
	static const char request[] =
		"GET /a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\nCookie: a=b\r\nRange: bytes=0-1\r\n"
		"If-Range: \"a\"\r\nIf-None-Match: \"a\"\r\nIf-Modified-Since: x\r\nIf-Match: *\r\n"
		"If-Unmodified-Since: x\r\nAccept: a/b\r\n\r\n";

	site_handle = tell_lines;
	start();
	flags = HEADS_FOR_OUTBOX | HEADS_WITHOUT_CREDENTIAL | HEADS_WITHOUT_CONDITIONS;
	check(request, "Accept: a/b\n");
	flags = HEADS_FOR_OUTBOX | HEADS_WITHOUT_CONDITIONS;
	check(request, "Authorization: Bearer t\nCookie: a=b\nAccept: a/b\n");
	assert_true(stop());
}

static void hops_are_counted_down_where_they_count(void **state)
{
	site_handle = tell_lines;
	flags = HEADS_FOR_OUTBOX;
	start();
	check("OPTIONS /a HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 3\r\n\r\n", "Max-Forwards: 2\n");
	check("GET /a HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 3\r\n\r\n", "Max-Forwards: 3\n");
	check("OPTIONS /a HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: x\r\n\r\n", "Max-Forwards: x\n");
	assert_true(stop());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_of_lines_grows_and_loses_lines_by_name),
		cmocka_unit_test(a_full_arena_is_noted),
		cmocka_unit_test(an_answer_goes_on_without_what_belongs_to_upstreams_connection),
		cmocka_unit_test(control_characters_of_upstream_end_no_line_of_ours),
		cmocka_unit_test(no_lines_when_the_arena_is_full),
		cmocka_unit_test(only_what_would_leave_http_is_an_upgrade),
		cmocka_unit_test(a_request_goes_on_with_what_a_proxy_adds),
		cmocka_unit_test(what_belongs_to_the_clients_connection_stays_here),
		cmocka_unit_test(credentials_and_conditions_stay_here_when_told),
		cmocka_unit_test(hops_are_counted_down_where_they_count),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
