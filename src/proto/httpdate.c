/* httpdate.c -- dates in header fields.
 *
 * WHAT     Three fixed forms, each written as a pattern that one small matcher reads.
 * WHY      strptime() forgives too much, speaks the locale's language and knows no time zone; two caches that read a
 *          date differently keep different things.
 * SEE      RFC 9110 section 5.6.7; the count of days is that of the proleptic Gregorian calendar */
#include "proto/httpdate.h"

#include "base/err.h"
#include "base/str.h"

#define DAY_S 86400
#define DAYS_TO_1970 719468 /* from 0000-03-01, where leap days end the year */

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char days[] = "SunMonTueWedThuFriSat";
static const char *const long_days[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
					 "Thursday", "Friday", "Saturday" };

struct fields {
	int64_t year, month, day, hour, minute, second; /* month from 1 */
};

/* Index of the three letters at s among `names`, from 0; -1. */
static int find_name(struct slice s, const char *names)
{
	for (int i = 0; s.n >= 3 && names[3 * i]; i++)
		if (memcmp(s.p, names + 3 * i, 3) == 0)
			return i;
	return -1;
}

static bool take(struct slice *s, size_t n)
{
	*s = slice_from(*s, n);
	return true;
}

static bool take_number(struct slice *s, size_t digits, int64_t *ret)
{
	int64_t v = 0;

	if (s->n < digits)
		return false;
	for (size_t i = 0; i < digits; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return false;
		v = v * 10 + (s->p[i] - '0');
	}
	*ret = v;
	return take(s, digits);
}

/* One element of a pattern: D day name, M month, d h m s two digits, e day of one or two digits padded with a blank,
 * Y year of four digits, y of two; all else stands for itself. */
static bool take_element(struct slice *s, char what, struct fields *f)
{
	int i;

	switch (what) {
	case 'D': return find_name(*s, days) >= 0 && take(s, 3);
	case 'M':
		i = find_name(*s, months);
		f->month = i + 1;
		return i >= 0 && take(s, 3);
	case 'd': return take_number(s, 2, &f->day);
	case 'e': return slice_starts(*s, " ") && take(s, 1) ? take_number(s, 1, &f->day) : take_number(s, 2, &f->day);
	case 'h': return take_number(s, 2, &f->hour);
	case 'm': return take_number(s, 2, &f->minute);
	case 's': return take_number(s, 2, &f->second);
	case 'Y': return take_number(s, 4, &f->year);
	case 'y': return take_number(s, 2, &f->year);
	default: return s->n && s->p[0] == what && take(s, 1);
	}
}

static bool matches(struct slice s, const char *pattern, struct fields *f)
{
	for (; *pattern; pattern++)
		if (!take_element(&s, *pattern, f))
			return false;
	return !s.n;
}

/* Taken off first, as its M is an element of patterns. */
static bool take_gmt(struct slice *s)
{
	if (!slice_ends(*s, " GMT"))
		return false;
	s->n -= strlen(" GMT");
	return true;
}

static bool take_long_day(struct slice *s)
{
	for (size_t i = 0; i < 7; i++)
		if (slice_starts(*s, long_days[i]))
			return take(s, strlen(long_days[i]));
	return false;
}

static bool is_leap(int64_t y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static bool is_possible(const struct fields *f)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int last = lengths[f->month - 1] + (f->month == 2 && is_leap(f->year));

	return f->day >= 1 && f->day <= last && f->hour <= 23 && f->minute <= 59 && f->second <= 60;
}

static int64_t to_seconds(const struct fields *f)
{
	int64_t y = f->month <= 2 ? f->year - 1 : f->year;
	int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (f->month + (f->month > 2 ? -3 : 9)) + 2) / 5 + f->day - 1;
	int64_t day = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970;

	return day * DAY_S + f->hour * 3600 + f->minute * 60 + f->second;
}

static void from_seconds(int64_t unix_s, struct fields *ret, int *ret_weekday)
{
	int64_t day = (unix_s - HTTPDATE_FIRST_S) / DAY_S + HTTPDATE_FIRST_S / DAY_S, s = unix_s - day * DAY_S;
	int64_t z = day + DAYS_TO_1970, era = (z >= 0 ? z : z - 146096) / 146097, of_era = z - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100), m = (5 * of_year + 2) / 153;

	ret->day = of_year - (153 * m + 2) / 5 + 1;
	ret->month = m < 10 ? m + 3 : m - 9;
	ret->year = year + era * 400 + (ret->month <= 2);
	ret->hour = s / 3600;
	ret->minute = s / 60 % 60;
	ret->second = s % 60;
	*ret_weekday = (int)(((day + 4) % 7 + 7) % 7); /* 1970 began on a Thursday */
}

/* The century: the one of now, or that before when the date would lie more than 50 years ahead. And that after, when
 * it would lie more than 50 years back: "00" said in 1999 is soon. */
static void add_century(struct fields *f, int64_t now_s)
{
	struct fields now, limit;
	int ignored;

	from_seconds(now_s, &now, &ignored);
	f->year += now.year / 100 * 100;
	limit = now;
	limit.year += 50;
	if (to_seconds(f) > to_seconds(&limit))
		f->year -= 100;
	else if (f->year < now.year - 50)
		f->year += 100;
}

int httpdate_parse(struct slice s, int64_t now_s, int64_t *ret_unix_s)
{
	struct fields f = { 0 };
	struct slice rest = s;

	if (take_gmt(&rest)) {
		if (!matches(rest, "D, d M Y h:m:s", &f)) {
			if (!take_long_day(&rest) || !matches(rest, ", d-M-y h:m:s", &f))
				return WEIR_E_PARSE;
			add_century(&f, now_s);
		}
	} else if (!matches(s, "D M e h:m:s Y", &f)) {
		return WEIR_E_PARSE;
	}
	if (!is_possible(&f))
		return WEIR_E_PARSE;
	*ret_unix_s = to_seconds(&f);
	return 0;
}

int64_t httpdate_retry_after_ms(struct slice value, int64_t now_ms, int64_t most_ms)
{
	uint64_t seconds;
	int64_t at, ms = 0;

	if (str_parse_u64(value, &seconds) == 0)
		return seconds > (uint64_t)most_ms / 1000 ? most_ms : (int64_t)seconds * 1000;
	if (httpdate_parse(value, now_ms / 1000, &at) == 0)
		ms = at * 1000 - now_ms;
	return ms < 0 ? 0 : ms > most_ms ? most_ms : ms;
}

void httpdate_format(int64_t unix_s, struct buf *out)
{
	struct fields f;
	int weekday;

	if (unix_s < HTTPDATE_FIRST_S)
		unix_s = HTTPDATE_FIRST_S;
	if (unix_s > HTTPDATE_LAST_S)
		unix_s = HTTPDATE_LAST_S;
	from_seconds(unix_s, &f, &weekday);
	buf_addf(out, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * weekday, (int)f.day,
		 months + 3 * (f.month - 1), (int)f.year, (int)f.hour, (int)f.minute, (int)f.second);
}
