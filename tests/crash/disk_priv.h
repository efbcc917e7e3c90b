/* disk_priv.h -- what the calls of disk_bytes.c and disk_names.c ask of disk.c. A call goes: watches? if not, to the
 * kernel; else enter, gate, do it (telling the platter when is_tracking), leave. */
#ifndef WEIR_CRASH_DISK_PRIV_H
#define WEIR_CRASH_DISK_PRIV_H

#include "disk.h"

#include <limits.h>

enum op {
	OP_OPEN = 1, /* of what is there */
	OP_MAKE = 2, /* a file, with a name or without */
	OP_READ = 4,
	OP_WRITE = 8,
	OP_GROW = 16,
	OP_SHRINK = 32,
	OP_SYNC = 64,
	OP_LINK = 128, /* link, mkdir */
	OP_RENAME = 256,
	OP_REMOVE = 512,
	OP_CLOSE = 1024,
	OP_CHANGES = OP_MAKE | OP_WRITE | OP_GROW | OP_SHRINK | OP_SYNC | OP_LINK | OP_RENAME | OP_REMOVE,
};

enum disk_verdict { GO, FAIL, HALF };

extern struct disk_plan disk_plan;
extern bool disk_is_tracking; /* the platter is told: only when there can be a cut */

/* Whether the descriptor, or the path (made absolute into full), is below the folder, and the caller not the layer
 * itself. errno is left alone. */
bool disk_watches_fd(int fd);
bool disk_watches(int at, const char *path, char full[PATH_MAX]);
bool disk_name_of(int fd, char path[PATH_MAX]); /* as /proc says */
bool disk_counts(enum op op); /* for the fault of the plan: a cheap first question */

void disk_enter(void);
void disk_leave(void); /* keeps errno */
/* Counts; does the fault when it is due. FAIL has set errno; HALF is only for OP_WRITE. */
enum disk_verdict disk_gate(enum op op);
_Noreturn void disk_stop(int status);
_Noreturn void disk_cannot_follow(const char *what);

#endif
