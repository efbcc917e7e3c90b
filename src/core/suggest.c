/* suggest.c -- "did you mean": the candidate that a misspelt word most likely stood for.
 *
 * WHAT     Edit distance with swapped neighbours (optimal string alignment), in three rows of a small table.
 * WHY      Most misspelt keys, commands and options are one slip away from a right one, and a message that names it
 *          saves a look into the manual. */
#include "core/suggest.h"

#include <ctype.h>

#define MOST 64 /* bytes of a word; our longest key has 30 */

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static int low(struct slice s, size_t i)
{
	return tolower((unsigned char)s.p[i]);
}

unsigned suggest_distance(struct slice a, struct slice b)
{
	unsigned rows[3][MOST + 1];
	unsigned *before = rows[0], *last = rows[1], *now = rows[2], *spare;

	if (a.n > MOST || b.n > MOST)
		return (unsigned)(a.n > b.n ? a.n : b.n);
	for (size_t j = 0; j <= b.n; j++)
		last[j] = before[j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			bool same = low(a, i - 1) == low(b, j - 1);

			now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + !same);
			if (i > 1 && j > 1 && low(a, i - 1) == low(b, j - 2) && low(a, i - 2) == low(b, j - 1))
				now[j] = least(now[j], before[j - 2] + 1);
		}
		spare = before;
		before = last;
		last = now;
		now = spare;
	}
	return last[b.n];
}

const char *suggest_nearest(struct slice word, const char *const *candidates)
{
	unsigned best = (unsigned)(word.n / 3 > 1 ? word.n / 3 : 1) + 1;
	const char *found = NULL;

	for (; word.n && *candidates; candidates++) {
		unsigned d = suggest_distance(word, slice_str(*candidates));

		if (d < best) {
			best = d;
			found = *candidates;
		}
	}
	return found;
}
