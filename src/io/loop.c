/* loop.c -- one libuv loop with its thread.
 *
 * WHAT     A thread that runs a uv_loop_t, a mailbox into it, watches on descriptors, one tick.
 * WHY      Only this file of the front knows libuv, so that connections can be read without its manual, and so that the
 *          rule "a front thread never blocks" has one place that can tell which threads those are.
 * RULES    1. Nothing but the mailbox is touched by other threads.
 *          2. Mail is taken out as a whole and run without the lock: it may post again, and that mail runs next turn.
 *          3. The descriptor of a watch is not ours: we never close it.
 * THREADS  loop_post(), loop_stop(): any. All else: the loop's own, or before loop_start().
 * SEE      https://docs.libuv.org/en/v1.x/poll.html */
#include "io/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <uv.h>

#include "base/buf.h"
#include "base/obj.h"

#define LOOP_MAGIC 0x6c6f6f70u
#define WATCH_MAGIC 0x77617463u

struct mail {
	struct mail *next;
	loop_fn *fn;
	void *arg;
};

struct loop {
	unsigned magic, index;
	uv_loop_t uv;
	uv_async_t wake;
	uv_timer_t tick;
	loop_fn *tick_fn;
	void *tick_arg;
	pthread_t thread;
	bool started, closing;

	pthread_mutex_t lock; /* guards the mailbox; a leaf: nothing is taken under it */
	struct mail *first, **last;
};

struct loop_watch {
	unsigned magic, events;
	uv_poll_t poll;
	loop_watch_fn *fn;
	void *arg;
};

static _Thread_local struct loop *current;

static void run_mail(uv_async_t *h)
{
	struct loop *l = h->data;
	struct mail *m;

	pthread_mutex_lock(&l->lock);
	m = l->first;
	l->first = NULL;
	l->last = &l->first;
	pthread_mutex_unlock(&l->lock);
	while (m) {
		struct mail *next = m->next;

		m->fn(m->arg);
		free(m);
		m = next;
	}
}

static void on_tick(uv_timer_t *h)
{
	struct loop *l = h->data;

	if (l->tick_fn)
		l->tick_fn(l->tick_arg);
}

int loop_new(unsigned index, struct loop **ret)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	int r;

	l->magic = LOOP_MAGIC;
	l->index = index;
	l->last = &l->first;
	pthread_mutex_init(&l->lock, NULL);
	r = uv_loop_init(&l->uv);
	if (r < 0)
		goto fail;
	r = uv_async_init(&l->uv, &l->wake, run_mail);
	if (r < 0) {
		(void)uv_loop_close(&l->uv); /* no handle was made */
		goto fail;
	}
	l->wake.data = l;
	(void)uv_timer_init(&l->uv, &l->tick); /* cannot fail */
	l->tick.data = l;
	*ret = l;
	return 0;
fail:
	pthread_mutex_destroy(&l->lock);
	free(l);
	return r; /* libuv's codes are -errno here */
}

static void *run(void *arg)
{
	struct loop *l = arg;
	char name[16];

	OBJ_CHECK(l, LOOP_MAGIC);
	current = l;
	(void)snprintf(name, sizeof(name), "front-%u", l->index % 1000);
	(void)pthread_setname_np(pthread_self(), name); /* for people who look with top(1) only */
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
	current = NULL;
	return NULL;
}

int loop_start(struct loop *l)
{
	sigset_t all, old;
	int r;

	/* Signals are for the thread that waits for them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&l->thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	l->started = r == 0;
	return r;
}

void loop_post(struct loop *l, loop_fn *fn, void *arg)
{
	struct mail *m = xmalloc(sizeof(*m));
	bool was_empty;

	*m = (struct mail){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&l->lock);
	was_empty = !l->first;
	*l->last = m;
	l->last = &m->next;
	/* Under the lock, so that the loop cannot close the handle between. */
	if (was_empty && !l->closing)
		(void)uv_async_send(&l->wake); /* fails only on a handle of another type */
	pthread_mutex_unlock(&l->lock);
}

bool loop_is_current(const struct loop *l)
{
	return current == l;
}

bool loop_is_front(void)
{
	return current != NULL;
}

struct uv_loop_s *loop_uv(struct loop *l)
{
	return &l->uv;
}

unsigned loop_index(const struct loop *l)
{
	return l->index;
}

static void close_handles(void *arg)
{
	struct loop *l = arg;

	pthread_mutex_lock(&l->lock);
	if (!l->closing) {
		l->closing = true;
		uv_close((uv_handle_t *)&l->wake, NULL);
		uv_close((uv_handle_t *)&l->tick, NULL);
	}
	pthread_mutex_unlock(&l->lock);
}

void loop_stop(struct loop *l)
{
	loop_post(l, close_handles, l);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	OBJ_CHECK(l, LOOP_MAGIC);
	if (l->started) {
		pthread_join(l->thread, NULL);
	} else {
		close_handles(l);
		(void)uv_run(&l->uv, UV_RUN_DEFAULT); /* only closes */
	}
	ENSURE(uv_loop_close(&l->uv) == 0);
	while (l->first) {
		struct mail *next = l->first->next;

		free(l->first);
		l->first = next;
	}
	pthread_mutex_destroy(&l->lock);
	l->magic = 0;
	free(l);
}

void loop_set_tick(struct loop *l, unsigned ms, loop_fn *fn, void *arg)
{
	ENSURE(!l->started || loop_is_current(l));
	l->tick_fn = fn;
	l->tick_arg = arg;
	if (l->closing)
		return;
	if (!ms)
		(void)uv_timer_stop(&l->tick);
	else
		(void)uv_timer_start(&l->tick, on_tick, ms, ms); /* fails only without a function or while closing */
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct loop_watch *w = h->data;
	unsigned told = 0;

	OBJ_CHECK(w, WATCH_MAGIC);
	if (status < 0) {
		/* libuv has stopped the handle: an error is pending. */
		w->events = 0;
		told = LOOP_DEAD;
	}
	if (events & UV_READABLE)
		told |= LOOP_READ;
	if (events & UV_WRITABLE)
		told |= LOOP_WRITE;
	if (events & UV_DISCONNECT)
		told |= LOOP_GONE;
	if (told)
		w->fn(w->arg, told);
}

int loop_watch_open(struct loop *l, int fd, loop_watch_fn *fn, void *arg, struct loop_watch **ret)
{
	struct loop_watch *w = xmalloc(sizeof(*w));
	int r;

	*w = (struct loop_watch){ .magic = WATCH_MAGIC, .fn = fn, .arg = arg };
	r = uv_poll_init(&l->uv, &w->poll, fd);
	if (r < 0) {
		free(w);
		return r;
	}
	w->poll.data = w;
	*ret = w;
	return 0;
}

void loop_watch_set(struct loop_watch *w, unsigned events)
{
	int want = 0;

	OBJ_CHECK(w, WATCH_MAGIC);
	if (events == w->events)
		return;
	w->events = events;
	if (events & LOOP_READ)
		want |= UV_READABLE;
	if (events & LOOP_WRITE)
		want |= UV_WRITABLE;
	if (events & LOOP_GONE)
		want |= UV_DISCONNECT;
	if (want)
		ENSURE(uv_poll_start(&w->poll, want, on_poll) == 0);
	else
		(void)uv_poll_stop(&w->poll); /* cannot fail */
}

static void on_closed(uv_handle_t *h)
{
	struct loop_watch *w = h->data;

	w->magic = 0;
	free(w);
}

void loop_watch_close(struct loop_watch **wp)
{
	struct loop_watch *w = *wp;

	*wp = NULL;
	if (!w)
		return;
	OBJ_CHECK(w, WATCH_MAGIC);
	uv_close((uv_handle_t *)&w->poll, on_closed);
}
