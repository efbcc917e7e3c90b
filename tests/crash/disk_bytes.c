/* disk_bytes.c -- the calls that write, read, size and sync a file: see disk.c. */
#include "disk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/obj.h"

enum how { WRITE, PWRITE, WRITEV, PWRITEV, SPLICE, SENDFILE, COPY };

/* The arguments of whatever writes, by their common names. */
struct put {
	enum how how;
	int fd, in;
	const void *p; /* or an array of struct iovec, n of them */
	size_t n;
	off_t at;
	off_t *in_at, *out_at;
	unsigned flags;
};

static size_t put_bytes(const struct put *w)
{
	const struct iovec *v = w->p;
	size_t n = 0;

	if (w->how != WRITEV && w->how != PWRITEV)
		return w->n;
	for (size_t i = 0; i < w->n; i++)
		n += v[i].iov_len;
	return n;
}

static ssize_t put_raw(const struct put *w)
{
	switch (w->how) {
	case WRITE: return syscall(SYS_write, w->fd, w->p, w->n);
	case PWRITE: return syscall(SYS_pwrite64, w->fd, w->p, w->n, w->at);
	case WRITEV: return syscall(SYS_writev, w->fd, w->p, w->n);
	case PWRITEV: return syscall(SYS_pwritev, w->fd, w->p, w->n, w->at, 0L);
	case SPLICE: return syscall(SYS_splice, w->in, w->in_at, w->fd, w->out_at, w->n, w->flags);
	case SENDFILE: return syscall(SYS_sendfile, w->fd, w->in, w->in_at, w->n);
	case COPY: return syscall(SYS_copy_file_range, w->in, w->in_at, w->fd, w->out_at, w->n, w->flags);
	}
	return -1;
}

/* Where it is going to write. */
static off_t put_offset(const struct put *w)
{
	struct stat st;

	if (w->how == PWRITE || w->how == PWRITEV)
		return w->at;
	if (w->out_at)
		return *w->out_at;
	if (!(fcntl(w->fd, F_GETFL) & O_APPEND))
		return lseek(w->fd, 0, SEEK_CUR);
	return fstat(w->fd, &st) == 0 ? st.st_size : 0;
}

/* Half of it; of a vector, what is in its first part. */
static void put_halve(struct put *w)
{
	w->n = w->n > 1 ? w->n / 2 : w->how == WRITEV || w->how == PWRITEV ? 1 : 0;
}

static ssize_t put(struct put w)
{
	enum disk_verdict v;
	ssize_t r = -1;

	if (!disk_watches_fd(w.fd))
		return put_raw(&w);
	disk_enter();
	v = disk_gate(OP_WRITE);
	if (v == HALF)
		put_halve(&w);
	if (v == HALF && w.n == 0 && disk_plan.fault == DISK_ENOSPC) {
		errno = ENOSPC;
		v = FAIL;
	}
	if (v != FAIL) {
		if (disk_is_tracking)
			platter_write_begins(w.fd, put_offset(&w), put_bytes(&w));
		r = put_raw(&w);
		if (disk_is_tracking)
			platter_write_ends(r);
	}
	if (v == HALF && disk_plan.fault == DISK_TEAR)
		disk_stop(DISK_STOPPED);
	disk_leave();
	return r;
}

ssize_t write(int fd, const void *p, size_t n)
{
	return put((struct put){ .how = WRITE, .fd = fd, .p = p, .n = n });
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	return put((struct put){ .how = PWRITE, .fd = fd, .p = p, .n = n, .at = at });
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	return put((struct put){ .how = WRITEV, .fd = fd, .p = v, .n = (size_t)n });
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	return put((struct put){ .how = PWRITEV, .fd = fd, .p = v, .n = (size_t)n, .at = at });
}

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags)
{
	return put((struct put){
		.how = SPLICE, .fd = out, .in = in, .in_at = in_at, .out_at = out_at, .n = n, .flags = flags });
}

ssize_t sendfile(int out, int in, off_t *in_at, size_t n)
{
	return put((struct put){ .how = SENDFILE, .fd = out, .in = in, .in_at = in_at, .n = n });
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags)
{
	return put((struct put){
		.how = COPY, .fd = out, .in = in, .in_at = in_at, .out_at = out_at, .n = n, .flags = flags });
}

/* flags -1: ftruncate to size; else fallocate of [at, at + size). */
static int resize(int fd, int flags, off_t at, off_t size)
{
	struct stat st = { 0 };
	int r = -1;

	if (!disk_watches_fd(fd))
		return (int)(flags < 0 ? syscall(SYS_ftruncate, fd, size)
				       : syscall(SYS_fallocate, fd, flags, at, size));
	if (flags > 0 && flags != FALLOC_FL_KEEP_SIZE)
		disk_cannot_follow("fallocate with these flags");
	disk_enter();
	(void)fstat(fd, &st);
	if (disk_gate(flags >= 0 || size > st.st_size ? OP_GROW : OP_SHRINK) == GO) {
		bool is_change = disk_is_tracking && (flags <= 0);
		off_t end = flags < 0 ? size : at + size > st.st_size ? at + size : st.st_size;
		if (is_change)
			platter_resize_begins(fd, end);
		r = (int)(flags < 0 ? syscall(SYS_ftruncate, fd, size) : syscall(SYS_fallocate, fd, flags, at, size));
		if (is_change)
			platter_resize_ends(r == 0);
	}
	disk_leave();
	return r;
}

int ftruncate(int fd, off_t size)
{
	return resize(fd, -1, 0, size);
}

int fallocate(int fd, int flags, off_t at, off_t n)
{
	return resize(fd, flags, at, n);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
	int before = errno, r = resize(fd, 0, at, n) < 0 ? errno : 0;

	errno = before;
	return r;
}

/* Whether the disk only pretends to have done it. */
static bool is_pretence(int fd)
{
	char path[PATH_MAX];
	struct stat st;

	if (!disk_plan.blind || fstat(fd, &st) < 0 || !disk_name_of(fd, path))
		return false;
	return disk_plan.blind & (S_ISDIR(st.st_mode) ? DISK_BLIND_DIRS : DISK_BLIND_FILES) &&
	       (!disk_plan.blind_at || strstr(path, disk_plan.blind_at));
}

static int sync_fd(int fd, long call)
{
	int r = -1;

	if (!disk_watches_fd(fd))
		return (int)syscall(call, fd);
	disk_enter();
	if (disk_gate(OP_SYNC) == GO)
		r = (int)syscall(call, fd);
	if (disk_is_tracking && r < 0)
		platter_sync_failed(fd);
	else if (disk_is_tracking && !is_pretence(fd))
		platter_synced(fd);
	disk_leave();
	return r;
}

int fsync(int fd)
{
	return sync_fd(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_fd(fd, SYS_fdatasync);
}

int sync_file_range(int fd, off64_t at, off64_t n, unsigned flags)
{
	int r = -1;

	if (!disk_watches_fd(fd))
		return (int)syscall(SYS_sync_file_range, fd, at, n, flags);
	disk_enter();
	if (disk_gate(OP_SYNC) == GO)
		r = (int)syscall(SYS_sync_file_range, fd, at, n, flags);
	disk_leave();
	return r;
}

static ssize_t get(int fd, void *p, size_t n, bool has_offset, off_t at)
{
	bool is_failing = false;

	if (disk_counts(OP_READ) && disk_watches_fd(fd)) {
		disk_enter();
		is_failing = disk_gate(OP_READ) == FAIL;
		disk_leave();
	}
	if (is_failing)
		return -1;
	return has_offset ? syscall(SYS_pread64, fd, p, n, at) : syscall(SYS_read, fd, p, n);
}

ssize_t read(int fd, void *p, size_t n)
{
	return get(fd, p, n, false, 0);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
	return get(fd, p, n, true, at);
}

void *mmap(void *p, size_t n, int protection, int flags, int fd, off_t at)
{
	char path[PATH_MAX];

	if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) && disk_watches_fd(fd) &&
	    disk_name_of(fd, path) && (strlen(path) < 4 || strcmp(path + strlen(path) - 4, "-shm") != 0))
		disk_cannot_follow("a shared mapping for writing");
	return (void *)syscall(SYS_mmap, p, n, protection, flags, fd, at);
}

int close(int fd)
{
	enum disk_verdict v = GO;

	if (disk_counts(OP_CLOSE) && disk_watches_fd(fd) && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) {
		disk_enter();
		v = disk_gate(OP_CLOSE);
		disk_leave();
	}
	if (v == GO)
		return (int)syscall(SYS_close, fd);
	(void)syscall(SYS_close, fd);
	errno = EIO;
	return -1;
}

/* The other names of the same calls: what large files and fortified builds use. */
#define ALIAS(name) __attribute__((alias(name)))

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) ALIAS("pwrite");
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) ALIAS("pwritev");
ssize_t sendfile64(int out, int in, off64_t *in_at, size_t n) ALIAS("sendfile");
int ftruncate64(int fd, off64_t size) ALIAS("ftruncate");
int fallocate64(int fd, int flags, off64_t at, off64_t n) ALIAS("fallocate");
int posix_fallocate64(int fd, off64_t at, off64_t n) ALIAS("posix_fallocate");
ssize_t pread64(int fd, void *p, size_t n, off64_t at) ALIAS("pread");
void *mmap64(void *p, size_t n, int protection, int flags, int fd, off64_t at) ALIAS("mmap");

ssize_t __read_chk(int fd, void *p, size_t n, size_t room);
ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t room);

ssize_t __read_chk(int fd, void *p, size_t n, size_t room)
{
	ENSURE(n <= room);
	return read(fd, p, n);
}

ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t room)
{
	ENSURE(n <= room);
	return pread(fd, p, n, at);
}
