/* outbox_play.h -- playing a script of steps against the outbox and its model; what the notes of a play hold. */
#ifndef WEIR_CRASH_OUTBOX_PLAY_H
#define WEIR_CRASH_OUTBOX_PLAY_H

#include "crash.h"
#include "outbox_model.h"

#define SMALL  200u
#define EDGE   OUTBOX_INLINE_BYTES
#define BIG    150000u
#define FAR_MS 100000000000000 /* later than any deferral */

enum step_kind {
	STEP_END,
	STEP_PUT,
	STEP_LEND,
	STEP_SETTLE,
	STEP_RETRY,
	STEP_REBASE,
	STEP_RESOLVE,
	STEP_DROP,
	STEP_PURGE,
	STEP_REOPEN,
	STEP_CLOSE,
	STEP_HEAL,
};

struct step {
	enum step_kind kind;
	char key; /* PUT; LEND, PURGE: one of the queue */
	unsigned bytes; /* PUT */
	unsigned i; /* an operator's verbs: which put. LEND, SETTLE: which hand (0 to 3) holds it */
	enum outbox_state to;
	bool is_once, wants_parent;
};

#define PUT(k, n, ...)                                                  \
	{                                                               \
		.kind = STEP_PUT, .key = (k), .bytes = (n), __VA_ARGS__ \
	}
#define LEND(k, hand)                                      \
	{                                                  \
		.kind = STEP_LEND, .key = (k), .i = (hand) \
	}
#define SETTLE(hand, state)                                     \
	{                                                       \
		.kind = STEP_SETTLE, .i = (hand), .to = (state) \
	}
#define VERB(name, n)                         \
	{                                     \
		.kind = STEP_##name, .i = (n) \
	}
#define PURGE(k)                               \
	{                                      \
		.kind = STEP_PURGE, .key = (k) \
	}
#define REOPEN                      \
	{                           \
		.kind = STEP_REOPEN \
	}
#define CLOSE                      \
	{                          \
		.kind = STEP_CLOSE \
	}
#define HEAL                      \
	{                         \
		.kind = STEP_HEAL \
	}
#define CHILD .wants_parent = true
#define ONCE  .is_once = true

struct outbox_room {
	struct worlds worlds, if_done; /* if_done is the one while is_under_way */
	atomic_bool is_under_way;
	unsigned puts, codes;
	unsigned bytes[MODEL_ENTRIES];
	uint64_t last_seq;
	char last_id[OUTBOX_ID_ROOM];
};
_Static_assert(sizeof(struct outbox_room) <= RUN_ROOM, "notes");

struct play {
	struct run *run;
	struct outbox_room *room;
	const struct step *steps;
	struct outbox *ob;
	struct outbox_queue *queue[2];
	bool was_readonly; /* before the call under way: then it cannot have been done */
	struct {
		unsigned entry; /* number + 1 */
		uint64_t seq;
		char key;
	} hand[4]; /* what is lent */
	struct model_call ends[MODEL_ENTRIES]; /* settlements of what is sent once that wait to be written */
	unsigned end_count;
};

/* A play that begins, or goes on after a restart. */
struct play *play_of(struct run *run);
int play_open(struct play *p);
int play_reopen(struct play *p); /* gives back what is lent, closes and opens */
/* One step; after HEAL a fault that is only for a while is over: puts must succeed. The code of a put, or 0. */
int play_step(struct play *p, const struct step *s, bool is_healed);
void play_steps(struct run *run, const struct step *steps); /* opens first, whatever it takes */
/* The worlds that may be there now. */
const struct worlds *play_possible(const struct play *p);
/* The body of the nth put, and its number by the entry. */
void play_body(unsigned i, unsigned bytes, struct buf *out);
unsigned play_number(struct run *run, const struct outbox_entry *e);

#endif
