/* hub_session_test.c -- the rules of sessions, on scripted time. */
#include "hub/hub_session.h"

#include "base/err.h"
#include "hub/hub_test_kit.h"

static struct hub_status status_of(struct kit *k, const char *id, unsigned *ret_flags)
{
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_status is;

	kit_look(k, id, &s);
	is = hub_session_status(&s, kit_moment(k).stale_ms);
	if (ret_flags)
		*ret_flags = s.flags;
	hub_session_fini(&s);
	return is;
}

static void assert_is(struct kit *k, const char *id, bool active, bool suspended, bool crashed, bool hung)
{
	struct hub_status is = status_of(k, id, NULL);

	assert_int_equal(is.active, active);
	assert_int_equal(is.suspended, suspended);
	assert_int_equal(is.crashed, crashed);
	assert_int_equal(is.hung, hung);
}

static void a_session_without_heartbeats_is_active_for_ever(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);

	k->now_ms += 100 * TIMEOUT_MS;
	assert_is(k, id, true, false, false, false);
	free(id);
}

static void heartbeats_that_are_too_old_suspend_and_fresh_ones_wake(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);

	assert_int_equal(kit_do(k, id, HUB_OP_HEARTBEAT, "{}"), 200);
	k->now_ms += TIMEOUT_MS;
	assert_is(k, id, true, false, false, false);
	k->now_ms += 1;
	assert_is(k, id, false, true, false, false);
	assert_int_equal(kit_do(k, id, HUB_OP_HEARTBEAT, "{}"), 200);
	assert_is(k, id, true, false, false, false);
	k->now_ms += TIMEOUT_MS + 1;
	assert_int_equal(kit_do(k, id, HUB_OP_END, "{}"), 200);
	assert_is(k, id, false, false, false, false);
	free(id);
}

static void a_machine_that_comes_back_crashes_its_suspended_sessions_and_no_others(void **state)
{
	struct kit *k = *state;
	char *old = kit_create(k, "m", NULL), *hung = kit_create(k, "m", NULL), *fresh,
	     *other = kit_create(k, "other", NULL), *nameless = kit_create(k, "", NULL),
	     *ended = kit_create(k, "m", NULL), *silent = kit_create(k, "m", NULL), *next;
	struct hub_session s = HUB_SESSION_EMPTY;
	struct buf events = BUF_EMPTY;
	unsigned flags;

	char *const beaten[] = { old, hung, other, nameless, ended };

	for (size_t i = 0; i < ARRAY_LEN(beaten); i++)
		assert_int_equal(kit_do(k, beaten[i], HUB_OP_HEARTBEAT, "{}"), 200);
	assert_int_equal(kit_do(k, hung, HUB_OP_EVENT, "{\"name\":\"application_appears_hung\"}"), 200);
	assert_int_equal(kit_do(k, ended, HUB_OP_END, "{}"), 200);
	fresh = kit_create(k, "m", NULL); /* nobody is suspended yet */
	k->now_ms += TIMEOUT_MS + 1;
	assert_int_equal(kit_do(k, fresh, HUB_OP_HEARTBEAT, "{}"), 200);
	free(kit_create(k, "", NULL));
	assert_is(k, nameless, false, true, false, false);
	next = kit_create(k, "m", NULL);
	assert_is(k, old, false, false, true, false);
	assert_is(k, hung, false, false, true, true);
	assert_is(k, fresh, true, false, false, false);
	assert_is(k, other, false, true, false, false);
	assert_is(k, nameless, false, true, false, false);
	assert_is(k, ended, false, false, false, false);
	assert_is(k, silent, true, false, false, false);
	(void)status_of(k, hung, &flags);
	assert_true(flags & HUB_HUNG_AT_CRASH);
	kit_look(k, old, &s);
	assert_int_equal(s.ended_ms, 0);
	kit_items(k, s.number, HUB_EVENTS, 0, &events);
	assert_non_null(strstr(events.data,
			       "\"data\":{\"reason\":\"machine_returned_session_not_resumed\",\"machine_id\":\"m\"}"));
	assert_int_equal(kit_do(k, old, HUB_OP_HEARTBEAT, "{}"), 200);
	assert_is(k, old, false, false, true, false); /* for ever */
	hub_session_fini(&s);
	buf_fini(&events);
	for (size_t i = 0; i < ARRAY_LEN(beaten); i++)
		free(beaten[i]);
	free(fresh);
	free(silent);
	free(next);
}

static void the_same_key_makes_one_session(void **state)
{
	struct kit *k = *state;
	char *a = kit_create(k, "m", "key"), *b, *c = kit_create(k, "m", "other key");

	kit_reopen(k);
	b = kit_create(k, "m", "key");
	assert_string_equal(a, b);
	assert_string_not_equal(a, c);
	free(a);
	free(b);
	free(c);
}

static void an_operation_is_applied_once(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);
	struct hub_session s = HUB_SESSION_EMPTY;
	struct buf text = BUF_EMPTY;
	static const char batch[] =
		"{\"operations\":[{\"op\":\"event\",\"seq\":3,\"name\":\"a\"},{\"op\":\"state\",\"seq\":4,\"state\":{\"x\":1}},"
		"{\"op\":\"metric\",\"seq\":7,\"name\":\"m\"},{\"op\":\"event\",\"seq\":8,\"name\":\"b\"}]}";

	assert_int_equal(kit_batch(k, id, batch), 8);
	assert_int_equal(kit_batch(k, id, batch), 8);
	kit_reopen(k);
	assert_int_equal(kit_batch(k, id, batch), 8);
	assert_int_equal(kit_batch(k, id,
				   "{\"operations\":[{\"op\":\"event\",\"seq\":8,\"name\":\"b\"},"
				   "{\"op\":\"event\",\"seq\":9,\"name\":\"c\"}]}"),
			 9);
	assert_int_equal(kit_batch(k, id, "{\"operations\":[{\"op\":\"metric\",\"seq\":10}]}"),
			 10); /* refused is done with */
	assert_int_equal(kit_batch(k, id, "{\"operations\":[]}"), 10);
	kit_look(k, id, &s);
	assert_int_equal(s.counts[HUB_EVENTS], 3);
	assert_int_equal(s.counts[HUB_METRICS], 0);
	assert_int_equal(s.counts[HUB_HISTORY], 1);
	kit_items(k, s.number, HUB_EVENTS, 1, &text);
	assert_non_null(strstr(text.data, "\"name\":\"b\""));
	assert_null(strstr(text.data, "\"name\":\"a\""));
	assert_ptr_not_equal(strstr(text.data, "1 {"), NULL);
	kit_state(k, s.number, &text);
	assert_string_equal(text.data, "{\"product\":\"game\",\"version\":\"1.2\",\"x\":1}");
	hub_session_fini(&s);
	buf_fini(&text);
	free(id);
}

static void ends_and_hangs_are_remembered(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL), *other = kit_create(k, "m", NULL);
	struct hub_session s = HUB_SESSION_EMPTY;
	unsigned flags;

	assert_int_equal(kit_do(k, id, HUB_OP_EVENT, "{\"name\":\"application_appears_hung\"}"), 200);
	assert_is(k, id, true, false, false, true);
	assert_int_equal(kit_do(k, id, HUB_OP_EVENT, "{\"name\":\"application_recovered\"}"), 200);
	assert_is(k, id, true, false, false, false);
	k->now_ms += 5;
	assert_int_equal(kit_do(k, id, HUB_OP_END, "{}"), 200);
	k->now_ms += 5;
	assert_int_equal(kit_do(k, id, HUB_OP_END, "{}"), 200);
	kit_look(k, id, &s);
	assert_int_equal(s.ended_ms, k->now_ms - 5);
	assert_int_equal(s.flags, HUB_ENDED | HUB_HUNG_EVER | HUB_HUNG_RECOVERED);
	assert_int_equal(kit_do(k, other, HUB_OP_EVENT, "{\"name\":\"application_appears_hung\"}"), 200);
	assert_int_equal(kit_do(k, other, HUB_OP_CRASH, "{\"reason\":\"r\"}"), 200);
	assert_is(k, other, false, false, true, false);
	(void)status_of(k, other, &flags);
	assert_int_equal(flags, HUB_CRASHED | HUB_HUNG_EVER | HUB_HUNG_AT_CRASH);
	hub_session_fini(&s);
	free(id);
	free(other);
}

static void a_state_that_would_grow_too_large_changes_nothing(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);
	struct hub_session s = HUB_SESSION_EMPTY;
	struct buf body = BUF_EMPTY;

	buf_add_str(&body, "{\"state\":{\"big\":\"");
	for (int i = 0; i < HUB_MOST_STATE_BYTES; i++)
		buf_add_char(&body, 'x');
	buf_add_str(&body, "\"}}");
	assert_int_equal(kit_do(k, id, HUB_OP_STATE, body.data), 413);
	kit_look(k, id, &s);
	assert_int_equal(s.counts[HUB_HISTORY], 0);
	kit_state(k, s.number, &body);
	assert_string_equal(body.data, "{\"product\":\"game\",\"version\":\"1.2\"}");
	hub_session_fini(&s);
	buf_fini(&body);
	free(id);
}

static void who_is_not_there_gets_nothing(void **state)
{
	assert_int_equal(kit_do(*state, "nobody", HUB_OP_END, "{}"), -ENOENT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_session_without_heartbeats_is_active_for_ever),
		T(heartbeats_that_are_too_old_suspend_and_fresh_ones_wake),
		T(a_machine_that_comes_back_crashes_its_suspended_sessions_and_no_others),
		T(the_same_key_makes_one_session),
		T(an_operation_is_applied_once),
		T(ends_and_hangs_are_remembered),
		T(a_state_that_would_grow_too_large_changes_nothing),
		T(who_is_not_there_gets_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
