/* secret.h -- a secret that a file holds: a token, a key, a password, one line of text.
 *
 * All of weir's secrets are read by this, so that none of them can come out empty: an empty one would be presented by
 * anybody. Any thread; all but secret_is_presented() and secret_free() block on the disk. */
#ifndef WEIR_CORE_SECRET_H
#define WEIR_CORE_SECRET_H

#include "base/buf.h"

#define SECRET_MOST_BYTES (64 * 1024)

/* The line of the file, without white space at its end; *ret is malloc'ed, for secret_free(). Otherwise -errno, or
 * -EINVAL (empty, too large, more than one line, control characters in it), and `why` (may be NULL) gets what follows
 * the file's name in a sentence: "is empty". It never has anything of the content. */
int secret_read(const char *path, char **ret, struct buf *why);
void secret_free(char *secret); /* erases it; NULL is fine */
void secret_wipe(struct buf *b); /* erases and frees a copy; b is empty and usable afterwards */

/* Adds what tells one state of the file from another: its size, times and inode; also what chmod and chown change, so
 * that a file that could not be read is looked at again when it was mended. */
void secret_fingerprint(const char *path, struct buf *out);

/* Whether an Authorization value (p may be NULL) presents the secret: as Bearer, or as the password of Basic with any
 * user name, which is what git and browsers can send. Takes as long whatever is wrong in it. */
bool secret_is_presented(struct slice authorization, const char *secret);

#endif
