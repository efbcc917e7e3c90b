/* hub_sqlite_test.c -- the store: lists and their filters, forgetting, versions of the file. */
#include "base/err.h"
#include "hub/hub_test_kit.h"
#include "hub/hub_text.h"
#include "store/db.h"

/* The ids that a filter finds, newest first, as letters: 'a' is ids[0]. */
static const char *found(struct kit *k, char *const *ids, size_t count, struct hub_filter f)
{
	static char letters[32];
	struct hub_session page[16];
	struct hub_read *rd = NULL;
	size_t n = 0;

	f.stale_ms = kit_moment(k).stale_ms;
	for (size_t i = 0; i < ARRAY_LEN(page); i++)
		page[i] = (struct hub_session)HUB_SESSION_EMPTY;
	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_list(rd, &f, page, ARRAY_LEN(page), &n), 0);
	k->st->t->read_end(rd);
	memset(letters, 0, sizeof(letters));
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < count; j++)
			if (strcmp(page[i].id, ids[j]) == 0)
				letters[i] = (char)('a' + j);
	for (size_t i = 0; i < ARRAY_LEN(page); i++)
		hub_session_fini(&page[i]);
	return letters;
}

static void lists_are_filtered(void **state)
{
	struct kit *k = *state;
	char *ids[5];

	for (int i = 0; i < 5; i++) {
		ids[i] = kit_create(k, i < 3 ? "m" : "n", NULL);
		k->now_ms += 10;
	}
	k->now_ms = 1000000 + 2 * TIMEOUT_MS;
	assert_int_equal(kit_do(k, ids[0], HUB_OP_END, "{}"), 200);
	assert_int_equal(kit_do(k, ids[1], HUB_OP_CRASH, "{}"), 200);
	assert_int_equal(kit_do(k, ids[2], HUB_OP_HEARTBEAT, "{}"), 200);
	assert_int_equal(kit_do(k, ids[4], HUB_OP_EVENT,
				"{\"name\":\"application_appears_hung\",\"message\":\"Oh no: \\\"X\\\"\"}"),
			 200);
	k->now_ms += TIMEOUT_MS + 1;
#define FOUND(...) found(k, ids, 5, (struct hub_filter){ __VA_ARGS__ })
	assert_string_equal(FOUND(.flags = 0), "edcba");
	assert_string_equal(FOUND(.machine_id = SLICE_LIT("m")), "cba");
	assert_string_equal(FOUND(.machine_id = SLICE_LIT("m"), .product = SLICE_LIT("game"),
				  .version = SLICE_LIT("1.2"), .hostname = SLICE_LIT("desk")),
			    "cba");
	assert_string_equal(FOUND(.product = SLICE_LIT("other")), "");
	assert_string_equal(FOUND(.conditions = HUB_IS_ENDED), "a");
	assert_string_equal(FOUND(.conditions = HUB_IS_CRASHED), "b");
	assert_string_equal(FOUND(.conditions = HUB_IS_SUSPENDED), "c");
	assert_string_equal(FOUND(.conditions = HUB_IS_ACTIVE), "ed");
	assert_string_equal(FOUND(.conditions = HUB_IS_ACTIVE | HUB_IS_CRASHED), "edb");
	assert_string_equal(FOUND(.flags = HUB_HUNG), "e");
	assert_string_equal(FOUND(.flags = HUB_HUNG_AT_END), "");
	assert_string_equal(FOUND(.since_ms = 1000010, .until_ms = 1000030), "cb");
	assert_string_equal(FOUND(.before = 3), "ba");
	assert_string_equal(FOUND(.text = SLICE_LIT("oh NO: \"x\"")), "e");
	assert_string_equal(FOUND(.text = SLICE_LIT("abnormal_term")), "b");
	assert_string_equal(FOUND(.text = SLICE_LIT("message")), "");
	for (int i = 0; i < 5; i++)
		free(ids[i]);
}

static int forget(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct kit_job *j = arg;

	return st->t->forget(tx, j->k->now_ms, 2, &j->applied);
}

static int sweep(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct kit_job *j = arg;

	return st->t->sweep(tx, 3, &j->known);
}

static void what_is_too_old_goes_in_small_steps(void **state)
{
	struct kit *k = *state;
	char *old = kit_create(k, "m", "key"), *young, *again;
	struct kit_job j = { .k = k };
	struct hub_session s = HUB_SESSION_EMPTY;
	struct buf items = BUF_EMPTY;
	int steps = 0;

	for (int i = 0; i < 10; i++)
		assert_int_equal(kit_do(k, old, HUB_OP_EVENT, "{\"name\":\"e\"}"), 200);
	k->now_ms += 1;
	young = kit_create(k, "m", NULL);
	assert_int_equal(kit_do(k, young, HUB_OP_EVENT, "{\"name\":\"e\"}"), 200);
	kit_look(k, old, &s);
	assert_int_equal(k->st->t->submit_and_wait(k->st, forget, &j), 0);
	assert_int_equal(j.applied, 1);
	assert_int_equal(kit_do(k, old, HUB_OP_END, "{}"), -ENOENT);
	kit_reopen(k); /* in the middle of it */
	do {
		assert_int_equal(k->st->t->submit_and_wait(k->st, sweep, &j), 0);
		steps++;
	} while (j.known);
	assert_in_range(steps, 4, 6);
	kit_items(k, s.number, HUB_EVENTS, 0, &items);
	assert_int_equal(items.len, 0);
	hub_session_fini(&s);
	kit_look(k, young, &s);
	kit_items(k, s.number, HUB_EVENTS, 0, &items);
	assert_true(items.len > 0);
	again = kit_create(k, "m", "key"); /* the key is free */
	assert_string_not_equal(again, old);
	hub_session_fini(&s);
	buf_fini(&items);
	free(old);
	free(young);
	free(again);
}

static int ask(const char *path, const char *sql)
{
	sqlite3 *conn = NULL;
	sqlite3_stmt *st = NULL;
	int n = -1;

	assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(conn, sql, -1, &st, NULL), SQLITE_OK);
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st);
	(void)sqlite3_close(conn);
	return n;
}

#define HAS_INDEX "SELECT count(*) FROM sqlite_schema WHERE name = 'sessions_open'"

static void an_older_file_is_brought_up_to_date_and_a_newer_one_refused(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_store *newer = NULL;
	struct buf err = BUF_EMPTY;
	bool damaged;

	k->st->t->close(k->st);
	(void)ask(k->path, "DROP INDEX sessions_open");
	(void)ask(k->path, "PRAGMA user_version=1");
	assert_int_equal(ask(k->path, HAS_INDEX), 0);
	kit_open(k);
	kit_look(k, id, &s);
	k->st->t->close(k->st);
	assert_int_equal(ask(k->path, HAS_INDEX), 1);
	assert_int_equal(ask(k->path, "PRAGMA user_version"), 2);
	(void)ask(k->path, "PRAGMA user_version=3");
	assert_int_equal(hub_sqlite_open(k->path, &newer, &damaged, &err), -EPROTO);
	assert_non_null(strstr(err.data, "newer weir"));
	(void)ask(k->path, "PRAGMA user_version=2");
	kit_open(k);
	hub_session_fini(&s);
	buf_fini(&err);
	free(id);
}

static int fail_after_a_change(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct kit_job *j = arg;
	int r = kit_create_job(st, tx, j);

	return r < 0 ? r : -ECANCELED;
}

static void a_job_that_fails_leaves_nothing(void **state)
{
	struct kit *k = *state;
	struct kit_job j = { .k = k,
			     .creation = { .product = SLICE_LIT("p"), .version = SLICE_LIT("v") },
			     .session = HUB_SESSION_EMPTY };
	struct hub_read *rd = NULL;
	int64_t n = -1;

	assert_int_equal(k->st->t->submit_and_wait(k->st, fail_after_a_change, &j), -ECANCELED);
	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_count(rd, &n), 0);
	k->st->t->read_end(rd);
	assert_int_equal(n, 0);
	hub_session_fini(&j.session);
}

static void text_is_looked_for_in_what_was_said(void **state)
{
	static const struct slice body =
		SLICE_LIT("{\"timestamp\":\"2026-01-01T00:00:00Z\",\"name\":\"Start\",\"labels\":[\"n\xc3\xa9\"],"
			  "\"data\":{\"key\":{\"deep\":[1,\"a\\\"b\"]}}}");

	assert_true(hub_text_occurs(body, SLICE_LIT("start")));
	assert_true(hub_text_occurs(body, SLICE_LIT("N\xc3\xa9")));
	assert_true(hub_text_occurs(body, SLICE_LIT("a\"b")));
	assert_false(hub_text_occurs(body, SLICE_LIT("deep")));
	assert_false(hub_text_occurs(body, SLICE_LIT("2026")));
	assert_false(hub_text_occurs(body, SLICE_LIT("startx")));
}

#define T(name) cmocka_unit_test_setup_teardown(name, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lists_are_filtered),
		T(what_is_too_old_goes_in_small_steps),
		T(an_older_file_is_brought_up_to_date_and_a_newer_one_refused),
		T(a_job_that_fails_leaves_nothing),
		cmocka_unit_test(text_is_looked_for_in_what_was_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
