/* client_test.c -- the upstream client against small servers that misbehave, each a thread of the test.
 *
 * A server runs its script for each connection in turn; scripts read requests and write bytes as the case wants. */
#include "io/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

/* --- servers ---------------------------------------------------------------------------------------------------- */

struct server {
	pthread_t thread;
	int fd, port;
	void (*script)(struct server *sv, int conn, unsigned nth); /* nth: from 0 */
	const char *answer;          /* for the simple scripts */
	struct buf seen;             /* all requests, as they came; changed and read elsewhere under the lock */
	size_t told;                 /* how much of it server_seen() gave */
	_Atomic unsigned connections;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool may_go_on;              /* server_hold() waits for it */
};

static void *server_main(void *arg)
{
	struct server *sv = arg;

	for (unsigned nth = 0;; nth++) {
		int conn = accept4(sv->fd, NULL, NULL, SOCK_CLOEXEC);
		if (conn < 0)
			return NULL; /* shut down */
		atomic_fetch_add(&sv->connections, 1);
		sv->script(sv, conn, nth);
		close(conn);
	}
}

static int listen_loopback(int backlog, int *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ENSURE(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, backlog) == 0);
	ENSURE(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static void server_start(struct server *sv, void (*script)(struct server *, int, unsigned), const char *answer)
{
	*sv = (struct server){ .script = script, .answer = answer, .seen = BUF_EMPTY,
			       .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	sv->fd = listen_loopback(16, &sv->port);
	ENSURE(pthread_create(&sv->thread, NULL, server_main, sv) == 0);
}

static void server_release(struct server *sv)
{
	pthread_mutex_lock(&sv->lock);
	sv->may_go_on = true;
	pthread_cond_broadcast(&sv->changed);
	pthread_mutex_unlock(&sv->lock);
}

static void server_stop(struct server *sv)
{
	server_release(sv);
	shutdown(sv->fd, SHUT_RDWR);
	pthread_join(sv->thread, NULL);
	close(sv->fd);
	buf_fini(&sv->seen);
}

/* Says nothing more until the test lets it go on. */
static void server_hold(struct server *sv)
{
	pthread_mutex_lock(&sv->lock);
	while (!sv->may_go_on)
		pthread_cond_wait(&sv->changed, &sv->lock);
	pthread_mutex_unlock(&sv->lock);
}

static void say(int conn, const char *text)
{
	(void)send(conn, text, strlen(text), MSG_NOSIGNAL); /* the client may have left */
}

/* Reads one request (head and a body by Content-Length or chunked). False when the client left. */
static bool hear(struct server *sv, int conn)
{
	size_t start = sv->seen.len, head_end = 0, want = 0;
	bool is_chunked = false;
	char chunk[8192];

	for (;;) {
		const char *at = sv->seen.data + start, *end = strstr(at, "\r\n\r\n"), *len;
		ssize_t n;
		if (end && !head_end) {
			head_end = (size_t)(end + 4 - at);
			len = strstr(at, "Content-Length: ");
			want = head_end + (len && len < end ? strtoul(len + 16, NULL, 10) : 0);
			is_chunked = strstr(at, "Transfer-Encoding: chunked") != NULL;
		}
		if (head_end && !is_chunked && sv->seen.len - start >= want)
			return true;
		if (head_end && is_chunked && strstr(at + head_end - 2, "\r\n0\r\n\r\n"))
			return true;
		n = recv(conn, chunk, sizeof(chunk), 0);
		if (n <= 0)
			return false;
		pthread_mutex_lock(&sv->lock);
		buf_add(&sv->seen, chunk, (size_t)n);
		pthread_mutex_unlock(&sv->lock);
	}
}

/* What was requested since the last time. */
static const char *server_seen(struct server *sv)
{
	static struct buf copy = BUF_EMPTY;

	buf_reset(&copy);
	pthread_mutex_lock(&sv->lock);
	buf_add_str(&copy, sv->seen.data + sv->told);
	sv->told = sv->seen.len;
	pthread_mutex_unlock(&sv->lock);
	return copy.data;
}

/* Reads until the client closes, so that a cut of ours is a FIN and not an RST. */
static void finish(int conn)
{
	char c[4096];

	shutdown(conn, SHUT_WR);
	while (recv(conn, c, sizeof(c), 0) > 0)
		;
}

static void answer_each(struct server *sv, int conn, unsigned nth)
{
	while (hear(sv, conn))
		say(conn, sv->answer);
}

static void answer_and_close(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	finish(conn);
}

static void answer_and_hold(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	server_hold(sv);
}

/* --- calls ------------------------------------------------------------------------------------------------------ */

struct got {
	int status, head_calls, head_return, data_return;
	struct buf head, body;
	struct client_result result;
};

static int got_head(void *arg, int status, const struct slice *headers, size_t header_count)
{
	struct got *g = arg;

	g->head_calls++;
	g->status = status;
	for (size_t i = 0; i < header_count; i++) {
		buf_add_slice(&g->head, headers[i]);
		buf_add_char(&g->head, '\n');
	}
	return g->head_return;
}

static int got_data(void *arg, const char *p, size_t n)
{
	struct got *g = arg;

	buf_add(&g->body, p, n);
	return g->data_return;
}

#define GOT_EMPTY { .head = BUF_EMPTY, .body = BUF_EMPTY }

static void got_reset(struct got *g)
{
	buf_fini(&g->head);
	buf_fini(&g->body);
	*g = (struct got)GOT_EMPTY;
}

static struct client *client_to(const char *scheme, int port)
{
	char *url = xstrf("%s://127.0.0.1:%d/base/", scheme, port);
	struct client_options o = { .base_url = url, .user_agent = "weir/test", .connect_timeout_ms = 10000,
				    .stall_timeout_ms = 10000, .most_idle = 4 };
	struct client *c;

	assert_int_equal(client_new(&o, &c), 0);
	free(url);
	return c;
}

static struct client *client_with_stall(int port, int stall_ms)
{
	char *url = xstrf("http://127.0.0.1:%d", port);
	struct client_options o = { .base_url = url, .connect_timeout_ms = 10000, .stall_timeout_ms = stall_ms, .most_idle = 4 };
	struct client *c;

	assert_int_equal(client_new(&o, &c), 0);
	free(url);
	return c;
}

static struct client_request get(const char *target)
{
	return (struct client_request){ .method = "GET", .target = slice_str(target), .first_byte_ms = 10000 };
}

static int call(struct client *c, struct client_request rq, struct cancel *cancel, struct got *g)
{
	struct client_sink sink = { got_head, got_data, g };

	return client_call(c, &rq, &sink, cancel, &g->result);
}

/* One GET of one answer by one script: what becomes of it. */
static int outcome_of(void (*script)(struct server *, int, unsigned), const char *answer, int first_byte_ms, int stall_ms,
		      struct got *g)
{
	struct server sv;
	struct client *c;
	struct client_request rq = get("/");
	int r;

	server_start(&sv, script, answer);
	c = client_with_stall(sv.port, stall_ms);
	rq.first_byte_ms = first_byte_ms;
	got_reset(g);
	r = call(c, rq, NULL, g);
	client_free(c);
	server_stop(&sv);
	return r;
}

static void a_request_is_sent_byte_for_byte(void **state)
{
	struct server sv;
	struct client *c;
	struct got g = GOT_EMPTY;
	struct slice headers[] = { SLICE_LIT("Git-Protocol: version=2"), SLICE_LIT("X-Empty:"),
				   SLICE_LIT("Content-Length: 99"), SLICE_LIT("transfer-encoding: chunked") };
	struct client_request rq = get("/a/../b/./%2f%C3%a9//x?service=git&&=?");

	server_start(&sv, answer_each, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Two:  spaced \t\r\nEmpty:\r\n\r\nhello");
	c = client_to("http", sv.port);
	rq.headers = headers;
	rq.header_count = ARRAY_LEN(headers);
	assert_int_equal(call(c, rq, NULL, &g), 0);
	assert_int_equal(g.status, 200);
	assert_int_equal(g.result.status, 200);
	assert_true(g.result.request_sent);
	assert_int_equal(g.result.body_bytes, 5);
	assert_string_equal(g.result.detail, "");
	assert_string_equal(g.body.data, "hello");
	assert_string_equal(g.head.data, "Content-Length: 5\nX-Two:  spaced \t\nEmpty:\n");
	client_free(c);
	char *want = xstrf("GET /base/a/../b/./%%2f%%C3%%a9//x?service=git&&=? HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
			   "User-Agent: weir/test\r\nGit-Protocol: version=2\r\nX-Empty:\r\n\r\n", sv.port);
	assert_string_equal(server_seen(&sv), want);
	free(want);
	server_stop(&sv);
	got_reset(&g);
}

struct body_source {
	const char *text;
	size_t at, n, step;
	int end; /* given instead of 0 at the end */
};

static ssize_t read_source(void *arg, char *into, size_t room)
{
	struct body_source *b = arg;
	size_t n = b->n - b->at;

	n = n < room ? n : room;
	n = b->step && n > b->step ? b->step : n;
	if (n == 0)
		return b->end;
	memcpy(into, b->text + b->at, n);
	b->at += n;
	return (ssize_t)n;
}

static void bodies_are_fixed_counted_or_chunked(void **state)
{
	struct body_source b = { .text = "hello world", .n = 11, .step = 4 };
	struct client_request rq = { .method = "POST", .target = SLICE_LIT("/p"), .body = SLICE_LIT("fixed") };
	struct got g = GOT_EMPTY;
	struct server sv;
	const char *seen;
	struct client *c;

	server_start(&sv, answer_each, "HTTP/1.1 204 No Content\r\n\r\n");
	c = client_to("http", sv.port);
	assert_int_equal(call(c, rq, NULL, &g), 0);
	seen = server_seen(&sv);
	assert_non_null(strstr(seen, "POST /base/p HTTP/1.1\r\n"));
	assert_non_null(strstr(seen, "Content-Length: 5\r\n\r\nfixed"));
	assert_null(strstr(seen, "Content-Type"));
	assert_null(strstr(seen, "Expect"));
	assert_null(strstr(seen, "Accept"));
	rq = (struct client_request){ .method = "PUT", .target = SLICE_LIT("/p"), .body_source = read_source, .body_arg = &b,
				      .body_bytes = 11 };
	assert_int_equal(call(c, rq, NULL, &g), 0);
	seen = server_seen(&sv);
	assert_non_null(strstr(seen, "PUT /base/p HTTP/1.1\r\n"));
	assert_non_null(strstr(seen, "Content-Length: 11\r\n\r\nhello world"));
	b.at = 0;
	rq.body_bytes = -1;
	assert_int_equal(call(c, rq, NULL, &g), 0);
	seen = server_seen(&sv);
	assert_non_null(strstr(seen, "Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n4\r\no wo\r\n3\r\nrld\r\n0\r\n\r\n"));
	assert_null(strstr(seen, "Content-Length"));
	rq = (struct client_request){ .method = "POST", .target = SLICE_LIT("/p") };
	assert_int_equal(call(c, rq, NULL, &g), 0);
	seen = server_seen(&sv);
	assert_non_null(strstr(seen, "Content-Length: 0\r\n"));
	rq.method = "DELETE";
	assert_int_equal(call(c, rq, NULL, &g), 0);
	seen = server_seen(&sv);
	assert_non_null(strstr(seen, "DELETE /base/p HTTP/1.1\r\n"));
	assert_null(strstr(seen, "Content-Length"));
	assert_int_equal(sv.connections, 1); /* kept alive through all of it */
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static void a_head_request_waits_for_no_body(void **state)
{
	struct client_request rq = get("/");
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, answer_each, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	c = client_to("http", sv.port);
	rq.method = "HEAD";
	assert_int_equal(call(c, rq, NULL, &g), 0);
	assert_int_equal(call(c, rq, NULL, &g), 0);
	assert_int_equal(g.result.body_bytes, 0);
	assert_int_equal(sv.connections, 1);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static void what_cannot_be_sent_is_refused(void **state)
{
	static const char *const urls[] = { "ftp://h/", "http://", "http://u:p@h/", "http://h/?q", "http://h/#f", "nonsense", "" };
	static const char *const targets[] = { "", "x", "/a b", "/a\r\nX: y", "/\x80", "/a#b" };
	static const char *const lines[] = { "A: b\r\nC: d", "A: b\nC", "novalue", ": x" };
	struct got g = GOT_EMPTY;
	struct client *c = NULL;
	struct client_request rq;

	for (size_t i = 0; i < ARRAY_LEN(urls); i++)
		assert_int_equal(client_new(&(struct client_options){ .base_url = urls[i] }, &c), -EINVAL);
	assert_null(c);
	c = client_to("http", 1);
	for (size_t i = 0; i < ARRAY_LEN(targets); i++)
		assert_int_equal(call(c, get(targets[i]), NULL, &g), -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct slice line = slice_str(lines[i]);
		rq = get("/");
		rq.headers = &line;
		rq.header_count = 1;
		assert_int_equal(call(c, rq, NULL, &g), -EINVAL);
	}
	rq = get("/");
	rq.method = "GET / HTTP/1.1\r\n";
	assert_int_equal(call(c, rq, NULL, &g), -EINVAL);
	assert_false(g.result.request_sent);
	client_free(c);
	got_reset(&g);
}

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
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) }, .sin_port = htons((uint16_t)port) };
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
	assert_int_equal(outcome_of(answer_and_hold, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", 10000, 200, &g),
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

static void interim_answers_are_skipped(void **state)
{
	struct got g = GOT_EMPTY;

	assert_int_equal(outcome_of(answer_each, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
						 "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nA: b\r\n\r\nno", 10000, 10000, &g), 0);
	assert_int_equal(g.head_calls, 1);
	assert_int_equal(g.status, 404);
	assert_string_equal(g.head.data, "Content-Length: 2\nA: b\n");
	assert_string_equal(g.body.data, "no");
	got_reset(&g);
}

static void chunks_are_joined_and_trailers_dropped(void **state)
{
	struct got g = GOT_EMPTY;

	assert_int_equal(outcome_of(answer_each, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n c\r\n\r\n"
						 "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n", 10000, 10000, &g), 0);
	assert_string_equal(g.body.data, "abcde");
	assert_int_equal(g.head_calls, 1);
	assert_string_equal(g.head.data, "Transfer-Encoding: chunked\nA: b c\n"); /* unfolded */
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

/* The second request on each connection is read and never answered: the connection is closed. */
static void close_on_second(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	(void)hear(sv, conn);
}

static void a_connection_closed_meanwhile_is_replaced_once(void **state)
{
	struct body_source b = { .text = "hello world", .n = 11 };
	struct client_request rq = { .method = "POST", .target = SLICE_LIT("/p"), .body = SLICE_LIT("fixed") };
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, close_on_second, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	c = client_to("http", sv.port);
	assert_int_equal(call(c, get("/"), NULL, &g), 0);
	assert_int_equal(sv.connections, 1);
	assert_int_equal(call(c, get("/"), NULL, &g), 0); /* on the second connection */
	assert_int_equal(sv.connections, 2);
	assert_int_equal(call(c, rq, NULL, &g), 0); /* a fixed body is sent again */
	assert_int_equal(sv.connections, 3);
	rq.body_source = read_source;
	rq.body_arg = &b;
	rq.body_bytes = 11;
	assert_int_equal(call(c, rq, NULL, &g), WEIR_E_CUT); /* a source is not */
	assert_true(g.result.request_sent);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static void answer_once(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	/* closed before the next request: libcurl notices when it looks at it */
}

static void connections_are_kept_up_to_the_limit_and_checked(void **state)
{
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, answer_once, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	c = client_to("http", sv.port);
	for (int i = 0; i < 20; i++)
		assert_int_equal(call(c, get("/"), NULL, &g), 0);
	assert_int_equal(sv.connections, 20);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static void sinks_and_sources_can_end_a_call(void **state)
{
	struct body_source b = { .text = "hello", .n = 5, .end = -EIO };
	struct client_request rq = { .method = "POST", .target = SLICE_LIT("/p"), .body_source = read_source, .body_arg = &b,
				     .body_bytes = -1 };
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, answer_each, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	c = client_to("http", sv.port);
	g.head_return = -ENOSPC;
	assert_int_equal(call(c, get("/"), NULL, &g), -ENOSPC);
	g.head_return = 0;
	g.data_return = WEIR_E_TOO_LARGE;
	assert_int_equal(call(c, get("/"), NULL, &g), WEIR_E_TOO_LARGE);
	g.data_return = 0;
	assert_int_equal(call(c, rq, NULL, &g), -EIO);
	assert_int_equal(call(c, get("/"), NULL, &g), 0); /* and none of them leaves a bad connection behind */
	assert_int_equal(client_call(c, &(struct client_request){ .method = "GET", .target = SLICE_LIT("/") }, NULL, NULL,
				     &g.result), 0);
	client_free(c);
	server_stop(&sv);
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
	struct client_request rq = { .method = "POST", .target = SLICE_LIT("/"), .body_source = endless_source, .body_bytes = -1,
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

static void refuse_early(struct server *sv, int conn, unsigned nth)
{
	char c[1000];

	(void)recv(conn, c, sizeof(c), 0);
	say(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
	finish(conn);
}

static void an_answer_before_the_body_is_sent_counts(void **state)
{
	struct client_request rq = { .method = "POST", .target = SLICE_LIT("/"), .body_source = endless_source, .body_bytes = -1 };
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

static void proxies_come_from_the_configuration_alone(void **state)
{
	struct client_options o = { .base_url = "http://upstream.example/x" };
	struct got g = GOT_EMPTY;
	struct server sv, proxy;
	struct client *c;
	char *url;

	server_start(&sv, answer_each, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect");
	server_start(&proxy, answer_each, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy");
	url = xstrf("http://127.0.0.1:%d", proxy.port);
	setenv("http_proxy", url, 1);
	setenv("ALL_PROXY", url, 1);
	setenv("no_proxy", "*", 1);
	c = client_to("http", sv.port);
	assert_int_equal(call(c, get("/"), NULL, &g), 0);
	assert_string_equal(g.body.data, "direct");
	client_free(c);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	got_reset(&g);
	o.proxy = url;
	assert_int_equal(client_new(&o, &c), 0);
	assert_int_equal(call(c, get("/a/../b"), NULL, &g), 0);
	assert_string_equal(g.body.data, "proxy");
	assert_true(slice_starts(slice_str(server_seen(&proxy)), "GET http://upstream.example/x/a/../b HTTP/1.1\r\n"));
	client_free(c);
	unsetenv("no_proxy");
	free(url);
	server_stop(&sv);
	server_stop(&proxy);
	got_reset(&g);
}

/* --- TLS -------------------------------------------------------------------------------------------------------- */

static SSL_CTX *tls_context(const char *cert_path)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_EXTENSION *san;
	X509V3_CTX v3;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	FILE *f = fopen(cert_path, "we");

	ENSURE(key && cert && ctx && f);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"weir test", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, key);
	X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
	san = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, "IP:127.0.0.1");
	ENSURE(san && X509_add_ext(cert, san, -1) && X509_sign(cert, key, EVP_sha256()));
	X509_EXTENSION_free(san);
	ENSURE(PEM_write_X509(f, cert) == 1 && fclose(f) == 0);
	ENSURE(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

static SSL_CTX *tls_ctx;

static void tls_answer(struct server *sv, int conn, unsigned nth)
{
	SSL *ssl = SSL_new(tls_ctx);
	char c[4096];

	SSL_set_fd(ssl, conn);
	if (SSL_accept(ssl) == 1)
		while (SSL_read(ssl, c, sizeof(c)) > 0)
			SSL_write(ssl, sv->answer, (int)strlen(sv->answer));
	SSL_free(ssl);
}

static void tls_is_checked_against_the_configured_certificates(void **state)
{
	char ca[] = "/tmp/weir-client-ca-XXXXXX";
	int ca_fd = mkostemp(ca, O_CLOEXEC);
	struct client_options o = { .connect_timeout_ms = 10000, .most_idle = 1 };
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;
	char *url;

	assert_true(ca_fd >= 0);
	fd_close(&ca_fd);
	(void)signal(SIGPIPE, SIG_IGN); /* for the test's own OpenSSL server */
	tls_ctx = tls_context(ca);
	server_start(&sv, tls_answer, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret");
	url = xstrf("https://127.0.0.1:%d", sv.port);
	o.base_url = url;
	assert_int_equal(client_new(&o, &c), 0);
	assert_int_equal(call(c, get("/"), NULL, &g), WEIR_E_TLS); /* the system does not know it */
	assert_false(g.result.request_sent);
	client_free(c);
	o.ca_file = ca;
	assert_int_equal(client_new(&o, &c), 0);
	assert_int_equal(call(c, get("/"), NULL, &g), 0);
	assert_int_equal(call(c, get("/"), NULL, &g), 0);
	assert_string_equal(g.body.data, "secretsecret");
	assert_int_equal(sv.connections, 2);
	client_free(c);
	server_stop(&sv);
	SSL_CTX_free(tls_ctx);
	free(url);
	unlink(ca);
	/* A server that does not speak TLS at all */
	server_start(&sv, refuse_early, NULL);
	c = client_to("https", sv.port);
	assert_int_equal(call(c, get("/"), NULL, &g), WEIR_E_TLS);
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

/* --- many at once ------------------------------------------------------------------------------------------------ */

static void *one_of_many(void *arg)
{
	for (int i = 0; i < 20; i++) {
		struct got g = GOT_EMPTY;
		ENSURE(call(arg, get("/"), NULL, &g) == 0);
		ENSURE(slice_eq_str(buf_slice(&g.body), "ok"));
		got_reset(&g);
	}
	return NULL;
}

static void many_workers_share_a_client(void **state)
{
	struct server sv;
	struct client *c;
	pthread_t t[8];

	server_start(&sv, answer_once, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
	c = client_to("http", sv.port);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, one_of_many, c), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	assert_int_equal(sv.connections, 160);
	client_free(c);
	server_stop(&sv);
}

static void headers_are_found_by_name(void **state)
{
	struct slice h[] = { SLICE_LIT("ETag: \"a\""), SLICE_LIT("content-TYPE:\t text/plain  "), SLICE_LIT("Empty:") };

	assert_true(slice_eq_str(client_header(h, 3, "etag"), "\"a\""));
	assert_true(slice_eq_str(client_header(h, 3, "Content-Type"), "text/plain"));
	assert_non_null(client_header(h, 3, "Empty").p);
	assert_null(client_header(h, 3, "Missing").p);
	assert_null(client_header(NULL, 0, "Missing").p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_sent_byte_for_byte),
		cmocka_unit_test(bodies_are_fixed_counted_or_chunked),
		cmocka_unit_test(a_head_request_waits_for_no_body),
		cmocka_unit_test(what_cannot_be_sent_is_refused),
		cmocka_unit_test(a_refused_connection_is_known_as_such),
		cmocka_unit_test(a_name_that_does_not_resolve_is_known_as_such),
		cmocka_unit_test(a_black_hole_ends_at_the_connect_timeout),
		cmocka_unit_test(silence_ends_at_the_patience),
		cmocka_unit_test(an_answer_that_stands_still_is_stalled),
		cmocka_unit_test(a_slow_drip_is_no_stall_but_has_its_total),
		cmocka_unit_test(an_answer_that_is_cut_is_never_whole),
		cmocka_unit_test(interim_answers_are_skipped),
		cmocka_unit_test(chunks_are_joined_and_trailers_dropped),
		cmocka_unit_test(what_is_not_http_is_a_protocol_error),
		cmocka_unit_test(a_head_without_end_is_too_large),
		cmocka_unit_test(a_connection_closed_meanwhile_is_replaced_once),
		cmocka_unit_test(connections_are_kept_up_to_the_limit_and_checked),
		cmocka_unit_test(sinks_and_sources_can_end_a_call),
		cmocka_unit_test(a_cancel_ends_a_call_at_once),
		cmocka_unit_test(an_upstream_that_takes_no_more_of_our_body_is_stalled),
		cmocka_unit_test(an_answer_before_the_body_is_sent_counts),
		cmocka_unit_test(proxies_come_from_the_configuration_alone),
		cmocka_unit_test(tls_is_checked_against_the_configured_certificates),
		cmocka_unit_test(many_workers_share_a_client),
		cmocka_unit_test(headers_are_found_by_name),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
