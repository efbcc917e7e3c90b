/* answers.h -- what a server's answers say. Servers may say anything: nothing here believes more than it needs. Pure;
 * any thread. */
#ifndef WEIR_SESSIONS_ANSWERS_H
#define WEIR_SESSIONS_ANSWERS_H

#include "base/buf.h"

#define ANSWER_MOST_ID 128 /* bytes of the server's ids; longer ones are not believed */
#define LOCAL_ID_BEGINS "local-session-"

/* What a status means: about the address or the key, so for all alike; for now; for good. */
bool answer_is_about_us(int status);
bool answer_is_for_now(int status);
bool answer_is_for_good(int status);

/* Of a creation: true, and the id, when there is one that could be a server's. */
bool answer_session_id(struct slice body, char ret[ANSWER_MOST_ID + 1]);
/* Of /health: whether it is a hub's that takes batches. */
bool answer_takes_batches(struct slice body);
/* Of a batch (docs/formats/session-batch.md). seq is the caller's, the rest is filled in; why is to be freed. 0; or
 * WEIR_E_PARSE: it cannot be read, and says nothing of any. */
enum answer_outcome { ANSWER_APPLIED, ANSWER_REFUSED, ANSWER_NOT_YET };
struct answer_part {
	uint64_t seq;
	enum answer_outcome outcome;
	int status;     /* REFUSED: always one that is for good */
	struct buf why; /* the same: for a person, perhaps empty */
};
int answer_batch(struct slice body, struct answer_part *parts, size_t n);

#endif
