/* files.c -- scenarios: files that appear whole, spools that are kept, damage that is set aside.
 *
 * The wrong writers at the end are for the self-test: each leaves out one step of what store/wholefile.c does. */
#include "crash.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "io/file.h"
#include "store/spool.h"
#include "store/wholefile.h"

#define VERSIONS  4
#define MOST_FILE (1 << 20)

/* What act was told of each version: 0 not tried, 1 tried, 2 told that it is durable, 3 told that it failed. */
enum told { NOT_TRIED, TRIED, DURABLE, REFUSED };

struct told_room {
	enum told told[VERSIONS + 1];
};

/* A version is recognised by its size and every byte. */
static struct slice content(int version)
{
	static char bytes[VERSIONS + 1][20000];
	size_t n = 3000 + (size_t)version * 4000;

	for (size_t i = 0; i < n; i++)
		bytes[version][i] = (char)('a' + (i + (size_t)version) % 23);
	return (struct slice){ bytes[version], n };
}

static int version_of(struct slice s)
{
	for (int v = 0; v <= VERSIONS; v++)
		if (slice_eq(s, content(v)))
			return v;
	return -1;
}

/* The file is one of the versions, and not older than the last that was told to be durable. */
static void check_file(struct run *run, const char *name)
{
	struct told_room *room = run->room;
	struct buf b = BUF_EMPTY;
	int oldest = 0, r, found;

	for (int v = 1; v <= VERSIONS; v++)
		if (room->told[v] == DURABLE)
			oldest = v;
	r = file_read_all(run_path(run, name), MOST_FILE, &b);
	EXPECT(run, r == 0, "the file is gone: %s", err_text(r));
	found = version_of(buf_slice(&b));
	EXPECT(run, found >= 0, "the file is torn: %zu bytes", b.len);
	EXPECT(run, found >= oldest, "version %d is there, though %d was told to be durable", found, oldest);
	EXPECT(run, room->told[found] != NOT_TRIED || found == 0, "version %d is there, which nobody wrote", found);
	buf_fini(&b);
}

static void sweep_leaves_only(struct run *run, const char *name)
{
	char *command;

	EXPECT(run, wholefile_sweep(run->dir) == 0, "the sweep fails");
	command = xstrf("cd '%s' && test \"$(ls -A)\" = '%s'", run->dir, name);
	EXPECT(run, system(command) == 0, "something is left beside the file");
	free(command);
}

/* --- wholefile -------------------------------------------------------------------------------------------------- */

static void whole_prepare(struct run *run)
{
	EXPECT(run, wholefile_write(run_path(run, "f"), content(0), 0) == 0, "cannot begin");
}

static void whole_act(struct run *run)
{
	struct told_room *room = run->room;

	for (int v = 1; v <= VERSIONS; v++) {
		int r;
		room->told[v] = TRIED;
		r = wholefile_write(run_path(run, "f"), content(v), 0);
		room->told[v] = r == 0 ? DURABLE : REFUSED;
		if (v == VERSIONS - 1)
			disk_heal();
		/* A write that fails does not stand in the way of the next. */
		EXPECT(run, v < VERSIONS || run->fault == DISK_EIO || r == 0, "room again, and still: %s", err_text(r));
	}
}

static void whole_check(struct run *run)
{
	check_file(run, "f");
	sweep_leaves_only(run, "f");
}

static void checked_act(struct run *run)
{
	struct told_room *room = run->room;

	for (int v = 1; v <= VERSIONS; v++) {
		room->told[v] = TRIED;
		if (wholefile_write_checked(run_path(run, "f"), "test", 1, content(v)) == 0)
			room->told[v] = DURABLE;
	}
}

static void checked_prepare(struct run *run)
{
	EXPECT(run, wholefile_write_checked(run_path(run, "f"), "test", 1, content(0)) == 0, "cannot begin");
}

static void checked_check(struct run *run)
{
	struct told_room *room = run->room;
	struct buf b = BUF_EMPTY;
	int r = wholefile_read_checked(run_path(run, "f"), "test", 1, MOST_FILE, &b), found;

	EXPECT(run, r == 0, "does not read: %s", err_text(r));
	found = version_of(buf_slice(&b));
	for (int v = found + 1; v <= VERSIONS; v++)
		EXPECT(run, room->told[v] != DURABLE, "version %d is there, though %d was told to be durable", found,
		       v);
	buf_fini(&b);
}

/* --- set aside -------------------------------------------------------------------------------------------------- */

static void aside_act(struct run *run)
{
	struct told_room *room = run->room;

	room->told[1] = TRIED;
	if (wholefile_set_aside(run_path(run, "f"), run->dir) == 0)
		room->told[1] = DURABLE;
}

static int found_aside(struct run *run)
{
	char *command = xstrf("cmp -s '%s'/damaged/f.* '%s/want'", run->dir, run->dir);
	int r;

	EXPECT(run, wholefile_write(run_path(run, "want"), content(0), 0) == 0, "cannot compare");
	r = system(command);
	free(command);
	return r;
}

static void aside_check(struct run *run)
{
	struct told_room *room = run->room;
	bool is_here = access(run_path(run, "f"), F_OK) == 0;

	EXPECT(run, room->told[1] != DURABLE || !is_here, "it is where it was, though it was told to be aside");
	if (is_here)
		check_file(run, "f");
	else
		EXPECT(run, found_aside(run) == 0, "the evidence is lost");
}

/* --- spool ------------------------------------------------------------------------------------------------------ */

/* By appending, and by a splice out of a pipe, in parts. */
static int fill(struct spool *s, struct slice data)
{
	int ends[2], r = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	while (r == 0 && data.n > 0) {
		size_t n = data.n < 5000 ? data.n : 5000;
		r = spool_append(s, data.p, n);
		data = slice_from(data, n);
		n = data.n < 5000 ? data.n : 5000;
		if (r < 0 || n == 0)
			break;
		r = fd_write_all(ends[1], data.p, n);
		for (size_t left = n; r == 0 && left > 0;) {
			ssize_t moved = spool_append_splice(s, ends[0], left);
			r = moved < 0 ? (int)moved : 0;
			left -= moved > 0 ? (size_t)moved : 0;
		}
		data = slice_from(data, n);
	}
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	return r;
}

static int keep_version(struct run *run, int v)
{
	struct spool *s = NULL;
	int r = spool_new(run->dir, 0, &s);

	if (r == 0)
		r = fill(s, content(v));
	if (r == 0)
		spool_complete(s);
	if (r == 0)
		r = spool_keep(s, run_path(run, "f"));
	spool_unref(&s);
	return r;
}

static void spool_prepare(struct run *run)
{
	EXPECT(run, keep_version(run, 0) == 0, "cannot begin");
}

static void spool_act(struct run *run)
{
	struct told_room *room = run->room;

	for (int v = 1; v <= VERSIONS; v++) {
		int r;
		room->told[v] = TRIED;
		r = keep_version(run, v);
		room->told[v] = r == 0 ? DURABLE : REFUSED;
		if (v == VERSIONS - 1)
			disk_heal();
		EXPECT(run, v < VERSIONS || run->fault == DISK_EIO || r == 0, "room again, and still: %s", err_text(r));
	}
}

/* --- writers that are wrong ------------------------------------------------------------------------------------- */

enum omission { NO_TEMP, NO_FILE_SYNC, NO_DIR_SYNC, SYNC_TWICE, SYNC_LATE };

static int wrong_write(struct run *run, struct slice data, enum omission what)
{
	const char *path = run_path(run, "f"), *temp = what == NO_TEMP ? path : run_path(run, "f.tmp-0000000000000000");
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, data.p, data.n);
	if (r == 0 && what != NO_FILE_SYNC && what != SYNC_LATE && fsync(fd) < 0)
		r = what == SYNC_TWICE && fsync(fd) == 0 ? 0 : -errno;
	if (r == 0 && what != NO_TEMP && rename(temp, path) < 0)
		r = -errno;
	if (r == 0 && what == SYNC_LATE && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && what != NO_DIR_SYNC)
		r = dir_sync(run->dir);
	fd_close(&fd);
	return r;
}

static void wrong_act(struct run *run, enum omission what)
{
	struct told_room *room = run->room;

	for (int v = 1; v <= VERSIONS; v++) {
		room->told[v] = TRIED;
		if (wrong_write(run, content(v), what) == 0)
			room->told[v] = DURABLE;
	}
}

#define WRITER(name, what)                \
	static void name(struct run *run) \
	{                                 \
		wrong_act(run, what);     \
	}
WRITER(in_place, NO_TEMP)
WRITER(without_file_sync, NO_FILE_SYNC)
WRITER(without_dir_sync, NO_DIR_SYNC)
WRITER(sync_again, SYNC_TWICE)
WRITER(sync_after_rename, SYNC_LATE)

static void only_check_file(struct run *run)
{
	check_file(run, "f");
}

#define BOTH (DISK_BLIND_FILES | DISK_BLIND_DIRS)

const struct scenario file_scenarios[] = {
	{ "wholefile", whole_prepare, whole_act, whole_check, BOTH, RIGHT, NULL },
	{ "wholefile-checked", checked_prepare, checked_act, checked_check, BOTH, RIGHT, NULL },
	{ "set-aside", whole_prepare, aside_act, aside_check, DISK_BLIND_DIRS, RIGHT, NULL },
	{ "spool-keep", spool_prepare, spool_act, whole_check, BOTH, RIGHT, NULL },
	{ "wrong-in-place", whole_prepare, in_place, only_check_file, 0, WRONG, NULL },
	{ "wrong-no-file-sync", whole_prepare, without_file_sync, only_check_file, 0, WRONG, NULL },
	{ "wrong-no-dir-sync", whole_prepare, without_dir_sync, only_check_file, 0, WRONG, NULL },
	{ "wrong-sync-again", whole_prepare, sync_again, only_check_file, 0, WRONG, NULL },
	{ "wrong-sync-late", whole_prepare, sync_after_rename, only_check_file, 0, WRONG, NULL },
	{ 0 },
};
