/* delivery_test_kit.h -- a real outbox, a real link to a small upstream, and a carrier that does as each test says. */
#ifndef WEIR_CORE_DELIVERY_TEST_KIT_H
#define WEIR_CORE_DELIVERY_TEST_KIT_H

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
#define KIT __attribute__((unused)) static

/* --- an upstream that answers 200, or is not there --- */

static struct {
	pthread_t thread;
	int fd, port;
} up;

KIT void *upstream_main(void *arg)
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

KIT void upstream_start(void)
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

KIT void upstream_stop(void)
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
KIT int rebase_error;

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

KIT void carry(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
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

KIT struct timespec limit(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += PATIENCE_MS / 1000;
	return t;
}

KIT void wait_begun(unsigned n)
{
	struct timespec t = limit();
	int r = 0;

	pthread_mutex_lock(&seen.lock);
	while (seen.begun < n && r == 0)
		r = pthread_cond_timedwait(&seen.changed, &seen.lock, &t);
	pthread_mutex_unlock(&seen.lock);
	assert_int_equal(r, 0);
}

KIT void wait_gate(void)
{
	pthread_mutex_lock(&seen.lock);
	while (!seen.gate_open)
		pthread_cond_wait(&seen.changed, &seen.lock);
	pthread_mutex_unlock(&seen.lock);
}

KIT void open_gate(void)
{
	pthread_mutex_lock(&seen.lock);
	seen.gate_open = true;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

KIT bool may_resume(void *arg)
{
	return atomic_load(&new_token);
}

KIT int rebase(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct outbox_base *ret,
		  struct buf *err)
{
	if (rebase_error)
		buf_add_str(err, "the line is cut");
	else
		outbox_base_copy(ret, &rebase_to);
	return rebase_error;
}

KIT void on_link(void *arg, bool is_up)
{
	pthread_mutex_lock(&hook_lock);
	if (d)
		delivery_link_changed(d, is_up);
	pthread_mutex_unlock(&hook_lock);
}

KIT void open_outbox(void)
{
	static const struct outbox_limits limits = { .keep_settled_ms = HOUR_MS };
	struct buf err = BUF_EMPTY;

	if (outbox_open(folder, &ob, &err) < 0)
		fail_msg("%s", err.data);
	q = outbox_queue(ob, "files", &limits);
}

KIT void start_delivery(int64_t retry_first_ms, int64_t retry_max_ms)
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

KIT void stop_delivery(void)
{
	struct delivery *old = d;

	pthread_mutex_lock(&hook_lock);
	d = NULL;
	pthread_mutex_unlock(&hook_lock);
	delivery_stop(old);
	delivery_free(old);
}

KIT void applied(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	ret->to = CARRIED_APPLIED;
	ret->status = 201;
}

KIT void in_a_year(const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	ret->to = CARRIED_LATER;
	ret->status = 429;
	ret->retry_after_ms = 365LL * 24 * HOUR_MS;
	buf_add_str(&ret->error, "status 429");
}

KIT int setup(void **state)
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

KIT int teardown(void **state)
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

KIT uint64_t put(const char *key)
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

KIT struct outbox_entry get(uint64_t seq)
{
	struct outbox_entry e = { .seq = 0 };

	assert_int_equal(outbox_get(ob, seq, &e), 0);
	return e;
}

KIT enum outbox_state state_of(uint64_t seq)
{
	struct outbox_entry e = get(seq);
	enum outbox_state s = e.state;

	outbox_entry_fini(&e);
	return s;
}

KIT void wait_state(uint64_t seq, enum outbox_state s)
{
	for (int ms = 0; state_of(seq) != s && ms < PATIENCE_MS; ms++)
		usleep(1000);
	assert_string_equal(outbox_state_text(state_of(seq)), outbox_state_text(s));
}

KIT uint64_t count(enum outbox_state s)
{
	struct outbox_figures f;

	outbox_figures(q, &f);
	return f.entries[s];
}

KIT void wait_count(enum outbox_state s, uint64_t n)
{
	for (int ms = 0; count(s) != n && ms < PATIENCE_MS; ms++)
		usleep(1000);
	assert_int_equal(count(s), n);
}

KIT void assert_metric(const char *line)
{
	struct buf out = BUF_EMPTY, want = BUF_EMPTY;

	buf_addf(&want, "\n%s\n", line);
	metrics_render(metrics, &out);
	if (!strstr(out.data, want.data))
		fail_msg("\"%s\" is not in:\n%s", line, out.data);
	buf_fini(&want);
	buf_fini(&out);
}

#endif
