/* http_parse_test.c -- what is a request, and what is refused because two readers could understand it differently.
 *
 * Each row is fed whole, byte by byte, and in pieces of 2, 3 and 7 bytes: the result must be the same. */
#include "io/http_parse.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/obj.h"

#define H "Host: h\r\n"
#define MOST_HEAD 2048

struct result {
	enum http_event last;  /* HTTP_EV_END: one whole request; HTTP_EV_MORE: it would go on */
	enum http_refuse why;
	struct buf head, body;
	struct http_head h;
	size_t used;
};

/* One request. The head is copied to where it stays, as a connection does. */
static void run(const char *p, size_t n, size_t piece, struct result *r)
{
	struct http_parse hp;
	size_t at = 0;

	*r = (struct result){ .last = HTTP_EV_MORE, .head = BUF_EMPTY, .body = BUF_EMPTY };
	http_parse_init(&hp, MOST_HEAD);
	do {
		size_t give = n - at < piece ? n - at : piece, used;
		char *copy = malloc(give ? give : 1); /* so that a sanitizer sees a read beyond it */
		struct slice out, rest = { copy, give };

		memcpy(copy, p + at, give);
		do {
			r->last = http_parse_step(&hp, rest.p, rest.n, &used, &out);
			assert_true(used <= rest.n);
			rest = slice_from(rest, used);
			at += used;
			if (r->last == HTTP_EV_HEAD) {
				buf_add_slice(&r->head, out);
				if (http_parse_head(&hp, buf_slice(&r->head), &r->h) < 0)
					r->last = HTTP_EV_REFUSED;
			} else if (r->last == HTTP_EV_BODY) {
				buf_add_slice(&r->body, out);
			}
		} while (r->last == HTTP_EV_HEAD || r->last == HTTP_EV_BODY);
		free(copy);
		if (r->last == HTTP_EV_MORE)
			assert_int_equal(rest.n, 0);
	} while (r->last == HTTP_EV_MORE && at < n);
	r->why = hp.refusal;
	r->used = at;
	if (r->last == HTTP_EV_REFUSED) { /* and it stays refused */
		size_t used;
		struct slice out;

		assert_int_equal(http_parse_step(&hp, "GET / HTTP/1.1\r\n", 16, &used, &out), HTTP_EV_REFUSED);
	}
	http_parse_fini(&hp);
}

static void forget(struct result *r)
{
	buf_fini(&r->head);
	buf_fini(&r->body);
}

static const size_t pieces[] = { 1 << 20, 1, 2, 3, 7 };

/* --- refused --- */

#define REFUSED(name, section, bytes, why) { name, section, "" bytes, sizeof(bytes) - 1, HTTP_REFUSE_##why }
#define POST "POST / HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
	const char *name, *section, *bytes;
	size_t n;
	enum http_refuse why;
} refused[] = {
	/* lines */
	REFUSED("bare CR in the request line", "RFC 9112 2.2", "GET /\r HTTP/1.1\r\n" H "\r\n", BARE_CR),
	REFUSED("bare CR in a value", "RFC 9112 2.2", "GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n", BARE_CR),
	REFUSED("CR CR LF", "RFC 9112 2.2", "GET / HTTP/1.1\r\r\n" H "\r\n", BARE_CR),
	REFUSED("CR CR LF at the end", "RFC 9112 2.2", "GET / HTTP/1.1\r\n" H "\r\r\n", BARE_CR),
	REFUSED("bare LF ends the request line", "RFC 9112 2.2", "GET / HTTP/1.1\n" H "\r\n", BARE_LF),
	REFUSED("bare LF ends a field", "RFC 9112 2.2", "GET / HTTP/1.1\r\nHost: h\n\r\n", BARE_LF),
	REFUSED("bare LF ends the head", "RFC 9112 2.2", "GET / HTTP/1.1\r\n" H "\n", BARE_LF),
	REFUSED("two empty lines before the request", "RFC 9112 2.2", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n",
		REQUEST_LINE),
	REFUSED("bare LF before the request", "RFC 9112 2.2", "\nGET / HTTP/1.1\r\n" H "\r\n", BARE_LF),
	REFUSED("NUL in a value", "RFC 9110 5.5", "GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n", CONTROL),
	REFUSED("NUL in a name", "RFC 9110 5.1", "GET / HTTP/1.1\r\n" H "A\0: b\r\n\r\n", CONTROL),
	REFUSED("NUL in the target", "RFC 9112 3.2", "GET /a\0b HTTP/1.1\r\n" H "\r\n", CONTROL),
	REFUSED("control character in a value", "RFC 9110 5.5", "GET / HTTP/1.1\r\n" H "A: b\x01\r\n\r\n", CONTROL),
	REFUSED("DEL in a value", "RFC 9110 5.5", "GET / HTTP/1.1\r\n" H "A: b\x7f\r\n\r\n", CONTROL),
	REFUSED("vertical tab in the request line", "RFC 9112 3", "GET\v/ HTTP/1.1\r\n" H "\r\n", CONTROL),
	REFUSED("a TLS hello", "RFC 9112 2.2", "\x16\x03\x01\x02\0\x01", CONTROL),
	/* request line */
	REFUSED("HTTP/0.9", "RFC 9112 3", "GET /\r\n\r\n", REQUEST_LINE),
	REFUSED("no target", "RFC 9112 3", "GET HTTP/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("two spaces before the target", "RFC 9112 3", "GET  / HTTP/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("two spaces before the version", "RFC 9112 3", "GET /  HTTP/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("tab instead of space", "RFC 9112 3", "GET\t/ HTTP/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("space after the version", "RFC 9112 3", "GET / HTTP/1.1 \r\n" H "\r\n", REQUEST_LINE),
	REFUSED("space before the method", "RFC 9112 3", " GET / HTTP/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("space in the target", "RFC 9112 3.2", "GET /a b HTTP/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("malformed method", "RFC 9112 3.1", "G(T / HTTP/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("unknown method", "RFC 9110 9.1", "BREW / HTTP/1.1\r\n" H "\r\n", METHOD),
	REFUSED("methods are case-sensitive", "RFC 9110 9.1", "get / HTTP/1.1\r\n" H "\r\n", METHOD),
	REFUSED("lower-case http", "RFC 9112 2.3", "GET / http/1.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("version with two digits", "RFC 9112 2.3", "GET / HTTP/1.10\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("version without digits", "RFC 9112 2.3", "GET / HTTP/x.1\r\n" H "\r\n", REQUEST_LINE),
	REFUSED("HTTP/2.0", "RFC 9110 15.6.6", "GET / HTTP/2.0\r\n" H "\r\n", VERSION),
	REFUSED("HTTP/1.2", "RFC 9110 15.6.6", "GET / HTTP/1.2\r\n" H "\r\n", VERSION),
	REFUSED("HTTP/2 preface", "RFC 9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PREFACE),
	/* target */
	REFUSED("relative target", "RFC 9112 3.2", "GET a HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("asterisk for GET", "RFC 9112 3.2.4", "GET * HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("fragment", "RFC 9112 3.2", "GET /#a HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("bytes above 127 in the target", "RFC 9112 3.2", "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("other scheme", "RFC 9112 3.2.2", "GET ftp://h/ HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("absolute-form without a host", "RFC 9110 4.2.1", "GET http:///a HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("user information", "RFC 9110 4.2.4", "GET http://u:p@h/ HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("CONNECT without a port", "RFC 9112 3.2.3", "CONNECT h HTTP/1.1\r\n" H "\r\n", TARGET),
	REFUSED("CONNECT to a path", "RFC 9112 3.2.3", "CONNECT /a HTTP/1.1\r\n" H "\r\n", TARGET),
	/* fields */
	REFUSED("space before the colon", "RFC 9112 5.1", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", FIELD_NAME),
	REFUSED("tab before the colon", "RFC 9112 5.1", "GET / HTTP/1.1\r\n" H "A\t: b\r\n\r\n", FIELD_NAME),
	REFUSED("space in a name", "RFC 9112 5.1", "GET / HTTP/1.1\r\n" H "A B: c\r\n\r\n", FIELD_NAME),
	REFUSED("empty name", "RFC 9112 5.1", "GET / HTTP/1.1\r\n" H ": b\r\n\r\n", FIELD_NAME),
	REFUSED("no colon", "RFC 9112 5", "GET / HTTP/1.1\r\n" H "A\r\n\r\n", FIELD_NAME),
	REFUSED("separator in a name", "RFC 9110 5.6.2", "GET / HTTP/1.1\r\n" H "A@b: c\r\n\r\n", FIELD_NAME),
	REFUSED("bytes above 127 in a name", "RFC 9110 5.6.2", "GET / HTTP/1.1\r\n" H "\xc3\xa4: c\r\n\r\n",
		FIELD_NAME),
	REFUSED("obs-fold", "RFC 9112 5.2", "GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", FOLD),
	REFUSED("obs-fold with a tab", "RFC 9112 5.2", "GET / HTTP/1.1\r\n" H "A: b\r\n\tc\r\n\r\n", FOLD),
	REFUSED("space before the first field", "RFC 9112 2.2", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", FOLD),
	/* Host */
	REFUSED("no Host", "RFC 9112 3.2", "GET / HTTP/1.1\r\n\r\n", HOST),
	REFUSED("two Hosts", "RFC 9112 3.2", "GET / HTTP/1.1\r\n" H "Host: h\r\n\r\n", HOST),
	REFUSED("two Hosts in HTTP/1.0", "RFC 9112 3.2", "GET / HTTP/1.0\r\n" H "Host: i\r\n\r\n", HOST),
	REFUSED("empty Host", "RFC 9112 3.2", "GET / HTTP/1.1\r\nHost:\r\n\r\n", HOST),
	REFUSED("a list of Hosts", "RFC 9112 3.2", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HOST),
	REFUSED("Host with a path", "RFC 9112 3.2", "GET / HTTP/1.1\r\nHost: h/a\r\n\r\n", HOST),
	REFUSED("Host with user information", "RFC 9112 3.2", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", HOST),
	REFUSED("Host with a bad port", "RFC 9112 3.2", "GET / HTTP/1.1\r\nHost: h:8x\r\n\r\n", HOST),
	REFUSED("Host with an open bracket", "RFC 9112 3.2", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HOST),
	REFUSED("Host and target differ", "RFC 9112 3.2.2", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", HOST_DIFFERS),
	/* length */
	REFUSED("Content-Length with a plus", "RFC 9112 6.2", POST "Content-Length: +5\r\n\r\nabcde", LENGTH),
	REFUSED("negative Content-Length", "RFC 9112 6.2", POST "Content-Length: -5\r\n\r\n", LENGTH),
	REFUSED("empty Content-Length", "RFC 9112 6.2", POST "Content-Length:\r\n\r\n", LENGTH),
	REFUSED("hexadecimal Content-Length", "RFC 9112 6.2", POST "Content-Length: 0x5\r\n\r\nabcde", LENGTH),
	REFUSED("Content-Length with a space", "RFC 9112 6.2", POST "Content-Length: 1 0\r\n\r\n", LENGTH),
	REFUSED("Content-Length with a fraction", "RFC 9112 6.2", POST "Content-Length: 5.0\r\n\r\nabcde", LENGTH),
	REFUSED("a list of equal lengths", "RFC 9112 6.3", POST "Content-Length: 5, 5\r\n\r\nabcde", LENGTH),
	REFUSED("equal lengths twice", "RFC 9112 6.3", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
		LENGTH),
	REFUSED("differing lengths", "RFC 9112 6.3", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
		LENGTH),
	REFUSED("Content-Length above 63 bits", "RFC 9112 6.3", POST "Content-Length: 9223372036854775808\r\n\r\n",
		LENGTH),
	REFUSED("Content-Length above 64 bits", "RFC 9112 6.3", POST "Content-Length: 18446744073709551621\r\n\r\n",
		LENGTH),
	REFUSED("length and coding", "RFC 9112 6.3", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		LENGTH_AND_CODING),
	REFUSED("coding and length", "RFC 9112 6.3", POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
		LENGTH_AND_CODING),
	REFUSED("HTTP/1.0 POST without a length", "RFC 9112 6.3", "POST / HTTP/1.0\r\n" H "\r\n", LENGTH_REQUIRED),
	/* transfer codings */
	REFUSED("identity", "RFC 9112 6.1", POST "Transfer-Encoding: identity\r\n\r\n", CODING),
	REFUSED("chunked not last", "RFC 9112 6.3", POST "Transfer-Encoding: chunked, gzip\r\n\r\n", CODING),
	REFUSED("chunked twice", "RFC 9112 6.1", POST "Transfer-Encoding: chunked, chunked\r\n\r\n", CODING),
	REFUSED("two fields", "RFC 9112 6.1", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		CODING),
	REFUSED("two fields, the second odd", "RFC 9112 6.1",
		POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", CODING),
	REFUSED("xchunked", "RFC 9112 6.1", POST "Transfer-Encoding: xchunked\r\n\r\n", CODING),
	REFUSED("quoted", "RFC 9112 6.1", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", CODING),
	REFUSED("with a parameter", "RFC 9112 6.1", POST "Transfer-Encoding: chunked;a=b\r\n\r\n", CODING),
	REFUSED("with a vertical tab", "RFC 9112 6.1",
		POST "Transfer-Encoding: \x0b"
		     "chunked\r\n\r\n",
		CONTROL),
	REFUSED("empty coding", "RFC 9112 6.1", POST "Transfer-Encoding:\r\n\r\n", CODING),
	REFUSED("empty list item", "RFC 9112 6.1", POST "Transfer-Encoding: ,chunked\r\n\r\n", CODING),
	REFUSED("known to others", "RFC 9112 6.1", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", CODING_UNKNOWN),
	REFUSED("in HTTP/1.0", "RFC 9112 6.1", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", CODING),
	/* chunks */
	REFUSED("chunk size with 0x", "RFC 9112 7.1", CHUNKED "0x5\r\nabcde\r\n0\r\n\r\n", CHUNK),
	REFUSED("negative chunk size", "RFC 9112 7.1", CHUNKED "-5\r\n", CHUNK),
	REFUSED("chunk size with a plus", "RFC 9112 7.1", CHUNKED "+5\r\nabcde\r\n", CHUNK),
	REFUSED("empty chunk size", "RFC 9112 7.1", CHUNKED "\r\n", CHUNK),
	REFUSED("space before the chunk size", "RFC 9112 7.1", CHUNKED " 5\r\nabcde\r\n", CHUNK),
	REFUSED("space after the chunk size", "RFC 9112 7.1.1", CHUNKED "5 \r\nabcde\r\n", CHUNK),
	REFUSED("chunk size above 63 bits", "RFC 9112 7.1", CHUNKED "8000000000000000\r\n", CHUNK),
	REFUSED("chunk size above 64 bits", "RFC 9112 7.1", CHUNKED "10000000000000005\r\nabcde", CHUNK),
	REFUSED("chunk size of 17 digits", "RFC 9112 7.1", CHUNKED "00000000000000005\r\nabcde", CHUNK),
	REFUSED("bare LF after the chunk size", "RFC 9112 7.1", CHUNKED "5\nabcde\r\n0\r\n\r\n", CHUNK),
	REFUSED("bare CR after the chunk size", "RFC 9112 7.1", CHUNKED "5\rabcde\r\n0\r\n\r\n", CHUNK),
	REFUSED("chunk longer than its size", "RFC 9112 7.1", CHUNKED "5\r\nabcdef\r\n0\r\n\r\n", CHUNK),
	REFUSED("bare LF after the chunk data", "RFC 9112 7.1", CHUNKED "5\r\nabcde\n0\r\n\r\n", CHUNK),
	REFUSED("control in an extension", "RFC 9112 7.1.1", CHUNKED "5;a\x01\r\nabcde\r\n", CHUNK),
	REFUSED("bare LF in an extension", "RFC 9112 7.1.1", CHUNKED "5;a\nabcde\r\n", CHUNK),
	REFUSED("extension without a name", "RFC 9112 7.1.1", CHUNKED "5;\r\nabcde\r\n", CHUNK),
	REFUSED("extension without a value", "RFC 9112 7.1.1", CHUNKED "5;a=\r\nabcde\r\n", CHUNK),
	REFUSED("bad whitespace in an extension", "RFC 9112 7.1.1", CHUNKED "5; a\r\nabcde\r\n", CHUNK),
	REFUSED("open quote in an extension", "RFC 9112 7.1.1", CHUNKED "5;a=\"b\r\nabcde\r\n", CHUNK),
	REFUSED("two extensions with values, which llhttp 8.1 cannot read", "RFC 9112 7.1.1",
		CHUNKED "5;a=b;c=d\r\nabcde\r\n", DISAGREE),
	REFUSED("letters after the last size", "RFC 9112 7.1", CHUNKED "0g\r\n\r\n", CHUNK),
	/* trailers */
	REFUSED("space before a trailer's colon", "RFC 9112 7.1.2", CHUNKED "0\r\nA : b\r\n\r\n", TRAILER),
	REFUSED("folded trailer", "RFC 9112 7.1.2", CHUNKED "0\r\nA: b\r\n c\r\n\r\n", TRAILER),
	REFUSED("bare LF in trailers", "RFC 9112 7.1.2", CHUNKED "0\r\nA: b\n\r\n", TRAILER),
	REFUSED("bare LF ends the trailers", "RFC 9112 7.1.2", CHUNKED "0\r\n\n", TRAILER),
	REFUSED("NUL in a trailer", "RFC 9112 7.1.2", CHUNKED "0\r\nA: \0\r\n\r\n", TRAILER),
	/* expectations */
	REFUSED("other expectation", "RFC 9110 10.1.1", POST "Expect: tea\r\nContent-Length: 1\r\n\r\n", EXPECT),
};

static void what_two_readers_could_understand_differently_is_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		for (size_t k = 0; k < ARRAY_LEN(pieces); k++) {
			struct result r;

			run(refused[i].bytes, refused[i].n, pieces[k], &r);
			if (r.last != HTTP_EV_REFUSED || r.why != refused[i].why)
				fail_msg("%s (%s), in pieces of %zu: wanted %s, got %s", refused[i].name,
					 refused[i].section, pieces[k], http_refuse_label(refused[i].why),
					 r.last == HTTP_EV_REFUSED ? http_refuse_label(r.why) : "no refusal");
			forget(&r);
		}
}

/* --- accepted --- */

static const struct {
	const char *name, *bytes, *method, *target, *authority, *body;
	int64_t announced;
	bool keep_alive, expect_continue;
} accepted[] = {
	{ "plain", "GET / HTTP/1.1\r\n" H "\r\n", "GET", "/", "h", "", 0, true, false },
	{ "one empty line before it", "\r\nGET / HTTP/1.1\r\n" H "\r\n", "GET", "/", "h", "", 0, true, false },
	{ "the target is not touched", "GET /a%2fb//../%00?x=%20&y={|} HTTP/1.1\r\n" H "\r\n", "GET",
	  "/a%2fb//../%00?x=%20&y={|}", "h", "", 0, true, false },
	{ "no space after the colon", "GET / HTTP/1.1\r\nHost:h\r\n\r\n", "GET", "/", "h", "", 0, true, false },
	{ "space around the value", "GET / HTTP/1.1\r\nhOsT: \t h \t\r\nA:\r\n\r\n", "GET", "/", "h", "", 0, true,
	  false },
	{ "obs-text in a value", "GET / HTTP/1.1\r\n" H "A: \xc3\xa4\r\n\r\n", "GET", "/", "h", "", 0, true, false },
	{ "address and port", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "GET", "/", "[::1]:8080", "", 0, true,
	  false },
	{ "close", "GET / HTTP/1.1\r\n" H "Connection: x, Close\r\n\r\n", "GET", "/", "h", "", 0, false, false },
	{ "HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET", "/", "", "", 0, false, false },
	{ "HTTP/1.0, kept alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", "/", "", "", 0, true,
	  false },
	{ "absolute-form", "GET http://h:80/a?b HTTP/1.1\r\nHost: h:80\r\n\r\n", "GET", "http://h:80/a?b", "h:80", "",
	  0, true, false },
	{ "absolute-form, host in other case", "GET HTTPS://H HTTP/1.1\r\n" H "\r\n", "GET", "HTTPS://H", "H", "", 0,
	  true, false },
	{ "asterisk", "OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS", "*", "h", "", 0, true, false },
	{ "CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", "CONNECT", "h:443", "h:443", "", 0, false,
	  false },
	{ "length", POST "Content-Length: 5\r\n\r\nabcde", "POST", "/", "h", "abcde", 5, true, false },
	{ "length with leading zeros", POST "Content-Length: 005\r\n\r\nabcde", "POST", "/", "h", "abcde", 5, true,
	  false },
	{ "length 0", POST "Content-Length: 0\r\n\r\n", "POST", "/", "h", "", 0, true, false },
	{ "no length: no body", POST "\r\n", "POST", "/", "h", "", 0, true, false },
	{ "body of GET", "GET / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab", "GET", "/", "h", "ab", 2, true, false },
	{ "expectation", POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\na", "POST", "/", "h", "a", 1, true,
	  true },
	{ "chunks", CHUNKED "5\r\nabcde\r\n1\r\nf\r\n0\r\n\r\n", "POST", "/", "h", "abcdef", -1, true, false },
	{ "chunk data that looks like framing", CHUNKED "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "POST", "/", "h", "0\r\n\r\n",
	  -1, true, false },
	{ "hexadecimal sizes", CHUNKED "00a\r\n0123456789\r\nB\r\n0123456789a\r\n000\r\n\r\n", "POST", "/", "h",
	  "01234567890123456789a", -1, true, false },
	{ "extensions", CHUNKED "1;a;b\r\nx\r\n1;a=b\r\ny\r\n1;a=\"b c\"\r\nz\r\n0;e\r\n\r\n", "POST", "/", "h", "xyz",
	  -1, true, false },
	{ "trailers", CHUNKED "1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", "POST", "/", "h", "x", -1, true, false },
	{ "coding in other case", POST "transfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n", "POST", "/", "h", "", -1, true,
	  false },
	{ "upgrade is not taken", "GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "GET", "/", "h",
	  "", 0, true, false },
	{ "upgrade with a body", POST "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab", "POST", "/",
	  "h", "ab", 2, true, false },
};

static void requests_are_understood(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(accepted); i++)
		for (size_t k = 0; k < ARRAY_LEN(pieces); k++) {
			struct result r;

			run(accepted[i].bytes, strlen(accepted[i].bytes), pieces[k], &r);
			if (r.last != HTTP_EV_END)
				fail_msg("%s, in pieces of %zu: %s", accepted[i].name, pieces[k],
					 r.last == HTTP_EV_REFUSED ? http_refuse_label(r.why) : "unfinished");
			if (!slice_eq_str(r.h.method, accepted[i].method) ||
			    !slice_eq_str(r.h.target, accepted[i].target) ||
			    !slice_eq_str(r.h.authority, accepted[i].authority) ||
			    strcmp(r.body.data, accepted[i].body) != 0 || r.h.body != accepted[i].announced ||
			    r.h.keep_alive != accepted[i].keep_alive ||
			    r.h.expect_continue != accepted[i].expect_continue || r.used != strlen(accepted[i].bytes))
				fail_msg("%s, in pieces of %zu: understood differently", accepted[i].name, pieces[k]);
			forget(&r);
		}
}

static void fields_are_found_in_any_case(void **state)
{
	static const char bytes[] = "GET / HTTP/1.1\r\n" H "X-Two: 1\r\nx-two: 2\r\nEmpty:\r\n\r\n";
	struct result r;

	run(bytes, sizeof(bytes) - 1, 1 << 20, &r);
	assert_int_equal(r.h.count, 4);
	assert_true(slice_eq_str(http_head_get(&r.h, "x-two"), "1"));
	assert_non_null(http_head_get(&r.h, "empty").p);
	assert_int_equal(http_head_get(&r.h, "empty").n, 0);
	assert_null(http_head_get(&r.h, "absent").p);
	forget(&r);
}

static void one_parser_reads_many_requests_and_keeps_no_memory_between_them(void **state)
{
	static const char bytes[] =
		"GET /1 HTTP/1.1\r\n" H "\r\n" CHUNKED "1\r\nx\r\n0\r\n\r\n\r\nGET /3 HTTP/1.1\r\n" H "\r\n";

	for (size_t piece = 1; piece < sizeof(bytes); piece++) {
		struct http_parse hp;
		struct http_head h;
		struct buf head = BUF_EMPTY;
		size_t at = 0, ends = 0;

		http_parse_init(&hp, MOST_HEAD);
		while (at < sizeof(bytes) - 1) {
			size_t give = sizeof(bytes) - 1 - at < piece ? sizeof(bytes) - 1 - at : piece, used;
			struct slice out;
			enum http_event ev;

			do {
				ev = http_parse_step(&hp, bytes + at, give, &used, &out);
				at += used;
				give -= used;
				if (ev == HTTP_EV_HEAD) {
					buf_reset(&head);
					buf_add_slice(&head, out);
					assert_int_equal(http_parse_head(&hp, buf_slice(&head), &h), 0);
				}
				assert_int_not_equal(ev, HTTP_EV_REFUSED);
			} while (ev == HTTP_EV_HEAD || ev == HTTP_EV_BODY);
			if (ev == HTTP_EV_END) {
				ends++;
				http_parse_next(&hp);
				assert_true(http_parse_is_idle(&hp));
				assert_int_equal(hp.partial.cap, 0);
			}
		}
		assert_int_equal(ends, 3);
		assert_true(slice_eq_str(h.target, "/3"));
		http_parse_fini(&hp);
		buf_fini(&head);
	}
}

static void expect_refused(const struct buf *b, enum http_refuse why)
{
	for (size_t k = 0; k < ARRAY_LEN(pieces); k++) {
		struct result r;

		run(b->data, b->len, pieces[k], &r);
		assert_int_equal(r.last, HTTP_EV_REFUSED);
		assert_string_equal(http_refuse_label(r.why), http_refuse_label(why));
		forget(&r);
	}
}

static void heads_are_bounded(void **state)
{
	struct buf b = BUF_EMPTY;

	buf_add_str(&b, "GET /");
	for (int i = 0; i < MOST_HEAD; i++)
		buf_add_char(&b, 'a');
	expect_refused(&b, HTTP_REFUSE_LINE_LONG);
	buf_reset(&b);
	buf_add_str(&b, "GET / HTTP/1.1\r\n" H "A: ");
	for (int i = 0; i < MOST_HEAD; i++)
		buf_add_char(&b, 'a');
	expect_refused(&b, HTTP_REFUSE_HEAD_LONG);
	buf_reset(&b);
	buf_add_str(&b, "GET / HTTP/1.1\r\n" H);
	for (int i = 0; i < HTTP_MOST_FIELDS; i++)
		buf_add_str(&b, "A: b\r\n");
	buf_add_str(&b, "\r\n");
	expect_refused(&b, HTTP_REFUSE_HEAD_LONG);
	buf_fini(&b);
}

static void chunk_framing_is_bounded(void **state)
{
	struct buf b = BUF_EMPTY;

	buf_add_str(&b, CHUNKED "1;");
	for (int i = 0; i < HTTP_MOST_CHUNK_LINE; i++)
		buf_add_char(&b, 'a');
	expect_refused(&b, HTTP_REFUSE_CHUNK);
	buf_reset(&b);
	buf_add_str(&b, CHUNKED);
	for (int i = 0; i < HTTP_MOST_CHUNK_EXT / 16 + 1; i++)
		buf_add_str(&b, "1;0123456789abcde\r\nx\r\n");
	expect_refused(&b, HTTP_REFUSE_CHUNK);
	buf_reset(&b);
	buf_add_str(&b, CHUNKED "0\r\n");
	for (int i = 0; i < MOST_HEAD / 6 + 1; i++)
		buf_add_str(&b, "A: b\r\n");
	expect_refused(&b, HTTP_REFUSE_HEAD_LONG);
	buf_fini(&b);
}

static void every_refusal_has_a_client_status_a_label_and_a_sentence(void **state)
{
	for (int i = 0; i < HTTP_REFUSE_COUNT; i++) {
		assert_in_range(http_refuse_status(i), 400, 505);
		assert_true(strlen(http_refuse_label(i)) > 0);
		assert_true(strlen(http_refuse_text(i)) > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_two_readers_could_understand_differently_is_refused),
		cmocka_unit_test(requests_are_understood),
		cmocka_unit_test(fields_are_found_in_any_case),
		cmocka_unit_test(one_parser_reads_many_requests_and_keeps_no_memory_between_them),
		cmocka_unit_test(heads_are_bounded),
		cmocka_unit_test(chunk_framing_is_bounded),
		cmocka_unit_test(every_refusal_has_a_client_status_a_label_and_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
