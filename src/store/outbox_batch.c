/* outbox_batch.c -- several entries of one key at once: lent together, settled in one transaction, looked through.
 *
 * WHY      An upstream that takes a hundred operations in one request shall not cost a hundred syncs afterwards.
 * RULES    1. What is lent more is what stands directly behind the first, so that order holds however much goes
 *             together.
 *          2. Only what has neither parent nor children, and may be sent twice: its settlement touches nothing else,
 *             and lending it writes nothing. */
#include "store/outbox_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"

/* --- lend ------------------------------------------------------------------------------------------------------- */

static bool may_go_too(const struct outbox_item *i)
{
	return i->state == OUTBOX_QUEUED && i->is_durable && !i->in_flux && !i->is_damaged && !i->once && !i->is_base &&
	       !i->parent;
}

/* Marks them as being sent, and notes who they are. */
static size_t take(struct outbox_queue *q, uint64_t first, size_t most, uint64_t most_bytes, uint64_t *seqs)
{
	struct outbox_item *item;
	uint64_t bytes = 0;
	size_t n = 0;

	pthread_mutex_lock(&q->lock);
	item = outbox_index_find(&q->index, first);
	ENSURE(item && item->key && item->state == OUTBOX_SENDING);
	for (struct list *it = item->in_key.next; it != &item->key->pending && n < most; it = it->next) {
		struct outbox_item *i = LIST_ENTRY(it, struct outbox_item, in_key);
		if (!may_go_too(i) || bytes + i->body_bytes > most_bytes)
			break;
		bytes += i->body_bytes;
		outbox_index_send_too(&q->index, i);
		seqs[n++] = i->seq;
	}
	pthread_mutex_unlock(&q->lock);
	return n;
}

size_t outbox_lend_more(struct outbox_queue *q, const struct outbox_entry *first, size_t most, uint64_t most_bytes,
			struct outbox_entry *ret)
{
	uint64_t *seqs = xcalloc(most + 1, sizeof(*seqs));
	size_t n, got = 0;
	int r = 0;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	n = take(q, first->seq, most, most_bytes, seqs);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = outbox_get(q->ob, seqs[i], &ret[got]);
		if (r == 0 && ret[got].damaged) {
			outbox_entry_fini(&ret[got]);
			r = WEIR_E_DAMAGED;
		}
		if (r < 0) /* this one and all behind it: when they are first, outbox_lend() sees what is the matter */
			outbox_take_back(q, seqs[i], 0);
		else
			got++;
	}
	free(seqs);
	return got;
}

/* --- settle ----------------------------------------------------------------------------------------------------- */

struct settle_all {
	struct outbox_op op;
	const uint64_t *seqs;
	const struct outbox_settlement *each;
	size_t count;
	struct buf *body_files; /* one for each: to be removed when it is durable */
};

static int collect(struct settle_all *t)
{
	struct outbox_op *op = &t->op;

	for (size_t i = 0; i < t->count; i++) {
		const struct outbox_settlement *s = &t->each[i];
		struct outbox_item *item = outbox_index_find(&op->q->index, t->seqs[i]);
		struct outbox_change *c;
		int r;

		ENSURE(item && item->state == OUTBOX_SENDING && s->to != OUTBOX_CONFLICT);
		r = outbox_change_add(op, item, i ? OUTBOX_ROLE_MATE : OUTBOX_ROLE_SELF,
				      item->is_damaged && s->to != OUTBOX_APPLIED ? OUTBOX_HELD : s->to, &c);
		if (r < 0)
			return r;
		c->is_damaged = item->is_damaged && s->to != OUTBOX_APPLIED;
		c->is_unanswered = s->to == OUTBOX_QUEUED && s->status == 0 && !s->not_an_attempt;
		c->due_ms = s->to == OUTBOX_QUEUED ? s->next_attempt_wall_ms : 0;
	}
	return 0;
}

static int settle_row(sqlite3 *conn, struct settle_all *t, size_t i)
{
	struct outbox *ob = t->op.ob;
	struct outbox_record rec;
	int r = outbox_record_load(conn, &ob->st.load, t->seqs[i], &rec);

	if (r < 0)
		return r;
	outbox_settle_edit(&t->each[i], &t->op.changes[i], false, &rec);
	r = outbox_record_save(conn, &ob->st.save, &rec);
	if (r == 0 && rec.e.state == OUTBOX_APPLIED) {
		buf_reset(&t->body_files[i]);
		buf_add_slice(&t->body_files[i], buf_slice(&rec.body_file));
		if (!rec.body_file.len && rec.e.body_bytes)
			r = outbox_remove_body_row(conn, ob, t->seqs[i]);
	}
	outbox_record_fini(&rec);
	return r;
}

static int settle_job(sqlite3 *conn, struct outbox_op *op)
{
	struct settle_all *t = CONTAINER_OF(op, struct settle_all, op);
	int r;

	pthread_mutex_lock(&op->q->lock);
	r = collect(t);
	pthread_mutex_unlock(&op->q->lock);
	for (size_t i = 0; i < t->count && r == 0; i++)
		r = settle_row(conn, t, i);
	return r;
}

int outbox_settle_all(struct outbox_queue *q, const uint64_t *seqs, const struct outbox_settlement *each, size_t count)
{
	struct settle_all t = {
		.seqs = seqs, .each = each, .count = count, .body_files = xcalloc(count + 1, sizeof(struct buf))
	};
	int r;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	for (size_t i = 0; i < count; i++)
		buf_init(&t.body_files[i], 0);
	do {
		t.op = (struct outbox_op){ .ob = q->ob, .q = q, .job = settle_job };
		r = outbox_op_run(&t.op);
	} while (r == -EAGAIN);
	for (size_t i = 0; i < count; i++) {
		if (r == 0 && t.body_files[i].len)
			outbox_bodies_remove(q->ob, buf_slice(&t.body_files[i]));
		if (r < 0)
			outbox_take_back(q, seqs[i], clock_wall_ms() + OUTBOX_UNSETTLED_RETRY_MS);
		buf_fini(&t.body_files[i]);
	}
	if (r < 0)
		outbox_changed(q);
	free(t.body_files);
	return r;
}

/* --- a key ------------------------------------------------------------------------------------------------------ */

void outbox_wake_key(struct outbox_queue *q, struct slice key)
{
	const struct outbox_key *k;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	k = outbox_keys_find(&q->index.keys, key);
	if (k && !list_is_empty(&k->pending)) {
		LIST_FOREACH (it, &k->pending) {
			struct outbox_item *i = LIST_ENTRY(it, struct outbox_item, in_key);
			if (i->state == OUTBOX_QUEUED && !i->is_unanswered)
				i->due_ms = 0;
		}
		outbox_index_reconsider(&q->index, LIST_ENTRY(k->pending.next, struct outbox_item, in_key));
	}
	pthread_mutex_unlock(&q->lock);
	outbox_changed(q);
}

#define LOOK_AT_ONCE 256

/* is_counted: it is committed, though its put may not have been told yet, for which lending waits. */
static size_t add_seqs(const struct list *among, struct slice uri, uint64_t after, uint64_t *seqs, size_t n)
{
	uint32_t hash = (uint32_t)hash_bytes(uri.p, uri.n);

	LIST_FOREACH (it, among) {
		const struct outbox_item *i = LIST_ENTRY(it, const struct outbox_item, in_key);
		if (n == LOOK_AT_ONCE)
			break;
		if (i->seq > after && i->is_counted && (!uri.p || i->uri_hash == hash))
			seqs[n++] = i->seq;
	}
	return n;
}

/* The next few of the pending. */
static size_t look(struct outbox_queue *q, struct slice key, struct slice uri, uint64_t after, uint64_t *seqs)
{
	const struct outbox_key *k;
	size_t n = 0;

	pthread_mutex_lock(&q->lock);
	k = outbox_keys_find(&q->index.keys, key);
	if (k)
		n = add_seqs(&k->pending, uri, after, seqs, 0);
	pthread_mutex_unlock(&q->lock);
	return n;
}

int outbox_key_each(struct outbox_queue *q, struct slice key, struct slice uri, uint64_t after, outbox_each_fn *fn,
		    void *arg)
{
	uint64_t seqs[LOOK_AT_ONCE];
	bool go_on = true;
	size_t n;
	int r = 0;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	while (go_on && r == 0 && (n = look(q, key, uri, after, seqs)) > 0) {
		for (size_t i = 0; i < n && go_on && r == 0; i++) {
			struct outbox_entry e;

			after = seqs[i];
			r = outbox_get(q->ob, seqs[i], &e);
			if (r == 0) {
				if (!outbox_state_is_settled(e.state) && (!uri.p || slice_eq(buf_slice(&e.uri), uri)))
					go_on = fn(arg, &e);
				outbox_entry_fini(&e);
			} else if (r == -ENOENT) {
				r = 0; /* settled and purged since */
			}
		}
	}
	return r;
}
