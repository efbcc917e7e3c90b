/* outbox.c -- writes accepted while an upstream is away.
 *
 * WHAT     A queue on disk: put() keeps a write, lend() gives the oldest of a key, settle() records its end. Rows are
 *          in one SQLite database with one writer (db.h), large bodies in files beside it, and what is not settled in
 *          an index in memory.
 * WHY      A site can be offline for days, and a 202 is a promise. Group commit comes near a bare log, and an operator
 *          can look inside with a tool that he knows.
 * RULES    1. No reply leaves before the record, and the name of its body's file, are on disk.
 *          2. A record is whole (its sums agree) or it is shown as damaged; it is never guessed at.
 *          3. Delivery is at least once; a write that is sent once only is at most once, and held when its end is not
 *             known.
 *          4. Each entry is in exactly one state, on disk at any moment and in memory. States move on the writer
 *             thread, in the order of its commits; only queued -> sending and back are in memory alone.
 * ON DISK  between any two steps (each line: what a stop there leaves, and what the next start makes of it):
 *          put      spool filled, no name            nothing: a file without a name is gone with its process
 *                   body linked under a .tmp- name   swept by that name
 *                   body renamed, folder synced      an orphan, as no record names it: removed; nobody was told
 *                                                    anything
 *                   transaction written, not synced  whole and there, or cut off by SQLite with its whole transaction:
 *                                                    the put was not answered, so both are right (its client asks
 *                                                    again, with its key)
 *                   transaction synced               there: rule 1 lets the answer go only now
 *          lend     once: `sending` and the attempt  not synced: queued, and the request has not gone out. Synced: held
 *                   in a transaction                 as outcome_unknown, though it may not have gone out: rule 3
 *                   others: nothing is written       queued: sent again, which precondition and key make harmless
 *          settle   request answered, nothing done   as after lend
 *                   transaction: the entry's state,  all of it or nothing: a child is never based on what was not
 *                   its children's bases or states,  applied, and never left without its parent's outcome
 *                   its inline body removed
 *                   synced, body file still there    applied, and the file an orphan: removed
 *          purge    rows removed with their bodies   synced or not: listed or gone; files become orphans: removed
 *                   and the last seq kept in `meta`  in the same transaction, so ids never come again
 *          start    everything above is done in      a stop on the way leaves the same work to the next start: nothing
 *                   transactions of their own        is done twice that matters twice
 * ORDER    seq is max(last + 1, wall clock << 16), chosen on the writer thread inside the transaction: the order of ids
 *          is the order of commits whatever the clock does. A put is in the index from its job on, so that the next job
 *          of the same transaction sees it (expect_tail, parents), but it is not lent before its commit; when that
 *          fails it is taken out again.
 * THREADS  Any but the front may put, settle and read. The writer thread runs jobs and their finish; it alone changes
 *          the index but for lending. Locks: see docs/locks.md; all are leaves. Nothing touches the disk while holding
 *          one.
 * SEE      docs/formats/outbox.md; outbox_put.c, outbox_index.c (order), outbox_settle.c, outbox_change.c,
 *          outbox_open.c */
#include "store/outbox.h"

#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "store/outbox_priv.h"

/* --- a job on the writer thread --------------------------------------------------------------------------------- */

void outbox_changed(struct outbox_queue *q)
{
	outbox_change_fn *hook;
	void *arg;

	pthread_mutex_lock(&q->lock);
	hook = q->hook;
	arg = q->hook_arg;
	q->hook_calls++;
	pthread_mutex_unlock(&q->lock);
	if (hook)
		hook(arg);
	pthread_mutex_lock(&q->lock);
	if (--q->hook_calls == 0)
		pthread_cond_broadcast(&q->hook_idle);
	pthread_mutex_unlock(&q->lock);
}

static int op_job(sqlite3 *conn, void *arg)
{
	struct outbox_op *op = arg;

	op->job_code = op->job(conn, op);
	if (op->job_code < 0)
		outbox_changes_undo(op); /* before the next job of this transaction looks */
	return op->job_code;
}

static void op_done(void *arg, int code)
{
	struct outbox_op *op = arg;

	if (db_is_given_up(op->ob->db))
		atomic_store(&op->ob->is_readonly, true);
	if (code == 0)
		outbox_changes_apply(op);
	else
		outbox_changes_undo(op);
	if (op->finish)
		op->finish(op, code);
	if (op->q && code == 0 && !op->is_quiet)
		outbox_changed(op->q);
	if (op->end) {
		op->end(op, code);
		return;
	}
	pthread_mutex_lock(&op->lock);
	op->code = code;
	op->is_done = true;
	pthread_cond_signal(&op->finished);
	pthread_mutex_unlock(&op->lock);
}

int outbox_op_start(struct outbox_op *op)
{
	return db_submit(op->ob->db, op_job, op_done, op);
}

int outbox_op_run(struct outbox_op *op)
{
	int r;

	op->is_done = false;
	ENSURE(pthread_mutex_init(&op->lock, NULL) == 0);
	ENSURE(pthread_cond_init(&op->finished, NULL) == 0);
	r = outbox_op_start(op);
	if (r == 0) {
		pthread_mutex_lock(&op->lock);
		while (!op->is_done)
			pthread_cond_wait(&op->finished, &op->lock);
		pthread_mutex_unlock(&op->lock);
		r = op->code;
	}
	pthread_mutex_destroy(&op->lock);
	pthread_cond_destroy(&op->finished);
	free(op->changes);
	op->changes = NULL;
	op->change_count = op->change_cap = 0;
	return r;
}

/* --- what is known without the disk ----------------------------------------------------------------------------- */

uint64_t outbox_damaged(struct outbox *ob)
{
	OBJ_CHECK(ob, OUTBOX_MAGIC);
	return atomic_load(&ob->damaged);
}

bool outbox_is_readonly(struct outbox *ob)
{
	OBJ_CHECK(ob, OUTBOX_MAGIC);
	return atomic_load(&ob->is_readonly);
}

void outbox_queue_set_limits(struct outbox_queue *q, const struct outbox_limits *limits)
{
	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	q->limits = *limits;
	pthread_mutex_unlock(&q->lock);
}

const char *outbox_queue_name(const struct outbox_queue *q)
{
	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	return q->name;
}

bool outbox_is_idle(struct outbox_queue *q)
{
	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	return atomic_load(&q->index.pending) == 0;
}

bool outbox_key_is_pending(struct outbox_queue *q, struct slice key)
{
	bool is;

	if (outbox_is_idle(q))
		return false;
	pthread_mutex_lock(&q->lock);
	is = outbox_index_is_pending(&q->index, key);
	pthread_mutex_unlock(&q->lock);
	return is;
}

uint64_t outbox_key_tail(struct outbox_queue *q, struct slice key)
{
	uint64_t seq;

	if (outbox_is_idle(q))
		return 0;
	pthread_mutex_lock(&q->lock);
	seq = outbox_index_tail(&q->index, key);
	pthread_mutex_unlock(&q->lock);
	return seq;
}

void outbox_figures(struct outbox_queue *q, struct outbox_figures *ret)
{
	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	memcpy(ret->entries, q->index.entries, sizeof(ret->entries));
	memcpy(ret->bytes, q->index.bytes, sizeof(ret->bytes));
	ret->oldest_wall_ms = outbox_index_oldest_ms(&q->index);
	ret->refused_large = q->refused_large;
	ret->refused_full = q->refused_full;
	ret->refused_disk = q->refused_disk;
	pthread_mutex_unlock(&q->lock);
}

void outbox_set_change_hook(struct outbox_queue *q, outbox_change_fn *fn, void *arg)
{
	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	q->hook = fn;
	q->hook_arg = arg;
	while (q->hook_calls)
		pthread_cond_wait(&q->hook_idle, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

/* --- times ------------------------------------------------------------------------------------------------------ */

struct wake {
	int64_t now_ms, spread_ms;
};

static int64_t wake_unanswered(const struct outbox_item *item, void *arg)
{
	const struct wake *w = arg;

	if (!item->is_unanswered)
		return item->due_ms;
	return w->now_ms + (w->spread_ms > 0 ? rand_jitter_ms(w->spread_ms) : 0);
}

void outbox_wake_unanswered(struct outbox_queue *q, int64_t now_wall_ms, int64_t spread_ms)
{
	struct wake w = { now_wall_ms, spread_ms };

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	outbox_index_redate(&q->index, wake_unanswered, &w);
	pthread_mutex_unlock(&q->lock);
	outbox_changed(q);
}

static int64_t at_once(const struct outbox_item *item, void *arg)
{
	return 0;
}

void outbox_flush(struct outbox_queue *q)
{
	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	outbox_index_redate(&q->index, at_once, NULL);
	pthread_mutex_unlock(&q->lock);
	outbox_changed(q);
}
