/* history.c -- see history.h.
 *
 * WHAT     A ring of slots, shared by all series; each slot has its end by the monotonic clock, and for each series how
 *          much its totals grew. The slot that is open is not in the ring: it is the difference between the totals that
 *          are given and those of the last history_note().
 * WHY      Counters since start say how a month went. An operator asks about now; a chart without a Prometheus needs an
 *          hour of differences, and no more.
 * RULES    1. Differences, not totals: a slot that leaves the ring takes its requests with it, nothing else moves.
 *          2. A total that went back (which none does) counts as 0, never as 2^64.
 *          3. Slots are judged by the monotonic clock; the wall clock only names them when somebody asks.
 * THREADS  `lock` is a leaf; nothing blocks under it. */
#include "admin/history.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "core/metrics.h"

#define HOUR_MS ((int64_t)HISTORY_STEP_MS * HISTORY_SLOTS)

/* The columns of the answer, in the order of struct traffic's first members. */
enum { REQUESTS, ERRORS, HITS, REFRESHED, MISSES, OFFLINE, STALE, COLUMNS };
#define CACHE_COLUMNS HITS /* from here on: of services that cache */
static const char *const column_names[COLUMNS] = { "requests", "errors",  "hits", "refreshed",
						   "misses",   "offline", "stale" };

struct slot {
	uint32_t counts[COLUMNS];
	uint32_t latency[TRAFFIC_BUCKETS];
};

struct series {
	char *name;
	struct traffic last; /* totals when the open slot began */
	bool has_cache;
	struct slot ring[HISTORY_SLOTS];
};

struct history {
	pthread_mutex_t lock;
	struct series **series;
	size_t count;
	int64_t ends[HISTORY_SLOTS]; /* mono_ms */
	size_t first, slots;         /* the oldest, and how many there are */
	int64_t before_first;        /* when the oldest began, or the open one when it is alone */
};

/* --- totals --- */

void history_totals_add(void *arg, const char *name, const struct traffic *t)
{
	struct history_totals *totals = arg;
	struct history_total *one;

	if (totals->count == HISTORY_MOST_SERIES)
		return;
	totals->items = xrealloc(totals->items, (totals->count + 1) * sizeof(*totals->items));
	one = &totals->items[totals->count++];
	*one = (struct history_total){ .name = xstrdup(name), .t = *t };
}

void history_totals_fini(struct history_totals *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->items[i].name);
	free(t->items);
	*t = (struct history_totals){ .count = 0 };
}

static uint32_t grown(uint64_t now, uint64_t last)
{
	uint64_t by = now > last ? now - last : 0;

	return by < UINT32_MAX ? (uint32_t)by : UINT32_MAX;
}

static void differ(const struct traffic *now, const struct traffic *last, struct slot *ret)
{
	const uint64_t n[COLUMNS] = { now->requests, now->errors,  now->hits, now->refreshed,
				      now->misses,   now->offline, now->stale };
	const uint64_t l[COLUMNS] = { last->requests, last->errors,  last->hits, last->refreshed,
				      last->misses,   last->offline, last->stale };

	for (size_t i = 0; i < COLUMNS; i++)
		ret->counts[i] = grown(n[i], l[i]);
	for (size_t i = 0; i < TRAFFIC_BUCKETS; i++)
		ret->latency[i] = grown(now->latency[i], last->latency[i]);
}

/* --- its life --- */

struct history *history_new(int64_t mono_ms)
{
	struct history *h = xcalloc(1, sizeof(*h));

	ENSURE(pthread_mutex_init(&h->lock, NULL) == 0);
	h->before_first = mono_ms;
	return h;
}

void history_free(struct history *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->count; i++) {
		free(h->series[i]->name);
		free(h->series[i]);
	}
	free(h->series);
	(void)pthread_mutex_destroy(&h->lock); /* nobody has it */
	free(h);
}

/* With the lock held. New ones counted from 0, as all do: what they have counted is in the open slot. */
static struct series *series_of(struct history *h, const struct history_total *t)
{
	struct series *s;

	for (size_t i = 0; i < h->count; i++)
		if (!strcmp(h->series[i]->name, t->name))
			return h->series[i];
	if (h->count == HISTORY_MOST_SERIES)
		return NULL;
	s = xcalloc(1, sizeof(*s));
	s->name = xstrdup(t->name);
	s->has_cache = t->t.has_cache;
	h->series = xrealloc(h->series, (h->count + 1) * sizeof(struct series *));
	h->series[h->count++] = s;
	return s;
}

static void drop_oldest(struct history *h)
{
	h->before_first = h->ends[h->first];
	h->first = (h->first + 1) % HISTORY_SLOTS;
	h->slots--;
}

static void drop_old(struct history *h, int64_t mono_ms)
{
	while (h->slots && h->ends[h->first] <= mono_ms - HOUR_MS)
		drop_oldest(h);
}

void history_note(struct history *h, int64_t mono_ms, const struct history_totals *now)
{
	size_t at;

	pthread_mutex_lock(&h->lock);
	drop_old(h, mono_ms);
	if (h->slots == HISTORY_SLOTS)
		drop_oldest(h);
	at = (h->first + h->slots) % HISTORY_SLOTS;
	for (size_t i = 0; i < h->count; i++)
		h->series[i]->ring[at] = (struct slot){ .counts = { 0 } }; /* it may have an old slot there */
	for (size_t i = 0; i < now->count; i++) {
		struct series *s = series_of(h, &now->items[i]);

		if (!s)
			continue;
		differ(&now->items[i].t, &s->last, &s->ring[at]);
		s->last = now->items[i].t;
	}
	h->ends[at] = mono_ms;
	h->slots++;
	pthread_mutex_unlock(&h->lock);
}

/* --- the answer --- */

double history_quantile_ms(const uint64_t buckets[TRAFFIC_BUCKETS], double q)
{
	uint64_t all = 0, below = 0;
	double rank;

	for (size_t i = 0; i < TRAFFIC_BUCKETS; i++)
		all += buckets[i];
	if (!all)
		return -1;
	rank = q * (double)all;
	for (size_t i = 0; i < TRAFFIC_BUCKETS - 1; i++) {
		double from = i ? metric_latency_buckets[i - 1] : 0, to = metric_latency_buckets[i];

		if (buckets[i] && (double)(below + buckets[i]) >= rank)
			return 1000 * (from + (to - from) * (rank - (double)below) / (double)buckets[i]);
		below += buckets[i];
	}
	return 1000 * metric_latency_buckets[TRAFFIC_BUCKETS - 2];
}

static json_t *quantile_json(const uint64_t buckets[TRAFFIC_BUCKETS], double q)
{
	double ms = history_quantile_ms(buckets, q);

	return ms < 0 ? json_null() : json_real(ms);
}

static void append(json_t *o, const char *column, json_t *take)
{
	json_t *list = json_object_get(o, column);

	if (!list) {
		list = json_array();
		(void)json_object_set_new(o, column, list);
	}
	(void)json_array_append_new(list, take);
}

struct sum {
	uint64_t counts[COLUMNS], latency[TRAFFIC_BUCKETS];
};

static void add_slot(json_t *o, const struct series *s, const struct slot *slot, struct sum *sum)
{
	uint64_t latency[TRAFFIC_BUCKETS];

	for (size_t i = 0; i < (s->has_cache ? COLUMNS : CACHE_COLUMNS); i++) {
		append(o, column_names[i], json_integer(slot->counts[i]));
		sum->counts[i] += slot->counts[i];
	}
	for (size_t i = 0; i < TRAFFIC_BUCKETS; i++) {
		latency[i] = slot->latency[i];
		sum->latency[i] += latency[i];
	}
	append(o, "p50_ms", quantile_json(latency, 0.5));
	append(o, "p99_ms", quantile_json(latency, 0.99));
}

static json_t *sum_json(const struct series *s, const struct sum *sum)
{
	uint64_t asked = sum->counts[HITS] + sum->counts[REFRESHED] + sum->counts[MISSES];
	json_t *o = json_object();

	for (size_t i = 0; i < (s->has_cache ? COLUMNS : CACHE_COLUMNS); i++)
		(void)json_object_set_new(o, column_names[i], json_integer((json_int_t)sum->counts[i]));
	if (s->has_cache)
		(void)json_object_set_new(
			o, "hit_rate", asked ? json_real((double)sum->counts[HITS] / (double)asked) : json_null());
	(void)json_object_set_new(o, "p50_ms", quantile_json(sum->latency, 0.5));
	(void)json_object_set_new(o, "p99_ms", quantile_json(sum->latency, 0.99));
	return o;
}

/* With the lock held. */
static json_t *series_json(const struct history *h, const struct series *s, const struct traffic *now)
{
	json_t *o = json_pack("{s:s}", "name", s->name);
	struct sum sum = { .counts = { 0 } };
	struct slot open;

	differ(now, &s->last, &open);
	for (size_t i = 0; i < h->slots; i++)
		add_slot(o, s, &s->ring[(h->first + i) % HISTORY_SLOTS], &sum);
	add_slot(o, s, &open, &sum);
	(void)json_object_set_new(o, "sum", sum_json(s, &sum));
	return o;
}

/* With the lock held: when each slot ended, in Unix milliseconds, and how many seconds it took. */
static void add_times(const struct history *h, int64_t mono_ms, int64_t wall_ms, json_t *o)
{
	int64_t before = h->before_first;

	for (size_t i = 0; i <= h->slots; i++) {
		int64_t end = i < h->slots ? h->ends[(h->first + i) % HISTORY_SLOTS] : mono_ms;

		append(o, "t", json_integer((json_int_t)(wall_ms - (mono_ms - end))));
		append(o, "seconds", json_real((double)(end - before) / 1000));
		before = end;
	}
}

json_t *history_json(struct history *h, int64_t mono_ms, int64_t wall_ms, const struct history_totals *now)
{
	json_t *o = json_pack("{s:i, s:i}", "window_seconds", (int)(HOUR_MS / 1000), "step_seconds",
			      HISTORY_STEP_MS / 1000);
	json_t *list = json_array();

	pthread_mutex_lock(&h->lock);
	drop_old(h, mono_ms);
	add_times(h, mono_ms, wall_ms, o);
	for (size_t i = 0; i < now->count; i++) {
		const struct series *s = series_of(h, &now->items[i]);

		if (s)
			(void)json_array_append_new(list, series_json(h, s, &now->items[i].t));
	}
	pthread_mutex_unlock(&h->lock);
	(void)json_object_set_new(o, "services", list);
	return o;
}
