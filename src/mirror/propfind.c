/* propfind.c -- WebDAV's PROPFIND (RFC 4918 9.1), kept to be answered while upstream is away.
 *
 * WHAT     With offline_propfind: each answer 207 to a PROPFIND is stored under its method, Depth, body and target,
 *          never used while upstream answers, and served while it does not. A file manager thereby shows the folders
 *          that were looked at before.
 * WHY      RFC 9111 2 lets no cache reuse an answer to a method that does not define it; offline there is no better
 *          one, and the operator asked.
 * RULES    An answer to a request with a credential is given to those that hold upstream's grant alone (invariant
 *          6). */
#include "base/clock.h"
#include "base/err.h"
#include "mirror/relay.h"
#include "store/wholefile.h"

#define PROPFIND_MOST_BODY 65536

static int read_question(struct request *q, struct buf *body, struct buf *key)
{
	struct slice depth = httplines_get(&q->h, "depth");
	int r = exchange_body_read_all(q->ex, body);

	if (r == 0)
		buf_addf(key, "PROPFIND %.*s %zu-%08x ", (int)depth.n, depth.p ? depth.p : "", body->len,
			 crc32c(0, body->data, body->len));
	buf_add_slice(key, q->target);
	return r;
}

static void serve_kept(struct request *q, struct slice key, int code)
{
	struct stored *s = NULL;

	if (cache_load(q->m->cache, key, &q->h, &s) == 0 &&
	    (!s->guarded || credential_may_read_offline(q->m, q->target, q->credential))) {
		metric_add(q->m->metrics.shared.fallbacks, 1);
		request_serve(q, s, MIRROR_OFFLINE, "weir; hit; detail=offline");
	} else {
		request_unavailable(q, code);
	}
	stored_unref(&s);
}

/* Keeps a 207 that came whole. Writes drop nothing of such keys, so any epoch will do. */
static void keep(struct relay *r, struct slice key, bool guarded)
{
	struct stored_parts parts = { .key = key,
				      .head = buf_slice(&r->head),
				      .status = r->status,
				      .guarded = guarded,
				      .request_wall_ms = r->request_wall_ms,
				      .response_wall_ms = r->response_wall_ms };
	struct stored *s = NULL;

	if (r->spool) {
		parts.file = spool_ref(r->spool);
		parts.body_bytes = r->bytes;
		parts.body_crc = r->crc;
	} else {
		parts.body = blob_new_copy(r->text.data, r->text.len);
		parts.body_bytes = r->text.len;
	}
	if (stored_new(&parts, &s) == 0)
		/* else it is not there when it is missed */
		(void)cache_put(r->m->cache, s, cache_epoch(r->m->cache, key));
	stored_unref(&s);
}

static void ask(struct request *q, struct slice key, struct slice body)
{
	bool guarded = q->credential.n > 0;
	struct relay r;
	int err;

	relay_init(&r, q);
	if (exchange_body_is_encoded(q->ex))
		lines_remove(&r.lines, "content-encoding"); /* it was read without, so that one question has one key */
	r.fixed = body.n ? body : (struct slice){ NULL, 0 };
	r.has_body = false;
	err = relay_run(&r);
	if (err == 0 && r.status == 207)
		keep(&r, key, guarded);
	if (r.q && err_is_unavailable(err))
		serve_kept(r.q, key, err);
	else if (r.q)
		request_unavailable(r.q, err);
	relay_fini(&r);
}

static void propfind(struct exchange *ex)
{
	struct request *q = request_of(ex);
	struct buf body = BUF_LIMIT(PROPFIND_MOST_BODY), key = BUF_EMPTY;
	int r = read_question(q, &body, &key);

	if (r < 0 && buf_error(&body))
		request_problem(
			q, 413, MIRROR_REFUSED, "weir; fwd=bypass", "Too large",
			"a PROPFIND with a body above %d bytes is not kept for offline reading, as offline_propfind asks; ask for "
			"fewer properties",
			PROPFIND_MOST_BODY);
	else if (r < 0)
		exchange_reply_body_error(ex, r);
	else if (request_is_offline(q))
		serve_kept(q, buf_slice(&key), WEIR_E_OPEN);
	else
		ask(q, buf_slice(&key), buf_slice(&body));
	buf_fini(&body);
	buf_fini(&key);
}

bool propfind_begin(struct request *q)
{
	if (!slice_eq_str(q->method, "PROPFIND") || !mirror_config(q->m)->offline_propfind)
		return false;
	request_to_worker(q, request_is_offline(q) ? q->m->disk_lane : q->m->fetch_lane, propfind);
	return true;
}
