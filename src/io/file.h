/* file.h -- small helpers around descriptors. All descriptors are close-on-exec. Results 0 or -errno. */
#ifndef WEIR_IO_FILE_H
#define WEIR_IO_FILE_H

#include "base/buf.h"

void fd_close(int *fd);                                 /* *fd may be -1; -1 afterwards */
/* Adds the content to out. WEIR_E_TOO_LARGE above most; out is as before on any failure. */
int file_read_all(const char *path, size_t most, struct buf *out);
int fd_write_all(int fd, const void *p, size_t n);      /* handles short writes and EINTR */
/* mkdir -p; the name of each that is made is synced before it counts as made. Of one that is there already that is not
 * known: a kill may have come in between, see dir_sync_above(). */
int dir_make_all(const char *path, unsigned mode);
int dir_sync(const char *path);                         /* fsync of a directory */
int dir_sync_above(const char *path);                   /* of the one that path is in: so that its name is durable */
char *dir_above(const char *path);                      /* its path; the caller frees */
/* rm -rf, goes on after a failure and gives the first; a missing path is fine; does not follow symbolic links. */
int tree_remove(const char *path);
/* Allocated bytes of all files and folders below, as du says. Both: -ELOOP deeper than 64 folders. */
int tree_bytes(const char *path, uint64_t *ret_bytes);
int disk_free_bytes(const char *path, uint64_t *ret_bytes);

#endif
