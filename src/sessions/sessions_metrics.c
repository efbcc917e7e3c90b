/* sessions_metrics.c -- weir_session_operations_total, each series made at start so that counting is an array
 * access. */
#include "sessions/sessions_priv.h"

const char *const op_names[] = { "create", "state", "event", "metric", "heartbeat", "end", "crash", NULL };
static const char *const outcomes[] = { "accepted", "refused", "delivered", "held", "dropped", NULL };

static const struct metric_family operations_family = {
	"weir_session_operations_total",
	"Operations of sessions: accepted durably or refused here; delivered to the server, held as it refused them, "
	"or dropped from a full queue.",
	METRIC_COUNTER,
	{ { "type", op_names }, { "outcome", outcomes } },
	NULL,
};

void sessions_metrics_init(struct sessions *ss)
{
	for (int op = 0; op < OP_COUNT; op++)
		for (int o = 0; o < OUTCOME_COUNT; o++)
			ss->metrics.operations[op][o] =
				METRIC(ss->core->metrics, &operations_family, op_names[op], outcomes[o]);
}

void sessions_count(struct sessions *ss, enum op op, enum op_outcome o, uint64_t n)
{
	metric_add(ss->metrics.operations[op][o], n);
}
