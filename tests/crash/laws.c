/* laws.c -- the laws of the disk under test, each seen to hold: what a power cut leaves of fourteen small doings.
 *
 * Each has a folder of its own, made and synced before. Only the cut at the very end, of which nothing that was not
 * synced survives, has one right answer for each; the other plays only show that the layer gets through. */
#include "crash.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

struct law_room {
	bool is_through;
};

static const struct law {
	const char *folder, *file;
	const char *want; /* after the cut; NULL: not there */
} laws[] = {
	{ "1", "f", NULL }, /* made and synced, but not its folder */
	{ "2", "f", "" }, /* made, its folder synced, but not the file */
	{ "3", "f", "old" }, /* removed */
	{ "4", "f", NULL }, /* removed, and the folder synced */
	{ "5", "f", "old" }, /* renamed to g */
	{ "5", "g", NULL },
	{ "6", "f", NULL }, /* renamed over g, and the folder synced */
	{ "6", "g", "old" },
	{ "7", "f", "old" }, /* renamed over g */
	{ "7", "g", "other" },
	{ "8", "sub", NULL }, /* a folder whose own was not synced, with a file in it that was */
	{ "9", "f", "old" }, /* renamed into another folder, which alone was synced */
	{ "9b", "f", NULL },
	{ "10", "f", "old" }, /* opened with O_TRUNC and written */
	{ "11", "f", "newer" }, /* written, synced, written again */
	{ "12", "f", "new" }, /* born without a name, synced, linked, the folder synced */
	{ "13", "sub/f", "old" }, /* removed with its folder */
	{ "14", "f", "old" }, /* removed, and another of its name made and synced */
	{ "15", "f", "oldnew" }, /* appended to, synced, then cut short */
	{ "16", "f", "new" }, /* renamed into another folder and back, all synced, written and synced */
};

static void at(struct run *run, const char *name, int flags, const char *text, bool is_synced)
{
	int fd = open(run_path(run, name), flags | O_WRONLY | O_CLOEXEC, 0600);

	if (fd >= 0) {
		(void)fd_write_all(fd, text, strlen(text));
		if (is_synced)
			(void)fsync(fd);
	}
	fd_close(&fd);
}

static void sync_it(struct run *run, const char *name)
{
	(void)dir_sync(run_path(run, name));
}

static void make(struct run *run, const char *name, const char *text)
{
	at(run, name, O_CREAT | O_EXCL, text, true);
}

static void move(struct run *run, const char *from, const char *to)
{
	(void)rename(run_path(run, from), run_path(run, to));
}

static void prepare(struct run *run)
{
	static const char *const folders[] = { "1",  "2",  "3",  "4",  "5",      "6",  "7",  "8",  "9",  "9b",
					       "10", "11", "12", "13", "13/sub", "14", "15", "16", "16b" };
	static const char *const old[] = { "3/f",  "4/f",  "5/f",      "6/f",  "7/f",  "9/f",
					   "10/f", "11/f", "13/sub/f", "14/f", "15/f", "16/f" };

	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		EXPECT(run, mkdir(run_path(run, folders[i]), 0700) == 0, "cannot begin");
	for (size_t i = 0; i < ARRAY_LEN(old); i++)
		make(run, old[i], "old");
	make(run, "6/g", "other");
	make(run, "7/g", "other");
}

static void name_late(struct run *run)
{
	int fd = open(run_path(run, "12"), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	char self[40];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fd >= 0 && fd_write_all(fd, "new", 3) == 0 && fsync(fd) == 0 &&
	    linkat(AT_FDCWD, self, AT_FDCWD, run_path(run, "12/f"), AT_SYMLINK_FOLLOW) == 0)
		sync_it(run, "12");
	fd_close(&fd);
}

static void act(struct run *run)
{
	struct law_room *room = run->room;

	make(run, "1/f", "new");
	at(run, "2/f", O_CREAT, "new", false);
	sync_it(run, "2");
	(void)unlink(run_path(run, "3/f"));
	(void)unlink(run_path(run, "4/f"));
	sync_it(run, "4");
	move(run, "5/f", "5/g");
	move(run, "6/f", "6/g");
	sync_it(run, "6");
	move(run, "7/f", "7/g");
	(void)mkdir(run_path(run, "8/sub"), 0700);
	make(run, "8/sub/f", "new");
	sync_it(run, "8/sub");
	move(run, "9/f", "9b/f");
	sync_it(run, "9b");
	at(run, "10/f", O_TRUNC, "new", false);
	at(run, "11/f", 0, "newer", true);
	at(run, "11/f", 0, "newest", false);
	name_late(run);
	(void)unlink(run_path(run, "13/sub/f"));
	(void)rmdir(run_path(run, "13/sub"));
	(void)unlink(run_path(run, "14/f"));
	make(run, "14/f", "new");
	at(run, "15/f", O_APPEND, "new", true);
	at(run, "15/f", O_TRUNC, "", false);
	move(run, "16/f", "16b/f");
	move(run, "16b/f", "16/f");
	sync_it(run, "16");
	sync_it(run, "16b");
	at(run, "16/f", O_TRUNC, "new", true);
	room->is_through = true;
}

static void check(struct run *run)
{
	struct law_room *room = run->room;

	if (run->fault != DISK_CUT || run->survivors != PLATTER_NOTHING || !room->is_through)
		return;
	for (size_t i = 0; i < ARRAY_LEN(laws); i++) {
		const struct law *l = &laws[i];
		struct buf got = BUF_EMPTY;
		char name[40];
		int r;
		(void)snprintf(name, sizeof(name), "%s/%s", l->folder, l->file);
		r = file_read_all(run_path(run, name), 100, &got);
		EXPECT(run, (r == 0) == (l->want != NULL), "%s: %s", name, r == 0 ? "is there" : err_text(r));
		EXPECT(run, r < 0 || slice_eq_str(buf_slice(&got), l->want), "%s: \"%s\"", name, got.data);
		buf_fini(&got);
	}
}

const struct scenario law_scenarios[] = {
	{ "the-disk-itself", prepare, act, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, LAW, NULL },
	{ 0 },
};
