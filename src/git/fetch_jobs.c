/* fetch_jobs.c -- work behind a fetch that several may wait for.
 *
 * WHAT     A job makes one answer: from a local git upload-pack, or from upstream's bytes as they come. It lands its
 *          flight when the first bytes are there (or it has failed), and goes on filling the spool while anybody reads.
 * RULES    1. Readers hear of failures: before the first byte by a code, afterwards by the spool's.
 *          2. A job ends soon after its last reader has left.
 * THREADS  Workers. */
#include "git/fetch_jobs.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "git/kept.h"
#include "git/maint.h"
#include "git/packer.h"
#include "git/sync.h"
#include "git/take_in.h"
#include "io/file.h"
#include "proto/pktline.h"

#define ROOM_BYTES (256u << 10) /* free space below which nothing more is spooled */

struct fetch_job {
	struct repo *repo;
	struct credential cred;
	char *sent_path;
	struct flight *flight;      /* NULL once landed */
	struct buf body, key;
	int version;
	enum fetch_source source;
	struct answer *answer;
	struct spool *spool;        /* borrowed from the answer */
	/* FETCH_UPSTREAM */
	struct ask_result asked;
	int err;
	struct buf held;            /* the beginning of a packet that is not whole yet */
	bool in_pack;
	bool at_flush;              /* the last packet was a flush: how a pack, and every answer of v2, ends */
	bool said_err;
	struct flight *sync;        /* not NULL: the pack is taken in afterwards */
	struct oid_list wants;
	bool had_haves, filtered;
	bool is_plain, names_refs;  /* what the command may have failed over beside damage */
};

struct fetch_job *fetch_job_new(const struct git_request *q, enum fetch_source source, struct slice key)
{
	struct fetch_job *j = xcalloc(1, sizeof(*j));

	j->repo = repo_ref(q->repo);
	credential_copy(&j->cred, &q->cred);
	j->sent_path = xstrdup(q->target.sent_path);
	j->body = j->key = j->held = (struct buf)BUF_EMPTY;
	buf_add_slice(&j->body, buf_slice(&q->body));
	buf_add_slice(&j->key, key);
	j->version = q->version;
	j->source = source;
	for (size_t i = 0; source == FETCH_UPSTREAM && i < q->cmd.wants.count; i++)
		oid_list_add(&j->wants, &q->cmd.wants.items[i]);
	oid_list_sort_unique(&j->wants);
	j->had_haves = q->cmd.haves.count > 0;
	j->filtered = q->cmd.filter.n > 0; /* whether such a pack is whole cannot be told: its answer is not kept */
	j->names_refs = gitcmd_fetch_names_refs(&q->cmd);
	j->is_plain = q->cmd.kind == GITCMD_FETCH && gitcmd_fetch_is_plain(&q->cmd);
	j->asked = (struct ask_result)ASK_RESULT_EMPTY;
	return j;
}

static void job_free(struct fetch_job *j)
{
	answer_unref(&j->answer);
	credential_fini(&j->cred);
	free(j->sent_path);
	buf_fini(&j->body);
	buf_fini(&j->key);
	if (j->sync) /* not passed on: who waits for it looks again */
		sync_give_up(j->repo, j->sync, NULL);
	oid_list_fini(&j->wants);
	buf_fini(&j->held);
	ask_result_fini(&j->asked);
	repo_unref(&j->repo);
	free(j);
}

void fetch_job_drop_joined(struct fetch_job *j)
{
	metric_add(j->repo->g->metrics.shared.collapsed, 1);
	job_free(j);
}

/* Hands the answer to all who wait; they are its parties from here on. */
static void hand_over(void *arg)
{
	struct fetch_job *j = arg;
	struct fetch_result result = { .answer = j->answer };

	flight_land(j->flight, 0, &result);
	j->flight = NULL;
	answer_handed_over(j->answer);
}

static void land_failure(struct fetch_job *j, int code, const struct ask_result *asked, const char *words)
{
	struct fetch_result result = { .ask = asked, .words = words };

	if (j->answer) {
		answer_unlist(j->answer);
		answer_handed_over(j->answer);
	}
	flight_land(j->flight, code, &result);
	j->flight = NULL;
}

static int make_spool(struct fetch_job *j)
{
	struct spool *spool = NULL;
	struct cancel *cancel = flight_cancel(j->flight);
	int r = cancel ? spool_new(j->repo->g->spool_dir, git_config(j->repo->g)->disk.max, &spool) : -EMFILE;

	if (r < 0)
		return r;
	j->spool = spool;
	j->answer = answer_new_take(j->repo->g->answers, buf_slice(&j->key), spool, cancel);
	return 0;
}

/* --- from the local repository --- */

static void note_child_failure(struct fetch_job *j, int r, const struct buf *words)
{
	if (r == WEIR_E_CANCELLED || r == 0)
		return;
	log_event(LOG_WARN, "upload_pack_failed", LOG_STR("repository", j->repo->key), LOG_ERR("why", r),
		  LOG_STR("git", words->data), LOG_END);
	/* Every want had been found here before: whatever git says now, the repository may be damaged. But a request
	 * that names refs may name what is not there. */
	if (r == WEIR_E_CHILD && !j->names_refs)
		maint_suspect(j->repo, j->is_plain, words->data);
}

/* For the next who asks the same. */
static void keep(struct fetch_job *j, int64_t cost_ms)
{
	struct kept *k = j->repo->g->kept;
	uint64_t bytes;

	(void)spool_peek(j->spool, &bytes, NULL);
	/* What a client has is mostly his alone: such an answer is worth keeping when it was asked for twice. */
	if (j->had_haves)
		bytes = 0, cost_ms = 0;
	if (kept_is_worth(k, buf_slice(&j->key), bytes, cost_ms))
		kept_store(k, j->repo, buf_slice(&j->key), j->spool);
}

static void run_local(struct fetch_job *j)
{
	struct packer p = { .repo = j->repo, .version = j->version, .body = buf_slice(&j->body), .spool = j->spool,
			    .cancel = answer_cancel(j->answer), .begun = hand_over, .arg = j };
	struct buf words = BUF_EMPTY;
	int64_t started_ms = clock_mono_ms();
	unsigned pin;
	int r;

	if (!repo_pin(j->repo, &pin)) {
		land_failure(j, -EAGAIN, NULL, NULL);
		return;
	}
	atomic_fetch_add(&j->repo->g->children, 1);
	r = packer_run(&p, &words);
	atomic_fetch_sub(&j->repo->g->children, 1);
	repo_unpin(j->repo, pin);
	if (r < 0)
		answer_unlist(j->answer);
	if (r == 0)
		keep(j, clock_mono_ms() - started_ms);
	note_child_failure(j, r, &words); /* first: those who land below look at what it found */
	if (j->flight)
		land_failure(j, r < 0 ? r : WEIR_E_CHILD, NULL, words.data);
	buf_fini(&words);
}

/* --- from upstream --- */

static int relay_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct fetch_job *j = arg;
	struct slice type = client_header(headers, n, "content-type");

	if (status == 200 && !slice_eq_str(type, TYPE_RESULT))
		return j->err = WEIR_E_PROTOCOL;
	if (status == 200)
		access_note(j->repo->g, &j->cred);
	return 0;
}

/* Gives whole packets on, so that the stream can be ended with an error packet wherever upstream leaves us. 0 or the
 * spool's trouble. */
static int pass_packets(struct fetch_job *j, const char *p, size_t n)
{
	struct slice rest;
	struct pkt pkt;
	int more, r = 0;

	buf_add(&j->held, p, n);
	rest = buf_slice(&j->held);
	while ((more = pkt_next(&rest, &pkt)) > 0) {
		j->at_flush = pkt.type == PKT_FLUSH;
		j->said_err |= pkt.type == PKT_DATA &&
			       (slice_starts(pkt.data, "ERR ") || (j->in_pack && pkt.data.n && pkt.data.p[0] == 3));
		j->in_pack |= pkt.type == PKT_DATA && pkt.data.n &&
			      (slice_eq_str(pkt_text(&pkt), "packfile") || pkt.data.p[0] == 1 || pkt.data.p[0] == 2);
	}
	if (more < 0) /* v0 without side-band: a bare pack */
		rest = slice_from(rest, rest.n);
	n = j->held.len - rest.n;
	if (n)
		r = spool_append(j->spool, j->held.data, n);
	buf_consume(&j->held, n);
	return r;
}

/* Stops while there is still room to say why. */
static bool has_room(const struct fetch_job *j)
{
	uint64_t left;

	return disk_free_bytes(j->repo->g->spool_dir, &left) < 0 || left >= ROOM_BYTES;
}

static int relay_data(void *arg, const char *p, size_t n)
{
	struct fetch_job *j = arg;
	uint64_t bytes;

	if (j->asked.status != 200)
		return 0;
	j->err = has_room(j) ? pass_packets(j, p, n) : -ENOSPC;
	(void)spool_peek(j->spool, &bytes, NULL);
	if (j->flight && bytes && !j->err)
		hand_over(j);
	return j->err;
}

/* Ends an answer that upstream did not: in the protocol's words where that can be, else by cutting the connections. */
static void end_cut(struct fetch_job *j)
{
	struct buf packet = BUF_EMPTY, text = BUF_EMPTY;

	if (j->err == -ENOSPC)
		buf_addf(&text, "weir: no space left in %s; free some or lower git.disk.max\n", j->repo->g->dir);
	else
		buf_addf(&text,
			 "weir: upstream %s left in the middle of its answer (%s); nothing of it was kept, try again\n",
			 j->repo->up->match, err_text(j->asked.err));
	if (j->in_pack)
		pkt_add_band(&packet, 3, buf_slice(&text));
	else
		pkt_add_err(&packet, buf_slice(&text));
	/* Without bands a client cannot be told; v0 without side-band has held nothing back and is cut. */
	if ((j->err && j->err != -ENOSPC) || (j->version != 2 && !j->in_pack) ||
	    spool_append(j->spool, packet.data, packet.len) < 0)
		spool_fail(j->spool, j->asked.err);
	else
		spool_complete(j->spool);
	log_event(LOG_WARN, "relay_cut", LOG_STR("repository", j->repo->key), LOG_ERR("why", j->asked.err),
		  LOG_STR("effect", "the client is told"), LOG_END);
	buf_fini(&packet);
	buf_fini(&text);
}

/* The whole answer is in the spool: for the repository, and for the next who asks the same. Until its pack was found
 * right nobody new reads it. */
static void use_answer(struct fetch_job *j)
{
	struct flight *sync = j->sync;
	struct take_in *passed;

	if (j->said_err)
		return;
	passed = take_in_new(j->repo, j->spool, j->version == 2 ? 2 : 0, &j->wants, j->had_haves,
			     j->filtered ? (struct slice){ NULL, 0 } : buf_slice(&j->key));
	j->sync = NULL;
	if (sync) {
		sync_take_in(j->repo, &j->cred, j->sent_path, sync, passed);
	} else {
		take_in_look(passed);
		take_in_free(&passed);
	}
}

/* HTTP may end properly where the answer in it does not. An ERR packet is an end, too. */
static bool is_whole(const struct fetch_job *j)
{
	if (j->held.len)
		return false;
	return j->at_flush || j->said_err || (j->version != 2 && !j->in_pack);
}

static void run_upstream(struct fetch_job *j)
{
	static const struct slice headers[] = {
		SLICE_LIT("Content-Type: application/x-git-upload-pack-request"),
		SLICE_LIT("Accept: application/x-git-upload-pack-result"),
		SLICE_LIT("Git-Protocol: version=2"),
	};
	struct ask a = { .repo = j->repo,
			 .cred = &j->cred,
			 .sent_path = j->sent_path,
			 .cancel = answer_cancel(j->answer),
			 .patience_ms = config_links(j->repo->g->core->config)->stall_timeout };
	struct ask_stream stream = { .method = "POST", .suffix = "/git-upload-pack", .headers = headers,
				     .header_count = j->version == 2 ? 3 : 2, .body = buf_slice(&j->body),
				     .sink = { relay_head, relay_data, j } };
	struct client_result call;

	ask_stream(&a, &stream, &j->asked, &call);
	if (j->asked.outcome == ASK_OK && is_whole(j)) {
		answer_unlist(j->answer);
		spool_complete(j->spool);
		if (j->flight) /* an empty answer */
			hand_over(j);
		use_answer(j);
		return;
	}
	if (j->asked.outcome == ASK_OK) { /* its HTTP ended properly, its last packet did not */
		j->asked.outcome = ASK_UNAVAILABLE;
		j->asked.err = WEIR_E_CUT;
	}
	answer_unlist(j->answer);
	if (j->flight) {
		spool_fail(j->spool, j->asked.err ? j->asked.err : WEIR_E_STATUS);
		land_failure(j, j->asked.err, &j->asked, NULL);
	} else {
		end_cut(j);
	}
	if (j->sync) {
		struct flight *sync = j->sync;

		j->sync = NULL;
		sync_give_up(j->repo, sync, j->asked.err == WEIR_E_CANCELLED ? NULL : &j->asked);
		if (j->asked.err == WEIR_E_CANCELLED) /* its readers left; the policy may want it all the same */
			sync_consider(j->repo, &j->cred, j->sent_path);
	}
}

/* An answer kept by an earlier daemon, to be trusted only after a look. */
static void run_kept(struct fetch_job *j)
{
	bool unverified = false;
	struct fetch_result result = { 0 };

	if (kept_verify(j->repo->g->kept, buf_slice(&j->key)))
		result.answer = kept_find(j->repo->g->kept, buf_slice(&j->key), &unverified);
	flight_land(j->flight, result.answer ? 0 : -EAGAIN, &result);
	j->flight = NULL;
	answer_leave(&result.answer);
}

static void run_job(void *arg)
{
	struct fetch_job *j = arg;
	int r;

	if (j->source == FETCH_KEPT) {
		run_kept(j);
		job_free(j);
		return;
	}
	r = make_spool(j);
	if (r < 0)
		land_failure(j, r, NULL, NULL);
	else if (j->source == FETCH_LOCAL)
		run_local(j);
	else
		run_upstream(j);
	job_free(j);
}

/* Only who leads the answer tries to lead the sync, so that all who ask the same are here first and share what comes of
 * it. */
static int lead_sync(struct fetch_job *j)
{
	j->sync = sync_try_lead(j->repo);
	return j->sync ? 0 : -EAGAIN;
}

void fetch_job_start(struct fetch_job *j, struct flight *flight, enum fetch_use use)
{
	struct lane *lane = j->source == FETCH_UPSTREAM ? j->repo->relay_lane : j->repo->pack_lane;
	int r;

	j->flight = flight;
	r = use == FETCH_TAKE_IN ? lead_sync(j) : 0;
	if (r == 0)
		r = pool_submit(lane, run_job, j);
	if (r < 0) {
		land_failure(j, r, NULL, NULL);
		job_free(j);
	}
}

/* --- grants --- */

struct grant_job {
	struct repo *repo;
	struct credential cred;
	char *sent_path;
	struct flight *flight;
	bool was_silent; /* known to be, when this was made: asked all the same, as it is time to */
};

static void grant_free(struct grant_job *j)
{
	credential_fini(&j->cred);
	free(j->sent_path);
	repo_unref(&j->repo);
	free(j);
}

static void run_grant(void *arg)
{
	struct grant_job *j = arg;
	const struct git_config *c = git_config(j->repo->g);
	struct ask_result result = ASK_RESULT_EMPTY;
	struct ask a = { .repo = j->repo, .cred = &j->cred, .sent_path = j->sent_path, .total_ms = c->upstream_timeout,
			 .patience_ms = access_is_granted(j->repo->g, &j->cred, true) ? c->upstream_patience : 0,
			 .cancel = flight_cancel(j->flight) };

	if (a.patience_ms && !j->was_silent &&
	    ask_is_silent(j->repo, NULL)) { /* found out while this one stood in line */
		result.outcome = ASK_UNAVAILABLE;
		result.err = WEIR_E_SILENT;
	} else {
		ask_info_refs(&a, &result);
	}
	if (a.patience_ms && ask_was_silence(&result))
		(void)ask_note_silence(j->repo);
	flight_land(j->flight, 0, &result);
	ask_result_fini(&result);
	grant_free(j);
}

void grant_wait(struct git_request *q, flight_resume_fn *fn)
{
	struct grant_job *j = xcalloc(1, sizeof(*j));
	struct buf key = BUF_EMPTY;
	struct flight *led = NULL;
	int r;

	j->repo = repo_ref(q->repo);
	credential_copy(&j->cred, &q->cred);
	j->sent_path = xstrdup(q->target.sent_path);
	j->was_silent = ask_is_silent(q->repo, NULL);
	buf_addf(&key, "%s grant ", q->repo->key);
	buf_add(&key, q->cred.key.bytes, sizeof(q->cred.key.bytes));
	flight_join(q->g->flights, buf_slice(&key), q->ex, fn, &led);
	buf_fini(&key);
	if (!led) {
		grant_free(j);
		return;
	}
	j->flight = led;
	r = pool_submit(j->repo->ask_lane, run_grant, j);
	if (r < 0) {
		struct ask_result busy = ASK_RESULT_EMPTY;

		busy.outcome = ASK_FAILED;
		busy.err = r;
		flight_land(led, 0, &busy);
		ask_result_fini(&busy);
		grant_free(j);
	}
}
