/* spool.c -- a file that one writer appends to while any number of readers follow.
 *
 *   growing --spool_complete--> complete
 *      \------spool_fail------> failed(code)          the first end counts, later ones change nothing
 *
 * WHY      One mechanism gives streaming to many waiting clients, request collapsing, resumable reading and bodies on
 *          disk. Readers use sendfile(2) from the page cache, so a transfer that 200 clients share is in memory once.
 * RULES    1. Bytes are in the file before the size that covers them is told.
 *          2. Nobody is told under the state lock; watchers run under the watch lock alone, in any order.
 *          3. The file has no name, so nothing is left after a kill -9. spool_keep() gives a whole one a name.
 * THREADS  One writer at a time, readers anywhere. Two locks: `lock` guards size and state; `watch_lock` guards the
 *          list of watchers and is held while they are called, which is why unwatching waits for a call under way. A
 *          watcher may peek (lock is taken inside watch_lock, never the other way round).
 * TRIED    Telling readers through an eventfd each: a descriptor and two system calls for each append and reader. */
#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/list.h"
#include "base/obj.h"
#include "base/rand.h"
#include "io/file.h"

#define SPOOL_MAGIC 0x73706f6fu

struct spool {
	unsigned magic;
	atomic_uint refs;
	int fd;
	uint64_t limit;
	pthread_mutex_t lock;
	uint64_t bytes;
	enum spool_state state;
	int err;
	pthread_mutex_t watch_lock;
	struct list watches;
};

struct spool_watch {
	struct list node;
	struct spool *spool;
	spool_watch_fn *fn;
	void *arg;
};

/* For file systems without O_TMPFILE (overlayfs before 6.3, NFS): a name that lives for two system calls. */
static int open_unlinked(const char *dir, int *ret_fd)
{
	char *path = xstrf("%s/spool-XXXXXX", dir);
	int fd = mkostemp(path, O_CLOEXEC), r = 0;

	if (fd < 0)
		r = -errno;
	else if (unlink(path) < 0)
		r = -errno;
	free(path);
	if (r < 0)
		fd_close(&fd);
	else
		*ret_fd = fd;
	return r;
}

static int open_nameless(const char *dir, int *ret_fd)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	/* EISDIR: a kernel or file system that knows no O_TMPFILE sees O_DIRECTORY | O_RDWR. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		return open_unlinked(dir, ret_fd);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static struct spool *spool_make(int fd, uint64_t bytes, uint64_t limit, enum spool_state state)
{
	struct spool *s = xcalloc(1, sizeof(*s));

	s->magic = SPOOL_MAGIC;
	atomic_init(&s->refs, 1);
	s->fd = fd;
	s->bytes = bytes;
	s->limit = limit;
	s->state = state;
	ENSURE(pthread_mutex_init(&s->lock, NULL) == 0);
	ENSURE(pthread_mutex_init(&s->watch_lock, NULL) == 0);
	list_init(&s->watches);
	return s;
}

int spool_new(const char *dir, uint64_t most_bytes, struct spool **ret)
{
	int fd = -1, r = open_nameless(dir, &fd);

	if (r < 0)
		return r;
	*ret = spool_make(fd, 0, most_bytes, SPOOL_GROWING);
	return 0;
}

int spool_new_complete_take(int fd, uint64_t bytes, struct spool **ret)
{
	ENSURE(fd >= 0);
	*ret = spool_make(fd, bytes, 0, SPOOL_COMPLETE);
	return 0;
}

struct spool *spool_ref(struct spool *s)
{
	OBJ_CHECK(s, SPOOL_MAGIC);
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void spool_unref(struct spool **sp)
{
	struct spool *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	OBJ_CHECK(s, SPOOL_MAGIC);
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	ENSURE(list_is_empty(&s->watches)); /* each has a reference */
	fd_close(&s->fd);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->watch_lock);
	s->magic = 0;
	free(s);
}

/* --- the writer ------------------------------------------------------------------------------------------------- */

static void tell_watchers(struct spool *s)
{
	pthread_mutex_lock(&s->watch_lock);
	LIST_FOREACH(it, &s->watches) {
		struct spool_watch *w = LIST_ENTRY(it, struct spool_watch, node);
		w->fn(w->arg);
	}
	pthread_mutex_unlock(&s->watch_lock);
}

static void spool_end(struct spool *s, enum spool_state state, int err)
{
	bool is_first;

	OBJ_CHECK(s, SPOOL_MAGIC);
	pthread_mutex_lock(&s->lock);
	is_first = s->state == SPOOL_GROWING;
	if (is_first) {
		s->state = state;
		s->err = err;
	}
	pthread_mutex_unlock(&s->lock);
	if (is_first)
		tell_watchers(s);
}

void spool_complete(struct spool *s)
{
	spool_end(s, SPOOL_COMPLETE, 0);
}

void spool_fail(struct spool *s, int err)
{
	ENSURE(err < 0);
	spool_end(s, SPOOL_FAILED, err);
}

/* How far the writer may go on: 0 with the offset, or the code the spool failed with. */
static int writer_offset(struct spool *s, uint64_t *ret_bytes)
{
	int err;
	enum spool_state state = spool_peek(s, ret_bytes, &err);

	ENSURE(state != SPOOL_COMPLETE); /* its size is final */
	return state == SPOOL_FAILED ? err : 0;
}

static void writer_advance(struct spool *s, size_t n)
{
	pthread_mutex_lock(&s->lock);
	s->bytes += n;
	pthread_mutex_unlock(&s->lock);
	tell_watchers(s);
}

int spool_append(struct spool *s, const void *p, size_t n)
{
	const char *at = p;
	uint64_t offset;
	size_t left = n;
	int r;

	r = writer_offset(s, &offset);
	if (r < 0 || n == 0)
		return r;
	if (s->limit && n > s->limit - offset) {
		spool_fail(s, WEIR_E_TOO_LARGE);
		return WEIR_E_TOO_LARGE;
	}
	while (left > 0) {
		ssize_t w = pwrite(s->fd, at, left, (off_t)offset);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		at += w;
		left -= (size_t)w;
		offset += (uint64_t)w;
	}
	writer_advance(s, n);
	return 0;
}

/* At the limit, a further byte decides between a whole file and one that is too large. */
static ssize_t splice_at_limit(struct spool *s, int pipe_fd)
{
	char c;
	ssize_t n;

	do
		n = read(pipe_fd, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	spool_fail(s, WEIR_E_TOO_LARGE);
	return WEIR_E_TOO_LARGE;
}

/* For file systems that cannot take a splice. */
static ssize_t copy_through(struct spool *s, int pipe_fd, size_t most)
{
	char chunk[16384];
	ssize_t n;
	int r;

	do
		n = read(pipe_fd, chunk, most < sizeof(chunk) ? most : sizeof(chunk));
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	r = spool_append(s, chunk, (size_t)n);
	return r < 0 ? r : n;
}

ssize_t spool_append_splice(struct spool *s, int pipe_fd, size_t most)
{
	uint64_t offset;
	off_t at;
	ssize_t n;
	int r;

	r = writer_offset(s, &offset);
	if (r < 0)
		return r;
	if (s->limit && offset == s->limit)
		return splice_at_limit(s, pipe_fd);
	if (s->limit && most > s->limit - offset)
		most = (size_t)(s->limit - offset);
	at = (off_t)offset;
	do
		n = splice(pipe_fd, NULL, s->fd, &at, most, SPLICE_F_MOVE);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EINVAL)
		return copy_through(s, pipe_fd, most);
	if (n < 0)
		return -errno;
	if (n > 0)
		writer_advance(s, (size_t)n);
	return n;
}

/* --- readers ---------------------------------------------------------------------------------------------------- */

enum spool_state spool_peek(struct spool *s, uint64_t *ret_bytes, int *ret_err)
{
	enum spool_state state;

	OBJ_CHECK(s, SPOOL_MAGIC);
	pthread_mutex_lock(&s->lock);
	state = s->state;
	if (ret_bytes)
		*ret_bytes = s->bytes;
	if (ret_err)
		*ret_err = s->err;
	pthread_mutex_unlock(&s->lock);
	return state;
}

int spool_fd(const struct spool *s)
{
	return s->fd;
}

struct spool_watch *spool_watch(struct spool *s, spool_watch_fn *fn, void *arg)
{
	struct spool_watch *w = xcalloc(1, sizeof(*w));

	w->spool = spool_ref(s);
	w->fn = fn;
	w->arg = arg;
	pthread_mutex_lock(&s->watch_lock);
	list_push_back(&s->watches, &w->node);
	pthread_mutex_unlock(&s->watch_lock);
	return w;
}

void spool_unwatch(struct spool_watch **wp)
{
	struct spool_watch *w = *wp;

	*wp = NULL;
	if (!w)
		return;
	pthread_mutex_lock(&w->spool->watch_lock);
	list_remove(&w->node);
	pthread_mutex_unlock(&w->spool->watch_lock);
	spool_unref(&w->spool);
	free(w);
}

unsigned spool_watchers(struct spool *s)
{
	unsigned n = 0;

	OBJ_CHECK(s, SPOOL_MAGIC);
	pthread_mutex_lock(&s->watch_lock);
	LIST_FOREACH(it, &s->watches)
		n++;
	pthread_mutex_unlock(&s->watch_lock);
	return n;
}

/* --- keeping ---------------------------------------------------------------------------------------------------- */

/* A file that never had a name but was made by mkstemp cannot get one back: its bytes go into another. */
static int copy_to(struct spool *s, const char *path)
{
	off_t at = 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r = 0;

	if (fd < 0)
		return -errno;
	while (r == 0 && (uint64_t)at < s->bytes) {
		ssize_t n = sendfile(fd, s->fd, &at, (size_t)(s->bytes - (uint64_t)at));
		if (n < 0 && errno != EINTR)
			r = -errno;
		else if (n == 0)
			r = WEIR_E_DAMAGED; /* shorter than what was written */
	}
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	fd_close(&fd);
	return r;
}

static int link_to(struct spool *s, const char *path)
{
	char self[40];

	if (fsync(s->fd) < 0)
		return -errno;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", s->fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int spool_keep(struct spool *s, const char *path)
{
	char *temp = xstrf("%s.tmp-%016llx", path, (unsigned long long)rand_u64());
	char *dir = xstrdup(path), *slash = strrchr(dir, '/');
	int r;

	ENSURE(spool_peek(s, NULL, NULL) == SPOOL_COMPLETE);
	r = link_to(s, temp);
	if (r == -ENOENT || r == -EXDEV)
		r = copy_to(s, temp);
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(temp); /* it may not be there */
	if (slash)
		*(slash == dir ? slash + 1 : slash) = '\0';
	if (r == 0)
		r = dir_sync(slash ? dir : ".");
	free(dir);
	free(temp);
	return r;
}
