/* spool_test.c -- readers follow a growing file and never take a failed one for whole. */
#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

static char dir[64];

static int setup(void **state)
{
	memcpy(dir, "/tmp/weir-spool-XXXXXX", 23);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return tree_remove(dir);
}

static int files_in(const char *path)
{
	struct dirent *e;
	DIR *d = opendir(path);
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void assert_spool(struct spool *s, enum spool_state state, uint64_t bytes, int err)
{
	uint64_t got_bytes;
	int got_err;

	assert_int_equal(spool_peek(s, &got_bytes, &got_err), state);
	assert_int_equal(got_bytes, bytes);
	assert_int_equal(got_err, err);
}

static void grows_and_completes(void **state)
{
	struct spool *s;
	char got[16] = "";

	assert_int_equal(spool_new(dir, 0, &s), 0);
	assert_spool(s, SPOOL_GROWING, 0, 0);
	assert_int_equal(spool_append(s, "hello ", 6), 0);
	assert_int_equal(spool_append(s, "", 0), 0);
	assert_int_equal(spool_append(s, "world", 5), 0);
	assert_spool(s, SPOOL_GROWING, 11, 0);
	spool_complete(s);
	assert_spool(s, SPOOL_COMPLETE, 11, 0);
	spool_fail(s, WEIR_E_CUT); /* too late */
	assert_spool(s, SPOOL_COMPLETE, 11, 0);
	assert_int_equal(pread(spool_fd(s), got, 16, 0), 11);
	assert_string_equal(got, "hello world");
	assert_int_equal(files_in(dir), 0); /* nothing to leave behind */
	assert_int_equal(fcntl(spool_fd(s), F_GETFD), FD_CLOEXEC);
	spool_unref(&s);
	assert_null(s);
	spool_unref(&s);
}

static void a_failed_spool_remembers_why(void **state)
{
	struct spool *s;

	assert_int_equal(spool_new(dir, 0, &s), 0);
	assert_int_equal(spool_append(s, "half", 4), 0);
	spool_fail(s, WEIR_E_CUT);
	spool_complete(s);
	spool_fail(s, -EIO);
	assert_spool(s, SPOOL_FAILED, 4, WEIR_E_CUT);
	assert_int_equal(spool_append(s, "more", 4), WEIR_E_CUT);
	assert_spool(s, SPOOL_FAILED, 4, WEIR_E_CUT);
	spool_unref(&s);
}

static void its_limit_fails_it(void **state)
{
	struct spool *s;

	assert_int_equal(spool_new(dir, 10, &s), 0);
	assert_int_equal(spool_append(s, "0123456789", 10), 0);
	assert_int_equal(spool_append(s, "x", 1), WEIR_E_TOO_LARGE);
	assert_spool(s, SPOOL_FAILED, 10, WEIR_E_TOO_LARGE);
	spool_unref(&s);
}

/* The file size limit stands for a full disk: what is told as there is there, and no more. */
static void a_full_disk_is_an_error_that_tells_nothing_new(void **state)
{
	struct rlimit before, small;
	struct spool *s;
	char big[8192];
	int p[2];

	memset(big, 'x', sizeof(big));
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(write(p[1], big, sizeof(big)), sizeof(big));
	assert_int_equal(spool_new(dir, 0, &s), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){ 4096, before.rlim_max };
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(spool_append(s, big, 4000), 0);
	assert_int_equal(spool_append(s, big, sizeof(big)), -EFBIG);
	assert_spool(s, SPOOL_GROWING, 4000, 0);
	while (spool_append_splice(s, p[0], 4096) > 0)
		;
	assert_true(spool_append_splice(s, p[0], 4096) < 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	spool_fail(s, -ENOSPC);
	assert_int_equal(spool_append(s, "x", 1), -ENOSPC);
	fd_close(&p[0]);
	fd_close(&p[1]);
	spool_unref(&s);
}

static void no_folder_is_an_error(void **state)
{
	struct spool *s = NULL;

	assert_int_equal(spool_new("/nonexistent/spool", 0, &s), -ENOENT);
	assert_null(s);
}

static void splices_from_a_pipe(void **state)
{
	struct spool *s;
	char got[16] = "";
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(spool_new(dir, 10, &s), 0);
	assert_int_equal(spool_append_splice(s, p[0], 4096), -EAGAIN);
	assert_int_equal(write(p[1], "abcdef", 6), 6);
	assert_int_equal(spool_append_splice(s, p[0], 4), 4);
	assert_int_equal(spool_append_splice(s, p[0], 4096), 2);
	assert_int_equal(write(p[1], "ghij", 4), 4);
	assert_int_equal(spool_append_splice(s, p[0], 4096), 4);
	assert_int_equal(spool_append_splice(s, p[0], 4096), -EAGAIN); /* full, but not yet too full */
	assert_spool(s, SPOOL_GROWING, 10, 0);
	assert_int_equal(write(p[1], "k", 1), 1);
	assert_int_equal(spool_append_splice(s, p[0], 4096), WEIR_E_TOO_LARGE);
	assert_spool(s, SPOOL_FAILED, 10, WEIR_E_TOO_LARGE);
	assert_int_equal(pread(spool_fd(s), got, 16, 0), 10);
	assert_string_equal(got, "abcdefghij");
	spool_unref(&s);

	assert_int_equal(spool_new(dir, 10, &s), 0);
	fd_close(&p[1]);
	assert_int_equal(spool_append_splice(s, p[0], 4096), 0); /* end of input */
	fd_close(&p[0]);
	assert_int_equal(spool_append_splice(s, p[0], 4096), -EBADF);
	spool_unref(&s);
}

static void count_change(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void watchers_are_told_until_they_leave(void **state)
{
	struct spool_watch *a, *b;
	struct spool *s;
	atomic_int na = 0, nb = 0;

	assert_int_equal(spool_new(dir, 0, &s), 0);
	a = spool_watch(s, count_change, &na);
	b = spool_watch(s, count_change, &nb);
	assert_int_equal(spool_watchers(s), 2);
	assert_int_equal(spool_append(s, "x", 1), 0);
	assert_int_equal(na, 1);
	assert_int_equal(nb, 1);
	spool_unwatch(&a);
	assert_null(a);
	spool_unwatch(&a);
	spool_complete(s);
	spool_complete(s); /* no change, no word */
	assert_int_equal(na, 1);
	assert_int_equal(nb, 2);
	spool_unref(&s); /* the watch keeps it */
	spool_unwatch(&b);
}

/* --- many readers at once --- */

#define BLOCK 4093
#define BLOCKS 500

struct reader {
	pthread_t thread;
	struct spool *spool;
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool news, whole;
	uint64_t read_bytes;
	int err;
};

static void reader_told(void *arg)
{
	struct reader *r = arg;

	pthread_mutex_lock(&r->lock);
	r->news = true;
	pthread_cond_signal(&r->told);
	pthread_mutex_unlock(&r->lock);
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct spool_watch *w = spool_watch(r->spool, reader_told, r);
	enum spool_state state;
	char chunk[BLOCK];
	uint64_t size;

	for (;;) {
		state = spool_peek(r->spool, &size, &r->err);
		while (r->read_bytes < size) {
			size_t want = size - r->read_bytes < BLOCK ? (size_t)(size - r->read_bytes) : BLOCK;
			ssize_t n = pread(spool_fd(r->spool), chunk, want, (off_t)r->read_bytes);
			ENSURE(n > 0); /* bytes are there before their size is told */
			for (ssize_t i = 0; i < n; i++)
				ENSURE(chunk[i] == (char)('a' + (r->read_bytes + (uint64_t)i) / BLOCK % 26));
			r->read_bytes += (uint64_t)n;
		}
		if (state != SPOOL_GROWING)
			break;
		pthread_mutex_lock(&r->lock);
		while (!r->news)
			pthread_cond_wait(&r->told, &r->lock);
		r->news = false;
		pthread_mutex_unlock(&r->lock);
	}
	r->whole = state == SPOOL_COMPLETE;
	spool_unwatch(&w);
	spool_unref(&r->spool);
	return NULL;
}

static void many_readers_follow(int end_err)
{
	struct reader readers[8];
	struct spool *s;
	char block[BLOCK];

	assert_int_equal(spool_new(dir, 0, &s), 0);
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		readers[i] = (struct reader){ .spool = spool_ref(s), .lock = PTHREAD_MUTEX_INITIALIZER,
					      .told = PTHREAD_COND_INITIALIZER };
		assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
	}
	for (int i = 0; i < BLOCKS; i++) {
		memset(block, 'a' + i % 26, sizeof(block));
		assert_int_equal(spool_append(s, block, sizeof(block)), 0);
	}
	if (end_err < 0)
		spool_fail(s, end_err);
	else
		spool_complete(s);
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_int_equal(readers[i].read_bytes, BLOCK * BLOCKS);
		assert_int_equal(readers[i].err, end_err);
		assert_int_equal(readers[i].whole, end_err == 0);
	}
	assert_int_equal(spool_watchers(s), 0);
	spool_unref(&s);
}

static void many_readers_see_the_whole(void **state)
{
	many_readers_follow(0);
}

static void many_readers_see_the_failure(void **state)
{
	many_readers_follow(WEIR_E_STALLED);
}

static void a_whole_one_can_be_kept_under_a_name(void **state)
{
	struct buf b = BUF_EMPTY;
	struct spool *s, *again;
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/kept", dir);
	for (int round = 0; round < 2; round++) { /* the second replaces the first */
		assert_int_equal(spool_new(dir, 0, &s), 0);
		assert_int_equal(spool_append(s, round ? "second" : "first", round ? 6 : 5), 0);
		spool_complete(s);
		assert_int_equal(spool_keep(s, path), 0);
		spool_unref(&s);
		buf_reset(&b);
		assert_int_equal(file_read_all(path, 100, &b), 0);
		assert_string_equal(b.data, round ? "second" : "first");
		assert_int_equal(files_in(dir), 1);
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(spool_new_complete_take(fd, 6, &again), 0);
	assert_spool(again, SPOOL_COMPLETE, 6, 0);
	assert_int_equal(spool_keep(again, "/nonexistent/x"), -ENOENT);
	spool_unref(&again);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken */
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(grows_and_completes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_spool_remembers_why, setup, teardown),
		cmocka_unit_test_setup_teardown(its_limit_fails_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_that_tells_nothing_new, setup, teardown),
		cmocka_unit_test_setup_teardown(no_folder_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(splices_from_a_pipe, setup, teardown),
		cmocka_unit_test_setup_teardown(watchers_are_told_until_they_leave, setup, teardown),
		cmocka_unit_test_setup_teardown(many_readers_see_the_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(many_readers_see_the_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(a_whole_one_can_be_kept_under_a_name, setup, teardown),
	};

	return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
