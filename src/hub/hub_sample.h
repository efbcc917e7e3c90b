/* hub_sample.h -- numbers gathered for their minimum, maximum, mean and quantiles, in bounded memory. Pure; one thread
 * at a time.
 *
 * Any number of samples share a pool. As long as the pool has room every number is kept and quantiles are exact; then
 * each sample keeps HUB_SAMPLE_LEAST of them, chosen at random, and quantiles are estimates (a rank is off by about 2 in
 * 100). The rest is exact always. */
#ifndef WEIR_HUB_HUB_SAMPLE_H
#define WEIR_HUB_HUB_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HUB_SAMPLE_LEAST 512
#define HUB_SAMPLE_POOL  1000000 /* numbers in all of a pool's samples while they are exact */

struct hub_sample {
	double *kept;
	size_t n, room;
	uint64_t count;
	double min, max, sum, last;
	struct hub_sample *next; /* of the pool */
};
struct hub_sample_pool {
	size_t kept;
	bool is_full; /* no longer exact */
	uint64_t random;
	struct hub_sample *first; /* those that have a number */
};

/* Both begin as zeros. A sample stays where it is while its pool is used. */
void hub_sample_add(struct hub_sample_pool *p, struct hub_sample *s, double value);
void hub_sample_fini(struct hub_sample *s);
/* q from 0 to 1; between two numbers, in proportion. NaN without any. Sorts what is kept. */
double hub_sample_quantile(struct hub_sample *s, double q);
/* "count":,"min":,"max":,"mean":,"median":,"exact": -- the members of an object; null for what there is not. */
void hub_sample_write_members(struct hub_sample *s, struct buf *out);

/* As JSON: null when it is not finite, whole numbers without a fraction. */
void hub_number_write(double d, struct buf *out);

#endif
