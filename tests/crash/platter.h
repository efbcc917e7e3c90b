/* platter.h -- what would be on the disk if the power went now.
 *
 * disk.c tells it what each operation does; platter_cut() then turns the folder, as the page cache shows it, into what
 * a power cut leaves. Callers hold one lock over all of it: begin, the operation itself, end. */
#ifndef WEIR_CRASH_PLATTER_H
#define WEIR_CRASH_PLATTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum platter_survivors {
	PLATTER_NOTHING, /* of what was not synced, nothing is there */
	PLATTER_NAMES, /* the names are, the bytes are not */
	PLATTER_BYTES, /* the bytes are, the names are not */
	PLATTER_SOME, /* as the seed has it: pages and sectors in any order, names up to some point in each folder */
};

/* All that is in dir now counts as synced. Keeps what is removed in <dir>.grave. */
void platter_begin(const char *dir);

/* Around a write of at most n bytes at `at`, and around a change of size. */
void platter_write_begins(int fd, off_t at, size_t most);
void platter_write_ends(ssize_t n);
void platter_resize_begins(int fd, off_t size);
void platter_resize_ends(bool is_done);

/* fsync or fdatasync of a file or folder. */
void platter_synced(int fd);
void platter_sync_failed(int fd);

/* Names. Paths are absolute. */
void platter_made(const char *path);
void platter_remove_begins(const char *path);
void platter_remove_ends(bool is_done);
void platter_rename_begins(const char *from, const char *to);
void platter_rename_ends(bool is_done);

void platter_cut(enum platter_survivors survivors, uint64_t seed);

#endif
