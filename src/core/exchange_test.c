/* exchange_test.c -- bodies, spools, and clients that leave, over real sockets.
 *
 * Nothing sleeps: reads block with a limit of LIMIT_MS, conditions are waited for with the same limit. */
#include "core/exchange.h"

#include <fcntl.h>
#include <zlib.h>

#include "core/front_test_site.h"

static void gzip_bodies_are_undone_and_bounded(void **state)
{
	size_t plain_n = 3000000;
	unsigned char *plain = calloc(1, 2 * plain_n), *packed = malloc(plain_n);
	z_stream z = { 0 };
	char head[200];
	int fd;

	start();
	fd = dial();
	/* small: answered on the front; 3 MB: by a worker; 6 MB: above request_body */
	for (int round = 0; round < 3; round++) {
		size_t n = round == 0 ? 1000 : round * plain_n;

		memset(plain, 1, n);
		assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
		z.next_in = plain;
		z.avail_in = (uInt)n;
		z.next_out = packed;
		z.avail_out = (uInt)plain_n;
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		(void)snprintf(
			head, sizeof(head),
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

static void chunked_bodies_are_bounded_too(void **state)
{
	static char zeros[1000000];
	struct server_limits l = usual;
	int fd;

	l.request_body = 1000;
	start_with(&l, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" } }, false);
	fd = dial(); /* before a worker has it */
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n");
	say_n(fd, zeros, 1001);
	expect(fd, 413, NULL);
	expect_end(fd);
	close(fd);
	assert_true(stop());

	start();
	fd = dial(); /* and while a worker reads it */
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n");
	for (int i = 0; i < 5; i++)
		say_n(fd, zeros, sizeof(zeros));
	expect(fd, 413, NULL);
	close(fd);
	fd = dial();
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n");
	expect(fd, 400, NULL); /* broken before a worker has it */
	expect_end(fd);
	close(fd);
	assert_true(stop());
}

static void bodies_are_read_as_sent_or_whole(void **state)
{
	/* "abc" and its length */
	static const char packed[] = "\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x4c\x4a\x06\0\xc2\x41\x24\x35\x03\0\0";
	static char thousand[1001];
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, "POST /raw HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 23\r\n\r\n");
	say_n(fd, packed, 23);
	assert_int_equal(hear(fd, &a, true), 200);
	assert_int_equal(a.body.len, 23);
	assert_memory_equal(a.body.data, packed, 23);
	forget(&a);
	say(fd, "POST /all HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 23\r\n\r\n");
	say_n(fd, packed, 23);
	expect(fd, 200, "abc");
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: identity\r\nContent-Length: 3\r\n\r\nxyz");
	expect(fd, 200, "xyz");
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nxyz");
	expect(fd, 415, NULL);
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz");
	expect(fd, 400, NULL);
	say(fd, "POST /raw HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nxyz");
	expect(fd, 200, "xyz"); /* passing on minds no coding */
	say(fd, "GET /all HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "");
	say(fd, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "");
	say(fd, "POST /all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n");
	say_n(fd, thousand, sizeof(thousand));
	expect(fd, 413, NULL);
	close(fd);
	assert_true(stop());
}

static void the_exchange_knows_its_request(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd,
	    "POST /facts HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: me\r\nContent-Encoding: x-gzip\r\n"
	    "Content-Length: 1\r\n"
	    "X-Two:  b \r\n\r\nx");
	assert_int_equal(hear(fd, &a, true), 418);
	assert_non_null(field(&a, "Content-Type: application/problem+json\r\n"));
	assert_string_equal(a.body.data, "{\"title\": \"a \\\"title\\\"\", \"status\": 418, \"detail\": "
					 "\"arena me X-Two=b two=b body 1 packed from 127.0.0.1:\"}\n");
	forget(&a);
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
	say(fd, "HEAD /spool HTTP/1.1\r\nHost: localhost\r\n\r\nGET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered); /* a spool that nobody completes: HEAD does not wait for it */
	assert_int_equal(hear(fd, &a, false), 200);
	assert_null(field(&a, "Content-Length"));
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

/* On a file system that can tell (not tmpfs) this goes through read_ahead.c. */
static void a_file_that_is_not_in_memory_arrives_whole(void **state)
{
	char path[64], piece[100000];
	struct answer a;
	int fd;

	start();
	(void)snprintf(path, sizeof(path), "%s/file", site.dir);
	site.file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(site.file >= 0);
	assert_int_equal(unlink(path), 0);
	for (int i = 0; i < 60; i++) {
		memset(piece, 'a' + i % 26, sizeof(piece));
		assert_int_equal(write(site.file, piece, sizeof(piece)), sizeof(piece));
	}
	site.file_bytes = 60 * (int64_t)sizeof(piece);
	assert_int_equal(fsync(site.file), 0);
	assert_int_equal(posix_fadvise(site.file, 0, 0, POSIX_FADV_DONTNEED), 0);
	fd = dial();
	say(fd, "GET /file HTTP/1.1\r\nHost: localhost\r\n\r\nGET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 200);
	assert_false(a.cut);
	assert_int_equal(a.body.len, site.file_bytes);
	for (size_t i = 0; i < a.body.len; i++)
		assert_int_equal(a.body.data[i], 'a' + (int)(i / sizeof(piece)) % 26);
	forget(&a);
	expect(fd, 200, "/next\n");
	close(fd);
	close(site.file);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gzip_bodies_are_undone_and_bounded),
		cmocka_unit_test(large_bodies_stream_to_a_worker),
		cmocka_unit_test(broken_chunks_reach_the_worker_as_an_error),
		cmocka_unit_test(chunked_bodies_are_bounded_too),
		cmocka_unit_test(bodies_are_read_as_sent_or_whole),
		cmocka_unit_test(the_exchange_knows_its_request),
		cmocka_unit_test(a_client_that_waits_for_100_gets_it_when_the_body_is_wanted),
		cmocka_unit_test(a_spool_is_followed_while_it_grows),
		cmocka_unit_test(a_large_spool_arrives_whole),
		cmocka_unit_test(a_file_that_is_not_in_memory_arrives_whole),
		cmocka_unit_test(a_failed_or_short_spool_cuts_the_connection),
		cmocka_unit_test(a_client_that_leaves_cancels_what_only_it_wanted),
		cmocka_unit_test(a_client_that_reads_slowly_gets_it_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
