/* hub_op.h -- what a request asks of a session: read from JSON, checked, and written the way it is kept.
 *
 * Pure: no store, no clock. Any thread. SEE docs/formats/session-batch.md */
#ifndef WEIR_HUB_HUB_OP_H
#define WEIR_HUB_HUB_OP_H

#include "core/json.h"

enum hub_op_type {
	HUB_OP_STATE,
	HUB_OP_EVENT,
	HUB_OP_METRIC,
	HUB_OP_HEARTBEAT,
	HUB_OP_END,
	HUB_OP_CRASH,
	HUB_OP_COUNT,
};
extern const char *const hub_op_names[HUB_OP_COUNT + 1]; /* "state" ...; NULL-terminated */

enum hub_hang { HUB_HANG_NONE, HUB_HANG_BEGINS, HUB_HANG_ENDS };

struct hub_op {
	enum hub_op_type type;
	int64_t seq; /* in a batch: above 0 */
	int64_t time_ms; /* END, CRASH in a batch: when it was; 0: not said */
	enum hub_hang hang; /* EVENT: what it says about the program */
	/* EVENT, METRIC: the object as it is kept and sent back. STATE: the item of the history. CRASH: the event. */
	struct buf body;
	json_t *patch; /* STATE: what is merged */
	/* Not 0: refused, with a sentence in error. Set when it is read, or when it is applied. */
	int status;
	struct buf error;
	bool skipped; /* when it was applied: its seq was applied before */
};
void hub_op_fini(struct hub_op *op);

/* Reads the body of an endpoint, or an operation of a batch (is_batch: END and CRASH take its timestamp), into an op of
 * zeros. now: RFC 3339, for what says no time. body NULL: not JSON, which END, HEARTBEAT and CRASH do not mind. Takes
 * no reference. A refusal is in ret->status. */
void hub_op_read(enum hub_op_type type, json_t *body, bool is_batch, struct slice now, struct hub_op *ret);
/* -1: no such type */
int hub_op_type_of(const char *name);

/* The batch: {"operations": [...]}. 0 with ret_ops (malloc'ed, each to be fini'ed) and their number; WEIR_E_PARSE or
 * WEIR_E_TOO_LARGE (too many) with a sentence in why. */
#define HUB_MOST_OPERATIONS 1000
int hub_op_read_batch(json_t *body, struct slice now, struct hub_op **ret_ops, size_t *ret_count, struct buf *why);
void hub_ops_free(struct hub_op *ops, size_t count);

/* The event that a crash leaves behind, as it is kept. machine_id.p NULL: not one that a returning machine tells of. */
void hub_op_write_crash_event(struct slice time, struct slice reason, struct slice machine_id, struct buf *out);

/* Further members of an object: all but those named (NULL at the end), each with a comma before it. */
void hub_op_write_further(const json_t *o, const char *const *but, struct buf *out);

/* A text member of an object: 0 with *ret (empty when absent or null), or WEIR_E_PARSE when it is something else. */
int hub_op_text(const json_t *o, const char *name, struct slice *ret);
/* A timestamp as RFC 3339 has it, with 'T' and an offset. ret_ms may be NULL. 0 or WEIR_E_PARSE. */
int hub_op_time(struct slice text, int64_t *ret_ms);

#endif
