/* str.c -- numbers with units, hexadecimal, Base64, escaping. */
#include "base/str.h"

#include "base/err.h"

int str_parse_u64(struct slice s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!s.n)
		return WEIR_E_PARSE;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return WEIR_E_PARSE;
	}
	*ret = v;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
};

static const struct unit size_units[] = {
	{ "", 1 },
	{ "KiB", 1ULL << 10 },
	{ "MiB", 1ULL << 20 },
	{ "GiB", 1ULL << 30 },
	{ "TiB", 1ULL << 40 },
};

/* Digits followed by one of the units. */
static int parse_with_unit(struct slice s, const struct unit *units, size_t count, uint64_t *ret)
{
	size_t digits = 0;
	uint64_t v;

	while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	if (str_parse_u64((struct slice){ s.p, digits }, &v))
		return WEIR_E_PARSE;
	for (size_t i = 0; i < count; i++) {
		if (!slice_eq_str(slice_from(s, digits), units[i].name))
			continue;
		if (__builtin_mul_overflow(v, units[i].factor, &v) || v > INT64_MAX)
			return WEIR_E_PARSE;
		*ret = v;
		return 0;
	}
	return WEIR_E_PARSE;
}

int str_parse_duration_ms(struct slice s, int64_t *ret_ms)
{
	uint64_t v;

	if (slice_eq_str(s, "0")) {
		*ret_ms = 0;
		return 0;
	}
	if (parse_with_unit(s, duration_units, sizeof(duration_units) / sizeof(duration_units[0]), &v))
		return WEIR_E_PARSE;
	*ret_ms = (int64_t)v;
	return 0;
}

int str_parse_bytes(struct slice s, uint64_t *ret_bytes)
{
	return parse_with_unit(s, size_units, sizeof(size_units) / sizeof(size_units[0]), ret_bytes);
}

void str_format_duration(int64_t ms, struct buf *out)
{
	if (ms < 0) {
		buf_add_char(out, '-');
		ms = -ms;
	}
	if (ms < 1000)
		buf_addf(out, "%lldms", (long long)ms);
	else if (ms < 60000 && ms % 1000)
		buf_addf(out, "%lld.%llds", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
	else if (ms < 120000)
		buf_addf(out, "%llds", (long long)(ms / 1000));
	else if (ms < 2 * 3600000LL)
		buf_addf(out, "%lldm", (long long)(ms / 60000));
	else if (ms < 2 * 86400000LL)
		buf_addf(out, "%lldh", (long long)(ms / 3600000));
	else
		buf_addf(out, "%lldd", (long long)(ms / 86400000));
}

void str_format_bytes(uint64_t bytes, struct buf *out)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)bytes;
	size_t i = 0;

	while (v >= 1024 && i + 1 < sizeof(names) / sizeof(names[0])) {
		v /= 1024;
		i++;
	}
	buf_addf(out, i ? "%.1f %s" : "%.0f %s", v, names[i]);
}

void str_hex(const void *p, size_t n, struct buf *out)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *in = p;

	for (size_t i = 0; i < n; i++) {
		buf_add_char(out, digits[in[i] >> 4]);
		buf_add_char(out, digits[in[i] & 15]);
	}
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int str_unhex(struct slice hex, unsigned char *out, size_t out_bytes)
{
	if (hex.n != out_bytes * 2)
		return WEIR_E_PARSE;
	for (size_t i = 0; i < out_bytes; i++) {
		int hi = hex_value(hex.p[2 * i]), lo = hex_value(hex.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return WEIR_E_PARSE;
		out[i] = (unsigned char)(hi << 4 | lo);
	}
	return 0;
}

bool str_is_hex(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return s.n > 0;
}

void str_add_escaped(struct buf *out, struct slice s, size_t most)
{
	size_t n = s.n < most ? s.n : most;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 32 || c > 126 || c == '"' || c == '\\')
			buf_addf(out, "\\x%02x", c);
		else
			buf_add_char(out, (char)c);
	}
	if (n < s.n)
		buf_add_str(out, "...");
}

/* Bytes of the well-formed UTF-8 sequence at p (Unicode table 3-7), or 0. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
	size_t need;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		need = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		need = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		need = 4;
	else
		return 0;
	if (n < need)
		return 0;
	for (size_t i = 1; i < need; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return need;
}

void str_add_json(struct buf *out, struct slice s)
{
	for (size_t i = 0; i < s.n;) {
		const unsigned char *p = (const unsigned char *)s.p + i;
		size_t n = utf8_length(p, s.n - i);

		if (*p == '"' || *p == '\\')
			buf_addf(out, "\\%c", *p);
		else if (*p < 32)
			buf_addf(out, "\\u%04x", *p);
		else if (n)
			buf_add(out, p, n);
		else
			buf_add_str(out, "\xef\xbf\xbd");
		i += n ? n : 1;
	}
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int str_base64_decode(struct slice s, struct buf *out)
{
	if (s.n % 4)
		return WEIR_E_PARSE;
	for (size_t i = 0; i < s.n; i += 4) {
		uint32_t v = 0;
		size_t bytes = 3;

		for (size_t k = 0; k < 4; k++) {
			int d = base64_value(s.p[i + k]);

			if (s.p[i + k] == '=' && i + 4 == s.n && k >= 2 && (k == 3 || s.p[i + 3] == '=')) {
				d = 0;
				bytes--;
			}
			if (d < 0)
				return WEIR_E_PARSE;
			v = v << 6 | (uint32_t)d;
		}
		if ((bytes == 1 && (v & 0xffff)) || (bytes == 2 && (v & 0xff)))
			return WEIR_E_PARSE; /* stray bits: two spellings of one value */
		for (size_t k = 0; k < bytes; k++)
			buf_add_char(out, (char)(v >> (16 - 8 * k)));
	}
	return buf_error(out);
}

void str_base64_encode(struct slice s, struct buf *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)s.p;

	for (size_t i = 0; i < s.n; i += 3) {
		size_t left = s.n - i;
		uint32_t v =
			(uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);

		buf_add_char(out, digits[v >> 18]);
		buf_add_char(out, digits[v >> 12 & 63]);
		buf_add_char(out, left > 1 ? digits[v >> 6 & 63] : '=');
		buf_add_char(out, left > 2 ? digits[v & 63] : '=');
	}
}

bool str_eq_const_time(struct slice a, struct slice b)
{
	unsigned char differ = a.n != b.n;

	for (size_t i = 0; i < a.n; i++)
		differ |= (unsigned char)(a.p[i] ^ (b.n ? b.p[i % b.n] : 0));
	return !differ;
}
