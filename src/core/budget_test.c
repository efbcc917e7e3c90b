/* budget_test.c -- the least recently used goes first, never one in use, and not more than needed. */
#include "core/budget.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"

struct thing {
	struct budget_item item;
	char name;
	bool refuses;
};

static struct budget *b;
static struct thing things[6];
static char evicted[32];
static int64_t now_ms;

static int64_t fake_clock(int wall)
{
	return now_ms;
}

static bool evict(void *arg, struct budget_item *it)
{
	struct thing *t = CONTAINER_OF(it, struct thing, item);

	if (t->refuses)
		return false;
	evicted[strlen(evicted)] = t->name;
	budget_remove(b, it);
	return true;
}

static int setup(void **state)
{
	now_ms = 1000000;
	clock_set_fake(fake_clock);
	memset(evicted, 0, sizeof(evicted));
	memset(things, 0, sizeof(things));
	b = budget_new(500, 300, evict, NULL);
	for (int i = 0; i < 6; i++)
		things[i].name = (char)('a' + i);
	return 0;
}

static int teardown(void **state)
{
	budget_free(b);
	clock_set_fake(NULL);
	return 0;
}

static void add_all(uint64_t bytes)
{
	static const int order[] = { 3, 0, 5, 1, 4, 2 }; /* any order of use */

	for (int i = 0; i < 6; i++)
		budget_add(b, &things[order[i]].item, bytes, 1000 + order[i]);
}

static void nothing_goes_below_the_maximum(void **state)
{
	add_all(80);
	assert_int_equal(budget_bytes(b), 480);
	assert_false(budget_is_over(b));
	assert_int_equal(budget_enforce(b), 0);
	assert_string_equal(evicted, "");
}

static void the_least_recently_used_go_until_the_low_mark(void **state)
{
	add_all(100);
	assert_true(budget_is_over(b));
	assert_int_equal(budget_enforce(b), 3);
	assert_string_equal(evicted, "abc");
	assert_int_equal(budget_bytes(b), 300);
	assert_int_equal(budget_evictions(b), 3);
	assert_false(things[0].item.known);
	assert_true(things[3].item.known);
}

static void what_is_used_moves_to_the_end(void **state)
{
	add_all(100);
	budget_touch(b, &things[0].item);
	assert_int_equal(budget_enforce(b), 3);
	assert_string_equal(evicted, "bcd");
}

static void what_is_in_use_stays(void **state)
{
	add_all(100);
	budget_pin(b, &things[1].item);
	budget_pin(b, &things[1].item);
	budget_unpin(b, &things[1].item);
	budget_pin(b, &things[2].item);
	assert_int_equal(budget_enforce(b), 3);
	assert_string_equal(evicted, "ade");
	budget_unpin(b, &things[1].item);
	budget_unpin(b, &things[2].item);
	budget_resize(b, &things[1].item, 1000);
	assert_int_equal(budget_bytes(b), 1200);
	assert_int_equal(budget_enforce(b), 2);
	assert_string_equal(evicted, "adefb"); /* pinning was using */
	assert_int_equal(budget_bytes(b), 100);
}

static void one_that_cannot_go_does_not_stop_the_others(void **state)
{
	add_all(100);
	things[0].refuses = true;
	assert_int_equal(budget_enforce(b), 3);
	assert_string_equal(evicted, "bcd");
	budget_resize(b, &things[5].item, 400);
	things[0].refuses = false;
	assert_int_equal(budget_enforce(b), 3); /* asked again in the next round */
	assert_string_equal(evicted, "bcdaef");
	assert_int_equal(budget_bytes(b), 0);
}

static void nothing_more_can_go(void **state)
{
	add_all(100);
	for (int i = 0; i < 6; i++)
		things[i].refuses = true;
	assert_int_equal(budget_enforce(b), 0);
	assert_true(budget_is_over(b));
}

static void limits_can_change_live(void **state)
{
	add_all(80);
	budget_set_limits(b, 300, 1000); /* low above max means max */
	assert_true(budget_is_over(b));
	assert_int_equal(budget_enforce(b), 3);
	assert_int_equal(budget_bytes(b), 240);
}

static void what_is_not_in_the_budget_is_left_alone(void **state)
{
	add_all(80);
	budget_remove(b, &things[0].item);
	budget_remove(b, &things[0].item);
	budget_touch(b, &things[0].item);
	budget_pin(b, &things[0].item);
	budget_unpin(b, &things[0].item);
	budget_resize(b, &things[0].item, 999);
	assert_int_equal(budget_bytes(b), 400);
	budget_add(b, &things[0].item, 10, now_ms);
	assert_int_equal(budget_bytes(b), 410);
}

/* --- threads --- */

static atomic_int freed;

static bool evict_and_free(void *arg, struct budget_item *it)
{
	struct thing *t = CONTAINER_OF(it, struct thing, item);

	ENSURE(t->name == 'x');
	budget_remove(*(struct budget **)arg, it);
	t->name = 0;
	free(t);
	atomic_fetch_add(&freed, 1);
	return true;
}

static void *fill(void *arg)
{
	struct budget *mine = arg;

	for (int i = 0; i < 5000; i++) {
		struct thing *t = xcalloc(1, sizeof(*t));
		t->name = 'x';
		t->item.pins = 0;
		budget_add(mine, &t->item, 10, i);
		if (i % 7 == 0)
			(void)budget_enforce(mine);
	}
	return NULL;
}

static void many_threads_may_fill_and_enforce(void **state)
{
	struct budget *mine;
	pthread_t t[4];

	mine = budget_new(1000, 500, evict_and_free, &mine);
	freed = 0;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, fill, mine), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	budget_set_limits(mine, 0, 0);
	(void)budget_enforce(mine);
	assert_int_equal(freed, 20000);
	assert_int_equal(budget_bytes(mine), 0);
	assert_int_equal(budget_evictions(mine), 20000);
	budget_free(mine);
}

/* Who removes an item that is just being evicted waits until the callback has let go of it. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_inside, may_go_on;
	atomic_bool was_removed;
} slow = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static bool evict_slowly(void *arg, struct budget_item *it)
{
	pthread_mutex_lock(&slow.lock);
	slow.is_inside = true;
	pthread_cond_broadcast(&slow.changed);
	while (!slow.may_go_on)
		pthread_cond_wait(&slow.changed, &slow.lock);
	pthread_mutex_unlock(&slow.lock);
	ENSURE(!slow.was_removed); /* still ours */
	return false;
}

static void *enforce(void *arg)
{
	(void)budget_enforce(arg);
	return NULL;
}

static void *remove_it(void *arg)
{
	budget_remove(arg, &things[0].item);
	slow.was_removed = true;
	return NULL;
}

static void removing_waits_for_an_eviction_under_way(void **state)
{
	struct budget *mine = budget_new(10, 10, evict_slowly, NULL);
	pthread_t t[2];

	slow.is_inside = false;
	slow.may_go_on = false;
	slow.was_removed = false;
	budget_add(mine, &things[0].item, 100, 1);
	assert_int_equal(pthread_create(&t[0], NULL, enforce, mine), 0);
	pthread_mutex_lock(&slow.lock);
	while (!slow.is_inside)
		pthread_cond_wait(&slow.changed, &slow.lock);
	pthread_mutex_unlock(&slow.lock);
	assert_int_equal(pthread_create(&t[1], NULL, remove_it, mine), 0);
	assert_int_equal(budget_enforce(mine), 0); /* one round at a time; meanwhile the remover gets going */
	assert_int_equal(budget_bytes(mine), 100);
	pthread_mutex_lock(&slow.lock);
	slow.may_go_on = true;
	pthread_cond_broadcast(&slow.changed);
	pthread_mutex_unlock(&slow.lock);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	assert_int_equal(budget_bytes(mine), 0);
	budget_free(mine);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nothing_goes_below_the_maximum),
		T(the_least_recently_used_go_until_the_low_mark),
		T(what_is_used_moves_to_the_end),
		T(what_is_in_use_stays),
		T(one_that_cannot_go_does_not_stop_the_others),
		T(nothing_more_can_go),
		T(limits_can_change_live),
		T(what_is_not_in_the_budget_is_left_alone),
		T(many_threads_may_fill_and_enforce),
		T(removing_waits_for_an_eviction_under_way),
	};

	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
