/* cover.c -- how fresh the answers to ls-refs are, by prefix.
 *
 * WHAT     When upstream was last asked for everything, and for each of the last prefixes.
 * WHY      refs_ttl lets memory answer for a while; but a question for refs/heads/main alone says nothing about tags.
 *          An answer is fresh only where every part of the question lies within a question that was put lately.
 * RULES    1. Time counts from when the question was put: what changes while it is under way may be missing.
 *          2. Forgetting an old prefix only costs a question.
 * SEE      docs/DESIGN.md, "Git, in depth"; git/refs.h for what is covered for ever */
#include "git/cover.h"

void cover_fini(struct cover *c)
{
	cover_forget(c);
	free(c->items);
	*c = (struct cover)COVER_EMPTY;
}

void cover_forget(struct cover *c)
{
	size_t i;

	for (i = 0; i < c->count; i++)
		free(c->items[i].prefix);
	c->count = 0;
	c->whole_mono_ms = INT64_MIN;
}

static void drop(struct cover *c, size_t i)
{
	free(c->items[i].prefix);
	c->items[i] = c->items[--c->count];
}

static void note_prefix(struct cover *c, struct slice prefix, int64_t mono_ms)
{
	size_t i, oldest = 0;

	for (i = 0; i < c->count;) {
		struct slice known = { c->items[i].prefix, c->items[i].n };

		if (slice_eq(known, prefix) && c->items[i].mono_ms >= mono_ms)
			return;    /* an older question whose answer came later */
		if (lsrefs_match((struct slices){ &prefix, 1 }, known) && c->items[i].mono_ms <= mono_ms)
			drop(c, i);
		else
			i++;
	}
	if (c->count >= COVER_MAX) {
		for (i = 1; i < c->count; i++)
			if (c->items[i].mono_ms < c->items[oldest].mono_ms)
				oldest = i;
		drop(c, oldest);
	}
	if (c->count == c->room) {
		c->room = c->room ? 2 * c->room : 8;
		c->items = xrealloc(c->items, c->room * sizeof(*c->items));
	}
	c->items[c->count++] = (struct cover_item){ slice_dup(prefix), prefix.n, mono_ms };
}

void cover_note(struct cover *c, struct slices prefixes, int64_t mono_ms)
{
	struct slices least;
	size_t i;

	lsrefs_minimal(prefixes, &least);
	if (!least.count) {
		if (mono_ms > c->whole_mono_ms)
			c->whole_mono_ms = mono_ms;
		for (i = 0; i < c->count;) {
			if (c->items[i].mono_ms <= mono_ms)
				drop(c, i);
			else
				i++;
		}
	}
	for (i = least.count > COVER_MAX ? least.count - COVER_MAX : 0; i < least.count; i++)
		note_prefix(c, least.items[i], mono_ms);
	free((void *)least.items);
}

static bool is_recent(int64_t when_mono_ms, int64_t now_mono_ms, int64_t ttl_ms)
{
	return when_mono_ms != INT64_MIN && now_mono_ms - when_mono_ms <= ttl_ms;
}

static bool prefix_is_fresh(const struct cover *c, struct slice prefix, int64_t now_mono_ms, int64_t ttl_ms)
{
	size_t i;

	for (i = 0; i < c->count; i++) {
		struct slice known = { c->items[i].prefix, c->items[i].n };

		if (lsrefs_match((struct slices){ &known, 1 }, prefix) &&
		    is_recent(c->items[i].mono_ms, now_mono_ms, ttl_ms))
			return true;
	}
	return false;
}

bool cover_is_fresh(const struct cover *c, struct slices prefixes, int64_t now_mono_ms, int64_t ttl_ms)
{
	struct slices least;
	bool fresh = true;
	size_t i;

	if (ttl_ms <= 0)
		return false;
	if (is_recent(c->whole_mono_ms, now_mono_ms, ttl_ms))
		return true;
	lsrefs_minimal(prefixes, &least);
	if (!least.count || least.count > COVER_MAX)
		fresh = false;
	for (i = 0; fresh && i < least.count; i++)
		fresh = prefix_is_fresh(c, least.items[i], now_mono_ms, ttl_ms);
	free((void *)least.items);
	return fresh;
}
