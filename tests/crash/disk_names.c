/* disk_names.c -- the calls that open, make, rename and remove: see disk.c. */
#include "disk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Cuts a file that is opened with O_TRUNC: a change of its own. */
static int opened_to_cut(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || !disk_is_tracking)
		return fd;
	platter_resize_begins(fd, 0);
	platter_resize_ends(syscall(SYS_ftruncate, fd, 0L) == 0);
	return fd;
}

static int open_any(int at, const char *path, int flags, unsigned mode)
{
	char full[PATH_MAX];
	bool is_nameless = (flags & O_TMPFILE) == O_TMPFILE, is_new;
	int fd = -1, later;

	if (!disk_watches(at, path, full))
		return (int)syscall(SYS_openat, at, path, flags, mode);
	if (flags & O_DSYNC) /* O_SYNC has it too */
		disk_cannot_follow("O_SYNC and O_DSYNC");
	disk_enter();
	is_new = flags & O_CREAT && faccessat(at, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	later = !is_new && !is_nameless && disk_is_tracking ? flags & O_TRUNC : 0;
	if (disk_gate(is_nameless || is_new ? OP_MAKE : flags & O_TRUNC ? OP_SHRINK : OP_OPEN) == GO)
		fd = (int)syscall(SYS_openat, at, path, flags & ~later, mode);
	if (is_new && fd >= 0 && disk_is_tracking)
		platter_made(full);
	if (later)
		fd = opened_to_cut(fd);
	disk_leave();
	return fd;
}

#define OPEN_MODE(flags)                         \
	unsigned mode = 0;                       \
	if ((flags) & (O_CREAT | __O_TMPFILE)) { \
		va_list ap;                      \
		va_start(ap, flags);             \
		mode = va_arg(ap, unsigned);     \
		va_end(ap);                      \
	}

int open(const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_any(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_any(at, path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
	return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int mkdirat(int at, const char *path, mode_t mode)
{
	char full[PATH_MAX];
	int r = -1;

	if (!disk_watches(at, path, full))
		return (int)syscall(SYS_mkdirat, at, path, mode);
	disk_enter();
	/* What is there already is no operation: no disk is asked to make it. */
	if (faccessat(at, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || disk_gate(OP_LINK) == GO)
		r = (int)syscall(SYS_mkdirat, at, path, mode);
	if (r == 0 && disk_is_tracking)
		platter_made(full);
	disk_leave();
	return r;
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
	char full[PATH_MAX];
	int r = -1;

	if (!disk_watches(to_at, to, full))
		return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
	disk_enter();
	if (disk_gate(OP_LINK) == GO)
		r = (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
	if (r == 0 && disk_is_tracking)
		platter_made(full);
	disk_leave();
	return r;
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int at, const char *path, int flags)
{
	char full[PATH_MAX];
	int r = -1;

	if (!disk_watches(at, path, full))
		return (int)syscall(SYS_unlinkat, at, path, flags);
	disk_enter();
	/* Removing what is not there changes nothing: not counted. */
	if (faccessat(at, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || disk_gate(OP_REMOVE) == GO) {
		if (disk_is_tracking)
			platter_remove_begins(full);
		r = (int)syscall(SYS_unlinkat, at, path, flags);
		if (disk_is_tracking)
			platter_remove_ends(r == 0);
	}
	disk_leave();
	return r;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
	char full_from[PATH_MAX], full_to[PATH_MAX];
	bool is_from = disk_watches(from_at, from, full_from), is_to = disk_watches(to_at, to, full_to);
	int r = -1;

	if (!is_from && !is_to)
		return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
	if (is_from != is_to || (flags & ~(unsigned)RENAME_NOREPLACE))
		disk_cannot_follow("a rename into or out of the folder, or an exchange");
	disk_enter();
	if (faccessat(from_at, from, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || disk_gate(OP_RENAME) == GO) {
		if (disk_is_tracking)
			platter_rename_begins(full_from, full_to);
		r = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
		if (disk_is_tracking)
			platter_rename_ends(r == 0);
	}
	disk_leave();
	return r;
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
	return renameat2(from_at, from, to_at, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* The other names of the same calls: what large files and fortified builds use. */
#define ALIAS(name) __attribute__((alias(name)))

int open64(const char *path, int flags, ...) ALIAS("open");
int openat64(int at, const char *path, int flags, ...) ALIAS("openat");
int creat64(const char *path, mode_t mode) ALIAS("creat");

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags) ALIAS("__open_2");
int __openat_2(int at, const char *path, int flags);
int __openat64_2(int at, const char *path, int flags) ALIAS("__openat_2");

int __open_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

int __openat_2(int at, const char *path, int flags)
{
	return open_any(at, path, flags, 0);
}
