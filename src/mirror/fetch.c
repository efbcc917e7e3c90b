/* fetch.c -- one GET of upstream, for all who wait for it.
 *
 * WHAT     Questions with the same target and credential that arrive together are one flight; its answer is told to all
 *          as soon as its head is there (large bodies: they follow the spool while it grows) or when it is whole (small
 *          ones). What may be stored goes into the cache when it is whole.
 * WHY      Request collapsing keeps a herd from upstream, but only an answer that this cache may share can be given to
 *          another's request: the others then ask for themselves, and the URI is remembered as one that is not worth
 *          waiting for.
 * RULES    1. Half an answer is never stored, and never ends as if whole (the spool fails, and the clients' connections
 *             with it).
 *          2. Invariant 4: what upstream says is passed on; only its silence, or a 5xx, may be covered by a stale
 *             answer.
 *          3. Invariant 6: fetches are shared within one credential; upstream's yes to it is noted, its no ends the
 *             grant.
 *          4. An answer asked for before a write was applied is not stored after it (cache_epoch).
 *          5. The fetch owns copies of all it needs: the client whose request started it may leave.
 * THREADS  A worker for each fetch while it lasts, in fetch_lane. Waiting costs none.
 * SEE      RFC 9111 4, 4.3; DESIGN.md "Mirror, in depth" */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "mirror/mirror_priv.h"
#include "mirror/vary.h"
#include "store/wholefile.h"

#define FETCH_ARENA_BYTES (1u << 20)
/* An answer that may not be stored and that nobody follows any more is given up after LONELY_MS; one that says no length,
 * and so may have no end, after ENDLESS_MS, unless it is fetched to have it. */
#define LONELY_MS 2000
#define ENDLESS_MS 10000

struct fetch {
	struct mirror *m;
	struct arena arena;
	struct lines lines, client; /* what goes upstream; the client's own, for Vary */
	struct slice target, credential;
	struct policy_request policy;
	struct stored *old;
	bool stale_ok, submitted;
	bool may_be_there; /* others may have fetched it meanwhile, and theirs will do */
	uint64_t leader, epoch;
	struct flight *flight; /* NULL once landed */
	struct cancel *cancel; /* the flight's, which it outlives; NULL: descriptors used up */
	/* the answer */
	int status;
	int64_t request_ms, response_ms, landed_mono_ms;
	struct buf head, vary, small;
	enum policy_keep keep;
	bool is_conditional, is_of_another, not_modified, is_small;
	struct spool *spool;
	struct stored *growing; /* in m->underway while it may be shared */
	int64_t announced;
	uint64_t bytes;
	uint32_t crc;
};

/* What a flight lands with. */
struct landing {
	struct stored *s;
	enum policy_keep keep;
	bool validated, is_stored;
	bool is_hit; /* it was there already when the fetch began */
	uint64_t leader;
};

/* --- who waits for what --- */

/* Within one credential; nothing of it stands in the key. Another epoch: who asks after a write shares nothing
 * older. */
static void flight_key(struct mirror *m, const struct fetch *f, struct slice credential, uint64_t alone,
		       struct buf *out)
{
	struct grant_key k;

	grants_key(m->grants, slice_str(m->name), (struct slice){ NULL, 0 }, credential, &k);
	buf_add(out, k.bytes, sizeof(k.bytes));
	buf_addf(out, "%llx %llx ", (unsigned long long)alone, (unsigned long long)f->epoch);
	buf_add_slice(out, f->target);
}

static struct stored *underway(struct mirror *m, struct slice target, const struct policy_request *rq,
			       const struct httplines *request)
{
	struct stored *s = NULL;
	struct fetch *f;

	if ((rq->cc.flags & CC_NO_CACHE) || rq->cc.max_age_s == 0)
		return NULL; /* it was asked for before (RFC 9111 5.2.1) */
	pthread_mutex_lock(&m->underway_lock);
	f = map_count(m->underway) ? map_get(m->underway, target) : NULL;
	if (f && f->keep == POLICY_KEEP_SHARED && f->epoch == cache_epoch(m->cache, target) &&
	    vary_matches(buf_slice(&f->vary), request))
		s = stored_ref(f->growing);
	pthread_mutex_unlock(&m->underway_lock);
	return s;
}

struct stored *fetch_underway(struct request *q)
{
	return underway(q->m, q->target, &q->policy, &q->h);
}

static void set_underway(struct fetch *f, bool is)
{
	struct mirror *m = f->m;

	pthread_mutex_lock(&m->underway_lock);
	if (is)
		(void)map_put(m->underway, f->target, f); /* the newest counts */
	else if (map_get(m->underway, f->target) == f)
		(void)map_remove(m->underway, f->target);
	pthread_mutex_unlock(&m->underway_lock);
}

/* --- landing --- */

static bool is_for(const struct request *q, const struct landing *l)
{
	if (q->serial == l->leader || l->s->status >= 500)
		return true;
	return l->keep != POLICY_KEEP_NOT && vary_matches(buf_slice(&l->s->vary_key), &q->h);
}

static void serve_landed(struct request *q, const struct landing *l)
{
	const struct policy_times t = { l->s->request_wall_ms, l->s->response_wall_ms };
	int64_t ttl = policy_lifetime_ms(&l->s->policy, &t) - policy_age_ms(&l->s->policy, &t, clock_wall_ms());
	const char *collapsed = q->serial == l->leader ? "" : "; collapsed";
	char line[160];

	if (*collapsed)
		metric_add(q->m->metrics.shared.collapsed, 1);
	if (l->is_hit)
		(void)snprintf(line, sizeof(line), "weir; hit; ttl=%lld", (long long)(ttl / 1000));
	else if (l->validated)
		(void)snprintf(line, sizeof(line), "weir; fwd=stale; fwd-status=304; ttl=%lld%s",
			       (long long)(ttl / 1000), collapsed);
	else
		(void)snprintf(line, sizeof(line), "weir; fwd=%s; fwd-status=%d%s%s", q->old ? "stale" : "uri-miss",
			       l->s->status, l->is_stored ? "; stored" : "", collapsed);
	request_serve(q, l->s, l->is_hit ? MIRROR_HIT : l->validated ? MIRROR_REFRESHED : MIRROR_MISS, line);
}

static void on_landed(struct exchange *ex, int code, void *result)
{
	const struct landing *l = result;
	struct request *q = ex ? request_of(ex) : NULL;

	if (!q)
		return; /* in the background: the cache has it now */
	if (code == 0 && link_status_is_unavailable(l->s->status, true) && q->old && q->stale_ok)
		code = WEIR_E_STATUS;
	if (code < 0) {
		read_fallback(q, code);
	} else if (is_for(q, l)) {
		serve_landed(q, l);
	} else {
		q->alone = true;
		fetch_join(q);
	}
}

static void land(struct fetch *f, int code, struct landing *l)
{
	struct flight *flight = f->flight;

	if (!flight)
		return;
	f->flight = NULL;
	f->landed_mono_ms = clock_mono_ms();
	if (l)
		l->leader = f->leader;
	flight_land(flight, code, l);
}

/* --- the answer comes in --- */

static int make_stored(struct fetch *f, struct blob *body, struct spool *file, uint64_t bytes, uint32_t crc,
		       struct stored **ret)
{
	return stored_new(&(struct stored_parts){ .key = f->target,
						  .vary_key = buf_slice(&f->vary),
						  .head = buf_slice(&f->head),
						  .status = f->status,
						  .guarded = f->keep == POLICY_KEEP_GUARDED,
						  .request_wall_ms = f->request_ms,
						  .response_wall_ms = f->response_ms,
						  .body = body,
						  .file = file,
						  .body_bytes = bytes,
						  .body_crc = crc },
			  ret);
}

/* All who wait may have it from here on, byte by byte. */
static int land_growing(struct fetch *f)
{
	int r = spool_new(cache_spool_dir(f->m->cache), 0, &f->spool);

	if (r == 0)
		r = make_stored(f, NULL, spool_ref(f->spool),
				f->announced < 0 ? STORED_GROWING : (uint64_t)f->announced, 0, &f->growing);
	if (r < 0)
		return r;
	if (f->keep != POLICY_KEEP_NOT)
		set_underway(f, true);
	land(f, 0, &(struct landing){ .s = f->growing, .keep = f->keep, .is_stored = f->keep != POLICY_KEEP_NOT });
	return 0;
}

/* WEIR_E_TOO_LARGE: what was stored and what a 304 added are more than a head may have. */
static int judge(struct fetch *f)
{
	struct slice cut[HEADS_MOST_LINES];
	struct httplines h = { cut, 0 };
	struct policy_response rs;

	h.count = httplines_cut(buf_slice(&f->head), cut, ARRAY_LEN(cut));
	if (h.count > ARRAY_LEN(cut) || buf_error(&f->head))
		return WEIR_E_TOO_LARGE;
	policy_response_read(f->status, &h, f->response_ms / 1000, &rs);
	f->keep = policy_may_store(&f->policy, &rs, NULL);
	if (f->keep != POLICY_KEEP_NOT &&
	    vary_key(&h, &(struct httplines){ f->client.items, f->client.count }, &f->vary) < 0)
		f->keep = POLICY_KEEP_NOT;
	return 0;
}

/* Whether a 304 speaks of the version that was asked about (RFC 9111 4.3.4). That a weak tag has become strong is fine:
 * Apache's do, a second after the file was written. */
static bool is_of_old(const struct fetch *f, const struct httplines *answer)
{
	struct etag tag = etag_of(answer), asked = f->old->policy.etag;
	struct slice since = httplines_get(answer, "last-modified"),
		     had = httplines_get(&f->old->lines, "last-modified");

	if (tag.opaque.p && asked.opaque.p)
		return etag_eq_weak(tag, asked);
	return !since.p || !had.p || slice_eq(since, had);
}

static int on_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct fetch *f = arg;
	const struct httplines in = { headers, n };
	int r;

	f->status = status;
	f->response_ms = clock_wall_ms();
	if (status == 304 && !f->is_conditional)
		return WEIR_E_PROTOCOL; /* nobody asked */
	f->is_of_another = status == 304 && !is_of_old(f, &in);
	if (f->is_of_another)
		return WEIR_E_PROTOCOL; /* asked again, without conditions */
	credential_note(f->m, f->target, f->credential, status);
	if (status == 304) {
		f->not_modified = true;
		fields_update(&f->old->lines, &in, f->response_ms, &f->head);
		f->status = f->old->status;
		r = judge(f);
		if (r < 0)
			cache_drop_one(f->m->cache, f->old); /* the next who asks gets it anew */
		return r;
	}
	fields_to_store(&in, f->response_ms, &f->head);
	mirror_own_location(f->m, &f->head);
	r = judge(f);
	if (r < 0)
		return r;
	f->announced = httplines_content_length(&in);
	f->is_small = (f->announced >= 0 && f->announced <= STORED_INLINE_BYTES) || status == 204 ||
		      (f->stale_ok && link_status_is_unavailable(status, true));
	return f->is_small ? 0 : land_growing(f);
}

static bool is_for_nobody(struct fetch *f)
{
	int64_t ms = clock_mono_ms() - f->landed_mono_ms;

	if (spool_watchers(f->spool))
		return false;
	return f->keep == POLICY_KEEP_NOT ? ms > LONELY_MS : f->announced < 0 && f->leader && ms > ENDLESS_MS;
}

/* It is more than may be stored: from here on it is only passed on. */
static void keep_no_more(struct fetch *f)
{
	set_underway(f, false);
	f->keep = POLICY_KEEP_NOT;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct fetch *f = arg;

	if (f->not_modified)
		return 0;
	if (f->is_small) {
		buf_add(&f->small, p, n);
		return buf_error(&f->small);
	}
	if (is_for_nobody(f))
		return WEIR_E_CANCELLED;
	if (f->keep != POLICY_KEEP_NOT && f->bytes > mirror_config(f->m)->disk.max)
		keep_no_more(f);
	f->crc = crc32c(f->crc, p, n);
	f->bytes += n;
	return mirror_append_answer(f->m, f->spool, p, n);
}

/* --- the end --- */

/* What upstream says now stands in place of what it said before. A no to a credential is of the asker, not of the
 * thing; to nobody in particular it says that what was for all is not so any more. */
static bool ends_old(const struct fetch *f)
{
	bool is_no = f->status == 401 || f->status == 403;

	return f->status < 500 && f->status != 429 && !(is_no && (f->credential.n || f->old->guarded));
}

static void keep_or_drop(struct fetch *f, struct stored *s, bool *ret_stored)
{
	int r = f->keep == POLICY_KEEP_NOT ? -ENOENT : cache_put(f->m->cache, s, f->epoch);

	*ret_stored = r == 0;
	if (r == 0)
		metric_set(f->m->metrics.shared.last_update, (double)f->response_ms / 1000);
	else if (f->old && ends_old(f))
		cache_drop_one(f->m->cache, f->old);
}

static int finish_validated(struct fetch *f)
{
	struct stored *old = f->old, *fresh = NULL;
	int r = make_stored(f, old->body ? blob_ref(old->body) : NULL, old->file ? spool_ref(old->file) : NULL,
			    old->body_bytes, old->body_crc, &fresh);

	if (r < 0)
		return r;
	if (f->keep == POLICY_KEEP_NOT)
		cache_drop_one(f->m->cache, old);
	else
		(void)cache_update(f->m->cache, old, fresh); /* else it stays as it was: it will be validated again */
	metric_set(f->m->metrics.shared.last_update, (double)f->response_ms / 1000);
	land(f, 0, &(struct landing){ .s = fresh, .keep = f->keep, .validated = true });
	stored_unref(&fresh);
	return 0;
}

static int finish_small(struct fetch *f)
{
	struct stored *s = NULL;
	bool is_stored;
	uint64_t bytes = f->small.len;
	int r = make_stored(f, blob_new_take(&f->small), NULL, bytes, 0, &s);

	if (r < 0)
		return r;
	keep_or_drop(f, s, &is_stored);
	land(f, 0, &(struct landing){ .s = s, .keep = f->keep, .is_stored = is_stored });
	stored_unref(&s);
	return 0;
}

static int finish_large(struct fetch *f)
{
	struct stored *s = NULL;
	bool is_stored;
	int r;

	spool_complete(f->spool);
	if (spool_peek(f->spool, NULL, &r) != SPOOL_COMPLETE)
		return r;
	r = make_stored(f, NULL, spool_ref(f->spool), f->bytes, f->crc, &s);
	if (r < 0)
		return r;
	keep_or_drop(f, s, &is_stored);
	stored_unref(&s);
	return 0;
}

static void fetch_end(struct fetch *f, int r)
{
	if (r == 0) {
		pass_note(f->m, f->target, f->keep != POLICY_KEEP_NOT || f->status >= 500);
		r = f->not_modified ? finish_validated(f) : f->is_small ? finish_small(f) : finish_large(f);
	}
	if (r < 0 && f->spool)
		spool_fail(f->spool, r);
	if (f->growing)
		set_underway(f, false);
	land(f, r, NULL); /* when nothing has landed yet */
}

/* --- asking --- */

static void add_conditions(struct fetch *f)
{
	struct slice since = { NULL, 0 };

	if (!f->old)
		return;
	if (f->old->policy.etag.opaque.p)
		lines_addf(&f->lines, "If-None-Match: %s%.*s", f->old->policy.etag.weak ? "W/" : "",
			   (int)f->old->policy.etag.opaque.n, f->old->policy.etag.opaque.p);
	since = httplines_get(&f->old->lines, "last-modified");
	if (since.p)
		lines_addf(&f->lines, "If-Modified-Since: %.*s", (int)since.n, since.p);
	f->is_conditional = since.p || f->old->policy.etag.opaque.p;
}

static void fetch_free(struct fetch *f)
{
	struct mirror *m = f->m;
	bool was_submitted = f->submitted;

	stored_unref(&f->old);
	stored_unref(&f->growing);
	spool_unref(&f->spool);
	cancel_unref(&f->cancel);
	buf_fini(&f->head);
	buf_fini(&f->vary);
	buf_fini(&f->small);
	arena_fini(&f->arena);
	free(f);
	if (was_submitted)
		work_job(m, -1); /* the last thing: a stop waits for it */
}

/* A fetch of the same may have landed between this request's look into the cache and its own flight: then it is there
 * now, whole or coming. */
static bool land_what_is_there(struct fetch *f)
{
	struct mirror *m = f->m;
	const struct httplines client = lines_view(&f->client);
	const struct policy_operator op = { 0, 0 };
	struct landing l = { .s = underway(m, f->target, &f->policy, &client),
			     .keep = POLICY_KEEP_SHARED,
			     .is_stored = true };
	struct policy_verdict v = { .reuse = POLICY_FRESH };

	if (!l.s && cache_load(m->cache, f->target, &client, &l.s) == 0) {
		const struct policy_times t = { l.s->request_wall_ms, l.s->response_wall_ms };

		policy_reuse(&f->policy, &l.s->policy, &t, &op, clock_wall_ms(), &v);
		l.is_hit = true;
	}
	if (!l.s || l.s == f->old || l.s->guarded || v.reuse != POLICY_FRESH) {
		stored_unref(&l.s);
		return false;
	}
	land(f, 0, &l);
	stored_unref(&l.s);
	return true;
}

static void fetch_run(void *arg)
{
	struct fetch *f = arg;
	struct mirror *m = f->m;
	struct work work;
	const struct mirror_config *c = mirror_config(m);
	const struct client_sink sink = { on_head, on_data, f };
	struct client_result result;
	struct buf target = BUF_EMPTY;
	struct client_request rq = { .method = "GET",
				     .first_byte_ms = f->stale_ok ? c->upstream_patience : c->upstream_timeout };
	size_t bare;
	int r;

	f->cancel = flight_cancel(f->flight) ? cancel_ref(flight_cancel(f->flight)) : NULL;
	work_begin(m, &work, f->cancel);
	if (f->may_be_there && land_what_is_there(f)) {
		work_end(m, &work);
		fetch_free(f);
		return;
	}
	r = mirror_authorize(m, &f->lines);
	bare = f->lines.count;
	add_conditions(f);
	buf_add_slice(&target, f->target);
	rq.target = buf_slice(&target);
	rq.headers = f->lines.items;
	rq.header_count = f->lines.count;
	f->request_ms = clock_wall_ms();
	if (r == 0)
		r = link_call(m->link, &rq, &sink, f->cancel, &result);
	if (f->is_of_another) {
		rq.header_count = bare;
		f->is_conditional = f->is_of_another = false;
		f->request_ms = clock_wall_ms();
		r = link_call(m->link, &rq, &sink, f->cancel, &result);
	}
	work_end(m, &work);
	fetch_end(f, r);
	buf_fini(&target);
	fetch_free(f);
}

/* Copies what it needs, as the client may leave. */
static struct fetch *fetch_new(struct mirror *m, struct slice target, struct request *q, struct stored *old)
{
	struct fetch *f = xcalloc(1, sizeof(*f));
	char *copy;

	f->m = m;
	arena_init(&f->arena, FETCH_ARENA_BYTES);
	lines_init(&f->lines, &f->arena);
	lines_init(&f->client, &f->arena);
	copy = arena_dup(&f->arena, target);
	ENSURE(copy); /* the front bounds a target well below the arena */
	f->target = (struct slice){ copy, target.n };
	f->epoch = cache_epoch(m->cache, target);
	f->head = (struct buf)BUF_LIMIT(STORED_MOST_HEAD + 1024);
	buf_init(&f->vary, 0);
	buf_init(&f->small, 4u << 20); /* bodies of 5xx that are not announced */
	f->old = old ? stored_ref(old) : NULL;
	if (q) {
		struct lines out;

		lines_init(&out, &f->arena);
		f->stale_ok = q->stale_ok && old;
		f->policy = q->policy;
		f->leader = q->serial;
		heads_to_upstream(q->ex, &q->h, HEADS_WITHOUT_CONDITIONS, &out);
		lines_copy(&f->lines, &out);
		lines_copy(&f->client, &q->lines);
		copy = arena_dup(&f->arena, q->credential);
		f->credential = (struct slice){ copy, copy ? q->credential.n : 0 };
	} else {
		policy_request_read(SLICE_LIT("GET"), &(struct httplines){ NULL, 0 }, &f->policy);
	}
	f->policy.method = POLICY_GET; /* a HEAD that finds something stale fetches the whole */
	return f;
}

static void fetch_submit(struct fetch *f, struct flight *lead)
{
	int r;

	f->flight = lead;
	f->submitted = true;
	work_job(f->m, 1);
	r = pool_submit(f->m->fetch_lane, fetch_run, f);
	if (r < 0) {
		land(f, r, NULL);
		fetch_free(f);
	}
}

void fetch_join(struct request *q)
{
	struct mirror *m = q->m;
	struct fetch *f = fetch_new(m, q->target, q, q->old);
	struct buf key = BUF_EMPTY;
	struct flight *lead = NULL;
	bool alone = q->alone || (q->policy.cc.flags & CC_NO_STORE) || (!q->old && pass_is(m, q->target));

	f->may_be_there = !alone;
	flight_key(m, f, q->credential, alone ? q->serial : 0, &key);
	flight_join(m->flights, buf_slice(&key), q->ex, on_landed, &lead); /* q may be gone from here on */
	buf_fini(&key);
	if (lead)
		fetch_submit(f, lead);
	else
		fetch_free(f);
}

void fetch_background(struct mirror *m, struct slice target, struct request *client, struct stored *old)
{
	struct fetch *f;
	struct buf key = BUF_EMPTY;
	struct flight *lead = NULL;

	if (atomic_load(&m->stopping) || link_state_is_open(link_state(m->link)))
		return;
	f = fetch_new(m, target, client, old);
	f->leader = 0;
	f->may_be_there = old != NULL; /* after a write nothing that is there will do */
	/* After a write, what is under way may be older than the write. */
	flight_key(m, f, client ? client->credential : (struct slice){ NULL, 0 },
		   old ? 0 : atomic_fetch_add(&m->serials, 1), &key);
	flight_join_background(m->flights, buf_slice(&key), on_landed, &lead);
	buf_fini(&key);
	if (lead)
		fetch_submit(f, lead);
	else
		fetch_free(f);
}
