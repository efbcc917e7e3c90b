/* hub_series.c -- which series a session's metrics are.
 *
 * WHAT     A series is a name, a type, and tags in any order. One walk over all metrics gives each its count, when it
 *          began and ended, and minimum, maximum, mean and median of its values as they were sent: of a counter or
 *          histogram that are totals and means.
 * WHY      The bytes of name, type and tags as they are kept lead to the series by one look into a map; only bytes that
 *          are new there are taken apart.
 * LIMITS   MOST_SERIES, of HUB_MOST_SERIES_BYTES each, and MOST_WAYS of writing them (tags in another order); samples
 *          of further ones are counted as left out. Memory: 36 MB for those, and what hub_sample.h says. */
#include "hub/hub_series.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/obj.h"
#include "core/json.h"
#include "hub/hub_sample.h"
#include "hub/hub_scan.h"

#define MOST_SERIES 1000
#define MOST_WAYS   8000
#define MOST_UNIT   256

struct series {
	struct buf name, type, tags, unit; /* as JSON; tags sorted, unit may be empty */
	int64_t first_ms, last_ms;
	double last;
	struct hub_sample sample;
};

struct hub_series_set {
	struct series *all[MOST_SERIES];
	size_t count;
	struct map *ways; /* bytes as they are kept */
	struct map *names; /* name, type and sorted tags */
	struct hub_sample_pool pool;
	uint64_t left_out; /* samples */
};

struct hub_series_set *hub_series_new(void)
{
	struct hub_series_set *set = xcalloc(1, sizeof(*set));

	set->ways = map_new();
	set->names = map_new();
	return set;
}

static void series_free(struct series *s)
{
	buf_fini(&s->name);
	buf_fini(&s->type);
	buf_fini(&s->tags);
	buf_fini(&s->unit);
	hub_sample_fini(&s->sample);
	free(s);
}

void hub_series_free(struct hub_series_set *set)
{
	if (!set)
		return;
	map_free(set->ways);
	map_free(set->names);
	for (size_t i = 0; i < set->count; i++)
		series_free(set->all[i]);
	free(set);
}

/* --- tags ------------------------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

bool hub_tags_sort(struct slice kept, struct buf *out)
{
	struct hub_scan s = hub_scan_of(kept.p ? kept : SLICE_LIT("[]"));
	struct slice *tags;
	size_t n = 0;

	if (kept.n > HUB_MOST_SERIES_BYTES)
		return false;
	tags = xcalloc(kept.n / 2 + 2, sizeof(*tags)); /* a tag and its comma have two bytes at least */
	while (hub_scan_element(&s, &tags[n]))
		n++;
	qsort(tags, n, sizeof(*tags), by_bytes);
	buf_add_char(out, '[');
	for (size_t i = 0; i < n; i++) {
		buf_add_str(out, i ? "," : "");
		buf_add_slice(out, tags[i]);
	}
	buf_add_char(out, ']');
	free(tags);
	return !s.broken;
}

/* --- metrics ---------------------------------------------------------------------------------------------------- */

static struct series *make(struct hub_series_set *set, struct slice name, struct slice type, struct buf *take_tags)
{
	struct series *s = xcalloc(1, sizeof(*s));

	*s = (struct series){ .name = BUF_EMPTY, .type = BUF_EMPTY, .tags = *take_tags, .unit = BUF_EMPTY };
	*take_tags = (struct buf)BUF_EMPTY;
	buf_add_slice(&s->name, name);
	buf_add_slice(&s->type, type);
	set->all[set->count++] = s;
	return s;
}

/* NULL: there are too many, or (with *ret_ok false) it is damaged. */
static struct series *find_or_make(struct hub_series_set *set, struct slice name, struct slice type, struct slice tags,
				   bool *ret_ok)
{
	struct buf key = BUF_EMPTY, sorted = BUF_EMPTY;
	struct series *s;

	*ret_ok = hub_tags_sort(tags, &sorted);
	buf_addf(&key, "%.*s %.*s %s", (int)name.n, name.p, (int)type.n, type.p, sorted.data);
	s = *ret_ok ? map_get(set->names, buf_slice(&key)) : NULL;
	if (*ret_ok && !s && set->count < MOST_SERIES) {
		s = make(set, name, type, &sorted);
		(void)map_put(set->names, buf_slice(&key), s); /* replaces nothing */
	}
	buf_fini(&key);
	buf_fini(&sorted);
	return s;
}

static struct series *series_of(struct hub_series_set *set, struct slice name, struct slice type, struct slice tags,
				bool *ret_ok)
{
	struct buf way = BUF_EMPTY;
	struct series *s;

	*ret_ok = true;
	if (name.n + type.n + tags.n > HUB_MOST_SERIES_BYTES)
		return NULL;
	buf_addf(&way, "%.*s %.*s %.*s", (int)name.n, name.p, (int)type.n, type.p, (int)tags.n, tags.p ? tags.p : "");
	s = map_get(set->ways, buf_slice(&way));
	if (!s) {
		s = find_or_make(set, name, type, tags, ret_ok);
		if (s && map_count(set->ways) < MOST_WAYS)
			(void)map_put(set->ways, buf_slice(&way), s); /* as above */
	}
	buf_fini(&way);
	return s;
}

bool hub_series_take(struct hub_series_set *set, struct slice body)
{
	struct hub_scan_want want[] = { { .name = "timestamp" }, { .name = "name" }, { .name = "type" },
					{ .name = "value" },     { .name = "unit" }, { .name = "tags" },
					{ .name = NULL } };
	struct series *s;
	double value;
	int64_t ms;
	bool ok;

	if (!hub_scan_members(body, want) || !hub_scan_time(want[0].value, &ms) || !want[1].value.p ||
	    !want[2].value.p || !hub_scan_number(want[3].value, &value))
		return false;
	s = series_of(set, want[1].value, want[2].value, want[5].value, &ok);
	if (!s) {
		set->left_out += ok;
		return ok;
	}
	if (!s->sample.count)
		s->first_ms = s->last_ms = ms;
	if (ms >= s->last_ms)
		s->last = value;
	s->first_ms = ms < s->first_ms ? ms : s->first_ms;
	s->last_ms = ms > s->last_ms ? ms : s->last_ms;
	hub_sample_add(&set->pool, &s->sample, value);
	if (want[4].value.p && want[4].value.n <= MOST_UNIT && !slice_eq(want[4].value, buf_slice(&s->unit))) {
		buf_reset(&s->unit);
		buf_add_slice(&s->unit, want[4].value);
	}
	return true;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct series *x = *(struct series *const *)a, *y = *(struct series *const *)b;
	int r = slice_cmp(buf_slice(&x->name), buf_slice(&y->name));

	r = r ? r : slice_cmp(buf_slice(&x->type), buf_slice(&y->type));
	return r ? r : slice_cmp(buf_slice(&x->tags), buf_slice(&y->tags));
}

void hub_series_write(struct hub_series_set *set, struct buf *out)
{
	qsort(set->all, set->count, sizeof(*set->all), by_name);
	buf_add_str(out, "{\"items\":[");
	for (size_t i = 0; i < set->count; i++) {
		struct series *s = set->all[i];

		buf_addf(
			out,
			"%s{\"name\":%s,\"type\":%s,\"tags\":%s,\"unit\":%s,\"first_at\":%lld,\"last_at\":%lld,\"last\":",
			i ? "," : "", s->name.data, s->type.data, s->tags.data, s->unit.len ? s->unit.data : "\"\"",
			(long long)s->first_ms, (long long)s->last_ms);
		hub_number_write(s->last, out);
		buf_add_char(out, ',');
		hub_sample_write_members(&s->sample, out);
		buf_add_char(out, '}');
	}
	buf_addf(out, "],\"left_out\":%llu,\"next\":null}", (unsigned long long)set->left_out);
}
