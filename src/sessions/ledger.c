/* ledger.c -- sessions.db: who the sessions are, and what has been counted. What they did is in the outbox.
 *
 * WHAT     A row for each session that ever was, as its ids stay valid for ever; a row for each counter and histogram
 *          of those that live, and of the last that lived.
 * WHY      Two databases, as the outbox is everybody's and knows no session. A crash between the two does no harm,
 *          because each thing is told by one of them alone, or by the later of the two:
 *
 *          what         | written                         | found after a crash in between
 *          registering  | row; creation in the outbox     | a row without the server's id and without anything in the
 *                       |                                 | outbox: nobody was answered, it is removed
 *          state        | in the outbox; row              | the row has the state up to state_seq; what the outbox has
 *                       |                                 | above it is merged at start
 *          server's id  | row; creation is settled        | the creation is known to be done, or is repeated with its
 *                       |                                 | key: the same id
 *          end, crash   | in the outbox; row              | one in the outbox ends the session at start
 *          totals       | row; in the outbox; row: clean  | the same total once more, which is what a total may be
 *          hung, again  | in the outbox; row              | their events in the outbox tell at start
 *          well, crash  |                                 |
 *          told; pause  | row; answer                     | nobody was answered
 *
 * RULES    1. No operation leaves the outbox before the row has what it did (deliver.c).
 *          2. A row that could not be written is wanted again, until it is: row_changes, row_given, row_saved.
 * LIMITS   Totals of a session that is done with (it has ended, and all of it is delivered) are kept for a sample that
 *          comes late, until so many sessions have begun after it as LEDGER_KEEPS_TOTALS says. Then a sample begins a
 *          new total.
 * THREADS  Statements belong to the writer thread. Reading has a connection of its own, made for each look: that is
 *          rare.
 * SEE      docs/formats/sessions.md */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "core/json.h"
#include "sessions/sessions_priv.h"

#define VERSION 2 /* 1: without `dropped` and `client_key` */

static const char schema[] =
	"CREATE TABLE sessions(number INTEGER PRIMARY KEY, local_id TEXT NOT NULL UNIQUE, hub_id TEXT,"
	" product TEXT NOT NULL, version TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,"
	" ended_ms INTEGER NOT NULL,"
	" flags INTEGER NOT NULL, beat_ms INTEGER NOT NULL, pid INTEGER NOT NULL, pid_start INTEGER NOT NULL,"
	" boot_id TEXT NOT NULL, state TEXT NOT NULL, state_seq INTEGER NOT NULL,"
	" dropped INTEGER NOT NULL DEFAULT 0, client_key TEXT);"
	"CREATE INDEX sessions_hub_id ON sessions(hub_id);"
	"CREATE INDEX sessions_alive ON sessions(number) WHERE flags&16=0;"
	"CREATE TABLE totals(session INTEGER NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL, dirty INTEGER NOT NULL,"
	" PRIMARY KEY(session, key)) WITHOUT ROWID;";
_Static_assert(SESSION_DONE == 16, "the index above says so");

#define COLUMNS LEDGER_COLUMNS_1 ", dropped, client_key"

struct ledger_statements {
	sqlite3_stmt *save, *total, *remove, *remove_totals;
};

/* --- writing ---------------------------------------------------------------------------------------------------- */

struct job {
	struct sessions *ss;
	struct session *s; /* used; NULL: none */
	ledger_fn *cb;
	void *arg;
	/* a session */
	uint64_t change; /* row_changes as it is written; 0: no session's row */
	int64_t number, created_ms, updated_ms, ended_ms, beat_ms, pid;
	unsigned flags;
	uint64_t pid_start, known_seq, dropped;
	char local_id[SESSION_ID_ROOM];
	char *hub_id, *product, *version, *client_key;
	struct buf state;
	/* or a total */
	struct buf key, record;
	bool is_dirty;
};

static int prepare(sqlite3 *conn, sqlite3_stmt **st, const char *sql)
{
	return *st ? 0 : db_code(sqlite3_prepare_v3(conn, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL));
}

static void bind_text(sqlite3_stmt *st, int at, struct slice s)
{
	(void)sqlite3_bind_text(st, at, s.p ? s.p : "", (int)s.n,
				SQLITE_STATIC); /* cannot fail with a number that is there */
}

static void bind_text_or_null(sqlite3_stmt *st, int at, const char *s)
{
	if (s)
		bind_text(st, at, slice_str(s));
	else
		(void)sqlite3_bind_null(st, at); /* as above */
}

static int run(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	(void)sqlite3_reset(st); /* repeats the failure of the step */
	return db_code(rc);
}

static int save_job(sqlite3 *conn, void *arg)
{
	struct job *j = arg;
	sqlite3_stmt *st;
	int r = prepare(conn, &j->ss->statements->save,
			"INSERT OR REPLACE INTO sessions(" COLUMNS
			") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)");

	if (r < 0)
		return r;
	st = j->ss->statements->save;
	(void)sqlite3_bind_int64(st, 1, j->number); /* none can fail */
	bind_text(st, 2, slice_str(j->local_id));
	bind_text_or_null(st, 3, j->hub_id);
	bind_text(st, 4, slice_str(j->product));
	bind_text(st, 5, slice_str(j->version));
	(void)sqlite3_bind_int64(st, 6, j->created_ms);
	(void)sqlite3_bind_int64(st, 7, j->updated_ms);
	(void)sqlite3_bind_int64(st, 8, j->ended_ms);
	(void)sqlite3_bind_int64(st, 9, j->flags);
	(void)sqlite3_bind_int64(st, 10, j->beat_ms);
	(void)sqlite3_bind_int64(st, 11, j->pid);
	(void)sqlite3_bind_int64(st, 12, (int64_t)j->pid_start);
	bind_text(st, 13, slice_str(j->ss->boot_id));
	bind_text(st, 14, buf_slice(&j->state));
	(void)sqlite3_bind_int64(st, 15, (int64_t)j->known_seq);
	(void)sqlite3_bind_int64(st, 16, (int64_t)j->dropped);
	bind_text_or_null(st, 17, j->client_key);
	r = run(st);
	if (r == 0 && (j->flags & SESSION_DONE)) {
		r = prepare(conn, &j->ss->statements->remove_totals, "DELETE FROM totals WHERE session<=?1 AND"
			    " EXISTS(SELECT 1 FROM sessions WHERE number=session AND flags&16)");
		if (r == 0) {
			(void)sqlite3_bind_int64(j->ss->statements->remove_totals, 1,
						 j->number - LEDGER_KEEPS_TOTALS); /* as above */
			r = run(j->ss->statements->remove_totals);
		}
	}
	return r;
}

static int total_job(sqlite3 *conn, void *arg)
{
	struct job *j = arg;
	sqlite3_stmt *st;
	int r = prepare(conn, &j->ss->statements->total,
			"INSERT OR REPLACE INTO totals(session, key, record, dirty) VALUES(?1,?2,?3,?4)");

	if (r < 0)
		return r;
	st = j->ss->statements->total;
	(void)sqlite3_bind_int64(st, 1, j->number); /* none can fail */
	bind_text(st, 2, buf_slice(&j->key));
	bind_text(st, 3, buf_slice(&j->record));
	(void)sqlite3_bind_int(st, 4, j->is_dirty);
	return run(st);
}

static void job_free(struct job *j)
{
	free(j->hub_id);
	free(j->product);
	free(j->version);
	free(j->client_key);
	buf_fini(&j->state);
	buf_fini(&j->key);
	buf_fini(&j->record);
	free(j);
}

static void job_done(void *arg, int code)
{
	struct job *j = arg;
	struct sessions *ss = j->ss;

	if (code == -EIO && db_is_given_up(ss->db) && !atomic_exchange(&ss->is_readonly, true))
		log_event(LOG_ERROR, "sessions_readonly", LOG_STR("folder", ss->dir),
			  LOG_STR("reason",
				  "sessions.db could not be written: nothing is taken down in it until a restart"),
			  LOG_END);
	else if (code < 0)
		log_event(LOG_WARN, "session_not_saved", LOG_STR("session", j->s->local_id),
			  LOG_STR("reason", err_text(code)), LOG_END);
	pthread_mutex_lock(&ss->lock);
	if (j->change && code < 0)
		j->s->row_given = j->s->row_saved;
	else if (j->change > j->s->row_saved)
		j->s->row_saved = j->change;
	pthread_mutex_unlock(&ss->lock);
	if (j->cb)
		j->cb(j->arg, code);
	pthread_mutex_lock(&ss->lock);
	session_unuse(ss, j->s);
	sessions_leave(ss);
	pthread_mutex_unlock(&ss->lock);
	job_free(j);
}

static int submit(struct sessions *ss, struct session *s, struct job *j, db_job_fn *fn)
{
	int r;

	j->ss = ss;
	j->s = s;
	j->number = s->number;
	r = db_submit(ss->db, fn, job_done, j);
	if (r < 0) {
		job_free(j);
		return r;
	}
	session_use(s);
	sessions_enter(ss);
	return 0;
}

int ledger_save_start(struct sessions *ss, struct session *s, ledger_fn *cb, void *arg)
{
	struct job *j = xcalloc(1, sizeof(*j));
	int r;

	*j = (struct job){ .cb = cb,
			   .arg = arg,
			   .change = s->row_changes,
			   .created_ms = s->created_ms,
			   .updated_ms = s->updated_ms,
			   .ended_ms = s->ending ? 0 : s->ended_ms,
			   .beat_ms = s->beat_wall_ms,
			   .pid = s->pid,
			   .flags = s->ending ? s->flags_before_end : s->flags,
			   .pid_start = s->pid_start,
			   .known_seq = s->known_seq,
			   .dropped = s->dropped,
			   .hub_id = s->hub_id ? xstrdup(s->hub_id) : NULL,
			   .product = xstrdup(s->product),
			   .version = xstrdup(s->version),
			   .client_key = s->client_key ? xstrdup(s->client_key) : NULL,
			   .state = BUF_EMPTY,
			   .key = BUF_EMPTY,
			   .record = BUF_EMPTY };
	(void)snprintf(j->local_id, sizeof(j->local_id), "%s", s->local_id);
	json_write(s->known, &j->state);
	r = submit(ss, s, j, save_job);
	if (r == 0)
		s->row_given = s->row_changes;
	return r;
}

int ledger_total_start(struct sessions *ss, const struct session *s, struct slice key, struct slice record,
		       bool is_dirty, ledger_fn *cb, void *arg)
{
	struct job *j = xcalloc(1, sizeof(*j));

	*j = (struct job){
		.cb = cb, .arg = arg, .is_dirty = is_dirty, .state = BUF_EMPTY, .key = BUF_EMPTY, .record = BUF_EMPTY
	};
	buf_add_slice(&j->key, key);
	buf_add_slice(&j->record, record);
	return submit(ss, (struct session *)s, j, total_job);
}

/* --- waiting for it --- */

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t finished;
	bool is_done;
	int code;
};

static void on_saved(void *arg, int code)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	w->code = code;
	w->is_done = true;
	pthread_cond_signal(&w->finished);
	pthread_mutex_unlock(&w->lock);
}

int ledger_save(struct sessions *ss, struct session *s)
{
	struct waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER, .finished = PTHREAD_COND_INITIALIZER };
	int r;

	pthread_mutex_lock(&ss->lock);
	r = ledger_save_start(ss, s, on_saved, &w);
	pthread_mutex_unlock(&ss->lock);
	if (r < 0)
		return r;
	pthread_mutex_lock(&w.lock);
	while (!w.is_done)
		pthread_cond_wait(&w.finished, &w.lock);
	pthread_mutex_unlock(&w.lock);
	return w.code;
}

static int nothing_job(sqlite3 *conn, void *arg)
{
	return 0;
}

void ledger_wait(struct sessions *ss)
{
	(void)db_do(ss->db, nothing_job, NULL); /* it stands behind all that was handed over */
}

struct removal {
	struct sessions *ss;
	int64_t number;
};

static int remove_job(sqlite3 *conn, void *arg)
{
	struct removal *m = arg;
	sqlite3_stmt **st = &m->ss->statements->remove;
	int r = prepare(conn, st, "DELETE FROM sessions WHERE number=?1");

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(*st, 1, m->number); /* cannot fail */
	return run(*st);
}

int ledger_remove(struct sessions *ss, int64_t number)
{
	struct removal m = { ss, number };

	return db_do(ss->db, remove_job, &m);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static const char *text_at(sqlite3_stmt *st, int at)
{
	const char *p = (const char *)sqlite3_column_text(st, at);

	return p ? p : "";
}

static char *dup_or_null(sqlite3_stmt *st, int at)
{
	return sqlite3_column_type(st, at) == SQLITE_NULL ? NULL : xstrdup(text_at(st, at));
}

static json_t *state_at(sqlite3_stmt *st, int at)
{
	json_t *v = NULL;

	if (json_read(slice_str(text_at(st, at)), JSON_READ_KEPT, &v, NULL) == 0 && json_is_object(v))
		return v;
	json_decref(v);
	return json_object();
}

static struct session *take_row(struct sessions *ss, sqlite3_stmt *st)
{
	struct session *s = xcalloc(1, sizeof(*s));

	list_init(&s->node);
	s->number = sqlite3_column_int64(st, 0);
	(void)snprintf(s->local_id, sizeof(s->local_id), "%s", text_at(st, 1));
	s->hub_id = dup_or_null(st, 2);
	s->product = xstrdup(text_at(st, 3));
	s->version = xstrdup(text_at(st, 4));
	s->created_ms = sqlite3_column_int64(st, 5);
	s->updated_ms = sqlite3_column_int64(st, 6);
	s->ended_ms = sqlite3_column_int64(st, 7);
	s->flags = (unsigned)sqlite3_column_int64(st, 8);
	s->beat_wall_ms = sqlite3_column_int64(st, 9);
	s->pid = sqlite3_column_int64(st, 10);
	/* Starts are counted from the boot: after another one no process is the same. */
	s->pid_start =
		strcmp(text_at(st, 12), ss->boot_id) == 0 ? (uint64_t)sqlite3_column_int64(st, 11) : WATCH_ANOTHER_BOOT;
	s->known = state_at(st, 13);
	s->known_seq = (uint64_t)sqlite3_column_int64(st, 14);
	s->dropped = (uint64_t)sqlite3_column_int64(st, 15);
	s->client_key = dup_or_null(st, 16);
	s->watch = "no";
	return s;
}

/* Calls fn with each row of a query that may have one text and one number to bind. */
typedef void row_fn(struct sessions *ss, sqlite3_stmt *st, void *arg);
static int query(struct sessions *ss, const char *sql, struct slice text, int64_t number, row_fn *fn, void *arg)
{
	sqlite3 *conn = NULL;
	sqlite3_stmt *st = NULL;
	int r = db_reader(ss->db, &conn), rc;

	if (r < 0)
		return r;
	rc = sqlite3_prepare_v2(conn, sql, -1, &st, NULL);
	if (rc == SQLITE_OK && sqlite3_bind_parameter_count(st) > 0) {
		if (text.p)
			bind_text(st, 1, text);
		else
			(void)sqlite3_bind_int64(st, 1, number); /* cannot fail */
	}
	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		fn(ss, st, arg);
		rc = SQLITE_OK;
	}
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	(void)sqlite3_close(conn); /* nothing is left open */
	return db_code(rc);
}

static void one_found(struct sessions *ss, sqlite3_stmt *st, void *arg)
{
	struct session **ret = arg;

	if (!*ret)
		*ret = take_row(ss, st);
}

static void one_total_found(struct sessions *ss, sqlite3_stmt *st, void *arg)
{
	/* One that cannot be read begins anew: its parts have been sent as totals before. */
	(void)totals_load(arg, slice_str(text_at(st, 0)), slice_str(text_at(st, 1)), sqlite3_column_int(st, 2) != 0);
}

int ledger_find(struct sessions *ss, struct slice id, struct session **ret)
{
	struct session *s = NULL;
	int r = query(ss, "SELECT " COLUMNS " FROM sessions WHERE local_id=?1 OR hub_id=?1 LIMIT 1", id, 0, one_found,
		      &s);

	if (r == 0 && s) /* a sample that comes late goes on from there */
		r = query(ss, "SELECT key, record, dirty FROM totals WHERE session=?1", (struct slice){ NULL, 0 },
			  s->number, one_total_found, s);
	if (r < 0 || !s) {
		if (s)
			session_free(s);
		return r < 0 ? r : -ENOENT;
	}
	*ret = s;
	return 0;
}

struct loading {
	ledger_take_fn *fn;
};

static void one_loaded(struct sessions *ss, sqlite3_stmt *st, void *arg)
{
	struct loading *l = arg;

	l->fn(ss, take_row(ss, st));
}

static void last_number(struct sessions *ss, sqlite3_stmt *st, void *arg)
{
	*(int64_t *)arg = sqlite3_column_int64(st, 0);
}

int ledger_load(struct sessions *ss, ledger_take_fn *fn, int64_t *ret_last_number)
{
	struct slice none = { NULL, 0 };
	struct loading l = { fn };
	int r;

	*ret_last_number = 0;
	r = query(ss, "SELECT max(number) FROM sessions", none, 0, last_number, ret_last_number);
	return r < 0 ? r
		     : query(ss, "SELECT " COLUMNS " FROM sessions WHERE flags&16=0"
					" OR number IN (SELECT session FROM totals WHERE dirty) ORDER BY number",
			     none, 0,
			     one_loaded, &l);
}

/* Sessions and totals both come by number. */
static void one_total(struct sessions *ss, sqlite3_stmt *st, void *arg)
{
	struct list **at = arg;
	int64_t number = sqlite3_column_int64(st, 0);

	while (*at != &ss->all && LIST_ENTRY(*at, struct session, node)->number < number)
		*at = (*at)->next;
	if (*at == &ss->all || LIST_ENTRY(*at, struct session, node)->number != number)
		return;
	/* One that cannot be read begins anew: its parts have been sent as totals before. */
	(void)totals_load(LIST_ENTRY(*at, struct session, node), slice_str(text_at(st, 1)), slice_str(text_at(st, 2)),
			  sqlite3_column_int(st, 3) != 0);
}

int ledger_load_totals(struct sessions *ss)
{
	struct list *at = ss->all.next;

	return query(ss, "SELECT session, key, record, dirty FROM totals ORDER BY session", (struct slice){ NULL, 0 },
		     0, one_total, &at);
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int upgrade_job(sqlite3 *conn, void *arg)
{
	sqlite3_stmt *st = NULL;
	int found = 0;

	if (sqlite3_prepare_v2(conn, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		found = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	return found != 1 ? 0
			  : db_code(sqlite3_exec(conn,
						 "ALTER TABLE sessions ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;"
						 "ALTER TABLE sessions ADD COLUMN client_key TEXT;"
						 "PRAGMA user_version=2",
						 NULL, NULL, NULL));
}

static int use(struct sessions *ss, const char *path)
{
	int r = db_do(ss->db, upgrade_job, NULL);

	if (r < 0 || !ss->is_damaged)
		return r;
	return ledger_salvage(ss, &ss->salvaged);
}

int ledger_open(struct sessions *ss, struct buf *err)
{
	char *path = xstrf("%s/sessions.db", ss->dir);
	struct db_options o = { .path = path, .schema = schema, .version = VERSION };
	int r = db_open(&o, &ss->db, &ss->is_damaged);

	ss->statements = xcalloc(1, sizeof(*ss->statements));
	if (r == 0)
		r = use(ss, path);
	if (r < 0)
		buf_addf(err, "cannot open %s: %s", path, r == -EPROTO ? "it was made by a newer weir" : err_text(r));
	free(path);
	return r;
}

void ledger_close(struct sessions *ss)
{
	struct ledger_statements *st = ss->statements;

	db_close(ss->db);
	ss->db = NULL;
	if (!st)
		return;
	(void)sqlite3_finalize(st->save); /* none is under way */
	(void)sqlite3_finalize(st->total);
	(void)sqlite3_finalize(st->remove);
	(void)sqlite3_finalize(st->remove_totals);
	free(st);
	ss->statements = NULL;
}
