/* cancel.h -- "nobody needs this any more", told once, from any thread to a worker that waits.
 *
 * A cancel has a flag and an eventfd. Blocking calls (the upstream client, children, spools) take one and end with
 * WEIR_E_CANCELLED soon after it fires. It can stand for several parties: with `wanted` counting, it fires when the
 * last of them has left. Counted; any thread. */
#ifndef WEIR_IO_CANCEL_H
#define WEIR_IO_CANCEL_H

#include <stdbool.h>

struct cancel;

int cancel_new(struct cancel **ret); /* 0 or -errno (descriptors used up); one reference, one party */
struct cancel *cancel_ref(struct cancel *c);
void cancel_unref(struct cancel **c); /* *c may be NULL */
void cancel_fire(struct cancel *c);   /* at once, whoever still waits; idempotent */
void cancel_join(struct cancel *c);   /* one more party wants the result */
void cancel_leave(struct cancel *c);  /* a party left; the last one fires it */
bool cancel_fired(const struct cancel *c); /* NULL: false */
int cancel_fd(const struct cancel *c);     /* readable once fired; -1 for NULL; never read from it */

#endif
