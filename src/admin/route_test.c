/* route_test.c -- from a target to who answers it. */
#include "admin/admin_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void one(struct exchange *ex)
{
}

static void other(struct exchange *ex)
{
}

static const struct admin_route own[] = { { "GET", "status", one },
					  { "PUT", "upstreams/", one },
					  { NULL, NULL, NULL } };
static const struct admin_route toys_routes[] = {
	{ "GET", "toys", other },   { "POST", "toys/warm", other }, { "GET", "toys/", other },
	{ "DELETE", "toys/", one }, { NULL, NULL, NULL },
};
static const struct service quiet = { .name = "quiet" }, toy = { .name = "toy", .admin_routes = toys_routes };
static int own_state, toy_state;

static void find(const char *method, const char *path, struct route_match *ret)
{
	struct service_instance items[] = { { &quiet, NULL }, { &toy, &toy_state } };
	struct services services = { .items = items, .count = 2 };

	route_find(&services, own, &own_state, slice_str(method), slice_str(path), ret);
}

static void test_a_request_goes_to_the_route_of_its_method_and_path(void **state)
{
	static const struct {
		const char *method, *path;
		exchange_fn *handle; /* NULL: none */
		const char *allow;   /* NULL: no such path */
	} rows[] = {
		{ "GET", "/api/v1/status", one, "GET, HEAD" },
		{ "HEAD", "/api/v1/status", one, "GET, HEAD" },
		{ "DELETE", "/api/v1/status", NULL, "GET, HEAD" },
		{ "get", "/api/v1/status", NULL, "GET, HEAD" },
		{ "GET", "/api/v1/status/", NULL, NULL },
		{ "GET", "/api/v1/statu", NULL, NULL },
		{ "GET", "/api/v1/", NULL, NULL },
		{ "GET", "/api/v2/status", NULL, NULL },
		{ "GET", "/status", NULL, NULL },
		{ "PUT", "/api/v1/upstreams/git.corp:8443", one, "PUT" },
		{ "PUT", "/api/v1/upstreams/", NULL, NULL },
		{ "GET", "/api/v1/toys", other, "GET, HEAD" },
		{ "POST", "/api/v1/toys/warm", other, "POST, GET, HEAD, DELETE" },
		{ "DELETE", "/api/v1/toys/7", one, "GET, HEAD, DELETE" },
		{ "PATCH", "/api/v1/toys/7", NULL, "GET, HEAD, DELETE" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct route_match m;

		find(rows[i].method, rows[i].path, &m);
		assert_int_equal(m.path_known, rows[i].allow != NULL);
		assert_string_equal(m.allow, rows[i].allow ? rows[i].allow : "");
		assert_int_equal(m.route != NULL, rows[i].handle != NULL);
		if (m.route)
			assert_true(m.route->handle == rows[i].handle);
	}
}

static void test_a_route_gets_the_state_of_its_service(void **state)
{
	struct route_match m;

	find("GET", "/api/v1/toys", &m);
	assert_ptr_equal(m.state, &toy_state);
	find("GET", "/api/v1/status", &m);
	assert_ptr_equal(m.state, &own_state);
}

static void test_the_path_is_cut_out_of_every_form_of_target(void **state)
{
	static const struct {
		const char *target, *path, *query;
	} rows[] = {
		{ "/", "/", "" },
		{ "/a/b?c=d?e", "/a/b", "c=d?e" },
		{ "/a?", "/a", "" },
		{ "http://127.0.0.1:8070/a?b", "/a", "b" },
		{ "https://h", "/", "" },
		{ "*", "*", "" },
		{ "", "", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice query, path = route_path(slice_str(rows[i].target), &query);

		assert_true(slice_eq_str(path, rows[i].path));
		assert_true(slice_eq_str(query, rows[i].query));
	}
}

static void test_percent_encoding_is_undone_or_refused(void **state)
{
	static const struct {
		const char *encoded, *wanted; /* NULL: refused */
	} rows[] = {
		{ "git.corp:8443", "git.corp:8443" },
		{ "git.corp%3A8443", "git.corp:8443" },
		{ "a%2fb%C3%A9", "a/b\xc3\xa9" },
		{ "", "" },
		{ "a%", NULL },
		{ "a%2", NULL },
		{ "a%2g", NULL },
		{ "a%00", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out = BUF_EMPTY;

		assert_int_equal(route_decode(slice_str(rows[i].encoded), &out), rows[i].wanted ? 0 : WEIR_E_PARSE);
		if (rows[i].wanted)
			assert_string_equal(out.data, rows[i].wanted);
		buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_goes_to_the_route_of_its_method_and_path),
		cmocka_unit_test(test_a_route_gets_the_state_of_its_service),
		cmocka_unit_test(test_the_path_is_cut_out_of_every_form_of_target),
		cmocka_unit_test(test_percent_encoding_is_undone_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
