/* hub_sqlite_read.c -- looking into the hub's file: connections of their own, each read one moment of the database.
 *
 * WHY      WAL lets any number look while one writes. Opening a connection parses the schema; a few are kept.
 * THREADS  A read is one thread's at a time. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_sqlite_priv.h"
#include "hub/hub_text.h"

#define MOST_IDLE      8
#define CHECK_EVERY    1000 /* steps of SQLite's machine: some hundred events */
#define HUB_READ_MAGIC 0x68756272u

struct hub_read {
	struct list node;
	unsigned magic;
	struct hub_sqlite *h;
	sqlite3 *conn;
};

/* weir_has_text(body, text) */
static void has_text(sqlite3_context *context, int count, sqlite3_value **values)
{
	struct slice body = { (const char *)sqlite3_value_text(values[0]), (size_t)sqlite3_value_bytes(values[0]) };
	struct slice text = { (const char *)sqlite3_value_text(values[1]), (size_t)sqlite3_value_bytes(values[1]) };

	sqlite3_result_int(context, hub_text_occurs(body, text));
}

static struct hub_read *take_idle(struct hub_sqlite *h)
{
	struct hub_read *rd = NULL;

	pthread_mutex_lock(&h->lock);
	if (h->idle_count) {
		rd = LIST_ENTRY(h->idle.next, struct hub_read, node);
		list_remove(&rd->node);
		h->idle_count--;
	}
	pthread_mutex_unlock(&h->lock);
	return rd;
}

static void read_free(struct hub_read *rd)
{
	(void)sqlite3_close(rd->conn); /* no statement is left */
	rd->magic = 0;
	free(rd);
}

int hub_sqlite_read_begin(struct hub_store *st, struct hub_read **ret)
{
	struct hub_sqlite *h = (struct hub_sqlite *)st;
	struct hub_read *rd = take_idle(h);
	int r = 0;

	if (!rd) {
		rd = xcalloc(1, sizeof(*rd));
		list_init(&rd->node);
		rd->magic = HUB_READ_MAGIC;
		rd->h = h;
		r = db_reader(h->db, &rd->conn);
		if (r == 0)
			r = db_code(sqlite3_create_function(rd->conn, "weir_has_text", 2,
							    SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY,
							    NULL, has_text, NULL, NULL));
	}
	if (r == 0)
		r = db_code(sqlite3_exec(rd->conn, "BEGIN", NULL, NULL, NULL));
	if (r < 0)
		read_free(rd);
	else
		*ret = rd;
	return r;
}

void hub_sqlite_read_end(struct hub_read *rd)
{
	struct hub_sqlite *h;
	bool keep;

	if (!rd)
		return;
	OBJ_CHECK(rd, HUB_READ_MAGIC);
	h = rd->h;
	keep = sqlite3_exec(rd->conn, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
	pthread_mutex_lock(&h->lock);
	keep = keep && h->idle_count < MOST_IDLE;
	if (keep) {
		list_push_front(&h->idle, &rd->node);
		h->idle_count++;
	}
	pthread_mutex_unlock(&h->lock);
	if (!keep)
		read_free(rd);
}

void hub_sqlite_close_idle(struct hub_sqlite *h)
{
	struct hub_read *rd;

	while ((rd = take_idle(h)))
		read_free(rd);
}

sqlite3 *hub_sqlite_read_conn(struct hub_read *rd)
{
	OBJ_CHECK(rd, HUB_READ_MAGIC);
	return rd->conn;
}

static int prepare(struct hub_read *rd, const char *text, sqlite3_stmt **ret)
{
	OBJ_CHECK(rd, HUB_READ_MAGIC);
	return db_code(sqlite3_prepare_v2(rd->conn, text, -1, ret, NULL));
}

int hub_sqlite_read_session(struct hub_read *rd, struct slice id, struct hub_session *ret)
{
	sqlite3_stmt *st = NULL;
	int r = prepare(rd, "SELECT " SESSION_COLUMNS " FROM sessions WHERE id = ?1", &st), rc = 0;

	if (r == 0) {
		hub_sqlite_bind(st, 1, id);
		rc = sqlite3_step(st);
		r = db_code(rc);
	}
	if (rc == SQLITE_ROW)
		hub_sqlite_take_row(st, ret);
	(void)sqlite3_finalize(st); /* repeats rc */
	return r < 0 ? r : rc == SQLITE_ROW ? 0 : -ENOENT;
}

int hub_sqlite_read_state(struct hub_read *rd, int64_t number, struct buf *out)
{
	sqlite3_stmt *st = NULL;
	int r = prepare(rd, "SELECT body FROM states WHERE number = ?1", &st), rc = 0;

	if (r == 0) {
		(void)sqlite3_bind_int64(st, 1, number);
		rc = sqlite3_step(st);
		r = db_code(rc);
	}
	if (rc == SQLITE_ROW)
		buf_add(out, sqlite3_column_text(st, 0), (size_t)sqlite3_column_bytes(st, 0));
	(void)sqlite3_finalize(st); /* as above */
	return r < 0 ? r : rc == SQLITE_ROW ? 0 : -ENOENT;
}

int hub_sqlite_read_items(struct hub_read *rd, int64_t number, enum hub_list list, int64_t from, enum hub_order order,
			  hub_item_fn *fn, void *arg)
{
	bool up = order == HUB_ASCENDING;
	int64_t place = from < UINT32_MAX ? from : UINT32_MAX;
	char text[96];
	sqlite3_stmt *st = NULL;
	int r, rc = SQLITE_ROW;

	(void)snprintf(text, sizeof(text), "SELECT at, body FROM %s WHERE at BETWEEN ?1 AND ?2 ORDER BY at%s",
		       hub_item_tables[list], up ? "" : " DESC");
	r = prepare(rd, text, &st);
	if (r == 0) {
		(void)sqlite3_bind_int64(st, 1, item_key(number, up ? place : 0));
		(void)sqlite3_bind_int64(st, 2, item_key(number, up ? UINT32_MAX : place));
	}
	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct slice body = { (const char *)sqlite3_column_text(st, 1), (size_t)sqlite3_column_bytes(st, 1) };

		r = fn(arg, sqlite3_column_int64(st, 0) & UINT32_MAX, body);
	}
	if (r == 0)
		r = db_code(rc);
	(void)sqlite3_finalize(st); /* as above */
	return r;
}

/* --- the list --------------------------------------------------------------------------------------------------- */

/* What is bound at which place; a text of a statement has some of these. */
enum {
	AT_PRODUCT = 1,
	AT_VERSION,
	AT_MACHINE,
	AT_HOSTNAME,
	AT_SINCE,
	AT_UNTIL,
	AT_STALE,
	AT_TEXT,
	AT_ROOM,
	AT_CURSOR_TEXT,
	AT_CURSOR_VALUE,
	AT_CURSOR_NUMBER,
};

static const struct {
	const char *columns[4]; /* the last ones with a cursor's value and number, the one before with its text */
} sorts[] = {
	[HUB_BY_CREATED] = { { "created_ms", "number" } },
	[HUB_BY_UPDATED] = { { "updated_ms", "number" } },
	[HUB_BY_PRODUCT] = { { "product", "created_ms", "number" } },
	[HUB_BY_HOSTNAME] = { { "hostname", "created_ms", "number" } },
	[HUB_BY_EVENTS] = { { "events", "number" } },
};

/* A list that is not in the order of creation is better walked along its own index than sorted: '+' keeps SQLite from
 * the index of statuses, which finds nearly all there are and would have to be sorted. */
static void add_conditions(const struct hub_filter *f, struct buf *sql)
{
	static const struct {
		unsigned of;
		char status;
	} statuses[] = { { HUB_IS_ACTIVE | HUB_IS_SUSPENDED, '0' }, { HUB_IS_ENDED, '1' }, { HUB_IS_CRASHED, '2' } };
	unsigned open = f->conditions & (HUB_IS_ACTIVE | HUB_IS_SUSPENDED);
	const char *between = "";

	if (!f->conditions)
		return;
	buf_addf(sql, " AND %s" STATUS_SQL " IN (", f->sort == HUB_BY_CREATED ? "" : "+");
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		if (!(f->conditions & statuses[i].of))
			continue;
		buf_addf(sql, "%s%c", between, statuses[i].status);
		between = ", ";
	}
	buf_add_char(sql, ')');
	if (open == HUB_IS_ACTIVE)
		buf_add_str(sql, " AND (flags & 3 <> 0 OR beat_ms = 0 OR beat_ms >= ?7)");
	if (open == HUB_IS_SUSPENDED)
		buf_add_str(sql, " AND (flags & 3 <> 0 OR beat_ms > 0 AND beat_ms < ?7)");
}

static void add_columns(const struct hub_filter *f, const char *behind_each, struct buf *sql)
{
	const char *const *columns = sorts[f->sort].columns;

	for (size_t i = 0; columns[i]; i++)
		buf_addf(sql, "%s%s%s", i ? ", " : "", columns[i], behind_each);
}

static void add_cursor(const struct hub_filter *f, struct buf *sql)
{
	bool has_text = sorts[f->sort].columns[2];

	buf_add_str(sql, " AND (");
	add_columns(f, "", sql);
	buf_addf(sql, ") %c (%s?11, ?12)", f->order == HUB_ASCENDING ? '>' : '<', has_text ? "?10, " : "");
}

static void write_list_sql(const struct hub_filter *f, struct buf *sql)
{
	buf_add_str(sql, "SELECT " SESSION_COLUMNS " FROM sessions AS s WHERE 1");
	if (f->product.p)
		buf_add_str(sql, " AND product = ?1");
	if (f->version.p)
		buf_add_str(sql, " AND version = ?2");
	if (f->machine_id.p)
		buf_add_str(sql, " AND machine_id = ?3");
	if (f->hostname.p)
		buf_add_str(sql, " AND hostname = ?4");
	if (f->since_ms)
		buf_add_str(sql, " AND created_ms >= ?5");
	if (f->until_ms)
		buf_add_str(sql, " AND created_ms < ?6");
	add_conditions(f, sql);
	if (f->flags) /* whoever has one of them hung at some time, and of those there is an index */
		buf_addf(sql, " AND flags & 8 <> 0 AND flags & %u = %u", f->flags, f->flags);
	if (f->text.p)
		buf_add_str(sql, " AND EXISTS (SELECT 1 FROM events WHERE at >= s.number << 32"
				 " AND at < (s.number + 1) << 32 AND weir_has_text(body, ?8))");
	if (f->after.number)
		add_cursor(f, sql);
	buf_add_str(sql, " ORDER BY ");
	add_columns(f, f->order == HUB_ASCENDING ? "" : " DESC", sql);
	buf_add_str(sql, " LIMIT ?9");
}

static void bind_list(sqlite3_stmt *st, const struct hub_filter *f, size_t room)
{
	/* A number that the text does not have is refused with SQLITE_RANGE, which is just right. */
	hub_sqlite_bind(st, AT_PRODUCT, f->product);
	hub_sqlite_bind(st, AT_VERSION, f->version);
	hub_sqlite_bind(st, AT_MACHINE, f->machine_id);
	hub_sqlite_bind(st, AT_HOSTNAME, f->hostname);
	(void)sqlite3_bind_int64(st, AT_SINCE, f->since_ms);
	(void)sqlite3_bind_int64(st, AT_UNTIL, f->until_ms);
	(void)sqlite3_bind_int64(st, AT_STALE, f->stale_ms);
	hub_sqlite_bind(st, AT_TEXT, f->text);
	(void)sqlite3_bind_int64(st, AT_ROOM, (int64_t)room);
	hub_sqlite_bind(st, AT_CURSOR_TEXT, f->after.text);
	(void)sqlite3_bind_int64(st, AT_CURSOR_VALUE, f->after.value);
	(void)sqlite3_bind_int64(st, AT_CURSOR_NUMBER, f->after.number);
}

static int is_in_vain(void *arg)
{
	const struct hub_filter *f = arg;

	return !f->is_wanted(f->wanted_arg);
}

int hub_sqlite_read_list(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
			 size_t *ret_count)
{
	struct buf sql = BUF_EMPTY;
	sqlite3_stmt *st = NULL;
	size_t n = 0;
	int r, rc = SQLITE_DONE;

	write_list_sql(f, &sql);
	r = prepare(rd, sql.data, &st);
	buf_fini(&sql);
	if (r == 0)
		bind_list(st, f, room);
	if (f->is_wanted)
		sqlite3_progress_handler(rd->conn, CHECK_EVERY, is_in_vain, (void *)f); /* which it only reads */
	while (r == 0 && n < room && (rc = sqlite3_step(st)) == SQLITE_ROW)
		hub_sqlite_take_row(st, &into[n++]);
	if (r == 0)
		r = (rc & 0xff) == SQLITE_INTERRUPT ? -ECANCELED : db_code(rc);
	sqlite3_progress_handler(rd->conn, 0, NULL, NULL);
	(void)sqlite3_finalize(st); /* as above */
	if (r == 0)
		*ret_count = n;
	return r;
}

/* --- counting --------------------------------------------------------------------------------------------------- */

static struct slice text_at(sqlite3_stmt *st, int column)
{
	const char *text = (const char *)sqlite3_column_text(st, column);

	return (struct slice){ text ? text : "", (size_t)sqlite3_column_bytes(st, column) };
}

int hub_sqlite_read_products(struct hub_read *rd, int64_t stale_ms, hub_product_fn *fn, void *arg)
{
	static const char sql[] = "SELECT product, version, count(*), sum(flags & 3 = 0),"
				  " sum(flags & 3 = 0 AND beat_ms > 0 AND beat_ms < ?1), sum(flags & 3 = 1),"
				  " sum(flags & 2 <> 0), sum(flags & 7 = 4), max(created_ms)"
				  " FROM sessions GROUP BY product, version ORDER BY product, version";
	sqlite3_stmt *st = NULL;
	int r = prepare(rd, sql, &st), rc = SQLITE_DONE;

	if (r == 0)
		(void)sqlite3_bind_int64(st, 1, stale_ms);
	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		int64_t suspended = sqlite3_column_int64(st, 4);
		struct hub_product p = { .product = text_at(st, 0),
					 .version = text_at(st, 1),
					 .sessions = sqlite3_column_int64(st, 2),
					 .active = sqlite3_column_int64(st, 3) - suspended,
					 .suspended = suspended,
					 .ended = sqlite3_column_int64(st, 5),
					 .crashed = sqlite3_column_int64(st, 6),
					 .hung = sqlite3_column_int64(st, 7),
					 .last_created_ms = sqlite3_column_int64(st, 8) };

		r = fn(arg, &p);
	}
	if (r == 0)
		r = db_code(rc);
	(void)sqlite3_finalize(st); /* as above */
	return r;
}

int hub_sqlite_read_count(struct hub_read *rd, int64_t *ret)
{
	sqlite3_stmt *st = NULL;
	int r = prepare(rd, "SELECT count(*) FROM sessions", &st), rc = 0;

	if (r == 0) {
		rc = sqlite3_step(st);
		r = db_code(rc);
	}
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st); /* as above */
	return r;
}
