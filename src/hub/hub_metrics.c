/* hub_metrics.c -- the families of the hub. */
#include "hub/hub_priv.h"

#include "base/obj.h"

static const char *const types[] = { "state", "event", "metric", "heartbeat", "end", "crash", "create", NULL };
static const char *const outcomes[] = { "applied", "repeated", "refused", NULL };
static const char *const reasons[] = { "key", "path", "method", "body", "session", "store", "busy", NULL };
static const char *const kinds[] = { "write", "read", NULL };

static const struct metric_family operations_family = {
	"weir_hub_operations_total",
	"What was asked of sessions; repeated: known by its key or sequence number, and not done again.",
	METRIC_COUNTER,
	{ { "type", types }, { "outcome", outcomes } },
	NULL,
};
static const struct metric_family refusals_family = {
	"weir_hub_refusals_total", "Requests that were refused.", METRIC_COUNTER, { { "reason", reasons } }, NULL,
};
static const struct metric_family duration_family = {
	"weir_hub_request_duration_seconds",
	"Time from the head of a request to the last byte of its answer.",
	METRIC_HISTOGRAM,
	{ { "kind", kinds } },
	metric_latency_buckets,
};
static const struct metric_family forgotten_family = {
	"weir_hub_sessions_deleted_total",
	"Sessions deleted because they were older than hub.retention.",
	METRIC_COUNTER,
	{ { NULL, NULL } },
	NULL,
};
static const struct metric_family cleanups_family = {
	"weir_hub_cleanups_total",
	"Times that sessions which are too old were looked for, and deleted.",
	METRIC_COUNTER,
	{ { NULL, NULL } },
	NULL,
};
static const struct metric_family crashed_family = {
	"weir_hub_sessions_crashed_total",
	"Sessions found crashed, as their machine came back without them.",
	METRIC_COUNTER,
	{ { NULL, NULL } },
	NULL,
};

static const struct metric_family up_family = {
	"weir_hub_database_up",
	"1: the hub's database can be used; 0: requests are answered 503.",
	METRIC_GAUGE,
	{ { NULL, NULL } },
	NULL,
};

static double is_up(void *arg)
{
	struct hub *h = arg;
	const char *why;

	return !h->store->t->ready || h->store->t->ready(h->store, &why) == 0;
}

void hub_metrics_watch_store(struct hub *h)
{
	metrics_set_fn(h->core->metrics, &up_family, (const char *const[]){ NULL }, is_up, h);
}

void hub_metrics_init(struct hub_metrics *hm, struct metrics *m)
{
	for (int t = 0; t <= HUB_OP_COUNT; t++)
		for (int o = 0; o < HUB_OUTCOME_COUNT; o++)
			hm->operations[t][o] = METRIC(m, &operations_family, types[t], outcomes[o]);
	for (int i = 0; i < HUB_REFUSAL_COUNT; i++)
		hm->refusals[i] = METRIC(m, &refusals_family, reasons[i]);
	hm->duration_write = METRIC(m, &duration_family, "write");
	hm->duration_read = METRIC(m, &duration_family, "read");
	hm->forgotten = METRIC(m, &forgotten_family);
	hm->cleanups = METRIC(m, &cleanups_family);
	hm->crashed = METRIC(m, &crashed_family);
}
