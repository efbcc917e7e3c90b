/* grants_test.c -- grants age, outlive a restart, and never give anything away. */
#include "core/grants.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"
#include "store/wholefile.h"

#define KEEP_MS 86400000

static char dir[64];
static struct grants *g;
static struct buf err;
static _Atomic int64_t now_ms;

static int64_t fake_clock(int wall)
{
	return now_ms;
}

static void reopen(void)
{
	grants_close(g);
	g = NULL;
	assert_int_equal(grants_open(dir, KEEP_MS, &g, &err), 0);
}

static int setup(void **state)
{
	memcpy(dir, "/tmp/weir-grants-XXXXXX", 24);
	if (!mkdtemp(dir))
		return -1;
	now_ms = 1800000000000;
	clock_set_fake(fake_clock);
	buf_init(&err, 0);
	return grants_open(dir, KEEP_MS, &g, &err);
}

static int teardown(void **state)
{
	grants_close(g);
	g = NULL;
	clock_set_fake(NULL);
	buf_fini(&err);
	return tree_remove(dir);
}

static struct grant_key key(const char *upstream, const char *resource, const char *credential)
{
	struct grant_key k;

	grants_key(g, slice_str(upstream), slice_str(resource), slice_str(credential), &k);
	return k;
}

static char *at(const char *name)
{
	static char path[100];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void a_yes_counts_for_as_long_as_asked(void **state)
{
	struct grant_key k = key("git:github.com", "a/b", "Basic x");

	assert_false(grants_has(g, &k, KEEP_MS));
	grants_note(g, &k);
	assert_true(grants_has(g, &k, 0));
	now_ms += 60000;
	assert_true(grants_has(g, &k, 60000));
	assert_false(grants_has(g, &k, 59999));
	now_ms -= 60001; /* the clock was set back: a yes from the future counts for nothing */
	assert_false(grants_has(g, &k, KEEP_MS));
	now_ms += 60001;
	grants_note(g, &k);
	assert_true(grants_has(g, &k, 0));
	grants_revoke(g, &k);
	assert_false(grants_has(g, &k, KEEP_MS));
}

static void every_part_of_the_key_matters(void **state)
{
	struct grant_key k = key("u", "r", "c");
	struct grant_key others[] = { key("u2", "r", "c"), key("u", "r2", "c"), key("u", "r", "c2"), key("u", "r", ""),
				      key("ur", "", "c"), key("", "ur", "c"), key("u", "rc", ""), key("u", "", "rc") };

	grants_note(g, &k);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(grants_has(g, &others[i], KEEP_MS));
	k = key("u", "r", "c");
	assert_true(grants_has(g, &k, KEEP_MS));
}

static void grants_outlive_a_restart_and_revocations_too(void **state)
{
	struct grant_key yes = key("u", "r", "c"), no = key("u", "r", "revoked"), old = key("u", "r", "old");

	grants_note(g, &old);
	now_ms += KEEP_MS - 1000;
	grants_note(g, &yes);
	grants_note(g, &no);
	grants_revoke(g, &no);
	assert_true(grants_has(g, &old, KEEP_MS));
	now_ms += 2000;
	reopen();
	assert_true(grants_has(g, &yes, 2000));
	assert_false(grants_has(g, &no, KEEP_MS));
	assert_false(grants_has(g, &old, 2 * (int64_t)KEEP_MS)); /* dropped at start */
	yes = key("u", "r", "c");                              /* by the same key file */
	assert_true(grants_has(g, &yes, 2000));
}

static void a_repeated_yes_is_written_every_ten_seconds(void **state)
{
	struct grant_key k = key("u", "r", "c");

	grants_note(g, &k);
	now_ms += 9999;
	grants_note(g, &k);
	assert_true(grants_has(g, &k, 0));
	reopen();
	assert_false(grants_has(g, &k, 9998));
	assert_true(grants_has(g, &k, 9999));
	now_ms += 1;
	grants_note(g, &k);
	reopen();
	assert_true(grants_has(g, &k, 0));
}

static void too_old_ones_are_let_go(void **state)
{
	struct grant_key a = key("u", "r", "a"), b = key("u", "r", "b");

	grants_note(g, &a);
	now_ms += KEEP_MS + 1;
	grants_note(g, &b);
	assert_false(grants_has(g, &a, 2 * (int64_t)KEEP_MS));
	assert_true(grants_has(g, &b, 0));
}

/* Neither the credential nor the resource can be read off the files. */
static void nothing_of_a_credential_is_kept(void **state)
{
	static const char *const files[] = { "grants.db", "grants.db-wal", "grants.key" };
	struct grant_key k = key("upstream-name", "resource-name", "Basic c2VjcmV0OnNlY3JldA==");
	struct stat st;

	grants_note(g, &k);
	reopen();
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		struct buf b = BUF_EMPTY;
		if (file_read_all(at(files[i]), 10000000, &b) == 0) {
			assert_null(memmem(b.data, b.len, "c2VjcmV0", 8));
			assert_null(memmem(b.data, b.len, "resource-name", 13));
			assert_int_equal(stat(at(files[i]), &st), 0);
		}
		buf_fini(&b);
	}
	assert_int_equal(stat(at("grants.key"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void damaged_files_are_set_aside_and_grant_nothing(void **state)
{
	struct grant_key k = key("u", "r", "c");
	uint64_t bytes = 0;
	int fd;

	grants_note(g, &k);
	grants_close(g);
	g = NULL;
	assert_int_equal(wholefile_write(at("grants.db"), SLICE_LIT("this is not a database, not even nearly so"), 0),
			 0);
	assert_int_equal(grants_open(dir, KEEP_MS, &g, &err), 0);
	assert_false(grants_has(g, &k, KEEP_MS));
	grants_note(g, &k);
	reopen();
	assert_true(grants_has(g, &k, KEEP_MS));

	/* The key: its rows mean nothing any more. */
	grants_close(g);
	g = NULL;
	fd = open(at("grants.key"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "X", 1, 40), 1);
	fd_close(&fd);
	assert_int_equal(grants_open(dir, KEEP_MS, &g, &err), 0);
	assert_false(grants_has(g, &k, KEEP_MS));
	k = key("u", "r", "c");
	assert_false(grants_has(g, &k, KEEP_MS));
	assert_int_equal(tree_bytes(at("damaged"), &bytes), 0);
	assert_true(bytes > 4096);
}

static int spoil_row(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn, "UPDATE grants SET at_ms = at_ms + 1", NULL, NULL, NULL));
}

static void a_row_whose_sum_is_wrong_is_not_believed(void **state)
{
	struct grant_key k = key("u", "r", "c");
	struct db *db;

	grants_note(g, &k);
	grants_close(g);
	g = NULL;
	assert_int_equal(
		db_open(&(struct db_options){ .path = at("grants.db"), .schema = "", .version = 1 }, &db, NULL), 0);
	assert_int_equal(db_do(db, spoil_row, NULL), 0);
	db_close(db);
	assert_int_equal(grants_open(dir, KEEP_MS, &g, &err), 0);
	now_ms += 10;
	assert_false(grants_has(g, &k, KEEP_MS));
}

static void a_folder_that_cannot_be_used_is_told(void **state)
{
	struct grants *other = NULL;

	assert_int_equal(grants_open("/proc/nonexistent", KEEP_MS, &other, &err), -ENOENT);
	assert_non_null(strstr(err.data, "/proc/nonexistent"));
	assert_null(other);
}

static void *use_much(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		char name[16];
		struct grant_key k;
		(void)snprintf(name, sizeof(name), "%d", i % 37);
		k = key("u", name, "c");
		if (i % 5 == 0)
			grants_revoke(g, &k);
		else
			grants_note(g, &k);
		(void)grants_has(g, &k, 1000);
	}
	return NULL;
}

static void many_threads_may_use_it(void **state)
{
	struct grant_key k = key("u", "last", "c");
	pthread_t t[4];

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, use_much, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	grants_note(g, &k);
	reopen();
	assert_true(grants_has(g, &k, 0));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_yes_counts_for_as_long_as_asked),
		T(every_part_of_the_key_matters),
		T(grants_outlive_a_restart_and_revocations_too),
		T(a_repeated_yes_is_written_every_ten_seconds),
		T(too_old_ones_are_let_go),
		T(nothing_of_a_credential_is_kept),
		T(damaged_files_are_set_aside_and_grant_nothing),
		T(a_row_whose_sum_is_wrong_is_not_believed),
		T(a_folder_that_cannot_be_used_is_told),
		T(many_threads_may_use_it),
	};

	return cmocka_run_group_tests_name("grants", tests, NULL, NULL);
}
