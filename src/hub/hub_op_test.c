/* hub_op_test.c -- what requests become, and what is refused. */
#include "hub/hub_op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

#define NOW SLICE_LIT("2026-01-01T00:00:00.000Z")
#define AT  "{\"timestamp\":\"2026-01-01T00:00:00.000Z\","

static json_t *json_of(const char *text)
{
	json_t *v = NULL;

	assert_int_equal(json_read(slice_str(text), 0, &v, NULL), 0);
	return v;
}

/* What is kept; or "status: sentence". */
static const char *reads(enum hub_op_type type, const char *body)
{
	static struct buf out = BUF_EMPTY;
	json_t *v = json_of(body);
	struct hub_op op;

	buf_reset(&out);
	hub_op_read(type, v, false, NOW, &op);
	if (op.status)
		buf_addf(&out, "%d: %s", op.status, op.error.data);
	else
		buf_add_slice(&out, buf_slice(&op.body));
	hub_op_fini(&op);
	json_decref(v);
	return out.data;
}

static void an_event_has_all_that_readers_expect(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "{\"name\":\"e\"}", AT
		  "\"name\":\"e\",\"category\":\"info\",\"group\":\"\",\"labels\":[],\"message\":\"\",\"data\":{}}" },
		{ "{\"timestamp\":\"2025-12-31T23:59:59.123456789+01:00\",\"name\":\"e\",\"labels\":null}",
		  "{\"timestamp\":\"2025-12-31T23:59:59.123456789+01:00\",\"name\":\"e\",\"category\":\"info\",\"group\":\"\","
		  "\"labels\":[],\"message\":\"\",\"data\":{}}" },
		{ "{\"name\":\"e\",\"exception_type\":\"E\",\"stacktrace\":[\"a\",\"b\"],\"source_line\":7,\"source_file\":\"\"}",
		  AT "\"name\":\"e\",\"category\":\"error\",\"group\":\"\",\"labels\":[],\"message\":\"\",\"data\":{},"
		     "\"stacktrace\":[\"a\",\"b\"],\"exception_type\":\"E\",\"source_line\":7}" },
		{ "{\"name\":\"e\",\"exception_type\":\"E\",\"category\":\"warning\"}", AT
		  "\"name\":\"e\",\"category\":\"warning\",\"group\":\"\",\"labels\":[],\"message\":\"\",\"data\":{},"
		  "\"exception_type\":\"E\"}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(reads(HUB_OP_EVENT, rows[i].in), rows[i].want);
}

static void a_metric_keeps_its_number_as_it_is(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "{\"name\":\"m\",\"value\":0}", AT "\"name\":\"m\",\"type\":\"gauge\",\"value\":0}" },
		{ "{\"name\":\"m\",\"value\":0.1,\"type\":\"timer\",\"count\":3,\"unit\":\"s\",\"tags\":[\"t\"],\"metadata\":{}}",
		  AT "\"name\":\"m\",\"type\":\"timer\",\"value\":0.1,\"count\":3,\"unit\":\"s\",\"tags\":[\"t\"]}" },
		{ "{\"name\":\"m\",\"value\":9223372036854775807,\"count\":0,\"tags\":[]}",
		  AT "\"name\":\"m\",\"type\":\"gauge\",\"value\":9223372036854775807}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(reads(HUB_OP_METRIC, rows[i].in), rows[i].want);
}

static void further_members_are_kept_behind_the_others(void **state)
{
	static const struct {
		enum hub_op_type type;
		const char *in, *want;
	} rows[] = {
		{ HUB_OP_EVENT, "{\"more\":[1,null],\"name\":\"e\",\"q\\\"\":{\"a\":1.5},\"op\":3,\"none\":null}",
		  AT "\"name\":\"e\",\"category\":\"info\",\"group\":\"\",\"labels\":[],\"message\":\"\",\"data\":{},"
		     "\"more\":[1,null],\"q\\\"\":{\"a\":1.5},\"op\":3,\"none\":null}" },
		{ HUB_OP_EVENT, "{\"name\":\"e\",\"exception_type\":\"E\",\"category\":\"info\",\"thread\":7}",
		  AT "\"name\":\"e\",\"category\":\"error\",\"group\":\"\",\"labels\":[],\"message\":\"\",\"data\":{},"
		     "\"exception_type\":\"E\",\"thread\":7}" },
		{ HUB_OP_METRIC, "{\"host\":\"h\",\"value\":1,\"name\":\"m\"}",
		  AT "\"name\":\"m\",\"type\":\"gauge\",\"value\":1,\"host\":\"h\"}" },
		{ HUB_OP_STATE, "{\"state\":{\"a\":1},\"by\":\"x\"}", AT "\"state\":{\"a\":1},\"by\":\"x\"}" },
		{ HUB_OP_STATE, "{\"a\":1,\"by\":\"x\"}", AT "\"state\":{\"a\":1,\"by\":\"x\"}}" },
		{ HUB_OP_CRASH, "{\"reason\":\"r\",\"signal\":11}",
		  AT "\"name\":\"session_crashed_detected\",\"category\":\"critical\",\"group\":\"\",\"labels\":[],"
		     "\"message\":\"\",\"data\":{\"reason\":\"r\",\"signal\":11}}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(reads(rows[i].type, rows[i].in), rows[i].want);
}

static void wrong_types_are_refused_by_name(void **state)
{
	static const struct {
		enum hub_op_type type;
		const char *in, *want;
	} rows[] = {
		{ HUB_OP_EVENT, "{}", "400: Invalid request: \"name\" is missing" },
		{ HUB_OP_EVENT, "{\"name\":1}", "400: Invalid request: \"name\" is not a string" },
		{ HUB_OP_EVENT, "{\"name\":\"e\",\"labels\":[1]}",
		  "400: Invalid request: \"labels\" is not a list of strings" },
		{ HUB_OP_EVENT, "{\"name\":\"e\",\"data\":[]}", "400: Invalid request: \"data\" is not an object" },
		{ HUB_OP_EVENT, "{\"name\":\"e\",\"source_line\":1.5}",
		  "400: Invalid request: \"source_line\" is not an integer of 64 bits" },
		{ HUB_OP_EVENT, "{\"name\":\"e\",\"timestamp\":\"yesterday\"}",
		  "400: Invalid request: \"timestamp\" is not a time as in 2026-01-02T03:04:05.678Z (RFC 3339)" },
		{ HUB_OP_EVENT, "{\"name\":\"e\",\"timestamp\":\"2026-01-02 03:04:05Z\"}",
		  "400: Invalid request: \"timestamp\" is not a time as in 2026-01-02T03:04:05.678Z (RFC 3339)" },
		{ HUB_OP_EVENT, "{\"name\":\"e\",\"category\":7,\"exception_type\":\"E\"}",
		  "400: Invalid request: \"category\" is not a string" },
		{ HUB_OP_METRIC, "{\"name\":\"m\"}", "400: Invalid request: \"value\" is missing" },
		{ HUB_OP_METRIC, "{\"name\":\"m\",\"value\":\"1\"}",
		  "400: Invalid request: \"value\" is not a number" },
		{ HUB_OP_METRIC, "[]", "400: Invalid request: the body is not a JSON object" },
		{ HUB_OP_STATE, "[]", "400: Invalid request: the body is not a JSON object" },
		{ HUB_OP_STATE, "{\"state\":{},\"timestamp\":1}",
		  "400: Invalid request: \"timestamp\" is not a time as in 2026-01-02T03:04:05.678Z (RFC 3339)" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(reads(rows[i].type, rows[i].in), rows[i].want);
}

static void a_body_without_a_state_is_the_state(void **state)
{
	assert_string_equal(reads(HUB_OP_STATE, "{\"state\":{\"a\":1}}"), AT "\"state\":{\"a\":1}}");
	assert_string_equal(reads(HUB_OP_STATE, "{\"a\":1,\"timestamp\":5}"),
			    AT "\"state\":{\"a\":1,\"timestamp\":5}}");
	assert_string_equal(reads(HUB_OP_STATE, "{\"state\":\"running\"}"), AT "\"state\":{\"state\":\"running\"}}");
	assert_string_equal(reads(HUB_OP_STATE, "{\"timestamp\":\"2025-01-01T00:00:00Z\",\"state\":{}}"),
			    "{\"timestamp\":\"2025-01-01T00:00:00Z\",\"state\":{}}");
}

static void a_crash_has_a_reason_whatever_its_body_is(void **state)
{
	static const char *const bodies[] = { "[]", "{}", "{\"reason\":\"\"}", "{\"reason\":5}" };
	struct hub_op op;

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		assert_non_null(strstr(reads(HUB_OP_CRASH, bodies[i]), "{\"reason\":\"abnormal_termination\"}"));
	assert_non_null(strstr(reads(HUB_OP_CRASH, "{\"reason\":\"oom\"}"), "{\"reason\":\"oom\"}"));
	hub_op_read(HUB_OP_CRASH, NULL, false, NOW, &op);
	assert_int_equal(op.status, 0);
	assert_non_null(strstr(op.body.data, "\"category\":\"critical\""));
	hub_op_fini(&op);
}

static int read_batch(const char *text, struct hub_op **ret, size_t *ret_count, struct buf *why)
{
	json_t *v = json_of(text);
	int r = hub_op_read_batch(v, NOW, ret, ret_count, why);

	json_decref(v);
	return r;
}

static void a_batch_refuses_one_operation_or_all_of_them(void **state)
{
	static const char *const spoiled[] = {
		"{}",
		"{\"operations\":{}}",
		"{\"operations\":[{\"op\":\"end\"}]}",
		"{\"operations\":[{\"op\":\"end\",\"seq\":0}]}",
		"{\"operations\":[{\"op\":\"end\",\"seq\":1.0}]}",
		"{\"operations\":[5]}",
		"{\"operations\":[{\"op\":\"end\",\"seq\":2},{\"op\":\"end\",\"seq\":2}]}",
	};
	struct buf why = BUF_EMPTY;
	struct hub_op *ops = NULL;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(spoiled); i++) {
		buf_reset(&why);
		assert_int_equal(read_batch(spoiled[i], &ops, &n, &why), WEIR_E_PARSE);
		assert_true(why.len > 0);
	}
	assert_int_equal(
		read_batch(
			"{\"operations\":[{\"op\":\"event\",\"seq\":3,\"name\":\"e\"},{\"op\":\"dance\",\"seq\":5},"
			"{\"op\":\"state\",\"seq\":9223372036854775807,\"a\":1},{\"op\":\"metric\",\"seq\":9,\"x\":1}]}",
			&ops, &n, &why),
		WEIR_E_PARSE); /* 9 after the last */
	assert_int_equal(
		read_batch("{\"operations\":[{\"op\":\"event\",\"seq\":3,\"name\":\"e\"},{\"op\":\"dance\",\"seq\":5},"
			   "{\"op\":\"end\",\"seq\":6,\"timestamp\":\"2026-01-01T00:00:01Z\"},"
			   "{\"op\":\"state\",\"seq\":9223372036854775807,\"a\":1}]}",
			   &ops, &n, &why),
		0);
	assert_int_equal(n, 4);
	assert_int_equal(ops[0].status, 0);
	assert_int_equal(ops[1].status, 400);
	assert_int_equal(ops[1].seq, 5);
	assert_int_equal(ops[2].status, 0);
	assert_int_equal(ops[2].time_ms, 1767225601000);
	assert_int_equal(ops[3].status, 400);
	hub_ops_free(ops, n);
	buf_fini(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_has_all_that_readers_expect),
		cmocka_unit_test(a_metric_keeps_its_number_as_it_is),
		cmocka_unit_test(further_members_are_kept_behind_the_others),
		cmocka_unit_test(wrong_types_are_refused_by_name),
		cmocka_unit_test(a_body_without_a_state_is_the_state),
		cmocka_unit_test(a_crash_has_a_reason_whatever_its_body_is),
		cmocka_unit_test(a_batch_refuses_one_operation_or_all_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
