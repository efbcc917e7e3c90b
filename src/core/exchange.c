/* exchange.c -- one request: what the front knows of it, handing it over, and the client leaving.
 *
 * WHAT     The half of struct exchange that services look at. Its body is in exchange_body.c, replies are in
 *          reply.c, sending in conn_send.c.
 * WHY      Exchanges are kept for the next request (a few for each front), as 150,000 a second would otherwise be as
 *          many calls of malloc for each of their parts.
 * RULES    1. The exchange is freed on its front thread only, after its reply came back there; so owners on other
 *             threads need no count.
 *          2. `lock` guards the cancel and the hook; the hook is not run under it, as it will reply.
 * THREADS  As exchange.h says. */
#include "core/exchange.h"

#include "core/front_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define KEPT_BYTES 4096 /* buffers up to this stay with a spare exchange */

/* --- life --- */

static void make_id(struct front *f, char out[65])
{
	static const char hex[] = "0123456789abcdef";
	uint64_t x = f->id_state += 0x9e3779b97f4a7c15u; /* splitmix64, from a random start */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	x ^= x >> 31;
	for (int i = 0; i < 16; i++, x >>= 4)
		out[i] = hex[x & 15];
	out[16] = '\0';
}

static struct exchange *allocate(struct front *f)
{
	struct exchange *ex = f->spare;

	if (ex) {
		f->spare = ex->next_spare;
		f->spare_count--;
		return ex;
	}
	ex = xcalloc(1, sizeof(*ex));
	buf_init(&ex->head_bytes, 0);
	buf_init(&ex->lines, 0);
	buf_init(&ex->inflated, 0);
	buf_init(&ex->raw, 0);
	buf_init(&ex->peeked, 0);
	body_pipe_init(&ex->body);
	pthread_mutex_init(&ex->lock, NULL);
	arena_init(&ex->arena, EXCHANGE_ARENA_BYTES);
	return ex;
}

struct exchange *exchange_new(struct conn *c)
{
	struct exchange *ex = allocate(c->front);

	ex->magic = EXCHANGE_MAGIC;
	ex->conn = c;
	ex->front = c->front;
	ex->listener = c->listener;
	ex->head.count = 0;
	ex->head.minor = 1;
	ex->head.body = 0;
	ex->head.keep_alive = false;
	ex->head.method = ex->head.target = ex->head.authority = (struct slice){ NULL, 0 };
	ex->target = (struct slice){ NULL, 0 };
	make_id(c->front, ex->id);
	ex->service_arg = c->listener->arg;
	ex->data = NULL;
	ex->started_us = clock_mono_us();
	ex->fn = NULL;
	ex->body_encoded = ex->body_unknown_coding = false;
	ex->body_limit = c->front->limits.request_body;
	atomic_store_explicit(&ex->wants_continue, false, memory_order_relaxed);
	ex->inflated_at = ex->raw_at = 0;
	ex->raw_ended = false;
	ex->body_error = 0;
	atomic_store_explicit(&ex->gone, false, memory_order_relaxed);
	ex->gone_hook = NULL;
	atomic_store_explicit(&ex->replied, false, memory_order_relaxed);
	ex->status = 0;
	ex->dropped = ex->head_only = ex->has_date = false;
	ex->spool_from = 0;
	ex->total_bytes = -1;
	ex->done_hook = NULL;
	ex->ended = false;
	return ex;
}

static void reset_buf(struct buf *b)
{
	if (b->cap > KEPT_BYTES)
		buf_fini(b);
	else
		buf_reset(b);
}

void exchange_free(struct exchange *ex)
{
	struct front *f = ex->front;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	spool_unwatch(&ex->watch); /* no note is made any more; one may be in the mail */
	if (atomic_load(&ex->noted)) {
		ex->ended = true;
		return; /* spool_changed() comes back here */
	}
	blob_unref(&ex->blob);
	spool_unref(&ex->spool);
	cancel_unref(&ex->cancel);
	inflate_free(&ex->inflate);
	reset_buf(&ex->head_bytes);
	reset_buf(&ex->lines);
	buf_fini(&ex->inflated);
	buf_fini(&ex->raw);
	buf_fini(&ex->peeked);
	body_pipe_reset(&ex->body);
	arena_fini(&ex->arena);
	ex->magic = 0;
	ex->conn = NULL;
	if (f->spare_count < FRONT_SPARE_EXCHANGES && !f->stopping) {
		ex->next_spare = f->spare;
		f->spare = ex;
		f->spare_count++;
		return;
	}
	exchange_discard(ex);
}

void exchange_discard(struct exchange *ex)
{
	buf_fini(&ex->head_bytes);
	buf_fini(&ex->lines);
	body_pipe_fini(&ex->body);
	pthread_mutex_destroy(&ex->lock);
	free(ex);
}

static void log_request(const struct exchange *ex, uint64_t bytes_sent, bool whole)
{
	struct slice rest = ex->head.target, path;
	ssize_t at;

	(void)slice_cut(&rest, '?', &path); /* a query may hold anything, so it is not for logs */
	at = slice_find(path, '@');
	if (at >= 0) /* what stands before it may be a name and a password (RFC 3986 3.2.1) */
		path = slice_from(path, (size_t)at);
	log_event(LOG_DEBUG, "request", LOG_STR("id", ex->id), LOG_STR("listener", ex->listener->name),
		  LOG_STR("peer", ex->conn->peer), LOG_SLICE("method", ex->head.method), LOG_SLICE("path", path),
		  LOG_INT("status", ex->status), LOG_INT("bytes", bytes_sent),
		  LOG_INT("us", clock_mono_us() - ex->started_us), LOG_STR("end", whole ? "whole" : "cut"), LOG_END);
}

void exchange_finish(struct exchange *ex, uint64_t bytes_sent, bool whole)
{
	if (ex->status >= 100 && ex->status < 600)
		server_count(ex->listener->requests[ex->status / 100 - 1]);
	if (ex->listener->duration)
		metric_observe(ex->listener->duration, (double)(clock_mono_us() - ex->started_us) / 1e6);
	if (log_enabled(LOG_DEBUG))
		log_request(ex, bytes_sent, whole);
	if (ex->done_hook)
		ex->done_hook(ex->done_arg, ex->status, bytes_sent, whole);
	ex->done_hook = NULL;
}

/* --- the head --- */

/* A client's own id, when it is short and plain: it goes into logs and answers. */
static void take_id(struct exchange *ex)
{
	struct slice s = http_head_get(&ex->head, "x-request-id");

	if (!s.n || s.n >= sizeof(ex->id))
		return;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
		      (s.p[i] >= 'A' && s.p[i] <= 'Z') || s.p[i] == '-' || s.p[i] == '_' || s.p[i] == '.'))
			return;
	memcpy(ex->id, s.p, s.n);
	ex->id[s.n] = '\0';
}

/* RFC 9112 3.2.2: absolute-form to an origin server means the same as origin-form. */
static void set_target(struct exchange *ex)
{
	const struct http_head *h = &ex->head;
	struct slice rest;
	char *p;

	ex->target = h->target;
	if (h->form != HTTP_FORM_ABSOLUTE || ex->listener->absolute_form)
		return;
	rest = slice_from(h->target, (size_t)(h->authority.p - h->target.p) + h->authority.n);
	if (rest.n && rest.p[0] == '/') {
		ex->target = rest;
		return;
	}
	p = arena_alloc(&ex->arena, rest.n + 1);
	ENSURE(p); /* a head is smaller than the arena's ceiling */
	p[0] = '/';
	if (rest.n)
		memcpy(p + 1, rest.p, rest.n);
	ex->target = (struct slice){ p, rest.n + 1 };
}

void exchange_set_head(struct exchange *ex)
{
	struct slice coding = http_head_get(&ex->head, "content-encoding");

	take_id(ex);
	set_target(ex);
	if (coding.n && (slice_ieq_str(coding, "gzip") || slice_ieq_str(coding, "x-gzip")))
		ex->body_encoded = true;
	else if (coding.n && !slice_ieq_str(coding, "identity"))
		ex->body_unknown_coding = true;
	atomic_store(&ex->wants_continue, ex->head.expect_continue && ex->head.body != 0);
}

struct slice exchange_method(const struct exchange *ex)
{
	return ex->head.method;
}

struct slice exchange_target(const struct exchange *ex)
{
	return ex->target;
}

struct slice exchange_header(const struct exchange *ex, const char *lower_name)
{
	return http_head_get(&ex->head, lower_name);
}

size_t exchange_header_count(const struct exchange *ex)
{
	return ex->head.count;
}

void exchange_header_at(const struct exchange *ex, size_t i, struct slice *ret_name, struct slice *ret_value)
{
	ENSURE(i < ex->head.count);
	*ret_name = ex->head.fields[i].name;
	*ret_value = ex->head.fields[i].value;
}

const char *exchange_id(const struct exchange *ex)
{
	return ex->id;
}

struct slice exchange_authority(const struct exchange *ex)
{
	return ex->head.authority;
}

bool exchange_is_tls(const struct exchange *ex)
{
	return ex->listener->tls != NULL;
}

const char *exchange_peer(const struct exchange *ex)
{
	return ex->conn->peer;
}

bool exchange_is_head(const struct exchange *ex)
{
	return slice_eq_str(ex->head.method, "HEAD");
}

struct arena *exchange_arena(struct exchange *ex)
{
	return &ex->arena;
}

void *exchange_service_arg(const struct exchange *ex)
{
	return ex->service_arg;
}

void exchange_set_service_arg(struct exchange *ex, void *arg)
{
	ex->service_arg = arg;
}

void exchange_set_data(struct exchange *ex, void *data)
{
	ex->data = data;
}

void *exchange_data(const struct exchange *ex)
{
	return ex->data;
}

int64_t exchange_started_us(const struct exchange *ex)
{
	return ex->started_us;
}

/* --- handing over --- */

static void run_on_worker(void *arg)
{
	struct exchange *ex = arg;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	ex->fn(ex);
}

void exchange_to_worker(struct exchange *ex, struct lane *lane, exchange_fn *fn)
{
	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	ex->fn = fn;
	if (pool_submit(lane, run_on_worker, ex) < 0)
		reply_refusal(ex, HTTP_REFUSE_BUSY);
}

static void run_on_front(void *arg)
{
	struct exchange *ex = arg;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	conn_call(ex, ex->fn);
}

void exchange_resume_front(struct exchange *ex, exchange_fn *fn)
{
	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	ex->fn = fn;
	loop_post(ex->front->loop, run_on_front, ex);
}

/* --- the client leaving --- */

bool exchange_gone(const struct exchange *ex)
{
	return atomic_load_explicit(&ex->gone, memory_order_acquire);
}

struct cancel *exchange_cancel(struct exchange *ex)
{
	struct cancel *c;

	pthread_mutex_lock(&ex->lock);
	if (!ex->cancel && cancel_new(&ex->cancel) == 0 && exchange_gone(ex))
		cancel_fire(ex->cancel); /* nobody knows it yet, so nobody is called by this */
	c = ex->cancel;
	pthread_mutex_unlock(&ex->lock);
	return c;
}

void exchange_note_gone(struct exchange *ex)
{
	exchange_gone_fn *hook;
	void *arg;

	pthread_mutex_lock(&ex->lock);
	atomic_store_explicit(&ex->gone, true, memory_order_release);
	hook = ex->gone_hook;
	arg = ex->gone_arg;
	ex->gone_hook = NULL;
	if (ex->cancel)
		cancel_fire(ex->cancel);
	pthread_mutex_unlock(&ex->lock);
	if (hook)
		hook(arg);
}

bool exchange_set_gone_hook(struct exchange *ex, exchange_gone_fn *hook, void *arg)
{
	bool set;

	pthread_mutex_lock(&ex->lock);
	set = !exchange_gone(ex);
	if (set) {
		ex->gone_hook = hook;
		ex->gone_arg = arg;
	}
	pthread_mutex_unlock(&ex->lock);
	return set;
}

bool exchange_clear_gone_hook(struct exchange *ex)
{
	bool was_set;

	pthread_mutex_lock(&ex->lock);
	was_set = ex->gone_hook != NULL;
	ex->gone_hook = NULL;
	pthread_mutex_unlock(&ex->lock);
	return was_set;
}

void exchange_set_done_hook(struct exchange *ex, exchange_done_fn *hook, void *arg)
{
	ex->done_hook = hook;
	ex->done_arg = arg;
}
