/* op.c -- operations: written as JSON, put into the outbox in the order in which they were accepted.
 *
 * WHAT     An operation is an entry of the queue "sessions" with key s/LOCAL-ID. Its uri names the session by its
 *          local id, whatever the server calls it: what is on disk needs no rewriting when the server's id comes.
 * RULES    1. Entries are handed over with sessions.lock held, so that their order is that of the states in memory.
 *          2. A state is merged when it is durable; while one is on its way the next is put without being compared,
 *             as nobody knows yet with what.
 *          3. Creation is what all others depend on; nothing depends on any other (outbox_write.alone).
 *          4. A full queue drops metrics, the oldest first, and nothing else (invariant 2: the configuration says so,
 *             it is counted, and the server is told). A total that was dropped is sent again when there is room.
 *          5. No state grows beyond what a hub takes: else it would be refused there for ever. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "core/json_merge.h"
#include "sessions/sessions_priv.h"

#define DROP_AT_ONCE  200
#define LOOK_AGAIN_MS 5000 /* in vain it was a walk through the whole queue */

static const char *const paths[OP_COUNT] = {
	[OP_CREATE] = "",         [OP_STATE] = "/state",         [OP_EVENT] = "/events",
	[OP_METRIC] = "/metrics", [OP_HEARTBEAT] = "/heartbeat", [OP_END] = "/end",
	[OP_CRASH] = "/crash",
};

enum op op_of_uri(struct slice uri)
{
	for (enum op op = OP_STATE; op < OP_COUNT; op++)
		if (slice_ends(uri, paths[op]))
			return op;
	return OP_CREATE;
}

/* A program that could not reach the daemon at once says how long ago it was ("age_ms", ours alone). Not when: its
 * clock may have been set meanwhile. */
int64_t op_take_age(json_t *body)
{
	json_int_t age = json_integer_value(json_object_get(body, "age_ms"));

	(void)json_object_del(body, "age_ms"); /* it may be absent */
	return age < 0 ? 0 : age > SESSIONS_MOST_AGE ? SESSIONS_MOST_AGE : age;
}

char *op_uri(const struct session *s, enum op op, const char *mark)
{
	return xstrf("/api/sessions/%s%s%s%s", s->local_id, mark ? "/" : "", mark ? mark : "", paths[op]);
}

void op_add_time(struct buf *out, int64_t age_ms)
{
	buf_add_str(out, "\"timestamp\":\"");
	clock_format_rfc3339_us(clock_wall_us() - age_ms * 1000, out);
	buf_add_char(out, '"');
}

void op_add_now(struct buf *out)
{
	op_add_time(out, 0);
}

/* --- put -------------------------------------------------------------------------------------------------------- */

struct put {
	struct sessions *ss;
	struct session *s;
	enum op op;
	bool urgent;
	json_t *patch; /* of a state */
	size_t patch_bytes;
	const char *mark; /* of an event of our own */
	op_fn *cb;
	void *arg;
};

static void merge(struct put *p, uint64_t seq)
{
	struct session *s = p->s;

	json_merge(s->known, p->patch);
	s->known_bytes += p->patch_bytes; /* at most: what it replaces is not taken off */
	s->known_seq = seq;
	s->updated_ms = clock_wall_ms();
	session_changed(s);
}

static void on_put(void *arg, int code, const struct outbox_receipt *receipt)
{
	struct put *p = arg;
	struct sessions *ss = p->ss;
	struct session *s = p->s;

	pthread_mutex_lock(&ss->lock);
	s->states_under_way -= p->patch != NULL;
	s->bytes_under_way -= p->patch_bytes;
	if (code == 0 && p->patch)
		merge(p, receipt->seq);
	pthread_mutex_unlock(&ss->lock);
	json_decref(p->patch); /* before the answer, as it is part of the request's body: another thread frees that */
	if (code == 0)
		sessions_count(ss, p->op, OUTCOME_ACCEPTED, 1);
	if (code == 0 && p->urgent) {
		struct buf key = BUF_EMPTY;

		session_key(s, &key);
		outbox_wake_key(ss->queue, buf_slice(&key));
		buf_fini(&key);
	}
	if (p->cb)
		p->cb(p->arg, code, code == 0 ? receipt->seq : 0);
	pthread_mutex_lock(&ss->lock);
	session_unuse(ss, s);
	sessions_leave(ss);
	pthread_mutex_unlock(&ss->lock);
	free(p);
}

static int put(struct put *take, struct slice body)
{
	struct sessions *ss = take->ss;
	struct session *s = take->s;
	struct buf key = BUF_EMPTY;
	char *uri = op_uri(s, take->op, take->mark);
	struct outbox_write w = { .method = SLICE_LIT("POST"),
				  .headers = SLICE_LIT("Content-Type: application/json\n"),
				  .content_type = SLICE_LIT("application/json"),
				  .alone = take->op != OP_CREATE,
				  .body = body,
				  .expect_tail = OUTBOX_ANY };
	int r;

	session_key(s, &key);
	w.key = buf_slice(&key);
	w.uri = slice_str(uri);
	if (!take->urgent)
		w.not_before_wall_ms = clock_wall_ms() + sessions_config(ss)->batch_interval;
	r = outbox_put_start(ss->queue, &w, on_put, take);
	if (r == 0) {
		session_use(s);
		sessions_enter(ss);
		s->states_under_way += take->patch != NULL;
		s->bytes_under_way += take->patch_bytes;
		session_reopen(ss, s);
	} else {
		json_decref(take->patch);
		free(take);
	}
	buf_fini(&key);
	free(uri);
	return r;
}

int op_put(struct sessions *ss, struct session *s, enum op op, struct slice body, bool urgent, op_fn *cb, void *arg)
{
	struct put *p = xcalloc(1, sizeof(*p));

	*p = (struct put){ .ss = ss, .s = s, .op = op, .urgent = urgent, .cb = cb, .arg = arg };
	return put(p, body);
}

/* Whether something at the top of it is not as the session has it. */
static bool differs(const struct session *s, json_t *patch)
{
	const char *name;
	json_t *v;

	json_object_foreach(patch, name, v)
	{
		json_t *now = json_object_get(s->known, name);

		if (now ? !json_equal(now, v) : !json_is_null(v))
			return true;
	}
	return false;
}

static size_t written_bytes(const json_t *v)
{
	struct buf text = BUF_EMPTY;
	size_t n;

	json_write(v, &text);
	n = text.len;
	buf_fini(&text);
	return n;
}

/* Whether the state with all that is on its way may have the patch, too. It is measured only when what is replaced
 * might make the difference. */
static bool has_room(struct session *s, const json_t *patch, size_t patch_bytes)
{
	json_t *then;
	size_t n;

	if (!s->known_bytes)
		s->known_bytes = written_bytes(s->known);
	if (s->known_bytes + s->bytes_under_way + patch_bytes <= SESSIONS_MOST_STATE)
		return true;
	s->known_bytes = written_bytes(s->known);
	then = json_deep_copy(s->known);
	json_merge(then, patch);
	n = written_bytes(then);
	json_decref(then);
	return n + s->bytes_under_way <= SESSIONS_MOST_STATE;
}

int op_put_state(struct sessions *ss, struct session *s, json_t *patch, struct slice body, bool *ret_put, op_fn *cb,
		 void *arg)
{
	struct put *p;

	*ret_put = s->states_under_way || differs(s, patch);
	if (!*ret_put)
		return 0;
	if (!has_room(s, patch, body.n))
		return -EFBIG;
	p = xcalloc(1, sizeof(*p));
	*p = (struct put){ .ss = ss,
			   .s = s,
			   .op = OP_STATE,
			   .patch = json_incref(patch),
			   .patch_bytes = body.n, /* at least */
			   .cb = cb,
			   .arg = arg };
	return put(p, body);
}

int op_put_event(struct sessions *ss, struct session *s, const struct own_event *e, op_fn *cb, void *arg)
{
	struct put *p = xcalloc(1, sizeof(*p));
	struct buf body = BUF_EMPTY;
	int r;

	buf_add_char(&body, '{');
	op_add_now(&body);
	buf_addf(&body,
		 ",\"name\":\"%s\",\"category\":\"%s\",\"group\":\"datacat.daemon\",\"labels\":%s,\"data\":", e->name,
		 e->category, e->labels);
	if (e->data)
		json_write(e->data, &body);
	else
		buf_add_str(&body, "{}");
	buf_add_char(&body, '}');
	json_decref(e->data);
	*p = (struct put){
		.ss = ss, .s = s, .op = OP_EVENT, .mark = e->mark, .urgent = e->urgent, .cb = cb, .arg = arg
	};
	r = put(p, buf_slice(&body));
	buf_fini(&body);
	return r;
}

/* --- bodies, as they were kept ---------------------------------------------------------------------------------- */

int op_read(struct sessions *ss, const struct outbox_entry *e, json_t **ret)
{
	struct spool *body = NULL;
	struct buf text = BUF_EMPTY;
	int r = outbox_body(ss->outbox, e, &body);

	if (r == 0 &&
	    pread(spool_fd(body), buf_reserve(&text, e->body_bytes), e->body_bytes, 0) != (ssize_t)e->body_bytes)
		r = -EIO;
	if (r == 0) {
		text.len = e->body_bytes;
		r = json_read(buf_slice(&text), JSON_READ_KEPT, ret, NULL);
	}
	spool_unref(&body);
	buf_fini(&text);
	return r;
}

/* --- a full queue ----------------------------------------------------------------------------------------------- */

struct oldest {
	uint64_t seqs[DROP_AT_ONCE];
	struct session *whose[DROP_AT_ONCE]; /* used; NULL: it is not dropped */
	size_t count;
};

static bool note_metric(void *arg, const struct outbox_entry *e)
{
	struct oldest *o = arg;

	if (op_of_uri(buf_slice(&e->uri)) == OP_METRIC && e->state == OUTBOX_QUEUED)
		o->seqs[o->count++] = e->seq;
	return o->count < DROP_AT_ONCE;
}

/* Counted in its session's row, and wanted again when it is a total: before it is dropped, as a stop may come at any
 * moment. */
static struct session *announce(struct sessions *ss, uint64_t seq)
{
	struct outbox_entry e;
	struct session *s = NULL;
	json_t *metric = NULL;

	if (outbox_get(ss->outbox, seq, &e) < 0)
		return NULL; /* it was delivered meanwhile */
	if (session_get(ss, slice_from(buf_slice(&e.key), 2), &s) == 0 && op_read(ss, &e, &metric) < 0)
		metric = NULL; /* damaged */
	outbox_entry_fini(&e);
	if (!s)
		return NULL;
	pthread_mutex_lock(&ss->lock);
	s->dropped++;
	session_changed(s);
	if (metric)
		totals_again(ss, s, metric);
	pthread_mutex_unlock(&ss->lock);
	json_decref(metric);
	return s;
}

/* Each row once, however many of its session's are dropped. */
static void save_rows(struct sessions *ss, const struct oldest *o)
{
	pthread_mutex_lock(&ss->lock);
	for (size_t i = 0; i < o->count; i++)
		if (o->whose[i] && session_wants_save(o->whose[i]))
			(void)ledger_save_start(ss, o->whose[i], NULL, NULL); /* or by the next look */
	pthread_mutex_unlock(&ss->lock);
	ledger_wait(ss);
}

static void drop_one(struct sessions *ss, uint64_t seq, struct session *s, uint64_t *dropped)
{
	bool is = outbox_drop(ss->outbox, seq) == 0; /* others are being sent, or were dropped by somebody else */

	*dropped += is;
	pthread_mutex_lock(&ss->lock);
	if (!is) {
		s->dropped--;
		session_changed(s);
	}
	session_unuse(ss, s);
	pthread_mutex_unlock(&ss->lock);
}

bool op_make_room(struct sessions *ss)
{
	struct oldest *o;
	uint64_t dropped = 0;

	if (sessions_config(ss)->queue.on_full != SESSIONS_DROP_OLDEST_METRICS ||
	    clock_mono_ms() < atomic_load(&ss->nothing_to_drop_until_mono_ms))
		return false;
	o = xcalloc(1, sizeof(*o));
	(void)outbox_list(ss->outbox, outbox_queue_name(ss->queue), OUTBOX_QUEUED, 0, SIZE_MAX, note_metric,
			  o); /* less, then */
	for (size_t i = 0; i < o->count; i++)
		o->whose[i] = announce(ss, o->seqs[i]);
	save_rows(ss, o);
	for (size_t i = 0; i < o->count; i++)
		if (o->whose[i])
			drop_one(ss, o->seqs[i], o->whose[i], &dropped);
	free(o);
	if (!dropped)
		atomic_store(&ss->nothing_to_drop_until_mono_ms, clock_mono_ms() + LOOK_AGAIN_MS);
	sessions_count(ss, OP_METRIC, OUTCOME_DROPPED, dropped);
	if (dropped)
		log_event(LOG_WARN, "session_metrics_dropped", LOG_INT("count", dropped),
			  LOG_STR("reason", "the queue is full (sessions.queue)"), LOG_END);
	return dropped > 0;
}
