/* git_service.c -- the git service from start to stop, and where a request goes.
 *
 * WHAT     Start: folders, grants, upstreams, what is cached, listener. handle: health, webhook, or a git request,
 *          which goes to listing.c, fetch.c or push.c by its kind. Stop: background work is cancelled, then all is
 *          freed.
 * THREADS  start, reload, stop: the main thread. git_handle: front threads. */
#include "git/git_service.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "core/health.h"
#include "core/secret.h"
#include "git/answers.h"
#include "git/git_admin.h"
#include "git/git_priv.h"
#include "git/keeper.h"
#include "git/kept.h"
#include "git/request.h"
#include "io/child.h"
#include "io/file.h"
#include "store/wholefile.h"

#define GIT_CHILDREN_FOR_EACH_CPU 2

/* --- what the installed git can do --- */

static int probe_git(struct git_service *g, const char *protocol, struct advert *ret, struct buf *err)
{
	static const char *const argv[] = { "git",
					    "-c",
					    "uploadpack.allowFilter=true",
					    "-c",
					    "uploadpack.allowAnySHA1InWant=true",
					    "upload-pack",
					    "--http-backend-info-refs",
					    "probe.git",
					    NULL };
	const char *env[] = { protocol, NULL };
	struct buf out = BUF_LIMIT(65536), words = BUF_EMPTY;
	int r = child_run(&(struct child_options){ .argv = argv, .env = env, .cwd = g->dir }, (struct slice){ NULL, 0 },
			  &out, &words, 30000, NULL, NULL);

	advert_init(ret, NULL, NULL);
	if (r == 0)
		r = advert_feed(ret, buf_slice(&out));
	if (r == 0)
		r = advert_finish(ret);
	if (r < 0)
		buf_addf(err, "git upload-pack does not work (%s): %s; is the package git installed?", err_text(r),
			 words.data);
	buf_fini(&out);
	buf_fini(&words);
	return r;
}

/* A repository to ask git about itself. It needs one ref, as v0 tells its capabilities beside the first: the empty tree
 * will do, which git knows without having it. */
static int make_probe_repo(struct git_service *g)
{
	static const char *const folders[] = { "probe.git/objects", "probe.git/refs/tags" };
	char *head = xstrf("%s/probe.git/HEAD", g->dir), *tag = xstrf("%s/probe.git/refs/tags/probe", g->dir);
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(folders); i++) {
		char *path = xstrf("%s/%s", g->dir, folders[i]);

		r = dir_make_all(path, 0700);
		free(path);
	}
	if (r == 0)
		r = wholefile_write(head, SLICE_LIT("ref: refs/heads/main\n"), 0600);
	if (r == 0)
		r = wholefile_write(tag, SLICE_LIT("4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"), 0600);
	free(head);
	free(tag);
	return r;
}

static int learn_git(struct git_service *g, struct buf *err)
{
	int r = make_probe_repo(g);

	if (r < 0) {
		buf_addf(err, "cannot write in %s: %s", g->dir, err_text(r));
		return r;
	}
	r = probe_git(g, "GIT_PROTOCOL=version=2", &g->local_v2, err);
	if (r == 0)
		r = probe_git(g, "GIT_PROTOCOL=version=0", &g->local_v0, err);
	return r;
}

/* --- start --- */

static int make_folders(struct git_service *g, struct buf *err)
{
	const char *const folders[] = { g->dir, g->repos_dir, g->spool_dir, g->answers_dir };

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		int r = dir_make_all(folders[i], 0700);

		if (r < 0) {
			buf_addf(err, "cannot make %s: %s", folders[i], err_text(r));
			return r;
		}
	}
	return 0;
}

static int read_secret(const char *setting, const char *path, char **ret, struct buf *err)
{
	struct buf why = BUF_EMPTY;
	int r;

	if (!path)
		return 0;
	r = secret_read(path, ret, &why);
	if (r < 0)
		buf_addf(err, "%s: %s %s", setting, path, why.data);
	buf_fini(&why);
	return r;
}

static double cache_bytes(void *arg)
{
	return (double)budget_bytes(((struct git_service *)arg)->budget);
}

static double cache_max_bytes(void *arg)
{
	return (double)git_config(arg)->disk.max;
}

static double child_count(void *arg)
{
	return atomic_load(&((struct git_service *)arg)->children);
}

static uint64_t count_repos(struct git_service *g)
{
	size_t pos = 0;
	uint64_t n = 0;
	void *value;

	pthread_mutex_lock(&g->lock);
	while (map_next(g->repos, &pos, NULL, &value)) {
		struct repo *r = value;

		pthread_mutex_lock(&r->lock);
		n += r->state == REPO_READY;
		pthread_mutex_unlock(&r->lock);
	}
	pthread_mutex_unlock(&g->lock);
	return n;
}

static double repo_count(void *arg)
{
	return (double)count_repos(arg);
}

static void init_metrics(struct git_service *g)
{
	static const char *const none[] = { NULL };
	struct metrics *m = g->core->metrics;

	git_metrics_init(&g->metrics, m);
	service_metrics_set_cache(m, "git", cache_bytes, cache_max_bytes, g);
	metrics_set_fn(m, &git_repositories_family, none, repo_count, g);
	metrics_set_fn(m, &git_children_family, none, child_count, g);
}

void git_on_link_change(void *arg, bool up)
{
	struct git_service *g = arg;

	if (!up)
		return;
	atomic_fetch_add(&g->recoveries, 1);
	if (g->keeper)
		keeper_wake(g->keeper);
}

static bool evict_item(void *arg, struct budget_item *it)
{
	struct git_item *item = CONTAINER_OF(it, struct git_item, budget);

	(void)arg;
	return item->evict(item);
}

static struct git_service *service_new(const struct core *core, const struct git_config *c)
{
	struct git_service *g = xcalloc(1, sizeof(*g));
	unsigned workers = (unsigned)config_limits(core->config)->workers;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	g->magic = GIT_SERVICE_MAGIC;
	g->core = core;
	atomic_init(&g->config, c);
	g->dir = xstrf("%s/git", core->data_dir);
	g->repos_dir = xstrf("%s/repos", g->dir);
	g->spool_dir = xstrf("%s/spool", g->dir);
	g->damaged_dir = xstrf("%s/damaged", g->dir);
	g->answers_dir = xstrf("%s/answers", g->dir);
	pthread_mutex_init(&g->lock, NULL);
	g->repos = map_new();
	g->flights = flights_new();
	g->answers = answers_new();
	g->pack_lane = lane_new(core->pool, NULL, (unsigned)(cpus > 0 ? cpus : 1) * GIT_CHILDREN_FOR_EACH_CPU);
	g->sync_lane = lane_new(core->pool, NULL, workers / 4 ? workers / 4 : 1);
	g->relay_lane = lane_new(core->pool, NULL, workers / 2 ? workers / 2 : 1);
	g->budget = budget_new(c->disk.max, c->disk.low, evict_item, g);
	g->kept = kept_new(g);
	return g;
}

static void service_free(struct git_service *g)
{
	metrics_remove_fn(g->core->metrics, g);
	repo_free_all(g);
	upstream_free_all(g);
	answers_free(g->answers);
	kept_free(g->kept);
	flights_free(g->flights);
	if (g->grants)
		grants_close(g->grants);
	budget_free(g->budget);
	lane_unref(&g->pack_lane);
	lane_unref(&g->sync_lane);
	lane_unref(&g->relay_lane);
	cancel_unref(&g->stop);
	advert_fini(&g->local_v2);
	advert_fini(&g->local_v0);
	map_free(g->repos);
	pthread_mutex_destroy(&g->lock);
	secret_free(g->webhook_secret);
	secret_free(g->client_token);
	free(g->dir);
	free(g->repos_dir);
	free(g->spool_dir);
	free(g->damaged_dir);
	free(g->answers_dir);
	g->magic = 0;
	free(g);
}

static int open_data(struct git_service *g, const struct git_config *c, struct buf *err)
{
	int r = make_folders(g, err);

	if (r == 0)
		r = cancel_new(&g->stop);
	if (r == 0)
		r = learn_git(g, err);
	if (r == 0)
		r = grants_open(g->dir, c->offline_grant, &g->grants, err);
	if (r == 0)
		r = read_secret("git.webhook_secret_file", c->webhook_secret_file, &g->webhook_secret, err);
	if (r == 0)
		r = read_secret("git.client_token_file", c->client_token_file, &g->client_token, err);
	if (r == 0)
		r = upstream_load(g, c, err);
	if (r == 0)
		r = repo_load_all(g, err);
	if (r == 0)
		kept_load_all(g->kept);
	return r;
}

static int start(const struct core *core, const void *section, void **ret_state, struct buf *err)
{
	const struct git_config *c = section;
	struct git_service *g = service_new(core, c);
	struct listener_options o = { .name = "git",
				      .where = &c->listen,
				      .handle = git_handle,
				      .arg = g,
				      .check_host = true,
				      .check_origin = false,
				      .absolute_form = true };
	int r = open_data(g, c, err);

	if (r == 0) {
		init_metrics(g);
		r = server_listen(core->server, &o, err);
	}
	if (r < 0) {
		service_free(g);
		return r;
	}
	g->keeper = keeper_start(g);
	*ret_state = g;
	return 0;
}

static void reload(void *state, const void *section)
{
	struct git_service *g = state;
	const struct git_config *c = section;
	struct buf err = BUF_EMPTY;

	if (upstream_load(g, c, &err) < 0)
		log_event(LOG_ERROR, "upstreams_not_reloaded", LOG_STR("why", err.data), LOG_END);
	atomic_store_explicit(&g->config, c, memory_order_release);
	budget_set_limits(g->budget, c->disk.max, c->disk.low);
	keeper_wake(g->keeper);
	buf_fini(&err);
}

static void stop(void *state)
{
	struct git_service *g = state;

	atomic_store(&g->stopping, true);
	cancel_fire(g->stop);
	/* Jobs end soon after the cancel; they hold what is freed below. */
	if (pool_drain(g->core->pool, 30000) < 0) {
		log_event(LOG_WARN, "git_work_left",
			  LOG_STR("effect", "background work did not end in time; leaving it to the system"), LOG_END);
		return;
	}
	keeper_stop(g->keeper);
	service_free(g);
}

/* --- for admin --- */

static void status(void *state, json_t *into)
{
	struct git_service *g = state;

	json_object_set_new(into, "repos", json_integer((json_int_t)count_repos(g)));
	json_object_set_new(into, "bytes", json_integer((json_int_t)budget_bytes(g->budget)));
	json_object_set_new(into, "max_bytes", json_integer((json_int_t)git_config(g)->disk.max));
	json_object_set_new(into, "low_bytes", json_integer((json_int_t)git_config(g)->disk.low));
	json_object_set_new(into, "hits", json_integer((json_int_t)metric_value(g->metrics.hits)));
	json_object_set_new(into, "misses", json_integer((json_int_t)metric_value(g->metrics.misses)));
	json_object_set_new(into, "offline_fallbacks", json_integer((json_int_t)metric_value(g->metrics.shared.fallbacks)));
	json_object_set_new(into, "stale_serves", json_integer((json_int_t)metric_value(g->metrics.shared.stale)));
	json_object_set_new(into, "evictions", json_integer((json_int_t)budget_evictions(g->budget)));
	json_object_set_new(into, "children", json_integer(atomic_load(&g->children)));
}

static void health(void *state, struct service_health *ret)
{
	struct git_service *g = state;

	ret->cached_repos = count_repos(g);
	ret->hits = (uint64_t)metric_value(g->metrics.hits);
	ret->misses = (uint64_t)metric_value(g->metrics.misses);
	ret->stale_serves = (uint64_t)metric_value(g->metrics.shared.stale);
	ret->offline_possible = git_config(g)->offline_mode;
}

static void traffic(void *state, traffic_fn *fn, void *arg)
{
	const struct git_service *g = state;
	struct traffic t = { .requests = 0 };

	git_metrics_add_traffic(&g->metrics, &t);
	fn(arg, "git", &t);
}

static void each_link(void *state, void (*fn)(void *arg, struct link *l), void *arg)
{
	struct git_service *g = state;

	struct upstream **all;
	size_t n;

	pthread_mutex_lock(&g->lock); /* a reload may make the array anew; what it points at stays */
	n = g->upstream_count;
	all = xcalloc(n + 1, sizeof(*all));
	for (size_t i = 0; i < n; i++)
		all[i] = g->upstreams[i];
	pthread_mutex_unlock(&g->lock);
	for (size_t i = 0; i < n; i++)
		if (atomic_load(&all[i]->listed))
			fn(arg, all[i]->link);
	free(all);
}

/* --- requests --- */

static void refuse_connect(struct exchange *ex, struct git_service *g)
{
	static const struct header_line allow = { "Allow", "GET, HEAD, POST" };
	struct buf text = BUF_EMPTY;

	metric_add(g->metrics.refusals[GIT_REFUSED_CONNECT], 1);
	buf_add_str(
		&text,
		"weir: CONNECT would hide what is asked for, so nothing could be cached. Instead of https_proxy use "
		"git config --global url.<base>.insteadOf, for example: git config --global "
		"url.http://WEIR-HOST:8080/github.com/.insteadOf https://github.com/\n");
	exchange_reply(ex, 405, &allow, 1, blob_new_take(&text));
}

static void refuse_other(struct git_request *q)
{
	metric_add(q->g->metrics.refusals[GIT_REFUSED_DUMB], 1);
	request_reply_error(q, 404,
			    "this is not part of git's smart HTTP protocol; weir serves info/refs, git-upload-pack and "
			    "git-receive-pack of %s",
			    q->repo->key);
}

/* Which methods each kind takes. */
static bool method_fits(const struct git_request *q)
{
	struct slice m = exchange_method(q->ex);

	if (q->target.kind == TARGET_UPLOAD_PACK || q->target.kind == TARGET_RECEIVE_PACK)
		return slice_eq_str(m, "POST");
	return slice_eq_str(m, "GET") || slice_eq_str(m, "HEAD");
}

static void route(struct git_request *q)
{
	if (!method_fits(q))
		request_reply_error(q, 405, "this address takes another method");
	else if (q->target.kind == TARGET_INFO_REFS && q->target.service == TARGET_SERVICE_UPLOAD_PACK)
		listing_handle_info_refs(q);
	else if (q->target.kind == TARGET_INFO_REFS && q->target.service == TARGET_SERVICE_RECEIVE_PACK)
		push_handle_info_refs(q);
	else if (q->target.kind == TARGET_UPLOAD_PACK)
		fetch_handle(q);
	else if (q->target.kind == TARGET_RECEIVE_PACK)
		push_handle_receive_pack(q);
	else
		refuse_other(q);
}

void git_handle(struct exchange *ex)
{
	struct git_service *g = exchange_service_arg(ex);
	struct slice target = exchange_target(ex), path;
	struct git_request *q;

	OBJ_CHECK(g, GIT_SERVICE_MAGIC);
	if (slice_eq_str(exchange_method(ex), "CONNECT")) {
		refuse_connect(ex, g);
		return;
	}
	if (health_handle(ex, g->core->services))
		return;
	(void)slice_cut(&target, '?', &path);
	if (slice_eq_str(path, "/hooks/push")) {
		hook_handle(ex, g);
		return;
	}
	q = request_new(ex, g);
	if (q)
		route(q);
}

const struct service git_service = {
	.name = "git",
	.section = &git_section,
	.start = start,
	.reload = reload,
	.stop = stop,
	.status = status,
	.health = health,
	.each_link = each_link,
	.traffic = traffic,
	.admin_routes = git_admin_routes,
};
