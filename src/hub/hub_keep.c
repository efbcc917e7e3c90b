/* hub_keep.c -- sessions that are too old go.
 *
 * WHAT     At the start, and then every cleanup_interval: sessions created before now - retention are taken out of the
 *          list, and their items deleted, a bounded number in each job, so that writers hardly wait. What a stop
 *          interrupts goes on at the next start.
 * RULES    1. A wall clock that is set while the hub runs, years ahead or back, makes no session too old: the earlier of
 *             it and the hub's own clock counts.
 * THREADS  One of its own; woken by reload and stop. */
#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "hub/hub_priv.h"

#define MOST_SESSIONS 100 /* in a job */
#define MOST_ITEMS    2000
#define AWAY_MS       10000 /* until it is tried again with a database that is away */

struct step {
	int64_t created_ms, forgotten;
	bool more;
};

static int forget(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct step *s = arg;

	return st->t->forget(tx, s->created_ms, MOST_SESSIONS, &s->forgotten);
}

static int sweep(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct step *s = arg;

	return st->t->sweep(tx, MOST_ITEMS, &s->more);
}

static int64_t now_ms(const struct hub *h)
{
	int64_t wall = clock_wall_ms(), own = hub_clock_ms(h);

	return wall < own ? wall : own;
}

/* False: the database is away. */
static bool clean(struct hub *h)
{
	struct step s = { .created_ms = now_ms(h) - hub_config(h)->retention, .more = true };
	int64_t all = 0;
	int r;

	do {
		r = h->store->t->submit_and_wait(h->store, forget, &s);
		all += r == 0 ? s.forgotten : 0;
	} while (r == 0 && s.forgotten && !atomic_load(&h->stopping));
	while (r == 0 && s.more && !atomic_load(&h->stopping))
		r = h->store->t->submit_and_wait(h->store, sweep, &s);
	metric_add(h->metrics.forgotten, (uint64_t)all);
	metric_add(h->metrics.cleanups, r == 0);
	if (all)
		log_event(LOG_INFO, "hub_sessions_deleted", LOG_INT("sessions", all), LOG_END);
	if (r < 0 && !err_is_unavailable(r))
		log_event(LOG_ERROR, "hub_cleanup_failed", LOG_ERR("error", r), LOG_END);
	return !err_is_unavailable(r);
}

static void add_ms(struct timespec *t, int64_t ms)
{
	t->tv_sec += ms / 1000;
	t->tv_nsec += (ms % 1000) * 1000000;
	if (t->tv_nsec >= 1000000000) {
		t->tv_nsec -= 1000000000;
		t->tv_sec++;
	}
}

/* Until the interval is over, or somebody wakes us: then it begins anew. False at the end. */
static bool rest(struct hub *h, int64_t most_ms)
{
	struct timespec until;
	bool go_on;

	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail on Linux */
	add_ms(&until, hub_config(h)->cleanup_interval < most_ms ? hub_config(h)->cleanup_interval : most_ms);
	pthread_mutex_lock(&h->lock);
	if (!atomic_load(&h->stopping) && !h->is_woken)
		(void)pthread_cond_timedwait(&h->wake, &h->lock, &until); /* woken early it only cleans early */
	h->is_woken = false;
	go_on = !atomic_load(&h->stopping);
	pthread_mutex_unlock(&h->lock);
	return go_on;
}

static void *keeper(void *arg)
{
	struct hub *h = arg;

	bool go_on = true;

	while (go_on)
		go_on = rest(h, clean(h) ? INT64_MAX : AWAY_MS);
	return NULL;
}

int hub_keep_start(struct hub *h)
{
	int r = -pthread_create(&h->keeper, NULL, keeper, h);

	h->keeper_runs = r == 0;
	if (h->keeper_runs)
		(void)pthread_setname_np(h->keeper, "weir-hub-keep"); /* only for who looks at it with top */
	return r;
}

void hub_keep_wake(struct hub *h)
{
	pthread_mutex_lock(&h->lock);
	h->is_woken = true; /* it may not be at rest */
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
}

void hub_keep_stop(struct hub *h)
{
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->stopping, true); /* under the lock: it cannot come between a look at it and the rest */
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	if (h->keeper_runs)
		pthread_join(h->keeper, NULL);
}
