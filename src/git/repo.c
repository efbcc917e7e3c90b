/* repo.c -- the repositories in memory: who they are, what upstream showed of them, who uses them.
 *
 * WHAT     A registry by canonical name; for each repository its refs snapshot, formatted answers, and counters of use.
 * WHY      A front thread answers ls-refs from here without touching the disk; what is on disk is repo_disk.c's.
 * RULES    1. A snapshot is never changed, only replaced; readers hold a reference.
 *          2. A name that upstream never confirmed leaves no trace: its struct goes with its last reference.
 *          3. The service's and a repository's lock are held for pointer work only.
 * THREADS  Any. */
#include "git/git_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "git/repo_disk.h"
#include "git/scopes.h"
#include "proto/url.h"

struct repo *repo_ref(struct repo *r)
{
	OBJ_CHECK(r, REPO_MAGIC);
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

static struct repo *repo_new(struct git_service *g, struct upstream *up, const char *key, const char *path)
{
	struct repo *r = xcalloc(1, sizeof(*r));
	unsigned workers = (unsigned)config_limits(g->core->config)->workers;

	r->magic = REPO_MAGIC;
	r->g = g;
	r->up = up;
	r->key = xstrdup(key);
	r->path = xstrdup(path);
	r->dir = repo_disk_dir(g, key);
	r->git_dir = xstrf("%s/git", r->dir);
	r->main.cover = (struct cover)COVER_EMPTY;
	r->item.evict = repo_item_evict;
	if (git_config(g)->refs_scope == GIT_SCOPE_CREDENTIAL)
		r->scopes = map_new();
	/* A bulkhead: one repository may take a quarter of the workers for questions, and half of the children's
	 * places. */
	r->ask_lane = lane_new(g->core->pool, link_lane(up->link), workers / 4 ? workers / 4 : 1);
	r->pack_lane = lane_new(g->core->pool, g->pack_lane, 2);
	r->sync_lane = lane_new(g->core->pool, g->sync_lane, 1);
	r->relay_lane = lane_new(g->core->pool, g->relay_lane, workers / 4 ? workers / 4 : 1);
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->save_lock, NULL);
	pthread_cond_init(&r->readers_left, NULL);
	return r;
}

static void scope_fini(struct scope *s)
{
	refs_unref(&s->refs);
	cover_fini(&s->cover);
	for (size_t i = 0; i < ARRAY_LEN(s->made); i++) {
		blob_unref(&s->made[i].key);
		blob_unref(&s->made[i].answer);
	}
}

void repo_scope_free(struct scope *s)
{
	scope_fini(s);
	free(s);
}

static void repo_free(struct repo *r)
{
	size_t pos = 0;
	void *scope;

	scope_fini(&r->main);
	while (r->scopes && map_next(r->scopes, &pos, NULL, &scope))
		repo_scope_free(scope);
	map_free(r->scopes);
	oid_list_fini(&r->wanted);
	lane_unref(&r->ask_lane);
	lane_unref(&r->pack_lane);
	lane_unref(&r->sync_lane);
	lane_unref(&r->relay_lane);
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->save_lock);
	pthread_cond_destroy(&r->readers_left);
	free(r->ask_path);
	free(r->key);
	free(r->path);
	free(r->dir);
	free(r->git_dir);
	r->magic = 0;
	free(r);
}

struct repo *repo_get(struct git_service *g, struct upstream *up, const char *key, const char *path)
{
	struct repo *r;

	pthread_mutex_lock(&g->lock);
	r = map_get(g->repos, slice_str(key));
	if (!r) {
		r = repo_new(g, up, key, path);
		map_put(g->repos, slice_str(key), r);
	}
	repo_ref(r);
	pthread_mutex_unlock(&g->lock);
	return r;
}

struct repo *repo_find(struct git_service *g, const char *key)
{
	struct repo *r;

	pthread_mutex_lock(&g->lock);
	r = map_get(g->repos, slice_str(key));
	if (r)
		repo_ref(r);
	pthread_mutex_unlock(&g->lock);
	return r;
}

/* The registry holds no reference: an unknown repository goes with its last user (rule 2). One that is on disk or
 * quarantined holds a reference to itself. */
void repo_unref(struct repo **rp)
{
	struct repo *r = *rp;
	struct git_service *g;

	*rp = NULL;
	if (!r)
		return;
	OBJ_CHECK(r, REPO_MAGIC);
	g = r->g;
	pthread_mutex_lock(&g->lock);
	if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1) {
		pthread_mutex_unlock(&g->lock);
		return;
	}
	(void)map_remove(g->repos, slice_str(r->key));
	pthread_mutex_unlock(&g->lock);
	repo_free(r);
}

size_t repo_list(struct git_service *g, struct repo ***ret)
{
	size_t pos = 0, n = 0;
	void *value;

	pthread_mutex_lock(&g->lock);
	*ret = xcalloc(map_count(g->repos) + 1, sizeof(**ret));
	while (map_next(g->repos, &pos, NULL, &value)) {
		struct repo *r = value;
		bool wanted;

		pthread_mutex_lock(&r->lock);
		wanted = r->state != REPO_UNKNOWN || r->syncing;
		pthread_mutex_unlock(&r->lock);
		if (wanted)
			(*ret)[n++] = repo_ref(r);
	}
	pthread_mutex_unlock(&g->lock);
	return n;
}

void repo_free_all(struct git_service *g)
{
	struct repo **all;
	size_t n = repo_list(g, &all);

	for (size_t i = 0; i < n; i++) {
		struct repo *own = all[i];
		bool held;

		pthread_mutex_lock(&own->lock);
		held = own->state != REPO_UNKNOWN;
		own->state = REPO_UNKNOWN;
		pthread_mutex_unlock(&own->lock);
		budget_remove(g->budget, &own->item.budget);
		repo_unref(&all[i]);
		if (held)
			repo_unref(&own); /* the one to itself */
	}
	free(all);
}

/* The scope that a credential sees. Lock held. make: a credential seen for the first time gets one. */
static struct scope *scope_of(struct repo *r, const struct grant_key *cred, bool make)
{
	struct slice key;
	struct scope *s;

	if (!r->scopes || !cred)
		return &r->main;
	key = (struct slice){ (const char *)cred->bytes, sizeof(cred->bytes) };
	s = map_get(r->scopes, key);
	if (!s && make) {
		s = xcalloc(1, sizeof(*s));
		s->cover = (struct cover)COVER_EMPTY;
		map_put(r->scopes, key, s);
	}
	return s;
}

struct refs *repo_refs(struct repo *r, const struct grant_key *cred)
{
	struct refs *own = NULL, *main = NULL;
	struct scope *s;

	pthread_mutex_lock(&r->lock);
	s = scope_of(r, cred, false);
	if (s && s->refs)
		own = refs_ref(s->refs);
	if (s != &r->main && own && r->main.refs)
		main = refs_ref(r->main.refs);
	pthread_mutex_unlock(&r->lock);
	if (main) {
		struct refs *both = scopes_servable_of(own, main);

		refs_unref(&own);
		own = both;
	}
	refs_unref(&main);
	return own;
}

/* Puts a snapshot in place of the old one; takes `now`. Lock held. */
static void scope_swap(struct scope *s, struct refs *now)
{
	refs_unref(&s->refs);
	s->refs = now;
	for (size_t i = 0; i < ARRAY_LEN(s->made); i++) {
		blob_unref(&s->made[i].key);
		blob_unref(&s->made[i].answer);
	}
}

/* One reference to a scope's snapshot, or NULL. The lock is taken here. */
static struct refs *scope_refs(struct repo *r, struct scope *s)
{
	struct refs *refs;

	pthread_mutex_lock(&r->lock);
	refs = s->refs ? refs_ref(s->refs) : NULL;
	pthread_mutex_unlock(&r->lock);
	return refs;
}

/* save_lock held: save_scopes() walks the map under that alone. */
static struct scope *scope_for(struct repo *r, const struct grant_key *cred)
{
	struct scope *s;
	bool is_new;

	pthread_mutex_lock(&r->lock);
	is_new = !scope_of(r, cred, false);
	pthread_mutex_unlock(&r->lock);
	if (is_new)
		scopes_make_room(r);
	pthread_mutex_lock(&r->lock);
	s = scope_of(r, cred, true);
	pthread_mutex_unlock(&r->lock);
	return s;
}

/* Merges into one scope; *ret_moved and *ret_differs are set when they are true. save_lock held. */
static void merge_into(struct repo *r, struct scope *s, const struct refs_listing *listing, struct slices prefixes,
		       int64_t asked_mono_ms, bool *ret_moved, bool *ret_differs)
{
	struct refs *old = scope_refs(r, s);
	struct refs *now = refs_merge(old, listing, prefixes, clock_wall_ms());

	*ret_moved |= !old || refs_seen_differs(old, now);
	*ret_differs |= !old || refs_differs(old, now);
	refs_unref(&old);
	pthread_mutex_lock(&r->lock);
	scope_swap(s, now);
	cover_note(&s->cover, prefixes, asked_mono_ms);
	pthread_mutex_unlock(&r->lock);
}

/* When nothing of sync_refs is missing, what is here stands for the time when upstream was last asked. */
static void note_whole(struct repo *r)
{
	struct refs *refs = scope_refs(r, &r->main);
	struct slice room[SYNC_MOST_PREFIXES];

	if (refs && refs_covers_whole(refs) && refs_behind_count(refs, sync_prefixes(git_config(r->g), room)) == 0) {
		pthread_mutex_lock(&r->lock);
		r->servable_at_ms = r->seen_at_ms;
		pthread_mutex_unlock(&r->lock);
	}
	refs_unref(&refs);
}

/* What upstream deleted leaves the refs on disk too, so that a repack drops its objects. save_lock held. */
static void save_listing(struct repo *r, const struct grant_key *cred)
{
	struct refs *refs = scope_refs(r, &r->main);
	bool on_disk;

	pthread_mutex_lock(&r->lock);
	on_disk = r->state == REPO_READY;
	pthread_mutex_unlock(&r->lock);
	if (on_disk && refs && repo_disk_write_refs(r, refs) < 0)
		log_event(LOG_WARN, "packed_refs_not_written", LOG_STR("repository", r->key),
			  LOG_STR("effect", "deleted refs keep their objects until the next sync"), LOG_END);
	repo_disk_save_view(r, cred);
	refs_unref(&refs);
}

bool repo_merge(struct repo *r, const struct grant_key *cred, const struct refs_listing *listing,
		struct slices prefixes, int64_t asked_mono_ms)
{
	bool moved = false, differs = false;
	int64_t wall = clock_wall_ms();
	struct scope *s;

	pthread_mutex_lock(&r->save_lock); /* merges of one repository follow each other */
	s = scope_for(r, cred);
	merge_into(r, s, listing, prefixes, asked_mono_ms, &moved, &differs);
	if (s != &r->main) { /* what anybody was shown may be fetched for him: the main scope knows all names */
		struct refs_listing *all = scopes_union(r, s, prefixes);

		merge_into(r, &r->main, all, prefixes, asked_mono_ms, &moved, &differs);
		refs_listing_free(all);
	}
	pthread_mutex_lock(&r->lock);
	r->seen_at_ms = wall;
	r->silent = false;
	pthread_mutex_unlock(&r->lock);
	note_whole(r);
	if (differs)
		save_listing(r, cred);
	pthread_mutex_unlock(&r->save_lock);
	metric_set(r->g->metrics.shared.last_update, (double)wall / 1000);
	return moved;
}

static void set_scope_caps(struct repo *r, struct scope *s, const struct advert *a)
{
	struct refs *old = scope_refs(r, s), *base, *now;

	if (old && refs_upstream_version(old) == a->version && refs_format(old) == a->format &&
	    slice_eq(refs_upstream_caps(old), buf_slice(&a->caps))) {
		refs_unref(&old);
		return;
	}
	base = old && refs_format(old) == a->format ? refs_ref(old) : refs_new(a->format);
	now = refs_set_upstream(base, a->version, buf_slice(&a->caps));
	refs_unref(&base);
	refs_unref(&old);
	pthread_mutex_lock(&r->lock);
	scope_swap(s, now);
	pthread_mutex_unlock(&r->lock);
}

static bool has_other_format(struct repo *r, const struct advert *a)
{
	struct refs *refs = scope_refs(r, &r->main);
	bool other = refs && refs_format(refs) != a->format;

	refs_unref(&refs);
	return other;
}

void repo_set_upstream_caps(struct repo *r, const struct grant_key *cred, const struct advert *a, struct slice ask_path)
{
	struct scope *s;
	bool other;

	pthread_mutex_lock(&r->save_lock);
	s = scope_for(r, cred);
	other = has_other_format(r, a);
	set_scope_caps(r, s, a);
	if (s != &r->main)
		set_scope_caps(r, &r->main, a);
	pthread_mutex_unlock(&r->save_lock);
	if (other) /* -ENOENT: nothing of it is on disk */
		(void)repo_quarantine(r, "upstream made it anew with another object format");
	pthread_mutex_lock(&r->lock);
	r->silent = false;
	if (!r->ask_path || !slice_eq_str(ask_path, r->ask_path)) {
		free(r->ask_path);
		r->ask_path = slice_dup(ask_path);
	}
	pthread_mutex_unlock(&r->lock);
}

/* Which refs the ids in `got` make servable, beyond what is. Borrowed from `of`; the caller frees both arrays. */
static size_t servable_items(const struct refs *of, const struct oid_list *got, struct lsref **ret,
			     struct refs_info **ret_infos)
{
	size_t count = refs_count(of), n = 0;
	struct map *set = map_new();
	static char there;

	*ret = xcalloc(count + 1, sizeof(**ret));
	*ret_infos = xcalloc(count + 1, sizeof(**ret_infos));
	for (size_t i = 0; i < got->count; i++)
		map_put(set, (struct slice){ (const char *)got->items[i].bytes, OID_MAX_BYTES }, &there);
	for (size_t i = 0; i < count; i++) {
		struct refs_info *at = &(*ret_infos)[n];

		refs_at(of, i, at);
		if (!at->seen)
			continue;
		if (!map_get(set, (struct slice){ (const char *)at->seen->bytes, OID_MAX_BYTES }) &&
		    !(refs_has_oid(of, at->seen) & REFS_HAS_SERVABLE))
			continue;
		(*ret)[n++] = (struct lsref){ .name = at->name, .oid = *at->seen, .symref = at->seen_symref,
					      .has_peeled = at->seen_peeled != NULL,
					      .peeled = at->seen_peeled ? *at->seen_peeled : (struct oid){ { 0 } } };
	}
	map_free(set);
	return n;
}

int repo_note_servable(struct repo *r, const struct oid_list *got)
{
	struct refs *old, *now;
	struct refs_info *infos;
	struct lsref *items;
	size_t n;
	int res;

	pthread_mutex_lock(&r->save_lock);
	old = scope_refs(r, &r->main);
	if (!old) {
		pthread_mutex_unlock(&r->save_lock);
		return -ENOENT;
	}
	n = servable_items(old, got, &items, &infos);
	now = refs_set_servable(old, items, n, false);
	refs_unref(&old);
	free(items);
	free(infos);
	/* Objects are in. Refs on disk next, so that connectivity checks and repacks see them; then the memory that
	 * serves them; then its copy on disk, which after a crash here is behind, and is what a restart goes by. */
	res = repo_disk_write_refs(r, now);
	if (res == 0) {
		pthread_mutex_lock(&r->lock);
		scope_swap(&r->main, refs_ref(now));
		pthread_mutex_unlock(&r->lock);
		note_whole(r);
		repo_disk_save_view(r, NULL);
	}
	refs_unref(&now);
	pthread_mutex_unlock(&r->save_lock);
	return res;
}

struct slices sync_prefixes(const struct git_config *c, struct slice *room)
{
	size_t n = 0;

	room[n++] = SLICE_LIT("HEAD");
	for (char **p = c->sync_refs; p && *p && n < SYNC_MOST_PREFIXES; p++)
		room[n++] = slice_str(*p);
	return (struct slices){ room, n };
}

bool repo_is_fresh(struct repo *r, const struct grant_key *cred, struct slices prefixes, int64_t ttl_ms)
{
	struct scope *s;
	bool fresh;

	if (ttl_ms <= 0)
		return false;
	pthread_mutex_lock(&r->lock);
	s = scope_of(r, cred, false);
	fresh = s && s->refs && cover_is_fresh(&s->cover, prefixes, clock_mono_ms(), ttl_ms);
	pthread_mutex_unlock(&r->lock);
	return fresh;
}

void repo_forget_fresh(struct repo *r)
{
	size_t pos = 0;
	void *scope;

	pthread_mutex_lock(&r->lock);
	cover_forget(&r->main.cover);
	while (r->scopes && map_next(r->scopes, &pos, NULL, &scope))
		cover_forget(&((struct scope *)scope)->cover);
	pthread_mutex_unlock(&r->lock);
}

struct blob *repo_made_answer(struct repo *r, const struct grant_key *cred, const struct refs *of, struct slice key)
{
	struct blob *found = NULL;
	struct scope *s;

	pthread_mutex_lock(&r->lock);
	s = scope_of(r, cred, false);
	for (size_t i = 0; s && s->refs == of && !found && i < ARRAY_LEN(s->made) && s->made[i].key; i++)
		if (slice_eq(blob_slice(s->made[i].key), key))
			found = blob_ref(s->made[i].answer);
	pthread_mutex_unlock(&r->lock);
	return found;
}

void repo_keep_answer(struct repo *r, const struct grant_key *cred, const struct refs *of, struct slice key,
		      struct blob *answer)
{
	size_t last = ARRAY_LEN(((struct scope *)NULL)->made) - 1;
	struct scope *s;

	pthread_mutex_lock(&r->lock);
	s = scope_of(r, cred, false);
	if (s && s->refs == of) {
		blob_unref(&s->made[last].key);
		blob_unref(&s->made[last].answer);
		memmove(&s->made[1], &s->made[0], last * sizeof(s->made[0]));
		s->made[0].key = blob_new_copy(key.p, key.n);
		s->made[0].answer = blob_ref(answer);
	}
	pthread_mutex_unlock(&r->lock);
}

bool repo_pin(struct repo *r, unsigned *ret_pin)
{
	bool ok;

	pthread_mutex_lock(&r->lock);
	ok = r->state == REPO_READY;
	if (ok)
		r->readers[*ret_pin = r->generation]++;
	pthread_mutex_unlock(&r->lock);
	/* Not budget_pin(): a reader of what was moved aside counts for nothing that is made anew; take_away() asks who
	 * reads. */
	if (ok)
		budget_touch(r->g->budget, &r->item.budget);
	return ok;
}

void repo_unpin(struct repo *r, unsigned pin)
{
	pthread_mutex_lock(&r->lock);
	ENSURE(r->readers[pin] > 0);
	r->readers[pin]--;
	pthread_cond_broadcast(&r->readers_left);
	pthread_mutex_unlock(&r->lock);
}

/* On `readers_left`, a second at most, so that a stop is noticed. Lock held. */
static void wait_a_second(struct repo *r)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec++;
	(void)pthread_cond_timedwait(&r->readers_left, &r->lock, &t);
}

bool repo_wait_for_readers(struct repo *r, unsigned own_pin, int64_t limit_ms)
{
	int64_t until = clock_mono_ms() + limit_ms;
	bool gone = true;

	pthread_mutex_lock(&r->lock);
	/* Twice: those of the other generation may be left from a time when they were not waited for to the end. */
	for (int i = 0; gone && i < 2; i++) {
		unsigned old = r->generation;

		r->generation = !old;
		while (!(gone = r->readers[old] <= (own_pin == old)) && clock_mono_ms() < until &&
		       !cancel_fired(r->g->stop))
			wait_a_second(r);
	}
	pthread_mutex_unlock(&r->lock);
	return gone;
}

bool repo_wait_idle(struct repo *r, int64_t limit_ms)
{
	int64_t until = clock_mono_ms() + limit_ms;
	bool idle;

	pthread_mutex_lock(&r->lock);
	while (!(idle = !r->readers[0] && !r->readers[1] && !r->syncing && !r->maintaining) &&
	       clock_mono_ms() < until && !cancel_fired(r->g->stop))
		wait_a_second(r);
	pthread_mutex_unlock(&r->lock);
	return idle;
}

void repo_used(struct repo *r)
{
	bool known;

	pthread_mutex_lock(&r->lock);
	known = r->state == REPO_READY;
	r->used_wall_ms = clock_wall_ms();
	pthread_mutex_unlock(&r->lock);
	if (known)
		budget_touch(r->g->budget, &r->item.budget);
}
