/* json.c -- see json.h. A descent with a bound; each function moves `at` behind what it has read, or fails. */
#include "client/json.h"

#include <errno.h>
#include <string.h>

#include "client/text.h"

struct scan {
	const unsigned char *p;
	size_t n, at;
	unsigned depth;
	/* of the outermost object */
	const char *wanted;
	size_t found, found_bytes; /* with the quotes; found_bytes 0: not (yet) */
};

static bool value(struct scan *s);

static void space(struct scan *s)
{
	while (s->at < s->n && s->p[s->at] && strchr(" \t\r\n", s->p[s->at]))
		s->at++;
}

static bool take(struct scan *s, char c)
{
	if (s->at >= s->n || s->p[s->at] != (unsigned char)c)
		return false;
	s->at++;
	return true;
}

static bool word(struct scan *s, const char *w)
{
	size_t n = strlen(w);

	if (s->n - s->at < n || memcmp(s->p + s->at, w, n) != 0)
		return false;
	s->at += n;
	return true;
}

static bool is_hex(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool escape(struct scan *s)
{
	unsigned char c;

	if (s->at >= s->n)
		return false;
	c = s->p[s->at++];
	if (c == 'u') {
		for (int i = 0; i < 4; i++, s->at++)
			if (s->at >= s->n || !is_hex(s->p[s->at]))
				return false;
		return true;
	}
	return c && strchr("\"\\/bfnrt", c);
}

static bool string(struct scan *s)
{
	if (!take(s, '"'))
		return false;
	while (s->at < s->n) {
		unsigned char c = s->p[s->at];
		size_t bytes;

		if (c == '"') {
			s->at++;
			return true;
		}
		bytes = c < 0x20 ? 0 : weirc_utf8_bytes(s->p + s->at, s->n - s->at);
		if (bytes == 0)
			return false;
		s->at += bytes;
		if (c == '\\' && !escape(s))
			return false;
	}
	return false;
}

static bool digits(struct scan *s)
{
	size_t from = s->at;

	while (s->at < s->n && s->p[s->at] >= '0' && s->p[s->at] <= '9')
		s->at++;
	return s->at > from;
}

static bool number(struct scan *s)
{
	(void)take(s, '-'); /* may stand there */
	if (!take(s, '0') && !digits(s))
		return false;
	if (take(s, '.') && !digits(s))
		return false;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			(void)take(s, '-'); /* or neither */
		return digits(s);
	}
	return true;
}

static void note(struct scan *s, size_t name, size_t name_end, size_t text)
{
	size_t n = s->wanted ? strlen(s->wanted) : 0;

	if (s->depth != 1 || !s->wanted || name_end - name != n + 2 || memcmp(s->p + name + 1, s->wanted, n) != 0)
		return;
	s->found = text;
	s->found_bytes = s->p[text] == '"' ? s->at - text : 0;
}

static bool member(struct scan *s)
{
	size_t name, name_end, text;

	space(s);
	name = s->at;
	if (!string(s))
		return false;
	name_end = s->at;
	space(s);
	if (!take(s, ':'))
		return false;
	space(s);
	text = s->at;
	if (!value(s))
		return false;
	note(s, name, name_end, text);
	space(s);
	return true;
}

static bool element(struct scan *s)
{
	space(s);
	if (!value(s))
		return false;
	space(s);
	return true;
}

static bool list(struct scan *s, char end, bool (*one)(struct scan *s))
{
	bool ok = ++s->depth <= WEIRC_JSON_DEPTH;

	s->at++;
	space(s);
	if (ok && !take(s, end)) {
		do {
			ok = one(s);
		} while (ok && take(s, ','));
		ok = ok && take(s, end);
	}
	s->depth--;
	return ok;
}

static bool value(struct scan *s)
{
	if (s->at >= s->n)
		return false;
	switch (s->p[s->at]) {
	case '{': return list(s, '}', member);
	case '[': return list(s, ']', element);
	case '"': return string(s);
	case 't': return word(s, "true");
	case 'f': return word(s, "false");
	case 'n': return word(s, "null");
	default: return number(s);
	}
}

static bool whole(struct scan *s, bool object)
{
	space(s);
	if (object && (s->at >= s->n || s->p[s->at] != '{'))
		return false;
	if (!value(s))
		return false;
	space(s);
	return s->at == s->n;
}

bool weirc_json_is_value(const char *p, size_t n, bool object)
{
	struct scan s = { .p = (const unsigned char *)p, .n = n };

	return whole(&s, object);
}

int weirc_json_text_of(const char *p, size_t n, const char *name, char *ret, size_t room)
{
	struct scan s = { .p = (const unsigned char *)p, .n = n, .wanted = name };

	if (!whole(&s, true) || s.found_bytes < 3 || s.found_bytes - 2 >= room ||
	    memchr(p + s.found, '\\', s.found_bytes))
		return -EPROTO;
	memcpy(ret, p + s.found + 1, s.found_bytes - 2);
	ret[s.found_bytes - 2] = '\0';
	return 0;
}
