/* hub_pg_flush.c -- a transaction of many jobs: what one has changed is undone when it fails, and what all have changed goes
 * out in one journey.
 *
 * WHAT     Items are appended to arrays, whose lengths are noted before each job; of each session that it touches the state
 *          before is kept. Flushing queues a statement for each table: updates and items as arrays (one statement,
 *          however many rows), new sessions one by one.
 * THREADS  The writer's. SEE hub_pg_tx.c */
#include "hub/hub_store.h"

#include <errno.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_pg_priv.h"

void hub_pg_tx_init(struct hub_tx *tx, struct hub_pg_conn *conn)
{
	*tx = (struct hub_tx){ .conn = conn };
	list_init(&tx->held);
	tx->by_id = map_new();
	tx->by_key = map_new();
	for (int i = 0; i < HUB_LIST_COUNT; i++) {
		hub_pg_array_init(&tx->items[i].at, HUB_PG_INT8);
		hub_pg_array_init(&tx->items[i].body, HUB_PG_TEXT);
	}
	for (size_t i = 0; i < ARRAY_LEN(tx->columns); i++)
		hub_pg_array_init(&tx->columns[i], HUB_PG_INT8);
	hub_pg_array_init(&tx->state_number, HUB_PG_INT8);
	hub_pg_array_init(&tx->state_body, HUB_PG_TEXT);
	hub_pg_array_init(&tx->ids, HUB_PG_TEXT);
}

void hub_pg_tx_fini(struct hub_tx *tx)
{
	hub_pg_tx_end(tx);
	map_free(tx->by_id);
	map_free(tx->by_key);
	for (int i = 0; i < HUB_LIST_COUNT; i++) {
		buf_fini(&tx->items[i].at.b);
		buf_fini(&tx->items[i].body.b);
	}
	for (size_t i = 0; i < ARRAY_LEN(tx->columns); i++)
		buf_fini(&tx->columns[i].b);
	buf_fini(&tx->state_number.b);
	buf_fini(&tx->state_body.b);
	buf_fini(&tx->ids.b);
}

void hub_pg_tx_begin(struct hub_tx *tx, bool is_alone)
{
	hub_pg_tx_end(tx);
	tx->is_alone = is_alone;
}

void hub_pg_tx_end(struct hub_tx *tx)
{
	LIST_FOREACH_SAFE(it, next, &tx->held)
		hub_pg_let_go(tx, LIST_ENTRY(it, struct hub_pg_held, node));
	for (int i = 0; i < HUB_LIST_COUNT; i++) {
		hub_pg_array_reset(&tx->items[i].at);
		hub_pg_array_reset(&tx->items[i].body);
	}
	tx->is_begun = tx->job_ran_sql = false;
	tx->fault = 0;
	tx->state_bytes = 0;
}

size_t hub_pg_tx_bytes(const struct hub_tx *tx)
{
	size_t n = tx->state_bytes;

	for (int i = 0; i < HUB_LIST_COUNT; i++)
		n += tx->items[i].at.b.len + tx->items[i].body.b.len;
	return n;
}

static void job_begins(struct hub_tx *tx)
{
	for (int i = 0; i < HUB_LIST_COUNT; i++) {
		tx->items[i].mark_count = tx->items[i].at.count;
		tx->items[i].mark_at = tx->items[i].at.b.len;
		tx->items[i].mark_body = tx->items[i].body.b.len;
	}
	LIST_FOREACH(it, &tx->held) {
		struct hub_pg_held *held = LIST_ENTRY(it, struct hub_pg_held, node);

		held->before.number = 0;
		held->job_put_state = held->made_by_job = false;
	}
	tx->suspended_after = 0;
	tx->job_ran_sql = false;
}

static void undo_held(struct hub_tx *tx, struct hub_pg_held *held)
{
	if (held->made_by_job) {
		hub_pg_let_go(tx, held);
		return;
	}
	if (held->before.number)
		hub_pg_copy_numbers(&held->s, &held->before);
	if (held->job_put_state) {
		buf_reset(&held->state);
		buf_add_slice(&held->state, buf_slice(&held->state_before));
		held->has_state = held->had_state;
		held->state_changed = held->state_was_changed;
	}
}

static void undo_job(struct hub_tx *tx)
{
	for (int i = 0; i < HUB_LIST_COUNT; i++) {
		struct hub_pg_items *it = &tx->items[i];

		it->at.count = it->body.count = it->mark_count;
		buf_truncate(&it->at.b, it->mark_at);
		buf_truncate(&it->body.b, it->mark_body);
	}
	LIST_FOREACH_SAFE(it, next, &tx->held)
		undo_held(tx, LIST_ENTRY(it, struct hub_pg_held, node));
}

int hub_pg_tx_job(struct hub_tx *tx, struct hub_store *st, hub_job_fn *job, void *arg)
{
	int r;

	job_begins(tx);
	r = job(st, tx, arg);
	if (r < 0 && tx->fault == 0 && tx->job_ran_sql && !tx->is_alone)
		tx->fault = -EAGAIN; /* rule 3; alone it takes nobody with it, and all of it is rolled back */
	if (r < 0)
		undo_job(tx);
	return r;
}

void hub_pg_session_params(struct hub_pg_params *p, const struct hub_session *s, struct slice key)
{
	hub_pg_add_number(p, s->number);
	hub_pg_add_text(p, slice_str(s->id));
	hub_pg_add_text(p, buf_slice(&s->product));
	hub_pg_add_text(p, buf_slice(&s->version));
	hub_pg_add_text(p, buf_slice(&s->machine_id));
	hub_pg_add_text(p, buf_slice(&s->hostname));
	hub_pg_add_number(p, s->created_ms);
	hub_pg_add_number(p, s->updated_ms);
	hub_pg_add_number(p, s->ended_ms);
	hub_pg_add_number(p, s->heartbeat_ms);
	hub_pg_add_number(p, s->beat_ms);
	hub_pg_add_number(p, s->flags);
	hub_pg_add_number(p, s->applied_seq);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		hub_pg_add_number(p, s->counts[i]);
	hub_pg_add_text(p, buf_slice(&s->extra));
	hub_pg_add_text(p, key);
}

static void flush_new(struct hub_tx *tx, struct hub_pg_held *held)
{
	struct hub_pg_params p = { 0 };

	hub_pg_session_params(&p, &held->s, held->key.len ? buf_slice(&held->key) : (struct slice){ NULL, 0 });
	hub_pg_send(tx->conn, "add", &p);
	held->is_new = held->is_changed = false;
}

static void gather_changed(struct hub_tx *tx, struct hub_pg_held *held)
{
	const struct hub_session *s = &held->s;
	const int64_t values[] = { s->number,	     s->updated_ms, s->ended_ms,
				   s->heartbeat_ms,  s->beat_ms,    s->flags,
				   s->applied_seq,   s->counts[0],  s->counts[1],
				   s->counts[2] };

	_Static_assert(HUB_LIST_COUNT == 3, "as above, and in the statement");
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		hub_pg_array_number(&tx->columns[i], values[i]);
	held->is_changed = false;
}

static void flush_held(struct hub_tx *tx)
{
	LIST_FOREACH(it, &tx->held) {
		struct hub_pg_held *held = LIST_ENTRY(it, struct hub_pg_held, node);

		if (held->is_new)
			flush_new(tx, held);
		else if (held->is_changed)
			gather_changed(tx, held);
		if (held->state_changed) {
			hub_pg_array_number(&tx->state_number, held->s.number);
			hub_pg_array_text(&tx->state_body, buf_slice(&held->state));
			held->state_changed = false;
		}
	}
}

/* Arrays of one statement; empty ones are not worth it. They are emptied. */
static void flush_arrays(struct hub_tx *tx, const char *statement, struct hub_pg_array *const *arrays, size_t count)
{
	struct hub_pg_params p = { 0 };

	if (!arrays[0]->count)
		return;
	for (size_t i = 0; i < count; i++)
		hub_pg_add_array(&p, arrays[i]);
	hub_pg_send(tx->conn, statement, &p);
	for (size_t i = 0; i < count; i++)
		hub_pg_array_reset(arrays[i]);
}

void hub_pg_tx_flush(struct hub_tx *tx)
{
	struct hub_pg_array *columns[ARRAY_LEN(tx->columns)];

	if (tx->fault < 0)
		return;
	if (!tx->is_begun)
		hub_pg_send(tx->conn, "begin", NULL);
	tx->is_begun = true;
	flush_held(tx);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		columns[i] = &tx->columns[i];
	flush_arrays(tx, "update", columns, ARRAY_LEN(columns));
	flush_arrays(tx, "put_state", (struct hub_pg_array *[]){ &tx->state_number, &tx->state_body }, 2);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		flush_arrays(tx, hub_pg_item_tables[i],
			     (struct hub_pg_array *[]){ &tx->items[i].at, &tx->items[i].body }, 2);
}
