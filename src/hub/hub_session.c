/* hub_session.c -- the rules of sessions.
 *
 *                    end                 crash, or its machine came back without it
 *   active <-----> ----------> ended    ---------------> crashed (for ever)
 *      |  heartbeats             (an ended one can still be reported crashed)
 *      v  too old, back when they are fresh
 *   suspended
 *
 * WHAT     suspended is never stored: it is what an open session is while its last heartbeat is too old. A session that
 *          never had a heartbeat is active.
 * RULES    1. A batch's operation is applied at most once: its number and what it does are one transaction.
 *          2. Every operation makes exactly one item; a crash makes the event that tells of it.
 *          3. The history keeps what each update changed; who reads it gets the states, made one after the other.
 * WHY      (3) An update costs what it changes, not what the session has become. */
#include "hub/hub_session.h"

#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "base/str.h"
#include "core/json_merge.h"

struct hub_status hub_session_status(const struct hub_session *s, int64_t stale_ms)
{
	bool open = !(s->flags & (HUB_ENDED | HUB_CRASHED));
	bool stale = s->beat_ms && s->beat_ms < stale_ms;

	return (struct hub_status){ .active = open && !stale,
				    .suspended = open && stale,
				    .crashed = s->flags & HUB_CRASHED,
				    .hung = s->flags & HUB_HUNG };
}

static int add_item(struct hub_store *st, struct hub_tx *tx, struct hub_session *s, enum hub_list list,
		    struct slice body)
{
	int r = st->t->put_item(tx, s->number, list, s->counts[list], body);

	if (r == 0)
		s->counts[list]++;
	return r;
}

/* --- creation --------------------------------------------------------------------------------------------------- */

/* Version 4: random (RFC 9562 5.4). */
static void make_id(char *ret, size_t room)
{
	unsigned char b[16];

	rand_bytes(b, sizeof(b));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	(void)snprintf(ret, room, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		       b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static int crash_suspended(struct hub_store *st, struct hub_tx *tx, struct slice machine_id, const struct hub_moment *m,
			   int64_t *ret_crashed)
{
	struct hub_session s = HUB_SESSION_EMPTY;
	struct buf time = BUF_EMPTY, event = BUF_EMPTY;
	int r = 0;

	clock_format_rfc3339(m->now_ms, &time);
	hub_op_write_crash_event(buf_slice(&time), SLICE_LIT("machine_returned_session_not_resumed"), machine_id,
				 &event);
	while ((r = st->t->find_suspended(tx, machine_id, m->stale_ms, &s)) == 0) {
		s.flags |= HUB_CRASHED | (s.flags & HUB_HUNG ? HUB_HUNG_AT_CRASH : 0);
		s.updated_ms = m->now_ms;
		r = add_item(st, tx, &s, HUB_EVENTS, buf_slice(&event));
		if (r == 0)
			r = st->t->update(tx, &s);
		if (r < 0)
			break;
		++*ret_crashed;
	}
	hub_session_fini(&s);
	buf_fini(&time);
	buf_fini(&event);
	return r == -ENOENT ? 0 : r;
}

static int add_session(struct hub_store *st, struct hub_tx *tx, const struct hub_creation *c,
		       const struct hub_moment *m, struct hub_session *s)
{
	struct buf state = BUF_EMPTY;
	int r;

	make_id(s->id, sizeof(s->id));
	buf_add_slice(&s->product, c->product);
	buf_add_slice(&s->version, c->version);
	buf_add_slice(&s->machine_id, c->machine_id);
	buf_add_slice(&s->hostname, c->hostname);
	buf_add_slice(&s->extra, c->extra);
	s->created_ms = c->created_ms ? c->created_ms : m->now_ms;
	s->updated_ms = m->now_ms;
	buf_add_str(&state, "{\"product\":");
	json_write_text(c->product, &state);
	buf_add_str(&state, ",\"version\":");
	json_write_text(c->version, &state);
	buf_add_char(&state, '}');
	r = st->t->add(tx, s, c->key);
	if (r == 0)
		r = st->t->put_state(tx, s->number, buf_slice(&state));
	buf_fini(&state);
	return r;
}

int hub_session_create(struct hub_store *st, struct hub_tx *tx, const struct hub_creation *c,
		       const struct hub_moment *m, struct hub_session *ret, bool *ret_known, int64_t *ret_crashed)
{
	int r;

	hub_session_fini(ret); /* of a run before this one */
	r = c->key.p ? st->t->find_key(tx, c->key, ret) : -ENOENT;

	*ret_known = r == 0;
	*ret_crashed = 0;
	if (r != -ENOENT)
		return r;
	r = c->machine_id.n ? crash_suspended(st, tx, c->machine_id, m, ret_crashed) : 0;
	if (r == 0)
		r = add_session(st, tx, c, m, ret);
	return r;
}

/* --- operations ------------------------------------------------------------------------------------------------- */

static int read_state(struct hub_store *st, struct hub_tx *tx, const struct hub_session *s, json_t **ret)
{
	struct buf text = BUF_EMPTY;
	int r = st->t->get_state(tx, s->number, &text);

	if (r == 0)
		r = json_read(buf_slice(&text), JSON_READ_KEPT, ret, NULL);
	buf_fini(&text);
	return r == 0 ? 0 : r == -ENOENT || r == WEIR_E_PARSE ? WEIR_E_DAMAGED : r;
}

static int apply_state(struct hub_store *st, struct hub_tx *tx, struct hub_session *s, struct hub_op *op)
{
	struct buf text = BUF_EMPTY;
	json_t *state = NULL;
	int r = read_state(st, tx, s, &state);

	if (r < 0)
		return r;
	json_merge(state, op->patch);
	json_write(state, &text);
	if (text.len > HUB_MOST_STATE_BYTES) {
		op->status = 413;
		buf_addf(&op->error, "The state of a session is at most %d bytes, this one would have %zu",
			 HUB_MOST_STATE_BYTES, text.len);
	} else {
		r = st->t->put_state(tx, s->number, buf_slice(&text));
		if (r == 0)
			r = add_item(st, tx, s, HUB_HISTORY, buf_slice(&op->body));
	}
	json_decref(state);
	buf_fini(&text);
	return r;
}

static int apply_event(struct hub_store *st, struct hub_tx *tx, struct hub_session *s, const struct hub_op *op)
{
	if (op->hang == HUB_HANG_BEGINS)
		s->flags |= HUB_HUNG | HUB_HUNG_EVER;
	if (op->hang == HUB_HANG_ENDS) {
		s->flags |= s->flags & HUB_HUNG ? HUB_HUNG_RECOVERED : 0;
		s->flags &= ~(unsigned)HUB_HUNG;
	}
	return add_item(st, tx, s, HUB_EVENTS, buf_slice(&op->body));
}

static void apply_end(struct hub_session *s, const struct hub_op *op, const struct hub_moment *m)
{
	if (s->flags & (HUB_ENDED | HUB_CRASHED))
		return; /* told twice: the first time counts */
	s->flags |= HUB_ENDED | (s->flags & HUB_HUNG ? HUB_HUNG_AT_END : 0);
	s->ended_ms = op->time_ms ? op->time_ms : m->now_ms;
}

static int apply_crash(struct hub_store *st, struct hub_tx *tx, struct hub_session *s, const struct hub_op *op,
		       const struct hub_moment *m)
{
	if (!(s->flags & HUB_CRASHED)) {
		s->flags |= HUB_CRASHED | (s->flags & HUB_HUNG ? HUB_HUNG_AT_CRASH : 0);
		s->flags &= ~(unsigned)HUB_HUNG;
		s->ended_ms = op->time_ms ? op->time_ms : m->now_ms;
	}
	return add_item(st, tx, s, HUB_EVENTS, buf_slice(&op->body));
}

static int apply_one(struct hub_store *st, struct hub_tx *tx, struct hub_session *s, struct hub_op *op,
		     const struct hub_moment *m)
{
	switch (op->type) {
	case HUB_OP_STATE: return apply_state(st, tx, s, op);
	case HUB_OP_EVENT: return apply_event(st, tx, s, op);
	case HUB_OP_METRIC: return add_item(st, tx, s, HUB_METRICS, buf_slice(&op->body));
	case HUB_OP_HEARTBEAT:
		s->heartbeat_ms = m->now_ms;
		s->beat_ms = m->steady_ms;
		return 0;
	case HUB_OP_END: apply_end(s, op, m); return 0;
	default: return apply_crash(st, tx, s, op, m);
	}
}

int hub_session_apply(struct hub_store *st, struct hub_tx *tx, struct slice id, struct hub_op *ops, size_t count,
		      bool by_seq, const struct hub_moment *m, int64_t *ret_applied)
{
	struct hub_session s = HUB_SESSION_EMPTY;
	bool changed = false;
	int r = st->t->find(tx, id, &s);

	for (size_t i = 0; i < count && r == 0; i++) {
		ops[i].skipped = by_seq && ops[i].seq <= s.applied_seq;
		if (ops[i].skipped)
			continue;
		if (!ops[i].status)
			r = apply_one(st, tx, &s, &ops[i], m);
		if (by_seq)
			s.applied_seq = ops[i].seq;
		changed = changed || by_seq || !ops[i].status;
	}
	if (r == 0 && changed) {
		s.updated_ms = m->now_ms;
		r = st->t->update(tx, &s);
	}
	if (r == 0)
		*ret_applied = s.applied_seq;
	hub_session_fini(&s);
	return r;
}
