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
	void (*begun)(void *arg); /* runs once, when the first bytes are in the spool or it is complete */
	void *arg;
};

/* Runs it to its end. 0: complete. WEIR_E_PROTOCOL: git answered with an ERR packet, and the spool is complete with it. WEIR_E_CHILD: it
 * failed, `words` has what it said, and the spool ends with an error packet or has failed. WEIR_E_CANCELLED and other codes: the spool has failed.
 * When that came before the first byte, `begun` did not run. Blocks: workers only. */
int packer_run(const struct packer *p, struct buf *words);

#endif
