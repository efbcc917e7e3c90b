/* db_fault_test.c -- a disk that fails at the nth write, sync or truncation, for all n: what was answered is there.
 *
 * A VFS between SQLite and the real one counts these operations on the test's own files and fails one, or all from it on. */
#include "store/db.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

/* --- the disk --------------------------------------------------------------------------------------------------- */

static atomic_int operations, fail_at, fail_count; /* fail_at 0: never */
static int fail_code;
static sqlite3_vfs *real, faulty;

struct faulty_file {
	sqlite3_file base;
	sqlite3_file *file; /* the real one, just behind */
};

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct faulty_file *)(void *)f)->file;
}

static bool fails_now(void)
{
	int n = atomic_fetch_add(&operations, 1) + 1;

	return fail_at > 0 && n >= fail_at && n < fail_at + fail_count;
}

#define PASS(name, params, args)                                                                                       \
	static int f_##name params                                                                                     \
	{                                                                                                              \
		return real_of(f)->pMethods->name args;                                                                \
	}
#define COUNT(name, params, args)                                                                                      \
	static int f_##name params                                                                                     \
	{                                                                                                              \
		return fails_now() ? fail_code : real_of(f)->pMethods->name args;                                      \
	}

PASS(xClose, (sqlite3_file * f), (real_of(f)))
PASS(xRead, (sqlite3_file * f, void *p, int n, sqlite3_int64 at), (real_of(f), p, n, at))
COUNT(xWrite, (sqlite3_file * f, const void *p, int n, sqlite3_int64 at), (real_of(f), p, n, at))
COUNT(xTruncate, (sqlite3_file * f, sqlite3_int64 n), (real_of(f), n))
COUNT(xSync, (sqlite3_file * f, int flags), (real_of(f), flags))
PASS(xFileSize, (sqlite3_file * f, sqlite3_int64 *n), (real_of(f), n))
PASS(xLock, (sqlite3_file * f, int l), (real_of(f), l))
PASS(xUnlock, (sqlite3_file * f, int l), (real_of(f), l))
PASS(xCheckReservedLock, (sqlite3_file * f, int *out), (real_of(f), out))
PASS(xFileControl, (sqlite3_file * f, int op, void *p), (real_of(f), op, p))
PASS(xSectorSize, (sqlite3_file * f), (real_of(f)))
PASS(xDeviceCharacteristics, (sqlite3_file * f), (real_of(f)))
PASS(xShmMap, (sqlite3_file * f, int page, int n, int extend, void volatile **pp), (real_of(f), page, n, extend, pp))
PASS(xShmLock, (sqlite3_file * f, int at, int n, int flags), (real_of(f), at, n, flags))
PASS(xShmUnmap, (sqlite3_file * f, int del), (real_of(f), del))
static void f_xShmBarrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static const sqlite3_io_methods faulty_methods = {
	.iVersion = 2,
	.xClose = f_xClose,
	.xRead = f_xRead,
	.xWrite = f_xWrite,
	.xTruncate = f_xTruncate,
	.xSync = f_xSync,
	.xFileSize = f_xFileSize,
	.xLock = f_xLock,
	.xUnlock = f_xUnlock,
	.xCheckReservedLock = f_xCheckReservedLock,
	.xFileControl = f_xFileControl,
	.xSectorSize = f_xSectorSize,
	.xDeviceCharacteristics = f_xDeviceCharacteristics,
	.xShmMap = f_xShmMap,
	.xShmLock = f_xShmLock,
	.xShmBarrier = f_xShmBarrier,
	.xShmUnmap = f_xShmUnmap,
};

static int faulty_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
	struct faulty_file *ff = (struct faulty_file *)(void *)f;
	int rc;

	ff->file = (sqlite3_file *)(void *)(ff + 1);
	rc = real->xOpen(real, name, ff->file, flags, out_flags);
	ff->base.pMethods = rc == SQLITE_OK ? &faulty_methods : NULL;
	return rc;
}

static int install(void **state)
{
	real = sqlite3_vfs_find(NULL);
	faulty = *real;
	faulty.zName = "faulty";
	faulty.pNext = NULL;
	faulty.szOsFile = (int)sizeof(struct faulty_file) + real->szOsFile;
	faulty.xOpen = faulty_open;
	return sqlite3_vfs_register(&faulty, 1) == SQLITE_OK ? 0 : -1;
}

static int uninstall(void **state)
{
	return sqlite3_vfs_unregister(&faulty) == SQLITE_OK ? 0 : -1;
}

/* --- the story -------------------------------------------------------------------------------------------------- */

#define JOBS 6

static char dir[64], path[100];
static const struct db_options options = {
	.path = path, .schema = "CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)", .version = 1
};

static int insert(sqlite3 *conn, void *arg)
{
	char text[100];

	(void)snprintf(text, sizeof(text), "INSERT INTO t VALUES (%d, randomblob(5000))", *(int *)arg);
	return db_code(sqlite3_exec(conn, text, NULL, NULL, NULL));
}

static bool is_there(sqlite3 *conn, int n)
{
	sqlite3_stmt *st;
	bool found;

	assert_int_equal(sqlite3_prepare_v2(conn, "SELECT 1 FROM t WHERE n = ?", -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_bind_int(st, 1, n), SQLITE_OK);
	found = sqlite3_step(st) == SQLITE_ROW;
	sqlite3_finalize(st);
	return found;
}

/* Opens, writes some, closes, with the disk failing at the nth operation. Whether it got so far that it failed. */
static bool run_with_failure_at(int nth, int how_many, int code)
{
	int answers[JOBS], reached;
	bool was_damaged = false, failed = false;
	struct db *d = NULL;
	sqlite3 *conn;

	memcpy(dir, "/tmp/weir-dbfault-XXXXXX", 25);
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/t.db", dir);
	fail_code = code;
	fail_count = how_many;
	operations = 0;
	fail_at = nth;
	if (db_open(&options, &d, NULL) == 0) {
		for (int i = 0; i < JOBS; i++) {
			answers[i] = db_do(d, insert, &i);
			/* Once it has failed for anything but room, it stays so. */
			assert_true(code == SQLITE_FULL || !failed || answers[i] < 0);
			failed |= answers[i] < 0;
			assert_true(answers[i] == 0 || answers[i] == -EIO || answers[i] == -ENOSPC);
		}
		db_close(d);
	} else {
		memset(answers, -1, sizeof(answers));
	}
	reached = operations;
	fail_at = 0;
	assert_int_equal(db_open(&options, &d, &was_damaged), 0);
	assert_false(was_damaged); /* a failing disk is no corruption */
	assert_int_equal(db_reader(d, &conn), 0);
	for (int i = 0; i < JOBS; i++)
		if (answers[i] == 0)
			assert_true(is_there(conn, i));
	sqlite3_close(conn);
	db_close(d);
	assert_int_equal(tree_remove(dir), 0);
	return reached >= nth;
}

static void what_was_answered_is_there(int how_many, int code)
{
	int n = 1;

	while (run_with_failure_at(n, how_many, code))
		n++;
	assert_true(n > 20); /* it did fail at many places */
}

static void a_disk_that_fails_once_at_any_operation(void **state)
{
	what_was_answered_is_there(1, SQLITE_IOERR_WRITE);
}

static void a_disk_that_fails_from_any_operation_on(void **state)
{
	what_was_answered_is_there(1000000, SQLITE_IOERR_FSYNC);
}

static void a_disk_that_is_full_for_a_while(void **state)
{
	what_was_answered_is_there(3, SQLITE_FULL);
}

/* Room again: the next job succeeds without a restart. */
static void after_a_full_disk_it_goes_on(void **state)
{
	int n = 0, full = 0, good = 0;
	struct db *d;

	memcpy(dir, "/tmp/weir-dbfault-XXXXXX", 25);
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/t.db", dir);
	assert_int_equal(db_open(&options, &d, NULL), 0);
	fail_code = SQLITE_FULL;
	fail_count = 2;
	for (int round = 0; round < 5; round++) {
		int r;
		operations = 0;
		fail_at = 1;
		r = db_do(d, insert, &n);
		full += r == -ENOSPC;
		n++;
		fail_at = 0;
		good += db_do(d, insert, &n) == 0;
		n++;
	}
	db_close(d);
	assert_int_equal(full, 5);
	assert_int_equal(good, 5);
	assert_int_equal(tree_remove(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_that_fails_once_at_any_operation),
		cmocka_unit_test(a_disk_that_fails_from_any_operation_on),
		cmocka_unit_test(a_disk_that_is_full_for_a_while),
		cmocka_unit_test(after_a_full_disk_it_goes_on),
	};

	return cmocka_run_group_tests_name("db_fault", tests, install, uninstall);
}
