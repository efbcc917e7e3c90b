/* cover.h -- how fresh the answers to ls-refs are, by prefix. Monotonic time, in memory only: after a restart nothing
 * is fresh. Not thread-safe: it belongs to its repository's lock. Bounded: COVER_MAX prefixes, the oldest go first. */
#ifndef WEIR_GIT_COVER_H
#define WEIR_GIT_COVER_H

#include "proto/lsrefs.h"

#define COVER_MAX 256

struct cover {
	int64_t whole_mono_ms; /* when upstream was asked for everything, or INT64_MIN */
	struct cover_item {
		char *prefix;
		size_t n;
		int64_t mono_ms;
	} *items;
	size_t count, room;
};

#define COVER_EMPTY { .whole_mono_ms = INT64_MIN }

void cover_fini(struct cover *c);
/* Upstream has answered a question for `prefixes` that was put at mono_ms (when it was sent, not when it was
 * answered). */
void cover_note(struct cover *c, struct slices prefixes, int64_t mono_ms);
/* Nothing is fresh any more: after a push, a webhook, an operator's word. */
void cover_forget(struct cover *c);
/* Whether memory may answer: every prefix was covered at most ttl_ms ago. ttl_ms 0: never. */
bool cover_is_fresh(const struct cover *c, struct slices prefixes, int64_t now_mono_ms, int64_t ttl_ms);

#endif
