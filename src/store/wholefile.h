/* wholefile.h -- files that appear whole: temporary name beside it, write, fsync, rename, fsync of the directory.
 * Readers meet the old content or the new, after a power cut too. Blocks: not on front threads. */
#ifndef WEIR_STORE_WHOLEFILE_H
#define WEIR_STORE_WHOLEFILE_H

#include "base/buf.h"

/* Replaces path with data (mode 0600 unless `mode` is not 0). 0 or -errno; on failure the old file is untouched and the
 * temporary is gone (but when only the last step, the sync of the folder, failed, the new one is there). */
int wholefile_write(const char *path, struct slice data, unsigned mode);
/* The same with a header line "weir NAME VERSION LENGTH CRC32C\n", so that damage is noticed. */
int wholefile_write_checked(const char *path, const char *name, unsigned version, struct slice data);
/* Reads and checks. 0; -ENOENT; WEIR_E_DAMAGED; WEIR_E_TOO_LARGE; -EPROTO (whole, but of another version); -errno. out
 * gets the data without the header line. */
int wholefile_read_checked(const char *path, const char *name, unsigned version, size_t most, struct buf *out);
/* Moves a damaged file or folder into <dir>/damaged/ under a unique name, NAME.<time in ms>-<random> (invariant 7), and
 * logs nothing. 0 or -errno. */
int wholefile_set_aside(const char *path, const char *dir);
/* The same for a file and what belongs to it, `path` + `tail`, which may be missing: the file gets a name there, and
 * the other that name + `tail`. A stop on the way leaves them together in their place, or together there; the tail may be
 * in both, alone in one. -ENOENT: there is no such file. */
int wholefile_set_aside_both(const char *path, const char *tail, const char *dir);
/* A path for what is to be set aside, in <dir>/damaged/, which is made; or NULL and -errno in *ret_err. The caller
 * frees. */
char *wholefile_aside_path(const char *path, const char *dir, int *ret_err);
/* Removes the temporaries in a folder (not below) that a kill left behind: at start, before anything is written there.
 * */
int wholefile_sweep(const char *dir);
uint32_t crc32c(uint32_t crc, const void *p, size_t n); /* start with 0 */

#endif
