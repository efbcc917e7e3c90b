/* outbox_look_test.c -- /api/v1/outbox: looking for a text, and at what upstream has now. */
#include "admin/outbox_test_kit.h"

#include <pthread.h>

/* --- a text --- */

static size_t found(const char *query)
{
	assert_int_equal(ask("GET", query, NULL), 200);
	return items();
}

static void a_text_is_found_in_the_address_the_id_and_the_error(void **state)
{
	struct outbox_receipt a = put(solo, "/Plans/2026.txt", "x"), b = put(files, "/notes/a%20b", "y");
	char *by_id = xstrf("?text=%s", b.id);

	assert_int_equal(found("?text=plans"), 1); /* whatever the case */
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json, "items"), 0), "id")),
			    a.id);
	assert_int_equal(found("?text=PLANS%2f2026"), 1);
	assert_int_equal(found("?text=a%2520b"), 1); /* the address as it was sent */
	assert_int_equal(found(by_id), 1);
	assert_int_equal(found("?text=answered%20403"), 0);
	settle(lend(), OUTBOX_HELD);
	assert_int_equal(found("?text=answered%20403"), 1);
	assert_int_equal(found("?text=answered%20403&state=queued"), 0);
	assert_int_equal(found("?text=%3Cscript%3E"), 0);
	assert_int_equal(found("?text="), 2);
	assert_int_equal(ask("GET", "?text=%zz", NULL), 400);
	free(by_id);
}

static void a_search_has_pages_too(void **state)
{
	char *next;

	for (size_t i = 0; i < 6; i++)
		(void)put(files, i % 2 ? "/odd" : "/even", "x");
	assert_int_equal(found("?text=odd&limit=2"), 2);
	next = xstrf("?text=odd&limit=2&after=%s", text("next"));
	assert_int_equal(found(next), 1);
	assert_true(json_is_null(json_object_get(json, "next")));
	free(next);
}

static void an_answer_looks_at_so_many_and_says_where_to_go_on(void **state)
{
	const struct outbox_write w = { .method = SLICE_LIT("PUT"),
					.key = SLICE_LIT("/hay"),
					.uri = SLICE_LIT("/hay"),
					.expect_tail = OUTBOX_ANY };
	char *next;

	for (int i = 0; i < 5000; i++) /* as many as one looks at */
		assert_int_equal(outbox_put_start(files, &w, NULL, NULL), 0);
	(void)put(files, "/needle", "x"); /* durable after all of them */
	assert_int_equal(found("?text=needle"), 0);
	next = xstrf("?text=needle&after=%s", text("next"));
	assert_int_equal(found(next), 1);
	assert_true(json_is_null(json_object_get(json, "next")));
	free(next);
	assert_int_equal(found("?text=needle&order=desc"), 1);
}

/* --- newest first --- */

static const char *id_at(size_t i)
{
	return json_string_value(json_object_get(json_array_get(json_object_get(json, "items"), i), "id"));
}

static void what_is_over_is_listed_from_the_newest_on(void **state)
{
	struct outbox_receipt r[5];
	char *next;

	for (size_t i = 0; i < 5; i++)
		r[i] = put(solo, i % 2 ? "/odd" : "/even", "x");
	for (size_t i = 0; i < 3; i++)
		settle(lend(), OUTBOX_APPLIED);
	assert_int_equal(found("?order=desc&limit=3"), 3);
	assert_string_equal(id_at(0), r[4].id);
	assert_string_equal(id_at(2), r[2].id);
	next = xstrf("?order=desc&limit=3&after=%s", text("next"));
	assert_int_equal(found(next), 2);
	assert_string_equal(id_at(1), r[0].id);
	assert_true(json_is_null(json_object_get(json, "next")));
	free(next);
	assert_int_equal(found("?order=desc&state=applied"), 3);
	assert_string_equal(id_at(0), r[2].id);
	assert_int_equal(found("?order=desc&state=applied&service=files"), 0);
	assert_int_equal(found("?order=desc&text=even"), 3);
	assert_string_equal(id_at(0), r[4].id);
	assert_int_equal(found("?order=asc&state=queued"), 2);
	assert_string_equal(id_at(0), r[3].id);
	assert_int_equal(ask("GET", "?order=desc&state=queued", NULL), 400);
	expect_in(&body, "applied, dropped, resolved");
	assert_int_equal(ask("GET", "?order=up", NULL), 400);
}

/* --- theirs --- */

static void upstream_has(int status, const char *etag, const char *content)
{
	theirs_are.status = status;
	theirs_are.now.known = status == 200 || status == 404;
	theirs_are.now.absent = status == 404;
	theirs_are.now.mod_time = status == 200 ? 1767323046 : 0;
	buf_init(&theirs_are.now.etag, 0);
	buf_add_str(&theirs_are.now.etag, etag);
	buf_init(&theirs_are.body, 0);
	buf_add_str(&theirs_are.body, content);
	theirs_are.body_bytes = (int64_t)strlen(content);
}

static void what_upstream_has_is_shown_with_its_version(void **state)
{
	struct outbox_receipt r = put(files, "/a", "ours");

	upstream_has(200, "\"v2\"", "theirs\n");
	assert_int_equal(ask_of("GET", &r, "/theirs", NULL), 200);
	assert_string_equal(text("id"), r.id);
	assert_string_equal(text("body"), "theirs\n");
	assert_string_equal(text("etag"), "\"v2\"");
	assert_string_equal(text("mod_time"), "2026-01-02T03:04:06Z");
	assert_string_equal(text("content_type"), "text/plain");
	assert_true(json_is_true(json_object_get(json, "known")));
	assert_true(json_is_false(json_object_get(json, "absent")));
	assert_true(json_is_null(json_object_get(json, "body_omitted")));
	assert_int_equal(json_integer_value(json_object_get(json, "body_bytes")), 7);
	assert_int_equal(json_integer_value(json_object_get(json, "status")), 200);
	expect_in(&head, "application/json");
}

static void upstream_may_have_nothing(void **state)
{
	struct outbox_receipt r = put(files, "/a", "ours");

	upstream_has(404, "", "");
	assert_int_equal(ask_of("GET", &r, "/theirs", NULL), 200);
	assert_true(json_is_true(json_object_get(json, "absent")));
	assert_int_equal(json_integer_value(json_object_get(json, "status")), 404);
}

static void what_is_no_text_is_not_shown_as_one(void **state)
{
	struct outbox_receipt r = put(files, "/a", "ours");

	upstream_has(200, "\"v2\"", "no \xff way");
	assert_int_equal(ask_of("GET", &r, "/theirs", NULL), 200);
	assert_true(json_is_null(json_object_get(json, "body")));
	assert_string_equal(text("body_omitted"), "it is not a text");
	buf_reset(&theirs_are.body);
	buf_add(&theirs_are.body, "\0ELF", 4);
	assert_int_equal(ask_of("GET", &r, "/theirs", NULL), 200);
	assert_string_equal(text("body_omitted"), "it is not a text");
	buf_reset(&theirs_are.body);
	theirs_are.is_cut = true;
	theirs_are.body_bytes = -1;
	assert_int_equal(ask_of("GET", &r, "/theirs", NULL), 200);
	expect_in(&body, "too large");
	assert_true(json_is_null(json_object_get(json, "body_bytes")));
}

static void an_upstream_that_cannot_be_asked_is_told_of(void **state)
{
	struct outbox_receipt r = put(files, "/a", "ours"), alone = put(solo, "/a", "ours");

	theirs_error = WEIR_E_REFUSED;
	assert_int_equal(ask_of("GET", &r, "/theirs", NULL), 503);
	expect_in(&body, "the line is cut");
	assert_int_equal(ask_of("GET", &alone, "/theirs", NULL), 409);
	expect_in(&body, "service solo does not run");
	assert_int_equal(ask("GET", "/nobody/theirs", NULL), 404);
	assert_int_equal(ask_of("POST", &r, "/theirs", NULL), 404); /* it is only looked at */
}

/* --- an upstream that takes its time --- */

#define LOOKERS 6

static void *look_on(void *arg)
{
	const struct outbox_receipt *r = arg;
	char *target = xstrf("/api/v1/outbox/%s/theirs", r->id);
	const struct client_request rq = { .method = "GET", .target = slice_str(target), .total_ms = 60000 };
	const struct client_sink sink = { .on_head = NULL };
	struct client_result result;

	if (client_call(client, &rq, &sink, NULL, &result) < 0)
		result.status = 0;
	free(target);
	return (void *)(intptr_t)result.status;
}

static void nothing_waits_for_an_upstream_that_takes_its_time(void **state)
{
	struct outbox_receipt r = put(files, "/a", "ours");
	pthread_t lookers[LOOKERS];
	int64_t until = clock_mono_ms() + 20000;

	upstream_has(404, "", "");
	atomic_store(&theirs_asked, 0);
	atomic_store(&theirs_hold, true);
	for (size_t i = 0; i < LOOKERS; i++)
		assert_int_equal(pthread_create(&lookers[i], NULL, look_on, &r), 0);
	while (atomic_load(&theirs_asked) < 2 && clock_mono_ms() < until)
		usleep(1000);
	assert_int_equal(found(""), 1);
	assert_int_equal(ask_of("GET", &r, "/body", NULL), 200);
	assert_int_equal(ask_of("POST", &r, "/resolve", "{}"), 400); /* deciding has room beside looking */
	assert_int_equal(ask_of("DELETE", &r, "", NULL), 200);
	assert_int_equal(atomic_load(&theirs_asked), 2);              /* the others wait for their turn */
	atomic_store(&theirs_hold, false);
	for (size_t i = 0; i < LOOKERS; i++) {
		void *status;

		assert_int_equal(pthread_join(lookers[i], &status), 0);
		assert_int_equal((intptr_t)status, 200);
	}
}

static int ask_from(const char *site, const struct outbox_receipt *r)
{
	char *target = xstrf("/api/v1/outbox/%s/theirs", r->id), *line = xstrf("Sec-Fetch-Site: %s", site);
	const struct slice header = slice_str(line);
	const struct client_request rq = {
		.method = "GET", .target = slice_str(target), .headers = &header, .header_count = 1, .total_ms = 20000
	};
	const struct client_sink sink = { .on_head = NULL };
	struct client_result result;

	assert_int_equal(client_call(client, &rq, &sink, NULL, &result), 0);
	free(target);
	free(line);
	return result.status;
}

static void a_page_from_elsewhere_makes_nobody_ask_the_upstream(void **state)
{
	struct outbox_receipt r = put(files, "/a", "ours");

	upstream_has(404, "", "");
	atomic_store(&theirs_asked, 0);
	assert_int_equal(ask_from("cross-site", &r), 403);
	assert_int_equal(ask_from("same-site", &r), 403); /* another port of this machine */
	assert_int_equal(atomic_load(&theirs_asked), 0);
	assert_int_equal(ask_from("same-origin", &r), 200);
	assert_int_equal(ask_from("none", &r), 200); /* typed by a person */
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH(a_text_is_found_in_the_address_the_id_and_the_error),
		WITH(a_search_has_pages_too),
		WITH(an_answer_looks_at_so_many_and_says_where_to_go_on),
		WITH(what_is_over_is_listed_from_the_newest_on),
		WITH(what_upstream_has_is_shown_with_its_version),
		WITH(upstream_may_have_nothing),
		WITH(what_is_no_text_is_not_shown_as_one),
		WITH(an_upstream_that_cannot_be_asked_is_told_of),
		WITH(nothing_waits_for_an_upstream_that_takes_its_time),
		WITH(a_page_from_elsewhere_makes_nobody_ask_the_upstream),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	buf_fini(&body);
	buf_fini(&head);
	json_decref(json);
	return failed;
}
