/* prepare.h -- the answer to a default `git clone`, made before anybody asks for it. */
#ifndef WEIR_GIT_PREPARE_H
#define WEIR_GIT_PREPARE_H

#include "git/git_priv.h"
#include "proto/gitcmd.h"

/* The key under which the answer to a command is shared and kept: 32 bytes are added; nothing when its answer depends
 * on more than the command (gitcmd_fetch_names_refs()). Any thread. */
void fetch_answer_key(const char *repo_key, int version, const struct gitcmd *cmd, struct buf *key);

/* Makes and keeps the answer to the fetch that `git clone` sends when it is not on a terminal (as in a pipeline): all
 * branches and tags. Nothing when it is kept already or nothing is servable. Failures are logged: whoever clones makes
 * it then. Blocks: workers only, in the repository's sync lane. */
void prepare_clone(struct repo *r);

#endif
