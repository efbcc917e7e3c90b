/* hub_pg_read.c -- looking into the hub's PostgreSQL: connections of their own, each read one moment of the database.
 *
 * WHY      REPEATABLE READ gives a read one snapshot, however long it takes. Connecting costs milliseconds and a process
 *          of the server: a few are kept, and no more than MOST_READS are there at a time; who comes later waits.
 * RULES    The server is asked for items by pages that grow, so that whoever wants few costs little, and no answer
 *             is in memory as a whole.
 * THREADS  A read is one thread's at a time. */
#include "hub/hub_store.h"

#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_pg_priv.h"

#define MOST_READS     8
#define FIRST_PAGE     32 /* items */
#define LAST_PAGE      1024
#define HUB_READ_MAGIC 0x68756271u

struct hub_read {
	struct list node;
	unsigned magic;
	struct hub_pg *h;
	struct hub_pg_conn conn;
};

#define ITEMS(table) \
	"SELECT at, body FROM weir_" table " WHERE at BETWEEN $1::bigint AND $2::bigint ORDER BY at LIMIT $3::bigint"
#define ITEMS_BACK(table)                                                                               \
	"SELECT at, body FROM weir_" table " WHERE at BETWEEN $1::bigint AND $2::bigint ORDER BY at DESC" \
	" LIMIT $3::bigint"

static const struct hub_pg_statement statements[] = {
	{ "begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" },
	{ "commit", "COMMIT" },
	{ "session", "SELECT " HUB_PG_SESSION_COLUMNS " FROM weir_sessions WHERE id = $1" },
	{ "state", "SELECT body FROM weir_states WHERE number = $1::bigint" },
	{ "events", ITEMS("events") },
	{ "metrics", ITEMS("metrics") },
	{ "history", ITEMS("history") },
	{ "events_back", ITEMS_BACK("events") },
	{ "metrics_back", ITEMS_BACK("metrics") },
	{ "history_back", ITEMS_BACK("history") },
	{ "count", "SELECT count(*) FROM weir_sessions" },
#define COPY(table) "SELECT at, body FROM weir_" table " WHERE at > $1::bigint ORDER BY at LIMIT $2::bigint"
	{ "copy_events", COPY("events") },
	{ "copy_metrics", COPY("metrics") },
	{ "copy_history", COPY("history") },
	{ "copy_states", "SELECT number, body FROM weir_states WHERE number > $1::bigint ORDER BY number LIMIT $2::bigint" },
	{ "copy_doomed", "SELECT number, '' FROM weir_doomed WHERE number > $1::bigint ORDER BY number LIMIT $2::bigint" },
	{ "copy_sessions", "SELECT " HUB_PG_SESSION_COLUMNS ", key FROM weir_sessions WHERE number > $1::bigint"
			   " ORDER BY number LIMIT $2::bigint" },
	{ "last_event", "SELECT coalesce(max(at), 0) FROM weir_events" },
	{ "last_metric", "SELECT coalesce(max(at), 0) FROM weir_metrics" },
	{ "last_history", "SELECT coalesce(max(at), 0) FROM weir_history" },
	{ "last_state", "SELECT coalesce(max(number), 0) FROM weir_states" },
	{ "last_doomed", "SELECT coalesce(max(number), 0) FROM weir_doomed" },
	{ "last_session", "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM weir_session_numbers" },
	{ "products", "SELECT product, version, count(*), count(*) FILTER (WHERE flags & 3 = 0),"
		      " count(*) FILTER (WHERE flags & 3 = 0 AND beat_ms > 0 AND beat_ms < $1::bigint),"
		      " count(*) FILTER (WHERE flags & 3 = 1), count(*) FILTER (WHERE flags & 2 <> 0),"
		      " count(*) FILTER (WHERE flags & 7 = 4), max(created_ms)"
		      " FROM weir_sessions GROUP BY product, version ORDER BY product, version" },
	{ "search", "SELECT n, body FROM unnest($1::bigint[]) AS n, LATERAL (SELECT body FROM weir_events"
		    " WHERE at >= n << 32 AND at < (n + 1) << 32 AND body COLLATE \"C\" ILIKE $2 ORDER BY at LIMIT $3::bigint)"
		    " AS e" },
	{ NULL, NULL },
};

/* Looking may take the server long, and it says nothing meanwhile; whether it is there the writer finds out. A hub that
 * vanished holds no snapshot for ever. */
#define MOST_STATEMENT "20s"
#define SILENT_MS      30000
static const char settings[] = "SET statement_timeout = '" MOST_STATEMENT "';"
			       "SET idle_in_transaction_session_timeout = '15min'; SET jit = off";

/* --- connections ------------------------------------------------------------------------------------------------ */

static void read_free(struct hub_read *rd)
{
	struct hub_pg *h = rd->h;

	hub_pg_disconnect(&rd->conn);
	buf_fini(&rd->conn.said);
	rd->magic = 0;
	free(rd);
	pthread_mutex_lock(&h->lock);
	h->reads--;
	pthread_cond_signal(&h->read_free);
	pthread_mutex_unlock(&h->lock);
}

/* An idle one, or a new one that is not connected yet; NULL: there are too many, for too long. */
static struct hub_read *take(struct hub_pg *h)
{
	struct timespec until;
	struct hub_read *rd = NULL;
	int waited = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail on Linux */
	until.tv_sec += h->patience_ms / 1000 + 1;
	pthread_mutex_lock(&h->lock);
	while (list_is_empty(&h->idle) && h->reads >= MOST_READS && waited == 0)
		waited = pthread_cond_timedwait(&h->read_free, &h->lock, &until);
	if (!list_is_empty(&h->idle)) {
		rd = LIST_ENTRY(h->idle.next, struct hub_read, node);
		list_remove(&rd->node);
	} else if (h->reads < MOST_READS) {
		h->reads++;
		rd = xcalloc(1, sizeof(*rd));
		rd->magic = HUB_READ_MAGIC;
		rd->h = h;
		rd->conn = (struct hub_pg_conn){ .given_up = &h->is_away, .hurries = h->hurries, .said = BUF_EMPTY };
		list_init(&rd->node);
	}
	pthread_mutex_unlock(&h->lock);
	return rd;
}

static int begin(struct hub_read *rd)
{
	int r = 0;

	if (!rd->conn.pg) {
		r = hub_pg_connect(&rd->conn, &rd->h->name, rd->h->patience_ms);
		if (r == 0)
			r = hub_pg_run(&rd->conn, settings, NULL);
		if (r == 0)
			r = hub_pg_prepare(&rd->conn, statements);
		if (rd->conn.patience_ms < SILENT_MS)
			rd->conn.patience_ms = SILENT_MS;
	}
	return r < 0 ? r : hub_pg_ask(&rd->conn, "begin", NULL, NULL);
}

int hub_pg_read_begin(struct hub_store *st, struct hub_read **ret)
{
	struct hub_pg *h = (struct hub_pg *)st;
	struct hub_read *rd;
	bool was_idle;
	int r;

	OBJ_CHECK(h, HUB_PG_MAGIC);
	if (atomic_load(&h->is_away))
		return WEIR_E_OPEN;
	rd = take(h);
	if (!rd)
		return -EAGAIN;
	was_idle = rd->conn.pg != NULL;
	r = begin(rd);
	if (r < 0 && was_idle) { /* the server went away and came back since */
		hub_pg_disconnect(&rd->conn);
		r = begin(rd);
	}
	if (r < 0)
		read_free(rd);
	else
		*ret = rd;
	return r;
}

void hub_pg_read_end(struct hub_read *rd)
{
	struct hub_pg *h;

	if (!rd)
		return;
	OBJ_CHECK(rd, HUB_READ_MAGIC);
	h = rd->h;
	if (rd->conn.is_lost || atomic_load(&h->is_away) || hub_pg_ask(&rd->conn, "commit", NULL, NULL) < 0) {
		read_free(rd);
		return;
	}
	pthread_mutex_lock(&h->lock);
	list_push_front(&h->idle, &rd->node);
	pthread_cond_signal(&h->read_free);
	pthread_mutex_unlock(&h->lock);
}

void hub_pg_close_idle(struct hub_pg *h)
{
	for (;;) {
		struct hub_read *rd = NULL;

		pthread_mutex_lock(&h->lock);
		if (!list_is_empty(&h->idle)) {
			rd = LIST_ENTRY(h->idle.next, struct hub_read, node);
			list_remove(&rd->node);
		}
		pthread_mutex_unlock(&h->lock);
		if (!rd)
			return;
		read_free(rd);
	}
}

struct hub_pg_conn *hub_pg_read_conn(struct hub_read *rd)
{
	OBJ_CHECK(rd, HUB_READ_MAGIC);
	return &rd->conn;
}

/* --- one session ------------------------------------------------------------------------------------------------ */

static bool is_plain(struct slice id)
{
	for (size_t i = 0; i < id.n; i++)
		if ((unsigned char)id.p[i] <= ' ' || (unsigned char)id.p[i] >= 127)
			return false;
	return true;
}

int hub_pg_read_session(struct hub_read *rd, struct slice id, struct hub_session *ret)
{
	struct hub_pg_params p = { 0 };
	PGresult *res = NULL;
	int r;

	OBJ_CHECK(rd, HUB_READ_MAGIC);
	if (!is_plain(id)) /* nobody's; and the server wants valid UTF-8 */
		return -ENOENT;
	hub_pg_add_text(&p, id);
	r = hub_pg_ask(&rd->conn, "session", &p, &res);
	if (r == 0 && PQntuples(res) == 0)
		r = -ENOENT;
	else if (r == 0)
		hub_pg_take_session(res, 0, ret);
	PQclear(res);
	return r;
}

int hub_pg_read_state(struct hub_read *rd, int64_t number, struct buf *out)
{
	struct hub_pg_params p = { 0 };
	PGresult *res = NULL;
	int r;

	OBJ_CHECK(rd, HUB_READ_MAGIC);
	hub_pg_add_number(&p, number);
	r = hub_pg_ask(&rd->conn, "state", &p, &res);
	if (r == 0 && PQntuples(res) == 0)
		r = -ENOENT;
	else if (r == 0)
		buf_add_slice(out, hub_pg_text(res, 0, 0));
	PQclear(res);
	return r;
}

/* --- items ------------------------------------------------------------------------------------------------------ */

struct page {
	hub_item_fn *fn;
	void *arg;
	int64_t rows, last;
};

static int give_item(void *arg, const PGresult *row, int at)
{
	struct page *page = arg;

	page->rows++;
	page->last = hub_pg_number(row, at, 0);
	return page->fn(page->arg, page->last & UINT32_MAX, hub_pg_text(row, at, 1));
}

int hub_pg_read_items(struct hub_read *rd, int64_t number, enum hub_list list, int64_t from, enum hub_order order,
		      hub_item_fn *fn, void *arg)
{
	static const char *const back[HUB_LIST_COUNT] = { "events_back", "metrics_back", "history_back" };
	bool up = order == HUB_ASCENDING;
	int64_t first = number << 32, last = first | UINT32_MAX;
	int64_t at = first | (from < UINT32_MAX ? from : UINT32_MAX), size = FIRST_PAGE;
	struct page page = { .fn = fn, .arg = arg };
	int r;

	OBJ_CHECK(rd, HUB_READ_MAGIC);
	for (;;) {
		struct hub_pg_params p = { 0 };

		page.rows = 0;
		hub_pg_add_number(&p, up ? at : first);
		hub_pg_add_number(&p, up ? last : at);
		hub_pg_add_number(&p, size);
		r = hub_pg_each(&rd->conn, up ? hub_pg_item_tables[list] : back[list], &p, give_item, &page);
		if (r != 0 || page.rows < size)
			return r;
		at = page.last + (up ? 1 : -1);
		size = size < LAST_PAGE ? size * 2 : size;
	}
}

/* --- the list --------------------------------------------------------------------------------------------------- */

struct question {
	struct buf sql;
	struct hub_pg_params p;
};

/* The next parameter's place, for the text; its value is added by the caller. */
static int place(const struct question *q)
{
	return q->p.count + 1;
}

static void where_text(struct question *q, const char *column, struct slice text)
{
	if (!text.p)
		return;
	buf_addf(&q->sql, " AND left(%s, 300) = left($%d, 300)", column, place(q));
	if (text.n >= 300) /* else a longer name has another beginning; and the server would count with both */
		buf_addf(&q->sql, " AND %s = $%d", column, place(q));
	hub_pg_add_text(&q->p, text);
}

static void where_number(struct question *q, const char *condition, int64_t n)
{
	if (!n)
		return;
	buf_addf(&q->sql, " AND %s $%d::bigint", condition, place(q));
	hub_pg_add_number(&q->p, n);
}

static void where_conditions(struct question *q, const struct hub_filter *f)
{
	static const struct {
		enum hub_condition bit;
		const char *sql;
	} words[] = {
		{ HUB_IS_CRASHED, "flags & 2 <> 0" },
		{ HUB_IS_ENDED, "flags & 3 = 1" },
		{ HUB_IS_SUSPENDED, "(flags & 3 = 0 AND beat_ms > 0 AND beat_ms < " },
		{ HUB_IS_ACTIVE, "(flags & 3 = 0 AND (beat_ms = 0 OR beat_ms >= " },
	};
	const char *between = " AND (";

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!(f->conditions & words[i].bit))
			continue;
		buf_addf(&q->sql, "%s%s", between, words[i].sql);
		if (words[i].bit & (HUB_IS_SUSPENDED | HUB_IS_ACTIVE)) /* a number of ours: it may stand in the text */
			buf_addf(&q->sql, "%lld%s", (long long)f->stale_ms, words[i].bit == HUB_IS_ACTIVE ? "))" : ")");
		between = " OR ";
	}
	if (f->conditions)
		buf_add_char(&q->sql, ')');
}

static const struct {
	const char *text; /* NULL: none; as indexes have it */
	const char *value;
} sorts[] = {
	[HUB_BY_CREATED] = { NULL, "created_ms" },	   [HUB_BY_UPDATED] = { NULL, "updated_ms" },
	[HUB_BY_PRODUCT] = { "product", "created_ms" }, [HUB_BY_HOSTNAME] = { "hostname", "created_ms" },
	[HUB_BY_EVENTS] = { NULL, "events" },
};

static void where_after(struct question *q, const struct hub_filter *f)
{
	const char *text = sorts[f->sort].text;
	bool up = f->order == HUB_ASCENDING;

	if (!f->after.number)
		return;
	buf_add_str(&q->sql, " AND (");
	if (text)
		buf_addf(&q->sql, "left(%s, 300), ", text);
	buf_addf(&q->sql, "%s, number) %c (", sorts[f->sort].value, up ? '>' : '<');
	if (text) {
		buf_addf(&q->sql, "left($%d, 300), ", place(q));
		hub_pg_add_text(&q->p, f->after.text);
	}
	buf_addf(&q->sql, "$%d::bigint, $%d::bigint)", place(q), place(q) + 1);
	hub_pg_add_number(&q->p, f->after.value);
	hub_pg_add_number(&q->p, f->after.number);
}

static void order_by(struct question *q, const struct hub_filter *f)
{
	const char *way = f->order == HUB_ASCENDING ? "" : " DESC", *text = sorts[f->sort].text;

	buf_add_str(&q->sql, " ORDER BY ");
	if (text)
		buf_addf(&q->sql, "left(%s, 300)%s, ", text, way);
	buf_addf(&q->sql, "%s%s, number%s", sorts[f->sort].value, way, way);
}

static void write_question(struct question *q, const struct hub_filter *f, size_t room)
{
	*q = (struct question){ .sql = BUF_EMPTY };
	buf_add_str(&q->sql, "SELECT " HUB_PG_SESSION_COLUMNS " FROM weir_sessions WHERE true");
	where_text(q, "product", f->product);
	where_text(q, "version", f->version);
	where_text(q, "machine_id", f->machine_id);
	where_text(q, "hostname", f->hostname);
	where_number(q, "created_ms >=", f->since_ms);
	where_number(q, "created_ms <", f->until_ms);
	where_conditions(q, f);
	if (f->flags) /* whoever has one of them hung at some time, and of those there is an index */
		buf_addf(&q->sql, " AND flags & 8 <> 0 AND flags & %u = %u", f->flags, f->flags);
	where_after(q, f);
	order_by(q, f);
	buf_addf(&q->sql, " LIMIT %zu", room);
}

/* The server refuses what is no UTF-8; no session has such a name. */
static bool is_utf8(struct slice s)
{
	json_t *v = json_stringn(s.p ? s.p : "", s.n);

	json_decref(v);
	return v != NULL;
}

static bool can_be_asked(const struct hub_filter *f)
{
	return is_utf8(f->product) && is_utf8(f->version) && is_utf8(f->machine_id) && is_utf8(f->hostname) &&
	       is_utf8(f->after.text);
}

int hub_pg_ask_list(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
		    size_t *ret_count)
{
	struct question q;
	PGresult *res = NULL;
	int r;

	write_question(&q, f, room);
	hub_pg_send_sql(&rd->conn, q.sql.data, &q.p);
	r = hub_pg_finish(&rd->conn, &res);
	if (r == 0) {
		*ret_count = (size_t)PQntuples(res);
		for (size_t i = 0; i < *ret_count; i++)
			hub_pg_take_session(res, (int)i, &into[i]);
	}
	PQclear(res);
	buf_fini(&q.sql);
	return r;
}

int hub_pg_read_list(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
		     size_t *ret_count)
{
	OBJ_CHECK(rd, HUB_READ_MAGIC);
	*ret_count = 0;
	if (!can_be_asked(f))
		return 0;
	return f->text.p ? hub_pg_list_by_text(rd, f, into, room, ret_count) : hub_pg_ask_list(rd, f, into, room, ret_count);
}

/* --- counting --------------------------------------------------------------------------------------------------- */

struct products {
	hub_product_fn *fn;
	void *arg;
};

static int give_product(void *arg, const PGresult *row, int at)
{
	struct products *to = arg;
	int64_t suspended = hub_pg_number(row, at, 4);
	struct hub_product p = { .product = hub_pg_text(row, at, 0),
				 .version = hub_pg_text(row, at, 1),
				 .sessions = hub_pg_number(row, at, 2),
				 .active = hub_pg_number(row, at, 3) - suspended,
				 .suspended = suspended,
				 .ended = hub_pg_number(row, at, 5),
				 .crashed = hub_pg_number(row, at, 6),
				 .hung = hub_pg_number(row, at, 7),
				 .last_created_ms = hub_pg_number(row, at, 8) };

	return to->fn(to->arg, &p);
}

int hub_pg_read_products(struct hub_read *rd, int64_t stale_ms, hub_product_fn *fn, void *arg)
{
	struct products to = { fn, arg };
	struct hub_pg_params p = { 0 };

	OBJ_CHECK(rd, HUB_READ_MAGIC);
	hub_pg_add_number(&p, stale_ms);
	return hub_pg_each(&rd->conn, "products", &p, give_product, &to);
}

int hub_pg_read_count(struct hub_read *rd, int64_t *ret)
{
	PGresult *res = NULL;
	int r;

	OBJ_CHECK(rd, HUB_READ_MAGIC);
	r = hub_pg_ask(&rd->conn, "count", NULL, &res);
	if (r == 0)
		*ret = hub_pg_number(res, 0, 0);
	PQclear(res);
	return r;
}
