/* disk.c -- a disk that fails, tears, or forgets at its nth operation.
 *
 * WHAT     The file calls of libc, defined anew. Each asks whether it concerns the folder under test; if so it is one
 *          operation of some kind, passes gate(), and is done by a bare system call.
 * WHY      Here and not in a table of functions within weir: what is tested is the program as it ships, with the calls
 *          that it and SQLite really make, in their real order. Interposed symbols, not ptrace or FUSE: a run takes
 *          a millisecond and needs no rights.
 * RULES    1. A kind of operation that a fault does not concern is not counted for it: so "every n" has no blanks.
 *          2. Everything from the gate to the end of the call runs under one lock, so that the platter knows one order,
 *             and so that nothing goes on while the power is going.
 *          3. What the layer could not follow (a shared mapping for writing, O_SYNC, an exchange of names) aborts the
 *             test rather than pass unseen. What libc calls within itself (fopen, mkostemp, opendir) is not seen;
 *             nothing that must last is written by these.
 *          4. A call that fails has done nothing, but for a write into a full disk, which may be short, and a close,
 *             after which the descriptor is closed.
 * THREADS  Any. `inside` marks the thread that works for the layer: its calls go through. */
#include "disk_priv.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/obj.h"

/* --- faults ----------------------------------------------------------------------------------------------------- */

static const struct {
	unsigned ops; /* which are counted */
	int code; /* which the counted ones fail with; 0: the process ends */
	bool is_once;
} faults[] = {
	[DISK_STOP] = { OP_CHANGES, 0, true },
	[DISK_TEAR] = { OP_WRITE, 0, true },
	[DISK_CUT] = { OP_CHANGES, 0, true },
	[DISK_EIO] = { OP_CHANGES | OP_READ | OP_CLOSE, EIO, true },
	[DISK_EIO_ON] = { OP_CHANGES | OP_READ | OP_CLOSE, EIO, false },
	[DISK_ENOSPC] = { OP_MAKE | OP_WRITE | OP_GROW | OP_LINK | OP_RENAME, ENOSPC, false },
	[DISK_EMFILE] = { OP_OPEN | OP_MAKE, EMFILE, false },
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
struct disk_plan disk_plan;
static size_t dir_len;
static unsigned count;
static atomic_bool is_active, is_healed;
bool disk_is_tracking;
static __thread bool inside;

_Noreturn void disk_stop(int status)
{
	for (;;)
		(void)syscall(SYS_exit_group, status);
}

static _Noreturn void power_cut(void)
{
	platter_cut(disk_plan.survivors, disk_plan.seed);
	disk_stop(DISK_STOPPED);
}

_Noreturn void disk_cannot_follow(const char *what)
{
	(void)dprintf(2, "disk.c cannot follow %s: teach it, or write otherwise\n", what);
	abort();
}

void disk_enter(void)
{
	ENSURE(pthread_mutex_lock(&lock) == 0);
	inside = true;
}

void disk_leave(void)
{
	int e = errno;

	inside = false;
	ENSURE(pthread_mutex_unlock(&lock) == 0);
	errno = e;
}

static void tell(enum op op)
{
	void *frames[24];

	(void)dprintf(2, "operation %u, of kind %d:\n", count, (int)op);
	backtrace_symbols_fd(frames, backtrace(frames, 24), 2);
}

enum disk_verdict disk_gate(enum op op)
{
	bool is_first;

	if (disk_plan.fault == DISK_SOUND || atomic_load(&is_healed) || !(faults[disk_plan.fault].ops & op))
		return GO;
	count++;
	is_first = count == disk_plan.nth;
	if (count < disk_plan.nth || (!is_first && faults[disk_plan.fault].is_once))
		return GO;
	if (is_first && disk_plan.is_told)
		tell(op);
	atomic_store(disk_plan.reached, true);
	if (disk_plan.fault == DISK_CUT)
		power_cut();
	if (disk_plan.fault == DISK_STOP)
		disk_stop(DISK_STOPPED);
	if (disk_plan.fault == DISK_TEAR || (disk_plan.fault == DISK_ENOSPC && op == OP_WRITE && is_first))
		return HALF;
	errno = faults[disk_plan.fault].code;
	return FAIL;
}

bool disk_counts(enum op op)
{
	return faults[disk_plan.fault].ops & op;
}

void disk_begin(const struct disk_plan *p)
{
	ENSURE(!atomic_load(&is_active));
	disk_plan = *p;
	dir_len = strlen(disk_plan.dir);
	disk_is_tracking = disk_plan.fault == DISK_CUT || disk_plan.cut_at_end;
	if (disk_is_tracking)
		platter_begin(disk_plan.dir);
	atomic_store(&is_active, true);
}

void disk_heal(void)
{
	atomic_store(&is_healed,
		     disk_plan.fault != DISK_STOP && disk_plan.fault != DISK_TEAR && disk_plan.fault != DISK_CUT);
}

_Noreturn void disk_end(void)
{
	disk_enter();
	if (disk_is_tracking)
		power_cut();
	disk_stop(0);
}

/* --- what is below the folder ----------------------------------------------------------------------------------- */

static bool is_below(const char *path)
{
	return strncmp(path, disk_plan.dir, dir_len) == 0 && (path[dir_len] == '/' || path[dir_len] == '\0');
}

static bool is_quiet(void)
{
	return inside || !atomic_load_explicit(&is_active, memory_order_relaxed);
}

/* The name that a descriptor was opened by, also of a file without one ("/dir/#12 (deleted)"). */
bool disk_name_of(int fd, char path[PATH_MAX])
{
	char self[40];
	ssize_t n;

	if (fd == AT_FDCWD)
		n = readlink("/proc/self/cwd", path, PATH_MAX - 1);
	else {
		(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		n = readlink(self, path, PATH_MAX - 1);
	}
	if (n <= 0)
		return false;
	path[n] = '\0';
	return true;
}

bool disk_watches_fd(int fd)
{
	char path[PATH_MAX];
	int e = errno;
	bool r = !is_quiet() && disk_name_of(fd, path) && is_below(path);

	errno = e;
	return r;
}

bool disk_watches(int at, const char *path, char full[PATH_MAX])
{
	size_t n;
	int e = errno;

	if (is_quiet())
		return false;
	if (path[0] == '/') {
		(void)snprintf(full, PATH_MAX, "%s", path);
	} else if (disk_name_of(at, full)) {
		n = strlen(full);
		(void)snprintf(full + n, PATH_MAX - n, "/%s", path);
	} else {
		full[0] = '\0';
	}
	errno = e;
	return is_below(full);
}
