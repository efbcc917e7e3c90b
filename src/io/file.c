/* file.c -- small helpers around descriptors.
 *
 * WHAT     Whole reads and writes, folders made, synced, measured and removed.
 * RULES    1. Every descriptor is close-on-exec, so that no child inherits one by accident.
 *          2. Trees are walked with openat(2) relative to the folder above and O_NOFOLLOW, so that a symbolic link put
 *             there meanwhile cannot lead outside. A tree deeper than 64 folders is refused with -ELOOP: a level costs
 *             a descriptor and stack, and ours (repositories, quarantines) are five deep.
 * THREADS  Any; everything here blocks on the disk. */
#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"

#define MOST_DEPTH 64

void fd_close(int *fd)
{
	/* Not repeated on EINTR: Linux has closed it all the same. What must be durable was synced before. */
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

int file_read_all(const char *path, size_t most, struct buf *out)
{
	char chunk[16384];
	size_t start = out->len;
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	while (r == 0) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			break;
		if (n < 0) {
			r = -errno;
		} else if ((size_t)n > most - (out->len - start)) {
			r = WEIR_E_TOO_LARGE;
		} else {
			buf_add(out, chunk, (size_t)n);
			r = buf_error(out);
		}
	}
	fd_close(&fd);
	if (r < 0 && out->len > start)
		buf_truncate(out, start);
	return r;
}

int fd_write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t r = write(fd, at, n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		at += r;
		n -= (size_t)r;
	}
	return 0;
}

char *dir_above(const char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n && path[n - 1] != '/')
		n--;
	while (n > 1 && path[n - 1] == '/')
		n--;
	return n ? slice_dup((struct slice){ path, n }) : xstrdup(".");
}

int dir_sync_above(const char *path)
{
	char *above = dir_above(path);
	int r = dir_sync(above);

	free(above);
	return r;
}

static int dir_make_one(const char *path, unsigned mode)
{
	struct stat st;
	int r;

	if (mkdir(path, mode) == 0) {
		r = dir_sync_above(path);
		if (r < 0)
			(void)rmdir(path); /* else the next try would take it for made */
		return r;
	}
	r = -errno;
	/* Some other error may come first for a folder that is there, e.g. EROFS. */
	if (stat(path, &st) < 0)
		return r;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int dir_make_all(const char *path, unsigned mode)
{
	char *part = xstrdup(path);
	int r = 0;

	if (!*path)
		r = -ENOENT;
	for (char *p = part; r == 0 && *p; p++) {
		if (*p != '/' || p == part || p[1] == '/' || !p[1])
			continue;
		*p = '\0';
		r = dir_make_one(part, mode);
		*p = '/';
	}
	if (r == 0)
		r = dir_make_one(part, mode);
	free(part);
	return r;
}

int dir_sync(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	fd_close(&fd);
	return r;
}

static DIR *dir_open_at(int at, const char *name, int *ret_err)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (d)
		return d;
	*ret_err = -errno;
	fd_close(&fd);
	return NULL;
}

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Removes what is in the folder, not the folder. Goes on after a failure, and gives the first. */
static int tree_empty_at(int at, const char *name, int depth)
{
	struct dirent *e;
	int r = 0;
	DIR *d;

	if (depth > MOST_DEPTH)
		return -ELOOP;
	d = dir_open_at(at, name, &r);
	if (!d)
		return r == -ENOENT ? 0 : r;
	while ((e = readdir(d))) {
		int one = 0;
		if (is_dot(e->d_name))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno == EISDIR || errno == EPERM) {
			one = tree_empty_at(dirfd(d), e->d_name, depth + 1);
			if (one == 0 && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
				one = -errno;
		} else {
			one = -errno;
		}
		if (r == 0)
			r = one;
	}
	(void)closedir(d);
	return r;
}

int tree_remove(const char *path)
{
	int r;

	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	r = tree_empty_at(AT_FDCWD, path, 0);
	if (r == 0 && rmdir(path) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

/* Adds up a folder. What vanishes meanwhile counts nothing. */
static int tree_bytes_at(int at, const char *name, int depth, uint64_t *sum)
{
	struct dirent *e;
	struct stat st;
	int r = 0;
	DIR *d;

	if (depth > MOST_DEPTH)
		return -ELOOP;
	d = dir_open_at(at, name, &r);
	if (!d)
		return r == -ENOENT && depth > 0 ? 0 : r;
	while (r == 0 && (e = readdir(d))) {
		if (is_dot(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		*sum += (uint64_t)st.st_blocks * 512;
		if (S_ISDIR(st.st_mode))
			r = tree_bytes_at(dirfd(d), e->d_name, depth + 1, sum);
	}
	(void)closedir(d);
	return r;
}

int tree_bytes(const char *path, uint64_t *ret_bytes)
{
	uint64_t sum = 0;
	struct stat st;
	int r = 0;

	if (lstat(path, &st) < 0)
		return -errno;
	sum = (uint64_t)st.st_blocks * 512;
	if (S_ISDIR(st.st_mode))
		r = tree_bytes_at(AT_FDCWD, path, 0, &sum);
	if (r == 0)
		*ret_bytes = sum;
	return r;
}

int disk_free_bytes(const char *path, uint64_t *ret_bytes)
{
	struct statvfs v;

	if (statvfs(path, &v) < 0)
		return -errno;
	*ret_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	return 0;
}
