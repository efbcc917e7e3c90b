/* outbox_test.c -- /api/v1/outbox: lists, entries, verbs. */
#include "admin/outbox_test_kit.h"

/* --- looking --- */

static void without_an_outbox_there_is_nothing(void **state)
{
	struct outbox *before = ob;

	ob = NULL;
	assert_int_equal(ask("GET", "", NULL), 200);
	assert_int_equal(items(), 0);
	assert_true(json_is_null(json_object_get(json, "next")));
	assert_int_equal(ask("GET", "/x", NULL), 404);
	expect_in(&body, "no configured service queues writes");
	assert_int_equal(ask("DELETE", "/x", NULL), 404);
	ob = before;
}

static void lists_have_filters_and_pages(void **state)
{
	struct outbox_receipt r[5];
	char *next;

	for (size_t i = 0; i < ARRAY_LEN(r); i++)
		r[i] = put(i < 3 ? files : solo, "/a", "ours");
	assert_int_equal(ask("GET", "", NULL), 200);
	assert_int_equal(items(), 5);
	assert_int_equal(ask("GET", "?service=solo", NULL), 200);
	assert_int_equal(items(), 2);
	assert_int_equal(ask("GET", "?service=nobody", NULL), 200);
	assert_int_equal(items(), 0);
	assert_int_equal(ask("GET", "?state=queued&service=files&limit=2", NULL), 200);
	assert_int_equal(items(), 2);
	next = xstrf("?service=files&after=%s", text("next"));
	assert_int_equal(ask("GET", next, NULL), 200);
	assert_int_equal(items(), 1);
	assert_true(json_is_null(json_object_get(json, "next")));
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json, "items"), 0), "id")),
			    r[2].id);
	free(next);
	next = xstrf("?after=%s", r[3].id); /* an id will do as well */
	assert_int_equal(ask("GET", next, NULL), 200);
	assert_int_equal(items(), 1);
	free(next);
	assert_int_equal(ask("GET", "?state=held", NULL), 200);
	assert_int_equal(items(), 0);
}

static void a_query_that_is_not_understood_says_what_is(void **state)
{
	static const struct {
		const char *query, *words;
	} rows[] = {
		{ "?state=lost", "queued, sending, applied, conflict, held, dropped, resolved" },
		{ "?limit=nine", "1 to 1000" },
		{ "?limit=0", "1 to 1000" },
		{ "?after=nobody", "the id of an entry" },
		{ "?service=%zz", "encoded" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(ask("GET", rows[i].query, NULL), 400);
		expect_in(&body, rows[i].words);
		expect_in(&head, "Content-Type: application/problem+json");
	}
}

static void an_entry_tells_what_the_contract_says(void **state)
{
	struct outbox_receipt first = put(solo, "/a/b.txt", "one"), second = put(solo, "/a/b.txt", "and two");
	json_t *h;

	assert_int_equal(ask_of("GET", &first, "", NULL), 200);
	assert_string_equal(text("id"), first.id);
	assert_string_equal(text("service"), "solo");
	assert_string_equal(text("method"), "PUT");
	assert_string_equal(text("raw_uri"), "/a/b.txt");
	assert_string_equal(text("content_type"), "text/plain");
	assert_int_equal(json_integer_value(json_object_get(json, "body_bytes")), 3);
	assert_string_equal(text("base_etag"), "\"v1\"");
	assert_string_equal(text("base_mod_time"), "2026-01-02T03:04:05Z");
	assert_true(strlen(text("idempotency_key")) >= 32);
	assert_string_equal(text("state"), "queued");
	assert_int_equal(json_integer_value(json_object_get(json, "attempts")), 0);
	assert_int_equal(json_integer_value(json_object_get(json, "last_status")), 0);
	assert_string_equal(text("last_error"), "");
	assert_true(json_is_null(json_object_get(json, "settled_at")));
	assert_true(json_is_null(json_object_get(json, "parent")));
	assert_true(json_is_false(json_object_get(json, "damaged")));
	h = json_object_get(json, "headers");
	assert_int_equal(json_array_size(h), 3);
	assert_string_equal(json_string_value(json_object_get(json_array_get(h, 2), "name")), "X-Twice");
	assert_string_equal(json_string_value(json_object_get(json_array_get(h, 2), "value")), "2");
	assert_int_equal(ask_of("GET", &second, "", NULL), 200);
	assert_string_equal(text("parent"), first.id);
}

static void a_conflict_has_their_version_and_a_refusal_its_answer(void **state)
{
	struct outbox_receipt a = put(solo, "/a", "ours"), b = put(solo, "/b", "ours");

	settle(lend(), OUTBOX_CONFLICT);
	settle(lend(), OUTBOX_HELD);
	assert_string_equal(state_of(&a), "conflict");
	assert_string_equal(text("theirs_etag"), "W/\"v2\"");
	assert_string_equal(text("theirs_mod_time"), "2026-01-02T03:04:06Z");
	assert_string_equal(state_of(&b), "held");
	assert_int_equal(json_integer_value(json_object_get(json, "last_status")), 403);
	assert_string_equal(text("last_error"), "upstream answered 403");
	assert_string_equal(text("answer"), "no \\xff way"); /* it was no UTF-8 */
	assert_string_equal(text("answer_type"), "text/plain");
}

static void a_body_is_given_so_that_no_browser_runs_it(void **state)
{
	struct outbox_receipt r = put(solo, "/a/evil name.html", "<script>"), none = put(solo, "/none", NULL);

	assert_int_equal(ask_of("GET", &r, "/body", NULL), 200);
	assert_string_equal(body.data, "<script>");
	expect_in(&head, "Content-Type: text/plain\n");
	expect_in(&head, "Content-Disposition: attachment; filename=\"evil_name.html\"\n");
	expect_in(&head, "Content-Security-Policy: default-src 'none'; sandbox");
	expect_in(&head, "X-Content-Type-Options: nosniff");
	assert_int_equal(ask_of("HEAD", &r, "/body", NULL), 200);
	expect_in(&head, "Content-Length: 8\n");
	assert_int_equal(ask_of("GET", &none, "/body", NULL), 200);
	assert_int_equal(body.len, 0);
	settle(lend(), OUTBOX_APPLIED);
	assert_int_equal(ask_of("GET", &r, "/body", NULL), 410);
	expect_in(&body, "is applied");
}

/* --- steering --- */

static void each_verb_does_what_it_says(void **state)
{
	struct outbox_receipt held = put(solo, "/a", "ours"), conflict = put(solo, "/b", "ours"),
			      queued = put(solo, "/c", "ours");

	settle(lend(), OUTBOX_HELD);
	settle(lend(), OUTBOX_CONFLICT);
	assert_int_equal(ask_of("POST", &held, "/retry", ""), 200);
	assert_string_equal(text("state"), "queued");
	assert_int_equal(ask_of("POST", &conflict, "/resolve", "{\"keep\": \"theirs\"}"), 200);
	assert_string_equal(text("state"), "resolved");
	assert_int_equal(ask_of("DELETE", &queued, "", NULL), 200);
	assert_string_equal(text("state"), "dropped");
	assert_string_equal(state_of(&queued), "dropped"); /* a record stays */
	assert_non_null(text("settled_at"));
}

static void what_is_settled_or_being_sent_stays_as_it_is(void **state)
{
	static const struct {
		const char *method, *rest, *sent;
	} verbs[] = { { "POST", "/retry", "" },
		      { "POST", "/resolve", "{\"keep\": \"ours\"}" },
		      { "POST", "/resolve", "{\"keep\": \"theirs\"}" },
		      { "DELETE", "", NULL } };
	struct outbox_receipt r = put(solo, "/a", "ours");
	uint64_t seq = lend();

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		assert_int_equal(ask_of(verbs[i].method, &r, verbs[i].rest, verbs[i].sent), 409);
		expect_in(&body, "is being sent");
	}
	settle(seq, OUTBOX_APPLIED);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		assert_int_equal(ask_of(verbs[i].method, &r, verbs[i].rest, verbs[i].sent), 409);
		expect_in(&body, "is applied");
	}
	assert_string_equal(state_of(&r), "applied");
}

static void ours_is_kept_over_what_upstream_has_now(void **state)
{
	struct outbox_receipt r = put(files, "/a", "ours"), alone = put(solo, "/a", "ours");
	struct outbox_settlement s = { .to = OUTBOX_CONFLICT, .status = 412 };
	struct outbox_entry e = { .seq = 0 };
	int64_t next;

	/* The link is disabled: its delivery lends nothing. */
	assert_int_equal(outbox_lend(files, clock_wall_ms(), &e, &next), 0);
	outbox_entry_fini(&e);
	assert_int_equal(outbox_settle(files, r.seq, &s), 0);
	rebase_error = WEIR_E_OPEN;
	assert_int_equal(ask_of("POST", &r, "/resolve", "{\"keep\": \"ours\"}"), 503);
	expect_in(&body, "the line is cut");
	assert_string_equal(state_of(&r), "conflict");
	rebase_error = 0;
	assert_int_equal(ask_of("POST", &r, "/resolve", "{\"keep\": \"ours\"}"), 200);
	assert_string_equal(text("state"), "queued");
	assert_string_equal(text("base_etag"), "\"now\"");

	settle(lend(), OUTBOX_CONFLICT);
	assert_int_equal(ask_of("POST", &alone, "/resolve", "{\"keep\": \"ours\"}"), 409);
	expect_in(&body, "service solo does not run");
}

static void what_is_not_understood_changes_nothing(void **state)
{
	static const char *const bodies[] = { "",		   "{}",
					      "{\"keep\": \"both\"}", "{\"keep\": 1}",
					      "[\"ours\"]",	   "keep=ours",
					      "{\"keep\": \"ours\", \"also\": 1}" };
	struct outbox_receipt r = put(solo, "/a", "ours");

	settle(lend(), OUTBOX_CONFLICT);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		assert_int_equal(ask_of("POST", &r, "/resolve", bodies[i]), 400);
		expect_in(&body, "ours");
		expect_in(&body, "theirs");
	}
	assert_string_equal(state_of(&r), "conflict");
	assert_int_equal(ask_of("POST", &r, "/dance", ""), 404);
	assert_int_equal(ask_of("GET", &r, "/head", NULL), 404);
	assert_int_equal(ask_of("DELETE", &r, "/body", NULL), 404);
	assert_int_equal(ask_of("PUT", &r, "", ""), 405);
	expect_in(&head, "Allow: GET, HEAD, POST, DELETE");
	assert_int_equal(ask("GET", "/018f3c9a2b7d4e10-000000", NULL), 404);
	expect_in(&body, "018f3c9a2b7d4e10-000000");
	assert_int_equal(ask("POST", "/018f3c9a2b7d4e10-000000/retry", ""), 404);
}

static void flush_names_the_queues(void **state)
{
	json_t *item;

	(void)put(files, "/a", "ours");
	assert_int_equal(ask("POST", "/flush", ""), 200);
	assert_int_equal(items(), 1); /* nothing delivers `solo` */
	item = json_array_get(json_object_get(json, "items"), 0);
	assert_string_equal(json_string_value(json_object_get(item, "service")), "files");
	assert_int_equal(json_integer_value(json_object_get(item, "queued")), 1);
	assert_string_equal(json_string_value(json_object_get(item, "upstream")), "disabled");
	assert_int_equal(ask("POST", "/flush", "{\"service\": \"files\"}"), 200);
	assert_int_equal(ask("POST", "/flush", "{\"service\": \"solo\"}"), 404);
	assert_int_equal(ask("POST", "/flush", "{\"service\": 1}"), 400);
	assert_int_equal(ask("POST", "/flush", "all"), 400);
}

static void status_and_health_tell_of_it(void **state)
{
	const struct client_sink sink = { .on_head = take_head, .on_data = take_data };
	struct outbox_receipt r = put(files, "/a", "ours");
	struct outbox_settlement s = { .to = OUTBOX_HELD, .status = 403 };
	struct client_request rq = { .method = "GET", .target = SLICE_LIT("/api/v1/status"), .total_ms = 20000 };
	struct client_result result;
	struct outbox_entry e = { .seq = 0 };
	json_t *o, *component;
	int64_t next;

	(void)put(files, "/b", "ours");
	assert_int_equal(outbox_lend(files, clock_wall_ms(), &e, &next), 0);
	outbox_entry_fini(&e);
	assert_int_equal(outbox_settle(files, r.seq, &s), 0);
	buf_reset(&body);
	assert_int_equal(client_call(client, &rq, &sink, NULL, &result), 0);
	o = json_loadb(body.data, body.len, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "outbox"), "queued")), 1);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "outbox"), "held")), 1);
	assert_int_equal(json_array_size(json_object_get(json_object_get(o, "outbox"), "queues")), 1);
	component = json_object_get(json_object_get(json_object_get(o, "health"), "components"), "outbox");
	assert_string_equal(json_string_value(json_object_get(component, "status")), "degraded");
	assert_int_equal(json_integer_value(json_object_get(component, "queued")), 1);
	assert_non_null(json_string_value(json_object_get(component, "reason")));
	json_decref(o);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_an_outbox_there_is_nothing),
		T(lists_have_filters_and_pages),
		T(a_query_that_is_not_understood_says_what_is),
		T(an_entry_tells_what_the_contract_says),
		T(a_conflict_has_their_version_and_a_refusal_its_answer),
		T(a_body_is_given_so_that_no_browser_runs_it),
		T(each_verb_does_what_it_says),
		T(what_is_settled_or_being_sent_stays_as_it_is),
		T(ours_is_kept_over_what_upstream_has_now),
		T(what_is_not_understood_changes_nothing),
		T(flush_names_the_queues),
		T(status_and_health_tell_of_it),
	};
	int failed = cmocka_run_group_tests_name("outbox", tests, NULL, NULL);

	json_decref(json);
	buf_fini(&head);
	buf_fini(&body);
	return failed;
}
