/* listing.c -- which refs there are: info/refs and ls-refs.
 *
 * WHAT     A question is answered from memory when memory is fresh, or upstream is known to be away; otherwise upstream
 *          is asked, once for all who ask the same meanwhile.
 * WHY      These questions are most of the load, and the only thing that makes a cached repository current.
 * RULES    1. Online answers list what upstream was seen to have; offline answers only what is here whole (invariant
 *             5).
 *          2. Memory never answers a question wider than what upstream was ever asked: a short list that looks whole is
 *             worse than an error. An empty list that hides refs is an error too.
 *          3. No cached answer without a grant (invariant 6). Upstream's no is passed on (invariant 4).
 *          4. An upstream that is silent costs `upstream_patience` once; then memory speaks until it answers again.
 *
 *	question --fresh or away--> memory
 *	         --otherwise------> flight --> upstream --> answered: snapshot, memory
 *	                                                --> silent, away: memory if it may, else an error that says so
 *	                                                --> no: passed on
 * THREADS  Questions come on front threads and are answered there if memory can; upstream is asked by a worker. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "git/request.h"
#include "git/sync.h"

#define CAPS_KEY SLICE_LIT("caps")

/* --- the question --- */

static bool wants_caps_only(const struct git_request *q)
{
	return q->target.kind == TARGET_INFO_REFS && q->version == 2;
}

static struct slices prefixes_of(const struct git_request *q)
{
	if (q->has_cmd && q->cmd.kind == GITCMD_LS_REFS && !q->cmd.prefixes_dropped)
		return q->cmd.ls.prefixes;
	return (struct slices){ NULL, 0 };
}

/* Under which name a formatted answer is kept beside its snapshot. */
static void answer_key(const struct git_request *q, enum refs_view view, struct buf *key)
{
	if (wants_caps_only(q)) {
		buf_add_slice(key, CAPS_KEY);
	} else if (q->target.kind == TARGET_INFO_REFS) {
		buf_addf(key, "v%d %d", q->version, view);
	} else {
		buf_addf(key, "v2 %d ", view);
		gitcmd_canonical_lsrefs(&q->cmd, key);
	}
}

/* --- answers from a snapshot --- */

static const char *agent_text(void)
{
	return "weir/" WEIR_VERSION;
}

static void format_answer(struct git_request *q, const struct refs *refs, enum refs_view view, struct buf *out)
{
	struct advert upstream;
	struct buf caps = BUF_EMPTY;

	advert_init(&upstream, NULL, NULL);
	/* A text that was parsed once when it was taken in; should it not parse, advertising nothing extra is safe. */
	(void)advert_restore(&upstream, refs_upstream_version(refs), refs_upstream_caps(refs));
	if (wants_caps_only(q)) {
		advert_add_v2(out, &upstream, &q->g->local_v2, refs_format(refs), agent_text());
	} else if (q->target.kind == TARGET_INFO_REFS) {
		advert_add_service(out, "git-upload-pack");
		advert_add_v0_caps(&caps, &upstream, &q->g->local_v0, refs_format(refs), agent_text());
		refs_advertise_v0(refs, q->version, buf_slice(&caps), view, out);
	} else {
		struct lsrefs_args args = q->cmd.ls;

		if (q->cmd.prefixes_dropped)
			args.prefixes = (struct slices){ NULL, 0 };
		refs_answer_v2(refs, &args, view, out);
	}
	advert_fini(&upstream);
	buf_fini(&caps);
}

/* git reads ids as long as it was told that they are; the repository may have been made anew since. */
static bool has_other_ids(const struct git_request *q, const struct refs *refs)
{
	enum oid_format asked = q->has_cmd && q->cmd.format != OID_UNKNOWN ? q->cmd.format : OID_SHA1;

	return q->has_cmd && refs_format(refs) != OID_UNKNOWN && refs_format(refs) != asked;
}

static void reply_from(struct git_request *q, const struct refs *refs, enum refs_view view)
{
	bool advertisement = q->target.kind == TARGET_INFO_REFS;
	struct buf key = BUF_EMPTY, text = BUF_EMPTY;
	struct blob *answer;

	if (has_other_ids(q, refs)) {
		request_reply_err_packet(q, "%s has ids of the kind %s, not what was asked for; try again",
					 q->repo->key, oid_format_text(refs_format(refs)));
		return;
	}
	answer_key(q, view, &key);
	answer = repo_made_answer(q->repo, &q->cred.key, refs, buf_slice(&key));
	if (!answer) {
		format_answer(q, refs, view, &text);
		answer = blob_new_take(&text);
		repo_keep_answer(q->repo, &q->cred.key, refs, buf_slice(&key), answer);
	}
	buf_fini(&key);
	repo_used(q->repo);
	request_reply_blob(q, advertisement ? TYPE_ADVERTISEMENT : TYPE_RESULT, answer);
}

/* Rule 2, for an answer from what can be served. */
static bool can_answer_offline(const struct git_request *q, const struct refs *refs)
{
	struct slices prefixes = prefixes_of(q);

	if (!refs)
		return false;
	if (wants_caps_only(q))
		return refs_upstream_version(refs) >= 0;
	if (!refs_covers(refs, prefixes))
		return false;
	return refs_match_count(refs, prefixes, REFS_SERVABLE) > 0 || refs_match_count(refs, prefixes, REFS_SEEN) == 0;
}

/* Answers from the cache because upstream is away, if that may be. */
static bool reply_offline(struct git_request *q, const char *why)
{
	struct refs *refs = repo_refs(q->repo, &q->cred.key);
	bool can = can_answer_offline(q, refs) && request_may_fall_back(q);

	if (can) {
		request_note_fallback(q, refs, why);
		reply_from(q, refs, REFS_SERVABLE);
	}
	refs_unref(&refs);
	return can;
}

/* --- asking upstream --- */

struct listing_job {
	struct repo *repo;
	struct credential cred;
	struct flight *flight;
	char *sent_path;
	bool caps_only;
	bool have_cached;
	struct slice *prefixes; /* own copies */
	size_t prefix_count;
};

static struct listing_job *job_new(const struct git_request *q, struct flight *flight, bool have_cached)
{
	struct listing_job *j = xcalloc(1, sizeof(*j));
	struct slices p = prefixes_of(q);

	j->repo = repo_ref(q->repo);
	credential_copy(&j->cred, &q->cred);
	j->flight = flight;
	j->sent_path = xstrdup(q->target.sent_path);
	j->caps_only = wants_caps_only(q);
	j->have_cached = have_cached;
	j->prefixes = xcalloc(p.count + 1, sizeof(*j->prefixes));
	for (size_t i = 0; i < p.count; i++)
		j->prefixes[i] = (struct slice){ slice_dup(p.items[i]), p.items[i].n };
	j->prefix_count = p.count;
	return j;
}

static void job_free(struct listing_job *j)
{
	for (size_t i = 0; i < j->prefix_count; i++)
		free((char *)j->prefixes[i].p);
	free(j->prefixes);
	free(j->sent_path);
	credential_fini(&j->cred);
	repo_unref(&j->repo);
	free(j);
}

/* The answer began: who asks from now on wants a newer one. */
static void close_flight(void *arg)
{
	struct listing_job *j = arg;

	if (j->flight)
		flight_close(j->flight);
}

static void ask_once(struct listing_job *j, int64_t patience_ms, struct cancel *cancel, struct ask_result *ret)
{
	struct ask a = { .repo = j->repo,
			 .cred = &j->cred,
			 .sent_path = j->sent_path,
			 .patience_ms = patience_ms,
			 .total_ms = git_config(j->repo->g)->upstream_timeout,
			 .cancel = cancel,
			 .on_head = close_flight,
			 .arg = j };

	if (j->caps_only)
		ask_info_refs(&a, ret);
	else
		ask_ls_refs(&a, (struct slices){ j->prefixes, j->prefix_count }, ret);
}

/* What upstream has confirmed stays known, whatever of it is ever fetched. */
static void remember(struct listing_job *j)
{
	struct refs *refs = repo_refs(j->repo, NULL);
	int r = 0;

	if (refs) /* its capabilities alone, too: the next question is then asked at once */
		r = repo_make_on_disk(j->repo, refs_format(refs));
	if (r < 0)
		log_event(LOG_WARN, "repo_not_made", LOG_STR("repository", j->repo->key),
			  LOG_STR("folder", j->repo->dir), LOG_ERR("why", r),
			  LOG_STR("effect", "asked again at the next request"), LOG_END);
	refs_unref(&refs);
}

/* Runs on a worker, in the repository's lane of its upstream. */
static void run_job(void *arg)
{
	struct listing_job *j = arg;
	struct git_service *g = j->repo->g;
	struct ask_result result = ASK_RESULT_EMPTY;
	bool first = false;

	if (j->have_cached && ask_is_silent(j->repo, NULL)) { /* found out while this one stood in line */
		result.outcome = ASK_UNAVAILABLE;
		result.err = WEIR_E_SILENT;
	} else {
		ask_once(j, j->have_cached ? git_config(g)->upstream_patience : 0, flight_cancel(j->flight), &result);
		/* Before the waiters go, so that nobody waits again. */
		first = j->have_cached && ask_was_silence(&result) && ask_note_silence(j->repo);
	}
	flight_land(j->flight, 0, &result);
	j->flight = NULL;
	if (first && !atomic_load(&g->stopping)) {
		/* Nobody waits any more; its answer, should it come, ends the mark and makes memory current. */
		ask_result_fini(&result);
		result = (struct ask_result)ASK_RESULT_EMPTY;
		ask_once(j, 0, g->stop, &result);
	}
	if (result.outcome == ASK_OK) {
		remember(j);
		sync_consider(j->repo, &j->cred, j->sent_path);
	}
	ask_result_fini(&result);
	job_free(j);
}

static void reply_landed(struct exchange *ex, int code, void *result)
{
	struct git_request *q = request_of(ex);
	const struct ask_result *r = result;
	struct buf why = BUF_EMPTY;
	struct refs *refs;

	(void)code;
	if (exchange_gone(ex)) {
		exchange_reply_dropped(ex);
		return;
	}
	if (r->outcome == ASK_OK) {
		refs = repo_refs(q->repo, &q->cred.key);
		q->cache = q->was_known ? GIT_CACHE_REFRESHED : GIT_CACHE_MISS;
		reply_from(q, refs, REFS_SEEN);
		refs_unref(&refs);
		return;
	}
	q->cache = q->was_known ? GIT_CACHE_REFRESHED : GIT_CACHE_MISS;
	ask_result_reason(r, &why);
	if (r->outcome != ASK_UNAVAILABLE || !reply_offline(q, why.data))
		request_reply_ask(q, r);
	buf_fini(&why);
}

static void flight_key(const struct git_request *q, struct buf *key)
{
	struct slices p = prefixes_of(q), minimal;

	buf_addf(key, "%s %c", q->repo->key, wants_caps_only(q) ? 'c' : 'l');
	buf_add(key, q->cred.key.bytes, sizeof(q->cred.key.bytes));
	lsrefs_minimal(p, &minimal);
	for (size_t i = 0; i < minimal.count; i++) {
		buf_add_slice(key, minimal.items[i]);
		buf_add_char(key, '\n');
	}
	free((void *)minimal.items);
}

static void ask_upstream(struct git_request *q, bool have_cached)
{
	struct buf key = BUF_EMPTY;
	struct flight *lead = NULL;
	struct listing_job *j;
	int r;

	flight_key(q, &key);
	/* The job is made first: once joined, the exchange may be answered and gone at any moment. */
	j = job_new(q, NULL, have_cached);
	flight_join(q->g->flights, buf_slice(&key), q->ex, reply_landed, &lead);
	buf_fini(&key);
	if (!lead) {
		metric_add(j->repo->g->metrics.shared.collapsed, 1);
		job_free(j);
		return;
	}
	j->flight = lead;
	r = pool_submit(j->repo->ask_lane, run_job, j);
	if (r < 0) {
		struct ask_result busy = ASK_RESULT_EMPTY;

		busy.outcome = ASK_FAILED;
		busy.err = r;
		buf_add_str(&busy.text, r == -ESHUTDOWN ? "weir is shutting down" : "too many requests wait");
		flight_land(lead, 0, &busy);
		ask_result_fini(&busy);
		job_free(j);
	}
}

static void nobody_waits(struct exchange *ex, int code, void *result)
{
	(void)ex;
	(void)code;
	(void)result;
}

/* Asks in the background, so that the mark ends when upstream speaks again. */
static void ask_in_background(struct git_request *q)
{
	struct listing_job *j = job_new(q, NULL, false);
	struct buf key = BUF_EMPTY;

	flight_key(q, &key);
	flight_join_background(q->g->flights, buf_slice(&key), nobody_waits, &j->flight);
	buf_fini(&key);
	if (!j->flight) {
		job_free(j);
	} else if (pool_submit(j->repo->ask_lane, run_job, j) < 0) {
		struct ask_result busy = ASK_RESULT_EMPTY;

		flight_land(j->flight, 0, &busy);
		job_free(j);
	}
}

/* Whether upstream keeps silent about this repository; now and then it is asked again. */
static bool is_silent(struct git_request *q)
{
	bool due, silent = ask_is_silent(q->repo, &due);

	if (due)
		ask_in_background(q);
	return silent;
}

/* Whether memory may answer without asking, upstream being up. */
static bool is_fresh(struct git_request *q, const struct refs *refs)
{
	if (!refs || !access_is_granted(q->g, &q->cred, false))
		return false;
	if (wants_caps_only(q)) /* what a server can do changes with its version; a grant's lifetime is short enough */
		return refs_upstream_version(refs) >= 0;
	return repo_is_fresh(q->repo, &q->cred.key, prefixes_of(q), git_config(q->g)->refs_ttl);
}

/* For Cache-Status. */
static int64_t ttl_left(const struct git_request *q, const struct refs *refs)
{
	int64_t since = refs_covered_since(refs, prefixes_of(q));

	return since ? since + git_config(q->g)->refs_ttl - clock_wall_ms() : 0;
}

static void reply_unavailable(struct git_request *q, int err)
{
	struct ask_result r = ASK_RESULT_EMPTY;

	r.outcome = ASK_UNAVAILABLE;
	r.err = err;
	request_reply_ask(q, &r);
	ask_result_fini(&r);
}

static void decide(struct git_request *q);

static void decide_again(struct exchange *ex, int code, void *result)
{
	(void)code;
	(void)result;
	if (exchange_gone(ex))
		exchange_reply_dropped(ex);
	else
		decide(request_of(ex));
}

static void decide(struct git_request *q)
{
	enum link_state state = link_state(q->repo->up->link);
	struct refs *refs = repo_refs(q->repo, &q->cred.key);
	bool open = link_state_is_open(state);
	bool here = git_config(q->g)->offline_mode &&
		    can_answer_offline(q, refs); /* for somebody, if not for this credential */
	bool cached = here && request_may_fall_back(q);

	q->cache = GIT_CACHE_MISS;
	if (!open && is_fresh(q, refs)) {
		q->cache = GIT_CACHE_HIT;
		q->ttl_ms = ttl_left(q, refs);
		reply_from(q, refs, REFS_SEEN);
	} else if (open && !cached && request_may_fall_back(q) && sync_is_under_way(q->repo) && q->tries++ == 0) {
		/* Upstream left while what it gave is being taken in: what can be listed is known in a moment. */
		sync_wait_for_end(q->repo, &q->cred, q->target.sent_path, q->ex, decide_again);
	} else if (open && !cached) {
		reply_unavailable(q, state == LINK_DISABLED ? WEIR_E_DISABLED : WEIR_E_OPEN);
	} else if (open || (cached && is_silent(q))) {
		request_note_fallback(q, refs, open ? link_state_text(state) : "silent");
		reply_from(q, refs, REFS_SERVABLE);
	} else if (here && !q->cred.value.len && is_silent(q)) {
		reply_unavailable(q, WEIR_E_SILENT); /* which asks who it is: git's first request never says */
	} else {
		ask_upstream(q, here);
	}
	refs_unref(&refs);
}

void listing_handle_info_refs(struct git_request *q)
{
	decide(q);
}

void listing_handle_ls_refs(struct git_request *q)
{
	q->op = GIT_OP_LS_REFS;
	decide(q);
}
