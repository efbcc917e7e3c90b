/* database.c -- scenarios: jobs of store/db.h are there when they were told to be durable, and whole or not at all. */
#include "crash.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/obj.h"
#include "store/db.h"

#define JOBS 12

struct db_room {
	atomic_int told[JOBS]; /* 0: nothing; 1: durable; a code: refused */
};

struct job_arg {
	struct db_room *room;
	int n;
};

static const struct db_options *options(struct run *run)
{
	static struct db_options o = {
		.schema = "CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB); CREATE TABLE u (n INTEGER, part INTEGER)",
		.version = 1,
	};

	o.path = run_path(run, "t.db");
	return &o;
}

/* Three rows that belong together. Every fifth job fails by itself after two. */
static int insert(sqlite3 *conn, void *arg)
{
	const struct job_arg *j = arg;
	char text[200];
	int r;

	(void)snprintf(text, sizeof(text), "INSERT INTO t VALUES (%d, randomblob(%d)); INSERT INTO u VALUES (%d, 1)",
		       j->n, j->n % 3 ? 300 : 9000, j->n);
	r = db_code(sqlite3_exec(conn, text, NULL, NULL, NULL));
	if (r == 0 && j->n % 5 == 4)
		return -ECANCELED;
	(void)snprintf(text, sizeof(text), "INSERT INTO u VALUES (%d, 2)", j->n);
	return r < 0 ? r : db_code(sqlite3_exec(conn, text, NULL, NULL, NULL));
}

static int fill_up(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn,
				    "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 140)"
				    " INSERT INTO t SELECT i, randomblob(2000) FROM n",
				    NULL, NULL, NULL));
}

static void done(void *arg, int code)
{
	struct job_arg *j = arg;

	atomic_store(&j->room->told[j->n], code == 0 ? 1 : code);
}

static int number(sqlite3 *conn, const char *text)
{
	sqlite3_stmt *st = NULL;
	int n = -1;

	if (sqlite3_prepare_v2(conn, text, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st);
	return n;
}

/* Opens; when that fails, once more on a sound disk. An error of the disk is never taken for damage. */
static struct db *open_somehow(struct run *run)
{
	struct db *d = NULL;
	bool was_damaged = false;
	int r = db_open(options(run), &d, &was_damaged);

	EXPECT(run, r < 0 || !was_damaged, "a failing disk is taken for damage");
	if (r == 0)
		return d;
	disk_heal();
	r = db_open(options(run), &d, &was_damaged);
	EXPECT(run, r == 0, "does not open on a sound disk: %s", err_text(r));
	EXPECT(run, !was_damaged, "a failing disk is taken for damage");
	return d;
}

/* With a reader that goes last, so that closing leaves the -wal as it is, as a kill does. */
static struct db *reopen(struct run *run, struct db *d)
{
	sqlite3 *reader = NULL;

	if (db_reader(d, &reader) == 0)
		(void)number(reader, "SELECT count(*) FROM t");
	db_close(d);
	(void)sqlite3_close(reader);
	return open_somehow(run);
}

/* Some wait together, some alone, some after a restart; the last three after the disk is sound again. */
static void db_act(struct run *run)
{
	static struct job_arg jobs[JOBS];
	struct db_room *room = run->room;
	struct db *d = open_somehow(run);

	for (int i = 0; i < JOBS; i++)
		jobs[i] = (struct job_arg){ room, i };
	for (int i = 0; i < JOBS; i++) {
		if (i == JOBS - 3)
			disk_heal();
		if (i == JOBS / 2 || (i == JOBS - 2 && db_is_given_up(d)))
			d = reopen(run, d);
		if (i < 4)
			ENSURE(db_submit(d, insert, done, &jobs[i]) == 0);
		else
			done(&jobs[i], db_do(d, insert, &jobs[i]));
	}
	for (int i = JOBS - 3; i < JOBS; i++) {
		int r = atomic_load(&room->told[i]);
		EXPECT(run, r != 0, "job %d was never answered", i);
		EXPECT(run, i % 5 == 4 || r == 1 || run->fault == DISK_EIO || run->fault == DISK_EIO_ON,
		       "room again, but job %d failed: %s", i, err_text(r));
	}
	/* Not closed here either: closing would make up for what a commit may have left out. */
}

static void db_check(struct run *run)
{
	struct db_room *room = run->room;
	struct db *d = NULL;
	sqlite3 *conn = NULL;
	bool was_damaged = false;
	char text[200];
	int r = db_open(options(run), &d, &was_damaged);

	EXPECT(run, r == 0, "does not open: %s", err_text(r));
	EXPECT(run, !was_damaged, "is called damaged");
	EXPECT(run, db_reader(d, &conn) == 0, "does not read");
	EXPECT(run, number(conn, "PRAGMA integrity_check(1) == 'ok'") != 0, "integrity");
	for (int i = 0; i < JOBS; i++) {
		int told = atomic_load(&room->told[i]), whole, parts;
		(void)snprintf(text, sizeof(text), "SELECT count(*) FROM t WHERE n = %d", i);
		whole = number(conn, text);
		(void)snprintf(text, sizeof(text), "SELECT count(*) FROM u WHERE n = %d", i);
		parts = number(conn, text);
		EXPECT(run, (whole == 1 && parts == 2) || (whole == 0 && parts == 0), "job %d is there in part: %d, %d",
		       i, whole, parts);
		EXPECT(run, told != 1 || whole == 1, "job %d is lost", i);
		EXPECT(run, i % 5 != 4 || whole == 0, "job %d had failed", i);
	}
	(void)sqlite3_close(conn);
	db_close(d);
}

/* With something in it already, left by a kill. */
static void db_prepare(struct run *run)
{
	struct db *d = open_somehow(run);

	ENSURE(db_do(d, fill_up, NULL) == 0);
}

const struct scenario db_scenarios[] = {
	{ "db-again", db_prepare, db_act, db_check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "db", NULL, db_act, db_check, DISK_BLIND_FILES | DISK_BLIND_DIRS, RIGHT, NULL },
	{ 0 },
};
