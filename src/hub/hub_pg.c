/* hub_pg.c -- the hub's store in PostgreSQL: the table of functions, from opening to closing.
 *
 *   hub_pg_conn.c     a connection that never waits for ever          hub_pg_schema.c   the tables, and their versions
 *   hub_pg_writer.c   the one that writes: transactions, away, back   hub_pg_read.c     those that look
 *   hub_pg_tx.c       what jobs do; hub_pg_flush.c: a transaction of them
 *
 * WHY      docs/decisions/0011-postgresql.md
 * THREADS  As the table says; jobs run on the writer's. */
#include "hub/hub_store.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "hub/hub_pg_priv.h"

/* --- the table -------------------------------------------------------------------------------------------------- */

static int submit(struct hub_store *st, struct slice id, hub_job_fn *job, hub_done_fn *done, void *arg)
{
	struct hub_pg *h = (struct hub_pg *)st;
	struct hub_pg_job *j;
	int r = 0;

	OBJ_CHECK(h, HUB_PG_MAGIC);
	if (atomic_load(&h->is_away))
		return WEIR_E_OPEN;
	j = xcalloc(1, sizeof(*j));
	*j = (struct hub_pg_job){ .since_ms = clock_mono_ms(), .id = id, .run = job, .done = done, .arg = arg };
	list_init(&j->node);
	pthread_mutex_lock(&h->lock);
	if (atomic_load(&h->is_stopping))
		r = -ESHUTDOWN;
	else
		list_push_back(&h->queue, &j->node);
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	if (r < 0)
		free(j);
	return r;
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t finished;
	bool is_done;
	int code;
};

static void waiter_done(void *arg, int code)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	w->code = code;
	w->is_done = true;
	pthread_cond_signal(&w->finished);
	pthread_mutex_unlock(&w->lock);
}

struct waiting {
	struct waiter *w;
	hub_job_fn *job;
	void *arg;
};

static int waiting_job(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct waiting *w = arg;

	return w->job(st, tx, w->arg);
}

static void waiting_done(void *arg, int code)
{
	waiter_done(((struct waiting *)arg)->w, code);
}

static int submit_and_wait(struct hub_store *st, hub_job_fn *job, void *arg)
{
	struct waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER, .finished = PTHREAD_COND_INITIALIZER };
	struct waiting waiting = { &w, job, arg };
	int r = submit(st, SLICE_LIT(""), waiting_job, waiting_done, &waiting);

	if (r < 0)
		return r;
	pthread_mutex_lock(&w.lock);
	while (!w.is_done)
		pthread_cond_wait(&w.finished, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_mutex_destroy(&w.lock);
	pthread_cond_destroy(&w.finished);
	return w.code;
}

static int ready(struct hub_store *st, const char **ret_why)
{
	struct hub_pg *h = (struct hub_pg *)st;
	int code = atomic_load(&h->away_code);

	OBJ_CHECK(h, HUB_PG_MAGIC);
	if (!atomic_load(&h->is_away))
		return 0;
	*ret_why = code == -EPROTO ? "the hub's database was written by a newer weir"
				   : "the hub's database cannot be used: see hub_database_away in the log";
	return code;
}

static void describe(struct hub_store *st, struct buf *name, struct buf *trouble)
{
	struct hub_pg *h = (struct hub_pg *)st;

	OBJ_CHECK(h, HUB_PG_MAGIC);
	buf_addf(name, "postgresql://%s", h->name.shown);
	pthread_mutex_lock(&h->lock);
	buf_add_slice(trouble, buf_slice(&h->said));
	pthread_mutex_unlock(&h->lock);
}

static int64_t clock_ms(struct hub_store *st)
{
	struct hub_pg *h = (struct hub_pg *)st;

	return clock_mono_ms() + atomic_load(&h->clock_offset_ms);
}

static void free_store(struct hub_pg *h)
{
	hub_pg_tx_fini(&h->tx);
	hub_pg_disconnect(&h->conn);
	buf_fini(&h->conn.said);
	buf_fini(&h->said);
	hub_pg_name_fini(&h->name);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->wake);
	pthread_cond_destroy(&h->read_free);
	h->magic = 0;
	free(h);
}

static void close_store(struct hub_store *st)
{
	struct hub_pg *h = (struct hub_pg *)st;
	struct hub_pg_params p = { 0 };

	OBJ_CHECK(h, HUB_PG_MAGIC);
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->is_stopping, true);
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	if (h->writer_runs)
		pthread_join(h->writer, NULL);
	hub_pg_add_number(&p, h->id);
	if (h->conn.pg && !h->conn.is_lost)
		(void)hub_pg_ask(&h->conn, "writer_ends", &p, NULL); /* what stays behind is one small row */
	hub_pg_close_idle(h);
	free_store(h);
}

static const struct hub_store_table table = {
	.close = close_store,
	.submit = submit,
	.submit_and_wait = submit_and_wait,
	.find = hub_pg_find,
	.find_key = hub_pg_find_key,
	.find_suspended = hub_pg_find_suspended,
	.add = hub_pg_add,
	.update = hub_pg_update,
	.put_item = hub_pg_put_item,
	.put_state = hub_pg_put_state,
	.get_state = hub_pg_get_state,
	.forget = hub_pg_forget,
	.sweep = hub_pg_sweep,
	.read_begin = hub_pg_read_begin,
	.read_end = hub_pg_read_end,
	.read_session = hub_pg_read_session,
	.read_state = hub_pg_read_state,
	.read_items = hub_pg_read_items,
	.read_list = hub_pg_read_list,
	.read_products = hub_pg_read_products,
	.read_count = hub_pg_read_count,
	.read_rows = hub_pg_read_rows,
	.read_last = hub_pg_read_last,
	.put_row = hub_pg_put_row,
	.put_last_number = hub_pg_put_last_number,
	.ready = ready,
	.clock_ms = clock_ms,
	.describe = describe,
};

/* --- opening ---------------------------------------------------------------------------------------------------- */

static struct hub_pg *store_new(struct hub_pg_name *take, int64_t patience_ms, const atomic_bool *stopping)
{
	struct hub_pg *h = xcalloc(1, sizeof(*h));
	pthread_condattr_t monotonic;

	h->store.t = &table;
	h->magic = HUB_PG_MAGIC;
	h->name = *take;
	h->patience_ms = patience_ms;
	h->hurries = stopping ? stopping : &h->is_stopping;
	h->said = (struct buf)BUF_EMPTY;
	h->conn.said = (struct buf)BUF_EMPTY;
	h->conn.hurries = h->hurries;
	rand_bytes(&h->id, sizeof(h->id));
	h->id &= INT64_MAX;
	atomic_init(&h->clock_offset_ms, clock_wall_ms() - clock_mono_ms()); /* until the server has told */
	(void)snprintf(h->application, sizeof(h->application), "weir hub %llx", (unsigned long long)h->id);
	list_init(&h->queue);
	list_init(&h->idle);
	hub_pg_tx_init(&h->tx, &h->conn);
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &monotonic);
	pthread_cond_init(&h->read_free, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return h;
}

static int start_writer(struct hub_pg *h)
{
	sigset_t all, before;
	int r;

	sigfillset(&all); /* signals are for the main thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&h->writer, NULL, hub_pg_writer_main, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	h->writer_runs = r == 0;
	if (r == 0)
		(void)pthread_setname_np(h->writer, "weir-hub-db"); /* only for who looks at it with top */
	return r;
}

bool hub_pg_is_url(const char *url)
{
	struct hub_pg_name name = { .url = NULL };
	bool yes = hub_pg_name_init(&name, url) == 0;

	hub_pg_name_fini(&name);
	return yes;
}

int hub_pg_open(const char *url, int64_t patience_ms, const atomic_bool *stopping, struct hub_store **ret,
		struct buf *err)
{
	struct hub_pg_name name;
	struct hub_pg *h;
	int r = hub_pg_name_init(&name, url);

	if (r < 0) {
		buf_add_str(err, "hub.database is no URL that libpq understands; as in postgresql://user@host/db");
		return r;
	}
	h = store_new(&name, patience_ms, stopping);
	r = hub_pg_writer_connect(h); /* once, so that it is there from the first request on when it can be */
	if (r == -EPROTO) {
		buf_addf(err, "postgresql://%s: %s", h->name.shown, h->conn.said.data);
	} else {
		r = start_writer(h); /* away or not */
		if (r < 0)
			buf_addf(err, "cannot start a thread: %s", err_text(r));
	}
	if (r < 0)
		free_store(h);
	else
		*ret = &h->store;
	return r;
}
