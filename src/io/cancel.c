/* cancel.c -- a flag, an eventfd and a count of parties.
 *
 * WHAT     Firing sets the flag and makes the eventfd readable, for ever: poll(2) beside whatever else is waited for.
 * WHY      A flag alone cannot wake a worker that waits for an upstream or a child; a condition variable cannot be
 *          waited for together with descriptors. The eventfd is never read, so all who wait see it.
 * RULES    1. It fires at most once; a fired one stays fired.
 *          2. join() after the last party left does not undo that: it has fired.
 * THREADS  Any; no locks. */
#include "io/cancel.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/obj.h"

struct cancel {
	_Atomic unsigned refs, parties;
	_Atomic bool fired;
	int fd;
};

int cancel_new(struct cancel **ret)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct cancel *c;

	if (fd < 0)
		return -errno;
	c = xmalloc(sizeof(*c));
	atomic_init(&c->refs, 1);
	atomic_init(&c->parties, 1);
	atomic_init(&c->fired, false);
	c->fd = fd;
	*ret = c;
	return 0;
}

struct cancel *cancel_ref(struct cancel *c)
{
	ENSURE(atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed) > 0);
	return c;
}

void cancel_unref(struct cancel **cp)
{
	struct cancel *c = *cp;

	*cp = NULL;
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	(void)close(c->fd); /* an eventfd has nothing to flush */
	free(c);
}

void cancel_fire(struct cancel *c)
{
	uint64_t one = 1;

	if (atomic_exchange_explicit(&c->fired, true, memory_order_acq_rel))
		return;
	/* Eight bytes into a counter at 0 are always taken. */
	ENSURE(write(c->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

void cancel_join(struct cancel *c)
{
	atomic_fetch_add_explicit(&c->parties, 1, memory_order_relaxed);
}

void cancel_leave(struct cancel *c)
{
	unsigned before = atomic_fetch_sub_explicit(&c->parties, 1, memory_order_acq_rel);

	ENSURE(before > 0);
	if (before == 1)
		cancel_fire(c);
}

bool cancel_fired(const struct cancel *c)
{
	return c && atomic_load_explicit(&c->fired, memory_order_acquire);
}

int cancel_fd(const struct cancel *c)
{
	return c ? c->fd : -1;
}
