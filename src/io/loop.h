/* loop.h -- a front thread: one libuv loop that owns its client sockets and never blocks. */
#ifndef WEIR_IO_LOOP_H
#define WEIR_IO_LOOP_H

#include <stdbool.h>

struct loop;
struct uv_loop_s;
typedef void loop_fn(void *arg);

int loop_new(unsigned index, struct loop **ret); /* not yet running */
int loop_start(struct loop *l);                  /* starts its thread */
/* Runs fn(arg) on the loop's thread, soon, in the order posted. Any thread; never blocks; never fails. */
void loop_post(struct loop *l, loop_fn *fn, void *arg);
bool loop_is_current(const struct loop *l);      /* front code asserts this */
bool loop_is_front(void);                        /* whether the calling thread is any front thread */
struct uv_loop_s *loop_uv(struct loop *l);
unsigned loop_index(const struct loop *l);
void loop_stop(struct loop *l); /* posts the stop; the thread ends when its handles are closed */
void loop_free(struct loop *l); /* joins */

#endif
