/* spool_test.c */
#include "client/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/weir-spool-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static size_t files(char *ret_first, size_t room)
{
	char pattern[128];
	glob_t g;
	size_t n;

	(void)snprintf(pattern, sizeof(pattern), "%s/*", folder);
	if (glob(pattern, 0, NULL, &g) != 0)
		return 0;
	n = g.gl_pathc;
	if (ret_first)
		(void)snprintf(ret_first, room, "%s", g.gl_pathv[0]);
	globfree(&g);
	return n;
}

/* Another process writes a report and is gone. */
static void crash_elsewhere(const char *product, const char *session_id, const char *tail)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		char *path;
		int fd = weirc_spool_open(folder, product, &path);

		if (fd < 0 || (tail && weirc_spool_write(fd, session_id, 1234567890123, tail, strlen(tail)) < 0))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_report_is_found_by_the_next_start_and_goes_when_it_is_delivered(void **state)
{
	struct weirc_report *r = NULL;

	(void)state;
	crash_elsewhere("a game/1", "local-session-1-2", "\"name\":\"x\"}");
	assert_int_equal(weirc_reports_load(folder, "another", &r), 0);
	assert_null(r);
	assert_int_equal(weirc_reports_load(folder, "a game", &r), 0);
	assert_null(r);
	assert_int_equal(weirc_reports_load(folder, "a game/1", &r), 0);
	assert_non_null(r);
	assert_null(r->next);
	assert_string_equal(r->session_id, "local-session-1-2");
	assert_int_equal(r->wall_ms, 1234567890123);
	assert_true(weirc_report_age_ms(r) > 0);
	assert_int_equal(r->bytes, 11);
	assert_memory_equal(r->tail, "\"name\":\"x\"}", 11);
	weirc_reports_free(r); /* not delivered */
	assert_int_equal(weirc_reports_load(folder, "a game/1", &r), 0);
	weirc_report_done(r);
	assert_int_equal(files(NULL, 0), 0);
}

static void a_session_that_was_not_known(void **state)
{
	struct weirc_report *r;

	(void)state;
	crash_elsewhere("game", "", "\"name\":\"x\"}");
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	assert_string_equal(r->session_id, "");
	weirc_report_done(r);
}

static void the_file_of_a_process_that_lives_is_left_alone(void **state)
{
	struct weirc_report *r;
	int ready[2], done[2];
	char c, *path;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ready) | pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		int fd = weirc_spool_open(folder, "game", &path);

		(void)weirc_spool_write(fd, "s", 1, "\"name\":\"x\"}", 11);
		(void)!write(ready[1], "r", 1);
		(void)!read(done[0], &c, 1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	assert_null(r);
	assert_int_equal(files(NULL, 0), 1);
	assert_int_equal(write(done[1], "d", 1), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	assert_non_null(r);
	weirc_report_done(r);
}

static void an_empty_file_of_a_process_that_is_gone_is_removed(void **state)
{
	struct weirc_report *r;

	(void)state;
	crash_elsewhere("game", "", NULL);
	assert_int_equal(files(NULL, 0), 1);
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	assert_null(r);
	assert_int_equal(files(NULL, 0), 0);
}

/* Each byte of a report, changed: it is whole, or it is none; and it is kept. */
static void a_damaged_report_is_none(void **state)
{
	struct weirc_report *r;
	char path[256], byte;
	int fd;

	(void)state;
	crash_elsewhere("game", "s", "\"name\":\"x\"}");
	assert_int_equal(files(path, sizeof(path)), 1);
	for (off_t at = 0; at < 38 + 2 + 14 + 11; at++) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
		assert_null(r);
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
	}
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	assert_non_null(r);
	weirc_report_done(r);
}

static void there_are_never_more_than_so_many(void **state)
{
	struct weirc_report *r, *one;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < WEIRC_SPOOL_FILES + 3; i++)
		crash_elsewhere("game", "s", "\"name\":\"x\"}");
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	for (one = r; one; one = one->next)
		n++;
	assert_int_equal(n, WEIRC_SPOOL_TAKEN);
	assert_int_equal(files(NULL, 0), WEIRC_SPOOL_FILES);
	weirc_reports_free(r);
}

/* Programs that live have files, too; they are no reports, and push none out. */
static void only_reports_are_counted(void **state)
{
	struct weirc_report *r;
	int ready[2], done[2];
	char c, *path;
	pid_t pid;

	(void)state;
	crash_elsewhere("game", "s", "\"name\":\"x\"}");
	assert_int_equal(pipe(ready) | pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 3 * WEIRC_SPOOL_FILES; i++)
			(void)weirc_spool_open(folder, "game", &path);
		(void)!write(ready[1], "r", 1);
		(void)!read(done[0], &c, 1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(files(NULL, 0), 3 * WEIRC_SPOOL_FILES + 1);
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	assert_int_equal(write(done[1], "d", 1), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_non_null(r);
	assert_null(r->next);
	assert_int_equal(access(r->path, F_OK), 0);
	weirc_report_done(r);
}

/* The oldest first, a few at a start: so many descriptors and so much memory. */
static void some_at_a_start(void **state)
{
	struct weirc_report *r, *one;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < WEIRC_SPOOL_TAKEN + 3; i++)
		crash_elsewhere("game", "s", "\"name\":\"x\"}");
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	for (one = r; one; one = one->next)
		n++;
	assert_int_equal(n, WEIRC_SPOOL_TAKEN);
	for (struct weirc_report *next; r; r = next) {
		next = r->next;
		weirc_report_done(r);
	}
	assert_int_equal(files(NULL, 0), 3);
	assert_int_equal(weirc_reports_load(folder, "game", &r), 0);
	assert_non_null(r);
	weirc_reports_free(r);
}

static void a_report_that_is_too_large_is_refused(void **state)
{
	static char tail[WEIRC_SPOOL_BYTES];
	char *path;
	int fd = weirc_spool_open(folder, "game", &path);
	struct stat st;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size == WEIRC_SPOOL_BYTES && st.st_blocks * 512 >= WEIRC_SPOOL_BYTES);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(weirc_spool_write(fd, "s", 1, tail, sizeof(tail)), -EMSGSIZE);
	free(path);
	close(fd);
}

static void a_folder_that_cannot_be_says_why(void **state)
{
	struct weirc_report *r;
	char path[128], *made;

	(void)state;
	assert_int_equal(weirc_reports_load("/proc/nowhere", "game", &r), -ENOENT);
	assert_int_equal(weirc_spool_open("/dev/null", "game", &made), -ENOTDIR);
	(void)snprintf(path, sizeof(path), "%s/a/b/c", folder);
	assert_int_equal(weirc_reports_load(path, "game", &r), 0); /* made */
	assert_int_equal(access(path, W_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_folder, remove_folder)
		TEST(a_report_is_found_by_the_next_start_and_goes_when_it_is_delivered),
		TEST(a_session_that_was_not_known),
		TEST(the_file_of_a_process_that_lives_is_left_alone),
		TEST(an_empty_file_of_a_process_that_is_gone_is_removed),
		TEST(a_damaged_report_is_none),
		TEST(there_are_never_more_than_so_many),
		TEST(only_reports_are_counted),
		TEST(some_at_a_start),
		TEST(a_report_that_is_too_large_is_refused),
		TEST(a_folder_that_cannot_be_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
