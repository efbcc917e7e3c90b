/* admin_test.c -- the admin listener over a real socket, beside a service `toy` with two upstreams, a status and
 * routes. */
#include "admin/admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/obj.h"
#include "io/client.h"

static struct core core;

/* --- the service beside it --- */

struct toy {
	struct link *links[2];
	json_t *status; /* what status() tells */
};

static void toy_each_link(void *state, void (*fn)(void *arg, struct link *l), void *arg)
{
	struct toy *t = state;

	fn(arg, t->links[0]);
	fn(arg, t->links[1]);
}

static void toy_status(void *state, json_t *into)
{
	struct toy *t = state;

	assert_int_equal(json_object_update(into, t->status), 0);
}

static void toy_route(struct exchange *ex)
{
	const struct toy *t = exchange_service_arg(ex);

	exchange_reply_text(ex, 200, "toy with %zu facts", json_object_size(t->status));
}

static const struct admin_route toy_routes[] = { { "GET", "toys", toy_route }, { NULL, NULL, NULL } };
static void toy_traffic(void *state, traffic_fn *fn, void *arg)
{
	struct traffic t = { .requests = 40, .errors = 1, .has_cache = true, .hits = 30, .misses = 10, .offline = 5 };

	t.latency[0] = 40;
	fn(arg, "toy", &t);
	server_add_traffic(core.server, "admin", &t);
	fn(arg, "both", &t);
}

static const struct service toy_service = {
	.name = "toy",
	.traffic = toy_traffic,
	.status = toy_status,
	.each_link = toy_each_link,
	.admin_routes = toy_routes,
};

/* --- the ground --- */

static struct toy toy;
static struct service_instance instances[2];
static struct services services = { .items = instances, .count = 2 };
static struct core core = { .version = "9.9", .services = &services };
static struct client *client;
static char own_origin[96]; /* a header line: what our own page sends */
static char token_path[] = "/tmp/weir-admin-XXXXXX";

static struct link *a_link(const char *name)
{
	struct link_options o = {
		.name = name,
		.service = "toy",
		.url = "http://127.0.0.1:1",
		.enabled = true,
		.connect_timeout_ms = 1000,
		.stall_timeout_ms = 1000,
		.probe_first_ms = 3600000,
		.probe_max_ms = 3600000,
		.probe_patience_ms = 1000,
		.most_workers = 2,
	};
	struct link *l = NULL;

	assert_int_equal(link_new(&o, core.pool, core.metrics, &l), 0);
	return l;
}

static void write_token(const char *text)
{
	FILE *f = fopen(token_path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void start_admin(const struct config_admin *section)
{
	struct client_options o = {
		.user_agent = "test", .connect_timeout_ms = 5000, .stall_timeout_ms = 5000, .most_idle = 1
	};
	struct buf err = BUF_EMPTY;
	char address[64], url[80];
	const char *name;

	if (admin_service.start(&core, section, &instances[1].state, &err) < 0)
		fail_msg("%s", err.data);
	instances[1].service = &admin_service;
	server_open(core.server);
	server_listener_at(core.server, 0, &name, address, sizeof(address));
	assert_string_equal(name, "admin");
	(void)snprintf(url, sizeof(url), "http://%s", address);
	(void)snprintf(own_origin, sizeof(own_origin), "Origin: %s", url);
	o.base_url = url;
	assert_int_equal(client_new(&o, &client), 0);
}

static int ground_make(void **state)
{
	const struct server_limits limits = {
		.connections = 100,
		.header_bytes = 16384,
		.request_body = 1 << 20,
		.header_timeout_ms = 5000,
		.idle_timeout_ms = 5000,
		.body_timeout_ms = 5000,
		.send_timeout_ms = 5000,
		.shutdown_grace_ms = 5000,
	};
	int fd = mkstemp(token_path);
	static char listen[] = "127.0.0.1:0";
	static struct config_admin section = { .listen = { .listen = listen } };

	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	write_token("let-me-in\n");
	section.token_file = token_path;
	core.metrics = metrics_new();
	assert_int_equal(pool_new(4, &core.pool), 0);
	assert_int_equal(server_new(1, &limits, core.metrics, &core.server), 0);
	core.started_mono_ms = clock_mono_ms() - 65000;
	core.started_wall_ms = clock_wall_ms() - 65000;
	services.core = &core;
	toy.links[0] = a_link("git.corp:8443");
	toy.links[1] = a_link("other");
	toy.status = json_pack("{s:i, s:{s:i}, s:[{s:s, s:s, s:i}]}", "queued", 7, "disk", "max_bytes", 2048, "top",
			       "repo", "<script>alert(1)</script>", "state", "ready", "bytes", 1024);
	instances[0] = (struct service_instance){ &toy_service, &toy };
	start_admin(&section);
	return 0;
}

static int ground_clear(void **state)
{
	client_free(client);
	assert_true(server_stop(core.server));
	admin_service.stop(instances[1].state);
	link_free(toy.links[0]);
	link_free(toy.links[1]);
	json_decref(toy.status);
	assert_int_equal(pool_drain(core.pool, 5000), 0);
	server_free(core.server);
	pool_free(core.pool);
	metrics_free(core.metrics);
	return unlink(token_path);
}

/* --- asking --- */

static struct buf body = BUF_EMPTY, head = BUF_EMPTY;

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

/* first and second: header lines, or NULL */
static int ask_with(const char *first, const char *second, const char *method, const char *target, const char *sent)
{
	const struct client_sink sink = { .on_head = take_head, .on_data = take_data };
	const struct slice headers[] = { slice_str(first), slice_str(second) };
	struct client_request rq = {
		.method = method,
		.target = slice_str(target),
		.headers = first ? headers : headers + 1,
		.header_count = (first ? 1 : 0) + (second ? 1 : 0),
		.body = slice_str(sent),
		.body_bytes = sent ? (int64_t)strlen(sent) : 0,
		.total_ms = 10000,
	};
	struct client_result result;

	buf_reset(&head);
	buf_reset(&body);
	assert_int_equal(client_call(client, &rq, &sink, NULL, &result), 0);
	return result.status;
}

static int ask_as(const char *authorization, const char *method, const char *target, const char *sent)
{
	return ask_with(authorization, NULL, method, target, sent);
}

static int ask(const char *method, const char *target, const char *sent)
{
	return ask_as("Authorization: Bearer let-me-in", method, target, sent);
}

static void expect_in(const struct buf *where, const char *words)
{
	if (!strstr(where->data, words))
		fail_msg("\"%s\" is not in:\n%s", words, where->data);
}

static json_t *answer(void)
{
	json_t *o = json_loadb(body.data, body.len, 0, NULL);

	if (!o)
		fail_msg("not JSON: %s", body.data);
	return o;
}

/* --- who may --- */

static void test_all_data_but_health_asks_for_the_token(void **state)
{
	static const char *const closed[] = {
		"/metrics", "/api/v1/status", "/api/v1/toys", "/api/v1/nothing", "/nothing"
	};
	static const char *const open[] = { "/livez", "/readyz", "/healthz", "/healthz?detailed=true" };

	for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
		assert_int_equal(ask_as(NULL, "GET", closed[i], NULL), 401);
		expect_in(&head, "WWW-Authenticate: Bearer realm=\"weir\"");
		expect_in(&head, "Content-Type: application/problem+json");
		assert_int_equal(ask_as("Authorization: Bearer guess", "GET", closed[i], NULL), 401);
	}
	for (size_t i = 0; i < ARRAY_LEN(open); i++)
		assert_int_equal(ask_as(NULL, "GET", open[i], NULL), 200);
	assert_int_equal(ask_as("Authorization: Basic YW55Om1ldC1tZS1pbg==", "GET", "/api/v1/toys", NULL), 401);
	assert_int_equal(ask_as("Authorization: Basic YW5uOmxldC1tZS1pbg==", "GET", "/api/v1/toys", NULL), 200);
}

static void test_only_who_goes_to_an_address_is_asked_by_the_browser_itself(void **state)
{
	static const struct {
		const char *mode;
		bool is_basic;
	} rows[] = {
		{ NULL, true }, /* curl, and browsers of old */
		{ "Sec-Fetch-Mode: navigate", true },
		{ "Sec-Fetch-Mode: cors", false },
		{ "Sec-Fetch-Mode: same-origin", false },
		{ "Sec-Fetch-Mode: no-cors", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(ask_with(rows[i].mode, NULL, "GET", "/api/v1/status", NULL), 401);
		expect_in(&head, "WWW-Authenticate: Bearer realm=\"weir\"");
		assert_int_equal(strstr(head.data, "Basic") != NULL, rows[i].is_basic);
	}
}

static void test_a_page_of_somebody_else_switches_nothing(void **state)
{
	static const char key[] = "Authorization: Bearer let-me-in", off[] = "{\"enabled\": false}";
	static const char *const origins[] = { "Origin: https://evil.example", "Origin: null",
					       "Origin: http://127.0.0.1:1", "Host: evil.example" };

	for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
		int status = ask_with(key, origins[i], "PUT", "/api/v1/upstreams/other", off);

		assert_int_equal(status, slice_starts(slice_str(origins[i]), "Host") ? 421 : 403);
		assert_int_not_equal(link_state(toy.links[1]), LINK_DISABLED);
	}
	assert_int_equal(ask_with(key, own_origin, "PUT", "/api/v1/upstreams/other", off), 200);
	assert_int_equal(link_state(toy.links[1]), LINK_DISABLED);
	assert_int_equal(ask_with(key, own_origin, "PUT", "/api/v1/upstreams/other", "{\"enabled\": true}"), 200);
}

static void test_a_new_token_is_taken_over_and_a_lost_one_kept(void **state)
{
	static char listen[] = "127.0.0.1:0";
	struct config_admin section = { .listen = { .listen = listen }, .token_file = token_path };

	write_token("another\n");
	admin_service.reload(instances[1].state, &section);
	assert_int_equal(ask_as("Authorization: Bearer another", "GET", "/api/v1/toys", NULL), 200);
	assert_int_equal(ask("GET", "/api/v1/toys", NULL), 401);
	write_token("");
	admin_service.reload(instances[1].state, &section);
	assert_int_equal(ask_as("Authorization: Bearer another", "GET", "/api/v1/toys", NULL), 200);
	section.token_file = NULL;
	admin_service.reload(instances[1].state, &section);
	assert_int_equal(ask_as(NULL, "GET", "/api/v1/toys", NULL), 401);
	section.token_file = token_path;
	write_token("let-me-in\n");
	admin_service.reload(instances[1].state, &section);
	assert_int_equal(ask("GET", "/api/v1/toys", NULL), 200);
}

/* --- what it says --- */

static void test_health_and_metrics_answer_here_too(void **state)
{
	assert_int_equal(ask("GET", "/livez", NULL), 200);
	assert_string_equal(body.data, "ok\n");
	assert_int_equal(ask("GET", "/healthz?x=1&detailed=true", NULL), 200);
	expect_in(&body, "\"upstream_status\": \"unknown\"");
	assert_int_equal(ask("GET", "/metrics", NULL), 200);
	expect_in(&body, "weir_http_connections");
	assert_int_equal(ask("POST", "/metrics", ""), 405);
	expect_in(&head, "Allow: GET, HEAD");
	atomic_store(&services.stopping, true);
	assert_int_equal(ask("GET", "/readyz", NULL), 503);
	assert_int_equal(ask("GET", "/livez", NULL), 200);
	atomic_store(&services.stopping, false);
	assert_int_equal(ask("GET", "/readyz", NULL), 200);
}

static void test_status_has_a_member_for_each_service_that_tells_something(void **state)
{
	json_t *o;

	assert_int_equal(ask("GET", "/api/v1/status", NULL), 200);
	o = answer();
	assert_string_equal(json_string_value(json_object_get(o, "version")), "9.9");
	assert_int_equal(json_integer_value(json_object_get(o, "uptime_seconds")), 65);
	assert_int_equal(json_array_size(json_object_get(o, "listeners")), 1);
	assert_int_equal(json_array_size(json_object_get(o, "upstreams")), 2);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "toy"), "queued")), 7);
	assert_null(json_object_get(o, "admin"));
	assert_true(json_is_object(json_object_get(o, "health")));
	json_decref(o);
	assert_int_equal(ask("HEAD", "/api/v1/status", NULL), 200);
	assert_int_equal(body.len, 0);
}

static void test_the_history_has_columns_for_each_service(void **state)
{
	json_t *o, *list, *toys, *both;

	assert_int_equal(ask("GET", "/api/v1/status", NULL), 200); /* a request of which it will know */
	assert_int_equal(ask("GET", "/api/v1/history", NULL), 200);
	o = answer();
	assert_int_equal(json_integer_value(json_object_get(o, "window_seconds")), 3600);
	assert_int_equal(json_array_size(json_object_get(o, "t")), 1); /* the slot that is open */
	list = json_object_get(o, "services");
	assert_int_equal(json_array_size(list), 2);
	toys = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(toys, "name")), "toy");
	assert_int_equal(json_integer_value(json_array_get(json_object_get(toys, "offline"), 0)), 5);
	assert_true(json_real_value(json_object_get(json_object_get(toys, "sum"), "hit_rate")) == 0.75);
	both = json_object_get(json_array_get(list, 1), "sum");
	assert_true(json_integer_value(json_object_get(both, "requests")) > 40);
	assert_true(json_integer_value(json_object_get(both, "errors")) > 1); /* the 401s of before */
	json_decref(o);
}

static void test_a_route_of_a_service_runs_with_its_state(void **state)
{
	assert_int_equal(ask("GET", "/api/v1/toys?x", NULL), 200);
	assert_string_equal(body.data, "toy with 3 facts\n");
	assert_int_equal(ask("DELETE", "/api/v1/toys", NULL), 405);
	expect_in(&head, "Allow: GET, HEAD");
	assert_int_equal(ask("GET", "/api/v1/nothing", NULL), 404);
	expect_in(&head, "Content-Type: application/problem+json");
	expect_in(&body, "\"status\": 404");
}

static void test_an_upstream_is_switched_off_and_on_by_name(void **state)
{
	json_t *o, *first;

	assert_int_equal(ask("PUT", "/api/v1/upstreams/git.corp%3A8443", "{\"enabled\": false}"), 200);
	o = answer();
	assert_string_equal(json_string_value(json_object_get(o, "state")), "disabled");
	assert_true(json_is_false(json_object_get(o, "enabled")));
	json_decref(o);
	assert_int_equal(link_state(toy.links[0]), LINK_DISABLED);
	assert_int_not_equal(link_state(toy.links[1]), LINK_DISABLED);

	assert_int_equal(ask("GET", "/api/v1/upstreams", NULL), 200);
	o = answer();
	first = json_array_get(json_object_get(o, "items"), 0);
	assert_true(json_is_null(json_object_get(o, "next")));
	assert_string_equal(json_string_value(json_object_get(first, "name")), "git.corp:8443");
	assert_string_equal(json_string_value(json_object_get(first, "url")), "http://127.0.0.1:1");
	json_decref(o);

	assert_int_equal(ask("PUT", "/api/v1/upstreams/git.corp:8443", "{\"enabled\": true}"), 200);
	assert_int_not_equal(link_state(toy.links[0]), LINK_DISABLED);
}

static void test_a_switch_that_is_not_understood_changes_nothing(void **state)
{
	static const struct {
		const char *target, *sent;
		int status;
	} rows[] = {
		{ "/api/v1/upstreams/other", "{\"enabled\": \"no\"}", 400 },
		{ "/api/v1/upstreams/other", "{\"enabled\": false, \"x\": 1}", 400 },
		{ "/api/v1/upstreams/other", "{}", 400 },
		{ "/api/v1/upstreams/other", "[false]", 400 },
		{ "/api/v1/upstreams/other", "enabled=false", 400 },
		{ "/api/v1/upstreams/other", "", 400 },
		{ "/api/v1/upstreams/othe%", "{\"enabled\": false}", 400 },
		{ "/api/v1/upstreams/nobody", "{\"enabled\": false}", 404 },
		{ "/api/v1/upstreams/", "{\"enabled\": false}", 404 },
	};
	char *large = xcalloc(1, 70000);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(ask("PUT", rows[i].target, rows[i].sent), rows[i].status);
		expect_in(&head, "Content-Type: application/problem+json");
	}
	memset(large, ' ', 69999);
	assert_int_equal(ask("PUT", "/api/v1/upstreams/other", large), 413);
	free(large);
	assert_int_not_equal(link_state(toy.links[1]), LINK_DISABLED);
}

static void test_the_page_holds_no_data_and_needs_no_token(void **state)
{
	assert_int_equal(ask_as(NULL, "GET", "/", NULL), 200);
	expect_in(&head, "Content-Type: text/html; charset=utf-8");
	expect_in(&head, "Content-Security-Policy: default-src 'none'");
	assert_null(strstr(body.data, "git.corp"));
	assert_int_equal(ask_as(NULL, "HEAD", "/", NULL), 200);
	assert_int_equal(ask_as(NULL, "POST", "/", ""), 405);
	expect_in(&head, "Allow: GET, HEAD");
	assert_int_equal(ask_as(NULL, "GET", "/assets/nothing.js", NULL), 404);
	assert_int_equal(ask_as(NULL, "GET", "/api/v1/assets/", NULL), 401);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_data_but_health_asks_for_the_token),
		cmocka_unit_test(test_only_who_goes_to_an_address_is_asked_by_the_browser_itself),
		cmocka_unit_test(test_a_new_token_is_taken_over_and_a_lost_one_kept),
		cmocka_unit_test(test_health_and_metrics_answer_here_too),
		cmocka_unit_test(test_status_has_a_member_for_each_service_that_tells_something),
		cmocka_unit_test(test_the_history_has_columns_for_each_service),
		cmocka_unit_test(test_a_route_of_a_service_runs_with_its_state),
		cmocka_unit_test(test_an_upstream_is_switched_off_and_on_by_name),
		cmocka_unit_test(test_a_switch_that_is_not_understood_changes_nothing),
		cmocka_unit_test(test_a_page_of_somebody_else_switches_nothing),
		cmocka_unit_test(test_the_page_holds_no_data_and_needs_no_token),
	};
	int failed = cmocka_run_group_tests(tests, ground_make, ground_clear);

	buf_fini(&head);
	buf_fini(&body);
	return failed;
}
