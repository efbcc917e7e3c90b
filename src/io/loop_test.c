/* loop_test.c -- mail in order and from any thread, watches, the tick, and a clean end. */
#include "io/loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"

static struct loop *loop;
static sem_t done;
static int order[1000];
static int order_n;

static void note(void *arg)
{
	if (!loop_is_current(loop) || !loop_is_front())
		order_n = -10000;
	order[order_n++] = (int)(intptr_t)arg;
}

static void post(void *arg)
{
	sem_post(&done);
}

static int setup(void **state)
{
	order_n = 0;
	sem_init(&done, 0, 0);
	return loop_new(3, &loop);
}

static int teardown(void **state)
{
	loop_stop(loop);
	loop_free(loop);
	sem_destroy(&done);
	return 0;
}

static void mail_runs_in_order_on_the_loops_thread(void **state)
{
	assert_int_equal(loop_index(loop), 3);
	assert_false(loop_is_current(loop));
	assert_false(loop_is_front());
	for (int i = 0; i < 500; i++)
		loop_post(loop, note, (void *)(intptr_t)i); /* before it runs, too */
	assert_int_equal(loop_start(loop), 0);
	for (int i = 500; i < 1000; i++)
		loop_post(loop, note, (void *)(intptr_t)i);
	loop_post(loop, post, NULL);
	sem_wait(&done);
	assert_int_equal(order_n, 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(order[i], i);
}

static void *post_many(void *arg)
{
	for (int i = 0; i < 1000; i++)
		loop_post(loop, post, NULL);
	return NULL;
}

static void mail_from_many_threads_all_arrives(void **state)
{
	pthread_t t[4];

	assert_int_equal(loop_start(loop), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, post_many, NULL), 0);
	for (int i = 0; i < 4000; i++)
		sem_wait(&done);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static int pair[2];
static struct loop_watch *watch;
static _Atomic unsigned told;

static void on_event(void *arg, unsigned events)
{
	atomic_fetch_or(&told, events);
	loop_watch_set(watch, 0); /* level-triggered: else it comes again */
	sem_post(&done);
}

static void watch_for(void *arg)
{
	loop_watch_set(watch, (unsigned)(uintptr_t)arg);
}

static void drop_watch(void *arg)
{
	loop_watch_close(&watch);
	loop_watch_close(&watch); /* NULL by now */
	sem_post(&done);
}

static unsigned wait_told(unsigned events)
{
	atomic_store(&told, 0);
	loop_post(loop, watch_for, (void *)(uintptr_t)events);
	sem_wait(&done);
	return atomic_load(&told);
}

static void watches_tell_what_can_be_done(void **state)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(loop_watch_open(loop, pair[0], on_event, NULL, &watch), 0);
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(wait_told(LOOP_READ | LOOP_WRITE), LOOP_WRITE);
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(wait_told(LOOP_READ | LOOP_GONE), LOOP_READ);
	close(pair[1]);
	assert_true(wait_told(LOOP_GONE) & LOOP_GONE);
	loop_post(loop, drop_watch, NULL);
	sem_wait(&done);
	close(pair[0]);
}

static void end_tick(void *arg)
{
	loop_set_tick(loop, 0, NULL, NULL);
	sem_post(&done);
}

static void the_tick_comes_again_until_it_is_ended(void **state)
{
	loop_set_tick(loop, 1, post, NULL);
	assert_int_equal(loop_start(loop), 0);
	for (int i = 0; i < 3; i++)
		sem_wait(&done);
	loop_post(loop, end_tick, NULL);
	sem_wait(&done);
}

static void a_loop_that_never_ran_can_be_freed(void **state)
{
	loop_post(loop, note, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mail_runs_in_order_on_the_loops_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(mail_from_many_threads_all_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(watches_tell_what_can_be_done, setup, teardown),
		cmocka_unit_test_setup_teardown(the_tick_comes_again_until_it_is_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(a_loop_that_never_ran_can_be_freed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
