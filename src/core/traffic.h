/* traffic.h -- what a service has answered since it started: the figures that a history is made of. */
#ifndef WEIR_CORE_TRAFFIC_H
#define WEIR_CORE_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#define TRAFFIC_BUCKETS 19 /* those of metric_latency_buckets, and one above all bounds */

/* Each only ever grows. */
struct traffic {
	uint64_t requests, errors; /* errors are requests as well: 4xx, 5xx, and what was cut off */
	bool has_cache;            /* else the next five say nothing */
	uint64_t hits;             /* answered from what is stored; those while upstream was away too */
	uint64_t refreshed;        /* upstream was asked, and what is stored was still right */
	uint64_t misses;
	uint64_t offline, stale;   /* upstream was away; and the answer was older than it should be */
	uint64_t latency[TRAFFIC_BUCKETS]; /* requests by how long they took; not cumulated */
};

/* name: of a service, or of one of its parts (a mirror); borrowed, as t is. */
typedef void traffic_fn(void *arg, const char *name, const struct traffic *t);

#endif
