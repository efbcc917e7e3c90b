/* outbox_play.c -- playing a script of steps against the outbox and its model.
 *
 * Before each call the notes say what may be there if the process ends in it; afterwards what it said. -EIO leaves both
 * possible: the commit may be on the disk though its sync failed. Any other code means that nothing was done. */
#include "outbox_play.h"

#include <ctype.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

/* --- the outbox under test -------------------------------------------------------------------------------------- */

static struct outbox_queue *queue_of(const struct play *p, char key)
{
	return p->queue[isupper((unsigned char)key) ? 1 : 0];
}

int play_open(struct play *p)
{
	struct outbox_limits limits = { .keep_settled_ms = 1000 };
	struct buf err = BUF_EMPTY;
	int r = outbox_open(p->run->dir, &p->ob, &err);

	EXPECT(p->run, r == 0 || err.len > 0, "refuses to open without a sentence");
	buf_fini(&err);
	if (r < 0)
		return r;
	p->queue[0] = outbox_queue(p->ob, "files", &limits);
	p->queue[1] = outbox_queue(p->ob, "other", &limits);
	EXPECT(p->run, p->queue[0] && p->queue[1], "no queue");
	return 0;
}

void play_body(unsigned i, unsigned bytes, struct buf *out)
{
	char *p = buf_reserve(out, bytes);
	unsigned period = 7 * 11 * 50;

	for (unsigned n = 0; n < bytes; n++)
		p[n] = n < period ? (char)('A' + (n / 7 + i * 5 + n % 11) % 50) : p[n - period];
	out->len += bytes;
}

/* The number of an entry, by the key it was given. */
unsigned play_number(struct run *run, const struct outbox_entry *e)
{
	uint64_t n = MODEL_ENTRIES;

	EXPECT(run, e->idempotency_key.len > 4 && str_parse_u64(slice_from(buf_slice(&e->idempotency_key), 4), &n) == 0,
	       "an entry that nobody put: %s", e->id);
	EXPECT(run, n < MODEL_ENTRIES, "an entry that nobody put: %s", e->id);
	return (unsigned)n;
}

static void tag(struct buf *out, unsigned base)
{
	buf_reset(out);
	buf_addf(out, "\"%u\"", base);
}

/* --- the notes -------------------------------------------------------------------------------------------------- */

static void begins(struct play *p, const struct model_call *c)
{
	p->was_readonly = outbox_is_readonly(p->ob);
	p->room->if_done = p->room->worlds;
	worlds_maybe(&p->room->if_done, c);
	atomic_store(&p->room->is_under_way, true);
}

static void ends(struct play *p, const struct model_call *c, int r)
{
	if (p->was_readonly)
		; /* nothing is written any more, whatever it says of what it found to do */
	else if (r == 0)
		worlds_done(&p->room->worlds, c);
	else if (r == -EIO)
		p->room->worlds = p->room->if_done;
	atomic_store(&p->room->is_under_way, false);
	p->room->codes += r < 0;
}

const struct worlds *play_possible(const struct play *p)
{
	return atomic_load(&p->room->is_under_way) ? &p->room->if_done : &p->room->worlds;
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

static bool is_for_a_while(const struct run *run)
{
	return run->fault == DISK_ENOSPC || run->fault == DISK_EMFILE;
}

static int put_through(struct play *p, const struct step *s, const struct model_call *c, struct outbox_receipt *receipt)
{
	struct outbox_queue *q = queue_of(p, s->key);
	struct outbox_write w = {
		.key = { &s->key, 1 },
		.method = s->is_once ? SLICE_LIT("POST") : SLICE_LIT("PUT"),
		.headers = SLICE_LIT("Content-Type: text/plain\nX-Test: yes\n"),
		.content_type = SLICE_LIT("text/plain"),
		.once = s->is_once,
		.wants_parent = s->wants_parent,
		.is_base = !s->is_once,
		.expect_tail = OUTBOX_ANY,
		.base = { .known = true, .etag = BUF_EMPTY },
	};
	struct buf uri = BUF_EMPTY, name = BUF_EMPTY, body = BUF_EMPTY;
	int r = 0;

	buf_addf(&uri, "/%c", s->key);
	buf_addf(&name, "put-%u", c->i);
	tag(&w.base.etag, c->base);
	play_body(c->i, s->bytes, &body);
	w.uri = buf_slice(&uri);
	w.idempotency_key = buf_slice(&name);
	if (s->bytes <= OUTBOX_INLINE_BYTES) {
		w.body = buf_slice(&body);
	} else {
		r = outbox_spool_new(q, &w.spool);
		for (size_t at = 0; r == 0 && at < body.len; at += 50000)
			r = spool_append(w.spool, body.data + at, body.len - at < 50000 ? body.len - at : 50000);
		if (r == 0)
			spool_complete(w.spool);
	}
	if (r == 0)
		r = outbox_put(q, &w, receipt);
	else if (r == -EIO)
		r = -ECANCELED; /* it did not come to the put: nothing can be there */
	spool_unref(&w.spool);
	outbox_base_fini(&w.base);
	buf_fini(&uri);
	buf_fini(&name);
	buf_fini(&body);
	return r;
}

static void go_up(struct play *p, const struct outbox_receipt *receipt)
{
	EXPECT(p->run, receipt->seq > p->room->last_seq, "seq went back: %llu after %llu",
	       (unsigned long long)receipt->seq, (unsigned long long)p->room->last_seq);
	EXPECT(p->run, strcmp(receipt->id, p->room->last_id) > 0, "id went back: %s after %s", receipt->id,
	       p->room->last_id);
	p->room->last_seq = receipt->seq;
	(void)snprintf(p->room->last_id, OUTBOX_ID_ROOM, "%s", receipt->id);
}

static int do_put(struct play *p, const struct step *s)
{
	unsigned i = p->room->puts++;
	struct model_call c = { .op = M_PUT,
				.i = i,
				.key = s->key,
				.is_once = s->is_once,
				.wants_parent = s->wants_parent,
				.base = 100 + i };
	struct outbox_receipt receipt = { 0 };
	int r;

	p->room->bytes[i] = s->bytes;
	begins(p, &c);
	r = put_through(p, s, &c, &receipt);
	ends(p, &c, r);
	EXPECT(p->run, !p->was_readonly || r < 0, "a put succeeded though the outbox said that it refuses them");
	if (r == 0)
		go_up(p, &receipt);
	return r;
}

static void ends_are_written(struct play *p, char key)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->end_count; i++) {
		if (queue_of(p, p->ends[i].key) == queue_of(p, key))
			worlds_done(&p->room->worlds, &p->ends[i]);
		else
			p->ends[kept++] = p->ends[i];
	}
	p->end_count = kept;
}

static void do_lend(struct play *p, const struct step *s)
{
	struct outbox_entry e = { 0 };
	int64_t next = 0;
	struct model_call c = { .op = M_LEND };
	bool was_ambiguous;
	int r;

	for (unsigned i = 0; i < p->end_count; i++) /* written first, if that is possible by now */
		if (queue_of(p, p->ends[i].key) == queue_of(p, s->key))
			worlds_maybe(&p->room->worlds, &p->ends[i]);
	was_ambiguous = p->room->worlds.n > 1;
	p->hand[s->i].entry = 0;
	p->was_readonly = outbox_is_readonly(p->ob);
	/* Which one it is going to be is known only afterwards; that it was lent matters only for those sent once. */
	p->room->if_done = p->room->worlds;
	for (unsigned i = 0; i < MODEL_ENTRIES; i++) {
		struct model_call one = { .op = M_LEND, .i = i };
		struct worlds w = p->room->worlds;
		for (unsigned k = 0; k < w.n; k++)
			if (world_may_lend(&w.w[k], i) && w.w[k].e[i].is_once)
				worlds_maybe(&p->room->if_done, &one);
	}
	atomic_store(&p->room->is_under_way, true);
	r = outbox_lend(queue_of(p, s->key), FAR_MS, &e, &next);
	if (r == 0) {
		c.i = play_number(p->run, &e);
		for (unsigned k = 0; !was_ambiguous && k < p->room->worlds.n; k++)
			EXPECT(p->run, world_may_lend(&p->room->worlds.w[k], c.i), "%u was lent out of its order", c.i);
		p->hand[s->i].entry = c.i + 1;
		p->hand[s->i].seq = e.seq;
		p->hand[s->i].key = s->key;
	}
	ends(p, &c, r);
	if (r == 0 || r == -ENOENT)
		ends_are_written(p, s->key);
	outbox_entry_fini(&e);
}

/* What cannot be written is as if it had not been sent, but for what is sent once: that is written later. */
static int settle_hand(struct play *p, unsigned hand, const struct outbox_settlement *how, unsigned base)
{
	struct model_call c = { .op = M_SETTLE, .i = p->hand[hand].entry - 1, .to = (uint8_t)how->to, .base = base };
	struct model_call back = { .op = M_GIVE_BACK, .i = c.i };
	int r;

	begins(p, &c);
	r = outbox_settle(queue_of(p, p->hand[hand].key), p->hand[hand].seq, how);
	ends(p, &c, r);
	if (r < 0)
		worlds_done(&p->room->worlds, &back);
	c.key = p->hand[hand].key;
	if (r < 0 && p->room->worlds.w[0].e[c.i].is_once && p->end_count < MODEL_ENTRIES)
		p->ends[p->end_count++] = c;
	p->hand[hand].entry = 0;
	return r;
}

static void do_settle(struct play *p, const struct step *s)
{
	struct outbox_settlement how = {
		.to = s->to,
		.status = s->to == OUTBOX_APPLIED ? 204 : 412,
		.error = SLICE_LIT("said no"),
		.next_attempt_wall_ms = s->to == OUTBOX_QUEUED ? FAR_MS / 2 : 0,
		.base = { .known = true, .etag = BUF_EMPTY },
	};
	unsigned base = 500 + p->hand[s->i].entry;

	if (!p->hand[s->i].entry)
		return;
	tag(&how.base.etag, base);
	if (s->to == OUTBOX_HELD)
		how.answer = SLICE_LIT("because");
	(void)settle_hand(p, s->i, &how, base);
	outbox_base_fini(&how.base);
}

static bool find_seq(void *arg, const struct outbox_entry *e)
{
	uint64_t *want = arg, n = MODEL_ENTRIES;

	(void)str_parse_u64(slice_from(buf_slice(&e->idempotency_key), 4), &n);
	if (n != want[0])
		return true;
	want[1] = e->seq;
	return false;
}

static void do_verb(struct play *p, const struct step *s)
{
	static const enum model_op ops[] = {
		[STEP_RETRY] = M_RETRY, [STEP_REBASE] = M_REBASE, [STEP_RESOLVE] = M_RESOLVE, [STEP_DROP] = M_DROP
	};
	struct model_call c = { .op = ops[s->kind], .i = s->i, .base = 900 + s->i };
	struct outbox_base base = { .known = true, .etag = BUF_EMPTY };
	uint64_t want[2] = { s->i, 0 };
	int r = outbox_list(p->ob, NULL, -1, 0, 1000, find_seq, want);

	if (r < 0 || !want[1])
		return;
	tag(&base.etag, c.base);
	begins(p, &c);
	switch (s->kind) {
	case STEP_RETRY: r = outbox_retry(p->ob, want[1]); break;
	case STEP_REBASE: r = outbox_rebase(p->ob, want[1], &base); break;
	case STEP_RESOLVE: r = outbox_resolve(p->ob, want[1]); break;
	default: r = outbox_drop(p->ob, want[1]);
	}
	ends(p, &c, r);
	outbox_base_fini(&base);
}

static void do_purge(struct play *p, const struct step *s)
{
	struct model_call c = { .op = M_PURGE, .key = s->key };
	int r;

	begins(p, &c);
	r = outbox_purge(queue_of(p, s->key), FAR_MS);
	ends(p, &c, r < 0 ? r : 0);
}

/* Gives back what is lent, as whoever stops politely does. */
static void close_it(struct play *p)
{
	struct outbox_settlement how = { .to = OUTBOX_QUEUED, .not_an_attempt = true };
	struct model_call c = { .op = M_RESTART };

	for (unsigned i = 0; i < ARRAY_LEN(p->hand); i++)
		if (p->hand[i].entry)
			(void)settle_hand(p, i, &how, 0);
	outbox_close(p->ob);
	p->ob = NULL;
	p->end_count = 0;
	worlds_done(&p->room->worlds, &c);
}

int play_reopen(struct play *p)
{
	close_it(p);
	return play_open(p);
}

static bool count_it(void *arg, const struct outbox_entry *e)
{
	(void)e;
	*(unsigned *)arg += 1;
	return true;
}

/* Whether something can be read while the disk has no room. */
static void still_reads(struct play *p)
{
	unsigned n = 0, least = MODEL_ENTRIES;
	int r;

	if (p->run->fault != DISK_ENOSPC)
		return;
	r = outbox_list(p->ob, NULL, -1, 0, 1000, count_it, &n);
	EXPECT(p->run, r == 0, "the disk is full, and nothing can be read: %s", err_text(r));
	for (unsigned k = 0; k < p->room->worlds.n; k++) {
		unsigned there = 0;
		for (unsigned i = 0; i < MODEL_ENTRIES; i++)
			there += p->room->worlds.w[k].e[i].is_there;
		least = there < least ? there : least;
	}
	EXPECT(p->run, n >= least, "the disk is full, and of %u entries %u are listed", least, n);
}

int play_step(struct play *p, const struct step *s, bool is_healed)
{
	int r = 0;

	switch (s->kind) {
	case STEP_PUT:
		r = do_put(p, s);
		EXPECT(p->run, !is_healed || !is_for_a_while(p->run) || r == 0, "room again, and still: %s",
		       err_text(r));
		if (r < 0)
			still_reads(p);
		break;
	case STEP_LEND: do_lend(p, s); break;
	case STEP_SETTLE: do_settle(p, s); break;
	case STEP_PURGE: do_purge(p, s); break;
	case STEP_CLOSE: close_it(p); break;
	case STEP_REOPEN:
	case STEP_HEAL:
	case STEP_END: break;
	default: do_verb(p, s);
	}
	return r;
}

struct play *play_of(struct run *run)
{
	static struct play p;
	struct model_call c = { .op = M_RESTART };

	p.run = run;
	p.room = run->room;
	if (p.room->worlds.n == 0)
		p.room->worlds.n = 1;
	p.room->worlds = *play_possible(&p);
	atomic_store(&p.room->is_under_way, false);
	worlds_done(&p.room->worlds, &c);
	return &p;
}

/* Opens; when that fails, once more on a sound disk, which has to succeed. */
static void open_somehow(struct play *p, bool *is_healed)
{
	int r = play_open(p);

	if (r == 0)
		return;
	disk_heal();
	*is_healed = true;
	r = play_open(p);
	EXPECT(p->run, r == 0, "does not open on a sound disk: %s", err_text(r));
}

void play_steps(struct run *run, const struct step *steps)
{
	struct play *p = play_of(run);
	bool is_healed = false;

	open_somehow(p, &is_healed);
	for (; steps->kind != STEP_END; steps++) {
		if (steps->kind == STEP_HEAL) {
			disk_heal();
			is_healed = true;
		}
		if (steps->kind == STEP_REOPEN) {
			int r = play_reopen(p);
			if (r < 0)
				open_somehow(p, &is_healed);
		}
		(void)play_step(p, steps, is_healed);
	}
}
