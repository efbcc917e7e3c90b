/* stream.h -- a client's connection as a stream of bytes, plain or TLS. Embedded by value; one thread (its loop's).
 * Never blocks.
 *
 * Results: bytes; 0 at the peer's end (reading); -EAGAIN, and `wait` says what to watch for; -errno: it is of no use
 * any more. */
#ifndef WEIR_IO_STREAM_H
#define WEIR_IO_STREAM_H

#include <sys/uio.h>

#include "base/buf.h"
#include "io/tls.h"

struct stream {
	int fd;           /* -1: closed */
	unsigned wait;    /* LOOP_READ or LOOP_WRITE, after -EAGAIN */
	struct tls *tls;  /* NULL: plain */
};

/* tls NULL: plain. 0 or -ENOMEM (fd is closed) */
int stream_init_take(struct stream *s, int fd, struct tls_context *tls);
ssize_t stream_read(struct stream *s, void *into, size_t room);
/* `more`: further bytes follow at once, so that the kernel may wait for them before it sends a small packet. */
ssize_t stream_writev(struct stream *s, const struct iovec *iov, int count, bool more);
/* From a file, at offset. 0: the file is shorter than that. `scratch` is used with TLS only. */
ssize_t stream_sendfile(struct stream *s, int file_fd, uint64_t offset, size_t n, char *scratch, size_t scratch_room);
bool stream_is_ready(const struct stream *s);   /* TLS: the handshake is over */
void stream_finish(struct stream *s);           /* no more bytes will be written: the peer sees the end */
void stream_close(struct stream *s);            /* as the kernel does it; twice is harmless */
void stream_reset(struct stream *s);            /* closes so that the peer sees an error, not an end */

#endif
