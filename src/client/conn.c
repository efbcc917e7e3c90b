/* conn.c -- see conn.h.
 *
 * WHY      libcurl does all this, but who links a library of a few calls does not want its forty along, nor their
 *          threads, signals and environment variables. One connection, answers of a few bytes, loopback: what is left
 *          is a page.
 * SEE      answer.h for what is taken for an answer */
#include "client/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t weirc_now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

int64_t weirc_told_ms(void)
{
	return clock_ms(CLOCK_BOOTTIME);
}

/* --- the address ------------------------------------------------------------------------------------------------- */

static void add_v4(struct weirc_address *a, struct in_addr to, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&a->to[a->count];

	in->sin_family = AF_INET;
	in->sin_addr = to;
	in->sin_port = htons(port);
	a->bytes[a->count++] = sizeof(*in);
}

static void add_v6(struct weirc_address *a, uint16_t port)
{
	struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a->to[a->count];

	in->sin6_family = AF_INET6;
	in->sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
	in->sin6_port = htons(port);
	a->bytes[a->count++] = sizeof(*in);
}

static int parse_port(const char *text, uint16_t *ret)
{
	unsigned long port = 0;

	if (!*text || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = port * 10 + (unsigned long)(*text - '0');
	}
	if (port == 0 || port > 65535)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

int weirc_address_parse(const char *text, struct weirc_address *ret)
{
	const char *colon = strrchr(text, ':');
	struct in_addr v4;
	uint16_t port;
	char host[32];
	size_t n;

	if (!colon || parse_port(colon + 1, &port) < 0)
		return -EINVAL;
	n = (size_t)(colon - text);
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "[::]") == 0)
		memcpy(host, "localhost", sizeof("localhost")); /* where a daemon listens that listens everywhere */
	memset(ret, 0, sizeof(*ret));
	(void)snprintf(ret->host, sizeof(ret->host), "%s:%u", host, port); /* fits: 31 and 5 */
	if (strcmp(host, "localhost") == 0) {
		add_v4(ret, (struct in_addr){ htonl(INADDR_LOOPBACK) }, port);
		add_v6(ret, port);
	} else if (strcmp(host, "[::1]") == 0) {
		add_v6(ret, port);
	} else if (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) {
		add_v4(ret, v4, port);
	} else {
		return -EINVAL;
	}
	return 0;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

int weirc_wait(const struct weirc_conn *c, int fd, short events, int64_t until_ms)
{
	struct pollfd p[2] = { { .fd = c->wake_fd, .events = POLLIN }, { .fd = fd, .events = events } };
	int64_t now = weirc_now_ms(), stop = atomic_load(c->stop_at_ms);
	uint64_t count;
	int r;

	if (until_ms > stop)
		until_ms = stop;
	if (until_ms <= now)
		return -ETIMEDOUT;
	r = poll(p, fd < 0 ? 1 : 2, until_ms - now > 60000 ? 60000 : (int)(until_ms - now));
	if (r > 0 && p[0].revents && read(c->wake_fd, &count, sizeof(count)) < 0)
		return 0; /* somebody else was quicker: it is only there to wake */
	return fd >= 0 && r > 0 && p[1].revents ? 1 : 0; /* EINTR, and a minute over: as woken */
}

static int wait_ready(const struct weirc_conn *c, short events, int64_t until_ms)
{
	int r;

	do
		r = weirc_wait(c, c->fd, events, until_ms);
	while (r == 0);
	return r < 0 ? r : 0;
}

/* --- the connection ---------------------------------------------------------------------------------------------- */

static int connect_to(struct weirc_conn *c, unsigned i, int64_t until_ms)
{
	const struct sockaddr *to = (const struct sockaddr *)&c->address->to[i];
	int one = 1, error = 0, r;
	socklen_t n = sizeof(error);

	c->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* slower without, not wrong */
	if (connect(c->fd, to, c->address->bytes[i]) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	r = wait_ready(c, POLLOUT, until_ms);
	if (r < 0)
		return r;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		return -errno;
	return -error;
}

int weirc_conn_open(struct weirc_conn *c, int64_t patience_ms)
{
	int r = -EINVAL;

	for (unsigned i = 0; i < c->address->count; i++) {
		r = connect_to(c, i, weirc_now_ms() + patience_ms);
		if (r == 0)
			return 0;
		weirc_conn_close(c);
	}
	return r;
}

void weirc_conn_close(struct weirc_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

bool weirc_conn_look(struct weirc_conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN | POLLRDHUP };

	if (c->fd < 0 || poll(&p, 1, 0) <= 0)
		return false;
	weirc_conn_close(c);
	return true;
}

static int send_all(struct weirc_conn *c, const char *p, size_t n, int64_t until_ms)
{
	while (n) {
		ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
		int r;

		if (sent >= 0) {
			c->was_sent = true;
			p += sent;
			n -= (size_t)sent;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = wait_ready(c, POLLOUT, until_ms);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_answer(struct weirc_conn *c, int64_t until_ms)
{
	char in[4096];

	weirc_answer_init(&c->answer);
	for (;;) {
		ssize_t got = recv(c->fd, in, sizeof(in), 0);
		size_t used;
		int r;

		if (got == 0)
			return -ECONNRESET;
		if (got > 0) {
			r = weirc_answer_feed(&c->answer, in, (size_t)got, &used);
			if (r == 1 && used < (size_t)got)
				c->answer.closes = true; /* something unasked for follows: no more of this */
			if (r != 0)
				return r < 0 ? r : 0;
		} else if (errno == EAGAIN) {
			r = wait_ready(c, POLLIN, until_ms);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

int weirc_conn_call(struct weirc_conn *c, const char *request, size_t n, int64_t patience_ms)
{
	int64_t until_ms = weirc_now_ms() + patience_ms;
	int r;

	c->was_sent = false;
	r = send_all(c, request, n, until_ms);
	if (r == 0)
		r = read_answer(c, until_ms);
	else if ((r == -EPIPE || r == -ECONNRESET) && read_answer(c, 0) == 0)
		r = 0; /* it did not want to hear the rest (RFC 9112 section 9.6) */
	if (r < 0 || c->answer.closes)
		weirc_conn_close(c);
	return r < 0 ? r : c->answer.status;
}
