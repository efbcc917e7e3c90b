/* hub_sample.c -- numbers gathered for their minimum, maximum, mean and quantiles, in bounded memory.
 *
 * WHY      A session of 100,000 samples fits, so its medians are the true ones. One of 100 million does not, and gets
 *          good ones: a reservoir (Vitter's R) of each sample, begun by choosing from what it had when the pool was
 *          full. The same numbers give the same answer: the choice is made by a generator with a fixed seed.
 * LIMITS   8 MB, or HUB_SAMPLE_LEAST numbers of each sample when that is more. */
#include "hub/hub_sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/obj.h"
#include "core/json.h"

#define SEED 0x9e3779b97f4a7c15ULL

/* xorshift64*: good enough for a choice that nobody attacks. */
static uint64_t next_random(struct hub_sample_pool *p)
{
	if (!p->random)
		p->random = SEED;
	p->random ^= p->random >> 12;
	p->random ^= p->random << 25;
	p->random ^= p->random >> 27;
	return p->random * 0x2545f4914f6cdd1dULL;
}

/* Its first numbers become a choice of all (Fisher and Yates, as far as needed). */
static void thin(struct hub_sample_pool *p, struct hub_sample *s)
{
	if (s->n <= HUB_SAMPLE_LEAST)
		return;
	for (size_t i = 0; i < HUB_SAMPLE_LEAST; i++) {
		size_t j = i + (size_t)(next_random(p) % (s->n - i));
		double d = s->kept[i];

		s->kept[i] = s->kept[j];
		s->kept[j] = d;
	}
	s->n = HUB_SAMPLE_LEAST;
	s->room = s->n;
	s->kept = xrealloc(s->kept, s->room * sizeof(*s->kept));
}

static void keep(struct hub_sample_pool *p, struct hub_sample *s, double value)
{
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 8;
		s->kept = xrealloc(s->kept, s->room * sizeof(*s->kept));
	}
	s->kept[s->n++] = value;
	if (p->is_full || ++p->kept < HUB_SAMPLE_POOL)
		return;
	p->is_full = true;
	for (struct hub_sample *each = p->first; each; each = each->next)
		thin(p, each);
}

void hub_sample_add(struct hub_sample_pool *p, struct hub_sample *s, double value)
{
	if (!s->count) {
		s->min = s->max = value;
		s->next = p->first;
		p->first = s;
	}
	s->count++;
	s->min = value < s->min ? value : s->min;
	s->max = value > s->max ? value : s->max;
	s->sum += value;
	s->last = value;
	if (!p->is_full || s->n < HUB_SAMPLE_LEAST) {
		keep(p, s, value);
	} else {
		uint64_t j = next_random(p) % s->count;

		if (j < s->n)
			s->kept[j] = value;
	}
}

void hub_sample_fini(struct hub_sample *s)
{
	free(s->kept);
	*s = (struct hub_sample){ .n = 0 };
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double hub_sample_quantile(struct hub_sample *s, double q)
{
	double at, part;
	size_t i;

	if (!s->n)
		return NAN;
	qsort(s->kept, s->n, sizeof(*s->kept), by_value);
	at = q * (double)(s->n - 1);
	i = (size_t)at;
	part = at - (double)i;
	return part > 0 ? s->kept[i] * (1 - part) + s->kept[i + 1] * part : s->kept[i];
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

void hub_number_write(double d, struct buf *out)
{
	if (!isfinite(d)) {
		buf_add_str(out, "null");
	} else if (fabs(d) < 9e15 && d == floor(d)) {
		buf_addf(out, "%lld", (long long)d);
	} else {
		json_t *v = json_real(d);

		json_write(v, out);
		json_decref(v);
	}
}

void hub_sample_write_members(struct hub_sample *s, struct buf *out)
{
	buf_addf(out, "\"count\":%llu,\"min\":", (unsigned long long)s->count);
	hub_number_write(s->count ? s->min : NAN, out);
	buf_add_str(out, ",\"max\":");
	hub_number_write(s->count ? s->max : NAN, out);
	buf_add_str(out, ",\"mean\":");
	hub_number_write(s->count ? s->sum / (double)s->count : NAN, out);
	buf_add_str(out, ",\"median\":");
	hub_number_write(hub_sample_quantile(s, 0.5), out);
	buf_addf(out, ",\"exact\":%s", s->n == s->count ? "true" : "false");
}
