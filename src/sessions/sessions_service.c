/* sessions_service.c -- the session daemon from start to stop.
 *
 * WHAT     Start: database, outbox, link, the sessions that live with what the outbox still has of them, listener,
 *          delivery, watcher. Stop: nobody watches any more, delivery ends, callbacks come home, all is freed.
 * RULES    1. <data_dir>/sessions is its own; the outbox is everybody's (service_outbox()).
 *          2. At start a session is what its row says and what the outbox has above it: ledger.c tells why that is
 *             right after any crash.
 * THREADS  start, reload, stop: the main thread. */
#include "sessions/sessions_service.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "io/file.h"
#include "sessions/sessions_priv.h"

#define MOST_PARALLEL_DELIVERIES 16
#define MOST_BEATS               4
#define MIN_FREE_BYTES           (1u << 20) /* of the disk: less, and an operation is refused rather than half kept */
#define KEEP_SETTLED_MS          10000 /* what is delivered need not be listed for long: there is much of it */

/* --- start ------------------------------------------------------------------------------------------------------ */

static struct outbox_limits limits_of(const struct sessions_config *c)
{
	return (struct outbox_limits){ .max_entries = c->queue.max_entries,
				       .max_bytes = c->queue.max_bytes,
				       .max_body = SESSIONS_MOST_BODY + 4096,
				       .min_free_bytes = MIN_FREE_BYTES,
				       .keep_settled_ms = KEEP_SETTLED_MS };
}

static void on_link_change(void *arg, bool up)
{
	struct sessions *ss = arg;

	atomic_store(&ss->batches, 0);
	if (up)
		atomic_store(&ss->back_mono_ms, clock_mono_ms());
	if (ss->delivery)
		delivery_link_changed(ss->delivery, up);
	watcher_poke(ss); /* registrations wait for nobody who is away */
}

static int open_link(struct sessions *ss, const struct sessions_config *c, struct buf *err)
{
	const struct config_links *links = config_links(ss->core->config);
	unsigned workers = (unsigned)config_limits(ss->core->config)->workers;
	struct link_options o = { .name = "sessions",
				  .service = "sessions",
				  .url = c->server,
				  .ca_file = c->ca_file,
				  .proxy = c->proxy,
				  .enabled = c->enabled,
				  .connect_timeout_ms = links->connect_timeout,
				  .stall_timeout_ms = links->stall_timeout,
				  .probe_first_ms = links->probe_first,
				  .probe_max_ms = links->probe_max,
				  .probe_patience_ms = links->connect_timeout,
				  .most_workers = workers / 2 ? workers / 2 : 1 };
	int r = link_new(&o, ss->core->pool, ss->core->metrics, &ss->link);

	if (r < 0) {
		buf_addf(err, "cannot set up sessions.server (%s): %s", c->server, err_text(r));
		return r;
	}
	ss->read_lane = lane_new(ss->core->pool, NULL, workers / 4 ? workers / 4 : 1);
	ss->beat_lane = lane_new(ss->core->pool, link_lane(ss->link), workers < MOST_BEATS ? 1 : MOST_BEATS);
	return 0;
}

/* Nothing of it is anywhere but its row: its registration was never answered. */
static bool is_stillborn(const struct session *s)
{
	return !s->is_created;
}

static void load_one(struct sessions *ss, struct session *take)
{
	struct session *s;

	session_catch_up(ss, take);
	pthread_mutex_lock(&ss->lock);
	s = session_add_take(ss, take);
	session_reopen(ss, s); /* a total of it waits */
	pthread_mutex_unlock(&ss->lock);
	if (is_stillborn(s)) {
		(void)ledger_remove(ss, s->number); /* or at the next start */
		pthread_mutex_lock(&ss->lock);
		session_forget(ss, s);
		pthread_mutex_unlock(&ss->lock);
		return;
	}
	if (!s->hub_id)
		s->flags |= SESSION_TOLD_LOCAL; /* whoever was told anything was told this */
}

static void tell_damage(struct sessions *ss)
{
	ledger_remake(ss, load_one);
	log_event(LOG_ERROR, "sessions_damaged", LOG_STR("folder", ss->dir), LOG_INT("saved", (int64_t)ss->salvaged),
		  LOG_STR("reason",
			  "sessions.db could not be read and lies in damaged/; sessions that were saved go on, of "
			  "others nothing is known, and what waits of them is held: see weir outbox ls"),
		  LOG_END);
}

static int load(struct sessions *ss, struct buf *err)
{
	int64_t last = 0;
	int r = ledger_load(ss, load_one, &last);

	if (r < 0)
		buf_addf(err, "cannot read %s/sessions.db: %s", ss->dir, err_text(r));
	if (ss->last_number < last)
		ss->last_number = last;
	if (r == 0)
		(void)ledger_load_totals(ss); /* what cannot be read begins anew */
	if (r == 0 && ss->is_damaged)
		tell_damage(ss);
	pthread_mutex_lock(&ss->lock);
	LIST_FOREACH (it, &ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		if (totals_is_dirty(s))
			s->flush_mono_ms = clock_mono_ms() + 1;
		watch_begin(ss, s, watch_look(s->flags & SESSION_ENDED ? 0 : s->pid), false); /* nobody waits yet */
	}
	pthread_mutex_unlock(&ss->lock);
	return r;
}

static int start_delivery(struct sessions *ss, const struct sessions_config *c, struct buf *err)
{
	const struct delivery_options o = { .outbox = ss->outbox,
					    .queue = ss->queue,
					    .link = ss->link,
					    .pool = ss->core->pool,
					    .metrics = ss->core->metrics,
					    .service = "sessions",
					    .most_parallel = MOST_PARALLEL_DELIVERIES,
					    .retry_first_ms = c->retry.first,
					    .retry_max_ms = c->retry.max,
					    .is_quiet = true,
					    .carry = sessions_carry,
					    .may_resume = sessions_may_resume,
					    .arg = ss };
	int r;

	outbox_flush(ss->queue); /* what gathered before the start has gathered long enough */
	r = delivery_new(&o, &ss->delivery);
	if (r < 0)
		buf_addf(err, "cannot start the delivery of sessions: %s", err_text(r));
	else
		link_set_change_hook(ss->link, on_link_change, ss);
	return r;
}

static struct sessions *sessions_new(const struct core *core, const struct sessions_config *c)
{
	struct sessions *ss = xcalloc(1, sizeof(*ss));

	ss->magic = SESSIONS_MAGIC;
	ss->core = core;
	atomic_init(&ss->config, c);
	ss->dir = xstrf("%s/sessions", core->data_dir);
	ss->by_id = map_new();
	list_init(&ss->all);
	list_init(&ss->waiting);
	buf_init(&ss->key_seen, 0);
	ENSURE(pthread_mutex_init(&ss->lock, NULL) == 0);
	ENSURE(pthread_mutex_init(&ss->key_lock, NULL) == 0);
	ENSURE(pthread_mutex_init(&ss->drop_lock, NULL) == 0);
	ENSURE(pthread_cond_init(&ss->idle, NULL) == 0);
	sessions_metrics_init(ss);
	machine_id(ss->machine_id);
	machine_boot_id(ss->boot_id);
	if (gethostname(ss->hostname, sizeof(ss->hostname) - 1) < 0)
		ss->hostname[0] = 0;
	return ss;
}

static int open_all(struct sessions *ss, const struct sessions_config *c, struct buf *err)
{
	struct listener_options o = { .name = "sessions",
				      .where = &c->listen,
				      .handle = sessions_handle,
				      .arg = ss,
				      .check_host = true,
				      .check_origin = true };
	struct outbox_limits limits = limits_of(c);
	int r = dir_make_all(ss->dir, 0700);

	if (r == 0)
		r = dir_sync_above(ss->dir);
	if (r < 0) {
		buf_addf(err, "cannot make %s: %s", ss->dir, err_text(r));
		return r;
	}
	r = cancel_new(&ss->stop);
	if (r == 0)
		r = watcher_new(ss);
	if (r == 0)
		r = ledger_open(ss, err);
	if (r == 0)
		r = service_outbox(ss->core, &ss->outbox, err);
	if (r == 0) {
		ss->queue = outbox_queue(ss->outbox, "sessions", &limits);
		r = open_link(ss, c, err);
	}
	if (r == 0)
		r = load(ss, err);
	if (r == 0)
		r = server_listen(ss->core->server, &o, err);
	if (r == 0)
		r = start_delivery(ss, c, err);
	if (r == 0)
		r = watcher_start(ss);
	return r;
}

/* --- stop ------------------------------------------------------------------------------------------------------- */

static void come_home(struct sessions *ss)
{
	pthread_mutex_lock(&ss->lock);
	ss->stopping = true;
	LIST_FOREACH (it, &ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		if (session_wants_save(s) && ss->db)
			(void)ledger_save_start(ss, s, NULL, NULL); /* or the next start finds out */
	}
	while (ss->busy)
		pthread_cond_wait(&ss->idle, &ss->lock);
	pthread_mutex_unlock(&ss->lock);
}

static void stop(void *state)
{
	struct sessions *ss = state;

	if (ss->stop)
		cancel_fire(ss->stop);
	watcher_stop(ss);
	if (ss->delivery)
		delivery_stop(ss->delivery);
	come_home(ss);
	link_free(ss->link); /* its hook knows the delivery and the watcher */
	delivery_free(ss->delivery);
	ledger_close(ss);
	LIST_FOREACH_SAFE (it, next, &ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		s->uses = 0; /* exchanges that were cut */
		session_forget(ss, s);
	}
	lane_unref(&ss->read_lane);
	lane_unref(&ss->beat_lane);
	watcher_free(ss);
	cancel_unref(&ss->stop);
	hub_key_free(ss);
	buf_fini(&ss->key_seen);
	map_free(ss->by_id);
	pthread_mutex_destroy(&ss->lock);
	pthread_mutex_destroy(&ss->key_lock);
	pthread_mutex_destroy(&ss->drop_lock);
	pthread_cond_destroy(&ss->idle);
	free(ss->dir);
	ss->magic = 0;
	free(ss);
}

static int start(const struct core *core, const void *section, void **ret_state, struct buf *err)
{
	struct sessions *ss = sessions_new(core, section);
	int r = open_all(ss, section, err);

	if (r < 0)
		stop(ss);
	else
		*ret_state = ss;
	return r;
}

static void reload(void *state, const void *section)
{
	struct sessions *ss = state;
	const struct sessions_config *c = section;
	struct outbox_limits limits = limits_of(c);
	struct link_info info;

	atomic_store_explicit(&ss->config, c, memory_order_release);
	outbox_queue_set_limits(ss->queue, &limits);
	delivery_set_retry(ss->delivery, c->retry.first, c->retry.max);
	link_info(ss->link, &info);
	if (info.enabled != c->enabled)
		link_enable(ss->link, c->enabled);
}

/* --- for others ------------------------------------------------------------------------------------------------- */

void sessions_flush(struct sessions *ss)
{
	size_t count;
	struct session **all = sessions_use_all(ss, &count);

	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&ss->lock); /* for each alone, as totals are written out */
		if (all[i]->flush_mono_ms)
			totals_flush(ss, all[i]);
		pthread_mutex_unlock(&ss->lock);
	}
	sessions_unuse_all(ss, all, count);
	delivery_flush(ss->delivery);
}

static void status(void *state, json_t *into)
{
	struct sessions *ss = state;
	json_int_t count, live, ended;

	pthread_mutex_lock(&ss->lock);
	count = (json_int_t)ss->count;
	live = (json_int_t)(ss->began - ss->ended);
	ended = (json_int_t)ss->ended;
	pthread_mutex_unlock(&ss->lock);
	(void)json_object_update_new(into, json_pack("{s:I, s:I, s:I, s:o}", "count", count, "live", live, "ended",
						     ended, "queue", read_queue_json(ss))); /* both are objects */
	if (ss->is_damaged)
		(void)json_object_set_new(into, "damaged", json_pack("{s:I}", "saved", (json_int_t)ss->salvaged));
}

static void health(void *state, struct service_health *ret)
{
	const struct sessions *ss = state;
	const char *reason = NULL;

	if (atomic_load(&ss->is_readonly))
		reason = "sessions.db could not be written: no sessions are taken until a restart";
	else if (ss->is_damaged)
		reason = "sessions.db was damaged at the last start: see the log, sessions_damaged";
	if (reason && ret->state == HEALTH_OK) {
		ret->state = HEALTH_DEGRADED;
		ret->reason = reason;
	}
}

/* The program that started this daemon for itself has gone: its sessions with it. */
static void owner_gone(void *state, int64_t pid)
{
	struct sessions *ss = state;

	pthread_mutex_lock(&ss->lock);
	LIST_FOREACH (it, &ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		if (s->is_created && !(s->flags & SESSION_ENDED))
			(void)watch_report_crash(
				ss, s, "daemon_parent_exited", "[\"crash\",\"daemon\"]", "daemon_parent_pid", pid,
				"daemon_parent_process_exited"); /* else it is left for the next start */
	}
	pthread_mutex_unlock(&ss->lock);
}

static void each_link(void *state, void (*fn)(void *arg, struct link *l), void *arg)
{
	fn(arg, ((struct sessions *)state)->link);
}

static void traffic(void *state, traffic_fn *fn, void *arg)
{
	const struct sessions *ss = state;
	struct traffic t = { .requests = 0 };

	server_add_traffic(ss->core->server, "sessions", &t);
	fn(arg, "sessions", &t);
}

const struct service sessions_service = {
	.name = "sessions",
	.section = &sessions_section,
	.start = start,
	.reload = reload,
	.stop = stop,
	.status = status,
	.health = health,
	.each_link = each_link,
	.traffic = traffic,
	.admin_routes = sessions_admin_routes,
	.owner_gone = owner_gone,
};
