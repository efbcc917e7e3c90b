/* config_test.c -- what is read, from where, and what differs. See config_refused_test.c for what is refused. */
#include "core/config.h"

#include "core/config_toy.h"

static struct config *load_right(const char *yaml, const char *const *sets, const char *const *env)
{
	struct config *c = load(yaml, sets, env);

	if (!c)
		fail_msg("refused:\n%s", problems.data);
	return c;
}

/* --- what is read --- */

static void test_without_a_file_the_usual_sections_run_with_defaults(void **state)
{
	struct config *c = load_right(NULL, NULL, NULL);
	const struct toy *t = config_section(c, "toy");
	const struct toy_upstream *u;
	char wanted[128];

	assert_null(config_file(c));
	assert_non_null(config_admin(c));
	assert_string_equal(config_admin(c)->listen.listen, "127.0.0.1:8070");
	assert_null(config_section(c, "pond"));
	(void)snprintf(wanted, sizeof(wanted), "%s/weir-data", folder);
	assert_string_equal(config_data_dir(c), wanted);
	assert_int_equal(config_shutdown_grace_ms(c), 30000);
	assert_int_equal(config_log_level(c), LOG_INFO);
	assert_int_equal(config_log_format(c), LOG_TEXT);
	assert_int_equal(config_limits(c)->connections, 4096);
	assert_int_equal(config_limits(c)->header_bytes, 32768);
	assert_int_equal(config_limits(c)->request_body, 1 << 30);
	assert_int_equal(config_limits(c)->workers, 64);
	assert_int_equal(config_links(c)->connect_timeout, 3000);
	assert_int_equal(config_links(c)->probe_max, 10000);
	assert_true(t->offline);
	assert_int_equal(t->stale_after, 300000);
	assert_int_equal(t->disk.max, 100ull << 30);
	assert_string_equal(t->sync_refs[1], "refs/tags/");
	assert_null(t->sync_refs[2]);
	assert_null(t->listen.hosts);
	assert_int_equal(t->upstreams.count, 2);
	u = t->upstreams.items;
	assert_string_equal(u[1].url, "https://gitlab.com");
	assert_true(u[1].enabled);
	done(&c);
}

static void test_a_file_names_the_sections_that_run(void **state)
{
	struct config *c =
		load_right("log: {level: debug, format: json}\npond:\n  - name: a\n  - {name: b, listen: '[::1]:9'}\n",
			   NULL, NULL);
	const struct setting_list *ponds = config_section(c, "pond");
	const struct pond *p = ponds->items;

	assert_null(config_section(c, "toy"));
	assert_null(config_admin(c));
	assert_int_equal(config_log_level(c), LOG_DEBUG);
	assert_int_equal(config_log_format(c), LOG_JSON);
	assert_int_equal(ponds->count, 2);
	assert_string_equal(p[0].listen.listen, "127.0.0.1:8081");
	assert_string_equal(p[1].listen.listen, "[::1]:9");
	done(&c);
	c = load_right("toy:\nadmin: {}\n", NULL, NULL);
	assert_non_null(config_section(c, "toy"));
	assert_non_null(config_admin(c));
	done(&c);
	c = load_right("", NULL, NULL);
	assert_null(config_section(c, "toy"));
	done(&c);
}

static void test_an_empty_value_is_as_good_as_none(void **state)
{
	struct config *c = load_right(
		"toy:\n  listen:\n  webhook_secret_file: ~\n  disk:\n  upstreams: []\n  sync_refs: []\n", NULL, NULL);
	const struct toy *t = config_section(c, "toy");

	assert_string_equal(t->listen.listen, "127.0.0.1:8080");
	assert_null(t->webhook_secret_file);
	assert_null(t->sync_refs);
	assert_int_equal(t->upstreams.count, 0);
	assert_int_equal(t->disk.low, 90ull << 30);
	done(&c);
}

static void test_later_sources_override_earlier_ones(void **state)
{
	static const char yaml[] =
		"toy:\n  refs_ttl: 1s\n  stale_after: 1s\n  listen: 127.0.0.1:1\n  disk: {max: 1GiB, low: 1MiB}\n";
	struct config *c = load_right(
		yaml, SETS("toy.listen=[::1]:3", "toy.disk.low=2MiB", "toy.disk.low=3MiB"),
		SETS("WEIR_TOY_LISTEN=127.0.0.1:2", "WEIR_TOY_STALE_AFTER=2s", "WEIR_TOY_DISK_MAX=2GiB", "HOME=/"));
	const struct toy *t = config_section(c, "toy");

	assert_int_equal(t->refs_ttl, 1000);
	assert_int_equal(t->stale_after, 2000);
	assert_string_equal(t->listen.listen, "[::1]:3");
	assert_int_equal(t->disk.max, 2ull << 30);
	assert_int_equal(t->disk.low, 3 << 20);
	assert_string_equal(warnings.data, "");
	done(&c);
}

static void test_a_low_mark_follows_a_smaller_max(void **state)
{
	struct config *c = load_right("toy: {disk: {max: 10MiB}}\n", NULL, NULL);
	const struct toy *t = config_section(c, "toy");

	assert_int_equal(t->disk.low, (10 << 20) / 10 * 9);
	done(&c);
}

static void test_lists_are_addressed_by_index_and_written_in_flow_style(void **state)
{
	struct config *c;
	const struct toy *t;
	const struct toy_upstream *u;

	c = load_right(NULL,
		       SETS("toy.upstreams.0.url=http://127.0.0.1:1", "toy.upstreams.2.match=m",
			    "toy.upstreams.2.url=http://127.0.0.1:2/x", "toy.sync_refs=[refs/pull/, a b]",
			    "pond.0.name=p", "toy.hosts.0=edge"),
		       SETS("WEIR_TOY_UPSTREAMS_1_AUTH=none", "WEIR_TOY_SYNC_REFS_0=gone"));
	t = config_section(c, "toy");
	u = t->upstreams.items;
	assert_int_equal(t->upstreams.count, 3);
	assert_string_equal(u[0].match, "github.com");
	assert_string_equal(u[0].url, "http://127.0.0.1:1");
	assert_int_equal(u[1].auth, 1);
	assert_string_equal(u[2].url, "http://127.0.0.1:2/x");
	assert_string_equal(t->sync_refs[1], "a b");
	assert_string_equal(t->listen.hosts[0], "edge");
	assert_non_null(config_section(c, "pond"));
	done(&c);
	c = load_right("toy:\n",
		       SETS("toy.upstreams=[{match: x, url: \"http://127.0.0.1:1\", auth: none}]",
			    "toy.disk={max: 1GiB, low: 1MiB}"),
		       NULL);
	t = config_section(c, "toy");
	assert_int_equal(t->upstreams.count, 1);
	assert_int_equal(t->disk.low, 1 << 20);
	done(&c);
}

static void test_relative_paths_start_at_the_files_folder_or_where_the_command_was_given(void **state)
{
	struct config_source src = { .file = "sub/t.yaml",
				     .sets = SETS("toy.webhook_secret_file=./secret"),
				     .sections = sections };
	struct config *c = NULL;
	char wanted[128];

	put("sub/t.yaml", "data_dir: ./d//e\ntoy: {cert_file: ../cert.pem, key_file: /dev/null}\n");
	assert_int_equal(config_load(&src, &c, &problems, &warnings), 0);
	(void)snprintf(wanted, sizeof(wanted), "%s/sub/d/e", folder);
	assert_string_equal(config_data_dir(c), wanted);
	(void)snprintf(wanted, sizeof(wanted), "%s/secret", folder);
	assert_string_equal(((const struct toy *)config_section(c, "toy"))->webhook_secret_file, wanted);
	assert_string_equal(config_file(c), "sub/t.yaml");
	done(&c);
}

static void test_a_file_in_the_working_directory_is_found(void **state)
{
	struct config_source src = { .sections = sections };
	struct config *c = NULL;

	put("weir.yaml", "data_dir: here\n");
	assert_int_equal(config_load(&src, &c, &problems, &warnings), 0);
	assert_string_equal(config_file(c), "weir.yaml");
	assert_int_equal(unlink("weir.yaml"), 0);
	done(&c);
}

static void test_a_command_for_one_section_has_that_one_and_no_others_by_default(void **state)
{
	struct config_source src = { .sections = sections, .always = "toy" };
	struct config *c = NULL;

	assert_int_equal(config_load(&src, &c, &problems, &warnings), 0);
	assert_non_null(config_section(c, "toy"));
	assert_null(config_admin(c));
	done(&c);
	put("t.yaml", "admin:\n");
	src.file = "t.yaml";
	assert_int_equal(config_load(&src, &c, &problems, &warnings), 0);
	assert_non_null(config_section(c, "toy"));
	assert_non_null(config_admin(c));
	done(&c);
}

static void test_a_command_that_looks_for_the_daemon_ignores_other_sections(void **state)
{
	struct config_source src = { .file = "t.yaml", .sections = sections, .only_admin = true };
	struct config *c = NULL;

	put("t.yaml",
	    "toy: {webhook_secret_file: /nonexistent, what: ever}\nelse: 1\nadmin: {listen: '127.0.0.1:7'}\n");
	assert_int_equal(config_load(&src, &c, &problems, &warnings), 0);
	assert_string_equal(config_admin(c)->listen.listen, "127.0.0.1:7");
	assert_null(config_section(c, "toy"));
	done(&c);
}

static void test_variables_that_name_no_key_are_warnings(void **state)
{
	struct config *c =
		load_right(NULL, NULL,
			   SETS("WEIR_TOY_LISTN=x", "WEIR_ADMIN=127.0.0.1:1", "WEIR_TOY_SERVICE_HOST=10.0.0.1",
				"WEIR_PORT=tcp://10.0.0.1:80", "WEIR_TOY_UPSTREAMS_X_URL=x", "WEIRD=1", "WEIR_=1"));

	assert_string_equal(warnings.data, "WEIR_TOY_LISTN: names no key and is ignored\n"
					   "WEIR_TOY_UPSTREAMS_X_URL: names no key and is ignored\n"
					   "WEIR_: names no key and is ignored\n");
	done(&c);
}

/* --- two configurations --- */

static void test_what_cannot_change_live_is_named(void **state)
{
	struct config *a =
		load_right("toy: {refs_ttl: 1s, upstreams: [{match: a, url: 'http://a'}]}\nadmin:\n", NULL, NULL);
	struct config *b = load_right("data_dir: x\nlog: {level: warn}\nlimits: {workers: 8, connections: 9}\n"
				      "toy: {listen: '[::1]:1', refs_ttl: 2s, sync_refs: [a], hosts: [h], "
				      "upstreams: [{match: a, url: 'http://b', enabled: false}]}\npond: [{name: a}]\n",
				      NULL, NULL);
	struct config *more = load_right("toy: {upstreams: []}\nadmin:\n", NULL, NULL);
	struct buf out = BUF_EMPTY;

	config_diff_not_live(a, b, &out);
	assert_string_equal(
		out.data,
		"data_dir\nlimits.workers\nadmin\ntoy.listen\ntoy.hosts\ntoy.sync_refs\ntoy.upstreams.0.url\npond\n");
	buf_reset(&out);
	config_diff_not_live(a, a, &out);
	assert_string_equal(out.data, "");
	config_diff_not_live(a, more, &out);
	assert_string_equal(out.data, "toy.upstreams\n");
	buf_fini(&out);
	config_unref(&a);
	config_unref(&more);
	done(&b);
}

static void test_a_configuration_is_counted(void **state)
{
	struct config *c = load_right("toy:\n", NULL, NULL), *other = config_ref(c);

	config_unref(&c);
	assert_null(c);
	assert_non_null(config_section(other, "toy"));
	done(&other);
	config_unref(&other); /* NULL is fine */
}

/* --- the manual --- */

static void test_the_manual_has_every_key_with_default_range_and_help(void **state)
{
	static const char *const wanted[] = {
		".Ss Keys of the top level\n",
		".It Ic data_dir : Ar path\n",
		"Default:\n.Li \"./weir-data\" .\n",
		".It Ic log.level : Ar choice\n",
		"Accepted: debug, info, warn or error.\n",
		".Ss The section admin\n",
		".Ss The section toy\nA section for tests.\n",
		(".It Ic toy.refs_ttl : Ar time\nHow long.\nA second sentence.\nAccepted: from 0s to "
		 "1d.\nDefault:\n.Li \"0s\" .\nCan change at SIGHUP.\n"),
		".It Ic toy.upstreams.N.match : Ar text\nIts host.\nRequired.\n",
		".It Ic pond.N.listen : Ar host:port\n",
		".It Ic toy.disk.max : Ar size\n",
		"url: \\(dqhttps://github.com\\(dq",
	};
	struct buf out = BUF_EMPTY;

	config_describe(sections, &out);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		if (!strstr(out.data, wanted[i]))
			fail_msg("not in the manual: %s\n%s", wanted[i], out.data);
	}
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_a_file_the_usual_sections_run_with_defaults),
		cmocka_unit_test(test_a_file_names_the_sections_that_run),
		cmocka_unit_test(test_an_empty_value_is_as_good_as_none),
		cmocka_unit_test(test_later_sources_override_earlier_ones),
		cmocka_unit_test(test_a_low_mark_follows_a_smaller_max),
		cmocka_unit_test(test_lists_are_addressed_by_index_and_written_in_flow_style),
		cmocka_unit_test(test_relative_paths_start_at_the_files_folder_or_where_the_command_was_given),
		cmocka_unit_test(test_a_file_in_the_working_directory_is_found),
		cmocka_unit_test(test_a_command_for_one_section_has_that_one_and_no_others_by_default),
		cmocka_unit_test(test_a_command_that_looks_for_the_daemon_ignores_other_sections),
		cmocka_unit_test(test_variables_that_name_no_key_are_warnings),
		cmocka_unit_test(test_what_cannot_change_live_is_named),
		cmocka_unit_test(test_a_configuration_is_counted),
		cmocka_unit_test(test_the_manual_has_every_key_with_default_range_and_help),
	};

	return cmocka_run_group_tests(tests, ground_make, ground_clear);
}
