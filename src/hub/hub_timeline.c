/* hub_timeline.c -- a session's events and updates, counted by time.
 *
 * WHAT     For each step of a time range: how many events of each level there were, how many updates of the state; and
 *          from when to when the program hung, by what the daemon said of it.
 * RULES    1. What is outside the range is counted as such, so that nothing looks as if it were not there.
 *          2. A hang ends with the recovery that follows it; without one it has no end.
 * LIMITS   MOST_LEVELS names of levels, of MOST_LEVEL_BYTES; what is beyond counts as "other". MOST_HANGS hangs. */
#include "hub/hub_timeline.h"

#include <stdlib.h>

#include "base/obj.h"
#include "hub/hub_scan.h"

#define MOST_LEVELS      16
#define MOST_LEVEL_BYTES 64
#define MOST_HANGS       1000
#define OTHER            "\"other\""
#define HANG_BEGINS      "\"application_appears_hung\""
#define HANG_ENDS        "\"application_recovered\""

struct level {
	char name[MOST_LEVEL_BYTES + 1]; /* as JSON */
	uint32_t *counts;
};

struct hang {
	int64_t from_ms, until_ms;
	bool has_end;
};

struct hub_timeline {
	struct hub_span span;
	struct level levels[MOST_LEVELS + 1]; /* one more, for OTHER */
	size_t level_count;
	uint32_t *updates;
	uint64_t before, after; /* events */
	struct hang hangs[MOST_HANGS];
	size_t hang_count;
};

struct hub_timeline *hub_timeline_new(struct hub_span span)
{
	struct hub_timeline *t = xcalloc(1, sizeof(*t));

	t->span = span;
	t->updates = xcalloc(span.count, sizeof(*t->updates));
	return t;
}

void hub_timeline_free(struct hub_timeline *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < ARRAY_LEN(t->levels); i++)
		free(t->levels[i].counts);
	free(t->updates);
	free(t);
}

/* --- items ------------------------------------------------------------------------------------------------------ */

static struct level *find_level(struct hub_timeline *t, struct slice name)
{
	for (size_t i = 0; i < t->level_count; i++)
		if (slice_eq_str(name, t->levels[i].name))
			return &t->levels[i];
	return NULL;
}

static struct level *level_of(struct hub_timeline *t, struct slice name)
{
	struct level *l;

	if (!name.p || name.n > MOST_LEVEL_BYTES)
		name = SLICE_LIT(OTHER);
	l = find_level(t, name);
	if (!l && t->level_count >= MOST_LEVELS) {
		name = SLICE_LIT(OTHER);
		l = find_level(t, name);
	}
	if (!l) {
		l = &t->levels[t->level_count++];
		(void)snprintf(l->name, sizeof(l->name), "%.*s", (int)name.n, name.p);
		l->counts = xcalloc(t->span.count, sizeof(*l->counts));
	}
	return l;
}

static void mark_hang(struct hub_timeline *t, int64_t ms, bool begins)
{
	struct hang *last = t->hang_count ? &t->hangs[t->hang_count - 1] : NULL;
	bool hung = last && !last->has_end;

	if (begins && !hung && t->hang_count < MOST_HANGS) /* told twice: the first time counts */
		t->hangs[t->hang_count++] = (struct hang){ .from_ms = ms };
	if (!begins && hung) {
		last->until_ms = ms;
		last->has_end = true;
	}
}

bool hub_timeline_event(struct hub_timeline *t, struct slice body)
{
	struct hub_scan_want want[] = {
		{ .name = "timestamp" }, { .name = "name" }, { .name = "category" }, { .name = NULL }
	};
	int64_t ms, at;

	if (!hub_scan_members(body, want) || !hub_scan_time(want[0].value, &ms))
		return false;
	if (slice_eq_str(want[1].value, HANG_BEGINS))
		mark_hang(t, ms, true);
	else if (slice_eq_str(want[1].value, HANG_ENDS))
		mark_hang(t, ms, false);
	at = hub_span_at(&t->span, ms);
	if (at < 0)
		t->before++;
	else if ((size_t)at == t->span.count)
		t->after++;
	else
		level_of(t, want[2].value)->counts[at]++;
	return true;
}

bool hub_timeline_update(struct hub_timeline *t, struct slice body)
{
	struct hub_scan_want want[] = { { .name = "timestamp" }, { .name = NULL } };
	int64_t ms, at;

	if (!hub_scan_members(body, want) || !hub_scan_time(want[0].value, &ms))
		return false;
	at = hub_span_at(&t->span, ms);
	if (at >= 0 && (size_t)at < t->span.count)
		t->updates[at]++;
	return true;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static void write_counts(const uint32_t *counts, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%c%u", i ? ',' : '[', counts[i]);
	buf_add_char(out, ']');
}

static void write_hangs(const struct hub_timeline *t, struct buf *out)
{
	const char *between = "";

	for (size_t i = 0; i < t->hang_count; i++) {
		const struct hang *h = &t->hangs[i];

		if (h->from_ms >= t->span.until_ms || (h->has_end && h->until_ms < t->span.since_ms))
			continue;
		buf_addf(out, "%s{\"from\":%lld,\"until\":", between, (long long)h->from_ms);
		if (h->has_end)
			buf_addf(out, "%lld}", (long long)h->until_ms);
		else
			buf_add_str(out, "null}");
		between = ",";
	}
}

void hub_timeline_write(const struct hub_timeline *t, struct buf *out)
{
	buf_addf(out, "{\"since\":%lld,\"until\":%lld,\"step_ms\":%lld,\"levels\":{", (long long)t->span.since_ms,
		 (long long)t->span.until_ms, (long long)t->span.step_ms);
	for (size_t i = 0; i < t->level_count; i++) {
		buf_addf(out, "%s%s:", i ? "," : "", t->levels[i].name);
		write_counts(t->levels[i].counts, t->span.count, out);
	}
	buf_add_str(out, "},\"updates\":");
	write_counts(t->updates, t->span.count, out);
	buf_add_str(out, ",\"hangs\":[");
	write_hangs(t, out);
	buf_addf(out, "],\"outside\":{\"before\":%llu,\"after\":%llu}}", (unsigned long long)t->before,
		 (unsigned long long)t->after);
}
