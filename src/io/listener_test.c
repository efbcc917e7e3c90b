/* listener_test.c -- addresses in their forms, ports shared by our own sockets and by nobody else. */
#include "io/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT 3

static int fds[COUNT];
static char bound[LISTENER_ADDRESS_ROOM];
static bool loopback;

static int try(const char *address, struct buf *err)
{
	buf_reset(err);
	return listener_bind(address, COUNT, fds, bound, &loopback, err);
}

static void close_all(void)
{
	for (int i = 0; i < COUNT; i++)
		close(fds[i]);
}

static void port_0_is_picked_once_for_all_sockets(void **state)
{
	struct buf err = BUF_EMPTY;
	struct sockaddr_in a;
	socklen_t n;

	assert_int_equal(try("127.0.0.1:0", &err), 0);
	assert_true(loopback);
	assert_memory_equal(bound, "127.0.0.1:", 10);
	for (int i = 0; i < COUNT; i++) {
		n = sizeof(a);
		assert_int_equal(getsockname(fds[i], (struct sockaddr *)&a, &n), 0);
		assert_int_equal(ntohs(a.sin_port), strtol(bound + 10, NULL, 10));
	}
	close_all();
	buf_fini(&err);
}

static void nobody_else_shares_the_port(void **state)
{
	struct buf err = BUF_EMPTY;
	char first[LISTENER_ADDRESS_ROOM];
	int kept[COUNT];

	assert_int_equal(try("127.0.0.1:0", &err), 0);
	memcpy(kept, fds, sizeof(kept));
	memcpy(first, bound, sizeof(first));
	assert_int_equal(listener_open(kept[0]), 0);
	assert_int_equal(try(first, &err), -EADDRINUSE);
	assert_non_null(strstr(err.data, first));
	for (int i = 0; i < COUNT; i++)
		close(kept[i]);
	assert_int_equal(try(first, &err), 0);
	close_all();
	buf_fini(&err);
}

static void names_and_other_families_work(void **state)
{
	struct buf err = BUF_EMPTY;

	assert_int_equal(try("localhost:0", &err), 0);
	assert_true(loopback);
	close_all();
	assert_int_equal(try("0.0.0.0:0", &err), 0);
	assert_false(loopback);
	close_all();
	if (try("[::1]:0", &err) == 0) { /* a machine may have no IPv6 */
		assert_true(loopback);
		assert_memory_equal(bound, "[::1]:", 6);
		close_all();
	} else {
		assert_non_null(strstr(err.data, "[::1]:0"));
	}
	buf_fini(&err);
}

static void what_is_no_address_is_said_to_be_none(void **state)
{
	static const char *const wrong[] = { "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999999", "no such host:80",
					     "203.0.113.1:0" };
	struct buf err = BUF_EMPTY;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_true(try(wrong[i], &err) < 0);
		assert_non_null(strstr(err.data, wrong[i]));
	}
	buf_fini(&err);
}

static void accepting_tells_who_has_come(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char peer[LISTENER_ADDRESS_ROOM], wanted[LISTENER_ADDRESS_ROOM];
	struct buf err = BUF_EMPTY;
	socklen_t n = sizeof(a);
	struct pollfd p;
	int client, server;

	assert_int_equal(try("127.0.0.1:0", &err), 0);
	assert_int_equal(listener_open(fds[0]), 0);
	assert_int_equal(listener_accept(fds[0], peer), -EAGAIN);
	a.sin_port = htons((uint16_t)strtol(bound + 10, NULL, 10));
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
	p = (struct pollfd){ fds[0], POLLIN, 0 };
	assert_int_equal(poll(&p, 1, 10000), 1);
	server = listener_accept(fds[0], peer);
	assert_true(server >= 0);
	assert_int_equal(getsockname(client, (struct sockaddr *)&a, &n), 0);
	(void)snprintf(wanted, sizeof(wanted), "127.0.0.1:%u", (unsigned)ntohs(a.sin_port));
	assert_string_equal(peer, wanted);
	close(server);
	close(client);
	close_all();
	buf_fini(&err);
}

static int reach(const char *host, unsigned port)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	bool is_six = strchr(host, ':');
	int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM, 0), r;

	assert_int_equal(inet_pton(is_six ? AF_INET6 : AF_INET, host, is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr), 1);
	r = is_six ? connect(fd, (struct sockaddr *)&six, sizeof(six)) : connect(fd, (struct sockaddr *)&four, sizeof(four));
	close(fd);
	return r;
}

static void a_star_is_all_addresses_of_both_kinds(void **state)
{
	struct buf err = BUF_EMPTY;
	const char *colon;
	unsigned port;

	assert_int_equal(try("*:0", &err), 0);
	assert_false(loopback);
	colon = strrchr(bound, ':');
	assert_non_null(colon);
	port = (unsigned)strtoul(colon + 1, NULL, 10);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(listener_open(fds[i]), 0);
	assert_int_equal(reach("127.0.0.1", port), 0);
	if (bound[0] == '[') /* else a machine without IPv6 */
		assert_int_equal(reach("::1", port), 0);
	close_all();
	buf_fini(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_0_is_picked_once_for_all_sockets),
		cmocka_unit_test(nobody_else_shares_the_port),
		cmocka_unit_test(names_and_other_families_work),
		cmocka_unit_test(what_is_no_address_is_said_to_be_none),
		cmocka_unit_test(accepting_tells_who_has_come),
		cmocka_unit_test(a_star_is_all_addresses_of_both_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
