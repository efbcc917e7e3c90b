/* answer_test.c */
#include "client/answer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The whole text at once; then byte by byte: the same must come of it. */
static int feed(struct weirc_answer *a, const char *text, size_t n, size_t *ret_used)
{
	struct weirc_answer *slow = calloc(1, sizeof(*slow));
	size_t at = 0, used;
	int r, s = 0;

	weirc_answer_init(a);
	r = weirc_answer_feed(a, text, n, ret_used);
	weirc_answer_init(slow);
	while (s == 0 && at < n) {
		s = weirc_answer_feed(slow, text + at, 1, &used);
		at += used;
	}
	assert_int_equal(r, s);
	assert_int_equal(*ret_used, at);
	if (r == 1) {
		assert_int_equal(a->status, slow->status);
		assert_int_equal(a->closes, slow->closes);
		assert_int_equal(a->body_kept, slow->body_kept);
		assert_memory_equal(a->body, slow->body, a->body_kept);
	}
	free(slow);
	return r;
}

static void answers_that_are_understood(void **state)
{
	static const struct {
		const char *text;
		int status;
		bool closes;
		const char *body;
		size_t left;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, false, "{}", 0 },
		{ "HTTP/1.1 200\r\ncontent-length:2 \r\n\r\n{}", 200, false, "{}", 0 },
		{ "HTTP/1.1 204 No Content\r\n\r\n", 204, false, "", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, Close\r\n\r\n{}", 200, true, "{}",
		  0 },
		{ "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, true, "{}", 0 },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, false, "", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\nX: \t\r\n\r\nabc", 200, false, "a", 2 },
		{ "HTTP/1.1 404 Not Found\r\nContent-Length: 018\r\n\r\nSession not found\n", 404, false,
		  "Session not found\n", 0 },
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		struct weirc_answer a;
		size_t used, n = strlen(rows[i].text);

		assert_int_equal(feed(&a, rows[i].text, n, &used), 1);
		assert_int_equal(a.status, rows[i].status);
		assert_int_equal(a.closes, rows[i].closes);
		assert_int_equal(a.body_kept, strlen(rows[i].body));
		assert_memory_equal(a.body, rows[i].body, a.body_kept);
		assert_int_equal(n - used, rows[i].left);
		for (size_t part = 0; part < used; part++) {
			size_t some;

			weirc_answer_init(&a);
			assert_int_equal(weirc_answer_feed(&a, rows[i].text, part, &some), 0);
		}
	}
}

static void answers_that_are_refused(void **state)
{
	static const char *const rows[] = {
		"HTTP/2 200 OK\r\n",
		"HTTP/1.2 200 OK\r\n",
		"HTTP/1.1 20 OK\r\n",
		"HTTP/1.1 2000 OK\r\n",
		"HTTP/1.1 099 OK\r\n",
		"http/1.1 200 OK\r\n",
		"\r\nHTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\n",
		"HTTP/1.1 200 OK\r\n\r\n", /* no length */
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\x01\r\n\r\n",
		"HTTP/1.1 101 Switching\r\n\r\n",
		"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		struct weirc_answer a;
		size_t used;

		assert_int_equal(feed(&a, rows[i], strlen(rows[i]), &used), -EPROTO);
	}
}

static void what_has_no_end_is_refused(void **state)
{
	struct weirc_answer a;
	char *text = malloc(40000);
	size_t used, n = 0;

	(void)state;
	n += (size_t)snprintf(text, 100, "HTTP/1.1 200 OK\r\nX: ");
	memset(text + n, 'a', WEIRC_ANSWER_LINE);
	assert_int_equal(feed(&a, text, n + WEIRC_ANSWER_LINE, &used), -EPROTO);
	for (n = 17; n < 30000; n += 8)
		memcpy(text + n, "Xxx: y\r\n", 8);
	assert_int_equal(feed(&a, text, n, &used), -EPROTO);
	assert_int_equal(used, WEIRC_ANSWER_HEAD + 1);
	free(text);
}

static void a_long_body_is_read_and_its_beginning_kept(void **state)
{
	char text[3000];
	struct weirc_answer a;
	size_t used;
	int n = snprintf(text, sizeof(text), "HTTP/1.1 500 Oops\r\nContent-Length: 2000\r\n\r\n");

	(void)state;
	memset(text + n, 'b', 2000);
	memcpy(text + n + 2000, "next", 4);
	assert_int_equal(feed(&a, text, (size_t)n + 2004, &used), 1);
	assert_int_equal(used, n + 2000);
	assert_int_equal(a.body_kept, WEIRC_ANSWER_KEPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_that_are_understood),
		cmocka_unit_test(answers_that_are_refused),
		cmocka_unit_test(what_has_no_end_is_refused),
		cmocka_unit_test(a_long_body_is_read_and_its_beginning_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
