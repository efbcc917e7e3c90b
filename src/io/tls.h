/* tls.h -- TLS 1.2 and 1.3 on accepted connections, by OpenSSL. */
#ifndef WEIR_IO_TLS_H
#define WEIR_IO_TLS_H

#include "base/buf.h"

struct tls_context; /* certificate and key; any thread */
struct tls;         /* one connection; one thread */

/* 0; or -EINVAL with a sentence for the operator in err. */
int tls_context_new(const char *cert_file, const char *key_file, struct tls_context **ret, struct buf *err);
void tls_context_free(struct tls_context **c); /* *c may be NULL; no connection may be left */

int tls_new(struct tls_context *c, int fd, struct tls **ret); /* fd is borrowed, non-blocking; 0 or -ENOMEM */
void tls_free(struct tls **t); /* without a farewell; *t may be NULL */

/* Bytes; 0 at the peer's end; -EAGAIN with LOOP_READ or LOOP_WRITE in *ret_wait, as either may need the other; or
 * -ECONNRESET (any other trouble: the connection is of no use). The handshake runs inside. */
ssize_t tls_read(struct tls *t, void *into, size_t room, unsigned *ret_wait);
ssize_t tls_write(struct tls *t, const void *p, size_t n, unsigned *ret_wait);
bool tls_is_ready(const struct tls *t);   /* the handshake is over */
void tls_say_goodbye(struct tls *t);      /* close_notify, if the socket takes it now */

#endif
