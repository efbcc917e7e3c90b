/* text.h -- JSON, and requests, as text of bounded size.
 *
 * A text begins in storage of its maker (on the stack, or static: then nothing is allocated, and all but
 * weirc_text_number() is safe in a signal handler) and may move to the heap up to `most` bytes. It remembers its first
 * failure: add ten times, look once. */
#ifndef WEIR_CLIENT_TEXT_H
#define WEIR_CLIENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weirc_text {
	char *data; /* not NUL-terminated */
	size_t len, room, most;
	char *storage; /* the maker's; data is freed when it is another */
	int failed;    /* 0, -EMSGSIZE, -ENOMEM or -EINVAL: then len stays as it was */
};

/* Uses storage until it is full, then the heap while len <= most. most == room: never the heap. */
void weirc_text_init(struct weirc_text *t, char *storage, size_t room, size_t most);
void weirc_text_fini(struct weirc_text *t);

void weirc_text_add(struct weirc_text *t, const void *p, size_t n);
void weirc_text_str(struct weirc_text *t, const char *s);
void weirc_text_char(struct weirc_text *t, char c);
void weirc_text_int(struct weirc_text *t, long long v);
void weirc_text_hex(struct weirc_text *t, uint64_t v, unsigned digits); /* at least so many */
void weirc_text_number(struct weirc_text *t, double v); /* reads back equal, in every locale; not finite: null */
/* A JSON string with its quotes. Each byte that is not part of UTF-8 becomes U+FFFD. NULL: null. */
void weirc_text_json(struct weirc_text *t, const char *s);
void weirc_text_json_n(struct weirc_text *t, const char *s, size_t n);

/* Bytes of the UTF-8 character that begins at p, of which n are there: 1 to 4, or 0: it is none (RFC 3629: no overlong
 * forms, no surrogates, nothing above U+10FFFF). */
size_t weirc_utf8_bytes(const unsigned char *p, size_t n);

#endif
