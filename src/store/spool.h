/* spool.h -- a file that one writer appends to and any number of readers follow while it grows.
 *
 * States: growing -> complete | failed(code). A reader of a spool that fails cuts its client's connection rather than
 * end it as if whole. The file has no name (O_TMPFILE below the spool directory) unless it is kept, so that nothing is
 * left after a kill -9. Counted. The writer is one thread at a time; readers are any threads. Appending blocks on the
 * disk: workers only; size, state and watching never block. */
#ifndef WEIR_STORE_SPOOL_H
#define WEIR_STORE_SPOOL_H

#include "base/buf.h"

struct spool;

enum spool_state { SPOOL_GROWING, SPOOL_COMPLETE, SPOOL_FAILED };

/* most_bytes: appending beyond it fails the spool with WEIR_E_TOO_LARGE (0: no limit but the disk). 0 or -errno.
 * One reference. */
int spool_new(const char *dir, uint64_t most_bytes, struct spool **ret);
/* A spool over a whole file that exists already; takes fd. */
int spool_new_complete_take(int fd, uint64_t bytes, struct spool **ret);
struct spool *spool_ref(struct spool *s);
void spool_unref(struct spool **s);

int spool_append(struct spool *s, const void *p, size_t n); /* 0 or -errno (also -ENOSPC); the caller then fails it */
/* Moves up to `most` bytes from a pipe by splice(2), without copying through user space. Bytes moved, 0 at end of
 * input, -EAGAIN when a non-blocking pipe is empty, -errno. */
ssize_t spool_append_splice(struct spool *s, int pipe_fd, size_t most);
/* Both ways of appending also give WEIR_E_TOO_LARGE above the limit and, on a failed spool, the code it failed with.
 * The first end counts: completing or failing a spool that has ended changes nothing. Any thread may fail it. */
void spool_complete(struct spool *s);
void spool_fail(struct spool *s, int err); /* err: a negative code */

/* Size and state belong together: when the state is COMPLETE, the size is final. Results may be NULL. */
enum spool_state spool_peek(struct spool *s, uint64_t *ret_bytes, int *ret_err);
/* Gives a complete spool a name, whole and durable: a file already at path is replaced. Workers only. 0 or -errno. */
int spool_keep(struct spool *s, const char *path);
int spool_fd(const struct spool *s); /* for pread and sendfile; borrowed */

/* A watcher is told (fn(arg), once for each change or more rarely, on any thread, under no lock but the spool's watch
 * lock: it may only post, or peek) when size or state changed. At most one call is under way; after spool_unwatch
 * returns, none is or comes: so it must not be called from fn. A watch keeps the spool alive. */
typedef void spool_watch_fn(void *arg);
struct spool_watch;
struct spool_watch *spool_watch(struct spool *s, spool_watch_fn *fn, void *arg);
void spool_unwatch(struct spool_watch **w);
unsigned spool_watchers(struct spool *s);

#endif
