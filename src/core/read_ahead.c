/* read_ahead.c -- a thread that reads files so that sendfile(2) does not have to.
 *
 * WHAT     preadv2(2) with RWF_NOWAIT tells whether a page is in memory. When it is not, this thread reads the next
 *          megabytes into the page cache, and the connection goes on when they are there.
 * WHY      sendfile from a cold file blocks the front thread, and with it thousands of other clients, for as long as a
 *          disk needs. What was written a moment ago is in memory anyway, so this thread sleeps nearly always; one is
 *          enough, as a disk that is slow is not made faster by asking twice.
 * RULES    1. A fetch always ends in the post, so that the connection goes on, if need be into sendfile's own error.
 * THREADS  `lock` guards the queue; a leaf. */
#include "core/read_ahead.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/list.h"
#include "base/obj.h"

#define PIECE_BYTES (64 * 1024)

struct fetch {
	struct list link;
	struct spool *spool;
	uint64_t offset;
	struct loop *loop;
	loop_fn *fn;
	void *arg;
};

struct read_ahead {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list queue;
	bool ending;
	char piece[PIECE_BYTES];
};

bool read_ahead_is_needed(int fd, uint64_t offset)
{
	char byte;
	struct iovec iov = { &byte, 1 };

	return preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT) < 0 && errno == EAGAIN;
}

static void fetch_now(struct read_ahead *r, struct fetch *f)
{
	for (size_t done = 0; done < READ_AHEAD_BYTES;) {
		ssize_t n = pread(spool_fd(f->spool), r->piece, sizeof(r->piece), (off_t)(f->offset + done));

		if (n <= 0)
			break; /* rule 1 */
		done += (size_t)n;
	}
}

static void *run(void *arg)
{
	struct read_ahead *r = arg;

	(void)pthread_setname_np(pthread_self(), "read-ahead"); /* for people who look with top(1) only */
	pthread_mutex_lock(&r->lock);
	for (;;) {
		struct fetch *f;

		while (list_is_empty(&r->queue) && !r->ending)
			pthread_cond_wait(&r->more, &r->lock);
		if (list_is_empty(&r->queue))
			break;
		f = LIST_ENTRY(r->queue.next, struct fetch, link);
		list_remove(&f->link);
		pthread_mutex_unlock(&r->lock);
		fetch_now(r, f);
		loop_post(f->loop, f->fn, f->arg);
		spool_unref(&f->spool);
		free(f);
		pthread_mutex_lock(&r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

int read_ahead_new(struct read_ahead **ret)
{
	struct read_ahead *r = xmalloc(sizeof(*r));
	sigset_t all, old;
	int e;

	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->more, NULL);
	list_init(&r->queue);
	r->ending = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	e = -pthread_create(&r->thread, NULL, run, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (e < 0) {
		pthread_cond_destroy(&r->more);
		pthread_mutex_destroy(&r->lock);
		free(r);
		return e;
	}
	*ret = r;
	return 0;
}

void read_ahead_free(struct read_ahead *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->ending = true;
	pthread_cond_signal(&r->more);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	pthread_cond_destroy(&r->more);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void read_ahead_start(struct read_ahead *r, struct spool *s, uint64_t offset, struct loop *loop, loop_fn *fn, void *arg)
{
	struct fetch *f = xmalloc(sizeof(*f));

	*f = (struct fetch){ .spool = spool_ref(s), .offset = offset, .loop = loop, .fn = fn, .arg = arg };
	pthread_mutex_lock(&r->lock);
	list_push_back(&r->queue, &f->link);
	pthread_cond_signal(&r->more);
	pthread_mutex_unlock(&r->lock);
}
