/* outbox_read.c -- entries and bodies, read through connections of their own.
 *
 * Rows say what is durable; what is being sent, and when an entry is due again after its upstream came back, only the
 * index knows: so each entry that is handed out is looked up there, too. A few connections are kept open with their
 * statements. */
#include "store/outbox_priv.h"

#include "base/err.h"
#include "base/map.h"
#include "base/obj.h"
#include "store/wholefile.h"

#define MOST_READERS_KEPT 8

/* --- connections ------------------------------------------------------------------------------------------------ */

int outbox_reader_take(struct outbox *ob, struct outbox_reader **ret)
{
	struct outbox_reader *rd = NULL;
	int r;

	pthread_mutex_lock(&ob->readers_lock);
	if (!list_is_empty(&ob->readers)) {
		rd = LIST_ENTRY(ob->readers.next, struct outbox_reader, node);
		list_remove(&rd->node);
		ob->reader_count--;
	}
	pthread_mutex_unlock(&ob->readers_lock);
	if (!rd) {
		rd = xcalloc(1, sizeof(*rd));
		list_init(&rd->node);
		r = db_reader(ob->db, &rd->conn);
		if (r < 0) {
			free(rd);
			return r;
		}
	}
	*ret = rd;
	return 0;
}

static void reader_close(struct outbox_reader *rd)
{
	sqlite3_stmt *const all[] = { rd->get, rd->list, rd->list_state, rd->back, rd->back_state, rd->body, rd->body_file, rd->old };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		(void)sqlite3_finalize(all[i]); /* none is under way */
	(void)sqlite3_close(rd->conn);          /* nothing is left open */
	free(rd);
}

void outbox_reader_give(struct outbox *ob, struct outbox_reader **rd)
{
	bool is_kept;

	pthread_mutex_lock(&ob->readers_lock);
	is_kept = ob->reader_count < MOST_READERS_KEPT;
	if (is_kept) {
		list_push_front(&ob->readers, &(*rd)->node);
		ob->reader_count++;
	}
	pthread_mutex_unlock(&ob->readers_lock);
	if (!is_kept)
		reader_close(*rd);
	*rd = NULL;
}

void outbox_readers_close(struct outbox *ob)
{
	LIST_FOREACH_SAFE(it, next, &ob->readers)
		reader_close(LIST_ENTRY(it, struct outbox_reader, node));
}

/* --- one entry -------------------------------------------------------------------------------------------------- */

struct outbox_queue *outbox_queue_of(struct outbox *ob, uint64_t seq)
{
	struct outbox_queue *found = NULL;

	pthread_mutex_lock(&ob->lock);
	LIST_FOREACH(it, &ob->queues) {
		struct outbox_queue *q = LIST_ENTRY(it, struct outbox_queue, node);
		pthread_mutex_lock(&q->lock);
		if (outbox_index_find(&q->index, seq))
			found = q;
		pthread_mutex_unlock(&q->lock);
		if (found)
			break;
	}
	pthread_mutex_unlock(&ob->lock);
	return found;
}

/* What only memory knows. */
static void see_index(struct outbox *ob, struct outbox_entry *e)
{
	struct outbox_queue *q = outbox_queue_of(ob, e->seq);
	struct outbox_item *item;

	if (!q)
		return;
	pthread_mutex_lock(&q->lock);
	item = outbox_index_find(&q->index, e->seq);
	if (item) {
		e->damaged = e->damaged || item->is_damaged;
		if (item->state == OUTBOX_SENDING || item->state == OUTBOX_QUEUED) {
			e->state = item->state;
			e->next_attempt_wall_ms = item->due_ms;
		}
	}
	pthread_mutex_unlock(&q->lock);
}

int outbox_get(struct outbox *ob, uint64_t seq, struct outbox_entry *ret)
{
	struct outbox_reader *rd;
	struct outbox_row row;
	int r, rc;

	OBJ_CHECK(ob, OUTBOX_MAGIC);
	r = outbox_reader_take(ob, &rd);
	if (r < 0)
		return r;
	r = outbox_prepare(rd->conn, &rd->get, "SELECT " OUTBOX_ROW_COLUMNS " FROM entries WHERE seq=?1");
	if (r == 0) {
		(void)sqlite3_bind_int64(rd->get, 1, (int64_t)seq); /* cannot fail */
		rc = outbox_first_step(rd->get);
		if (rc == SQLITE_ROW) {
			outbox_row_read(rd->get, &row);
			outbox_row_to_entry(&row, ret);
		}
		(void)sqlite3_reset(rd->get); /* repeats the failure of the step */
		r = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : db_code(rc);
	}
	outbox_reader_give(ob, &rd);
	if (r == 0)
		see_index(ob, ret);
	return r;
}

int outbox_find(struct outbox *ob, struct slice id, struct outbox_entry *ret)
{
	struct outbox_entry e;
	uint64_t seq;
	uint32_t tag;
	int r;

	if (outbox_parse_id(id, &seq, &tag) < 0)
		return -ENOENT;
	r = outbox_get(ob, seq, &e);
	if (r == 0 && !slice_eq_str(id, e.id)) {
		outbox_entry_fini(&e);
		r = -ENOENT;
	}
	if (r == 0)
		*ret = e;
	return r;
}

/* --- overlays --------------------------------------------------------------------------------------------------- */

/* The last before `below` that may be it; 0: none. */
static uint64_t overlay_candidate(struct outbox_queue *q, struct slice key, uint32_t uri_hash, uint64_t below)
{
	const struct outbox_key *k;
	uint64_t seq = 0;

	pthread_mutex_lock(&q->lock);
	k = outbox_keys_find(&q->index.keys, key);
	if (k)
		for (const struct list *it = k->pending.prev; it != &k->pending && seq == 0; it = it->prev) {
			const struct outbox_item *i = LIST_ENTRY(it, const struct outbox_item, in_key);
			if (i->seq < below && i->is_durable && i->is_overlay && i->uri_hash == uri_hash)
				seq = i->seq;
		}
	pthread_mutex_unlock(&q->lock);
	return seq;
}

int outbox_overlay(struct outbox_queue *q, struct slice key, struct slice uri, struct outbox_entry *ret)
{
	uint32_t hash = (uint32_t)hash_bytes(uri.p, uri.n);
	uint64_t seq = UINT64_MAX;
	int r;

	if (outbox_is_idle(q))
		return -ENOENT;
	while ((seq = overlay_candidate(q, key, hash, seq)) != 0) {
		r = outbox_get(q->ob, seq, ret);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && outbox_state_is_pending(ret->state) && slice_eq(buf_slice(&ret->uri), uri))
			return 0;
		if (r == 0)
			outbox_entry_fini(ret); /* another with the same hash, or settled just now */
	}
	return -ENOENT;
}

/* --- bodies ----------------------------------------------------------------------------------------------------- */

/* The inline body, or the name of the file, in `out`. */
static int read_blob(struct outbox *ob, uint64_t seq, bool is_file_name, struct buf *out)
{
	struct outbox_reader *rd;
	sqlite3_stmt **st;
	int r = outbox_reader_take(ob, &rd), rc;

	if (r < 0)
		return r;
	st = is_file_name ? &rd->body_file : &rd->body;
	r = outbox_prepare(rd->conn, st,
			   is_file_name ? "SELECT body_file FROM entries WHERE seq=?1"
					: "SELECT body FROM bodies WHERE seq=?1");
	if (r == 0) {
		(void)sqlite3_bind_int64(*st, 1, (int64_t)seq); /* cannot fail */
		rc = outbox_first_step(*st);
		if (rc == SQLITE_ROW)
			buf_add(out, sqlite3_column_blob(*st, 0), (size_t)sqlite3_column_bytes(*st, 0));
		(void)sqlite3_reset(*st); /* repeats the failure of the step */
		r = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : db_code(rc);
	}
	outbox_reader_give(ob, &rd);
	return r;
}

static int inline_body(struct outbox *ob, const struct outbox_entry *e, struct spool **ret)
{
	struct buf body = BUF_EMPTY;
	int r = e->body_bytes ? read_blob(ob, e->seq, false, &body) : 0;

	if (r == -ENOENT || (r == 0 && (body.len != e->body_bytes || crc32c(0, body.data, body.len) != e->body_crc)))
		r = WEIR_E_DAMAGED;
	if (r == 0)
		r = outbox_bodies_in_memory(buf_slice(&body), ret);
	buf_fini(&body);
	return r;
}

/* Whether the body is gone because the entry is settled, which may have happened since `e` was read. */
static bool is_gone(struct outbox *ob, const struct outbox_entry *e)
{
	struct outbox_entry now;
	bool is;

	if (outbox_get(ob, e->seq, &now) < 0)
		return true;
	is = now.state == OUTBOX_APPLIED;
	outbox_entry_fini(&now);
	return is;
}

int outbox_body(struct outbox *ob, const struct outbox_entry *e, struct spool **ret)
{
	struct buf file = BUF_EMPTY;
	int r;

	OBJ_CHECK(ob, OUTBOX_MAGIC);
	if (e->state == OUTBOX_APPLIED)
		return -ENOENT;
	r = read_blob(ob, e->seq, true, &file);
	if (r == 0)
		r = file.len ? outbox_bodies_open(ob, buf_slice(&file), e->body_bytes, e->body_crc, ret) :
			       inline_body(ob, e, ret);
	buf_fini(&file);
	if (r == WEIR_E_DAMAGED && is_gone(ob, e))
		r = -ENOENT;
	if (r == WEIR_E_DAMAGED)
		outbox_note_damage(ob, e->seq, "the body is damaged: it does not match its checksum");
	return r;
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

#define LOOK_AT_ONCE 256
#define STEPS_UNDER_LOCK 4096

/* Of one queue, the next seqs of unsettled entries in that state. Looks at a few thousand under the lock at a time. */
static size_t seqs_of(struct outbox_queue *q, unsigned state, uint64_t after, uint64_t *seqs)
{
	const struct outbox_index *ix = &q->index;
	size_t n = 0, at, stop;
	bool goes_on = true;

	while (goes_on && n < LOOK_AT_ONCE) {
		pthread_mutex_lock(&q->lock);
		at = outbox_index_after(ix, after);
		stop = ix->slot_count - at > STEPS_UNDER_LOCK ? at + STEPS_UNDER_LOCK : ix->slot_count;
		goes_on = ix->entries[state] > 0 && stop < ix->slot_count;
		for (; ix->entries[state] > 0 && at < stop && n < LOOK_AT_ONCE; at++) {
			const struct outbox_item *item = ix->slots[at].item;
			after = ix->slots[at].seq;
			if (item && item->state == state && item->is_counted)
				seqs[n++] = after;
		}
		pthread_mutex_unlock(&q->lock);
	}
	return n;
}

static int compare_seqs(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Of all queues, or the named one: the first of the next of each. */
static size_t next_seqs(struct outbox *ob, const char *queue, unsigned state, uint64_t after, uint64_t *seqs)
{
	uint64_t both[2 * LOOK_AT_ONCE];
	size_t n = 0;

	pthread_mutex_lock(&ob->lock);
	LIST_FOREACH(it, &ob->queues) {
		struct outbox_queue *q = LIST_ENTRY(it, struct outbox_queue, node);
		size_t more;

		if (queue && strcmp(queue, q->name) != 0)
			continue;
		more = seqs_of(q, state, after, both + n);
		n += more;
		qsort(both, n, sizeof(both[0]), compare_seqs);
		if (n > LOOK_AT_ONCE)
			n = LOOK_AT_ONCE;
	}
	pthread_mutex_unlock(&ob->lock);
	memcpy(seqs, both, n * sizeof(both[0]));
	return n;
}

/* What is not settled is found in the index, however rare the state is among all entries. */
static int list_unsettled(struct outbox *ob, const char *queue, int state, uint64_t after, size_t most,
			  outbox_each_fn *fn, void *arg)
{
	uint64_t seqs[LOOK_AT_ONCE];
	struct outbox_entry e;
	size_t n;

	while (most > 0 && (n = next_seqs(ob, queue, (unsigned)state, after, seqs)) > 0) {
		for (size_t i = 0; i < n && most > 0; i++) {
			int r = outbox_get(ob, seqs[i], &e);
			bool goes_on = true;

			after = seqs[i];
			if (r == -ENOENT)
				continue; /* gone since */
			if (r < 0)
				return r;
			if ((int)e.state == state) {
				goes_on = fn(arg, &e);
				most--;
			}
			outbox_entry_fini(&e);
			if (!goes_on)
				return 0;
		}
	}
	return 0;
}

#define FROM_ROWS "SELECT " OUTBOX_ROW_COLUMNS " FROM entries WHERE "
#define OF_QUEUE "(?2 IS NULL OR queue=?2)"

static sqlite3_stmt *list_statement(struct outbox_reader *rd, const char *queue, int state, bool back, int *ret)
{
	static const char *const texts[2][2] = { /* of all states, or one; forwards, or back */
		{ FROM_ROWS "seq>?1 AND " OF_QUEUE " ORDER BY seq", FROM_ROWS "seq<?1 AND " OF_QUEUE " ORDER BY seq DESC" },
		{ FROM_ROWS "seq>?1 AND state=?3 AND " OF_QUEUE " ORDER BY seq",
		  FROM_ROWS "seq<?1 AND state=?3 AND " OF_QUEUE " ORDER BY seq DESC" },
	};
	sqlite3_stmt **const kept[2][2] = { { &rd->list, &rd->back }, { &rd->list_state, &rd->back_state } };
	sqlite3_stmt **st = kept[state >= 0][back];

	*ret = outbox_prepare(rd->conn, st, texts[state >= 0][back]);
	if (*ret < 0)
		return NULL;
	if (queue)
		(void)sqlite3_bind_text(*st, 2, queue, -1, SQLITE_STATIC); /* none of these can fail */
	else
		(void)sqlite3_bind_null(*st, 2);
	if (state >= 0)
		(void)sqlite3_bind_text(*st, 3, outbox_state_text((enum outbox_state)state), -1, SQLITE_STATIC);
	return *st;
}

static int list_rows(struct outbox *ob, const char *queue, int state, bool back, uint64_t from, size_t most,
		     outbox_each_fn *fn, void *arg)
{
	struct outbox_reader *rd;
	sqlite3_stmt *st;
	struct outbox_row row;
	struct outbox_entry e;
	bool goes_on = true;
	int r, rc = SQLITE_DONE;

	r = outbox_reader_take(ob, &rd);
	if (r < 0)
		return r;
	st = list_statement(rd, queue, state, back, &r);
	if (st)
		(void)sqlite3_bind_int64(st, 1, (int64_t)from); /* cannot fail */
	while (st && goes_on && most > 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		outbox_row_read(st, &row);
		outbox_row_to_entry(&row, &e);
		see_index(ob, &e);
		if (state < 0 || (int)e.state == state) { /* a damaged one is not what it says */
			goes_on = fn(arg, &e);
			most--;
		}
		outbox_entry_fini(&e);
	}
	(void)sqlite3_reset(st); /* repeats the failure of the step */
	outbox_reader_give(ob, &rd);
	return r < 0 ? r : rc == SQLITE_ROW ? 0 : db_code(rc);
}

int outbox_list(struct outbox *ob, const char *queue, int state, uint64_t after, size_t most, outbox_each_fn *fn,
		void *arg)
{
	OBJ_CHECK(ob, OUTBOX_MAGIC);
	if (after > INT64_MAX || most == 0)
		return 0;
	if (state >= 0 && !outbox_state_is_settled((enum outbox_state)state))
		return list_unsettled(ob, queue, state, after, most, fn, arg);
	return list_rows(ob, queue, state, false, after, most, fn, arg);
}

int outbox_list_back(struct outbox *ob, const char *queue, int state, uint64_t before, size_t most, outbox_each_fn *fn,
		     void *arg)
{
	OBJ_CHECK(ob, OUTBOX_MAGIC);
	if (most == 0)
		return 0;
	return list_rows(ob, queue, state, true, before < INT64_MAX ? before : INT64_MAX, most, fn, arg);
}
