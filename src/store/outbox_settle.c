/* outbox_settle.c -- lending an entry to its carrier, and recording what came of it.
 *
 * queued -> sending is in memory alone, but for a write that is sent once only: there it is durable before lend()
 * returns, so that a stop afterwards is known as such. An end is durable before settle() returns; whoever waits for the
 * entry goes on only then.
 *
 * When an end cannot be written (a full disk) the entry goes back to the queue: it is sent again, and meets its own
 * effect. One that is sent once only must not be: it stays `sending`, and its end is kept in memory until it can be
 * written, before anything else is lent. A stop before that leaves an entry whose outcome is not known. */
#include "store/outbox_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"

/* --- lend ------------------------------------------------------------------------------------------------------- */

struct lend_op {
	struct outbox_op op;
	uint64_t seq;
};

static int lend_job(sqlite3 *conn, struct outbox_op *op)
{
	struct lend_op *l = CONTAINER_OF(op, struct lend_op, op);
	struct outbox_record rec;
	int r = outbox_record_load(conn, &op->ob->st.load, l->seq, &rec);

	if (r < 0)
		return r;
	rec.e.state = OUTBOX_SENDING;
	rec.e.attempts++;
	r = rec.e.damaged ? WEIR_E_DAMAGED : outbox_record_save(conn, &op->ob->st.save, &rec);
	outbox_record_fini(&rec);
	return r;
}

void outbox_take_back(struct outbox_queue *q, uint64_t seq, int64_t due_ms)
{
	struct outbox_item *item;

	pthread_mutex_lock(&q->lock);
	item = outbox_index_find(&q->index, seq);
	item->due_ms = due_ms;
	outbox_index_move(&q->index, item, OUTBOX_QUEUED);
	pthread_mutex_unlock(&q->lock);
}

/* 0; WEIR_E_DAMAGED: the record is not whole any more; another code. */
static int lend_one(struct outbox_queue *q, uint64_t seq, bool once, struct outbox_entry *ret)
{
	struct lend_op l = { .op = { .ob = q->ob, .job = lend_job }, .seq = seq };
	int r = once ? outbox_op_run(&l.op) : 0;

	if (r == 0)
		r = outbox_get(q->ob, seq, ret);
	if (r == 0 && ret->damaged) {
		outbox_entry_fini(ret);
		r = WEIR_E_DAMAGED;
	}
	return r == -ENOENT ? WEIR_E_DAMAGED : r;
}

static int write_ends(struct outbox_queue *q);

int outbox_lend(struct outbox_queue *q, int64_t now_wall_ms, struct outbox_entry *ret, int64_t *ret_next_wall_ms)
{
	struct outbox_item *item;
	uint64_t seq = 0;
	bool once = false;
	int r;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	do {
		*ret_next_wall_ms = INT64_MAX;
		if (outbox_is_readonly(q->ob))
			return -EIO;
		r = write_ends(q);
		if (r < 0)
			return r;
		pthread_mutex_lock(&q->lock);
		item = outbox_index_take_due(&q->index, now_wall_ms, ret_next_wall_ms);
		if (item) {
			seq = item->seq;
			once = item->once;
		}
		pthread_mutex_unlock(&q->lock);
		if (!item)
			return -ENOENT;
		r = lend_one(q, seq, once, ret);
		if (r < 0)
			outbox_take_back(q, seq, now_wall_ms + OUTBOX_UNSETTLED_RETRY_MS);
		if (r == WEIR_E_DAMAGED)
			outbox_note_damage(q->ob, seq, "the record is damaged");
	} while (r == WEIR_E_DAMAGED); /* the next one, then */
	return r;
}

/* --- settle ----------------------------------------------------------------------------------------------------- */

struct settle_op {
	struct outbox_op op;
	uint64_t seq;
	const struct outbox_settlement *s;
	struct buf body_file; /* to be removed when it is durable */
	bool once;
};

static int settle_collect(struct settle_op *t)
{
	struct outbox_op *op = &t->op;
	const struct outbox_settlement *s = t->s;
	struct outbox_item *item = outbox_index_find(&op->q->index, t->seq);
	bool is_damaged;
	struct outbox_change *c;
	int r;

	ENSURE(item && item->state == OUTBOX_SENDING); /* lent entries are settled exactly once */
	is_damaged = item->is_damaged && (s->to == OUTBOX_QUEUED || s->to == OUTBOX_HELD);
	r = outbox_change_add(op, item, OUTBOX_ROLE_SELF, is_damaged ? OUTBOX_HELD : s->to, &c);
	if (r < 0)
		return r;
	c->is_damaged = is_damaged;
	c->is_unanswered = s->to == OUTBOX_QUEUED && s->status == 0 && !s->not_an_attempt;
	c->due_ms = s->to == OUTBOX_QUEUED ? s->next_attempt_wall_ms : 0;
	if (s->to == OUTBOX_APPLIED)
		r = outbox_change_add_children(op, item, OUTBOX_ROLE_REBASE);
	else if (s->to == OUTBOX_CONFLICT)
		r = outbox_change_add_descendants(op, item, OUTBOX_ROLE_FOLLOW, false, OUTBOX_CONFLICT);
	else if (is_damaged)
		r = outbox_change_add_children(op, item, OUTBOX_ROLE_INHERIT);
	return r;
}

static void set_text(struct buf *b, struct slice s)
{
	buf_reset(b);
	buf_add_slice(b, s);
}

void outbox_settle_edit(const struct outbox_settlement *s, const struct outbox_change *c, bool once,
			struct outbox_record *rec)
{
	struct outbox_entry *e = &rec->e;
	struct slice answer = s->answer;

	e->state = c->to;
	e->damaged = e->damaged || c->is_damaged;
	if (once && s->not_an_attempt)
		e->attempts--; /* lend() counted it */
	else if (!once && !s->not_an_attempt)
		e->attempts++;
	e->next_attempt_wall_ms = c->due_ms;
	if (outbox_state_is_settled(e->state))
		e->settled_wall_ms = clock_wall_ms();
	if (!s->not_an_attempt) {
		e->last_status = s->status;
		set_text(&e->last_error, s->error);
	}
	if (e->state == OUTBOX_CONFLICT)
		outbox_base_copy(&e->theirs, &s->base);
	if (answer.n > OUTBOX_MOST_ANSWER)
		answer.n = OUTBOX_MOST_ANSWER;
	set_text(&e->answer, e->state == OUTBOX_HELD ? answer : (struct slice){ 0 });
	set_text(&e->answer_type, e->state == OUTBOX_HELD ? s->answer_type : (struct slice){ 0 });
}

static int settle_job(sqlite3 *conn, struct outbox_op *op)
{
	struct settle_op *t = CONTAINER_OF(op, struct settle_op, op);
	struct outbox_record rec;
	int r;

	pthread_mutex_lock(&op->q->lock);
	r = settle_collect(t);
	pthread_mutex_unlock(&op->q->lock);
	if (r < 0)
		return r;
	r = outbox_record_load(conn, &op->ob->st.load, t->seq, &rec);
	if (r < 0)
		return r;
	outbox_settle_edit(t->s, &op->changes[0], t->once, &rec);
	r = outbox_change_save(conn, op, &rec, &t->s->base);
	if (r == 0 && rec.e.state == OUTBOX_APPLIED) {
		set_text(&t->body_file, buf_slice(&rec.body_file));
		if (!t->body_file.len && rec.e.body_bytes)
			r = outbox_remove_body_row(conn, op->ob, t->seq);
	}
	outbox_record_fini(&rec);
	return r;
}

/* --- an end that could not be written --- */

struct end {
	struct list node;
	uint64_t seq;
	struct outbox_settlement s; /* its texts are those below */
	struct buf error, answer, answer_type;
};

static void keep_text(struct buf *b, struct slice *s)
{
	buf_init(b, 0);
	buf_add_slice(b, *s);
	*s = buf_slice(b);
}

static void keep_end(struct outbox_queue *q, uint64_t seq, const struct outbox_settlement *s)
{
	struct end *e = xcalloc(1, sizeof(*e));

	*e = (struct end){ .seq = seq, .s = *s };
	keep_text(&e->error, &e->s.error);
	keep_text(&e->answer, &e->s.answer);
	keep_text(&e->answer_type, &e->s.answer_type);
	e->s.base = (struct outbox_base){ .known = false };
	buf_init(&e->s.base.etag, 0);
	outbox_base_copy(&e->s.base, &s->base);
	pthread_mutex_lock(&q->lock);
	list_push_back(&q->ends, &e->node);
	pthread_mutex_unlock(&q->lock);
}

static void end_free(struct end *e)
{
	buf_fini(&e->error);
	buf_fini(&e->answer);
	buf_fini(&e->answer_type);
	outbox_base_fini(&e->s.base);
	free(e);
}

static struct end *take_end(struct outbox_queue *q)
{
	struct end *e = NULL;

	pthread_mutex_lock(&q->lock);
	if (!list_is_empty(&q->ends)) {
		e = LIST_ENTRY(q->ends.next, struct end, node);
		list_remove(&e->node);
	}
	pthread_mutex_unlock(&q->lock);
	return e;
}

/* --- settle, and the ends that wait --- */

/* once: known also when the transaction ends before the job has run. */
static int settle_one(struct outbox_queue *q, uint64_t seq, const struct outbox_settlement *s, bool once)
{
	struct settle_op t = { .seq = seq, .s = s, .body_file = BUF_EMPTY, .once = once };
	int r;

	do {
		t.op = (struct outbox_op){ .ob = q->ob, .q = q, .job = settle_job };
		r = outbox_op_run(&t.op);
	} while (r == -EAGAIN);
	if (r == 0 && t.body_file.len)
		outbox_bodies_remove(q->ob, buf_slice(&t.body_file));
	buf_fini(&t.body_file);
	return r;
}

int outbox_settle(struct outbox_queue *q, uint64_t seq, const struct outbox_settlement *s)
{
	struct outbox_item *item;
	bool once;
	int r;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	ENSURE(s->to == OUTBOX_APPLIED || s->to == OUTBOX_CONFLICT || s->to == OUTBOX_HELD || s->to == OUTBOX_QUEUED);
	pthread_mutex_lock(&q->lock);
	item = outbox_index_find(&q->index, seq);
	once = item && item->once;
	pthread_mutex_unlock(&q->lock);
	r = settle_one(q, seq, s, once);
	if (r < 0 && once)
		keep_end(q, seq, s);
	else if (r < 0)
		outbox_take_back(q, seq, clock_wall_ms() + OUTBOX_UNSETTLED_RETRY_MS);
	if (r < 0)
		outbox_changed(q);
	return r;
}

static int write_ends(struct outbox_queue *q)
{
	struct end *e;
	int r = 0;

	while (r == 0 && (e = take_end(q))) {
		r = settle_one(q, e->seq, &e->s, true);
		if (r < 0) {
			pthread_mutex_lock(&q->lock);
			list_push_front(&q->ends, &e->node);
			pthread_mutex_unlock(&q->lock);
		} else {
			end_free(e);
			outbox_changed(q);
		}
	}
	return r;
}

void outbox_ends_free(struct outbox_queue *q)
{
	LIST_FOREACH_SAFE(it, next, &q->ends)
		end_free(LIST_ENTRY(it, struct end, node));
}
