/* http_parse.h -- HTTP/1.1 requests out of bytes: pure, no I/O, may stop at any byte.
 *
 * Two readers stand behind it: a strict one of ours and llhttp. What they do not both accept, and read in the same way,
 * is refused (RFC 9112 section 11.2, request smuggling). Used so:
 *
 *	while (n > 0)
 *		switch (http_parse_step(p, at, n, &used, &piece)) ...; at += used; n -= used;
 *
 *	HTTP_EV_MORE     all of it was taken; feed more
 *	HTTP_EV_HEAD     piece is a whole head. Keep a copy where it can stay, and call http_parse_head() on that copy
 *	HTTP_EV_BODY     piece is the next part of the body, inside `at`
 *	HTTP_EV_END      the request is over (may come with used 0, so call again after HTTP_EV_HEAD even with n 0)
 *	HTTP_EV_REFUSED  p->refusal tells why; nothing after it can be read
 *
 * After HTTP_EV_END, http_parse_next() makes ready for the next request. One thread at a time. */
#ifndef WEIR_IO_HTTP_PARSE_H
#define WEIR_IO_HTTP_PARSE_H

#include "base/buf.h"
#include "io/http_refuse.h"

#define HTTP_MOST_FIELDS 100            /* header lines; more are 431 */
#define HTTP_MOST_CHUNK_LINE 256        /* bytes of a chunk-size line, extensions included */
#define HTTP_MOST_CHUNK_EXT (16 * 1024) /* bytes of chunk extensions in a whole body */

enum http_event { HTTP_EV_MORE, HTTP_EV_HEAD, HTTP_EV_BODY, HTTP_EV_END, HTTP_EV_REFUSED };
enum http_form { HTTP_FORM_ORIGIN, HTTP_FORM_ABSOLUTE, HTTP_FORM_AUTHORITY, HTTP_FORM_ASTERISK }; /* RFC 9112 3.2 */

struct http_field {
	struct slice name, value; /* value without the space around it */
};

struct http_head { /* all slices point into the bytes given to http_parse_head() */
	struct slice method, target;
	enum http_form form;
	struct slice authority;   /* of an absolute-form or authority-form target, else Host; empty only in HTTP/1.0 */
	unsigned minor;           /* HTTP/1.minor: 0 or 1 */
	int64_t body;             /* Content-Length; 0: none; -1: chunked */
	bool keep_alive;          /* RFC 9112 9.3 */
	bool expect_continue;
	unsigned count;
	struct http_field fields[HTTP_MOST_FIELDS];
};

struct http_parse {
	enum {
		HTTP_IN_HEAD, HTTP_HEAD_WHOLE, HTTP_IN_LENGTH, HTTP_IN_CHUNKED, HTTP_OVER, HTTP_BAD
	} phase;
	enum http_refuse refusal; /* when refused */
	size_t most_head;         /* bytes of a head, and of the trailers */

	/* head */
	struct buf partial;       /* a head that comes in pieces; without memory at any other time */
	size_t head_bytes;        /* seen so far */
	unsigned line_bytes, lines, blank_lines;
	bool after_cr;

	/* body */
	uint64_t left;            /* of the body or of this chunk */
	unsigned chunk_state, digits, chunk_line, ext_state;
	size_t ext_bytes, trailer_bytes;
	union {                   /* the second reader: an llhttp_t, whose header only io/ knows */
		void *align;
		unsigned char room[128];
	} second;
	size_t second_body;       /* bytes it gave out in this call */
	bool second_headers, second_end;
	unsigned second_fields;
};

void http_parse_init(struct http_parse *p, size_t most_head);
void http_parse_fini(struct http_parse *p);
enum http_event http_parse_step(struct http_parse *p, const char *at, size_t n, size_t *ret_used,
				struct slice *ret_piece);
/* `bytes` is (a copy of) what HTTP_EV_HEAD gave; it must live as long as *ret is used. 0; -1: p->refusal tells why.
 * Fields of *ret that were understood before the refusal (method) are set even then. */
int http_parse_head(struct http_parse *p, struct slice bytes, struct http_head *ret);
void http_parse_next(struct http_parse *p);
bool http_parse_is_idle(const struct http_parse *p); /* no byte of a next request has come */

/* First value of the field, case ignored; p NULL when absent. */
struct slice http_head_get(const struct http_head *h, const char *lower_name);

#endif
