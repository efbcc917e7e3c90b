/* git_metrics.h -- the git service's counters, made once at start so that counting on a front thread is an array
 * access. Names and labels: docs of the metrics in CONTRACT and `weir_` families in git_metrics.c. Any thread. */
#ifndef WEIR_GIT_GIT_METRICS_H
#define WEIR_GIT_GIT_METRICS_H

#include "core/service.h"

enum git_operation { GIT_OP_LS_REFS, GIT_OP_FETCH, GIT_OP_ADVERTISE, GIT_OP_PUSH, GIT_OP_COUNT };
enum git_cache {
	GIT_CACHE_HIT,
	GIT_CACHE_MISS,
	GIT_CACHE_REFRESHED,
	GIT_CACHE_OFFLINE,
	GIT_CACHE_PASSTHROUGH,
	GIT_CACHE_COUNT
};

enum git_refusal { GIT_REFUSED_TARGET, GIT_REFUSED_HOST, GIT_REFUSED_COMMAND, GIT_REFUSED_TOKEN, GIT_REFUSED_CONNECT,
		   GIT_REFUSED_DUMB, GIT_REFUSED_PUSH, GIT_REFUSED_HOOK, GIT_REFUSED_COUNT };

enum git_kept { GIT_KEPT_STORED, GIT_KEPT_HIT, GIT_KEPT_DAMAGED, GIT_KEPT_COUNT };

struct git_metrics {
	struct metric *requests[GIT_OP_COUNT][GIT_CACHE_COUNT][2]; /* last: ok, error */
	struct metric *duration[GIT_OP_COUNT][GIT_CACHE_COUNT];
	struct metric *hits, *misses;
	struct service_metrics shared;
	struct metric *syncs[3];       /* ok, error, refused (invariant 11) */
	struct metric *sync_bytes;
	struct metric *quarantined;
	struct metric *maintenance[2]; /* ok, error */
	struct metric *kept[GIT_KEPT_COUNT];
	struct metric *refusals[GIT_REFUSED_COUNT];
};

void git_metrics_init(struct git_metrics *g, struct metrics *m);
/* One finished request. */
void git_metrics_request(struct git_metrics *g, enum git_operation op, enum git_cache cache, bool ok, double seconds);
/* Adds up what was answered: see core/traffic.h. */
void git_metrics_add_traffic(const struct git_metrics *g, struct traffic *into);
const char *git_cache_text(enum git_cache c);
const char *git_operation_text(enum git_operation op);

/* Families whose value is a function's (set by git_service.c). */
extern const struct metric_family git_repositories_family, git_children_family;

#endif
