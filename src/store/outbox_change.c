/* outbox_change.c -- an entry and its children change together, on disk and in memory.
 *
 * A job first collects, under the queue's lock, which entries change and into what; then writes their rows; after the
 * commit the index follows (outbox_changes_apply), or all is as it was (undo). Between job and commit an item says what
 * the transaction has (next_state, for the jobs behind it) beside what is durable (state, for everybody else), and is
 * in flux: it is not lent, and another job that wants to change anything under its key runs again in the next
 * transaction.
 *
 * role      who                      its row
 * SELF      the entry itself         edited by the caller
 * REBASE    children of an applied   base: what upstream has now; no parent
 * FOLLOW    descendants of one that  conflict; theirs as their ancestor's
 *           got into conflict
 * INHERIT   children of a dropped,   base and parent of what is gone
 *           resolved or damaged one
 * ORPHAN    children of one whose      conflict; no parent: what they are based on is not known, and they are never
 *           record cannot be read      sent as if they had no base
 * REQUEUE   descendants in conflict  queued; due at once
 *           of one that is queued
 *           anew
 * MATE      others of its key that   edited by the caller
 *           are settled with it */
#include "store/outbox_priv.h"

#include "base/err.h"
#include "base/obj.h"

/* --- collecting ------------------------------------------------------------------------------------------------- */

static void set_in_flux(struct outbox_item *item, bool is)
{
	item->in_flux = is;
	if (item->key)
		item->key->in_flux += is ? 1 : -1u;
}

int outbox_change_add(struct outbox_op *op, struct outbox_item *item, enum outbox_role role, enum outbox_state to,
		      struct outbox_change **ret)
{
	struct outbox_change *c;

	/* One job for each key: who is whose child is only settled when its transaction is. */
	if (item->in_flux || (item->key && role == OUTBOX_ROLE_SELF && item->key->in_flux))
		return -EAGAIN;
	if (op->change_count == op->change_cap) {
		op->change_cap = op->change_cap ? op->change_cap * 2 : 4;
		op->changes = xrealloc(op->changes, op->change_cap * sizeof(*op->changes));
	}
	c = &op->changes[op->change_count++];
	*c = (struct outbox_change){ .item = item,
				     .role = role,
				     .to = to,
				     .due_ms = item->due_ms,
				     .parent = item->parent,
				     .is_unanswered = item->is_unanswered };
	set_in_flux(item, true);
	item->next_state = (uint8_t)to;
	outbox_index_reconsider(&op->q->index, item);
	if (ret)
		*ret = c;
	return 0;
}

static bool descends_from(const struct outbox_item *i, const struct outbox_item *ancestor)
{
	for (i = i->parent; i; i = i->parent)
		if (i == ancestor)
			return true;
	return false;
}

static int add_relative(struct outbox_op *op, struct outbox_item *i, enum outbox_role role, enum outbox_state to,
			struct outbox_change **ret)
{
	int r = outbox_change_add(op, i, role, to, ret);

	if (r == 0 && role == OUTBOX_ROLE_REQUEUE)
		(*ret)->due_ms = 0;
	return r;
}

/* Children in one of the two lists of the key, until *left are found; their base and parent change. */
static int add_children(struct outbox_op *op, struct list *among, struct outbox_item *item, enum outbox_role role,
			uint32_t *left)
{
	struct outbox_change *c;

	for (struct list *it = among->next; it != among && *left > 0; it = it->next) {
		struct outbox_item *i = LIST_ENTRY(it, struct outbox_item, in_key);
		int r;

		if (i->parent != item)
			continue;
		--*left;
		if (outbox_state_is_settled(i->next_state))
			continue;
		r = add_relative(op, i, role, i->next_state, &c);
		if (r < 0)
			return r;
		c->parent = role == OUTBOX_ROLE_INHERIT ? item->parent : NULL;
	}
	return 0;
}

int outbox_change_add_children(struct outbox_op *op, struct outbox_item *item, enum outbox_role role)
{
	uint32_t left = item->children;
	int r;

	if (!item->key)
		return 0;
	r = add_children(op, &item->key->pending, item, role, &left);
	return r < 0 ? r : add_children(op, &item->key->conflicts, item, role, &left);
}

int outbox_change_add_descendants(struct outbox_op *op, struct outbox_item *item, enum outbox_role role,
				  bool in_conflict, enum outbox_state to)
{
	struct outbox_change *c;
	struct list *among;

	if (!item->key || item->children == 0)
		return 0;
	among = in_conflict ? &item->key->conflicts : &item->key->pending;
	LIST_FOREACH(it, among) {
		struct outbox_item *i = LIST_ENTRY(it, struct outbox_item, in_key);
		int r;

		if (outbox_state_is_settled(i->next_state) || !descends_from(i, item))
			continue;
		r = add_relative(op, i, role, to, &c);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

static void set_error(struct outbox_record *rec, const char *text)
{
	buf_reset(&rec->e.last_error);
	buf_add_str(&rec->e.last_error, text);
}

static void edit_relative(struct outbox_record *rec, const struct outbox_change *c, const struct outbox_record *self,
			  const struct outbox_base *base)
{
	struct outbox_entry *e = &rec->e;

	e->state = c->to;
	switch (c->role) {
	case OUTBOX_ROLE_REBASE:
		e->parent = 0;
		outbox_base_copy(&e->base, base);
		break;
	case OUTBOX_ROLE_FOLLOW:
		outbox_base_copy(&e->theirs, base);
		set_error(rec, "the write that this one is based on is in conflict");
		break;
	case OUTBOX_ROLE_INHERIT:
		e->parent = self->e.parent;
		outbox_base_copy(&e->base, &self->e.base);
		break;
	case OUTBOX_ROLE_ORPHAN:
		e->parent = 0;
		set_error(rec, OUTBOX_ORPHAN_TEXT);
		break;
	case OUTBOX_ROLE_REQUEUE:
		e->next_attempt_wall_ms = 0;
		outbox_base_copy(&e->theirs, &(struct outbox_base){ 0 });
		set_error(rec, "");
		break;
	case OUTBOX_ROLE_SELF:
	case OUTBOX_ROLE_MATE:
		break;
	}
}

int outbox_change_save(sqlite3 *conn, struct outbox_op *op, const struct outbox_record *self,
		       const struct outbox_base *base)
{
	struct outbox *ob = op->ob;
	int r = self ? outbox_record_save(conn, &ob->st.save, self) : 0;

	for (size_t i = 1; i < op->change_count && r == 0; i++) {
		struct outbox_record rec;
		r = outbox_record_load(conn, &ob->st.load, op->changes[i].item->seq, &rec);
		if (r < 0)
			break;
		edit_relative(&rec, &op->changes[i], self, base);
		r = outbox_record_save(conn, &ob->st.save, &rec);
		outbox_record_fini(&rec);
	}
	return r;
}

int outbox_remove_body_row(sqlite3 *conn, struct outbox *ob, uint64_t seq)
{
	int r = outbox_prepare(conn, &ob->st.remove_body, "DELETE FROM bodies WHERE seq=?1"), rc;

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(ob->st.remove_body, 1, (int64_t)seq); /* cannot fail */
	rc = sqlite3_step(ob->st.remove_body);
	(void)sqlite3_reset(ob->st.remove_body); /* repeats the failure of the step */
	return db_code(rc);
}

/* --- the index follows ------------------------------------------------------------------------------------------ */

static void apply(struct outbox_queue *q, const struct outbox_change *c)
{
	if (outbox_state_is_settled(c->to)) {
		q->used_entries--;
		q->used_bytes -= c->item->body_bytes;
	}
	if (c->is_damaged)
		outbox_index_set_damaged(&q->index, c->item);
	else
		outbox_index_move(&q->index, c->item, c->to);
}

void outbox_changes_apply(struct outbox_op *op)
{
	if (op->change_count == 0)
		return;
	pthread_mutex_lock(&op->q->lock);
	for (size_t i = 0; i < op->change_count; i++) {
		const struct outbox_change *c = &op->changes[i];
		set_in_flux(c->item, false);
		outbox_index_set_parent(c->item, c->parent);
		c->item->due_ms = c->due_ms;
		c->item->is_unanswered = c->is_unanswered;
	}
	for (size_t i = 0; i < op->change_count; i++)
		apply(op->q, &op->changes[i]);
	pthread_mutex_unlock(&op->q->lock);
	op->change_count = 0;
}

void outbox_changes_undo(struct outbox_op *op)
{
	if (op->change_count == 0)
		return;
	pthread_mutex_lock(&op->q->lock);
	for (size_t i = 0; i < op->change_count; i++) {
		struct outbox_item *item = op->changes[i].item;
		set_in_flux(item, false);
		item->next_state = item->state;
		if (item->is_gone)
			outbox_index_remove(&op->q->index, item);
		else
			outbox_index_reconsider(&op->q->index, item);
	}
	pthread_mutex_unlock(&op->q->lock);
	op->change_count = 0;
}

/* --- damage that is noticed later ------------------------------------------------------------------------------- */

struct damage_op {
	struct outbox_op op;
	uint64_t seq;
	const char *what;
};

static int damage_collect(struct outbox_op *op, uint64_t seq)
{
	struct outbox_item *item = outbox_index_find(&op->q->index, seq);
	struct outbox_change *c;
	int r;

	if (!item || item->is_damaged)
		return -ENOENT;
	if (item->in_flux)
		return -EAGAIN;
	if (item->state == OUTBOX_SENDING) {
		item->is_damaged = true;
		atomic_fetch_add(&op->ob->damaged, 1);
		return -EBUSY;
	}
	r = outbox_change_add(op, item, OUTBOX_ROLE_SELF, OUTBOX_HELD, &c);
	if (r == 0) {
		c->is_damaged = true;
		r = outbox_change_add_children(op, item, OUTBOX_ROLE_INHERIT);
	}
	return r;
}

/* The record cannot tell what its children were to be based on. */
static int orphan_children(struct outbox_op *op)
{
	size_t children = op->change_count;
	int r = 0;

	pthread_mutex_lock(&op->q->lock);
	for (size_t i = 1; i < children && r == 0; i++) {
		struct outbox_change *c = &op->changes[i];
		c->role = OUTBOX_ROLE_ORPHAN;
		c->to = OUTBOX_CONFLICT;
		c->parent = NULL;
		c->item->next_state = OUTBOX_CONFLICT;
		r = outbox_change_add_descendants(op, c->item, OUTBOX_ROLE_FOLLOW, false, OUTBOX_CONFLICT);
	}
	pthread_mutex_unlock(&op->q->lock);
	return r;
}

static int damage_job(sqlite3 *conn, struct outbox_op *op)
{
	struct damage_op *d = CONTAINER_OF(op, struct damage_op, op);
	struct outbox_record rec;
	bool is_there;
	int r;

	pthread_mutex_lock(&op->q->lock);
	r = damage_collect(op, d->seq);
	pthread_mutex_unlock(&op->q->lock);
	if (r < 0)
		return r;
	r = outbox_record_load(conn, &op->ob->st.load, d->seq, &rec);
	is_there = r == 0;
	if (r < 0 && r != -ENOENT && r != WEIR_E_DAMAGED)
		return r;
	if (!is_there || !rec.is_whole) {
		r = orphan_children(op);
		if (r == 0) /* of the record nothing is written: its sums tell */
			r = outbox_change_save(conn, op, NULL, &(struct outbox_base){ 0 });
	} else {
		rec.e.state = OUTBOX_HELD;
		rec.e.damaged = true;
		set_error(&rec, d->what);
		r = outbox_change_save(conn, op, &rec, NULL);
	}
	if (is_there)
		outbox_record_fini(&rec);
	return r;
}

void outbox_note_damage(struct outbox *ob, uint64_t seq, const char *what)
{
	struct outbox_queue *q = outbox_queue_of(ob, seq);
	int r;

	if (!q)
		return;
	do {
		struct damage_op d = { .op = { .ob = ob, .q = q, .job = damage_job }, .seq = seq, .what = what };
		r = outbox_op_run(&d.op);
	} while (r == -EAGAIN);
	if (r == 0)
		atomic_fetch_add(&ob->damaged, 1); /* else it is noticed again when it is looked at again */
}
