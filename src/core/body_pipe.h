/* body_pipe.h -- the body of a request on its way from a front thread to a worker: bytes with an end, bounded.
 *
 * One side puts and never blocks; the other takes and may. The front stops reading from its socket while the pipe is
 * full. */
#ifndef WEIR_CORE_BODY_PIPE_H
#define WEIR_CORE_BODY_PIPE_H

#include <pthread.h>

#include "base/buf.h"

#define BODY_PIPE_BYTES (256 * 1024) /* full from here on; one read of the front may come on top */

struct body_pipe {
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t more;
	struct buf data;      /* what waits is data[at..] */
	size_t at;
	bool ended, full_told;
	int error;
};

void body_pipe_init(struct body_pipe *p);
void body_pipe_fini(struct body_pipe *p);
void body_pipe_reset(struct body_pipe *p); /* as after init, memory kept when it is small; nobody else uses it */

/* Front. True when the pipe is full now: stop, until a take says resume. */
bool body_pipe_put(struct body_pipe *p, struct slice s);
void body_pipe_end(struct body_pipe *p);
void body_pipe_fail(struct body_pipe *p, int err); /* takes give err from now on, unless the end was there before */
/* Everything that waits; valid until the next call. True when the body has ended, that is: this is all of it. */
bool body_pipe_peek(struct body_pipe *p, struct slice *ret);

/* Worker. Bytes, 0 at the end, or the failure. Blocks. *ret_resume: the front was told "full" and may go on. */
ssize_t body_pipe_take(struct body_pipe *p, char *into, size_t room, bool *ret_resume);

#endif
