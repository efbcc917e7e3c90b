/* cli_test_kit.h -- commands as processes of their own, in a folder of their own: what they print, and how they end.
 *
 * Include after the services that `weir serve` is to run, `static const struct service *const services[]`, and the
 * standard headers. */
#ifndef WEIR_CLI_CLI_TEST_KIT_H
#define WEIR_CLI_CLI_TEST_KIT_H

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/cli.h"
#include "io/file.h"

#define MOST_OUTPUT (1024 * 1024)
#define KIT __attribute__((unused)) static

static char folder[64], before[4096];
static struct buf out = BUF_EMPTY, err = BUF_EMPTY;

KIT void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

KIT void redirect(int fd, const char *name)
{
	int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (file < 0 || dup2(file, fd) < 0)
		_exit(99);
}

KIT pid_t spawn(const char *const *args, const char *out_name, const char *err_name)
{
	char *argv[16] = { (char *)(uintptr_t) "weir" };
	int argc = 1;
	pid_t pid;

	while (args[argc - 1]) {
		argv[argc] = (char *)(uintptr_t)args[argc - 1];
		argc++;
	}
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a daemon outlives no failed test */
		redirect(STDOUT_FILENO, out_name);
		redirect(STDERR_FILENO, err_name);
		exit(cli_main(argc, argv, services, services));
	}
	return pid;
}

KIT int wait_for(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })

KIT int weir(const char *const *args)
{
	int status = wait_for(spawn(args, "out", "err"));

	buf_reset(&out);
	buf_reset(&err);
	assert_int_equal(file_read_all("out", MOST_OUTPUT, &out), 0);
	assert_int_equal(file_read_all("err", MOST_OUTPUT, &err), 0);
	return status;
}

KIT void expect_said(const struct buf *where, const char *words)
{
	if (!strstr(where->data, words))
		fail_msg("\"%s\" is not said in:\n%s", words, where->data);
}

/* The daemon's output once it has these words; fails after ten seconds. */
KIT void wait_until_said(const char *name, const char *words)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	for (int i = 0; i < 2000; i++) {
		buf_reset(&out);
		if (file_read_all(name, MOST_OUTPUT, &out) == 0 && strstr(out.data, words))
			return;
		(void)nanosleep(&pause, NULL);
	}
	fail_msg("%s never says \"%s\" but:\n%s", name, words, out.data);
}

/* Starts a daemon with weir.yaml and gives its address in WEIR_ADMIN. */
KIT pid_t daemon_start(void)
{
	struct slice rest, line;
	pid_t pid;

	(void)unlink("daemon.out"); /* an earlier one's words are not this one's */
	pid = spawn(ARGS("serve"), "daemon.out", "daemon.err");
	wait_until_said("daemon.out", "ready\n");
	rest = buf_slice(&out);
	(void)slice_cut(&rest, '\n', &line);
	assert_true(slice_starts(line, "listening admin 127.0.0.1:"));
	line = slice_from(line, strlen("listening admin "));
	{
		char *address = slice_dup(line);

		assert_int_equal(setenv("WEIR_ADMIN", address, 1), 0);
		free(address);
	}
	return pid;
}

KIT void daemon_stop(pid_t pid, int number)
{
	assert_int_equal(kill(pid, number), 0);
	assert_int_equal(wait_for(pid), 0);
	wait_until_said("daemon.out", "ready\nstopped\n");
}

KIT int ground_make(void **state)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/weir-cli-XXXXXX");
	assert_non_null(getcwd(before, sizeof(before)));
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	put("token", "let-me-in\n");
	put("weir.yaml", "data_dir: data\nadmin: {listen: \"127.0.0.1:0\"}\n");
	return unsetenv("WEIR_ADMIN");
}

KIT int ground_clear(void **state)
{
	buf_fini(&out);
	buf_fini(&err);
	assert_int_equal(chdir(before), 0);
	return tree_remove(folder);
}

#endif
