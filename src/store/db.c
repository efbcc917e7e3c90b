/* db.c -- one SQLite database with one writer.
 *
 * WHAT     Jobs wait in a queue. The writer thread takes all that wait into one transaction, each below a savepoint,
 *          commits, and only then lets the answers go.
 * WHY      A sync costs the same for one entry as for a hundred: 34,000 durable entries a second with 32 producers,
 *          where one transaction each gives some thousands at best.
 * RULES    1. done(0) means that the commit, and so its sync, succeeded.
 *          2. A job that fails is undone alone; its neighbours in the transaction stand.
 *          3. When a commit fails for lack of room, its jobs are told -ENOSPC and the next may succeed. When it fails
 *             in any other way the file is given up: after a failed sync the kernel may have dropped the pages, so all
 *             later jobs get -EIO until the daemon is started anew.
 *          4. A database that SQLite calls corrupt is moved aside with its -wal, at opening, and a fresh one takes its
 *             place. Believed is that only when it is said twice: an error of the disk while reading looks the same.
 *          5. The names of the file and of its -wal are synced before db_open() succeeds. SQLite syncs the folder too,
 *             at the first commit, but takes no notice when that fails.
 *          6. A -wal that is found at opening is written anew, in place: see rewrite_journal().
 * THREADS  Any may submit. One writer thread for each database; readers have connections of their own.
 * LIMITS   At most 1,000 jobs in a transaction, so that no answer waits for long; more only of what was gathered. What
 *          SQLite keeps aside within one stays in memory: a full or missing /tmp is nothing to it. Files above 256 MiB
 *          are not read through at opening (quick_check took 0.5 s for 250 MB): their rows carry sums of their own. */
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/obj.h"
#include "io/file.h"
#include "store/wholefile.h"

#define DB_MAGIC 0x64617461u
#define MOST_IN_TRANSACTION 1000
#define CHECK_BELOW ((off_t)256 << 20)
#define BUSY_MS 5000 /* somebody else's sqlite3 shell */

struct job {
	struct list node;
	db_job_fn *run;
	db_done_fn *done;
	void *arg;
	int code;
	bool is_gathered; /* goes with the one before it */
};

/* What frames a job or a transaction; prepared once, as there is one for each job. */
enum step { STEP_BEGIN, STEP_COMMIT, STEP_ROLLBACK, STEP_SAVEPOINT, STEP_UNDO_JOB, STEP_RELEASE, STEPS };
static const char *const step_text[STEPS] = {
	[STEP_BEGIN] = "BEGIN IMMEDIATE",   [STEP_COMMIT] = "COMMIT",		[STEP_ROLLBACK] = "ROLLBACK",
	[STEP_SAVEPOINT] = "SAVEPOINT job", [STEP_UNDO_JOB] = "ROLLBACK TO job", [STEP_RELEASE] = "RELEASE job",
};

struct db {
	unsigned magic;
	char *path;
	sqlite3 *conn;
	pthread_t writer;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue;
	unsigned gathering; /* callers between db_gather(true) and (false) */
	bool has_gathered; /* a job, since the first of them */
	bool stopping;
	bool is_given_up; /* rule 3; the writer's alone */
	sqlite3_stmt *steps[STEPS]; /* the writer's, too */
};

int db_code(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return WEIR_E_DAMAGED;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_PERM:
	case SQLITE_AUTH:
	case SQLITE_READONLY:
		return -EACCES;
	case SQLITE_TOOBIG:
		return WEIR_E_TOO_LARGE;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	default:
		return -EIO;
	}
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

/* Of a file that does not open the system says why. Only here can -ENOENT come of it: elsewhere that means that there
 * is no such row, and running out of descriptors must not look like that. */
static int open_code(sqlite3 *conn, int rc)
{
	int e = conn && (rc & 0xff) == SQLITE_CANTOPEN ? sqlite3_system_errno(conn) : 0;

	return e > 0 ? -e : db_code(rc);
}

static int sql(sqlite3 *conn, const char *text)
{
	return db_code(sqlite3_exec(conn, text, NULL, NULL, NULL));
}

/* One integer of the first row. */
static int ask_number(sqlite3 *conn, const char *text, int *ret)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(conn, text, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	return rc == SQLITE_ROW ? 0 : db_code(rc) < 0 ? db_code(rc) : WEIR_E_DAMAGED;
}

static int quick_check(sqlite3 *conn, const char *path)
{
	sqlite3_stmt *st = NULL;
	struct stat file;
	bool is_good = false;
	int rc;

	if (stat(path, &file) < 0 || file.st_size == 0 || file.st_size > CHECK_BELOW)
		return 0;
	rc = sqlite3_prepare_v2(conn, "PRAGMA quick_check(1)", -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		is_good = strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
	(void)sqlite3_finalize(st); /* as above */
	if (rc == SQLITE_ROW)
		return is_good ? 0 : WEIR_E_DAMAGED;
	return db_code(rc) < 0 ? db_code(rc) : WEIR_E_DAMAGED;
}

static int make_schema(sqlite3 *conn, const struct db_options *o)
{
	char version[64];
	int found = 0, r;

	r = ask_number(conn, "PRAGMA user_version", &found);
	if (r < 0)
		return r;
	if (found > o->version)
		return -EPROTO;
	if (found != 0)
		return 0;
	(void)snprintf(version, sizeof(version), "PRAGMA user_version=%d", o->version);
	r = sql(conn, "BEGIN IMMEDIATE");
	if (r == 0)
		r = sql(conn, o->schema);
	if (r == 0)
		r = sql(conn, version);
	if (r == 0)
		r = sql(conn, "COMMIT");
	if (r < 0)
		(void)sql(conn, "ROLLBACK"); /* there may be nothing to undo */
	return r;
}

static int copy_onto_itself(int fd)
{
	size_t room = 256 * 1024;
	char *bytes = xmalloc(room);
	ssize_t n = 0, done;
	int r = 0;

	for (off_t at = 0; r == 0 && (n = pread(fd, bytes, room, at)) > 0; at += n) {
		done = pwrite(fd, bytes, (size_t)n, at);
		if (done != n)
			r = done < 0 ? -errno : -ENOSPC;
	}
	if (r == 0 && n < 0)
		r = -errno;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	free(bytes);
	return r;
}

/* After a sync that failed (for which an earlier run gave the file up), the kernel shows pages as written that are not
 * on the disk, and no later sync saves them. Commits that follow such pages in the -wal would be told to be durable,
 * and be cut off with them by a power cut. So the bytes are written over themselves, which makes the pages dirty again.
 * With the write lock held nobody appends meanwhile; closing the descriptor drops no lock of SQLite's, which are all in
 * -shm. */
static int rewrite_journal(sqlite3 *conn, const char *path)
{
	char *wal = xstrf("%s-wal", path);
	int fd = open(wal, O_RDWR | O_CLOEXEC), r = fd < 0 && errno != ENOENT ? -errno : 0;
	struct stat file = { .st_size = 0 };

	if (fd >= 0 && fstat(fd, &file) < 0)
		r = -errno;
	if (r == 0 && file.st_size > 0)
		r = sql(conn, "BEGIN IMMEDIATE");
	if (r == 0 && !sqlite3_get_autocommit(conn)) {
		r = copy_onto_itself(fd);
		(void)sql(conn, "ROLLBACK"); /* of nothing */
	}
	fd_close(&fd);
	free(wal);
	return r == -ENOSPC ? 0 : r; /* on a disk that copies when it writes; nothing is appended there either */
}

static int open_conn(const struct db_options *o, sqlite3 **ret)
{
	sqlite3 *conn = NULL;
	int r = sqlite3_open_v2(o->path, &conn, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	r = open_code(conn, r);
	if (r == 0) {
		(void)sqlite3_extended_result_codes(conn, 1);
		(void)sqlite3_busy_timeout(conn, BUSY_MS);
		r = sql(conn, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=16384;"
			      "PRAGMA cache_size=-512; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY");
	}
	if (r == 0)
		r = o->may_lose_last ? sql(conn, "PRAGMA synchronous=NORMAL") : rewrite_journal(conn, o->path);
	if (r == 0)
		r = quick_check(conn, o->path);
	if (r == 0)
		r = make_schema(conn, o);
	if (r < 0)
		(void)sqlite3_close(conn);
	else
		*ret = conn;
	return r;
}

/* First goes -shm, an index of the -wal that is made anew when it is missing: while somebody's sqlite3 has it open, the
 * fresh database would believe what it says of the old one. A -wal that is left alone is no harm: SQLite removes one
 * that it finds beside a database that it makes. */
int db_set_aside(const char *path)
{
	char *dir = dir_above(path), *shm = xstrf("%s-shm", path);
	int r = unlink(shm) < 0 && errno != ENOENT ? -errno : 0;

	if (r == 0)
		r = wholefile_set_aside_both(path, "-wal", dir);
	free(dir);
	free(shm);
	return r == -ENOENT ? 0 : r;
}

/* Opens, with a fresh database in the place of a damaged one; the -wal is there as soon as the version was asked. */
static int open_or_renew(const struct db_options *o, sqlite3 **ret, bool *ret_damaged)
{
	sqlite3 *conn = NULL;
	int r = open_conn(o, &conn);

	if (r == WEIR_E_DAMAGED)
		r = open_conn(o, &conn);
	*ret_damaged = r == WEIR_E_DAMAGED;
	if (r == WEIR_E_DAMAGED) {
		r = db_set_aside(o->path);
		if (r == 0)
			r = open_conn(o, &conn);
	}
	if (r == 0)
		r = dir_sync_above(o->path);
	if (r < 0)
		(void)sqlite3_close(conn);
	else
		*ret = conn;
	return r;
}

static void *writer_main(void *arg);

int db_open(const struct db_options *o, struct db **ret, bool *ret_damaged)
{
	struct db *d;
	sqlite3 *conn = NULL;
	sigset_t all, before;
	bool damaged = false;
	int r;

	r = open_or_renew(o, &conn, &damaged);
	if (r < 0)
		return r;
	d = xcalloc(1, sizeof(*d));
	d->magic = DB_MAGIC;
	d->path = xstrdup(o->path);
	d->conn = conn;
	list_init(&d->queue);
	ENSURE(pthread_mutex_init(&d->lock, NULL) == 0);
	ENSURE(pthread_cond_init(&d->wake, NULL) == 0);
	sigfillset(&all); /* signals are for the main thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&d->writer, NULL, writer_main, d);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0) {
		(void)sqlite3_close(conn);
		free(d->path);
		free(d);
		return r;
	}
	(void)pthread_setname_np(d->writer, "weir-db"); /* only for who looks at it with top */
	if (ret_damaged)
		*ret_damaged = damaged;
	*ret = d;
	return 0;
}

void db_close(struct db *d)
{
	if (!d)
		return;
	OBJ_CHECK(d, DB_MAGIC);
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->writer, NULL);
	for (int i = 0; i < STEPS; i++)
		(void)sqlite3_finalize(d->steps[i]); /* none is under way */
	(void)sqlite3_close_v2(d->conn); /* checkpoints; what it cannot is in the -wal, synced */
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->wake);
	free(d->path);
	d->magic = 0;
	free(d);
}

/* --- the writer ------------------------------------------------------------------------------------------------- */

static int step(struct db *d, enum step which)
{
	sqlite3_stmt **st = &d->steps[which];
	int rc = SQLITE_OK;

	if (!*st)
		rc = sqlite3_prepare_v3(d->conn, step_text[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(*st);
		(void)sqlite3_reset(*st); /* repeats the failure of the step */
	}
	return db_code(rc);
}

/* Below a savepoint. A job may fail so badly that SQLite undoes everything (disk full): then the savepoint is gone
 * too, and the code tells that the transaction has to end. */
static int run_job(struct db *d, struct job *j)
{
	int r = step(d, STEP_SAVEPOINT);

	if (r < 0)
		return r;
	j->code = j->run(d->conn, j->arg);
	if (j->code < 0 && sqlite3_get_autocommit(d->conn))
		return j->code;
	if (j->code < 0)
		r = step(d, STEP_UNDO_JOB);
	if (r == 0)
		r = step(d, STEP_RELEASE);
	return r;
}

/* Runs and commits. 0, or why nothing of it stands. */
static int run_transaction(struct db *d, struct list *batch)
{
	int r;

	if (d->is_given_up)
		return -EIO;
	r = step(d, STEP_BEGIN);
	if (r < 0)
		return r;
	LIST_FOREACH(it, batch) {
		r = run_job(d, LIST_ENTRY(it, struct job, node));
		if (r < 0)
			break;
	}
	if (r == 0)
		r = step(d, STEP_COMMIT);
	if (r < 0 && !sqlite3_get_autocommit(d->conn))
		(void)step(d, STEP_ROLLBACK); /* what fails here is given up just below */
	if (r < 0 && r != -ENOSPC && r != -EBUSY)
		d->is_given_up = true;
	return r;
}

static void answer(struct list *batch, int code)
{
	LIST_FOREACH_SAFE(it, next, batch) {
		struct job *j = LIST_ENTRY(it, struct job, node);
		list_remove(&j->node);
		if (j->done)
			j->done(j->arg, code < 0 ? code : j->code);
		free(j);
	}
}

/* With the lock: as many as a transaction takes; what was gathered together is not parted. */
static void take_batch(struct db *d, struct list *batch)
{
	for (int n = 0; !list_is_empty(&d->queue); n++) {
		struct list *first = d->queue.next;

		if (n >= MOST_IN_TRANSACTION && !LIST_ENTRY(first, struct job, node)->is_gathered)
			break;
		list_remove(first);
		list_push_back(batch, first);
	}
}

static void *writer_main(void *arg)
{
	struct db *d = arg;

	pthread_mutex_lock(&d->lock);
	for (;;) {
		struct list batch;
		int r;

		while ((list_is_empty(&d->queue) || d->gathering) && !d->stopping)
			pthread_cond_wait(&d->wake, &d->lock);
		if (list_is_empty(&d->queue))
			break;
		list_init(&batch);
		take_batch(d, &batch);
		pthread_mutex_unlock(&d->lock);
		r = run_transaction(d, &batch);
		answer(&batch, r == -ENOSPC || r == 0 ? r : -EIO);
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

int db_submit(struct db *d, db_job_fn *job, db_done_fn *done, void *arg)
{
	struct job *j;

	OBJ_CHECK(d, DB_MAGIC);
	j = xcalloc(1, sizeof(*j));
	j->run = job;
	j->done = done;
	j->arg = arg;
	pthread_mutex_lock(&d->lock);
	if (d->stopping) {
		pthread_mutex_unlock(&d->lock);
		free(j);
		return -ESHUTDOWN;
	}
	j->is_gathered = d->gathering > 0 && d->has_gathered;
	d->has_gathered = d->gathering > 0;
	list_push_back(&d->queue, &j->node);
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

void db_gather(struct db *d, bool begins)
{
	OBJ_CHECK(d, DB_MAGIC);
	pthread_mutex_lock(&d->lock);
	ENSURE(begins || d->gathering > 0);
	d->gathering += begins ? 1 : -1u;
	d->has_gathered = d->has_gathered && d->gathering > 0;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

struct waiter {
	db_job_fn *job;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t finished;
	bool is_done;
	int code;
};

static int waiter_job(sqlite3 *conn, void *arg)
{
	struct waiter *w = arg;

	return w->job(conn, w->arg);
}

static void waiter_done(void *arg, int code)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	w->code = code;
	w->is_done = true;
	pthread_cond_signal(&w->finished);
	pthread_mutex_unlock(&w->lock);
}

int db_do(struct db *d, db_job_fn *job, void *arg)
{
	struct waiter w = {
		.job = job, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER, .finished = PTHREAD_COND_INITIALIZER
	};
	int r = db_submit(d, waiter_job, waiter_done, &w);

	if (r < 0)
		return r;
	ENSURE(!pthread_equal(pthread_self(), d->writer)); /* it would wait for itself */
	pthread_mutex_lock(&w.lock);
	while (!w.is_done)
		pthread_cond_wait(&w.finished, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_mutex_destroy(&w.lock);
	pthread_cond_destroy(&w.finished);
	return w.code;
}

bool db_is_given_up(const struct db *d)
{
	return d->is_given_up;
}

int db_reader(struct db *d, sqlite3 **ret)
{
	sqlite3 *conn = NULL;
	int r;

	OBJ_CHECK(d, DB_MAGIC);
	r = sqlite3_open_v2(d->path, &conn, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	r = open_code(conn, r);
	if (r == 0) {
		(void)sqlite3_extended_result_codes(conn, 1);
		(void)sqlite3_busy_timeout(conn, BUSY_MS);
		r = sql(conn, "PRAGMA cache_size=-512");
	}
	if (r < 0)
		(void)sqlite3_close(conn);
	else
		*ret = conn;
	return r;
}
