/* wholefile_test.c -- a file is old or new, never between; damage is noticed and kept. */
#include "store/wholefile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

static char dir[64], path[100];

static int setup(void **state)
{
	memcpy(dir, "/tmp/weir-whole-XXXXXX", 23);
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	return 0;
}

static int teardown(void **state)
{
	return tree_remove(dir);
}

static int files_in(const char *where)
{
	struct dirent *e;
	DIR *d = opendir(where);
	int n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static void assert_content(const char *want)
{
	struct buf b = BUF_EMPTY;

	assert_int_equal(file_read_all(path, 1000, &b), 0);
	assert_string_equal(b.data, want);
	buf_fini(&b);
}

static void crc32c_agrees_with_the_rfc(void **state)
{
	unsigned char b[32];

	memset(b, 0, 32); /* RFC 3720 appendix B.4, read as numbers */
	assert_int_equal(crc32c(0, b, 32), 0x8a9136aa);
	memset(b, 0xff, 32);
	assert_int_equal(crc32c(0, b, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		b[i] = (unsigned char)i;
	assert_int_equal(crc32c(0, b, 32), 0x46dd794e);
	assert_int_equal(crc32c(crc32c(0, b, 13), b + 13, 19), 0x46dd794e);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void writes_and_replaces(void **state)
{
	struct stat st;

	assert_int_equal(wholefile_write(path, SLICE_LIT("one"), 0), 0);
	assert_content("one");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(wholefile_write(path, SLICE_LIT("second"), 0644), 0);
	assert_content("second");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(files_in(dir), 1);
	assert_int_equal(wholefile_write("/nonexistent/x", SLICE_LIT(""), 0), -ENOENT);
}

static void a_failed_write_leaves_the_old_file_alone(void **state)
{
	struct rlimit before, small;
	char big[8192];

	assert_int_equal(wholefile_write(path, SLICE_LIT("old"), 0), 0);
	/* A disk that is full after 4 KiB: the file size limit. */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){ 4096, before.rlim_max };
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	memset(big, 'x', sizeof(big));
	assert_int_equal(wholefile_write(path, (struct slice){ big, sizeof(big) }, 0), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	assert_content("old");
	assert_int_equal(files_in(dir), 1);
	/* The rename fails: a folder is in the way. */
	char *in_the_way = xstrf("%s/folder", dir);
	assert_int_equal(mkdir(in_the_way, 0700), 0);
	assert_int_equal(wholefile_write(in_the_way, SLICE_LIT("x"), 0), -EISDIR);
	assert_int_equal(files_in(dir), 2);
	free(in_the_way);
}

static void checked_files_prove_themselves(void **state)
{
	struct buf out = BUF_EMPTY;

	assert_int_equal(wholefile_read_checked(path, "refs", 2, 100, &out), -ENOENT);
	assert_int_equal(wholefile_write_checked(path, "refs", 2, SLICE_LIT("123456789")), 0);
	assert_content("weir refs 2 9 e3069283\n123456789");
	assert_int_equal(wholefile_read_checked(path, "refs", 2, 100, &out), 0);
	assert_string_equal(out.data, "123456789");
	assert_int_equal(wholefile_read_checked(path, "refs", 2, 9, &out), 0);
	assert_string_equal(out.data, "123456789123456789");
	assert_int_equal(wholefile_read_checked(path, "refs", 2, 8, &out), WEIR_E_TOO_LARGE);
	assert_int_equal(wholefile_read_checked(path, "refs", 1, 100, &out), -EPROTO);
	assert_int_equal(wholefile_read_checked(path, "other", 2, 100, &out), WEIR_E_DAMAGED);
	assert_int_equal(out.len, 18);
	assert_int_equal(wholefile_write_checked(path, "refs", 2, SLICE_LIT("")), 0);
	assert_int_equal(wholefile_read_checked(path, "refs", 2, 0, &out), 0);
	buf_fini(&out);
}

/* Every cut and every flipped bit of a small file is noticed. */
static void every_cut_and_every_flipped_bit_is_noticed(void **state)
{
	const char whole[] = "weir refs 2 9 e3069283\n123456789";
	struct buf out = BUF_EMPTY;
	size_t n = sizeof(whole) - 1;
	int noticed = 0;

	for (size_t cut = 0; cut < n; cut++) {
		assert_int_equal(wholefile_write(path, (struct slice){ whole, cut }, 0), 0);
		assert_int_equal(wholefile_read_checked(path, "refs", 2, 100, &out), WEIR_E_DAMAGED);
	}
	for (size_t i = 0; i < n * 8; i++) {
		char bad[sizeof(whole)];
		int r;
		memcpy(bad, whole, sizeof(whole));
		bad[i / 8] = (char)(bad[i / 8] ^ 1 << i % 8);
		assert_int_equal(wholefile_write(path, (struct slice){ bad, n }, 0), 0);
		r = wholefile_read_checked(path, "refs", 2, 100, &out);
		assert_true(r == WEIR_E_DAMAGED || r == -EPROTO ||
			    (r == 0 && i / 8 > 13 && i / 8 < 22)); /* E for e in the sum */
		noticed += r < 0;
	}
	assert_true(noticed >= (int)n * 8 - 8);
	buf_fini(&out);
}

static void damage_is_set_aside_under_a_name_of_its_own(void **state)
{
	char *damaged = xstrf("%s/damaged", dir);

	for (int i = 0; i < 3; i++) {
		assert_int_equal(wholefile_write(path, SLICE_LIT("bad"), 0), 0);
		assert_int_equal(wholefile_set_aside(path, dir), 0);
		assert_int_equal(access(path, F_OK), -1);
	}
	assert_int_equal(files_in(damaged), 3);
	assert_int_equal(wholefile_set_aside(path, dir), -ENOENT);
	free(damaged);
}

static void what_belongs_to_a_damaged_file_goes_with_it(void **state)
{
	char *damaged = xstrf("%s/damaged", dir), *tail = xstrf("%s-wal", path);

	assert_int_equal(wholefile_set_aside_both(path, "-wal", dir), -ENOENT);
	assert_int_equal(wholefile_write(path, SLICE_LIT("bad"), 0), 0);
	assert_int_equal(wholefile_set_aside_both(path, "-wal", dir), 0);
	assert_int_equal(files_in(damaged), 1);
	assert_int_equal(wholefile_write(path, SLICE_LIT("bad"), 0), 0);
	assert_int_equal(wholefile_write(tail, SLICE_LIT("its journal"), 0), 0);
	assert_int_equal(wholefile_set_aside_both(path, "-wal", dir), 0);
	assert_int_equal(files_in(damaged), 3);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(tail, F_OK), -1);
	free(damaged);
	free(tail);
}

static void leftovers_are_swept_and_nothing_else(void **state)
{
	static const char *const names[] = { "file.tmp-0123456789abcdef", "file.tmp-0123456789abcdeg",
					     "file.tmp-0123456789abcde", "tmp-0123456789abcdef", "keep" };
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *p = xstrf("%s/%s", dir, names[i]);
		assert_int_equal(wholefile_write(p, SLICE_LIT(""), 0), 0);
		free(p);
	}
	assert_int_equal(wholefile_sweep(dir), 0);
	assert_int_equal(files_in(dir), 4);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, names[0]);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(wholefile_sweep("/nonexistent"), -ENOENT);
}

/* A writer that is killed at any moment leaves one of the two contents it was writing. */
static void a_killed_writer_leaves_old_or_new(void **state)
{
	char *one = xstrf("%0100000d", 1), *two = xstrf("%0200000d", 2);

	assert_int_equal(wholefile_write_checked(path, "t", 1, slice_str(one)), 0);
	for (int round = 0; round < 30; round++) {
		struct buf out = BUF_EMPTY;
		int p[2];
		char c;
		pid_t pid;

		assert_int_equal(pipe2(p, O_CLOEXEC), 0);
		pid = fork();
		if (pid == 0)
			for (int i = 0;; i++) {
				(void)wholefile_write_checked(path, "t", 1, slice_str(i % 2 ? one : two));
				if (write(p[1], "x", 1) != 1)
					_exit(1);
			}
		fd_close(&p[1]);
		for (int i = 0; i <= round % 5; i++)
			assert_int_equal(read(p[0], &c, 1), 1);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		fd_close(&p[0]);
		assert_int_equal(wholefile_read_checked(path, "t", 1, 300000, &out), 0);
		assert_true(slice_eq_str(buf_slice(&out), one) || slice_eq_str(buf_slice(&out), two));
		buf_fini(&out);
		assert_int_equal(wholefile_sweep(dir), 0);
		assert_int_equal(files_in(dir), 1);
	}
	free(one);
	free(two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_agrees_with_the_rfc),
		cmocka_unit_test_setup_teardown(writes_and_replaces, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_file_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(checked_files_prove_themselves, setup, teardown),
		cmocka_unit_test_setup_teardown(every_cut_and_every_flipped_bit_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(damage_is_set_aside_under_a_name_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(what_belongs_to_a_damaged_file_goes_with_it, setup, teardown),
		cmocka_unit_test_setup_teardown(leftovers_are_swept_and_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(a_killed_writer_leaves_old_or_new, setup, teardown),
	};

	return cmocka_run_group_tests_name("wholefile", tests, NULL, NULL);
}
