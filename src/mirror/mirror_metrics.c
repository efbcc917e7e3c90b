/* mirror_metrics.c -- the families of mirrors, each series made at start so that counting is an array access. */
#include "mirror/mirror_priv.h"

static const char *const caches[] = { "hit",    "refreshed",   "miss",    "offline", "overlay",
				      "queued", "passthrough", "refused", NULL };
static const char *const statuses[] = { "ok", "error", NULL };

static const struct metric_family requests_family = {
	"weir_mirror_requests_total", "Requests to a mirror that were answered.", METRIC_COUNTER,
	{ { "service", NULL }, { "cache", caches }, { "status", statuses } }, NULL,
};
static const struct metric_family duration_family = {
	"weir_mirror_request_duration_seconds",
	"Time from the head of a request to a mirror to the last byte of its answer.",
	METRIC_HISTOGRAM,
	{ { "service", NULL }, { "cache", caches } },
	metric_latency_buckets,
};

void mirror_metrics_init(struct mirror_metrics *mm, struct metrics *m, const char *name)
{
	for (int c = 0; c < MIRROR_CACHE_COUNT; c++) {
		for (int s = 0; s < 2; s++)
			mm->requests[c][s] = METRIC(m, &requests_family, name, caches[c], statuses[s]);
		mm->duration[c] = METRIC(m, &duration_family, name, caches[c]);
	}
	service_metrics_init(&mm->shared, m, name);
}
