/* outbox_model.c -- the outbox as store/outbox.h promises it, without a disk. */
#include "outbox_model.h"

#include <ctype.h>

#include "base/obj.h"

static bool is_pending(const struct model_entry *e)
{
	return e->is_there && (e->state == OUTBOX_QUEUED || e->state == OUTBOX_SENDING || e->state == OUTBOX_HELD);
}

bool world_may_lend(const struct world *w, unsigned i)
{
	if (!w->e[i].is_there || w->e[i].state != OUTBOX_QUEUED)
		return false;
	for (unsigned k = 0; k < i; k++)
		if (is_pending(&w->e[k]) && w->e[k].key == w->e[i].key)
			return false;
	return true;
}

bool world_is_same(const struct world *a, const struct world *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void put(struct world *w, const struct model_call *c)
{
	struct model_entry *e = &w->e[c->i];

	memset(e, 0, sizeof(*e));
	e->is_there = true;
	e->is_once = c->is_once;
	e->key = c->key;
	e->state = OUTBOX_QUEUED;
	e->base = c->base;
	for (unsigned k = 0; c->wants_parent && k < c->i; k++)
		if (is_pending(&w->e[k]) && w->e[k].key == c->key && !w->e[k].is_once)
			e->parent = (uint8_t)(k + 1);
	if (e->parent)
		e->base = 0; /* whatever it says: its parent's matters */
}

/* What is based on i, and on that. */
static void spread(struct world *w, unsigned i, enum outbox_state from, enum outbox_state to)
{
	for (unsigned k = i + 1; k < MODEL_ENTRIES; k++) {
		struct model_entry *e = &w->e[k];
		if (!e->is_there || e->parent != i + 1 || e->state != from)
			continue;
		e->state = (uint8_t)to;
		spread(w, k, from, to);
	}
}

static void inherit(struct world *w, unsigned i, unsigned base, uint8_t parent)
{
	for (unsigned k = 0; k < MODEL_ENTRIES; k++)
		if (w->e[k].is_there && w->e[k].parent == i + 1) {
			w->e[k].base = parent ? 0 : base;
			w->e[k].parent = parent;
		}
}

static void settle(struct world *w, const struct model_call *c)
{
	struct model_entry *e = &w->e[c->i];

	if (e->state != OUTBOX_SENDING)
		return;
	e->state = c->to;
	if (c->to == OUTBOX_APPLIED)
		inherit(w, c->i, c->base, 0);
	if (c->to == OUTBOX_CONFLICT)
		spread(w, c->i, OUTBOX_QUEUED, OUTBOX_CONFLICT);
}

static void operate(struct world *w, const struct model_call *c)
{
	struct model_entry *e = &w->e[c->i];
	bool is_queued = e->state == OUTBOX_QUEUED,
	     is_set_aside = e->state == OUTBOX_CONFLICT || e->state == OUTBOX_HELD;

	if (!e->is_there || (!is_set_aside && !(is_queued && (c->op == M_RETRY || c->op == M_DROP))))
		return;
	if (c->op == M_DROP || c->op == M_RESOLVE) {
		inherit(w, c->i, e->base, e->parent);
		e->state = c->op == M_DROP ? OUTBOX_DROPPED : OUTBOX_RESOLVED;
		e->is_unknown = false;
		return;
	}
	if (c->op == M_REBASE) {
		e->base = c->base;
		e->parent = 0;
	}
	e->state = OUTBOX_QUEUED;
	e->is_unknown = false;
	spread(w, c->i, OUTBOX_CONFLICT, OUTBOX_QUEUED);
}

/* What a start makes of entries that had been lent. */
static void restart(struct world *w)
{
	for (unsigned i = 0; i < MODEL_ENTRIES; i++) {
		struct model_entry *e = &w->e[i];
		if (!e->is_there || e->state != OUTBOX_SENDING)
			continue;
		e->state = e->is_once ? OUTBOX_HELD : OUTBOX_QUEUED;
		e->is_unknown = e->is_once;
	}
}

void world_do(struct world *w, const struct model_call *c)
{
	switch (c->op) {
	case M_PUT: put(w, c); break;
	case M_LEND:
		if (w->e[c->i].state == OUTBOX_QUEUED) /* not when it may be settled already */
			w->e[c->i].state = OUTBOX_SENDING;
		break;
	case M_SETTLE: settle(w, c); break;
	case M_PURGE:
		for (unsigned i = 0; i < MODEL_ENTRIES; i++)
			if (w->e[i].is_there && outbox_state_is_settled(w->e[i].state) &&
			    !isupper((unsigned char)w->e[i].key) == !isupper((unsigned char)c->key))
				memset(&w->e[i], 0, sizeof(w->e[i]));
		break;
	case M_GIVE_BACK: /* a settlement that was not written; of one sent once, the end is not known */
		if (w->e[c->i].state == OUTBOX_SENDING && !w->e[c->i].is_once)
			w->e[c->i].state = OUTBOX_QUEUED;
		break;
	case M_RESTART: restart(w); break;
	default: operate(w, c);
	}
}

static void add(struct worlds *ws, const struct world *w)
{
	for (unsigned i = 0; i < ws->n; i++)
		if (world_is_same(&ws->w[i], w))
			return;
	ENSURE(ws->n < MODEL_WORLDS);
	ws->w[ws->n++] = *w;
}

void worlds_maybe(struct worlds *ws, const struct model_call *c)
{
	unsigned n = ws->n;

	for (unsigned i = 0; i < n; i++) {
		struct world w = ws->w[i];
		world_do(&w, c);
		add(ws, &w);
	}
}

void worlds_done(struct worlds *ws, const struct model_call *c)
{
	struct worlds before = *ws;

	ws->n = 0;
	for (unsigned i = 0; i < before.n; i++) {
		world_do(&before.w[i], c);
		add(ws, &before.w[i]);
	}
}
