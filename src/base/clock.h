/* clock.h -- time. Monotonic for durations, wall for disk and wire; both can be set by a test. Any thread. */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stdint.h>

#include "base/buf.h"

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_ms(void); /* since 1970-01-01 UTC */
int64_t clock_wall_us(void);

/* Tests only: replaces both clocks until called with NULL; `fn` gives milliseconds for `wall` or monotonic. */
typedef int64_t clock_fake_fn(int wall);
void clock_set_fake(clock_fake_fn *fn);

/* RFC 3339 in UTC with milliseconds, as 2026-01-02T03:04:05.678Z. */
void clock_format_rfc3339(int64_t wall_ms, struct buf *out);
void clock_format_rfc3339_us(int64_t wall_us, struct buf *out); /* with microseconds */
/* The IMF-fixdate of RFC 9110 section 5.6.7, as Sun, 06 Nov 1994 08:49:37 GMT. */
void clock_format_http(int64_t wall_ms, struct buf *out);
/* Reads RFC 3339 (Z or offset). 0 or WEIR_E_PARSE. */
int clock_parse_rfc3339(struct slice s, int64_t *ret_wall_ms);

#endif
