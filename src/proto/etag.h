/* etag.h -- entity tags (RFC 9110 8.8.3), alone and in the lists of If-Match and If-None-Match. Pure; any thread. */
#ifndef WEIR_PROTO_ETAG_H
#define WEIR_PROTO_ETAG_H

#include "proto/httplines.h"

struct etag {
	struct slice opaque; /* with its quotes; borrowed. p NULL: there is none */
	bool weak;
};

/* W/"..." or "...": exactly one tag and nothing else. 0 or WEIR_E_PARSE. */
int etag_parse(struct slice value, struct etag *ret);
/* The ETag of a response: none when the field is absent, malformed or there twice. */
struct etag etag_of(const struct httplines *h);
/* RFC 9110 8.8.3.2. A missing tag is equal to nothing, not even to another missing one. */
bool etag_eq_strong(struct etag a, struct etag b);
bool etag_eq_weak(struct etag a, struct etag b);

/* The next tag of a list of tags (not "*"); *rest moves behind it. 1; 0: no more; WEIR_E_PARSE. */
int etag_next(struct slice *rest, struct etag *ret);

enum etag_found {
	ETAG_FIELD_ABSENT,    /* no such line */
	ETAG_FIELD_ANY,       /* "*" */
	ETAG_FIELD_MATCHES,   /* a tag of the list is equal */
	ETAG_FIELD_OTHER,     /* a list without it, an empty one too */
	ETAG_FIELD_MALFORMED, /* for none of it can be vouched: the caller takes what is safe */
};
/* Looks for `tag` in If-Match (strong comparison) or If-None-Match (weak), over all lines of `name`. */
enum etag_found etag_find(const struct httplines *h, const char *name, struct etag tag, bool strong);

#endif
