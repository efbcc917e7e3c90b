/* repo_disk.h -- a repository's folder: <repos_dir>/<readable name>-<hash>/ with
 *
 *	name    its canonical name (checked file); the file's mtime is when it was last used
 *	refs    the snapshot (docs/formats/refs-snapshot.md); refs-<hex>: those of single credentials
 *	git/    a bare repository that git understands: objects, one packed-refs with all servable refs, HEAD
 *
 * Workers only, and start-up. */
#ifndef WEIR_GIT_REPO_DISK_H
#define WEIR_GIT_REPO_DISK_H

#include "git/git_priv.h"

/* The last part of its folder: readable, unique, good for naming other things of the repository. Borrowed. */
const char *repo_disk_name(const struct repo *r);
bool repo_item_evict(struct git_item *it);
char *repo_disk_dir(const struct git_service *g, const char *key); /* malloc'ed */
/* Writes the snapshots of a repository that is on disk; a failure is logged, as the cache goes on from memory.
 * save_lock held. */
void repo_disk_save(struct repo *r);
/* The same of the main scope and one credential's only: of the others nothing changed. NULL: the main scope. */
void repo_disk_save_view(struct repo *r, const struct grant_key *cred);
/* The file of one credential's view; it may not be there. save_lock held. */
void repo_disk_drop_scope(struct repo *r, const struct grant_key *key);
/* packed-refs, then HEAD. 0 or -errno. save_lock held. */
int repo_disk_write_refs(struct repo *r, const struct refs *refs);
/* Saves the time of last use as the mtime of `name`, when it changed. */
void repo_disk_save_used(struct repo *r);

#endif
