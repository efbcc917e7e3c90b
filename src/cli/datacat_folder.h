/* datacat_folder.h -- where datacat-daemon keeps what it has not delivered: folders 0, 1, 2, ... of one user, each
 * locked by the daemon that uses it, so that several can run at once. */
#ifndef WEIR_CLI_DATACAT_FOLDER_H
#define WEIR_CLI_DATACAT_FOLDER_H

#include "base/buf.h"

struct datacat_folder {
	char *path; /* malloc'ed; datacat_folder_fini() */
	unsigned number;
	int lock_fd; /* the caller's to close */
};

#define DATACAT_FOLDER_NONE { .path = NULL, .lock_fd = -1 }

/* Takes the first that nobody holds, and which holds nothing for another server: what was meant for one goes to no
 * other. 0; or a code with a sentence in err. */
int datacat_folder_take(const char *server, struct datacat_folder *ret, struct buf *err);
/* Takes this one, if nobody holds it and it holds something for this server: -EBUSY, -ENOENT. */
int datacat_folder_take_over(unsigned number, const char *server, struct datacat_folder *ret, struct buf *err);
/* Those behind `from` that could be taken over just now; at most `most` numbers. How many. */
size_t datacat_folder_left(unsigned from, const char *server, unsigned *ret, size_t most);
/* It holds nothing any more, for nobody. With the lock held. */
void datacat_folder_is_empty(const struct datacat_folder *f);
void datacat_folder_fini(struct datacat_folder *f);

#endif
