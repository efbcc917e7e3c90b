/* server_test.c -- connections, forms of requests, limits and the end, over real sockets.
 *
 * Nothing sleeps: reads block with a limit of LIMIT_MS, conditions are waited for with the same limit. */
#include "core/server.h"

#include <pthread.h>
#include <sys/resource.h>

#include "core/front_test_site.h"

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
	const char *r =
		"\r\nPOST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
			"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n";
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
	say(fd, "GET /git HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n");
	expect(fd, 200, "/git\n");
	say(fd, "GET /figures HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n");
	expect(fd, 200, "/figures\n");
	say(fd, "GET /figures HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n");
	expect(fd, 403, NULL);
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
		{ "Host: localhost", 200 },
		{ "Host: LOCALHOST:123", 200 },
		{ "Host: 127.0.0.1:80", 200 },
		{ "Host: 127.9.9.9", 200 },
		{ "Host: [::1]:80", 200 },
		{ "Host: evil.example", 421 },
		{ "Host: 127.0.0.1.evil.example", 421 },
		{ "Host: 10.0.0.1", 421 },
		{ "Host: localhost.", 421 },
		{ "Host: weir.corp:99", 200 },
		{ "Host: localhost\r\nOrigin: http://localhost", 200 },
		{ "Host: localhost\r\nOrigin: https://localhost", 200 },
		{ "Host: localhost:1\r\nOrigin: http://localhost:2", 403 },
		{ "Host: localhost\r\nOrigin: null", 403 },
		{ "Host: localhost\r\nOrigin: http://evil.example", 403 },
		{ "Host: localhost\r\nOrigin:", 403 },
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

static void what_is_answered_and_refused_is_counted(void **state)
{
	int fd;

	start();
	assert_true(metrics_say("weir_http_refusals_total{reason=\"host\"} 0"));
	assert_true(metrics_say("weir_http_requests_total{listener=\"toy\",code=\"2xx\"} 0"));
	fd = dial();
	say(fd, "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "/a\n");
	expect(fd, 204, NULL);
	assert_true(metrics_say("weir_http_connections 1"));
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	expect(fd, 400, "weir: Host must be given once, as a name or address with an optional port\n");
	expect_end(fd);
	close(fd);
	assert_true(server_stop(site.server));
	assert_true(metrics_say("weir_http_refusals_total{reason=\"host\"} 1"));
	assert_true(metrics_say("weir_http_requests_total{listener=\"toy\",code=\"2xx\"} 2"));
	assert_true(metrics_say("weir_http_requests_total{listener=\"toy\",code=\"4xx\"} 1"));
	assert_true(metrics_say("weir_http_connections 0"));
	assert_true(stop());
}

static void a_lack_of_descriptors_is_survived(void **state)
{
	struct rlimit old, few;
	int fd, lowest;

	start();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	lowest = dup(0);
	close(lowest);
	few = (struct rlimit){ (rlim_t)lowest + 1, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	fd = dial(); /* takes the last one: none is left to accept it with */
	assert_true(recv(fd, &(char){ 0 }, 1, 0) <= 0);
	close(fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_false(metrics_say("weir_http_refusals_total{reason=\"descriptors\"} 0"));
	fd = dial();
	say(fd, "GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "/again\n");
	close(fd);
	assert_true(stop());
}

static void what_the_front_refuses_is_a_problem_where_asked_for(void **state)
{
	struct answer a;
	int fd;

	site_problem_json = true;
	start();
	site_problem_json = false;
	fd = dial();
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 400);
	assert_non_null(field(&a, "Content-Type: application/problem+json\r\n"));
	assert_non_null(strstr(a.body.data, "\"status\": 400"));
	forget(&a);
	close(fd);
	assert_true(stop());
}

static void when_no_worker_takes_it_the_answer_is_503(void **state)
{
	struct answer a;
	int fd;

	start();
	assert_int_equal(pool_drain(site.pool, LIMIT_MS), 0);
	fd = dial();
	say(fd, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 503);
	assert_non_null(field(&a, "Retry-After: 1\r\n"));
	forget(&a);
	close(fd);
	assert_true(metrics_say("weir_http_refusals_total{reason=\"busy\"} 1"));
	assert_true(stop());
}

static void limits_can_change_while_it_runs(void **state)
{
	struct server_limits l = usual;
	struct answer a;
	int fd;

	start();
	assert_int_equal(server_listener_count(site.server), 1);
	l.request_body = 2;
	l.header_bytes = 100;
	server_set_limits(site.server, &l);
	fd = dial(); /* the limits are in the mail before this connection is */
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab");
	expect(fd, 200, "ab");
	say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
	assert_int_equal(hear(fd, &a, true), 413);
	forget(&a);
	close(fd);
	fd = dial();
	say(fd,
	    "GET / HTTP/1.1\r\nHost: localhost\r\n"
	    "X: 0123456789012345678901234567890123456789012345678901234567890123456789"
	    "\r\n\r\n");
	expect(fd, 431, NULL);
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
		cmocka_unit_test(time_limits),
		cmocka_unit_test(too_many_connections_are_told_so),
		cmocka_unit_test(what_is_answered_and_refused_is_counted),
		cmocka_unit_test(what_the_front_refuses_is_a_problem_where_asked_for),
		cmocka_unit_test(when_no_worker_takes_it_the_answer_is_503),
		cmocka_unit_test(limits_can_change_while_it_runs),
		cmocka_unit_test(a_lack_of_descriptors_is_survived),
		cmocka_unit_test(a_graceful_stop_finishes_what_is_under_way),
		cmocka_unit_test(after_the_grace_connections_are_cut),
		cmocka_unit_test(an_address_in_use_is_an_error_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
