/* git_metrics.c -- the families of the git service, in one table each. */
#include "git/git_metrics.h"

#include "base/obj.h"

static const char *const operations[] = { "ls-refs", "fetch", "advertise", "push", NULL };
static const char *const caches[] = { "hit", "miss", "refreshed", "offline", "passthrough", NULL };
static const char *const statuses[] = { "ok", "error", NULL };
static const char *const sync_outcomes[] = { "ok", "error", "refused", NULL };
static const char *const kept_outcomes[] = { "stored", "hit", "damaged", NULL };
static const char *const refusals[] = { "target", "host", "command", "token", "connect", "dumb", "push", "hook", NULL };

static const struct metric_family requests_family = {
	"weir_git_requests_total", "Git requests answered.", METRIC_COUNTER,
	{ { "operation", operations }, { "cache", caches }, { "status", statuses } }, NULL,
};
static const struct metric_family duration_family = {
	"weir_git_request_duration_seconds", "Time from the head of a git request to the last byte of its answer.",
	METRIC_HISTOGRAM, { { "operation", operations }, { "cache", caches } }, metric_latency_buckets,
};
static const struct metric_family hits_family = { "weir_git_cache_hits_total",
						  "Git requests answered from the cache (hit and offline).",
						  METRIC_COUNTER, { { NULL, NULL } }, NULL };
static const struct metric_family misses_family = { "weir_git_cache_misses_total",
						    "Git requests for what was not in the cache.", METRIC_COUNTER,
						    { { NULL, NULL } }, NULL };
static const struct metric_family syncs_family = {
	"weir_git_syncs_total",
	"Fetches of objects from upstream; refused: the pack failed verification.",
	METRIC_COUNTER,
	{ { "outcome", sync_outcomes } },
	NULL
};
static const struct metric_family sync_bytes_family = { "weir_git_sync_bytes_total",
							"Bytes of packs received from upstream.", METRIC_COUNTER,
							{ { NULL, NULL } }, NULL };
static const struct metric_family quarantined_family = { "weir_git_quarantined_total",
							 "Repositories moved aside because they were damaged.",
							 METRIC_COUNTER, { { NULL, NULL } }, NULL };
static const struct metric_family maintenance_family = { "weir_git_maintenance_total", "Background repacks.",
							 METRIC_COUNTER, { { "outcome", statuses } }, NULL };
static const struct metric_family kept_family = {
	"weir_git_kept_answers_total",
	"Fetch answers kept as files: stored, served from there, found damaged.",
	METRIC_COUNTER,
	{ { "outcome", kept_outcomes } },
	NULL
};
static const struct metric_family refusals_family = { "weir_git_refusals_total",
						      "Requests that the git listener refused.", METRIC_COUNTER,
						      { { "reason", refusals } }, NULL };
const struct metric_family git_children_family = { "weir_git_children", "git upload-pack children running.",
						      METRIC_GAUGE, { { NULL, NULL } }, NULL };

const struct metric_family git_repositories_family = { "weir_git_repositories", "Repositories in the cache.",
						       METRIC_GAUGE, { { NULL, NULL } }, NULL };

static void init_requests(struct git_metrics *g, struct metrics *m)
{
	for (int op = 0; op < GIT_OP_COUNT; op++)
		for (int c = 0; c < GIT_CACHE_COUNT; c++) {
			for (int s = 0; s < 2; s++)
				g->requests[op][c][s] =
					METRIC(m, &requests_family, operations[op], caches[c], statuses[s]);
			g->duration[op][c] = METRIC(m, &duration_family, operations[op], caches[c]);
		}
}

void git_metrics_init(struct git_metrics *g, struct metrics *m)
{
	static const struct metric_family *const families[] = {
		&requests_family,
		&duration_family,
		&hits_family,
		&misses_family,
		&syncs_family,
		&sync_bytes_family,
		&quarantined_family,
		&maintenance_family,
		&refusals_family,
		&kept_family,
		&git_children_family,
		&git_repositories_family,
	};

	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		metrics_register(m, families[i]);
	init_requests(g, m);
	g->hits = METRIC(m, &hits_family);
	g->misses = METRIC(m, &misses_family);
	service_metrics_init(&g->shared, m, "git");
	for (int i = 0; i < 3; i++)
		g->syncs[i] = METRIC(m, &syncs_family, sync_outcomes[i]);
	g->sync_bytes = METRIC(m, &sync_bytes_family);
	g->quarantined = METRIC(m, &quarantined_family);
	for (int i = 0; i < 2; i++)
		g->maintenance[i] = METRIC(m, &maintenance_family, statuses[i]);
	for (int i = 0; i < GIT_KEPT_COUNT; i++)
		g->kept[i] = METRIC(m, &kept_family, kept_outcomes[i]);
	for (int i = 0; i < GIT_REFUSED_COUNT; i++)
		g->refusals[i] = METRIC(m, &refusals_family, refusals[i]);
}

void git_metrics_request(struct git_metrics *g, enum git_operation op, enum git_cache cache, bool ok, double seconds)
{
	metric_add(g->requests[op][cache][!ok], 1);
	metric_observe(g->duration[op][cache], seconds);
	if (cache == GIT_CACHE_HIT || cache == GIT_CACHE_OFFLINE)
		metric_add(g->hits, 1);
	else if (cache == GIT_CACHE_MISS)
		metric_add(g->misses, 1);
}

void git_metrics_add_traffic(const struct git_metrics *g, struct traffic *into)
{
	for (int op = 0; op < GIT_OP_COUNT; op++) {
		for (int c = 0; c < GIT_CACHE_COUNT; c++) {
			uint64_t ok = (uint64_t)metric_value(g->requests[op][c][0]);
			uint64_t bad = (uint64_t)metric_value(g->requests[op][c][1]);

			into->requests += ok + bad;
			into->errors += bad;
			into->refreshed += c == GIT_CACHE_REFRESHED ? ok + bad : 0;
			metric_add_buckets(g->duration[op][c], into->latency, TRAFFIC_BUCKETS);
		}
	}
	into->has_cache = true;
	into->hits = (uint64_t)metric_value(g->hits);
	into->misses = (uint64_t)metric_value(g->misses);
	into->offline = (uint64_t)metric_value(g->shared.fallbacks);
	into->stale = (uint64_t)metric_value(g->shared.stale);
}

const char *git_cache_text(enum git_cache c)
{
	return caches[c];
}

const char *git_operation_text(enum git_operation op)
{
	return operations[op];
}
