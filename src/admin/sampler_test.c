/* sampler_test.c -- the thread that asks the services: it does, and ends when it is told to. */
#include "admin/admin_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"

#define LIMIT_MS 20000

static atomic_uint asked;

/* One request more each time that it is asked. */
static void count(void *state, traffic_fn *fn, void *arg)
{
	struct traffic t = { .requests = atomic_fetch_add(&asked, 1) + 1 };

	fn(arg, "toy", &t);
}

static const struct service toy = { .name = "toy", .traffic = count }, quiet = { .name = "quiet" };
static struct service_instance instances[] = { { &quiet, NULL }, { &toy, NULL }, { NULL, NULL } };
static struct core core;
static struct services services = { .items = instances, .count = 2, .core = &core };

static size_t slots(json_t *o)
{
	return json_array_size(json_object_get(o, "t"));
}

/* Waits until there are so many slots; the history as it is then. */
static json_t *wait_slots(struct sampler *s, size_t wanted)
{
	int64_t until = clock_mono_ms() + LIMIT_MS;

	for (;;) {
		json_t *o = sampler_json(s);

		if (slots(o) >= wanted)
			return o;
		json_decref(o);
		assert_true(clock_mono_ms() < until);
		usleep(1000);
	}
}

static void it_asks_again_and_again_and_nothing_is_lost_between_slots(void **state)
{
	struct sampler *s = NULL;
	json_t *o, *toys;
	unsigned before;

	core.started_mono_ms = clock_mono_ms();
	assert_int_equal(sampler_start(&services, 5, &s), 0);
	o = wait_slots(s, 6); /* five, and the one that is open */
	assert_int_equal(json_array_size(json_object_get(o, "services")), 1);
	toys = json_array_get(json_object_get(o, "services"), 0);
	before = (unsigned)json_integer_value(json_object_get(json_object_get(toys, "sum"), "requests"));
	assert_true(before >= 6);
	assert_true(before <= atomic_load(&asked));
	json_decref(o);
	sampler_stop(s);
	before = atomic_load(&asked);
	usleep(20000);
	assert_int_equal(atomic_load(&asked), before); /* nobody asks any more */
}

static void a_stop_does_not_wait_for_the_slot_to_end(void **state)
{
	struct sampler *s = NULL;
	int64_t began;
	json_t *o;

	core.started_mono_ms = clock_mono_ms();
	assert_int_equal(sampler_start(&services, 3600000, &s), 0);
	o = sampler_json(s);
	assert_int_equal(slots(o), 1);
	json_decref(o);
	began = clock_mono_ms();
	sampler_stop(s);
	assert_true(clock_mono_ms() - began < LIMIT_MS);
	sampler_stop(NULL);
}

static void services_that_come_later_are_not_asked(void **state)
{
	struct sampler *s = NULL;
	json_t *o;

	services.count = 1;
	assert_int_equal(sampler_start(&services, 3600000, &s), 0);
	services.count = 2;
	o = sampler_json(s);
	assert_int_equal(json_array_size(json_object_get(o, "services")), 0);
	json_decref(o);
	sampler_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_asks_again_and_again_and_nothing_is_lost_between_slots),
		cmocka_unit_test(a_stop_does_not_wait_for_the_slot_to_end),
		cmocka_unit_test(services_that_come_later_are_not_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
