/* suggest.h -- "did you mean": the candidate that a misspelt word most likely stood for. Pure; any thread. */
#ifndef WEIR_CORE_SUGGEST_H
#define WEIR_CORE_SUGGEST_H

#include "base/buf.h"

/* Steps to get from a to b, where a step inserts, deletes or replaces a byte or swaps two neighbours; case ignored.
 * Words of more than 64 bytes are as far apart as the longer one is long. */
unsigned suggest_distance(struct slice a, struct slice b);
/* The nearest of `candidates` (NULL-terminated, borrowed), or NULL when none is near enough to be worth saying: a
 * third of the word's length, and at least one step. */
const char *suggest_nearest(struct slice word, const char *const *candidates);

#endif
