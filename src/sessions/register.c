/* register.c -- a program begins: a row, an operation that creates the session at the server, an id for the program.
 *
 *      row durable -> creation in the outbox -> server away? -> its local id
 *                                            -> else parked until the server's id comes, or register_patience is over
 *
 * RULES    1. The program gets its answer when both are durable, never sooner; and whichever id it gets, both stay
 *          valid for ever.
 *          2. Creation has a key of its own: however often it is sent, one session comes of it.
 * THREADS  Front, then the two writer threads, then whoever ends the wait: the carrier with the id, or the watcher's
 *          clock. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/rand.h"
#include "base/str.h"
#include "core/json.h"
#include "io/file.h"
#include "sessions/sessions_priv.h"

#define MOST_FURTHER 65536 /* bytes, as a hub takes them with braces around: else their session would never be created */

struct waiter { /* in the arena of its exchange */
	struct list node; /* of sessions.waiting */
	struct sessions *ss;
	struct session *s;
	struct exchange *ex;
	json_t *body; /* of the request, as long as ex is not answered */
	int64_t until_mono_ms;
	char id[ANSWER_MOST_ID + 1]; /* to be answered */
};

static void answer(struct exchange *ex, const char *id)
{
	sessions_reply_json(ex, 200, json_pack("{s:s}", "session_id", id));
}

/* --- what goes to the server ------------------------------------------------------------------------------------ */

static void add_member(struct buf *out, const char *name, const char *value)
{
	buf_addf(out, "\"%s\":", name);
	json_write_text(slice_str(value), out);
	buf_add_char(out, ',');
}

/* What its program told beyond what is known here. */
static void add_further(struct buf *out, json_t *body)
{
	static const char *const ours[] = { "product", "version",    "machine_id", "hostname",
					    "key",     "created_at", "parent_pid", "session_id" };
	const char *name;
	json_t *v;

	json_object_foreach(body, name, v)
	{
		bool is_ours = false;

		for (size_t i = 0; i < ARRAY_LEN(ours); i++)
			is_ours = is_ours || strcmp(name, ours[i]) == 0;
		if (is_ours)
			continue;
		json_write_text(slice_str(name), out);
		buf_add_char(out, ':');
		json_write(v, out);
		buf_add_char(out, ',');
	}
}

static bool is_too_much(json_t *body)
{
	struct buf b = BUF_EMPTY;
	bool yes;

	add_further(&b, body); /* a comma behind each: one more than the hub has between, where it has two braces */
	yes = b.len + 1 > MOST_FURTHER;
	buf_fini(&b);
	return yes;
}

static void write_creation(const struct sessions *ss, const struct session *s, json_t *body, struct buf *out)
{
	unsigned char random[16];

	rand_bytes(random, sizeof(random));
	buf_add_char(out, '{');
	add_further(out, body);
	add_member(out, "product", s->product);
	add_member(out, "version", s->version);
	add_member(out, "machine_id", ss->machine_id);
	add_member(out, "hostname", ss->hostname);
	buf_addf(out, "\"key\":\"%s-", s->local_id);
	str_hex(random, sizeof(random), out);
	buf_add_str(out, "\",\"created_at\":\"");
	clock_format_rfc3339(s->created_ms, out);
	buf_add_str(out, "\"}");
}

/* --- the steps -------------------------------------------------------------------------------------------------- */

static void give_up(struct waiter *w, int code)
{
	struct sessions *ss = w->ss;

	sessions_count(ss, OP_CREATE, OUTCOME_REFUSED, 1);
	pthread_mutex_lock(&ss->lock);
	w->s->flags |= SESSION_ENDED |
		       SESSION_DONE; /* forgotten when nothing uses it any more; its row is at the next start */
	w->s->row_given = w->s->row_saved = w->s->row_changes; /* none is to be written */
	ss->count--;
	watch_end(ss, w->s);
	pthread_mutex_unlock(&ss->lock);
	exchange_reply_text(w->ex, 503,
			    code == -EDQUOT   ? "The queue is full (sessions.queue in weir.yaml); nothing was kept"
			    : code == -ENOSPC ? "The disk is full; nothing was kept"
					      : "The session could not be made durable");
}

/* The creation is durable. */
static void on_created(void *arg, int code, uint64_t seq)
{
	struct waiter *w = arg;
	struct sessions *ss = w->ss;
	struct session *s = w->s;
	struct exchange *ex = w->ex;
	bool waits;

	if (code < 0) {
		give_up(w, code);
		return;
	}
	pthread_mutex_lock(&ss->lock);
	s->is_created = true;
	ss->began++;
	waits = !link_state_is_open(link_state(ss->link)) && w->until_mono_ms > clock_mono_ms();
	if (waits) {
		s->waiter = w;
		list_push_back(&ss->waiting, &w->node);
	} else {
		s->flags |= SESSION_TOLD_LOCAL;
	}
	pthread_mutex_unlock(&ss->lock);
	/* whoever called this uses the session; w may be gone by now */
	log_event(LOG_INFO, "session_created", LOG_STR("session", s->local_id), LOG_STR("product", s->product),
		  LOG_STR("version", s->version), LOG_INT("pid", s->pid), LOG_END);
	if (waits)
		watcher_poke(ss);
	else
		answer(ex, s->local_id);
}

static int put_creation(struct waiter *w)
{
	struct sessions *ss = w->ss;
	struct buf body = BUF_EMPTY;
	int r;

	pthread_mutex_lock(&ss->lock);
	write_creation(ss, w->s, w->body, &body);
	r = op_put(ss, w->s, OP_CREATE, buf_slice(&body), true, on_created, w);
	pthread_mutex_unlock(&ss->lock);
	buf_fini(&body);
	return r;
}

/* On a worker, as in api.c: the queue was full. */
static void put_with_room(struct exchange *ex)
{
	struct waiter *w = exchange_data(ex);
	struct sessions *ss = w->ss;
	int r;

	pthread_mutex_lock(&ss->drop_lock);
	r = put_creation(w);
	if (r == -EDQUOT && op_make_room(ss))
		r = put_creation(w);
	pthread_mutex_unlock(&ss->drop_lock);
	if (r < 0)
		give_up(w, r);
}

/* The row is durable. */
static void on_row(void *arg, int code)
{
	struct waiter *w = arg;

	if (code == 0)
		code = put_creation(w);
	if (code == -EDQUOT) {
		exchange_set_data(w->ex, w);
		exchange_to_worker(w->ex, w->ss->read_lane, put_with_room);
	} else if (code < 0) {
		give_up(w, code);
	}
}

/* A program that did not hear the answer asks again with the key that it made up: the same session, not another one,
 * which would be reported as crashed when the program ends. With the lock held. */
static struct session *with_key(struct sessions *ss, const char *key)
{
	if (!key)
		return NULL;
	LIST_FOREACH (it, &ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		if (s->client_key && strcmp(s->client_key, key) == 0 && !(s->flags & SESSION_ENDED))
			return s;
	}
	return NULL;
}

/* Its id, or "": it is still being made. With the lock held. */
static void tell_id(struct session *s, char ret[ANSWER_MOST_ID + 1])
{
	ret[0] = '\0';
	if (!s->is_created)
		return;
	(void)snprintf(ret, ANSWER_MOST_ID + 1, "%s", s->hub_id ? s->hub_id : s->local_id);
	if (!s->hub_id)
		s->flags |= SESSION_TOLD_LOCAL;
}

static void answer_again(struct exchange *ex, const char *id)
{
	if (*id)
		answer(ex, id);
	else
		exchange_reply_text(ex, 503, "This session is being registered: ask again");
}

void register_begin(struct exchange *ex, json_t *body, int64_t age_ms)
{
	struct sessions *ss = exchange_service_arg(ex);
	struct waiter *w = arena_alloc(exchange_arena(ex), sizeof(*w)); /* a few bytes of a megabyte */
	json_int_t pid = json_integer_value(json_object_get(body, "parent_pid"));
	const char *key = json_string_value(json_object_get(body, "key"));
	char id[ANSWER_MOST_ID + 1];
	struct process process;
	struct session *s;
	int r;

	if (pid > INT32_MAX) {
		exchange_reply_text(ex, 400, "Invalid request: \"parent_pid\" is no process id");
		return;
	}
	if (is_too_much(body)) {
		exchange_reply_text(ex, 400,
				    "Invalid request: the further members of a session take at most 64 KiB; tell the "
				    "rest with /state");
		return;
	}
	process = watch_look(pid > 0 ? pid : 0);
	pthread_mutex_lock(&ss->lock);
	s = with_key(ss, key);
	if (s) {
		tell_id(s, id);
		pthread_mutex_unlock(&ss->lock);
		fd_close(&process.fd);
		answer_again(ex, id);
		return;
	}
	s = session_new(ss);
	s->client_key = key ? xstrdup(key) : NULL;
	s->created_ms -= age_ms;
	s->product = xstrdup(json_string_value(json_object_get(body, "product")));
	s->version = xstrdup(json_string_value(json_object_get(body, "version")));
	s->known = json_pack("{s:s, s:s}", "product", s->product, "version", s->version);
	s->pid = pid > 0 ? pid : 0;
	*w = (struct waiter){
		.ss = ss,
		.s = s,
		.ex = ex,
		.body = body,
		.until_mono_ms = clock_mono_ms() + sessions_config(ss)->register_patience,
	};
	list_init(&w->node);
	watch_begin(ss, s, process, true);
	r = ledger_save_start(ss, s, on_row, w);
	pthread_mutex_unlock(&ss->lock);
	if (r < 0)
		give_up(w, r);
}

/* --- the end of the wait ---------------------------------------------------------------------------------------- */

/* With the lock held. It is the caller's to answer then. */
static void stop_waiting(struct waiter *w, const char *id, struct list *ready)
{
	(void)snprintf(w->id, sizeof(w->id), "%s", id);
	w->s->waiter = NULL;
	list_remove(&w->node);
	list_push_back(ready, &w->node);
}

static void answer_all(struct list *ready)
{
	LIST_FOREACH_SAFE (it, next, ready) {
		struct waiter *w = LIST_ENTRY(it, struct waiter, node);

		list_remove(&w->node);
		answer(w->ex, w->id);
	}
}

void register_hub_id_known(struct sessions *ss, struct session *s)
{
	struct list ready;

	list_init(&ready);
	pthread_mutex_lock(&ss->lock);
	if (s->waiter)
		stop_waiting(s->waiter, s->hub_id, &ready);
	pthread_mutex_unlock(&ss->lock);
	answer_all(&ready);
}

int64_t register_expire(struct sessions *ss, int64_t now_mono_ms)
{
	bool is_away = link_state_is_open(link_state(ss->link));
	int64_t next = INT64_MAX;
	struct list ready;

	list_init(&ready);
	pthread_mutex_lock(&ss->lock);
	LIST_FOREACH_SAFE (it, after, &ss->waiting) {
		struct waiter *w = LIST_ENTRY(it, struct waiter, node);

		if (w->until_mono_ms <= now_mono_ms || is_away) {
			w->s->flags |= SESSION_TOLD_LOCAL;
			stop_waiting(w, w->s->local_id, &ready);
		} else if (w->until_mono_ms < next) {
			next = w->until_mono_ms;
		}
	}
	pthread_mutex_unlock(&ss->lock);
	answer_all(&ready);
	return next;
}
