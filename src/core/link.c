/* link.c -- the link to one upstream: its client, its breaker, its probe.
 *
 *            answer         failure
 *   unknown ---------> up ------------> down       failure: refused, unreachable, DNS, TLS, connect time-out;
 *                       ^               /                   a failed probe; the third 5xx in a row
 *                        \---answer----/           answer:  any status below 500, to a call or to the probe
 *   any --disable--> disabled --enable--> unknown, and the probe looks at once
 *
 * WHY      Offline is a state, entered once (invariant 9): the first who meets a dead upstream pays for it, all others
 *          are told at once, and nobody but one thread keeps asking whether it is back.
 * RULES    1. While down or disabled no call reaches the client.
 *          2. Silence, stalls and cuts do not open the breaker: one slow repository is not an upstream that is away.
 *             They make the probe look, and its result decides.
 *          3. A probe that was under way when an operator switched says nothing: `switches` tells.
 *          4. What ends a call on our side (cancel, a sink's failure, no descriptors) says nothing about the upstream.
 * THREADS  Any. `state` is atomic for front threads. `turn` is held from a change of state to the end of its telling
 *          (log line and hook), so that both come in the order of the changes; `lock` guards the fields and is never
 *          held across either. Order: turn, lock.
 * SEE      docs/DESIGN.md, invariants 4 and 9 */
#include "core/link.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/rand.h"

#define LINK_MAGIC 0x6c696e6bu
#define MOST_5XX 3
#define MOST_IDLE_CONNECTIONS 8

struct link {
	unsigned magic;
	char *name, *service, *url;
	struct client *client;
	struct lane *lane;
	struct metrics *metrics;
	struct metric *successes, *failures, *durations;
	int64_t probe_first_ms, probe_max_ms, probe_patience_ms;
	_Atomic enum link_state state;
	atomic_uint errors_in_row; /* 5xx */
	pthread_mutex_t turn, lock;
	pthread_cond_t wake; /* of the probe thread */
	bool has_thread, stopping, probe_soon;
	pthread_t thread;
	struct cancel *stop_probe;
	int64_t next_probe_ms, probe_delay_ms; /* while down; monotonic */
	unsigned switches;
	int64_t since_wall_ms;
	char last_error[200];
	link_change_fn *hook;
	void *hook_arg;
};

/* --- metrics ---------------------------------------------------------------------------------------------------- */

static const char *const call_statuses[] = { "success", "failure", NULL };

static const struct metric_family up_family = {
	.name = "weir_upstream_up",
	.help = "1 unless the upstream is known to be away or is disabled.",
	.type = METRIC_GAUGE,
	.labels = { { .name = "upstream" } },
};
static const struct metric_family requests_family = {
	.name = "weir_upstream_requests_total",
	.help = "Requests to the upstream; a failure is no whole answer, or a status of 500 and above.",
	.type = METRIC_COUNTER,
	.labels = { { .name = "upstream" }, { "status", call_statuses } },
};
static const struct metric_family durations_family = {
	.name = "weir_upstream_request_duration_seconds",
	.help = "Time until the whole answer of the upstream was here.",
	.type = METRIC_HISTOGRAM,
	.labels = { { .name = "upstream" } },
	.buckets = metric_latency_buckets,
};

static double up_now(void *arg)
{
	return link_state_is_open(link_state(arg)) ? 0 : 1;
}

static void add_metrics(struct link *l, struct metrics *m)
{
	metrics_register(m, &up_family);
	metrics_register(m, &requests_family);
	metrics_register(m, &durations_family);
	l->metrics = m;
	l->successes = METRIC(m, &requests_family, l->name, "success");
	l->failures = METRIC(m, &requests_family, l->name, "failure");
	l->durations = METRIC(m, &durations_family, l->name);
	metrics_set_fn(m, &up_family, (const char *const[]){ l->name, NULL }, up_now, l);
}

/* --- changes of state ------------------------------------------------------------------------------------------- */

enum event { EVENT_ANSWER, EVENT_FAILURE, EVENT_DISABLE, EVENT_ENABLE };

static const enum link_state next_state[4][4] = {
	/*                     unknown        up             down           disabled */
	[EVENT_ANSWER] =  { LINK_UP,       LINK_UP,       LINK_UP,       LINK_DISABLED },
	[EVENT_FAILURE] = { LINK_DOWN,     LINK_DOWN,     LINK_DOWN,     LINK_DISABLED },
	[EVENT_DISABLE] = { LINK_DISABLED, LINK_DISABLED, LINK_DISABLED, LINK_DISABLED },
	[EVENT_ENABLE] =  { LINK_UNKNOWN,  LINK_UP,       LINK_DOWN,     LINK_UNKNOWN },
};

const char *link_state_text(enum link_state s)
{
	static const char *const text[] = { "unknown", "up", "down", "disabled" };

	return (unsigned)s < ARRAY_LEN(text) ? text[s] : "unknown";
}

static void *probe_main(void *arg);

/* With the lock held. Without a thread now (EAGAIN), the next call that finds the breaker open tries again. */
static void wake_probe(struct link *l)
{
	pthread_attr_t a;
	sigset_t all;

	pthread_cond_signal(&l->wake);
	if (l->has_thread || l->stopping)
		return;
	sigfillset(&all);
	ENSURE(pthread_attr_init(&a) == 0);
	ENSURE(pthread_attr_setsigmask_np(&a, &all) == 0);
	l->has_thread = pthread_create(&l->thread, &a, probe_main, l) == 0;
	pthread_attr_destroy(&a);
	if (l->has_thread)
		(void)pthread_setname_np(l->thread, "weir-probe"); /* only for who looks at it with top */
}

/* With the lock held: when the next probe is due, and a doubled delay for the one after. The jitter shortens, so that
 * recovery is noticed within probe_max. */
static void plan_probe(struct link *l)
{
	l->next_probe_ms = clock_mono_ms() + l->probe_delay_ms - rand_jitter_ms(l->probe_delay_ms / 10);
	l->probe_delay_ms = l->probe_delay_ms * 2 < l->probe_max_ms ? l->probe_delay_ms * 2 : l->probe_max_ms;
}

/* With the lock held. */
static void enter_state(struct link *l, enum link_state s)
{
	atomic_store(&l->state, s);
	l->since_wall_ms = clock_wall_ms();
	atomic_store(&l->errors_in_row, 0);
	if (s == LINK_DOWN) {
		l->probe_delay_ms = l->probe_first_ms;
		plan_probe(l);
		wake_probe(l);
	}
}

static void tell(struct link *l, enum link_state from, enum link_state to, int64_t since_before, const char *reason,
		 const char *error)
{
	bool was_open = link_state_is_open(from), is_open = link_state_is_open(to);

	if (to == LINK_DOWN || to == LINK_DISABLED)
		log_event(to == LINK_DOWN ? LOG_WARN : LOG_INFO, "upstream_down", LOG_STR("upstream", l->name),
			  LOG_STR("reason", reason), LOG_STR("last_error", error), LOG_END);
	else if (was_open)
		log_event(LOG_INFO, "upstream_up", LOG_STR("upstream", l->name), LOG_STR("reason", reason),
			  LOG_STR("last_error", error), LOG_INT("away_s", (clock_wall_ms() - since_before) / 1000),
			  LOG_END);
	if (was_open != is_open && l->hook)
		l->hook(l->hook_arg, !is_open);
}

/* error: what is kept as last_error; NULL: it stays. */
static void happen(struct link *l, enum event e, const char *reason, const char *error)
{
	enum link_state from, to;
	char last_error[sizeof(l->last_error)];
	int64_t since;

	pthread_mutex_lock(&l->turn);
	pthread_mutex_lock(&l->lock);
	from = atomic_load(&l->state);
	to = next_state[e][from];
	since = l->since_wall_ms;
	if (error && to != LINK_DISABLED)
		(void)snprintf(l->last_error, sizeof(l->last_error), "%s", error);
	memcpy(last_error, l->last_error, sizeof(last_error));
	if (e == EVENT_DISABLE || e == EVENT_ENABLE)
		l->switches++;
	if (to != from)
		enter_state(l, to);
	pthread_mutex_unlock(&l->lock);
	if (to != from)
		tell(l, from, to, since, reason, last_error);
	pthread_mutex_unlock(&l->turn);
}

/* --- the probe -------------------------------------------------------------------------------------------------- */

/* The head is the answer; the page is not wanted. */
static int probe_head(void *arg, int status, const struct slice *headers, size_t header_count)
{
	return -ECANCELED;
}

/* "connection refused (Failed to connect ...)" */
static void describe(char *into, size_t room, const char *what, int err, const struct client_result *res)
{
	if (res->status > 0 && (err == 0 || err == -ECANCELED))
		(void)snprintf(into, room, "%sstatus %d", what, res->status);
	else if (res->detail[0])
		(void)snprintf(into, room, "%s%.60s (%.120s)", what, err_text(err), res->detail);
	else
		(void)snprintf(into, room, "%s%s", what, err_text(err));
}

/* One look, without credential. */
static void probe_once(struct link *l, unsigned switches)
{
	const struct client_request rq = { .method = "GET", .target = SLICE_LIT("/"),
					   .first_byte_ms = l->probe_patience_ms, .fresh_connection = true };
	const struct client_sink sink = { .on_head = probe_head };
	struct client_result res;
	char error[sizeof(l->last_error)];
	bool is_stale;
	int r;

	r = client_call(l->client, &rq, &sink, l->stop_probe, &res);
	pthread_mutex_lock(&l->lock);
	is_stale = l->switches != switches || l->stopping;
	pthread_mutex_unlock(&l->lock);
	if (is_stale)
		return;
	if (res.status > 0 && res.status < 500) {
		happen(l, EVENT_ANSWER, "probe", NULL);
		return;
	}
	describe(error, sizeof(error), "probe: ", r, &res);
	happen(l, EVENT_FAILURE, "probe", error);
	pthread_mutex_lock(&l->lock);
	plan_probe(l);
	pthread_mutex_unlock(&l->lock);
}

/* With the lock held: whether to look now. Otherwise waits until that may have changed. */
static bool probe_is_due(struct link *l)
{
	enum link_state s = atomic_load(&l->state);
	int64_t left = l->next_probe_ms - clock_mono_ms();
	struct timespec t;

	if (s == LINK_DISABLED)
		l->probe_soon = false; /* never contacted */
	if (l->probe_soon || (s == LINK_DOWN && left <= 0)) {
		l->probe_soon = false;
		return true;
	}
	if (s != LINK_DOWN) {
		pthread_cond_wait(&l->wake, &l->lock);
		return false;
	}
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)(left % 1000) * 1000000;
	t.tv_sec += left / 1000 + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	(void)pthread_cond_timedwait(&l->wake, &l->lock, &t);
	return false;
}

static void *probe_main(void *arg)
{
	struct link *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->stopping) {
		unsigned switches = l->switches;
		if (!probe_is_due(l))
			continue;
		pthread_mutex_unlock(&l->lock);
		probe_once(l, switches);
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

void link_probe_now(struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	pthread_mutex_lock(&l->lock);
	if (link_state(l) != LINK_DISABLED) { /* else a wish from before would make a second probe when it is enabled */
		l->probe_soon = true;
		wake_probe(l);
	}
	pthread_mutex_unlock(&l->lock);
}

/* --- calls ------------------------------------------------------------------------------------------------------ */

static void note_server_error(struct link *l, const struct client_result *res)
{
	char error[sizeof(l->last_error)];

	if (atomic_fetch_add(&l->errors_in_row, 1) + 1 < MOST_5XX)
		return;
	(void)snprintf(error, sizeof(error), "status %d, and %d server errors in a row", res->status, MOST_5XX);
	happen(l, EVENT_FAILURE, "server_errors", error);
}

static void note_answer(struct link *l)
{
	atomic_store(&l->errors_in_row, 0);
	if (atomic_load(&l->state) != LINK_UP)
		happen(l, EVENT_ANSWER, "answer", NULL);
}

static const char *reason_text(int err)
{
	switch (err) {
	case WEIR_E_DNS:
		return "dns";
	case WEIR_E_TLS:
		return "tls";
	case WEIR_E_CONNECT_TIMEOUT:
		return "connect_timeout";
	default:
		return "refused";
	}
}

static void note_failure(struct link *l, int err, const struct client_result *res)
{
	char error[sizeof(l->last_error)];

	describe(error, sizeof(error), "", err, res);
	if (err_is_connect_failure(err)) {
		happen(l, EVENT_FAILURE, reason_text(err), error);
		return;
	}
	pthread_mutex_lock(&l->lock);
	memcpy(l->last_error, error, sizeof(error));
	pthread_mutex_unlock(&l->lock);
	link_probe_now(l);
}

static void note_outcome(struct link *l, int err, const struct client_result *res)
{
	/* Not HTTP, or a head without end: whatever answers there is not the upstream. Let the probe say. */
	bool is_nonsense = res->status == 0 && (err == WEIR_E_PROTOCOL || err == WEIR_E_TOO_LARGE);
	bool is_failure = err_is_unavailable(err) || is_nonsense;
	bool is_answer = !is_failure && res->status > 0 && err != WEIR_E_CANCELLED;

	if (!is_failure && !is_answer)
		return; /* rule 4 */
	metric_observe(l->durations, (double)res->elapsed_us / 1e6);
	metric_add(is_answer && res->status < 500 ? l->successes : l->failures, 1);
	if (is_failure)
		note_failure(l, err, res);
	else if (res->status >= 500)
		note_server_error(l, res);
	else
		note_answer(l);
}

int link_call(struct link *l, const struct client_request *rq, const struct client_sink *sink, struct cancel *cancel,
	      struct client_result *ret)
{
	enum link_state s = link_state(l);
	int r;

	if (link_state_is_open(s)) {
		r = s == LINK_DISABLED ? WEIR_E_DISABLED : WEIR_E_OPEN;
		*ret = (struct client_result){ .status = 0 };
		(void)snprintf(ret->detail, sizeof(ret->detail), "%s", err_text(r));
		pthread_mutex_lock(&l->lock);
		if (!l->has_thread && s == LINK_DOWN)
			wake_probe(l);
		pthread_mutex_unlock(&l->lock);
		return r;
	}
	r = client_call(l->client, rq, sink, cancel, ret);
	note_outcome(l, r, ret);
	return r;
}

bool link_status_is_unavailable(int status, bool is_read)
{
	return status == 500 || (status >= 502 && status <= 504) || (status == 429 && is_read);
}

/* --- its life --------------------------------------------------------------------------------------------------- */

static void init_waiting(struct link *l)
{
	pthread_condattr_t a;

	ENSURE(pthread_mutex_init(&l->turn, NULL) == 0);
	ENSURE(pthread_mutex_init(&l->lock, NULL) == 0);
	ENSURE(pthread_condattr_init(&a) == 0);
	ENSURE(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
	ENSURE(pthread_cond_init(&l->wake, &a) == 0);
	pthread_condattr_destroy(&a);
}

int link_new(const struct link_options *o, struct pool *pool, struct metrics *m, struct link **ret)
{
	const struct client_options co = {
		.base_url = o->url, .ca_file = o->ca_file, .proxy = o->proxy, .user_agent = "weir/" WEIR_VERSION,
		.connect_timeout_ms = o->connect_timeout_ms, .stall_timeout_ms = o->stall_timeout_ms,
		.most_idle = o->most_workers < MOST_IDLE_CONNECTIONS ? o->most_workers : MOST_IDLE_CONNECTIONS,
	};
	struct link *l = xcalloc(1, sizeof(*l));
	int r;

	l->magic = LINK_MAGIC;
	init_waiting(l);
	l->name = xstrdup(o->name);
	l->service = xstrdup(o->service);
	l->url = xstrdup(o->url);
	l->probe_first_ms = o->probe_first_ms;
	l->probe_max_ms = o->probe_max_ms;
	l->probe_patience_ms = o->probe_patience_ms;
	l->since_wall_ms = clock_wall_ms();
	atomic_init(&l->state, o->enabled ? LINK_UNKNOWN : LINK_DISABLED);
	r = client_new(&co, &l->client);
	if (r == 0)
		r = cancel_new(&l->stop_probe);
	if (r < 0) {
		link_free(l);
		return r;
	}
	l->lane = lane_new(pool, NULL, o->most_workers);
	add_metrics(l, m);
	*ret = l;
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	OBJ_CHECK(l, LINK_MAGIC);
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	if (l->stop_probe)
		cancel_fire(l->stop_probe);
	if (l->has_thread)
		pthread_join(l->thread, NULL);
	if (l->metrics)
		metrics_remove_fn(l->metrics, l);
	client_free(l->client);
	cancel_unref(&l->stop_probe);
	lane_unref(&l->lane);
	pthread_mutex_destroy(&l->turn);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->wake);
	free(l->name);
	free(l->service);
	free(l->url);
	l->magic = 0;
	free(l);
}

enum link_state link_state(struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	return atomic_load_explicit(&l->state, memory_order_acquire);
}

void link_info(struct link *l, struct link_info *ret)
{
	OBJ_CHECK(l, LINK_MAGIC);
	*ret = (struct link_info){ .name = l->name, .service = l->service, .url = l->url };
	pthread_mutex_lock(&l->lock);
	ret->state = atomic_load(&l->state);
	ret->enabled = ret->state != LINK_DISABLED;
	ret->since_wall_ms = l->since_wall_ms;
	memcpy(ret->last_error, l->last_error, sizeof(ret->last_error));
	pthread_mutex_unlock(&l->lock);
}

void link_enable(struct link *l, bool enabled)
{
	bool was_disabled = link_state(l) == LINK_DISABLED;

	happen(l, enabled ? EVENT_ENABLE : EVENT_DISABLE, enabled ? "enabled" : "disabled", NULL);
	if (enabled && was_disabled)
		link_probe_now(l);
}

struct lane *link_lane(struct link *l)
{
	return l->lane;
}

void link_set_change_hook(struct link *l, link_change_fn *fn, void *arg)
{
	pthread_mutex_lock(&l->turn);
	l->hook = fn;
	l->hook_arg = arg;
	pthread_mutex_unlock(&l->turn);
}
