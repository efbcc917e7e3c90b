/* outbox_purge.c -- settled entries leave the list after a while.
 *
 * What is old is looked for on a connection of its own, then removed in transactions of a few hundred rows, so that
 * puts do not wait long. Each also keeps the last seq that was given, as the row that held it may be among the removed.
 * */
#include "store/outbox_priv.h"

#include "base/err.h"
#include "base/obj.h"

#define MOST_AT_ONCE 500

struct old {
	uint64_t seq, body_bytes;
	enum outbox_state state;
	struct buf body_file;
};

struct purge_op {
	struct outbox_op op;
	struct old *old;
	size_t count;
};

static int find_old(struct outbox_queue *q, int64_t before_ms, struct old *old, size_t *ret_count)
{
	struct outbox_reader *rd;
	struct outbox_row row;
	size_t n = 0;
	int r = outbox_reader_take(q->ob, &rd), rc = SQLITE_DONE;

	if (r < 0)
		return r;
	r = outbox_prepare(rd->conn, &rd->old,
			   "SELECT " OUTBOX_ROW_COLUMNS " FROM entries WHERE settled_ms>0 AND settled_ms<?1"
			   " AND queue=?2");
	if (r == 0) {
		(void)sqlite3_bind_int64(rd->old, 1, before_ms); /* neither can fail */
		(void)sqlite3_bind_text(rd->old, 2, q->name, -1, SQLITE_STATIC);
		while (n < MOST_AT_ONCE && (rc = sqlite3_step(rd->old)) == SQLITE_ROW) {
			outbox_row_read(rd->old, &row);
			if (!row.is_whole || !outbox_state_is_settled((enum outbox_state)row.state))
				continue;
			old[n] = (struct old){ row.seq, row.body_bytes, (enum outbox_state)row.state, BUF_EMPTY };
			buf_add_slice(&old[n++].body_file, row.body_file);
		}
		(void)sqlite3_reset(rd->old); /* repeats the failure of the step */
		r = db_code(rc);
	}
	outbox_reader_give(q->ob, &rd);
	*ret_count = n;
	return r;
}

static int run_with(sqlite3 *conn, sqlite3_stmt **st, const char *sql, uint64_t number)
{
	int r = outbox_prepare(conn, st, sql), rc;

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(*st, 1, (int64_t)number); /* cannot fail */
	rc = sqlite3_step(*st);
	(void)sqlite3_reset(*st); /* repeats the failure of the step */
	return db_code(rc);
}

static int purge_job(sqlite3 *conn, struct outbox_op *op)
{
	struct purge_op *p = CONTAINER_OF(op, struct purge_op, op);
	struct outbox *ob = op->ob;
	int r = run_with(conn, &ob->st.set_meta, "INSERT OR REPLACE INTO meta(name,value) VALUES('last_seq',?1)",
			 ob->last_seq);

	for (size_t i = 0; i < p->count && r == 0; i++) {
		r = run_with(conn, &ob->st.remove, "DELETE FROM entries WHERE seq=?1", p->old[i].seq);
		if (r == 0 && !p->old[i].body_file.len)
			r = outbox_remove_body_row(conn, ob, p->old[i].seq);
	}
	return r;
}

static int purge_some(struct outbox_queue *q, int64_t before_ms, struct old *old, size_t *ret_count)
{
	struct purge_op p = { .op = { .ob = q->ob, .job = purge_job }, .old = old };
	int r = find_old(q, before_ms, old, &p.count);

	if (r == 0 && p.count)
		r = outbox_op_run(&p.op);
	for (size_t i = 0; i < p.count; i++) {
		if (r == 0) {
			outbox_bodies_remove(q->ob, buf_slice(&old[i].body_file));
			pthread_mutex_lock(&q->lock);
			outbox_index_count(&q->index, old[i].state, old[i].body_bytes, -1);
			pthread_mutex_unlock(&q->lock);
		}
		buf_fini(&old[i].body_file);
	}
	*ret_count = p.count;
	return r;
}

int outbox_purge(struct outbox_queue *q, int64_t now_wall_ms)
{
	struct old *old;
	int64_t before_ms;
	size_t count = 0;
	int total = 0, r;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	before_ms = now_wall_ms - q->limits.keep_settled_ms;
	pthread_mutex_unlock(&q->lock);
	old = xcalloc(MOST_AT_ONCE, sizeof(*old));
	do {
		r = purge_some(q, before_ms, old, &count);
		total += (int)count;
	} while (r == 0 && count == MOST_AT_ONCE);
	free(old);
	return r < 0 ? r : total;
}
