/* hub_sqlite.c -- the hub's store in one SQLite file: changes. Looking is in hub_sqlite_read.c.
 *
 *   sessions   one row each, small, rewritten by every write to it
 *   states     the state of a session now, which only updates of the state rewrite
 *   events, metrics, history   one row an item, under the number (session << 32 | place)
 *   doomed     sessions that were taken away and whose items are still to be deleted
 *
 * WHY      An item's number makes each session's items neighbours in the table itself: a batch touches few pages,
 *          reading in order is a walk, and there is no second index to be kept. store/db.h gathers the jobs of all
 *          clients into one commit.
 * RULES    1. A session's number is never used again (AUTOINCREMENT), so that items yet to be swept are nobody else's.
 *          2. The version of the schema stands in user_version; migrations below lead from each to the next.
 * THREADS  Jobs run on the database's writer thread, which alone uses the statements of struct hub_tx.
 * LIMITS   2^31 sessions, 2^32 items of a kind in each. */
#include "hub/hub_store.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_sqlite_priv.h"
#include "hub/hub_text.h"

#define HUB_SQLITE_MAGIC 0x68756273u
#define SCHEMA_VERSION   3
#define CACHE_PAGES      "-32768" /* KiB: sessions and the ends of their lists stay in memory */

#define SCHEMA_1                                                                                                          \
	"CREATE TABLE sessions (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT UNIQUE,"      \
	" product TEXT NOT NULL, version TEXT NOT NULL, machine_id TEXT NOT NULL, hostname TEXT NOT NULL,"                \
	" created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"                           \
	" heartbeat_ms INTEGER NOT NULL, beat_ms INTEGER NOT NULL, flags INTEGER NOT NULL, applied_seq INTEGER NOT NULL," \
	" events INTEGER NOT NULL, metrics INTEGER NOT NULL, history INTEGER NOT NULL);"                                  \
	"CREATE INDEX sessions_product ON sessions (product, version);"                                                   \
	"CREATE INDEX sessions_machine ON sessions (machine_id);"                                                         \
	"CREATE INDEX sessions_created ON sessions (created_ms);"                                                         \
	"CREATE TABLE states (number INTEGER PRIMARY KEY, body TEXT NOT NULL);"                                           \
	"CREATE TABLE events (at INTEGER PRIMARY KEY, body TEXT NOT NULL);"                                               \
	"CREATE TABLE metrics (at INTEGER PRIMARY KEY, body TEXT NOT NULL);"                                              \
	"CREATE TABLE history (at INTEGER PRIMARY KEY, body TEXT NOT NULL);"                                              \
	"CREATE TABLE doomed (number INTEGER PRIMARY KEY);"
/* Which of a machine's sessions are open, without a look at all that it ever had. */
#define SCHEMA_2 "CREATE INDEX sessions_open ON sessions (machine_id, beat_ms) WHERE flags & 3 = 0;"

/* Lists in the order of creation, by what people look for: each a walk along an index that goes on (created_ms, number),
 * and has what is looked at before the row is fetched. `number` is spelled out, or SQLite does not see that it need not
 * sort. sessions_version also answers who counts. */
#define SCHEMA_3                                                                                            \
	"ALTER TABLE sessions ADD COLUMN extra TEXT NOT NULL DEFAULT '';"                                   \
	"DROP INDEX sessions_product;"                                                                      \
	"DROP INDEX sessions_machine;"                                                                      \
	"CREATE INDEX sessions_product ON sessions (product, created_ms, number, flags);"                   \
	"CREATE INDEX sessions_version ON sessions (product, version, created_ms, number, flags, beat_ms);" \
	"CREATE INDEX sessions_machine ON sessions (machine_id, created_ms, number);"                       \
	"CREATE INDEX sessions_hostname ON sessions (hostname, created_ms, number);"                        \
	"CREATE INDEX sessions_updated ON sessions (updated_ms);"                                           \
	"CREATE INDEX sessions_status ON sessions (" STATUS_SQL ", created_ms, number, beat_ms);"           \
	"CREATE INDEX sessions_hung ON sessions (created_ms, number, flags) WHERE flags & 8 <> 0;"

/* From each version to the next. */
static const char *const migrations[SCHEMA_VERSION] = { [1] = SCHEMA_2, [2] = SCHEMA_3 };

const char *const hub_item_tables[HUB_LIST_COUNT] = { "events", "metrics", "history" };

static const char *const statements[TX_STATEMENT_COUNT] = {
	[TX_FIND] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE id = ?1",
	[TX_FIND_KEY] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE key = ?1",
	[TX_FIND_SUSPENDED] = ("SELECT " SESSION_COLUMNS " FROM sessions WHERE machine_id = ?1 AND flags & 3 = 0"
			       " AND beat_ms > 0 AND beat_ms < ?2 ORDER BY number LIMIT 1"),
	[TX_ADD] =
		("INSERT INTO sessions (id, key, product, version, machine_id, hostname, created_ms, updated_ms, ended_ms,"
		 " heartbeat_ms, beat_ms, flags, applied_seq, events, metrics, history, extra)"
		 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, 0, 0, 0, 0, 0, 0, ?9)"),
	[TX_UPDATE] =
		("UPDATE sessions SET updated_ms = ?2, ended_ms = ?3, heartbeat_ms = ?4, beat_ms = ?5, flags = ?6,"
		 " applied_seq = ?7, events = ?8, metrics = ?9, history = ?10 WHERE number = ?1"),
	[TX_UPDATE_COUNTS] =
		("UPDATE sessions SET updated_ms = ?2, applied_seq = ?3, events = ?4, metrics = ?5, history = ?6"
		 " WHERE number = ?1"),
	[TX_PUT_EVENT] = "INSERT INTO events VALUES (?1, ?2)",
	[TX_PUT_METRIC] = "INSERT INTO metrics VALUES (?1, ?2)",
	[TX_PUT_HISTORY] = "INSERT INTO history VALUES (?1, ?2)",
	[TX_PUT_STATE] = "INSERT INTO states VALUES (?1, ?2) ON CONFLICT (number) DO UPDATE SET body = ?2",
	[TX_GET_STATE] = "SELECT body FROM states WHERE number = ?1",
};

/* --- rows ------------------------------------------------------------------------------------------------------- */

static void take_text(sqlite3_stmt *st, int column, struct buf *into)
{
	const char *text = (const char *)sqlite3_column_text(st, column);

	buf_reset(into);
	buf_add(into, text ? text : "", (size_t)sqlite3_column_bytes(st, column));
}

void hub_sqlite_take_row(sqlite3_stmt *st, struct hub_session *ret)
{
	const char *id = (const char *)sqlite3_column_text(st, 1);

	ret->number = sqlite3_column_int64(st, 0);
	(void)snprintf(ret->id, sizeof(ret->id), "%s", id ? id : "");
	take_text(st, 2, &ret->product);
	take_text(st, 3, &ret->version);
	take_text(st, 4, &ret->machine_id);
	take_text(st, 5, &ret->hostname);
	ret->created_ms = sqlite3_column_int64(st, 6);
	ret->updated_ms = sqlite3_column_int64(st, 7);
	ret->ended_ms = sqlite3_column_int64(st, 8);
	ret->heartbeat_ms = sqlite3_column_int64(st, 9);
	ret->beat_ms = sqlite3_column_int64(st, 10);
	ret->flags = (unsigned)sqlite3_column_int(st, 11);
	ret->applied_seq = sqlite3_column_int64(st, 12);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		ret->counts[i] = sqlite3_column_int64(st, 13 + i);
	take_text(st, 16, &ret->extra);
}

void hub_sqlite_bind(sqlite3_stmt *st, int at, struct slice text)
{
	(void)sqlite3_bind_text64(st, at, text.p ? text.p : "", text.n, SQLITE_STATIC,
				  SQLITE_UTF8); /* the step would tell */
}

/* --- jobs ------------------------------------------------------------------------------------------------------- */

static int statement(struct hub_tx *tx, enum tx_statement which, sqlite3_stmt **ret)
{
	int rc = SQLITE_OK;

	if (!tx->statements[which])
		rc = sqlite3_prepare_v3(tx->conn, statements[which], -1, SQLITE_PREPARE_PERSISTENT,
					&tx->statements[which], NULL);
	*ret = tx->statements[which];
	return db_code(rc);
}

/* Ends a statement after its last step, which gave rc. */
static int finish(sqlite3_stmt *st, int rc)
{
	(void)sqlite3_reset(st); /* repeats rc */
	(void)sqlite3_clear_bindings(st); /* always succeeds */
	return db_code(rc);
}

static struct hub_sqlite_found found_of(const struct hub_session *s)
{
	return (struct hub_sqlite_found){ s->number, s->ended_ms, s->heartbeat_ms, s->beat_ms, s->flags };
}

/* One row, or -ENOENT. */
static int finish_one(struct hub_tx *tx, sqlite3_stmt *st, struct hub_session *ret)
{
	int rc = sqlite3_step(st), r;

	if (rc == SQLITE_ROW) {
		hub_sqlite_take_row(st, ret);
		tx->found = found_of(ret);
	}
	r = finish(st, rc);
	return r < 0 ? r : rc == SQLITE_ROW ? 0 : -ENOENT;
}

static int find_by(struct hub_tx *tx, enum tx_statement which, struct slice text, struct hub_session *ret)
{
	sqlite3_stmt *st;
	int r = statement(tx, which, &st);

	if (r < 0)
		return r;
	hub_sqlite_bind(st, 1, text);
	return finish_one(tx, st, ret);
}

static int find(struct hub_tx *tx, struct slice id, struct hub_session *ret)
{
	return find_by(tx, TX_FIND, id, ret);
}

static int find_key(struct hub_tx *tx, struct slice key, struct hub_session *ret)
{
	return find_by(tx, TX_FIND_KEY, key, ret);
}

static int find_suspended(struct hub_tx *tx, struct slice machine_id, int64_t stale_ms, struct hub_session *ret)
{
	sqlite3_stmt *st;
	int r = statement(tx, TX_FIND_SUSPENDED, &st);

	if (r < 0)
		return r;
	hub_sqlite_bind(st, 1, machine_id);
	(void)sqlite3_bind_int64(st, 2, stale_ms);
	return finish_one(tx, st, ret);
}

static int add(struct hub_tx *tx, struct hub_session *s, struct slice key)
{
	sqlite3_stmt *st;
	int r = statement(tx, TX_ADD, &st);

	if (r < 0)
		return r;
	hub_sqlite_bind(st, 1, slice_str(s->id));
	if (key.p)
		hub_sqlite_bind(st, 2, key);
	hub_sqlite_bind(st, 3, buf_slice(&s->product));
	hub_sqlite_bind(st, 4, buf_slice(&s->version));
	hub_sqlite_bind(st, 5, buf_slice(&s->machine_id));
	hub_sqlite_bind(st, 6, buf_slice(&s->hostname));
	(void)sqlite3_bind_int64(st, 7, s->created_ms);
	(void)sqlite3_bind_int64(st, 8, s->updated_ms);
	hub_sqlite_bind(st, 9, buf_slice(&s->extra));
	r = finish(st, sqlite3_step(st));
	tx->found.number = 0;
	if (r == 0)
		s->number = sqlite3_last_insert_rowid(tx->conn);
	return r;
}

/* SQLite writes each index anew that has a column of the statement, whether or not its value changes: most operations
 * only count, and need not name those that many indexes have. */
static bool only_counts(const struct hub_tx *tx, const struct hub_session *s)
{
	const struct hub_sqlite_found *f = &tx->found;

	return f->number == s->number && f->ended_ms == s->ended_ms && f->heartbeat_ms == s->heartbeat_ms &&
	       f->beat_ms == s->beat_ms && f->flags == s->flags;
}

static int update_counts(struct hub_tx *tx, const struct hub_session *s)
{
	sqlite3_stmt *st;
	int r = statement(tx, TX_UPDATE_COUNTS, &st);

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(st, 1, s->number);
	(void)sqlite3_bind_int64(st, 2, s->updated_ms);
	(void)sqlite3_bind_int64(st, 3, s->applied_seq);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		(void)sqlite3_bind_int64(st, 4 + i, s->counts[i]);
	return finish(st, sqlite3_step(st));
}

static int update(struct hub_tx *tx, const struct hub_session *s)
{
	sqlite3_stmt *st;
	int r;

	if (only_counts(tx, s))
		return update_counts(tx, s);
	tx->found.number = 0; /* it is no longer that */
	r = statement(tx, TX_UPDATE, &st);
	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(st, 1, s->number);
	(void)sqlite3_bind_int64(st, 2, s->updated_ms);
	(void)sqlite3_bind_int64(st, 3, s->ended_ms);
	(void)sqlite3_bind_int64(st, 4, s->heartbeat_ms);
	(void)sqlite3_bind_int64(st, 5, s->beat_ms);
	(void)sqlite3_bind_int64(st, 6, s->flags);
	(void)sqlite3_bind_int64(st, 7, s->applied_seq);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		(void)sqlite3_bind_int64(st, 8 + i, s->counts[i]);
	return finish(st, sqlite3_step(st));
}

int hub_sqlite_put(struct hub_tx *tx, enum tx_statement which, int64_t number, struct slice body)
{
	sqlite3_stmt *st;
	int r = statement(tx, which, &st);

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(st, 1, number);
	hub_sqlite_bind(st, 2, body);
	return finish(st, sqlite3_step(st));
}

static int put_item(struct hub_tx *tx, int64_t number, enum hub_list list, int64_t place, struct slice body)
{
	if (place > UINT32_MAX)
		return WEIR_E_TOO_LARGE;
	return hub_sqlite_put(tx, (enum tx_statement)(TX_PUT_EVENT + (int)list), item_key(number, place), body);
}

static int put_state(struct hub_tx *tx, int64_t number, struct slice body)
{
	return hub_sqlite_put(tx, TX_PUT_STATE, number, body);
}

static int get_state(struct hub_tx *tx, int64_t number, struct buf *out)
{
	sqlite3_stmt *st;
	int r = statement(tx, TX_GET_STATE, &st), rc;

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(st, 1, number);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		buf_add(out, sqlite3_column_text(st, 0), (size_t)sqlite3_column_bytes(st, 0));
	r = finish(st, rc);
	return r < 0 ? r : rc == SQLITE_ROW ? 0 : -ENOENT;
}

/* --- taking away: rarely done, so nothing is prepared for it ---------------------------------------------------- */

static int change(struct hub_tx *tx, int64_t *ret_rows, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The numbers come from us, so that they may stand in the text. */
static int change(struct hub_tx *tx, int64_t *ret_rows, const char *fmt, ...)
{
	struct buf text = BUF_EMPTY;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	rc = sqlite3_exec(tx->conn, text.data, NULL, NULL, NULL);
	buf_fini(&text);
	if (ret_rows)
		*ret_rows = sqlite3_changes64(tx->conn);
	return db_code(rc);
}

static int forget(struct hub_tx *tx, int64_t created_ms, int64_t most, int64_t *ret_forgotten)
{
	int r = change(
		tx, NULL,
		"INSERT INTO doomed SELECT number FROM sessions WHERE created_ms < %lld ORDER BY created_ms LIMIT %lld",
		(long long)created_ms, (long long)most);

	if (r == 0)
		r = change(tx, ret_forgotten, "DELETE FROM sessions WHERE number IN (SELECT number FROM doomed)");
	return r;
}

static int first_doomed(struct hub_tx *tx, int64_t *ret)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(tx->conn, "SELECT min(number) FROM doomed", -1, &st, NULL);

	*ret = 0;
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st); /* repeats rc */
	return db_code(rc);
}

static int sweep(struct hub_tx *tx, int64_t most, bool *ret_more)
{
	int64_t number, rows = 0;
	int r = first_doomed(tx, &number);

	*ret_more = r == 0 && number != 0;
	if (!*ret_more)
		return r;
	for (int i = 0; i < HUB_LIST_COUNT && r == 0 && rows < most; i++) {
		int64_t gone = 0;

		r = change(tx, &gone,
			   "DELETE FROM %s WHERE at IN (SELECT at FROM %s WHERE at >= %lld AND at < %lld LIMIT %lld)",
			   hub_item_tables[i], hub_item_tables[i], (long long)item_key(number, 0),
			   (long long)item_key(number + 1, 0), (long long)(most - rows));
		rows += gone;
	}
	if (r == 0 && rows < most)
		r = change(tx, NULL, "DELETE FROM states WHERE number = %lld; DELETE FROM doomed WHERE number = %lld",
			   (long long)number, (long long)number);
	return r;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct submitted {
	struct hub_sqlite *h;
	hub_job_fn *job;
	hub_done_fn *done;
	void *arg;
};

static int run_submitted(sqlite3 *conn, void *arg)
{
	struct submitted *s = arg;

	s->h->tx.conn = conn;
	return s->job(&s->h->store, &s->h->tx, s->arg);
}

static void submitted_done(void *arg, int code)
{
	struct submitted *s = arg;

	s->done(s->arg, code);
	free(s);
}

static int submit(struct hub_store *st, struct slice id, hub_job_fn *job, hub_done_fn *done, void *arg)
{
	struct hub_sqlite *h = (struct hub_sqlite *)st;
	struct submitted *s = xmalloc(sizeof(*s));
	int r;

	OBJ_CHECK(h, HUB_SQLITE_MAGIC);
	*s = (struct submitted){ h, job, done, arg };
	r = db_submit(h->db, run_submitted, submitted_done, s);
	if (r < 0)
		free(s);
	return r;
}

static int submit_and_wait(struct hub_store *st, hub_job_fn *job, void *arg)
{
	struct hub_sqlite *h = (struct hub_sqlite *)st;
	struct submitted s = { h, job, NULL, arg };

	OBJ_CHECK(h, HUB_SQLITE_MAGIC);
	return db_do(h->db, run_submitted, &s);
}

static void close_store(struct hub_store *st)
{
	struct hub_sqlite *h = (struct hub_sqlite *)st;

	OBJ_CHECK(h, HUB_SQLITE_MAGIC);
	hub_sqlite_close_idle(h);
	db_close(h->db);
	for (int i = 0; i < TX_STATEMENT_COUNT; i++)
		(void)sqlite3_finalize(h->tx.statements[i]); /* the connection ends with the last */
	pthread_mutex_destroy(&h->lock);
	h->magic = 0;
	free(h);
}

static const struct hub_store_table table = {
	.close = close_store,
	.submit = submit,
	.submit_and_wait = submit_and_wait,
	.find = find,
	.find_key = find_key,
	.find_suspended = find_suspended,
	.add = add,
	.update = update,
	.put_item = put_item,
	.put_state = put_state,
	.get_state = get_state,
	.forget = forget,
	.sweep = sweep,
	.read_begin = hub_sqlite_read_begin,
	.read_end = hub_sqlite_read_end,
	.read_session = hub_sqlite_read_session,
	.read_state = hub_sqlite_read_state,
	.read_items = hub_sqlite_read_items,
	.read_list = hub_sqlite_read_list,
	.read_products = hub_sqlite_read_products,
	.read_count = hub_sqlite_read_count,
	.read_rows = hub_sqlite_read_rows,
	.read_last = hub_sqlite_read_last,
	.put_row = hub_sqlite_put_row,
	.put_last_number = hub_sqlite_put_last_number,
};

static int widen_cache(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn, "PRAGMA cache_size=" CACHE_PAGES, NULL, NULL, NULL));
}

static int ask_version(sqlite3 *conn, int *ret)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(conn, "PRAGMA user_version", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st); /* repeats rc */
	return db_code(rc);
}

/* All the steps in one transaction: an old file stays old, or becomes a new one. */
static int migrate(sqlite3 *conn, void *arg)
{
	int version = 0, r = ask_version(conn, &version);

	for (; r == 0 && version > 0 && version < SCHEMA_VERSION; version++) {
		char set[40];

		(void)snprintf(set, sizeof(set), "PRAGMA user_version=%d", version + 1);
		r = db_code(sqlite3_exec(conn, migrations[version], NULL, NULL, NULL));
		if (r == 0)
			r = db_code(sqlite3_exec(conn, set, NULL, NULL, NULL));
	}
	return r;
}

int hub_sqlite_open(const char *path, struct hub_store **ret, bool *ret_damaged, struct buf *err)
{
	const struct db_options o = { .path = path, .schema = SCHEMA_1 SCHEMA_2 SCHEMA_3, .version = SCHEMA_VERSION };
	struct hub_sqlite *h = xcalloc(1, sizeof(*h));
	int r = db_open(&o, &h->db, ret_damaged);

	if (r == 0) {
		r = db_do(h->db, migrate, NULL);
		if (r < 0)
			db_close(h->db);
	}
	if (r < 0) {
		if (r == -EPROTO)
			buf_addf(err, "%s was written by a newer weir; use that one, or another database", path);
		else
			buf_addf(err, "cannot open %s: %s", path, err_text(r));
		free(h);
		return r;
	}
	h->store.t = &table;
	h->magic = HUB_SQLITE_MAGIC;
	list_init(&h->idle);
	pthread_mutex_init(&h->lock, NULL);
	(void)db_do(h->db, widen_cache, NULL); /* only a matter of speed */
	if (*ret_damaged)
		hub_sqlite_salvage(h->db, path);
	*ret = &h->store;
	return 0;
}
