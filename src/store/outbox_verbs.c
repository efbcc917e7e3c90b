/* outbox_verbs.c -- what an operator does with an entry.
 *
 * retry    queued, held, conflict -> queued, due at once. Based on one that stays in conflict it loses that parent, and
 *          has the base of the oldest write that it was built on: upstream is asked whether that is still what it has.
 * rebase   held, conflict -> queued on a new base: "ours"
 * resolve  held, conflict -> resolved: "theirs"
 * drop     queued, held, conflict -> dropped; the only one for a damaged entry
 *
 * retry and rebase bring back the descendants that followed into conflict; resolve and drop leave base and parent to
 * the children. */
#include "store/outbox_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"

enum verb { VERB_RETRY, VERB_REBASE, VERB_RESOLVE, VERB_DROP };

struct verb_op {
	struct outbox_op op;
	uint64_t seq;
	enum verb verb;
	const struct outbox_base *base;
	uint64_t root; /* retry: the oldest in conflict that it was built on; 0: none */
};

static bool is_allowed(enum verb v, const struct outbox_item *i)
{
	if (i->is_damaged)
		return v == VERB_DROP;
	return i->state != OUTBOX_QUEUED || v == VERB_RETRY || v == VERB_DROP;
}

static enum outbox_state end_of(enum verb v)
{
	return v == VERB_RESOLVE ? OUTBOX_RESOLVED : v == VERB_DROP ? OUTBOX_DROPPED : OUTBOX_QUEUED;
}

static int verb_collect(struct verb_op *v)
{
	struct outbox_op *op = &v->op;
	struct outbox_item *item = outbox_index_find(&op->q->index, v->seq);
	struct outbox_change *c;
	int r;

	if (!item)
		return -EINVAL; /* settled meanwhile */
	if (item->state == OUTBOX_SENDING)
		return -EBUSY;
	if (item->in_flux || !item->is_durable)
		return -EAGAIN;
	if (!is_allowed(v->verb, item))
		return -EINVAL;
	r = outbox_change_add(op, item, OUTBOX_ROLE_SELF, end_of(v->verb), &c);
	if (r < 0)
		return r;
	c->is_unanswered = false;
	c->due_ms = 0;
	v->root = 0;
	if (v->verb == VERB_REBASE || (v->verb == VERB_RETRY && item->parent && item->parent->state == OUTBOX_CONFLICT))
		c->parent = NULL;
	for (struct outbox_item *p = item->parent; !c->parent && p; p = p->parent)
		v->root = p->seq;
	if (outbox_state_is_settled(c->to))
		return outbox_change_add_children(op, item, OUTBOX_ROLE_INHERIT);
	return outbox_change_add_descendants(op, item, OUTBOX_ROLE_REQUEUE, true, OUTBOX_QUEUED);
}

/* The base that a retried entry has when its parent stays behind. */
static int inherit_root(sqlite3 *conn, struct verb_op *v, struct outbox_record *rec)
{
	struct outbox_record root;
	int r = outbox_record_load(conn, &v->op.ob->st.load, v->root, &root);

	if (r == 0) {
		outbox_base_copy(&rec->e.base, &root.e.base);
		outbox_record_fini(&root);
	}
	return r;
}

static int verb_edit(sqlite3 *conn, struct verb_op *v, struct outbox_record *rec)
{
	struct outbox_entry *e = &rec->e;
	int r = 0;

	e->state = end_of(v->verb);
	e->next_attempt_wall_ms = 0;
	if (outbox_state_is_settled(e->state)) {
		e->settled_wall_ms = clock_wall_ms();
		return 0;
	}
	if (v->verb == VERB_REBASE)
		outbox_base_copy(&e->base, v->base);
	else if (v->root)
		r = inherit_root(conn, v, rec);
	if (v->verb == VERB_REBASE || v->root)
		e->parent = 0;
	return r;
}

static int verb_job(sqlite3 *conn, struct outbox_op *op)
{
	struct verb_op *v = CONTAINER_OF(op, struct verb_op, op);
	struct outbox_record rec;
	int r;

	pthread_mutex_lock(&op->q->lock);
	r = verb_collect(v);
	pthread_mutex_unlock(&op->q->lock);
	if (r < 0)
		return r;
	r = outbox_record_load(conn, &op->ob->st.load, v->seq, &rec);
	if (r < 0)
		return r;
	r = verb_edit(conn, v, &rec);
	if (r == 0)
		r = outbox_change_save(conn, op, &rec, NULL);
	outbox_record_fini(&rec);
	return r;
}

static int is_there(struct outbox *ob, uint64_t seq)
{
	struct outbox_entry e;
	int r = outbox_get(ob, seq, &e);

	if (r == 0)
		outbox_entry_fini(&e);
	return r;
}

static int verb_run(struct outbox *ob, uint64_t seq, enum verb verb, const struct outbox_base *base)
{
	struct outbox_queue *q;
	struct verb_op v;
	int r;

	OBJ_CHECK(ob, OUTBOX_MAGIC);
	q = outbox_queue_of(ob, seq);
	if (!q) {
		r = is_there(ob, seq);
		return r < 0 ? r : -EINVAL;
	}
	do {
		v = (struct verb_op){
			.op = { .ob = ob, .q = q, .job = verb_job }, .seq = seq, .verb = verb, .base = base
		};
		r = outbox_op_run(&v.op);
	} while (r == -EAGAIN);
	return r;
}

int outbox_retry(struct outbox *ob, uint64_t seq)
{
	return verb_run(ob, seq, VERB_RETRY, NULL);
}

int outbox_rebase(struct outbox *ob, uint64_t seq, const struct outbox_base *b)
{
	return verb_run(ob, seq, VERB_REBASE, b);
}

int outbox_resolve(struct outbox *ob, uint64_t seq)
{
	return verb_run(ob, seq, VERB_RESOLVE, NULL);
}

int outbox_drop(struct outbox *ob, uint64_t seq)
{
	return verb_run(ob, seq, VERB_DROP, NULL);
}
