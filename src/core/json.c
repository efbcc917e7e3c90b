/* json.c -- JSON of peers: a look at the bytes before jansson reads them, and a writer.
 *
 * WHY      jansson's grammar is strict, but it recurses 2,048 deep, makes fifty bytes of memory out of one of text,
 *          refuses integers beyond 64 bits that other readers take as doubles, and has no word for Python's Infinity.
 *          One pass over the bytes outside strings settles all of it. Its writer prints 0.1 as 0.10000000000000001;
 *          ours prints what a person wrote.
 * RULES    1. The pass changes only whole tokens, into others that are longer; what is no JSON stays none.
 *          2. A text without such tokens, which is nearly every one, is not copied.
 * THREADS  Pure. */
#include "core/json.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

#define DEEPEST (JSON_MOST_DEPTH + 16) /* what is written may be wrapped */

/* --- the pass before -------------------------------------------------------------------------------------------- */

struct pass {
	struct slice text;
	size_t at, copied; /* copied: what of text is in `into` already */
	unsigned flags, depth, values;
	const char *why; /* set on refusal */
	struct buf into;
	bool changed;
};

static void put_instead(struct pass *p, size_t from, size_t to, const char *before, const char *after)
{
	p->changed = true;
	buf_add(&p->into, p->text.p + p->copied, from - p->copied);
	buf_add_str(&p->into, before);
	buf_add(&p->into, p->text.p + from, to - from);
	buf_add_str(&p->into, after);
	p->copied = to;
}

static void pass_string(struct pass *p)
{
	for (p->at++; p->at < p->text.n && p->text.p[p->at] != '"'; p->at++)
		if (p->text.p[p->at] == '\\')
			p->at++;
	p->at++;
}

/* An integer that 64 bits do not hold becomes one with a fraction of nought: a double. */
static void pass_number(struct pass *p)
{
	size_t from = p->at;
	bool integer = true;
	char digits[24];

	for (; p->at < p->text.n && strchr("+-.0123456789eE", p->text.p[p->at]) && p->text.p[p->at]; p->at++)
		if (p->text.p[p->at] == '.' || p->text.p[p->at] == 'e' || p->text.p[p->at] == 'E')
			integer = false;
	if (!integer || p->at - from < 19)
		return;
	if (p->at - from < sizeof(digits)) {
		memcpy(digits, p->text.p + from, p->at - from);
		digits[p->at - from] = '\0';
		errno = 0;
		(void)strtoll(digits, NULL, 10); /* only whether it fits */
		if (errno != ERANGE)
			return;
	}
	put_instead(p, from, p->at, "", ".0");
}

static void pass_infinity(struct pass *p)
{
	static const char word[] = "Infinity";
	size_t end = p->at + strlen(word), next = end;

	if (!slice_starts(slice_from(p->text, p->at), word)) {
		p->at++;
		return;
	}
	while (next < p->text.n && isspace((unsigned char)p->text.p[next]))
		next++;
	if (next == p->text.n || p->text.p[next] != ':') /* a name has to be quoted */
		put_instead(p, p->at, end, "\"", "\"");
	p->at = end;
}

static int pass_over(struct pass *p)
{
	while (p->at < p->text.n) {
		char c = p->text.p[p->at];

		if (c == '"') {
			pass_string(p);
		} else if (c == '-' || isdigit((unsigned char)c)) {
			pass_number(p);
		} else if (c == 'I' && (p->flags & JSON_READ_INFINITY)) {
			pass_infinity(p);
		} else {
			p->at++;
			if ((c == '{' || c == '[') && ++p->depth > JSON_MOST_DEPTH)
				p->why = "nested too deeply";
			if ((c == '}' || c == ']') && p->depth)
				p->depth--;
			if ((c == '{' || c == '[' || c == ',') && ++p->values > JSON_MOST_VALUES)
				p->why = "has too many values";
			if (p->why && !(p->flags & JSON_READ_KEPT))
				return WEIR_E_TOO_LARGE;
		}
	}
	if (p->changed)
		buf_add(&p->into, p->text.p + p->copied, p->text.n - p->copied);
	return 0;
}

int json_read(struct slice text, unsigned flags, json_t **ret, struct buf *why)
{
	struct pass p = { .text = text, .flags = flags, .into = BUF_EMPTY };
	json_error_t e;
	json_t *v = NULL;

	if (slice_has_nul(text)) { /* which jansson takes for the end */
		if (why)
			buf_add_str(why, "a NUL byte is no part of JSON");
	} else if (pass_over(&p) < 0) {
		if (why)
			buf_addf(why, "%s (byte %zu)", p.why, p.at);
	} else {
		v = json_loadb(p.changed ? p.into.data : text.n ? text.p : "", p.changed ? p.into.len : text.n, 0, &e);
		if (!v && why) {
			str_add_escaped(why, slice_str(e.text), 120);
			buf_addf(why, " (byte %d)", e.position);
		}
	}
	buf_fini(&p.into);
	if (!v)
		return WEIR_E_PARSE;
	*ret = v;
	return 0;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

void json_write_text(struct slice s, struct buf *out)
{
	size_t plain = 0;

	while (plain < s.n && (unsigned char)s.p[plain] >= 0x20 && s.p[plain] != '"' && s.p[plain] != '\\')
		plain++;
	buf_add_char(out, '"');
	if (plain == s.n) /* valid UTF-8 already: it comes from json_read() or from ourselves */
		buf_add_slice(out, s);
	else
		str_add_json(out, s);
	buf_add_char(out, '"');
}

static void write_real(double d, struct buf *out)
{
	char text[40];

	ENSURE(isfinite(d)); /* jansson makes no other */
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, d);
		if (strtod(text, NULL) == d)
			break;
	}
	buf_add_str(out, text);
	if (!strpbrk(text, ".e"))
		buf_add_str(out, ".0");
}

static void write_value(const json_t *v, unsigned depth, struct buf *out);

static void write_object(const json_t *v, unsigned depth, struct buf *out)
{
	json_t *o = (json_t *)v; /* jansson's iterators are not const, but change nothing */
	const char *name, *between = "";
	json_t *member;

	buf_add_char(out, '{');
	json_object_foreach(o, name, member)
	{
		buf_add_str(out, between);
		json_write_text(slice_str(name), out);
		buf_add_char(out, ':');
		write_value(member, depth + 1, out);
		between = ",";
	}
	buf_add_char(out, '}');
}

static void write_value(const json_t *v, unsigned depth, struct buf *out)
{
	ENSURE(depth < DEEPEST);
	switch (json_typeof(v)) {
	case JSON_OBJECT: write_object(v, depth, out); break;
	case JSON_ARRAY:
		buf_add_char(out, '[');
		for (size_t i = 0; i < json_array_size(v); i++) {
			if (i)
				buf_add_char(out, ',');
			write_value(json_array_get(v, i), depth + 1, out);
		}
		buf_add_char(out, ']');
		break;
	case JSON_STRING: json_write_text((struct slice){ json_string_value(v), json_string_length(v) }, out); break;
	case JSON_INTEGER: buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
	case JSON_REAL: write_real(json_real_value(v), out); break;
	case JSON_TRUE: buf_add_str(out, "true"); break;
	case JSON_FALSE: buf_add_str(out, "false"); break;
	case JSON_NULL: buf_add_str(out, "null"); break;
	}
}

void json_write(const json_t *v, struct buf *out)
{
	write_value(v, 0, out);
}
