/* read_ahead_test.c -- a cold file is seen to be cold, fetched by the thread, and then warm. */
#include "core/read_ahead.h"

#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/obj.h"

static sem_t fetched;

static void on_fetched(void *arg)
{
	ENSURE(loop_is_current(arg));
	sem_post(&fetched);
}

static void a_cold_file_is_warm_afterwards(void **state)
{
	char path[] = "./weir-cold-XXXXXX"; /* the build folder: a disk, where /tmp may be memory */
	static char zeros[READ_AHEAD_BYTES];
	struct read_ahead *r;
	struct spool *s;
	struct loop *l;
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
	assert_false(read_ahead_is_needed(fd, 0)); /* just written */
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	(void)read_ahead_is_needed(fd, 0); /* true on most disks; a file system may not be able to tell */
	sem_init(&fetched, 0, 0);
	assert_int_equal(loop_new(0, &l), 0);
	assert_int_equal(loop_start(l), 0);
	assert_int_equal(read_ahead_new(&r), 0);
	assert_int_equal(spool_new_complete_take(fd, sizeof(zeros), &s), 0);
	read_ahead_start(r, s, 0, l, on_fetched, l);
	sem_wait(&fetched);
	assert_false(read_ahead_is_needed(spool_fd(s), 0));
	assert_false(read_ahead_is_needed(spool_fd(s), sizeof(zeros) - 1));
	/* beyond the end: the mail comes all the same */
	read_ahead_start(r, s, 10 * READ_AHEAD_BYTES, l, on_fetched, l);
	sem_wait(&fetched);
	read_ahead_start(r, s, 0, l, on_fetched, l);
	read_ahead_free(r); /* what was asked for is finished */
	sem_wait(&fetched);
	loop_stop(l);
	loop_free(l);
	spool_unref(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cold_file_is_warm_afterwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
