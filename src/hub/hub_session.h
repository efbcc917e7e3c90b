/* hub_session.h -- what happens to a session: the rules, over the store's table. Each function is the body of a job.
 *
 * THREADS  The store's one thread for jobs. SEE the original's API, section "Server"; docs/formats/session-batch.md */
#ifndef WEIR_HUB_HUB_SESSION_H
#define WEIR_HUB_HUB_SESSION_H

#include "hub/hub_op.h"
#include "hub/hub_store.h"

#define HUB_MOST_STATE_BYTES (1024 * 1024) /* of a session's state, as JSON */

/* When it happens. steady_ms: see struct hub_session, beat_ms. Below stale_ms a heartbeat is too old. */
struct hub_moment {
	int64_t now_ms, steady_ms, stale_ms;
};

struct hub_creation {
	struct slice key; /* p NULL: none */
	struct slice product, version, machine_id, hostname;
	struct slice extra; /* a JSON object; n 0: none */
	int64_t created_ms; /* 0: now */
};
/* A new session with state {product, version}; and whatever of the same machine was suspended has crashed, as the
 * machine is back without it. A key that is known gives the session that was made with it, unchanged. ret is an empty
 * session. *ret_crashed: how many were found crashed. 0 or a code of the store. */
int hub_session_create(struct hub_store *st, struct hub_tx *tx, const struct hub_creation *c,
		       const struct hub_moment *m, struct hub_session *ret, bool *ret_known, int64_t *ret_crashed);

/* Applies operations in order. by_seq: those at or below the session's applied_seq are skipped, and it moves on. An
 * operation that was refused, or is here (a state that would grow too large: status 413), counts as done with.
 * *ret_applied is its applied_seq afterwards. 0; -ENOENT: no such session; a code of the store. */
int hub_session_apply(struct hub_store *st, struct hub_tx *tx, struct slice id, struct hub_op *ops, size_t count,
		      bool by_seq, const struct hub_moment *m, int64_t *ret_applied);

/* What a session is at a moment; pure. */
struct hub_status {
	bool active, suspended, crashed, hung;
};
struct hub_status hub_session_status(const struct hub_session *s, int64_t stale_ms);

#endif
