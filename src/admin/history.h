/* history.h -- what each service answered during the last hour, in slots of half a minute.
 *
 * A history is fed with totals (struct traffic) and keeps differences; it knows neither clock nor service, so that
 * tests decide the time. Memory: HISTORY_SLOTS * 104 bytes for each service or mirror, however many requests. Any
 * thread. */
#ifndef WEIR_ADMIN_HISTORY_H
#define WEIR_ADMIN_HISTORY_H

#include <jansson.h>

#include "core/traffic.h"

#define HISTORY_STEP_MS (30 * 1000)
#define HISTORY_SLOTS 120 /* an hour */
#define HISTORY_MOST_SERIES 256 /* more names than that are left out */

struct history;

struct history *history_new(int64_t mono_ms); /* when counting began: totals were 0 */
void history_free(struct history *h);         /* NULL is fine */

/* Totals as they were at one moment: filled by history_totals_add(), a traffic_fn whose arg this is. */
struct history_totals {
	struct history_total {
		char *name; /* owned */
		struct traffic t;
	} *items;
	size_t count;
};
void history_totals_add(void *arg, const char *name, const struct traffic *t);
void history_totals_fini(struct history_totals *t);

/* Ends the slot that is open, at mono_ms. Late or early: a slot is as long as it is, and says so. */
void history_note(struct history *h, int64_t mono_ms, const struct history_totals *now);
/* The slots of the last hour, and the open one up to now: see weir(1), ADMIN API. wall_ms is the same moment. */
json_t *history_json(struct history *h, int64_t mono_ms, int64_t wall_ms, const struct history_totals *now);

/* Milliseconds below which the fraction q of what was counted lies, taken as spread evenly within a bucket of
 * metric_latency_buckets; what is above all bounds counts as the last bound. Negative: nothing was counted. Pure. */
double history_quantile_ms(const uint64_t buckets[TRAFFIC_BUCKETS], double q);

#endif
