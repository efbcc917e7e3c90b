/* service.h -- what a service is to core: a const table that only main.c lists. Deleting a service is deleting its
 * folder and its line there. */
#ifndef WEIR_CORE_SERVICE_H
#define WEIR_CORE_SERVICE_H

#include <jansson.h>
#include <stdatomic.h>

#include "core/config.h"
#include "core/exchange.h"
#include "core/link.h"
#include "core/metrics.h"
#include "core/server.h"
#include "core/traffic.h"
#include "io/pool.h"

struct outbox;
struct services;

/* What core lends to services; the same for all, lives as long as they do. */
struct core {
	struct config *config; /* as at start; reload() brings newer ones */
	struct server *server;
	struct pool *pool;
	struct metrics *metrics;
	const char *data_dir;
	const char *version;
	int64_t started_mono_ms, started_wall_ms;
	struct outbox **outbox;          /* *outbox is NULL until a service asks for it: service_outbox() */
	const struct services *services; /* all that run; filled in before the listeners open */
};

/* The one outbox of this data directory, opened when the first service asks and closed after the last has stopped. 0;
 * or a code with a sentence in err. From start() only; blocks. */
int service_outbox(const struct core *core, struct outbox **ret, struct buf *err);

struct service_health;

enum health_state { HEALTH_OK, HEALTH_DEGRADED, HEALTH_UNHEALTHY };

/* An endpoint of the admin listener, `/api/v1/` + path. handle runs as in exchange.h, with the service's state as
 * exchange_service_arg(). A path that ends in '/' takes everything below it. */
struct admin_route {
	const char *method, *path; /* method NULL ends the table */
	exchange_fn *handle;
};

/* How far something is: `what` is static. */
typedef void service_progress_fn(void *arg, const char *what, int64_t done, int64_t total);

struct service {
	const char *name;
	const struct config_section *section;
	/* Opens data, registers metrics, binds listeners (server_listen). 0; or a negative code with a sentence for the
	 * operator in err. Not on a front thread; may block. */
	int (*start)(const struct core *core, const void *section, void **ret_state, struct buf *err);
	/* SIGHUP: takes over what can change live; may be NULL. Every section given, at start or later, stays good
	 * until after stop(), so that it may be read without a lock. On the main thread. */
	void (*reload)(void *state, const void *section);
	/* No exchange is left; stops background work, flushes, frees. */
	void (*stop)(void *state);
	/* For /api/v1/status and /healthz?detailed: fills members of `into` (an object). May be NULL. Never blocks for
	 * long. */
	void (*status)(void *state, json_t *into);
	/* Adds to the numbers of health: see struct service_health. Front threads; never blocks. May be NULL. */
	void (*health)(void *state, struct service_health *ret);
	/* Its upstream links, for status and the enable switch: fn(arg, link) for each. May be NULL. */
	void (*each_link)(void *state, void (*fn)(void *arg, struct link *l), void *arg);
	/* What it has answered since it started: fn(arg, name, figures) for the service, or for each of its parts. From
	 * memory; any thread, until stop(). May be NULL: then it is in no history. */
	void (*traffic)(void *state, traffic_fn *fn, void *arg);
	const struct admin_route *admin_routes; /* may be NULL */
	/* The process `pid`, which started this daemon for itself, has ended: whatever was held for it is given up in
	 * good order. For daemons that belong to a program (datacat-daemon). The main thread; may block. May be
	 * NULL. */
	void (*owner_gone)(void *state, int64_t pid);
	/* Copies one of its databases into another; both are named as in its section. Not while it runs. 0, or a code
	 * with a sentence for the operator in err. Blocks. May be NULL. */
	int (*migrate)(const char *from, const char *to, service_progress_fn *progress, void *arg, struct buf *err);
};

struct service_health {
	enum health_state state;
	const char *reason;     /* static text when not OK */
	uint64_t cached_repos, hits, misses, stale_serves;
	bool offline_possible;  /* offline_mode is on */
};

/* What services that cache have in common, counted under their name: see service.c. */
struct service_metrics {
	struct metric *fallbacks, *stale, *collapsed, *evictions, *last_update;
};
void service_metrics_init(struct service_metrics *s, struct metrics *m, const char *service);
/* weir_cache_bytes and weir_cache_max_bytes; removed with metrics_remove_fn(m, arg). */
void service_metrics_set_cache(struct metrics *m, const char *service, metric_fn *bytes, metric_fn *max_bytes,
			       void *arg);

/* The running services, for admin. Set once by `weir serve` before the listeners open. */
struct service_instance {
	const struct service *service;
	void *state;
};
struct services {
	struct service_instance *items;
	size_t count;
	const struct core *core;
	atomic_bool stopping; /* a stop has begun: /readyz says 503, so that nobody sends anything new */
};

#endif
