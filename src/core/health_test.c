/* health_test.c -- the detailed answer of /healthz, made from what services and links tell. */
#include "core/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/obj.h"

struct pond { /* a service's state */
	struct service_health tells;
	struct link *links[2];
};

static void tell(void *state, struct service_health *ret)
{
	*ret = ((const struct pond *)state)->tells;
}

static void each(void *state, void (*fn)(void *arg, struct link *l), void *arg)
{
	struct pond *p = state;

	for (size_t i = 0; i < 2 && p->links[i]; i++)
		fn(arg, p->links[i]);
}

static const struct service talking = { .name = "talking", .health = tell, .each_link = each },
			    mute = { .name = "mute" };

static struct pool *pool;
static struct metrics *metrics;

static int ground_make(void **state)
{
	metrics = metrics_new();
	return pool_new(2, &pool);
}

static int ground_clear(void **state)
{
	int err = pool_drain(pool, 5000);

	if (!err)
		pool_free(pool);
	metrics_free(metrics);
	return err;
}

static struct link *a_link(const char *name, bool enabled)
{
	struct link_options o = {
		.name = name,
		.service = "talking",
		.url = "http://127.0.0.1:1",
		.enabled = enabled,
		.connect_timeout_ms = 1000,
		.stall_timeout_ms = 1000,
		.probe_first_ms = 3600000,
		.probe_max_ms = 3600000,
		.probe_patience_ms = 1000,
		.most_workers = 2,
	};
	struct link *l = NULL;

	assert_int_equal(link_new(&o, pool, metrics, &l), 0);
	return l;
}


static const char *text(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static json_t *health_of(struct pond *a, struct pond *b)
{
	struct service_instance items[] = { { &talking, a }, { &mute, NULL }, { &talking, b } };
	struct core core = { .version = "9.9", .started_mono_ms = clock_mono_ms() - 12345 };
	struct services services = { .items = items, .count = b ? 3 : 2, .core = &core };

	return health_json(&services);
}

static void test_figures_are_the_sum_over_services(void **state)
{
	struct pond a = { .tells = { .cached_repos = 1, .hits = 10, .misses = 100, .stale_serves = 1000 } };
	struct pond b = { .tells = { .cached_repos = 2, .hits = 20, .misses = 200, .stale_serves = 2000 } };
	json_t *o = health_of(&a, &b), *stats = json_object_get(o, "cache_stats");

	assert_string_equal(text(o, "status"), "healthy");
	assert_string_equal(text(o, "version"), "9.9");
	assert_int_equal(json_integer_value(json_object_get(o, "uptime_seconds")), 12);
	assert_string_equal(text(o, "upstream_status"), "unknown");
	assert_string_equal(text(o, "offline_mode"), "disabled");
	assert_int_equal(json_integer_value(json_object_get(o, "cached_repos")), 3);
	assert_int_equal(json_integer_value(json_object_get(stats, "hits")), 30);
	assert_int_equal(json_integer_value(json_object_get(stats, "misses")), 300);
	assert_int_equal(json_integer_value(json_object_get(stats, "stale_serves")), 3000);
	json_decref(o);
}

static void test_the_worst_service_decides_and_says_why(void **state)
{
	struct pond a = { .tells = { .state = HEALTH_DEGRADED, .reason = "slow" } };
	struct pond b = { .tells = { .state = HEALTH_UNHEALTHY, .reason = "disk full" } };
	json_t *o = health_of(&a, &b), *disk = json_object_get(json_object_get(o, "components"), "disk");

	assert_string_equal(text(o, "status"), "unhealthy");
	assert_string_equal(text(disk, "status"), "unhealthy");
	assert_string_equal(text(disk, "reason"), "disk full");
	json_decref(o);
	o = health_of(&a, NULL);
	assert_string_equal(text(o, "status"), "degraded");
	json_decref(o);
}

static void test_upstreams_that_are_away_degrade_and_start_the_offline_mode(void **state)
{
	struct pond a = { .tells = { .offline_possible = true } };
	json_t *o, *list;

	a.links[0] = a_link("one", true);
	o = health_of(&a, NULL);
	assert_string_equal(text(o, "upstream_status"), "unknown");
	assert_string_equal(text(o, "offline_mode"), "inactive");
	json_decref(o);

	a.links[1] = a_link("two", false);
	o = health_of(&a, NULL);
	list = json_object_get(json_object_get(o, "components"), "upstreams");
	assert_string_equal(text(o, "status"), "degraded");
	assert_string_equal(text(o, "upstream_status"), "mixed");
	assert_string_equal(text(o, "offline_mode"), "active");
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(text(json_array_get(list, 1), "name"), "two");
	assert_string_equal(text(json_array_get(list, 1), "state"), "disabled");
	json_decref(o);

	link_enable(a.links[0], false);
	o = health_of(&a, NULL);
	assert_string_equal(text(o, "upstream_status"), "unavailable");
	json_decref(o);
	link_free(a.links[0]);
	link_free(a.links[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures_are_the_sum_over_services),
		cmocka_unit_test(test_the_worst_service_decides_and_says_why),
		cmocka_unit_test(test_upstreams_that_are_away_degrade_and_start_the_offline_mode),
	};

	return cmocka_run_group_tests(tests, ground_make, ground_clear);
}
