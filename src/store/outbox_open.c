/* outbox_open.c -- start and stop of an outbox: one scan of its records fills the index.
 *
 * What the scan finds wrong is put right in transactions of its own, one for each entry, so that a stop on the way
 * leaves the rest to the next start:
 *   sending                       a write that is sent once only had been lent: held, outcome unknown
 *   based on a record that is     in conflict: what it was based on never reached upstream, or nobody can tell; an
 *   gone or damaged               operator looks. Never sent as if it had no base.
 *   a body that is not there      held and damaged; its children inherit its base (outbox_note_damage)
 *   sums that do not agree        shown as held and damaged; nothing is written until an operator drops it */
#include "store/outbox_priv.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/map.h"
#include "base/obj.h"
#include "io/file.h"
#include "store/wholefile.h"

/* --- queues ----------------------------------------------------------------------------------------------------- */

struct outbox_queue *outbox_queue_make(struct outbox *ob, struct slice name)
{
	struct outbox_queue *q;

	pthread_mutex_lock(&ob->lock);
	LIST_FOREACH(it, &ob->queues) {
		q = LIST_ENTRY(it, struct outbox_queue, node);
		if (slice_eq_str(name, q->name)) {
			pthread_mutex_unlock(&ob->lock);
			return q;
		}
	}
	q = xcalloc(1, sizeof(*q));
	q->magic = OUTBOX_QUEUE_MAGIC;
	q->ob = ob;
	q->name = slice_dup(name);
	ENSURE(pthread_mutex_init(&q->lock, NULL) == 0);
	ENSURE(pthread_cond_init(&q->hook_idle, NULL) == 0);
	list_init(&q->ends);
	list_push_back(&ob->queues, &q->node);
	pthread_mutex_unlock(&ob->lock);
	return q;
}

struct outbox_queue *outbox_queue(struct outbox *ob, const char *name, const struct outbox_limits *limits)
{
	struct outbox_queue *q;

	OBJ_CHECK(ob, OUTBOX_MAGIC);
	q = outbox_queue_make(ob, slice_str(name));
	outbox_queue_set_limits(q, limits);
	return q;
}

static void queue_free(struct outbox_queue *q)
{
	outbox_index_fini(&q->index);
	outbox_ends_free(q);
	pthread_mutex_destroy(&q->lock);
	pthread_cond_destroy(&q->hook_idle);
	free(q->name);
	q->magic = 0;
	free(q);
}

/* --- the scan --------------------------------------------------------------------------------------------------- */

struct repair { /* to be done after the scan, when nothing is read any more */
	struct list node;
	struct outbox_queue *q;
	uint64_t seq;
	enum { REPAIR_OUTCOME, REPAIR_PARENT, REPAIR_BODY } kind;
};

struct load {
	struct outbox *ob;
	struct map *bodies; /* names that records know; the values say nothing */
	struct list repairs;
	int64_t now_ms;
};

static void repair_later(struct load *l, struct outbox_queue *q, uint64_t seq, int kind)
{
	struct repair *p = xcalloc(1, sizeof(*p));

	p->q = q;
	p->seq = seq;
	p->kind = kind;
	list_push_back(&l->repairs, &p->node);
}

static struct outbox_item *item_of(const struct outbox_row *row, int64_t now_ms)
{
	struct outbox_item *i = xcalloc(1, sizeof(*i));

	*i = (struct outbox_item){
		.seq = row->seq,
		.due_ms = row->next_ms < now_ms + OUTBOX_MOST_DELAY_MS ? row->next_ms : now_ms,
		.queued_ms = row->queued_ms,
		.body_bytes = row->body_bytes,
		.uri_hash = (uint32_t)hash_bytes(row->uri.p, row->uri.n),
		.state = row->state == OUTBOX_CONFLICT ? OUTBOX_CONFLICT
			 : row->state == OUTBOX_QUEUED ? OUTBOX_QUEUED
						       : OUTBOX_HELD,
		.once = row->flags & OUTBOX_ROW_ONCE,
		.is_base = row->flags & OUTBOX_ROW_IS_BASE,
		.is_alone = row->flags & OUTBOX_ROW_ALONE,
		.is_overlay = slice_eq_str(row->method, "PUT") || slice_eq_str(row->method, "DELETE"),
		.is_durable = true,
		.is_counted = true,
		.is_damaged = row->damaged,
		.is_unanswered = row->attempts > 0 && row->last_status == 0,
	};
	if (!row->is_whole) {
		i->state = OUTBOX_HELD;
		i->is_damaged = true;
	}
	i->next_state = i->state;
	return i;
}

/* What an unsettled row needs beyond its place in the index. */
static void look_closer(struct load *l, struct outbox_queue *q, struct outbox_item *item, const struct outbox_row *row)
{
	if (row->state == OUTBOX_SENDING)
		repair_later(l, q, row->seq, REPAIR_OUTCOME);
	if (row->parent) {
		struct outbox_item *parent = outbox_index_find(&q->index, row->parent);
		if (parent && parent->seq < row->seq && parent->key == item->key && /* a damaged one has no key */
		    (parent->state != OUTBOX_CONFLICT || item->state == OUTBOX_CONFLICT))
			outbox_index_set_parent(item, parent);
		else
			repair_later(l, q, row->seq, REPAIR_PARENT);
	}
	if (row->body_file.n && !outbox_bodies_is_there(l->ob, row->body_file, row->body_bytes))
		repair_later(l, q, row->seq, REPAIR_BODY);
}

static void load_row(struct load *l, const struct outbox_row *row)
{
	struct outbox_queue *q = outbox_queue_make(l->ob, row->queue);
	struct outbox_item *item;

	if (row->body_file.n && !(row->is_whole && row->state == OUTBOX_APPLIED))
		(void)map_put(l->bodies, row->body_file, l);
	if (row->seq > l->ob->last_seq)
		l->ob->last_seq = row->seq;
	if (row->is_whole && outbox_state_is_settled((enum outbox_state)row->state)) {
		outbox_index_count(&q->index, (enum outbox_state)row->state, row->body_bytes, 1);
		return;
	}
	item = item_of(row, l->now_ms);
	if (item->is_damaged)
		atomic_fetch_add(&l->ob->damaged, 1);
	pthread_mutex_lock(&q->lock);
	outbox_index_add_take(&q->index, item, row->key);
	outbox_index_count(&q->index, item->state, item->body_bytes, 1);
	q->used_entries++;
	q->used_bytes += item->body_bytes;
	pthread_mutex_unlock(&q->lock);
	if (!item->is_damaged)
		look_closer(l, q, item, row);
}

static int scan(struct load *l, sqlite3 *conn)
{
	sqlite3_stmt *st = NULL;
	struct outbox_row row;
	int rc = sqlite3_prepare_v2(conn, "SELECT " OUTBOX_ROW_COLUMNS " FROM entries ORDER BY seq", -1, &st, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		outbox_row_read(st, &row);
		load_row(l, &row);
		rc = SQLITE_OK;
	}
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	return db_code(rc);
}

/* 0 also when there is no such row; then *ret stays as it is. */
static int read_meta(sqlite3 *conn, const char *name, uint64_t *ret)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(conn, "SELECT value FROM meta WHERE name=?1", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = (uint64_t)sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	return db_code(rc);
}

/* Bodies without a record are evidence as long as this is noted: see outbox_bodies_sweep(). */
static int forget_losses(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn, "DELETE FROM meta WHERE name='" OUTBOX_META_LOSSES "'", NULL, NULL, NULL));
}

static int sweep(struct outbox *ob, const struct map *expected, uint64_t losses)
{
	char *damaged = xstrf("%s/damaged", ob->dir);
	bool is_complete = false;
	int r = outbox_bodies_sweep(ob, expected, &is_complete);

	if (is_complete && losses)
		(void)db_do(ob->db, forget_losses, NULL); /* at worst the next start counts them again */
	(void)wholefile_sweep(damaged); /* a copy that got no name; mostly there is no such folder */
	free(damaged);
	return r;
}

/* --- repairs ---------------------------------------------------------------------------------------------------- */

struct repair_op {
	struct outbox_op op;
	struct repair *repair;
};

static int repair_job(sqlite3 *conn, struct outbox_op *op)
{
	struct repair *p = CONTAINER_OF(op, struct repair_op, op)->repair;
	bool is_orphan = p->kind == REPAIR_PARENT;
	struct outbox_item *item;
	struct outbox_record rec;
	struct outbox_change *c;
	int r;

	pthread_mutex_lock(&op->q->lock);
	item = outbox_index_find(&op->q->index, p->seq);
	r = outbox_change_add(op, item, OUTBOX_ROLE_SELF, is_orphan ? OUTBOX_CONFLICT : OUTBOX_HELD, &c);
	if (r == 0 && is_orphan) {
		c->parent = NULL;
		r = outbox_change_add_descendants(op, item, OUTBOX_ROLE_FOLLOW, false, OUTBOX_CONFLICT);
	}
	pthread_mutex_unlock(&op->q->lock);
	if (r == 0)
		r = outbox_record_load(conn, &op->ob->st.load, p->seq, &rec);
	if (r < 0)
		return r;
	buf_reset(&rec.e.last_error);
	buf_add_str(&rec.e.last_error, is_orphan ? OUTBOX_ORPHAN_TEXT
						 : OUTBOX_OUTCOME_UNKNOWN
					       ": weir stopped before upstream's answer was recorded");
	rec.e.state = is_orphan ? OUTBOX_CONFLICT : OUTBOX_HELD;
	rec.e.parent = is_orphan ? 0 : rec.e.parent;
	r = outbox_change_save(conn, op, &rec, &(struct outbox_base){ 0 });
	outbox_record_fini(&rec);
	return r;
}

static int repair_one(struct outbox *ob, struct repair *p)
{
	struct repair_op op = { .op = { .ob = ob, .q = p->q, .job = repair_job }, .repair = p };

	if (p->kind != REPAIR_BODY)
		return outbox_op_run(&op.op);
	outbox_note_damage(ob, p->seq, "the body is missing, or has another size");
	return 0;
}

int outbox_load(struct outbox *ob)
{
	struct load l = { .ob = ob, .bodies = map_new(), .now_ms = clock_wall_ms() };
	sqlite3 *conn = NULL;
	uint64_t losses = 0;
	int r;

	list_init(&l.repairs);
	r = db_reader(ob->db, &conn);
	if (r == 0)
		r = read_meta(conn, "last_seq", &ob->last_seq);
	if (r == 0)
		r = read_meta(conn, OUTBOX_META_LOSSES, &losses);
	atomic_fetch_add(&ob->damaged, losses);
	if (r == 0)
		r = scan(&l, conn);
	(void)sqlite3_close(conn); /* nothing is left open */
	if (r == 0)
		r = sweep(ob, l.bodies, losses);
	LIST_FOREACH_SAFE(it, next, &l.repairs) {
		struct repair *p = LIST_ENTRY(it, struct repair, node);
		if (r == 0)
			r = repair_one(ob, p);
		list_remove(&p->node);
		free(p);
	}
	map_free(l.bodies);
	return r;
}

/* --- a database that is not trusted ----------------------------------------------------------------------------- */

/* db_open() does not read large databases through, as that takes long. One that a put has found corrupt is. */
void outbox_suspect(struct outbox *ob)
{
	char *path = xstrf("%s/suspect", ob->dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	atomic_store(&ob->is_readonly, true);
	fd_close(&fd); /* without it the next start trusts again, until the next such put */
	free(path);
}

static int read_through(struct outbox *ob)
{
	sqlite3 *conn = NULL;
	sqlite3_stmt *st = NULL;
	int r = db_reader(ob->db, &conn), rc;

	if (r == 0)
		r = outbox_prepare(conn, &st, "PRAGMA quick_check(1)");
	if (r == 0) {
		rc = sqlite3_step(st);
		r = db_code(rc);
		if (rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
			r = WEIR_E_DAMAGED;
	}
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	(void)sqlite3_close(conn);  /* nothing is left open */
	return r;
}

static int check_if_suspect(struct outbox *ob)
{
	char *path = xstrf("%s/suspect", ob->dir);
	int r = access(path, F_OK) == 0 ? read_through(ob) : 0;

	if (r == 0)
		(void)unlink(path); /* it may not be there */
	free(path);
	return r;
}

/* --- opening and closing ---------------------------------------------------------------------------------------- */

static int open_all(struct outbox *ob, struct buf *err)
{
	char *path = xstrf("%s/outbox.db", ob->dir);
	struct db_options o = { .path = path, .schema = outbox_schema, .version = OUTBOX_DB_VERSION };
	bool hides = false;
	int r = dir_make_all(ob->bodies, 0700);

	if (r == 0)
		r = dir_sync(ob->dir);
	if (r == 0)
		r = dir_sync_above(ob->dir); /* a power cut takes no folder that was made just before a kill */
	if (r == 0)
		r = outbox_check_journal(ob, &hides);
	if (r == 0)
		r = db_open(&o, &ob->db, NULL);
	if (r == 0)
		r = check_if_suspect(ob);
	if (r == 0)
		r = outbox_salvage(ob);
	if (r == 0 && hides)
		r = db_do(ob->db, outbox_note_loss, NULL);
	if (r == 0)
		r = outbox_load(ob);
	if (r == -EPROTO)
		buf_addf(err, "%s was made by a newer weir; this one does not know its format", path);
	else if (r < 0)
		buf_addf(err, "cannot open the outbox %s: %s", path, err_text(r));
	free(path);
	return r;
}

static int open_once(const char *dir, struct outbox **ret, struct buf *err)
{
	struct outbox *ob = xcalloc(1, sizeof(*ob));
	int r;

	ob->magic = OUTBOX_MAGIC;
	ob->dir = xstrdup(dir);
	ob->bodies = xstrf("%s/bodies", dir);
	list_init(&ob->queues);
	list_init(&ob->readers);
	ENSURE(pthread_mutex_init(&ob->lock, NULL) == 0);
	ENSURE(pthread_mutex_init(&ob->readers_lock, NULL) == 0);
	atomic_init(&ob->free_looked_ms, INT64_MIN / 2);
	r = open_all(ob, err);
	if (r < 0)
		outbox_close(ob);
	else
		*ret = ob;
	return r;
}

/* As db_open() does; here it is about what that did not notice, as large databases are not read through then. */
static int set_database_aside(const char *dir)
{
	char *path = xstrf("%s/outbox.db", dir);
	int r = db_set_aside(path);

	free(path);
	return r;
}

int outbox_open(const char *dir, struct outbox **ret, struct buf *err)
{
	int r = open_once(dir, ret, err);

	if (r == WEIR_E_DAMAGED) { /* a read that failed can come out as that: look once more */
		buf_reset(err);
		r = open_once(dir, ret, err);
	}
	if (r == WEIR_E_DAMAGED && set_database_aside(dir) == 0) {
		buf_reset(err);
		r = open_once(dir, ret, err);
	}
	return r;
}

static void finalize_all(struct outbox_statements *st)
{
	sqlite3_stmt *const all[] = { st->insert, st->insert_body, st->load, st->save,
				      st->remove_body, st->remove, st->set_meta };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		(void)sqlite3_finalize(all[i]); /* none is under way */
}

void outbox_close(struct outbox *ob)
{
	if (!ob)
		return;
	OBJ_CHECK(ob, OUTBOX_MAGIC);
	outbox_readers_close(ob); /* the last connection writes the journal back, which one for reading cannot */
	db_close(ob->db);
	finalize_all(&ob->st); /* the writer, whose they were, has ended */
	LIST_FOREACH_SAFE(it, next, &ob->queues)
		queue_free(LIST_ENTRY(it, struct outbox_queue, node));
	pthread_mutex_destroy(&ob->lock);
	pthread_mutex_destroy(&ob->readers_lock);
	free(ob->bodies);
	free(ob->dir);
	ob->magic = 0;
	free(ob);
}
