/* answers.h -- fetch answers that are being made or read: a spool, and who still wants it.
 *
 * An answer is listed under its key (repository and normalised command) while somebody wants it, so that a request for
 * the same reads along from the first byte. Readers are parties; so is the maker until it has handed the answer to its
 * first readers. When the last party leaves, the answer is unlisted and its cancel fires: the maker, if still at it,
 * stops. Counted; any thread; nothing blocks. */
#ifndef WEIR_GIT_ANSWERS_H
#define WEIR_GIT_ANSWERS_H

#include "base/buf.h"
#include "io/cancel.h"
#include "store/spool.h"

struct answers;
struct answer;

struct answers *answers_new(void);
void answers_free(struct answers *as);

/* The answer listed under key: one reference and one party; NULL: none. */
struct answer *answer_find(struct answers *as, struct slice key);
/* A new one over a spool (taken); key with n 0: not listed. The maker has a reference and is a party. cancel: what the
 * maker already watches on behalf of those who wait for the first byte (its flight's); from here on it fires with the
 * answer's last party too. NULL: nobody makes it, it is complete. */
struct answer *answer_new_take(struct answers *as, struct slice key, struct spool *spool, struct cancel *cancel);
void answer_handed_over(struct answer *a); /* the maker is no party any more; it keeps its reference */
void answer_unref(struct answer **a);      /* the maker is done; *a may be NULL */
struct answer *answer_join(struct answer *a); /* one more reference and party */
void answer_leave(struct answer **a);         /* a reader gives both back; *a may be NULL */
/* fn(arg) runs when the answer is freed, on whatever thread that is. Once for each answer, before others can have
 * it. */
void answer_on_release(struct answer *a, void (*fn)(void *arg), void *arg);
void answer_unlist(struct answer *a);         /* it failed: nobody shall find it */
struct spool *answer_spool(const struct answer *a);   /* borrowed */
struct cancel *answer_cancel(const struct answer *a); /* borrowed */

#endif
