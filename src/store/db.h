/* db.h -- one SQLite database with one writer thread and group commit.
 *
 * WAL, synchronous=FULL (but see may_lose_last), wal_autocheckpoint=16384. Whatever jobs wait go into one transaction;
 * each job runs on the writer thread and answers through its callback only after the transaction is durable. Readers
 * open their own connection with db_reader(). A database that SQLite calls corrupt when it is opened (files below 256
 * MiB are read through) is moved to damaged/ beside it and a fresh one made; *ret_damaged tells. */
#ifndef WEIR_STORE_DB_H
#define WEIR_STORE_DB_H

#include <stdbool.h>
#include <sqlite3.h>

struct db;

struct db_options {
	const char *path;
	const char *schema;  /* SQL, run when PRAGMA user_version is 0, then set to `version` */
	int version;         /* a newer database than this is refused: -EPROTO */
	/* For what may be lost: no sync at each commit (synchronous=NORMAL). A commit survives the end of the process;
	 * a power cut may take the last ones, in order, and leaves the database whole. */
	bool may_lose_last;
};

/* 0; -EPROTO; another code of db_code(). ret_damaged may be NULL. Blocks. */
int db_open(const struct db_options *o, struct db **ret, bool *ret_damaged);
/* Runs what waits, then ends the writer. Statements that jobs have prepared may be finalized after it: the connection
 * ends with them. */
void db_close(struct db *d);

/* job(conn, arg) runs inside the transaction: 0 keeps it, a negative code undoes this job alone (savepoint). done(arg,
 * code) runs once on the writer thread after the commit: 0, the job's code, -ENOSPC when the disk was full, or -EIO
 * when the commit failed otherwise (then all later jobs get -EIO too: a failed sync is final). done may be NULL, and
 * must not submit with db_do(). At most 1,000 jobs share a transaction (but see db_gather()). Any thread; never
 * blocks. */
typedef int db_job_fn(sqlite3 *conn, void *arg);
typedef void db_done_fn(void *arg, int code);
int db_submit(struct db *d, db_job_fn *job, db_done_fn *done, void *arg); /* 0, -ESHUTDOWN */
/* Jobs submitted between (true) and (false) share one transaction: a stop keeps all of them or none. Everybody's jobs
 * wait meanwhile, so nothing else is done there. Any thread; never blocks. */
void db_gather(struct db *d, bool begins);
int db_do(struct db *d, db_job_fn *job, void *arg); /* the same, waiting for the commit; not on front threads */
bool db_is_given_up(const struct db *d); /* whether all later jobs get -EIO; from a job or a done only */
int db_reader(struct db *d, sqlite3 **ret); /* a read-only connection; the caller closes it */
/* Moves a database that is not open, with its journal, to damaged/ in its folder: NAME.<time>-<random> and that with
 * "-wal" at its end. Does nothing when it is not there. 0 or -errno. */
int db_set_aside(const char *path);
int db_code(int rc); /* an SQLite result as one of ours: 0; -ENOSPC, WEIR_E_DAMAGED, -EEXIST (constraint), -EIO, ... */

#endif
