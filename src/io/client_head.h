/* client_head.h -- the response head of one upstream exchange, line by line. For client.c alone.
 *
 * Pure: no I/O. Bounded to 64 KiB (interim answers counted along) and 512 lines. */
#ifndef WEIR_IO_CLIENT_HEAD_H
#define WEIR_IO_CLIENT_HEAD_H

#include "base/buf.h"

#define CLIENT_HEAD_BYTES ((size_t)64 << 10)
#define CLIENT_HEAD_LINES 512

struct client_head {
	int status;        /* of the head that is coming in; final when client_head_add() gave 1 */
	size_t seen_bytes; /* of all heads of this exchange */
	struct buf raw;    /* the lines after the status line, without line ends */
	size_t *ends;      /* of each line in raw */
	size_t count, room;
	bool is_complete;
	int interim;       /* status of the last interim head */
};

void client_head_init(struct client_head *h);
void client_head_fini(struct client_head *h);
/* One line with its line end, as it came. 1 when it ended the final head; 2 when it ended an interim one (102 to 199:
 * `interim` is its status, and its lines are there until the next call); 0; WEIR_E_TOO_LARGE; WEIR_E_PROTOCOL when no
 * status line begins it or two readers could understand its framing differently (RFC 9112 section 6.3). Lines after the
 * end (trailers) are ignored. */
int client_head_add(struct client_head *h, struct slice line);
/* The lines; `ret` has room for h->count. Borrowed from h. */
void client_head_lines(const struct client_head *h, struct slice *ret);

#endif
