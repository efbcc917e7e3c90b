/* hub_sqlite_copy.c -- rows of the file as they are, for hub_copy.c.
 *
 * THREADS  put: the writer's; read: as in hub_sqlite_read.c. Statements are prepared for each call but those of items,
 *          which hub_sqlite.c has ready: of the others there are few, or the call is one for all. */
#include "hub/hub_store.h"

#include <errno.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_sqlite_priv.h"

static const struct {
	const char *read, *last;
} texts[HUB_ROWS_COUNT] = {
	[HUB_ROWS_EVENTS] = { "SELECT at, body FROM events WHERE at > ?1 ORDER BY at", "SELECT max(at) FROM events" },
	[HUB_ROWS_METRICS] = { "SELECT at, body FROM metrics WHERE at > ?1 ORDER BY at",
			       "SELECT max(at) FROM metrics" },
	[HUB_ROWS_HISTORY] = { "SELECT at, body FROM history WHERE at > ?1 ORDER BY at",
			       "SELECT max(at) FROM history" },
	[HUB_ROWS_STATES] = { "SELECT number, body FROM states WHERE number > ?1 ORDER BY number",
			      "SELECT max(number) FROM states" },
	[HUB_ROWS_DOOMED] = { "SELECT number, '' FROM doomed WHERE number > ?1 ORDER BY number",
			      "SELECT max(number) FROM doomed" },
	[HUB_ROWS_SESSIONS] = { "SELECT " SESSION_COLUMNS ", key FROM sessions WHERE number > ?1 ORDER BY number",
				"SELECT seq FROM sqlite_sequence WHERE name = 'sessions'" },
};

static const char add_session[] = "INSERT INTO sessions (" SESSION_COLUMNS ", key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
				  " ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

#define KEY_COLUMN 17

static int prepare(sqlite3 *conn, const char *text, sqlite3_stmt **ret)
{
	return db_code(sqlite3_prepare_v2(conn, text, -1, ret, NULL));
}

static struct slice text_at(sqlite3_stmt *st, int column)
{
	return (struct slice){ (const char *)sqlite3_column_text(st, column), (size_t)sqlite3_column_bytes(st, column) };
}

int hub_sqlite_read_rows(struct hub_read *rd, enum hub_rows rows, int64_t after, hub_row_fn *fn, void *arg)
{
	struct hub_session s = HUB_SESSION_EMPTY;
	sqlite3_stmt *st = NULL;
	int r = prepare(hub_sqlite_read_conn(rd), texts[rows].read, &st), rc = SQLITE_DONE;

	if (r == 0)
		(void)sqlite3_bind_int64(st, 1, after);
	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct hub_row row = { .rows = rows, .key = sqlite3_column_int64(st, 0) };

		if (rows == HUB_ROWS_SESSIONS) {
			hub_sqlite_take_row(st, &s);
			row.session = &s;
			if (sqlite3_column_type(st, KEY_COLUMN) != SQLITE_NULL)
				row.session_key = text_at(st, KEY_COLUMN);
		} else {
			row.body = text_at(st, 1);
		}
		r = fn(arg, &row);
	}
	if (r == 0)
		r = db_code(rc);
	(void)sqlite3_finalize(st); /* repeats rc */
	hub_session_fini(&s);
	return r;
}

int hub_sqlite_read_last(struct hub_read *rd, enum hub_rows rows, int64_t *ret)
{
	sqlite3_stmt *st = NULL;
	int r = prepare(hub_sqlite_read_conn(rd), texts[rows].last, &st), rc = SQLITE_DONE;

	if (r == 0) {
		rc = sqlite3_step(st);
		r = db_code(rc);
	}
	if (r == 0)
		*ret = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
	(void)sqlite3_finalize(st); /* as above */
	return r;
}

static int put_session(struct hub_tx *tx, const struct hub_row *row)
{
	const struct hub_session *s = row->session;
	sqlite3_stmt *st = NULL;
	int r = prepare(tx->conn, add_session, &st);

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(st, 1, s->number);
	hub_sqlite_bind(st, 2, slice_str(s->id));
	hub_sqlite_bind(st, 3, buf_slice(&s->product));
	hub_sqlite_bind(st, 4, buf_slice(&s->version));
	hub_sqlite_bind(st, 5, buf_slice(&s->machine_id));
	hub_sqlite_bind(st, 6, buf_slice(&s->hostname));
	(void)sqlite3_bind_int64(st, 7, s->created_ms);
	(void)sqlite3_bind_int64(st, 8, s->updated_ms);
	(void)sqlite3_bind_int64(st, 9, s->ended_ms);
	(void)sqlite3_bind_int64(st, 10, s->heartbeat_ms);
	(void)sqlite3_bind_int64(st, 11, s->beat_ms);
	(void)sqlite3_bind_int64(st, 12, s->flags);
	(void)sqlite3_bind_int64(st, 13, s->applied_seq);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		(void)sqlite3_bind_int64(st, 14 + i, s->counts[i]);
	hub_sqlite_bind(st, 17, buf_slice(&s->extra));
	if (row->session_key.p)
		hub_sqlite_bind(st, 18, row->session_key);
	r = db_code(sqlite3_step(st));
	(void)sqlite3_finalize(st); /* as above */
	return r;
}

/* One statement with one number. */
static int run(struct hub_tx *tx, const char *text, int64_t number)
{
	sqlite3_stmt *st = NULL;
	int r = prepare(tx->conn, text, &st);

	if (r == 0) {
		(void)sqlite3_bind_int64(st, 1, number);
		r = db_code(sqlite3_step(st));
	}
	(void)sqlite3_finalize(st); /* as above */
	return r;
}

int hub_sqlite_put_row(struct hub_tx *tx, const struct hub_row *row)
{
	switch (row->rows) {
	case HUB_ROWS_EVENTS:
	case HUB_ROWS_METRICS:
	case HUB_ROWS_HISTORY:
		return hub_sqlite_put(tx, (enum tx_statement)(TX_PUT_EVENT + (int)row->rows), row->key, row->body);
	case HUB_ROWS_STATES: return hub_sqlite_put(tx, TX_PUT_STATE, row->key, row->body);
	case HUB_ROWS_DOOMED: return run(tx, "INSERT INTO doomed VALUES (?1)", row->key);
	default: return put_session(tx, row);
	}
}

int hub_sqlite_put_last_number(struct hub_tx *tx, int64_t last)
{
	int r = run(tx, "DELETE FROM sqlite_sequence WHERE name = 'sessions' AND seq < ?1", last);

	return r < 0 ? r :
		       run(tx,
			   "INSERT INTO sqlite_sequence (name, seq) SELECT 'sessions', ?1"
			   " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'sessions')",
			   last);
}

int hub_sqlite_look(const char *path)
{
	sqlite3 *conn = NULL;
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_open_v2(path, &conn, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL), r = db_code(rc);

	if (r == 0)
		r = prepare(conn, "PRAGMA quick_check(1)", &st);
	if (r == 0) {
		rc = sqlite3_step(st);
		r = db_code(rc);
		if (rc == SQLITE_ROW && !slice_eq_str(text_at(st, 0), "ok"))
			r = WEIR_E_DAMAGED;
	}
	(void)sqlite3_finalize(st); /* as above */
	(void)sqlite3_close(conn); /* no statement is left */
	return r;
}
