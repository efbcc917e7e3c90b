/* outbox_test.c -- /api/v1/outbox over a real socket, with a real outbox of two queues: `files`, which a delivery runs,
 * and `solo`, whose entries the tests lend and settle themselves. */
#include "admin/admin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/delivery.h"
#include "io/client.h"
#include "io/file.h"

static struct service_instance instances[1];
static struct services services = { .items = instances, .count = 1 };
static struct outbox *ob;
static struct core core = { .version = "9.9", .services = &services, .outbox = &ob };
static struct outbox_queue *files, *solo;
static struct link *l;
static struct delivery *d;
static struct client *client;
static char folder[64];
static int rebase_error;

/* --- the ground --- */

static void carry_nothing(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
}

static int rebase(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct outbox_base *ret,
		  struct buf *err)
{
	if (rebase_error)
		buf_add_str(err, "the line is cut");
	ret->known = true;
	buf_add_str(&ret->etag, "\"now\"");
	return rebase_error;
}

static void start_link(void)
{
	const struct link_options o = {
		.name = "files",
		.service = "files",
		.url = "http://127.0.0.1:1",
		.enabled = false,
		.connect_timeout_ms = 1000,
		.stall_timeout_ms = 1000,
		.probe_first_ms = 3600000,
		.probe_max_ms = 3600000,
		.probe_patience_ms = 1000,
		.most_workers = 2,
	};

	assert_int_equal(link_new(&o, core.pool, core.metrics, &l), 0);
}

static void start_delivery(void)
{
	const struct delivery_options o = { .outbox = ob,
					    .queue = files,
					    .link = l,
					    .pool = core.pool,
					    .metrics = core.metrics,
					    .service = "files",
					    .most_parallel = 2,
					    .retry_first_ms = 1000,
					    .retry_max_ms = 1000,
					    .carry = carry_nothing,
					    .rebase = rebase };

	assert_int_equal(delivery_new(&o, &d), 0);
}

static void start_admin(void)
{
	static char listen[] = "127.0.0.1:0";
	static const struct config_admin section = { .listen = { .listen = listen } };
	struct client_options o = {
		.user_agent = "test", .connect_timeout_ms = 5000, .stall_timeout_ms = 5000, .most_idle = 1
	};
	struct buf err = BUF_EMPTY;
	char address[64], url[80];
	const char *name;

	if (admin_service.start(&core, &section, &instances[0].state, &err) < 0)
		fail_msg("%s", err.data);
	instances[0].service = &admin_service;
	server_open(core.server);
	server_listener_at(core.server, 0, &name, address, sizeof(address));
	(void)snprintf(url, sizeof(url), "http://%s", address);
	o.base_url = url;
	assert_int_equal(client_new(&o, &client), 0);
}

static int setup(void **state)
{
	static const struct outbox_limits limits = { .keep_settled_ms = 3600000 };
	const struct server_limits server = {
		.connections = 100,
		.header_bytes = 16384,
		.request_body = 1 << 20,
		.header_timeout_ms = 5000,
		.idle_timeout_ms = 5000,
		.body_timeout_ms = 5000,
		.send_timeout_ms = 5000,
		.shutdown_grace_ms = 5000,
	};
	struct buf err = BUF_EMPTY;

	(void)snprintf(folder, sizeof(folder), "/tmp/weir-admin-outbox-XXXXXX");
	assert_non_null(mkdtemp(folder));
	core.metrics = metrics_new();
	services.core = &core;
	assert_int_equal(pool_new(4, &core.pool), 0);
	assert_int_equal(server_new(1, &server, core.metrics, &core.server), 0);
	if (outbox_open(folder, &ob, &err) < 0)
		fail_msg("%s", err.data);
	files = outbox_queue(ob, "files", &limits);
	solo = outbox_queue(ob, "solo", &limits);
	rebase_error = 0;
	start_link();
	start_delivery();
	start_admin();
	return 0;
}

static int teardown(void **state)
{
	client_free(client);
	assert_true(server_stop(core.server));
	admin_service.stop(instances[0].state);
	delivery_stop(d);
	delivery_free(d);
	link_free(l);
	outbox_close(ob);
	ob = NULL;
	assert_int_equal(pool_drain(core.pool, 5000), 0);
	server_free(core.server);
	pool_free(core.pool);
	metrics_free(core.metrics);
	return tree_remove(folder);
}

/* --- entries --- */

static struct outbox_receipt put(struct outbox_queue *q, const char *key, const char *text)
{
	struct outbox_write w = { .key = slice_str(key),
				  .method = SLICE_LIT("PUT"),
				  .uri = slice_str(key),
				  .headers = SLICE_LIT("Content-Type: text/plain\nX-Twice: 1\nX-Twice: 2\n"),
				  .content_type = SLICE_LIT("text/plain"),
				  .is_base = true,
				  .wants_parent = true,
				  .base = { .known = true, .etag = BUF_EMPTY, .mod_time = 1767323045 },
				  .body = slice_str(text),
				  .expect_tail = OUTBOX_ANY };
	struct outbox_receipt r;

	buf_add_str(&w.base.etag, "\"v1\"");
	assert_int_equal(outbox_put(q, &w, &r), 0);
	outbox_base_fini(&w.base);
	return r;
}

/* The oldest of `solo`, lent. */
static uint64_t lend(void)
{
	struct outbox_entry e = { .seq = 0 };
	int64_t next;
	uint64_t seq;

	assert_int_equal(outbox_lend(solo, clock_wall_ms(), &e, &next), 0);
	seq = e.seq;
	outbox_entry_fini(&e);
	return seq;
}

static void settle(uint64_t seq, enum outbox_state to)
{
	struct outbox_settlement s = { .to = to,
				       .status = 403,
				       .error = SLICE_LIT("upstream answered 403"),
				       .base = { .known = true, .etag = BUF_EMPTY, .mod_time = 1767323046 },
				       .answer = SLICE_LIT("no \xff way"),
				       .answer_type = SLICE_LIT("text/plain") };

	buf_add_str(&s.base.etag, "W/\"v2\"");
	assert_int_equal(outbox_settle(solo, seq, &s), 0);
	outbox_base_fini(&s.base);
}

/* --- asking --- */

static struct buf body = BUF_EMPTY, head = BUF_EMPTY;
static json_t *json;

static int take_head(void *arg, int status, const struct slice *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		buf_add_slice(&head, lines[i]);
		buf_add_char(&head, '\n');
	}
	return 0;
}

static int take_data(void *arg, const char *p, size_t n)
{
	buf_add(&body, p, n);
	return 0;
}

/* The status; body, head, and json when it is some. */
static int ask(const char *method, const char *path, const char *sent)
{
	const struct client_sink sink = { .on_head = take_head, .on_data = take_data };
	char *target = xstrf("/api/v1/outbox%s", path);
	struct client_request rq = { .method = method,
				     .target = slice_str(target),
				     .body = slice_str(sent),
				     .body_bytes = sent ? (int64_t)strlen(sent) : 0,
				     .total_ms = 20000 };
	struct client_result result;

	buf_reset(&head);
	buf_reset(&body);
	json_decref(json);
	assert_int_equal(client_call(client, &rq, &sink, NULL, &result), 0);
	json = json_loadb(body.data, body.len, 0, NULL);
	free(target);
	return result.status;
}

static int ask_of(const char *method, const struct outbox_receipt *r, const char *rest, const char *sent)
{
	char *path = xstrf("/%s%s", r->id, rest);
	int status = ask(method, path, sent);

	free(path);
	return status;
}

static void expect_in(const struct buf *where, const char *words)
{
	if (!strstr(where->data, words))
		fail_msg("\"%s\" is not in:\n%s", words, where->data);
}

static const char *text(const char *key)
{
	const char *s = json_string_value(json_object_get(json, key));

	if (!s)
		fail_msg("no text %s in:\n%s", key, body.data);
	return s;
}

static const char *state_of(const struct outbox_receipt *r)
{
	assert_int_equal(ask_of("GET", r, "", NULL), 200);
	return text("state");
}

static size_t items(void)
{
	assert_true(json_is_array(json_object_get(json, "items")));
	return json_array_size(json_object_get(json, "items"));
}

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
	rq.target = SLICE_LIT("/"); /* and so does the page */
	buf_reset(&body);
	assert_int_equal(client_call(client, &rq, &sink, NULL, &result), 0);
	expect_in(&body, "<h2>Outbox</h2>");
	expect_in(&body, "<td>files</td><td>1</td><td>0</td><td>1</td>");
	expect_in(&body, "writes are held");
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
