/* dirlock_test.c -- one owner at a time, named to whom comes second, and none after a kill -9. */
#include "core/dirlock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/obj.h"
#include "io/child.h"
#include "io/file.h"

static char top[64], dir[100];
static struct buf err;

static int setup(void **state)
{
	memcpy(top, "/tmp/weir-dirlock-XXXXXX", 25);
	if (!mkdtemp(top))
		return -1;
	(void)snprintf(dir, sizeof(dir), "%s/data/git", top); /* made when missing */
	buf_init(&err, 0);
	return 0;
}

static int teardown(void **state)
{
	buf_fini(&err);
	return tree_remove(top);
}

static void the_second_is_told_who_holds_it(void **state)
{
	char want[64];
	int fd = -1, second = -1;

	assert_int_equal(dirlock_take(dir, &fd, &err), 0);
	assert_int_equal(err.len, 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(dirlock_take(dir, &second, &err), -EBUSY);
	assert_int_equal(second, -1);
	assert_non_null(strstr(err.data, dir));
	(void)snprintf(want, sizeof(want), "pid %d since 2", (int)getpid());
	assert_non_null(strstr(err.data, want));
	assert_null(strchr(err.data, '\n'));
	fd_close(&fd);
	assert_int_equal(dirlock_take(dir, &fd, &err), 0);
	fd_close(&fd);
}

static void a_killed_owner_holds_nothing(void **state)
{
	int p[2], fd = -1;
	char c;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		ENSURE(dirlock_take(dir, &fd, &err) == 0 && write(p[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	fd_close(&p[1]);
	assert_int_equal(read(p[0], &c, 1), 1);
	assert_int_equal(dirlock_take(dir, &fd, &err), -EBUSY);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(dirlock_take(dir, &fd, &err), 0);
	fd_close(&fd);
	fd_close(&p[0]);
}

/* A git that outlives us must not keep the folder. */
static void a_child_that_is_left_behind_does_not_hold_it(void **state)
{
	struct child_options o = {
		.argv = (const char *const[]){ "sleep", "3600", NULL }, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1
	};
	struct child *ch;
	int fd = -1;

	assert_int_equal(dirlock_take(dir, &fd, &err), 0);
	assert_int_equal(child_spawn(&o, &ch), 0);
	fd_close(&fd);
	assert_int_equal(dirlock_take(dir, &fd, &err), 0);
	fd_close(&fd);
	child_free(&ch);
}

static void a_folder_that_cannot_be_made_is_told(void **state)
{
	char *in_the_way = xstrf("%s/file", top);
	char *below = xstrf("%s/x", in_the_way);
	int fd = open(in_the_way, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	fd_close(&fd);
	assert_int_equal(dirlock_take(below, &fd, &err), -ENOTDIR);
	assert_non_null(strstr(err.data, below));
	/* A lock that is a link leads nowhere. */
	assert_int_equal(dir_make_all(dir, 0700), 0);
	free(below);
	below = xstrf("%s/lock", dir);
	assert_int_equal(symlink(in_the_way, below), 0);
	assert_int_equal(dirlock_take(dir, &fd, &err), -ELOOP);
	free(below);
	free(in_the_way);
}

static void what_the_lock_says_is_escaped(void **state)
{
	int fd = -1, second;

	assert_int_equal(dirlock_take(dir, &fd, &err), 0);
	assert_int_equal(pwrite(fd, "\x1b[31mred\n", 9, 0), 9);
	assert_int_equal(dirlock_take(dir, &second, &err), -EBUSY);
	assert_null(strchr(err.data, 0x1b));
	assert_int_equal(ftruncate(fd, 0), 0);
	buf_reset(&err);
	assert_int_equal(dirlock_take(dir, &second, &err), -EBUSY);
	assert_non_null(strstr(err.data, "pid unknown"));
	fd_close(&fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_second_is_told_who_holds_it),
		T(a_killed_owner_holds_nothing),
		T(a_child_that_is_left_behind_does_not_hold_it),
		T(a_folder_that_cannot_be_made_is_told),
		T(what_the_lock_says_is_escaped),
	};

	return cmocka_run_group_tests_name("dirlock", tests, NULL, NULL);
}
