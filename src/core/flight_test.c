/* flight_test.c -- identical questions share one answer; those who leave are taken out; the last one to leave
 * cancels. */
#include "core/flight.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/front_test_kit.h"

static struct {
	struct server *server;
	struct flights *flights;
	struct flight *_Atomic lead;  /* of the last flight made */
	_Atomic int led, background;
	sem_t joined;
} site;

static void on_answer(struct exchange *ex, int code, void *result)
{
	if (!ex)
		atomic_fetch_add(&site.background, 1);
	else
		exchange_reply_text(ex, code ? 502 : 200, "%s", (const char *)result);
}

static void handle(struct exchange *ex)
{
	struct flight *lead;

	flight_join(site.flights, exchange_target(ex), ex, on_answer, &lead);
	if (lead) {
		site.lead = lead;
		atomic_fetch_add(&site.led, 1);
	}
	sem_post(&site.joined);
}

static void start(void)
{
	struct listen_settings where = { .listen = (char[]){ "127.0.0.1:0" } };
	struct listener_options o = { .name = "toy", .where = &where, .handle = handle };
	struct buf err = BUF_EMPTY;
	const char *name;
	char address[64];

	memset(&site, 0, sizeof(site));
	sem_init(&site.joined, 0, 0);
	site.flights = flights_new();
	assert_int_equal(server_new(2, &usual, NULL, &site.server), 0);
	assert_int_equal(server_listen(site.server, &o, &err), 0);
	server_listener_at(site.server, 0, &name, address, sizeof(address));
	kit_port = (int)strtol(strrchr(address, ':') + 1, NULL, 10);
	server_open(site.server);
}

static void stop(void)
{
	assert_true(server_stop(site.server));
	server_free(site.server);
	flights_free(site.flights);
}

static int ask(const char *target)
{
	char request[100];
	int fd = dial();

	(void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", target);
	say(fd, request);
	sem_wait(&site.joined);
	return fd;
}

static void wait_until_waiting(const char *key, size_t wanted)
{
	struct timespec ms = { .tv_nsec = 1000000 };

	for (int i = 0; i < LIMIT_MS && flights_waiting(site.flights, slice_str(key)) != wanted; i++)
		(void)nanosleep(&ms, NULL); /* polls a condition, with a limit */
	assert_int_equal(flights_waiting(site.flights, slice_str(key)), wanted);
}

static void identical_questions_share_one_answer(void **state)
{
	int fd[20], other;

	start();
	for (int i = 0; i < 20; i++)
		fd[i] = ask("/same");
	assert_int_equal(site.led, 1);
	assert_int_equal(flights_waiting(site.flights, slice_str("/same")), 20);
	flight_land(site.lead, 0, (char[]){ "shared" });
	for (int i = 0; i < 20; i++) {
		expect(fd[i], 200, "shared\n");
		close(fd[i]);
	}
	other = ask("/same"); /* landed: a new question */
	assert_int_equal(site.led, 2);
	flight_land(site.lead, WEIR_E_CUT, (char[]){ "sorry" });
	expect(other, 502, "sorry\n");
	close(other);
	stop();
}

static void a_closed_flight_takes_nobody_any_more(void **state)
{
	struct flight *first;
	int one, two;

	start();
	one = ask("/q");
	first = site.lead;
	flight_close(first);
	two = ask("/q");
	assert_int_equal(site.led, 2);
	assert_ptr_not_equal(first, site.lead);
	flight_land(first, 0, (char[]){ "old" });
	flight_land(site.lead, 0, (char[]){ "new" });
	expect(one, 200, "old\n");
	expect(two, 200, "new\n");
	close(one);
	close(two);
	stop();
}

static void who_leaves_is_taken_out_and_the_last_one_cancels(void **state)
{
	struct cancel *c;
	struct pollfd p;
	int one, two, three;

	start();
	one = ask("/q");
	two = ask("/q");
	c = cancel_ref(flight_cancel(site.lead));
	close(one);
	wait_until_waiting("/q", 1);
	assert_false(cancel_fired(c));
	close(two);
	p = (struct pollfd){ cancel_fd(c), POLLIN, 0 };
	assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
	assert_true(cancel_fired(c));
	struct flight *cancelled = site.lead;
	three = ask("/q"); /* must not get the answer "cancelled" */
	assert_int_equal(site.led, 2);
	flight_land(cancelled, WEIR_E_CANCELLED, (char[]){ "nobody" });
	flight_land(site.lead, 0, (char[]){ "fresh" });
	expect(three, 200, "fresh\n");
	close(three);
	cancel_unref(&c);
	stop();
}

static void background_work_keeps_a_flight_wanted(void **state)
{
	struct flight *lead, *none;
	int one;

	start();
	flight_join_background(site.flights, slice_str("/q"), on_answer, &lead);
	assert_non_null(lead);
	flight_join_background(site.flights, slice_str("/q"), on_answer, &none);
	assert_null(none);
	one = ask("/q");
	close(one);
	wait_until_waiting("/q", 2);
	assert_false(cancel_fired(flight_cancel(lead)));
	flight_land(lead, 0, (char[]){ "" });
	assert_int_equal(site.background, 2);
	stop();
}

static void *land_later(void *arg)
{
	flight_land(arg, 0, (char[]){ "race" });
	return NULL;
}

/* Clients leave while their flight lands: each is resumed or dropped, once (a second reply would abort). */
static void leaving_and_landing_may_meet(void **state)
{
	start();
	for (int round = 0; round < 200; round++) {
		pthread_t t;
		int fd[8];

		for (int i = 0; i < 8; i++)
			fd[i] = ask("/q");
		assert_int_equal(pthread_create(&t, NULL, land_later, site.lead), 0);
		for (int i = 0; i < 8; i++)
			close(fd[i]);
		pthread_join(t, NULL);
	}
	assert_int_equal(site.led, 200);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identical_questions_share_one_answer),
		cmocka_unit_test(a_closed_flight_takes_nobody_any_more),
		cmocka_unit_test(who_leaves_is_taken_out_and_the_last_one_cancels),
		cmocka_unit_test(background_work_keeps_a_flight_wanted),
		cmocka_unit_test(leaving_and_landing_may_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
