/* outbox_put.c -- taking a write: limits, the body, the record.
 *
 * Limits are reserved before anything is written, and given back when the put fails. A large body gets its name before
 * the record that says it; the record takes its seq, its parent and its place in the index in its job on the writer
 * thread, where the key is seen as this transaction has it; it is lent from its finish on, after the commit. */
#include "store/outbox_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/rand.h"
#include "base/str.h"
#include "io/file.h"
#include "store/wholefile.h"

#define FREE_LOOK_MS 1000

/* --- on the writer thread --------------------------------------------------------------------------------------- */

struct put {
	struct outbox_op op;
	const struct outbox_write *w;
	struct outbox_row row;
	struct outbox_item *item; /* the index has it once is_added */
	bool is_added;
	char body_file[OUTBOX_BODY_NAME + 1];
	char uuid[37];
	outbox_put_fn *cb; /* of outbox_put_start() */
	void *cb_arg;
	struct outbox_write copy;
	char bytes[];
};

static uint32_t hash_of(struct slice uri)
{
	return (uint32_t)hash_bytes(uri.p, uri.n);
}

/* The last pending entry of this key and uri that later ones may be based on, as this transaction has it. Under the
 * lock. */
static struct outbox_item *find_parent(struct outbox_queue *q, struct slice key, uint32_t uri_hash)
{
	struct outbox_item *i = outbox_index_next_tail(&q->index, key);

	if (!i)
		return NULL;
	for (struct list *it = &i->in_key; it != &i->key->pending; it = it->prev) {
		struct outbox_item *p = LIST_ENTRY(it, struct outbox_item, in_key);
		if (p->is_base && p->uri_hash == uri_hash && outbox_state_is_pending(p->next_state))
			return p;
	}
	return NULL;
}

/* Looks at the key as this transaction has it, and takes a place in it. */
static int put_take_place(struct put *p)
{
	struct outbox_queue *q = p->op.q;
	struct outbox_item *tail, *i = p->item;
	uint64_t tail_seq;

	pthread_mutex_lock(&q->lock);
	tail = outbox_index_next_tail(&q->index, p->row.key);
	tail_seq = tail ? tail->seq : 0;
	if (p->w->expect_tail != OUTBOX_ANY && p->w->expect_tail != tail_seq) {
		pthread_mutex_unlock(&q->lock);
		return -EAGAIN;
	}
	outbox_index_set_parent(i, tail && p->w->wants_parent ? find_parent(q, p->row.key, i->uri_hash) : NULL);
	i->seq = p->row.seq;
	i->queued_ms = p->row.queued_ms;
	p->row.parent = i->parent ? i->parent->seq : 0;
	outbox_index_add_take(&q->index, i, p->row.key);
	p->is_added = true;
	pthread_mutex_unlock(&q->lock);
	if (p->row.parent)
		p->row.base = (struct outbox_row_base){ 0 }; /* known when the parent is applied */
	return 0;
}

static void put_leave_place(struct put *p)
{
	struct outbox_queue *q = p->op.q;

	pthread_mutex_lock(&q->lock);
	if (p->item->in_flux)
		p->item->is_gone = true;
	else
		outbox_index_remove(&q->index, p->item);
	pthread_mutex_unlock(&q->lock);
	p->item = NULL;
	p->is_added = false;
}

static int insert_body(sqlite3 *conn, sqlite3_stmt **st, uint64_t seq, struct slice body)
{
	int r = outbox_prepare(conn, st, "INSERT INTO bodies(seq,body) VALUES(?1,?2)"), rc;

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(*st, 1, (int64_t)seq); /* neither can fail with a number that is there */
	(void)sqlite3_bind_blob(*st, 2, body.p, (int)body.n, SQLITE_STATIC);
	rc = sqlite3_step(*st);
	(void)sqlite3_reset(*st); /* repeats the failure of the step */
	return db_code(rc);
}

static int put_job(sqlite3 *conn, struct outbox_op *op)
{
	struct put *p = CONTAINER_OF(op, struct put, op);
	struct outbox *ob = op->ob;
	int r;

	p->row.queued_ms = clock_wall_ms();
	p->row.seq = (uint64_t)p->row.queued_ms << 16;
	if (p->row.seq <= ob->last_seq)
		p->row.seq = ob->last_seq + 1;
	r = put_take_place(p);
	if (r < 0)
		return r;
	r = outbox_row_insert(conn, &ob->st.insert, &p->row);
	if (r == 0 && p->w->body.n)
		r = insert_body(conn, &ob->st.insert_body, p->row.seq, p->w->body);
	if (r == WEIR_E_DAMAGED)
		outbox_suspect(ob);
	ob->last_seq = p->row.seq; /* a place that was left is not taken again: the index's slots go up */
	if (r < 0)
		put_leave_place(p); /* before the next job looks */
	return r;
}

static void put_tell(struct put *p)
{
	struct outbox_receipt got = { .seq = p->row.seq, .queued_wall_ms = p->row.queued_ms };

	outbox_format_id(p->row.seq, p->row.tag, got.id);
	p->cb(p->cb_arg, 0, &got);
}

static void put_finish(struct outbox_op *op, int code)
{
	struct put *p = CONTAINER_OF(op, struct put, op);

	if (!p->is_added)
		return;
	if (code < 0) {
		put_leave_place(p);
		return;
	}
	pthread_mutex_lock(&op->q->lock);
	p->item->is_counted = true;
	outbox_index_count(&op->q->index, p->item->state, p->item->body_bytes, 1);
	pthread_mutex_unlock(&op->q->lock);
	if (p->cb)
		put_tell(p); /* before anybody is lent it */
	pthread_mutex_lock(&op->q->lock);
	p->item->is_durable = true;
	outbox_index_reconsider(&op->q->index, p->item);
	op->is_quiet = p->cb && p->item->in_key.prev !=
					&p->item->key->pending; /* behind others that are looked at for themselves */
	pthread_mutex_unlock(&op->q->lock);
}

static void make_uuid(const unsigned char random[16], char ret[37])
{
	unsigned char b[16];

	memcpy(b, random, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40; /* RFC 9562 5.4: version 4 */
	b[8] = (b[8] & 0x3f) | 0x80;
	(void)snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		       b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static bool is_overlay(struct slice method)
{
	return slice_eq_str(method, "PUT") || slice_eq_str(method, "DELETE");
}

static void put_prepare(struct put *p, struct outbox_queue *q, const struct outbox_write *w, uint64_t body_bytes)
{
	unsigned char random[20];

	rand_bytes(random, sizeof(random));
	if (!w->idempotency_key.n)
		make_uuid(random, p->uuid);
	p->w = w;
	p->op = (struct outbox_op){ .ob = q->ob, .q = q, .job = put_job, .finish = put_finish };
	p->row = (struct outbox_row){
		.tag = ((uint32_t)random[16] << 16 | (uint32_t)random[17] << 8 | random[18]) & 0xffffffu,
		.flags = (w->once ? OUTBOX_ROW_ONCE : 0) | (w->is_base ? OUTBOX_ROW_IS_BASE : 0) |
			 (w->alone ? OUTBOX_ROW_ALONE : 0),
		.body_bytes = body_bytes,
		.queue = slice_str(q->name),
		.key = w->key,
		.method = w->method,
		.uri = w->uri,
		.headers = w->headers,
		.content_type = w->content_type,
		.idempotency_key = w->idempotency_key.n ? w->idempotency_key : slice_str(p->uuid),
		.state = OUTBOX_QUEUED,
		.next_ms = w->not_before_wall_ms,
		.base = outbox_row_base(&w->base),
	};
	p->item = xcalloc(1, sizeof(*p->item));
	*p->item = (struct outbox_item){ .body_bytes = body_bytes,
					 .uri_hash = hash_of(w->uri),
					 .once = w->once,
					 .is_base = w->is_base,
					 .is_alone = w->alone,
					 .due_ms = w->not_before_wall_ms,
					 .is_overlay = is_overlay(w->method) };
}

static size_t head_bytes(const struct outbox_write *w)
{
	return w->key.n + w->method.n + w->uri.n + w->headers.n + w->content_type.n + w->idempotency_key.n +
	       w->base.etag.len;
}

/* How much of the disk is free, as of a second ago at most. */
static uint64_t free_bytes(struct outbox *ob)
{
	int64_t now = clock_mono_ms();
	uint64_t bytes;

	if (now - atomic_load(&ob->free_looked_ms) >= FREE_LOOK_MS) {
		if (disk_free_bytes(ob->dir, &bytes) == 0)
			atomic_store(&ob->free_bytes, bytes);
		atomic_store(&ob->free_looked_ms, now);
	}
	return atomic_load(&ob->free_bytes);
}

/* Makes room in the queue's limits before anything is written. */
static int reserve(struct outbox_queue *q, const struct outbox_write *w, uint64_t body_bytes)
{
	struct outbox_limits l;
	bool is_low;
	int r = 0;

	pthread_mutex_lock(&q->lock);
	l = q->limits;
	pthread_mutex_unlock(&q->lock);
	is_low = l.min_free_bytes && free_bytes(q->ob) < l.min_free_bytes;
	pthread_mutex_lock(&q->lock);
	if ((l.max_body && body_bytes > l.max_body) || head_bytes(w) > OUTBOX_MOST_HEAD) {
		q->refused_large++;
		r = WEIR_E_TOO_LARGE;
	} else if ((l.max_entries && q->used_entries >= l.max_entries) ||
		   (l.max_bytes && (body_bytes > l.max_bytes || q->used_bytes > l.max_bytes - body_bytes))) {
		q->refused_full++;
		r = -EDQUOT;
	} else if (is_low) {
		q->refused_disk++;
		r = -ENOSPC;
	} else {
		q->used_entries++;
		q->used_bytes += body_bytes;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

static void unreserve(struct outbox_queue *q, uint64_t body_bytes, int code)
{
	pthread_mutex_lock(&q->lock);
	q->used_entries--;
	q->used_bytes -= body_bytes;
	if (code == -ENOSPC || code == -EIO)
		q->refused_disk++;
	pthread_mutex_unlock(&q->lock);
}

void outbox_note_refused(struct outbox_queue *q, int code)
{
	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	if (code == WEIR_E_TOO_LARGE)
		q->refused_large++;
	else
		q->refused_disk++;
	pthread_mutex_unlock(&q->lock);
}

static int body_size(const struct outbox_write *w, uint64_t *ret_bytes)
{
	*ret_bytes = w->body.n;
	if (!w->spool)
		return w->body.n > OUTBOX_INLINE_BYTES ? WEIR_E_TOO_LARGE : 0;
	ENSURE(w->body.n == 0);
	return spool_peek(w->spool, ret_bytes, NULL) == SPOOL_COMPLETE ? 0 : WEIR_E_DAMAGED;
}

/* A database that turns out to be corrupt is not the caller's damage. */
static int run_put(struct outbox_op *op)
{
	int r = outbox_op_run(op);

	return r == WEIR_E_DAMAGED ? -EIO : r;
}

int outbox_put(struct outbox_queue *q, const struct outbox_write *w, struct outbox_receipt *ret)
{
	struct put p = { 0 };
	uint64_t bytes;
	int r;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	if (outbox_is_readonly(q->ob))
		return -EIO;
	r = body_size(w, &bytes);
	if (r == 0)
		r = reserve(q, w, bytes);
	if (r < 0)
		return r;
	put_prepare(&p, q, w, bytes);
	if (w->spool) {
		r = outbox_bodies_keep(q->ob, w->spool, p.body_file, &p.row.body_crc);
		p.row.body_file = slice_str(p.body_file);
	} else {
		p.row.body_crc = crc32c(0, w->body.p, w->body.n);
	}
	if (r == 0)
		r = run_put(&p.op);
	if (r < 0) {
		if (!p.is_added)
			free(p.item);
		/* After -EIO nobody knows whether the record is there: the next start removes the body if it is not. */
		if (p.body_file[0] && r != -EIO)
			outbox_bodies_remove(q->ob, p.row.body_file);
		unreserve(q, bytes, r);
		return r;
	}
	ret->seq = p.row.seq;
	ret->queued_wall_ms = p.row.queued_ms;
	outbox_format_id(p.row.seq, p.row.tag, ret->id);
	return 0;
}

/* --- put without waiting ---------------------------------------------------------------------------------------- */

static void put_end(struct outbox_op *op, int code)
{
	struct put *p = CONTAINER_OF(op, struct put, op);

	if (code < 0) {
		if (!p->is_added)
			free(p->item);
		unreserve(op->q, p->row.body_bytes, code);
		p->cb(p->cb_arg, code == WEIR_E_DAMAGED ? -EIO : code, NULL);
	}
	free(op->changes);
	free(p);
}

static struct slice keep(char **at, struct slice s)
{
	struct slice kept = { *at, s.n };

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return kept;
}

static struct put *put_copy(const struct outbox_write *w)
{
	struct put *p = xcalloc(1, sizeof(*p) + head_bytes(w) + w->body.n);
	char *at = p->bytes;

	p->copy = (struct outbox_write){ .key = keep(&at, w->key),
					 .method = keep(&at, w->method),
					 .uri = keep(&at, w->uri),
					 .headers = keep(&at, w->headers),
					 .content_type = keep(&at, w->content_type),
					 .idempotency_key = keep(&at, w->idempotency_key),
					 .body = keep(&at, w->body),
					 .alone = w->alone,
					 .not_before_wall_ms = w->not_before_wall_ms,
					 .expect_tail = OUTBOX_ANY };
	return p;
}

int outbox_put_start(struct outbox_queue *q, const struct outbox_write *w, outbox_put_fn *cb, void *arg)
{
	struct put *p;
	int r;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	ENSURE(!w->spool && !w->wants_parent && !w->is_base && !w->once && !w->base.known);
	if (outbox_is_readonly(q->ob))
		return -EIO;
	r = reserve(q, w, w->body.n);
	if (r < 0)
		return r;
	p = put_copy(w);
	put_prepare(p, q, &p->copy, w->body.n);
	p->row.body_crc = crc32c(0, p->copy.body.p, p->copy.body.n);
	p->cb = cb;
	p->cb_arg = arg;
	p->op.end = put_end;
	r = outbox_op_start(&p->op);
	if (r < 0) {
		unreserve(q, w->body.n, r);
		free(p->item);
		free(p);
	}
	return r;
}

void outbox_gather(struct outbox *ob, bool begins)
{
	OBJ_CHECK(ob, OUTBOX_MAGIC);
	db_gather(ob->db, begins);
}

int outbox_spool_new(struct outbox_queue *q, struct spool **ret)
{
	uint64_t most;

	OBJ_CHECK(q, OUTBOX_QUEUE_MAGIC);
	pthread_mutex_lock(&q->lock);
	most = q->limits.max_body;
	pthread_mutex_unlock(&q->lock);
	return spool_new(q->ob->bodies, most, ret);
}
