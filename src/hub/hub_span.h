/* hub_span.h -- a time range in equal steps, for what is drawn. Pure; any thread. */
#ifndef WEIR_HUB_HUB_SPAN_H
#define WEIR_HUB_HUB_SPAN_H

#include <stddef.h>
#include <stdint.h>

struct hub_span {
	int64_t since_ms, until_ms; /* until excluded */
	int64_t step_ms; /* at least 1; the last step may reach behind until */
	size_t count; /* steps */
};

/* At most `most` steps (from 1 on). An empty range becomes one of a millisecond. */
static inline struct hub_span hub_span_of(int64_t since_ms, int64_t until_ms, size_t most)
{
	struct hub_span s = { .since_ms = since_ms, .until_ms = until_ms > since_ms ? until_ms : since_ms + 1 };
	int64_t length = s.until_ms - since_ms;

	s.step_ms = (length - 1) / (int64_t)most + 1;
	s.count = (size_t)((length - 1) / s.step_ms + 1);
	return s;
}

/* The step that a time is in; -1: before; span.count: behind. */
static inline int64_t hub_span_at(const struct hub_span *s, int64_t ms)
{
	if (ms < s->since_ms)
		return -1;
	return ms < s->until_ms ? (ms - s->since_ms) / s->step_ms : (int64_t)s->count;
}

#endif
