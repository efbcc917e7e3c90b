/* answer.h -- one answer of the daemon, read from bytes as they come.
 *
 * Pure: no I/O; may stop at any byte. Strict: HTTP/1.0 or 1.1, a Content-Length (one, or several that agree) or a
 * status that has no body; no Transfer-Encoding, no folded lines, no control characters. What two readers could
 * understand differently is an error, and the connection is of no more use (RFC 9112 section 6.3). Interim answers
 * (1xx) are skipped. */
#ifndef WEIR_CLIENT_ANSWER_H
#define WEIR_CLIENT_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIRC_ANSWER_HEAD  16384 /* bytes of status line and fields, of interim answers too */
#define WEIRC_ANSWER_LINE  1024  /* of one line: what is longer is refused */
#define WEIRC_ANSWER_BODY  1048576 /* bytes of a body: what is longer is refused */
#define WEIRC_ANSWER_KEPT  512   /* bytes of it that are kept: the ids are there, the rest is not read by us */

struct weirc_answer {
	int status;
	bool closes; /* the daemon will close the connection */
	char body[WEIRC_ANSWER_KEPT]; /* its beginning */
	size_t body_kept;
	/* private */
	int state;
	char line[WEIRC_ANSWER_LINE];
	size_t line_len, head_bytes;
	bool has_length, is_old; /* HTTP/1.0 */
	uint64_t length, body_bytes;
};

void weirc_answer_init(struct weirc_answer *a);
/* Takes some of n bytes; *ret_used says how many. 1: the answer is whole (and what is left is not of it); 0: more is to
 * come; -EPROTO: it is none. */
int weirc_answer_feed(struct weirc_answer *a, const char *p, size_t n, size_t *ret_used);

#endif
