/* git_admin.c -- look at, fill, check, mark as not fresh and drop repositories.
 *
 *	GET  repos[?after=host/path&limit=N]   sorted by name
 *	POST repos/warm, verify, invalidate, evict   {"repo": "host/path"}
 *
 * warm answers 202 at once and goes on; the list shows its progress. verify answers when it is done; damage found moves
 * the repository aside. THREADS: front; what touches the disk goes to workers. */
#include "git/git_admin.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "git/git_priv.h"
#include "git/keeper.h"
#include "git/maint.h"
#include "git/sync.h"
#include "proto/url.h"

#define EVICT_PATIENCE_MS 5000
#define LIST_LIMIT 1000 /* items in one answer, unless the client asks for fewer */

static struct git_service *service_of(struct exchange *ex)
{
	struct git_service *g = exchange_service_arg(ex);

	OBJ_CHECK(g, GIT_SERVICE_MAGIC);
	return g;
}

static void reply_json(struct exchange *ex, int status, json_t *take)
{
	static const struct header_line type = { "Content-Type", "application/json" };
	char *text = json_dumps(take, JSON_COMPACT);
	struct buf b = BUF_EMPTY;

	json_decref(take);
	buf_add_str(&b, text ? text : "{}");
	buf_add_char(&b, '\n');
	free(text);
	exchange_reply(ex, status, &type, 1, blob_new_take(&b));
}

static void set_time(json_t *o, const char *name, int64_t wall_ms)
{
	struct buf b = BUF_EMPTY;

	if (wall_ms)
		clock_format_rfc3339(wall_ms, &b);
	json_object_set_new(o, name, wall_ms ? json_string(b.data) : json_null());
	buf_fini(&b);
}

static json_t *progress_json(const struct repo_progress *p)
{
	return json_pack("{s:s, s:I, s:I, s:f}", "stage", p->stage, "bytes", (json_int_t)p->bytes, "objects",
			 (json_int_t)p->objects, "seconds",
			 p->started_mono_ms ? (double)(clock_mono_ms() - p->started_mono_ms) / 1000 : 0.0);
}

static json_t *repo_json(struct repo *r)
{
	json_t *o = json_object();
	struct refs *refs = repo_refs(r, NULL);

	json_object_set_new(o, "host", json_string(r->up->match));
	json_object_set_new(o, "path", json_string(r->path));
	json_object_set_new(o, "refs", json_integer(refs ? (json_int_t)refs_count(refs) : 0));
	refs_unref(&refs);
	pthread_mutex_lock(&r->lock);
	json_object_set_new(o, "state", json_string(r->syncing				? "syncing"
						    : r->state == REPO_QUARANTINED ? "quarantined"
										   : "ready"));
	json_object_set_new(o, "bytes", json_integer((json_int_t)budget_item_bytes(r->g->budget, &r->item.budget)));
	set_time(o, "seen_at", r->seen_at_ms);
	set_time(o, "servable_at", r->servable_at_ms);
	set_time(o, "used_at", r->used_wall_ms);
	if (r->syncing)
		json_object_set_new(o, "progress", progress_json(&r->progress));
	if (r->last_error[0])
		json_object_set_new(o, "last_error", json_string(r->last_error));
	pthread_mutex_unlock(&r->lock);
	return o;
}

/* --- the list --- */

static int by_key(const void *a, const void *b)
{
	struct repo *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

static size_t limit_of(struct slice query)
{
	struct buf text = BUF_EMPTY;
	uint64_t n = LIST_LIMIT;

	if (url_query_get(query, "limit", &text) == 0)
		(void)str_parse_u64(buf_slice(&text), &n); /* what is no number leaves the default */
	buf_fini(&text);
	return n && n < LIST_LIMIT ? (size_t)n : LIST_LIMIT;
}

static void handle_list(struct exchange *ex)
{
	struct git_service *g = service_of(ex);
	struct slice query = exchange_target(ex), path;
	struct buf after = BUF_EMPTY;
	struct repo **all;
	size_t n = repo_list(g, &all), limit, given = 0;
	json_t *items = json_array(), *next = json_null();

	(void)slice_cut(&query, '?', &path);
	(void)url_query_get(query, "after", &after); /* absent: from the beginning */
	limit = limit_of(query);
	qsort(all, n, sizeof(*all), by_key);
	for (size_t i = 0; i < n; i++) {
		bool wanted = !after.len || strcmp(all[i]->key, after.data) > 0;

		if (wanted && given < limit) {
			json_array_append_new(items, repo_json(all[i]));
			given++;
		} else if (wanted && json_is_null(next) && given) {
			next = json_string(all[i - 1]->key);
		}
	}
	for (size_t i = 0; i < n; i++)
		repo_unref(&all[i]);
	free(all);
	buf_fini(&after);
	reply_json(ex, 200, json_pack("{s:o, s:o}", "items", items, "next", next));
}

/* --- actions --- */

/* The value of "repo" in the body, malloc'ed; NULL: answered. */
static char *body_repo(struct exchange *ex)
{
	struct slice body;
	json_t *root;
	const char *name;
	char *copy = NULL;

	if (exchange_body_peek(ex, &body) < 0) {
		exchange_reply_problem(ex, 400, "Bad request",
				       "the body must be a small JSON object like {\"repo\": \"host/path\"}");
		return NULL;
	}
	root = json_loadb(body.p, body.n, 0, NULL);
	name = json_string_value(json_object_get(root, "repo"));
	if (name)
		copy = xstrdup(name);
	else
		exchange_reply_problem(ex, 400, "Bad request",
				       "the body must be a JSON object like {\"repo\": \"host/path\"}");
	json_decref(root);
	return copy;
}

/* The repository that the body names; NULL: answered. */
static struct repo *named_repo(struct exchange *ex)
{
	struct git_service *g = service_of(ex);
	char *name = body_repo(ex);
	struct buf key = BUF_EMPTY;
	struct target t;
	struct repo *r = NULL;
	bool known = false;

	if (!name)
		return NULL;
	if (target_parse_repo(slice_str(name), &t, NULL) == 0) {
		target_repo_key(&t, &key);
		r = repo_find(g, key.data);
	}
	if (r) {
		pthread_mutex_lock(&r->lock);
		known = r->state != REPO_UNKNOWN;
		pthread_mutex_unlock(&r->lock);
	}
	if (!known) {
		exchange_reply_problem(ex, 404, "Not cached", "%s is not in the cache; see GET /api/v1/repos", name);
		repo_unref(&r);
	}
	buf_fini(&key);
	free(name);
	return r;
}

static void handle_warm(struct exchange *ex)
{
	struct git_service *g = service_of(ex);
	char *name = body_repo(ex);
	struct buf err = BUF_EMPTY;
	int r;

	if (!name)
		return;
	r = warm_start(g, slice_str(name), &err);
	if (r == 0)
		reply_json(ex, 202, json_pack("{s:s, s:s}", "repo", name, "state", "syncing"));
	else
		exchange_reply_problem(ex, r == -EINVAL ? 400 : 503, "Not warmed", "%s", err.data);
	buf_fini(&err);
	free(name);
}

static void handle_invalidate(struct exchange *ex)
{
	struct repo *r = named_repo(ex);

	if (!r)
		return;
	repo_forget_fresh(r);
	reply_json(ex, 200, json_pack("{s:s}", "repo", r->key));
	repo_unref(&r);
}

static void verify(struct exchange *ex)
{
	struct repo *r = exchange_data(ex);
	struct buf why = BUF_EMPTY;
	bool damaged;
	int err = maint_verify(r, exchange_cancel(ex), &why);

	damaged = err == WEIR_E_DAMAGED;
	if (damaged && repo_quarantine(r, why.data) == 0)
		maint_refetch(r);
	if (err == 0 || damaged)
		reply_json(ex, 200,
			   json_pack("{s:s, s:b, s:s, s:s}", "repo", r->key, "ok", !damaged, "state",
				     damaged ? "quarantined" : "ready", "detail", why.data));
	else if (err == WEIR_E_CANCELLED)
		exchange_reply_dropped(ex);
	else
		exchange_reply_problem(ex, err == -ENOENT ? 404 : 500, "Not verified", "%s: %s", r->key, err_text(err));
	buf_fini(&why);
}

static void evict(struct exchange *ex)
{
	struct repo *r = exchange_data(ex);
	int err;

	(void)repo_wait_idle(r, EVICT_PATIENCE_MS); /* what goes on mostly ends soon; repo_evict() tells */
	err = repo_evict(r);

	if (err == 0)
		reply_json(ex, 200, json_pack("{s:s}", "repo", r->key));
	else if (err == -EBUSY)
		exchange_reply_problem(ex, 409, "In use", "%s is being read or filled; try again", r->key);
	else if (err == -ENOENT)
		exchange_reply_problem(ex, 404, "Not cached", "%s is not on disk", r->key);
	else
		exchange_reply_problem(ex, 500, "Not evicted", "%s: %s", r->key, err_text(err));
}

static void release(void *arg, int status, uint64_t bytes_sent, bool whole)
{
	struct repo *r = arg;

	(void)status;
	(void)bytes_sent;
	(void)whole;
	repo_unref(&r);
}

/* A verification stands in line with the repository's syncs, as it may move aside what they fill; an eviction asks
 * whether there are any. */
static void on_worker(struct exchange *ex, exchange_fn *fn, bool in_line)
{
	struct repo *r = named_repo(ex);

	if (!r)
		return;
	exchange_set_data(ex, r);
	exchange_set_done_hook(ex, release, r);
	exchange_to_worker(ex, in_line ? r->sync_lane : r->g->sync_lane, fn);
}

static void handle_verify(struct exchange *ex)
{
	on_worker(ex, verify, true);
}

static void handle_evict(struct exchange *ex)
{
	on_worker(ex, evict, false);
}

const struct admin_route git_admin_routes[] = {
	{ "GET", "repos", handle_list },
	{ "POST", "repos/warm", handle_warm },
	{ "POST", "repos/verify", handle_verify },
	{ "POST", "repos/invalidate", handle_invalidate },
	{ "POST", "repos/evict", handle_evict },
	{ NULL, NULL, NULL },
};
