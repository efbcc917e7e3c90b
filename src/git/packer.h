/* packer.h -- `git upload-pack` on the local repository, its output going into a spool. */
#ifndef WEIR_GIT_PACKER_H
#define WEIR_GIT_PACKER_H

#include "git/git_priv.h"
#include "store/spool.h"

struct packer {
	struct repo *repo;      /* pinned by the caller */
	int version;            /* protocol: 0, 1, 2 */
	struct slice body;      /* the request, inflated; borrowed */
	struct spool *spool;    /* gets the answer; completed or failed here */
	struct cancel *cancel;  /* fires when nobody wants the answer any more */
	/* Runs once, when the answer is in the spool as far as its first pack data, or complete, or a second has gone. */
	void (*begun)(void *arg);
	void *arg;
};

/* Runs it to its end. 0: complete. WEIR_E_CHILD: git failed, `words` has what it said, and the spool ends with an error
 * packet or has failed. WEIR_E_CANCELLED and other codes: the spool has failed. When that came before `begun` ran,
 * nobody has seen anything, and the caller may do better. Blocks: workers only. */
int packer_run(const struct packer *p, struct buf *words);

#endif
