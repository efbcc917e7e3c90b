/* hub_sqlite_test.c -- versions of the file. What engines have in common: hub_store_test.c. */
#include "base/err.h"
#include "hub/hub_test_kit.h"
#include "store/db.h"

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

/* What the versions after the first have added. */
#define TO_VERSION_1                                                                                    \
	"DROP INDEX sessions_open; DROP INDEX sessions_product; DROP INDEX sessions_version;"           \
	"DROP INDEX sessions_machine; DROP INDEX sessions_hostname; DROP INDEX sessions_updated;"       \
	"DROP INDEX sessions_status; DROP INDEX sessions_hung; ALTER TABLE sessions DROP COLUMN extra;" \
	"CREATE INDEX sessions_product ON sessions (product, version);"                                 \
	"CREATE INDEX sessions_machine ON sessions (machine_id); PRAGMA user_version=1"
/* All there is, and how it is made. */
#define SCHEMA "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)"

static char *schema(const char *path)
{
	sqlite3 *conn = NULL;
	sqlite3_stmt *st = NULL;
	char *text;

	assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(conn, SCHEMA, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	text = xstrdup((const char *)sqlite3_column_text(st, 0));
	(void)sqlite3_finalize(st);
	(void)sqlite3_close(conn);
	return text;
}

static void run(const char *path, const char *sql)
{
	sqlite3 *conn = NULL;

	assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
	assert_int_equal(sqlite3_exec(conn, sql, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(conn);
}

static void an_older_file_is_brought_up_to_date_and_a_newer_one_refused(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_store *newer = NULL;
	struct buf err = BUF_EMPTY;
	char *fresh, *brought;
	bool damaged;

	k->st->t->close(k->st);
	fresh = schema(k->path);
	run(k->path, TO_VERSION_1);
	kit_open(k);
	kit_look(k, id, &s);
	assert_string_equal(s.product.data, "game");
	assert_int_equal(s.extra.len, 0);
	k->st->t->close(k->st);
	brought = schema(k->path);
	assert_string_equal(brought, fresh);
	assert_int_equal(ask(k->path, "PRAGMA user_version"), 3);
	run(k->path, "PRAGMA user_version=4");
	assert_int_equal(hub_sqlite_open(k->path, &newer, &damaged, &err), -EPROTO);
	assert_non_null(strstr(err.data, "newer weir"));
	run(k->path, "PRAGMA user_version=3");
	kit_open(k);
	hub_session_fini(&s);
	buf_fini(&err);
	free(fresh);
	free(brought);
	free(id);
}

static bool is_wanted_three_times(void *arg)
{
	int *asked = arg;

	return ++*asked < 4;
}

static void a_search_that_nobody_waits_for_is_given_up(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);
	int asked = 0;
	struct hub_filter f = { .text = SLICE_LIT("needle") };
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_read *rd = NULL;
	size_t n = 0;

	k->st->t->close(k->st);
	run(k->path, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
		     " INSERT INTO events SELECT (1 << 32) + i, '{\"name\":\"hay\"}' FROM n");
	kit_open(k);
	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_list(rd, &f, &s, 1, &n), 0);
	assert_int_equal(n, 0);
	f.is_wanted = is_wanted_three_times;
	f.wanted_arg = &asked;
	assert_int_equal(k->st->t->read_list(rd, &f, &s, 1, &n), -ECANCELED);
	assert_int_equal(asked, 4);
	f = (struct hub_filter){ .sort = HUB_BY_CREATED }; /* and nothing is left of it */
	assert_int_equal(k->st->t->read_list(rd, &f, &s, 1, &n), 0);
	assert_int_equal(n, 1);
	k->st->t->read_end(rd);
	hub_session_fini(&s);
	free(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_search_that_nobody_waits_for_is_given_up, kit_set_up, kit_tear_down),
		cmocka_unit_test_setup_teardown(an_older_file_is_brought_up_to_date_and_a_newer_one_refused, kit_set_up,
						kit_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
