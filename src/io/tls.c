/* tls.c -- OpenSSL, told to be frugal.
 *
 * WHAT     A context for each listener, an SSL for each connection, reads and writes with the codes of our sockets.
 * RULES    1. TLS 1.2 at least, no renegotiation, no compression; HTTP/1.1 is all that is offered by ALPN (RFC 7301).
 *          2. Buffers are given back while a connection idles (SSL_MODE_RELEASE_BUFFERS).
 *          3. A write that has to be repeated may come from another address (SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER),
 *             since file contents are read anew into a shared buffer.
 * THREADS  A connection: its loop's. OpenSSL's error queue is each thread's own; it is emptied before each call. */
#include "io/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/obj.h"
#include "io/loop.h"

struct tls_context {
	SSL_CTX *ctx;
};

struct tls {
	SSL *ssl;
};

/* RFC 7301 3.2: a client that offers only other protocols is refused. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
			   unsigned in_n, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
	unsigned char *chosen = NULL;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_n, ours, sizeof(ours) - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int refuse(struct tls_context **c, struct buf *err, const char *what, const char *file)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	buf_addf(err, "%s %s: %s", what, file, why ? why : "unknown reason");
	ERR_clear_error();
	tls_context_free(c);
	return -EINVAL;
}

int tls_context_new(const char *cert_file, const char *key_file, struct tls_context **ret, struct buf *err)
{
	struct tls_context *c = xcalloc(1, sizeof(*c));

	ERR_clear_error();
	c->ctx = SSL_CTX_new(TLS_server_method());
	if (!c->ctx || SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION) != 1)
		return refuse(&c, err, "cannot set up TLS for", cert_file);
	(void)SSL_CTX_set_mode(c->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					       SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_options(c->ctx,
				  SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	(void)SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF); /* tickets do it, without memory here */
	SSL_CTX_set_alpn_select_cb(c->ctx, choose_protocol, NULL);
	if (SSL_CTX_use_certificate_chain_file(c->ctx, cert_file) != 1)
		return refuse(&c, err, "cannot use cert_file", cert_file);
	if (SSL_CTX_use_PrivateKey_file(c->ctx, key_file, SSL_FILETYPE_PEM) != 1)
		return refuse(&c, err, "cannot use key_file", key_file);
	if (SSL_CTX_check_private_key(c->ctx) != 1)
		return refuse(&c, err, "key_file does not belong to cert_file", cert_file);
	*ret = c;
	return 0;
}

void tls_context_free(struct tls_context **cp)
{
	struct tls_context *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	free(c);
}

int tls_new(struct tls_context *c, int fd, struct tls **ret)
{
	struct tls *t;
	SSL *ssl = SSL_new(c->ctx);

	if (!ssl || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return -ENOMEM;
	}
	SSL_set_accept_state(ssl);
	t = xmalloc(sizeof(*t));
	t->ssl = ssl;
	*ret = t;
	return 0;
}

void tls_free(struct tls **tp)
{
	struct tls *t = *tp;

	*tp = NULL;
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}

static ssize_t result(struct tls *t, int ok, size_t done, unsigned *ret_wait)
{
	if (ok == 1)
		return (ssize_t)done;
	switch (SSL_get_error(t->ssl, ok)) {
	case SSL_ERROR_WANT_READ:
		*ret_wait = LOOP_READ;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*ret_wait = LOOP_WRITE;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		ERR_clear_error();
		return -ECONNRESET;
	}
}

ssize_t tls_read(struct tls *t, void *into, size_t room, unsigned *ret_wait)
{
	size_t done = 0;
	int ok;

	ERR_clear_error();
	ok = SSL_read_ex(t->ssl, into, room, &done);
	return result(t, ok, done, ret_wait);
}

ssize_t tls_write(struct tls *t, const void *p, size_t n, unsigned *ret_wait)
{
	size_t done = 0;
	int ok;

	ENSURE(n > 0);
	ERR_clear_error();
	ok = SSL_write_ex(t->ssl, p, n, &done);
	return result(t, ok, done, ret_wait);
}

bool tls_is_ready(const struct tls *t)
{
	return SSL_is_init_finished(t->ssl);
}

void tls_say_goodbye(struct tls *t)
{
	ERR_clear_error();
	if (SSL_is_init_finished(t->ssl))
		(void)SSL_shutdown(t->ssl); /* a courtesy; lengths and chunks tell the end of an answer */
	ERR_clear_error();
}
