/* outbox_bodies.c -- bodies of writes as files.
 *
 * A body above OUTBOX_INLINE_BYTES is a file <dir>/bodies/<32 random hexadecimal digits>, made of a spool that had no
 * name before: it is whole and synced, and its folder too, before the record that names it is written. A file that no
 * record names was left by a stop in between, and is removed at the next start; one that a record names and is not
 * there, or is not what its sum says, is damage. Smaller bodies are rows of the database and handed out as files in
 * memory. */
#include "store/outbox_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "base/str.h"
#include "io/file.h"
#include "store/wholefile.h"

/* The sum of the first `bytes` of a file; WEIR_E_DAMAGED when it has fewer. */
static int sum_of(int fd, uint64_t bytes, uint32_t *ret)
{
	static const size_t piece = 256 * 1024;
	char *room = xmalloc(piece);
	uint32_t sum = 0;
	uint64_t at = 0;
	int r = 0;

	while (r == 0 && at < bytes) {
		size_t want = bytes - at < piece ? (size_t)(bytes - at) : piece;
		ssize_t n = pread(fd, room, want, (off_t)at);
		if (n < 0 && errno != EINTR)
			r = -errno;
		else if (n == 0)
			r = WEIR_E_DAMAGED;
		else if (n > 0) {
			sum = crc32c(sum, room, (size_t)n);
			at += (uint64_t)n;
		}
	}
	free(room);
	if (r == 0)
		*ret = sum;
	return r;
}

/* A path in the folder; the caller frees. Only names that are made here can be ones of ours: no record can point
 * elsewhere. */
static char *path_of(struct outbox *ob, struct slice name)
{
	if (name.n != OUTBOX_BODY_NAME || !str_is_hex(name))
		return NULL;
	return xstrf("%s/%.*s", ob->bodies, (int)name.n, name.p);
}

int outbox_bodies_keep(struct outbox *ob, struct spool *s, char ret_name[OUTBOX_BODY_NAME + 1], uint32_t *ret_crc)
{
	unsigned char digits[OUTBOX_BODY_NAME / 2];
	struct buf name = BUF_EMPTY;
	uint64_t bytes;
	char *path;
	int r;

	(void)spool_peek(s, &bytes, NULL); /* the caller knows that it is complete */
	r = sum_of(spool_fd(s), bytes, ret_crc);
	if (r < 0)
		return r;
	rand_bytes(digits, sizeof(digits));
	str_hex(digits, sizeof(digits), &name);
	path = path_of(ob, buf_slice(&name));
	r = spool_keep(s, path);
	if (r < 0)
		(void)unlink(path); /* only the sync of the folder may have failed */
	else
		memcpy(ret_name, name.data, OUTBOX_BODY_NAME + 1);
	free(path);
	buf_fini(&name);
	return r;
}

void outbox_bodies_remove(struct outbox *ob, struct slice name)
{
	char *path = path_of(ob, name);

	if (path)
		(void)unlink(path); /* as the header says */
	free(path);
}

int outbox_bodies_open(struct outbox *ob, struct slice name, uint64_t bytes, uint32_t crc, struct spool **ret)
{
	char *path = path_of(ob, name);
	struct stat file;
	uint32_t sum;
	int fd, r = 0;

	if (!path)
		return WEIR_E_DAMAGED;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (fd < 0)
		return errno == ENOENT ? WEIR_E_DAMAGED : -errno;
	if (fstat(fd, &file) < 0)
		r = -errno;
	else if ((uint64_t)file.st_size != bytes)
		r = WEIR_E_DAMAGED;
	if (r == 0)
		r = sum_of(fd, bytes, &sum);
	if (r == 0 && sum != crc)
		r = WEIR_E_DAMAGED;
	if (r == 0)
		r = spool_new_complete_take(fd, bytes, ret);
	else
		fd_close(&fd);
	return r;
}

int outbox_bodies_in_memory(struct slice body, struct spool **ret)
{
	int fd = memfd_create("weir-body", MFD_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, body.p, body.n);
	if (r == 0)
		r = spool_new_complete_take(fd, body.n, ret);
	else
		fd_close(&fd);
	return r;
}

bool outbox_bodies_is_there(struct outbox *ob, struct slice name, uint64_t bytes)
{
	char *path = path_of(ob, name);
	struct stat file;
	bool there = path && stat(path, &file) == 0 && (uint64_t)file.st_size == bytes;

	free(path);
	return there;
}

/* --- at start --------------------------------------------------------------------------------------------------- */

/* False: it is evidence, and could not be set aside. */
static bool remove_orphan(struct outbox *ob, struct slice name)
{
	char *path;
	int r;

	if (outbox_damaged(ob) == 0) {
		outbox_bodies_remove(ob, name);
		return true;
	}
	path = path_of(ob, name);
	r = wholefile_set_aside(path, ob->dir);
	free(path);
	return r == 0;
}

int outbox_bodies_sweep(struct outbox *ob, const struct map *expected, bool *ret_is_complete)
{
	int r = wholefile_sweep(ob->bodies); /* spool_keep leaves such names for two system calls */
	DIR *d = r == 0 ? opendir(ob->bodies) : NULL;
	bool is_complete = true;
	struct dirent *e;

	if (!d)
		return r < 0 ? r : -errno;
	while ((e = readdir(d))) {
		struct slice name = slice_str(e->d_name);
		if (name.n == OUTBOX_BODY_NAME && str_is_hex(name) && !map_get(expected, name))
			is_complete &= remove_orphan(ob, name);
	}
	(void)closedir(d);
	*ret_is_complete = is_complete;
	return 0;
}
