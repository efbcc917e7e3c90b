/* relay.c -- see relay.h.
 *
 * RULES    1. The answer is passed on from its head on, through a spool: a slow client costs disk, not a connection of
 *             upstream's.
 *          2. An answer that comes before the client's body has been read is given at the end: the exchange is still
 *             being read from.
 *          3. After the reply the exchange is gone: what is needed later was copied before. */
#include "mirror/relay.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "mirror/applied.h"
#include "store/wholefile.h"

#define LONELY_MS 2000

void relay_init(struct relay *r, struct request *q)
{
	struct cancel *gone;
	struct lines out;

	*r = (struct relay){ .m = q->m, .q = q, .announced = -1 };
	arena_init(&r->arena, RELAY_ARENA_BYTES);
	lines_init(&r->lines, &r->arena);
	lines_init(&out, &r->arena);
	r->method = arena_dup(&r->arena, q->method);
	r->target = arena_dup(&r->arena, q->target);
	ENSURE(r->method && r->target); /* the front bounds a head well below the arena */
	heads_to_upstream(q->ex, &q->h, 0, &out);
	lines_copy(&r->lines, &out);
	mirror_upstream_destination(q->m, exchange_authority(q->ex), &r->lines);
	r->is_safe = q->policy.method != POLICY_UNSAFE;
	r->has_body = exchange_body_announced(q->ex) != 0;
	buf_init(&r->head, STORED_MOST_HEAD + 1024);
	buf_init(&r->text, RELAY_MOST_HELD);
	if (r->is_safe) {
		gone = exchange_cancel(q->ex);
		r->cancel = gone ? cancel_ref(gone) : NULL;
	} else {
		(void)cancel_new(&r->cancel); /* without one, a stop waits for the stall timeout */
	}
	work_job(r->m, 1);
	work_begin(r->m, &r->work, r->cancel);
}

void relay_fini(struct relay *r)
{
	struct mirror *m = r->m;

	work_end(m, &r->work);
	buf_fini(&r->head);
	buf_fini(&r->text);
	spool_unref(&r->spool);
	cancel_unref(&r->cancel);
	arena_fini(&r->arena);
	work_job(m, -1); /* the last thing: when the exchange has gone, this is what a stop waits for */
}

/* --- the answer --- */

/* status: upstream's, or what it has to be taken for. */
static void invalidate(struct relay *r, int status)
{
	const struct httplines h = lines_view(&r->lines);

	if (r->is_safe || r->invalidated)
		return;
	r->invalidated = true;
	applied_invalidate(r->m, &(struct applied){ .method = slice_str(r->method),
						    .target = slice_str(r->target),
						    .destination = httplines_get(&h, "destination"),
						    .status = status,
						    .head = buf_slice(&r->head) });
}

bool relay_is_done_unseen(const struct relay *r, int err)
{
	if (r->is_safe || !r->result.request_sent)
		return false;
	return r->headed ? r->status < 400 : err == WEIR_E_PROTOCOL || err == WEIR_E_TOO_LARGE;
}

static void reply(struct relay *r, bool growing)
{
	struct request *q = r->q;
	struct slice cut[HEADS_MOST_LINES];
	struct httplines h = { cut, 0 };
	struct header_line *lines = NULL;
	char status[64];
	size_t n = 0;

	invalidate(r, r->status);
	r->q = NULL;
	r->replied_mono_ms = clock_mono_ms();
	q->how = q->how == MIRROR_REFUSED ? MIRROR_PASSTHROUGH : q->how;
	h.count = httplines_cut(buf_slice(&r->head), cut, ARRAY_LEN(cut));
	if (h.count <= ARRAY_LEN(cut))
		lines = heads_for_reply(&h, &r->arena, 1, &n);
	if (!lines) {
		request_problem(q, 502, MIRROR_PASSTHROUGH, "weir; fwd=bypass", "Bad answer from upstream",
				"the upstream of mirror %s answered %d, but its header fields are too many to be "
				"passed on; look at the server",
				q->m->name, r->status);
		return;
	}
	(void)snprintf(status, sizeof(status), "weir; fwd=bypass; fwd-status=%d", r->status);
	lines[n++] = (struct header_line){ "Cache-Status", r->cache_status ? r->cache_status : status };
	if (exchange_is_head(q->ex))
		exchange_reply_head(q->ex, r->status, lines, n, r->announced);
	else if (r->is_small || r->held)
		exchange_reply(q->ex, r->status, lines, n, blob_new_copy(r->text.data, r->text.len));
	else
		exchange_reply_spool(q->ex, r->status, lines, n, spool_ref(r->spool), growing ? r->announced : -1);
}

void relay_reply(struct relay *r)
{
	if (r->q && r->headed)
		reply(r, false);
}

void relay_reply_failure(struct relay *r, int err)
{
	struct request *q = r->q;
	bool is_unknown = relay_is_done_unseen(r, err) || (!r->is_safe && r->result.request_sent && !r->headed);

	r->q = NULL;
	if (r->body_error)
		exchange_reply_body_error(q->ex, r->body_error);
	else if (is_unknown)
		request_unknown(q, err, r->status);
	else
		request_unavailable(q, err);
}

static int on_interim(void *arg, int status, const struct slice *headers, size_t n)
{
	struct relay *r = arg;
	const struct httplines in = { headers, n };
	struct header_line *lines;
	size_t count;

	if (!r->q)
		return 0;
	lines = heads_for_reply(&in, &r->arena, 0, &count);
	if (lines)
		exchange_send_interim(r->q->ex, status, lines, count);
	return 0; /* without it the client misses nothing that it could rely on */
}

static bool is_unavailable(int status)
{
	return status == 502 || status == 503 || status == 504;
}

static int on_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct relay *r = arg;
	const struct httplines in = { headers, n };
	int err;

	r->status = status;
	r->headed = true;
	r->response_wall_ms = clock_wall_ms();
	if (r->is_safe && r->q)
		credential_note(r->m, slice_str(r->target), r->q->credential, status);
	fields_to_store(&in, r->response_wall_ms, &r->head);
	mirror_own_location(r->m, &r->head);
	if (buf_error(&r->head))
		return WEIR_E_PROTOCOL;
	r->announced = httplines_content_length(&in);
	r->held = r->hold_unavailable && is_unavailable(status);
	r->is_small = (r->announced >= 0 && r->announced <= STORED_INLINE_BYTES) || status == 204 || status == 304 ||
		      exchange_is_head(r->q->ex);
	if (r->is_small || r->held)
		return 0;
	err = spool_new(cache_spool_dir(r->m->cache), 0, &r->spool);
	if (err == 0 && r->body_done)
		reply(r, true);
	return err;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct relay *r = arg;

	if (r->is_small || r->held) {
		buf_add(&r->text, p, n);
		return buf_error(&r->text) ? WEIR_E_PROTOCOL : 0;
	}
	if (!r->q && spool_watchers(r->spool) == 0 && clock_mono_ms() - r->replied_mono_ms > LONELY_MS)
		/* what was asked is done; nobody wants to hear the rest, which may have no end */
		return WEIR_E_CANCELLED;
	r->crc = crc32c(r->crc, p, n);
	r->bytes += n;
	return mirror_append_answer(r->m, r->spool, p, n);
}

/* --- the request --- */

static ssize_t read_body(void *arg, char *into, size_t room)
{
	struct relay *r = arg;
	ssize_t n;

	if (!r->q)
		return WEIR_E_PROTOCOL; /* answered already: upstream wants no more of it */
	n = exchange_body_read_raw(r->q->ex, into, room);
	if (n > 0 && r->tee)
		r->tee->put(r->tee->arg, into, (size_t)n);
	if (n == 0)
		r->body_done = true;
	if (n < 0)
		r->body_error = (int)n;
	return n;
}

/* What may be sent again when a kept-alive connection ends without an answer, as the client does unless there was a
 * body (client.h): twice is as good as once, for upstream and in its answer (a second DELETE gives 404, if any). */
static bool is_repeatable(const char *method)
{
	static const char *const all[] = { "GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH", "PUT", "DELETE" };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(method, all[i]) == 0)
			return true;
	return false;
}

static int call(struct relay *r)
{
	const struct client_sink sink = { on_head, on_data, r };
	struct client_request rq = { .method = r->method,
				     .target = slice_str(r->target),
				     .headers = r->lines.items,
				     .header_count = r->lines.count,
				     .on_interim = on_interim,
				     .first_byte_ms = mirror_config(r->m)->upstream_timeout };

	r->body_done = !r->has_body || r->fixed.p;
	if (r->fixed.p) {
		rq.body = r->fixed;
		rq.body_bytes = (int64_t)r->fixed.n;
	} else if (r->has_body) {
		rq.body_source = read_body;
		rq.body_arg = r;
		rq.body_bytes = exchange_body_announced(r->q->ex);
	}
	rq.fresh_connection = rq.body_bytes <= 0 && !is_repeatable(r->method);
	r->request_wall_ms = clock_wall_ms();
	return link_call(r->m->link, &rq, &sink, r->cancel, &r->result);
}

int relay_run(struct relay *r)
{
	int err = r->lines.full ? WEIR_E_TOO_LARGE : mirror_authorize(r->m, &r->lines);

	if (err == 0)
		err = call(r);
	if (err == 0 && r->spool)
		spool_complete(r->spool);
	else if (r->spool)
		spool_fail(r->spool, err);
	if (err == 0 && !r->held)
		relay_reply(r);
	if (err < 0 && relay_is_done_unseen(r, err))
		invalidate(r, r->headed ? r->status : 200);
	return err;
}
