/* db_salvage_test.c -- a database with damaged pages is set aside, and the rest of its rows can be read. */
#include "store/db_salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"
#include "store/db.h"

#define ROWS   5000
#define SCHEMA "CREATE TABLE things (number INTEGER PRIMARY KEY, body TEXT NOT NULL);"
#define INTO   "INSERT INTO things VALUES (?1, ?2)"

static char dir[64], *path;

static int set_up(void **state)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/weir-salvage-XXXXXX");
	assert_non_null(mkdtemp(dir));
	path = xstrf("%s/x.db", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)tree_remove(dir);
	free(path);
	return 0;
}

static struct db *opened(bool damaged)
{
	const struct db_options o = { .path = path, .schema = SCHEMA, .version = 1 };
	struct db *d = NULL;
	bool is;

	assert_int_equal(db_open(&o, &d, &is), 0);
	assert_int_equal(is, damaged);
	return d;
}

static int fill(sqlite3 *conn, void *arg)
{
	char sql[200];

	(void)snprintf(sql, sizeof(sql),
		       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
		       " INSERT INTO things SELECT i, printf('%%0300d', i) FROM n",
		       ROWS);
	return db_code(sqlite3_exec(conn, sql, NULL, NULL, NULL));
}

static void damage(double place)
{
	unsigned char junk[4096];
	struct stat st;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	memset(junk, 0xaa, sizeof(junk));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pwrite(fd, junk, sizeof(junk), (off_t)((double)st.st_size * place) / 4096 * 4096),
			 sizeof(junk));
	(void)close(fd);
}

struct got {
	struct db_salvage *from;
	int64_t rows;
	int r;
	const char *columns, *table;
};

static int take(sqlite3 *conn, void *arg)
{
	struct got *g = arg;

	g->r = db_salvage_rows(g->from, conn, g->columns, g->table, INTO, &g->rows);
	return g->r;
}

static int count(struct db *d, const char *sql)
{
	sqlite3 *conn = NULL;
	sqlite3_stmt *st = NULL;
	int n;

	assert_int_equal(db_reader(d, &conn), 0);
	assert_int_equal(sqlite3_prepare_v2(conn, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st);
	(void)sqlite3_close(conn);
	return n;
}

static void rows_on_whole_pages_are_saved(void **state)
{
	struct db *d = opened(false);
	struct got g = { .columns = "number, body", .table = "things" };
	char *second = xstrf("%s.salvage", path);

	assert_int_equal(db_do(d, fill, NULL), 0);
	db_close(d);
	for (double place = 0.2; place < 0.9; place += 0.2)
		damage(place);
	d = opened(true);
	assert_int_equal(db_salvage_open(path, &g.from), 0);
	assert_int_equal(db_do(d, take, &g), 0);
	assert_true(db_salvage_is_partial(g.from));
	assert_in_range(g.rows, ROWS - 500, ROWS - 4);
	assert_int_equal(count(d, "SELECT count(*) FROM things"), g.rows);
	assert_int_equal(count(d, "SELECT count(*) FROM things WHERE body = printf('%0300d', number)"), g.rows);
	assert_int_equal(count(d, "SELECT min(number) = 1 AND max(number) = 5000 FROM things"), 1);
	db_salvage_close(g.from);
	assert_int_equal(access(second, F_OK), -1);
	db_close(d);
	free(second);
}

static int add_late(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn, "INSERT INTO things VALUES (900000, 'late')", NULL, NULL, NULL));
}

static void shell(const char *script)
{
	char *command = xstrf("cd %s && %s", dir, script);

	assert_int_equal(system(command), 0);
	free(command);
}

static void what_was_only_in_the_journal_is_saved(void **state)
{
	struct db *d = opened(false);
	struct got g = { .columns = "number, body", .table = "things" };

	assert_int_equal(db_do(d, fill, NULL), 0);
	db_close(d); /* all of it is in the file now */
	d = opened(false);
	assert_int_equal(db_do(d, add_late, NULL), 0);
	shell("cp x.db a && cp x.db-wal b");
	db_close(d);
	shell("mv a x.db && mv b x.db-wal"); /* as after a kill */
	damage(0.5);
	d = opened(true);
	assert_int_equal(db_salvage_open(path, &g.from), 0);
	assert_int_equal(db_do(d, take, &g), 0);
	assert_in_range(g.rows, ROWS - 200, ROWS);
	assert_int_equal(count(d, "SELECT count(*) FROM things WHERE body = 'late'"), 1);
	db_salvage_close(g.from);
	db_close(d);
}

static void what_is_not_there_is_said(void **state)
{
	struct db *d = opened(false);
	struct got g = { .columns = "number, colour", .table = "things" };

	assert_int_equal(db_salvage_open(path, &g.from), -ENOENT);
	assert_int_equal(db_do(d, fill, NULL), 0);
	db_close(d);
	damage(0.5);
	d = opened(true);
	assert_int_equal(db_salvage_open(path, &g.from), 0);
	assert_int_equal(db_do(d, take, &g), WEIR_E_DAMAGED);
	db_salvage_close(g.from);
	db_close(d);
	damage(0); /* nothing of it is a database; the one set aside last counts */
	d = opened(true);
	assert_int_equal(db_salvage_open(path, &g.from), WEIR_E_DAMAGED);
	db_close(d);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rows_on_whole_pages_are_saved),
		T(what_was_only_in_the_journal_is_saved),
		T(what_is_not_there_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
