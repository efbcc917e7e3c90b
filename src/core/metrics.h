/* metrics.h -- the registry: families are declared in const tables (name, type, help, labels with their fixed values),
 * so that every fixed label set is exported from the start with 0. Counting is lock-free; rendering takes a lock that
 * counting does not. */
#ifndef WEIR_CORE_METRICS_H
#define WEIR_CORE_METRICS_H

#include "base/buf.h"

struct metrics;
struct metric; /* one time series */

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_MOST_LABELS 4

struct metric_label {
	const char *name;
	/* NULL-terminated; all combinations are made at registration. NULL: values come at run time (upstream names) */
	const char *const *values;
};

struct metric_family {
	const char *name, *help;
	enum metric_type type;
	struct metric_label labels[METRIC_MOST_LABELS]; /* name NULL ends */
	const double *buckets; /* histograms: upper bounds, ascending, ended by a negative number */
};

extern const double metric_latency_buckets[]; /* 100 us ... 60 s */

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* Idempotent; f must live as long as m. Tables that declare the same name must be alike, and are one family. */
void metrics_register(struct metrics *m, const struct metric_family *f);
/* The series with these label values, in the order of the family's labels (as many as it has labels); registers the
 * family and makes the series when missing (limit 1,000 a family: beyond it one shared series with values "other").
 * Never NULL. The pointer is good as long as m. Takes no lock when the series is there. */
struct metric *metrics_get(struct metrics *m, const struct metric_family *f, const char *const *values);
#define METRIC(m, f, ...) metrics_get((m), (f), (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })
void metric_add(struct metric *c, uint64_t n);      /* counter */
void metric_set(struct metric *g, double value);    /* gauge */
void metric_observe(struct metric *h, double value);
/* Adds what a histogram has counted in each bucket (not cumulated; the last one: above all bounds) to into[0..n), where n
 * is the number of its bounds, and one. */
void metric_add_buckets(const struct metric *h, uint64_t *into, size_t n);
double metric_value(const struct metric *c);        /* counters and gauges; histograms: the count */
/* A gauge or counter whose value is asked for at rendering. fn must not block and not call metrics. */
typedef double metric_fn(void *arg);
void metrics_set_fn(struct metrics *m, const struct metric_family *f, const char *const *values, metric_fn *fn,
		    void *arg);
/* Removes all functions with this arg, before arg goes away; their series are not exported until set again. */
void metrics_remove_fn(struct metrics *m, const void *arg);
void metrics_render(struct metrics *m, struct buf *out);    /* Prometheus text format 0.0.4 */
/* Over the series with this label value; label NULL: over all. */
double metrics_sum(struct metrics *m, const struct metric_family *f, const char *label, const char *value);


/* weir_process_resident_memory_bytes, weir_process_open_fds and weir_build_info{version}. version is copied. */
void metrics_register_process(struct metrics *m, const char *version);

#endif
