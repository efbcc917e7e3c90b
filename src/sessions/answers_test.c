/* answers_test.c -- what is believed of a server's answers, and what is not. */
#include "sessions/answers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/delivery.h"
#include "proto/httpdate.h"

static void an_id_is_one_that_could_be_a_servers(void **state)
{
	static const struct {
		const char *body, *id; /* NULL: none */
	} rows[] = {
		{ "{\"session_id\":\"a\"}", "a" },
		{ "{\"session_id\":\"a b/\\u00fc\",\"more\":1}", "a b/\xc3\xbc" },
		{ "{\"session_id\":\"\"}", NULL },
		{ "{\"session_id\":7}", NULL },
		{ "{\"session_id\":\"local-session-1-1\"}", NULL }, /* another session's, perhaps */
		{ "{}", NULL },
		{ "[\"session_id\"]", NULL },
		{ "<html>", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char id[ANSWER_MOST_ID + 1] = "as it was";

		assert_int_equal(answer_session_id(slice_str(rows[i].body), id), rows[i].id != NULL);
		assert_string_equal(id, rows[i].id ? rows[i].id : "as it was");
	}
}

static void an_id_has_a_length(void **state)
{
	char id[ANSWER_MOST_ID + 1], body[200];

	(void)snprintf(body, sizeof(body), "{\"session_id\":\"%0*d\"}", ANSWER_MOST_ID, 7);
	assert_true(answer_session_id(slice_str(body), id));
	assert_int_equal(strlen(id), ANSWER_MOST_ID);
	(void)snprintf(body, sizeof(body), "{\"session_id\":\"%0*d\"}", ANSWER_MOST_ID + 1, 7);
	assert_false(answer_session_id(slice_str(body), id));
}

/* Operations 11, 12, 13: a letter for each, and the status of what is refused. */
static void a_batch_tells_of_each(void **state)
{
	static const struct {
		const char *body, *outcomes; /* NULL: it cannot be read */
		int status;
	} rows[] = {
		{ "{\"applied_seq\":13}", "aaa", 0 },
		{ "{\"applied_seq\":12}", "aan", 0 },
		{ "{\"applied_seq\":-5}", "nnn", 0 },
		{ "{\"applied_seq\":9223372036854775807}", "aaa", 0 },
		{ "{\"applied_seq\":13,\"refused\":[{\"seq\":12,\"status\":413,\"error\":\"why\"}]}", "ara", 413 },
		{ "{\"applied_seq\":11,\"refused\":[{\"seq\":12,\"status\":422,\"error\":\"why\"}]}", "arn", 422 },
		/* What it says of a refusal cannot be meant: then it is an ordinary one */
		{ "{\"applied_seq\":13,\"refused\":[{\"seq\":12,\"status\":503,\"error\":\"why\"}]}", "ara", 400 },
		{ "{\"applied_seq\":13,\"refused\":[{\"seq\":12,\"status\":401,\"error\":\"why\"}]}", "ara", 400 },
		{ "{\"applied_seq\":13,\"refused\":[{\"seq\":12,\"status\":4294967796,\"error\":\"why\"}]}", "ara",
		  400 },
		{ "{\"applied_seq\":13,\"refused\":[{\"seq\":12,\"error\":\"why\"},{\"seq\":99},{},7]}", "ara", 400 },
		{ "{\"applied_seq\":13,\"refused\":{\"seq\":12}}", "aaa", 0 },
		{ "{\"applied_seq\":\"13\"}", NULL, 0 },
		{ "{}", NULL, 0 },
		{ "[]", NULL, 0 },
		{ "", NULL, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct answer_part parts[3];
		int r;

		for (size_t k = 0; k < 3; k++)
			parts[k] = (struct answer_part){ .seq = 11 + k, .why = BUF_EMPTY };
		r = answer_batch(slice_str(rows[i].body), parts, 3);
		assert_int_equal(r, rows[i].outcomes ? 0 : WEIR_E_PARSE);
		for (size_t k = 0; rows[i].outcomes && k < 3; k++)
			assert_int_equal("arn"[parts[k].outcome], rows[i].outcomes[k]);
		assert_int_equal(parts[1].status, rows[i].status);
		assert_string_equal(parts[1].why.data, rows[i].status ? "why" : "");
		for (size_t k = 0; k < 3; k++)
			buf_fini(&parts[k].why);
	}
}

static void a_wait_is_an_hour_at_most(void **state)
{
	static const struct {
		const char *value;
		int64_t ms;
	} rows[] = {
		{ "0", 0 },        { "120", 120000 },
		{ "3600", 3600000 }, { "18446744073709551615", 3600000 },
		{ "-1", 0 },       { "soon", 0 },
		{ "Tue, 14 Nov 2023 22:13:50 GMT", 30000 }, { "Tue, 14 Nov 2023 22:13:19 GMT", 0 },
		{ "Fri, 31 Dec 9999 23:59:59 GMT", 3600000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(httpdate_retry_after_ms(slice_str(rows[i].value), 1700000000000,
							 DELIVERY_RETRY_AFTER_MOST_MS),
				 rows[i].ms);
	assert_int_equal(httpdate_retry_after_ms((struct slice){ NULL, 0 }, 1700000000000, DELIVERY_RETRY_AFTER_MOST_MS),
			 0);
}

static void only_a_hub_that_says_so_takes_batches(void **state)
{
	assert_true(answer_takes_batches(slice_str("{\"status\":\"healthy\",\"batch\":true}")));
	assert_false(answer_takes_batches(slice_str("{\"status\":\"healthy\"}")));
	assert_false(answer_takes_batches(slice_str("{\"batch\":1}")));
	assert_false(answer_takes_batches(slice_str("ok")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_is_one_that_could_be_a_servers),
		cmocka_unit_test(an_id_has_a_length),
		cmocka_unit_test(a_batch_tells_of_each),
		cmocka_unit_test(a_wait_is_an_hour_at_most),
		cmocka_unit_test(only_a_hub_that_says_so_takes_batches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
