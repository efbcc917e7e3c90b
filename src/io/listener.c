/* listener.c -- binding and accepting.
 *
 * WHAT     SO_REUSEPORT sockets, so that the kernel spreads connections over front threads without a lock.
 * WHY      SO_REUSEPORT lets any program of the same user share the port, a second weir too, which would silently take
 *          half of the connections. So the address is first bound once without it; only the first daemon passes.
 * THREADS  Any. */
#include "io/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"

#define BACKLOG 4096

static int split_address(const char *address, char *host, size_t room, const char **ret_port)
{
	struct slice s = slice_str(address), h;
	const char *colon = strrchr(address, ':');
	uint64_t port;

	/* getaddrinfo() would take a port above 65535 modulo 65536 */
	if (!colon || str_parse_u64(slice_str(colon + 1), &port) < 0 || port > 65535)
		return -EINVAL;
	h = (struct slice){ s.p, (size_t)(colon - address) };
	if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = (struct slice){ h.p + 1, h.n - 2 };
	if (h.n >= room || slice_has_nul(h))
		return -EINVAL;
	if (h.n)
		memcpy(host, h.p, h.n);
	host[h.n] = '\0';
	*ret_port = colon + 1;
	return 0;
}

/* Linux hands these on to accepted sockets, which saves four system calls for each. Without them answers are late
 * (Nagle), or a client whose network has vanished is noticed late: bad and not wrong, so failures are ignored. */
static void set_inherited(int fd)
{
	int on = 1, idle_s = 60, interval_s = 15, count = 4;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static int bind_one(const struct sockaddr *sa, socklen_t n, bool both, int share, int *ret_fd)
{
	int on = 1, six_only = !both, r;
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* a convenience at restart */
	if (sa->sa_family == AF_INET6)
		/* 0.0.0.0 is another address */
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &six_only, sizeof(six_only));
	if (share)
		set_inherited(fd);
	if ((share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) || bind(fd, sa, n) < 0) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static void format_address(const struct sockaddr_storage *ss, char out[LISTENER_ADDRESS_ROOM])
{
	char host[INET6_ADDRSTRLEN] = "";

	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const void *)ss;

		(void)inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host)); /* the room is enough */
		(void)snprintf(out, LISTENER_ADDRESS_ROOM, "[%s]:%u", host, (unsigned)ntohs(a->sin6_port));
	} else if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *a = (const void *)ss;

		(void)inet_ntop(AF_INET, &a->sin_addr, host, sizeof(host));
		(void)snprintf(out, LISTENER_ADDRESS_ROOM, "%s:%u", host, (unsigned)ntohs(a->sin_port));
	} else {
		(void)snprintf(out, LISTENER_ADDRESS_ROOM, "-");
	}
}

static bool is_loopback(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)ss)->sin_addr.s_addr) >> 24 == 127;
	return ss->ss_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)ss)->sin6_addr);
}

static int bind_all(struct sockaddr_storage *ss, socklen_t n, bool both, unsigned count, int *fds)
{
	struct sockaddr *sa = (struct sockaddr *)ss;
	int probe = -1, r = 0;

	for (unsigned i = 0; i < count; i++)
		fds[i] = -1;
	r = bind_one(sa, n, both, 0, &probe); /* see WHY; with port 0 it harmlessly picks another */
	if (r < 0)
		return r;
	(void)close(probe);
	for (unsigned i = 0; i < count && r == 0; i++) {
		r = bind_one(sa, n, both, 1, &fds[i]);
		if (r == 0 && i == 0 && getsockname(fds[0], sa, &n) < 0)
			r = -errno;
	}
	if (r < 0)
		for (unsigned i = 0; i < count; i++)
			if (fds[i] >= 0)
				(void)close(fds[i]);
	return r;
}

int listener_bind(const char *address, unsigned count, int *ret_fds, char ret_bound[LISTENER_ADDRESS_ROOM],
		  bool *ret_loopback, struct buf *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *found = NULL;
	struct sockaddr_storage ss = { 0 };
	char host[256];
	const char *port;
	bool both;
	int r = split_address(address, host, sizeof(host), &port);

	if (r < 0) {
		buf_addf(err, "%s is not HOST:PORT", address);
		return r;
	}
	both = strcmp(host, "*") == 0;
	r = getaddrinfo(both ? "::" : host[0] ? host : NULL, port, &hints, &found);
	if (r != 0) {
		buf_addf(err, "cannot listen on %s: %s", address, gai_strerror(r));
		return -EADDRNOTAVAIL;
	}
	memcpy(&ss, found->ai_addr, found->ai_addrlen);
	r = bind_all(&ss, found->ai_addrlen, both, count, ret_fds);
	freeaddrinfo(found);
	if (both && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) { /* a machine without IPv6 */
		char four[32];

		(void)snprintf(four, sizeof(four), "0.0.0.0:%.8s", port);
		return listener_bind(four, count, ret_fds, ret_bound, ret_loopback, err);
	}
	if (r == -EADDRINUSE)
		buf_addf(err, "cannot listen on %s: another program does so already", address);
	else if (r < 0)
		buf_addf(err, "cannot listen on %s: %s", address, strerror(-r));
	if (r < 0)
		return r;
	format_address(&ss, ret_bound);
	*ret_loopback = is_loopback(&ss);
	return 0;
}

int listener_open(int fd)
{
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

int listener_accept(int fd, char ret_peer[LISTENER_ADDRESS_ROOM])
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t size = sizeof(ss);
	int c;

	do
		c = accept4(fd, (struct sockaddr *)&ss, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (c < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (c < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	format_address(&ss, ret_peer);
	return c;
}
