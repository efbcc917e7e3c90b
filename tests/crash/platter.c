/* platter.c -- what would be on the disk if the power went now.
 *
 * WHAT     For each file the changes since it was last synced, with what was there before, so that they can be taken
 *          back; for each folder the names made, removed and renamed since it was last synced. A cut takes back, in the
 *          order from the last to the first, what does not survive it.
 * MODEL    1. Bytes and size of a file are safe after fsync or fdatasync of that file, by whatever descriptor; a name,
 *             made or gone, after fsync of its folder. Syncing a file does not save its name (ext4 often does; POSIX
 *             does not say so), nor does saving a name save the bytes.
 *          2. What is not safe survives or does not, page by page or sector by sector, in any order: each page is as it
 *             was at some moment since the sync (writeback takes a page when it likes). The size is one of those that
 *             the file had meanwhile, and a hole reads as zeros.
 *          3. The names of a folder survive up to some moment, as journals keep the order. A rename within a folder is
 *             there or not, never half. One from folder to folder is safe when both are synced (pessimistic: journals
 *             do both at once).
 *          4. After a sync that failed, the bytes that it was to save are lost at a cut, although they can be read
 *             until then, and although a later sync succeeds (fsyncgate). Later writes can be saved. Names are not lost
 *             by it: a later sync saves them.
 *          5. sync_file_range saves nothing. Closing saves nothing.
 *          Not modelled: writes through a mapping (disk.c refuses them, but for SQLite's -shm, which is rebuilt: it is
 *          left as it is); O_SYNC and O_DSYNC (refused); modes, times, owners, attributes; a disk that lies about
 *          syncs; damage to neighbours of what was being written; the fallback for file systems without O_TMPFILE
 *          (mkostemp opens within libc, unseen).
 * HOW      A descriptor is kept of each file and folder touched, so that inode numbers stay theirs; of what is removed
 *          a link is kept beside the folder, so that it can come back. */
#include "platter.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/obj.h"
#include "io/file.h"

enum fate { PENDING, SAFE, LOST };

/* A write, or a change of size (then `bytes` is empty and `old` what was cut off, from `at` = the new size on). */
struct change {
	enum fate fate;
	bool is_write;
	off_t at, size_before, size_after;
	struct buf old, bytes;
};

struct file {
	dev_t dev;
	ino_t ino;
	int fd;
	bool is_shm;
	struct change *changes;
	size_t n_changes;
};

struct folder {
	dev_t dev;
	ino_t ino;
	int fd;
	size_t rank, most; /* at a cut: names seen of it so far, and how many of them survive */
};

enum name_change { MADE, GONE, MOVED };

struct name {
	enum name_change what;
	size_t folder, to_folder; /* to_*: MOVED only */
	char *name, *to_name;
	bool is_safe, is_to_safe;
	unsigned grave; /* GONE: the file that was removed; MOVED: the one that was replaced; 0: none */
	bool was_folder;
	size_t gone_folder; /* GONE, was_folder: it is made again */
};

static int grave_fd = -1;
static unsigned graves;
static struct file *files;
static size_t n_files;
static struct folder *folders;
static size_t n_folders;
static struct name *names;
static size_t n_names;

/* What is under way, between begin and end. */
static struct file *current;
static struct change doing;
static struct name naming;

static void *grow(void *array, size_t n, size_t item)
{
	return xrealloc(array, (n + 1) * item); /* hundreds at most */
}

void platter_begin(const char *dir)
{
	char *grave = xstrf("%s.grave", dir);

	ENSURE(mkdir(grave, 0700) == 0);
	grave_fd = open(grave, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ENSURE(grave_fd >= 0);
	free(grave);
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

static struct file *file_of(int fd)
{
	char self[40], path[PATH_MAX];
	struct file *f;
	struct stat st;
	ssize_t n;

	ENSURE(fstat(fd, &st) == 0);
	for (size_t i = 0; i < n_files; i++)
		if (files[i].ino == st.st_ino && files[i].dev == st.st_dev)
			return &files[i];
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, sizeof(path));
	ENSURE(n > 0);
	files = grow(files, n_files, sizeof(*files));
	f = &files[n_files++];
	*f = (struct file){ .dev = st.st_dev, .ino = st.st_ino, .fd = open(self, O_RDWR | O_CLOEXEC) };
	f->is_shm = slice_ends((struct slice){ path, (size_t)n }, "-shm");
	ENSURE(f->fd >= 0);
	return f;
}

static off_t size_of(const struct file *f)
{
	struct stat st;

	ENSURE(fstat(f->fd, &st) == 0);
	return st.st_size;
}

static void read_range(const struct file *f, off_t from, off_t to, struct buf *out)
{
	while (from < to) {
		char *room = buf_reserve(out, (size_t)(to - from));
		ssize_t n = pread(f->fd, room, (size_t)(to - from), from);
		ENSURE(n > 0);
		out->len += (size_t)n;
		from += n;
	}
}

static void write_range(const struct file *f, off_t at, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = pwrite(f->fd, p, n, at);
		ENSURE(w > 0);
		at += w;
		p += w;
		n -= (size_t)w;
	}
}

static void change_begins(int fd, off_t at, off_t end)
{
	off_t size;

	current = file_of(fd);
	if (current->is_shm)
		return;
	size = size_of(current);
	doing = (struct change){ .at = at, .size_before = size, .old = BUF_EMPTY, .bytes = BUF_EMPTY };
	read_range(current, at, end < size ? end : size, &doing.old);
}

static void change_ends(void)
{
	doing.size_after = size_of(current);
	current->changes = grow(current->changes, current->n_changes, sizeof(doing));
	current->changes[current->n_changes++] = doing;
}

void platter_write_begins(int fd, off_t at, size_t most)
{
	change_begins(fd, at, at + (off_t)most);
}

void platter_write_ends(ssize_t n)
{
	if (current->is_shm)
		return;
	if (n <= 0) {
		buf_fini(&doing.old);
		return;
	}
	doing.is_write = true;
	if (doing.old.len > (size_t)n)
		buf_truncate(&doing.old, (size_t)n);
	read_range(current, doing.at, doing.at + n, &doing.bytes);
	change_ends();
}

void platter_resize_begins(int fd, off_t size)
{
	change_begins(fd, size, INT64_MAX);
}

void platter_resize_ends(bool is_done)
{
	if (current->is_shm)
		return;
	if (is_done)
		change_ends();
	else
		buf_fini(&doing.old);
}

static void sync_file(int fd, enum fate fate)
{
	struct file *f = file_of(fd);
	bool has_lost = false;

	for (size_t i = 0; i < f->n_changes; i++) {
		struct change *c = &f->changes[i];
		if (c->fate == PENDING)
			c->fate = fate;
		has_lost |= c->fate == LOST;
	}
	for (; !has_lost && f->n_changes > 0; f->n_changes--) {
		buf_fini(&f->changes[f->n_changes - 1].old);
		buf_fini(&f->changes[f->n_changes - 1].bytes);
	}
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static size_t folder_of(int fd)
{
	struct stat st;

	ENSURE(fstat(fd, &st) == 0);
	for (size_t i = 0; i < n_folders; i++)
		if (folders[i].ino == st.st_ino && folders[i].dev == st.st_dev)
			return i;
	folders = grow(folders, n_folders, sizeof(*folders));
	folders[n_folders] = (struct folder){ .dev = st.st_dev, .ino = st.st_ino, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3) };
	ENSURE(folders[n_folders].fd >= 0);
	return n_folders++;
}

static size_t folder_above(const char *path, char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char *above = slice_dup((struct slice){ path, (size_t)(slash - path) });
	int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t i;

	free(above);
	if (fd < 0) { /* the call is going to fail for the same reason */
		*ret_name = NULL;
		return 0;
	}
	i = folder_of(fd);
	(void)close(fd);
	*ret_name = xstrdup(slash + 1);
	return i;
}

static void name_ends(void)
{
	names = grow(names, n_names, sizeof(naming));
	names[n_names++] = naming;
}

static void name_forget(struct name *n)
{
	free(n->name);
	free(n->to_name);
}

void platter_made(const char *path)
{
	naming = (struct name){ .what = MADE };
	naming.folder = folder_above(path, &naming.name);
	ENSURE(naming.name);
	name_ends();
}

/* Another link to what is going to lose this name. */
static void bury(const char *path)
{
	char number[16];
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	naming.was_folder = fd >= 0;
	if (fd >= 0) {
		naming.gone_folder = folder_of(fd);
		(void)close(fd);
	} else if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		naming.grave = ++graves;
		(void)snprintf(number, sizeof(number), "%u", naming.grave);
		ENSURE(linkat(AT_FDCWD, path, grave_fd, number, 0) == 0);
	}
}

void platter_remove_begins(const char *path)
{
	naming = (struct name){ .what = GONE };
	naming.folder = folder_above(path, &naming.name);
	bury(path);
}

void platter_remove_ends(bool is_done)
{
	if (is_done)
		name_ends();
	else
		name_forget(&naming);
}

void platter_rename_begins(const char *from, const char *to)
{
	naming = (struct name){ .what = MOVED };
	naming.folder = folder_above(from, &naming.name);
	naming.to_folder = folder_above(to, &naming.to_name);
	bury(to);
}

void platter_rename_ends(bool is_done)
{
	platter_remove_ends(is_done);
}

static void sync_folder(int fd)
{
	size_t folder = folder_of(fd), kept = 0;

	for (size_t i = 0; i < n_names; i++) {
		struct name *n = &names[i];
		n->is_safe |= n->folder == folder;
		n->is_to_safe |= n->what == MOVED && n->to_folder == folder;
		if (n->is_safe && (n->what != MOVED || n->is_to_safe))
			name_forget(n);
		else
			names[kept++] = *n;
	}
	n_names = kept;
}

static bool is_folder(int fd)
{
	struct stat st;

	ENSURE(fstat(fd, &st) == 0);
	return S_ISDIR(st.st_mode);
}

void platter_synced(int fd)
{
	if (is_folder(fd))
		sync_folder(fd);
	else
		sync_file(fd, SAFE);
}

void platter_sync_failed(int fd)
{
	if (!is_folder(fd))
		sync_file(fd, LOST);
}

/* --- the cut ---------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static void folder_is_now(size_t folder, int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ENSURE(fd >= 0 && dup3(fd, folders[folder].fd, O_CLOEXEC) >= 0);
	(void)close(fd);
}

static void take_back_name(const struct name *n)
{
	char number[16], self[PATH_MAX];
	int at = folders[n->folder].fd;

	(void)snprintf(number, sizeof(number), "%u", n->grave);
	switch (n->what) {
	case MADE:
		(void)snprintf(self, sizeof(self), "/proc/self/fd/%d/%s", at, n->name);
		(void)tree_remove(self); /* gone already when a later change of another folder stands */
		break;
	case GONE:
		if (!n->was_folder)
			(void)linkat(grave_fd, number, at, n->name, 0);
		else if (mkdirat(at, n->name, 0700) == 0)
			folder_is_now(n->gone_folder, at, n->name); /* what was in it comes back there */
		break;
	case MOVED:
		if (renameat2(folders[n->to_folder].fd, n->to_name, at, n->name, RENAME_NOREPLACE) == 0 && n->grave)
			(void)linkat(grave_fd, number, folders[n->to_folder].fd, n->to_name, 0);
		break;
	}
}

static void cut_names(enum platter_survivors survivors, uint64_t seed)
{
	bool *survives = xcalloc(n_names + 1, sizeof(bool));
	bool *ended = xcalloc(n_folders + 1, sizeof(bool));

	for (size_t i = 0; i < n_names; i++) {
		folders[names[i].folder].most++;
		if (names[i].what == MOVED && names[i].to_folder != names[i].folder)
			folders[names[i].to_folder].most++;
	}
	for (size_t i = 0; i < n_folders; i++)
		if (survivors != PLATTER_NAMES)
			folders[i].most =
				survivors == PLATTER_SOME ? mix(seed ^ mix(i + 1)) % (folders[i].most + 1) : 0;
	for (size_t i = 0; i < n_names; i++) {
		size_t from = names[i].folder, to = names[i].what == MOVED ? names[i].to_folder : from;
		bool is_late = folders[from].rank++ >= folders[from].most;
		if (to != from)
			is_late |= folders[to].rank++ >= folders[to].most;
		survives[i] = !is_late && !ended[from] && !ended[to];
		if (!survives[i])
			ended[from] = ended[to] = true;
	}
	for (size_t i = n_names; i-- > 0;)
		if (!survives[i])
			take_back_name(&names[i]);
	free(survives);
	free(ended);
}

static void take_back_bytes(const struct file *f, const struct change *c)
{
	ENSURE(ftruncate(f->fd, c->size_before) == 0);
	write_range(f, c->at, c->old.data, c->old.len);
}

/* Does the part of a write that lies in pages which were taken after it. */
static void do_part(const struct file *f, const struct change *c, size_t i, uint64_t seed)
{
	size_t page = seed & 1 ? 512 : 4096;

	for (size_t done = 0; done < c->bytes.len;) {
		uint64_t at = (uint64_t)c->at + done, number = at / page;
		size_t n = page - (size_t)(at % page);
		if (n > c->bytes.len - done)
			n = c->bytes.len - done;
		if (mix(seed ^ mix(number + 1)) % (f->n_changes + 1) > i)
			write_range(f, (off_t)at, c->bytes.data + done, n);
		done += n;
	}
}

static void cut_file(struct file *f, enum platter_survivors survivors, uint64_t seed)
{
	off_t size;

	for (size_t i = f->n_changes; i-- > 0;)
		take_back_bytes(f, &f->changes[i]);
	size = size_of(f);
	for (size_t i = 0; i < f->n_changes; i++) {
		const struct change *c = &f->changes[i];
		bool is_all = c->fate == SAFE || (c->fate == PENDING && survivors == PLATTER_BYTES);
		bool is_some = c->fate == PENDING && survivors == PLATTER_SOME;
		bool is_size = is_all || (is_some && mix(seed) % (f->n_changes + 1) > i);
		if (!c->is_write && is_size)
			ENSURE(ftruncate(f->fd, c->size_after) == 0);
		if (is_all)
			write_range(f, c->at, c->bytes.data, c->bytes.len);
		else if (is_some)
			do_part(f, c, i, seed);
		if (is_size && (!c->is_write || c->size_after > size))
			size = c->size_after;
	}
	if (f->n_changes > 0)
		ENSURE(ftruncate(f->fd, size) == 0);
}

void platter_cut(enum platter_survivors survivors, uint64_t seed)
{
	cut_names(survivors, mix(seed));
	for (size_t i = 0; i < n_files; i++)
		if (!files[i].is_shm)
			cut_file(&files[i], survivors, mix(seed + i + 1));
}
