/* buf.c -- growing bytes, and slices of them. */
#include "base/buf.h"

#include <limits.h>
#include <strings.h>

#include "base/err.h"
#include "base/obj.h"

char buf_empty_data[1] = "";

void buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf)BUF_LIMIT(limit);
}

void buf_fini(struct buf *b)
{
	if (b->cap)
		free(b->data);
	buf_init(b, b->limit);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->cap)
		b->data[0] = '\0';
}

char *buf_detach(struct buf *b, size_t *ret_len)
{
	char *p = b->cap ? b->data : xcalloc(1, 1);

	if (ret_len)
		*ret_len = b->len;
	b->cap = 0;
	buf_fini(b);
	return p;
}

int buf_error(const struct buf *b)
{
	return b->error;
}

char *buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap;

	if (b->error)
		return NULL;
	if (__builtin_add_overflow(b->len, more, &need) || need > SIZE_MAX / 2 || (b->limit && need > b->limit)) {
		b->error = WEIR_E_TOO_LARGE;
		return NULL;
	}
	if (need >= b->cap) {
		cap = b->cap ? b->cap : 64;
		while (cap <= need)
			cap += cap / 2 + 16;
		if (b->limit && cap > b->limit + 1)
			cap = b->limit + 1;
		b->data = xrealloc(b->cap ? b->data : NULL, cap);
		b->cap = cap;
		b->data[b->len] = '\0';
	}
	return b->data + b->len;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	char *at;

	if (!n)
		return;
	at = buf_reserve(b, n);
	if (!at)
		return;
	memcpy(at, p, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void buf_add_slice(struct buf *b, struct slice s)
{
	buf_add(b, s.p, s.n);
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char small[256];
	int n;
	char *at;

	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	ENSURE(n >= 0);
	if ((size_t)n < sizeof(small)) {
		buf_add(b, small, (size_t)n);
	} else {
		at = buf_reserve(b, (size_t)n);
		if (at) {
			(void)vsnprintf(at, (size_t)n + 1, fmt, again); /* reserve keeps room for the NUL */
			b->len += (size_t)n;
		}
	}
	va_end(again);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(b, fmt, ap);
	va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
	ENSURE(n <= b->len);
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = '\0';
}

void buf_truncate(struct buf *b, size_t len)
{
	ENSURE(len <= b->len);
	b->len = len;
	if (b->cap)
		b->data[len] = '\0';
}

struct slice slice_str(const char *s)
{
	return (struct slice){ s, s ? strlen(s) : 0 };
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_eq_str(struct slice a, const char *s)
{
	return slice_eq(a, slice_str(s));
}

bool slice_ieq_str(struct slice a, const char *s)
{
	return a.n == strlen(s) && (a.n == 0 || strncasecmp(a.p, s, a.n) == 0);
}

bool slice_starts(struct slice s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.n >= n && (n == 0 || memcmp(s.p, prefix, n) == 0);
}

bool slice_ends(struct slice s, const char *suffix)
{
	size_t n = strlen(suffix);

	return s.n >= n && (n == 0 || memcmp(s.p + s.n - n, suffix, n) == 0);
}

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int r = n ? memcmp(a.p, b.p, n) : 0;

	return r ? r : (a.n > b.n) - (a.n < b.n);
}

struct slice slice_trim(struct slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

struct slice slice_from(struct slice s, size_t start)
{
	ENSURE(start <= s.n);
	if (!start)
		return s;
	return (struct slice){ s.p + start, s.n - start };
}

bool slice_cut(struct slice *s, char c, struct slice *ret_head)
{
	ssize_t at = slice_find(*s, c);

	if (at < 0) {
		*ret_head = *s;
		*s = slice_from(*s, s->n);
		return false;
	}
	*ret_head = (struct slice){ s->p, (size_t)at };
	*s = slice_from(*s, (size_t)at + 1);
	return true;
}

ssize_t slice_find(struct slice s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

	return at ? at - s.p : -1;
}

char *slice_dup(struct slice s)
{
	char *p = xmalloc(s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

bool slice_has_nul(struct slice s)
{
	return slice_find(s, '\0') >= 0;
}

void *xmalloc(size_t n)
{
	void *p = malloc(n ? n : 1);

	ENSURE(p != NULL);
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	ENSURE(p != NULL);
	return p;
}

void *xrealloc(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	ENSURE(p != NULL);
	return p;
}

char *xstrdup(const char *s)
{
	return slice_dup(slice_str(s));
}

char *xstrf(const char *fmt, ...)
{
	struct buf b = BUF_EMPTY;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	return buf_detach(&b, NULL);
}
