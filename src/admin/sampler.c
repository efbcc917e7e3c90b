/* sampler.c -- asks every half minute what the services have answered, so that there is a history when somebody looks.
 *
 * WHY      A thread of its own, as it may neither wait for a worker (all may be busy in an outage, which is when the
 *          history is wanted) nor hold up a front thread.
 * RULES    The services are asked under no lock, and only those that stood when admin started: it is started last and
 *          stopped first.
 * THREADS  `lock` is a leaf and guards `stopping` alone. */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "admin/admin_priv.h"
#include "base/clock.h"
#include "base/obj.h"

struct sampler {
	const struct services *services;
	size_t count; /* of them that stood at the start */
	int64_t step_ms;
	struct history *history;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
};

static void ask_all(const struct services *services, size_t count, struct history_totals *into)
{
	for (size_t i = 0; i < count; i++) {
		const struct service_instance *s = &services->items[i];

		if (s->service && s->service->traffic)
			s->service->traffic(s->state, history_totals_add, into);
	}
}

/* Until the time has come (monotonic): true; or until the stop. */
static bool wait_until(struct sampler *s, int64_t mono_ms)
{
	const struct timespec until = { mono_ms / 1000, mono_ms % 1000 * 1000000 };
	bool goes_on;

	pthread_mutex_lock(&s->lock);
	while (!s->stopping && clock_mono_ms() < mono_ms)
		(void)pthread_cond_timedwait(&s->wake, &s->lock, &until); /* the clock tells what came of it */
	goes_on = !s->stopping;
	pthread_mutex_unlock(&s->lock);
	return goes_on;
}

static void *sampler_main(void *arg)
{
	struct sampler *s = arg;
	int64_t next = clock_mono_ms() + s->step_ms;

	while (wait_until(s, next)) {
		struct history_totals now = { .count = 0 };

		ask_all(s->services, s->count, &now);
		history_note(s->history, clock_mono_ms(), &now);
		history_totals_fini(&now);
		next += s->step_ms;
		if (next < clock_mono_ms()) /* the machine slept, or was very busy: no run of empty slots */
			next = clock_mono_ms() + s->step_ms;
	}
	return NULL;
}

static int start_thread(struct sampler *s)
{
	pthread_attr_t a;
	sigset_t all;
	int r;

	sigfillset(&all); /* signals are for the main thread */
	ENSURE(pthread_attr_init(&a) == 0);
	ENSURE(pthread_attr_setsigmask_np(&a, &all) == 0);
	r = pthread_create(&s->thread, &a, sampler_main, s);
	pthread_attr_destroy(&a);
	if (!r)
		(void)pthread_setname_np(s->thread, "weir-sampler"); /* only for who looks at it with top */
	return -r;
}

int sampler_start(const struct services *services, int64_t step_ms, struct sampler **ret)
{
	struct sampler *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t a;
	int r;

	s->services = services;
	s->count = services->count;
	s->step_ms = step_ms;
	s->history = history_new(services->core->started_mono_ms);
	ENSURE(pthread_mutex_init(&s->lock, NULL) == 0);
	ENSURE(pthread_condattr_init(&a) == 0);
	ENSURE(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
	ENSURE(pthread_cond_init(&s->wake, &a) == 0);
	pthread_condattr_destroy(&a);
	r = start_thread(s);
	if (r == 0) {
		*ret = s;
		return 0;
	}
	history_free(s->history);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return r;
}

void sampler_stop(struct sampler *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	(void)pthread_join(s->thread, NULL); /* it is joined once */
	history_free(s->history);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

json_t *sampler_json(struct sampler *s)
{
	struct history_totals now = { .count = 0 };
	json_t *o;

	ask_all(s->services, s->count, &now);
	o = history_json(s->history, clock_mono_ms(), clock_wall_ms(), &now);
	history_totals_fini(&now);
	return o;
}
