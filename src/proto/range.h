/* range.h -- byte ranges: Range and Content-Range (RFC 9110 14). Pure; any thread. */
#ifndef WEIR_PROTO_RANGE_H
#define WEIR_PROTO_RANGE_H

#include "base/buf.h"

#define RANGE_MOST 16 /* in one request: with more, Range is ignored, as RFC 9110 14.2 allows */

struct range_spec {
	int64_t first; /* -1: a suffix, then `last` says how many bytes of the end */
	int64_t last;  /* -1: to the end */
};

struct range_set {
	size_t count; /* 1 to RANGE_MOST */
	struct range_spec specs[RANGE_MOST];
};

struct byte_range {
	int64_t first, last; /* both inclusive */
};

/* Reads the value of a Range field. Numbers above INT64_MAX count as that. 0; WEIR_E_PARSE when it is malformed, in
 * another unit than bytes, or has more than RANGE_MOST ranges: then the request is answered as if it had none. */
int range_parse(struct slice value, struct range_set *ret);
/* What the set means for a representation of `length` bytes, in the order asked for. 0 with *ret_count of at least 1;
 * -ERANGE: none of it can be satisfied (416 with range_format_unsatisfied()); -EINVAL: answer 200 with the whole (more
 * than two ranges overlap, which nobody needs and everybody pays for; or a suffix of nothing at all: length is 0). */
int range_resolve(const struct range_set *set, int64_t length, struct byte_range ret[RANGE_MOST], size_t *ret_count);

void range_format_content(struct byte_range r, int64_t complete, struct buf *out); /* "bytes 0-9/100"; -1: of unknown */
void range_format_unsatisfied(int64_t complete, struct buf *out);

#endif
