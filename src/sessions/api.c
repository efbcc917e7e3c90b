/* api.c -- what programs ask of the daemon: one table of endpoints, one way through for all that carry a body.
 *
 * WHAT     JSON, types of the known fields, session, action; in this order, so that a client that sends nonsense
 *          hears 400 whether or not it names a session. A known field may be null, which is as good as absent; unknown
 *          ones are passed on.
 * RULES    1. "ok" leaves when the operation is durable: the callback of the outbox, or of sessions.db, answers.
 *          2. All of it runs on the front thread, as nothing blocks; on a worker when the body is large, when the
 *             session has to be looked up in the database, or when a full queue has to make room.
 *          3. Errors are one line of text; success is 200 with JSON (clients parse every body).
 * SEE      DATACAT_API.md, section 1 */
#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/json.h"
#include "sessions/fields.h"
#include "sessions/sessions_priv.h"

struct call;
struct endpoint {
	const char *path, *method;
	const struct field *fields; /* NULL: no body is read */
	unsigned json_flags;
	void (*direct)(struct exchange *ex); /* on the front thread */
	exchange_fn *on_worker; /* or there */
	/* With the lock held, on c->s. 0: the answer comes later; 1: ok; or a code. */
	int (*act)(struct call *c);
	enum op op; /* what is counted when it is refused */
};

struct call { /* in the arena of its exchange, as its data */
	struct sessions *ss;
	struct exchange *ex;
	const struct endpoint *e;
	json_t *body;
	struct session *s; /* used until the answer is sent */
	int64_t age_ms; /* how long it had waited in its program */
	unsigned flags_before; /* of s: as they are again when the change cannot be made durable */
	struct buf why;
};

/* --- answers ---------------------------------------------------------------------------------------------------- */

void sessions_reply_json(struct exchange *ex, int status, json_t *take)
{
	const struct header_line lines[] = { { "Content-Type", "application/json" }, { "Cache-Control", "no-store" } };
	struct buf body = BUF_EMPTY;

	json_write(take, &body);
	buf_add_char(&body, '\n');
	json_decref(take);
	exchange_reply(ex, status, lines, ARRAY_LEN(lines), blob_new_take(&body));
}

/* 404 makes a program register again: it is said only of what is not there. */
void sessions_reply_unknown(struct exchange *ex, int code)
{
	if (code == -ENOENT)
		exchange_reply_text(ex, 404, "Session not found");
	else
		exchange_reply_text(ex, 503, "The session cannot be looked up now: %s", err_text(code));
}

static void reply_ok(struct exchange *ex)
{
	const struct header_line lines[] = { { "Content-Type", "application/json" } };

	exchange_reply(ex, 200, lines, ARRAY_LEN(lines), blob_new_copy("{\"status\":\"ok\"}\n", 16));
}

static void reply_code(struct call *c, int code)
{
	sessions_count(c->ss, c->e->op, OUTCOME_REFUSED, 1);
	if (code == WEIR_E_PARSE)
		exchange_reply_text(c->ex, 400, "Invalid request: %s",
				    c->why.len ? c->why.data : "a field has the wrong type");
	else if (code == WEIR_E_TOO_LARGE)
		exchange_reply_text(c->ex, 413, "Too large: an operation has at most %d bytes", SESSIONS_MOST_BODY);
	else if (code == -EFBIG)
		exchange_reply_text(c->ex, 413,
				    "Too large: the session's state would grow above %d bytes; nothing was kept",
				    SESSIONS_MOST_STATE);
	else if (code == -EDQUOT)
		exchange_reply_text(c->ex, 503, "The queue is full (sessions.queue in weir.yaml); nothing was kept");
	else if (code == -ENOSPC)
		exchange_reply_text(c->ex, 503, "The disk is full; nothing was kept");
	else
		exchange_reply_text(c->ex, 503, "The operation could not be made durable: %s", err_text(code));
}

static void on_durable(void *arg, int code, uint64_t seq)
{
	struct call *c = arg;

	if (code < 0)
		reply_code(c, code);
	else
		reply_ok(c->ex);
}

static void on_total(void *arg, int code)
{
	struct call *c = arg;

	if (code == 0)
		sessions_count(c->ss, OP_METRIC, OUTCOME_ACCEPTED, 1);
	on_durable(c, code, 0);
}

/* --- what is done with a session: with the lock held ------------------------------------------------------------ */

/* The body as it goes on: all but what is the daemon's to say. */
static void write_item(struct call *c, struct buf *out)
{
	struct buf rest = BUF_EMPTY;

	(void)json_object_del(c->body, "session_id"); /* either may be absent */
	(void)json_object_del(c->body, "timestamp");
	json_write(c->body, &rest);
	buf_add_char(out, '{');
	op_add_time(out, c->age_ms);
	if (rest.len > 2)
		buf_add_char(out, ',');
	buf_add_slice(out, slice_from(buf_slice(&rest), 1));
	buf_fini(&rest);
}

static int act_state(struct call *c)
{
	struct buf item = BUF_EMPTY;
	bool is_put = false;
	int r;

	write_item(c, &item);
	r = op_put_state(c->ss, c->s, json_object_get(c->body, "state"), buf_slice(&item), &is_put, on_durable, c);
	buf_fini(&item);
	return r < 0 || is_put ? r : 1;
}

static void set_default(json_t *o, const char *name, json_t *take)
{
	json_t *v = json_object_get(o, name);

	if (!v || json_is_null(v))
		(void)json_object_set_new(o, name, take); /* is a value */
	else
		json_decref(take);
}

static int put_item(struct call *c, enum op op)
{
	struct buf item = BUF_EMPTY;
	int r;

	write_item(c, &item);
	c->s->updated_ms = clock_wall_ms();
	r = op_put(c->ss, c->s, op, buf_slice(&item), false, on_durable, c);
	buf_fini(&item);
	return r;
}

static int act_event(struct call *c)
{
	set_default(c->body, "labels", json_array());
	set_default(c->body, "data", json_object());
	return put_item(c, OP_EVENT);
}

static int act_metric(struct call *c)
{
	json_t *delta = json_object_get(c->body, "delta");
	struct slice type;

	set_default(c->body, "type", json_string("gauge"));
	type = slice_str(json_string_value(json_object_get(c->body, "type")));
	if (slice_eq_str(type, "histogram") || (slice_eq_str(type, "counter") && json_is_number(delta)))
		return totals_add(c->ss, c->s, c->body, on_total, c, &c->why);
	(void)json_object_del(c->body, "delta"); /* it may be absent */
	return put_item(c, OP_METRIC);
}

static void is_alive(struct session *s)
{
	s->beat_mono_ms = clock_mono_ms();
	s->beat_wall_ms = clock_wall_ms();
	s->flags &= ~(unsigned)SESSION_PAUSED;
}

/* Whether it is paused is durable as it was told, or as it was before. */
static void on_changed(void *arg, int code)
{
	struct call *c = arg;

	if (code < 0) {
		pthread_mutex_lock(&c->ss->lock);
		c->s->flags = (c->s->flags & ~(unsigned)SESSION_PAUSED) | (c->flags_before & SESSION_PAUSED);
		session_changed(c->s);
		pthread_mutex_unlock(&c->ss->lock);
	}
	on_durable(c, code, 0);
}

/* Its flags are not as they were, or not durable yet: whoever changed them waits for that. */
static int save_flags(struct call *c)
{
	if (c->s->flags != c->flags_before)
		session_changed(c->s);
	return session_is_saved(c->s) ? 1 : ledger_save_start(c->ss, c->s, on_changed, c);
}

/* That it has recovered is in the outbox: the row follows, and with it what else the heartbeat changed. */
static void on_recovered(void *arg, int code, uint64_t seq)
{
	struct call *c = arg;
	struct sessions *ss = c->ss;
	bool goes_on = false;

	pthread_mutex_lock(&ss->lock);
	c->s->is_telling_hang = false;
	if (code == 0) {
		c->s->flags &= ~(unsigned)SESSION_HUNG;
		session_changed(c->s);
		code = ledger_save_start(ss, c->s, on_changed, c);
		goes_on = code == 0;
	}
	pthread_mutex_unlock(&ss->lock);
	if (!goes_on)
		on_changed(c, code);
}

static int act_heartbeat(struct call *c)
{
	const struct own_event recovered = { .name = "application_recovered",
					     .category = "info",
					     .labels = "[\"heartbeat\",\"recovery\"]",
					     .mark = "recovered" };
	struct session *s = c->s;
	bool has_recovered = (s->flags & SESSION_HUNG) && !s->is_telling_hang;
	int r;

	if (has_recovered) {
		r = op_put_event(c->ss, s, &recovered, on_recovered, c);
		if (r < 0)
			return r;
		s->is_telling_hang = true;
	}
	c->flags_before = s->flags;
	is_alive(s);
	r = has_recovered ? 0 : s->flags != c->flags_before ? save_flags(c) : 1;
	sessions_count(c->ss, OP_HEARTBEAT, OUTCOME_ACCEPTED, 1);
	if (!(s->flags & SESSION_ENDED))
		beat_wanted(c->ss, s);
	return r;
}

static int act_pause(struct call *c)
{
	c->flags_before = c->s->flags;
	c->s->flags |= SESSION_PAUSED;
	return save_flags(c);
}

static int act_resume(struct call *c)
{
	c->flags_before = c->s->flags;
	is_alive(c->s);
	return save_flags(c);
}

static int act_end(struct call *c)
{
	const struct ending how = { OP_END, NULL };

	if ((c->s->flags & SESSION_ENDED) && !c->s->ending)
		return 1;
	return session_end(c->ss, c->s, &how, on_durable, c);
}

/* --- without a session ------------------------------------------------------------------------------------------ */

static struct sessions *service_of(struct exchange *ex)
{
	struct sessions *ss = exchange_service_arg(ex);

	OBJ_CHECK(ss, SESSIONS_MAGIC);
	return ss;
}

static void health(struct exchange *ex)
{
	struct sessions *ss = service_of(ex);
	json_t *o;
	size_t n;

	pthread_mutex_lock(&ss->lock);
	n = ss->count;
	pthread_mutex_unlock(&ss->lock);
	o = json_pack("{s:s, s:I, s:o}", "status", "ok", "sessions", (json_int_t)n, "queue", read_queue_json(ss));
	if (ss->is_damaged)
		(void)json_object_set_new(o, "damaged", json_pack("{s:I}", "saved", (json_int_t)ss->salvaged));
	sessions_reply_json(ex, 200, o);
}

static void queue(struct exchange *ex)
{
	sessions_reply_json(ex, 200, read_queue_json(service_of(ex)));
}

static void flush(struct exchange *ex)
{
	struct sessions *ss = service_of(ex);

	sessions_flush(ss);
	sessions_reply_json(ex, 200, json_pack("{s:s, s:o}", "status", "ok", "queue", read_queue_json(ss)));
}

/* --- the table -------------------------------------------------------------------------------------------------- */

static const struct endpoint endpoints[] = {
	{ .path = "/register", .method = "POST", .fields = fields_register },
	{ .path = "/state", .method = "POST", .fields = fields_state, .act = act_state, .op = OP_STATE },
	{ .path = "/event", .method = "POST", .fields = fields_event, .act = act_event, .op = OP_EVENT },
	{ .path = "/metric",
	  .method = "POST",
	  .fields = fields_metric,
	  .act = act_metric,
	  .op = OP_METRIC,
	  .json_flags = JSON_READ_INFINITY },
	{ .path = "/heartbeat", .method = "POST", .fields = fields_session, .act = act_heartbeat, .op = OP_HEARTBEAT },
	{ .path = "/pause_heartbeat",
	  .method = "POST",
	  .fields = fields_session,
	  .act = act_pause,
	  .op = OP_HEARTBEAT },
	{ .path = "/resume_heartbeat",
	  .method = "POST",
	  .fields = fields_session,
	  .act = act_resume,
	  .op = OP_HEARTBEAT },
	{ .path = "/end", .method = "POST", .fields = fields_session, .act = act_end, .op = OP_END },
	{ .path = "/session", .method = "GET", .on_worker = read_session },
	{ .path = "/sessions", .method = "GET", .on_worker = read_sessions },
	{ .path = "/health", .direct = health },
	{ .path = "/queue", .method = "GET", .direct = queue },
	{ .path = "/flush", .method = "POST", .on_worker = flush },
};

/* --- one way for all that have a body --------------------------------------------------------------------------- */

static int read_body(struct call *c, struct slice text)
{
	int r = json_read(text, c->e->json_flags, &c->body, &c->why);

	return r < 0 ? r : fields_check(c->body, c->e->fields, &c->why);
}

/* 0: c is not to be touched any more, as whoever answers it does so as soon as the lock is free. */
static int act(struct call *c)
{
	struct sessions *ss = c->ss;
	int r;

	pthread_mutex_lock(&ss->lock);
	r = c->e->act(c);
	pthread_mutex_unlock(&ss->lock);
	return r;
}

/* A full queue: one at a time, so that not all walk through it. */
static void act_with_room(struct exchange *ex)
{
	struct call *c = exchange_data(ex); /* answered by another thread, and gone, once act() gave 0 */
	struct sessions *ss = c->ss;
	int r;

	pthread_mutex_lock(&ss->drop_lock);
	r = act(c);
	if (r == -EDQUOT && op_make_room(ss))
		r = act(c);
	pthread_mutex_unlock(&ss->drop_lock);
	if (r < 0)
		reply_code(c, r);
	else if (r > 0)
		reply_ok(ex);
}

/* The call has its session. */
static void go_on(struct call *c)
{
	struct sessions *ss = c->ss;
	struct exchange *ex = c->ex;
	int r = act(c);

	if (r == -EDQUOT)
		exchange_to_worker(ex, ss->read_lane, act_with_room);
	else if (r < 0)
		reply_code(c, r);
	else if (r > 0)
		reply_ok(ex);
}

static struct slice session_id_of(struct call *c)
{
	return slice_str(json_string_value(json_object_get(c->body, "session_id")));
}

static void look_up(struct exchange *ex)
{
	struct call *c = exchange_data(ex);

	int r = session_get(c->ss, session_id_of(c), &c->s);

	if (r < 0)
		sessions_reply_unknown(ex, r);
	else
		go_on(c);
}

static void run(struct call *c, struct slice text)
{
	struct sessions *ss = c->ss;
	int r = read_body(c, text);

	if (r < 0) {
		reply_code(c, r);
		return;
	}
	c->age_ms = op_take_age(c->body);
	if (!c->e->act) {
		register_begin(c->ex, c->body, c->age_ms);
		return;
	}
	pthread_mutex_lock(&ss->lock);
	c->s = session_find(ss, session_id_of(c));
	if (c->s)
		session_use(c->s);
	pthread_mutex_unlock(&ss->lock);
	if (c->s)
		go_on(c);
	else
		exchange_to_worker(c->ex, ss->read_lane, look_up);
}

static void run_large(struct exchange *ex)
{
	struct call *c = exchange_data(ex);
	struct buf text = BUF_LIMIT(SESSIONS_MOST_BODY);
	int r = exchange_body_read_all(ex, &text);

	if (r < 0)
		exchange_reply_body_error(ex, r);
	else
		run(c, buf_slice(&text));
	buf_fini(&text);
}

static void done(void *arg, int status, uint64_t bytes, bool whole)
{
	struct call *c = arg;

	json_decref(c->body);
	buf_fini(&c->why);
	if (!c->s)
		return;
	pthread_mutex_lock(&c->ss->lock);
	session_unuse(c->ss, c->s);
	pthread_mutex_unlock(&c->ss->lock);
}

static void begin(struct exchange *ex, const struct endpoint *e)
{
	struct call *c = arena_alloc(exchange_arena(ex), sizeof(*c)); /* of an arena that nobody has used yet */
	struct slice text;
	int r;

	*c = (struct call){ .ss = service_of(ex), .ex = ex, .e = e, .why = BUF_EMPTY };
	exchange_set_data(ex, c);
	exchange_set_done_hook(ex, done, c);
	if (exchange_body_announced(ex) > SESSIONS_MOST_BODY) {
		reply_code(c, WEIR_E_TOO_LARGE);
		return;
	}
	r = exchange_body_peek(ex, &text);
	if (r == 0)
		run(c, text);
	else if (r == -EAGAIN)
		exchange_to_worker(ex, c->ss->read_lane, run_large);
	else
		exchange_reply_body_error(ex, r);
}

static void refuse_method(struct exchange *ex, const char *allowed)
{
	const struct header_line lines[] = { { "Content-Type", "text/plain; charset=utf-8" }, { "Allow", allowed } };

	exchange_reply(ex, 405, lines, ARRAY_LEN(lines), blob_new_copy("Method not allowed\n", 19));
}

static struct slice path_of(struct slice target)
{
	struct slice path;

	(void)slice_cut(&target, '?', &path);
	return path;
}

void sessions_handle(struct exchange *ex)
{
	struct slice path = path_of(exchange_target(ex)), method = exchange_method(ex);

	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
		const struct endpoint *e = &endpoints[i];

		if (!slice_eq_str(path, e->path))
			continue;
		if (e->method && !slice_eq_str(method, e->method) &&
		    !(strcmp(e->method, "GET") == 0 && exchange_is_head(ex)))
			refuse_method(ex, e->method);
		else if (e->direct)
			e->direct(ex);
		else if (e->on_worker)
			exchange_to_worker(ex, service_of(ex)->read_lane, e->on_worker);
		else
			begin(ex, e);
		return;
	}
	exchange_reply_text(ex, 404, "Not found");
}
