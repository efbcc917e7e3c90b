/* fetch.c -- POST git-upload-pack: which way a command goes.
 *
 * WHAT     ls-refs goes to listing.c. A fetch is served from an answer under way for the same command, from the local
 *          repository, after a sync that brings what it wants, or by passing it on to upstream.
 * RULES    1. The grant comes first (invariant 6): a credential without one is shown to upstream before anything is
 *             served, joined or local; also for a bare POST that no listing preceded.
 *          2. What is here whole is served from here. What is not passes through to upstream, byte by byte as it comes;
 *             a plain pack is taken in afterwards (sync.c), for shallow and filtered ones a sync follows if the policy
 *             says so.
 *          3. One stream or sync at a time for each repository: who wants something else meanwhile waits for its end.
 *          4. A waiting request holds no worker.
 *
 *	command -> grant? -> ask upstream -> no: passed on
 *	           |yes
 *	           v
 *	        join, kept? -> wants here? -> upload-pack (answers.c shares it)
 *	                       |no: away -> error that says so
 *	                       |no: up   -> pass through | a sync is under way: wait, look again
 * THREADS  Front threads until something may block; then workers. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "git/answers.h"
#include "git/fetch_jobs.h"
#include "git/kept.h"
#include "git/maint.h"
#include "git/prepare.h"
#include "git/request.h"
#include "git/sync.h"
#include "io/child.h"

#define COMMAND_MOST_BYTES (32u << 20) /* about 600,000 wants and haves */
#define MOST_TRIES 3

static void fetch_continue(struct git_request *q);

/* --- the key of an answer --- */

static void answer_key(const struct git_request *q, struct buf *key)
{
	fetch_answer_key(q->repo->key, q->version, &q->cmd, key);
}

/* --- replies --- */

static bool is_away(const struct git_request *q)
{
	return link_state_is_open(link_state(q->repo->up->link));
}

static void reply_answer(struct git_request *q, struct answer *joined)
{
	repo_used(q->repo);
	q->reading = joined;
	request_reply_spool(q, TYPE_RESULT, spool_ref(answer_spool(joined)));
}

static void reply_away(struct git_request *q)
{
	struct ask_result r = ASK_RESULT_EMPTY;

	r.outcome = ASK_UNAVAILABLE;
	r.err = link_state(q->repo->up->link) == LINK_DISABLED ? WEIR_E_DISABLED : WEIR_E_OPEN;
	request_reply_ask(q, &r);
	ask_result_fini(&r);
}

/* --- making an answer, once for all who want it --- */

static void make_answer(struct git_request *q, enum fetch_source source, enum fetch_use use);

static void on_answer(struct exchange *ex, int code, void *result)
{
	struct git_request *q = request_of(ex);
	const struct fetch_result *r = result;

	if (exchange_gone(ex)) {
		exchange_reply_dropped(ex);
	} else if (r->answer) {
		reply_answer(q, answer_join(r->answer));
	} else if (code == -EAGAIN && q->tries++ < MOST_TRIES) {
		/* The repository was moved aside or dropped between looking and serving, or somebody else syncs it. */
		fetch_continue(q);
	} else if (code == WEIR_E_CHILD && !is_away(q) && q->tries++ < MOST_TRIES) {
		/* The copy here failed before anybody saw a byte of it: upstream can do it. */
		q->cache = GIT_CACHE_MISS;
		make_answer(q, FETCH_UPSTREAM, FETCH_PASS);
	} else if (code == -ENOSPC) {
		request_reply_err_packet(q, "no space left in %s; free some or lower git.disk.max", q->g->dir);
	} else if (r->ask) {
		request_reply_ask(q, r->ask);
	} else if (code == WEIR_E_CHILD) {
		request_reply_err_packet(
			q,
			"the cached copy of %s could not be read and is being verified (git: %.300s); upstream %s is %s, "
			"try again when it is back",
			q->repo->key, r->words ? r->words : "no word", q->repo->up->match,
			link_state_text(link_state(q->repo->up->link)));
	} else {
		request_reply_err_packet(q, "serving %s from the cache failed (%s); try again", q->repo->key,
					 err_text(code));
	}
}

/* Under which those who want this answer wait for its first byte. key: of the answer; empty: shared with nobody. */
static void flight_name(const struct git_request *q, struct slice key, struct buf *out)
{
	buf_addf(out, "%s answer ", q->repo->key);
	if (key.n)
		buf_add_slice(out, key);
	else
		buf_addf(out, "of %p", (const void *)q);
}

static void make_answer(struct git_request *q, enum fetch_source source, enum fetch_use use)
{
	struct buf key = BUF_EMPTY, flight_key = BUF_EMPTY;
	struct fetch_job *job;
	struct flight *led = NULL;
	struct answer *a;

	answer_key(q, &key);
	a = key.len ? answer_find(q->g->answers, buf_slice(&key)) : NULL;
	if (a) {
		metric_add(q->g->metrics.shared.collapsed, 1);
		buf_fini(&key);
		reply_answer(q, a);
		return;
	}
	flight_name(q, buf_slice(&key), &flight_key);
	job = fetch_job_new(q, source, buf_slice(&key));
	flight_join(q->g->flights, buf_slice(&flight_key), q->ex, on_answer, &led);
	buf_fini(&key);
	buf_fini(&flight_key);
	if (led)
		fetch_job_start(job, led, use);
	else
		fetch_job_drop_joined(job);
}

/* --- is it here? --- */

/* What a credential was not shown it may not fetch, where people see different refs (refs_scope: credential). */
static bool may_want(const struct git_request *q)
{
	struct refs *own;
	bool ok = true;

	if (!q->repo->scopes)
		return true;
	own = repo_refs(q->repo, &q->cred.key);
	for (size_t i = 0; ok && i < q->cmd.wants.count; i++)
		ok = own && refs_has_oid(own, &q->cmd.wants.items[i]);
	refs_unref(&own);
	return ok;
}

static void find_absent(const struct git_request *q, const struct refs *refs, struct oid_list *absent)
{
	for (size_t i = 0; i < q->cmd.wants.count; i++)
		if (!refs || !(refs_has_oid(refs, &q->cmd.wants.items[i]) & REFS_HAS_SERVABLE))
			oid_list_add(absent, &q->cmd.wants.items[i]);
	oid_list_sort_unique(absent);
}

/* Takes out of the list what the repository has as objects without a ref of that value: older commits, say. Packs enter
 * only with all that they refer to, so an object that is here is here with its history. Worker. */
static void check_objects(const struct git_request *q, struct oid_list *absent)
{
	static const char *const argv[] = { "git", "cat-file", "--batch-check=%(objectname)", NULL };
	static const char *const env[] = { "GIT_DIR=.", NULL };
	struct buf input = BUF_EMPTY, out = BUF_LIMIT(COMMAND_MOST_BYTES);
	struct refs *refs = repo_refs(q->repo, NULL);
	enum oid_format f = refs ? refs_format(refs) : OID_SHA1;
	struct slice text, line;
	size_t kept = 0, i = 0;
	unsigned pin;

	for (size_t k = 0; k < absent->count; k++) {
		oid_add_hex(&input, f, &absent->items[k]);
		buf_add_char(&input, '\n');
	}
	if (repo_pin(q->repo, &pin)) {
		if (child_run(&(struct child_options){ .argv = argv, .env = env, .cwd = q->repo->git_dir },
			      buf_slice(&input), &out, NULL, 60000, exchange_cancel(q->ex), NULL) == 0) {
			text = buf_slice(&out);
			/* One line for each question, in order: the id, or "<id> missing". */
			for (; i < absent->count && text.n; i++) {
				(void)slice_cut(&text, '\n', &line);
				if (slice_find(line, ' ') >= 0)
					absent->items[kept++] = absent->items[i];
			}
		}
		repo_unpin(q->repo, pin);
	}
	for (; i < absent->count; i++)
		absent->items[kept++] = absent->items[i];
	absent->count = kept;
	buf_fini(&input);
	buf_fini(&out);
	refs_unref(&refs);
}

/* --- the way --- */

static bool is_quarantined(struct repo *r)
{
	bool is;

	pthread_mutex_lock(&r->lock);
	is = r->state == REPO_QUARANTINED;
	pthread_mutex_unlock(&r->lock);
	return is;
}

/* A child failed over it, and its verification is not over. */
static bool is_suspect(struct repo *r)
{
	bool is;

	pthread_mutex_lock(&r->lock);
	is = r->suspect;
	pthread_mutex_unlock(&r->lock);
	return is;
}

static void after_sync(struct exchange *ex, int code, void *result)
{
	struct git_request *q = request_of(ex);
	const struct ask_result *r = result;

	(void)code;
	if (exchange_gone(ex))
		exchange_reply_dropped(ex);
	else if (r->outcome != ASK_OK && !(r->outcome == ASK_UNAVAILABLE && q->tries < MOST_TRIES && is_away(q)))
		request_reply_ask(q, r);
	else if (r->text.len && q->tries >= 2) /* upstream does not have what is wanted */
		request_reply_err_packet(q, "upstream %s: %s", q->repo->up->match, r->text.data);
	else
		fetch_continue(q);
}

static void note_offline(struct git_request *q)
{
	struct refs *refs = repo_refs(q->repo, NULL);

	request_note_fallback(q, refs, link_state_text(link_state(q->repo->up->link)));
	refs_unref(&refs);
}

static void serve_local(struct git_request *q)
{
	if (q->tries == 0)
		q->cache = GIT_CACHE_HIT;
	if (is_away(q))
		note_offline(q);
	make_answer(q, !is_away(q) && is_suspect(q->repo) ? FETCH_UPSTREAM : FETCH_LOCAL, FETCH_PASS);
}

/* Whether upstream can be given the client's command as it is, and its answer taken apart afterwards. */
static bool can_stream(const struct git_request *q)
{
	struct refs *refs = repo_refs(q->repo, NULL);
	bool v2 = refs && refs_upstream_version(refs) == 2;

	refs_unref(&refs);
	if (q->cmd.kind != GITCMD_FETCH || gitcmd_fetch_names_refs(&q->cmd) || q->cmd.flags & GITCMD_SIDEBAND_ALL)
		return false;
	return q->version == 2 ? v2 : (q->cmd.flags & (GITCMD_SIDE_BAND | GITCMD_SIDE_BAND_64K)) != 0;
}

/* Upstream answers the client, and what it says is taken in afterwards; or somebody is at it already, and his end is
 * waited for. */
static void stream_or_wait(struct git_request *q, const struct oid_list *absent)
{
	if (can_stream(q) && q->tries == 0)
		make_answer(q, FETCH_UPSTREAM, FETCH_TAKE_IN);
	else if (q->tries++ >= MOST_TRIES)
		request_reply_err_packet(q, "%s does not have all that was asked for; fetch again", q->repo->up->match);
	else
		sync_wait(q->repo, &q->cred, q->target.sent_path, absent, q->ex, after_sync);
}

static void bring_it(struct git_request *q, const struct oid_list *absent)
{
	bool plain = q->cmd.kind == GITCMD_FETCH && gitcmd_fetch_is_plain(&q->cmd);

	q->cache = GIT_CACHE_MISS;
	if (is_away(q) && sync_is_under_way(q->repo) && q->tries++ < MOST_TRIES) {
		/* Its upstream left just now; what it brought before may be being taken in. */
		sync_wait_for_end(q->repo, &q->cred, q->target.sent_path, q->ex, after_sync);
	} else if (is_away(q)) {
		reply_away(q);
	} else if (plain && !is_quarantined(q->repo)) {
		stream_or_wait(q, absent);
	} else {
		if (is_quarantined(q->repo))
			sync_start(q->repo, &q->cred, q->target.sent_path);
		else
			sync_consider(q->repo, &q->cred, q->target.sent_path);
		make_answer(q, FETCH_UPSTREAM, FETCH_PASS);
	}
}

static void check_on_worker(struct exchange *ex)
{
	struct git_request *q = request_of(ex);
	struct refs *refs = repo_refs(q->repo, NULL);
	struct oid_list absent = { 0 };

	find_absent(q, refs, &absent);
	if (absent.count && refs)
		check_objects(q, &absent);
	refs_unref(&refs);
	if (absent.count)
		bring_it(q, &absent);
	else
		serve_local(q);
	oid_list_fini(&absent);
}

/* An answer for the very same command, under way or kept. True: the exchange is on its way. */
static bool serve_again(struct git_request *q)
{
	struct buf key = BUF_EMPTY, name = BUF_EMPTY;
	struct answer *a = NULL;
	bool unverified = false, coming = false;

	answer_key(q, &key);
	if (key.len) {
		flight_name(q, buf_slice(&key), &name);
		a = answer_find(q->g->answers, buf_slice(&key));
		coming = !a && flights_waiting(q->g->flights, buf_slice(&name));
		if (!a && !coming)
			a = kept_find(q->g->kept, buf_slice(&key), &unverified);
	}
	buf_fini(&key);
	buf_fini(&name);
	if (!a && !unverified && !coming)
		return false;
	if (q->tries == 0)
		q->cache = GIT_CACHE_HIT;
	if (is_away(q))
		note_offline(q);
	if (a)
		reply_answer(q, a);
	else /* should the one that is coming have come and gone meanwhile, upstream can make it again */
		make_answer(q, coming ? FETCH_UPSTREAM : FETCH_KEPT, FETCH_PASS);
	return true;
}

static void fetch_continue(struct git_request *q)
{
	struct refs *refs;
	struct oid_list absent = { 0 };
	bool may;

	refs = repo_refs(q->repo, NULL);
	may = may_want(q);
	if (may && serve_again(q)) {
		refs_unref(&refs);
		return;
	}

	find_absent(q, refs, &absent);
	refs_unref(&refs);
	if (!may)
		request_reply_err_packet(q, "not our ref: upstream did not show this credential all that it wants");
	else if (absent.count)
		exchange_to_worker(q->ex, q->repo->pack_lane, check_on_worker);
	else
		serve_local(q);
	oid_list_fini(&absent);
}

/* --- the grant --- */

static void after_grant(struct exchange *ex, int code, void *result)
{
	struct git_request *q = request_of(ex);
	const struct ask_result *r = result;

	(void)code;
	if (exchange_gone(ex))
		exchange_reply_dropped(ex);
	else if (r->outcome == ASK_OK || (r->outcome == ASK_UNAVAILABLE && request_may_fall_back(q)))
		fetch_continue(q);
	else
		request_reply_ask(q, r);
}

/* A silent upstream has cost somebody his patience already: the grant is what it was. Now and then it is asked
 * again. */
static bool is_silent(struct git_request *q)
{
	bool due;

	return request_may_fall_back(q) && ask_is_silent(q->repo, &due) && !due;
}

static void fetch_begin(struct git_request *q)
{
	bool away = is_away(q);

	q->op = GIT_OP_FETCH;
	q->cache = GIT_CACHE_MISS;
	if (away && !request_may_fall_back(q))
		reply_away(q);
	else if (away || access_is_granted(q->g, &q->cred, false) || is_silent(q))
		fetch_continue(q);
	else
		grant_wait(q, after_grant);
}

/* --- the command --- */

static void dispatch(struct git_request *q)
{
	switch (q->cmd.kind) {
	case GITCMD_PROBE:
		q->cache = GIT_CACHE_HIT;
		request_reply_blob(q, TYPE_RESULT, NULL);
		break;
	case GITCMD_LS_REFS:
		listing_handle_ls_refs(q);
		break;
	case GITCMD_FETCH:
	case GITCMD_OBJECT_INFO:
		fetch_begin(q);
		break;
	default:
		metric_add(q->g->metrics.refusals[GIT_REFUSED_COMMAND], 1);
		request_reply_err_packet(q, "unknown command; weir serves ls-refs, fetch and object-info");
	}
}

static void parse(struct git_request *q)
{
	int r;

	gitcmd_init(&q->cmd, q->version == 2 ? 2 : 0);
	q->has_cmd = true;
	r = gitcmd_feed(&q->cmd, buf_slice(&q->body));
	if (r == 0)
		r = gitcmd_finish(&q->cmd);
	if (r == 0) {
		dispatch(q);
		return;
	}
	metric_add(q->g->metrics.refusals[GIT_REFUSED_COMMAND], 1);
	request_reply_error(q, r == WEIR_E_TOO_LARGE ? 413 : 400, "this is not a git command: %s",
			    q->cmd.why ? q->cmd.why : err_text(r));
}

static void read_body(struct exchange *ex)
{
	struct git_request *q = request_of(ex);
	int r;

	q->body.limit = COMMAND_MOST_BYTES;
	r = exchange_body_read_all(ex, &q->body);
	if (r < 0) {
		q->failed = true;
		exchange_reply_body_error(ex, r);
	} else {
		parse(q);
	}
}

void fetch_handle(struct git_request *q)
{
	struct slice whole;
	int r = exchange_body_peek(q->ex, &whole);

	if (r == 0) {
		buf_add_slice(&q->body, whole);
		parse(q);
	} else if (r == -EAGAIN) {
		exchange_to_worker(q->ex, q->repo->ask_lane, read_body);
	} else {
		q->failed = true;
		exchange_reply_body_error(q->ex, r);
	}
}
