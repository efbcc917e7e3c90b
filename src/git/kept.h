/* kept.h -- complete fetch answers, kept as files and sent again without a worker and without a child.
 *
 * An answer made of object ids stays right whatever refs do later, so it is kept under its key (repository and
 * normalised command) until the disk budget wants its space or its repository goes. docs/formats/kept-answer.md.
 *
 * An answer is worth keeping when it was costly (KEPT_COSTLY_BYTES, or KEPT_COSTLY_MS of work) or was asked for
 * twice; one that builds on what a client has, when it was asked for twice. */
#ifndef WEIR_GIT_KEPT_H
#define WEIR_GIT_KEPT_H

#include "git/answers.h"
#include "git/git_priv.h"

#define KEPT_COSTLY_BYTES (256u << 10)
#define KEPT_COSTLY_MS 50
#define KEPT_KEY_BYTES 32
#define KEPT_MOST 1024 /* answers; each has a descriptor once it was used */

struct kept;

struct kept *kept_new(struct git_service *g);
void kept_free(struct kept *k); /* no answer from it may be read any more */
/* Start: counts what lies there towards the budget; it is verified when it is first used. */
void kept_load_all(struct kept *k);

/* The answer under key, listed in g->answers, as answer_find() gives it: one reference and one party; NULL: there is
 * none, or it must be verified first (*ret_unverified). While it is read it is not evicted. Front threads too. */
struct answer *kept_find(struct kept *k, struct slice key, bool *ret_unverified);
/* Checks length and checksum of the file. True: kept_find() gives it now. Damage is counted, logged and removed.
 * Workers only. */
bool kept_verify(struct kept *k, struct slice key);
/* Whether an answer of that cost, or asked for the second time, is to be kept. Any thread. */
bool kept_is_worth(struct kept *k, struct slice key, uint64_t bytes, int64_t cost_ms);
/* Keeps a complete spool. Workers only; failures (a full disk) are logged at debug level: nothing is lost but time. */
void kept_store(struct kept *k, struct repo *r, struct slice key, struct spool *spool);
/* Its repository goes: all of its answers. Those being read are read to their end. Workers only. */
void kept_drop_repo(struct kept *k, const char *repo_name);

#endif
