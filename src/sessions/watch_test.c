/* watch_test.c -- silence, sleep, and whose process a pid is, on a clock of the test's own. */
#include "sessions/sessions_priv.h"

#include <sys/wait.h>

#include "sessions/sessions_test_kit.h"

#define HOUR_MS 3600000

/* Time goes by as it does, a second at a time. */
static void live(int seconds)
{
	for (int i = 0; i < seconds; i++) {
		pass(1000, 1000);
		(void)watch_tick(kit.ss);
	}
}

static void silence_is_told_once_and_so_is_its_end(void **state)
{
	struct session *s = kit_register(0);

	live(60);
	expect_queue(s, "create");
	live(2);
	expect_queue(s, "create application_appears_hung");
	live(100);
	expect_queue(s, "create application_appears_hung");
}

static void a_session_that_is_paused_or_has_ended_may_be_silent(void **state)
{
	struct session *paused = kit_register(0), *ended = kit_register(0);
	const struct ending end = { OP_END, NULL };

	pthread_mutex_lock(&kit.ss->lock);
	paused->flags |= SESSION_PAUSED;
	assert_int_equal(session_end(kit.ss, ended, &end, NULL, NULL), 0);
	pthread_mutex_unlock(&kit.ss->lock);
	live(100);
	expect_queue(paused, "create");
	expect_queue(ended, "create end");
}

static void the_sleep_of_the_machine_is_no_silence(void **state)
{
	struct session *s = kit_register(0);

	live(5);
	pass(0, 8 * HOUR_MS); /* CLOCK_MONOTONIC stands still meanwhile */
	(void)watch_tick(kit.ss);
	live(50);
	expect_queue(s, "create");
	live(10);
	expect_queue(s, "create application_appears_hung");
}

static void a_daemon_that_was_not_run_itself_blames_nobody(void **state)
{
	struct session *s = kit_register(0);

	live(5);
	pass(HOUR_MS, HOUR_MS); /* a stopped virtual machine, whose clocks go on */
	(void)watch_tick(kit.ss);
	expect_queue(s, "create");
	live(57);
	expect_queue(s, "create application_appears_hung");
}

static void the_wall_clock_may_go_where_it_likes(void **state)
{
	struct session *s = kit_register(0);

	live(5);
	pass(1000, -20 * HOUR_MS);
	(void)watch_tick(kit.ss);
	pass(1000, 90 * HOUR_MS);
	(void)watch_tick(kit.ss);
	live(50);
	expect_queue(s, "create");
}

static struct session *again(int64_t number)
{
	kit_end();
	kit_begin();
	LIST_FOREACH (it, &kit.ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		if (s->number == number)
			return s;
	}
	fail_msg("session %lld is not there after a restart", (long long)number);
	return NULL;
}

#define NO_ROW "CREATE TRIGGER no BEFORE INSERT ON sessions BEGIN SELECT RAISE(FAIL, 'no'); END"

static void a_hang_is_told_once_also_when_its_row_could_not_be_written(void **state)
{
	struct session *s = kit_register(0);
	int64_t number = s->number;

	kit_sql("sessions/sessions.db", NO_ROW);
	live(62);
	expect_queue(s, "create application_appears_hung");
	assert_true(s->flags & SESSION_HUNG);
	kit_end();
	kit_sql("sessions/sessions.db", "DROP TRIGGER no");
	kit_begin();
	s = again(number);
	assert_true(s->flags & SESSION_HUNG);
	live(100);
	expect_queue(s, "create application_appears_hung");
}

static void a_hang_that_could_not_be_kept_is_told_later(void **state)
{
	struct session *s = kit_register(0);

	kit_sql("outbox/outbox.db", "CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(FAIL, 'no'); END");
	live(62);
	expect_queue(s, "create");
	assert_false(s->flags & SESSION_HUNG);
	kit_sql("outbox/outbox.db", "DROP TRIGGER full");
	live(1);
	expect_queue(s, "create application_appears_hung");
	assert_true(s->flags & SESSION_HUNG);
}

struct heard {
	atomic_int count, code;
};

static void on_heard(void *arg, int code, uint64_t seq)
{
	struct heard *h = arg;

	atomic_store(&h->code, code);
	atomic_fetch_add(&h->count, 1);
}

/* The second comes while the first is on its way. */
static int end_twice(struct session *s)
{
	const struct ending end = { OP_END, NULL };
	struct heard first = { 0, 1 }, second = { 0, 1 };

	pthread_mutex_lock(&kit.ss->lock);
	assert_int_equal(session_end(kit.ss, s, &end, on_heard, &first), 0);
	assert_int_equal(session_end(kit.ss, s, &end, on_heard, &second), 0);
	assert_int_equal(atomic_load(&first.count) + atomic_load(&second.count), 0);
	pthread_mutex_unlock(&kit.ss->lock);
	wait_for(&first.count, 1);
	wait_for(&second.count, 1);
	assert_int_equal(atomic_load(&first.code), atomic_load(&second.code));
	return atomic_load(&second.code);
}

static void an_end_is_answered_when_it_is_durable_however_many_ask(void **state)
{
	struct session *s = kit_register(0);

	kit_sql("outbox/outbox.db", "CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(FAIL, 'no'); END");
	assert_true(end_twice(s) < 0);
	assert_false(s->flags & SESSION_ENDED);
	expect_queue(s, "create");
	kit_sql("outbox/outbox.db", "DROP TRIGGER full");
	assert_int_equal(end_twice(s), 0);
	expect_queue(s, "create end");
}

static pid_t fork_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	return pid;
}

static void expect_watch(struct session *s, const char *how)
{
	pthread_mutex_lock(&kit.ss->lock);
	assert_string_equal(s->watch, how);
	pthread_mutex_unlock(&kit.ss->lock);
}

static void bury(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static bool has_ended_here(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

static void wait_ended(struct session *s)
{
	bool ended = false;

	while (!ended) {
		usleep(500);
		pthread_mutex_lock(&kit.ss->lock);
		ended = s->flags & SESSION_ENDED;
		pthread_mutex_unlock(&kit.ss->lock);
	}
}

static void the_end_of_a_process_is_told_without_any_clock(void **state)
{
	pid_t pid = fork_sleeper();
	struct session *s = kit_register(pid);

	expect_watch(s, "pidfd");
	bury(pid);
	wait_ended(s);
	expect_queue(s, "create parent_process_crashed crash");
}

static void a_restarted_daemon_watches_on(void **state)
{
	pid_t pid = fork_sleeper();
	struct session *s = kit_register(pid);

	s = again(s->number);
	expect_watch(s, "pidfd");
	live(5);
	expect_queue(s, "create");
	bury(pid);
	wait_ended(s);
	expect_queue(s, "create parent_process_crashed crash");
}

static void a_process_that_ended_while_the_daemon_was_away_is_told(void **state)
{
	pid_t pid = fork_sleeper();
	struct session *s = kit_register(pid);
	int64_t number = s->number;

	kit_end();
	bury(pid);
	kit_begin();
	s = again(number);
	live(2);
	wait_ended(s);
	expect_queue(s, "create parent_process_crashed crash");
}

static void a_pid_that_belongs_to_another_process_by_now_is_not_the_program(void **state)
{
	pid_t pid = fork_sleeper();
	struct session *s = kit_register(pid);

	pthread_mutex_lock(&kit.ss->lock);
	s->pid_start--; /* as if the program had had this pid before */
	session_changed(s);
	pthread_mutex_unlock(&kit.ss->lock);
	s = again(s->number);
	live(2);
	wait_ended(s);
	expect_queue(s, "create parent_process_crashed crash");
	bury(pid);
}

static void without_a_pidfd_the_start_of_the_process_tells(void **state)
{
	pid_t pid = fork_sleeper();
	struct session *s = kit_register(pid);

	pthread_mutex_lock(&kit.ss->lock);
	watch_by_polling(kit.ss, s);
	pthread_mutex_unlock(&kit.ss->lock);
	live(3);
	expect_queue(s, "create");
	kill(pid, SIGKILL); /* a zombie: nobody has waited for it */
	while (!has_ended_here(pid))
		usleep(500);
	live(2);
	wait_ended(s);
	expect_queue(s, "create parent_process_crashed crash");
	bury(pid);
}

static void state_totals_and_flags_are_there_after_a_restart(void **state)
{
	struct session *s = kit_register(0);
	json_t *patch = json_pack("{s:{s:i}, s:n}", "a", "b", 1, "gone"), *metric, *now;
	struct buf body = BUF_EMPTY, why = BUF_EMPTY;
	atomic_int done = 0;
	bool put;

	buf_add_str(&body, "{\"timestamp\":\"x\",\"state\":{\"a\":{\"b\":1},\"gone\":null}}");
	metric = json_pack("{s:s, s:s, s:i, s:i}", "type", "counter", "name", "c", "value", 1, "delta", 4);
	pthread_mutex_lock(&kit.ss->lock);
	assert_int_equal(op_put_state(kit.ss, s, patch, buf_slice(&body), &put, on_op, &done), 0);
	assert_true(put);
	assert_int_equal(totals_add(kit.ss, s, metric, on_done, &done, &why), 0);
	s->flags |= SESSION_PAUSED;
	session_changed(s);
	pthread_mutex_unlock(&kit.ss->lock);
	wait_for(&done, 2);
	s = again(s->number);
	now = json_pack("{s:s, s:{s:i}}", "product", "p", "a", "b", 1);
	assert_true(json_equal(s->known, now));
	assert_true(s->flags & SESSION_PAUSED);
	pthread_mutex_lock(&kit.ss->lock);
	assert_int_equal(op_put_state(kit.ss, s, patch, buf_slice(&body), &put, on_op, &done), 0);
	pthread_mutex_unlock(&kit.ss->lock);
	assert_false(put); /* it has it already */
	live(1);
	expect_queue(s, "create state c");
	json_decref(patch);
	json_decref(metric);
	json_decref(now);
	buf_fini(&body);
	buf_fini(&why);
}

static void a_registration_that_nobody_was_told_of_is_forgotten(void **state)
{
	atomic_int done = 0;
	struct session *s;

	pthread_mutex_lock(&kit.ss->lock);
	s = session_new(kit.ss);
	s->product = xstrdup("p");
	s->version = xstrdup("1");
	s->known = json_object();
	assert_int_equal(ledger_save_start(kit.ss, s, on_done, &done), 0);
	pthread_mutex_unlock(&kit.ss->lock);
	wait_for(&done, 1);
	kit_end();
	kit_begin();
	assert_true(list_is_empty(&kit.ss->all));
	assert_int_equal(session_get(kit.ss, SLICE_LIT("local-session-1767348245-1"), &s), -ENOENT);
	pthread_mutex_lock(&kit.ss->lock);
	s = session_new(kit.ss);
	assert_int_equal(s->number, 2); /* an id is never given twice */
	session_forget(kit.ss, s);
	pthread_mutex_unlock(&kit.ss->lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(silence_is_told_once_and_so_is_its_end, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(a_session_that_is_paused_or_has_ended_may_be_silent, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(the_sleep_of_the_machine_is_no_silence, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(a_daemon_that_was_not_run_itself_blames_nobody, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(the_wall_clock_may_go_where_it_likes, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(a_hang_is_told_once_also_when_its_row_could_not_be_written, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(a_hang_that_could_not_be_kept_is_told_later, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(an_end_is_answered_when_it_is_durable_however_many_ask, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(the_end_of_a_process_is_told_without_any_clock, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(a_restarted_daemon_watches_on, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(a_process_that_ended_while_the_daemon_was_away_is_told, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(a_pid_that_belongs_to_another_process_by_now_is_not_the_program,
						kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(without_a_pidfd_the_start_of_the_process_tells, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(state_totals_and_flags_are_there_after_a_restart, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(a_registration_that_nobody_was_told_of_is_forgotten, kit_set_up,
						kit_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
