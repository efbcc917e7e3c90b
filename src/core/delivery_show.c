/* delivery_show.c -- what is told of deliveries: metrics, status, health, and the list of those that run.
 *
 * WHAT     The weir_outbox_* families of each queue, asked of the outbox when they are rendered.
 * RULES    The list's lock is taken before a delivery's, and both before the outbox's own; nothing here blocks.
 * THREADS  Any, front threads too. */
#include "core/delivery_priv.h"

#include "base/clock.h"
#include "base/obj.h"

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all = { &all, &all };

/* --- metrics --------------------------------------------------------------------------------------------------- */

static const char *const states[] = { "queued", "sending", "applied", "conflict", "held", "dropped", "resolved", NULL };
static const char *const outcomes[] = { "applied", "conflict", "held", "deferred", NULL };
static const char *const refusals[] = { "large", "full", "disk", NULL };

static const struct metric_family entries_family = {
	.name = "weir_outbox_entries",
	.help = "Writes in the outbox; settled ones (applied, dropped, resolved) as long as they are listed.",
	.type = METRIC_GAUGE,
	.labels = { { "service", NULL }, { "state", NULL } },
};
static const struct metric_family bytes_family = {
	.name = "weir_outbox_bytes",
	.help = "Bytes of the bodies of writes in the outbox.",
	.type = METRIC_GAUGE,
	.labels = { { "service", NULL }, { "state", NULL } },
};
static const struct metric_family age_family = {
	.name = "weir_outbox_oldest_age_seconds",
	.help = "Age of the oldest write that is queued, being sent or held; 0: there is none.",
	.type = METRIC_GAUGE,
	.labels = { { "service", NULL } },
};
static const struct metric_family deliveries_family = {
	.name = "weir_outbox_deliveries_total",
	.help = "Attempts to deliver a write, by what came of it.",
	.type = METRIC_COUNTER,
	.labels = { { "service", NULL }, { "outcome", NULL } },
};
static const struct metric_family refused_family = {
	.name = "weir_outbox_refused_total",
	.help = "Writes that were not taken: too large, the outbox full, no room on the disk.",
	.type = METRIC_COUNTER,
	.labels = { { "service", NULL }, { "reason", NULL } },
};
static const struct metric_family paused_family = {
	.name = "weir_outbox_paused",
	.help = "1 while delivery waits for a new credential or for an operator.",
	.type = METRIC_GAUGE,
	.labels = { { "service", NULL } },
};
static const struct metric_family damaged_family = {
	.name = "weir_outbox_damaged_total",
	.help = "Records and bodies of the outbox that did not match their checksum.",
	.type = METRIC_COUNTER,
};

/* figures[]: entries by state, bytes by state, then these */
enum { FIGURE_AGE = 2 * OUTBOX_STATES, FIGURE_LARGE, FIGURE_FULL, FIGURE_DISK, FIGURE_PAUSED };
_Static_assert(FIGURE_PAUSED + 1 == DELIVERY_FIGURES, "each figure has its place");
_Static_assert(ARRAY_LEN(states) == OUTBOX_STATES + 1, "each state has its name");

static double seconds_since(int64_t wall_ms)
{
	int64_t age = wall_ms ? clock_wall_ms() - wall_ms : 0;

	return age > 0 ? (double)age / 1000 : 0;
}

static double figure(void *arg)
{
	const struct delivery_figure *which = arg;
	struct delivery *d = which->d;
	struct outbox_figures f;

	outbox_figures(d->o.queue, &f);
	if (which->which < OUTBOX_STATES)
		return (double)f.entries[which->which];
	if (which->which < FIGURE_AGE)
		return (double)f.bytes[which->which - OUTBOX_STATES];
	switch (which->which) {
	case FIGURE_AGE: return seconds_since(f.oldest_wall_ms);
	case FIGURE_LARGE: return (double)f.refused_large;
	case FIGURE_FULL: return (double)f.refused_full;
	case FIGURE_DISK: return (double)f.refused_disk;
	default: return delivery_is_paused(d);
	}
}

static double damaged(void *arg)
{
	return (double)outbox_damaged(arg);
}

static void set_figure(struct delivery *d, const struct metric_family *f, const char *label, unsigned which)
{
	d->figures[which] = (struct delivery_figure){ d, which };
	metrics_set_fn(d->o.metrics, f, (const char *const[]){ d->service, label, NULL }, figure, &d->figures[which]);
}

static void add_metrics(struct delivery *d)
{
	for (unsigned i = 0; i < OUTBOX_STATES; i++) {
		set_figure(d, &entries_family, states[i], i);
		set_figure(d, &bytes_family, states[i], OUTBOX_STATES + i);
	}
	set_figure(d, &age_family, NULL, FIGURE_AGE);
	for (unsigned i = 0; refusals[i]; i++)
		set_figure(d, &refused_family, refusals[i], FIGURE_LARGE + i);
	set_figure(d, &paused_family, NULL, FIGURE_PAUSED);
	for (unsigned i = 0; i < OUTCOMES; i++)
		d->outcomes[i] = METRIC(d->o.metrics, &deliveries_family, d->service, outcomes[i]);
	metrics_set_fn(d->o.metrics, &damaged_family, (const char *const[]){ NULL }, damaged, d->o.outbox);
}

/* --- the list of deliveries ------------------------------------------------------------------------------------ */

void delivery_show_start(struct delivery *d)
{
	add_metrics(d);
	pthread_mutex_lock(&all_lock);
	list_push_back(&all, &d->registered);
	pthread_mutex_unlock(&all_lock);
}

void delivery_show_stop(struct delivery *d)
{
	bool is_last = true;

	pthread_mutex_lock(&all_lock);
	list_remove(&d->registered);
	LIST_FOREACH(it, &all)
		is_last &= LIST_ENTRY(it, struct delivery, registered)->o.outbox != d->o.outbox;
	pthread_mutex_unlock(&all_lock);
	for (unsigned i = 0; i < DELIVERY_FIGURES; i++)
		metrics_remove_fn(d->o.metrics, &d->figures[i]);
	if (is_last)
		metrics_remove_fn(d->o.metrics, d->o.outbox);
}

struct delivery *delivery_find(struct outbox *ob, const char *queue)
{
	struct delivery *found = NULL;

	pthread_mutex_lock(&all_lock);
	LIST_FOREACH(it, &all) {
		struct delivery *d = LIST_ENTRY(it, struct delivery, registered);

		if (d->o.outbox == ob && !strcmp(outbox_queue_name(d->o.queue), queue))
			found = d;
	}
	pthread_mutex_unlock(&all_lock);
	return found;
}

void delivery_each(void (*fn)(void *arg, struct delivery *d), void *arg)
{
	pthread_mutex_lock(&all_lock);
	LIST_FOREACH(it, &all)
		fn(arg, LIST_ENTRY(it, struct delivery, registered));
	pthread_mutex_unlock(&all_lock);
}

struct outbox_queue *delivery_queue(struct delivery *d)
{
	OBJ_CHECK(d, DELIVERY_MAGIC);
	return d->o.queue;
}

/* --- status and health ----------------------------------------------------------------------------------------- */

static uint64_t unsettled(const uint64_t by_state[OUTBOX_STATES])
{
	uint64_t n = 0;

	for (unsigned i = 0; i < OUTBOX_STATES; i++)
		n += outbox_state_is_settled(i) ? 0 : by_state[i];
	return n;
}

void delivery_status(struct delivery *d, json_t *into)
{
	static const enum outbox_state shown[] = { OUTBOX_QUEUED, OUTBOX_CONFLICT, OUTBOX_HELD };
	char reason[sizeof(d->pause_reason)];
	struct buf oldest = BUF_EMPTY;
	struct outbox_figures f;

	OBJ_CHECK(d, DELIVERY_MAGIC);
	outbox_figures(d->o.queue, &f);
	for (size_t i = 0; i < ARRAY_LEN(shown); i++)
		(void)json_object_set_new(into, outbox_state_text(shown[i]),
					  json_integer((json_int_t)f.entries[shown[i]]));
	(void)json_object_set_new(into, "bytes", json_integer((json_int_t)unsettled(f.bytes)));
	if (f.oldest_wall_ms)
		clock_format_rfc3339(f.oldest_wall_ms, &oldest);
	(void)json_object_set_new(into, "oldest_at", oldest.len ? json_string(oldest.data) : json_null());
	(void)json_object_set_new(into, "upstream", json_string(link_state_text(link_state(d->o.link))));
	delivery_pause_reason(d, reason);
	(void)json_object_set_new(into, "paused", json_string(reason));
	/* Last, as tables for people end after a few columns. */
	(void)json_object_set_new(into, "sending", json_integer((json_int_t)f.entries[OUTBOX_SENDING]));
	buf_fini(&oldest);
}

static void add_to_sum(void *arg, struct delivery *d)
{
	struct delivery_sum *sum = arg;
	struct outbox_figures f;

	outbox_figures(d->o.queue, &f);
	for (unsigned i = 0; i < OUTBOX_STATES; i++)
		sum->entries[i] += f.entries[i];
	sum->bytes += unsettled(f.bytes);
	if (f.oldest_wall_ms && (!sum->oldest_wall_ms || f.oldest_wall_ms < sum->oldest_wall_ms))
		sum->oldest_wall_ms = f.oldest_wall_ms;
	sum->damaged = outbox_damaged(d->o.outbox); /* there is one outbox for each data directory */
	sum->is_readonly |= outbox_is_readonly(d->o.outbox);
	sum->paused += delivery_is_paused(d);
	sum->queues++;
}

void delivery_sum(struct delivery_sum *ret)
{
	*ret = (struct delivery_sum){ .queues = 0 };
	delivery_each(add_to_sum, ret);
}
