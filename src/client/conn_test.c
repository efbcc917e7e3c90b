/* conn_test.c -- one side is conn.c, the other a socket of the test, which has said what it will say before it is
 * asked. */
#include "client/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define OK     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

static int listener, peer;
static struct weirc_address address;
static struct weirc_conn conn;
static _Atomic int64_t stop_at_ms;

static int set_up(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(in);
	char text[32];

	(void)state;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&in, n) < 0 || listen(listener, 8) < 0 ||
	    getsockname(listener, (struct sockaddr *)&in, &n) < 0)
		return -1;
	(void)snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
	atomic_store(&stop_at_ms, INT64_MAX);
	peer = -1;
	conn = (struct weirc_conn){ .address = &address, .fd = -1, .stop_at_ms = &stop_at_ms,
				    .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	return weirc_address_parse(text, &address);
}

static int tear_down(void **state)
{
	(void)state;
	weirc_conn_close(&conn);
	close(conn.wake_fd);
	close(listener);
	return peer >= 0 ? close(peer) : 0;
}

static void be_connected(const char *says)
{
	assert_int_equal(weirc_conn_open(&conn, 5000), 0);
	peer = accept(listener, NULL, NULL);
	assert_true(peer >= 0);
	assert_int_equal(write(peer, says, strlen(says)), strlen(says));
}

static int call(int64_t patience_ms)
{
	return weirc_conn_call(&conn, "question", 8, patience_ms);
}

static void addresses_of_this_machine(void **state)
{
	static const struct {
		const char *text;
		int r;
		unsigned count;
	} rows[] = {
		{ "127.0.0.1:8079", 0, 1 },
		{ "127.9.9.9:1", 0, 1 },
		{ "[::1]:65535", 0, 1 },
		{ "localhost:8079", 0, 2 },
		{ "127.0.0.1", -EINVAL, 0 },
		{ "127.0.0.1:", -EINVAL, 0 },
		{ "127.0.0.1:0", -EINVAL, 0 },
		{ "127.0.0.1:65536", -EINVAL, 0 },
		{ "127.0.0.1:80x", -EINVAL, 0 },
		{ "127.0.0.1:+80", -EINVAL, 0 },
		{ "192.168.1.1:8079", -EINVAL, 0 },
		{ "10.0.0.0:8079", -EINVAL, 0 },
		{ "::1:8079", -EINVAL, 0 },
		{ "[::2]:8079", -EINVAL, 0 },
		{ "example.com:80", -EINVAL, 0 },
		{ ":8079", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "a-name-that-is-much-longer-than-any-of-them:8079", -EINVAL, 0 },
	};
	struct weirc_address a;

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		assert_int_equal(weirc_address_parse(rows[i].text, &a), rows[i].r);
		if (rows[i].r == 0) {
			assert_int_equal(a.count, rows[i].count);
			assert_string_equal(a.host, rows[i].text);
		}
	}
	assert_int_equal(weirc_address_parse("0.0.0.0:8079", &a) | weirc_address_parse("[::]:8079", &a), 0);
	assert_int_equal(a.count, 2);
	assert_string_equal(a.host, "localhost:8079"); /* what the daemon takes */
}

static void a_question_and_its_answer(void **state)
{
	char heard[16];

	(void)state;
	be_connected(OK OK);
	assert_int_equal(call(5000), 200);
	assert_int_equal(read(peer, heard, sizeof(heard)), 8);
	assert_memory_equal(heard, "question", 8);
	assert_false(weirc_conn_is_open(&conn)); /* it said more than it was asked */
}

static void a_connection_is_kept_until_the_answer_says_close(void **state)
{
	(void)state;
	be_connected(OK);
	assert_int_equal(call(5000), 200);
	assert_true(weirc_conn_is_open(&conn));
	assert_false(weirc_conn_look(&conn));
	dprintf(peer, "HTTP/1.1 503 Full\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(call(5000), 503);
	assert_false(weirc_conn_is_open(&conn));
}

static void no_answer_in_time(void **state)
{
	int64_t began = weirc_now_ms();

	(void)state;
	be_connected("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{");
	assert_int_equal(call(50), -ETIMEDOUT);
	assert_true(weirc_now_ms() - began >= 50);
	assert_true(conn.was_sent);
	assert_false(weirc_conn_is_open(&conn));
}

static void somebody_is_in_a_hurry(void **state)
{
	uint64_t one = 1;

	(void)state;
	be_connected("");
	assert_int_equal(write(conn.wake_fd, &one, sizeof(one)), sizeof(one)); /* woken for nothing: it waits on */
	assert_int_equal(call(20), -ETIMEDOUT);
	weirc_conn_close(&conn);
	close(peer);
	be_connected("");
	atomic_store(&stop_at_ms, weirc_now_ms() + 20);
	assert_int_equal(call(60000), -ETIMEDOUT);
}

static void the_other_side_goes(void **state)
{
	(void)state;
	be_connected("");
	close(peer);
	peer = -1;
	assert_true(call(5000) < 0);
	assert_false(weirc_conn_is_open(&conn));
	be_connected("");
	shutdown(peer, SHUT_RDWR);
	assert_true(weirc_conn_look(&conn));
	assert_false(weirc_conn_is_open(&conn));
}

/* As to a request that is too large: the answer is there before the question is out. */
static void an_answer_before_the_question_has_left(void **state)
{
	static char large[16 * 1024 * 1024];
	int r;

	(void)state;
	be_connected("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	close(peer);
	peer = -1;
	r = weirc_conn_call(&conn, large, sizeof(large), 5000);
	assert_int_equal(r, 413);
	assert_false(weirc_conn_is_open(&conn));
}

static void what_is_no_answer(void **state)
{
	(void)state;
	be_connected("SSH-2.0-OpenSSH_9.2p1\r\n");
	assert_int_equal(call(5000), -EPROTO);
	assert_false(weirc_conn_is_open(&conn));
}

static void nobody_listens(void **state)
{
	(void)state;
	close(listener);
	listener = -1;
	assert_int_equal(weirc_conn_open(&conn, 5000), -ECONNREFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
		TEST(addresses_of_this_machine),
		TEST(a_question_and_its_answer),
		TEST(a_connection_is_kept_until_the_answer_says_close),
		TEST(no_answer_in_time),
		TEST(somebody_is_in_a_hurry),
		TEST(the_other_side_goes),
		TEST(an_answer_before_the_question_has_left),
		TEST(what_is_no_answer),
		TEST(nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
