/* config_refused_test.c -- what is refused, in the exact words: they are all that an operator has at three in the
 * morning. */
#include "core/config.h"

#include "core/config_toy.h"

#define DURATION "a number with ms, s, m, h or d, as in 90s,"
#define SIZE "a number of bytes, or with KiB, MiB, GiB or TiB, as in 64MiB,"
#define LISTEN "HOST:PORT, as in 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:0"
#define URL "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH], without user name, query and fragment"
#define TOY                                                                                                            \
	"listen, cert_file, key_file, hosts, offline, refs_ttl, stale_after, sync_refs, disk, "                         \
	"webhook_secret_file, upstreams"
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
		{ "toy: {offline: yes}",
		  "t.yaml:1: toy.offline: \"yes\" is neither true nor false; accepted: true or false" },
		{ "\nlog:\n  level: loud",
		  "t.yaml:3: log.level: \"loud\" is none of the choices; accepted: debug, info, warn or error" },
		{ "toy:\n  refs_ttl: 5 minutes",
		  "t.yaml:2: toy.refs_ttl: \"5 minutes\" is not a time; accepted: " DURATION " from 0s to 1d" },
		{ "toy: {refs_ttl: 30}",
		  "t.yaml:1: toy.refs_ttl: \"30\" has no unit; accepted: " DURATION " from 0s to 1d" },
		{ "toy: {refs_ttl: 25h}",
		  "t.yaml:1: toy.refs_ttl: \"25h\" is too large; accepted: " DURATION " from 0s to 1d" },
		{ "toy: {stale_after: 1ms}",
		  "t.yaml:1: toy.stale_after: \"1ms\" is too small; accepted: " DURATION " at least 1s" },
		{ "limits: {workers: 1}",
		  "t.yaml:1: limits.workers: \"1\" is too small; accepted: a whole number from 2 to 1024" },
		{ "limits: {workers: 1e3}",
		  "t.yaml:1: limits.workers: \"1e3\" is not a whole number; accepted: a whole number from 2 to 1024" },
		{ "limits: {workers: -4}",
		  "t.yaml:1: limits.workers: \"-4\" is not a whole number; accepted: a whole number from 2 to 1024" },
		{ "toy: {disk: {max: 10GB}}",
		  "t.yaml:1: toy.disk.max: \"10GB\" is not a size; accepted: " SIZE " at least 1MiB" },
		{ "toy: {disk: {max: 1KiB}}",
		  "t.yaml:1: toy.disk.max: \"1KiB\" is too small; accepted: " SIZE " at least 1MiB" },
		{ "limits: {header_bytes: 1GiB}",
		  "t.yaml:1: limits.header_bytes: \"1GiB\" is too large; accepted: " SIZE " from 1KiB to 1MiB" },
		/* addresses */
		{ "toy: {listen: 8080}", "t.yaml:1: toy.listen: \"8080\" has no port; accepted: " LISTEN },
		{ "toy: {listen: ':8080'}",
		  "t.yaml:1: toy.listen: \":8080\" names no host (0.0.0.0 is all of IPv4, [::] all of IPv6); "
		  "accepted: " LISTEN },
		{ "toy: {listen: '::1:8080'}",
		  "t.yaml:1: toy.listen: \"::1:8080\" names no host (0.0.0.0 is all of IPv4, [::] all of IPv6); "
		  "accepted: " LISTEN },
		{ "toy: {listen: 'fe80::1:8080'}",
		  "t.yaml:1: toy.listen: \"fe80::1:8080\" is not HOST:PORT (an IPv6 address stands in brackets); "
		  "accepted: " LISTEN },
		{ "toy: {listen: '127.0.0.1:70000'}",
		  "t.yaml:1: toy.listen: \"127.0.0.1:70000\" has a port that is not 0 to 65535; accepted: " LISTEN },
		{ "toy: {listen: 'a b:1'}", "t.yaml:1: toy.listen: \"a b:1\" is not HOST:PORT; accepted: " LISTEN },
		{ "toy: {upstreams: [{match: a, url: ftp://a}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"ftp://a\" does not begin with http:// or https://; "
		  "accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://u:hunter2@a'}]}",
		  "t.yaml:1: toy.upstreams.0.url: holds a user name or password; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a?b'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http://a?b\" has a query; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a/#b'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http://a/#b\" has a fragment; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http:///x'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http:///x\" names no host; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a:0'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http://a:0\" has a port that is not 1 to 65535; accepted: " URL },
		{ "toy: {upstreams: [{match: a, url: 'http://a b'}]}",
		  "t.yaml:1: toy.upstreams.0.url: \"http://a b\" holds a character that no URL may hold; "
		  "accepted: " URL },
		/* keys */
		{ "toy:\n  lisen: x", "t.yaml:2: toy.lisen: no such key (did you mean listen?); accepted: " TOY },
		{ "refs_ttl: 1s", "t.yaml:1: refs_ttl: no such key (did you mean toy.refs_ttl?); accepted: " TOP },
		{ "frobnicate: 1", "t.yaml:1: frobnicate: no such key; accepted: " TOP },
		{ "toy: {upstreams: [{match: a, url: 'http://a', '<<': 1}]}",
		  "t.yaml:1: toy.upstreams.0.<<: no such key; accepted: " UPSTREAM },
		{ "toy:\n  offline: true\n  offline: false",
		  "t.yaml:3: toy.offline: given twice (first on line 2); accepted: once" },
		{ "toy:\n  upstreams:\n    - match: a", "t.yaml:3: toy.upstreams.0.url: is missing; accepted: " URL },
		/* kinds */
		{ "toy: 7", "t.yaml:1: toy: is one value; accepted: a mapping with " TOY },
		{ "toy: {disk: [1]}", "t.yaml:1: toy.disk: is a list; accepted: a mapping with max, low" },
		{ "toy: {offline: {a: b}}", "t.yaml:1: toy.offline: is a mapping; accepted: true or false" },
		{ "toy: {sync_refs: refs/heads/}",
		  "t.yaml:1: toy.sync_refs: is one value; accepted: a list, as in [one, two]" },
		{ "toy: {sync_refs: [[a]]}", "t.yaml:1: toy.sync_refs: is a list; accepted: a list, as in [one, two]" },
		{ "toy: {upstreams: {match: a}}",
		  "t.yaml:1: toy.upstreams: is a mapping; accepted: a list of mappings, each with " UPSTREAM },
		{ "toy: {upstreams: [a]}",
		  "t.yaml:1: toy.upstreams.0: is one value; accepted: a mapping with " UPSTREAM },
		{ "pond: {name: a}",
		  "t.yaml:1: pond: is a mapping; accepted: a list of mappings, each with name, listen, cert_file, "
		  "key_file, hosts" },
		{ "- a", "t.yaml:1: is not a mapping of keys; accepted: a YAML file as in weir.yaml(5)" },
		/* YAML */
		{ "toy: &x {}\n",
		  "t.yaml:1: toy: anchors (&name) and aliases (*name) are not supported; accepted: the value written "
		  "out" },
		{ "data_dir: !!str x\n",
		  "t.yaml:1: data_dir: tags (!name) are not supported; accepted: the value alone" },
		{ "data_dir: \"a\\0b\"\n",
		  "t.yaml:1: data_dir: holds a control character; accepted: text on one line" },
		{ "data_dir: a\n---\ndata_dir: b\n",
		  "t.yaml:2: a second document; accepted: one, without further `---`" },
		{ "toy: {? [a] : b}\n", "t.yaml:1: toy: a key that is not text; accepted: NAME: VALUE" },
		{ "toy: [\n",
		  "t.yaml:2: toy: not YAML: did not find expected node content, while parsing a flow node (column 1); "
		  "accepted: YAML as in weir.yaml(5)" },
		{ "toy:\n\tlisten: x\n",
		  "t.yaml:2: toy: not YAML: found character that cannot start any token, while scanning for the "
		  "next token (column 1); accepted: YAML as in weir.yaml(5), indented by spaces, with values that "
		  "begin with @ ` or % in quotes" },
		/* checks of several keys */
		{ "toy:\n  disk: {max: 2MiB, low: 3MiB}",
		  "t.yaml:2: toy.disk.low: 3MiB is above max; accepted: at most 2MiB" },
		{ "toy:\n  cert_file: cert.pem",
		  "t.yaml:2: toy.key_file: is missing beside cert_file; accepted: both or neither" },
		{ "toy:\n  key_file: cert.pem",
		  "t.yaml:2: toy.cert_file: is missing beside key_file; accepted: both or neither" },
		{ "admin: {listen: '0.0.0.0:8070'}",
		  "t.yaml:1: admin.token_file: is missing while admin.listen is 0.0.0.0:8070, which is not loopback; "
		  "accepted: the path of "
		  "a file that holds a token" },
		{ "admin: {listen: '127.evil.example:8070'}",
		  "t.yaml:1: admin.token_file: is missing while admin.listen is 127.evil.example:8070, which is not "
		  "loopback; accepted: "
		  "the path of a file that holds a token" },
		{ "toy:\npond: [{name: a, listen: '127.0.0.1:8080'}]",
		  "t.yaml:2: pond.0.listen: 127.0.0.1:8080 is taken by toy.listen; accepted: another address or port" },
		{ "pond:\n  - {name: a}\n  - {name: a, listen: '127.0.0.1:0'}",
		  "t.yaml:3: pond.1.name: \"a\" is taken by pond.0; accepted: another name" },
		{ "pond:\n  - {name: git}",
		  "t.yaml:2: pond.0.name: \"git\" is the name of a service; accepted: another name" },
		{ "links: {probe_max: 100ms}",
		  "t.yaml:1: links.probe_max: is below links.probe_first; accepted: at least as much" },
		{ "toy: {upstreams: [{match: a, url: 'http://a', auth: bearer}]}",
		  "t.yaml:1: toy.upstreams.0.secret_file: is missing while auth is bearer; accepted: the path of a "
		  "file" },
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
		  "--set: toy.upstreams.3.url: index 3 is beyond the end of a list of 2; accepted: 0 to 2, the last "
		  "of which appends" },
		{ "toy.upstreams.url=http://a",
		  "--set: toy.upstreams.url: addresses a list without an index; accepted: an index from 0 to 2 in "
		  "its place" },
		{ "toy.upstreams.2.url=http://a",
		  "--set: toy.upstreams.2.match: is missing; accepted: text on one line" },
		{ "toy.listen.hosts=x", "--set: toy.listen.hosts: has nothing below listen; accepted: listen=VALUE" },
		{ "toy.upstreams=[{",
		  "--set: toy.upstreams.0: not YAML: did not find expected node content, while parsing a flow node "
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
	assert_string_equal(
		problems.data,
		"WEIR_TOY_OFFLINE: toy.offline: \"maybe\" is neither true nor false; accepted: true or false\n");
	done(&c);
}

static void test_secrets_must_be_readable_and_not_empty(void **state)
{
	char wanted[512];

	(void)snprintf(
		wanted, sizeof(wanted),
		"t.yaml:1: admin.token_file: \"%s/nowhere\" cannot be read: No such file or directory; accepted: the "
		"path of a "
		"readable file that holds the secret",
		folder);
	expect("admin: {token_file: nowhere}", NULL, wanted);
	(void)snprintf(
		wanted, sizeof(wanted),
		"t.yaml:1: admin.token_file: \"%s/empty-secret\" is empty; accepted: the path of a readable file "
		"that holds the "
		"secret",
		folder);
	expect("admin: {token_file: empty-secret}", NULL, wanted);
	(void)snprintf(
		wanted, sizeof(wanted),
		"t.yaml:1: admin.token_file: \"%s/two-lines\" is not one line of text; accepted: the path of a readable "
		"file that holds the secret",
		folder);
	expect("admin: {token_file: two-lines}", NULL, wanted);
	(void)snprintf(
		wanted, sizeof(wanted),
		"t.yaml:1: toy.key_file: \"%s/nowhere\" cannot be read: No such file or directory; accepted: the "
		"path of a "
		"readable PEM file",
		folder);
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
	       "t.yaml:6: admin.token_file: is missing while admin.listen is 1.2.3.4:1, which is not loopback; "
	       "accepted: the path of a "
	       "file that holds a token\n"
	       "--set: limits.workers: \"0\" is too small; accepted: a whole number from 2 to 1024");
}

static void test_files_that_cannot_be_read_are_told(void **state)
{
	struct config_source src = { .file = "nowhere.yaml", .sections = sections };
	struct config *c = NULL;
	struct buf big = BUF_EMPTY;

	assert_int_equal(config_load(&src, &c, &problems, &warnings), -EINVAL);
	assert_string_equal(
		problems.data,
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_wrong_value_is_told_with_line_key_and_what_is_accepted),
		cmocka_unit_test(test_wrong_sets_are_told),
		cmocka_unit_test(test_a_variable_with_a_wrong_value_is_named),
		cmocka_unit_test(test_secrets_must_be_readable_and_not_empty),
		cmocka_unit_test(test_all_problems_come_at_once_in_the_order_of_the_file),
		cmocka_unit_test(test_files_that_cannot_be_read_are_told),
		cmocka_unit_test(test_depth_and_number_of_problems_are_bounded),
	};

	return cmocka_run_group_tests(tests, ground_make, ground_clear);
}
