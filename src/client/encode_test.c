/* encode_test.c */
#include "client/encode.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "client/json.h"

static struct weirc_text t;
static char storage[65536];

static int fresh(void **state)
{
	(void)state;
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	return 0;
}

static void expect_tail(const char *wanted)
{
	char whole[4096];
	int n;

	assert_int_equal(t.failed, 0);
	assert_int_equal(t.len, strlen(wanted));
	assert_memory_equal(t.data, wanted, t.len);
	n = snprintf(whole, sizeof(whole), "{\"session_id\":\"x\",%.*s", (int)t.len, t.data);
	assert_true(weirc_json_is_value(whole, (size_t)n, true));
	(void)fresh(NULL);
}

static void expect_failure(int code)
{
	assert_int_equal(t.failed, code);
	(void)fresh(NULL);
}

static void state_of_every_kind_of_value(void **state)
{
	(void)state;
	weirc_encode_state(&t, WEIR_FIELDS(weir_text("t", "a\"b"), weir_int("i", -3), weir_number("n", 0.5),
					   weir_bool("b", 1), weir_null("z"), weir_json("j", " [1,{}] ")));
	expect_tail("\"state\":{\"t\":\"a\\\"b\",\"i\":-3,\"n\":0.5,\"b\":true,\"z\":null,\"j\": [1,{}] }}");
	weirc_encode_state(&t, WEIR_FIELDS(weir_text("t", NULL), weir_number("n", NAN)));
	expect_tail("\"state\":{\"t\":null,\"n\":null}}");
	weirc_encode_state_json(&t, "{\"a\":1}");
	expect_tail("\"state\":{\"a\":1}}");
}

static void state_that_is_none(void **state)
{
	static const char *const texts[] = { NULL, "", "[1]", "{", "{}x", "{\"a\":NaN}" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		weirc_encode_state_json(&t, texts[i]);
		expect_failure(-EINVAL);
	}
	weirc_encode_state(&t, NULL);
	expect_failure(-EINVAL);
	weirc_encode_state(&t, WEIR_FIELDS(weir_int("", 1)));
	expect_failure(-EINVAL);
	weirc_encode_state(&t, WEIR_FIELDS(weir_int(NULL, 1)));
	expect_failure(-EINVAL);
	weirc_encode_state(&t, WEIR_FIELDS(weir_json("a", "{]")));
	expect_failure(-EINVAL);
}

static void an_event_with_everything(void **state)
{
	const struct weir_event e = {
		.name = "n",
		.category = "error",
		.group = "g",
		.message = "m",
		.labels = WEIR_TEXTS("a", "b"),
		.data = WEIR_FIELDS(weir_int("k", 1)),
		.exception_type = "T",
		.exception_message = "why",
		.stacktrace = WEIR_TEXTS("f1", "f2"),
		.source_file = "x.c",
		.source_line = 7,
		.source_function = "fn",
	};

	(void)state;
	weirc_encode_event(&t, &e);
	expect_tail(
		"\"name\":\"n\",\"category\":\"error\",\"group\":\"g\",\"message\":\"m\",\"labels\":[\"a\",\"b\"],"
		"\"data\":{\"k\":1},\"exception_type\":\"T\",\"exception_msg\":\"why\",\"stacktrace\":[\"f1\",\"f2\"],"
		"\"source_file\":\"x.c\",\"source_line\":7,\"source_function\":\"fn\"}");
	weirc_encode_event(&t, &(struct weir_event){ .name = "only", .labels = (const char *const[]){ NULL } });
	expect_tail("\"name\":\"only\",\"labels\":[]}");
	weirc_encode_event(&t, &(struct weir_event){ .name = "d", .data_json = "{\"x\":[]}" });
	expect_tail("\"name\":\"d\",\"data\":{\"x\":[]}}");
	weirc_encode_event(&t, &(struct weir_event){ .category = "no name" });
	expect_failure(-EINVAL);
	weirc_encode_event(&t, &(struct weir_event){ .name = "d", .data_json = "[]" });
	expect_failure(-EINVAL);
}

static void an_event_that_is_too_large(void **state)
{
	static char message[70000];

	(void)state;
	memset(message, 'x', sizeof(message) - 1);
	weirc_encode_event(&t, &(struct weir_event){ .name = "n", .message = message });
	expect_failure(-EMSGSIZE);
	weirc_encode_state_json(&t, message);
	expect_failure(-EMSGSIZE);
}

static void metrics(void **state)
{
	const double bounds[] = { 0.1, 5, INFINITY }, wrong[] = { 2, 1 };

	(void)state;
	weirc_encode_metric(&t, "gauge", "fps", 59.5, NULL);
	expect_tail("\"name\":\"fps\",\"type\":\"gauge\",\"value\":59.5}");
	weirc_encode_metric(&t, "counter", "shots", 2, &(struct weir_metric){ .tags = WEIR_TEXTS("b", "a") });
	expect_tail("\"name\":\"shots\",\"type\":\"counter\",\"value\":2,\"delta\":2,\"tags\":[\"b\",\"a\"]}");
	weirc_encode_metric(&t, "timer", "load", 0.25, &(struct weir_metric){ .count = 3 });
	expect_tail("\"name\":\"load\",\"type\":\"timer\",\"value\":0.25,\"unit\":\"seconds\",\"count\":3}");
	weirc_encode_metric(&t, "histogram", "frame", 7,
			    &(struct weir_metric){ .unit = "ms", .buckets = bounds, .bucket_count = 3 });
	expect_tail("\"name\":\"frame\",\"type\":\"histogram\",\"value\":7,\"unit\":\"ms\","
		    "\"metadata\":{\"buckets\":[0.1,5,\"inf\"]}}");
	weirc_encode_metric(&t, "histogram", "frame", 7, &(struct weir_metric){ .buckets = wrong, .bucket_count = 2 });
	expect_failure(-EINVAL);
	weirc_encode_metric(&t, "gauge", "fps", NAN, NULL);
	expect_failure(-EINVAL);
	weirc_encode_metric(&t, "gauge", "", 1, NULL);
	expect_failure(-EINVAL);
}

static void lists_that_do_not_end_are_noticed(void **state)
{
	static const char *texts[1100];

	(void)state;
	for (size_t i = 0; i < 1100; i++)
		texts[i] = "x";
	weirc_encode_event(&t, &(struct weir_event){ .name = "n", .labels = texts });
	expect_failure(-EINVAL);
}

static void drops_as_an_event(void **state)
{
	const unsigned long long counts[WEIR_CLIENT_TYPES] = { 1, 2, 3, 4 };

	(void)state;
	weirc_encode_drops(&t, counts);
	assert_int_equal(t.failed, 0);
	weirc_text_char(&t, '\0');
	assert_non_null(strstr(t.data, "\"data\":{\"states\":1,\"events\":2,\"metrics\":3,\"pauses\":4}}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(state_of_every_kind_of_value, fresh),
		cmocka_unit_test_setup(state_that_is_none, fresh),
		cmocka_unit_test_setup(an_event_with_everything, fresh),
		cmocka_unit_test_setup(an_event_that_is_too_large, fresh),
		cmocka_unit_test_setup(metrics, fresh),
		cmocka_unit_test_setup(lists_that_do_not_end_are_noticed, fresh),
		cmocka_unit_test_setup(drops_as_an_event, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
