/* client_test.c -- the upstream client sends exactly what it is given, and gives exactly what came. */
#include "io/client.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>

#include "base/clock.h"
#include "io/client_test_kit.h"
#include "io/file.h"

static void a_request_is_sent_byte_for_byte(void **state)
{
	struct server sv;
	struct client *c;
	struct got g = GOT_EMPTY;
	struct slice headers[] = { SLICE_LIT("Git-Protocol: version=2"), SLICE_LIT("X-Empty:"),
				   SLICE_LIT("Content-Length: 99"), SLICE_LIT("transfer-encoding: chunked") };
	struct client_request rq = get("/a/../b/./%2f%C3%a9//x?service=git&&=?");

	server_start(&sv, answer_each,
		     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Two:  spaced \t\r\nEmpty:\r\n\r\nhello");
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
	rq = (struct client_request){
		.method = "PUT", .target = SLICE_LIT("/p"), .body_source = read_source, .body_arg = &b, .body_bytes = 11
	};
	assert_int_equal(call(c, rq, NULL, &g), 0);
	seen = server_seen(&sv);
	assert_non_null(strstr(seen, "PUT /base/p HTTP/1.1\r\n"));
	assert_non_null(strstr(seen, "Content-Length: 11\r\n\r\nhello world"));
	b.at = 0;
	rq.body_bytes = -1;
	assert_int_equal(call(c, rq, NULL, &g), 0);
	seen = server_seen(&sv);
	assert_non_null(
		strstr(seen, "Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n4\r\no wo\r\n3\r\nrld\r\n0\r\n\r\n"));
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
	static const char *const urls[] = { "ftp://h/", "http://", "http://u:p@h/", "http://h/?q", "http://h/#f",
					    "nonsense", "" };
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

static void interim_answers_are_skipped(void **state)
{
	struct got g = GOT_EMPTY;

	assert_int_equal(outcome_of(answer_each,
				    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
				    "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nA: b\r\n\r\nno",
				    10000, 10000, &g),
			 0);
	assert_int_equal(g.head_calls, 1);
	assert_int_equal(g.status, 404);
	assert_string_equal(g.head.data, "Content-Length: 2\nA: b\n");
	assert_string_equal(g.body.data, "no");
	got_reset(&g);
}

static int told_interim[8];
static size_t told_interim_count;

static int tell_interim(void *arg, int status, const struct slice *headers, size_t n)
{
	assert_non_null(arg);
	assert_int_equal(n, 1);
	assert_true(slice_eq_str(headers[0], "Link: x"));
	told_interim[told_interim_count++] = status;
	return 0;
}

static void interim_answers_are_told_to_who_wants_them(void **state)
{
	struct client_request rq = get("/");
	struct got g = GOT_EMPTY;
	struct server sv;
	struct client *c;

	server_start(&sv, answer_each,
		     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
		     "HTTP/1.1 102 Processing\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	c = client_to("http", sv.port);
	rq.on_interim = tell_interim;
	assert_int_equal(call(c, rq, NULL, &g), 0);
	assert_int_equal(told_interim_count, 2); /* the 100 was for us */
	assert_int_equal(told_interim[0], 103);
	assert_int_equal(told_interim[1], 102);
	assert_int_equal(g.status, 200);
	assert_string_equal(g.body.data, "ok");
	client_free(c);
	server_stop(&sv);
	got_reset(&g);
}

static void chunks_are_joined_and_trailers_dropped(void **state)
{
	struct got g = GOT_EMPTY;

	assert_int_equal(outcome_of(answer_each,
				    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n c\r\n\r\n"
				    "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
				    10000, 10000, &g),
			 0);
	assert_string_equal(g.body.data, "abcde");
	assert_int_equal(g.head_calls, 1);
	assert_string_equal(g.head.data, "Transfer-Encoding: chunked\nA: b c\n"); /* unfolded */
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

static int64_t skew_ms;
static int64_t later(int wall)
{
	struct timespec t;

	clock_gettime(wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000 + skew_ms;
}

static void *one_call(void *arg)
{
	struct got g = GOT_EMPTY;

	ENSURE(call(arg, get("/"), NULL, &g) == 0);
	got_reset(&g);
	return NULL;
}

static atomic_int closed_by_client;

/* Takes four requests before it answers any, so that four connections are made; then serves them all until they close.
 * */
static void *serve_four(void *arg)
{
	struct server *sv = arg;
	struct pollfd p[4];

	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		p[i] = (struct pollfd){ .fd = accept4(sv->fd, NULL, NULL, SOCK_CLOEXEC), .events = POLLIN };
		ENSURE(p[i].fd >= 0 && hear(sv, p[i].fd));
	}
	for (size_t i = 0; i < ARRAY_LEN(p); i++)
		say(p[i].fd, sv->answer);
	while (closed_by_client < 4) {
		ENSURE(poll(p, ARRAY_LEN(p), -1) > 0);
		for (size_t i = 0; i < ARRAY_LEN(p); i++) {
			if (!p[i].revents)
				continue;
			if (hear(sv, p[i].fd)) {
				say(p[i].fd, sv->answer);
			} else {
				close(p[i].fd);
				p[i].fd = -1;
				atomic_fetch_add(&closed_by_client, 1);
			}
		}
	}
	return NULL;
}

static void connections_that_nobody_needs_for_a_minute_are_closed(void **state)
{
	struct server sv = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", .seen = BUF_EMPTY,
			     .lock = PTHREAD_MUTEX_INITIALIZER };
	pthread_t server, t[4];
	struct client *c;

	sv.fd = listen_loopback(16, &sv.port);
	closed_by_client = 0;
	assert_int_equal(pthread_create(&server, NULL, serve_four, &sv), 0);
	c = client_to("http", sv.port);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, one_call, c), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	(void)one_call(c);
	assert_int_equal(closed_by_client, 0);
	skew_ms = 61000;
	clock_set_fake(later);
	(void)one_call(c);
	clock_set_fake(NULL);
	for (int ms = 0; closed_by_client < 3 && ms < 20000; ms++)
		usleep(1000);
	assert_int_equal(closed_by_client, 3); /* not the one that was just used */
	client_free(c);
	pthread_join(server, NULL);
	close(sv.fd);
	buf_fini(&sv.seen);
}

static void sinks_and_sources_can_end_a_call(void **state)
{
	struct body_source b = { .text = "hello", .n = 5, .end = -EIO };
	struct client_request rq = { .method = "POST",
				     .target = SLICE_LIT("/p"),
				     .body_source = read_source,
				     .body_arg = &b,
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
	assert_int_equal(client_call(c, &(struct client_request){ .method = "GET", .target = SLICE_LIT("/") }, NULL,
				     NULL, &g.result),
			 0);
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
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"weir test",
				   -1, -1, 0);
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
		cmocka_unit_test(interim_answers_are_skipped),
		cmocka_unit_test(interim_answers_are_told_to_who_wants_them),
		cmocka_unit_test(chunks_are_joined_and_trailers_dropped),
		cmocka_unit_test(a_connection_closed_meanwhile_is_replaced_once),
		cmocka_unit_test(connections_are_kept_up_to_the_limit_and_checked),
		cmocka_unit_test(connections_that_nobody_needs_for_a_minute_are_closed),
		cmocka_unit_test(sinks_and_sources_can_end_a_call),
		cmocka_unit_test(proxies_come_from_the_configuration_alone),
		cmocka_unit_test(tls_is_checked_against_the_configured_certificates),
		cmocka_unit_test(many_workers_share_a_client),
		cmocka_unit_test(headers_are_found_by_name),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
