/* hub_post.c -- requests that change something: body, JSON, job, answer.
 *
 *   front: body is here and small -> read it -> job in the store's queue ---------> writer: commit -> front: answer
 *          body is large          -> worker: wait for it -> worker: read it ----^
 *
 * RULES    1. A 200 leaves only after the commit (invariant 1).
 *          2. What is large waits for its client in one lane and is parsed in another, small one: slow clients keep
 *             nobody from being served whose body is small, and few values of JSON are in memory at a time.
 * THREADS  As drawn. A write belongs to whoever has its exchange, and goes when the answer was sent (hub_write_free()):
 *          after a reply nobody touches it. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "hub/hub_priv.h"

#define MOST_ON_FRONT  (64 * 1024) /* bytes of JSON that are parsed on a front thread */
#define MOST_GATHER_MS 120000 /* for a large body to arrive: 35 KB a second at the usual limit */
#define MOST_KEY       128
#define MOST_NAME      4096 /* of product, version, machine_id and hostname */
#define MOST_EXTRA     65536 /* bytes of JSON: further members of a creation, which each list of sessions carries */

enum write_kind { WRITE_CREATE, WRITE_OP, WRITE_BATCH };

struct write {
	struct hub *h;
	struct exchange *ex;
	enum write_kind kind;
	struct slice id;
	struct buf body; /* when it was gathered by a worker */
	json_t *json; /* CREATE: what creation points into */
	struct buf extra; /* CREATE: likewise */
	struct hub_creation creation;
	struct hub_session session; /* CREATE: what came of it */
	bool was_known;
	int64_t crashed;
	struct hub_op *ops; /* malloc'ed */
	size_t op_count;
	int64_t applied_seq;
	int code;
};

void hub_write_free(void *write)
{
	struct write *w = write;

	hub_ops_free(w->ops, w->op_count);
	hub_session_fini(&w->session);
	json_decref(w->json);
	buf_fini(&w->body);
	buf_fini(&w->extra);
	free(w);
}

/* --- the answer: front ------------------------------------------------------------------------------------------ */

static void log_create(const struct write *w)
{
	log_event(LOG_INFO, "session_created", LOG_STR("session", w->session.id),
		  LOG_STR("product", w->session.product.data), LOG_STR("version", w->session.version.data),
		  LOG_STR("request", exchange_id(w->ex)), LOG_END);
	if (w->crashed)
		log_event(LOG_WARN, "session_crashed", LOG_INT("sessions", w->crashed),
			  LOG_STR("machine_id", w->session.machine_id.data),
			  LOG_STR("reason", "machine_returned_session_not_resumed"), LOG_END);
}

static void log_op(const struct write *w, const struct hub_op *op)
{
	if (op->type == HUB_OP_CRASH)
		log_event(LOG_WARN, "session_crashed", LOG_SLICE("session", w->id),
			  LOG_STR("request", exchange_id(w->ex)), LOG_END);
	if (op->hang == HUB_HANG_BEGINS)
		log_event(LOG_WARN, "session_hung", LOG_SLICE("session", w->id), LOG_STR("request", exchange_id(w->ex)),
			  LOG_END);
}

static void count_ops(const struct write *w)
{
	for (size_t i = 0; i < w->op_count; i++) {
		const struct hub_op *op = &w->ops[i];
		enum hub_outcome outcome = op->skipped ? HUB_REPEATED : op->status ? HUB_REFUSED : HUB_APPLIED;

		metric_add(w->h->metrics.operations[op->type][outcome], 1);
		if (outcome == HUB_APPLIED)
			log_op(w, op);
	}
}

static void answer_create(struct write *w)
{
	struct buf b = BUF_EMPTY;

	metric_add(w->h->metrics.operations[HUB_OP_CREATE][w->was_known ? HUB_REPEATED : HUB_APPLIED], 1);
	metric_add(w->h->metrics.crashed, (uint64_t)w->crashed);
	if (!w->was_known)
		log_create(w);
	buf_addf(&b, "{\"session_id\":\"%s\"}", w->session.id);
	hub_reply_json(w->ex, &b);
}

static void answer_batch(struct write *w)
{
	struct buf b = BUF_EMPTY;
	const char *between = "";

	buf_addf(&b, "{\"status\":\"ok\",\"applied_seq\":%lld,\"refused\":[", (long long)w->applied_seq);
	for (size_t i = 0; i < w->op_count; i++) {
		const struct hub_op *op = &w->ops[i];

		if (!op->status) /* one that was done with before is named again: the answer that told of it may be lost */
			continue;
		buf_addf(&b, "%s{\"seq\":%lld,\"status\":%d,\"error\":", between, (long long)op->seq, op->status);
		json_write_text(buf_slice(&op->error), &b);
		buf_add_char(&b, '}');
		between = ",";
	}
	buf_add_str(&b, "]}");
	hub_reply_json(w->ex, &b);
}

static void answer_ok(struct write *w)
{
	static const struct header_line lines[] = { { "Content-Type", "application/json" },
						    { "Cache-Control", "no-store" } };

	exchange_reply(w->ex, 200, lines, ARRAY_LEN(lines), blob_ref(w->h->ok));
}

/* Done twice it is done once: nobody has to know whether the first time counted. */
static bool can_be_repeated(const struct write *w)
{
	bool has_moment_only = w->kind == WRITE_OP && (w->ops->type == HUB_OP_HEARTBEAT || w->ops->type == HUB_OP_END);

	return w->kind == WRITE_BATCH || (w->kind == WRITE_CREATE && w->creation.key.p) || has_moment_only;
}

static void answer(struct exchange *ex)
{
	struct write *w = hub_request_of(ex)->write;

	if (w->code == 0)
		count_ops(w);
	if (w->code == -EINPROGRESS && can_be_repeated(w))
		hub_refuse(ex, HUB_REFUSED_STORE, 503, "The hub's database went away; send it again");
	else if (w->code < 0)
		hub_refuse_code(ex, w->code);
	else if (w->kind == WRITE_CREATE)
		answer_create(w);
	else if (w->kind == WRITE_BATCH)
		answer_batch(w);
	else if (w->ops[0].status)
		hub_refuse(ex, HUB_REFUSED_BODY, w->ops[0].status, "%s", w->ops[0].error.data);
	else
		answer_ok(w);
}

/* --- the job: the store's thread -------------------------------------------------------------------------------- */

static int job(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct write *w = arg;
	struct hub_moment m;

	hub_moment_now(w->h, &m);
	if (w->kind == WRITE_CREATE)
		return hub_session_create(st, tx, &w->creation, &m, &w->session, &w->was_known, &w->crashed);
	return hub_session_apply(st, tx, w->id, w->ops, w->op_count, w->kind == WRITE_BATCH, &m, &w->applied_seq);
}

static void job_done(void *arg, int code)
{
	struct write *w = arg;

	w->code = code;
	exchange_resume_front(w->ex, answer);
}

static void submit(struct write *w)
{
	int r = w->h->store->t->submit(w->h->store, w->kind == WRITE_CREATE ? SLICE_LIT("") : w->id, job, job_done,
					       w);

	if (r < 0)
		job_done(w, r);
}

/* --- from bytes to operations: a front thread, or a worker ------------------------------------------------------ */

static void refuse(struct write *w, int status, const char *text)
{
	hub_refuse(w->ex, HUB_REFUSED_BODY, status, "%s", text);
}

static bool take_name(const struct write *w, const char *name, bool required, struct slice *ret, struct buf *why)
{
	if (hub_op_text(w->json, name, ret) < 0)
		buf_addf(why, "Invalid request: \"%s\" is not a string", name);
	else if (required && !ret->n)
		buf_addf(why, "Invalid request: \"%s\" is missing", name);
	else if (ret->n > MOST_NAME)
		buf_addf(why, "Invalid request: \"%s\" is longer than %d bytes", name, MOST_NAME);
	return !why->len;
}

/* Further members are kept and stand in the session where they were given, unless a session has a member of that name
 * anyway. */
static void take_extra(struct write *w, struct buf *why)
{
	static const char *const but[] = { "product",    "version",   "machine_id", "hostname",   "key",
					   "created_at", "id",        "state",      "updated_at", "ended_at",
					   "active",     "suspended", "crashed",    "hung",       "last_heartbeat",
					   "session_id", "events",    "metrics",    "counts",     "state_history",
					   NULL };

	hub_op_write_further(w->json, but, &w->extra);
	if (!w->extra.len)
		return;
	w->extra.data[0] = '{'; /* for the comma */
	buf_add_char(&w->extra, '}');
	w->creation.extra = buf_slice(&w->extra);
	if (w->extra.len > MOST_EXTRA)
		buf_addf(why, "Invalid request: what is no member of a creation has more than %d bytes", MOST_EXTRA);
}

static bool take_creation(struct write *w, struct buf *why)
{
	struct hub_creation *c = &w->creation;
	struct slice created;

	if (!take_name(w, "product", true, &c->product, why) || !take_name(w, "version", true, &c->version, why) ||
	    !take_name(w, "machine_id", false, &c->machine_id, why) ||
	    !take_name(w, "hostname", false, &c->hostname, why) || !take_name(w, "key", false, &c->key, why) ||
	    !take_name(w, "created_at", false, &created, why))
		return false;
	if (created.n && hub_op_time(created, &c->created_ms) < 0)
		buf_add_str(why,
			    "Invalid request: \"created_at\" is not a time as in 2026-01-02T03:04:05.678Z (RFC 3339)");
	else if (c->key.n > MOST_KEY || (!c->key.n && json_is_string(json_object_get(w->json, "key"))))
		buf_addf(why, "Invalid request: \"key\" has to have 1 to %d bytes", MOST_KEY);
	if (!c->key.n)
		c->key.p = NULL;
	if (c->created_ms > clock_wall_ms())
		c->created_ms = 0; /* a clock that is ahead would make it live too long */
	take_extra(w, why);
	return !why->len;
}

static void read_create(struct write *w, json_t *take)
{
	struct buf why = BUF_EMPTY;

	w->json = take;
	if (!json_is_object(take))
		buf_add_str(&why, "Invalid request: the body is not a JSON object");
	if (why.len || !take_creation(w, &why)) {
		metric_add(w->h->metrics.operations[HUB_OP_CREATE][HUB_REFUSED], 1);
		refuse(w, 400, why.data);
	} else {
		submit(w);
	}
	buf_fini(&why);
}

static void read_ops(struct write *w, json_t *body)
{
	struct buf now = BUF_EMPTY, why = BUF_EMPTY;
	int r = 0;

	clock_format_rfc3339(clock_wall_ms(), &now);
	if (w->kind == WRITE_BATCH) {
		r = hub_op_read_batch(body, buf_slice(&now), &w->ops, &w->op_count, &why);
	} else {
		w->ops = xcalloc(1, sizeof(*w->ops));
		w->op_count = 1;
		hub_op_read((enum hub_op_type)hub_request_of(w->ex)->what, body, false, buf_slice(&now), w->ops);
	}
	json_decref(body);
	if (r < 0) {
		refuse(w, r == WEIR_E_TOO_LARGE ? 413 : 400, why.data);
	} else if (w->kind == WRITE_OP && w->ops->status) {
		count_ops(w);
		buf_add_slice(&why, buf_slice(&w->ops->error));
		refuse(w, w->ops->status, why.data);
	} else {
		submit(w);
	}
	buf_fini(&now);
	buf_fini(&why);
}

/* Heartbeat, end and crash do not mind what their body is. */
static bool minds(const struct write *w)
{
	int what = hub_request_of(w->ex)->what;

	return w->kind != WRITE_OP || what == HUB_OP_STATE || what == HUB_OP_EVENT || what == HUB_OP_METRIC;
}

static void read_json(struct write *w, struct slice text)
{
	struct buf why = BUF_EMPTY;
	json_t *body = NULL;

	if (json_read(text, 0, &body, &why) < 0 && minds(w)) {
		struct buf line = BUF_EMPTY;

		buf_addf(&line, "Invalid request: not JSON: %s", why.data);
		refuse(w, 400, line.data);
		buf_fini(&line);
	} else if (w->kind == WRITE_CREATE) {
		read_create(w, body);
	} else {
		read_ops(w, body);
	}
	buf_fini(&why);
}

/* --- the body --------------------------------------------------------------------------------------------------- */

static void read_gathered(struct exchange *ex)
{
	struct write *w = hub_request_of(ex)->write;
	struct slice text = buf_slice(&w->body);

	if (!w->body.len)
		(void)exchange_body_peek(ex, &text); /* it was all there: it still is */
	read_json(w, text);
}

static void refuse_size(struct write *w, uint64_t most)
{
	hub_refuse(w->ex, HUB_REFUSED_BODY, 413, "The body is above the limit of %llu bytes", (unsigned long long)most);
}

/* As exchange_body_read_all(), but whoever trickles does not keep a worker for ever. */
static int read_all(struct exchange *ex, struct buf *out)
{
	int64_t deadline = clock_mono_ms() + MOST_GATHER_MS;
	char piece[16384];
	ssize_t n;

	while ((n = exchange_body_read(ex, piece, sizeof(piece))) > 0) {
		buf_add(out, piece, (size_t)n);
		if (buf_error(out))
			return buf_error(out);
		if (clock_mono_ms() > deadline)
			return -ETIMEDOUT;
	}
	return (int)n;
}

static void gather(struct exchange *ex)
{
	struct write *w = hub_request_of(ex)->write;
	uint64_t most = hub_config(w->h)->max_body;
	int r;

	buf_init(&w->body, most);
	r = read_all(ex, &w->body);
	if (r == WEIR_E_TOO_LARGE) {
		refuse_size(w, most);
	} else if (r < 0) {
		metric_add(w->h->metrics.refusals[HUB_REFUSED_BODY], 1);
		exchange_reply_body_error(ex, r);
	} else {
		exchange_to_worker(ex, w->h->parsing, read_gathered);
	}
}

static void begin(struct exchange *ex, enum write_kind kind, struct slice id)
{
	struct hub_request *q = hub_request_of(ex);
	struct write *w = xcalloc(1, sizeof(*w));
	uint64_t most = hub_config(q->h)->max_body;
	struct slice text;
	int r;

	*w = (struct write){ .h = q->h,
			     .ex = ex,
			     .kind = kind,
			     .id = id,
			     .body = BUF_EMPTY,
			     .extra = BUF_EMPTY,
			     .session = HUB_SESSION_EMPTY };
	q->write = w;
	if (exchange_body_announced(ex) > (int64_t)most) {
		refuse_size(w, most);
		return;
	}
	r = exchange_body_peek(ex, &text);
	if (r == -EAGAIN) {
		exchange_to_worker(ex, q->h->bodies, gather);
	} else if (r < 0) {
		metric_add(q->h->metrics.refusals[HUB_REFUSED_BODY], 1);
		exchange_reply_body_error(ex, r);
	} else if (text.n > most) {
		refuse_size(w, most);
	} else if (text.n > MOST_ON_FRONT) {
		exchange_to_worker(ex, q->h->parsing, read_gathered);
	} else {
		read_json(w, text);
	}
}

void hub_post_create(struct exchange *ex, struct slice id, int what)
{
	begin(ex, WRITE_CREATE, id);
}

void hub_post_op(struct exchange *ex, struct slice id, int what)
{
	begin(ex, WRITE_OP, id);
}

void hub_post_batch(struct exchange *ex, struct slice id, int what)
{
	begin(ex, WRITE_BATCH, id);
}
