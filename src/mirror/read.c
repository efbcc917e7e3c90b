/* read.c -- GET and HEAD: from a queued write, from the cache, or from upstream.
 *
 * WHAT     The view of a URI is, in this order: the content of a queued PUT or the absence after a queued DELETE (the
 *          overlay); a stored response that is fresh; what upstream says (fetch.c); a stored response that is stale,
 *          when upstream is away and nothing forbids it.
 * RULES    1. Invariant 4: only unavailability leads to a stale answer. Invariant 6: a guarded response is served after
 *             upstream said yes to this very credential, or offline under its grant.
 *          2. What is in memory is answered on the front thread; the disk is a worker's.
 *          3. A range or a HEAD of what is not stored goes straight through: it is not worth the whole.
 * SEE      RFC 9111 4; RFC 5861; RFC 9211 */
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "mirror/mirror_priv.h"
#include "mirror/overlay.h"
#include "mirror/vary.h"


#define SECOND_MS 1000

/* --- while upstream is away --- */

/* An outage makes these by the thousand; the counters count each, the log tells of one a second. */
static bool is_to_be_logged(struct mirror *m)
{
	int64_t now = clock_mono_ms(), last = atomic_load(&m->fallback_logged_mono_ms);

	return (!last || now - last >= SECOND_MS) &&
	       atomic_compare_exchange_strong(&m->fallback_logged_mono_ms, &last, now);
}

static void note_fallback(struct request *q, const char *why, int64_t age_ms, int64_t ttl_ms)
{
	struct mirror *m = q->m;

	metric_add(m->metrics.shared.fallbacks, 1);
	if (ttl_ms < 0)
		metric_add(m->metrics.shared.stale, 1);
	if (!is_to_be_logged(m))
		return;
	log_event(LOG_INFO, "offline_fallback", LOG_STR("service", m->name), LOG_STR("why", why),
		  LOG_STR("request", exchange_id(q->ex)), LOG_END);
	if (ttl_ms < 0)
		log_event(LOG_WARN, "stale_serve", LOG_STR("service", m->name), LOG_INT("age_s", age_ms / 1000),
			  LOG_STR("request", exchange_id(q->ex)), LOG_END);
}

void read_fallback(struct request *q, int code)
{
	const struct policy_times t = { q->old ? q->old->request_wall_ms : 0, q->old ? q->old->response_wall_ms : 0 };
	char line[96];
	int64_t age, ttl;

	if (!q->old || !q->stale_ok || !(err_is_unavailable(code) || code == WEIR_E_STATUS)) {
		request_unavailable(q, code);
		return;
	}
	age = policy_age_ms(&q->old->policy, &t, clock_wall_ms());
	ttl = policy_lifetime_ms(&q->old->policy, &t) - age;
	note_fallback(q, code == WEIR_E_STATUS ? "upstream answers 5xx" : err_text(code), age, ttl);
	(void)snprintf(line, sizeof(line), "weir; hit; ttl=%lld; detail=offline", (long long)(ttl / 1000));
	request_serve(q, q->old, MIRROR_OFFLINE, line);
}

static int why_open(struct request *q)
{
	return link_state(q->m->link) == LINK_DISABLED ? WEIR_E_DISABLED : WEIR_E_OPEN;
}

/* --- a stored response was found --- */

static void serve_hit(struct request *q, const struct policy_verdict *v)
{
	char line[64];

	(void)snprintf(line, sizeof(line), "weir; hit; ttl=%lld", (long long)((v->lifetime_ms - v->age_ms) / 1000));
	request_serve(q, q->old, MIRROR_HIT, line);
}

static void refuse_only_if_cached(struct request *q)
{
	request_problem(
		q, 504, MIRROR_REFUSED, "weir; detail=only-if-cached", "Not cached",
		"the request says only-if-cached, and nothing that may be served now is stored; ask without it");
}

/* Takes s. */
static void found(struct request *q, struct stored *s)
{
	struct mirror *m = q->m;
	const struct mirror_config *c = mirror_config(m);
	const struct policy_operator op = { mirror_serve_stale_ms(c), mirror_stale_override(c) };
	const struct policy_times t = { s->request_wall_ms, s->response_wall_ms };
	struct policy_verdict v;

	q->old = s;
	policy_reuse(&q->policy, &s->policy, &t, &op, clock_wall_ms(), &v);
	q->stale_ok = v.stale_allowed && (!s->guarded || credential_may_read_offline(m, q->target, q->credential));
	if (v.reuse == POLICY_FRESH && !s->guarded) {
		serve_hit(q, &v);
	} else if (v.reuse == POLICY_STALE_WHILE_REVALIDATE && !s->guarded) {
		fetch_background(m, q->target, q, s);
		serve_hit(q, &v);
	} else if (request_is_offline(q)) {
		read_fallback(q, why_open(q));
	} else if (q->policy.cc.flags & CC_ONLY_IF_CACHED) {
		refuse_only_if_cached(q);
	} else {
		fetch_join(q);
	}
}

/* --- nothing is stored --- */

static void missing(struct request *q)
{
	struct stored *coming;

	if (q->policy.cc.flags & CC_ONLY_IF_CACHED) {
		refuse_only_if_cached(q);
	} else if (request_is_offline(q)) {
		read_fallback(q, why_open(q));
	} else if (q->policy.has_range || q->policy.method == POLICY_HEAD) {
		pass_begin(q);
	} else if ((coming = fetch_underway(q))) {
		metric_add(q->m->metrics.shared.collapsed, 1);
		request_serve(q, coming, MIRROR_MISS, "weir; fwd=uri-miss; collapsed");
		stored_unref(&coming);
	} else {
		fetch_join(q);
	}
}

/* --- where to look --- */

static void load(struct exchange *ex)
{
	struct request *q = request_of(ex);
	struct stored *s = NULL;

	if (cache_load(q->m->cache, q->target, &q->h, &s) == 0)
		found(q, s);
	else
		missing(q);
}

static void lookup(struct request *q)
{
	struct stored *s = NULL;
	int r = cache_peek(q->m->cache, q->target, &q->h, &s);

	if (r == 0)
		found(q, s);
	else if (r == -EAGAIN)
		request_to_worker(q, q->m->disk_lane, load);
	else
		missing(q);
}

static void read_overlay(struct exchange *ex)
{
	struct request *q = request_of(ex);
	struct stored *s = NULL;

	switch (overlay_view(q->m, q->target, &s)) {
	case OVERLAY_CONTENT:
		request_serve(q, s, MIRROR_OVERLAY, "weir; hit; detail=overlay");
		stored_unref(&s);
		return;
	case OVERLAY_ABSENT:
		request_problem(q, 404, MIRROR_OVERLAY, "weir; hit; detail=overlay", "Deleted",
				"a DELETE of this is queued for mirror %s", q->m->name);
		return;
	case OVERLAY_NONE:
		load(ex);
	}
}

void read_begin(struct request *q)
{
	if (overlay_may_be(q->m, q->target))
		request_to_worker(q, q->m->disk_lane, read_overlay);
	else
		lookup(q);
}
