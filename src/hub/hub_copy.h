/* hub_copy.h -- `weir hub migrate`: all of one database into another. */
#ifndef WEIR_HUB_HUB_COPY_H
#define WEIR_HUB_HUB_COPY_H

#include "core/service.h"

/* Both are as hub.database has it, but a relative path starts where the caller is. Told often: what is copied, how many
 * rows of it are there, of how many. 0, or a code with a sentence in err that says what to do. Blocks; not a front
 * thread. */
int hub_copy(const char *from, const char *to, service_progress_fn *progress, void *arg, struct buf *err);

#endif
