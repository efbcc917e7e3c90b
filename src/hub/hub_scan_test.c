/* hub_scan_test.c -- walking along kept items: what is found in them, and that nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/obj.h"
#include "hub/hub_scan.h"

static const char *walked(const char *text)
{
	static struct buf out = BUF_EMPTY;
	char *exact = malloc(strlen(text)); /* without a NUL: a byte too far is seen */
	struct hub_scan s;
	struct slice name, value;

	memcpy(exact, text, strlen(text));
	s = hub_scan_of((struct slice){ exact, strlen(text) });
	buf_reset(&out);
	while (hub_scan_member(&s, &name, &value))
		buf_addf(&out, "%.*s=%.*s ", (int)name.n, name.p, (int)value.n, value.p);
	if (s.broken)
		buf_add_str(&out, "broken");
	free(exact);
	return out.data;
}

static void members_are_found_with_their_values(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "{}", "" },
		{ "{\"a\":1}", "a=1 " },
		{ "{\"a\":-1.5e+300,\"b\":null,\"c\":true}", "a=-1.5e+300 b=null c=true " },
		{ "{\"a\":\"x\",\"b\":\"\"}", "a=\"x\" b=\"\" " },
		{ "{\"a\":\"q\\\"}\\\\\",\"b\":2}", "a=\"q\\\"}\\\\\" b=2 " },
		{ "{\"a\":{\"b\":[1,{\"c\":\"]}\"}]},\"d\":[]}", "a={\"b\":[1,{\"c\":\"]}\"}]} d=[] " },
		{ "{\"a\\\"b\":1}", "a\\\"b=1 " },
		{ "", "broken" },
		{ "{", "broken" },
		{ "7", "broken" },
		{ "{\"a\"}", "broken" },
		{ "{\"a\":}", "broken" },
		{ "{\"a\":1,}", "broken" },
		{ "{\"a\":\"}", "broken" },
		{ "{\"a\":\"\\}", "broken" },
		{ "{\"a\":[1}", "broken" },
		{ "{\"a\":1 \"b\":2}", "a=1 \"b\":2 " }, /* not ours, and no harm done */
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(walked(rows[i].text), rows[i].want);
}

static void wanted_members_are_picked_in_one_walk(void **state)
{
	struct hub_scan_want want[] = { { .name = "b" }, { .name = "none" }, { .name = "a" }, { .name = NULL } };

	assert_true(hub_scan_members(SLICE_LIT("{\"a\":1,\"x\":{\"b\":7},\"b\":[2]}"), want));
	assert_true(slice_eq_str(want[0].value, "[2]"));
	assert_null(want[1].value.p);
	assert_true(slice_eq_str(want[2].value, "1"));
	assert_false(hub_scan_members(SLICE_LIT("{\"x\":1,"), want));
	assert_null(want[2].value.p);
}

static void values_are_read_or_refused(void **state)
{
	struct buf text = BUF_EMPTY;
	double d = 7;
	int64_t ms = 7;

	assert_true(hub_scan_number(SLICE_LIT("-1.25e2"), &d) && d == -125);
	assert_false(hub_scan_number(SLICE_LIT("\"1\""), &d));
	assert_false(hub_scan_number(SLICE_LIT("null"), &d));
	assert_false(hub_scan_number((struct slice){ NULL, 0 }, &d));
	assert_true(d == -125);
	assert_true(hub_scan_time(SLICE_LIT("\"2026-01-02T03:04:05.678Z\""), &ms) && ms == 1767323045678);
	assert_false(hub_scan_time(SLICE_LIT("17"), &ms));
	assert_false(hub_scan_time((struct slice){ NULL, 0 }, &ms));
	assert_true(hub_scan_text(SLICE_LIT("\"plain\""), &text));
	assert_true(hub_scan_text(SLICE_LIT("\" \\\"\\u0001\\n\""), &text));
	assert_string_equal(text.data, "plain \"\x01\n");
	assert_false(hub_scan_text(SLICE_LIT("5"), &text));
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_are_found_with_their_values),
		cmocka_unit_test(wanted_members_are_picked_in_one_walk),
		cmocka_unit_test(values_are_read_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
