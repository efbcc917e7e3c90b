/* disk.h -- a disk that fails, tears, or forgets at its nth operation.
 *
 * This file's object defines the C library's file calls (open, pwrite, fsync, rename, ...). Linked into a program it is
 * found before libc, by our code and by libsqlite3 alike. Until disk_begin() all calls go through. From then on every
 * operation on what is below one folder is counted, and at the nth the fault happens. What a power cut leaves is the
 * business of platter.h, which tells the model and what it leaves out.
 *
 * Threads: any. Operations below the folder run one at a time. */
#ifndef WEIR_CRASH_DISK_H
#define WEIR_CRASH_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platter.h"

enum disk_fault {
	DISK_SOUND,
	DISK_STOP, /* the process ends before the nth change: what kill -9 leaves */
	DISK_TEAR, /* half of the nth write is done, then the process ends */
	DISK_CUT, /* the power goes before the nth change; when there is none, at disk_end() */
	DISK_EIO, /* the nth operation fails; after a sync that failed, bytes are lost though a later one succeeds */
	DISK_EIO_ON, /* and all that follow, reads too */
	DISK_ENOSPC, /* no room from the nth that needs some; a write is cut short first, as a full disk does */
	DISK_EMFILE, /* no descriptor from the nth opening on */
};

#define DISK_BLIND_FILES 1u
#define DISK_BLIND_DIRS  2u

#define DISK_STOPPED 77 /* exit status of a process that the disk ended */

struct disk_plan {
	const char *dir; /* absolute, without symbolic links, there; borrowed. <dir>.grave is made beside it */
	enum disk_fault fault;
	unsigned nth; /* from 1 */
	enum platter_survivors survivors;
	uint64_t seed;
	bool cut_at_end; /* disk_end() is a power cut also after another fault */
	unsigned blind; /* DISK_BLIND_*: syncs that the disk only pretends to do, to see that a check notices */
	const char *blind_at; /* only of paths with this in it; NULL: of all */
	bool is_told; /* the fault says on stderr where it happens, for addr2line */
	atomic_bool *reached; /* set when there was an nth operation; borrowed, in memory that outlives the process */
};

void disk_begin(const struct disk_plan *plan);
/* Room again, descriptors again, no more failures: from here on the disk is sound (what is not synced still counts). */
void disk_heal(void);
_Noreturn void disk_end(void); /* ends the process, without a word to anybody: status 0, or DISK_STOPPED after a cut */

#endif
