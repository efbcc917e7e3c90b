/* read_ahead.h -- front threads never wait for a disk: whether file contents are in memory, and fetching them when
 * not. */
#ifndef WEIR_CORE_READ_AHEAD_H
#define WEIR_CORE_READ_AHEAD_H

#include "io/loop.h"
#include "store/spool.h"

#define READ_AHEAD_WINDOW (256 * 1024)    /* what one look speaks for: the kernel reads about as far by itself */
#define READ_AHEAD_BYTES (2 * 1024 * 1024) /* fetched at once */

struct read_ahead; /* one thread for a server */

int read_ahead_new(struct read_ahead **ret); /* 0 or -errno */
void read_ahead_free(struct read_ahead *r);  /* finishes what was asked for; NULL is fine */
/* Whether reading at offset would wait for a disk. False where the file system cannot tell. Never blocks. Any
 * thread. */
bool read_ahead_is_needed(int fd, uint64_t offset);
/* Reads READ_AHEAD_BYTES from offset on into the page cache, then posts fn(arg) to the loop; also when reading failed.
 * Any thread. */
void read_ahead_start(struct read_ahead *r, struct spool *s, uint64_t offset, struct loop *loop, loop_fn *fn,
		      void *arg);

#endif
