/* children_test.c -- ending whatever child processes this process still has. */
#include "cli/children.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* A child that leads a group of its own and waits for ever; it is in its group when this returns. */
static pid_t start_one(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (;;)
			(void)pause();
	}
	assert_int_equal(setpgid(pid, pid), 0);
	return pid;
}

static void test_every_group_of_ours_ends(void **state)
{
	pid_t children[3];
	int status;

	assert_int_equal(children_kill(), 0);
	for (size_t i = 0; i < 3; i++)
		children[i] = start_one();
	assert_int_equal(children_kill(), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_group_of_ours_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
