/* deliver.c -- operations to the server, in batches to a hub, one by one to a DataCat server, and what it answers.
 *
 * WHAT     A carrier (core/delivery.h). The first entry of a session is lent to it; it lends what stands behind it,
 *          too, and sends all together. What is said in answers is read in answers.c.
 *
 *          answer                   | creation                 | other operations
 *          200                      | row has the id; applied  | applied; held if the answer names it as refused
 *          401, 403, 407; 3xx       | the queue pauses, until the key changes or half a minute has passed
 *          404                      | pauses: no such server   | held: the server does not know the session (any more)
 *          408, 425, 429, 5xx, none | later, with back-off
 *          other 4xx                | held, and all behind it  | held alone; a batch is sent again by parts first
 *
 * RULES    1. Before anything is settled the row has what the outbox then no longer tells: the server's id, the
 *          state, the end.
 *          2. In a batch an operation is known by its seq: repeated, it is skipped by the hub. So one that was
 *             refused, and that an operator tries again, goes alone: in a batch it would be taken for done.
 *          3. To a DataCat server each is sent at least once: twice only when an answer was lost.
 * SEE      docs/formats/session-batch.md */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "sessions/answers.h"
#include "sessions/sessions_priv.h"

#define MOST_BATCH_BYTES (1 << 20) /* of bodies; the hub takes 4 MiB */
#define MOST_ANSWER      (1 << 20)
#define PAUSE_MS         30000

struct part { /* an operation of this delivery */
	const struct outbox_entry *e;
	struct carried *came;
	enum op op;
	struct buf body;
};

struct carry {
	struct sessions *ss;
	struct session *s; /* used */
	struct cancel *cancel;
	struct part *parts;
	size_t count;
};

/* --- what an answer means --------------------------------------------------------------------------------------- */

static void later(struct carried *c, const char *why, int64_t retry_after_ms)
{
	c->to = CARRIED_LATER;
	c->retry_after_ms = retry_after_ms;
	buf_add_str(&c->error, why);
}

static void unanswered(struct carried *c, int err)
{
	if (err == WEIR_E_CANCELLED || err == WEIR_E_OPEN || err == WEIR_E_DISABLED)
		c->to = CARRIED_NOT;
	else
		later(c, err_text(err), 0);
	if (c->to == CARRIED_NOT)
		buf_reset(&c->error);
}

static void pause_queue(struct carry *c, struct carried *came, const char *why)
{
	atomic_store(&c->ss->paused_mono_ms, clock_mono_ms());
	came->to = CARRIED_PAUSE;
	buf_addf(&came->error, "the server answered %d: %s", came->status, why);
}

static void hold(struct carry *c, struct part *p, const struct hub_answer *a, const char *why)
{
	p->came->to = CARRIED_HELD;
	buf_addf(&p->came->error, "the server answered %d: %s", a->status, why);
	buf_add_slice(&p->came->answer, buf_slice(&a->body));
	buf_add_str(&p->came->answer_type, "text/plain");
	sessions_count(c->ss, p->op, OUTCOME_HELD, 1);
}

static void applied(struct carry *c, struct carried *came, enum op op, int status)
{
	came->to = CARRIED_APPLIED;
	came->status = status;
	sessions_count(c->ss, op, OUTCOME_DELIVERED, 1);
}

/* What is no success, for an operation or a batch of them. */
static void refused(struct carry *c, struct part *p, const struct hub_answer *a)
{
	p->came->status = a->status;
	if (answer_is_about_us(a->status))
		pause_queue(c, p->came,
			    a->status < 400 ? "it leads elsewhere; is sessions.server right?"
					    : "it wants another key than that of sessions.api_key_file");
	else if (a->status == 404)
		hold(c, p, a, "it does not know this session");
	else if (answer_is_for_now(a->status))
		later(p->came, "the server is not able to take it now", a->retry_after_ms);
	else
		hold(c, p, a, "it refuses this operation");
}

/* --- creation --------------------------------------------------------------------------------------------------- */

/* Rule 1. */
static bool save_row(struct carry *c)
{
	bool is_saved;

	pthread_mutex_lock(&c->ss->lock);
	is_saved = session_is_saved(c->s);
	pthread_mutex_unlock(&c->ss->lock);
	return is_saved || ledger_save(c->ss, c->s) == 0;
}

/* The server's id is known, perhaps since a delivery before this one, which could not write it down. */
static void settle_creation(struct carry *c, struct carried *came)
{
	bool is_remap;

	if (!save_row(c)) {
		later(came, "the server's id could not be recorded", 0);
		return;
	}
	applied(c, came, OP_CREATE, 200);
	pthread_mutex_lock(&c->ss->lock);
	is_remap = c->s->flags & SESSION_TOLD_LOCAL;
	pthread_mutex_unlock(&c->ss->lock);
	log_event(LOG_INFO, is_remap ? "session_remapped" : "session_known", LOG_STR("session", c->s->local_id),
		  LOG_STR("hub_id", c->s->hub_id), LOG_END);
	register_hub_id_known(c->ss, c->s);
}

static void take_id(struct carry *c, struct part *p, const char *id)
{
	struct session *s = c->s;

	pthread_mutex_lock(&c->ss->lock);
	if (!s->hub_id)
		session_set_hub_id(c->ss, s, id);
	s->forwarded_mono_ms = s->heard_mono_ms = clock_mono_ms();
	pthread_mutex_unlock(&c->ss->lock);
	settle_creation(c, p->came);
}

static void create(struct carry *c, struct part *p)
{
	struct hub_answer a = HUB_ANSWER_EMPTY;
	char id[ANSWER_MOST_ID + 1];
	int r = beat_before_creation(c->ss, c->cancel);

	if (r == 0)
		r = hub_call(c->ss, "POST", "/api/sessions", buf_slice(&p->body), 0, MOST_ANSWER, c->cancel, &a);
	p->came->status = a.status;
	if (r < 0)
		unanswered(p->came, r);
	else if (a.status == 200 && answer_session_id(buf_slice(&a.body), id))
		take_id(c, p, id);
	else if (a.status == 200)
		later(p->came, "the server's answer has no session_id", 0);
	else if (a.status == 404 || a.status == 405)
		pause_queue(c, p->came, "there is no /api/sessions; is sessions.server right?");
	else
		refused(c, p, &a);
	buf_fini(&a.body);
}

/* --- one by one ------------------------------------------------------------------------------------------------- */

/* False: what stands behind it has to wait. */
static bool send_one(struct carry *c, struct part *p)
{
	static const char *const paths[OP_COUNT] = {
		[OP_STATE] = "/state",         [OP_EVENT] = "/events", [OP_METRIC] = "/metrics",
		[OP_HEARTBEAT] = "/heartbeat", [OP_END] = "/end",      [OP_CRASH] = "/crash"
	};
	struct hub_answer a = HUB_ANSWER_EMPTY;
	struct buf target = BUF_EMPTY;
	int r;

	hub_target(&target, c->s->hub_id, paths[p->op]);
	r = hub_call(c->ss, "POST", target.data, buf_slice(&p->body), 0, MOST_ANSWER, c->cancel, &a);
	p->came->status = a.status;
	if (r < 0)
		unanswered(p->came, r);
	else if (a.status == 200)
		applied(c, p->came, p->op, 200);
	else
		refused(c, p, &a);
	buf_fini(&target);
	buf_fini(&a.body);
	return p->came->to == CARRIED_APPLIED || p->came->to == CARRIED_HELD;
}

/* --- a batch ---------------------------------------------------------------------------------------------------- */

/* seq and op stand last: of a repeated name the last value counts, and a program may have fields of these names. */
static void write_batch(const struct part *parts, size_t n, struct buf *out)
{
	buf_add_str(out, "{\"operations\":[");
	for (size_t i = 0; i < n; i++) {
		struct slice body = buf_slice(&parts[i].body); /* an object without spaces */

		buf_add_str(out, i ? "," : "");
		buf_add(out, body.p, body.n - 1);
		buf_addf(out, "%s\"seq\":%llu,\"op\":\"%s\"}", body.n > 2 ? "," : "",
			 (unsigned long long)parts[i].e->seq, op_names[parts[i].op]);
	}
	buf_add_str(out, "]}");
}

static void hold_refused(struct carry *c, struct part *p, const struct answer_part *said)
{
	const struct hub_answer a = { .status = said->status, .body = said->why };

	p->came->status = a.status;
	hold(c, p, &a, said->why.len ? said->why.data : "it refuses this operation");
}

/* 200: each operation up to applied_seq is done with, one way or the other. */
static void take_outcomes(struct carry *c, struct part *parts, size_t n, const struct hub_answer *a)
{
	struct answer_part *said = xcalloc(n, sizeof(*said));
	int r;

	for (size_t i = 0; i < n; i++)
		said[i] = (struct answer_part){ .seq = parts[i].e->seq, .why = BUF_EMPTY };
	r = answer_batch(buf_slice(&a->body), said, n);
	if (r < 0)
		later(parts[0].came, "the server's answer to a batch cannot be read", 0);
	for (size_t i = 0; i < n; i++) {
		if (r < 0)
			continue;
		if (said[i].outcome == ANSWER_REFUSED)
			hold_refused(c, &parts[i], &said[i]);
		else if (said[i].outcome == ANSWER_APPLIED)
			applied(c, parts[i].came, parts[i].op, 200);
		else
			later(parts[i].came, "the server has not applied it yet", 0);
		buf_fini(&said[i].why);
	}
	free(said);
}

enum next { NEXT_GO_ON, NEXT_STOP, NEXT_PARTS, NEXT_SINGLY };

/* 404 is said of the session by a hub, and of the path by a server that knows no batches. */
static enum next after_not_found(struct carry *c, struct part *parts, size_t n, const struct hub_answer *a)
{
	int batches;

	atomic_store(&c->ss->batches, 0);
	batches = hub_takes_batches(c->ss, c->cancel);
	if (batches < 0)
		unanswered(parts[0].came, batches);
	else if (batches && n == 1)
		refused(c, &parts[0], a);
	return batches < 0 ? NEXT_STOP : !batches ? NEXT_SINGLY : n > 1 ? NEXT_PARTS : NEXT_GO_ON;
}

static enum next after_refusal(struct carry *c, struct part *parts, size_t n, const struct hub_answer *a)
{
	if (a->status == 404)
		return after_not_found(c, parts, n, a);
	if (n > 1 && a->status >= 400 && !answer_is_about_us(a->status) && !answer_is_for_now(a->status))
		return NEXT_PARTS; /* which of them is it? */
	refused(c, &parts[0], a);
	return parts[0].came->to == CARRIED_HELD ? NEXT_GO_ON : NEXT_STOP;
}

static enum next send_batch(struct carry *c, struct part *parts, size_t n)
{
	struct hub_answer a = HUB_ANSWER_EMPTY;
	struct buf target = BUF_EMPTY, body = BUF_EMPTY;
	enum next next = NEXT_STOP;
	int r;

	write_batch(parts, n, &body);
	hub_target(&target, c->s->hub_id, "/batch");
	r = hub_call(c->ss, "POST", target.data, buf_slice(&body), 0, MOST_ANSWER, c->cancel, &a);
	parts[0].came->status = a.status;
	if (r < 0) {
		unanswered(parts[0].came, r);
	} else if (a.status == 200) {
		take_outcomes(c, parts, n, &a);
		next = parts[n - 1].came->to == CARRIED_APPLIED || parts[n - 1].came->to == CARRIED_HELD ? NEXT_GO_ON
													 : NEXT_STOP;
	} else {
		next = after_refusal(c, parts, n, &a);
	}
	buf_fini(&target);
	buf_fini(&body);
	buf_fini(&a.body);
	return next;
}

/* --- all that was lent ------------------------------------------------------------------------------------------ */

/* How many from i on may go as one. */
static size_t together(const struct carry *c, size_t i)
{
	size_t n = 0;

	while (i + n < c->count && !answer_is_for_good(c->parts[i + n].e->last_status))
		n++;
	return n;
}

/* False: what stands behind them has to wait. */
static bool send_singly(struct carry *c, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++)
		if (!send_one(c, &c->parts[i]))
			return false;
	return true;
}

static bool send_together(struct carry *c, size_t from, size_t n)
{
	enum next next = send_batch(c, &c->parts[from], n);

	for (size_t i = from; next == NEXT_PARTS && i < from + n; i++) {
		enum next one = send_batch(c, &c->parts[i], 1);

		if (one == NEXT_SINGLY)
			return send_singly(c, i, from + n - i);
		if (one == NEXT_STOP)
			return false;
	}
	return next == NEXT_SINGLY ? send_singly(c, from, n) : next != NEXT_STOP;
}

static void send_all(struct carry *c, bool batches)
{
	for (size_t i = 0, n; i < c->count; i += n ? n : 1) {
		n = batches ? together(c, i) : 0;
		if (!(n ? send_together(c, i, n) : send_one(c, &c->parts[i])))
			break;
	}
}

static int read_body(struct carry *c, struct part *p)
{
	struct spool *body = NULL;
	int r = outbox_body(c->ss->outbox, p->e, &body);

	if (r == 0 && pread(spool_fd(body), buf_reserve(&p->body, p->e->body_bytes), p->e->body_bytes, 0) !=
			      (ssize_t)p->e->body_bytes)
		r = -EIO;
	if (r == 0)
		p->body.len = p->e->body_bytes;
	if (r == 0 && (p->body.len < 2 || p->body.data[0] != '{'))
		r = WEIR_E_DAMAGED;
	spool_unref(&body);
	return r;
}

static void hold_unreadable(struct part *p, int err)
{
	if (err == WEIR_E_DAMAGED || err == -ENOENT) {
		p->came->to = CARRIED_HELD;
		buf_addf(&p->came->error, "its body is damaged: drop it");
	}
}

/* The entry and what stands behind it, up to one that cannot be read. */
static int gather(struct carry *c, const struct outbox_entry *e, struct carried *ret, size_t more)
{
	size_t n = more ? delivery_lend_more(c->ss->delivery, e, more, MOST_BATCH_BYTES, ret) : 0;
	int r = 0;

	c->parts = xcalloc(n + 1, sizeof(*c->parts));
	for (size_t i = 0; i <= n && r == 0; i++) {
		struct part *p = &c->parts[i];

		p->e = i ? &ret->more[i - 1].entry : e;
		p->came = i ? &ret->more[i - 1].came : ret;
		p->op = op_of_uri(buf_slice(&p->e->uri));
		buf_init(&p->body, 0);
		r = read_body(c, p);
		if (r < 0) {
			buf_fini(&p->body);
			if (i == 0)
				hold_unreadable(p, r);
			break;
		}
		c->count++;
	}
	return c->count ? 0 : r;
}

static void carry_operations(struct carry *c, const struct outbox_entry *e, struct carried *ret)
{
	int batches = hub_takes_batches(c->ss, c->cancel);

	if (batches < 0) {
		unanswered(ret, batches);
		return;
	}
	if (gather(c, e, ret, sessions_config(c->ss)->max_batch - 1) < 0)
		return;
	send_all(c, batches > 0);
	if (save_row(c))
		return;
	for (size_t i = 0; i < c->count; i++)
		if (c->parts[i].came->to == CARRIED_APPLIED)
			later(c->parts[i].came, "the session's record cannot be written", 0);
}

static void carry(struct carry *c, const struct outbox_entry *e, struct carried *ret)
{
	bool is_creation = op_of_uri(buf_slice(&e->uri)) == OP_CREATE;

	if (is_creation && c->s->hub_id) { /* it was delivered before: a stop came in between, or a full disk */
		settle_creation(c, ret);
	} else if (is_creation) {
		if (gather(c, e, ret, 0) == 0)
			create(c, &c->parts[0]);
	} else if (c->s->hub_id) {
		carry_operations(c, e, ret);
	} else {
		ret->to = CARRIED_HELD;
		buf_add_str(&ret->error,
			    "its session never came into being at the server, as its creation was dropped");
	}
}

void sessions_carry(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	struct sessions *ss = arg;
	struct carry c = { .ss = ss, .cancel = cancel };
	int r;

	OBJ_CHECK(ss, SESSIONS_MAGIC);
	r = session_get(ss, slice_from(buf_slice(&e->key), 2), &c.s);
	if (r < 0 && r != -ENOENT) {
		later(ret, "the session's record cannot be read", 0);
		return;
	}
	if (r < 0) {
		ret->to = CARRIED_HELD;
		buf_add_str(&ret->error, "nothing is known of its session any more: drop it");
		return;
	}
	carry(&c, e, ret);
	if (ret->to == CARRIED_LATER)
		atomic_fetch_add(&ss->retries, 1);
	for (size_t i = 0; i < c.count; i++)
		buf_fini(&c.parts[i].body);
	free(c.parts);
	pthread_mutex_lock(&ss->lock);
	session_unuse(ss, c.s);
	pthread_mutex_unlock(&ss->lock);
}

bool sessions_may_resume(void *arg)
{
	struct sessions *ss = arg;

	return hub_key_changed(ss) || clock_mono_ms() - atomic_load(&ss->paused_mono_ms) >= PAUSE_MS;
}
