/* hub_pg_priv.h -- what the files of the PostgreSQL backend share: connections that never wait for ever, arrays as the
 * server reads them, the writes that jobs have gathered. */
#ifndef WEIR_HUB_HUB_PG_PRIV_H
#define WEIR_HUB_HUB_PG_PRIV_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "hub/hub_store.h"

#define HUB_PG_SCHEMA_VERSION 2

#define HUB_PG_SESSION_COLUMNS                                                                                          \
	"number, id, product, version, machine_id, hostname, created_ms, updated_ms, ended_ms, heartbeat_ms, beat_ms, " \
	"flags, applied_seq, events, metrics, history, extra"

/* --- hub_pg_conn.c: a connection ------------------------------------------------------------------------------- */

/* Each call gives 0 or a code. Of the unavailable ones (err_is_unavailable()): the connection is lost, and everything
 * in its transaction that was not committed. -EAGAIN: the transaction is, and may be run again. -ENOSPC. -ETIMEDOUT:
 * the server was told to end the statement. WEIR_E_DAMAGED. WEIR_E_PROTOCOL: what the server said is in `said`. */
struct hub_pg_conn {
	PGconn *pg; /* NULL: none */
	const atomic_bool *given_up; /* set: waiting ends at once; NULL: never */
	const atomic_bool *hurries; /* set: patience is a few seconds at most; NULL: never */
	int64_t patience_ms; /* silence of the server that is taken for its end */
	bool is_lost;
	struct buf said; /* the server's last words, one line, without user and password */
};

struct hub_pg_name { /* of a database, without user and password */
	char *url; /* as configured: never shown */
	char *shown; /* host:port/db */
	char *user, *password; /* as in the URL, to be cut out of what libpq says; NULL: none */
};
/* 0; -EINVAL: libpq does not understand it. Pure. */
int hub_pg_name_init(struct hub_pg_name *n, const char *url);
void hub_pg_name_fini(struct hub_pg_name *n);

/* Connects, in pipeline mode, with the statements prepared. settings: SQL that is run first; NULL: none. For a newer
 * schema -EPROTO. c->said tells of a failure. */
struct hub_pg_statement {
	const char *name, *text; /* text NULL ends a list */
};
int hub_pg_connect(struct hub_pg_conn *c, const struct hub_pg_name *name, int64_t patience_ms);
int hub_pg_prepare(struct hub_pg_conn *c, const struct hub_pg_statement *list); /* and pipeline mode begins */
void hub_pg_disconnect(struct hub_pg_conn *c);

/* Parameters and results are binary. */
#define HUB_PG_MOST_PARAMS 20
struct hub_pg_params {
	int count;
	const char *values[HUB_PG_MOST_PARAMS];
	int lengths[HUB_PG_MOST_PARAMS], formats[HUB_PG_MOST_PARAMS];
	uint64_t numbers[HUB_PG_MOST_PARAMS];
};
void hub_pg_add_number(struct hub_pg_params *p, int64_t n);
void hub_pg_add_text(struct hub_pg_params *p, struct slice s); /* borrowed; p NULL: null */

/* Before pipeline mode: any SQL, several statements too; the last result that has rows goes to ret (NULL: nowhere). */
int hub_pg_run(struct hub_pg_conn *c, const char *sql, PGresult **ret);
/* In pipeline mode: send() queues, finish() sends all and waits until all are answered; the last result goes to ret.
 * p may be NULL. ask() is one of each. A statement is a prepared one's name; send_sql() takes the text. */
void hub_pg_send(struct hub_pg_conn *c, const char *statement, const struct hub_pg_params *p);
void hub_pg_send_sql(struct hub_pg_conn *c, const char *sql, const struct hub_pg_params *p);
int hub_pg_finish(struct hub_pg_conn *c, PGresult **ret);
int hub_pg_ask(struct hub_pg_conn *c, const char *statement, const struct hub_pg_params *p, PGresult **ret);
/* Like ask(), with each row given to fn as it comes: a code from it ends the giving (the rest is still read). */
typedef int hub_pg_row_fn(void *arg, const PGresult *row, int at);
int hub_pg_each(struct hub_pg_conn *c, const char *statement, const struct hub_pg_params *p, hub_pg_row_fn *fn,
		void *arg);

int64_t hub_pg_number(const PGresult *res, int row, int column);
struct slice hub_pg_text(const PGresult *res, int row, int column);
void hub_pg_take_session(const PGresult *res, int row, struct hub_session *ret); /* of HUB_PG_SESSION_COLUMNS */

/* An array of int8 or text, as the server reads it. */
struct hub_pg_array {
	struct buf b;
	uint32_t count;
	unsigned type;
};
#define HUB_PG_INT8 20 /* their numbers in pg_type */
#define HUB_PG_TEXT 25
void hub_pg_array_init(struct hub_pg_array *a, unsigned type);
void hub_pg_array_reset(struct hub_pg_array *a);
void hub_pg_array_number(struct hub_pg_array *a, int64_t n);
void hub_pg_array_text(struct hub_pg_array *a, struct slice s);
/* With its head brought up to date, as a parameter; borrowed. */
void hub_pg_add_array(struct hub_pg_params *p, struct hub_pg_array *a);

/* A name, as far as indexes have it: see hub_pg_schema.c. */
#define HUB_PG_SHORT(text) "left(" text ", 300)"

/* --- hub_pg_schema.c --------------------------------------------------------------------------------------------- */

/* Makes or brings up to date. Before pipeline mode. -EPROTO: written by a newer weir. */
int hub_pg_schema(struct hub_pg_conn *c);

/* --- hub_pg_tx.c: what jobs do ----------------------------------------------------------------------------------- */

extern const struct hub_pg_statement hub_pg_tx_statements[];
extern const char *const hub_pg_item_tables[HUB_LIST_COUNT];

/* A session that this transaction has locked or made. */
struct hub_pg_held {
	struct list node; /* of tx->held */
	struct hub_session s; /* with what jobs have changed; texts only of a new one */
	struct hub_session before; /* when the running job began: number 0: it did not touch it. No texts */
	struct buf key; /* of a new one; empty: none */
	bool is_new, is_changed;
	bool made_by_job; /* the running one: goes with it */
	struct buf state, state_before;
	bool has_state, state_changed, had_state, state_was_changed, job_put_state;
};

struct hub_pg_items {
	struct hub_pg_array at, body;
	size_t mark_at, mark_body; /* lengths when the running job began */
	uint32_t mark_count;
};

struct hub_tx {
	struct hub_pg_conn *conn;
	bool is_begun;
	bool is_alone; /* one job: waits for others' locks; else HUB_PG_DEFERRED tells that it should be run so */
	bool job_ran_sql; /* the running job has changed the database itself: cannot be undone alone */
	int fault; /* the transaction is lost, by this code */
	struct list held;
	struct map *by_id, *by_key;
	struct hub_pg_held *last; /* looked up */
	struct hub_pg_items items[HUB_LIST_COUNT];
	struct hub_pg_array columns[10]; /* of update */
	struct hub_pg_array state_number, state_body;
	struct hub_pg_array ids; /* of hub_pg_tx_foresee() */
	size_t state_bytes; /* of states that were put */
	uint64_t queued; /* statements of rows: see hub_pg_copy.c */
	int64_t suspended_after; /* find_suspended: the number that it gave last, in this job */
};

bool hub_pg_may_be_id(struct slice id);
void hub_pg_let_go(struct hub_tx *tx, struct hub_pg_held *held); /* forgets it */
void hub_pg_copy_numbers(struct hub_session *to, const struct hub_session *from); /* all that update() takes */

/* --- hub_pg_flush.c --- */

void hub_pg_tx_init(struct hub_tx *tx, struct hub_pg_conn *conn);
void hub_pg_tx_fini(struct hub_tx *tx);
void hub_pg_tx_begin(struct hub_tx *tx, bool is_alone); /* sends nothing yet */
/* Locks the sessions with these ids, as far as they are there and free, so that find() has them already. */
void hub_pg_tx_foresee(struct hub_tx *tx, struct hub_pg_array *ids);
/* Runs a job. Its code; tx->fault tells whether the transaction goes on. */
#define HUB_PG_DEFERRED (-EALREADY)
int hub_pg_tx_job(struct hub_tx *tx, struct hub_store *st, hub_job_fn *job, void *arg);
size_t hub_pg_tx_bytes(const struct hub_tx *tx); /* gathered */
/* Queues all that was gathered, behind which the commit may be queued. */
void hub_pg_tx_flush(struct hub_tx *tx);
void hub_pg_tx_end(struct hub_tx *tx); /* forgets everything; the connection is the caller's to tell */

/* --- hub_pg_tx.c again: as in hub_store.h --- */

int hub_pg_find(struct hub_tx *tx, struct slice id, struct hub_session *ret);
int hub_pg_find_key(struct hub_tx *tx, struct slice key, struct hub_session *ret);
int hub_pg_find_suspended(struct hub_tx *tx, struct slice machine_id, int64_t stale_ms, struct hub_session *ret);
int hub_pg_add(struct hub_tx *tx, struct hub_session *s, struct slice key);
int hub_pg_update(struct hub_tx *tx, const struct hub_session *s);
int hub_pg_put_item(struct hub_tx *tx, int64_t number, enum hub_list list, int64_t place, struct slice body);
int hub_pg_put_state(struct hub_tx *tx, int64_t number, struct slice body);
int hub_pg_get_state(struct hub_tx *tx, int64_t number, struct buf *out);
int hub_pg_forget(struct hub_tx *tx, int64_t created_ms, int64_t most, int64_t *ret_forgotten);
int hub_pg_sweep(struct hub_tx *tx, int64_t most, bool *ret_more);

/* --- hub_pg_copy.c ------------------------------------------------------------------------------------------------ */

void hub_pg_session_params(struct hub_pg_params *p, const struct hub_session *s, struct slice key); /* of "add" */
int hub_pg_put_row(struct hub_tx *tx, const struct hub_row *row);
int hub_pg_put_last_number(struct hub_tx *tx, int64_t last);
int hub_pg_read_rows(struct hub_read *rd, enum hub_rows rows, int64_t after, hub_row_fn *fn, void *arg);
int hub_pg_read_last(struct hub_read *rd, enum hub_rows rows, int64_t *ret);
struct hub_pg_conn *hub_pg_read_conn(struct hub_read *rd);

/* --- hub_pg.c: the store ------------------------------------------------------------------------------------------ */

#define HUB_PG_MAGIC 0x68756270u

struct hub_pg {
	struct hub_store store;
	unsigned magic;
	struct hub_pg_name name;
	int64_t patience_ms;
	atomic_bool is_away; /* the writer's connection is lost */
	atomic_int away_code; /* why: what ready() says */
	_Atomic(int64_t) clock_offset_ms; /* the server's wall clock less our monotonic one */

	pthread_t writer;
	bool writer_runs;
	atomic_bool is_stopping;
	const atomic_bool *hurries; /* set when a stop begins, before is_stopping */
	pthread_mutex_t lock; /* guards all up to `said`; nothing blocks under it */
	pthread_cond_t wake;
	struct list queue;
	struct list idle; /* reads whose connections stay open */
	unsigned reads; /* under way, and idle */
	pthread_cond_t read_free;
	struct buf said; /* why it is away, for status */

	/* The writer's alone. */
	struct hub_pg_conn conn;
	struct hub_tx tx;
	int64_t id, commits, token; /* our row of weir_writers: see hub_pg_writer.c, rule 3 */
	char application[40]; /* its name at the server: ours alone */
	int64_t next_try_ms, away_since_ms, shown_ms, clock_read_ms;
	unsigned tries;
};

struct hub_pg_job {
	struct list node; /* of the queue */
	struct slice id; /* what it will look for */
	hub_job_fn *run;
	hub_done_fn *done;
	void *arg;
	int64_t since_ms; /* submitted */
	int code;
};

/* --- hub_pg_writer.c ---------------------------------------------------------------------------------------------- */

/* Once. 0, or the code with which the store is away from now on, and the time of the next try set. */
int hub_pg_writer_connect(struct hub_pg *h);
void *hub_pg_writer_main(void *h);

/* --- hub_pg_read.c ------------------------------------------------------------------------------------------------ */

int hub_pg_read_begin(struct hub_store *st, struct hub_read **ret);
void hub_pg_read_end(struct hub_read *rd);
int hub_pg_read_session(struct hub_read *rd, struct slice id, struct hub_session *ret);
int hub_pg_read_state(struct hub_read *rd, int64_t number, struct buf *out);
int hub_pg_read_items(struct hub_read *rd, int64_t number, enum hub_list list, int64_t from, enum hub_order order,
		      hub_item_fn *fn, void *arg);
int hub_pg_read_list(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
		     size_t *ret_count);
int hub_pg_read_products(struct hub_read *rd, int64_t stale_ms, hub_product_fn *fn, void *arg);
int hub_pg_read_count(struct hub_read *rd, int64_t *ret);
void hub_pg_close_idle(struct hub_pg *h);
/* Without a look at f->text. */
int hub_pg_ask_list(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
		    size_t *ret_count);
int hub_pg_list_by_text(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
			size_t *ret_count);

#endif
