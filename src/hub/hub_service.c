/* hub_service.c -- the hub from start to stop.
 *
 * RULES    1. It owns <data_dir>/hub and the database; the lock is taken by `weir hub` before this starts.
 *          2. A read may outlive its exchange (see hub_out.c): a stop cuts it short and waits for it before the store
 *             is closed.
 *          3. Jobs that wait when it stops are done: what a client was not yet told may be there, as after a crash.
 * THREADS  start, reload, stop: the main thread. The rest as in service.h. */
#include "hub/hub_service.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "core/secret.h"
#include "hub/hub_copy.h"
#include "hub/hub_priv.h"
#include "io/file.h"

#define MOST_PARSING   4 /* large bodies as values of JSON in memory at a time */

int64_t hub_clock_ms(const struct hub *h)
{
	if (h->store->t->clock_ms)
		return h->store->t->clock_ms(h->store);
	return h->wall_0_ms + clock_mono_ms() - h->mono_0_ms;
}

void hub_moment_now(struct hub *h, struct hub_moment *ret)
{
	ret->now_ms = clock_wall_ms();
	ret->steady_ms = hub_clock_ms(h);
	ret->stale_ms = ret->steady_ms - hub_config(h)->heartbeat_timeout;
}

/* --- start ------------------------------------------------------------------------------------------------------ */

static int read_key(const struct hub_config *c, char **ret, struct buf *err)
{
	struct buf why = BUF_EMPTY;
	int r;

	if (!c->api_key_file)
		return 0;
	r = secret_read(c->api_key_file, ret, &why);
	if (r < 0)
		buf_addf(err, "hub.api_key_file: %s %s", c->api_key_file, why.data);
	buf_fini(&why);
	return r;
}

static int open_store(struct hub *h, const struct hub_config *c, struct buf *err)
{
	char *path = hub_config_path(c, h->core->data_dir);
	int r = dir_make_all(h->dir, 0700);

	if (r == 0)
		r = dir_sync_above(h->dir);
	if (r < 0)
		buf_addf(err, "cannot make %s: %s", h->dir, err_text(r));
	else if (path)
		r = hub_sqlite_open(path, &h->store, &h->is_damaged, err);
	else
		r = hub_pg_open(c->database, c->database_timeout, &h->core->services->stopping, &h->store, err);
	if (r == 0 && h->is_damaged)
		log_event(LOG_ERROR, "hub_database_damaged", LOG_STR("database", path),
			  LOG_STR("next", "it was moved to damaged/ beside it; what could be read of it is in a fresh one"), LOG_END);
	free(path);
	return r;
}

/* The original listens everywhere and asks for nothing; whoever wants that is told what it means. */
static void warn_when_open(const struct hub *h)
{
	const char *name;
	char address[128];

	server_listener_at(h->core->server, server_listener_count(h->core->server) - 1, &name, address,
			   sizeof(address));
	if (!h->key && !slice_starts(slice_str(address), "127.") && !slice_starts(slice_str(address), "[::1]"))
		log_event(LOG_WARN, "hub_open_to_everybody", LOG_STR("address", address),
			  LOG_STR("next", "set hub.api_key_file, or listen on a loopback address"), LOG_END);
}

static void make_lanes(struct hub *h)
{
	unsigned workers = (unsigned)config_limits(h->core->config)->workers;
	unsigned half = workers / 2 ? workers / 2 : 1, quarter = workers / 4 ? workers / 4 : 1;

	h->bodies = lane_new(h->core->pool, NULL, half);
	h->looking = lane_new(h->core->pool, NULL, quarter);
	h->searching = lane_new(h->core->pool, NULL, quarter / 2 ? quarter / 2 : 1);
	h->parsing = lane_new(h->core->pool, NULL, MOST_PARSING < quarter ? MOST_PARSING : quarter);
}

static struct hub *hub_new(const struct core *core, const struct hub_config *c)
{
	static const char ok[] = "{\"status\":\"ok\"}";
	struct hub *h = xcalloc(1, sizeof(*h));
	pthread_condattr_t monotonic;

	h->magic = HUB_MAGIC;
	h->core = core;
	atomic_init(&h->config, c);
	h->dir = xstrf("%s/hub", core->data_dir);
	h->ok = blob_new_copy(ok, strlen(ok));
	h->wall_0_ms = clock_wall_ms();
	h->mono_0_ms = clock_mono_ms();
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&h->no_looks, NULL);
	return h;
}

static void stop(void *state)
{
	struct hub *h = state;

	OBJ_CHECK(h, HUB_MAGIC);
	hub_keep_stop(h);
	hub_get_wait_none(h);
	metrics_remove_fn(h->core->metrics, h);
	if (h->store)
		h->store->t->close(h->store);
	lane_unref(&h->bodies);
	lane_unref(&h->looking);
	lane_unref(&h->searching);
	lane_unref(&h->parsing);
	secret_free(h->key);
	blob_unref(&h->ok);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->wake);
	pthread_cond_destroy(&h->no_looks);
	free(h->dir);
	h->magic = 0;
	free(h);
}

static int start(const struct core *core, const void *section, void **ret_state, struct buf *err)
{
	const struct hub_config *c = section;
	struct hub *h = hub_new(core, c);
	struct listener_options o = { .name = "hub",
				      .where = &c->listen,
				      .handle = hub_handle,
				      .arg = h,
				      .check_host = true,
				      .check_origin = true };
	int r;

	hub_metrics_init(&h->metrics, core->metrics);
	make_lanes(h);
	r = read_key(c, &h->key, err);
	if (r == 0)
		r = open_store(h, c, err);
	if (r == 0) {
		hub_metrics_watch_store(h);
		r = server_listen(core->server, &o, err);
	}
	if (r == 0) {
		warn_when_open(h);
		r = hub_keep_start(h);
		if (r < 0)
			buf_addf(err, "cannot start the clean-up: %s", err_text(r));
	}
	if (r < 0)
		stop(h);
	else
		*ret_state = h;
	return r;
}

/* A key that cannot be read, or is no longer configured, leaves the old one in force, as with admin's token. */
static void reload(void *state, const void *section)
{
	struct hub *h = state;
	struct buf err = BUF_EMPTY;
	char *key = NULL, *old;

	OBJ_CHECK(h, HUB_MAGIC);
	atomic_store_explicit(&h->config, section, memory_order_release);
	if (read_key(section, &key, &err) < 0) {
		log_event(LOG_ERROR, "hub_api_key_kept", LOG_STR("problem", err.data), LOG_END);
	} else if (key) {
		pthread_mutex_lock(&h->lock);
		old = h->key;
		h->key = key;
		pthread_mutex_unlock(&h->lock);
		secret_free(old);
	}
	hub_keep_wake(h);
	buf_fini(&err);
}

/* --- for admin -------------------------------------------------------------------------------------------------- */

static uint64_t applied(const struct hub *h, int type)
{
	return (uint64_t)metric_value(h->metrics.operations[type][HUB_APPLIED]);
}

static void describe_database(struct hub *h, json_t *into)
{
	struct buf name = BUF_EMPTY, trouble = BUF_EMPTY;
	json_t *o;

	if (h->store->t->describe)
		h->store->t->describe(h->store, &name, &trouble);
	else
		buf_add_str(&name, "sqlite");
	o = json_pack("{s:s, s:s}", "name", name.data, "state", trouble.len ? "away" : "up");
	if (trouble.len)
		(void)json_object_set_new(o, "trouble", json_string(trouble.data));
	(void)json_object_set_new(into, "database", o);
	buf_fini(&name);
	buf_fini(&trouble);
}

static void status(void *state, json_t *into)
{
	struct hub *h = state;
	json_t *operations = json_object();

	for (int t = 0; t < HUB_OP_COUNT; t++)
		(void)json_object_set_new(operations, hub_op_names[t], json_integer((json_int_t)applied(h, t)));
	(void)json_object_set_new(into, "sessions_created", json_integer((json_int_t)applied(h, HUB_OP_CREATE)));
	(void)json_object_set_new(into, "operations", operations);
	(void)json_object_set_new(into, "database_damaged", json_boolean(h->is_damaged));
	describe_database(h, into);
}

static void health(void *state, struct service_health *ret)
{
	struct hub *h = state;
	const struct hub_store_table *t = h->store->t;

	if (t->ready && t->ready(h->store, &ret->reason) < 0) {
		ret->state = HEALTH_UNHEALTHY;
	} else if (atomic_load(&h->store_failed)) {
		ret->state = HEALTH_UNHEALTHY;
		ret->reason = "the hub's database cannot be written; see the log, and restart";
	} else if (h->is_damaged) {
		ret->state = HEALTH_DEGRADED;
		ret->reason = "the hub's database was damaged and set aside at the start";
	}
}

static void traffic(void *state, traffic_fn *fn, void *arg)
{
	const struct hub *h = state;
	struct traffic t = { .requests = 0 };

	server_add_traffic(h->core->server, "hub", &t);
	fn(arg, "hub", &t);
}

const struct service hub_service = {
	.name = "hub",
	.section = &hub_section,
	.start = start,
	.reload = reload,
	.stop = stop,
	.status = status,
	.health = health,
	.migrate = hub_copy,
	.traffic = traffic,
};
