/* service_test.c -- what holds over restarts of the service, whatever the wall clock does meanwhile; its defaults. */
#include "sessions/sessions_priv.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "sessions/sessions_test_kit.h"

#define HOUR_MS 3600000

static void restart(void)
{
	kit_end();
	kit_begin();
}

/* Ids are made of the wall clock's second and a number. */
static void no_id_is_given_twice_wherever_the_clock_goes(void **state)
{
	static const int64_t steps_ms[] = { 0, -HOUR_MS, -1, 2 * HOUR_MS, -HOUR_MS, 0, -90 * 24 * (int64_t)HOUR_MS };
	struct map *seen = map_new();
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_LEN(steps_ms); i++) {
		if (i % 2)
			restart();
		pass(0, steps_ms[i]);
		if (i % 3 == 2)
			restart();
		for (int k = 0; k < 3; k++) {
			struct session *s = kit_register(0);

			assert_null(map_put(seen, slice_str(s->local_id), s));
			assert_true(slice_starts(slice_str(s->local_id), LOCAL_ID_BEGINS));
			count++;
		}
	}
	restart();
	assert_int_equal(kit.ss->count, count);
	map_free(seen);
}

static void what_was_told_keeps_its_order_when_the_clock_goes_back(void **state)
{
	struct session *s = kit_register(0);
	int64_t number = s->number;

	for (int i = 0; i < 4; i++) {
		char *name = xstrf("event-%d", i);

		pthread_mutex_lock(&kit.ss->lock);
		assert_int_equal(op_put_event(kit.ss, s,
					      &(struct own_event){ .name = name, .category = "info", .labels = "[]" },
					      NULL, NULL),
				 0);
		pthread_mutex_unlock(&kit.ss->lock);
		free(name);
		expect_queue(s, i == 0	 ? "create event-0"
				: i == 1 ? "create event-0 event-1"
				: i == 2 ? "create event-0 event-1 event-2"
					 : "create event-0 event-1 event-2 event-3");
		pass(0, -HOUR_MS);
		restart();
		s = LIST_ENTRY(kit.ss->all.next, struct session, node);
		assert_int_equal(s->number, number);
	}
}

static bool is_watched(const struct session *s)
{
	return s->watched != NULL;
}

static bool has_ended(const struct session *s)
{
	return s->flags & SESSION_ENDED;
}

/* By this thread or by the watcher's own. */
static void look_until(const struct session *s, bool (*is)(const struct session *s))
{
	bool done = false;

	while (!done) {
		pass(1000, 1000);
		(void)watch_tick(kit.ss);
		pthread_mutex_lock(&kit.ss->lock);
		done = is(s);
		pthread_mutex_unlock(&kit.ss->lock);
	}
}

/* No descriptor is left: there is no pidfd, and /proc cannot be read. */
static void a_process_that_cannot_be_watched_is_said_to_be_unwatched_and_is_not_dead(void **state)
{
	struct rlimit before, none;
	struct session *s;
	int fd = dup(0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	close(fd);
	none = (struct rlimit){ .rlim_cur = (rlim_t)fd, .rlim_max = before.rlim_max };
	pthread_mutex_lock(&kit.ss->lock);
	s = session_new(kit.ss);
	s->product = xstrdup("p");
	s->version = xstrdup("1");
	s->known = json_object();
	s->is_created = true;
	s->pid = getpid();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	watch_begin(kit.ss, s, watch_look(s->pid), true);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_string_equal(s->watch, "no");
	assert_null(s->watched);
	pthread_mutex_unlock(&kit.ss->lock);
	look_until(s, is_watched); /* there are descriptors again */
	expect_queue(s, "");
	pthread_mutex_lock(&kit.ss->lock);
	assert_false(s->flags & SESSION_ENDED);
	assert_string_equal(s->watch, "pidfd");
	watch_end(kit.ss, s);
	s->try_again = 1; /* the process that was meant had started long before this one */
	watch_by_polling(kit.ss, s); /* so that it is looked at */
	watch_end(kit.ss, s);
	pthread_mutex_unlock(&kit.ss->lock);
	look_until(s, has_ended);
	expect_queue(s, "parent_process_crashed crash");
}

static enum health_state health(void)
{
	struct service_health h = { .state = HEALTH_OK };

	sessions_service.health(kit.ss, &h);
	assert_true((h.state == HEALTH_OK) == (h.reason == NULL));
	return h.state;
}

/* The transaction as a whole, as when a sync fails. */
static void a_database_that_was_given_up_is_seen_in_the_health(void **state)
{
	struct session *s = kit_register(0);

	assert_int_equal(health(), HEALTH_OK);
	kit_sql("sessions/sessions.db",
		"CREATE TRIGGER broken BEFORE INSERT ON sessions BEGIN SELECT RAISE(ROLLBACK, 'no'); END");
	for (int i = 0; i < 2; i++) {
		pthread_mutex_lock(&kit.ss->lock);
		session_changed(s);
		pthread_mutex_unlock(&kit.ss->lock);
		assert_true(ledger_save(kit.ss, s) < 0);
	}
	assert_int_equal(health(), HEALTH_DEGRADED);
	assert_true(session_wants_save(s));
	kit_sql("sessions/sessions.db", "DROP TRIGGER broken");
	restart();
	assert_int_equal(health(), HEALTH_OK);
}

/* What was written last is in the journal alone when somebody looks on with sqlite3, as then no close writes it back. */
static void a_damaged_database_is_saved_with_its_journal(void **state)
{
	char *path = xstrf("%s/sessions/sessions.db", kit.dir);
	sqlite3 *watcher = NULL;
	struct session *s;

	(void)kit_register(0);
	restart(); /* its row is in the file now */
	assert_int_equal(sqlite3_open_v2(path, &watcher, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(watcher, "SELECT * FROM totals", NULL, NULL, NULL), SQLITE_OK);
	s = kit_register(0);
	pthread_mutex_lock(&kit.ss->lock);
	session_set_hub_id(kit.ss, s, "hub-2"); /* which nothing but its row tells */
	session_changed(s);
	pthread_mutex_unlock(&kit.ss->lock);
	assert_int_equal(ledger_save(kit.ss, s), 0);
	kit_sql("sessions/sessions.db", "PRAGMA writable_schema=ON; UPDATE sqlite_master SET rootpage="
					"(SELECT rootpage FROM sqlite_master WHERE name='sessions')"
					" WHERE name='sessions_hub_id'");
	restart();
	assert_true(kit.ss->is_damaged);
	assert_int_equal(kit.ss->salvaged, 2);
	assert_int_equal(kit.ss->count, 2);
	pthread_mutex_lock(&kit.ss->lock);
	s = session_find(kit.ss, SLICE_LIT("hub-2"));
	pthread_mutex_unlock(&kit.ss->lock);
	assert_non_null(s);
	(void)sqlite3_close(watcher);
	free(path);
}

static struct session *done_with_a_total(void)
{
	struct session *s = kit_register(0);
	json_t *metric = json_pack("{s:s, s:s, s:i, s:i}", "type", "counter", "name", "c", "value", 1, "delta", 4);
	struct buf why = BUF_EMPTY;
	atomic_int done = 0;

	pthread_mutex_lock(&kit.ss->lock);
	assert_int_equal(totals_add(kit.ss, s, metric, on_done, &done, &why), 0);
	pthread_mutex_unlock(&kit.ss->lock);
	wait_for(&done, 1);
	pthread_mutex_lock(&kit.ss->lock);
	s->flags |= SESSION_ENDED | SESSION_DONE;
	session_changed(s);
	pthread_mutex_unlock(&kit.ss->lock);
	assert_int_equal(ledger_save(kit.ss, s), 0);
	json_decref(metric);
	return s;
}

static bool has_totals(const struct session *s)
{
	struct session *row = NULL;
	bool has;

	assert_int_equal(ledger_find(kit.ss, slice_str(s->local_id), &row), 0);
	has = row->totals != NULL;
	session_free(row);
	return has;
}

static void totals_are_kept_of_the_last_sessions(void **state)
{
	struct session *first = done_with_a_total(), *alive = kit_register(0), *last;

	assert_true(has_totals(first));
	kit.ss->last_number += LEDGER_KEEPS_TOTALS - 2;
	last = done_with_a_total();
	assert_true(has_totals(last) && !has_totals(first));
	assert_int_equal(last->number, first->number + LEDGER_KEEPS_TOTALS);
	assert_false(alive->flags & SESSION_DONE);
}

static void who_says_nothing_listens_on_this_machine_alone(void **state)
{
	static const char *const sets[] = { "sessions.compression=true", NULL };
	static const struct config_section *const sections[] = { &sessions_section, NULL };
	const struct config_source src = { .file = "/dev/null", .sets = sets, .sections = sections };
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
	const struct sessions_config *c;
	struct config *config = NULL;

	assert_int_equal(config_load(&src, &config, &problems, &warnings), 0);
	c = config_section(config, "sessions");
	assert_string_equal(c->listen.listen, "127.0.0.1:8079");
	config_unref(&config);
	buf_fini(&problems);
	buf_fini(&warnings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_id_is_given_twice_wherever_the_clock_goes, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(what_was_told_keeps_its_order_when_the_clock_goes_back, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(
			a_process_that_cannot_be_watched_is_said_to_be_unwatched_and_is_not_dead, kit_set_up,
			kit_tear_down),
		cmocka_unit_test_setup_teardown(a_database_that_was_given_up_is_seen_in_the_health, kit_set_up,
						kit_tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_database_is_saved_with_its_journal, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(totals_are_kept_of_the_last_sessions, kit_set_up, kit_tear_down),
		cmocka_unit_test(who_says_nothing_listens_on_this_machine_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
