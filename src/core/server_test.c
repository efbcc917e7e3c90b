/* server_test.c -- the HTTP front over real sockets, with a toy service behind it.
 *
 * Nothing sleeps: reads block with a limit of LIMIT_MS, conditions are waited for with the same limit. */
#include "core/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/front_test_kit.h"
#include "io/loop.h"

static struct {
	struct server *server;
	struct pool *pool;
	struct lane *lane;
	char dir[32];
	_Atomic int gone, cancelled, done_whole, done_cut;
	sem_t entered, go; /* /hold and the spools: the handler has come there, and may go on */
	struct spool *_Atomic spool;
} site;

/* --- the toy service --- */

static void on_done(void *arg, int status, uint64_t bytes, bool whole)
{
	atomic_fetch_add(whole ? &site.done_whole : &site.done_cut, 1);
}

static void count_body(struct exchange *ex)
{
	char piece[10000];
	uint64_t total = 0, sum = 0;
	ssize_t n;

	while ((n = exchange_body_read(ex, piece, sizeof(piece))) > 0) {
		total += (uint64_t)n;
		for (ssize_t i = 0; i < n; i++)
			sum += (unsigned char)piece[i];
	}
	if (n < 0)
		exchange_reply_body_error(ex, (int)n);
	else
		exchange_reply_text(ex, 200, "%llu bytes, sum %llu", (unsigned long long)total, (unsigned long long)sum);
}

static void hold(struct exchange *ex)
{
	struct cancel *c = exchange_cancel(ex);
	struct pollfd p = { cancel_fd(c), POLLIN, 0 };

	sem_post(&site.entered);
	if (poll(&p, 1, LIMIT_MS) == 1 && cancel_fired(c) && exchange_gone(ex))
		atomic_fetch_add(&site.cancelled, 1);
	exchange_reply_text(ex, 200, "nobody reads this");
}

static void slow(struct exchange *ex)
{
	sem_post(&site.entered);
	sem_wait(&site.go);
	exchange_reply_text(ex, 200, "slow");
}

static void never_reads(struct exchange *ex)
{
	exchange_reply_text(ex, 401, "no");
}

static void send_spool(struct exchange *ex)
{
	struct spool *s;
	bool known = slice_eq_str(exchange_target(ex), "/spool-known");

	ENSURE(spool_new(site.dir, 0, &s) == 0);
	site.spool = spool_ref(s);
	exchange_reply_spool(ex, 200, NULL, 0, s, known ? 10 : -1);
	sem_post(&site.entered);
}

static void on_front_again(struct exchange *ex)
{
	ENSURE(loop_is_front());
	exchange_reply_text(ex, 200, "front, worker, front");
}

static void pass_back(struct exchange *ex)
{
	ENSURE(pool_is_worker());
	exchange_resume_front(ex, on_front_again);
}

static void on_gone(void *arg)
{
	atomic_fetch_add(&site.gone, 1);
	exchange_reply_dropped(arg);
}

static void park(struct exchange *ex)
{
	ENSURE(exchange_set_gone_hook(ex, on_gone, ex));
	sem_post(&site.entered);
}

static void echo_peek(struct exchange *ex)
{
	struct slice body;
	int r = exchange_body_peek(ex, &body);

	if (r == -EAGAIN)
		exchange_to_worker(ex, site.lane, count_body);
	else if (r < 0)
		exchange_reply_body_error(ex, r);
	else
		exchange_reply(ex, 200, NULL, 0, blob_new_copy(body.p, body.n));
}

static void big(struct exchange *ex)
{
	struct buf b = BUF_EMPTY;

	memset(buf_reserve(&b, 8000000), 'x', 8000000);
	b.len = 8000000;
	exchange_reply(ex, 200, NULL, 0, blob_new_take(&b));
}

static void handle(struct exchange *ex)
{
	struct slice t = exchange_target(ex);

	exchange_set_done_hook(ex, on_done, NULL);
	if (slice_eq_str(exchange_method(ex), "CONNECT"))
		exchange_reply_text(ex, 405, "git config --global url.<base>.insteadOf");
	else if (slice_eq_str(t, "/count"))
		exchange_to_worker(ex, site.lane, count_body);
	else if (slice_eq_str(t, "/hold"))
		exchange_to_worker(ex, site.lane, hold);
	else if (slice_eq_str(t, "/slow"))
		exchange_to_worker(ex, site.lane, slow);
	else if (slice_eq_str(t, "/never"))
		exchange_to_worker(ex, site.lane, never_reads);
	else if (slice_starts(t, "/spool"))
		exchange_to_worker(ex, site.lane, send_spool);
	else if (slice_eq_str(t, "/there-and-back"))
		exchange_to_worker(ex, site.lane, pass_back);
	else if (slice_eq_str(t, "/park"))
		park(ex);
	else if (slice_eq_str(t, "/echo"))
		echo_peek(ex);
	else if (slice_eq_str(t, "/big"))
		big(ex);
	else if (slice_eq_str(t, "/nothing"))
		exchange_reply(ex, 204, NULL, 0, NULL);
	else
		exchange_reply_text(ex, 200, "%.*s", (int)t.n, t.p);
}

/* --- the stage --- */

static void start_with(const struct server_limits *limits, struct listen_settings where, bool absolute_form)
{
	struct listener_options o = {
		.name = "toy", .where = &where, .handle = handle, .check_host = true, .check_origin = true,
		.absolute_form = absolute_form,
	};
	struct buf err = BUF_EMPTY;
	const char *name;
	char address[64];

	memset(&site, 0, sizeof(site));
	sem_init(&site.entered, 0, 0);
	sem_init(&site.go, 0, 0);
	(void)snprintf(site.dir, sizeof(site.dir), "/tmp/weir-front-XXXXXX");
	assert_non_null(mkdtemp(site.dir));
	assert_int_equal(pool_new(8, &site.pool), 0);
	site.lane = lane_new(site.pool, NULL, 8);
	assert_int_equal(server_new(2, limits, NULL, &site.server), 0);
	assert_int_equal(server_listen(site.server, &o, &err), 0);
	server_listener_at(site.server, 0, &name, address, sizeof(address));
	assert_string_equal(name, "toy");
	kit_port = (int)strtol(strrchr(address, ':') + 1, NULL, 10);
	assert_true(kit_port > 0);
	server_open(site.server);
	buf_fini(&err);
}

static void start(void)
{
	start_with(&usual, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" } }, false);
}

static bool stop(void)
{
	bool clean = server_stop(site.server);

	server_free(site.server);
	lane_unref(&site.lane);
	assert_int_equal(pool_drain(site.pool, LIMIT_MS), 0);
	pool_free(site.pool);
	if (site.spool) {
		struct spool *s = site.spool;

		spool_unref(&s);
	}
	assert_int_equal(rmdir(site.dir), 0);
	return clean;
}

/* --- stories --- */

static void a_kept_connection_answers_again_and_again(void **state)
{
	int fd;

	start();
	fd = dial();
	for (int i = 0; i < 3; i++) {
		say(fd, "GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n");
		expect(fd, 200, "/one\n");
	}
	say(fd, "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	expect(fd, 200, "/last\n");
	expect_end(fd);
	close(fd);
	assert_true(stop());
	assert_int_equal(site.done_whole, 4);
}

static void pipelined_requests_are_answered_in_order_also_behind_a_worker(void **state)
{
	char request[100], wanted[100];
	int fd;

	start();
	fd = dial();
	say(fd, "GET /there-and-back HTTP/1.1\r\nHost: localhost\r\n\r\n"
		"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n\1\2\3");
	for (int i = 0; i < 50; i++) {
		(void)snprintf(request, sizeof(request), "GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
		say(fd, request);
	}
	expect(fd, 200, "front, worker, front\n");
	expect(fd, 200, "3 bytes, sum 6\n");
	for (int i = 0; i < 50; i++) {
		(void)snprintf(wanted, sizeof(wanted), "/%d\n", i);
		expect(fd, 200, wanted);
	}
	close(fd);
	assert_true(stop());
}

static void a_request_may_come_byte_by_byte(void **state)
{
	const char *r = "\r\nPOST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n";
	int fd;

	start();
	fd = dial();
	for (; *r; r++)
		say_n(fd, r, 1);
	expect(fd, 200, "abcde");
	close(fd);
	assert_true(stop());
}

static void methods_and_forms(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, "HEAD /five HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(hear(fd, &a, false), 200);
	assert_non_null(field(&a, "Content-Length: 6\r\n"));
	say(fd, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 204);
	assert_non_null(field(&a, "Allow: "));
	assert_null(field(&a, "Content-Length"));
	say(fd, "GET http://localhost/a%2fb?c HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "/a%2fb?c\n");
	say(fd, "GET http://localhost?c HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "/?c\n");
	say(fd, "GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: abc-1\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 204);
	assert_non_null(field(&a, "X-Request-Id: abc-1\r\n"));
	say(fd, "GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a b\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 204);
	assert_null(field(&a, "a b"));
	say(fd, "CONNECT github.com:443 HTTP/1.1\r\nHost: github.com:443\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 405);
	assert_non_null(field(&a, "Connection: close\r\n"));
	forget(&a);
	expect_end(fd);
	close(fd);
	assert_true(stop());

	start_with(&usual, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" } }, true);
	fd = dial();
	say(fd, "GET http://git.example/a HTTP/1.1\r\nHost: git.example\r\n\r\n");
	expect(fd, 200, "http://git.example/a\n");
	say(fd, "CONNECT github.com:443 HTTP/1.1\r\nHost: github.com:443\r\n\r\n");
	expect(fd, 405, "git config --global url.<base>.insteadOf\n");
	close(fd);
	assert_true(stop());
}

static void http_1_0_is_spoken_too(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, "GET /x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 200);
	assert_non_null(field(&a, "Connection: keep-alive\r\n"));
	forget(&a);
	say(fd, "GET /spool HTTP/1.0\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	assert_int_equal(spool_append(site.spool, "until the end", 13), 0);
	spool_complete(site.spool);
	assert_int_equal(hear(fd, &a, true), 200);
	assert_string_equal(a.body.data, "until the end");
	assert_null(field(&a, "chunked"));
	forget(&a);
	close(fd);
	assert_true(stop());
}

static void pages_of_others_are_refused(void **state)
{
	static const struct {
		const char *headers;
		int status;
	} rows[] = {
		{ "Host: localhost", 200 }, { "Host: LOCALHOST:123", 200 }, { "Host: 127.0.0.1:80", 200 }, { "Host: 127.9.9.9", 200 },
		{ "Host: [::1]:80", 200 }, { "Host: evil.example", 421 }, { "Host: 127.0.0.1.evil.example", 421 }, { "Host: 10.0.0.1", 421 },
		{ "Host: localhost.", 421 }, { "Host: weir.corp:99", 200 },
		{ "Host: localhost\r\nOrigin: http://localhost", 200 }, { "Host: localhost\r\nOrigin: https://localhost", 200 },
		{ "Host: localhost:1\r\nOrigin: http://localhost:2", 403 }, { "Host: localhost\r\nOrigin: null", 403 },
		{ "Host: localhost\r\nOrigin: http://evil.example", 403 }, { "Host: localhost\r\nOrigin:", 403 },
	};
	char *hosts[] = { (char[]){ "weir.corp" }, NULL };
	char request[300];

	start_with(&usual, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" }, .hosts = hosts }, false);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int fd = dial();

		(void)snprintf(request, sizeof(request), "GET / HTTP/1.1\r\n%s\r\n\r\n", rows[i].headers);
		say(fd, request);
		expect(fd, rows[i].status, NULL);
		close(fd);
	}
	assert_true(stop());
}

static void gzip_bodies_are_undone_and_bounded(void **state)
{
	size_t plain_n = 3000000;
	unsigned char *plain = calloc(1, 2 * plain_n), *packed = malloc(plain_n);
	z_stream z = { 0 };
	char head[200];
	int fd;

	start();
	fd = dial();
	for (int round = 0; round < 3; round++) { /* small: answered on the front; 3 MB: by a worker; 6 MB: above request_body */
		size_t n = round == 0 ? 1000 : round * plain_n;

		memset(plain, 1, n);
		assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
		z.next_in = plain;
		z.avail_in = (uInt)n;
		z.next_out = packed;
		z.avail_out = (uInt)plain_n;
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		(void)snprintf(head, sizeof(head),
			       "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: %lu\r\n\r\n",
			       round ? "/count" : "/echo", z.total_out);
		say(fd, head);
		say_n(fd, packed, z.total_out);
		deflateEnd(&z);
		if (round == 0) {
			struct answer a;

			assert_int_equal(hear(fd, &a, true), 200);
			assert_int_equal(a.body.len, 1000);
			assert_memory_equal(a.body.data, plain, 1000);
			forget(&a);
		} else {
			expect(fd, round == 1 ? 200 : 413, round == 1 ? "3000000 bytes, sum 3000000\n" : NULL);
		}
	}
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd");
	expect(fd, 400, NULL);
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd");
	expect(fd, 415, NULL);
	close(fd);
	free(plain);
	free(packed);
	assert_true(stop());
}

static void large_bodies_stream_to_a_worker(void **state)
{
	static char zeros[1000000];
	char line[40];
	int fd;

	start();
	fd = dial();
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n");
	for (int i = 0; i < 3; i++)
		say_n(fd, zeros, sizeof(zeros));
	expect(fd, 200, "3000000 bytes, sum 0\n");
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 30; i++) {
		(void)snprintf(line, sizeof(line), "%x\r\n", 100000);
		say(fd, line);
		say_n(fd, zeros, 100000);
		say(fd, "\r\n");
	}
	say(fd, "0\r\n\r\n");
	expect(fd, 200, "3000000 bytes, sum 0\n");
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n");
	expect(fd, 413, NULL);
	close(fd);
	assert_true(stop());
}

static void broken_chunks_reach_the_worker_as_an_error(void **state)
{
	static char zeros[100000];
	int fd;

	start();
	fd = dial();
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n");
	say_n(fd, zeros, sizeof(zeros));
	say(fd, "\n5\r\n");
	expect(fd, 400, NULL);
	expect_end(fd);
	close(fd);
	assert_true(stop());
}

static void a_client_that_waits_for_100_gets_it_when_the_body_is_wanted(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	assert_int_equal(hear(fd, &a, false), 100);
	say(fd, "\1\1\1");
	expect(fd, 200, "3 bytes, sum 3\n");
	say(fd, "POST /never HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 401);
	assert_non_null(field(&a, "Connection: close\r\n"));
	forget(&a);
	expect_end(fd);
	close(fd);
	assert_true(stop());
}

static void a_spool_is_followed_while_it_grows(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, "GET /spool HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	assert_int_equal(hear(fd, &a, false), 200);
	assert_non_null(field(&a, "Transfer-Encoding: chunked\r\n"));
	assert_int_equal(spool_append(site.spool, "hello ", 6), 0);
	hear_bytes(fd, &a, 3 + 6); /* it arrives before the spool is complete */
	assert_string_equal(a.body.data, "6\r\nhello ");
	forget(&a);
	assert_int_equal(spool_append(site.spool, "world", 5), 0);
	spool_complete(site.spool);
	a = (struct answer){ .body = BUF_EMPTY };
	hear_bytes(fd, &a, 2);
	hear_chunks(fd, &a);
	assert_false(a.cut);
	assert_string_equal(a.body.data, "\r\nworld");
	forget(&a);
	say(fd, "GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "/next\n");
	close(fd);
	assert_true(stop());
}

static void a_large_spool_arrives_whole(void **state)
{
	char piece[100000];
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, "GET /spool HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	for (int i = 0; i < 200; i++) {
		memset(piece, 'a' + i % 26, sizeof(piece));
		assert_int_equal(spool_append(site.spool, piece, sizeof(piece)), 0);
	}
	spool_complete(site.spool);
	assert_int_equal(hear(fd, &a, true), 200);
	assert_false(a.cut);
	assert_int_equal(a.body.len, 200 * sizeof(piece));
	for (size_t i = 0; i < a.body.len; i++)
		assert_int_equal(a.body.data[i], 'a' + (int)(i / sizeof(piece)) % 26);
	forget(&a);
	close(fd);
	assert_true(stop());
}

static void a_failed_or_short_spool_cuts_the_connection(void **state)
{
	struct answer a;
	int fd;

	for (int round = 0; round < 3; round++) {
		start();
		fd = dial();
		say(fd, round == 0 ? "GET /spool HTTP/1.1\r\nHost: localhost\r\n\r\n"
				   : "GET /spool-known HTTP/1.1\r\nHost: localhost\r\n\r\n");
		sem_wait(&site.entered);
		assert_int_equal(hear(fd, &a, false), 200);
		assert_int_equal(spool_append(site.spool, "12345", 5), 0);
		if (round < 2)
			spool_fail(site.spool, WEIR_E_CUT);
		else
			spool_complete(site.spool);
		expect_reset(fd);
		close(fd);
		assert_true(stop());
		assert_int_equal(site.done_cut, 1);
	}
}

static void a_client_that_leaves_cancels_what_only_it_wanted(void **state)
{
	int fd;

	start();
	fd = dial();
	say(fd, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	close(fd);
	wait_for(&site.cancelled, 1);
	wait_for(&site.done_cut, 1);

	fd = dial();
	say(fd, "GET /park HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	close(fd);
	wait_for(&site.gone, 1);
	wait_for(&site.done_cut, 2);

	fd = dial();
	say(fd, "GET /spool HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	close(fd);
	wait_for(&site.done_cut, 3);
	assert_int_equal(spool_watchers(site.spool), 0);

	fd = dial(); /* in the middle of a body that a worker reads */
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
	struct answer a;
	assert_int_equal(hear(fd, &a, false), 100);
	close(fd);
	wait_for(&site.done_cut, 4);
	assert_true(stop());
}

static void a_client_that_reads_slowly_gets_it_all(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\nGET /after HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 200);
	assert_int_equal(a.body.len, 8000000);
	forget(&a);
	expect(fd, 200, "/after\n");
	close(fd);
	assert_true(stop());
}

static void time_limits(void **state)
{
	struct server_limits l = usual;
	struct answer a;
	int fd;

	l.idle_timeout_ms = l.header_timeout_ms = l.body_timeout_ms = l.send_timeout_ms = 100;
	start_with(&l, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" } }, false);
	fd = dial();
	expect_end(fd); /* idle: nothing to say */
	close(fd);
	fd = dial();
	say(fd, "GET / HTTP/1.1\r\nHost: loc");
	expect(fd, 408, NULL);
	expect_end(fd);
	close(fd);
	fd = dial();
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n1");
	expect(fd, 408, NULL);
	close(fd);
	fd = dial();
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(hear(fd, &a, false), 100);
	expect(fd, 408, NULL);
	close(fd);
	fd = dial();
	say(fd, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&site.done_cut, 1); /* reads nothing of 8 MB */
	expect_reset(fd);
	close(fd);
	assert_true(stop());
}

static void too_many_connections_are_told_so(void **state)
{
	struct server_limits l = usual;
	char line[100];
	int fd, second;

	l.connections = 1;
	start_with(&l, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" } }, false);
	fd = dial();
	say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, NULL);
	second = dial();
	assert_int_equal(hear_line(second, line, sizeof(line)), 0);
	assert_non_null(strstr(line, " 503 "));
	close(second);
	close(fd);
	assert_true(stop());
}

static void *stop_in_thread(void *arg)
{
	*(bool *)arg = server_stop(site.server);
	return NULL;
}

static void a_graceful_stop_finishes_what_is_under_way(void **state)
{
	struct answer a;
	pthread_t t;
	bool clean = false;
	int idle, busy;

	start();
	idle = dial();
	say(idle, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(idle, 200, NULL);
	busy = dial();
	say(busy, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	assert_int_equal(pthread_create(&t, NULL, stop_in_thread, &clean), 0);
	expect_end(idle);
	sem_post(&site.go);
	assert_int_equal(hear(busy, &a, true), 200);
	assert_string_equal(a.body.data, "slow\n");
	assert_non_null(field(&a, "Connection: close\r\n"));
	forget(&a);
	close(busy);
	close(idle);
	pthread_join(t, NULL);
	assert_true(clean);
	assert_true(stop());
}

static void after_the_grace_connections_are_cut(void **state)
{
	struct server_limits l = usual;
	int fd;

	l.shutdown_grace_ms = 50;
	start_with(&l, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" } }, false);
	fd = dial();
	say(fd, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	assert_false(stop());
	expect_reset(fd);
	close(fd);
	assert_int_equal(site.cancelled, 1);
}

static void an_address_in_use_is_an_error_with_a_sentence(void **state)
{
	struct listener_options o = { .name = "other", .handle = handle };
	struct listen_settings w = { 0 };
	struct buf err = BUF_EMPTY;
	char address[40];

	start();
	(void)snprintf(address, sizeof(address), "127.0.0.1:%d", kit_port);
	w.listen = address;
	o.where = &w;
	assert_int_equal(server_listen(site.server, &o, &err), -EADDRINUSE);
	assert_non_null(strstr(err.data, address));
	buf_fini(&err);
	assert_true(stop());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kept_connection_answers_again_and_again),
		cmocka_unit_test(pipelined_requests_are_answered_in_order_also_behind_a_worker),
		cmocka_unit_test(a_request_may_come_byte_by_byte),
		cmocka_unit_test(methods_and_forms),
		cmocka_unit_test(http_1_0_is_spoken_too),
		cmocka_unit_test(pages_of_others_are_refused),
		cmocka_unit_test(gzip_bodies_are_undone_and_bounded),
		cmocka_unit_test(large_bodies_stream_to_a_worker),
		cmocka_unit_test(broken_chunks_reach_the_worker_as_an_error),
		cmocka_unit_test(a_client_that_waits_for_100_gets_it_when_the_body_is_wanted),
		cmocka_unit_test(a_spool_is_followed_while_it_grows),
		cmocka_unit_test(a_large_spool_arrives_whole),
		cmocka_unit_test(a_failed_or_short_spool_cuts_the_connection),
		cmocka_unit_test(a_client_that_leaves_cancels_what_only_it_wanted),
		cmocka_unit_test(a_client_that_reads_slowly_gets_it_all),
		cmocka_unit_test(time_limits),
		cmocka_unit_test(too_many_connections_are_told_so),
		cmocka_unit_test(a_graceful_stop_finishes_what_is_under_way),
		cmocka_unit_test(after_the_grace_connections_are_cut),
		cmocka_unit_test(an_address_in_use_is_an_error_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
