/* wholefile.c -- files that appear whole.
 *
 * WHAT     Write under another name, sync, rename, sync the folder. Optionally with a first line that proves the rest:
 *          "weir NAME VERSION LENGTH CRC32C\n", the sum in eight hexadecimal digits, of the bytes after that line.
 * WHY      A reader, after a power cut too, meets the old content or the new, never a mixture (invariants 1 and 7).
 * RULES    1. The bytes are synced before the name, the name before success is told.
 *          2. The new file has no name at all until it is synced (O_TMPFILE), so that a kill leaves next to nothing;
 *             what it can leave between two system calls, wholefile_sweep() removes at the next start.
 *          3. A failed sync is final: the write is given up, never tried again on the same file.
 *          4. Damage is moved aside, never deleted: it may be evidence. */
#include "store/wholefile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/rand.h"
#include "base/str.h"
#include "io/file.h"

#define HEADER_MOST 128
#define TEMP_MARK ".tmp-"
#define TEMP_DIGITS 16

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A descriptor to write to: nameless in the folder of temp, or named temp where the file system knows no such files. */
static int open_new(const char *dir, const char *temp, unsigned mode, bool *ret_is_named, int *ret_fd)
{
	int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);

	*ret_is_named = fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL);
	if (*ret_is_named)
		fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int name_it(int fd, const char *temp)
{
	char self[40];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, temp, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int write_two(const char *path, struct slice head, struct slice data, unsigned mode)
{
	char *dir = dir_above(path);
	char *temp = xstrf("%s" TEMP_MARK "%016llx", path, (unsigned long long)rand_u64());
	bool is_named = false;
	int fd = -1, r;

	r = open_new(dir, temp, mode, &is_named, &fd);
	if (r < 0)
		goto out;
	if (fchmod(fd, mode) < 0) /* the umask is for people */
		r = -errno;
	if (r == 0)
		r = fd_write_all(fd, head.p, head.n);
	if (r == 0)
		r = fd_write_all(fd, data.p, data.n);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && !is_named) {
		r = name_it(fd, temp);
		is_named = r == 0;
	}
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0 && is_named)
		(void)unlink(temp);
	if (r == 0)
		r = dir_sync(dir);
out:
	fd_close(&fd);
	free(temp);
	free(dir);
	return r;
}

int wholefile_write(const char *path, struct slice data, unsigned mode)
{
	return write_two(path, (struct slice){ NULL, 0 }, data, mode ? mode : 0600);
}

int wholefile_write_checked(const char *path, const char *name, unsigned version, struct slice data)
{
	struct buf head = BUF_EMPTY;
	int r;

	buf_addf(&head, "weir %s %u %zu %08x\n", name, version, data.n, crc32c(0, data.p, data.n));
	r = write_two(path, buf_slice(&head), data, 0600);
	buf_fini(&head);
	return r;
}

static bool take_number(struct slice *s, char end, uint64_t *ret)
{
	struct slice word;

	return slice_cut(s, end, &word) && str_parse_u64(word, ret) == 0;
}

/* Checks the whole file and gives where the data begins. */
static int check(struct slice file, const char *name, unsigned version, size_t *ret_at)
{
	struct slice rest = file, word;
	uint64_t got_version, length;
	unsigned char sum[4];
	uint32_t want;

	if (!slice_cut(&rest, ' ', &word) || !slice_eq_str(word, "weir") || !slice_cut(&rest, ' ', &word) ||
	    !slice_eq_str(word, name) || !take_number(&rest, ' ', &got_version))
		return WEIR_E_DAMAGED;
	if (got_version != version)
		return -EPROTO;
	if (!take_number(&rest, ' ', &length) || !slice_cut(&rest, '\n', &word) || str_unhex(word, sum, 4) < 0)
		return WEIR_E_DAMAGED;
	want = (uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 | (uint32_t)sum[2] << 8 | sum[3];
	if (length != rest.n || crc32c(0, rest.p, rest.n) != want)
		return WEIR_E_DAMAGED;
	*ret_at = file.n - rest.n;
	return 0;
}

int wholefile_read_checked(const char *path, const char *name, unsigned version, size_t most, struct buf *out)
{
	struct buf file = BUF_EMPTY;
	size_t at = 0;
	int r;

	r = file_read_all(path, most + HEADER_MOST, &file);
	if (r == 0)
		r = check(buf_slice(&file), name, version, &at);
	if (r == 0 && file.len - at > most)
		r = WEIR_E_TOO_LARGE;
	if (r == 0) {
		buf_add_slice(out, slice_from(buf_slice(&file), at));
		r = buf_error(out);
	}
	buf_fini(&file);
	return r;
}

char *wholefile_aside_path(const char *path, const char *dir, int *ret_err)
{
	char *damaged = xstrf("%s/damaged", dir), *to = NULL;
	int r = dir_make_all(damaged, 0700);

	if (r < 0)
		*ret_err = r;
	else
		to = xstrf("%s/%s.%lld-%08x", damaged, name_of(path), (long long)clock_wall_ms(), (unsigned)rand_u64());
	free(damaged);
	return to;
}

static int move_aside(const char *path, const char *to)
{
	int r = rename(path, to) < 0 ? -errno : dir_sync_above(to);

	return r < 0 ? r : dir_sync_above(path);
}

int wholefile_set_aside(const char *path, const char *dir)
{
	int r = 0;
	char *to = wholefile_aside_path(path, dir, &r);

	if (r == 0)
		r = move_aside(path, to);
	free(to);
	return r;
}

/* A second name, synced. -ENOENT: nothing to be named. */
static int link_synced(const char *path, const char *to)
{
	return link(path, to) < 0 ? -errno : dir_sync_above(to);
}

/* The tail is there before the file comes, and leaves its place after it has gone. */
int wholefile_set_aside_both(const char *path, const char *tail, const char *dir)
{
	char *path_tail = xstrf("%s%s", path, tail), *to = NULL, *to_tail = NULL;
	bool has_tail = false;
	int r = access(path, F_OK) < 0 ? -errno : 0;

	if (r == 0)
		to = wholefile_aside_path(path, dir, &r);
	if (r == 0) {
		to_tail = xstrf("%s%s", to, tail);
		r = link_synced(path_tail, to_tail);
		has_tail = r == 0;
		r = r == -ENOENT ? 0 : r;
	}
	if (r == 0)
		r = move_aside(path, to);
	if (r == 0 && has_tail && unlink(path_tail) < 0)
		r = -errno;
	if (r == 0 && has_tail)
		r = dir_sync_above(path_tail);
	free(path_tail);
	free(to);
	free(to_tail);
	return r;
}

static bool is_temporary(const char *name)
{
	size_t n = strlen(name), tail = strlen(TEMP_MARK) + TEMP_DIGITS;

	return n > tail && strncmp(name + n - tail, TEMP_MARK, strlen(TEMP_MARK)) == 0 &&
	       str_is_hex((struct slice){ name + n - TEMP_DIGITS, TEMP_DIGITS });
}

int wholefile_sweep(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d)))
		if (is_temporary(e->d_name) && unlinkat(dirfd(d), e->d_name, 0) < 0 && errno != ENOENT && r == 0)
			r = -errno;
	(void)closedir(d);
	return r;
}
