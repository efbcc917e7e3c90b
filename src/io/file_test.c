/* file_test.c -- whole reads, folders made and removed, links not followed. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static char dir[64];

static int setup(void **state)
{
	memcpy(dir, "/tmp/weir-file-XXXXXX", 22);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return tree_remove(dir);
}

static char *at(const char *name)
{
	static char path[4][200];
	static int turn;
	char *p = path[turn++ % 4];

	(void)snprintf(p, 200, "%s/%s", dir, name);
	return p;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	fd_close(&fd);
	assert_int_equal(fd, -1);
	fd_close(&fd); /* twice is harmless */
}

static void reads_a_whole_file_or_nothing_of_it(void **state)
{
	struct buf b = BUF_EMPTY;
	char *big = malloc(100001);

	memset(big, 'x', 100000);
	big[100000] = '\0';
	put(at("f"), big);
	buf_add_str(&b, "head:");
	assert_int_equal(file_read_all(at("f"), 100000, &b), 0);
	assert_int_equal(b.len, 100005);
	assert_memory_equal(b.data + 5, big, 100000);
	assert_int_equal(file_read_all(at("f"), 99999, &b), WEIR_E_TOO_LARGE);
	assert_int_equal(b.len, 100005);
	assert_int_equal(file_read_all(at("none"), 10, &b), -ENOENT);
	assert_int_equal(file_read_all(dir, 10, &b), -EISDIR);
	put(at("empty"), "");
	assert_int_equal(file_read_all(at("empty"), 0, &b), 0);
	assert_int_equal(b.len, 100005);
	assert_int_equal(file_read_all("/proc/self/stat", 4096, &b), 0); /* st_size says 0 */
	assert_true(b.len > 100005);
	free(big);
	buf_fini(&b);
}

static void a_buf_limit_holds_for_files_too(void **state)
{
	struct buf b = BUF_LIMIT(4);

	put(at("f"), "1234");
	assert_int_equal(file_read_all(at("f"), 100, &b), 0);
	assert_int_equal(file_read_all(at("f"), 100, &b), WEIR_E_TOO_LARGE);
	assert_string_equal(b.data, "1234");
	buf_fini(&b);
}

static void makes_folders_on_the_way(void **state)
{
	struct stat st;

	assert_int_equal(dir_make_all(at("a//b/c/"), 0700), 0);
	assert_int_equal(dir_make_all(at("a/b/c"), 0700), 0);
	assert_int_equal(stat(at("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	put(at("file"), "");
	assert_int_equal(dir_make_all(at("file/x"), 0700), -ENOTDIR);
	assert_int_equal(dir_make_all(at("file"), 0700), -ENOTDIR);
	assert_int_equal(dir_make_all("", 0700), -ENOENT);
	assert_int_equal(dir_make_all("/", 0700), 0);
	assert_int_equal(dir_sync(at("a")), 0);
	assert_int_equal(dir_sync(at("nowhere")), -ENOENT);
}

static void tells_the_folder_that_a_path_is_in(void **state)
{
	static const struct {
		const char *path, *above;
	} rows[] = {
		{ "a", "." },      { "/a", "/" },      { "a/b", "a" },        { "/a/b", "/a" }, { "/a/b/", "/a" },
		{ "a//b//", "a" }, { "//a/b", "//a" }, { "/a/b/c", "/a/b" }, { "/", "/" },     { "./a", "." },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *above = dir_above(rows[i].path);

		assert_string_equal(above, rows[i].above);
		free(above);
	}
	assert_int_equal(dir_sync_above(at("a")), 0);
	assert_int_equal(dir_sync_above(at("nowhere/a")), -ENOENT);
}

static void removes_a_tree_without_following_links(void **state)
{
	struct stat st;

	assert_int_equal(dir_make_all(at("t/x/y"), 0700), 0);
	assert_int_equal(dir_make_all(at("keep"), 0700), 0);
	put(at("keep/precious"), "1");
	put(at("t/x/y/f"), "1");
	assert_int_equal(symlink(at("keep"), at("t/x/link")), 0);
	assert_int_equal(symlink("/nonexistent", at("t/dangling")), 0);
	assert_int_equal(tree_remove(at("t")), 0);
	assert_int_equal(lstat(at("t"), &st), -1);
	assert_int_equal(lstat(at("keep/precious"), &st), 0);
	assert_int_equal(tree_remove(at("t")), 0); /* missing is fine */
	assert_int_equal(symlink(at("keep"), at("link")), 0);
	assert_int_equal(tree_remove(at("link")), 0);
	assert_int_equal(lstat(at("keep/precious"), &st), 0);
	put(at("single"), "1");
	assert_int_equal(tree_remove(at("single")), 0);
	assert_int_equal(lstat(at("single"), &st), -1);
}

static void adds_up_what_a_tree_takes(void **state)
{
	uint64_t before, after, avail = 0;
	char *big = calloc(1, 65537);

	memset(big, 'x', 65536);
	assert_int_equal(dir_make_all(at("t/x"), 0700), 0);
	assert_int_equal(tree_bytes(at("t"), &before), 0);
	put(at("t/x/f"), big);
	assert_int_equal(symlink("f", at("t/x/link")), 0);
	assert_int_equal(tree_bytes(at("t"), &after), 0);
	assert_true(after - before >= 65536 && after - before < 65536 + 16384);
	assert_int_equal(tree_bytes(at("none"), &after), -ENOENT);
	assert_int_equal(disk_free_bytes(dir, &avail), 0);
	assert_true(avail > 0);
	free(big);
}

static void refuses_a_tree_that_is_too_deep(void **state)
{
	int at_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t n;

	for (int i = 0; i < 70; i++) {
		int next;
		assert_int_equal(mkdirat(at_fd, "d", 0700), 0);
		next = openat(at_fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		fd_close(&at_fd);
		at_fd = next;
	}
	fd_close(&at_fd);
	assert_int_equal(tree_bytes(at("d"), &n), -ELOOP);
	assert_int_equal(tree_remove(at("d")), -ELOOP);
	/* Taken in halves it goes. */
	assert_int_equal(rename(at("d/d/d/d/d/d/d/d/d/d"), at("half")), 0);
	assert_int_equal(tree_remove(at("half")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_a_whole_file_or_nothing_of_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_buf_limit_holds_for_files_too, setup, teardown),
		cmocka_unit_test_setup_teardown(makes_folders_on_the_way, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_the_folder_that_a_path_is_in, setup, teardown),
		cmocka_unit_test_setup_teardown(removes_a_tree_without_following_links, setup, teardown),
		cmocka_unit_test_setup_teardown(adds_up_what_a_tree_takes, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_a_tree_that_is_too_deep, setup, teardown),
	};

	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
