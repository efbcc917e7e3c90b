/* stream.c -- reads, writes and sendfile on a client's socket.
 *
 * WHAT     The few system calls of a connection, with TLS behind the same functions.
 * WHY      What sends answers should not care; sendfile(2) matters for plain connections, which are most (loopback, or
 *          TLS ended before us).
 * THREADS  The loop's. SIGPIPE is blocked there (loop.c blocks all signals), so a write to a dead peer is -EPIPE. */
#include "io/stream.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/loop.h"

int stream_init_take(struct stream *s, int fd, struct tls_context *tls)
{
	*s = (struct stream){ .fd = fd };
	if (tls && tls_new(tls, fd, &s->tls) < 0) {
		stream_close(s);
		return -ENOMEM;
	}
	return 0;
}

static ssize_t result(struct stream *s, ssize_t n, unsigned wait)
{
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		s->wait = wait;
		return -EAGAIN;
	}
	return -errno;
}

ssize_t stream_read(struct stream *s, void *into, size_t room)
{
	ssize_t n;

	if (s->tls)
		return tls_read(s->tls, into, room, &s->wait);
	do
		n = recv(s->fd, into, room, 0);
	while (n < 0 && errno == EINTR);
	return result(s, n, LOOP_READ);
}

ssize_t stream_writev(struct stream *s, const struct iovec *iov, int count, bool more)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count }; /* only read */
	ssize_t n;

	if (s->tls) {
		while (count > 1 && iov->iov_len == 0) {
			iov++;
			count--;
		}
		return tls_write(s->tls, iov->iov_base, iov->iov_len, &s->wait);
	}
	do
		n = count == 1 ? send(s->fd, iov->iov_base, iov->iov_len, more ? MSG_MORE | MSG_NOSIGNAL : MSG_NOSIGNAL)
			       : sendmsg(s->fd, &m, more ? MSG_MORE | MSG_NOSIGNAL : MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return result(s, n, LOOP_WRITE);
}

ssize_t stream_sendfile(struct stream *s, int file_fd, uint64_t offset, size_t n, char *scratch, size_t scratch_room)
{
	off_t at = (off_t)offset;
	ssize_t r;

	if (s->tls) {
		r = pread(file_fd, scratch, n < scratch_room ? n : scratch_room, at);
		if (r <= 0)
			return r < 0 ? -errno : 0;
		return tls_write(s->tls, scratch, (size_t)r, &s->wait);
	}
	do
		r = sendfile(s->fd, file_fd, &at, n);
	while (r < 0 && errno == EINTR);
	return result(s, r, LOOP_WRITE);
}

bool stream_is_ready(const struct stream *s)
{
	return !s->tls || tls_is_ready(s->tls);
}

void stream_finish(struct stream *s)
{
	if (s->tls)
		tls_say_goodbye(s->tls);
	(void)shutdown(s->fd, SHUT_WR); /* fails when the peer is gone, which reading will tell */
}

void stream_close(struct stream *s)
{
	tls_free(&s->tls);
	if (s->fd >= 0)
		(void)close(s->fd); /* nothing to be done about its result */
	s->fd = -1;
}

void stream_reset(struct stream *s)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (s->fd >= 0)
		/* else the peer sees a plain end, inside a length */
		(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	stream_close(s);
}
