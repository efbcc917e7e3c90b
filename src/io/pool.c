/* pool.c -- worker threads, and lanes that keep any one party from taking them all.
 *
 * WHAT     Jobs wait in their lane. A lane that has waiting jobs stands in exactly one queue: `ready` of the pool when
 *          one of its jobs could start now, or `held` of the lane (itself or an ancestor) that runs its maximum.
 *          A free worker takes the first ready lane, starts one of its jobs, and puts the lane back at the end.
 * WHY      Everything that may block runs here (upstream calls, git, SQLite). Without lanes, 64 clones from one dead
 *          upstream would take all 64 workers, and the healthy upstreams would look dead too.
 * RULES    1. A job that ends frees one place in its lane and in each ancestor; so at most one more job can start
 *             because of it, and the worker that ran it takes that one itself: no wake-up can be lost.
 *          2. A job that can start at once when it is given wakes one idle worker, or starts one more.
 *          3. Idle workers are woken last in, first out: the rest stay idle long enough to end.
 * THREADS  One lock for everything, held for a few list operations (and for pthread_create). Jobs run without it.
 * MEMORY   256 KiB of stack, of which a worker touches some 10 KiB. A worker that ends joins the one that ended before
 *          it, so that at most one dead thread keeps its stack. */
#include "io/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/obj.h"

#define POOL_MAGIC 0x706f6f6cu
#define LANE_MAGIC 0x6c616e65u
#define MOST_WAITING 65536
#define IDLE_MS 60000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES ((size_t)2 << 20) /* sanitizers make frames several times as large */
#else
#define STACK_BYTES ((size_t)256 << 10)
#endif

struct job {
	struct list node; /* lane.jobs */
	pool_fn *fn;
	void *arg;
};

struct lane {
	unsigned magic;
	struct pool *pool;
	struct lane *parent;
	unsigned refs, most, running;
	struct list jobs;
	size_t waiting;
	struct list node; /* pool.ready or the held list of what blocks it; alone when it has no jobs */
	struct list held; /* lanes (this one or descendants) that wait for this one to run less */
};

struct worker { /* on its thread's stack */
	struct list node; /* pool.idle */
	pthread_cond_t wake;
	bool woken;
};

struct pool {
	unsigned magic;
	pthread_mutex_t lock;
	pthread_cond_t quiet; /* nothing runs or waits; or a worker ended */
	struct list ready;    /* lanes */
	struct list idle;     /* workers, the one that became idle last in front */
	unsigned most, workers, running, queued, lanes;
	int idle_ms;
	bool draining, stopping;
	bool has_ended;
	pthread_t ended; /* not joined yet */
};

static _Thread_local bool is_worker;

static struct timespec deadline_in(int64_t ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

static void cond_init_monotonic(pthread_cond_t *c)
{
	pthread_condattr_t a;
	ENSURE(pthread_condattr_init(&a) == 0);
	ENSURE(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
	ENSURE(pthread_cond_init(c, &a) == 0);
	pthread_condattr_destroy(&a);
}

/* --- lanes, all with the lock held ------------------------------------------------------------------------------ */

static struct lane *lane_blocked_at(struct lane *l)
{
	for (; l; l = l->parent)
		if (l->running >= l->most)
			return l;
	return NULL;
}

/* Puts a lane into the queue where it belongs now. Whether it is ready. */
static bool lane_place(struct lane *l)
{
	struct lane *at;

	list_remove(&l->node);
	if (list_is_empty(&l->jobs))
		return false;
	at = lane_blocked_at(l);
	list_push_back(at ? &at->held : &l->pool->ready, &l->node);
	return !at;
}

/* Lets one lane that waited for l come forward, if any still can. */
static void lane_release_one(struct lane *l)
{
	while (!list_is_empty(&l->held) && l->running < l->most)
		if (lane_place(LIST_ENTRY(l->held.next, struct lane, node)))
			return;
}

/* Frees l and the ancestors that only it kept. The pool itself goes with its last lane when pool_free() came first. */
static void lane_sweep(struct lane *l)
{
	while (l && l->refs == 0 && l->running == 0 && list_is_empty(&l->jobs)) {
		struct lane *parent = l->parent;
		l->pool->lanes--;
		l->magic = 0;
		free(l);
		if (parent)
			parent->refs--;
		l = parent;
	}
}

static void pool_destroy_if_unused(struct pool *p)
{
	bool unused = p->stopping && p->workers == 0 && p->lanes == 0;

	pthread_mutex_unlock(&p->lock);
	if (!unused)
		return;
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->quiet);
	p->magic = 0;
	free(p);
}

struct lane *lane_new(struct pool *p, struct lane *parent, unsigned most_running)
{
	struct lane *l = xcalloc(1, sizeof(*l));

	OBJ_CHECK(p, POOL_MAGIC);
	ENSURE(most_running > 0);
	l->magic = LANE_MAGIC;
	l->pool = p;
	l->parent = parent ? lane_ref(parent) : NULL;
	l->refs = 1;
	l->most = most_running;
	list_init(&l->jobs);
	list_init(&l->node);
	list_init(&l->held);
	pthread_mutex_lock(&p->lock);
	p->lanes++;
	pthread_mutex_unlock(&p->lock);
	return l;
}

struct lane *lane_ref(struct lane *l)
{
	OBJ_CHECK(l, LANE_MAGIC);
	pthread_mutex_lock(&l->pool->lock);
	l->refs++;
	pthread_mutex_unlock(&l->pool->lock);
	return l;
}

void lane_unref(struct lane **lp)
{
	struct lane *l = *lp;
	struct pool *p;

	*lp = NULL;
	if (!l)
		return;
	OBJ_CHECK(l, LANE_MAGIC);
	p = l->pool;
	pthread_mutex_lock(&p->lock);
	ENSURE(l->refs > 0);
	l->refs--;
	lane_sweep(l);
	pool_destroy_if_unused(p);
}

size_t lane_waiting(struct lane *l)
{
	size_t n;

	OBJ_CHECK(l, LANE_MAGIC);
	pthread_mutex_lock(&l->pool->lock);
	n = l->waiting;
	pthread_mutex_unlock(&l->pool->lock);
	return n;
}

/* --- workers ---------------------------------------------------------------------------------------------------- */

/* The next job that may start, counted as running in its lane and all above; NULL when there is none. */
static struct job *take_job(struct pool *p, struct lane **ret_lane)
{
	while (!list_is_empty(&p->ready)) {
		struct lane *l = LIST_ENTRY(p->ready.next, struct lane, node);
		struct job *j;

		if (lane_blocked_at(l)) { /* another lane below the same parent was quicker */
			lane_place(l);
			continue;
		}
		j = LIST_ENTRY(l->jobs.next, struct job, node);
		list_remove(&j->node);
		l->waiting--;
		p->queued--;
		p->running++;
		for (struct lane *a = l; a; a = a->parent)
			a->running++;
		lane_place(l);
		*ret_lane = l;
		return j;
	}
	return NULL;
}

static void run_job(struct pool *p, struct job *j, struct lane *l)
{
	pthread_mutex_unlock(&p->lock);
	j->fn(j->arg);
	free(j);
	pthread_mutex_lock(&p->lock);
	p->running--;
	for (struct lane *a = l; a; a = a->parent)
		a->running--;
	/* From the top down: who waited for the shared place goes before the lane that just had a turn. */
	for (struct lane *a = l->parent; a; a = a->parent)
		lane_release_one(a);
	lane_release_one(l);
	lane_sweep(l);
	if (p->running == 0 && p->queued == 0)
		pthread_cond_broadcast(&p->quiet);
}

/* Waits for work. False when the worker shall end: idle for too long, or the pool is being freed. */
static bool worker_rest(struct pool *p, struct worker *w)
{
	struct timespec until = deadline_in(p->idle_ms);
	int r = 0;

	if (p->stopping)
		return false;
	w->woken = false;
	list_push_front(&p->idle, &w->node);
	while (!w->woken && !p->stopping && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&w->wake, &p->lock, &until);
	list_remove(&w->node);
	return w->woken;
}

static void *worker_main(void *arg)
{
	struct pool *p = arg;
	struct worker w;
	pthread_t before;
	bool join_before;

	is_worker = true;
	list_init(&w.node);
	cond_init_monotonic(&w.wake);
	pthread_mutex_lock(&p->lock);
	do {
		struct lane *l;
		struct job *j;
		while ((j = take_job(p, &l)))
			run_job(p, j, l);
	} while (worker_rest(p, &w));
	pthread_cond_destroy(&w.wake);
	join_before = p->has_ended;
	before = p->ended;
	p->has_ended = true;
	p->ended = pthread_self();
	p->workers--;
	pthread_cond_broadcast(&p->quiet);
	pthread_mutex_unlock(&p->lock);
	if (join_before)
		pthread_join(before, NULL);
	return NULL;
}

static int worker_start(struct pool *p)
{
	pthread_attr_t a;
	pthread_t t;
	sigset_t all;
	int r;

	sigfillset(&all); /* signals are for the main thread */
	ENSURE(pthread_attr_init(&a) == 0);
	ENSURE(pthread_attr_setstacksize(&a, STACK_BYTES) == 0);
	ENSURE(pthread_attr_setsigmask_np(&a, &all) == 0);
	r = pthread_create(&t, &a, worker_main, p);
	pthread_attr_destroy(&a);
	if (r != 0)
		return -r;
	(void)pthread_setname_np(t, "weir-worker"); /* only for who looks at it with top */
	p->workers++;
	return 0;
}

/* One more job can start: sees to a worker for it. Failing that, the busy ones will come to it. */
static int worker_wake_one(struct pool *p)
{
	if (!list_is_empty(&p->idle)) {
		struct worker *w = LIST_ENTRY(p->idle.next, struct worker, node);
		list_remove(&w->node);
		w->woken = true;
		pthread_cond_signal(&w->wake);
		return 0;
	}
	if (p->workers < p->most && worker_start(p) < 0 && p->workers == 0)
		return -EAGAIN;
	return 0;
}

/* --- the pool --------------------------------------------------------------------------------------------------- */

int pool_new(unsigned most_workers, struct pool **ret)
{
	struct pool *p;

	if (most_workers == 0)
		return -EINVAL;
	p = xcalloc(1, sizeof(*p));
	p->magic = POOL_MAGIC;
	p->most = most_workers;
	p->idle_ms = IDLE_MS;
	ENSURE(pthread_mutex_init(&p->lock, NULL) == 0);
	cond_init_monotonic(&p->quiet);
	list_init(&p->ready);
	list_init(&p->idle);
	*ret = p;
	return 0;
}

int pool_submit(struct lane *l, pool_fn *fn, void *arg)
{
	struct pool *p;
	struct job *j;
	int r = 0;

	OBJ_CHECK(l, LANE_MAGIC);
	p = l->pool;
	pthread_mutex_lock(&p->lock);
	if (p->draining)
		r = -ESHUTDOWN;
	else if (p->queued >= MOST_WAITING)
		r = -EAGAIN;
	if (r < 0) {
		pthread_mutex_unlock(&p->lock);
		return r;
	}
	j = xmalloc(sizeof(*j));
	j->fn = fn;
	j->arg = arg;
	list_push_back(&l->jobs, &j->node);
	l->waiting++;
	p->queued++;
	/* A lane that already waits keeps its turn. */
	if (list_is_empty(&l->node))
		lane_place(l);
	if (!lane_blocked_at(l))
		r = worker_wake_one(p);
	if (r < 0) { /* not one thread could be started */
		list_remove(&j->node);
		l->waiting--;
		p->queued--;
		lane_place(l);
		free(j);
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

int pool_drain(struct pool *p, int limit_ms)
{
	struct timespec until = deadline_in(limit_ms);
	int r = 0;

	OBJ_CHECK(p, POOL_MAGIC);
	pthread_mutex_lock(&p->lock);
	p->draining = true;
	while ((p->running > 0 || p->queued > 0) && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&p->quiet, &p->lock, &until);
	r = p->running > 0 || p->queued > 0 ? -ETIMEDOUT : 0;
	pthread_mutex_unlock(&p->lock);
	return r;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	OBJ_CHECK(p, POOL_MAGIC);
	pthread_mutex_lock(&p->lock);
	ENSURE(p->running == 0 && p->queued == 0);
	p->draining = p->stopping = true;
	LIST_FOREACH(it, &p->idle)
		pthread_cond_signal(&LIST_ENTRY(it, struct worker, node)->wake);
	while (p->workers > 0)
		pthread_cond_wait(&p->quiet, &p->lock);
	pthread_mutex_unlock(&p->lock);
	if (p->has_ended)
		pthread_join(p->ended, NULL);
	pthread_mutex_lock(&p->lock);
	pool_destroy_if_unused(p);
}

bool pool_is_worker(void)
{
	return is_worker;
}

void pool_set_idle_ms(struct pool *p, int ms)
{
	pthread_mutex_lock(&p->lock);
	p->idle_ms = ms;
	pthread_mutex_unlock(&p->lock);
}

static unsigned pool_count(struct pool *p, const unsigned *what)
{
	unsigned n;

	OBJ_CHECK(p, POOL_MAGIC);
	pthread_mutex_lock(&p->lock);
	n = *what;
	pthread_mutex_unlock(&p->lock);
	return n;
}

unsigned pool_running(struct pool *p)
{
	return pool_count(p, &p->running);
}

unsigned pool_queued(struct pool *p)
{
	return pool_count(p, &p->queued);
}

unsigned pool_workers(struct pool *p)
{
	return pool_count(p, &p->workers);
}
