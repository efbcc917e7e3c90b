/* text.c -- see text.h.
 *
 * WHY      A library in somebody else's program may neither abort on memory nor touch its locale; so it has a builder
 *          of its own and not base/buf.c, which does the first.
 * LIMITS   Each text says `most`. */
#include "client/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weirc_text_init(struct weirc_text *t, char *storage, size_t room, size_t most)
{
	*t = (struct weirc_text){ .data = storage, .room = room, .most = most, .storage = storage };
}

void weirc_text_fini(struct weirc_text *t)
{
	if (t->data != t->storage)
		free(t->data);
	t->data = NULL;
	t->len = t->room = 0;
}

static bool grow(struct weirc_text *t, size_t n)
{
	size_t room = t->room * 2;
	char *data;

	if (t->failed)
		return false;
	if (n > t->most - t->len) {
		t->failed = -EMSGSIZE;
		return false;
	}
	if (room < t->len + n)
		room = t->len + n;
	if (room > t->most)
		room = t->most;
	data = malloc(room);
	if (!data) {
		t->failed = -ENOMEM;
		return false;
	}
	memcpy(data, t->data, t->len);
	if (t->data != t->storage)
		free(t->data);
	t->data = data;
	t->room = room;
	return true;
}

static inline bool reserve(struct weirc_text *t, size_t n)
{
	return (n <= t->room - t->len && !t->failed) || grow(t, n);
}

void weirc_text_add(struct weirc_text *t, const void *p, size_t n)
{
	if (n == 0 || !reserve(t, n))
		return;
	memcpy(t->data + t->len, p, n);
	t->len += n;
}

void weirc_text_str(struct weirc_text *t, const char *s)
{
	weirc_text_add(t, s, strlen(s));
}

void weirc_text_char(struct weirc_text *t, char c)
{
	if (reserve(t, 1))
		t->data[t->len++] = c;
}

void weirc_text_int(struct weirc_text *t, long long v)
{
	unsigned long long u = v < 0 ? 0 - (unsigned long long)v : (unsigned long long)v;
	char digits[24];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + u % 10);
		u /= 10;
	} while (u);
	if (v < 0)
		digits[--at] = '-';
	weirc_text_add(t, digits + at, sizeof(digits) - at);
}

void weirc_text_hex(struct weirc_text *t, uint64_t v, unsigned digits)
{
	char out[16];
	size_t at = sizeof(out);

	do {
		out[--at] = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v || sizeof(out) - at < digits);
	weirc_text_add(t, out + at, sizeof(out) - at);
}

#define DECIMALS 9

/* Most numbers that programs tell have few decimals: n / 10^9 with a whole n. Both are exact doubles, and a division is
 * rounded as reading the decimals is, so that what is written reads back equal. It takes a tenth of snprintf()'s time,
 * and no locale. */
static bool add_decimal(struct weirc_text *t, double v)
{
	unsigned long long n, part;
	char digits[DECIMALS + 1];
	size_t many = DECIMALS;

	if (!(v > -9e6 && v < 9e6) || v == 0)
		return false; /* n would be above 2^53; a zero may have a sign */
	n = (unsigned long long)((v < 0 ? -v : v) * 1e9 + 0.5);
	if ((double)n / 1e9 != (v < 0 ? -v : v))
		return false;
	if (v < 0)
		weirc_text_char(t, '-');
	weirc_text_int(t, (long long)(n / 1000000000));
	part = n % 1000000000;
	digits[0] = '.';
	for (size_t i = DECIMALS; i > 0; i--, part /= 10)
		digits[i] = (char)('0' + part % 10);
	while (many && digits[many] == '0')
		many--;
	weirc_text_add(t, digits, many ? many + 1 : 0);
	return true;
}

void weirc_text_number(struct weirc_text *t, double v)
{
	char digits[40];
	int saved = errno, n;

	if (!isfinite(v)) {
		weirc_text_str(t, "null");
		return;
	}
	if (v > -1e15 && v < 1e15 && v == (double)(long long)v && !(v == 0 && signbit(v))) {
		weirc_text_int(t, (long long)v);
		return;
	}
	if (add_decimal(t, v))
		return;
	n = snprintf(digits, sizeof(digits), "%.15g", v);
	if (strtod(digits, NULL) != v)
		n = snprintf(digits, sizeof(digits), "%.17g", v);
	errno = saved; /* the program's; strtod() says ERANGE of the smallest */
	/* the locale's decimal point, of one byte or more, becomes JSON's */
	for (int i = 0, point = 0; i < n; i++) {
		if (strchr("0123456789+-e", digits[i]))
			weirc_text_char(t, digits[i]);
		else if (!point++)
			weirc_text_char(t, '.');
	}
}

/* --- strings ----------------------------------------------------------------------------------------------------- */

size_t weirc_utf8_bytes(const unsigned char *p, size_t n)
{
	size_t bytes;

	if (n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	bytes = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (bytes == 0 || n < bytes)
		return 0;
	for (size_t i = 1; i < bytes; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return bytes;
}

static void add_escaped(struct weirc_text *t, unsigned char c)
{
	char out[6] = { '\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15] };
	const char *known = "\"\"\\\\\nn\rr\tt"; /* the character, and what stands for it */

	for (const char *k = known; *k; k += 2) {
		if ((unsigned char)*k != c)
			continue;
		out[1] = k[1];
		weirc_text_add(t, out, 2);
		return;
	}
	weirc_text_add(t, out, sizeof(out));
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void weirc_text_json_n(struct weirc_text *t, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;

	weirc_text_char(t, '"');
	for (size_t at = 0, run; at < n && !t->failed; at += run) {
		size_t bytes;

		for (run = 0; at + run < n && is_plain(p[at + run]); run++)
			;
		if (run) {
			weirc_text_add(t, p + at, run);
			continue;
		}
		bytes = weirc_utf8_bytes(p + at, n - at);
		run = bytes ? bytes : 1;
		if (bytes == 0)
			weirc_text_str(t, "\xef\xbf\xbd");
		else if (bytes == 1)
			add_escaped(t, p[at]);
		else
			weirc_text_add(t, p + at, bytes);
	}
	weirc_text_char(t, '"');
}

void weirc_text_json(struct weirc_text *t, const char *s)
{
	if (s)
		weirc_text_json_n(t, s, strlen(s));
	else
		weirc_text_str(t, "null");
}
