/* dirlock.h -- one owner for each folder (invariant 12): an flock(2) on <dir>/lock, whose content says who holds it. */
#ifndef WEIR_CORE_DIRLOCK_H
#define WEIR_CORE_DIRLOCK_H

#include "base/buf.h"

/* Makes the folder when missing and locks it. 0 with *ret_fd (close it to unlock); -EBUSY with a sentence in err that
 * names the folder and the process id and start time of the holder; -errno with a sentence otherwise. */
int dirlock_take(const char *dir, int *ret_fd, struct buf *err);

#endif
