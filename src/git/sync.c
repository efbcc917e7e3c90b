/* sync.c -- from upstream's objects to a repository here that can serve them.
 *
 * WHAT     Ask what there is (when that is not known freshly), fetch what is missing in one pack through quarantine,
 *          then let the refs move.
 * WHY      Everything that weir serves offline, and every fetch it answers itself, comes through here.
 * RULES    1. A ref becomes servable only after its objects are in (invariant 11).
 *          2. One sync at a time for each repository; who needs one meanwhile waits for its end and looks again.
 *          3. With `sync: full` it goes on when its clients leave; with on_demand it ends with them.
 *          4. An id that upstream does not have ("not our ref") fails nobody else's wants: it is left out and the rest
 *             is fetched.
 *
 *	list? --> nothing missing --> refs on disk made current
 *	      --> wants, haves --> transfer --> intake --> refs servable --> measured, budget kept, repack considered
 * THREADS  Workers, in the repository's sync lane. */
#include "git/sync.h"

#include <stdarg.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "git/intake.h"
#include "git/keeper.h"
#include "git/maint.h"
#include "git/take_in.h"
#include "git/transfer.h"

#define MOST_HAVES 1024
#define MOST_WANTED 100000       /* ids that clients may have waiting for one repository */
#define LISTING_GOOD_FOR_MS 60000
#define MOST_ATTEMPTS 8          /* each leaves out one id that upstream does not have, or lists anew */

struct sync_job {
	struct repo *repo;
	struct credential cred;
	char *sent_path;
	struct flight *flight;
	bool list_first;
	struct take_in *passed; /* an answer that passed through, whose pack is taken in first; NULL: none */
};

/* --- what is missing --- */

static bool is_servable(const struct refs *refs, const struct oid *id)
{
	return refs_has_oid(refs, id) & REFS_HAS_SERVABLE;
}

static bool may_want(const struct refs *shown, const struct oid *id)
{
	return !shown || refs_has_oid(shown, id);
}

/* What sync_refs covers and is not here, and what clients want besides. shown: what the credential may want; NULL:
 * all. */
static void find_missing(struct repo *r, const struct refs *refs, const struct refs *shown, struct oid_list *wants)
{
	const struct git_config *c = git_config(r->g);
	struct slice room[SYNC_MOST_PREFIXES];
	struct slices prefixes = sync_prefixes(c, room);
	struct refs_info info;

	for (size_t i = 0; c->sync == GIT_SYNC_FULL && i < refs_count(refs); i++) {
		refs_at(refs, i, &info);
		if (info.seen && !info.seen_symref.n && lsrefs_match(prefixes, info.name) &&
		    !is_servable(refs, info.seen) && may_want(shown, info.seen))
			oid_list_add(wants, info.seen);
	}
	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < r->wanted.count; i++)
		if (!is_servable(refs, &r->wanted.items[i]) && may_want(shown, &r->wanted.items[i]))
			oid_list_add(wants, &r->wanted.items[i]);
	pthread_mutex_unlock(&r->lock);
	oid_list_sort_unique(wants);
}

/* What upstream may build upon: the old values of refs that moved first, then heads, then others, up to a limit. */
static void choose_haves(const struct refs *refs, struct oid_list *haves)
{
	struct refs_info info;

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < refs_count(refs) && haves->count < MOST_HAVES; i++) {
			bool moved, head;

			refs_at(refs, i, &info);
			if (!info.servable || info.servable_symref.n)
				continue;
			moved = !info.seen || !oid_eq(info.seen, info.servable);
			head = slice_starts(info.name, "refs/heads/");
			if (round == (moved ? 0 : head ? 1 : 2))
				oid_list_add(haves, info.servable_peeled ? info.servable_peeled : info.servable);
		}
	oid_list_sort_unique(haves);
}

/* "upload-pack: not our ref <id>": the id is left out. False: the words say something else. */
static bool leave_out_refused(struct slice words, enum oid_format f, struct oid_list *wants)
{
	static const char mark[] = "not our ref ";
	const char *at = words.n ? memmem(words.p, words.n, mark, sizeof(mark) - 1) : NULL;
	struct slice hex;
	struct oid id;
	size_t n = oid_hex_chars(f);

	if (!at)
		return false;
	hex = slice_from(words, (size_t)(at - words.p) + sizeof(mark) - 1);
	if (hex.n < n || oid_parse((struct slice){ hex.p, n }, &f, &id))
		return false;
	for (size_t i = 0; i < wants->count; i++)
		if (oid_eq(&wants->items[i], &id)) {
			wants->items[i] = wants->items[--wants->count];
			oid_list_sort_unique(wants);
			return true;
		}
	return false;
}

/* --- one sync --- */

struct sync {
	struct repo *repo;
	struct ask ask;
	bool background;
	struct ask_result *ret;
};

static void set_stage(struct repo *r, const char *stage)
{
	pthread_mutex_lock(&r->lock);
	r->syncing = stage != NULL;
	if (!r->progress.started_mono_ms || !stage)
		r->progress = (struct repo_progress){ .started_mono_ms = stage ? clock_mono_ms() : 0 };
	(void)snprintf(r->progress.stage, sizeof(r->progress.stage), "%s", stage ? stage : "");
	pthread_cond_broadcast(&r->readers_left);
	pthread_mutex_unlock(&r->lock);
}

static void fail(struct sync *s, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct sync *s, int err, const char *fmt, ...)
{
	va_list ap;

	s->ret->outcome = ASK_FAILED;
	s->ret->status = 0; /* the answer's status was not what went wrong */
	s->ret->err = err;
	buf_reset(&s->ret->text);
	va_start(ap, fmt);
	buf_vaddf(&s->ret->text, fmt, ap);
	va_end(ap);
}

static void explain_intake(struct sync *s, int err, const struct buf *why)
{
	if (err == WEIR_E_DAMAGED) {
		metric_add(s->repo->g->metrics.syncs[2], 1);
		log_event(LOG_ERROR, "pack_refused", LOG_STR("repository", s->repo->key), LOG_STR("why", why->data),
			  LOG_STR("effect", "nothing of it was taken in"), LOG_END);
		fail(s, err, "the pack from upstream did not pass verification: %.600s", why->data);
	} else if (err == -ENOSPC) {
		fail(s, err, "no space left for %s in %s; free some or lower git.disk.max", s->repo->key,
		     s->repo->g->dir);
	} else {
		fail(s, err, "taking in objects failed: %s%s%.400s", err_text(err), why->len ? ": " : "", why->data);
	}
}

/* One request, one pack. True: to be tried again with what is left. */
static bool fetch_once(struct sync *s, const struct refs *refs, struct oid_list *wants, struct oid_list *haves)
{
	struct intake_options o = { .git_dir = s->repo->git_dir,
				    .format = refs_format(refs),
				    .background = s->background,
				    .most_bytes = git_config(s->repo->g)->disk.max,
				    .cancel = s->ask.cancel };
	struct transfer t = { .wants = wants, .haves = haves, .format = refs_format(refs),
			      .upstream_version = refs_upstream_version(refs) };
	struct intake *in = NULL;
	struct buf why = BUF_EMPTY;
	bool again = false;
	int r = intake_begin(&o, &in);

	if (r < 0) {
		explain_intake(s, r, &why);
		return false;
	}
	t.intake = in;
	transfer_run(&s->ask, &t, s->ret);
	metric_add(s->repo->g->metrics.sync_bytes, intake_bytes(in));
	if (s->ret->outcome == ASK_OK || s->ret->err == WEIR_E_CHILD) {
		set_stage(s->repo, "checking");
		r = intake_finish(in, wants, &why);
		if (r < 0)
			explain_intake(s, r, &why);
		else if (s->ret->outcome != ASK_OK)
			fail(s, WEIR_E_CHILD, "git index-pack ended before the pack did");
	} else if (s->ret->err == WEIR_E_PROTOCOL && s->ret->outcome == ASK_FAILED) {
		buf_add_str(&why, "its framing is broken");
		explain_intake(s, WEIR_E_DAMAGED, &why);
	} else if (s->ret->outcome == ASK_REFUSED && s->ret->status == 0) {
		again = leave_out_refused(buf_slice(&s->ret->text), t.format, wants);
	}
	intake_free(&in);
	buf_fini(&why);
	return again;
}

/* Fetches what is missing; *got becomes what came. */
static void fetch_missing(struct sync *s, struct refs *refs, struct oid_list *got)
{
	struct oid_list haves = { 0 };
	struct buf refused = BUF_LIMIT(1024);

	choose_haves(refs, &haves);
	set_stage(s->repo, "receiving");
	for (int i = 0; i < MOST_ATTEMPTS && got->count; i++) {
		if (!fetch_once(s, refs, got, &haves))
			break;
		if (!refused.len)
			buf_add_slice(&refused, buf_slice(&s->ret->text));
		s->ret->outcome = ASK_OK; /* so far; when nothing is left to want, that is how it ends */
	}
	if (s->ret->outcome == ASK_OK) { /* the words about ids left out: for whoever wanted those */
		buf_reset(&s->ret->text);
		buf_add_slice(&s->ret->text, buf_slice(&refused));
	}
	buf_fini(&refused);
	oid_list_fini(&haves);
}

static bool listing_is_needed(struct repo *r, const struct refs *refs, bool list_first)
{
	struct slice room[SYNC_MOST_PREFIXES];
	int64_t since;

	if (list_first || !refs || refs_upstream_version(refs) < 0)
		return true;
	if (git_config(r->g)->sync != GIT_SYNC_FULL)
		return false;
	if (!refs_covers_whole(refs))
		return true;
	since = refs_covered_since(refs, sync_prefixes(git_config(r->g), room));
	return !since || clock_wall_ms() - since > LISTING_GOOD_FOR_MS || since > clock_wall_ms();
}

static void list_refs(struct sync *s)
{
	struct slice room[SYNC_MOST_PREFIXES];
	struct refs *refs = repo_refs(s->repo, NULL);
	struct slices prefixes = { NULL, 0 };

	/* Once everything, so that any question can be answered offline; then what is kept current. Some upstreams list
	 * a hundred thousand pull requests. */
	if (refs && refs_covers_whole(refs))
		prefixes = sync_prefixes(git_config(s->repo->g), room);
	refs_unref(&refs);
	set_stage(s->repo, "listing");
	s->ask.total_ms = git_config(s->repo->g)->upstream_timeout;
	ask_ls_refs(&s->ask, prefixes, s->ret);
	/* A transfer has no bound but that it must not stand still, before its first byte neither. */
	s->ask.total_ms = 0;
}

/* What clients wanted was tried: what came is servable, what did not is theirs to ask for again. */
static void forget_wanted(struct repo *r)
{
	pthread_mutex_lock(&r->lock);
	oid_list_fini(&r->wanted);
	r->wanted = (struct oid_list){ 0 };
	pthread_mutex_unlock(&r->lock);
}

static void sync_steps(struct sync *s, bool list_first)
{
	struct refs *refs = repo_refs(s->repo, NULL);
	struct oid_list got = { 0 };
	unsigned pin;
	int r;

	s->ret->outcome = ASK_OK;
	if (listing_is_needed(s->repo, refs, list_first)) {
		list_refs(s);
		refs_unref(&refs);
		refs = repo_refs(s->repo, NULL);
	}
	if (s->ret->outcome == ASK_OK && refs) {
		struct refs *shown = s->repo->scopes ? repo_refs(s->repo, &s->ask.cred->key) : NULL;

		find_missing(s->repo, refs, shown, &got);
		refs_unref(&shown);
		r = repo_make_on_disk(s->repo, refs_format(refs));
		if (r < 0)
			fail(s, r, "cannot make %s: %s", s->repo->dir, err_text(r));
		else if (!repo_pin(s->repo, &pin))
			fail(s, -EAGAIN, "the repository was dropped meanwhile");
		else {
			if (got.count)
				fetch_missing(s, refs, &got);
			if (s->ret->outcome == ASK_OK) {
				r = repo_note_servable(s->repo, &got);
				if (r < 0)
					fail(s, r, "cannot write refs of %s: %s", s->repo->dir, err_text(r));
			}
			if (s->ret->outcome == ASK_OK && got.count)
				maint_note_pack(s->repo);
			repo_unpin(s->repo, pin);
		}
	}
	forget_wanted(s->repo);
	refs_unref(&refs);
	oid_list_fini(&got);
}

static void note_end(struct repo *r, const struct ask_result *ret, int64_t started_ms, uint64_t bytes)
{
	struct buf reason = BUF_EMPTY;
	bool ok = ret->outcome == ASK_OK;

	ask_result_reason(ret, &reason);
	pthread_mutex_lock(&r->lock);
	(void)snprintf(r->last_error, sizeof(r->last_error), "%s", ok ? "" : reason.data);
	pthread_mutex_unlock(&r->lock);
	metric_add(r->g->metrics.syncs[ok ? 0 : 1], 1);
	if (ok)
		log_event(bytes ? LOG_INFO : LOG_DEBUG, "sync_done", LOG_STR("repository", r->key),
			  LOG_INT("bytes", bytes), LOG_INT("ms", clock_mono_ms() - started_ms), LOG_END);
	else if (ret->err != WEIR_E_CANCELLED)
		log_event(LOG_WARN, "sync_failed", LOG_STR("repository", r->key), LOG_STR("why", reason.data),
			  LOG_STR("effect", "the cache stays as it was; the next request tries again"), LOG_END);
	buf_fini(&reason);
}

void sync_run(struct repo *r, const struct credential *cred, const char *sent_path, bool list_first, bool background,
	      struct cancel *cancel, struct ask_result *ret)
{
	struct sync s = { .repo = r, .background = background, .ret = ret,
			  .ask = { .repo = r, .cred = cred, .sent_path = sent_path, .cancel = cancel,
				   .patience_ms = config_links(r->g->core->config)->stall_timeout } };
	int64_t started_ms = clock_mono_ms();
	uint64_t bytes;

	sync_steps(&s, list_first);
	pthread_mutex_lock(&r->lock);
	bytes = r->progress.bytes;
	pthread_mutex_unlock(&r->lock);
	set_stage(r, NULL);
	note_end(r, ret, started_ms, bytes);
	if (bytes) {
		repo_measure(r);
		(void)budget_enforce(r->g->budget);
	}
}

/* --- jobs --- */

static void job_free(struct sync_job *j)
{
	take_in_free(&j->passed);
	credential_fini(&j->cred);
	free(j->sent_path);
	repo_unref(&j->repo);
	free(j);
}

static void run_job(void *arg)
{
	struct sync_job *j = arg;
	struct git_service *g = j->repo->g;
	struct ask_result result = ASK_RESULT_EMPTY;
	bool full = git_config(g)->sync == GIT_SYNC_FULL;

	if (j->passed) {
		set_stage(j->repo, "checking");
		take_in_run(j->passed);
		take_in_free(&j->passed); /* its space is free from here on */
		set_stage(j->repo, NULL);
	}
	sync_run(j->repo, &j->cred, j->sent_path, j->list_first, false, full ? g->stop : flight_cancel(j->flight),
		 &result);
	flight_land(j->flight, 0, &result);
	ask_result_fini(&result);
	maint_consider(j->repo);
	job_free(j);
}

static struct sync_job *job_new(struct repo *r, const struct credential *cred, const char *sent_path, bool list_first)
{
	struct sync_job *j = xcalloc(1, sizeof(*j));

	j->repo = repo_ref(r);
	credential_copy(&j->cred, cred);
	j->sent_path = xstrdup(sent_path ? sent_path : r->path);
	j->list_first = list_first;
	return j;
}

static void flight_name(const struct repo *r, struct buf *key)
{
	buf_addf(key, "%s sync", r->key);
}

static void lead(struct sync_job *j, struct flight *flight)
{
	int r;

	j->flight = flight;
	r = pool_submit(j->repo->sync_lane, run_job, j);
	if (r < 0) {
		struct ask_result busy = ASK_RESULT_EMPTY;

		busy.outcome = ASK_FAILED;
		busy.err = r;
		buf_add_str(&busy.text, r == -ESHUTDOWN ? "weir is shutting down" : "too many requests wait");
		flight_land(flight, 0, &busy);
		ask_result_fini(&busy);
		job_free(j);
	}
}

void sync_wait(struct repo *r, const struct credential *cred, const char *sent_path, const struct oid_list *wants,
	       struct exchange *ex, flight_resume_fn *fn)
{
	struct sync_job *j = job_new(r, cred, sent_path, false);
	struct flight *led = NULL;
	struct buf key = BUF_EMPTY;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < wants->count && r->wanted.count < MOST_WANTED; i++)
		oid_list_add(&r->wanted, &wants->items[i]);
	pthread_mutex_unlock(&r->lock);
	flight_name(r, &key);
	flight_join(r->g->flights, buf_slice(&key), ex, fn, &led);
	buf_fini(&key);
	if (led) {
		lead(j, led);
	} else {
		metric_add(j->repo->g->metrics.shared.collapsed, 1);
		job_free(j);
	}
}

static void nobody_waits(struct exchange *ex, int code, void *result)
{
	(void)ex;
	(void)code;
	(void)result;
}

struct flight *sync_try_lead(struct repo *r)
{
	struct flight *led = NULL;
	struct buf key = BUF_EMPTY;

	flight_name(r, &key);
	if (!flights_waiting(r->g->flights, buf_slice(&key)))
		flight_join_background(r->g->flights, buf_slice(&key), nobody_waits, &led);
	buf_fini(&key);
	return led;
}

void sync_give_up(struct repo *r, struct flight *flight, const struct ask_result *why)
{
	struct ask_result none = ASK_RESULT_EMPTY;

	(void)r;
	flight_land(flight, 0, (void *)(uintptr_t)(why ? why : &none)); /* only read by those who wait */
	ask_result_fini(&none);
}

void sync_take_in(struct repo *r, const struct credential *cred, const char *sent_path, struct flight *flight,
		  struct take_in *passed)
{
	struct sync_job *j = job_new(r, cred, sent_path, false);

	j->passed = passed;
	lead(j, flight);
}

bool sync_is_under_way(struct repo *r)
{
	struct buf key = BUF_EMPTY;
	bool is;

	flight_name(r, &key);
	is = flights_waiting(r->g->flights, buf_slice(&key)) > 0;
	buf_fini(&key);
	return is;
}

void sync_wait_for_end(struct repo *r, const struct credential *cred, const char *sent_path, struct exchange *ex,
		       flight_resume_fn *fn)
{
	static const struct oid_list none;

	sync_wait(r, cred, sent_path, &none, ex, fn);
}

static void start_background(struct repo *r, const struct credential *cred, const char *sent_path, bool list_first)
{
	struct sync_job *j = job_new(r, cred, sent_path, list_first);
	struct flight *led = NULL;
	struct buf key = BUF_EMPTY;

	flight_name(r, &key);
	flight_join_background(r->g->flights, buf_slice(&key), nobody_waits, &led);
	buf_fini(&key);
	if (led)
		lead(j, led);
	else
		job_free(j);
}

void sync_start(struct repo *r, const struct credential *cred, const char *sent_path)
{
	start_background(r, cred, sent_path, true);
}

void sync_consider(struct repo *r, const struct credential *cred, const char *sent_path)
{
	struct slice room[SYNC_MOST_PREFIXES];
	const struct git_config *c = git_config(r->g);
	struct refs *refs = repo_refs(r, NULL);
	struct slices prefixes = sync_prefixes(c, room);
	bool known, due;

	pthread_mutex_lock(&r->lock);
	known = r->state == REPO_READY;
	pthread_mutex_unlock(&r->lock);
	/* A first contact that only fetched capabilities is not a reason: whoever wanted those lists next. */
	due = refs && refs_contact_wall_ms(refs) && c->sync == GIT_SYNC_FULL &&
	      (!known || !refs_covers_whole(refs) || refs_behind_count(refs, prefixes) > 0);
	/* A little later: whoever listed refs mostly fetches next, and his pack can be kept instead of being fetched
	 * twice. */
	if (due && !atomic_load(&r->g->stopping))
		keeper_sync_later(r->g->keeper, r, cred, sent_path);
	refs_unref(&refs);
}

void sync_if_due(struct repo *r, const struct credential *cred, const char *sent_path)
{
	if (!sync_is_under_way(r))
		start_background(r, cred, sent_path, false);
}
