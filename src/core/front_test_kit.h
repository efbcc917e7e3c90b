/* front_test_kit.h -- for tests of the front: a client over a real socket, and waiting for things without sleeping.
 *
 * Reads block with a limit of LIMIT_MS, and a test that reaches it has failed. Set `kit_port` first. Include after
 * the standard headers; this brings cmocka. */
#ifndef WEIR_CORE_FRONT_TEST_KIT_H
#define WEIR_CORE_FRONT_TEST_KIT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "core/server.h"

#define LIMIT_MS 10000
#define KIT __attribute__((unused)) static

static int kit_port;
static SSL *kit_tls; /* when set, what is said and heard goes through it */

KIT const struct server_limits usual = {
	.connections = 100, .header_bytes = 4096, .request_body = 4 * 1024 * 1024, .header_timeout_ms = 20000,
	.idle_timeout_ms = 20000, .body_timeout_ms = 20000, .send_timeout_ms = 20000, .shutdown_grace_ms = LIMIT_MS,
};

KIT int dial(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)kit_port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { .tv_sec = LIMIT_MS / 1000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

KIT ssize_t kit_recv(int fd, void *into, size_t room)
{
	int n;

	if (!kit_tls)
		return recv(fd, into, room, 0);
	errno = 0;
	n = SSL_read(kit_tls, into, (int)room);
	if (n > 0 || SSL_get_error(kit_tls, n) == SSL_ERROR_ZERO_RETURN)
		return n > 0 ? n : 0;
	errno = errno ? errno : EPROTO; /* an end without a farewell */
	return -1;
}

KIT ssize_t kit_send(int fd, const void *p, size_t n)
{
	return kit_tls ? SSL_write(kit_tls, p, (int)n) : send(fd, p, n, MSG_NOSIGNAL);
}

KIT void say_n(int fd, const void *p, size_t n)
{
	while (n) {
		ssize_t w = kit_send(fd, p, n);

		assert_true(w > 0);
		p = (const char *)p + w;
		n -= (size_t)w;
	}
}

KIT void say(int fd, const char *s)
{
	say_n(fd, s, strlen(s));
}

struct answer {
	int status;       /* 0: the connection ended instead; -errno: with that error */
	char head[8192];
	struct buf body;
	bool cut;         /* the body did not come to its end */
};

/* One byte; 0 at the end; -errno. */
KIT int hear_byte(int fd, char *c)
{
	ssize_t n = kit_recv(fd, c, 1);

	return n < 0 ? -errno : (int)n;
}

KIT int hear_line(int fd, char *line, size_t room)
{
	size_t n = 0;
	int r;

	while (n < room - 1 && (r = hear_byte(fd, line + n)) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = '\0';
	return n && line[n - 1] == '\n' ? 0 : -1;
}

KIT void hear_bytes(int fd, struct answer *a, uint64_t n)
{
	char piece[65536];

	while (n && !a->cut) {
		ssize_t r = kit_recv(fd, piece, n < sizeof(piece) ? (size_t)n : sizeof(piece));

		if (r <= 0) {
			a->cut = true;
			return;
		}
		buf_add(&a->body, piece, (size_t)r);
		n -= (uint64_t)r;
	}
}

KIT void hear_chunks(int fd, struct answer *a)
{
	char line[100];
	uint64_t size;

	do {
		if (hear_line(fd, line, sizeof(line)) < 0) {
			a->cut = true;
			return;
		}
		size = strtoull(line, NULL, 16);
		hear_bytes(fd, a, size);
		if (hear_line(fd, line, sizeof(line)) < 0)
			a->cut = true;
	} while (size && !a->cut);
}

KIT const char *field(const struct answer *a, const char *name)
{
	return strcasestr(a->head, name);
}

KIT void forget(struct answer *a)
{
	buf_fini(&a->body);
}

KIT int hear(int fd, struct answer *a, bool body)
{
	size_t n = 0;
	int r = 1;

	*a = (struct answer){ .body = BUF_EMPTY };
	while (n < sizeof(a->head) - 1 && (r = hear_byte(fd, a->head + n)) == 1) {
		n++;
		if (n >= 4 && memcmp(a->head + n - 4, "\r\n\r\n", 4) == 0)
			break;
	}
	if (r != 1)
		return a->status = n ? -EPROTO : r;
	a->status = (int)strtol(a->head + 9, NULL, 10);
	if (a->status >= 200) {
		assert_non_null(field(a, "\r\nDate: "));
		assert_true(field(a, "\r\nX-Request-Id: ") || strstr(a->head, "Retry-After"));
	}
	if (!body || a->status < 200 || a->status == 204 || a->status == 304)
		return a->status;
	if (field(a, "\r\nContent-Length: "))
		hear_bytes(fd, a, strtoull(field(a, "\r\nContent-Length: ") + 18, NULL, 10));
	else if (field(a, "\r\nTransfer-Encoding: chunked\r\n"))
		hear_chunks(fd, a);
	else
		for (char c; (r = hear_byte(fd, &c)) == 1;)
			buf_add_char(&a->body, c);
	a->cut = a->cut || r < 0;
	return a->status;
}

KIT void expect(int fd, int status, const char *body)
{
	struct answer a;

	assert_int_equal(hear(fd, &a, true), status);
	assert_false(a.cut);
	if (body)
		assert_string_equal(a.body.data, body);
	forget(&a);
}

KIT void expect_end(int fd)
{
	char c;

	assert_int_equal(hear_byte(fd, &c), 0);
}

KIT void expect_reset(int fd)
{
	char c;
	int r;

	while ((r = hear_byte(fd, &c)) == 1)
		;
	assert_int_equal(r, -ECONNRESET);
}

KIT void wait_for(_Atomic int *counter, int wanted)
{
	struct timespec ms = { .tv_nsec = 1000000 };

	for (int i = 0; i < LIMIT_MS && atomic_load(counter) != wanted; i++)
		(void)nanosleep(&ms, NULL); /* polls a condition, with a limit */
	assert_int_equal(atomic_load(counter), wanted);
}

#endif
