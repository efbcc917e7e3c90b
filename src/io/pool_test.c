/* pool_test.c -- every given job runs once, no lane runs more than its share, lanes take turns, workers come and go. */
#include "io/pool.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/obj.h"

/* A gate that jobs wait at, so that a test decides when they end. */
static struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int inside, most_inside, allowed, passed;
	char order[64];
} gate;

static char letters[] = "-123xyz"; /* names of jobs */

static int gate_setup(void **state)
{
	gate = (struct gate){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	return 0;
}

static void gate_job(void *arg)
{
	pthread_mutex_lock(&gate.lock);
	if (arg)
		gate.order[gate.inside + gate.passed] = *(const char *)arg;
	gate.inside++;
	if (gate.inside > gate.most_inside)
		gate.most_inside = gate.inside;
	pthread_cond_broadcast(&gate.changed);
	while (gate.allowed == 0)
		pthread_cond_wait(&gate.changed, &gate.lock);
	gate.allowed--;
	gate.inside--;
	gate.passed++;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

static void gate_wait_inside(int n)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.inside + gate.passed < n)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static void gate_allow(int n)
{
	pthread_mutex_lock(&gate.lock);
	gate.allowed += n;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

static void pool_end(struct pool *p)
{
	assert_int_equal(pool_drain(p, 30000), 0);
	pool_free(p);
}

static void count_job(void *arg)
{
	ENSURE(pool_is_worker());
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void every_job_runs_once_on_a_worker(void **state)
{
	struct pool *p;
	struct lane *up, *lanes[7];
	atomic_int ran = 0;

	assert_int_equal(pool_new(8, &p), 0);
	assert_false(pool_is_worker());
	up = lane_new(p, NULL, 5);
	for (int i = 0; i < 7; i++)
		lanes[i] = lane_new(p, up, (unsigned)i % 3 + 1);
	for (int i = 0; i < 20000; i++)
		assert_int_equal(pool_submit(lanes[i % 7], count_job, &ran), 0);
	for (int i = 0; i < 7; i++)
		lane_unref(&lanes[i]); /* their jobs keep them */
	lane_unref(&up);
	pool_end(p);
	assert_int_equal(ran, 20000);
}

static void a_lane_runs_at_most_its_share(void **state)
{
	struct pool *p;
	struct lane *l, *other;

	assert_int_equal(pool_new(8, &p), 0);
	l = lane_new(p, NULL, 2);
	other = lane_new(p, NULL, 8);
	for (int i = 0; i < 6; i++)
		assert_int_equal(pool_submit(l, gate_job, NULL), 0);
	gate_wait_inside(2);
	assert_int_equal(lane_waiting(l), 4);
	assert_int_equal(pool_queued(p), 4);
	/* The bulkhead: others still get through at once. */
	assert_int_equal(pool_submit(other, gate_job, NULL), 0);
	gate_wait_inside(3);
	assert_int_equal(pool_running(p), 3);
	gate_allow(7);
	lane_unref(&l);
	lane_unref(&other);
	pool_end(p);
	assert_true(gate.most_inside <= 3);
	assert_int_equal(gate.passed, 7);
}

static void children_together_run_at_most_the_share_of_their_parent(void **state)
{
	struct pool *p;
	struct lane *up, *a, *b;

	assert_int_equal(pool_new(8, &p), 0);
	up = lane_new(p, NULL, 3);
	a = lane_new(p, up, 2);
	b = lane_new(p, up, 2);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(pool_submit(a, gate_job, NULL), 0);
		assert_int_equal(pool_submit(b, gate_job, NULL), 0);
	}
	gate_wait_inside(3);
	assert_int_equal(pool_running(p), 3);
	gate_allow(20);
	lane_unref(&a);
	lane_unref(&b);
	lane_unref(&up);
	pool_end(p);
	assert_int_equal(gate.most_inside, 3);
	assert_int_equal(gate.passed, 20);
}

static void lanes_take_turns_and_jobs_of_a_lane_keep_their_order(void **state)
{
	struct pool *p;
	struct lane *first, *a, *b;

	assert_int_equal(pool_new(1, &p), 0);
	first = lane_new(p, NULL, 1);
	a = lane_new(p, NULL, 1);
	b = lane_new(p, NULL, 1);
	assert_int_equal(pool_submit(first, gate_job, &letters[0]), 0);
	gate_wait_inside(1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pool_submit(a, gate_job, &letters[1 + i]), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pool_submit(b, gate_job, &letters[4 + i]), 0);
	gate_allow(7);
	lane_unref(&first);
	lane_unref(&a);
	lane_unref(&b);
	pool_end(p);
	assert_string_equal(gate.order, "-1x2y3z");
}

static void siblings_take_turns_at_a_full_parent(void **state)
{
	struct pool *p;
	struct lane *up, *a, *b;

	assert_int_equal(pool_new(4, &p), 0);
	up = lane_new(p, NULL, 1);
	a = lane_new(p, up, 4);
	b = lane_new(p, up, 4);
	assert_int_equal(pool_submit(a, gate_job, &letters[0]), 0);
	gate_wait_inside(1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pool_submit(a, gate_job, &letters[1 + i]), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pool_submit(b, gate_job, &letters[4 + i]), 0);
	gate_allow(7);
	lane_unref(&a);
	lane_unref(&b);
	lane_unref(&up);
	pool_end(p);
	assert_string_equal(gate.order, "-1x2y3z");
}

static void draining_refuses_new_jobs_and_gives_up_at_its_limit(void **state)
{
	struct pool *p;
	struct lane *l;

	assert_int_equal(pool_new(1, &p), 0);
	l = lane_new(p, NULL, 1);
	assert_int_equal(pool_submit(l, gate_job, NULL), 0);
	assert_int_equal(pool_submit(l, gate_job, NULL), 0);
	gate_wait_inside(1);
	assert_int_equal(pool_drain(p, 10), -ETIMEDOUT);
	assert_int_equal(pool_submit(l, gate_job, NULL), -ESHUTDOWN);
	gate_allow(2);
	pool_end(p);
	lane_unref(&l); /* after the pool: the last lane takes it along */
	assert_int_equal(gate.passed, 2);
}

static void more_than_65536_waiting_jobs_are_refused(void **state)
{
	struct pool *p;
	struct lane *l;
	atomic_int ran = 0;

	assert_int_equal(pool_new(1, &p), 0);
	l = lane_new(p, NULL, 1);
	assert_int_equal(pool_submit(l, gate_job, NULL), 0);
	gate_wait_inside(1);
	for (int i = 0; i < 65536; i++)
		assert_int_equal(pool_submit(l, count_job, &ran), 0);
	assert_int_equal(pool_submit(l, count_job, &ran), -EAGAIN);
	gate_allow(1);
	lane_unref(&l);
	pool_end(p);
	assert_int_equal(ran, 65536);
}

static void idle_workers_end_and_come_back(void **state)
{
	struct pool *p;
	struct lane *l;

	assert_int_equal(pool_new(4, &p), 0);
	assert_int_equal(pool_workers(p), 0);
	pool_set_idle_ms(p, 1);
	l = lane_new(p, NULL, 4);
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < 4; i++)
			assert_int_equal(pool_submit(l, gate_job, NULL), 0);
		gate_wait_inside(4 * round);
		assert_int_equal(pool_workers(p), 4);
		gate_allow(4);
		for (int ms = 0; pool_workers(p) > 0 && ms < 30000; ms++)
			usleep(1000); /* waits for a condition, with a limit */
		assert_int_equal(pool_workers(p), 0);
	}
	lane_unref(&l);
	pool_end(p);
}

static void one_worker_is_enough_for_jobs_one_after_another(void **state)
{
	struct pool *p;
	struct lane *l;

	assert_int_equal(pool_new(16, &p), 0);
	l = lane_new(p, NULL, 16);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(pool_submit(l, gate_job, NULL), 0);
		gate_wait_inside(i + 1);
		gate_allow(1);
		for (int ms = 0; pool_running(p) > 0 && ms < 30000; ms++)
			usleep(100);
		assert_int_equal(pool_running(p), 0);
	}
	assert_true(pool_workers(p) <= 2); /* 2: given before the first had gone to rest */
	lane_unref(&l);
	pool_end(p);
}

static struct lane *again_lane;
static void again_job(void *arg)
{
	if (atomic_fetch_sub((atomic_int *)arg, 1) > 1)
		ENSURE(pool_submit(again_lane, again_job, arg) == 0);
}

static void a_job_may_give_more_jobs(void **state)
{
	struct pool *p;
	atomic_int left = 1000;

	assert_int_equal(pool_new(2, &p), 0);
	again_lane = lane_new(p, NULL, 1);
	assert_int_equal(pool_submit(again_lane, again_job, &left), 0);
	for (int ms = 0; left > 0 && ms < 30000; ms++)
		usleep(1000);
	lane_unref(&again_lane);
	pool_end(p);
	assert_int_equal(left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_job_runs_once_on_a_worker, gate_setup),
		cmocka_unit_test_setup(a_lane_runs_at_most_its_share, gate_setup),
		cmocka_unit_test_setup(children_together_run_at_most_the_share_of_their_parent, gate_setup),
		cmocka_unit_test_setup(lanes_take_turns_and_jobs_of_a_lane_keep_their_order, gate_setup),
		cmocka_unit_test_setup(siblings_take_turns_at_a_full_parent, gate_setup),
		cmocka_unit_test_setup(draining_refuses_new_jobs_and_gives_up_at_its_limit, gate_setup),
		cmocka_unit_test_setup(more_than_65536_waiting_jobs_are_refused, gate_setup),
		cmocka_unit_test_setup(idle_workers_end_and_come_back, gate_setup),
		cmocka_unit_test_setup(one_worker_is_enough_for_jobs_one_after_another, gate_setup),
		cmocka_unit_test_setup(a_job_may_give_more_jobs, gate_setup),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
