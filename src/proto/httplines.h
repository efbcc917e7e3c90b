/* httplines.h -- the field lines of one HTTP message, as a list of slices. Pure; any thread.
 *
 * A line is "Name: value" without its line end, as io/client.h gives and takes them. Names are compared without case
 * (RFC 9110 5.1). Whole heads are kept as a block of text: each line followed by one "\n". */
#ifndef WEIR_PROTO_HTTPLINES_H
#define WEIR_PROTO_HTTPLINES_H

#include "base/buf.h"

struct httplines { /* all borrowed */
	const struct slice *lines;
	size_t count;
};

/* Takes a line apart; the value without the space around it. False (nothing set) when it has no colon or no name. */
bool httplines_split(struct slice line, struct slice *ret_name, struct slice *ret_value);
/* The value of the next line named `name`, from line *at on, which moves behind it; begin with *at 0. False: no more */
bool httplines_next(const struct httplines *h, const char *name, size_t *at, struct slice *ret_value);
/* Value of the first line named `name`; p NULL when there is none. */
struct slice httplines_get(const struct httplines *h, const char *name);
/* Content-Length; -1: none, or none that can be read. */
int64_t httplines_content_length(const struct httplines *h);
size_t httplines_count(const struct httplines *h, const char *name);
/* The lines of a block, borrowed from it, at most `most` of them into `ret`; returns how many the block has. */
size_t httplines_cut(struct slice block, struct slice *ret, size_t most);

#endif
