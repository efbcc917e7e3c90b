/* children.c -- ending whatever child processes this process still has.
 *
 * WHY      Children run in groups of their own (io/child.h), so that a signal to weir does not reach them. Whoever
 *          owns one ends it; only when weir leaves in a hurry is nobody left to, and a git that goes on writing into
 *          a folder whose lock is free would meet the next daemon there.
 * SEE      proc(5), /proc/PID/stat, field 4. (/proc/PID/task/TID/children would be shorter, but not every kernel has
 *          it.) */
#include "cli/children.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "io/file.h"

#define MOST_STAT_BYTES 4096

/* "12 (a name) with ) in it) S 34 ...": 34. 0 when it cannot be told. */
static uint64_t parent_in(struct slice stat)
{
	const char *end = memrchr(stat.p, ')', stat.n);
	struct slice rest, parent;
	uint64_t pid;

	if (!end || (size_t)(end - stat.p) + 4 >= stat.n)
		return 0;
	rest = slice_from(stat, (size_t)(end - stat.p) + 4); /* behind ") S " */
	(void)slice_cut(&rest, ' ', &parent);
	return str_parse_u64(parent, &pid) == 0 ? pid : 0;
}

static bool is_our_child(const char *pid)
{
	struct buf stat = BUF_EMPTY;
	char path[64];
	bool ours;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	ours = file_read_all(path, MOST_STAT_BYTES, &stat) == 0 && parent_in(buf_slice(&stat)) == (uint64_t)getpid();
	buf_fini(&stat);
	return ours;
}

unsigned children_kill(void)
{
	DIR *all = opendir("/proc");
	unsigned killed = 0;
	struct dirent *e;
	uint64_t pid;

	while (all && (e = readdir(all))) {
		if (!isdigit((unsigned char)e->d_name[0]) || str_parse_u64(slice_str(e->d_name), &pid) < 0)
			continue;
		/* A child is not reaped before we are gone, so its number cannot have become somebody else's. */
		if (is_our_child(e->d_name) && kill(-(pid_t)pid, SIGKILL) == 0)
			killed++;
	}
	if (all)
		(void)closedir(all); /* read only */
	return killed;
}
