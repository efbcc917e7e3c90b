/* serve.c -- an answer from a representation that is here.
 *
 * WHAT     Conditions first, then the range, then the whole: the order of RFC 9110 13.2.2. For a queued write weir
 *          stands in the place of the origin, and judges all conditions; for a cached answer If-Match and
 *          If-Unmodified-Since are not its business (RFC 9111 4.3.2).
 * WHY      Nearly every answer is a fresh hit without conditions or ranges, and costs one look over the names of the
 *          request's fields and one copy of a list of pointers; the rest is for the few that ask for more.
 * RULES    1. Only a 200 has conditions and ranges: what would not be a 2xx ignores them (RFC 9110 13.2.1, 14.2), and
 *             other 2xx are rarely stored.
 *          2. Ranges count in bytes of the stored body, as Content-Length would: with its Content-Encoding.
 *          3. A Range is a wish: what cannot be given cheaply (see range.h, SERVE_MOST_PARTS_BYTES, no free worker, a
 *             length that is not known yet) is answered by the whole.
 * THREADS  The owner's of the exchange. Several ranges of a file are read by a worker.
 * SEE      RFC 9110 13, 14, 15.3.7, 15.4.5, 15.5.13, 15.5.17 */
#include "mirror/serve.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "io/loop.h"
#include "mirror/conditional.h"
#include "mirror/heads.h"
#include "proto/range.h"

struct serving {
	struct exchange *ex;
	struct lane *lane;
	struct stored *s;
	const struct header_line *extra;
	size_t extra_count;
	bool as_origin;
	bool is_whole;  /* false: its spool still grows, and it is sent as it does */
	int64_t length; /* -1: not known yet */
};

/* Lines of a reply that is being put together. */
struct reply {
	struct header_line *lines;
	size_t count;
};

static const char *const replaced[] = { "Accept-Ranges", NULL }; /* whatever upstream says, we can */

/* --- lines --- */

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcasecmp(name, *names) == 0)
			return true;
	return false;
}

/* The stored lines but for those in `but`, then the extra ones; room for 2 more. On false the exchange is answered. */
static bool begin_reply(const struct serving *v, const char *const *but, struct reply *ret)
{
	const struct stored *s = v->s;

	ret->lines = arena_alloc(exchange_arena(v->ex), (s->reply_count + v->extra_count + 2) * sizeof(*ret->lines));
	ret->count = 0;
	if (!ret->lines) {
		exchange_reply_problem(v->ex, 431, http_status_text(431), "send fewer or shorter header fields");
		return false;
	}
	for (size_t i = 0; i < s->reply_count; i++)
		if (!is_one_of(s->reply[i].name, but))
			ret->lines[ret->count++] = s->reply[i];
	for (size_t i = 0; i < v->extra_count; i++)
		ret->lines[ret->count++] = v->extra[i];
	return true;
}

static void add_line(struct reply *r, const char *name, const char *value)
{
	r->lines[r->count++] = (struct header_line){ name, value };
}

/* --- the whole, and none of it --- */

static void reply_whole(const struct serving *v)
{
	static const char *const nothing[] = { NULL };
	struct stored *s = v->s;
	bool ranges = s->status == 200 && v->is_whole; /* what is still coming may be nothing that is kept */
	struct reply r;

	if (!begin_reply(v, ranges ? replaced : nothing, &r))
		return;
	if (ranges)
		add_line(&r, "Accept-Ranges", "bytes");
	if (s->file)
		exchange_reply_spool(v->ex, s->status, r.lines, r.count, spool_ref(s->file), v->length);
	else
		exchange_reply(v->ex, s->status, r.lines, r.count, s->body ? blob_ref(s->body) : NULL);
}

/* RFC 9110 15.4.5: what describes the bytes that are not sent stays away; all else may update the client's copy. */
static void reply_not_modified(const struct serving *v)
{
	static const char *const of_the_body[] = {
		"Content-Type", "Content-Encoding", "Content-Language", "Accept-Ranges", NULL,
	};
	struct reply r;

	if (begin_reply(v, of_the_body, &r))
		exchange_reply_head(v->ex, 304, r.lines, r.count, -1);
}

static void reply_failed(const struct serving *v)
{
	exchange_reply_problem_with(v->ex, 412, v->extra, v->extra_count, "Precondition failed",
				    "what is queued here is not what the condition asks for; read it without one");
}

static void reply_unsatisfied(const struct serving *v)
{
	struct header_line lines[EXCHANGE_PROBLEM_LINES];
	struct buf range = BUF_EMPTY;

	ENSURE(v->extra_count < EXCHANGE_PROBLEM_LINES);
	range_format_unsatisfied(v->length, &range);
	if (v->extra_count)
		memcpy(lines, v->extra, v->extra_count * sizeof(*lines));
	lines[v->extra_count] = (struct header_line){ "Content-Range", range.data };
	exchange_reply_problem_with(v->ex, 416, lines, v->extra_count + 1, "Range not satisfiable",
				    "it has %lld bytes", (long long)v->length);
	buf_fini(&range);
}

/* --- one range --- */

static uint64_t range_bytes(struct byte_range r)
{
	return (uint64_t)(r.last - r.first) + 1;
}

static void reply_part(const struct serving *v, struct byte_range part)
{
	struct stored *s = v->s;
	struct buf range = BUF_EMPTY;
	struct reply r;

	if (!begin_reply(v, replaced, &r))
		return;
	range_format_content(part, v->length, &range);
	add_line(&r, "Accept-Ranges", "bytes");
	add_line(&r, "Content-Range", range.data);
	if (s->file)
		exchange_reply_spool_part(v->ex, 206, r.lines, r.count, spool_ref(s->file), (uint64_t)part.first,
					  range_bytes(part));
	else
		exchange_reply(v->ex, 206, r.lines, r.count,
			       blob_new_copy(blob_slice(s->body).p + part.first, range_bytes(part)));
	buf_fini(&range);
}

/* --- several ranges: multipart/byteranges, RFC 9110 14.6 --- */

struct parts { /* in the exchange's arena, as a worker may go on with it */
	struct exchange *ex;
	struct stored *s; /* one reference */
	struct reply reply;
	int64_t length;
	char boundary[33];
	size_t count;
	struct byte_range ranges[RANGE_MOST];
};

static int add_bytes(const struct stored *s, struct byte_range r, struct buf *out)
{
	size_t left = range_bytes(r);
	char *p = buf_reserve(out, left);

	if (!s->file) {
		buf_add(out, blob_slice(s->body).p + r.first, left);
		return 0;
	}
	ENSURE(p); /* without a limit */
	for (off_t at = (off_t)r.first; left;) {
		ssize_t n = pread(spool_fd(s->file), p, left, at);

		if (n <= 0)
			return n < 0 ? -errno : WEIR_E_DAMAGED;
		p += n;
		at += n;
		left -= (size_t)n;
		out->len += (size_t)n;
	}
	return 0;
}

static int add_part(const struct parts *q, struct slice type, struct byte_range r, struct buf *out)
{
	int err;

	buf_addf(out, "--%s\r\n", q->boundary);
	if (type.n) {
		buf_add_str(out, "Content-Type: ");
		buf_add_slice(out, type);
		buf_add_str(out, "\r\n");
	}
	buf_add_str(out, "Content-Range: ");
	range_format_content(r, q->length, out);
	buf_add_str(out, "\r\n\r\n");
	err = add_bytes(q->s, r, out);
	buf_add_str(out, "\r\n");
	return err;
}

static void send_parts(void *arg)
{
	struct parts *q = arg;
	struct exchange *ex = q->ex;
	struct stored *s = q->s;
	struct slice type = httplines_get(&s->lines, "Content-Type");
	struct buf body = BUF_EMPTY;
	int r = 0;

	for (size_t i = 0; i < q->count && r == 0; i++)
		r = add_part(q, type, q->ranges[i], &body);
	buf_addf(&body, "--%s--\r\n", q->boundary);
	if (r < 0)
		exchange_reply_problem(ex, 500, "Stored body is not readable", "weir cannot read its copy: %s",
				       err_text(r));
	else
		exchange_reply(ex, 206, q->reply.lines, q->reply.count, blob_new_take(&body));
	buf_fini(&body); /* q went with the exchange's arena */
	stored_unref(&s);
}

/* The extra lines are borrowed until we return, and a worker needs them later. */
static bool keep_lines(struct arena *a, const struct serving *v, struct reply *r)
{
	struct header_line *first = r->lines + r->count - v->extra_count;

	for (struct header_line *l = first; l < first + v->extra_count; l++) {
		l->name = arena_dup(a, slice_str(l->name));
		l->value = arena_dup(a, slice_str(l->value));
		if (!l->name || !l->value)
			return false;
	}
	return true;
}

static void reply_parts(const struct serving *v, const struct byte_range *ranges, size_t count)
{
	static const char *const of_a_part[] = { "Accept-Ranges", "Content-Type", NULL };
	struct arena *a = exchange_arena(v->ex);
	struct parts *q = arena_alloc(a, sizeof(*q));
	char *type = arena_alloc(a, 80);
	struct reply r;

	if (!begin_reply(v, of_a_part, &r))
		return;
	if (!q || !type || !keep_lines(a, v, &r)) {
		reply_whole(v);
		return;
	}
	*q = (struct parts){ .ex = v->ex, .s = stored_ref(v->s), .length = v->length, .count = count };
	memcpy(q->ranges, ranges, count * sizeof(*ranges));
	(void)snprintf(q->boundary, sizeof(q->boundary), "%016llx%016llx", (unsigned long long)rand_u64(),
		       (unsigned long long)rand_u64());
	(void)snprintf(type, 80, "multipart/byteranges; boundary=%s", q->boundary);
	add_line(&r, "Accept-Ranges", "bytes");
	add_line(&r, "Content-Type", type);
	q->reply = r;
	if (!v->s->file || !loop_is_front()) {
		send_parts(q);
	} else if (pool_submit(v->lane, send_parts, q) < 0) { /* rule 3 */
		stored_unref(&q->s);
		reply_whole(v);
	}
}

static void reply_ranges(const struct serving *v, const struct range_set *set)
{
	struct byte_range ranges[RANGE_MOST];
	uint64_t sum = 0;
	size_t count;

	switch (range_resolve(set, v->length, ranges, &count)) {
	case 0:
		break;
	case -ERANGE:
		reply_unsatisfied(v);
		return;
	default:
		reply_whole(v);
		return;
	}
	for (size_t i = 0; i < count; i++)
		sum += range_bytes(ranges[i]);
	if (count == 1)
		reply_part(v, ranges[0]);
	else if (sum <= SERVE_MOST_PARTS_BYTES && v->is_whole)
		reply_parts(v, ranges, count);
	else
		reply_whole(v);
}

/* --- what is asked for --- */

static bool is_get(const struct exchange *ex)
{
	return slice_eq_str(exchange_method(ex), "GET");
}

/* Whether there is an If-something or a Range. */
static bool asks_for_more(const struct exchange *ex)
{
	struct slice name, value;

	for (size_t i = 0; i < exchange_header_count(ex); i++) {
		exchange_header_at(ex, i, &name, &value);
		if (name.n > 3 && (name.p[0] | 0x20) == 'i' && (name.p[1] | 0x20) == 'f' && name.p[2] == '-')
			return true;
		if (name.n == 5 && slice_ieq_str(name, "Range"))
			return true;
	}
	return false;
}

static void serve_asked(const struct serving *v)
{
	const struct stored *s = v->s;
	const struct conditional_view view = {
		.exists = true,
		.etag = s->policy.etag,
		.last_modified_s = s->policy.last_modified_s,
		.date_s = s->policy.date_s,
	};
	int64_t now_s = clock_wall_ms() / 1000;
	struct slice method = exchange_method(v->ex);
	struct range_set set;
	struct httplines h;
	struct lines lines;

	heads_of_request(v->ex, &lines);
	h = lines_view(&lines);
	switch ((v->as_origin ? conditional_judge : conditional_judge_cached)(method, &h, &view, now_s)) {
	case CONDITIONAL_NOT_MODIFIED:
		reply_not_modified(v);
		return;
	case CONDITIONAL_FAILED:
		reply_failed(v);
		return;
	case CONDITIONAL_GO_ON:
		break;
	}
	if (is_get(v->ex) && v->length >= 0 && httplines_count(&h, "Range") == 1 &&
	    conditional_range_applies(&h, &view, now_s) && range_parse(httplines_get(&h, "Range"), &set) == 0)
		reply_ranges(v, &set);
	else
		reply_whole(v);
}

static void serve(struct serving *v)
{
	const struct stored *s = v->s;
	uint64_t bytes = s->body_bytes;

	v->is_whole = !s->file || spool_peek(s->file, &bytes, NULL) == SPOOL_COMPLETE;
	v->length = v->is_whole ? (int64_t)bytes : s->body_bytes == STORED_GROWING ? -1 : (int64_t)s->body_bytes;
	if (s->status == 200 && (is_get(v->ex) || exchange_is_head(v->ex)) && asks_for_more(v->ex)) /* rule 1 */
		serve_asked(v);
	else
		reply_whole(v);
}

void serve_stored(struct exchange *ex, struct lane *lane, struct stored *s, const struct header_line *extra,
		  size_t extra_count)
{
	serve(&(struct serving){ .ex = ex, .lane = lane, .s = s, .extra = extra, .extra_count = extra_count });
}

void serve_queued(struct exchange *ex, struct lane *lane, struct stored *s, const struct header_line *extra,
		  size_t extra_count)
{
	serve(&(struct serving){ .ex = ex, .lane = lane, .s = s, .extra = extra, .extra_count = extra_count,
				 .as_origin = true });
}
