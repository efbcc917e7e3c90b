/* loop.h -- a front thread: one libuv loop that owns its client sockets and never blocks. */
#ifndef WEIR_IO_LOOP_H
#define WEIR_IO_LOOP_H

#include <stdbool.h>

struct loop;
struct uv_loop_s;
typedef void loop_fn(void *arg);

int loop_new(unsigned index, struct loop **ret); /* not yet running; 0 or -errno */
int loop_start(struct loop *l);                  /* starts its thread; 0 or -errno */
/* Runs fn(arg) on the loop's thread, soon, in the order posted. Any thread; never blocks; never fails. After
 * loop_stop() it is dropped. */
void loop_post(struct loop *l, loop_fn *fn, void *arg);
bool loop_is_current(const struct loop *l);      /* front code asserts this */
bool loop_is_front(void);                        /* whether the calling thread is any front thread */
struct uv_loop_s *loop_uv(struct loop *l);
unsigned loop_index(const struct loop *l);
/* Posts the stop; the thread ends when its handles are closed: the caller has closed its watches, or closes them
 * soon. */
void loop_stop(struct loop *l);
void loop_free(struct loop *l); /* joins; NULL is fine */

/* fn(arg) every `ms` milliseconds, on the loop's thread; one such function a loop, the last set holds; ms 0 ends it.
 * The loop's thread only, or before loop_start(). */
void loop_set_tick(struct loop *l, unsigned ms, loop_fn *fn, void *arg);

/* Watching a descriptor: level-triggered. LOOP_GONE: the peer has closed its sending side (or all). LOOP_DEAD: an error
 * is pending on the descriptor (a reset, say); it is told whatever was asked for, once, and the watch is then asleep.
 * The loop's thread only, or before loop_start(). Changing the set costs two system calls, so change it rarely. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_GONE = 4, LOOP_DEAD = 8 };
struct loop_watch;
typedef void loop_watch_fn(void *arg, unsigned events);
/* fd is borrowed; asleep; 0 or -errno */
int loop_watch_open(struct loop *l, int fd, loop_watch_fn *fn, void *arg, struct loop_watch **ret);
void loop_watch_set(struct loop_watch *w, unsigned events); /* nothing happens when the set is the same; 0: asleep */
/* fn is not called any more; then the fd may be closed. *w may be NULL */
void loop_watch_close(struct loop_watch **w);

#endif
