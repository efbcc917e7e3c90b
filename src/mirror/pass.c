/* pass.c -- what goes straight through: other methods than a cache knows, ranges and HEADs of what is not stored.
 *
 * Offline they are refused with a sentence: what a MOVE or a LOCK does cannot be promised for later. PROPFIND is
 * answered from what was read before when `offline_propfind` says so: see propfind.c. */
#include "base/err.h"
#include "mirror/relay.h"

static void refuse_offline(struct request *q)
{
	if (q->policy.method == POLICY_UNSAFE)
		request_problem(q, 503, MIRROR_REFUSED, "weir; fwd=bypass; detail=offline", "Upstream is away",
				"the upstream of mirror %s is away, and %.*s is not among the methods that are queued "
				"(outbox.methods); try again when it is back",
				q->m->name, (int)q->method.n, q->method.p);
	else
		request_unavailable(q, WEIR_E_OPEN);
}

/* Safe methods leave everything as it is; after others stored answers are doubtful. */
static void pass(struct exchange *ex)
{
	struct relay r;
	int err;

	relay_init(&r, request_of(ex));
	err = relay_run(&r);
	if (r.q)
		relay_reply_failure(&r, err);
	relay_fini(&r);
}

void pass_begin(struct request *q)
{
	if (propfind_begin(q))
		return;
	if (request_is_offline(q))
		refuse_offline(q);
	else
		request_with_body_to_worker(q, q->policy.method == POLICY_UNSAFE ? q->m->write_lane : q->m->fetch_lane,
					    q->m->stream_lane, pass);
}
