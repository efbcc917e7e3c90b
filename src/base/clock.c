/* clock.c -- reading and writing time. */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

#include "base/err.h"
#include "base/str.h"

static _Atomic(clock_fake_fn *) fake;

static int64_t read_us(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts); /* these two ids cannot fail on Linux */
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
	clock_fake_fn *fn = atomic_load_explicit(&fake, memory_order_acquire);

	return fn ? fn(0) * 1000 : read_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
	return clock_mono_us() / 1000;
}

int64_t clock_wall_us(void)
{
	clock_fake_fn *fn = atomic_load_explicit(&fake, memory_order_acquire);

	return fn ? fn(1) * 1000 : read_us(CLOCK_REALTIME);
}

int64_t clock_wall_ms(void)
{
	return clock_wall_us() / 1000;
}

void clock_set_fake(clock_fake_fn *fn)
{
	atomic_store_explicit(&fake, fn, memory_order_release);
}

static int64_t split(int64_t wall_ms, struct tm *ret_tm)
{
	int64_t ms = ((wall_ms % 1000) + 1000) % 1000;
	time_t seconds = (time_t)((wall_ms - ms) / 1000);

	if (!gmtime_r(&seconds, ret_tm))
		*ret_tm = (struct tm){ .tm_year = 70, .tm_mday = 1 };
	return ms;
}

void clock_format_rfc3339(int64_t wall_ms, struct buf *out)
{
	struct tm tm;
	int64_t ms = split(wall_ms, &tm);

	buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec, (int)ms);
}

void clock_format_rfc3339_us(int64_t wall_us, struct buf *out)
{
	int64_t us = ((wall_us % 1000) + 1000) % 1000;

	clock_format_rfc3339((wall_us - us) / 1000, out);
	buf_truncate(out, out->len - 1);
	buf_addf(out, "%03dZ", (int)us);
}

void clock_format_http(int64_t wall_ms, struct buf *out)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;

	(void)split(wall_ms, &tm);
	buf_addf(out, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday,
		 months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Reads exactly `digits` digits at *s and moves on. */
static int take_number(struct slice *s, size_t digits, int *ret)
{
	int value = 0;

	if (s->n < digits)
		return WEIR_E_PARSE;
	for (size_t i = 0; i < digits; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return WEIR_E_PARSE;
		value = value * 10 + (s->p[i] - '0');
	}
	*s = slice_from(*s, digits);
	*ret = value;
	return 0;
}

static int take_char(struct slice *s, const char *any)
{
	if (!s->n || !s->p[0] || !strchr(any, s->p[0]))
		return WEIR_E_PARSE;
	*s = slice_from(*s, 1);
	return 0;
}

/* ".123" -> 123; digits past milliseconds are read and dropped. */
static int take_fraction(struct slice *s, int *ret_ms)
{
	int ms = 0, seen = 0;

	if (!s->n || s->p[0] != '.')
		return 0;
	*s = slice_from(*s, 1);
	for (; s->n && s->p[0] >= '0' && s->p[0] <= '9'; *s = slice_from(*s, 1), seen++)
		if (seen < 3)
			ms = ms * 10 + (s->p[0] - '0');
	if (!seen)
		return WEIR_E_PARSE;
	for (; seen < 3; seen++)
		ms *= 10;
	*ret_ms = ms;
	return 0;
}

static int take_offset(struct slice *s, int *ret_minutes)
{
	int sign, h, m;

	if (s->n == 1 && (s->p[0] == 'Z' || s->p[0] == 'z')) {
		*ret_minutes = 0;
		return 0;
	}
	sign = s->n && s->p[0] == '-' ? -1 : 1;
	if (take_char(s, "+-") || take_number(s, 2, &h) || take_char(s, ":") || take_number(s, 2, &m) || s->n ||
	    h > 23 || m > 59)
		return WEIR_E_PARSE;
	*ret_minutes = sign * (h * 60 + m);
	return 0;
}

int clock_parse_rfc3339(struct slice s, int64_t *ret_wall_ms)
{
	struct tm tm = { 0 };
	int ms = 0, offset;

	if (take_number(&s, 4, &tm.tm_year) || take_char(&s, "-") || take_number(&s, 2, &tm.tm_mon) ||
	    take_char(&s, "-") || take_number(&s, 2, &tm.tm_mday) || take_char(&s, "Tt ") ||
	    take_number(&s, 2, &tm.tm_hour) || take_char(&s, ":") || take_number(&s, 2, &tm.tm_min) ||
	    take_char(&s, ":") || take_number(&s, 2, &tm.tm_sec) || take_fraction(&s, &ms) || take_offset(&s, &offset))
		return WEIR_E_PARSE;
	if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return WEIR_E_PARSE;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_wall_ms = ((int64_t)timegm(&tm) - (int64_t)offset * 60) * 1000 + ms;
	return 0;
}
