/* link.h -- the link to one upstream: its HTTP client, its breaker, its background probe.
 *
 *   unknown --answer--> up --connect failure, failed probe, three 5xx in a row--> down --probe answered below 500--> up
 *   any --operator--> disabled --operator--> unknown (probed at once)
 *
 * Invariant 9. While down or disabled, link_call() returns WEIR_E_OPEN or WEIR_E_DISABLED at once. The probe is one
 * thread for each link, started when first needed: GET base_url without credential, after probe_first, doubling to
 * probe_max, jittered (at most 10 %). Any thread unless said otherwise. Logs upstream_down and upstream_up; counts
 * weir_upstream_requests_total, weir_upstream_request_duration_seconds. */
#ifndef WEIR_CORE_LINK_H
#define WEIR_CORE_LINK_H

#include "core/metrics.h"
#include "io/client.h"
#include "io/pool.h"

struct link;

enum link_state { LINK_UNKNOWN, LINK_UP, LINK_DOWN, LINK_DISABLED };
const char *link_state_text(enum link_state s); /* "up", "down", "disabled", "unknown" */

struct link_options {
	const char *name, *service, *url, *ca_file, *proxy; /* copied; name: the upstream's `match` */
	bool enabled;
	int64_t connect_timeout_ms, stall_timeout_ms, probe_first_ms, probe_max_ms;
	int64_t probe_patience_ms; /* a probe silent for longer has failed */
	unsigned most_workers;     /* of its lane: its share of the pool */
};

struct link_info { /* strings borrowed from the link, last_error copied */
	const char *name, *service, *url;
	bool enabled;
	enum link_state state;
	int64_t since_wall_ms;
	char last_error[200];
};

int link_new(const struct link_options *o, struct pool *pool, struct metrics *m, struct link **ret);
void link_free(struct link *l); /* no call may be running; ends the probe thread */

enum link_state link_state(struct link *l); /* lock-free: front threads too */
static inline bool link_state_is_open(enum link_state s)
{
	return s == LINK_DOWN || s == LINK_DISABLED;
}
void link_info(struct link *l, struct link_info *ret);
void link_enable(struct link *l, bool enabled);
struct lane *link_lane(struct link *l); /* borrowed: parent of the lanes of its repositories */

/* client_call() behind the breaker. Notes the outcome: connect failures open the breaker; WEIR_E_SILENT, STALLED and
 * CUT make it probe at once; a status of 500 and above counts towards three in a row; anything below closes it.
 * 0 when an answer came (any status: see err_is_unavailable and link_status_is_unavailable). Workers only. */
int link_call(struct link *l, const struct client_request *rq, const struct client_sink *sink, struct cancel *cancel,
	      struct client_result *ret);
/* 500, 502, 503, 504, and 429 on reads: as good as no answer (invariant 4). */
bool link_status_is_unavailable(int status, bool is_read);
void link_probe_now(struct link *l);
/* fn(arg, up) on the probe's or a caller's thread whenever the breaker opens or closes; it may only post. Set before
 * the first call. */
typedef void link_change_fn(void *arg, bool up);
void link_set_change_hook(struct link *l, link_change_fn *fn, void *arg);

#endif
