/* delivery.c -- takes what an outbox lends to its upstream, and settles it by what came of it.
 *
 * WHAT     One thread for each queue that lends, a lane of workers that carry, and a table from outcome to settlement.
 * WHY      Who may go, and in which order, is the outbox's knowledge; what an answer means is the carrier's. Here is
 *          only when and how many, so that this can be read, and tested with a carrier that does not know HTTP.
 * RULES    1. While the link is open (down or disabled) or the queue is paused nothing is lent. The link's own probe
 *             looks for recovery; an unknown link is delivered to, and the first failure opens it.
 *          2. Every lent entry is settled once, by the worker that carried it, also at a stop. What cannot be settled
 *             durably goes back to the queue, or, when it is sent once only, waits for the disk with its end
 *             (store/outbox.h). Then nothing is lent for a moment: the disk has to come back first, and an upstream
 *             must not be asked the same in a circle.
 *          3. `look` is cleared before the outbox is asked and set by whoever changes something: no wake-up is lost.
 *          4. Times are told by two clocks: waits by the monotonic one, entries by the wall. When the wall clock was
 *             set back, whatever is deferred is due: else it would wait for as long as the clock went back.
 *
 *              look <---- put, settlement, verb, link changed, time
 *               |
 *            link open? paused? resting? window full? ---yes---> wait
 *               |
 *            lend ----none due----> wait until the next is
 *               |
 *            worker: carry, settle, look
 *
 * THREADS  The delivery's own; workers; `lock` is a leaf and never held across a call of the outbox or the service.
 * SEE      docs/DESIGN.md, "Mirror, in depth" and invariants 2, 3, 9 */
#include "core/delivery.h"

#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/rand.h"
#include "core/delivery_priv.h"

#define MOST_WAIT_MS 10000     /* between two looks, so that a clock that was set back is noticed */
#define PURGE_EVERY_MS 10000
#define MAY_RESUME_EVERY_MS 1000
#define WIDEN_EVERY_MS 1000
#define CLOCK_SET_BACK_MS 2000 /* less is a clock being slewed */

struct job {
	struct delivery *d;
	unsigned returns; /* of the link, when it was lent */
	struct outbox_entry entry;
};

/* --- waking --------------------------------------------------------------------------------------------------- */

static void look_again(struct delivery *d)
{
	pthread_mutex_lock(&d->lock);
	d->look = true;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

void delivery_poke(struct delivery *d)
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	look_again(d);
}

static void on_queue_change(void *arg)
{
	delivery_poke(arg);
}

void delivery_link_changed(struct delivery *d, bool up)
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	pthread_mutex_lock(&d->lock);
	d->came_back = up;
	d->returns += up;
	d->look = true;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

/* With the lock. Returns sooner when something may have changed. */
static void wait_ms(struct delivery *d, int64_t ms)
{
	struct timespec t;

	if (d->look || d->stopping || ms <= 0)
		return;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	(void)pthread_cond_timedwait(&d->wake, &d->lock, &t); /* woken for any reason, it looks */
}

/* --- pause ---------------------------------------------------------------------------------------------------- */

static void resume(struct delivery *d, const char *why)
{
	bool was_paused;

	pthread_mutex_lock(&d->lock);
	was_paused = d->is_paused;
	d->is_paused = false;
	d->look = true;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock);
	if (was_paused)
		log_event(LOG_INFO, "outbox_resumed", LOG_STR("service", d->service), LOG_STR("reason", why), LOG_END);
}

void delivery_resume(struct delivery *d)
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	resume(d, "operator");
}

void delivery_flush(struct delivery *d)
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	outbox_flush(d->o.queue);
	resume(d, "operator");
}

bool delivery_is_paused(struct delivery *d)
{
	bool yes;

	OBJ_CHECK(d, DELIVERY_MAGIC);
	pthread_mutex_lock(&d->lock);
	yes = d->is_paused;
	pthread_mutex_unlock(&d->lock);
	return yes;
}

void delivery_pause_reason(struct delivery *d, char ret[200])
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	pthread_mutex_lock(&d->lock);
	(void)snprintf(ret, sizeof(d->pause_reason), "%s", d->is_paused ? d->pause_reason : "");
	pthread_mutex_unlock(&d->lock);
}

void delivery_set_retry(struct delivery *d, int64_t first_ms, int64_t max_ms)
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	pthread_mutex_lock(&d->lock);
	d->retry_first_ms = first_ms;
	d->retry_max_ms = max_ms;
	pthread_mutex_unlock(&d->lock);
}

/* --- carrying: on a worker ---------------------------------------------------------------------------------------- */

/* With the lock. */
static void widen(struct delivery *d, unsigned to)
{
	d->window = to < d->o.most_parallel ? to : d->o.most_parallel;
	d->widened_mono_ms = clock_mono_ms();
}

#define CARRIED_EMPTY { .to = CARRIED_NOT, .error = BUF_EMPTY, .base.etag = BUF_EMPTY, .answer = BUF_EMPTY, .answer_type = BUF_EMPTY }

static void carried_fini(struct carried *c)
{
	for (size_t i = 0; i < c->more_count; i++) {
		carried_fini(&c->more[i].came);
		outbox_entry_fini(&c->more[i].entry);
	}
	free(c->more);
	buf_fini(&c->error);
	buf_fini(&c->answer);
	buf_fini(&c->answer_type);
	outbox_base_fini(&c->base);
}

size_t delivery_lend_more(struct delivery *d, const struct outbox_entry *e, size_t most, uint64_t most_bytes,
			  struct carried *ret)
{
	struct outbox_entry *lent = xcalloc(most + 1, sizeof(*lent));
	size_t n;

	OBJ_CHECK(d, DELIVERY_MAGIC);
	ENSURE(!ret->more);
	n = outbox_lend_more(d->o.queue, e, most, most_bytes, lent);
	ret->more = xcalloc(n + 1, sizeof(*ret->more));
	for (size_t i = 0; i < n; i++)
		ret->more[i] = (struct carried_more){ .entry = lent[i], .came = CARRIED_EMPTY };
	ret->more_count = n;
	free(lent);
	return n;
}

static void carry(void *arg)
{
	struct job *j = arg;
	struct delivery *d = j->d;
	struct carried c = CARRIED_EMPTY;

	if (!cancel_fired(d->cancel))
		d->o.carry(d->o.arg, &j->entry, d->cancel, &c);
	delivery_settle(d, &j->entry, &c);
	pthread_mutex_lock(&d->lock);
	d->running--;
	if (c.status > 0)
		widen(d, 2 * d->window);
	else if (c.to == CARRIED_LATER && j->returns != d->returns)
		d->came_back = true; /* it outlived the outage, and must not wait as if that went on */
	d->look = true;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock); /* from here on d may be gone */
	carried_fini(&c);
	outbox_entry_fini(&j->entry);
	free(j);
}

/* --- lending: the thread's; each with the lock, given up where others are called --------------------------------- */

/* The upstream is back: what waited for just that is due, after a pause that differs from site to site. */
static void begin_again(struct delivery *d)
{
	d->came_back = false;
	widen(d, 1);
	d->not_before_mono_ms = clock_mono_ms() + rand_jitter_ms(DELIVERY_START_JITTER_MS - 1);
	pthread_mutex_unlock(&d->lock);
	outbox_wake_unanswered(d->o.queue, clock_wall_ms(), 0);
	pthread_mutex_lock(&d->lock);
}

static void ask_whether_to_resume(struct delivery *d)
{
	bool yes;

	pthread_mutex_unlock(&d->lock);
	yes = d->o.may_resume && d->o.may_resume(d->o.arg);
	if (yes)
		resume(d, "credential");
	pthread_mutex_lock(&d->lock);
}

/* 0: an entry may go; else how long to wait until that may have changed. */
static int64_t reason_to_wait_ms(struct delivery *d)
{
	int64_t now = clock_mono_ms();

	if (d->stopping || link_state_is_open(link_state(d->o.link)))
		return MOST_WAIT_MS;
	if (d->is_paused)
		return MAY_RESUME_EVERY_MS;
	if (d->not_before_mono_ms > now)
		return d->not_before_mono_ms - now;
	if (d->running < d->window)
		return 0;
	if (d->window == d->o.most_parallel)
		return MOST_WAIT_MS;
	if (now - d->widened_mono_ms < WIDEN_EVERY_MS)
		return WIDEN_EVERY_MS - (now - d->widened_mono_ms);
	widen(d, d->window + 1); /* those under way hang: others shall not wait for them */
	return 0;
}

/* A worker is to carry it. Without the lock. */
static void hand_over(struct delivery *d, struct job *j)
{
	const struct carried untried = CARRIED_EMPTY;

	if (pool_submit(d->lane, carry, j) == 0)
		return;
	delivery_settle(d, &j->entry, &untried); /* no worker: it rests */
	pthread_mutex_lock(&d->lock);
	d->running--;
	pthread_mutex_unlock(&d->lock);
	outbox_entry_fini(&j->entry);
	free(j);
}

/* Lends one, if one is due. How long to wait; 0: look for the next at once. */
static int64_t lend_one(struct delivery *d)
{
	struct job *j = xcalloc(1, sizeof(*j));
	int64_t now = clock_wall_ms(), next = INT64_MAX, wait;
	int err;

	d->running++;
	j->returns = d->returns;
	pthread_mutex_unlock(&d->lock);
	j->d = d;
	err = outbox_lend(d->o.queue, now, &j->entry, &next);
	if (!err) {
		hand_over(d, j);
		pthread_mutex_lock(&d->lock);
		return 0;
	}
	free(j);
	if (err != -ENOENT)
		delivery_rest(d, err);
	pthread_mutex_lock(&d->lock);
	d->running--;
	wait = err != -ENOENT ? DELIVERY_REST_MS : next > now + MOST_WAIT_MS ? MOST_WAIT_MS : next - now;
	return wait > 0 ? wait : 1;
}

/* On a worker. */
static void purge(void *arg)
{
	struct delivery *d = arg;
	int n = outbox_purge(d->o.queue, clock_wall_ms());

	if (n > 0)
		log_event(LOG_DEBUG, "outbox_purged", LOG_STR("service", d->service), LOG_INT("entries", n), LOG_END);
	pthread_mutex_lock(&d->lock);
	d->is_purging = false;
	d->users--;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock); /* from here on d may be gone */
}

/* Much may have become old at once: a worker's job, so that nobody waits for it. */
static void begin_purge(struct delivery *d)
{
	struct outbox_figures f;

	if (d->is_purging)
		return;
	d->is_purging = true;
	d->users++;
	pthread_mutex_unlock(&d->lock);
	outbox_figures(d->o.queue, &f);
	if (!(f.entries[OUTBOX_APPLIED] || f.entries[OUTBOX_DROPPED] || f.entries[OUTBOX_RESOLVED]) ||
	    pool_submit(d->lane, purge, d) < 0) {
		pthread_mutex_lock(&d->lock);
		d->is_purging = false;
		d->users--;
		return;
	}
	pthread_mutex_lock(&d->lock);
}

/* Rule 4. *offset_ms is the distance of the two clocks at the last look. */
static void mind_the_clock(struct delivery *d, int64_t *offset_ms)
{
	int64_t before = *offset_ms;

	*offset_ms = clock_wall_ms() - clock_mono_ms();
	if (*offset_ms > before - CLOCK_SET_BACK_MS)
		return;
	pthread_mutex_unlock(&d->lock);
	outbox_flush(d->o.queue);
	pthread_mutex_lock(&d->lock);
}

static void *delivery_main(void *arg)
{
	struct delivery *d = arg;
	int64_t purge_mono_ms = clock_mono_ms() + PURGE_EVERY_MS, offset_ms = clock_wall_ms() - clock_mono_ms(), wait;

	pthread_mutex_lock(&d->lock);
	while (!d->stopping) {
		d->look = false;
		mind_the_clock(d, &offset_ms);
		if (d->came_back)
			begin_again(d);
		if (d->is_paused)
			ask_whether_to_resume(d);
		if (clock_mono_ms() >= purge_mono_ms) {
			purge_mono_ms = clock_mono_ms() + PURGE_EVERY_MS;
			begin_purge(d);
		}
		wait = reason_to_wait_ms(d);
		if (!wait)
			wait = lend_one(d);
		wait_ms(d, wait);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* --- an operator's "ours" --------------------------------------------------------------------------------------- */

static bool enter(struct delivery *d)
{
	bool ok;

	pthread_mutex_lock(&d->lock);
	ok = !d->stopping;
	d->users += ok;
	pthread_mutex_unlock(&d->lock);
	return ok;
}

static void leave(struct delivery *d)
{
	pthread_mutex_lock(&d->lock);
	d->users--;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

int delivery_rebase_entry(struct delivery *d, const struct outbox_entry *e, struct buf *err)
{
	struct outbox_base base = { .etag = BUF_EMPTY };
	int r = 0;

	OBJ_CHECK(d, DELIVERY_MAGIC);
	if (!enter(d)) {
		buf_add_str(err, "weir is stopping");
		return -ESHUTDOWN;
	}
	if (d->o.rebase)
		r = d->o.rebase(d->o.arg, e, d->cancel, &base, err);
	if (!r) {
		r = outbox_rebase(d->o.outbox, e->seq, &base);
		if (r)
			buf_add_str(err, err_text(r));
	}
	outbox_base_fini(&base);
	leave(d);
	return r;
}

void delivery_theirs_fini(struct delivery_theirs *t)
{
	outbox_base_fini(&t->now);
	buf_fini(&t->content_type);
	buf_fini(&t->body);
}

int delivery_theirs(struct delivery *d, const struct outbox_entry *e, struct delivery_theirs *ret, struct buf *err)
{
	int r;

	OBJ_CHECK(d, DELIVERY_MAGIC);
	if (!d->o.theirs)
		return -EOPNOTSUPP;
	if (!enter(d)) {
		buf_add_str(err, "weir is stopping");
		return -ESHUTDOWN;
	}
	r = d->o.theirs(d->o.arg, e, d->cancel, ret, err);
	leave(d);
	return r;
}

/* --- its life --------------------------------------------------------------------------------------------------- */

static void init_waiting(struct delivery *d)
{
	pthread_condattr_t a;

	ENSURE(pthread_mutex_init(&d->lock, NULL) == 0);
	ENSURE(pthread_condattr_init(&a) == 0);
	ENSURE(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
	ENSURE(pthread_cond_init(&d->wake, &a) == 0);
	pthread_condattr_destroy(&a);
}

static int start_thread(struct delivery *d)
{
	pthread_attr_t a;
	sigset_t all;
	int r;

	sigfillset(&all);
	ENSURE(pthread_attr_init(&a) == 0);
	ENSURE(pthread_attr_setsigmask_np(&a, &all) == 0);
	r = pthread_create(&d->thread, &a, delivery_main, d);
	pthread_attr_destroy(&a);
	if (!r)
		(void)pthread_setname_np(d->thread, "weir-deliver"); /* only for who looks at it with top */
	return -r;
}

int delivery_new(const struct delivery_options *o, struct delivery **ret)
{
	struct delivery *d = xcalloc(1, sizeof(*d));
	int r;

	ENSURE(o->most_parallel > 0);
	d->magic = DELIVERY_MAGIC;
	d->o = *o;
	d->service = xstrdup(o->service);
	d->o.service = d->service;
	d->retry_first_ms = o->retry_first_ms;
	d->retry_max_ms = o->retry_max_ms;
	list_init(&d->registered);
	init_waiting(d);
	widen(d, 1);
	d->came_back = true; /* for all we know: what waited for an answer before a restart need not wait longer */
	d->lane = lane_new(o->pool, link_lane(o->link), o->most_parallel);
	r = cancel_new(&d->cancel);
	if (!r) {
		delivery_show_start(d);
		outbox_set_change_hook(o->queue, on_queue_change, d);
		r = start_thread(d);
	}
	if (r) {
		d->stopping = true;
		delivery_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void delivery_stop(struct delivery *d)
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	pthread_mutex_lock(&d->lock);
	ENSURE(!d->stopping);
	d->stopping = true;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock);
	delivery_show_stop(d);
	cancel_fire(d->cancel);
	pthread_join(d->thread, NULL);
	pthread_mutex_lock(&d->lock);
	while (d->running || d->users)
		pthread_cond_wait(&d->wake, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

void delivery_free(struct delivery *d)
{
	if (!d)
		return;
	OBJ_CHECK(d, DELIVERY_MAGIC);
	ENSURE(d->stopping);
	outbox_set_change_hook(d->o.queue, NULL, NULL);
	delivery_show_stop(d); /* done already, but by a delivery_new() that failed */
	cancel_unref(&d->cancel);
	lane_unref(&d->lane);
	pthread_cond_destroy(&d->wake);
	pthread_mutex_destroy(&d->lock);
	d->magic = 0;
	free(d->service);
	free(d);
}
