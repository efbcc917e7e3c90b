/* write.c -- PUT, POST, PATCH and DELETE: straight to upstream, or into the outbox.
 *
 * WHAT     While upstream answers and nothing of the path waits, a write streams through, and is kept beside as it
 *          passes. If upstream then gives no answer, what was kept goes into the outbox when that is safe; offline, or
 *          behind queued writes of the same path, it goes there at once.
 *
 *          upstream's answer                  | PUT, DELETE        | POST, PATCH
 *          nothing was sent                   | queued             | queued
 *          none after the request went out    | queued             | 504: the outcome is unknown
 *          2xx or 3xx, cut short or too large | 504: done, but nobody can say what exactly
 *          502, 503, 504                      | queued             | passed on
 *          any other                          | passed on          | passed on
 *
 * RULES    1. 202 leaves only after outbox_put() said that the entry is durable (invariant 1).
 *          2. Nothing overtakes: with queued, sending or held writes of its path a write waits behind them, online too
 *             (invariant 3).
 *          3. The client's conditions are judged against the view that it was given (the overlay, or what is stored) on
 *             the very state that the entry is queued behind: outbox_put() gives -EAGAIN when another came in between.
 *             Where there is no view they are sent along.
 *          4. A write with the client's own credential (Authorization, Cookie) is never kept (invariant 10): it needs
 *             upstream, or a token_file.
 * THREADS  Workers: of write_lane while upstream is asked, of queue_lane otherwise. What is still coming in may have a
 *          part of either (stream_lane, upload_lane), so that clients who stop in the middle keep out nobody who has
 *          sent all.
 * SEE      DESIGN.md "Mirror, in depth"; RFC 9110 9.2.2, 13 */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "mirror/applied.h"
#include "mirror/conditional.h"
#include "mirror/overlay.h"
#include "mirror/relay.h"
#include "proto/pathkey.h"
#include "store/wholefile.h"

/* --- the body, kept as it passes --- */

struct body {
	struct mirror *m;
	struct buf small;    /* up to OUTBOX_INLINE_BYTES; then */
	struct spool *spool;
	uint64_t bytes;
	uint32_t crc;
	int err;             /* it could not be kept: WEIR_E_TOO_LARGE, -ENOSPC, ... */
};

static void body_put(void *arg, const char *p, size_t n)
{
	struct body *b = arg;

	b->bytes += n;
	b->crc = crc32c(b->crc, p, n);
	if (!b->err && !b->spool && b->small.len + n > OUTBOX_INLINE_BYTES) {
		b->err = outbox_spool_new(b->m->queue, &b->spool);
		if (!b->err)
			b->err = mirror_append_write(b->m, b->spool, b->small.data, b->small.len);
		buf_fini(&b->small); /* it is one or the other */
	}
	if (b->err)
		return;
	if (b->spool)
		b->err = mirror_append_write(b->m, b->spool, p, n);
	else
		buf_add(&b->small, p, n);
}

static void body_fini(struct body *b)
{
	buf_fini(&b->small);
	spool_unref(&b->spool);
}

/* What of it has not been read yet. 0, or what reading failed with (the client's trouble). */
static int body_read_rest(struct exchange *ex, struct body *b)
{
	char piece[16384];
	ssize_t n;

	while ((n = exchange_body_read_raw(ex, piece, sizeof(piece))) > 0 && !b->err)
		body_put(b, piece, (size_t)n);
	return n < 0 ? (int)n : 0;
}

/* --- into the outbox --- */

/* What the client of this request was shown last. */
struct view {
	struct conditional_view judged;
	struct outbox_base base;
	struct stored *stored; /* keeps the tags alive */
	bool is_overlay;
};

static void view_of_stored(struct view *v, struct stored *s)
{
	v->stored = s;
	if (s->guarded || (s->status != 200 && s->status != 404 && s->status != 410))
		return; /* not for this client, or it says nothing of the content */
	v->base.known = true;
	v->base.absent = s->status != 200;
	v->judged.exists = s->status == 200;
	if (!v->judged.exists)
		return;
	v->judged.etag = s->policy.etag;
	v->judged.last_modified_s = s->policy.last_modified_s;
	v->judged.date_s = s->policy.date_s;
	if (s->policy.etag.opaque.p)
		buf_addf(&v->base.etag, "%s%.*s", s->policy.etag.weak ? "W/" : "", (int)s->policy.etag.opaque.n,
			 s->policy.etag.opaque.p);
	v->base.mod_time = s->policy.last_modified_s == POLICY_NO_TIME ? 0 : s->policy.last_modified_s;
}

static void view_get(struct request *q, struct view *v)
{
	struct stored *s = NULL;

	*v = (struct view){ .judged = { .last_modified_s = POLICY_NO_TIME, .date_s = POLICY_NO_TIME } };
	buf_init(&v->base.etag, 0);
	switch (overlay_view(q->m, q->target, &s)) {
	case OVERLAY_CONTENT:
		view_of_stored(v, s);
		v->is_overlay = true;
		return;
	case OVERLAY_ABSENT:
		v->base.known = v->base.absent = v->is_overlay = true;
		return;
	case OVERLAY_NONE:
		if (cache_load(q->m->cache, q->target, &q->h, &s) == 0)
			view_of_stored(v, s);
	}
}

static void view_fini(struct view *v)
{
	outbox_base_fini(&v->base);
	stored_unref(&v->stored);
}

/* Two reasons why a write cannot go straight to upstream, and what its sender can do about each. */
static const char *why_it_waits(struct request *q)
{
	return request_is_offline(q) ? "as upstream is away" : "as writes to the same path wait there before it";
}

static const char *what_ends_it(struct request *q)
{
	return request_is_offline(q) ? "send it when upstream is back" :
				       "send it when they are delivered; `weir outbox ls` shows them, one that is held "
				       "among them has to be retried or dropped first";
}

static void refuse_put(struct request *q, int err)
{
	const char *name = q->m->name, *line = "weir; fwd=bypass; detail=offline";

	if (err == WEIR_E_TOO_LARGE)
		request_problem(
			q, 413, MIRROR_REFUSED, line, "Too large to be queued",
			"this write has to wait in the outbox of mirror %s, %s, and is larger than outbox.max_body (%llu "
			"bytes); nothing was kept: %s",
			name, why_it_waits(q), (unsigned long long)mirror_config(q->m)->outbox.max_body,
			what_ends_it(q));
	else if (err == -EDQUOT)
		request_problem(
			q, 507, MIRROR_REFUSED, line, "The outbox is full",
			"the outbox of mirror %s has reached max_entries or max_bytes; nothing was kept: look at "
			"`weir outbox ls`",
			name);
	else if (err == -ENOSPC)
		request_problem(
			q, 507, MIRROR_REFUSED, line, "The disk is full",
			"there is no space to keep this write for mirror %s; nothing was kept: free some, then send it "
			"again",
			name);
	else
		request_problem(
			q, 507, MIRROR_REFUSED, line, "The outbox cannot write",
			"this write could not be made durable for mirror %s (%s); it is not known to be kept: look at the "
			"disk, then restart weir",
			name, err_text(err));
}

/* Before it came to a put. */
static void refuse_body(struct request *q, int err)
{
	outbox_note_refused(q->m->queue, err);
	refuse_put(q, err);
}

static void accept(struct request *q, const struct outbox_receipt *receipt, struct slice key)
{
	struct header_line lines[4] = { { "Content-Type", "application/json" },
					{ "Cache-Control", "no-store" },
					{ "Cache-Status", "weir; fwd=bypass; detail=offline" },
					{ "Weir-Outbox-Id", receipt->id } };
	struct buf body = BUF_EMPTY;

	log_event(LOG_INFO, "outbox_queued", LOG_STR("service", q->m->name), LOG_STR("id", receipt->id),
		  LOG_SLICE("method", q->method), LOG_SLICE("path", key), LOG_STR("request", exchange_id(q->ex)),
		  LOG_END);
	buf_addf(&body, "{\"id\": \"%s\", \"state\": \"queued\", \"queued_at\": \"", receipt->id);
	clock_format_rfc3339(receipt->queued_wall_ms, &body);
	buf_add_str(&body, "\"}\n");
	q->how = MIRROR_QUEUED;
	exchange_reply(q->ex, 202, lines, ARRAY_LEN(lines), blob_new_take(&body));
}

static void headers_to_keep(struct request *q, bool with_conditions, struct buf *out)
{
	struct lines lines;

	lines_init(&lines, exchange_arena(q->ex));
	heads_to_upstream(q->ex, &q->h, HEADS_FOR_OUTBOX | HEADS_WITHOUT_CREDENTIAL |
			  (with_conditions ? 0 : HEADS_WITHOUT_CONDITIONS), &lines);
	for (size_t i = 0; i < lines.count; i++) {
		buf_add_slice(out, lines.items[i]);
		buf_add_char(out, '\n');
	}
}

/* For listings; the client's own line is sent as it came. */
static struct slice unquoted(struct slice s)
{
	return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? (struct slice){ s.p + 1, s.n - 2 } : s;
}

/* One try, on the state that is there now. 0; 412: the client's conditions do not hold; a code of outbox_put(). */
static int judge_and_put(struct request *q, struct body *b, struct slice key, struct outbox_receipt *ret)
{
	bool is_post = slice_eq_str(q->method, "POST"), unsafe = is_post || slice_eq_str(q->method, "PATCH");
	struct outbox_write w = { .key = key,
				  .method = q->method,
				  .uri = q->target,
				  .content_type = httplines_get(&q->h, "content-type"),
				  .idempotency_key = unquoted(httplines_get(&q->h, "idempotency-key")),
				  .once = unsafe && !mirror_config(q->m)->outbox.repeat_unsafe,
				  .wants_parent = !is_post,
				  .is_base = !is_post,
				  .body = buf_slice(&b->small),
				  .spool = b->spool,
				  .expect_tail = outbox_key_tail(q->m->queue, key) };
	struct buf headers = BUF_EMPTY;
	struct view v;
	int r = 0;

	view_get(q, &v);
	if (v.base.known &&
	    conditional_judge(q->method, &q->h, &v.judged, clock_wall_ms() / 1000) == CONDITIONAL_FAILED)
		r = 412;
	if (r == 0) {
		if (!is_post)
			w.base = v.base; /* an overlay's is not looked at: the entry below it is the parent */
		headers_to_keep(q, !v.base.known, &headers);
		w.headers = buf_slice(&headers);
		r = outbox_put(q->m->queue, &w, ret);
	}
	buf_fini(&headers);
	view_fini(&v);
	return r;
}

static void enqueue(struct request *q, struct body *b)
{
	struct outbox_receipt receipt;
	struct buf key = BUF_EMPTY;
	bool gave_way = false;
	int r = body_read_rest(q->ex, b);

	if (r < 0) {
		exchange_reply_body_error(q->ex, r);
		return;
	}
	if (b->err) {
		refuse_body(q, b->err);
		return;
	}
	if (b->spool)
		spool_complete(b->spool);
	r = pathkey_add(q->target, &key);
	if (r == 0)
		do
			r = judge_and_put(q, b, buf_slice(&key), &receipt);
		while (r == -EAGAIN || (r == -ENOSPC && !gave_way && (gave_way = mirror_make_room(q->m))));
	if (r == 412)
		request_problem(
			q, 412, MIRROR_OVERLAY, "weir; fwd=bypass; detail=offline", "Precondition failed",
			"what is there, as far as mirror %s knows, is not what the request's conditions ask for",
			q->m->name);
	else if (r < 0)
		refuse_put(q, r);
	else
		accept(q, &receipt, buf_slice(&key));
	buf_fini(&key);
}

/* A cookie may be one, too: without it the write would be refused at delivery, and with it it may not lie on the disk. */
static bool may_be_queued(struct request *q)
{
	return mirror_config(q->m)->token_file || (!q->credential.n && !httplines_get(&q->h, "cookie").p);
}

static void refuse_credential(struct request *q)
{
	request_problem(
		q, 503, MIRROR_REFUSED, "weir; fwd=bypass; detail=offline", "Not queued",
		"mirror %s cannot pass this write on now, %s, and one with the client's own Authorization or Cookie is never "
		"kept on disk; set token_file, so that weir speaks for its clients, or %s",
		q->m->name, why_it_waits(q), what_ends_it(q));
}

static bool announces_too_much(struct request *q)
{
	int64_t bytes = exchange_body_announced(q->ex);
	uint64_t most = mirror_config(q->m)->outbox.max_body;

	return bytes > 0 && (uint64_t)bytes > most;
}

static void queue_write(struct exchange *ex)
{
	struct request *q = request_of(ex);
	struct body b = { .m = q->m, .small = BUF_EMPTY };

	if (!may_be_queued(q))
		refuse_credential(q);
	else if (announces_too_much(q))
		refuse_body(q, WEIR_E_TOO_LARGE);
	else
		enqueue(q, &b);
	body_fini(&b);
}

/* --- straight to upstream --- */

/* Copies of what the end of a relay needs when the exchange is gone. */
static void learn(struct relay *r, struct body *b, bool is_encoded)
{
	struct applied a = { .method = slice_str(r->method),
			     .target = slice_str(r->target),
			     .status = r->status,
			     .head = buf_slice(&r->head),
			     .body_bytes = b->bytes,
			     .body_crc = b->crc,
			     .is_encoded = is_encoded };

	if (r->status == 412)
		fetch_background(r->m, slice_str(r->target), NULL, NULL); /* what is there, for the next outage */
	if (r->status >= 300)
		return;
	if (b->spool && !b->err) {
		spool_complete(b->spool);
		a.body = b->spool;
	}
	applied_learn(r->m, &a, r->cancel, NULL);
}

/* No answer, or one that says "not now": whether the outbox may have it. */
static bool is_safe_to_queue(const struct relay *r, int err)
{
	bool idempotent = strcmp(r->method, "PUT") == 0 || strcmp(r->method, "DELETE") == 0;

	if (relay_is_done_unseen(r, err))
		return false;
	return err_is_unavailable(err) ? idempotent || !r->result.request_sent : r->held && idempotent;
}

static void end_unanswered(struct relay *r, struct body *b, int err)
{
	struct request *q = r->q;
	bool may_wait = !r->body_error && is_safe_to_queue(r, err);

	if (!may_wait || (r->held && !may_be_queued(q))) {
		if (r->held && !r->body_error)
			relay_reply(r);
		else
			relay_reply_failure(r, err);
		return;
	}
	r->q = NULL;
	if (may_be_queued(q))
		enqueue(q, b);
	else
		refuse_credential(q);
}

static bool has_to_wait(struct request *q)
{
	return request_is_offline(q) || overlay_may_be(q->m, q->target);
}

static void write_through(struct exchange *ex)
{
	struct request *q = request_of(ex);
	struct body b = { .m = q->m, .small = BUF_EMPTY };
	const struct relay_tee tee = { body_put, &b };
	bool is_encoded = httplines_get(&q->h, "content-encoding").p != NULL;
	struct relay r;
	int err;

	if (has_to_wait(q)) { /* since the front looked: another of its path was queued before a worker was free */
		queue_write(ex);
		return;
	}
	relay_init(&r, q);
	r.tee = &tee;
	r.hold_unavailable = true;
	err = relay_run(&r);
	if (r.q)
		end_unanswered(&r, &b, err);
	else if (err == 0)
		learn(&r, &b, is_encoded);
	relay_fini(&r);
	body_fini(&b);
}

/* Nobody but upstream knows what the rest of it is (RFC 9110 14.4): it cannot be shown to readers, nor found to be
 * there already. */
static bool is_part(struct request *q)
{
	return httplines_get(&q->h, "content-range").p != NULL;
}

static void refuse_part(struct request *q)
{
	request_problem(
		q, 503, MIRROR_REFUSED, "weir; fwd=bypass; detail=offline", "Not queued",
		"a part of a content (Content-Range) is only passed on, and mirror %s cannot do that now, %s; send the whole, "
		"or %s",
		q->m->name, why_it_waits(q), what_ends_it(q));
}

void write_begin(struct request *q)
{
	bool waits = has_to_wait(q);

	if (is_part(q) && waits)
		refuse_part(q);
	else if (is_part(q))
		pass_begin(q);
	else if (waits)
		request_with_body_to_worker(q, q->m->queue_lane, q->m->upload_lane, queue_write);
	else
		request_with_body_to_worker(q, q->m->write_lane, q->m->stream_lane, write_through);
}
