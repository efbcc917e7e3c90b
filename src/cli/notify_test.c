/* notify_test.c -- what systemd is told. */
#include "cli/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"

/* A manager's socket; abstract when the name begins with '@'. */
static int manager(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", name);
	if (name[0] == '@')
		at.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (const struct sockaddr *)&at,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	return fd;
}

static void expect_word(int fd, const char *wanted)
{
	char got[64];
	ssize_t n = recv(fd, got, sizeof(got), 0);

	assert_int_equal(n, (ssize_t)strlen(wanted));
	assert_memory_equal(got, wanted, strlen(wanted));
}

static void test_the_manager_is_told_by_a_path_or_an_abstract_name(void **state)
{
	char *names[] = { xstrf("/tmp/weir-notify-%d", (int)getpid()), xstrf("@weir-notify-%d", (int)getpid()) };

	for (size_t i = 0; i < 2; i++) {
		int fd = manager(names[i]);

		assert_int_equal(setenv("NOTIFY_SOCKET", names[i], 1), 0);
		notify_manager("READY=1");
		expect_word(fd, "READY=1");
		notify_manager("STOPPING=1");
		expect_word(fd, "STOPPING=1");
		assert_int_equal(close(fd), 0);
		if (names[i][0] == '/')
			assert_int_equal(unlink(names[i]), 0);
		free(names[i]);
	}
}

static void test_without_a_manager_nothing_happens(void **state)
{
	static const char *const names[] = { "", "relative", "/nonexistent/socket" };
	char *too_long = xcalloc(1, 200);

	memset(too_long, '/', 199);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(setenv("NOTIFY_SOCKET", names[i], 1), 0);
		notify_manager("READY=1");
	}
	assert_int_equal(setenv("NOTIFY_SOCKET", too_long, 1), 0);
	notify_manager("READY=1");
	assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
	notify_manager("READY=1");
	free(too_long);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_manager_is_told_by_a_path_or_an_abstract_name),
		cmocka_unit_test(test_without_a_manager_nothing_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
