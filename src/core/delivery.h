/* delivery.h -- takes what an outbox lends to its upstream, by a service's carrier, and settles it by what came of it.
 *
 * One for each queue. A thread of its own looks when something may be due (a put, a settlement, the link's return, a
 * time) and gives entries to workers in a lane below the link's, at most `most_parallel` at once and one for each key
 * (the outbox sees to order). While the link is down or disabled nothing is lent. When it comes back, delivery starts
 * after a random pause below DELIVERY_START_JITTER_MS with one entry at a time, twice as many after each answer, one
 * more for each second without one, up to most_parallel: a thousand returning sites do not stampede, and an entry that
 * hangs holds up nobody.
 *
 * What came of it  | what happens to the entry
 * CARRIED_APPLIED  | applied; children are based on `base`
 * CARRIED_CONFLICT | conflict, with `base` as theirs; so are its children
 * CARRIED_HELD     | held, with the status and body of the answer
 * CARRIED_LATER    | queued: doubling back-off from retry_first to retry_max with full jitter; retry_after_ms (capped
 *                  | at DELIVERY_RETRY_AFTER_MOST_MS) is the least
 * CARRIED_PAUSE    | queued, and the whole queue pauses: until delivery_resume(), or until may_resume() says so
 * CARRIED_NOT      | queued, not an attempt: cancelled by a stop, the link was open by then, no descriptors
 *
 * Logs outbox_applied, outbox_conflict, outbox_held, outbox_deferred (debug), outbox_paused, outbox_resumed; counts
 * weir_outbox_deliveries_total and exports the other weir_outbox_* families for its queue. Any thread unless said
 * otherwise. */
#ifndef WEIR_CORE_DELIVERY_H
#define WEIR_CORE_DELIVERY_H

#include <jansson.h>

#include "core/link.h"
#include "core/metrics.h"
#include "io/cancel.h"
#include "io/pool.h"
#include "store/outbox.h"

#define DELIVERY_START_JITTER_MS 500
#define DELIVERY_RETRY_AFTER_MOST_MS (60 * 60 * 1000) /* a Retry-After of a year is not believed */

struct delivery;

enum carried_to { CARRIED_APPLIED, CARRIED_CONFLICT, CARRIED_HELD, CARRIED_LATER, CARRIED_PAUSE, CARRIED_NOT };

struct carried { /* what a carrier fills in; initialised by the delivery, and freed by it */
	enum carried_to to;
	int status;             /* of upstream's last answer; 0: none */
	struct buf error;       /* a sentence for a person, when not applied */
	int64_t retry_after_ms; /* LATER: what upstream asked for; 0: nothing */
	struct outbox_base base;
	struct buf answer, answer_type; /* at most OUTBOX_MOST_ANSWER bytes are kept */
	struct carried_more *more;      /* see delivery_lend_more() */
	size_t more_count;
};
struct carried_more {
	struct outbox_entry entry;
	struct carried came; /* begins as CARRIED_NOT */
};

/* On a worker; may block on the upstream, and should mind `cancel`, which fires at a stop. The entry is borrowed. A
 * carrier that says nothing has said CARRIED_NOT. */
typedef void delivery_carry_fn(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret);
/* From within a carrier, once: for an upstream that takes several entries in one request. Lends what stands directly
 * behind `e` (outbox_lend_more()); ret->more has them, and what came of each is told there. All are settled together.
 * How many. */
size_t delivery_lend_more(struct delivery *d, const struct outbox_entry *e, size_t most, uint64_t most_bytes,
			  struct carried *ret);
/* While paused, about once a second on the delivery's thread: whether what it waits for has come (a token file
 * changed). May be NULL. */
typedef bool delivery_may_resume_fn(void *arg);
/* An operator said "ours": finds out what upstream has now for this entry. 0 and *ret (all zeros before); or a code,
 * with a sentence in err. Blocks: workers. May be NULL: then the base is forgotten (sent without precondition). */
typedef int delivery_rebase_fn(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct outbox_base *ret,
			       struct buf *err);

/* An operator wants to see what upstream has now, beside what is queued. 0: upstream answered, whatever it said; or a
 * code, with a sentence in err. Blocks: workers. May be NULL: then nobody can say. */
struct delivery_theirs { /* all zeros but a limit for body, by the caller, who frees it: delivery_theirs_fini() */
	int status;
	struct outbox_base now; /* known: what is there, or that nothing is */
	int64_t body_bytes;     /* as upstream says; -1: it does not, and more came than fits */
	struct buf content_type, body;
	bool is_cut;            /* the body is larger than its limit, or has a content coding: it is not here */
};
void delivery_theirs_fini(struct delivery_theirs *t);
typedef int delivery_theirs_fn(void *arg, const struct outbox_entry *e, struct cancel *cancel,
			       struct delivery_theirs *ret, struct buf *err);

struct delivery_options {
	struct outbox *outbox;
	struct outbox_queue *queue;
	struct link *link;
	struct pool *pool;
	struct metrics *metrics;
	const char *service; /* label and log; copied */
	unsigned most_parallel;
	int64_t retry_first_ms, retry_max_ms;
	bool is_quiet; /* many small entries: that one was applied is logged at debug */
	delivery_carry_fn *carry;
	delivery_may_resume_fn *may_resume;
	delivery_rebase_fn *rebase;
	delivery_theirs_fn *theirs;
	void *arg;
};

/* Its thread runs from here on. Sets the queue's change hook (outbox_set_change_hook); a service that sets its own
 * later calls delivery_poke() from there. Before the first put. 0 or -errno. */
int delivery_new(const struct delivery_options *o, struct delivery **ret);
/* Lends nothing more, cancels what is under way, waits for its settling; the link must outlive it, its pool must still
 * run. */
void delivery_stop(struct delivery *d);
void delivery_free(struct delivery *d); /* after delivery_stop */
void delivery_set_retry(struct delivery *d, int64_t first_ms, int64_t max_ms); /* live */
/* For the link's change hook, which may only post, and this does. Front too. */
void delivery_link_changed(struct delivery *d, bool up);
/* Something may be due: look. Front too. */
void delivery_poke(struct delivery *d);
/* Ends a pause. Front too. */
void delivery_resume(struct delivery *d);
/* An operator's go on: ends a pause and makes all that is deferred due. Front too. */
void delivery_flush(struct delivery *d);
bool delivery_is_paused(struct delivery *d);
/* A sentence why, copied; empty: not paused. */
void delivery_pause_reason(struct delivery *d, char ret[200]);
/* "Ours": rebase as above, then outbox_rebase(). Codes of both, with a sentence in err. Blocks: workers. */
int delivery_rebase_entry(struct delivery *d, const struct outbox_entry *e, struct buf *err);
/* What upstream has now for the entry: as above; -EOPNOTSUPP: this service cannot say. Blocks: workers. */
int delivery_theirs(struct delivery *d, const struct outbox_entry *e, struct delivery_theirs *ret, struct buf *err);
/* For status: {"queued", "sending", "conflict", "held", "bytes", "oldest_at", "upstream": the link's state, "paused":
 * why, empty when it is not}. "bytes" and "oldest_at" are of what is not settled. Front too. */
void delivery_status(struct delivery *d, json_t *into);

/* --- all deliveries of this process, for admin and health: there from delivery_new() to delivery_stop() --- */
/* The delivery of a queue; NULL: none runs. The pointer is good until its service stops (admin stops first). */
struct delivery *delivery_find(struct outbox *ob, const char *queue);
/* fn runs under the registry's lock: it may ask, not start or stop one. */
void delivery_each(void (*fn)(void *arg, struct delivery *d), void *arg);
struct outbox_queue *delivery_queue(struct delivery *d);

struct delivery_sum { /* over all of them */
	uint64_t entries[OUTBOX_STATES], bytes; /* bytes: of what is not settled */
	uint64_t damaged;
	int64_t oldest_wall_ms; /* 0: none waits */
	unsigned queues, paused;
	bool is_readonly; /* writes are refused until a restart */
};
void delivery_sum(struct delivery_sum *ret); /* front too */

#endif
