/* child_test.c -- programs are run as stated, end when told, and never hang us or inherit anything. */
#include "io/child.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

#define SH(script) ((const char *const[]){ "sh", "-c", script, NULL })

static int run(const char *const *argv, struct slice input, struct buf *out, struct buf *err, int limit_ms,
	       int *ret_status)
{
	struct child_options o = { .argv = argv };

	return child_run(&o, input, out, err, limit_ms, NULL, ret_status);
}

static void gathers_output_and_status(void **state)
{
	struct buf out = BUF_EMPTY, err = BUF_EMPTY;
	int status = -1;

	assert_int_equal(run(SH("echo out; echo err >&2"), SLICE_LIT(""), &out, &err, -1, &status), 0);
	assert_string_equal(out.data, "out\n");
	assert_string_equal(err.data, "err\n");
	assert_int_equal(status, 0);
	assert_int_equal(run(SH("exit 3"), SLICE_LIT(""), NULL, NULL, -1, &status), WEIR_E_CHILD);
	assert_int_equal(WEXITSTATUS(status), 3);
	assert_int_equal(run(SH("kill -9 $$"), SLICE_LIT(""), NULL, NULL, -1, &status), WEIR_E_CHILD);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	buf_fini(&out);
	buf_fini(&err);
}

static void a_missing_program_is_an_error_at_once(void **state)
{
	struct child_options o = { .argv = (const char *const[]){ "weir-no-such-program", NULL } };
	struct child *ch = NULL;

	assert_int_equal(child_spawn(&o, &ch), -ENOENT);
	o.argv = (const char *const[]){ "/nonexistent/program", NULL };
	assert_int_equal(child_spawn(&o, &ch), -ENOENT);
	o.argv = SH("true");
	o.cwd = "/nonexistent";
	assert_int_equal(child_spawn(&o, &ch), -ENOENT);
	assert_null(ch);
}

/* The child writes more than a pipe holds before it reads, and answers with more than a pipe holds. */
static void large_input_and_output_do_not_deadlock(void **state)
{
	size_t n = 5000000;
	struct buf in = BUF_EMPTY, out = BUF_EMPTY;

	memset(buf_reserve(&in, n), 'x', n);
	in.len = n;
	assert_int_equal(run(SH("head -c 1000000 /dev/zero; cat"), buf_slice(&in), &out, NULL, 60000, NULL), 0);
	assert_int_equal(out.len, 6000000);
	assert_int_equal(out.data[999999], '\0');
	assert_memory_equal(out.data + 1000000, in.data, n);
	buf_fini(&in);
	buf_fini(&out);
}

static void a_child_that_never_reads_its_input_is_no_trouble(void **state)
{
	size_t n = 1000000;
	struct buf in = BUF_EMPTY, out = BUF_EMPTY;

	memset(buf_reserve(&in, n), 'x', n);
	in.len = n;
	assert_int_equal(run(SH("echo done"), buf_slice(&in), &out, NULL, 60000, NULL), 0);
	assert_string_equal(out.data, "done\n");
	/* Closed early, but still running: EPIPE, and no SIGPIPE for us. */
	buf_reset(&out);
	assert_int_equal(run(SH("exec <&-; read x; echo still here"), buf_slice(&in), &out, NULL, 60000, NULL), 0);
	assert_string_equal(out.data, "still here\n");
	buf_fini(&in);
	buf_fini(&out);
}

static void keeps_the_last_4_kib_of_standard_error(void **state)
{
	struct buf err = BUF_EMPTY;

	assert_int_equal(run(SH("head -c 100000 /dev/zero >&2; printf 'fatal: no' >&2; exit 1"), SLICE_LIT(""), NULL,
			     &err, 60000, NULL),
			 WEIR_E_CHILD);
	assert_int_equal(err.len, 4096);
	assert_string_equal(err.data + 4096 - 9, "fatal: no");
	buf_fini(&err);
}

static void output_above_the_limit_ends_the_child(void **state)
{
	struct buf out = BUF_LIMIT(1000);
	int64_t start = clock_mono_ms();

	assert_int_equal(run(SH("exec cat /dev/zero"), SLICE_LIT(""), &out, NULL, -1, NULL), WEIR_E_TOO_LARGE);
	assert_true(clock_mono_ms() - start < 10000);
	buf_fini(&out);
}

static void a_limit_of_time_ends_the_whole_group(void **state)
{
	struct buf out = BUF_EMPTY;
	uint64_t pid = 0;

	/* The grandchild would hold the pipe open for an hour. */
	assert_int_equal(run(SH("sleep 3600 & echo $!; wait"), SLICE_LIT(""), &out, NULL, 300, NULL), -ETIMEDOUT);
	pid = strtoul(out.data, NULL, 10);
	assert_true(pid > 1);
	for (int ms = 0; kill((pid_t)pid, 0) == 0 && ms < 10000; ms++) {
		char path[64], c = 0;
		struct buf stat = BUF_EMPTY;
		(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		if (file_read_all(path, 4096, &stat) == 0 && strrchr(stat.data, ')'))
			c = strrchr(stat.data, ')')[2];
		buf_fini(&stat);
		if (c == 'Z') /* dead; whoever is init here may be slow to reap */
			break;
		usleep(1000);
		assert_true(ms < 9999);
	}
	buf_fini(&out);
}

static void a_child_that_ignores_sigterm_is_killed(void **state)
{
	assert_int_equal(run(SH("trap '' TERM; while :; do sleep 1; done"), SLICE_LIT(""), NULL, NULL, 200, NULL),
			 -ETIMEDOUT);
}

static void a_child_that_is_ended_may_clean_up(void **state)
{
	struct buf out = BUF_EMPTY;

	assert_int_equal(run(SH("trap 'echo cleaned; exit 1' TERM; echo ready; while :; do sleep 0.01; done"),
			     SLICE_LIT(""), &out, NULL, 1000, NULL),
			 -ETIMEDOUT);
	assert_string_equal(out.data, "ready\ncleaned\n");
	buf_fini(&out);
}

/* A grandchild left behind keeps standard output open, but the child itself has ended. */
static void what_is_left_behind_is_not_waited_for(void **state)
{
	struct buf out = BUF_EMPTY;
	int64_t start = clock_mono_ms();

	assert_int_equal(run(SH("sleep 20 & echo hello"), SLICE_LIT(""), &out, NULL, -1, NULL), 0);
	assert_string_equal(out.data, "hello\n");
	assert_true(clock_mono_ms() - start < 15000);
	buf_fini(&out);
}

static void *fire(void *arg)
{
	cancel_fire(arg);
	return NULL;
}

static void a_cancel_ends_it(void **state)
{
	struct child_options o = { .argv = SH("exec sleep 3600"), .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
	struct cancel *c;
	struct child *ch;
	pthread_t t;
	int status = 0;

	assert_int_equal(cancel_new(&c), 0);
	assert_int_equal(child_spawn(&o, &ch), 0);
	assert_int_equal(child_wait(ch, 1, c, &status), -ETIMEDOUT);
	assert_int_equal(pthread_create(&t, NULL, fire, c), 0);
	assert_int_equal(child_wait(ch, -1, c, &status), WEIR_E_CANCELLED);
	pthread_join(t, NULL);
	child_kill(ch);
	assert_int_equal(child_wait(ch, -1, NULL, &status), 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_int_equal(child_wait(ch, 0, NULL, &status), 0); /* asked twice, same answer */
	assert_true(WIFSIGNALED(status));
	child_kill(ch); /* harmless now */
	child_free(&ch);
	assert_null(ch);
	child_free(&ch);
	assert_int_equal(child_run(&o, SLICE_LIT(""), NULL, NULL, -1, c, NULL), WEIR_E_CANCELLED);
	cancel_unref(&c);
}

static void the_environment_is_fixed(void **state)
{
	struct child_options o = { .argv = (const char *const[]){ "env", NULL } };
	struct buf out = BUF_EMPTY;

	setenv("HTTP_PROXY", "http://weir", 1);
	setenv("WEIR_TOKEN", "secret", 1);
	setenv("PATH", "/tmp", 0);
	unsetenv("TMPDIR");
	o.env = (const char *const[]){ "GIT_PROTOCOL=version=2", "LANG=C", NULL };
	assert_int_equal(child_run(&o, SLICE_LIT(""), &out, NULL, -1, NULL, NULL), 0);
	assert_string_equal(out.data,
			    "PATH=/usr/local/bin:/usr/bin:/bin\nHOME=/nonexistent\nLANG=C\nGIT_CONFIG_NOSYSTEM=1\n"
			    "GIT_CONFIG_GLOBAL=/dev/null\nGIT_TERMINAL_PROMPT=0\nGIT_OPTIONAL_LOCKS=0\n"
			    "GIT_NO_REPLACE_OBJECTS=1\nGIT_PROTOCOL=version=2\n");
	setenv("TMPDIR", "/var/tmp", 1);
	buf_reset(&out);
	assert_int_equal(child_run(&o, SLICE_LIT(""), &out, NULL, -1, NULL, NULL), 0);
	assert_non_null(strstr(out.data, "\nTMPDIR=/var/tmp\n"));
	unsetenv("TMPDIR");
	buf_fini(&out);
}

static void no_descriptor_signal_or_folder_is_inherited(void **state)
{
	struct child_options o = {
		.argv = SH("ls /proc/self/fd | wc -l; pwd; grep SigBlk /proc/self/status;"
			   "ign=0x$(sed -n 's/^SigIgn:\t//p' /proc/self/status); echo $((ign & 0x7fffffff));"
			   "cut -d' ' -f5 /proc/$$/stat | grep -qx $$ && echo leader"),
		.cwd = "/usr"
	};
	struct buf out = BUF_EMPTY;
	sigset_t all, before;
	int leaky = dup(1); /* not close-on-exec, as by a library */

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(child_run(&o, SLICE_LIT(""), &out, NULL, -1, NULL, NULL), 0);
	(void)signal(SIGPIPE, SIG_DFL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(leaky);
	/* 0, 1, 2 and the one that ls itself reads the folder by. 32 and 33 are the C library's own signals. */
	assert_string_equal(out.data, "4\n/usr\nSigBlk:\t0000000000000000\n0\nleader\n");
	buf_fini(&out);
}

static void streams_may_be_any_descriptors_even_low_ones(void **state)
{
	struct child_options o = { .argv = SH("cat; echo err >&2"), .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
	int p[2], saved = dup(0), status;
	struct child *ch;
	char got[32] = "";

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(write(p[1], "input", 5), 5);
	/* Our descriptor 0 becomes the write end that shall be the child's 1 and 2. */
	assert_int_equal(dup2(p[1], 0), 0);
	fd_close(&p[1]);
	o.stdout_fd = o.stderr_fd = 0;
	assert_int_equal(child_spawn(&o, &ch), 0);
	assert_int_equal(dup2(saved, 0), 0);
	close(saved);
	assert_int_equal(child_wait(ch, -1, NULL, &status), 0);
	assert_int_equal(status, 0);
	assert_int_equal(read(p[0], got, sizeof(got)), 9);
	assert_string_equal(got, "inputerr\n");
	fd_close(&p[0]);
	child_free(&ch);
}

static void background_work_runs_at_the_lowest_priority(void **state)
{
	/* The priority is set just after the start: the child waits for it. */
	struct child_options o = { .argv = SH("until [ \"$(cut -d' ' -f41 /proc/$$/stat)\" = 3 ]; do :; done;"
					      "until ionice -p $$ | grep -q idle; do :; done;"
					      "cut -d' ' -f19 /proc/$$/stat"),
				   .idle = true };
	struct buf out = BUF_EMPTY;

	assert_int_equal(child_run(&o, SLICE_LIT(""), &out, NULL, 30000, NULL, NULL), 0);
	assert_string_equal(out.data, "19\n");
	buf_fini(&out);
}

static void descriptors_used_up_are_an_error_without_leaks(void **state)
{
	struct rlimit before, small;
	struct buf out = BUF_EMPTY, err = BUF_EMPTY;
	int lowest = dup(0), again, r = 0;

	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (int more = 0; more < 12; more++) { /* at every step of a run */
		small = (struct rlimit){ (rlim_t)lowest + (rlim_t)more, before.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
		r = run(SH("cat; echo err >&2"), SLICE_LIT("in"), &out, &err, -1, NULL);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		assert_true(r == 0 || r == -EMFILE || r == WEIR_E_CHILD); /* the child has the same limit */
		assert_true(more > 0 || r == -EMFILE);
		again = dup(0);
		assert_int_equal(again, lowest);
		close(again);
	}
	assert_int_equal(r, 0);
	buf_fini(&out);
	buf_fini(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gathers_output_and_status),
		cmocka_unit_test(a_missing_program_is_an_error_at_once),
		cmocka_unit_test(large_input_and_output_do_not_deadlock),
		cmocka_unit_test(a_child_that_never_reads_its_input_is_no_trouble),
		cmocka_unit_test(keeps_the_last_4_kib_of_standard_error),
		cmocka_unit_test(output_above_the_limit_ends_the_child),
		cmocka_unit_test(a_limit_of_time_ends_the_whole_group),
		cmocka_unit_test(a_child_that_ignores_sigterm_is_killed),
		cmocka_unit_test(a_child_that_is_ended_may_clean_up),
		cmocka_unit_test(what_is_left_behind_is_not_waited_for),
		cmocka_unit_test(a_cancel_ends_it),
		cmocka_unit_test(the_environment_is_fixed),
		cmocka_unit_test(no_descriptor_signal_or_folder_is_inherited),
		cmocka_unit_test(streams_may_be_any_descriptors_even_low_ones),
		cmocka_unit_test(background_work_runs_at_the_lowest_priority),
		cmocka_unit_test(descriptors_used_up_are_an_error_without_leaks),
	};

	return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
