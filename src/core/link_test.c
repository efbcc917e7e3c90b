/* link_test.c -- the breaker opens and closes as link.h draws it, and the probe finds out by itself. */
#include "core/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
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

/* An upstream that can be started and stopped on one port. It answers every request with `status`; 0: accepts and says
 * nothing; -1: closes without a word. */
static struct upstream {
	pthread_t thread;
	int fd, port;
	atomic_int status, requests;
	atomic_bool had_credential;
	int held[64];
	int held_count;
} up;

static void *upstream_main(void *arg)
{
	for (;;) {
		int conn = accept4(up.fd, NULL, NULL, SOCK_CLOEXEC);
		char c[4096], answer[100];
		ssize_t n;

		if (conn < 0)
			return NULL;
		n = recv(conn, c, sizeof(c) - 1, 0);
		c[n > 0 ? n : 0] = '\0';
		if (strstr(c, "Authorization"))
			up.had_credential = true;
		atomic_fetch_add(&up.requests, 1); /* before the answer, which the test may act on */
		if (up.status == 0 && up.held_count < 64) {
			up.held[up.held_count++] = conn;
			continue;
		}
		(void)snprintf(answer, sizeof(answer),
			       "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", up.status);
		if (up.status > 0)
			(void)send(conn, answer, strlen(answer), MSG_NOSIGNAL);
		close(conn);
	}
}

static void upstream_start(int status)
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
	up.status = status;
	ENSURE(pthread_create(&up.thread, NULL, upstream_main, NULL) == 0);
}

static void upstream_stop(void)
{
	shutdown(up.fd, SHUT_RDWR);
	pthread_join(up.thread, NULL);
	close(up.fd);
	while (up.held_count > 0)
		close(up.held[--up.held_count]);
}

/* --- the link under test --- */

static struct pool *pool;
static struct metrics *metrics;
static struct link *l;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int ups, downs;
} told = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };

static void on_change(void *arg, bool is_up)
{
	pthread_mutex_lock(&told.lock);
	told.ups += is_up;
	told.downs += !is_up;
	pthread_cond_broadcast(&told.changed);
	pthread_mutex_unlock(&told.lock);
}

/* Waits until the hook was told so often, at most 20 s. */
static void wait_told(int ups, int downs)
{
	struct timespec t;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 20;
	pthread_mutex_lock(&told.lock);
	while ((told.ups < ups || told.downs < downs) && r == 0)
		r = pthread_cond_timedwait(&told.changed, &told.lock, &t);
	pthread_mutex_unlock(&told.lock);
	assert_int_equal(told.ups, ups);
	assert_int_equal(told.downs, downs);
}

static void link_start(bool enabled)
{
	char *url = xstrf("http://127.0.0.1:%d", up.port);
	struct link_options o = { .name = "u.example",
				  .service = "git",
				  .url = url,
				  .enabled = enabled,
				  .connect_timeout_ms = 5000,
				  .stall_timeout_ms = 5000,
				  .probe_first_ms = 20,
				  .probe_max_ms = 80,
				  .probe_patience_ms = 1000,
				  .most_workers = 4 };

	told.ups = told.downs = 0;
	assert_int_equal(pool_new(4, &pool), 0);
	metrics = metrics_new();
	assert_int_equal(link_new(&o, pool, metrics, &l), 0);
	link_set_change_hook(l, on_change, NULL);
	free(url);
}

static int setup(void **state)
{
	up = (struct upstream){ .fd = -1 };
	upstream_start(200);
	link_start(true);
	return 0;
}

static int teardown(void **state)
{
	link_free(l);
	metrics_free(metrics);
	(void)pool_drain(pool, 1000);
	pool_free(pool);
	upstream_stop();
	return 0;
}

static int ask(int first_byte_ms)
{
	struct slice credential = SLICE_LIT("Authorization: Bearer t");
	struct client_request rq = { .method = "GET",
				     .target = SLICE_LIT("/x"),
				     .first_byte_ms = first_byte_ms,
				     .headers = &credential,
				     .header_count = 1 };
	struct client_result res;

	return link_call(l, &rq, NULL, NULL, &res);
}

static void assert_metrics(double is_up, double successes, double failures)
{
	struct buf out = BUF_EMPTY;
	char want[100];

	metrics_render(metrics, &out);
	(void)snprintf(want, sizeof(want), "\nweir_upstream_up{upstream=\"u.example\"} %.0f\n", is_up);
	assert_non_null(strstr(out.data, want));
	(void)snprintf(want, sizeof(want),
		       "\nweir_upstream_requests_total{upstream=\"u.example\",status=\"success\"} %.0f\n", successes);
	assert_non_null(strstr(out.data, want));
	(void)snprintf(want, sizeof(want),
		       "\nweir_upstream_requests_total{upstream=\"u.example\",status=\"failure\"} %.0f\n", failures);
	assert_non_null(strstr(out.data, want));
	(void)snprintf(want, sizeof(want),
		       "\nweir_upstream_request_duration_seconds_count{upstream=\"u.example\"} %.0f\n",
		       successes + failures);
	assert_non_null(strstr(out.data, want));
	buf_fini(&out);
}

static void an_answer_makes_it_known_as_up(void **state)
{
	struct link_info info;

	assert_int_equal(link_state(l), LINK_UNKNOWN);
	assert_metrics(1, 0, 0); /* not known to be away */
	assert_int_equal(ask(5000), 0);
	assert_int_equal(link_state(l), LINK_UP);
	assert_metrics(1, 1, 0);
	link_info(l, &info);
	assert_string_equal(info.name, "u.example");
	assert_string_equal(info.service, "git");
	assert_true(info.enabled);
	assert_string_equal(info.last_error, "");
	assert_true(info.since_wall_ms > 1600000000000);
	assert_int_equal(told.ups, 0); /* nothing opened or closed */
	assert_non_null(link_lane(l));
}

static void a_refused_connection_opens_it_and_the_probe_closes_it(void **state)
{
	struct link_info info;
	int requests;

	upstream_stop();
	assert_int_equal(ask(5000), WEIR_E_REFUSED);
	assert_int_equal(link_state(l), LINK_DOWN);
	wait_told(0, 1);
	assert_int_equal(ask(5000), WEIR_E_OPEN);
	assert_metrics(0, 0, 1); /* what was not asked is not counted */
	link_info(l, &info);
	assert_non_null(strstr(info.last_error, err_text(WEIR_E_REFUSED)));
	assert_string_equal(link_state_text(info.state), "down");

	up.had_credential = false;
	requests = up.requests;
	upstream_start(401); /* any answer below 500 */
	wait_told(1, 1);
	assert_int_equal(link_state(l), LINK_UP);
	assert_int_equal(up.requests, requests + 1);
	assert_false(up.had_credential);
	assert_int_equal(ask(5000), 0);
	assert_metrics(1, 1, 1); /* probes are not counted */
}

static void three_server_errors_in_a_row_open_it(void **state)
{
	up.status = 503;
	assert_int_equal(ask(5000), 0);
	assert_int_equal(ask(5000), 0);
	up.status = 404;
	assert_int_equal(ask(5000), 0); /* breaks the row */
	up.status = 500;
	assert_int_equal(ask(5000), 0);
	assert_int_equal(ask(5000), 0);
	assert_int_equal(link_state(l), LINK_UP);
	assert_int_equal(ask(5000), 0);
	assert_int_equal(link_state(l), LINK_DOWN);
	assert_metrics(0, 1, 5);
	assert_int_equal(ask(5000), WEIR_E_OPEN);
	wait_told(0, 1);
	for (int ms = 0; up.requests < 9 && ms < 20000; ms++)
		usleep(1000); /* probes that get 500 do not close it */
	assert_true(up.requests >= 9);
	assert_int_equal(link_state(l), LINK_DOWN);
	up.status = 200;
	wait_told(1, 1);
}

static void silence_makes_the_probe_look_and_a_good_probe_leaves_it_up(void **state)
{
	assert_int_equal(ask(5000), 0);
	up.status = 0;
	assert_int_equal(ask(100), WEIR_E_SILENT);
	assert_int_equal(link_state(l), LINK_UP);
	/* The probe is met by silence too; when that is over, it has failed. */
	for (int ms = 0; up.requests < 3 && ms < 20000; ms++)
		usleep(1000);
	assert_int_equal(up.requests, 3);
	wait_told(0, 1);
	assert_int_equal(link_state(l), LINK_DOWN);
	up.status = 204;
	wait_told(1, 1);
	assert_int_equal(ask(5000), 0);
}

static void a_cut_answer_makes_the_probe_look(void **state)
{
	struct link_info info;

	up.status = -1;
	assert_int_equal(ask(5000), WEIR_E_CUT);
	wait_told(0, 1); /* the probe is cut as well */
	link_info(l, &info);
	assert_true(slice_starts(slice_str(info.last_error), "probe: "));
	up.status = 200;
	wait_told(1, 1);
}

static void a_good_probe_leaves_it_up(void **state)
{
	int before;

	assert_int_equal(ask(5000), 0);
	before = up.requests;
	up.status = 200;
	link_probe_now(l);
	for (int ms = 0; up.requests == before && ms < 20000; ms++)
		usleep(1000);
	assert_int_equal(up.requests, before + 1);
	assert_int_equal(link_state(l), LINK_UP);
	assert_int_equal(told.downs, 0);
}

static void an_operator_switches_it_off_and_on(void **state)
{
	struct link_info info;
	int requests;

	assert_int_equal(ask(5000), 0);
	link_enable(l, false);
	assert_int_equal(link_state(l), LINK_DISABLED);
	requests = up.requests;
	assert_int_equal(ask(5000), WEIR_E_DISABLED);
	link_probe_now(l); /* not even that contacts it */
	assert_metrics(0, 1, 0);
	wait_told(0, 1);
	link_info(l, &info);
	assert_false(info.enabled);
	link_enable(l, false);
	assert_int_equal(up.requests, requests);
	link_enable(l, true); /* probed at once, so it is soon known */
	wait_told(1, 1);
	for (int ms = 0; link_state(l) != LINK_UP && ms < 20000; ms++)
		usleep(1000);
	assert_int_equal(link_state(l), LINK_UP);
	assert_int_equal(up.requests, requests + 1);
	link_enable(l, true);
	assert_int_equal(told.ups, 1);
}

static void disabled_from_the_start_is_never_contacted(void **state)
{
	link_free(l);
	metrics_free(metrics);
	pool_free(pool);
	link_start(false);
	assert_int_equal(link_state(l), LINK_DISABLED);
	assert_int_equal(ask(5000), WEIR_E_DISABLED);
	link_probe_now(l);
	assert_metrics(0, 0, 0);
	assert_int_equal(up.requests, 0);
}

static int sink_fails(void *arg, int status, const struct slice *headers, size_t header_count)
{
	return -ENOSPC;
}

static void our_own_failures_say_nothing_about_it(void **state)
{
	struct client_request rq = { .method = "GET", .target = SLICE_LIT("not a target") };
	struct client_sink sink = { .on_head = sink_fails };
	struct client_result res;
	struct cancel *c;

	for (int i = 0; i < 4; i++)
		assert_int_equal(link_call(l, &rq, NULL, NULL, &res), -EINVAL);
	assert_int_equal(cancel_new(&c), 0);
	cancel_fire(c);
	rq.target = SLICE_LIT("/");
	for (int i = 0; i < 4; i++)
		assert_int_equal(link_call(l, &rq, NULL, c, &res), WEIR_E_CANCELLED);
	cancel_unref(&c);
	assert_int_equal(link_state(l), LINK_UNKNOWN);
	assert_metrics(1, 0, 0);
	assert_int_equal(link_call(l, &rq, &sink, NULL, &res), -ENOSPC); /* but it did answer */
	assert_int_equal(link_state(l), LINK_UP);
}

static void it_can_be_freed_while_a_probe_waits(void **state)
{
	up.status = 0;
	link_probe_now(l);
	for (int ms = 0; up.requests == 0 && ms < 20000; ms++)
		usleep(1000);
	assert_int_equal(up.requests, 1);
	/* teardown frees it: at once, not after the probe's patience */
}

/* Up and down all the time, with many callers: no call gets an answer that cannot be, and in the end it is up. */
static atomic_bool flapping;
static void *call_all_the_time(void *arg)
{
	while (flapping) {
		int r = ask(5000);
		ENSURE(r == 0 || r == WEIR_E_REFUSED || r == WEIR_E_OPEN || r == WEIR_E_CUT || r == WEIR_E_DISABLED);
		if (r == WEIR_E_OPEN || r == WEIR_E_DISABLED)
			sched_yield();
	}
	return NULL;
}

/* At least so many openings were told, and as many closings; the last may still be on its way. */
static bool told_evenly(int downs)
{
	bool is_even = false;

	for (int ms = 0; !is_even && ms < 20000; ms++) {
		pthread_mutex_lock(&told.lock);
		is_even = told.downs >= downs && told.ups == told.downs;
		pthread_mutex_unlock(&told.lock);
		usleep(1000);
	}
	return is_even;
}

static void many_callers_see_it_flap(void **state)
{
	pthread_t t[4];
	int downs = 0;

	flapping = true;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, call_all_the_time, NULL), 0);
	for (int round = 0; round < 10; round++) {
		upstream_stop();
		for (int ms = 0; link_state(l) != LINK_DOWN && ms < 20000; ms++)
			usleep(1000);
		assert_int_equal(link_state(l), LINK_DOWN);
		downs++;
		if (round == 5)
			link_enable(l, false);
		upstream_start(200);
		if (round == 5)
			link_enable(l, true);
		for (int ms = 0; link_state(l) != LINK_UP && ms < 20000; ms++)
			usleep(1000);
		assert_int_equal(link_state(l), LINK_UP);
	}
	flapping = false;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	assert_true(told_evenly(downs)); /* each opening was closed, and told */
}

static void statuses_that_are_as_good_as_no_answer(void **state)
{
	static const int unavailable[] = { 500, 502, 503, 504 },
			 answers[] = { 200, 301, 400, 401, 403, 404, 410, 501, 505 };

	for (size_t i = 0; i < ARRAY_LEN(unavailable); i++)
		assert_true(link_status_is_unavailable(unavailable[i], true) &&
			    link_status_is_unavailable(unavailable[i], false));
	for (size_t i = 0; i < ARRAY_LEN(answers); i++)
		assert_false(link_status_is_unavailable(answers[i], true) ||
			     link_status_is_unavailable(answers[i], false));
	assert_true(link_status_is_unavailable(429, true));
	assert_false(link_status_is_unavailable(429, false));
}

static void a_bad_url_is_refused(void **state)
{
	struct link_options o = { .name = "n", .service = "git", .url = "ftp://x", .most_workers = 1 };
	struct link *bad = NULL;

	assert_int_equal(link_new(&o, pool, metrics, &bad), -EINVAL);
	assert_null(bad);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_answer_makes_it_known_as_up),
		T(a_refused_connection_opens_it_and_the_probe_closes_it),
		T(three_server_errors_in_a_row_open_it),
		T(silence_makes_the_probe_look_and_a_good_probe_leaves_it_up),
		T(a_cut_answer_makes_the_probe_look),
		T(a_good_probe_leaves_it_up),
		T(an_operator_switches_it_off_and_on),
		T(disabled_from_the_start_is_never_contacted),
		T(our_own_failures_say_nothing_about_it),
		T(it_can_be_freed_while_a_probe_waits),
		T(many_callers_see_it_flap),
		T(statuses_that_are_as_good_as_no_answer),
		T(a_bad_url_is_refused),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
