/* server_tls_test.c -- the same front behind TLS: a certificate of its own making, OpenSSL as the client. */
#include "core/server.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "core/front_test_site.h"

static char cert_file[64], key_file[64];
static SSL_CTX *client_ctx;

static void write_pem(EVP_PKEY *key, X509 *cert)
{
	FILE *f = fopen(key_file, "we");

	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
	f = fopen(cert_file, "we");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, cert), 1);
	fclose(f);
}

static int make_certificate(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	(void)snprintf(cert_file, sizeof(cert_file), "/tmp/weir-tls-%d.cert", (int)getpid());
	(void)snprintf(key_file, sizeof(key_file), "/tmp/weir-tls-%d.key", (int)getpid());
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	write_pem(key, cert);
	X509_free(cert);
	EVP_PKEY_free(key);
	client_ctx = SSL_CTX_new(TLS_client_method());
	assert_int_equal(SSL_CTX_load_verify_locations(client_ctx, cert_file, NULL), 1);
	SSL_CTX_set_verify(client_ctx, SSL_VERIFY_PEER, NULL);
	return 0;
}

static int drop_certificate(void **state)
{
	SSL_CTX_free(client_ctx);
	return unlink(cert_file) | unlink(key_file);
}

static void start_tls(const struct server_limits *limits)
{
	start_with(limits,
		   (struct listen_settings){
			   .listen = (char[]){ "127.0.0.1:0" }, .cert_file = cert_file, .key_file = key_file },
		   false);
}

static int dial_tls(void)
{
	int fd = dial();

	kit_tls = SSL_new(client_ctx);
	assert_int_equal(SSL_set_fd(kit_tls, fd), 1);
	assert_int_equal(SSL_connect(kit_tls), 1);
	return fd;
}

static void hang_up(int fd)
{
	SSL_free(kit_tls);
	kit_tls = NULL;
	close(fd);
}

static void requests_are_answered_on_one_connection(void **state)
{
	int fd;

	start_tls(&usual);
	fd = dial_tls();
	for (int i = 0; i < 3; i++) {
		say(fd, "GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n");
		expect(fd, 200, "/one\n");
	}
	say(fd, "GET /there-and-back HTTP/1.1\r\nHost: localhost\r\n\r\nGET /two HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "front, worker, front\n");
	expect(fd, 200, "/two\n");
	say(fd, "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	expect(fd, 200, "/last\n");
	expect_end(fd); /* with a farewell */
	hang_up(fd);
	assert_true(stop());
}

static void large_bodies_go_both_ways(void **state)
{
	static char zeros[1000000];
	struct answer a;
	int fd;

	start_tls(&usual);
	fd = dial_tls();
	say(fd, "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n");
	for (int i = 0; i < 3; i++)
		say_n(fd, zeros, sizeof(zeros));
	expect(fd, 200, "3000000 bytes, sum 0\n");
	say(fd, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(hear(fd, &a, true), 200);
	assert_false(a.cut);
	assert_int_equal(a.body.len, 8000000);
	forget(&a);
	say(fd, "GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect(fd, 200, "/next\n");
	hang_up(fd);
	assert_true(stop());
}

static void a_spool_is_followed_while_it_grows(void **state)
{
	char piece[100000];
	struct answer a;
	int fd;

	start_tls(&usual);
	fd = dial_tls();
	say(fd, "GET /spool HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	assert_int_equal(hear(fd, &a, false), 200);
	for (int i = 0; i < 100; i++) {
		memset(piece, 'a' + i % 26, sizeof(piece));
		assert_int_equal(spool_append(site.spool, piece, sizeof(piece)), 0);
	}
	spool_complete(site.spool);
	hear_chunks(fd, &a);
	assert_false(a.cut);
	assert_int_equal(a.body.len, 100 * sizeof(piece));
	for (size_t i = 0; i < a.body.len; i++)
		assert_int_equal(a.body.data[i], 'a' + (int)(i / sizeof(piece)) % 26);
	forget(&a);
	hang_up(fd);
	assert_true(stop());
}

static void a_failed_spool_ends_without_a_farewell(void **state)
{
	struct answer a;
	int fd;

	start_tls(&usual);
	fd = dial_tls();
	say(fd, "GET /spool-known HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	assert_int_equal(hear(fd, &a, false), 200);
	spool_fail(site.spool, WEIR_E_CUT);
	expect_reset(fd);
	hang_up(fd);
	assert_true(stop());
}

static void a_client_that_leaves_is_noticed(void **state)
{
	int fd;

	start_tls(&usual);
	fd = dial_tls();
	say(fd, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sem_wait(&site.entered);
	hang_up(fd);
	wait_for(&site.cancelled, 1);
	assert_true(stop());
}

static void who_does_not_speak_tls_is_dropped(void **state)
{
	struct server_limits l = usual;
	char c;
	int fd;

	l.header_timeout_ms = 100;
	start_tls(&l);
	fd = dial();
	say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	while (hear_byte(fd, &c) == 1)
		; /* an alert, perhaps */
	close(fd);
	fd = dial(); /* and who says nothing has the time of a head */
	expect_end(fd);
	close(fd);
	assert_true(stop());
}

static void http_1_1_is_negotiated_and_nothing_else(void **state)
{
	const unsigned char *chosen;
	unsigned n;
	int fd;

	start_tls(&usual);
	SSL_CTX_set_alpn_protos(client_ctx, (const unsigned char *)"\x02h2\x08http/1.1", 12);
	fd = dial_tls();
	SSL_get0_alpn_selected(kit_tls, &chosen, &n);
	assert_int_equal(n, 8);
	assert_memory_equal(chosen, "http/1.1", 8);
	hang_up(fd);
	SSL_CTX_set_alpn_protos(client_ctx, (const unsigned char *)"\x02h2", 3);
	fd = dial();
	kit_tls = SSL_new(client_ctx);
	SSL_set_fd(kit_tls, fd);
	assert_int_not_equal(SSL_connect(kit_tls), 1);
	hang_up(fd);
	SSL_CTX_set_alpn_protos(client_ctx, NULL, 0);
	assert_true(stop());
}

static void unusable_files_are_errors_with_a_sentence(void **state)
{
	struct listen_settings w = { .listen = (char[]){ "127.0.0.1:0" }, .cert_file = key_file, .key_file = key_file };
	struct listener_options o = { .name = "toy", .where = &w, .handle = handle };
	struct buf err = BUF_EMPTY;

	start_tls(&usual);
	assert_int_equal(server_listen(site.server, &o, &err), -EINVAL);
	assert_non_null(strstr(err.data, key_file));
	buf_reset(&err);
	w.cert_file = cert_file;
	w.key_file = (char[]){ "/nonexistent" };
	assert_int_equal(server_listen(site.server, &o, &err), -EINVAL);
	assert_non_null(strstr(err.data, "/nonexistent"));
	buf_reset(&err);
	w.key_file = NULL;
	assert_int_equal(server_listen(site.server, &o, &err), -EINVAL);
	assert_non_null(strstr(err.data, "go together"));
	buf_fini(&err);
	assert_true(stop());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_answered_on_one_connection),
		cmocka_unit_test(large_bodies_go_both_ways),
		cmocka_unit_test(a_spool_is_followed_while_it_grows),
		cmocka_unit_test(a_failed_spool_ends_without_a_farewell),
		cmocka_unit_test(a_client_that_leaves_is_noticed),
		cmocka_unit_test(who_does_not_speak_tls_is_dropped),
		cmocka_unit_test(http_1_1_is_negotiated_and_nothing_else),
		cmocka_unit_test(unusable_files_are_errors_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, make_certificate, drop_certificate);
}
