/* outbox_print_test.c -- what a person reads of the outbox. */
#include "cli/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ID "018f3c9a2b7d4e10-5fa3c1"

static struct buf out = BUF_EMPTY;

static json_t *parse(const char *text)
{
	json_t *v = json_loads(text, 0, NULL);

	assert_non_null(v);
	return v;
}

static void expect(const char *words)
{
	if (!strstr(out.data, words))
		fail_msg("\"%s\" is not in:\n%s", words, out.data);
}

static void show(const char *text)
{
	json_t *v = parse(text);

	buf_reset(&out);
	outbox_print_entry(v, &out);
	json_decref(v);
}

static void a_list_has_a_line_for_each(void **state)
{
	json_t *v = parse("[{\"id\": \"" ID "\", \"service\": \"files\", \"state\": \"held\", \"method\": \"PUT\","
			  " \"raw_uri\": \"/a\", \"body_bytes\": 2048, \"queued_at\": \"2026-01-02T03:04:05.000Z\","
			  " \"last_status\": 403, \"last_error\": \"upstream answered 403\"},"
			  "{\"id\": \"x\", \"state\": \"queued\", \"method\": \"PUT\", \"raw_uri\": \"/b\\u001b[2J\","
			  " \"last_status\": 503, \"last_error\": \"\"}]");

	buf_reset(&out);
	outbox_print_list(v, false, &out);
	json_decref(v);
	expect("ID                       SERVICE  STATE   METHOD  URI");
	expect(ID "  files    held    PUT     /a");
	expect("2.0 KiB");
	expect("ago");
	expect("upstream answered 403\n");
	expect("/b\\x1b[2J"); /* drives no terminal */
	expect("status 503\n");
}

static void an_empty_list_is_a_sentence(void **state)
{
	json_t *v = json_array();

	buf_reset(&out);
	outbox_print_list(v, false, &out);
	assert_string_equal(out.data, "the outbox is empty\n");
	buf_reset(&out);
	outbox_print_list(v, true, &out);
	assert_string_equal(out.data, "no entry is like that\n");
	json_decref(v);
}

static void a_conflict_shows_both_versions_and_the_choice(void **state)
{
	show("{\"id\": \"" ID "\", \"service\": \"files\", \"state\": \"conflict\","
	     " \"method\": \"PUT\", \"raw_uri\": \"/a\", \"base_etag\": \"\\\"v1\\\"\","
	     " \"base_mod_time\": \"2026-01-02T03:04:05Z\","
	     " \"theirs_etag\": \"\\\"v2\\\"\", \"theirs_mod_time\": null}");
	expect(ID "  PUT /a\n");
	expect("  ours is based on \"v1\", of 2026-01-02T03:04:05Z, ");
	expect("  theirs is now    \"v2\"\n");
	expect("weir outbox body " ID);
	expect("weir outbox resolve --keep ours " ID);
	expect("weir outbox resolve --keep theirs " ID);
	show("{\"id\": \"" ID "\", \"state\": \"conflict\", \"base_absent\": true}");
	expect("  ours is based on nothing at that place\n");
	expect("  theirs is now    not known\n");
}

static void a_refusal_shows_the_answer_line_by_line(void **state)
{
	show("{\"id\": \"" ID "\", \"state\": \"held\", \"last_status\": 403,"
	     " \"answer\": \"{\\\"no\\\": 1}\\r\\nno \\u001b]0;\\n\", \"answer_type\": \"application/json\","
	     " \"headers\": [{\"name\": \"X\", \"value\": \"\\\"y\\\"\"}]}");
	expect("  last status      403\n");
	expect("\nHeaders\n  X: \"y\"\n");
	expect("\nUpstream's answer (application/json)\n  {\"no\": 1}\n  no \\x1b]0;\n");
	expect("weir outbox retry " ID);
	assert_null(strstr(out.data, "done it already"));
	show("{\"id\": \"" ID "\", \"state\": \"held\", \"last_error\": \"outcome_unknown: the answer was lost\"}");
	expect("The upstream may have done it already");
}

static void what_is_damaged_can_only_be_dropped(void **state)
{
	show("{\"id\": \"" ID "\", \"state\": \"held\", \"damaged\": true}");
	expect("  state            held, damaged on disk\n");
	expect("weir outbox drop " ID);
	assert_null(strstr(out.data, "retry"));
}

static void what_is_over_asks_for_nothing(void **state)
{
	show("{\"id\": \"" ID "\", \"state\": \"applied\", \"method\": \"PUT\", \"raw_uri\": \"/a\","
	     " \"last_status\": 201}");
	assert_null(strstr(out.data, "What to do"));
	assert_null(strstr(out.data, "theirs"));
}

static void what_is_not_readable_is_escaped_and_what_is_long_is_cut(void **state)
{
	char *long_uri = malloc(2001), *text;

	assert_non_null(long_uri);
	memset(long_uri, 'a', 2000);
	long_uri[2000] = '\0';
	text = xstrf("{\"id\": \"" ID "\", \"method\": \"PUT\", \"raw_uri\": \"%s\","
		     " \"last_error\": \"gr\\u00fcn \\u009b\\u007f\"}", long_uri);
	show(text);
	expect("aaa...\n");
	expect("gr\xc3\xbcn \\x9b\\x7f\n"); /* letters stay, C0 and C1 controls do not */
	free(text);
	free(long_uri);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_has_a_line_for_each),
		cmocka_unit_test(an_empty_list_is_a_sentence),
		cmocka_unit_test(a_conflict_shows_both_versions_and_the_choice),
		cmocka_unit_test(a_refusal_shows_the_answer_line_by_line),
		cmocka_unit_test(what_is_damaged_can_only_be_dropped),
		cmocka_unit_test(what_is_over_asks_for_nothing),
		cmocka_unit_test(what_is_not_readable_is_escaped_and_what_is_long_is_cut),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	buf_fini(&out);
	return failed;
}
