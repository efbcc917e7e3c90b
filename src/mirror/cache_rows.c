/* cache_rows.c -- the cache's database: docs/formats/cache.md.
 *
 * WHAT     Table response: a row for each stored response, small, so that a start reads it through quickly and a 304
 *          or a use rewrites little. Table body: the small bodies, under the same id. A sum over everything but
 *          used_at covers the row; the body's own covers the body, here or in a file.
 * WHY      What may be lost need not wait for a sync: answers leave before their rows are written, and commits are
 *          not synced (may_lose_last). A kill -9 loses what still waited, a power cut the last seconds; neither
 *          leaves half a response. Only an invalidation must not be lost: rows_sync() waits for it and syncs the
 *          journal.
 * RULES    1. Jobs are submitted under the shard's lock or for a node that is detached, so rows change in the order
 *             of the index.
 *          2. A row that could not be written takes its node along: the index never promises what a later start has
 *             not.
 *          3. A row that could not be removed (a full disk) is tried again when the next write succeeds, or somebody
 *             waits for it: what was dropped must not come back with the next start.
 * THREADS  Jobs run on the database's writer thread, which alone touches struct rows. Readers: one thread at a time
 *          each. */
#include "mirror/cache_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "io/file.h"
#include "store/wholefile.h"

#define MOST_SET_ASIDE 64 /* files in a run: a failing disk must not fill itself with evidence */
#define USES_AT_ONCE   1000

static const char schema[] =
	"CREATE TABLE response (id INTEGER PRIMARY KEY, used_at INTEGER NOT NULL, is_file INTEGER NOT NULL,"
	" body_bytes INTEGER NOT NULL, body_crc INTEGER NOT NULL, key BLOB NOT NULL, vary BLOB NOT NULL,"
	" status INTEGER NOT NULL, guarded INTEGER NOT NULL, request_at INTEGER NOT NULL,"
	" response_at INTEGER NOT NULL, row_crc INTEGER NOT NULL, head BLOB NOT NULL);"
	"CREATE TABLE body (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)";

enum { PUT, PUT_BODY, UPDATE, REMOVE, REMOVE_BODY, USE, STATEMENTS };
static const char *const texts[STATEMENTS] = {
	[PUT] = "INSERT OR REPLACE INTO response VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
	[PUT_BODY] = "INSERT OR REPLACE INTO body VALUES (?1, ?2)",
	[UPDATE] =
		("UPDATE response SET used_at=?2, is_file=?3, body_bytes=?4, body_crc=?5, key=?6, vary=?7, status=?8,"
		 " guarded=?9, request_at=?10, response_at=?11, row_crc=?12, head=?13 WHERE id=?1"),
	[REMOVE] = "DELETE FROM response WHERE id=?1",
	[REMOVE_BODY] = "DELETE FROM body WHERE id=?1",
	[USE] = "UPDATE response SET used_at=?2 WHERE id=?1",
};

struct rows { /* the writer thread's, but wal_fd and undone_count */
	sqlite3_stmt *statements[STATEMENTS];
	struct list undone; /* removals that failed */
	_Atomic unsigned undone_count;
	unsigned set_aside;
	bool is_closed;
	int wal_fd; /* to sync it when somebody asks */
};

/* --- opening ---------------------------------------------------------------------------------------------------- */

int rows_open(struct cache *c, bool *ret_damaged)
{
	char *path = xstrf("%s/cache.db", c->dir);
	const struct db_options o = { .path = path, .schema = schema, .version = 1, .may_lose_last = true };
	int r = db_open(&o, &c->db, ret_damaged);

	free(path);
	if (r < 0)
		return r;
	c->rows = xcalloc(1, sizeof(*c->rows));
	list_init(&c->rows->undone);
	path = xstrf("%s/cache.db-wal", c->dir);
	c->rows->wal_fd = open(path, O_RDONLY | O_CLOEXEC); /* db_open() has made it */
	free(path);
	return c->rows->wal_fd < 0 ? -errno : 0;
}

/* --- one row ---------------------------------------------------------------------------------------------------- */

static struct row row_of(const struct stored *s, int64_t used_ms)
{
	return (struct row){ .id = s->id,
			     .used_ms = used_ms,
			     .is_file = stored_is_large(s),
			     .body_bytes = s->body_bytes,
			     .body_crc = s->body_crc,
			     .key = buf_slice(&s->key),
			     .vary = buf_slice(&s->vary_key),
			     .head = buf_slice(&s->head),
			     .status = s->status,
			     .guarded = s->guarded,
			     .request_ms = s->request_wall_ms,
			     .response_ms = s->response_wall_ms };
}

static int statement(struct cache *c, sqlite3 *conn, int which, sqlite3_stmt **ret)
{
	sqlite3_stmt **st = &c->rows->statements[which];
	int rc = SQLITE_OK;

	if (c->rows->is_closed)
		return -ESHUTDOWN;
	if (!*st)
		rc = sqlite3_prepare_v3(conn, texts[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL);
	*ret = *st;
	return db_code(rc);
}

static int finish(sqlite3_stmt *st)
{
	int r = db_code(sqlite3_step(st));

	(void)sqlite3_reset(st); /* repeats the failure of the step */
	(void)sqlite3_clear_bindings(st);
	return r;
}

/* SQLite takes a NULL pointer for NULL, which an empty value is not. */
static void bind(sqlite3_stmt *st, int i, struct slice s)
{
	sqlite3_bind_blob64(st, i, s.n ? s.p : "", s.n, SQLITE_STATIC);
}

static int write_row(struct cache *c, sqlite3 *conn, int which, const struct row *row)
{
	sqlite3_stmt *st;
	int r = statement(c, conn, which, &st);

	if (r < 0)
		return r;
	sqlite3_bind_int64(st, 1, (int64_t)row->id);
	sqlite3_bind_int64(st, 2, row->used_ms);
	sqlite3_bind_int(st, 3, row->is_file);
	sqlite3_bind_int64(st, 4, (int64_t)row->body_bytes);
	sqlite3_bind_int64(st, 5, row->body_crc);
	bind(st, 6, row->key);
	bind(st, 7, row->vary);
	sqlite3_bind_int(st, 8, row->status);
	sqlite3_bind_int(st, 9, row->guarded);
	sqlite3_bind_int64(st, 10, row->request_ms);
	sqlite3_bind_int64(st, 11, row->response_ms);
	sqlite3_bind_int64(st, 12, row_crc(row));
	bind(st, 13, row->head);
	r = finish(st);
	return r == 0 && sqlite3_changes(conn) == 0 ? -ENOENT : r;
}

static int run_with_id(struct cache *c, sqlite3 *conn, int which, uint64_t id)
{
	sqlite3_stmt *st;
	int r = statement(c, conn, which, &st);

	if (r < 0)
		return r;
	sqlite3_bind_int64(st, 1, (int64_t)id);
	return finish(st);
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

struct write_job {
	struct cache *c;
	struct stored *s;
	uint64_t hash;
	uint16_t version;
	bool is_update;
	int64_t used_ms;
	uint64_t bytes; /* of memory, while it waits */
};

static int bind_and_write(struct cache *c, sqlite3 *conn, uint64_t id, struct slice body)
{
	sqlite3_stmt *st;
	int r = statement(c, conn, PUT_BODY, &st);

	if (r < 0)
		return r;
	sqlite3_bind_int64(st, 1, (int64_t)id);
	bind(st, 2, body);
	return finish(st);
}

/* A small body; it may be in a file, as its size was not known when it began to come. */
static int write_body(struct cache *c, sqlite3 *conn, const struct stored *s)
{
	size_t n = (size_t)s->body_bytes;
	char *bytes;
	int r;

	if (s->body)
		return bind_and_write(c, conn, s->id, blob_slice(s->body));
	bytes = xmalloc(n);
	if (pread(spool_fd(s->file), bytes, n, 0) == (ssize_t)n)
		r = bind_and_write(c, conn, s->id, (struct slice){ bytes, n });
	else
		r = -EIO;
	free(bytes);
	return r;
}

static int write_run(sqlite3 *conn, void *arg)
{
	struct write_job *j = arg;
	const struct row row = row_of(j->s, j->used_ms);
	int r = write_row(j->c, conn, j->is_update ? UPDATE : PUT, &row);

	return r < 0 || j->is_update || row.is_file || !row.body_bytes ? r : write_body(j->c, conn, j->s);
}

static void retry_removals(struct cache *c);

static void write_done(void *arg, int code)
{
	struct write_job *j = arg;
	struct cache *c = j->c;
	struct shard *sh = shard_of(c, j->hash);
	struct node *n, *lost = NULL;

	pthread_rwlock_wrlock(&sh->lock);
	n = cache_node_find(sh, j->hash, j->s->id);
	if (n && n->version != j->version)
		n = NULL; /* a later write decides */
	if (n && code == 0)
		n->flags &= (uint8_t)~NODE_PENDING;
	if (n && code < 0) {
		node_detach(c, sh, n, ROW_DROPPED);
		lost = n;
	}
	pthread_rwlock_unlock(&sh->lock);
	if (code < 0)
		cache_not_kept(c, code);
	if (lost)
		node_dispose(c, lost);
	atomic_fetch_sub(&c->waiting_bytes, j->bytes);
	stored_unref(&j->s);
	free(j);
	index_cool(c);
	if (code == 0)
		retry_removals(c);
}

static void submit_write(struct cache *c, struct node *n, bool is_update)
{
	struct write_job *j = xcalloc(1, sizeof(*j));

	*j = (struct write_job){ .c = c,
				 .s = stored_ref(n->hot),
				 .hash = n->hash,
				 .version = n->version,
				 .is_update = is_update,
				 .used_ms = (int64_t)atomic_load(&n->used_s) * 1000,
				 .bytes = stored_memory(n->hot) };
	n->flags |= NODE_PENDING;
	atomic_fetch_add(&c->waiting_bytes, j->bytes);
	ENSURE(db_submit(c->db, write_run, write_done, j) == 0); /* nobody writes while it is closed */
}

void rows_put(struct cache *c, struct node *n)
{
	submit_write(c, n, false);
}

void rows_update(struct cache *c, struct node *n)
{
	n->version++;
	submit_write(c, n, true);
}

/* --- removing --------------------------------------------------------------------------------------------------- */

struct remove_job {
	struct list node; /* of rows.undone */
	struct cache *c;
	uint64_t id;
	bool is_file;
	enum row_end end;
	struct stored *hot;
};

char *body_path(const struct cache *c, uint64_t id)
{
	return xstrf("%s/%016llx", c->bodies, (unsigned long long)id);
}

static int remove_run(sqlite3 *conn, void *arg)
{
	struct remove_job *j = arg;
	int r = run_with_id(j->c, conn, REMOVE, j->id);

	return r < 0 || j->is_file ? r : run_with_id(j->c, conn, REMOVE_BODY, j->id);
}

static void remove_file(struct remove_job *j)
{
	char *path = body_path(j->c, j->id);

	/* What stays is swept at the next start: no row names it. */
	if (j->end != ROW_DAMAGED || j->c->rows->set_aside++ >= MOST_SET_ASIDE ||
	    wholefile_set_aside(path, j->c->dir) < 0)
		(void)unlink(path);
	free(path);
}

static void remove_done(void *arg, int code)
{
	struct remove_job *j = arg;
	struct cache *c = j->c;

	stored_unref(&j->hot);
	if (j->is_file)
		remove_file(j); /* also when the row stays: without a file it is worth nothing */
	j->is_file = false;
	if (code < 0 && code != -ESHUTDOWN && code != -EIO) { /* after an EIO no transaction will do: db.h */
		list_push_back(&c->rows->undone, &j->node);
		atomic_fetch_add(&c->rows->undone_count, 1);
		return;
	}
	free(j);
	if (code == 0)
		retry_removals(c);
}

static void submit_removal(struct remove_job *j)
{
	if (db_submit(j->c->db, remove_run, remove_done, j) < 0)
		remove_done(j, -ESHUTDOWN); /* on the writer thread, at its end */
}

void rows_remove(struct cache *c, uint64_t id, bool is_file, enum row_end end, struct stored *hot)
{
	struct remove_job *j = xcalloc(1, sizeof(*j));

	*j = (struct remove_job){ .c = c, .id = id, .is_file = is_file, .end = end, .hot = hot };
	submit_removal(j);
	atomic_fetch_add(&c->removals, 1); /* behind it, so that who sees it finds the job in the queue */
}

static void retry_removals(struct cache *c)
{
	struct list again;

	if (c->rows->is_closed)
		return;
	list_init(&again);
	list_splice(&again, &c->rows->undone);
	LIST_FOREACH_SAFE(it, next, &again) {
		list_remove(it);
		atomic_fetch_sub(&c->rows->undone_count, 1); /* until it fails again: a sync comes behind it */
		submit_removal(LIST_ENTRY(it, struct remove_job, node));
	}
}

/* --- times of use ----------------------------------------------------------------------------------------------- */

struct use {
	uint64_t id;
	int64_t used_ms;
};

struct use_job {
	struct cache *c;
	size_t count;
	struct use uses[USES_AT_ONCE];
};

static int use_run(sqlite3 *conn, void *arg)
{
	struct use_job *j = arg;
	int r = 0;

	for (size_t i = 0; r == 0 && i < j->count; i++) {
		sqlite3_stmt *st;
		r = statement(j->c, conn, USE, &st);
		if (r < 0)
			break;
		sqlite3_bind_int64(st, 1, (int64_t)j->uses[i].id);
		sqlite3_bind_int64(st, 2, j->uses[i].used_ms);
		r = finish(st);
	}
	return r;
}

static void use_done(void *arg, int code)
{
	free(arg); /* times of use are a matter of luck */
}

static void submit_uses(struct cache *c, struct use_job **j)
{
	if (*j && db_submit(c->db, use_run, use_done, *j) < 0)
		free(*j);
	*j = NULL;
}

static void note_use(struct cache *c, struct node *n, struct use_job **j)
{
	if (!(atomic_fetch_and(&n->marks, (uint8_t)~NODE_UNSAVED) & NODE_UNSAVED))
		return;
	if (!*j) {
		*j = xcalloc(1, sizeof(**j));
		(*j)->c = c;
	}
	(*j)->uses[(*j)->count++] = (struct use){ n->id, (int64_t)atomic_load(&n->used_s) * 1000 };
	if ((*j)->count == USES_AT_ONCE)
		submit_uses(c, j);
}

void rows_save_uses(struct cache *c)
{
	struct use_job *j = NULL;

	atomic_store(&c->uses_saved_ms, clock_mono_ms());
	for (size_t i = 0; i < CACHE_SHARDS; i++) {
		struct shard *sh = &c->shards[i];
		pthread_rwlock_rdlock(&sh->lock);
		for (size_t b = 0; b <= sh->mask; b++)
			for (struct node *n = sh->buckets[b]; n; n = n->next)
				note_use(c, n, &j);
		pthread_rwlock_unlock(&sh->lock);
	}
	submit_uses(c, &j);
}

/* --- closing ---------------------------------------------------------------------------------------------------- */

static int nothing(sqlite3 *conn, void *arg)
{
	return 0;
}

/* After the last transaction, whatever became of it: the connection can only be closed without statements. What
 * failed jobs leave to be done goes undone. */
static void finalize(void *arg, int code)
{
	struct rows *rows = arg;

	for (int i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(rows->statements[i]); /* NULL is fine; none is under way */
	rows->is_closed = true;
}

static void retry_undone(void *arg, int code)
{
	if (code == 0)
		retry_removals(arg);
}

/* Behind the commit that db_do() waits for, all of it is in the -wal or, synced by SQLite, in the database. The ends of
 * what was submitted before have run by then. */
int rows_sync(struct cache *c)
{
	int r = 0;

	if (atomic_load(&c->rows->undone_count) > 0) {
		(void)db_submit(c->db, nothing, retry_undone, c); /* refused only when it is closed */
		r = db_do(c->db, nothing, NULL);
	}
	if (r == 0)
		r = db_do(c->db, nothing, NULL);
	if (r == 0 && atomic_load(&c->rows->undone_count) > 0)
		r = -ENOSPC; /* mostly: see remove_done() */
	if (r == 0 && fdatasync(c->rows->wal_fd) < 0)
		r = -errno;
	return r;
}

void rows_close(struct cache *c)
{
	if (!c->rows)
		return;
	(void)db_submit(c->db, nothing, finalize, c->rows); /* refused only when it is closed */
	db_close(c->db);
	LIST_FOREACH_SAFE(it, next, &c->rows->undone)
		free(LIST_ENTRY(it, struct remove_job, node));
	fd_close(&c->rows->wal_fd);
	free(c->rows);
	c->rows = NULL;
}

int rows_begin_anew(struct cache *c)
{
	char *path = xstrf("%s/cache.db", c->dir);
	bool damaged;
	int r;

	rows_close(c);
	r = db_set_aside(path);
	if (r == 0)
		r = rows_open(c, &damaged);
	free(path);
	return r < 0 ? r : index_load(c);
}
