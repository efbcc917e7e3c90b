/* client_fault_test.c -- the upstream client against upstreams that are away, silent, slow, cut off or mad. */
#include "io/client.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "io/client_test_kit.h"
#include "io/file.h"

static void a_refused_connection_is_known_as_such(void **state)
{
	struct got g = GOT_EMPTY;
	struct client *c;
	int port, fd = listen_loopback(1, &port);

	close(fd);
	c = client_to("http", port);
	assert_int_equal(call(c, get("/"), NULL, &g), WEIR_E_REFUSED);
	assert_false(g.result.request_sent);
	assert_int_equal(g.result.status, 0);
	assert_true(g.result.detail[0]);
	client_free(c);
	got_reset(&g);
}

static void a_name_that_does_not_resolve_is_known_as_such(void **state)
{
	struct client_options o = { .base_url = "http://weir.invalid", .connect_timeout_ms = 3000 };
	struct got g = GOT_EMPTY;
	struct client *c;

	assert_int_equal(client_new(&o, &c), 0);
	assert_int_equal(call(c, get("/"), NULL, &g), WEIR_E_DNS);
	client_free(c);
	got_reset(&g);
}

/* A full accept queue: the kernel drops our SYN, as a firewall would. */
static void a_black_hole_ends_at_the_connect_timeout(void **state)
{
	int port, fd = listen_loopback(0, &port), fill[4];
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr = { htonl(INADDR_LOOPBACK) },
				 .sin_port = htons((uint16_t)port) };
	struct client_options o = { .connect_timeout_ms = 300 };
	struct got g = GOT_EMPTY;
	struct client *c;
	char *url = xstrf("http://127.0.0.1:%d", port);

	for (size_t i = 0; i < ARRAY_LEN(fill); i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fill[i], (struct sockaddr *)&a, sizeof(a));
	}
	o.base_url = url;
	assert_int_equal(client_new(&o, &c), 0);
	assert_int_equal(call(c, get("/"), NULL, &g), WEIR_E_CONNECT_TIMEOUT);
	assert_false(g.result.request_sent);
	assert_true(g.result.elapsed_us >= 290000 && g.result.elapsed_us < 5000000);
	client_free(c);
	for (size_t i = 0; i < ARRAY_LEN(fill); i++)
		close(fill[i]);
	close(fd);
	free(url);
	got_reset(&g);
}

static void hold_at_once(struct server *sv, int conn, unsigned nth)
{
	server_hold(sv);
}

static void silence_ends_at_the_patience(void **state)
{
	struct got g = GOT_EMPTY;

	assert_int_equal(outcome_of(hold_at_once, NULL, 200, 10000, &g), WEIR_E_SILENT);
	assert_true(g.result.request_sent);
	assert_int_equal(g.head_calls, 0);
	/* An interim answer is no answer. */
	assert_int_equal(outcome_of(answer_and_hold, "HTTP/1.1 102 Processing\r\n\r\n", 200, 10000, &g), WEIR_E_SILENT);
	/* Nor is half a head. */
	assert_int_equal(outcome_of(answer_and_hold, "HTTP/1.1 200 OK\r\nContent-", 200, 10000, &g), WEIR_E_SILENT);
	assert_int_equal(g.head_calls, 0);
	got_reset(&g);
}

static void an_answer_that_stands_still_is_stalled(void **state)
{
	struct got g = GOT_EMPTY;

	assert_int_equal(outcome_of(answer_and_hold, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 10000, 200, &g),
			 WEIR_E_STALLED);
	assert_int_equal(g.result.status, 200);
	assert_int_equal(
		outcome_of(answer_and_hold, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", 10000, 200, &g),
		WEIR_E_STALLED);
	assert_string_equal(g.body.data, "12345");
	assert_int_equal(g.result.body_bytes, 5);
	got_reset(&g);
}

/* One byte of an endless body whenever the test's connection can take it. */
static void drip(struct server *sv, int conn, unsigned nth)
{
	struct pollfd p = { .fd = conn, .events = POLLRDHUP };

	(void)hear(sv, conn);
	say(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	while (poll(&p, 1, 20) == 0)
		say(conn, "1\r\nx\r\n");
}

static void a_slow_drip_is_no_stall_but_has_its_total(void **state)
{
	struct client_request rq = get("/");
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, drip, NULL);
	c = client_with_stall(sv.port, 5000);
	rq.total_ms = 400;
	assert_int_equal(call(c, rq, NULL, &g), WEIR_E_STALLED);
	assert_true(g.body.len > 1);
	assert_true(g.result.elapsed_us >= 390000);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
	assert_int_equal(g.body.len, 0);
}

static void an_answer_that_is_cut_is_never_whole(void **state)
{
	static const char *const cut[] = {
		"",
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	};
	struct got g = GOT_EMPTY;

	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		assert_int_equal(outcome_of(answer_and_close, cut[i], 10000, 10000, &g), WEIR_E_CUT);
		assert_true(g.result.request_sent);
	}
	/* Without a length the end of the connection is the end of the body (RFC 9112 section 6.3). */
	assert_int_equal(outcome_of(answer_and_close, "HTTP/1.1 200 OK\r\n\r\nall", 10000, 10000, &g), 0);
	assert_string_equal(g.body.data, "all");
	got_reset(&g);
}

static void what_is_not_http_is_a_protocol_error(void **state)
{
	static const char *const bad[] = {
		"SSH-2.0-OpenSSH_9.2\r\n",
		"\x15\x03\x01 garbage \xff\xfe\r\n\r\n",
		"HTTP/1.1 abc\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
		"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde",
		"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nabcde",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n folded: first\r\nContent-Length: 0\r\n\r\n",
	};
	struct got g = GOT_EMPTY;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int r = outcome_of(answer_and_close, bad[i], 10000, 10000, &g);
		if (r != WEIR_E_PROTOCOL)
			print_error("case %zu: %s (%s)\n", i, err_text(r), g.result.detail);
		assert_int_equal(r, WEIR_E_PROTOCOL);
		assert_int_equal(g.head_calls, 0);
	}
	got_reset(&g);
}

static void endless_header(struct server *sv, int conn, unsigned nth)
{
	(void)hear(sv, conn);
	say(conn, "HTTP/1.1 200 OK\r\n");
	while (send(conn, "X: 234567890123456789012345678901234567890\r\n", 44, MSG_NOSIGNAL) > 0)
		;
}

static void endless_line(struct server *sv, int conn, unsigned nth)
{
	(void)hear(sv, conn);
	say(conn, "HTTP/1.1 200 OK\r\nX: ");
	while (send(conn, "234567890123456789012345678901234567890", 39, MSG_NOSIGNAL) > 0)
		;
}

static void endless_interim(struct server *sv, int conn, unsigned nth)
{
	(void)hear(sv, conn);
	while (send(conn, "HTTP/1.1 102 Processing\r\n\r\n", 27, MSG_NOSIGNAL) > 0)
		;
}

static void a_head_without_end_is_too_large(void **state)
{
	struct got g = GOT_EMPTY;
	int r;

	assert_int_equal(outcome_of(endless_header, NULL, 10000, 10000, &g), WEIR_E_TOO_LARGE);
	assert_int_equal(outcome_of(endless_interim, NULL, 10000, 10000, &g), WEIR_E_TOO_LARGE);
	r = outcome_of(endless_line, NULL, 10000, 10000, &g);
	assert_true(r < 0 && r != WEIR_E_SILENT); /* libcurl's own limit on a line, whatever it calls it */
	got_reset(&g);
}

static void *fire_when_connected(void *arg)
{
	void **both = arg;
	struct server *sv = both[0];

	while (sv->connections == 0)
		usleep(1000);
	cancel_fire(both[1]);
	return NULL;
}

static void a_cancel_ends_a_call_at_once(void **state)
{
	struct client_request rq = get("/");
	struct got g = GOT_EMPTY;
	struct cancel *cancel;
	struct server sv;
	struct client *c;
	pthread_t t;

	server_start(&sv, hold_at_once, NULL);
	c = client_to("http", sv.port);
	assert_int_equal(cancel_new(&cancel), 0);
	rq.first_byte_ms = 60000;
	assert_int_equal(pthread_create(&t, NULL, fire_when_connected, (void *[]){ &sv, cancel }), 0);
	assert_int_equal(call(c, rq, cancel, &g), WEIR_E_CANCELLED);
	assert_true(g.result.elapsed_us < 10000000);
	pthread_join(t, NULL);
	assert_int_equal(call(c, rq, cancel, &g), WEIR_E_CANCELLED); /* before it began */
	assert_false(g.result.request_sent);
	cancel_unref(&cancel);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static ssize_t endless_source(void *arg, char *into, size_t room)
{
	memset(into, 'x', room);
	return (ssize_t)room;
}

static void an_upstream_that_takes_no_more_of_our_body_is_stalled(void **state)
{
	struct client_request rq = { .method = "POST",
				     .target = SLICE_LIT("/"),
				     .body_source = endless_source,
				     .body_bytes = -1,
				     .first_byte_ms = 100 };
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, hold_at_once, NULL);
	c = client_with_stall(sv.port, 300);
	assert_int_equal(call(c, rq, NULL, &g), WEIR_E_STALLED);
	assert_true(g.result.request_sent);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static void an_answer_before_the_body_is_sent_counts(void **state)
{
	struct client_request rq = {
		.method = "POST", .target = SLICE_LIT("/"), .body_source = endless_source, .body_bytes = -1
	};
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, refuse_early, NULL);
	c = client_to("http", sv.port);
	assert_int_equal(call(c, rq, NULL, &g), 0);
	assert_int_equal(g.status, 401);
	assert_string_equal(g.body.data, "no");
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

/* What swallowed one connection may have swallowed all: the next call gets a fresh one. */
static void answer_first_of_each(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	(void)hear(sv, conn);
	(void)hear(sv, conn); /* until the client gives up */
}

static void after_silence_the_kept_connections_go(void **state)
{
	struct client_request rq = get("/");
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, answer_first_of_each, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	c = client_to("http", sv.port);
	assert_int_equal(call(c, rq, NULL, &g), 0);
	rq.first_byte_ms = 100;
	assert_int_equal(call(c, rq, NULL, &g), WEIR_E_SILENT);
	rq.first_byte_ms = 10000;
	assert_int_equal(call(c, rq, NULL, &g), 0);
	assert_int_equal(sv.connections, 2);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static int left_open[4], left_open_count;

/* Leaves the connection open, and never reads it again. */
static void answer_and_leave(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	left_open[left_open_count++] = dup(conn);
}

static void a_fresh_connection_can_be_asked_for(void **state)
{
	struct client_request rq = get("/");
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, answer_and_leave, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	c = client_to("http", sv.port);
	assert_int_equal(call(c, rq, NULL, &g), 0);
	rq.fresh_connection = true;
	assert_int_equal(call(c, rq, NULL, &g), 0);
	assert_int_equal(sv.connections, 2);
	client_free(c);
	server_stop(&sv);
	while (left_open_count > 0)
		close(left_open[--left_open_count]);
	got_reset(&g);
}

/* Our own lack of descriptors says nothing about the upstream: no code that would open a breaker. */
static void descriptors_used_up_are_told_as_that(void **state)
{
	struct rlimit before, small;
	struct got g = GOT_EMPTY;
	struct server sv = { .script = answer_each, .answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			     .seen = BUF_EMPTY, .lock = PTHREAD_MUTEX_INITIALIZER };
	pid_t pid;
	int probe;

	sv.fd = listen_loopback(16, &sv.port);
	pid = fork(); /* the server's own descriptors must not run out */
	if (pid == 0)
		for (;;)
			(void)server_main(&sv);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (size_t i = 0; i < 2; i++) {
		char *url = xstrf(i ? "http://localhost:%d" : "http://127.0.0.1:%d", sv.port);
		struct client_options o = { .base_url = url, .connect_timeout_ms = 10000 };
		struct client *c;

		assert_int_equal(client_new(&o, &c), 0);
		probe = dup(0);
		close(probe);
		for (int more = 0; more < 8; more++) { /* at every step of a call */
			int r;
			small = (struct rlimit){ (rlim_t)probe + (rlim_t)more, before.rlim_max };
			assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
			r = call(c, get("/"), NULL, &g);
			assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
			if (r != 0 && r != -EMFILE)
				print_error("with %d more: %s (%s)\n", more, err_text(r), g.result.detail);
			assert_true(r == 0 || r == -EMFILE);
			assert_true(more > 0 || r == -EMFILE);
		}
		assert_int_equal(call(c, get("/"), NULL, &g), 0);
		client_free(c);
		free(url);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(sv.fd);
	got_reset(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_connection_is_known_as_such),
		cmocka_unit_test(a_name_that_does_not_resolve_is_known_as_such),
		cmocka_unit_test(a_black_hole_ends_at_the_connect_timeout),
		cmocka_unit_test(silence_ends_at_the_patience),
		cmocka_unit_test(an_answer_that_stands_still_is_stalled),
		cmocka_unit_test(a_slow_drip_is_no_stall_but_has_its_total),
		cmocka_unit_test(an_answer_that_is_cut_is_never_whole),
		cmocka_unit_test(what_is_not_http_is_a_protocol_error),
		cmocka_unit_test(a_head_without_end_is_too_large),
		cmocka_unit_test(a_cancel_ends_a_call_at_once),
		cmocka_unit_test(an_upstream_that_takes_no_more_of_our_body_is_stalled),
		cmocka_unit_test(an_answer_before_the_body_is_sent_counts),
		cmocka_unit_test(after_silence_the_kept_connections_go),
		cmocka_unit_test(a_fresh_connection_can_be_asked_for),
		cmocka_unit_test(descriptors_used_up_are_told_as_that),
	};

	return cmocka_run_group_tests_name("client_fault", tests, NULL, NULL);
}
