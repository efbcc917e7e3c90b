/* hub_timeline_test.c -- events counted by time and level, and hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/obj.h"
#include "hub/hub_timeline.h"

/* An event of 2026-01-02T03:00:00Z and so many seconds. */
static void event(struct hub_timeline *t, int second, const char *name, const char *category)
{
	char body[400];

	(void)snprintf(body, sizeof(body),
		       "{\"timestamp\":\"2026-01-02T03:%02d:%02dZ\",\"name\":\"%s\",\"category\":\"%s\"}", second / 60,
		       second % 60, name, category);
	assert_true(hub_timeline_event(t, slice_str(body)));
}

#define BEGIN 1767322800000LL

static char *written(struct hub_timeline *t)
{
	static struct buf out = BUF_EMPTY;

	buf_reset(&out);
	hub_timeline_write(t, &out);
	hub_timeline_free(t);
	return out.data;
}

static void events_are_counted_by_step_and_level(void **state)
{
	struct hub_timeline *t = hub_timeline_new(hub_span_of(BEGIN, BEGIN + 10000, 5));

	event(t, 0, "a", "info");
	event(t, 1, "a", "info");
	event(t, 2, "a", "error");
	event(t, 9, "a", "info");
	event(t, 10, "a", "info");
	assert_true(hub_timeline_event(t, SLICE_LIT("{\"timestamp\":\"2026-01-02T02:59:59.999Z\",\"name\":\"a\"}")));
	assert_true(hub_timeline_update(t, SLICE_LIT("{\"timestamp\":\"2026-01-02T03:00:04Z\",\"state\":{}}")));
	assert_true(hub_timeline_update(t, SLICE_LIT("{\"timestamp\":\"2026-01-02T03:00:11Z\",\"state\":{}}")));
	assert_false(hub_timeline_event(t, SLICE_LIT("{\"timestamp\":5}")));
	assert_false(hub_timeline_update(t, SLICE_LIT("{\"timestamp\":")));
	assert_string_equal(written(t), "{\"since\":1767322800000,\"until\":1767322810000,\"step_ms\":2000,"
					"\"levels\":{\"info\":[2,0,0,0,1],\"error\":[0,1,0,0,0]},"
					"\"updates\":[0,0,1,0,0],\"hangs\":[],\"outside\":{\"before\":1,\"after\":1}}");
}

static void steps_cover_the_range_whatever_divides_it(void **state)
{
	static const struct {
		int64_t length;
		size_t most;
		int64_t step;
		size_t count;
	} rows[] = { { 10, 5, 2, 5 }, { 11, 5, 3, 4 },      { 1, 200, 1, 1 },    { 0, 5, 1, 1 },
		     { -7, 5, 1, 1 }, { 199, 200, 1, 199 }, { 201, 200, 2, 101 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hub_span s = hub_span_of(100, 100 + rows[i].length, rows[i].most);

		assert_int_equal(s.step_ms, rows[i].step);
		assert_int_equal(s.count, rows[i].count);
		assert_int_equal(hub_span_at(&s, 99), -1);
		assert_int_equal(hub_span_at(&s, 100), 0);
		assert_int_equal(hub_span_at(&s, s.until_ms - 1), s.count - 1);
		assert_int_equal(hub_span_at(&s, s.until_ms), s.count);
	}
}

static void hangs_have_a_beginning_and_perhaps_an_end(void **state)
{
	struct hub_timeline *t = hub_timeline_new(hub_span_of(BEGIN + 20000, BEGIN + 50000, 1));

	event(t, 1, "application_recovered", "info");
	event(t, 2, "application_appears_hung", "error");
	event(t, 9, "application_recovered", "info"); /* over before the range */
	event(t, 19, "application_appears_hung", "error");
	event(t, 25, "application_appears_hung", "error"); /* told twice */
	event(t, 30, "application_recovered", "info");
	event(t, 49, "application_appears_hung", "error");
	assert_non_null(strstr(written(t), "\"hangs\":[{\"from\":1767322819000,\"until\":1767322830000},"
					   "{\"from\":1767322849000,\"until\":null}]"));
}

static void levels_that_are_too_many_or_too_long_count_as_other(void **state)
{
	struct hub_timeline *t = hub_timeline_new(hub_span_of(BEGIN, BEGIN + 1000, 1));
	char name[120];
	const char *got;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	event(t, 0, "a", name);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 40; i++) {
			(void)snprintf(name, sizeof(name), "level%d", i);
			event(t, 0, "a", name);
		}
	}
	got = written(t);
	assert_non_null(strstr(got, "\"levels\":{\"other\":[51],\"level0\":[2],"));
	assert_non_null(strstr(got, "\"level14\":[2]},"));
	t = hub_timeline_new(hub_span_of(BEGIN, BEGIN + 1000, 1));
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "level%d", i);
		event(t, 0, "a", name);
	}
	assert_non_null(strstr(written(t), "\"level15\":[1],\"other\":[4]},"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_counted_by_step_and_level),
		cmocka_unit_test(steps_cover_the_range_whatever_divides_it),
		cmocka_unit_test(hangs_have_a_beginning_and_perhaps_an_end),
		cmocka_unit_test(levels_that_are_too_many_or_too_long_count_as_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
