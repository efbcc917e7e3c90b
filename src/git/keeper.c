/* keeper.c -- one thread that wakes now and then.
 *
 * RULES    A warm repository that could not be filled is tried again after a minute, or when its upstream comes back,
 *          not only after `every`.
 * THREADS  Its own; jobs go to the pool. */
#include "git/keeper.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "git/access.h"
#include "git/maint.h"
#include "git/prepare.h"
#include "git/repo_disk.h"
#include "git/scrub.h"
#include "git/sync.h"

#define TICK_MS 10000
#define RETRY_MS 60000

struct keeper {
	struct git_service *g;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool woken, stop;
	struct list later; /* of struct later, the earliest first */
	struct map *due;   /* name as configured -> struct due; the thread's own */
};

struct later {
	struct list node;
	int64_t at_mono_ms;
	struct repo *repo;
	struct credential cred;
	char *sent_path;
};

struct due {
	int64_t at_mono_ms;
};

/* --- warm --- */

struct warm_job {
	struct repo *repo;
	struct credential cred;
};

static void set_stage(struct repo *r, bool on, const char *stage)
{
	pthread_mutex_lock(&r->lock);
	r->syncing = on;
	(void)snprintf(r->progress.stage, sizeof(r->progress.stage), "%s", stage);
	pthread_cond_broadcast(&r->readers_left);
	pthread_mutex_unlock(&r->lock);
}

static void warm_free(struct warm_job *j)
{
	credential_fini(&j->cred);
	repo_unref(&j->repo);
	free(j);
}

static void run_warm(void *arg)
{
	struct warm_job *j = arg;
	struct ask_result result = ASK_RESULT_EMPTY;

	sync_run(j->repo, &j->cred, NULL, true, true, j->repo->g->stop, &result);
	if (result.outcome == ASK_OK) {
		set_stage(j->repo, true, "preparing the answer to git clone");
		prepare_clone(j->repo);
		set_stage(j->repo, false, "");
	}
	ask_result_fini(&result);
	maint_consider(j->repo);
	warm_free(j);
}

int warm_start(struct git_service *g, struct slice name, struct buf *err)
{
	struct target t;
	const char *why = NULL;
	struct upstream *up;
	struct warm_job *j;
	struct buf key = BUF_EMPTY;
	int r = target_parse_repo(name, &t, &why);

	if (r < 0) {
		buf_addf(err, "not a repository's name: %s; write host/path", why ? why : "malformed");
		return -EINVAL;
	}
	up = upstream_find(g, t.host);
	if (!up) {
		buf_addf(err, "%s is not listed under git.upstreams", t.host);
		return -EINVAL;
	}
	j = xcalloc(1, sizeof(*j));
	target_repo_key(&t, &key);
	j->repo = repo_get(g, up, key.data, t.path);
	buf_fini(&key);
	/* Warming needs no client's token: it is weir's own work. */
	r = credential_init_own(&j->cred, up, j->repo->key);
	if (r == 0) {
		set_stage(j->repo, true, "waiting");
		r = pool_submit(j->repo->sync_lane, run_warm, j);
		if (r < 0)
			set_stage(j->repo, false, "");
	}
	if (r < 0) {
		buf_addf(err, "cannot start: %s", err_text(r));
		warm_free(j);
	}
	return r;
}

static bool was_filled(struct git_service *g, struct slice name)
{
	struct target t;
	struct buf key = BUF_EMPTY;
	struct repo *r;
	bool ok = false;

	if (target_parse_repo(name, &t, NULL) < 0)
		return true; /* said once already; no use in trying again soon */
	target_repo_key(&t, &key);
	r = repo_find(g, key.data);
	buf_fini(&key);
	if (r) {
		pthread_mutex_lock(&r->lock);
		ok = r->state == REPO_READY && !r->last_error[0];
		pthread_mutex_unlock(&r->lock);
	}
	repo_unref(&r);
	return ok;
}

static void warm_one(struct keeper *k, const char *name, int64_t now, bool woken)
{
	const struct git_config *c = git_config(k->g);
	struct due *d = map_get(k->due, slice_str(name));
	struct buf err = BUF_EMPTY;

	if (!d) {
		d = xcalloc(1, sizeof(*d));
		d->at_mono_ms = now;
		map_put(k->due, slice_str(name), d);
	} else if (d->at_mono_ms > now && !was_filled(k->g, slice_str(name)) &&
		   (woken || d->at_mono_ms - now < c->warm.every - RETRY_MS)) {
		d->at_mono_ms = now;
	}
	if (d->at_mono_ms > now)
		return;
	d->at_mono_ms = now + c->warm.every;
	if (warm_start(k->g, slice_str(name), &err) < 0)
		log_event(LOG_WARN, "warm_failed", LOG_STR("repository", name), LOG_STR("why", err.data), LOG_END);
	buf_fini(&err);
}

/* --- the thread --- */

static void save_uses(struct git_service *g)
{
	struct repo **all;
	size_t n = repo_list(g, &all);

	for (size_t i = 0; i < n; i++) {
		repo_disk_save_used(all[i]);
		repo_unref(&all[i]);
	}
	free(all);
}

/* --- syncs a little later --- */

static void later_free(struct later *l)
{
	credential_fini(&l->cred);
	free(l->sent_path);
	repo_unref(&l->repo);
	free(l);
}

void keeper_sync_later(struct keeper *k, struct repo *r, const struct credential *cred, const char *sent_path)
{
	struct later *l = xcalloc(1, sizeof(*l));
	bool known = false;

	l->at_mono_ms = clock_mono_ms() + KEEPER_SYNC_DELAY_MS;
	l->repo = repo_ref(r);
	credential_copy(&l->cred, cred);
	l->sent_path = xstrdup(sent_path);
	pthread_mutex_lock(&k->lock);
	LIST_FOREACH(it, &k->later)
		known |= LIST_ENTRY(it, struct later, node)->repo == r;
	if (!known) {
		list_push_back(&k->later, &l->node); /* the delay is one for all, so the list is in order */
		pthread_cond_signal(&k->wake);
	}
	pthread_mutex_unlock(&k->lock);
	if (known)
		later_free(l);
}

/* The first that is due, taken off the list; NULL: none is. Lock held. */
static struct later *next_due(struct keeper *k)
{
	struct later *first;

	if (list_is_empty(&k->later))
		return NULL;
	first = LIST_ENTRY(k->later.next, struct later, node);
	if (first->at_mono_ms > clock_mono_ms() && !k->stop)
		return NULL;
	list_remove(&first->node);
	return first;
}

static void start_due(struct keeper *k)
{
	for (;;) {
		struct later *l;

		pthread_mutex_lock(&k->lock);
		l = next_due(k);
		pthread_mutex_unlock(&k->lock);
		if (!l)
			return;
		if (!atomic_load(&k->g->stopping))
			sync_if_due(l->repo, &l->cred, l->sent_path);
		later_free(l);
	}
}

/* When the thread has something to do next. Lock held. */
static int64_t next_ms(const struct keeper *k, int64_t tick_ms)
{
	if (list_is_empty(&k->later))
		return tick_ms;
	return LIST_ENTRY(k->later.next, struct later, node)->at_mono_ms < tick_ms
		       ? LIST_ENTRY(k->later.next, struct later, node)->at_mono_ms
		       : tick_ms;
}

/* Waits for the next tick, or until woken; syncs that are due start meanwhile. False: it is over. */
static bool wait_a_tick(struct keeper *k, bool *ret_woken)
{
	int64_t tick_ms = clock_mono_ms() + TICK_MS, now;
	bool stop = false;

	*ret_woken = false;
	while (!stop && !*ret_woken && (now = clock_mono_ms()) < tick_ms) {
		pthread_mutex_lock(&k->lock);
		if (!k->woken && !k->stop && next_ms(k, tick_ms) > now) {
			int64_t wait_ms = next_ms(k, tick_ms) - now;
			struct timespec t;

			(void)clock_gettime(CLOCK_REALTIME, &t);
			t.tv_sec += wait_ms / 1000;
			t.tv_nsec += wait_ms % 1000 * 1000000;
			t.tv_sec += t.tv_nsec / 1000000000;
			t.tv_nsec %= 1000000000;
			(void)pthread_cond_timedwait(&k->wake, &k->lock,
						     &t); /* whatever ended it, the loop looks again */
		}
		*ret_woken = k->woken;
		k->woken = false;
		stop = k->stop;
		pthread_mutex_unlock(&k->lock);
		start_due(k);
	}
	return !stop;
}

static void *run(void *arg)
{
	struct keeper *k = arg;
	bool woken = true;

	do {
		int64_t now = clock_mono_ms();

		for (char **name = git_config(k->g)->warm.repos; name && *name; name++)
			warm_one(k, *name, now, woken);
		save_uses(k->g);
		scrub_one(k->g);
	} while (wait_a_tick(k, &woken));
	save_uses(k->g);
	return NULL;
}

struct keeper *keeper_start(struct git_service *g)
{
	struct keeper *k = xcalloc(1, sizeof(*k));

	k->g = g;
	k->due = map_new();
	list_init(&k->later);
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->wake, NULL);
	ENSURE(pthread_create(&k->thread, NULL, run, k) == 0);
	return k;
}

void keeper_wake(struct keeper *k)
{
	pthread_mutex_lock(&k->lock);
	k->woken = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
}

void keeper_stop(struct keeper *k)
{
	size_t pos = 0;
	void *due;

	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
	(void)pthread_join(k->thread, NULL);
	while (map_next(k->due, &pos, NULL, &due))
		free(due);
	map_free(k->due);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k);
}
