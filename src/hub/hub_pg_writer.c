/* hub_pg_writer.c -- the one connection that writes: its transactions, and what happens while the server is away.
 *
 *   submit -> queue -> writer: jobs (hub_pg_tx.c) -> flush, count, COMMIT in one journey -> done
 *                        |                                |
 *                        | lost before COMMIT:            | lost after it: ask the new connection whether it was
 *                        | nothing stands; once more      | committed; only then once more, or done
 *                        v                                v
 *                      away: submit and read_begin refuse at once; the writer tries again by itself
 *
 * WHAT     One connection writes, for all jobs that wait in one transaction; looking has connections of its own
 *          (hub_pg_read.c). Any number of hubs may use one database: rows are locked for as long as a transaction
 *          decides about them.
 * RULES    1. done(0) means that the server has said COMMIT, or that its row of weir_writers says it.
 *          2. A job that fails by its own is undone alone. When the database refuses a transaction, each of its jobs is
 *             run again in one of its own: so one that is refused always takes no other with it, and those that only
 *             were in each other's way succeed.
 *          3. A COMMIT whose answer was lost is resolved: every transaction counts up in our row of weir_writers. The next
 *             connection puts a token of its own into that row, for which it waits until a transaction that has it
 *             already has ended, and reads the count. From then on a transaction of the connection before cannot count,
 *             and so not commit, however late the cable brings the rest of it. So nothing is done twice, operations
 *             without a number neither. Only when the server stays away longer than its patience are those jobs told
 *             -EINPROGRESS: nobody knows, and they are not run again.
 *          4. A server that cannot be reached is no failure of the hub: it starts, says so, and comes back by itself.
 *             docs/decisions/0011-postgresql.md
 * THREADS  submit: any. The writer thread runs jobs and answers them.
 * LIMITS   A transaction has at most 1,000 jobs, and takes no further one above 16 MiB. A job waits for a row that somebody
 *          holds for half a second at a time, and others pass it meanwhile; for as long as the patience lasts. */
#include "hub/hub_store.h"

#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/rand.h"
#include "hub/hub_pg_priv.h"

#define MOST_JOBS      1000
#define MOST_BYTES     (16 << 20)
#define MOST_TRIES     6 /* of a job alone */
#define FIRST_RETRY_MS 100
#define MOST_RETRY_MS  5000
#define PING_MS        5000 /* an idle connection is looked at */
#define CLOCK_MS       60000
#define SHOW_MS        (24 * 3600 * 1000) /* our row of weir_writers, of an idle hub */
#define MIGRATE_MS     (3600 * 1000) /* an index over millions of rows */
#define MOST_LOCK_MS   500

/* Of the writer: a hub that vanished does not hold rows for ever; statements go by keys, whatever statistics say of an
 * empty table, and are planned once: the server would plan those with arrays each time, with the arrays in the plan. */
static const char settings[] =
	"SET idle_in_transaction_session_timeout = '60s'; SET statement_timeout = 0;"
	"SET jit = off; SET plan_cache_mode = force_generic_plan;"
	"SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
	"SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/* --- away and back ---------------------------------------------------------------------------------------------- */

static void go_away(struct hub_pg *h, int code)
{
	bool news;

	pthread_mutex_lock(&h->lock);
	news = !atomic_load(&h->is_away) || !slice_eq(buf_slice(&h->said), buf_slice(&h->conn.said));
	buf_reset(&h->said);
	buf_add_slice(&h->said, buf_slice(&h->conn.said));
	pthread_mutex_unlock(&h->lock);
	if (!atomic_load(&h->is_away)) {
		h->away_since_ms = clock_mono_ms();
		h->tries = 0;
	}
	atomic_store(&h->away_code, code);
	atomic_store(&h->is_away, true);
	if (news && (h->writer_runs || code != -EPROTO)) /* else the start ends by it, and says so */
		log_event(LOG_ERROR, "hub_database_away", LOG_STR("database", h->name.shown), LOG_ERR("error", code),
			  LOG_SLICE("said", buf_slice(&h->conn.said)),
			  LOG_STR("next", "requests are answered 503, and it is tried again"), LOG_END);
	hub_pg_close_idle(h);
}

static void come_back(struct hub_pg *h)
{
	if (!atomic_load(&h->is_away))
		return;
	log_event(LOG_INFO, "hub_database_back", LOG_STR("database", h->name.shown),
		  LOG_INT("away_ms", clock_mono_ms() - h->away_since_ms), LOG_END);
	pthread_mutex_lock(&h->lock);
	buf_reset(&h->said);
	pthread_mutex_unlock(&h->lock);
	atomic_store(&h->is_away, false);
}

/* Heartbeats are compared with the clock of whoever looks: several hubs have one, the server's. */
static int read_clock(struct hub_pg *h)
{
	int64_t before_ms = clock_mono_ms(), now_ms;
	PGresult *res = NULL;
	int r = hub_pg_ask(&h->conn, "ping", NULL, &res);

	now_ms = clock_mono_ms();
	if (r == 0)
		atomic_store(&h->clock_offset_ms, hub_pg_number(res, 0, 0) - (before_ms + now_ms) / 2);
	h->clock_read_ms = now_ms;
	PQclear(res);
	return r;
}

/* Takes our row of weir_writers, which is made if need be: rule 3. Rows of hubs that ended without taking theirs along go
 * some day. */
static int take_row(struct hub_pg *h)
{
	struct hub_pg_params name = { 0 }, p = { 0 };
	PGresult *res = NULL;
	int r;

	hub_pg_add_text(&name, slice_str(h->application));
	r = hub_pg_ask(&h->conn, "writers_before", &name, NULL); /* nobody waits for what they have locked */
	rand_bytes(&h->token, sizeof(h->token));
	hub_pg_add_number(&p, h->id);
	hub_pg_add_number(&p, h->commits);
	hub_pg_add_number(&p, h->token);
	if (r == 0)
		r = hub_pg_ask(&h->conn, "writer", &p, &res);
	if (r == 0)
		h->commits = hub_pg_number(res, 0, 0);
	PQclear(res);
	h->shown_ms = clock_mono_ms();
	return r == 0 ? hub_pg_ask(&h->conn, "writers_gone", NULL, NULL) : r;
}

static int run_set(struct hub_pg *h, const char *name, const char *value)
{
	char text[120];

	(void)snprintf(text, sizeof(text), "SET %s = '%s'", name, value);
	return hub_pg_run(&h->conn, text, NULL);
}

/* While it connects, a hub waits for what another one, or its own last transaction, is about to end. */
static int set_up(struct hub_pg *h)
{
	char ms[24];
	int r = hub_pg_run(&h->conn, settings, NULL);

	(void)snprintf(ms, sizeof(ms), "%lld", (long long)(h->patience_ms / 2));
	if (r == 0)
		r = run_set(h, "lock_timeout", ms);
	if (r == 0)
		r = run_set(h, "application_name", h->application);
	return r;
}

static int wait_less(struct hub_pg *h)
{
	int64_t ms = h->patience_ms / 2 < MOST_LOCK_MS ? h->patience_ms / 2 : MOST_LOCK_MS;
	char text[64];

	(void)snprintf(text, sizeof(text), "SET lock_timeout = %lld", (long long)ms);
	hub_pg_send_sql(&h->conn, text, NULL);
	return hub_pg_finish(&h->conn, NULL);
}

static int connect_writer(struct hub_pg *h)
{
	struct hub_pg_conn *c = &h->conn;
	int r;

	c->given_up = h->hurries;
	r = hub_pg_connect(c, &h->name, h->patience_ms);
	if (r == 0)
		r = set_up(h);
	c->patience_ms = MIGRATE_MS;
	if (r == 0)
		r = hub_pg_schema(c);
	c->patience_ms = h->patience_ms;
	if (r == 0)
		r = hub_pg_prepare(c, hub_pg_tx_statements);
	if (r == 0)
		r = take_row(h);
	if (r == 0)
		r = wait_less(h);
	if (r == 0)
		r = read_clock(h);
	c->given_up = NULL;
	if (r == 0) {
		come_back(h);
		return 0;
	}
	c->is_lost = true;
	go_away(h, r);
	return r;
}

/* Doubling, and never the same for two hubs. */
static void plan_next_try(struct hub_pg *h)
{
	int64_t ms = h->tries < 6 ? FIRST_RETRY_MS << h->tries : MOST_RETRY_MS;
	uint32_t random;

	rand_bytes(&random, sizeof(random));
	ms = ms < MOST_RETRY_MS ? ms : MOST_RETRY_MS;
	h->tries++;
	h->next_try_ms = clock_mono_ms() + ms / 2 + random % (ms / 2 + 1);
}

/* --- a transaction ---------------------------------------------------------------------------------------------- */

static void roll_back(struct hub_pg *h)
{
	struct hub_tx *tx = &h->tx;

	if (tx->is_begun && !h->conn.is_lost)
		(void)hub_pg_ask(&h->conn, "rollback", NULL, NULL); /* when that fails the connection is lost */
	hub_pg_tx_end(tx);
}

static void pause_ms(int64_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL); /* woken early is fine */
}

/* Rule 3. 0: it was committed; -EAGAIN: it was not; -EINPROGRESS: nobody knows. */
static int resolve(struct hub_pg *h, int64_t expected)
{
	int64_t deadline_ms = clock_mono_ms() + h->patience_ms;

	go_away(h, WEIR_E_CUT);
	while (connect_writer(h) < 0) {
		if (clock_mono_ms() > deadline_ms || atomic_load(h->hurries))
			return -EINPROGRESS;
		pause_ms(FIRST_RETRY_MS);
	}
	log_event(LOG_INFO, "hub_commit_resolved", LOG_STR("database", h->name.shown),
		  LOG_STR("was", h->commits == expected ? "committed" : "not committed"), LOG_END);
	return h->commits == expected ? 0 : -EAGAIN;
}

static int commit(struct hub_pg *h)
{
	struct hub_pg_params p = { 0 };
	int64_t expected = h->commits + 1;
	int r;

	hub_pg_tx_flush(&h->tx);
	hub_pg_add_number(&p, h->id);
	hub_pg_add_number(&p, expected);
	hub_pg_add_number(&p, h->token);
	hub_pg_send(&h->conn, "count", &p);
	hub_pg_send(&h->conn, "commit", NULL);
	r = hub_pg_finish(&h->conn, NULL);
	if (h->conn.is_lost)
		r = resolve(h, expected);
	else if (r < 0)
		roll_back(h);
	if (r == 0)
		h->commits = expected;
	return r;
}

/* One question for the sessions of all jobs, rather than one for each. */
static void foresee(struct hub_pg *h, struct list *jobs)
{
	struct hub_pg_array *ids = &h->tx.ids;

	hub_pg_array_reset(ids);
	LIST_FOREACH(it, jobs) {
		struct slice id = LIST_ENTRY(it, struct hub_pg_job, node)->id;

		if (hub_pg_may_be_id(id))
			hub_pg_array_text(ids, id);
	}
	if (ids->count)
		hub_pg_tx_foresee(&h->tx, ids);
}

/* Those from `first` on, to the end of another list. */
static void move_rest(struct list *jobs, struct list *first, struct list *to)
{
	while (first != jobs) {
		struct list *next = first->next;

		list_remove(first);
		list_push_back(to, first);
		first = next;
	}
}

/* Runs jobs in one transaction. 0: each has its code; else why none of it stands. What is too much for one goes to the end
 * of `rest`. */
static int run_jobs(struct hub_pg *h, struct list *jobs, bool is_alone, struct list *rest)
{
	struct hub_tx *tx = &h->tx;
	bool any = false;
	int r;

	hub_pg_tx_begin(tx, is_alone);
	if (!is_alone)
		foresee(h, jobs);
	LIST_FOREACH(it, jobs) {
		struct hub_pg_job *j = LIST_ENTRY(it, struct hub_pg_job, node);

		if (tx->fault < 0)
			break;
		if (hub_pg_tx_bytes(tx) > MOST_BYTES) {
			move_rest(jobs, it, rest);
			break;
		}
		j->code = hub_pg_tx_job(tx, &h->store, j->run, j->arg);
		any = any || j->code == 0;
	}
	r = tx->fault;
	if (r < 0 || !any) {
		roll_back(h);
		return r;
	}
	r = commit(h);
	hub_pg_tx_end(tx);
	return r;
}

/* Whether running it once more may help; with a connection that is good. Of -EINPROGRESS nobody knows whether it stands. */
static bool can_retry(struct hub_pg *h, int code)
{
	if (code == -EINPROGRESS)
		return false;
	if (h->conn.is_lost) {
		go_away(h, code);
		return connect_writer(h) == 0;
	}
	return code == -EAGAIN;
}

/* 0 when j has its code; -EBUSY: somebody holds a row that it needs. */
static int run_alone(struct hub_pg *h, struct hub_pg_job *j)
{
	struct list one;
	int r = -EAGAIN;

	list_remove(&j->node);
	list_init(&one);
	list_push_back(&one, &j->node);
	for (int i = 0; i < MOST_TRIES; i++) {
		r = run_jobs(h, &one, true, NULL);
		if (r == 0 || !can_retry(h, r))
			break;
		if (i)
			pause_ms(10 << i);
	}
	list_remove(&j->node);
	j->code = r < 0 ? r : j->code;
	return r;
}

static void answer(struct hub_pg_job *j)
{
	list_remove(&j->node);
	if (j->done)
		j->done(j->arg, j->code);
	free(j);
}

static void fail_all(struct list *jobs, int code)
{
	LIST_FOREACH_SAFE(it, next, jobs) {
		struct hub_pg_job *j = LIST_ENTRY(it, struct hub_pg_job, node);

		j->code = code;
		answer(j);
	}
}

static void put_back(struct hub_pg *h, struct list *jobs)
{
	pthread_mutex_lock(&h->lock);
	list_splice(jobs, &h->queue); /* they came before those */
	list_splice(&h->queue, jobs);
	pthread_mutex_unlock(&h->lock);
}

/* Others go first; and once for all jobs of a batch is enough to wait for somebody's lock. */
static void put_off(struct hub_pg *h, struct hub_pg_job *j)
{
	int64_t most_ms = atomic_load(h->hurries) ? MOST_LOCK_MS : h->patience_ms;

	list_remove(&j->node);
	if (clock_mono_ms() - j->since_ms > most_ms) {
		j->code = -ETIMEDOUT;
		answer(j);
		return;
	}
	pthread_mutex_lock(&h->lock);
	list_push_back(&h->queue, &j->node);
	pthread_mutex_unlock(&h->lock);
}

/* One by one, those that are left of a batch. */
static void run_each(struct hub_pg *h, struct list *jobs)
{
	bool is_stuck = false;

	LIST_FOREACH_SAFE(it, next, jobs) {
		struct hub_pg_job *j = LIST_ENTRY(it, struct hub_pg_job, node);

		if (h->conn.is_lost) {
			j->code = atomic_load(&h->away_code);
			answer(j);
		} else if (is_stuck || run_alone(h, j) == -EBUSY) {
			is_stuck = true;
			put_off(h, j);
		} else {
			answer(j);
		}
	}
}

static void run_batch(struct hub_pg *h, struct list *jobs)
{
	bool is_one = jobs->next == jobs->prev;
	struct list rest;
	int r = -EAGAIN;

	list_init(&rest);
	if (!is_one)
		r = run_jobs(h, jobs, false, &rest);
	if (!is_one && h->conn.is_lost && can_retry(h, r))
		r = run_jobs(h, jobs, false, &rest);
	put_back(h, &rest);
	if (r == -EINPROGRESS || r == -ENOSPC || h->conn.is_lost) {
		fail_all(jobs, r < 0 ? r : WEIR_E_CUT);
		return;
	}
	LIST_FOREACH_SAFE(it, next, jobs) { /* committed ones do not wait for those that were put off */
		struct hub_pg_job *j = LIST_ENTRY(it, struct hub_pg_job, node);

		if (r == 0 && j->code != HUB_PG_DEFERRED)
			answer(j);
	}
	run_each(h, jobs);
}

/* --- the writer ------------------------------------------------------------------------------------------------- */

/* With the lock. */
static void take_batch(struct hub_pg *h, struct list *batch)
{
	list_init(batch);
	for (int n = 0; n < MOST_JOBS && !list_is_empty(&h->queue); n++) {
		struct list *first = h->queue.next;

		list_remove(first);
		list_push_back(batch, first);
	}
}

/* With the lock: until somebody wakes us, or so long. */
static void rest(struct hub_pg *h, int64_t ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail on Linux */
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	(void)pthread_cond_timedwait(&h->wake, &h->lock, &until); /* whichever it was: the caller looks again */
}

static void ping(struct hub_pg *h)
{
	bool is_day = clock_mono_ms() - h->shown_ms > SHOW_MS;
	int r = is_day ? take_row(h) : read_clock(h);

	if (r < 0 && h->conn.is_lost && !can_retry(h, r))
		plan_next_try(h);
}

int hub_pg_writer_connect(struct hub_pg *h)
{
	int r = connect_writer(h);

	if (r < 0)
		plan_next_try(h);
	return r;
}

void *hub_pg_writer_main(void *arg)
{
	struct hub_pg *h = arg;
	int64_t used_ms = clock_mono_ms();

	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&h->is_stopping) || !list_is_empty(&h->queue)) {
		bool away = h->conn.is_lost || !h->conn.pg;
		int64_t wait_ms = (away ? h->next_try_ms : used_ms + PING_MS) - clock_mono_ms();
		struct list batch;

		if (list_is_empty(&h->queue) && wait_ms > 0) {
			rest(h, wait_ms);
			continue;
		}
		take_batch(h, &batch);
		pthread_mutex_unlock(&h->lock);
		if (!list_is_empty(&batch) && away)
			fail_all(&batch, atomic_load(&h->away_code)); /* they came just before it was known */
		else if (!list_is_empty(&batch))
			run_batch(h, &batch);
		else if (away)
			(void)hub_pg_writer_connect(h); /* else it is planned when again */
		else
			ping(h);
		used_ms = clock_mono_ms();
		if (used_ms - h->clock_read_ms > CLOCK_MS && !h->conn.is_lost && h->conn.pg)
			ping(h); /* one that is never idle */
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}
