/* hub_points.c -- one series of metrics, reduced to what a chart can show.
 *
 * WHAT     The samples of each step of a time range become one point; steps without any are not there. What a point has
 *          depends on the type:
 *            all         count, min, max, mean, last
 *            counter     rate: what it grew by since the sample before the step, by the time since then
 *            timer       p50, p90, p99 of its samples
 *            histogram   of what was observed between the last sample before the step and the last one in it, as its
 *                        buckets tell: count, mean, quantiles, and as min and max the ends of the outer buckets
 * RULES    1. A total that is smaller than the one before began anew at 0: growth is never negative.
 *          2. A histogram's first sample counts from 0, as its totals do. A counter's has no rate: it may have begun
 *             elsewhere.
 *          3. Quantiles of a histogram lie between a bucket's ends in proportion; above the last finite bound they are
 *             that bound. A first bucket with a positive bound begins at 0.
 *          4. Samples with other buckets than the first one's are counted as left out: they are no continuation of it.
 *             A histogram without buckets is treated as a timer.
 * WHY      The difference of totals is what happened; totals themselves only ever show the whole life.
 * LIMITS   MOST_BOUNDS. Memory: HUB_MOST_BUCKETS points, each with as many counts as there are bounds (16 MB at most),
 *          and what hub_sample.h says (8 MB). */
#include "hub/hub_points.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/obj.h"
#include "base/str.h"
#include "core/json.h"
#include "hub/hub_sample.h"
#include "hub/hub_scan.h"
#include "hub/hub_series.h"

#define MOST_BOUNDS 1000 /* the daemon makes at most that many */

enum kind { KIND_GAUGE, KIND_COUNTER, KIND_TIMER, KIND_HISTOGRAM };

struct point {
	struct hub_sample sample;
	int64_t last_ms;
	double grown, grown_ms; /* counter */
	double *counts; /* histogram: of each bucket; NULL: none yet */
	double observed, sum; /* histogram */
};

struct hub_points {
	struct hub_span span;
	struct buf name, type, tags; /* as JSON; type empty: not known yet; tags sorted */
	struct buf own_list, other_list; /* the tags met last, as they are kept: ours, not ours */
	struct buf shown_tags, unit;
	enum kind kind;
	struct point *points;
	struct hub_sample_pool pool;
	struct hub_sample all, rates;
	uint64_t before, after, left_out;
	bool is_begun; /* there is a sample before */
	int64_t previous_ms;
	double previous; /* counter */
	size_t bound_count; /* histogram */
	struct buf bounds; /* as they are kept, each followed by ',' */
	double le[MOST_BOUNDS], totals[MOST_BOUNDS], total_sum;
};

/* As json_write_text(), but of bytes that a query has: they may be no UTF-8. */
static void write_text(struct slice text, struct buf *out)
{
	buf_add_char(out, '"');
	str_add_json(out, text);
	buf_add_char(out, '"');
}

struct hub_points *hub_points_new(struct hub_span span, struct slice name, struct slice type, struct slice tags)
{
	struct hub_points *p = xcalloc(1, sizeof(*p));

	*p = (struct hub_points){ .span = span,
				  .name = BUF_EMPTY,
				  .type = BUF_EMPTY,
				  .tags = BUF_EMPTY,
				  .own_list = BUF_EMPTY,
				  .other_list = BUF_EMPTY,
				  .shown_tags = BUF_EMPTY,
				  .unit = BUF_EMPTY,
				  .bounds = BUF_EMPTY };
	p->points = xcalloc(span.count, sizeof(*p->points));
	write_text(name, &p->name);
	if (type.p)
		write_text(type, &p->type);
	if (!hub_tags_sort(tags, &p->tags))
		buf_add_str(&p->tags, "none has these");
	return p;
}

void hub_points_free(struct hub_points *p)
{
	struct buf *texts[] = { &p->name,       &p->type,       &p->tags, &p->own_list,
				&p->other_list, &p->shown_tags, &p->unit, &p->bounds };

	if (!p)
		return;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		buf_fini(texts[i]);
	for (size_t i = 0; i < p->span.count; i++) {
		hub_sample_fini(&p->points[i].sample);
		free(p->points[i].counts);
	}
	hub_sample_fini(&p->all);
	hub_sample_fini(&p->rates);
	free(p->points);
	free(p);
}

/* --- which metrics ---------------------------------------------------------------------------------------------- */

enum { HAS_TIME, HAS_NAME, HAS_TYPE, HAS_VALUE, HAS_UNIT, HAS_TAGS, HAS_METADATA, HAS_NONE };

static void set_text(struct buf *b, struct slice text)
{
	buf_reset(b);
	buf_add_slice(b, text);
}

static bool has_tags(struct hub_points *p, struct slice list)
{
	struct buf sorted = BUF_EMPTY;
	bool same;

	if (!list.p)
		list = SLICE_LIT("[]");
	if (slice_eq(list, buf_slice(&p->own_list)))
		return true;
	if (slice_eq(list, buf_slice(&p->other_list)))
		return false;
	same = hub_tags_sort(list, &sorted) && slice_eq(buf_slice(&sorted), buf_slice(&p->tags));
	set_text(same ? &p->own_list : &p->other_list, list);
	buf_fini(&sorted);
	return same;
}

static enum kind kind_of(const struct hub_points *p, bool has_buckets)
{
	struct slice type = buf_slice(&p->type);

	if (slice_eq_str(type, "\"counter\""))
		return KIND_COUNTER;
	if (slice_eq_str(type, "\"histogram\""))
		return has_buckets ? KIND_HISTOGRAM : KIND_TIMER;
	return slice_eq_str(type, "\"timer\"") ? KIND_TIMER : KIND_GAUGE;
}

static bool is_ours(struct hub_points *p, const struct hub_scan_want *want)
{
	struct slice type = want[HAS_TYPE].value;

	if (!slice_eq(want[HAS_NAME].value, buf_slice(&p->name)) || !type.p)
		return false;
	if (p->type.len && !slice_eq(type, buf_slice(&p->type)))
		return false;
	if (!has_tags(p, want[HAS_TAGS].value))
		return false;
	if (!p->type.len)
		buf_add_slice(&p->type, type);
	return true;
}

/* --- totals ----------------------------------------------------------------------------------------------------- */

struct observed {
	double counts[MOST_BOUNDS], sum;
	size_t n;
};

static bool read_bound(struct slice le, double *ret)
{
	if (hub_scan_number(le, ret))
		return true;
	*ret = INFINITY;
	return slice_ieq_str(le, "\"inf\"") || slice_ieq_str(le, "\"infinity\"") || slice_ieq_str(le, "\"+inf\"");
}

/* Fills what a histogram has counted so far; false: it has no buckets, or not those of before. */
static bool read_totals(struct hub_points *p, struct slice metadata, struct observed *ret)
{
	struct hub_scan_want inside[] = { { .name = "buckets" }, { .name = "sum" }, { .name = NULL } };
	struct hub_scan buckets;
	struct buf bounds = BUF_EMPTY;
	struct slice one;
	bool ok = metadata.p && hub_scan_members(metadata, inside) && inside[0].value.p, first = !p->bound_count;

	*ret = (struct observed){ .sum = NAN };
	buckets = hub_scan_of(ok ? inside[0].value : SLICE_LIT("[]"));
	while (ok && hub_scan_element(&buckets, &one)) {
		struct hub_scan_want bucket[] = { { .name = "le" }, { .name = "count" }, { .name = NULL } };

		double le = 0;

		ok = ret->n < MOST_BOUNDS && hub_scan_members(one, bucket) && read_bound(bucket[0].value, &le) &&
		     hub_scan_number(bucket[1].value, &ret->counts[ret->n]);
		if (ok && first)
			p->le[ret->n] = le;
		buf_add_slice(&bounds, bucket[0].value);
		buf_add_char(&bounds, ',');
		ret->n++;
	}
	(void)hub_scan_number(inside[1].value, &ret->sum); /* NaN without one */
	ok = ok && !buckets.broken && ret->n && (first || slice_eq(buf_slice(&bounds), buf_slice(&p->bounds)));
	if (ok && first) {
		p->bound_count = ret->n;
		set_text(&p->bounds, buf_slice(&bounds));
	}
	buf_fini(&bounds);
	return ok;
}

static void add_observed(struct hub_points *p, struct point *at, const struct observed *now)
{
	bool anew = false;

	for (size_t i = 0; i < now->n; i++)
		anew = anew || now->counts[i] < p->totals[i];
	for (size_t i = 0; i < now->n; i++) {
		double grown = now->counts[i] - (anew ? 0 : p->totals[i]);

		if (at) {
			if (!at->counts)
				at->counts = xcalloc(p->bound_count, sizeof(*at->counts));
			at->counts[i] += grown;
			at->observed += grown;
		}
		p->totals[i] = now->counts[i];
	}
	if (at)
		at->sum += now->sum - (anew ? 0 : p->total_sum);
	p->total_sum = now->sum;
}

static void add_growth(struct hub_points *p, struct point *at, double value, int64_t ms)
{
	double grown = value < p->previous ? value : value - p->previous, took = (double)(ms - p->previous_ms);

	if (at && p->is_begun && took > 0) {
		at->grown += grown;
		at->grown_ms += took;
		hub_sample_add(&p->pool, &p->rates, grown / took * 1000);
	}
	p->previous = value;
	if (!p->is_begun || took > 0)
		p->previous_ms = ms;
	p->is_begun = true;
}

/* --- samples ---------------------------------------------------------------------------------------------------- */

/* NULL: outside the range, and counted as that. */
static struct point *point_at(struct hub_points *p, int64_t ms)
{
	int64_t at = hub_span_at(&p->span, ms);

	p->before += at < 0;
	p->after += at == (int64_t)p->span.count;
	return at < 0 || at == (int64_t)p->span.count ? NULL : &p->points[at];
}

static void take(struct hub_points *p, const struct hub_scan_want *want, int64_t ms, double value)
{
	struct observed now = { .n = 0 };
	bool has_totals =
		slice_eq_str(buf_slice(&p->type), "\"histogram\"") && read_totals(p, want[HAS_METADATA].value, &now);
	struct point *at;

	if (!p->shown_tags.len) {
		set_text(&p->shown_tags, want[HAS_TAGS].value.p ? want[HAS_TAGS].value : SLICE_LIT("[]"));
		p->kind = kind_of(p, has_totals);
	}
	if (p->kind == KIND_HISTOGRAM && !has_totals) {
		p->left_out++;
		return;
	}
	set_text(&p->unit, want[HAS_UNIT].value);
	at = point_at(p, ms);
	if (p->kind == KIND_HISTOGRAM)
		add_observed(p, at, &now);
	if (p->kind == KIND_COUNTER)
		add_growth(p, at, value, ms);
	if (!at)
		return;
	if (!at->sample.count)
		at->last_ms = ms;
	hub_sample_add(&p->pool, &at->sample, value);
	hub_sample_add(&p->pool, &p->all, value);
	at->last_ms = ms > at->last_ms ? ms : at->last_ms;
}

bool hub_points_take(struct hub_points *p, struct slice body)
{
	struct hub_scan_want want[] = { [HAS_TIME] = { .name = "timestamp" },    [HAS_NAME] = { .name = "name" },
					[HAS_TYPE] = { .name = "type" },         [HAS_VALUE] = { .name = "value" },
					[HAS_UNIT] = { .name = "unit" },         [HAS_TAGS] = { .name = "tags" },
					[HAS_METADATA] = { .name = "metadata" }, [HAS_NONE] = { .name = NULL } };
	bool ok = hub_scan_members(body, want);
	double value;
	int64_t ms;

	if (!ok || !is_ours(p, want))
		return ok;
	if (!hub_scan_time(want[HAS_TIME].value, &ms) || !hub_scan_number(want[HAS_VALUE].value, &value))
		return false;
	take(p, want, ms, value);
	return true;
}

/* --- quantiles of buckets --------------------------------------------------------------------------------------- */

static double lower_end(const struct hub_points *p, size_t i)
{
	return i ? p->le[i - 1] : p->le[0] > 0 ? 0 : p->le[0];
}

static double upper_end(const struct hub_points *p, size_t i)
{
	return isfinite(p->le[i]) ? p->le[i] : lower_end(p, i);
}

static double bucket_quantile(const struct hub_points *p, const double *counts, double all, double q)
{
	double rank = q * all, below = 0, part;
	size_t i = 0;

	if (!(all > 0))
		return NAN;
	while (i + 1 < p->bound_count && below + counts[i] < rank)
		below += counts[i++];
	if (!(counts[i] > 0))
		return upper_end(p, i);
	part = rank > below ? (rank - below) / counts[i] : 0;
	return lower_end(p, i) + (upper_end(p, i) - lower_end(p, i)) * (part < 1 ? part : 1);
}

static double least_of(const struct hub_points *p, const double *counts)
{
	for (size_t i = 0; i < p->bound_count; i++)
		if (counts[i] > 0)
			return lower_end(p, i);
	return NAN;
}

static double most_of(const struct hub_points *p, const double *counts)
{
	for (size_t i = p->bound_count; i-- > 0;)
		if (counts[i] > 0)
			return upper_end(p, i);
	return NAN;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

typedef double column_fn(const struct hub_points *p, struct point *at);

static double column_min(const struct hub_points *p, struct point *at)
{
	return p->kind == KIND_HISTOGRAM ? least_of(p, at->counts) : at->sample.min;
}

static double column_max(const struct hub_points *p, struct point *at)
{
	return p->kind == KIND_HISTOGRAM ? most_of(p, at->counts) : at->sample.max;
}

static double column_mean(const struct hub_points *p, struct point *at)
{
	if (p->kind == KIND_HISTOGRAM)
		return at->observed > 0 ? at->sum / at->observed : NAN;
	return at->sample.sum / (double)at->sample.count;
}

static double column_last(const struct hub_points *p, struct point *at)
{
	return at->sample.last;
}

static double column_count(const struct hub_points *p, struct point *at)
{
	return p->kind == KIND_HISTOGRAM ? at->observed : (double)at->sample.count;
}

static double column_rate(const struct hub_points *p, struct point *at)
{
	return at->grown_ms > 0 ? at->grown / at->grown_ms * 1000 : NAN;
}

static double quantile(const struct hub_points *p, struct point *at, double q)
{
	if (p->kind == KIND_HISTOGRAM)
		return bucket_quantile(p, at->counts, at->observed, q);
	return hub_sample_quantile(&at->sample, q);
}

static double column_p50(const struct hub_points *p, struct point *at)
{
	return quantile(p, at, 0.5);
}

static double column_p90(const struct hub_points *p, struct point *at)
{
	return quantile(p, at, 0.9);
}

static double column_p99(const struct hub_points *p, struct point *at)
{
	return quantile(p, at, 0.99);
}

#define OF(kind)  (1u << KIND_##kind)
#define OF_ALL    (OF(GAUGE) | OF(COUNTER) | OF(TIMER) | OF(HISTOGRAM))
#define OF_SPREAD (OF(TIMER) | OF(HISTOGRAM))

static const struct {
	const char *name;
	unsigned of;
	column_fn *fn;
} columns[] = {
	{ "min", OF_ALL, column_min },    { "max", OF_ALL, column_max },     { "mean", OF_ALL, column_mean },
	{ "last", OF_ALL, column_last },  { "count", OF_ALL, column_count }, { "rate", OF(COUNTER), column_rate },
	{ "p50", OF_SPREAD, column_p50 }, { "p90", OF_SPREAD, column_p90 },  { "p99", OF_SPREAD, column_p99 },
};

static void write_columns(const struct hub_points *p, struct buf *out)
{
	const char *between = "";

	buf_add_str(out, ",\"t\":[");
	for (size_t i = 0; i < p->span.count; i++) {
		if (!p->points[i].sample.count)
			continue;
		buf_addf(out, "%s%lld", between, (long long)p->points[i].last_ms);
		between = ",";
	}
	for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
		if (!(columns[c].of & 1u << p->kind))
			continue;
		buf_addf(out, "],\"%s\":[", columns[c].name);
		between = "";
		for (size_t i = 0; i < p->span.count; i++) {
			if (!p->points[i].sample.count)
				continue;
			buf_add_str(out, between);
			hub_number_write(columns[c].fn(p, &p->points[i]), out);
			between = ",";
		}
	}
	buf_add_char(out, ']');
}

/* The last totals, and what was observed in the range as if it were one point. */
static void write_histogram(const struct hub_points *p, struct buf *out)
{
	double counts[MOST_BOUNDS] = { 0 }, all = 0, sum = 0;

	buf_add_str(out, ",\"buckets\":[");
	for (size_t i = 0; i < p->bound_count; i++) {
		buf_addf(out, "%s{\"le\":", i ? "," : "");
		if (p->le[i] > DBL_MAX)
			buf_add_str(out, "\"inf\"");
		else
			hub_number_write(p->le[i], out);
		buf_add_str(out, ",\"count\":");
		hub_number_write(p->totals[i], out);
		buf_add_char(out, '}');
	}
	for (size_t i = 0; i < p->span.count; i++) {
		const struct point *at = &p->points[i];

		for (size_t j = 0; j < p->bound_count && at->counts; j++)
			counts[j] += at->counts[j];
		all += at->observed;
		sum += at->sum;
	}
	buf_add_str(out, "],\"stats\":{\"count\":");
	hub_number_write(all, out);
	buf_add_str(out, ",\"min\":");
	hub_number_write(least_of(p, counts), out);
	buf_add_str(out, ",\"max\":");
	hub_number_write(most_of(p, counts), out);
	buf_add_str(out, ",\"mean\":");
	hub_number_write(all > 0 ? sum / all : NAN, out);
	buf_add_str(out, ",\"median\":");
	hub_number_write(bucket_quantile(p, counts, all, 0.5), out);
	buf_add_str(out, ",\"exact\":false}");
}

void hub_points_write(struct hub_points *p, struct buf *out)
{
	buf_addf(out, "{\"name\":%s,\"type\":%s,\"tags\":%s,\"unit\":%s,\"since\":%lld,\"until\":%lld,\"step_ms\":%lld",
		 p->name.data, p->type.len ? p->type.data : "null", p->shown_tags.len ? p->shown_tags.data : "[]",
		 p->unit.len ? p->unit.data : "\"\"", (long long)p->span.since_ms, (long long)p->span.until_ms,
		 (long long)p->span.step_ms);
	write_columns(p, out);
	if (p->kind == KIND_HISTOGRAM) {
		write_histogram(p, out);
	} else {
		buf_add_str(out, ",\"stats\":{");
		hub_sample_write_members(&p->all, out);
		buf_add_char(out, '}');
	}
	if (p->kind == KIND_COUNTER) {
		buf_add_str(out, ",\"rate_stats\":{");
		hub_sample_write_members(&p->rates, out);
		buf_add_char(out, '}');
	}
	buf_addf(out, ",\"outside\":{\"before\":%llu,\"after\":%llu},\"left_out\":%llu}", (unsigned long long)p->before,
		 (unsigned long long)p->after, (unsigned long long)p->left_out);
}
