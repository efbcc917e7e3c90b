/* cachecontrol.c -- cache directives.
 *
 * WHAT     Two tables, of flags and of numbers, and two ways to read what they name: Cache-Control as it is written in
 *          the wild, and a targeted field, which is a strict Dictionary.
 * RULES    1. What forbids is believed in any shape; what allows only when it is written right.
 *          2. A targeted field that cannot be read whole is not there.
 * SEE      RFC 9111 section 5.2; RFC 5861; RFC 8246; RFC 9213 section 2; RFC 8941 sections 3.2 and 4.2 */
#include "proto/cachecontrol.h"

#include <stddef.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "proto/httplist.h"

static const struct flag {
	const char *name;
	unsigned flag;
	bool allows; /* something that would not be allowed without: then it may have no argument */
} flags[] = {
	{ "no-cache", CC_NO_CACHE, false },
	{ "no-store", CC_NO_STORE, false },
	{ "no-transform", CC_NO_TRANSFORM, false },
	{ "only-if-cached", CC_ONLY_IF_CACHED, false },
	{ "must-revalidate", CC_MUST_REVALIDATE, false },
	{ "proxy-revalidate", CC_PROXY_REVALIDATE, false },
	{ "must-understand", CC_MUST_UNDERSTAND, true },
	{ "private", CC_PRIVATE, false },
	{ "public", CC_PUBLIC, true },
	{ "immutable", CC_IMMUTABLE, true },
};

static const struct number {
	const char *name;
	size_t offset;
	int64_t invalid; /* what a malformed argument, or none, counts as */
	bool larger_is_stricter;
	int64_t bare; /* what stands without an argument counts as */
} numbers[] = {
	{ "max-age", offsetof(struct cachecontrol, max_age_s), 0, false, 0 },
	{ "s-maxage", offsetof(struct cachecontrol, s_maxage_s), 0, false, 0 },
	{ "stale-while-revalidate", offsetof(struct cachecontrol, stale_while_revalidate_s), 0, false, 0 },
	{ "stale-if-error", offsetof(struct cachecontrol, stale_if_error_s), 0, false, 0 },
	{ "min-fresh", offsetof(struct cachecontrol, min_fresh_s), CC_MOST_SECONDS, true, CC_MOST_SECONDS },
	{ "max-stale", offsetof(struct cachecontrol, max_stale_s), 0, false, CC_MOST_SECONDS },
};

static const struct cachecontrol nothing = { 0, CC_ABSENT, CC_ABSENT, CC_ABSENT, CC_ABSENT, CC_ABSENT, CC_ABSENT };

static const struct flag *find_flag(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (slice_ieq_str(name, flags[i].name))
			return &flags[i];
	return NULL;
}

static const struct number *find_number(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (slice_ieq_str(name, numbers[i].name))
			return &numbers[i];
	return NULL;
}

static int64_t *number_at(struct cachecontrol *cc, const struct number *n)
{
	return (int64_t *)(void *)((char *)cc + n->offset);
}

/* 1*DIGIT, as a token or (RFC 9111 5.2) within quotes; -1: malformed. */
static int64_t parse_seconds(struct slice argument)
{
	uint64_t v;

	if (argument.n >= 2 && argument.p[0] == '"' && argument.p[argument.n - 1] == '"')
		argument = (struct slice){ argument.p + 1, argument.n - 2 };
	for (size_t i = 0; i < argument.n; i++)
		if (argument.p[i] < '0' || argument.p[i] > '9')
			return -1;
	if (!argument.n)
		return -1;
	return str_parse_u64(argument, &v) < 0 || v > CC_MOST_SECONDS ? CC_MOST_SECONDS : (int64_t)v;
}

static void read_directive(struct slice directive, struct cachecontrol *cc)
{
	struct slice name, argument;
	const struct number *n;
	const struct flag *f;
	int64_t v, *at;

	httplist_cut_argument(directive, &name, &argument);
	f = find_flag(name);
	if (f && (!f->allows || !argument.p))
		cc->flags |= f->flag;
	n = find_number(name);
	if (!n)
		return;
	at = number_at(cc, n);
	v = argument.p ? parse_seconds(argument) : n->bare;
	if (v < 0)
		v = n->invalid;
	if (*at == CC_ABSENT || (n->larger_is_stricter ? v > *at : v < *at))
		*at = v;
}

void cachecontrol_parse(const struct httplines *h, struct cachecontrol *ret)
{
	struct slice value, directive;
	size_t at = 0;

	*ret = nothing;
	while (httplines_next(h, "cache-control", &at, &value))
		while (httplist_next(&value, &directive))
			read_directive(directive, ret);
}

void cachecontrol_parse_request(const struct httplines *h, struct cachecontrol *ret)
{
	cachecontrol_parse(h, ret);
	if (!httplines_count(h, "cache-control") && httplist_has(h, "pragma", "no-cache"))
		ret->flags |= CC_NO_CACHE;
}

/* --- targeted fields: the part of RFC 8941 that a Dictionary of Items needs ---------------------------------- */

enum item_kind { ITEM_TRUE, ITEM_INTEGER, ITEM_TEXT, ITEM_OTHER };

struct item {
	enum item_kind kind;
	int64_t integer;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_alpha(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool take_char(struct slice *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	*s = slice_from(*s, 1);
	return true;
}

static void skip(struct slice *s, const char *which)
{
	while (s->n && s->p[0] && strchr(which, s->p[0]))
		*s = slice_from(*s, 1);
}

/* 4.2.3.3 */
static int take_key(struct slice *s, struct slice *ret)
{
	size_t n = 0;

	if (!s->n || !(is_lower(s->p[0]) || s->p[0] == '*'))
		return WEIR_E_PARSE;
	while (n < s->n && (is_lower(s->p[n]) || is_digit(s->p[n]) || (s->p[n] && strchr("_-.*", s->p[n]))))
		n++;
	*ret = (struct slice){ s->p, n };
	*s = slice_from(*s, n);
	return 0;
}

/* 4.2.4: at most 15 digits, or 12 and 3 of a decimal */
static int take_number(struct slice *s, struct item *ret)
{
	bool negative = take_char(s, '-');
	size_t whole = 0, part = 0;
	int64_t v = 0;

	for (; whole < s->n && is_digit(s->p[whole]) && whole < 16; whole++)
		v = v * 10 + (s->p[whole] - '0');
	*s = slice_from(*s, whole);
	if (!whole || whole > 15)
		return WEIR_E_PARSE;
	*ret = (struct item){ ITEM_INTEGER, negative ? -v : v };
	if (!take_char(s, '.'))
		return 0;
	ret->kind = ITEM_OTHER;
	while (part < s->n && is_digit(s->p[part]))
		part++;
	*s = slice_from(*s, part);
	return whole <= 12 && part >= 1 && part <= 3 ? 0 : WEIR_E_PARSE;
}

/* 4.2.5, behind the opening quote */
static int take_string(struct slice *s)
{
	while (s->n && s->p[0] != '"') {
		if (take_char(s, '\\') && (!s->n || (s->p[0] != '"' && s->p[0] != '\\')))
			return WEIR_E_PARSE;
		if (s->p[0] < ' ' || s->p[0] > '~')
			return WEIR_E_PARSE;
		*s = slice_from(*s, 1);
	}
	return take_char(s, '"') ? 0 : WEIR_E_PARSE;
}

/* 4.2.6 */
static int take_token(struct slice *s)
{
	size_t n = 0;

	while (n < s->n && (s->p[n] == ':' || s->p[n] == '/' || httplist_is_token((struct slice){ s->p + n, 1 })))
		n++;
	*s = slice_from(*s, n);
	return 0;
}

/* 4.2.7: what is within the colons need not be right Base64 to be of the wrong type */
static int take_bytes(struct slice *s)
{
	while (s->n && (is_digit(s->p[0]) || is_alpha(s->p[0]) || (s->p[0] && strchr("+/=", s->p[0]))))
		*s = slice_from(*s, 1);
	return take_char(s, ':') ? 0 : WEIR_E_PARSE;
}

/* 4.2.3.1 */
static int take_bare_item(struct slice *s, struct item *ret)
{
	char c = s->n ? s->p[0] : '\0';

	*ret = (struct item){ ITEM_OTHER, 0 };
	if (c == '-' || is_digit(c))
		return take_number(s, ret);
	ret->kind = ITEM_TEXT;
	if (c == '*' || is_alpha(c))
		return take_token(s);
	*s = slice_from(*s, c ? 1 : 0);
	if (c == '"')
		return take_string(s);
	ret->kind = ITEM_OTHER;
	if (c == ':')
		return take_bytes(s);
	if (c == '?' && take_char(s, '1')) {
		ret->kind = ITEM_TRUE;
		return 0;
	}
	return c == '?' && take_char(s, '0') ? 0 : WEIR_E_PARSE;
}

/* 4.2.3.2: read, and of no interest */
static int take_parameters(struct slice *s)
{
	struct item ignored;
	struct slice key;

	while (take_char(s, ';')) {
		skip(s, " ");
		if (take_key(s, &key) < 0 || (take_char(s, '=') && take_bare_item(s, &ignored) < 0))
			return WEIR_E_PARSE;
	}
	return 0;
}

/* 4.2.1.2, behind the opening parenthesis */
static int take_inner_list(struct slice *s)
{
	struct item ignored;

	for (;;) {
		skip(s, " ");
		if (take_char(s, ')'))
			return 0;
		if (take_bare_item(s, &ignored) < 0 || take_parameters(s) < 0)
			return WEIR_E_PARSE;
		if (!s->n || (s->p[0] != ' ' && s->p[0] != ')'))
			return WEIR_E_PARSE;
	}
}

static int take_member(struct slice *s, struct slice *ret_key, struct item *ret)
{
	int r = take_key(s, ret_key);

	*ret = (struct item){ ITEM_TRUE, 0 };
	if (r == 0 && take_char(s, '=')) {
		if (take_char(s, '(')) {
			ret->kind = ITEM_OTHER;
			r = take_inner_list(s);
		} else {
			r = take_bare_item(s, ret);
		}
	}
	return r < 0 ? r : take_parameters(s);
}

/* The last of equal keys counts (4.2.2), so each sets or clears. no-cache="..." and private="..." are qualified, which
 * is stricter than not at all. */
static void set_member(struct slice key, struct item item, struct cachecontrol *cc)
{
	const struct flag *f = find_flag(key);
	const struct number *n = find_number(key);

	if (f && (item.kind == ITEM_TRUE || (item.kind == ITEM_TEXT && !f->allows)))
		cc->flags |= f->flag;
	else if (f)
		cc->flags &= ~f->flag;
	if (n && item.kind == ITEM_INTEGER && item.integer >= 0)
		*number_at(cc, n) = item.integer < CC_MOST_SECONDS ? item.integer : CC_MOST_SECONDS;
	else if (n)
		*number_at(cc, n) = CC_ABSENT;
}

/* 4.2.2 */
static int parse_dictionary(struct slice s, struct cachecontrol *cc)
{
	struct slice key;
	struct item item;

	skip(&s, " ");
	while (s.n) {
		if (take_member(&s, &key, &item) < 0)
			return WEIR_E_PARSE;
		set_member(key, item, cc);
		skip(&s, " \t");
		if (!s.n)
			return 0;
		if (!take_char(&s, ','))
			return WEIR_E_PARSE;
		skip(&s, " \t");
		if (!s.n)
			return WEIR_E_PARSE; /* a comma that nothing follows */
	}
	return 0;
}

int cachecontrol_parse_targeted(const struct httplines *h, const char *name, struct cachecontrol *ret)
{
	struct cachecontrol cc = nothing;
	struct buf all = BUF_EMPTY;
	struct slice value;
	size_t at = 0;
	int r = -ENOENT;

	while (httplines_next(h, name, &at, &value)) {
		buf_add_str(&all, all.len ? ", " : "");
		buf_add_slice(&all, value);
	}
	if (all.len)
		r = parse_dictionary(buf_slice(&all), &cc);
	if (r == 0)
		*ret = cc;
	buf_fini(&all);
	return r;
}
