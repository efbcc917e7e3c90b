/* mirror_service.c -- the mirrors from start to stop.
 *
 * WHAT     For each item of the section: folder, grants, cache, link, queue of the outbox, delivery, listener. Stop:
 *          what is under way is cancelled, then all is freed in the opposite order.
 * RULES    1. A mirror owns <data_dir>/mirror/<name>; the outbox is shared by all services (service_outbox()).
 *          2. A delivery ends before its link, a link before its lanes.
 * THREADS  start, reload, stop: the main thread. The rest as in service.h. */
#include "mirror/mirror_service.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "core/secret.h"
#include "io/file.h"
#include "mirror/mirror_priv.h"
#include "proto/url.h"

#define MOST_OPEN_FILES 512
#define MOST_PARALLEL_DELIVERIES 16
#define MIN_FREE_BYTES (1u << 20) /* of the disk: less, and a write is refused rather than half kept */

struct mirrors {
	const struct core *core;
	struct mirror **items;
	size_t count;
};

/* --- one mirror --- */

static struct outbox_limits limits_of(const struct mirror_config *c)
{
	return (struct outbox_limits){ .max_entries = c->outbox.max_entries,
				       .max_bytes = c->outbox.max_bytes,
				       .max_body = c->outbox.max_body,
				       .min_free_bytes = MIN_FREE_BYTES,
				       .keep_settled_ms = c->outbox.keep_settled };
}

static void set_origin(struct mirror *m, const char *url)
{
	struct url u;
	struct slice path;

	ENSURE(url_parse(slice_str(url), &u) == 0); /* SETTING_URL */
	m->origin = u.port == (u.https ? 443 : 80) ? xstrf("%s://%s", u.https ? "https" : "http", u.host) :
						     xstrf("%s://%s:%u", u.https ? "https" : "http", u.host, u.port);
	path = u.path;
	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	m->base_path = slice_dup(path);
}

static void on_link_change(void *arg, bool up)
{
	struct mirror *m = arg;

	if (m->delivery)
		delivery_link_changed(m->delivery, up);
}

static unsigned three_quarters(unsigned n)
{
	return n > 1 ? n - (n + 3) / 4 : 1;
}

static int open_link(struct mirror *m, const struct mirror_config *c, struct buf *err)
{
	const struct config_links *links = config_links(m->core->config);
	unsigned workers = (unsigned)config_limits(m->core->config)->workers;
	unsigned share = workers - workers / 4 ? workers - workers / 4 : 1;
	struct link_options o = { .name = c->name,
				  .service = c->name,
				  .url = c->upstream,
				  .ca_file = c->ca_file,
				  .proxy = c->proxy,
				  .enabled = c->enabled,
				  .connect_timeout_ms = links->connect_timeout,
				  .stall_timeout_ms = links->stall_timeout,
				  .probe_first_ms = links->probe_first,
				  .probe_max_ms = links->probe_max,
				  .probe_patience_ms = c->upstream_patience,
				  .most_workers = share };
	int r = link_new(&o, m->core->pool, m->core->metrics, &m->link);

	if (r < 0) {
		buf_addf(err, "cannot set up the upstream of %s (%s): %s", c->name, c->upstream, err_text(r));
		return r;
	}
	/* Reads cannot keep writes and deliveries from upstream, nor the other way round; the disk needs neither. */
	m->fetch_lane = lane_new(m->core->pool, link_lane(m->link), three_quarters(share));
	m->write_lane = lane_new(m->core->pool, link_lane(m->link), share / 2 ? share / 2 : 1);
	m->disk_lane = lane_new(m->core->pool, NULL, workers / 2 ? workers / 2 : 1);
	m->queue_lane = lane_new(m->core->pool, NULL, workers / 4 ? workers / 4 : 1);
	m->stream_lane = lane_new(m->core->pool, m->write_lane, three_quarters(share / 2));
	m->upload_lane = lane_new(m->core->pool, m->queue_lane, three_quarters(workers / 4));
	return 0;
}

static int read_client_token(struct mirror *m, const struct mirror_config *c, struct buf *err)
{
	struct buf why = BUF_EMPTY;
	int r;

	if (!c->client_token_file)
		return 0;
	r = secret_read(c->client_token_file, &m->client_token, &why);
	if (r < 0)
		buf_addf(err, "client_token_file of mirror %s: %s %s", c->name, c->client_token_file, why.data);
	buf_fini(&why);
	return r;
}

static int open_cache(struct mirror *m, const struct mirror_config *c, struct buf *err)
{
	char *dir = xstrf("%s/cache", m->dir);
	int r = cache_open(&(struct cache_options){ .dir = dir,
						    .max_bytes = c->disk.max,
						    .low_bytes = c->disk.low,
						    .memory_bytes = c->memory,
						    .most_files = MOST_OPEN_FILES,
						    .evictions = m->metrics.shared.evictions },
			   &m->cache, err);

	free(dir);
	return r;
}

static int open_queue(struct mirror *m, const struct mirror_config *c, struct buf *err)
{
	const struct outbox_limits limits = limits_of(c);
	int r = service_outbox(m->core, &m->outbox, err);

	if (r < 0)
		return r;
	m->queue = outbox_queue(m->outbox, c->name, &limits);
	lore_load(m);
	return 0;
}

static int start_delivery(struct mirror *m, const struct mirror_config *c, struct buf *err)
{
	const struct delivery_options o = { .outbox = m->outbox,
					    .queue = m->queue,
					    .link = m->link,
					    .pool = m->core->pool,
					    .metrics = m->core->metrics,
					    .service = c->name,
					    .most_parallel = MOST_PARALLEL_DELIVERIES,
					    .retry_first_ms = c->outbox.retry.first,
					    .retry_max_ms = c->outbox.retry.max,
					    .carry = mirror_carry,
					    .may_resume = mirror_may_resume,
					    .rebase = mirror_rebase,
					    .theirs = mirror_theirs,
					    .arg = m };
	int r = delivery_new(&o, &m->delivery);

	if (r < 0)
		buf_addf(err, "cannot start the delivery of %s: %s", c->name, err_text(r));
	else
		link_set_change_hook(m->link, on_link_change, m);
	return r;
}

static double cache_bytes(void *arg)
{
	struct cache_figures f;

	cache_figures(((struct mirror *)arg)->cache, &f);
	return (double)f.bytes;
}

static double cache_max_bytes(void *arg)
{
	return (double)mirror_config(arg)->disk.max;
}

static struct mirror *mirror_new(const struct core *core, const struct mirror_config *c)
{
	struct mirror *m = xcalloc(1, sizeof(*m));

	m->magic = MIRROR_MAGIC;
	m->core = core;
	atomic_init(&m->config, c);
	atomic_init(&m->serials, 1);
	m->name = xstrdup(c->name);
	m->dir = xstrf("%s/mirror/%s", core->data_dir, c->name);
	set_origin(m, c->upstream);
	m->flights = flights_new();
	m->underway = map_new();
	list_init(&m->works);
	buf_init(&m->token_seen, 0);
	pthread_mutex_init(&m->underway_lock, NULL);
	pthread_cond_init(&m->no_jobs, NULL);
	pthread_mutex_init(&m->token_lock, NULL);
	pthread_mutex_init(&m->lore_lock, NULL);
	return m;
}

/* Nothing of it runs any more, or ever did. */
static void mirror_free(struct mirror *m)
{
	metrics_remove_fn(m->core->metrics, m);
	delivery_free(m->delivery);
	lane_unref(&m->fetch_lane);
	lane_unref(&m->write_lane);
	lane_unref(&m->disk_lane);
	lane_unref(&m->stream_lane);
	lane_unref(&m->upload_lane);
	lane_unref(&m->queue_lane);
	link_free(m->link);
	cache_close(m->cache);
	if (m->grants)
		grants_close(m->grants);
	flights_free(m->flights);
	map_free(m->underway);
	pthread_mutex_destroy(&m->underway_lock);
	pthread_cond_destroy(&m->no_jobs);
	pthread_mutex_destroy(&m->token_lock);
	pthread_mutex_destroy(&m->lore_lock);
	buf_fini(&m->token_seen);
	secret_free(m->token);
	secret_free(m->client_token);
	free(m->name);
	free(m->dir);
	free(m->origin);
	free(m->base_path);
	m->magic = 0;
	free(m);
}

/* The grace is over: nobody is there any more to be answered. Without this a stop would wait for upstream_timeout. */
static void on_cut(void *arg)
{
	struct mirror *m = arg;

	atomic_store(&m->stopping, true);
	work_cancel_all(m);
}

static int mirror_open(struct mirror *m, const struct mirror_config *c, struct buf *err)
{
	struct listener_options o = { .name = c->name,
				      .where = &c->listen,
				      .handle = mirror_handle,
				      .arg = m,
				      .check_host = true,
				      .problem_json = true };
	int r = dir_make_all(m->dir, 0700);

	if (r < 0) {
		buf_addf(err, "cannot make %s: %s", m->dir, err_text(r));
		return r;
	}
	mirror_metrics_init(&m->metrics, m->core->metrics, m->name);
	r = grants_open(m->dir, c->offline_grant, &m->grants, err);
	if (r == 0)
		r = read_client_token(m, c, err);
	if (r == 0)
		r = open_cache(m, c, err);
	if (r == 0)
		r = open_link(m, c, err);
	if (r == 0)
		r = open_queue(m, c, err);
	if (r == 0)
		r = server_listen(m->core->server, &o, err);
	if (r == 0)
		r = start_delivery(m, c, err);
	if (r < 0)
		return r;
	server_on_cut(m->core->server, on_cut, m);
	service_metrics_set_cache(m->core->metrics, m->name, cache_bytes, cache_max_bytes, m);
	return 0;
}

/* --- the service --- */

static void stop_all(struct mirrors *all)
{
	for (size_t i = 0; i < all->count; i++) {
		atomic_store(&all->items[i]->stopping, true);
		if (all->items[i]->delivery)
			delivery_stop(all->items[i]->delivery);
		work_cancel_all(all->items[i]);
	}
}

static void stop(void *state)
{
	struct mirrors *all = state;

	stop_all(all);
	/* Fetches end soon after the cancel; what they hold is freed below. */
	for (size_t i = 0; i < all->count; i++)
		work_wait_none(all->items[i]);
	for (size_t i = 0; i < all->count; i++)
		mirror_free(all->items[i]);
	free(all->items);
	free(all);
}

static int start(const struct core *core, const void *section, void **ret_state, struct buf *err)
{
	const struct setting_list *list = section;
	struct mirrors *all = xcalloc(1, sizeof(*all));
	int r = 0;

	all->core = core;
	all->items = xcalloc(list->count + 1, sizeof(*all->items));
	for (size_t i = 0; i < list->count && r == 0; i++) {
		const struct mirror_config *c = &((const struct mirror_config *)list->items)[i];
		struct mirror *m = mirror_new(core, c);

		all->items[all->count++] = m;
		r = mirror_open(m, c, err);
	}
	if (r < 0)
		stop(all);
	else
		*ret_state = all;
	return r;
}

static void reload_one(struct mirror *m, const struct mirror_config *c)
{
	const struct outbox_limits limits = limits_of(c);
	bool was_enabled = mirror_config(m)->enabled;

	atomic_store_explicit(&m->config, c, memory_order_release);
	cache_set_limits(m->cache, c->disk.max, c->disk.low);
	outbox_queue_set_limits(m->queue, &limits);
	delivery_set_retry(m->delivery, c->outbox.retry.first, c->outbox.retry.max);
	if (was_enabled != c->enabled) /* else an operator's switch stays as it is */
		link_enable(m->link, c->enabled);
}

/* Mirrors that came or went need a restart, which config_diff_not_live() says. */
static void reload(void *state, const void *section)
{
	struct mirrors *all = state;
	const struct setting_list *list = section;

	for (size_t i = 0; i < list->count; i++) {
		const struct mirror_config *c = &((const struct mirror_config *)list->items)[i];

		for (size_t k = 0; k < all->count; k++)
			if (strcmp(all->items[k]->name, c->name) == 0)
				reload_one(all->items[k], c);
	}
}

/* --- for admin --- */

static uint64_t requests(struct mirror *m, enum mirror_cache how)
{
	return (uint64_t)(metric_value(m->metrics.requests[how][0]) + metric_value(m->metrics.requests[how][1]));
}

static json_t *status_of(struct mirror *m)
{
	struct cache_figures f;
	json_t *o;

	cache_figures(m->cache, &f);
	o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", m->name, "upstream",
		      mirror_config(m)->upstream, "hits", (json_int_t)requests(m, MIRROR_HIT), "refreshed",
		      (json_int_t)requests(m, MIRROR_REFRESHED), "misses", (json_int_t)requests(m, MIRROR_MISS),
		      "offline", (json_int_t)requests(m, MIRROR_OFFLINE), "queued_writes",
		      (json_int_t)requests(m, MIRROR_QUEUED), "responses", (json_int_t)f.responses, "bytes",
		      (json_int_t)f.bytes, "max_bytes", (json_int_t)mirror_config(m)->disk.max, "evictions",
		      (json_int_t)f.evictions, "damaged", (json_int_t)f.damaged, "low_bytes",
		      (json_int_t)mirror_config(m)->disk.low);
	return o;
}

static void status(void *state, json_t *into)
{
	struct mirrors *all = state;
	json_t *items = json_array();

	for (size_t i = 0; i < all->count; i++)
		(void)json_array_append_new(items, status_of(all->items[i]));
	(void)json_object_set_new(into, "mirrors", items);
}

static void health(void *state, struct service_health *ret)
{
	struct mirrors *all = state;

	for (size_t i = 0; i < all->count; i++) {
		struct mirror *m = all->items[i];

		ret->hits += requests(m, MIRROR_HIT);
		ret->hits += (uint64_t)metric_value(m->metrics.requests[MIRROR_OFFLINE][0]); /* not the 504s */
		ret->misses += requests(m, MIRROR_MISS);
		ret->stale_serves += (uint64_t)metric_value(m->metrics.shared.stale);
		ret->offline_possible = true;
	}
}

static void traffic(void *state, traffic_fn *fn, void *arg)
{
	struct mirrors *all = state;

	for (size_t i = 0; i < all->count; i++) {
		struct mirror *m = all->items[i];
		struct traffic t = { .has_cache = true };

		for (int how = 0; how < MIRROR_CACHE_COUNT; how++) {
			t.requests += requests(m, how);
			t.errors += (uint64_t)metric_value(m->metrics.requests[how][1]);
			metric_add_buckets(m->metrics.duration[how], t.latency, TRAFFIC_BUCKETS);
		}
		t.hits = requests(m, MIRROR_HIT) + (uint64_t)metric_value(m->metrics.requests[MIRROR_OFFLINE][0]);
		t.refreshed = requests(m, MIRROR_REFRESHED);
		t.misses = requests(m, MIRROR_MISS);
		t.offline = (uint64_t)metric_value(m->metrics.shared.fallbacks);
		t.stale = (uint64_t)metric_value(m->metrics.shared.stale);
		fn(arg, m->name, &t);
	}
}

static void each_link(void *state, void (*fn)(void *arg, struct link *l), void *arg)
{
	struct mirrors *all = state;

	for (size_t i = 0; i < all->count; i++)
		fn(arg, all->items[i]->link);
}

const struct service mirror_service = {
	.name = "mirror",
	.section = &mirror_section,
	.start = start,
	.reload = reload,
	.stop = stop,
	.status = status,
	.health = health,
	.each_link = each_link,
	.traffic = traffic,
};
