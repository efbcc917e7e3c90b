/* service.c -- what services share: the families that each counts under its own name. */
#include "core/service.h"

#include <stdlib.h>

#include "base/obj.h"
#include "store/outbox.h"

#define BY_SERVICE { { "service", NULL } }

static const struct metric_family fallbacks_family = {
	"weir_offline_fallbacks_total",
	"Answers from the cache because upstream was away.",
	METRIC_COUNTER,
	BY_SERVICE,
	NULL,
};
static const struct metric_family stale_family = {
	"weir_stale_serves_total", "Offline answers that were no longer fresh.", METRIC_COUNTER, BY_SERVICE, NULL,
};
static const struct metric_family collapsed_family = {
	"weir_collapsed_requests_total", "Requests that shared another's upstream exchange or answer.", METRIC_COUNTER,
	BY_SERVICE, NULL,
};
static const struct metric_family evictions_family = {
	"weir_cache_evictions_total", "Items dropped to keep the disk budget.", METRIC_COUNTER, BY_SERVICE, NULL,
};
static const struct metric_family last_update_family = {
	"weir_cache_last_update_timestamp_seconds",
	"Newest successful refresh from upstream.",
	METRIC_GAUGE,
	BY_SERVICE,
	NULL,
};
static const struct metric_family cache_bytes_family = {
	"weir_cache_bytes", "Disk space that cached data takes.", METRIC_GAUGE, BY_SERVICE, NULL,
};
static const struct metric_family cache_max_bytes_family = {
	"weir_cache_max_bytes", "Disk budget of cached data.", METRIC_GAUGE, BY_SERVICE, NULL,
};

void service_metrics_init(struct service_metrics *s, struct metrics *m, const char *service)
{
	s->fallbacks = METRIC(m, &fallbacks_family, service);
	s->stale = METRIC(m, &stale_family, service);
	s->collapsed = METRIC(m, &collapsed_family, service);
	s->evictions = METRIC(m, &evictions_family, service);
	s->last_update = METRIC(m, &last_update_family, service);
}

void service_metrics_set_cache(struct metrics *m, const char *service, metric_fn *bytes, metric_fn *max_bytes,
			       void *arg)
{
	const char *const labels[] = { service, NULL };

	metrics_set_fn(m, &cache_bytes_family, labels, bytes, arg);
	metrics_set_fn(m, &cache_max_bytes_family, labels, max_bytes, arg);
}

int service_outbox(const struct core *core, struct outbox **ret, struct buf *err)
{
	int r = 0;

	if (!*core->outbox) {
		char *dir = xstrf("%s/outbox", core->data_dir);

		r = outbox_open(dir, core->outbox, err);
		free(dir);
	}
	if (r == 0)
		*ret = *core->outbox;
	return r;
}

