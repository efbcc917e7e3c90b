/* datacat_folder.c -- the folders of datacat-daemon.
 *
 *      $XDG_STATE_HOME/weir/datacat/0/lock      held by the daemon that uses it
 *                                    /server    the URL that what lies here is for; absent: nothing waits
 *                                    /outbox/ /sessions/
 *                                  1/ ...
 *
 * WHY      Each program starts a daemon of its own, and gives it no place to keep anything. A daemon that was killed
 *          leaves its folder to the next one that is for the same server. */
#include "cli/datacat_folder.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "core/dirlock.h"
#include "io/file.h"
#include "store/wholefile.h"

#define MOST_FOLDERS 1000
#define MOST_URL 8192

static int root(char **ret, struct buf *err)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	const struct passwd *pw;

	if (state && *state == '/') { /* relative ones are invalid, says the specification */
		*ret = xstrf("%s/weir/datacat", state);
		return 0;
	}
	if (!home || *home != '/') {
		pw = getpwuid(getuid());
		home = pw ? pw->pw_dir : NULL;
	}
	if (!home || *home != '/') {
		buf_add_str(err, "there is no home folder to keep anything in: set XDG_STATE_HOME");
		return -ENOENT;
	}
	*ret = xstrf("%s/.local/state/weir/datacat", home);
	return 0;
}

/* What the folder holds is for this server, or it holds nothing: true, and *ret_waits tells which. */
static bool is_for(const struct datacat_folder *f, const char *server, bool *ret_waits)
{
	char *path = xstrf("%s/server", f->path);
	struct buf text = BUF_EMPTY;
	int r = file_read_all(path, MOST_URL, &text);
	bool is_same = r == 0 && slice_eq_str(buf_slice(&text), server);

	free(path);
	buf_fini(&text);
	*ret_waits = r != -ENOENT;
	return r == -ENOENT || is_same;
}

static int note_server(const struct datacat_folder *f, const char *server, struct buf *err)
{
	char *path = xstrf("%s/server", f->path);
	int r = wholefile_write(path, slice_str(server), 0);

	if (r < 0)
		buf_addf(err, "cannot write %s: %s", path, err_text(r));
	free(path);
	return r;
}

/* 0; -EBUSY; -ENOENT: it is for another server, or (wanted) holds nothing; or a code. */
static int take_one(const char *dir, unsigned number, const char *server, bool wanted, struct datacat_folder *ret,
		    struct buf *err)
{
	struct datacat_folder f = { .path = xstrf("%s/%u", dir, number), .number = number, .lock_fd = -1 };
	bool waits = false;
	int r = 0;

	if (wanted && access(f.path, F_OK) < 0)
		r = -ENOENT;
	if (r == 0)
		r = dirlock_take(f.path, &f.lock_fd, err);
	if (r == 0 && (!is_for(&f, server, &waits) || (wanted && !waits)))
		r = -ENOENT;
	if (r < 0) {
		fd_close(&f.lock_fd);
		datacat_folder_fini(&f);
	} else {
		*ret = f;
	}
	return r;
}

int datacat_folder_take(const char *server, struct datacat_folder *ret, struct buf *err)
{
	char *dir = NULL;
	int r = root(&dir, err);

	if (r < 0)
		return r;
	r = -EBUSY;
	for (unsigned n = 0; n < MOST_FOLDERS && (r == -EBUSY || r == -ENOENT); n++) {
		buf_reset(err);
		r = take_one(dir, n, server, false, ret, err);
	}
	free(dir);
	if (r == -EBUSY || r == -ENOENT)
		buf_addf(err, "all of %d folders are in use", MOST_FOLDERS);
	if (r == 0 && (r = note_server(ret, server, err)) < 0)
		fd_close(&ret->lock_fd);
	return r;
}

int datacat_folder_take_over(unsigned number, const char *server, struct datacat_folder *ret, struct buf *err)
{
	char *dir = NULL;
	int r = root(&dir, err);

	if (r == 0)
		r = take_one(dir, number, server, true, ret, err);
	free(dir);
	return r;
}

size_t datacat_folder_left(unsigned from, const char *server, unsigned *ret, size_t most)
{
	struct buf err = BUF_EMPTY;
	char *dir = NULL;
	size_t count = 0;
	int r = root(&dir, &err);

	for (unsigned n = from + 1; r == 0 && n < MOST_FOLDERS && count < most; n++) {
		struct datacat_folder f = DATACAT_FOLDER_NONE;
		char *path = xstrf("%s/%u", dir, n);
		bool is_there = access(path, F_OK) == 0;

		free(path);
		if (!is_there)
			break;
		if (take_one(dir, n, server, true, &f, &err) == 0)
			ret[count++] = n;
		fd_close(&f.lock_fd);
		datacat_folder_fini(&f);
	}
	free(dir);
	buf_fini(&err);
	return count;
}

void datacat_folder_is_empty(const struct datacat_folder *f)
{
	char *path = xstrf("%s/server", f->path);

	(void)unlink(path); /* it stays then, and the next daemon looks in vain */
	free(path);
}

void datacat_folder_fini(struct datacat_folder *f)
{
	free(f->path);
	f->path = NULL;
}
