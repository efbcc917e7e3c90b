/* cachecontrol_test.c */
#include "proto/cachecontrol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

/* Only what was set, in the order of the struct. */
static void describe(const struct cachecontrol *cc, struct buf *out)
{
	static const char *const names[] = { "no-cache",	"no-store",	    "no-transform",    "only-if-cached",
					     "must-revalidate", "proxy-revalidate", "must-understand", "private",
					     "public",		"immutable" };
	const struct {
		const char *name;
		int64_t v;
	} numbers[] = { { "max-age", cc->max_age_s },
			{ "s-maxage", cc->s_maxage_s },
			{ "swr", cc->stale_while_revalidate_s },
			{ "sie", cc->stale_if_error_s },
			{ "min-fresh", cc->min_fresh_s },
			{ "max-stale", cc->max_stale_s } };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (cc->flags & 1u << i)
			buf_addf(out, "%s ", names[i]);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (numbers[i].v == CC_MOST_SECONDS)
			buf_addf(out, "%s=most ", numbers[i].name);
		else if (numbers[i].v != CC_ABSENT)
			buf_addf(out, "%s=%lld ", numbers[i].name, (long long)numbers[i].v);
}

static void directives_are_read_and_the_stricter_reading_holds(void **state)
{
	static const struct {
		const char *value, *means;
	} rows[] = {
		{ "", "" },
		{ "max-age=60", "max-age=60 " },
		{ "MAX-AGE=60, Public", "public max-age=60 " },
		{ "max-age=\"60\"", "max-age=60 " }, /* RFC 9111 5.2: both forms */
		{ "max-age=060", "max-age=60 " },
		{ "max-age=0,s-maxage=5, must-revalidate,proxy-revalidate,no-transform,immutable",
		  "no-transform must-revalidate proxy-revalidate immutable max-age=0 s-maxage=5 " },
		{ "no-store, must-understand, private, no-cache", "no-cache no-store must-understand private " },
		{ "stale-while-revalidate=30, stale-if-error=40", "swr=30 sie=40 " }, /* RFC 5861 */
		/* of requests */
		{ "only-if-cached, min-fresh=10, max-stale=20", "only-if-cached min-fresh=10 max-stale=20 " },
		{ "max-stale", "max-stale=most " },
		/* unknown ones are passed over, whatever they quote */
		{ "community=\"UCI, no-store\", max-age=1", "max-age=1 " },
		{ "x, y=z, max-age2=5, no-stored", "" },
		/* RFC 9111 1.2.2: too large */
		{ "max-age=2147483647", "max-age=2147483647 " },
		{ "max-age=2147483649", "max-age=most " },
		{ "max-age=99999999999999999999999999", "max-age=most " },
		/* 4.2.1: contradictions */
		{ "max-age=60, max-age=600", "max-age=60 " },
		{ "max-age=600, max-age=60", "max-age=60 " },
		{ "max-age=60, max-age=x", "max-age=0 " },
		{ "min-fresh=1, min-fresh=5", "min-fresh=5 " },
		{ "max-stale=5, max-stale", "max-stale=5 " },
		/* malformed numbers */
		{ "max-age", "max-age=0 " },
		{ "max-age=", "max-age=0 " },
		{ "max-age=-1", "max-age=0 " },
		{ "max-age=1.5", "max-age=0 " },
		{ "max-age=1 2", "max-age=0 " },
		{ "max-age='10'", "max-age=0 " },
		{ "max-age=\"1", "max-age=0 " },
		{ "max-age= 10", "max-age=0 " },
		{ "max-age = 10", "max-age=0 " },
		{ "s-maxage=10s, stale-if-error=x, max-stale=x, min-fresh=x",
		  "s-maxage=0 sie=0 min-fresh=most max-stale=0 " },
		/* what forbids is believed in any shape, what allows is not */
		{ "no-store=1, no-cache=\"a, b\", private=\"set-cookie\", must-revalidate=x",
		  "no-cache no-store must-revalidate private " },
		{ "no-store =1", "no-store " },
		{ "public=1, must-understand=\"\", immutable=x", "" },
		/* a quoted string without end hides what follows it */
		{ "x=\"a, max-age=5", "" },
		{ "no-cache=\"a, max-age=5", "no-cache " },
		{ ",,max-age=5,,", "max-age=5 " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = xstrf("Cache-Control: %s", rows[i].value);
		const struct slice line = slice_str(text);
		const struct httplines h = { &line, 1 };
		struct buf got = BUF_EMPTY;
		struct cachecontrol cc;

		cachecontrol_parse(&h, &cc);
		describe(&cc, &got);
		assert_string_equal(got.data, rows[i].means);
		buf_fini(&got);
		free(text);
	}
}

static void several_lines_are_one(void **state)
{
	const struct slice lines[] = { SLICE_LIT("Cache-Control: max-age=60"), SLICE_LIT("X: no-store"),
				       SLICE_LIT("cache-control: max-age=30, no-cache") };
	const struct httplines h = { lines, ARRAY_LEN(lines) };
	struct buf got = BUF_EMPTY;
	struct cachecontrol cc;

	(void)state;
	cachecontrol_parse(&h, &cc);
	describe(&cc, &got);
	assert_string_equal(got.data, "no-cache max-age=30 ");
	buf_fini(&got);
}

static void pragma_counts_in_requests_without_cache_control(void **state)
{
	const struct slice lines[] = { SLICE_LIT("Pragma: x, No-Cache"), SLICE_LIT("Cache-Control: max-age=5") };
	const struct httplines alone = { lines, 1 }, both = { lines, 2 };
	struct cachecontrol cc;

	(void)state;
	cachecontrol_parse_request(&alone, &cc);
	assert_int_equal(cc.flags, CC_NO_CACHE);
	cachecontrol_parse_request(&both, &cc);
	assert_int_equal(cc.flags, 0);
	cachecontrol_parse(&alone, &cc);
	assert_int_equal(cc.flags, 0);
}

static void a_targeted_field_is_a_dictionary_or_nothing(void **state)
{
	static const struct {
		const char *value;
		int r;
		const char *means;
	} rows[] = {
		{ "max-age=60", 0, "max-age=60 " },
		{ "max-age=60, no-store", 0, "no-store max-age=60 " },
		{ "max-age=60;x=1;y , private;z=\"a,b\"", 0, "private max-age=60 " },
		{ "none=(1 \"a\";q=2.5 tok :YQ==:), max-age=1", 0, "max-age=1 " },
		{ "max-age=1, max-age=70", 0, "max-age=70 " },	/* RFC 8941 4.2.2: the last */
		{ "no-store, no-store=?0", 0, "" },
		{ "no-cache=\"set-cookie\"", 0, "no-cache " },
		/* the wrong type: passed over */
		{ "max-age=60.5, s-maxage=\"5\", no-store=?0, public=1", 0, "" },
		{ "max-age", 0, "" },
		{ "max-age=-1", 0, "" },
		{ "max-age=999999999999999", 0, "max-age=most " },
		{ "*a=1, b_-.*=tok/en:, max-age=2", 0, "max-age=2 " },
		/* RFC 9213 2.2: ignored whole */
		{ "", -ENOENT, "" },
		{ "max-age=60,", WEIR_E_PARSE, "" },
		{ "max-age=60 no-store", WEIR_E_PARSE, "" },
		{ "Max-Age=60", WEIR_E_PARSE, "" },
		{ "max-age =60", WEIR_E_PARSE, "" },
		{ "max-age= 60", WEIR_E_PARSE, "" },
		{ "max-age=", WEIR_E_PARSE, "" },
		{ "max-age=1000000000000000", WEIR_E_PARSE, "" },
		{ "max-age=1.", WEIR_E_PARSE, "" },
		{ "max-age=1.2345", WEIR_E_PARSE, "" },
		{ "max-age=-", WEIR_E_PARSE, "" },
		{ "a=\"x", WEIR_E_PARSE, "" },
		{ "a=\"\\x\"", WEIR_E_PARSE, "" },
		{ "a=\"\\", WEIR_E_PARSE, "" },
		{ "a=\"\xc3\xa4\"", WEIR_E_PARSE, "" },
		{ "a=?2", WEIR_E_PARSE, "" },
		{ "a=?", WEIR_E_PARSE, "" },
		{ "a=:YQ", WEIR_E_PARSE, "" },
		{ "a=(1", WEIR_E_PARSE, "" },
		{ "a=(1\"b\")", WEIR_E_PARSE, "" },
		{ "a=1;", WEIR_E_PARSE, "" },
		{ "a=1;B", WEIR_E_PARSE, "" },
		{ "=1", WEIR_E_PARSE, "" },
		{ ",", WEIR_E_PARSE, "" },
		{ "a,,b", WEIR_E_PARSE, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = xstrf("CDN-Cache-Control: %s", rows[i].value);
		const struct slice line = slice_str(text);
		const struct httplines h = { &line, 1 }, empty = { NULL, 0 };
		struct buf got = BUF_EMPTY;
		struct cachecontrol cc;

		cachecontrol_parse(&empty, &cc);
		assert_int_equal(cachecontrol_parse_targeted(&h, "cdn-cache-control", &cc), rows[i].r);
		describe(&cc, &got);
		assert_string_equal(got.data, rows[i].means);
		buf_fini(&got);
		free(text);
	}
}

static void a_targeted_field_may_have_several_lines(void **state)
{
	const struct slice lines[] = { SLICE_LIT("CDN-Cache-Control: max-age=60"),
				       SLICE_LIT("CDN-Cache-Control: no-transform") };
	const struct httplines h = { lines, 2 }, none = { lines, 0 };
	struct buf got = BUF_EMPTY;
	struct cachecontrol cc;

	(void)state;
	assert_int_equal(cachecontrol_parse_targeted(&none, "cdn-cache-control", &cc), -ENOENT);
	assert_int_equal(cachecontrol_parse_targeted(&h, "cdn-cache-control", &cc), 0);
	describe(&cc, &got);
	assert_string_equal(got.data, "no-transform max-age=60 ");
	buf_fini(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directives_are_read_and_the_stricter_reading_holds),
		cmocka_unit_test(several_lines_are_one),
		cmocka_unit_test(pragma_counts_in_requests_without_cache_control),
		cmocka_unit_test(a_targeted_field_is_a_dictionary_or_nothing),
		cmocka_unit_test(a_targeted_field_may_have_several_lines),
	};

	return cmocka_run_group_tests_name("cachecontrol", tests, NULL, NULL);
}
