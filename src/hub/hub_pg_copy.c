/* hub_pg_copy.c -- rows of the database as they are, for hub_copy.c.
 *
 * WHAT     Items go the way of all items, as arrays of many; the rest a statement each, queued, so that a journey has
 *          thousands of them.
 * THREADS  put: the writer's; read: as in hub_pg_read.c */
#include "hub/hub_store.h"

#include <errno.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_pg_priv.h"

#define PAGE       2000 /* rows that are asked for at a time */
#define MOST_QUEUE 2000 /* statements without an answer */

static const struct {
	const char *read, *last;
} texts[HUB_ROWS_COUNT] = {
	[HUB_ROWS_EVENTS] = { "copy_events", "last_event" },
	[HUB_ROWS_METRICS] = { "copy_metrics", "last_metric" },
	[HUB_ROWS_HISTORY] = { "copy_history", "last_history" },
	[HUB_ROWS_STATES] = { "copy_states", "last_state" },
	[HUB_ROWS_DOOMED] = { "copy_doomed", "last_doomed" },
	[HUB_ROWS_SESSIONS] = { "copy_sessions", "last_session" },
};

#define KEY_COLUMN 17

struct giving {
	enum hub_rows rows;
	hub_row_fn *fn;
	void *arg;
	int64_t given, last;
	struct hub_session s;
};

static int give_row(void *arg, const PGresult *res, int at)
{
	struct giving *g = arg;
	struct hub_row row = { .rows = g->rows, .key = hub_pg_number(res, at, 0) };

	if (g->rows == HUB_ROWS_SESSIONS) {
		hub_pg_take_session(res, at, &g->s);
		row.session = &g->s;
		if (!PQgetisnull(res, at, KEY_COLUMN))
			row.session_key = hub_pg_text(res, at, KEY_COLUMN);
	} else {
		row.body = hub_pg_text(res, at, 1);
	}
	g->given++;
	g->last = row.key;
	return g->fn(g->arg, &row);
}

int hub_pg_read_rows(struct hub_read *rd, enum hub_rows rows, int64_t after, hub_row_fn *fn, void *arg)
{
	struct giving g = { .rows = rows, .fn = fn, .arg = arg, .last = after, .s = HUB_SESSION_EMPTY };
	int r;

	do {
		struct hub_pg_params p = { 0 };

		g.given = 0;
		hub_pg_add_number(&p, g.last);
		hub_pg_add_number(&p, PAGE);
		r = hub_pg_each(hub_pg_read_conn(rd), texts[rows].read, &p, give_row, &g);
	} while (r == 0 && g.given == PAGE);
	hub_session_fini(&g.s);
	return r;
}

int hub_pg_read_last(struct hub_read *rd, enum hub_rows rows, int64_t *ret)
{
	PGresult *res = NULL;
	int r = hub_pg_ask(hub_pg_read_conn(rd), texts[rows].last, NULL, &res);

	if (r == 0)
		*ret = hub_pg_number(res, 0, 0);
	PQclear(res);
	return r;
}

static int queue(struct hub_tx *tx, const char *statement, const struct hub_pg_params *p)
{
	if (tx->fault < 0)
		return tx->fault;
	if (!tx->is_begun)
		hub_pg_send(tx->conn, "begin", NULL);
	tx->is_begun = tx->job_ran_sql = true;
	hub_pg_send(tx->conn, statement, p);
	if (++tx->queued % MOST_QUEUE == 0)
		tx->fault = hub_pg_finish(tx->conn, NULL);
	return tx->fault;
}

int hub_pg_put_row(struct hub_tx *tx, const struct hub_row *row)
{
	struct hub_pg_params p = { 0 };

	switch (row->rows) {
	case HUB_ROWS_EVENTS:
	case HUB_ROWS_METRICS:
	case HUB_ROWS_HISTORY:
		return hub_pg_put_item(tx, row->key >> 32, (enum hub_list)row->rows, row->key & UINT32_MAX, row->body);
	case HUB_ROWS_STATES:
		hub_pg_add_number(&p, row->key);
		hub_pg_add_text(&p, row->body);
		return queue(tx, "load_state", &p);
	case HUB_ROWS_DOOMED: hub_pg_add_number(&p, row->key); return queue(tx, "load_doomed", &p);
	default: hub_pg_session_params(&p, row->session, row->session_key); return queue(tx, "add", &p);
	}
}

int hub_pg_put_last_number(struct hub_tx *tx, int64_t last)
{
	struct hub_pg_params p = { 0 };

	hub_pg_add_number(&p, last);
	return last > 0 ? queue(tx, "load_number", &p) : 0;
}
