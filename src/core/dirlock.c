/* dirlock.c -- one owner for each folder (invariant 12).
 *
 * An flock(2) goes with the last descriptor of its open file, so it cannot outlive its process: after a kill -9 the
 * next daemon just takes it. (A file that merely exists would have to be believed or not; a process id in it may be
 * another's.) Children do not inherit it, as the descriptor is close-on-exec. What the file says is for people: who
 * holds it. */
#include "core/dirlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "io/file.h"

/* "pid 123 since 2026-01-02T03:04:05.678Z" */
static int write_holder(int fd)
{
	struct buf b = BUF_EMPTY;
	int r;

	buf_addf(&b, "pid %d since ", (int)getpid());
	clock_format_rfc3339(clock_wall_ms(), &b);
	buf_add_char(&b, '\n');
	r = ftruncate(fd, 0) < 0 ? -errno : fd_write_all(fd, b.data, b.len);
	buf_fini(&b);
	return r;
}

static void add_holder(const char *path, struct buf *err)
{
	struct buf b = BUF_EMPTY;
	struct slice line, rest;

	/* Empty between its lock and its words. */
	if (file_read_all(path, 200, &b) < 0)
		buf_reset(&b);
	rest = buf_slice(&b);
	(void)slice_cut(&rest, '\n', &line);
	if (line.n > 0)
		str_add_escaped(err, line, 100);
	else
		buf_add_str(err, "pid unknown");
	buf_fini(&b);
}

int dirlock_take(const char *dir, int *ret_fd, struct buf *err)
{
	char *path = xstrf("%s/lock", dir);
	int fd = -1, r;

	r = dir_make_all(dir, 0700);
	if (r < 0) {
		buf_addf(err, "cannot make the folder %s: %s", dir, err_text(r));
		goto out;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		r = -errno;
		buf_addf(err, "cannot open %s: %s", path, err_text(r));
		goto out;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		if (r == -EBUSY) {
			buf_addf(err, "the folder %s is in use by another weir: ", dir);
			add_holder(path, err);
		} else {
			buf_addf(err, "cannot lock %s: %s", path, err_text(r));
		}
		goto out;
	}
	r = write_holder(fd);
	if (r < 0) {
		buf_addf(err, "cannot write %s: %s", path, err_text(r));
		goto out;
	}
	*ret_fd = fd;
	fd = -1;
out:
	fd_close(&fd);
	free(path);
	return r;
}
