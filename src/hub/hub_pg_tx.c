/* hub_pg_tx.c -- what jobs do to sessions in PostgreSQL.
 *
 *   find ---- SELECT ... FOR UPDATE: the row is ours from now on ----> held: what jobs make of it
 *   put_item, put_state, update, add: gathered here <----------------- flush: a handful of statements, with the commit
 *
 * WHAT     A transaction's jobs ask the server for what they need to know, once for each session, and gather what they
 *          write. All of it goes out in one journey, as arrays: a statement for each table, however many rows.
 * WHY      A journey costs as much as a hundred rows. And a job that fails is undone by forgetting what it gathered:
 *          no savepoint is needed, and nobody else's work is lost.
 * RULES    1. What a job reads is what the jobs before it in the transaction have made of it.
 *          2. A transaction of many never waits for a row that another hub has locked (SKIP LOCKED): the job that would is
 *             put off (HUB_PG_DEFERRED) and run alone, where waiting holds up no others' work. What is left, two keys
 *             that two hubs make at once, the server finds out, and each job is run by itself.
 *          3. forget and sweep do change the database at once; a transaction in which such a job failed is not
 *             committed.
 * THREADS  The writer's.
 * SEE      hub_pg_flush.c: a transaction from its beginning to its end */
#include "hub/hub_store.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_pg_priv.h"

#define SELECT_SESSION "SELECT " HUB_PG_SESSION_COLUMNS " FROM weir_sessions "

#define SUSPENDED                                                                                      \
	"machine_id = $1 AND " HUB_PG_SHORT("machine_id") " = " HUB_PG_SHORT("$1") " AND flags & 3 = 0" \
	" AND beat_ms > 0 AND beat_ms < $2::bigint"

const char *const hub_pg_item_tables[HUB_LIST_COUNT] = { "events", "metrics", "history" };

const struct hub_pg_statement hub_pg_tx_statements[] = {
	{ "begin", "BEGIN" },
	{ "commit", "COMMIT" },
	{ "rollback", "ROLLBACK" },
	{ "ping", "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint" },
	{ "find", SELECT_SESSION "WHERE id = $1 FOR UPDATE" },
	{ "find_free", SELECT_SESSION "WHERE id = $1 FOR UPDATE SKIP LOCKED" },
	{ "find_all", SELECT_SESSION "WHERE id = ANY ($1::text[]) FOR UPDATE SKIP LOCKED" },
	{ "is_there", "SELECT number FROM weir_sessions WHERE id = $1" },
	{ "find_key", SELECT_SESSION "WHERE key = $1" },
	{ "find_suspended", SELECT_SESSION "WHERE " SUSPENDED " AND number > $3::bigint"
			    " ORDER BY number LIMIT 1 FOR UPDATE" },
	{ "lock_suspended", "SELECT (SELECT count(*) FROM weir_sessions WHERE " SUSPENDED "), (SELECT count(*) FROM"
			    " (SELECT 1 FROM weir_sessions WHERE " SUSPENDED " FOR UPDATE SKIP LOCKED) AS free)" },
	{ "number", "SELECT nextval('weir_session_numbers')" },
	{ "state", "SELECT body FROM weir_states WHERE number = $1::bigint" },
	{ "add", "INSERT INTO weir_sessions (" HUB_PG_SESSION_COLUMNS ", key) VALUES ($1::bigint, $2, $3, $4, $5, $6,"
		 " $7::bigint, $8::bigint, $9::bigint, $10::bigint, $11::bigint, $12::bigint, $13::bigint, $14::bigint,"
		 " $15::bigint, $16::bigint, $17, $18)" },
	{ "update", "UPDATE weir_sessions s SET updated_ms = u.a, ended_ms = u.b, heartbeat_ms = u.c, beat_ms = u.d,"
		    " flags = u.e, applied_seq = u.f, events = u.g, metrics = u.h, history = u.i FROM unnest("
		    "$1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],"
		    " $8::bigint[], $9::bigint[], $10::bigint[]) AS u (number, a, b, c, d, e, f, g, h, i)"
		    " WHERE s.number = u.number" },
	{ "events", "INSERT INTO weir_events SELECT * FROM unnest($1::bigint[], $2::text[])" },
	{ "metrics", "INSERT INTO weir_metrics SELECT * FROM unnest($1::bigint[], $2::text[])" },
	{ "history", "INSERT INTO weir_history SELECT * FROM unnest($1::bigint[], $2::text[])" },
	{ "put_state", "INSERT INTO weir_states SELECT * FROM unnest($1::bigint[], $2::text[])"
		       " ON CONFLICT (number) DO UPDATE SET body = EXCLUDED.body" },
	/* What somebody writes to just now can wait for the next time. */
	{ "load_state", "INSERT INTO weir_states VALUES ($1::bigint, $2) ON CONFLICT DO NOTHING" },
	{ "load_doomed", "INSERT INTO weir_doomed VALUES ($1::bigint)" },
	{ "load_number", "SELECT setval('weir_session_numbers', greatest($1::bigint, last_value)) FROM weir_session_numbers" },
	{ "forget", "WITH old AS (SELECT number FROM weir_sessions WHERE created_ms < $1::bigint ORDER BY created_ms"
		    " LIMIT $2::bigint FOR UPDATE SKIP LOCKED), gone AS (DELETE FROM weir_sessions s USING old"
		    " WHERE s.number = old.number RETURNING s.number), noted AS (INSERT INTO weir_doomed"
		    " SELECT number FROM gone RETURNING number) SELECT count(*) FROM noted" },
	{ "doomed", "SELECT number FROM weir_doomed ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED" },
#define SWEEP(table)                                                                                             \
	"WITH gone AS (DELETE FROM weir_" table " WHERE at IN (SELECT at FROM weir_" table                      \
	" WHERE at >= $1::bigint << 32 AND at < ($1::bigint + 1) << 32 LIMIT $2::bigint) RETURNING 1)"          \
	" SELECT count(*) FROM gone"
	{ "sweep_events", SWEEP("events") },
	{ "sweep_metrics", SWEEP("metrics") },
	{ "sweep_history", SWEEP("history") },
	{ "sweep_state", "DELETE FROM weir_states WHERE number = $1::bigint" },
	{ "sweep_end", "DELETE FROM weir_doomed WHERE number = $1::bigint" },
	/* Rule 3 of hub_pg_writer.c. */
	{ "writer", "INSERT INTO weir_writers AS w (id, commits, token, seen) VALUES ($1::bigint, $2::bigint, $3::bigint, now())"
		    " ON CONFLICT (id) DO UPDATE SET token = EXCLUDED.token, seen = EXCLUDED.seen RETURNING w.commits" },
	{ "writers_before", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
			    " WHERE application_name = $1 AND pid <> pg_backend_pid()" },
	{ "count", "WITH w AS (UPDATE weir_writers SET commits = $2::bigint, seen = now()"
		   " WHERE id = $1::bigint AND token = $3::bigint RETURNING 1) SELECT 1 / (SELECT count(*) FROM w)" },
	{ "writers_gone", "DELETE FROM weir_writers WHERE id IN (SELECT id FROM weir_writers"
			  " WHERE seen < now() - interval '30 days' FOR UPDATE SKIP LOCKED)" },
	{ "writer_ends", "DELETE FROM weir_writers WHERE id = $1::bigint" },
	{ NULL, NULL },
};

/* --- asking ----------------------------------------------------------------------------------------------------- */

static int ask(struct hub_tx *tx, const char *statement, const struct hub_pg_params *p, PGresult **ret)
{
	if (tx->fault < 0)
		return tx->fault;
	if (!tx->is_begun)
		hub_pg_send(tx->conn, "begin", NULL);
	tx->is_begun = true;
	tx->fault = hub_pg_ask(tx->conn, statement, p, ret);
	return tx->fault;
}

static int ask_number(struct hub_tx *tx, const char *statement, const struct hub_pg_params *p, int64_t *ret)
{
	PGresult *res = NULL;
	int r = ask(tx, statement, p, &res);

	if (r == 0)
		*ret = PQntuples(res) ? hub_pg_number(res, 0, 0) : 0;
	PQclear(res);
	return r;
}

/* --- sessions that are ours ------------------------------------------------------------------------------------- */

/* All but the texts, which never change. */
void hub_pg_copy_numbers(struct hub_session *to, const struct hub_session *from)
{
	to->updated_ms = from->updated_ms;
	to->ended_ms = from->ended_ms;
	to->heartbeat_ms = from->heartbeat_ms;
	to->beat_ms = from->beat_ms;
	to->flags = from->flags;
	to->applied_seq = from->applied_seq;
	memcpy(to->counts, from->counts, sizeof(to->counts));
}

static void copy_text(struct buf *to, const struct buf *from)
{
	buf_reset(to);
	buf_add_slice(to, buf_slice(from));
}

static void copy_session(struct hub_session *to, const struct hub_session *from)
{
	to->number = from->number;
	memcpy(to->id, from->id, sizeof(to->id));
	copy_text(&to->product, &from->product);
	copy_text(&to->version, &from->version);
	copy_text(&to->machine_id, &from->machine_id);
	copy_text(&to->hostname, &from->hostname);
	copy_text(&to->extra, &from->extra);
	to->created_ms = from->created_ms;
	hub_pg_copy_numbers(to, from);
}

static struct hub_pg_held *hold(struct hub_tx *tx, const struct hub_session *s)
{
	struct hub_pg_held *held = xcalloc(1, sizeof(*held));

	*held = (struct hub_pg_held){ .s = HUB_SESSION_EMPTY,
				      .before = HUB_SESSION_EMPTY,
				      .key = BUF_EMPTY,
				      .state = BUF_EMPTY,
				      .state_before = BUF_EMPTY };
	copy_session(&held->s, s);
	list_push_back(&tx->held, &held->node);
	(void)map_put(tx->by_id, slice_str(held->s.id), held); /* there is none */
	tx->last = held;
	return held;
}

void hub_pg_let_go(struct hub_tx *tx, struct hub_pg_held *held)
{
	(void)map_remove(tx->by_id, slice_str(held->s.id));
	if (held->key.len)
		(void)map_remove(tx->by_key, buf_slice(&held->key));
	list_remove(&held->node);
	hub_session_fini(&held->s);
	buf_fini(&held->key);
	buf_fini(&held->state);
	buf_fini(&held->state_before);
	free(held);
	tx->last = NULL;
}

static struct hub_pg_held *held_of(struct hub_tx *tx, int64_t number)
{
	if (tx->last && tx->last->s.number == number)
		return tx->last;
	LIST_FOREACH(it, &tx->held) {
		struct hub_pg_held *held = LIST_ENTRY(it, struct hub_pg_held, node);

		if (held->s.number == number) {
			tx->last = held;
			return held;
		}
	}
	return NULL;
}

/* An id is ours to make: what looks otherwise is nobody's, and need not be valid UTF-8. */
bool hub_pg_may_be_id(struct slice id)
{
	for (size_t i = 0; i < id.n; i++)
		if ((unsigned char)id.p[i] <= ' ' || (unsigned char)id.p[i] >= 127)
			return false;
	return id.n > 0 && id.n < HUB_ID_ROOM;
}

static int take_found(struct hub_tx *tx, const PGresult *res, struct hub_session *ret)
{
	struct hub_pg_held *held;

	hub_pg_take_session(res, 0, ret);
	held = map_get(tx->by_id, slice_str(ret->id));
	if (held)
		copy_session(ret, &held->s);
	else
		(void)hold(tx, ret);
	return 0;
}

int hub_pg_find(struct hub_tx *tx, struct slice id, struct hub_session *ret)
{
	struct hub_pg_held *held = hub_pg_may_be_id(id) ? map_get(tx->by_id, id) : NULL;
	struct hub_pg_params p = { 0 };
	PGresult *res = NULL;
	int64_t number = 0;
	int r;

	if (held) {
		tx->last = held;
		copy_session(ret, &held->s);
		return 0;
	}
	if (!hub_pg_may_be_id(id))
		return -ENOENT;
	hub_pg_add_text(&p, id);
	r = ask(tx, tx->is_alone ? "find" : "find_free", &p, &res);
	if (r == 0 && PQntuples(res) == 1)
		r = take_found(tx, res, ret);
	else if (r == 0 && tx->is_alone)
		r = -ENOENT;
	else if (r == 0 && (r = ask_number(tx, "is_there", &p, &number)) == 0)
		r = number ? HUB_PG_DEFERRED : -ENOENT;
	PQclear(res);
	return r;
}

void hub_pg_tx_foresee(struct hub_tx *tx, struct hub_pg_array *ids)
{
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_pg_params p = { 0 };
	PGresult *res = NULL;

	hub_pg_add_array(&p, ids);
	if (ask(tx, "find_all", &p, &res) == 0)
		for (int i = 0; i < PQntuples(res); i++) {
			hub_pg_take_session(res, i, &s);
			(void)hold(tx, &s);
		}
	PQclear(res);
	hub_session_fini(&s);
}

/* Not locked: a key's session is told, and not changed, by whoever asks for it. */
int hub_pg_find_key(struct hub_tx *tx, struct slice key, struct hub_session *ret)
{
	struct hub_pg_held *held = map_get(tx->by_key, key);
	struct hub_pg_params p = { 0 };
	PGresult *res = NULL;
	int r;

	if (held) {
		copy_session(ret, &held->s);
		return 0;
	}
	hub_pg_add_text(&p, key);
	r = ask(tx, "find_key", &p, &res);
	if (r == 0 && PQntuples(res) == 0)
		r = -ENOENT;
	else if (r == 0)
		hub_pg_take_session(res, 0, ret);
	PQclear(res);
	return r;
}

static bool is_suspended(const struct hub_session *s, int64_t stale_ms)
{
	return !(s->flags & (HUB_ENDED | HUB_CRASHED)) && s->beat_ms > 0 && s->beat_ms < stale_ms;
}

/* Rule 2: all of them are ours, or it is put off. 0: go on; -ENOENT: there is none. */
static int lock_suspended(struct hub_tx *tx, struct slice machine_id, int64_t stale_ms)
{
	struct hub_pg_params p = { 0 };
	PGresult *res = NULL;
	int r;

	hub_pg_add_text(&p, machine_id);
	hub_pg_add_number(&p, stale_ms);
	r = ask(tx, "lock_suspended", &p, &res);
	if (r == 0 && hub_pg_number(res, 0, 0) != hub_pg_number(res, 0, 1))
		r = HUB_PG_DEFERRED;
	else if (r == 0 && hub_pg_number(res, 0, 0) == 0)
		r = -ENOENT;
	PQclear(res);
	return r;
}

/* Each time in a job the next one: nothing that was given before has stayed suspended. */
int hub_pg_find_suspended(struct hub_tx *tx, struct slice machine_id, int64_t stale_ms, struct hub_session *ret)
{
	int r = tx->is_alone || tx->suspended_after ? 0 : lock_suspended(tx, machine_id, stale_ms);

	if (r < 0)
		return r;
	do {
		struct hub_pg_params p = { 0 };
		PGresult *res = NULL;

		hub_pg_add_text(&p, machine_id);
		hub_pg_add_number(&p, stale_ms);
		hub_pg_add_number(&p, tx->suspended_after);
		r = ask(tx, "find_suspended", &p, &res);
		if (r == 0 && PQntuples(res) == 0)
			r = -ENOENT;
		else if (r == 0)
			r = take_found(tx, res, ret);
		PQclear(res);
		if (r == 0)
			tx->suspended_after = ret->number;
	} while (r == 0 && !is_suspended(ret, stale_ms)); /* a job before this one has woken it */
	return r;
}

/* --- writes, gathered ------------------------------------------------------------------------------------------- */

static void note_before(struct hub_pg_held *held)
{
	if (held->before.number)
		return;
	held->before.number = held->s.number;
	hub_pg_copy_numbers(&held->before, &held->s);
	held->made_by_job = false;
}

int hub_pg_add(struct hub_tx *tx, struct hub_session *s, struct slice key)
{
	struct hub_pg_held *held;
	int r = ask_number(tx, "number", NULL, &s->number);

	if (r < 0)
		return r;
	held = hold(tx, s);
	held->is_new = held->is_changed = true;
	held->before.number = s->number;
	held->made_by_job = true;
	if (key.p) {
		buf_add_slice(&held->key, key);
		(void)map_put(tx->by_key, key, held); /* it was looked up before */
	}
	return 0;
}

int hub_pg_update(struct hub_tx *tx, const struct hub_session *s)
{
	struct hub_pg_held *held = held_of(tx, s->number);

	ENSURE(held); /* it was found in this transaction */
	note_before(held);
	hub_pg_copy_numbers(&held->s, s);
	held->is_changed = true;
	return 0;
}

int hub_pg_put_item(struct hub_tx *tx, int64_t number, enum hub_list list, int64_t place, struct slice body)
{
	if (place > UINT32_MAX)
		return WEIR_E_TOO_LARGE;
	hub_pg_array_number(&tx->items[list].at, number << 32 | place);
	hub_pg_array_text(&tx->items[list].body, body);
	return 0;
}

int hub_pg_put_state(struct hub_tx *tx, int64_t number, struct slice body)
{
	struct hub_pg_held *held = held_of(tx, number);

	ENSURE(held); /* as above */
	note_before(held);
	if (!held->job_put_state) {
		copy_text(&held->state_before, &held->state);
		held->had_state = held->has_state;
		held->state_was_changed = held->state_changed;
		held->job_put_state = true;
	}
	buf_reset(&held->state);
	buf_add_slice(&held->state, body);
	tx->state_bytes += body.n;
	held->has_state = held->state_changed = true;
	return 0;
}

int hub_pg_get_state(struct hub_tx *tx, int64_t number, struct buf *out)
{
	struct hub_pg_held *held = held_of(tx, number);
	struct hub_pg_params p = { 0 };
	PGresult *res = NULL;
	int r;

	if (held && held->has_state) {
		buf_add_slice(out, buf_slice(&held->state));
		return 0;
	}
	hub_pg_add_number(&p, number);
	r = ask(tx, "state", &p, &res);
	if (r == 0 && PQntuples(res) == 0)
		r = -ENOENT;
	else if (r == 0)
		buf_add_slice(out, hub_pg_text(res, 0, 0));
	PQclear(res);
	return r;
}

/* --- taking away ------------------------------------------------------------------------------------------------ */

/* What others gathered goes first; what they hold may be gone afterwards, and is asked for anew. */
static int settle(struct hub_tx *tx)
{
	struct hub_pg_params none = { 0 };
	PGresult *res = NULL;
	int r;

	hub_pg_tx_flush(tx);
	r = ask(tx, "ping", &none, &res);
	PQclear(res);
	LIST_FOREACH_SAFE(it, next, &tx->held)
		hub_pg_let_go(tx, LIST_ENTRY(it, struct hub_pg_held, node));
	tx->job_ran_sql = true;
	return r;
}

int hub_pg_forget(struct hub_tx *tx, int64_t created_ms, int64_t most, int64_t *ret_forgotten)
{
	struct hub_pg_params p = { 0 };
	int r = settle(tx);

	hub_pg_add_number(&p, created_ms);
	hub_pg_add_number(&p, most);
	return r < 0 ? r : ask_number(tx, "forget", &p, ret_forgotten);
}

static int sweep_one(struct hub_tx *tx, int64_t number, int64_t most)
{
	static const char *const statements[HUB_LIST_COUNT] = { "sweep_events", "sweep_metrics", "sweep_history" };
	struct hub_pg_params p = { 0 };
	int64_t rows = 0, gone = 0;
	int r = 0;

	for (int i = 0; i < HUB_LIST_COUNT && r == 0 && rows < most; i++) {
		p.count = 0;
		hub_pg_add_number(&p, number);
		hub_pg_add_number(&p, most - rows);
		r = ask_number(tx, statements[i], &p, &gone);
		rows += r == 0 ? gone : 0;
	}
	p.count = 0;
	hub_pg_add_number(&p, number);
	if (r == 0 && rows < most)
		hub_pg_send(tx->conn, "sweep_state", &p);
	return r < 0 || rows >= most ? r : ask(tx, "sweep_end", &p, NULL);
}

int hub_pg_sweep(struct hub_tx *tx, int64_t most, bool *ret_more)
{
	int64_t number = 0;
	int r = settle(tx);

	if (r == 0)
		r = ask_number(tx, "doomed", NULL, &number);
	*ret_more = r == 0 && number != 0;
	return *ret_more ? sweep_one(tx, number, most) : r;
}
