/* hub_sqlite_priv.h -- what the two halves of the SQLite backend share: the file, its statements, rows of sessions. */
#ifndef WEIR_HUB_HUB_SQLITE_PRIV_H
#define WEIR_HUB_HUB_SQLITE_PRIV_H

#include <pthread.h>

#include "base/list.h"
#include "hub/hub_store.h"
#include "store/db.h"

#define SESSION_COLUMNS                                                                                                 \
	"number, id, product, version, machine_id, hostname, created_ms, updated_ms, ended_ms, heartbeat_ms, beat_ms, " \
	"flags, applied_seq, events, metrics, history, extra"

/* What became of a session, as far as its flags tell: 0 open, 1 ended, 2 crashed. Written like this everywhere: an index
 * is on it. */
#define STATUS_SQL "min(flags & 3, 2)"

enum tx_statement {
	TX_FIND,
	TX_FIND_KEY,
	TX_FIND_SUSPENDED,
	TX_ADD,
	TX_UPDATE,
	TX_UPDATE_COUNTS, /* of a session that is still what it was found as */
	TX_PUT_EVENT, /* these three in the order of enum hub_list */
	TX_PUT_METRIC,
	TX_PUT_HISTORY,
	TX_PUT_STATE,
	TX_GET_STATE,
	TX_STATEMENT_COUNT,
};

/* Of the session that was found last, what stands in indexes. */
struct hub_sqlite_found {
	int64_t number, ended_ms, heartbeat_ms, beat_ms;
	unsigned flags;
};

struct hub_tx {
	sqlite3 *conn;
	sqlite3_stmt *statements[TX_STATEMENT_COUNT]; /* prepared at first use; the writer thread's */
	struct hub_sqlite_found found;
};

struct hub_sqlite {
	struct hub_store store;
	unsigned magic;
	struct db *db;
	struct hub_tx tx;
	pthread_mutex_t lock; /* guards idle; nothing blocks under it */
	struct list idle; /* reads whose connections stay open */
	unsigned idle_count;
};

/* Places of items in one table: the session's number, then the item's own. */
static inline int64_t item_key(int64_t number, int64_t place)
{
	return number << 32 | place;
}

extern const char *const hub_item_tables[HUB_LIST_COUNT]; /* "events", ... */
void hub_sqlite_take_row(sqlite3_stmt *st, struct hub_session *ret); /* of SESSION_COLUMNS */
void hub_sqlite_bind(sqlite3_stmt *st, int at, struct slice text);
int hub_sqlite_put(struct hub_tx *tx, enum tx_statement which, int64_t key, struct slice body);

/* --- hub_sqlite_read.c --- */
int hub_sqlite_read_begin(struct hub_store *st, struct hub_read **ret);
void hub_sqlite_read_end(struct hub_read *rd);
int hub_sqlite_read_session(struct hub_read *rd, struct slice id, struct hub_session *ret);
int hub_sqlite_read_state(struct hub_read *rd, int64_t number, struct buf *out);
int hub_sqlite_read_items(struct hub_read *rd, int64_t number, enum hub_list list, int64_t from, enum hub_order order,
			  hub_item_fn *fn, void *arg);
int hub_sqlite_read_list(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
			 size_t *ret_count);
int hub_sqlite_read_products(struct hub_read *rd, int64_t stale_ms, hub_product_fn *fn, void *arg);
int hub_sqlite_read_count(struct hub_read *rd, int64_t *ret);
void hub_sqlite_close_idle(struct hub_sqlite *h);
sqlite3 *hub_sqlite_read_conn(struct hub_read *rd);

/* --- hub_sqlite_copy.c --- */
int hub_sqlite_put_row(struct hub_tx *tx, const struct hub_row *row);
int hub_sqlite_put_last_number(struct hub_tx *tx, int64_t last);
int hub_sqlite_read_rows(struct hub_read *rd, enum hub_rows rows, int64_t after, hub_row_fn *fn, void *arg);
int hub_sqlite_read_last(struct hub_read *rd, enum hub_rows rows, int64_t *ret);

/* --- hub_sqlite_salvage.c: what can be read of the file that was just set aside goes into the fresh one; says in the log
 * what came of it. Blocks. --- */
void hub_sqlite_salvage(struct db *db, const char *path);

#endif
