/* config_test.c -- what is read, and the exact words for what is refused. The section `toy` stands for a service's,
 * `pond` for one that is a list. */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/config_priv.h"

struct toy_upstream {
	char *match, *url;
	int auth;
	bool enabled;
	char *secret_file;
};
struct toy {
	struct listen_settings listen;
	bool offline;
	int64_t refs_ttl, stale_after;
	char **sync_refs;
	struct {
		uint64_t max, low;
	} disk;
	char *webhook_secret_file;
	struct setting_list upstreams;
};
struct pond {
	char *name;
	struct listen_settings listen;
};

static const char *const auths[] = { "passthrough", "none", "bearer", NULL };
static const struct setting upstream_settings[] = {
	{ .name = "match", .type = SETTING_STRING, .offset = offsetof(struct toy_upstream, match), .required = true, .help = "Its host." },
	{ .name = "url", .type = SETTING_URL, .offset = offsetof(struct toy_upstream, url), .required = true },
	{ .name = "auth", .type = SETTING_CHOICE, .offset = offsetof(struct toy_upstream, auth), .fallback = "passthrough", .choices = auths },
	{ .name = "enabled", .type = SETTING_BOOL, .offset = offsetof(struct toy_upstream, enabled), .fallback = "true", .live = true },
	{ .name = "secret_file", .type = SETTING_SECRET_FILE, .offset = offsetof(struct toy_upstream, secret_file) },
	{ .name = NULL },
};
static const struct setting disk_settings[] = {
	{ .name = "max", .type = SETTING_SIZE, .offset = 0, .fallback = "100GiB", .min = 1024 * 1024, .live = true },
	{ .name = "low", .type = SETTING_SIZE, .offset = sizeof(uint64_t), .fallback = "90GiB", .live = true },
	{ .name = NULL },
};
static const struct setting toy_settings[] = {
	SETTINGS_LISTEN(struct toy, listen, "127.0.0.1:8080"),
	{ .name = "offline", .type = SETTING_BOOL, .offset = offsetof(struct toy, offline), .fallback = "true" },
	{ .name = "refs_ttl", .type = SETTING_DURATION, .offset = offsetof(struct toy, refs_ttl), .fallback = "0s", .max = 86400000, .live = true,
	  .help = "How long. A second sentence." },
	{ .name = "stale_after", .type = SETTING_DURATION, .offset = offsetof(struct toy, stale_after), .fallback = "5m", .min = 1000 },
	{ .name = "sync_refs", .type = SETTING_STRINGS, .offset = offsetof(struct toy, sync_refs), .fallback = "[refs/heads/, refs/tags/]" },
	{ .name = "disk", .type = SETTING_MAP, .offset = offsetof(struct toy, disk), .sub = disk_settings },
	{ .name = "webhook_secret_file", .type = SETTING_SECRET_FILE, .offset = offsetof(struct toy, webhook_secret_file) },
	{ .name = "upstreams", .type = SETTING_MAPS, .offset = offsetof(struct toy, upstreams), .sub = upstream_settings,
	  .sub_size = sizeof(struct toy_upstream),
	  .fallback = "[{match: github.com, url: \"https://github.com\"}, {match: gitlab.com, url: \"https://gitlab.com\"}]" },
	{ .name = NULL },
};
static const struct setting pond_settings[] = {
	{ .name = "name", .type = SETTING_STRING, .offset = offsetof(struct pond, name), .required = true },
	SETTINGS_LISTEN(struct pond, listen, "127.0.0.1:8081"),
	{ .name = NULL },
};

static void check_toy(const void *section, struct config_problems *p)
{
	const struct toy *t = section;
	const struct toy_upstream *u = t->upstreams.items;

	for (size_t i = 0; i < t->upstreams.count; i++) {
		char where[64];

		(void)snprintf(where, sizeof(where), "toy.upstreams.%zu.secret_file", i);
		if (u[i].auth == 2 && !u[i].secret_file)
			config_problem(p, where, "is missing while auth is bearer; accepted: the path of a file");
	}
}

static const struct config_section toy_section = {
	.name = "toy", .settings = toy_settings, .size = sizeof(struct toy), .by_default = true, .check = check_toy,
	.help = "A section for tests.",
};
static const struct config_section pond_section = {
	.name = "pond", .settings = pond_settings, .size = sizeof(struct pond), .is_list = true,
};
static const struct config_section *const sections[] = { &toy_section, &pond_section, &config_admin_section, NULL };

/* --- the ground: a folder of its own, made the working directory --- */

static char folder[64], start[4096];

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int ground_make(void **state)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/weir-config-XXXXXX");
	assert_non_null(getcwd(start, sizeof(start)));
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("sub", 0700), 0);
	put("empty-secret", " \n");
	put("secret", "hunter2\n");
	put("cert.pem", "c");
	put("key.pem", "k");
	return 0;
}

static int ground_clear(void **state)
{
	static const char *const names[] = { "empty-secret", "secret", "cert.pem", "key.pem", "t.yaml", "sub/t.yaml", "weir.yaml" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlink(names[i]);
	(void)rmdir("sub");
	assert_int_equal(chdir(start), 0);
	return rmdir(folder);
}

/* Loads `yaml` as t.yaml (NULL: no file given, and there is none); problems and warnings in static buffers. */
static struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

static struct config *load(const char *yaml, const char *const *sets, const char *const *env)
{
	struct config_source src = { .file = yaml ? "t.yaml" : NULL, .sets = sets, .env = env, .sections = sections };
	struct config *c = NULL;
	int err;

	if (yaml)
		put("t.yaml", yaml);
	buf_fini(&problems);
	buf_fini(&warnings);
	err = config_load(&src, &c, &problems, &warnings);
	assert_int_equal(err, c ? 0 : -EINVAL);
	assert_int_equal(problems.len == 0, err == 0);
	return c;
}

static void done(struct config **c)
{
	config_unref(c);
	buf_fini(&problems);
	buf_fini(&warnings);
}

static struct config *load_right(const char *yaml, const char *const *sets, const char *const *env)
{
	struct config *c = load(yaml, sets, env);

	if (!c)
		fail_msg("refused:\n%s", problems.data);
	return c;
}

#define SETS(...) ((const char *const[]){ __VA_ARGS__, NULL })

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
	struct config *c = load_right("log: {level: debug, format: json}\npond:\n  - name: a\n  - {name: b, listen: '[::1]:9'}\n", NULL, NULL);
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
	struct config *c = load_right("toy:\n  listen:\n  webhook_secret_file: ~\n  disk:\n  upstreams: []\n  sync_refs: []\n", NULL, NULL);
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
	static const char yaml[] = "toy:\n  refs_ttl: 1s\n  stale_after: 1s\n  listen: 127.0.0.1:1\n  disk: {max: 1GiB, low: 1MiB}\n";
	struct config *c = load_right(yaml, SETS("toy.listen=[::1]:3", "toy.disk.low=2MiB", "toy.disk.low=3MiB"),
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

	c = load_right(NULL, SETS("toy.upstreams.0.url=http://127.0.0.1:1", "toy.upstreams.2.match=m",
				  "toy.upstreams.2.url=http://127.0.0.1:2/x", "toy.sync_refs=[refs/pull/, a b]", "pond.0.name=p",
				  "toy.hosts.0=edge"), SETS("WEIR_TOY_UPSTREAMS_1_AUTH=none", "WEIR_TOY_SYNC_REFS_0=gone"));
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
	c = load_right("toy:\n", SETS("toy.upstreams=[{match: x, url: \"http://127.0.0.1:1\", auth: none}]", "toy.disk={max: 1GiB, low: 1MiB}"),
		       NULL);
	t = config_section(c, "toy");
	assert_int_equal(t->upstreams.count, 1);
	assert_int_equal(t->disk.low, 1 << 20);
	done(&c);
}

static void test_relative_paths_start_at_the_files_folder_or_where_the_command_was_given(void **state)
{
	struct config_source src = { .file = "sub/t.yaml", .sets = SETS("toy.webhook_secret_file=./secret"), .sections = sections };
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

static void test_a_command_that_looks_for_the_daemon_ignores_other_sections(void **state)
{
	struct config_source src = { .file = "t.yaml", .sections = sections, .only_admin = true };
	struct config *c = NULL;

	put("t.yaml", "toy: {webhook_secret_file: /nonexistent, what: ever}\nelse: 1\nadmin: {listen: '127.0.0.1:7'}\n");
	assert_int_equal(config_load(&src, &c, &problems, &warnings), 0);
	assert_string_equal(config_admin(c)->listen.listen, "127.0.0.1:7");
	assert_null(config_section(c, "toy"));
	done(&c);
}

static void test_variables_that_name_no_key_are_warnings(void **state)
{
	struct config *c = load_right(NULL, NULL, SETS("WEIR_TOY_LISTN=x", "WEIR_ADMIN=127.0.0.1:1", "WEIR_TOY_SERVICE_HOST=10.0.0.1",
						       "WEIR_PORT=tcp://10.0.0.1:80", "WEIR_TOY_UPSTREAMS_X_URL=x", "WEIRD=1", "WEIR_=1"));

	assert_string_equal(warnings.data, "WEIR_TOY_LISTN: names no key and is ignored\n"
					   "WEIR_TOY_UPSTREAMS_X_URL: names no key and is ignored\n"
					   "WEIR_: names no key and is ignored\n");
	done(&c);
}

/* --- what is refused --- */

#define DURATION "a number with ms, s, m, h or d, as in 90s,"
#define SIZE "a number of bytes, or with KiB, MiB, GiB or TiB, as in 64MiB,"
#define LISTEN "HOST:PORT, as in 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:0"
#define URL "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH], without user name, query and fragment"
#define TOY "listen, cert_file, key_file, hosts, offline, refs_ttl, stale_after, sync_refs, disk, webhook_secret_file, upstreams"
#define TOP "data_dir, shutdown_grace, log, limits, links, admin, toy, pond"
#define UPSTREAM "match, url, auth, enabled, secret_file"

static void expect(const char *yaml, const char *const *sets, const char *wanted)
{
	struct config *c = load(yaml, sets, NULL);
	struct buf with_end = BUF_EMPTY;

	if (c)
		fail_msg("accepted:\n%s", yaml ? yaml : sets[0]);
	buf_addf(&with_end, "%s\n", wanted);
	assert_string_equal(problems.data, with_end.data);
	buf_fini(&with_end);
	done(&c);
}

static void test_each_wrong_value_is_told_with_line_key_and_what_is_accepted(void **state)
{
	static const struct {
		const char *yaml, *wanted;
	} rows[] = {
		/* values */
		{ "toy: {offline: yes}", "t.yaml:1: toy.offline: \"yes\" is neither true nor false; accepted: true or false" },
		{ "\nlog:\n  level: loud", "t.yaml:3: log.level: \"loud\" is none of the choices; accepted: debug, info, warn or error" },
		{ "toy:\n  refs_ttl: 5 minutes",
		  "t.yaml:2: toy.refs_ttl: \"5 minutes\" is not a time; accepted: " DURATION " from 0s to 1d" },
		{ "toy: {refs_ttl: 30}", "t.yaml:1: toy.refs_ttl: \"30\" has no unit; accepted: " DURATION " from 0s to 1d" },
		{ "toy: {refs_ttl: 25h}", "t.yaml:1: toy.refs_ttl: \"25h\" is too large; accepted: " DURATION " from 0s to 1d" },
		{ "toy: {stale_after: 1ms}",
		  "t.yaml:1: toy.stale_after: \"1ms\" is too small; accepted: " DURATION " at least 1s" },
		{ "limits: {workers: 1}", "t.yaml:1: limits.workers: \"1\" is too small; accepted: a whole number from 2 to 1024" },
		{ "limits: {workers: 1e3}",
		  "t.yaml:1: limits.workers: \"1e3\" is not a whole number; accepted: a whole number from 2 to 1024" },
		{ "limits: {workers: -4}",
		  "t.yaml:1: limits.workers: \"-4\" is not a whole number; accepted: a whole number from 2 to 1024" },
		{ "toy: {disk: {max: 10GB}}", "t.yaml:1: toy.disk.max: \"10GB\" is not a size; accepted: " SIZE " at least 1MiB" },
		{ "toy: {disk: {max: 1KiB}}", "t.yaml:1: toy.disk.max: \"1KiB\" is too small; accepted: " SIZE " at least 1MiB" },
		{ "limits: {header_bytes: 1GiB}",
		  "t.yaml:1: limits.header_bytes: \"1GiB\" is too large; accepted: " SIZE " from 1KiB to 1MiB" },
		/* addresses */
		{ "toy: {listen: 8080}", "t.yaml:1: toy.listen: \"8080\" has no port; accepted: " LISTEN },
		{ "toy: {listen: ':8080'}",
		  "t.yaml:1: toy.listen: \":8080\" names no host (0.0.0.0 is all of IPv4, [::] all of IPv6); accepted: " LISTEN },
		{ "toy: {listen: '::1:8080'}",
		  "t.yaml:1: toy.listen: \"::1:8080\" names no host (0.0.0.0 is all of IPv4, [::] all of IPv6); accepted: " LISTEN },
		{ "toy: {listen: 'fe80::1:8080'}",
		  "t.yaml:1: toy.listen: \"fe80::1:8080\" is not HOST:PORT (an IPv6 address stands in brackets); accepted: " LISTEN },
		{ "toy: {listen: '127.0.0.1:70000'}",
		  "t.yaml:1: toy.listen: \"127.0.0.1:70000\" has a port that is not 0 to 65535; accepted: " LISTEN },
		{ "toy: {listen: 'a b:1'}", "t.yaml:1: toy.listen: \"a b:1\" is not HOST:PORT; accepted: " LISTEN },
		{ "toy: {upstreams: [{match: a, url: ftp://a}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"ftp://a\" does not begin with http:// or https://; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://u:hunter2@a'}]}",
		  "t.yaml:1: toy.upstreams.0.url: holds a user name or password; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a?b'}]}", "t.yaml:1: toy.upstreams.0.url: \"http://a?b\" has a query; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a/#b'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http://a/#b\" has a fragment; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http:///x'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http:///x\" names no host; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a:0'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http://a:0\" has a port that is not 1 to 65535; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a b'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http://a b\" holds a character that no URL may hold; accepted: " URL },
		/* keys */
		{ "toy:\n  lisen: x", "t.yaml:2: toy.lisen: no such key (did you mean listen?); accepted: " TOY },
		{ "refs_ttl: 1s", "t.yaml:1: refs_ttl: no such key (did you mean toy.refs_ttl?); accepted: " TOP },
		{ "frobnicate: 1", "t.yaml:1: frobnicate: no such key; accepted: " TOP },
		{ "toy: {upstreams: [{match: a, url: 'http://a', '<<': 1}]}",
		  "t.yaml:1: toy.upstreams.0.<<: no such key; accepted: " UPSTREAM },
		{ "toy:\n  offline: true\n  offline: false", "t.yaml:3: toy.offline: given twice (first on line 2); accepted: once" },
		{ "toy:\n  upstreams:\n    - match: a", "t.yaml:3: toy.upstreams.0.url: is missing; accepted: " URL },
		/* kinds */
		{ "toy: 7", "t.yaml:1: toy: is one value; accepted: a mapping with " TOY },
		{ "toy: {disk: [1]}", "t.yaml:1: toy.disk: is a list; accepted: a mapping with max, low" },
		{ "toy: {offline: {a: b}}", "t.yaml:1: toy.offline: is a mapping; accepted: true or false" },
		{ "toy: {sync_refs: refs/heads/}", "t.yaml:1: toy.sync_refs: is one value; accepted: a list, as in [one, two]" },
		{ "toy: {sync_refs: [[a]]}", "t.yaml:1: toy.sync_refs: is a list; accepted: a list, as in [one, two]" },
		{ "toy: {upstreams: {match: a}}",
		  "t.yaml:1: toy.upstreams: is a mapping; accepted: a list of mappings, each with " UPSTREAM },
		{ "toy: {upstreams: [a]}", "t.yaml:1: toy.upstreams.0: is one value; accepted: a mapping with " UPSTREAM },
		{ "pond: {name: a}", "t.yaml:1: pond: is a mapping; accepted: a list of mappings, each with name, listen, cert_file, "
				     "key_file, hosts" },
		{ "- a", "t.yaml:1: is not a mapping of keys; accepted: a YAML file as in weir.yaml(5)" },
		/* YAML */
		{ "toy: &x {}\n", "t.yaml:1: toy: anchors (&name) and aliases (*name) are not supported; accepted: the value written out" },
		{ "data_dir: !!str x\n", "t.yaml:1: data_dir: tags (!name) are not supported; accepted: the value alone" },
		{ "data_dir: \"a\\0b\"\n", "t.yaml:1: data_dir: holds a control character; accepted: text on one line" },
		{ "data_dir: a\n---\ndata_dir: b\n", "t.yaml:2: a second document; accepted: one, without further `---`" },
		{ "toy: {? [a] : b}\n", "t.yaml:1: toy: a key that is not text; accepted: NAME: VALUE" },
		{ "toy: [\n", "t.yaml:2: toy: not YAML: did not find expected node content, while parsing a flow node (column 1); "
			      "accepted: YAML as in weir.yaml(5)" },
		{ "toy:\n\tlisten: x\n", "t.yaml:2: toy: not YAML: found character that cannot start any token, while scanning for the "
					 "next token (column 1); accepted: YAML as in weir.yaml(5), indented by spaces, with values that "
					 "begin with @ ` or % in quotes" },
		/* checks of several keys */
		{ "toy:\n  disk: {max: 2MiB, low: 3MiB}", "t.yaml:2: toy.disk.low: 3MiB is above max; accepted: at most 2MiB" },
		{ "toy:\n  cert_file: cert.pem", "t.yaml:2: toy.key_file: is missing beside cert_file; accepted: both or neither" },
		{ "toy:\n  key_file: cert.pem", "t.yaml:2: toy.cert_file: is missing beside key_file; accepted: both or neither" },
		{ "admin: {listen: '0.0.0.0:8070'}",
		  "t.yaml:1: admin.token_file: is missing while admin.listen is 0.0.0.0:8070, which is not loopback; accepted: the path of "
		  "a file that holds a token" },
		{ "admin: {listen: '127.evil.example:8070'}",
		  "t.yaml:1: admin.token_file: is missing while admin.listen is 127.evil.example:8070, which is not loopback; accepted: "
		  "the path of a file that holds a token" },
		{ "toy:\npond: [{name: a, listen: '127.0.0.1:8080'}]",
		  "t.yaml:2: pond.0.listen: 127.0.0.1:8080 is taken by toy.listen; accepted: another address or port" },
		{ "pond:\n  - {name: a}\n  - {name: a, listen: '127.0.0.1:0'}",
		  "t.yaml:3: pond.1.name: \"a\" is taken by pond.0; accepted: another name" },
		{ "pond:\n  - {name: git}", "t.yaml:2: pond.0.name: \"git\" is the name of a service; accepted: another name" },
		{ "links: {probe_max: 100ms}", "t.yaml:1: links.probe_max: is below links.probe_first; accepted: at least as much" },
		{ "toy: {upstreams: [{match: a, url: 'http://a', auth: bearer}]}",
		  "t.yaml:1: toy.upstreams.0.secret_file: is missing while auth is bearer; accepted: the path of a file" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect(rows[i].yaml, NULL, rows[i].wanted);
}

static void test_wrong_sets_are_told(void **state)
{
	static const struct {
		const char *set, *wanted;
	} rows[] = {
		{ "toy.listen", "--set: \"toy.listen\" is not KEY=VALUE; accepted: as in git.listen=127.0.0.1:0" },
		{ "=x", "--set: \"\" is not KEY=VALUE; accepted: as in git.listen=127.0.0.1:0" },
		{ "toy.lisen=x", "--set: toy.lisen: no such key (did you mean listen?); accepted: " TOY },
		{ "listen=x", "--set: listen: no such key (did you mean admin.listen?); accepted: " TOP },
		{ "toy.refs_ttl=x", "--set: toy.refs_ttl: \"x\" is not a time; accepted: " DURATION " from 0s to 1d" },
		{ "toy.upstreams.3.url=http://a",
		  "--set: toy.upstreams.3.url: index 3 is beyond the end of a list of 2; accepted: 0 to 2, the last of which appends" },
		{ "toy.upstreams.url=http://a",
		  "--set: toy.upstreams.url: addresses a list without an index; accepted: an index from 0 to 2 in its place" },
		{ "toy.upstreams.2.url=http://a", "--set: toy.upstreams.2.match: is missing; accepted: text on one line" },
		{ "toy.listen.hosts=x", "--set: toy.listen.hosts: has nothing below listen; accepted: listen=VALUE" },
		{ "toy.upstreams=[{", "--set: toy.upstreams.0: not YAML: did not find expected node content, while parsing a flow node "
				      "(column 1); accepted: YAML as in weir.yaml(5)" },
		{ "toy.disk=7", "--set: toy.disk: is one value; accepted: a mapping with max, low" },
		{ "toy.disk={max: 1GiB, max: 2GiB}", "--set: toy.disk.max: given twice; accepted: once" },
		{ "data_dir=a\nb", "--set: data_dir: holds a control character; accepted: text on one line" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect(NULL, SETS(rows[i].set), rows[i].wanted);
}

static void test_a_variable_with_a_wrong_value_is_named(void **state)
{
	struct config *c = load(NULL, NULL, SETS("WEIR_TOY_OFFLINE=maybe"));

	assert_null(c);
	assert_string_equal(problems.data,
			    "WEIR_TOY_OFFLINE: toy.offline: \"maybe\" is neither true nor false; accepted: true or false\n");
	done(&c);
}

static void test_secrets_must_be_readable_and_not_empty(void **state)
{
	char wanted[512];

	(void)snprintf(wanted, sizeof(wanted),
		       "t.yaml:1: admin.token_file: \"%s/nowhere\" cannot be read: No such file or directory; accepted: the path of a "
		       "readable file that holds the secret", folder);
	expect("admin: {token_file: nowhere}", NULL, wanted);
	(void)snprintf(wanted, sizeof(wanted),
		       "t.yaml:1: admin.token_file: \"%s/empty-secret\" is empty; accepted: the path of a readable file that holds the "
		       "secret", folder);
	expect("admin: {token_file: empty-secret}", NULL, wanted);
	(void)snprintf(wanted, sizeof(wanted),
		       "t.yaml:1: toy.key_file: \"%s/nowhere\" cannot be read: No such file or directory; accepted: the path of a "
		       "readable PEM file", folder);
	expect("toy: {cert_file: cert.pem, key_file: nowhere}", NULL, wanted);
}

static void test_all_problems_come_at_once_in_the_order_of_the_file(void **state)
{
	expect("toy:\n  refs_ttl: x\n  lisen: y\n  disk: {max: z}\nlog: {level: loud}\nadmin: {listen: '1.2.3.4:1'}\n",
	       SETS("limits.workers=0"),
	       "t.yaml:2: toy.refs_ttl: \"x\" is not a time; accepted: " DURATION " from 0s to 1d\n"
	       "t.yaml:3: toy.lisen: no such key (did you mean listen?); accepted: " TOY "\n"
	       "t.yaml:4: toy.disk.max: \"z\" is not a size; accepted: " SIZE " at least 1MiB\n"
	       "t.yaml:5: log.level: \"loud\" is none of the choices; accepted: debug, info, warn or error\n"
	       "t.yaml:6: admin.token_file: is missing while admin.listen is 1.2.3.4:1, which is not loopback; accepted: the path of a "
	       "file that holds a token\n"
	       "--set: limits.workers: \"0\" is too small; accepted: a whole number from 2 to 1024");
}

static void test_files_that_cannot_be_read_are_told(void **state)
{
	struct config_source src = { .file = "nowhere.yaml", .sections = sections };
	struct config *c = NULL;
	struct buf big = BUF_EMPTY;

	assert_int_equal(config_load(&src, &c, &problems, &warnings), -EINVAL);
	assert_string_equal(problems.data,
			    "nowhere.yaml: cannot be read: No such file or directory; accepted: a readable YAML file\n");
	while (big.len <= CONFIG_MOST_FILE_BYTES)
		buf_add_str(&big, "# a comment that is a line long, more or less, and says nothing at all\n");
	expect(big.data, NULL, "t.yaml: is larger than 1MiB; accepted: a YAML file as in weir.yaml(5)");
	buf_fini(&big);
}

static void test_depth_and_number_of_problems_are_bounded(void **state)
{
	struct buf deep = BUF_EMPTY, many = BUF_EMPTY;
	struct config *c;

	buf_add_str(&deep, "toy: ");
	for (int i = 0; i < 1000; i++)
		buf_add_char(&deep, '[');
	c = load(deep.data, NULL, NULL);
	assert_null(c);
	assert_non_null(strstr(problems.data, "nested too deep; accepted: the keys of weir.yaml(5)"));
	for (int i = 0; i < 150; i++)
		buf_addf(&many, "k%d: 1\n", i);
	c = load(many.data, NULL, NULL);
	assert_null(c);
	assert_non_null(strstr(problems.data, "\nand 50 more\n"));
	buf_fini(&deep);
	buf_fini(&many);
	done(&c);
}

/* --- two configurations --- */

static void test_what_cannot_change_live_is_named(void **state)
{
	struct config *a = load_right("toy: {refs_ttl: 1s, upstreams: [{match: a, url: 'http://a'}]}\nadmin:\n", NULL, NULL);
	struct config *b = load_right("data_dir: x\nlog: {level: warn}\nlimits: {workers: 8, connections: 9}\n"
				      "toy: {listen: '[::1]:1', refs_ttl: 2s, sync_refs: [a], hosts: [h], "
				      "upstreams: [{match: a, url: 'http://b', enabled: false}]}\npond: [{name: a}]\n", NULL, NULL);
	struct config *more = load_right("toy: {upstreams: []}\nadmin:\n", NULL, NULL);
	struct buf out = BUF_EMPTY;

	config_diff_not_live(a, b, &out);
	assert_string_equal(out.data, "data_dir\nlimits.workers\nadmin\ntoy.listen\ntoy.hosts\ntoy.sync_refs\ntoy.upstreams.0.url\npond\n");
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
		".Ss Keys of the top level\n", ".It Ic data_dir : Ar path\n", "Default:\n.Li \"./weir-data\" .\n",
		".It Ic log.level : Ar choice\n", "Accepted: debug, info, warn or error.\n", ".Ss The section admin\n",
		".Ss The section toy\nA section for tests.\n", ".It Ic toy.refs_ttl : Ar time\nHow long.\nA second sentence.\nAccepted: from 0s to 1d.\nDefault:\n.Li \"0s\" .\nCan change at SIGHUP.\n", ".It Ic toy.upstreams.N.match : Ar text\nIts host.\nRequired.\n",
		".It Ic pond.N.listen : Ar host:port\n", ".It Ic toy.disk.max : Ar size\n", "url: \\(dqhttps://github.com\\(dq",
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
		cmocka_unit_test(test_a_command_that_looks_for_the_daemon_ignores_other_sections),
		cmocka_unit_test(test_variables_that_name_no_key_are_warnings),
		cmocka_unit_test(test_each_wrong_value_is_told_with_line_key_and_what_is_accepted),
		cmocka_unit_test(test_wrong_sets_are_told),
		cmocka_unit_test(test_a_variable_with_a_wrong_value_is_named),
		cmocka_unit_test(test_secrets_must_be_readable_and_not_empty),
		cmocka_unit_test(test_all_problems_come_at_once_in_the_order_of_the_file),
		cmocka_unit_test(test_files_that_cannot_be_read_are_told),
		cmocka_unit_test(test_depth_and_number_of_problems_are_bounded),
		cmocka_unit_test(test_what_cannot_change_live_is_named),
		cmocka_unit_test(test_a_configuration_is_counted),
		cmocka_unit_test(test_the_manual_has_every_key_with_default_range_and_help),
	};

	return cmocka_run_group_tests(tests, ground_make, ground_clear);
}
