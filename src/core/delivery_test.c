/* delivery_test.c -- a real outbox, a real link to a small upstream, and a carrier that does as each test says. */
#include "core/delivery.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

#define PATIENCE_MS 30000
#define PARALLEL 8
#define HOUR_MS 3600000

/* --- an upstream that answers 200, or is not there --- */

static struct {
	pthread_t thread;
	int fd, port;
} up;

static void *upstream_main(void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

	for (;;) {
		int conn = accept4(up.fd, NULL, NULL, SOCK_CLOEXEC);
		char c[4096];

		if (conn < 0)
			return NULL;
		if (recv(conn, c, sizeof(c), 0) > 0)
			(void)send(conn, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
		close(conn);
	}
}

static void upstream_start(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr = { htonl(INADDR_LOOPBACK) },
				 .sin_port = htons((uint16_t)up.port) };
	socklen_t n = sizeof(a);
	int on = 1;

	up.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ENSURE(setsockopt(up.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	ENSURE(bind(up.fd, (struct sockaddr *)&a, n) == 0 && listen(up.fd, 64) == 0);
	ENSURE(getsockname(up.fd, (struct sockaddr *)&a, &n) == 0);
	up.port = ntohs(a.sin_port);
	ENSURE(pthread_create(&up.thread, NULL, upstream_main, NULL) == 0);
}

static void upstream_stop(void)
{
	shutdown(up.fd, SHUT_RDWR);
	pthread_join(up.thread, NULL);
	close(up.fd);
}

/* --- the ground --- */

typedef void behave_fn(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret);

static char folder[64];
static struct pool *pool;
static struct metrics *metrics;
static struct link *l;
static struct outbox *ob;
static struct outbox_queue *q;
static struct delivery *d;
static pthread_mutex_t hook_lock = PTHREAD_MUTEX_INITIALIZER; /* guards d against the link's hook */
static behave_fn *_Atomic behave;
static atomic_bool new_token;
static struct outbox_base rebase_to;
static int rebase_error;

/* What was carried, in the order of the beginnings. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned begun, ended, running;
	uint64_t seqs[1000];
	unsigned running_at[1000], ended_at[1000]; /* when the nth began, itself included */
	int64_t began_ms;
	bool gate_open;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void carry(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	pthread_mutex_lock(&seen.lock);
	if (!seen.begun)
		seen.began_ms = clock_mono_ms();
	ENSURE(seen.begun < ARRAY_LEN(seen.seqs));
	seen.running++;
	seen.seqs[seen.begun] = e->seq;
	seen.running_at[seen.begun] = seen.running;
	seen.ended_at[seen.begun] = seen.ended;
	seen.begun++;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
	atomic_load(&behave)(e, cancel, ret);
	pthread_mutex_lock(&seen.lock);
	seen.running--;
	seen.ended++;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static struct timespec limit(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += PATIENCE_MS / 1000;
	return t;
}

static void wait_begun(unsigned n)
{
	struct timespec t = limit();
	int r = 0;

	pthread_mutex_lock(&seen.lock);
	while (seen.begun < n && r == 0)
		r = pthread_cond_timedwait(&seen.changed, &seen.lock, &t);
	pthread_mutex_unlock(&seen.lock);
	assert_int_equal(r, 0);
}

static void wait_gate(void)
{
	pthread_mutex_lock(&seen.lock);
	while (!seen.gate_open)
		pthread_cond_wait(&seen.changed, &seen.lock);
	pthread_mutex_unlock(&seen.lock);
}

static void open_gate(void)
{
	pthread_mutex_lock(&seen.lock);
	seen.gate_open = true;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static bool may_resume(void *arg)
{
	return atomic_load(&new_token);
}

static int rebase(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct outbox_base *ret,
		  struct buf *err)
{
	if (rebase_error)
		buf_add_str(err, "the line is cut");
	else
		outbox_base_copy(ret, &rebase_to);
	return rebase_error;
}

static void on_link(void *arg, bool is_up)
{
	pthread_mutex_lock(&hook_lock);
	if (d)
		delivery_link_changed(d, is_up);
	pthread_mutex_unlock(&hook_lock);
}

static void open_outbox(void)
{
	static const struct outbox_limits limits = { .keep_settled_ms = HOUR_MS };
	struct buf err = BUF_EMPTY;

	if (outbox_open(folder, &ob, &err) < 0)
		fail_msg("%s", err.data);
	q = outbox_queue(ob, "files", &limits);
}

static void start_delivery(int64_t retry_first_ms, int64_t retry_max_ms)
{
	const struct delivery_options o = { .outbox = ob,
					    .queue = q,
					    .link = l,
					    .pool = pool,
					    .metrics = metrics,
					    .service = "files",
					    .most_parallel = PARALLEL,
					    .retry_first_ms = retry_first_ms,
					    .retry_max_ms = retry_max_ms,
					    .carry = carry,
					    .may_resume = may_resume,
					    .rebase = rebase };
	struct delivery *made = NULL;

	assert_int_equal(delivery_new(&o, &made), 0);
	pthread_mutex_lock(&hook_lock);
	d = made;
	pthread_mutex_unlock(&hook_lock);
}

static void stop_delivery(void)
{
	struct delivery *old = d;

	pthread_mutex_lock(&hook_lock);
	d = NULL;
	pthread_mutex_unlock(&hook_lock);
	delivery_stop(old);
	delivery_free(old);
}

static void applied(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	ret->to = CARRIED_APPLIED;
	ret->status = 201;
}

static int setup(void **state)
{
	struct link_options o = { .name = "files",
				  .service = "files",
				  .enabled = true,
				  .connect_timeout_ms = 5000,
				  .stall_timeout_ms = 5000,
				  .probe_first_ms = 20,
				  .probe_max_ms = 50,
				  .probe_patience_ms = 5000,
				  .most_workers = 2 * PARALLEL };
	char *url;

	up.port = 0;
	upstream_start();
	(void)snprintf(folder, sizeof(folder), "/tmp/weir-delivery-XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_int_equal(pool_new(2 * PARALLEL, &pool), 0);
	metrics = metrics_new();
	url = xstrf("http://127.0.0.1:%d", up.port);
	o.url = url;
	assert_int_equal(link_new(&o, pool, metrics, &l), 0);
	free(url);
	link_set_change_hook(l, on_link, NULL);
	open_outbox();
	behave = applied;
	new_token = false;
	rebase_error = 0;
	seen.begun = seen.ended = seen.running = 0;
	seen.gate_open = false;
	start_delivery(1, 5);
	return 0;
}

static int teardown(void **state)
{
	if (d)
		stop_delivery();
	outbox_close(ob);
	link_free(l);
	assert_int_equal(pool_drain(pool, 5000), 0);
	pool_free(pool);
	metrics_free(metrics);
	upstream_stop();
	return tree_remove(folder);
}

static uint64_t put(const char *key)
{
	struct outbox_write w = { .key = slice_str(key),
				  .method = SLICE_LIT("PUT"),
				  .uri = slice_str(key),
				  .headers = SLICE_LIT("Content-Type: text/plain\n"),
				  .content_type = SLICE_LIT("text/plain"),
				  .is_base = true,
				  .body = SLICE_LIT("ours"),
				  .expect_tail = OUTBOX_ANY };
	struct outbox_receipt r;

	assert_int_equal(outbox_put(q, &w, &r), 0);
	return r.seq;
}

static struct outbox_entry get(uint64_t seq)
{
	struct outbox_entry e = { .seq = 0 };

	assert_int_equal(outbox_get(ob, seq, &e), 0);
	return e;
}

static enum outbox_state state_of(uint64_t seq)
{
	struct outbox_entry e = get(seq);
	enum outbox_state s = e.state;

	outbox_entry_fini(&e);
	return s;
}

static void wait_state(uint64_t seq, enum outbox_state s)
{
	for (int ms = 0; state_of(seq) != s && ms < PATIENCE_MS; ms++)
		usleep(1000);
	assert_string_equal(outbox_state_text(state_of(seq)), outbox_state_text(s));
}

static uint64_t count(enum outbox_state s)
{
	struct outbox_figures f;

	outbox_figures(q, &f);
	return f.entries[s];
}

static void wait_count(enum outbox_state s, uint64_t n)
{
	for (int ms = 0; count(s) != n && ms < PATIENCE_MS; ms++)
		usleep(1000);
	assert_int_equal(count(s), n);
}

static void assert_metric(const char *line)
{
	struct buf out = BUF_EMPTY, want = BUF_EMPTY;

	buf_addf(&want, "\n%s\n", line);
	metrics_render(metrics, &out);
	if (!strstr(out.data, want.data))
		fail_msg("\"%s\" is not in:\n%s", line, out.data);
	buf_fini(&want);
	buf_fini(&out);
}

/* --- what goes, and when --- */

static void what_is_put_is_carried_once_and_in_order_for_each_key(void **state)
{
	static const char *const keys[] = { "/a", "/b", "/c", "/d" };
	uint64_t seqs[40];

	for (size_t i = 0; i < ARRAY_LEN(seqs); i++)
		seqs[i] = put(keys[i % 4]);
	wait_count(OUTBOX_APPLIED, ARRAY_LEN(seqs));
	assert_int_equal(seen.begun, ARRAY_LEN(seqs));
	for (size_t key = 0; key < 4; key++) {
		uint64_t last = 0;

		for (size_t i = 0; i < ARRAY_LEN(seqs); i++) {
			size_t place = 0;

			while (place < ARRAY_LEN(seqs) && seen.seqs[i] != seqs[place])
				place++;
			assert_true(place < ARRAY_LEN(seqs));
			if (place % 4 != key)
				continue;
			assert_true(seen.seqs[i] > last);
			last = seen.seqs[i];
		}
	}
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"applied\"} 40");
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"held\"} 0");
	assert_metric("weir_outbox_entries{service=\"files\",state=\"applied\"} 40");
	assert_metric("weir_outbox_oldest_age_seconds{service=\"files\"} 0");
	assert_metric("weir_outbox_damaged_total 0");
}

static void nothing_goes_while_the_upstream_is_switched_off_and_all_when_it_is_on_again(void **state)
{
	uint64_t seqs[5];
	json_t *o = json_object();

	link_enable(l, false);
	for (size_t i = 0; i < ARRAY_LEN(seqs); i++)
		seqs[i] = put(i % 2 ? "/a" : "/b");
	delivery_flush(d); /* not even then */
	delivery_status(d, o);
	assert_int_equal(json_integer_value(json_object_get(o, "queued")), 5);
	assert_int_equal(json_integer_value(json_object_get(o, "bytes")), 20);
	assert_string_equal(json_string_value(json_object_get(o, "upstream")), "disabled");
	assert_true(json_is_string(json_object_get(o, "oldest_at")));
	assert_string_equal(json_string_value(json_object_get(o, "paused")), "");
	json_decref(o);
	assert_metric("weir_outbox_entries{service=\"files\",state=\"queued\"} 5");
	assert_metric("weir_outbox_bytes{service=\"files\",state=\"queued\"} 20");
	assert_int_equal(seen.begun, 0);
	link_enable(l, true);
	wait_count(OUTBOX_APPLIED, 5);
	for (size_t i = 0; i < ARRAY_LEN(seqs); i++)
		assert_int_equal(state_of(seqs[i]), OUTBOX_APPLIED);
}

static void it_begins_with_one_at_a_time(void **state)
{
	char key[20];

	link_enable(l, false);
	for (int i = 0; i < 60; i++) {
		(void)snprintf(key, sizeof(key), "/%d", i);
		(void)put(key);
	}
	link_enable(l, true);
	wait_count(OUTBOX_APPLIED, 60);
	/* Each answer doubles how many may run; so does a slow second add one. */
	for (unsigned i = 0; i < 60; i++) {
		unsigned ended = seen.ended_at[i], most = ended < 3 ? 1u << ended : PARALLEL;

		most += (unsigned)((clock_mono_ms() - seen.began_ms) / 1000) + 1;
		assert_true(seen.running_at[i] <= (most < PARALLEL ? most : PARALLEL));
	}
	assert_int_equal(seen.running_at[0], 1);
}

static void hang(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (slice_starts(buf_slice(&e->key), "/hang"))
		wait_gate();
	applied(e, cancel, ret);
}

static void entries_that_hang_hold_up_nobody_else(void **state)
{
	uint64_t bad[2], good;

	behave = hang;
	link_enable(l, false);
	bad[0] = put("/hang/1");
	bad[1] = put("/hang/2");
	good = put("/good");
	link_enable(l, true); /* begins with one at a time, and that one hangs */
	wait_state(good, OUTBOX_APPLIED);
	assert_int_equal(state_of(bad[0]), OUTBOX_SENDING);
	assert_int_equal(state_of(bad[1]), OUTBOX_SENDING);
	open_gate();
	wait_state(bad[0], OUTBOX_APPLIED);
	wait_state(bad[1], OUTBOX_APPLIED);
}

static void what_was_queued_before_a_restart_goes_after_it(void **state)
{
	uint64_t seq;

	link_enable(l, false);
	seq = put("/a");
	stop_delivery();
	outbox_close(ob);
	link_enable(l, true);
	open_outbox();
	start_delivery(1, 5);
	wait_state(seq, OUTBOX_APPLIED);
	assert_int_equal(seen.begun, 1);
}

/* --- what came of it --- */

static void fail_three_times(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (e->attempts >= 3) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = CARRIED_LATER;
	ret->status = 503;
	buf_add_str(&ret->error, "status 503");
}

static void it_is_tried_again_until_it_is_taken(void **state)
{
	struct outbox_entry e;
	uint64_t seq;

	behave = fail_three_times;
	seq = put("/a");
	wait_state(seq, OUTBOX_APPLIED);
	e = get(seq);
	assert_int_equal(e.attempts, 4);
	assert_int_equal(e.last_status, 201);
	outbox_entry_fini(&e);
	assert_int_equal(seen.begun, 4);
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"deferred\"} 3");
}

static void in_a_year(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	ret->to = CARRIED_LATER;
	ret->status = 429;
	ret->retry_after_ms = 365LL * 24 * HOUR_MS;
	buf_add_str(&ret->error, "status 429");
}

static void what_upstream_asks_for_is_the_least_wait_but_not_believed_without_end(void **state)
{
	int64_t before = clock_wall_ms();
	struct outbox_entry e;
	uint64_t seq;

	behave = in_a_year;
	seq = put("/a");
	wait_begun(1);
	wait_state(seq, OUTBOX_QUEUED);
	e = get(seq);
	assert_true(e.next_attempt_wall_ms >= before + DELIVERY_RETRY_AFTER_MOST_MS);
	assert_true(e.next_attempt_wall_ms <= clock_wall_ms() + DELIVERY_RETRY_AFTER_MOST_MS);
	assert_string_equal(e.last_error.data, "status 429");
	outbox_entry_fini(&e);
	behave = applied;
	delivery_flush(d);
	wait_state(seq, OUTBOX_APPLIED);
}

static void ask_the_upstream(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	struct client_request rq = { .method = "GET", .target = SLICE_LIT("/x") };
	struct client_result res;
	int r = link_call(l, &rq, NULL, cancel, &res);

	if (r == 0) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = r == WEIR_E_OPEN ? CARRIED_NOT : CARRIED_LATER;
	buf_add_str(&ret->error, err_text(r));
}

static void when_the_upstream_is_back_nobody_waits_for_the_end_of_a_back_off(void **state)
{
	uint64_t seq;

	behave = ask_the_upstream;
	delivery_set_retry(d, 24 * HOUR_MS, 24 * HOUR_MS);
	upstream_stop();
	seq = put("/a"); /* the first failure opens the breaker, and the link's probe looks from then on */
	wait_begun(1);
	for (int ms = 0; link_state(l) != LINK_DOWN && ms < PATIENCE_MS; ms++)
		usleep(1000);
	wait_state(seq, OUTBOX_QUEUED);
	upstream_start();
	wait_state(seq, OUTBOX_APPLIED);
	assert_int_equal(seen.begun, 2);
}

static void refuse(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	static const char words[] = "because of the moon. ";

	ret->to = CARRIED_HELD;
	ret->status = 400;
	buf_add_str(&ret->error, "refused");
	buf_add_str(&ret->answer_type, "text/plain");
	while (ret->answer.len <= OUTBOX_MOST_ANSWER)
		buf_add_str(&ret->answer, words);
}

static void a_refusal_is_held_with_upstreams_words(void **state)
{
	struct outbox_entry e;
	uint64_t seq;

	behave = refuse;
	seq = put("/a");
	wait_state(seq, OUTBOX_HELD);
	e = get(seq);
	assert_int_equal(e.last_status, 400);
	assert_int_equal(e.answer.len, OUTBOX_MOST_ANSWER);
	assert_string_equal(e.answer_type.data, "text/plain");
	assert_string_equal(e.last_error.data, "refused");
	outbox_entry_fini(&e);
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"held\"} 1");
}

static void find_changed(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (slice_eq_str(buf_slice(&e->base.etag), "\"theirs\"")) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = CARRIED_CONFLICT;
	ret->status = 412;
	ret->base.known = true;
	buf_add_str(&ret->base.etag, "\"theirs\"");
}

static void a_conflict_keeps_their_version_and_ours_can_be_put_over_it(void **state)
{
	struct buf err = BUF_EMPTY;
	struct outbox_entry e;
	uint64_t seq;

	behave = find_changed;
	seq = put("/a");
	wait_state(seq, OUTBOX_CONFLICT);
	e = get(seq);
	assert_string_equal(e.theirs.etag.data, "\"theirs\"");
	assert_metric("weir_outbox_deliveries_total{service=\"files\",outcome=\"conflict\"} 1");

	rebase_error = WEIR_E_REFUSED;
	assert_int_equal(delivery_rebase_entry(d, &e, &err), WEIR_E_REFUSED);
	assert_string_equal(err.data, "the line is cut");
	assert_int_equal(state_of(seq), OUTBOX_CONFLICT);

	rebase_error = 0;
	rebase_to = (struct outbox_base){ .known = true, .etag = BUF_EMPTY };
	buf_add_str(&rebase_to.etag, "\"theirs\"");
	buf_reset(&err);
	assert_int_equal(delivery_rebase_entry(d, &e, &err), 0);
	wait_state(seq, OUTBOX_APPLIED);
	assert_true(delivery_rebase_entry(d, &e, &err) < 0); /* too late */
	assert_true(err.len > 0);
	outbox_base_fini(&rebase_to);
	outbox_entry_fini(&e);
	buf_fini(&err);
}

/* --- pause and stop --- */

static void unauthorized(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (atomic_load(&new_token)) {
		applied(e, cancel, ret);
		return;
	}
	ret->to = CARRIED_PAUSE;
	ret->status = 401;
	buf_add_str(&ret->error, "status 401: the token has run out");
}

static void wait_paused(bool yes)
{
	for (int ms = 0; delivery_is_paused(d) != yes && ms < PATIENCE_MS; ms++)
		usleep(1000);
	assert_int_equal(delivery_is_paused(d), yes);
}

static void a_refused_credential_pauses_the_queue_until_there_is_another(void **state)
{
	struct outbox_entry e;
	struct delivery_sum sum;
	char reason[200];
	uint64_t seq;

	behave = unauthorized;
	seq = put("/a");
	(void)put("/b");
	(void)put("/c");
	wait_paused(true);
	wait_count(OUTBOX_QUEUED, 3);
	delivery_pause_reason(d, reason);
	assert_string_equal(reason, "status 401: the token has run out");
	e = get(seq);
	assert_int_equal(e.last_status, 401);
	outbox_entry_fini(&e);
	assert_metric("weir_outbox_paused{service=\"files\"} 1");
	delivery_sum(&sum);
	assert_int_equal(sum.paused, 1);
	assert_int_equal(sum.entries[OUTBOX_QUEUED], 3);
	assert_int_equal(sum.bytes, 12);
	assert_false(sum.is_readonly);
	atomic_store(&new_token, true);
	wait_count(OUTBOX_APPLIED, 3);
	wait_paused(false);
	assert_metric("weir_outbox_paused{service=\"files\"} 0");
}

static void unauthorized_once(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	if (e->last_status == 401)
		applied(e, cancel, ret);
	else
		unauthorized(e, cancel, ret);
}

static void an_operator_ends_a_pause(void **state)
{
	uint64_t seq;

	behave = unauthorized_once;
	seq = put("/a");
	wait_paused(true);
	wait_state(seq, OUTBOX_QUEUED);
	delivery_resume(d);
	wait_state(seq, OUTBOX_APPLIED);
	assert_false(delivery_is_paused(d));
}

static void wait_for_the_cancel(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	struct pollfd p = { .fd = cancel_fd(cancel), .events = POLLIN };

	(void)poll(&p, 1, PATIENCE_MS); /* it says nothing of what came of it: not an attempt */
}

static void a_stop_cancels_what_is_under_way_and_it_is_queued_as_before(void **state)
{
	struct outbox_entry e;
	uint64_t seq;

	behave = wait_for_the_cancel;
	seq = put("/a");
	wait_begun(1);
	assert_ptr_equal(delivery_find(ob, "files"), d);
	assert_null(delivery_find(ob, "other"));
	stop_delivery();
	assert_null(delivery_find(ob, "files"));
	e = get(seq);
	assert_int_equal(e.state, OUTBOX_QUEUED);
	assert_int_equal(e.attempts, 0);
	outbox_entry_fini(&e);
}

/* --- the wall clock --- */

static atomic_llong wall_offset_ms;

static int64_t set_back(int wall)
{
	struct timespec t;

	clock_gettime(wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000 + (wall ? atomic_load(&wall_offset_ms) : 0);
}

static void a_wall_clock_that_was_set_back_delays_nobody(void **state)
{
	uint64_t seq;

	atomic_store(&wall_offset_ms, 0);
	clock_set_fake(set_back);
	delivery_set_retry(d, 1, 1);
	behave = in_a_year;
	seq = put("/a");
	wait_begun(1);
	wait_state(seq, OUTBOX_QUEUED);
	behave = applied;
	atomic_store(&wall_offset_ms, -24LL * HOUR_MS);
	delivery_poke(d);
	wait_state(seq, OUTBOX_APPLIED);
	clock_set_fake(NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_put_is_carried_once_and_in_order_for_each_key),
		T(nothing_goes_while_the_upstream_is_switched_off_and_all_when_it_is_on_again),
		T(it_begins_with_one_at_a_time),
		T(entries_that_hang_hold_up_nobody_else),
		T(what_was_queued_before_a_restart_goes_after_it),
		T(it_is_tried_again_until_it_is_taken),
		T(what_upstream_asks_for_is_the_least_wait_but_not_believed_without_end),
		T(when_the_upstream_is_back_nobody_waits_for_the_end_of_a_back_off),
		T(a_refusal_is_held_with_upstreams_words),
		T(a_conflict_keeps_their_version_and_ours_can_be_put_over_it),
		T(a_refused_credential_pauses_the_queue_until_there_is_another),
		T(an_operator_ends_a_pause),
		T(a_stop_cancels_what_is_under_way_and_it_is_queued_as_before),
		T(a_wall_clock_that_was_set_back_delays_nobody),
	};

	return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
