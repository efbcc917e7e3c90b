/* buf.h -- bytes: `struct buf` owns, `struct slice` borrows.
 *
 * A buf knows its length and capacity, ends in a NUL that is not counted, and its data is never NULL (BUF_EMPTY
 * points at a static empty string). It remembers its first failure: append ten times, check `buf_error()` once.
 * A buf with a limit refuses to grow past it with WEIR_E_TOO_LARGE; without one it aborts only when memory is out.
 * Not thread-safe; distinct bufs are independent. */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/banned.h"

struct slice {
	const char *p; /* may be NULL when n is 0 */
	size_t n;
};

struct buf {
	char *data;
	size_t len;
	size_t cap;   /* 0: data is the static empty string */
	size_t limit; /* most bytes it may hold; 0: no limit */
	int error;    /* first failure, or 0 */
};

extern char buf_empty_data[1];

#define BUF_EMPTY { .data = buf_empty_data }
#define BUF_LIMIT(most) { .data = buf_empty_data, .limit = (most) }

void buf_init(struct buf *b, size_t limit);
void buf_fini(struct buf *b);                 /* frees; b is empty and usable afterwards */
void buf_reset(struct buf *b);                /* length 0, error cleared, memory kept */
/* malloc'ed, NUL-terminated, the caller frees; b is empty afterwards */
char *buf_detach(struct buf *b, size_t *ret_len);
int buf_error(const struct buf *b);           /* 0 or the first failure of any call below */

/* Makes room for `more` bytes after len; the caller may write there and then add to len. NULL (error kept) on
 * refusal. */
char *buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_slice(struct buf *b, struct slice s);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t n);    /* drops the first n bytes (n <= len) */
void buf_truncate(struct buf *b, size_t len); /* shortens to len (len <= b->len) */

static inline struct slice buf_slice(const struct buf *b)
{
	return (struct slice){ b->data, b->len };
}

/* Slices */
#define SLICE_LIT(lit) ((struct slice){ "" lit, sizeof(lit) - 1 })
struct slice slice_str(const char *s);        /* s may be NULL: empty */
bool slice_eq(struct slice a, struct slice b);
bool slice_eq_str(struct slice a, const char *s);
bool slice_ieq_str(struct slice a, const char *s); /* ASCII case ignored */
bool slice_starts(struct slice s, const char *prefix);
bool slice_ends(struct slice s, const char *suffix);
int slice_cmp(struct slice a, struct slice b); /* as memcmp, the shorter first */
struct slice slice_trim(struct slice s);       /* spaces and tabs off both ends */
struct slice slice_from(struct slice s, size_t start); /* start <= n */
/* Cuts at the first `c`: *ret_head is what is before it and *s becomes what is after. False (head all of s, s empty)
 * when there is none. */
bool slice_cut(struct slice *s, char c, struct slice *ret_head);
ssize_t slice_find(struct slice s, char c);    /* index or -1 */
char *slice_dup(struct slice s);               /* malloc'ed, NUL-terminated; the caller frees */
bool slice_has_nul(struct slice s);

/* malloc and kin for small fixed sizes: abort when memory is out (restart is a path that is tested daily). */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrf(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* malloc'ed */

#endif
