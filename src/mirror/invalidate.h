/* invalidate.h -- what an answer to an unsafe request makes untrue (RFC 9111 4.4). Pure; any thread. */
#ifndef WEIR_MIRROR_INVALIDATE_H
#define WEIR_MIRROR_INVALIDATE_H

#include "proto/httplines.h"

typedef void invalidate_fn(void *arg, struct slice target); /* origin-form, borrowed until it returns */

/* Calls fn for each target of `origin` ("https://host[:port]") whose stored answers must be validated or dropped after
 * `method` on `target` was answered: none unless the method is unsafe and the status 2xx or 3xx; then the target
 * itself, Location and Content-Location when they lead to the same origin. The same target may come twice. */
void invalidate_after(struct slice method, int status, struct slice origin, struct slice target,
		      const struct httplines *answer, invalidate_fn *fn, void *arg);

#endif
