/* flight.c -- questions under way, and who waits for their answers.
 *
 * WHAT     A map from key to the flight that newcomers may join, and for each flight the list of those who wait.
 * WHY      A hundred clients that ask the same must cost the upstream one question and us no thread: each exchange is
 *          parked here, and the one who has the answer runs the continuation of each.
 * RULES    1. Who waits is resumed or dropped exactly once. The landing and the client's leaving meet in `lock`: a
 *             leaver that comes first takes its waiter off the list; one that comes after the landing began leaves it
 *             to the landing, which sees by exchange_clear_gone_hook() that the client has gone and drops it.
 *          2. A waiter is freed by the last of the two that may hold it: the list (or the landing), and the hook.
 *          3. No reply and no continuation runs under `lock`.
 *          4. The cancel fires when the last exchange has left, unless somebody in the background waits too; from then
 *             on nobody can join.
 * THREADS  Any. Continuations may be many, so landings belong on workers but for refusals. */
#include "core/flight.h"

#include <pthread.h>

#include "base/list.h"
#include "base/map.h"
#include "base/obj.h"
#include "io/loop.h"

#define FLIGHT_MAGIC 0x666c6974u

struct flights {
	/* guards all below, flights and waiters too; before it, the locks of services; after it, none but a cancel's */
	pthread_mutex_t lock;
	struct map *open;     /* key -> flight that may be joined */
	unsigned under_way;
};

struct flight {
	unsigned magic;
	struct flights *all;
	char *key;
	size_t key_n;
	bool is_open;
	struct list waiters;
	unsigned exchanges, background;
	struct cancel *cancel; /* NULL: descriptors used up */
};

struct waiter {
	struct list link;
	struct flights *all;
	struct flight *flight; /* NULL once it has landed */
	struct exchange *ex;   /* NULL: background */
	flight_resume_fn *fn;
	unsigned held;         /* by list or landing, and by the hook */
};

struct flights *flights_new(void)
{
	struct flights *f = xcalloc(1, sizeof(*f));

	pthread_mutex_init(&f->lock, NULL);
	f->open = map_new();
	return f;
}

void flights_free(struct flights *f)
{
	if (!f)
		return;
	ENSURE(f->under_way == 0);
	map_free(f->open);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* With the lock. Whether it was the last hold; then the caller frees it. */
static bool let_go(struct waiter *w, unsigned holds)
{
	ENSURE(w->held >= holds);
	w->held -= holds;
	return w->held == 0;
}

/* With the lock. */
static void close_flight(struct flight *fl)
{
	if (fl->is_open)
		ENSURE(map_remove(fl->all->open, (struct slice){ fl->key, fl->key_n }) == fl);
	fl->is_open = false;
}

/* With the lock: an exchange is off the list. */
static void one_less(struct flight *fl)
{
	if (--fl->exchanges || fl->background)
		return;
	close_flight(fl); /* its answer will be "cancelled": not for newcomers */
	if (fl->cancel)
		cancel_fire(fl->cancel);
}

/* The client has left; front thread. */
static void on_gone(void *arg)
{
	struct waiter *w = arg;
	struct flights *all = w->all;
	struct exchange *ex = NULL;
	bool last;

	pthread_mutex_lock(&all->lock);
	if (w->flight) { /* rule 1: we came first */
		list_remove(&w->link);
		ex = w->ex;
		one_less(w->flight);
		last = let_go(w, 2);
	} else {
		last = let_go(w, 1);
	}
	pthread_mutex_unlock(&all->lock);
	if (last)
		free(w);
	if (ex)
		exchange_reply_dropped(ex);
}

/* With the lock. */
static struct flight *make_flight(struct flights *f, struct slice key)
{
	struct flight *fl = xcalloc(1, sizeof(*fl));

	fl->magic = FLIGHT_MAGIC;
	fl->all = f;
	fl->key = slice_dup(key);
	fl->key_n = key.n;
	fl->is_open = true;
	list_init(&fl->waiters);
	/* stays NULL when descriptors are used up: then nobody can be told, which costs work and no more */
	(void)cancel_new(&fl->cancel);
	ENSURE(map_put(f->open, key, fl) == NULL);
	f->under_way++;
	return fl;
}

static void join(struct flights *f, struct slice key, struct exchange *ex, flight_resume_fn *fn,
		 struct flight **ret_lead)
{
	struct waiter *w = xcalloc(1, sizeof(*w));
	struct flight *fl;
	bool gone = false;

	*w = (struct waiter){ .all = f, .ex = ex, .fn = fn, .held = ex ? 2 : 1 };
	list_init(&w->link);
	*ret_lead = NULL;
	pthread_mutex_lock(&f->lock);
	fl = map_get(f->open, key);
	if (!fl)
		*ret_lead = fl = make_flight(f, key);
	w->flight = fl;
	list_push_back(&fl->waiters, &w->link);
	if (ex)
		fl->exchanges++;
	else
		fl->background++;
	/* Under the lock, so that a hook that fires at once waits until the list is whole. */
	if (ex && !exchange_set_gone_hook(ex, on_gone, w)) {
		list_remove(&w->link);
		one_less(fl);
		gone = true;
	}
	pthread_mutex_unlock(&f->lock);
	if (gone) {
		free(w);
		exchange_reply_dropped(ex);
	}
}

void flight_join(struct flights *f, struct slice key, struct exchange *ex, flight_resume_fn *fn,
		 struct flight **ret_lead)
{
	ENSURE(ex);
	join(f, key, ex, fn, ret_lead);
}

void flight_join_background(struct flights *f, struct slice key, flight_resume_fn *fn, struct flight **ret_lead)
{
	join(f, key, NULL, fn, ret_lead);
}

struct cancel *flight_cancel(struct flight *fl)
{
	OBJ_CHECK(fl, FLIGHT_MAGIC);
	return fl->cancel;
}

void flight_close(struct flight *fl)
{
	OBJ_CHECK(fl, FLIGHT_MAGIC);
	pthread_mutex_lock(&fl->all->lock);
	close_flight(fl);
	pthread_mutex_unlock(&fl->all->lock);
}

static void resume(struct waiter *w, int code, void *result)
{
	struct flights *all = w->all;
	struct exchange *ex = w->ex;
	flight_resume_fn *fn = w->fn;
	bool present = !ex || exchange_clear_gone_hook(ex), last;

	pthread_mutex_lock(&all->lock);
	last = let_go(w, ex && present ? 2 : 1); /* else the hook has its hold, and lets go itself */
	pthread_mutex_unlock(&all->lock);
	if (last)
		free(w);
	if (present)
		fn(ex, code, result);
	else
		exchange_reply_dropped(ex);
}

void flight_land(struct flight *fl, int code, void *result)
{
	struct flights *f = fl->all;
	struct list waiters;

	OBJ_CHECK(fl, FLIGHT_MAGIC);
	list_init(&waiters);
	pthread_mutex_lock(&f->lock);
	close_flight(fl);
	list_splice(&waiters, &fl->waiters);
	LIST_FOREACH(it, &waiters)
		LIST_ENTRY(it, struct waiter, link)->flight = NULL;
	pthread_mutex_unlock(&f->lock);
	while (!list_is_empty(&waiters)) {
		struct waiter *w = LIST_ENTRY(waiters.next, struct waiter, link);

		list_remove(&w->link);
		resume(w, code, result);
	}
	cancel_unref(&fl->cancel);
	fl->magic = 0;
	free(fl->key);
	free(fl);
	pthread_mutex_lock(&f->lock);
	f->under_way--;
	pthread_mutex_unlock(&f->lock);
}

size_t flights_waiting(struct flights *f, struct slice key)
{
	struct flight *fl;
	size_t n;

	pthread_mutex_lock(&f->lock);
	fl = map_get(f->open, key);
	n = fl ? fl->exchanges + fl->background : 0;
	pthread_mutex_unlock(&f->lock);
	return n;
}
