#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "mirror/policy.h"
#include "mirror/preconditions.h"

#define NOW 784112000 /* Sun, 06 Nov 1994 08:53:20 GMT */
#define OLD "Sun, 06 Nov 1994 08:00:00 GMT"
#define OLD_S (NOW - 3200)
#define DATE "Date: Sun, 06 Nov 1994 08:53:20 GMT"

static struct slice line_room[16];

static struct httplines of(const char *const *lines)
{
	struct httplines h = { line_room, 0 };

	for (; lines && lines[h.count]; h.count++)
		line_room[h.count] = slice_str(lines[h.count]);
	return h;
}
#define LINES(...) of((const char *const[]){ __VA_ARGS__, NULL })

/* base: "none" (no view), "absent", or "etag|date offset", as "\"v1\"|0" (OLD), "W/\"v1\"|", "|0", "|" */
static struct outbox_base base_of(const char *text)
{
	struct outbox_base b = { .known = strcmp(text, "none") != 0, .absent = strcmp(text, "absent") == 0 };
	const char *bar = strchr(text, '|');

	buf_init(&b.etag, 0);
	if (!bar)
		return b;
	buf_add(&b.etag, text, (size_t)(bar - text));
	if (bar[1])
		b.mod_time = OLD_S + strtol(bar + 1, NULL, 10);
	return b;
}

static struct precondition_lore lore_of(const char *if_match_none_match_unmodified)
{
	struct precondition_lore l = { 0 };

	for (int k = 1; k < PRECONDITION_KINDS; k++)
		l.trust[k] = if_match_none_match_unmodified[k - 1] == '+' ? PRECONDITION_HONOURED :
			     if_match_none_match_unmodified[k - 1] == '-' ? PRECONDITION_USELESS :
									    PRECONDITION_UNTRIED;
	return l;
}

static void assert_line(const struct precondition_plan *p, const char *wanted)
{
	struct buf b = BUF_EMPTY;

	assert_int_equal(preconditions_line(p, &b), wanted != NULL);
	assert_string_equal(b.data, wanted ? wanted : "");
	buf_fini(&b);
}

#define AUTO PRECONDITIONS_AUTO
#define BY_TAG PRECONDITIONS_IF_MATCH
#define BY_DATE PRECONDITIONS_IF_UNMODIFIED_SINCE
#define LOOK PRECONDITIONS_CHECK_FIRST
#define NONE PRECONDITIONS_NONE
#define V1 "If-Match: \"v1\""
#define ANY "If-None-Match: *"
#define SINCE "If-Unmodified-Since: " OLD

static void a_plan_follows_from_the_mode_the_base_and_what_was_learned(void **state)
{
	static const struct {
		enum precondition_mode mode;
		const char *base, *lore;
		bool look_first;
		const char *line;
	} rows[] = {
		{ AUTO, "none", "...", false, NULL },
		{ AUTO, "\"v1\"|0", "...", true, V1 },
		{ AUTO, "\"v1\"|0", "+..", false, V1 },
		{ AUTO, "\"v1\"|0", ".++", true, V1 }, /* each is trusted for itself */
		{ AUTO, "\"v1\"|0", "-..", true, SINCE },
		{ AUTO, "\"v1\"|0", "-.-", true, NULL },
		{ AUTO, "\"v1\"|", "-..", true, NULL },
		{ AUTO, "W/\"v1\"|0", "+..", true, SINCE },
		{ AUTO, "W/\"v1\"|0", "+.-", true, NULL },
		{ AUTO, "\"v1-gzip\"|0", "+.-", true, NULL }, /* of another representation than a HEAD gives */
		{ AUTO, "not a tag|0", "+..", true, SINCE },
		{ AUTO, "|0", "...", true, SINCE },
		{ AUTO, "|0", "..+", true, SINCE },
		{ AUTO, "|0", "..-", true, NULL },
		{ AUTO, "|", "+++", true, NULL },
		{ AUTO, "absent", "...", true, ANY },
		{ AUTO, "absent", ".+.", false, ANY },
		{ AUTO, "absent", ".-.", true, NULL },
		{ BY_TAG, "\"v1\"|0", "---", false, V1 }, /* the operator knows better */
		{ BY_TAG, "W/\"v1\"|0", "...", true, NULL },
		{ BY_TAG, "|0", "...", true, NULL },
		{ BY_TAG, "absent", "---", false, ANY },
		{ BY_DATE, "\"v1\"|0", "---", false, SINCE },
		{ BY_DATE, "\"v1\"|", "...", true, NULL },
		{ BY_DATE, "absent", "...", false, ANY },
		{ LOOK, "\"v1\"|0", "+++", true, NULL },
		{ LOOK, "absent", "+++", true, NULL },
		{ LOOK, "none", "+++", false, NULL },
		{ NONE, "\"v1\"|0", "+++", false, NULL },
		{ NONE, "absent", "+++", false, NULL },
	};
	const struct httplines h = of(NULL);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct outbox_base b = base_of(rows[i].base);
		struct precondition_lore lore = lore_of(rows[i].lore);
		struct precondition_plan p;

		preconditions_plan(rows[i].mode, &b, &h, &lore, NOW, &p);
		assert_int_equal(p.look_first, rows[i].look_first);
		assert_int_equal(p.keeps_own, !b.known);
		assert_line(&p, rows[i].line);
		buf_fini(&b.etag);
	}
}

static void without_a_base_the_clients_own_condition_is_one(void **state)
{
	static const struct {
		enum precondition_mode mode;
		const char *own, *also;
		bool keeps_own, look_first;
		const char *line;
	} rows[] = {
		{ AUTO, "If-Match: \"v1\"", NULL, false, true, V1 },
		{ AUTO, "If-Match: \"v1\"", "If-Unmodified-Since: " OLD, false, true, V1 }, /* never two of them */
		{ AUTO, "If-Match: \"v1\", \"v2\"", NULL, true, false, NULL },
		{ AUTO, "If-Match: *", "If-Unmodified-Since: " OLD, true, false, NULL },
		{ AUTO, "If-Match: \"v1\"", "If-Match: \"v2\"", true, false, NULL },
		{ AUTO, "If-None-Match: *", NULL, false, true, ANY },
		{ AUTO, "If-None-Match: \"v1\"", NULL, true, false, NULL },
		{ AUTO, "If-Unmodified-Since: " OLD, NULL, false, true, SINCE },
		{ AUTO, "If-Unmodified-Since: yesterday", NULL, true, false, NULL },
		{ BY_TAG, "If-Match: \"v1\"", NULL, false, false, V1 },
		{ LOOK, "If-Match: \"v1\"", NULL, false, true, NULL },
		{ LOOK, "If-Match: *", NULL, true, false, NULL },
		{ NONE, "If-Match: \"v1\"", NULL, true, false, NULL },
	};
	const struct precondition_lore lore = { 0 };
	struct outbox_base b = base_of("none");

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct httplines h = LINES("Content-Type: a/b", rows[i].own, rows[i].also);
		struct precondition_plan p;

		preconditions_plan(rows[i].mode, &b, &h, &lore, NOW, &p);
		assert_int_equal(p.keeps_own, rows[i].keeps_own);
		assert_int_equal(p.look_first, rows[i].look_first);
		assert_line(&p, rows[i].line);
	}
}

static void with_a_base_the_clients_own_conditions_stay_here(void **state)
{
	const struct precondition_lore lore = { 0 };
	const struct httplines h = LINES("If-Match: \"weirs-own\"");
	struct outbox_base b = base_of("\"v1\"|0");
	struct precondition_plan p;

	preconditions_plan(AUTO, &b, &h, &lore, NOW, &p);
	assert_false(p.keeps_own);
	assert_line(&p, V1);
	assert_true(preconditions_is_condition(slice_str("if-match")));
	assert_true(preconditions_is_condition(slice_str("If-Unmodified-Since")));
	assert_false(preconditions_is_condition(slice_str("If"))); /* of WebDAV: about locks */
	buf_fini(&b.etag);
}

/* --- comparing --- */

static struct precondition_seen seen_of(int status, const char *tag, int64_t modified_s, int64_t date_s)
{
	struct precondition_seen s = { .status = status, .modified_s = modified_s, .date_s = date_s };

	if (*tag)
		assert_int_equal(etag_parse(slice_str(tag), &s.etag), 0);
	return s;
}

static void what_is_there_is_compared_by_what_both_have(void **state)
{
	static const struct {
		const char *base;
		int status;
		const char *tag;
		int64_t modified_s;
		enum precondition_verdict verdict;
	} rows[] = {
		{ "none", 200, "\"v1\"", OLD_S, PRECONDITION_UNKNOWN },
		{ "absent", 404, "", POLICY_NO_TIME, PRECONDITION_SAME },
		{ "absent", 410, "", POLICY_NO_TIME, PRECONDITION_SAME },
		{ "absent", 200, "", POLICY_NO_TIME, PRECONDITION_CHANGED },
		{ "absent", 403, "", POLICY_NO_TIME, PRECONDITION_UNKNOWN },
		{ "\"v1\"|0", 404, "", POLICY_NO_TIME, PRECONDITION_CHANGED },
		{ "\"v1\"|0", 405, "", POLICY_NO_TIME, PRECONDITION_UNKNOWN },
		{ "\"v1\"|0", 301, "\"v1\"", OLD_S, PRECONDITION_UNKNOWN },
		{ "\"v1\"|0", 200, "\"v1\"", OLD_S, PRECONDITION_SAME },
		{ "\"v1\"|0", 200, "\"v1\"", OLD_S + 1, PRECONDITION_SAME }, /* touched: strong tags say all */
		{ "\"v1\"|0", 200, "\"v2\"", OLD_S, PRECONDITION_CHANGED }, /* twice in a second */
		{ "\"v1\"|0", 200, "W/\"v1\"", OLD_S, PRECONDITION_SAME },
		{ "\"v1\"|0", 200, "W/\"v1\"", OLD_S + 1, PRECONDITION_CHANGED },
		{ "W/\"v1\"|0", 200, "\"v1\"", OLD_S, PRECONDITION_SAME }, /* Apache, a second later */
		{ "W/\"v1\"|0", 200, "\"v1\"", OLD_S + 1, PRECONDITION_CHANGED },
		{ "W/\"v1\"|", 200, "W/\"v1\"", POLICY_NO_TIME, PRECONDITION_SAME },
		{ "\"v1-gzip\"|0", 200, "\"v1\"", OLD_S, PRECONDITION_SAME },
		{ "\"v1--gzip\"|0", 200, "\"v1-br\"", OLD_S, PRECONDITION_SAME },
		{ "\"v1-gzip\"|0", 200, "\"v1\"", OLD_S + 1, PRECONDITION_CHANGED },
		{ "\"v1-gzip\"|0", 200, "\"v2-gzip\"", OLD_S, PRECONDITION_CHANGED },
		{ "\"\"|0", 200, "\"\"", OLD_S, PRECONDITION_SAME },
		{ "\"v1\"|0", 200, "", OLD_S, PRECONDITION_SAME },
		{ "\"v1\"|0", 200, "", OLD_S - 1, PRECONDITION_CHANGED }, /* an older one put back is a change */
		{ "\"v1\"|0", 200, "", POLICY_NO_TIME, PRECONDITION_UNKNOWN },
		{ "|0", 200, "\"v1\"", OLD_S, PRECONDITION_SAME },
		{ "|0", 200, "\"v1\"", POLICY_NO_TIME, PRECONDITION_UNKNOWN },
		{ "|", 200, "\"v1\"", OLD_S, PRECONDITION_UNKNOWN },
	};
	const struct precondition_lore lore = { 0 };
	const struct httplines h = of(NULL);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct outbox_base b = base_of(rows[i].base);
		struct precondition_seen seen = seen_of(rows[i].status, rows[i].tag, rows[i].modified_s, NOW);
		struct precondition_plan p;

		preconditions_plan(AUTO, &b, &h, &lore, NOW, &p);
		assert_int_equal(preconditions_compare(&p.basis, &seen), rows[i].verdict);
		buf_fini(&b.etag);
	}
}

static void a_clients_date_is_the_latest_that_is_good(void **state)
{
	const struct precondition_lore lore = { 0 };
	const struct httplines h = LINES("If-Unmodified-Since: " OLD);
	struct outbox_base b = base_of("none");
	struct precondition_seen seen = seen_of(200, "", OLD_S - 100, NOW);
	struct precondition_plan p;

	preconditions_plan(AUTO, &b, &h, &lore, NOW, &p);
	assert_int_equal(preconditions_compare(&p.basis, &seen), PRECONDITION_SAME);
	seen.modified_s = OLD_S + 1;
	assert_int_equal(preconditions_compare(&p.basis, &seen), PRECONDITION_CHANGED);
}

static void a_look_is_read_from_an_answer(void **state)
{
	struct precondition_seen seen;
	struct httplines h = LINES(DATE, "ETag: W/\"v1\"", "Last-Modified: " OLD);

	preconditions_read(200, &h, NOW, &seen);
	assert_int_equal(seen.status, 200);
	assert_true(seen.etag.weak && slice_eq_str(seen.etag.opaque, "\"v1\""));
	assert_int_equal(seen.modified_s, OLD_S);
	assert_int_equal(seen.date_s, NOW);
	h = LINES("ETag: \"a\"", "ETag: \"b\"", "Last-Modified: never");
	preconditions_read(200, &h, NOW, &seen);
	assert_null(seen.etag.opaque.p);
	assert_true(seen.modified_s == POLICY_NO_TIME && seen.date_s == POLICY_NO_TIME);
}

/* --- looks --- */

#define SEND PRECONDITION_SEND
#define WAIT PRECONDITION_WAIT
#define CLASH PRECONDITION_CLASH

static void a_look_decides_what_is_sent(void **state)
{
	static const struct {
		enum precondition_mode mode;
		const char *base, *lore;
		int status;
		const char *tag;
		int64_t modified_s;
		enum precondition_step step;
		const char *line; /* when sent */
	} rows[] = {
		{ AUTO, "\"v1\"|0", "...", 200, "\"v1\"", OLD_S, SEND, V1 },
		{ AUTO, "\"v1\"|0", "...", 200, "\"v2\"", OLD_S, CLASH, NULL },
		{ AUTO, "\"v1\"|0", "...", 404, "", POLICY_NO_TIME, CLASH, NULL },
		{ AUTO, "\"v1\"|0", "...", 405, "", POLICY_NO_TIME, SEND, V1 },
		{ AUTO, "\"v1\"|0", "...", 200, "", OLD_S, SEND, V1 }, /* HEAD without a tag, GET with one */
		{ AUTO, "\"v1\"|0", "...", 200, "W/\"v1\"", OLD_S, SEND, SINCE }, /* weak, and for good */
		{ AUTO, "\"v1\"|0", "..-", 200, "W/\"v1\"", OLD_S, SEND, NULL },
		{ AUTO, "\"v1-gzip\"|0", "..-", 200, "\"v1\"", OLD_S, SEND, V1 },
		{ AUTO, "W/\"v1\"|0", "...", 200, "\"v1\"", OLD_S, SEND, V1 },
		{ AUTO, "W/\"v1\"|0", "-..", 200, "\"v1\"", OLD_S, SEND, SINCE },
		{ AUTO, "W/\"v1\"|", ".-.", 405, "", POLICY_NO_TIME, CLASH, NULL }, /* nobody can say */
		{ AUTO, "|0", "...", 200, "\"v1\"", OLD_S, SEND, V1 }, /* better than a date of whole seconds */
		{ AUTO, "|0", "...", 200, "", OLD_S, SEND, SINCE },
		{ AUTO, "|0", "..-", 200, "", OLD_S, SEND, NULL },
		{ AUTO, "|", "...", 200, "\"v1\"", OLD_S, SEND, NULL }, /* nobody could do better */
		{ AUTO, "|", "...", 404, "", POLICY_NO_TIME, CLASH, NULL },
		{ AUTO, "absent", "...", 404, "", POLICY_NO_TIME, SEND, ANY },
		{ AUTO, "absent", "...", 200, "\"v1\"", OLD_S, CLASH, NULL },
		{ AUTO, "absent", ".-.", 403, "", POLICY_NO_TIME, CLASH, NULL },
		{ BY_TAG, "W/\"v1\"|0", "...", 200, "\"v1\"", OLD_S, SEND, V1 },
		{ BY_TAG, "W/\"v1\"|0", "...", 200, "W/\"v1\"", OLD_S, SEND, NULL },
		{ BY_TAG, "|0", "...", 200, "\"v1\"", OLD_S, SEND, V1 },
		{ BY_DATE, "\"v1\"|", "...", 200, "\"v1\"", OLD_S, SEND, SINCE },
		{ LOOK, "\"v1\"|0", "...", 200, "\"v1\"", OLD_S, SEND, NULL },
		{ LOOK, "\"v1\"|0", "...", 200, "\"v2\"", OLD_S, CLASH, NULL },
		{ LOOK, "\"v1\"|0", "...", 405, "", POLICY_NO_TIME, CLASH, NULL },
		{ LOOK, "absent", "...", 404, "", POLICY_NO_TIME, SEND, NULL },
	};
	const struct httplines h = of(NULL);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct outbox_base b = base_of(rows[i].base);
		struct precondition_lore lore = lore_of(rows[i].lore);
		struct precondition_seen seen = seen_of(rows[i].status, rows[i].tag, rows[i].modified_s, NOW);
		struct precondition_plan p;

		preconditions_plan(rows[i].mode, &b, &h, &lore, NOW, &p);
		assert_true(p.look_first);
		assert_int_equal(preconditions_look(&p, &seen), rows[i].step);
		if (rows[i].step == SEND)
			assert_line(&p, rows[i].line);
		buf_fini(&b.etag);
	}
}

static void a_tag_that_is_weak_because_the_file_is_young_is_waited_for(void **state)
{
	struct precondition_lore lore = { 0 };
	const struct httplines h = of(NULL);
	struct outbox_base b = base_of("W/\"v1\"|0");
	struct precondition_seen young = seen_of(200, "W/\"v1\"", OLD_S, OLD_S + 1);
	struct precondition_seen strong = seen_of(200, "\"v1\"", OLD_S, OLD_S + 2);
	struct precondition_plan p;

	preconditions_plan(AUTO, &b, &h, &lore, NOW, &p);
	assert_int_equal(preconditions_look(&p, &young), WAIT);
	assert_int_equal(preconditions_look(&p, &young), WAIT);
	assert_int_equal(preconditions_look(&p, &strong), SEND);
	assert_line(&p, V1);

	lore = lore_of("..-");
	preconditions_plan(AUTO, &b, &h, &lore, NOW, &p); /* it stays weak: not for ever */
	for (int i = 1; i < PRECONDITIONS_MOST_LOOKS; i++)
		assert_int_equal(preconditions_look(&p, &young), WAIT);
	assert_int_equal(preconditions_look(&p, &young), SEND);
	assert_line(&p, NULL);

	preconditions_plan(BY_DATE, &b, &h, &lore, NOW, &p); /* no tag will be sent: no need to wait */
	assert_int_equal(preconditions_look(&p, &young), SEND);
	young.date_s = POLICY_NO_TIME; /* nobody knows whether waiting helps */
	preconditions_plan(AUTO, &b, &h, &lore, NOW, &p);
	assert_int_equal(preconditions_look(&p, &young), SEND);
	buf_fini(&b.etag);
}

/* --- learning --- */

/* Sends by `lore` what follows from the base, and learns from a 412 with this look after it. */
static bool learn_412(struct precondition_lore *lore, const char *base, const char *tag, int64_t modified_s,
		      int64_t date_s)
{
	struct outbox_base b = base_of(base);
	const struct httplines h = of(NULL);
	struct precondition_seen seen = seen_of(*tag ? 200 : 404, tag, modified_s, date_s);
	struct precondition_plan p;
	bool changed;

	preconditions_plan(AUTO, &b, &h, lore, NOW, &p);
	changed = preconditions_learn(lore, &p, &seen);
	buf_fini(&b.etag);
	return changed;
}

static bool learn_done(struct precondition_lore *lore, const char *base)
{
	struct outbox_base b = base_of(base);
	const struct httplines h = of(NULL);
	struct precondition_plan p;
	bool changed;

	preconditions_plan(AUTO, &b, &h, lore, NOW, &p);
	changed = preconditions_learn(lore, &p, NULL);
	buf_fini(&b.etag);
	return changed;
}

static void a_412_that_a_look_proves_right_earns_trust(void **state)
{
	struct precondition_lore lore = { 0 };

	assert_false(learn_done(&lore, "\"v1\"|0")); /* done is what servers say that ignore it, too */
	assert_int_equal(lore.trust[PRECONDITION_IF_MATCH], PRECONDITION_UNTRIED);
	assert_true(learn_412(&lore, "\"v1\"|0", "\"v2\"", OLD_S + 9, NOW));
	assert_int_equal(lore.trust[PRECONDITION_IF_MATCH], PRECONDITION_HONOURED);
	assert_int_equal(lore.trust[PRECONDITION_IF_NONE_MATCH], PRECONDITION_UNTRIED);
	assert_false(learn_412(&lore, "\"v1\"|0", "\"v2\"", OLD_S + 9, NOW)); /* nothing new to save */
	assert_true(learn_412(&lore, "absent", "\"v2\"", OLD_S, NOW));
	assert_int_equal(lore.trust[PRECONDITION_IF_NONE_MATCH], PRECONDITION_HONOURED);
}

static void three_412s_in_a_row_that_looks_prove_wrong_cost_it(void **state)
{
	struct precondition_lore lore = lore_of("+..");

	assert_true(learn_412(&lore, "\"v1\"|0", "\"v1\"", OLD_S, NOW));
	assert_int_equal(lore.trust[PRECONDITION_IF_MATCH], PRECONDITION_UNTRIED); /* looks again */
	assert_false(learn_412(&lore, "\"v1\"|0", "\"v1\"", OLD_S, NOW));
	assert_false(learn_done(&lore, "\"v1\"|0")); /* so it does not refuse always */
	assert_false(learn_412(&lore, "\"v1\"|0", "\"v1\"", OLD_S, NOW));
	assert_false(learn_412(&lore, "\"v1\"|0", "\"v1\"", OLD_S, NOW));
	assert_int_equal(lore.trust[PRECONDITION_IF_MATCH], PRECONDITION_UNTRIED);
	assert_true(learn_412(&lore, "\"v1\"|0", "\"v1\"", OLD_S, NOW));
	assert_int_equal(lore.trust[PRECONDITION_IF_MATCH], PRECONDITION_USELESS);
	assert_false(learn_412(&lore, "\"v1\"|", "\"v2\"", OLD_S, NOW)); /* it is not sent any more */
	assert_int_equal(lore.trust[PRECONDITION_IF_MATCH], PRECONDITION_USELESS);
}

static void a_412_for_a_tag_that_is_weak_for_a_moment_teaches_nothing(void **state)
{
	struct precondition_lore lore = lore_of("+..");

	for (int i = 0; i < 5; i++)
		assert_false(learn_412(&lore, "\"v1\"|0", "W/\"v1\"", OLD_S, OLD_S + 1));
	assert_int_equal(lore.trust[PRECONDITION_IF_MATCH], PRECONDITION_HONOURED);
}

static void if_unmodified_since_is_useless_at_once_where_it_is_refused_for_nothing(void **state)
{
	struct precondition_lore lore = { 0 };

	assert_true(learn_412(&lore, "|0", "\"v1\"", OLD_S, NOW));
	assert_int_equal(lore.trust[PRECONDITION_IF_UNMODIFIED_SINCE], PRECONDITION_USELESS);
	lore = lore_of("..+"); /* by chance, as Apache refuses always */
	assert_true(learn_412(&lore, "|0", "\"v1\"", OLD_S, NOW));
	assert_int_equal(lore.trust[PRECONDITION_IF_UNMODIFIED_SINCE], PRECONDITION_USELESS);
}

static void what_was_learned_is_a_line_of_text(void **state)
{
	static const char *const malformed[] = {
		"", "\n", "if-match=honoured\n", "if-match=maybe if-none-match=untried if-unmodified-since=useless\n",
		"if-none-match=untried if-match=honoured if-unmodified-since=useless\n",
		"if-match=honoured if-none-match=untried if-unmodified-since=useless more\n",
		"if-match=honoured if-none-match=untried if-unmodified-since=useless\nmore",
	};
	struct precondition_lore lore = lore_of("+.-"), back = lore_of("-+.");
	struct buf b = BUF_EMPTY;

	lore.doubts[PRECONDITION_IF_NONE_MATCH] = 2;
	preconditions_lore_format(&lore, &b);
	assert_string_equal(b.data, "if-match=honoured if-none-match=untried if-unmodified-since=useless\n");
	for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
		assert_int_equal(preconditions_lore_parse(slice_str(malformed[i]), &back), WEIR_E_PARSE);
	assert_int_equal(back.trust[PRECONDITION_IF_MATCH], PRECONDITION_USELESS); /* not touched */
	assert_int_equal(preconditions_lore_parse(buf_slice(&b), &back), 0);
	assert_memory_equal(back.trust, lore.trust, sizeof(lore.trust));
	assert_int_equal(back.doubts[PRECONDITION_IF_NONE_MATCH], 0);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plan_follows_from_the_mode_the_base_and_what_was_learned),
		cmocka_unit_test(without_a_base_the_clients_own_condition_is_one),
		cmocka_unit_test(with_a_base_the_clients_own_conditions_stay_here),
		cmocka_unit_test(what_is_there_is_compared_by_what_both_have),
		cmocka_unit_test(a_clients_date_is_the_latest_that_is_good),
		cmocka_unit_test(a_look_is_read_from_an_answer),
		cmocka_unit_test(a_look_decides_what_is_sent),
		cmocka_unit_test(a_tag_that_is_weak_because_the_file_is_young_is_waited_for),
		cmocka_unit_test(a_412_that_a_look_proves_right_earns_trust),
		cmocka_unit_test(three_412s_in_a_row_that_looks_prove_wrong_cost_it),
		cmocka_unit_test(a_412_for_a_tag_that_is_weak_for_a_moment_teaches_nothing),
		cmocka_unit_test(if_unmodified_since_is_useless_at_once_where_it_is_refused_for_nothing),
		cmocka_unit_test(what_was_learned_is_a_line_of_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
