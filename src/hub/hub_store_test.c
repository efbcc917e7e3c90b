/* hub_store_test.c -- the store's table, on each engine: lists and their filters, forgetting, jobs that fail. */
#include "base/err.h"
#include "hub/hub_test_kit.h"
#include "hub/hub_text.h"

/* The ids that a filter finds, in their order, as letters: 'a' is ids[0]. */
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
#define FOUND(...) found(k, ids, 5, (struct hub_filter){ .order = HUB_DESCENDING, __VA_ARGS__ })
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
	assert_string_equal(FOUND(.after = { .number = 3, .value = 1000020 }), "ba");
	assert_string_equal(FOUND(.text = SLICE_LIT("oh NO: \"x\"")), "e");
	assert_string_equal(FOUND(.text = SLICE_LIT("abnormal_term")), "b");
	assert_string_equal(FOUND(.text = SLICE_LIT("message")), "");
	for (int i = 0; i < 5; i++)
		free(ids[i]);
}

/* Longer than what an index of PostgreSQL has of them. */
static void long_names_are_told_apart(void **state)
{
	struct kit *k = *state;
	char name[3][4001], *ids[3];

	for (size_t i = 0; i < 3; i++) {
		memset(name[i], 'x', 4000);
		name[i][4000] = '\0';
	}
	name[1][3999] = 'y';
	name[2][300] = '\0';
	for (size_t i = 0; i < 3; i++)
		ids[i] = kit_create_as(k, name[i], name[i], name[i], 100 + (int64_t)i);
	for (size_t i = 0; i < 3; i++) {
		struct slice text = slice_str(name[i]);
		struct hub_filter rows[] = { { .product = text }, { .version = text }, { .hostname = text } };

		for (size_t r = 0; r < ARRAY_LEN(rows); r++)
			assert_string_equal(found(k, ids, 3, rows[r]), &"a\0b\0c"[2 * i]);
	}
	name[2][299] = '\0';
	assert_string_equal(found(k, ids, 3, (struct hub_filter){ .product = slice_str(name[2]) }), "");
	for (size_t i = 0; i < 3; i++)
		free(ids[i]);
}

static void pages(struct kit *k, char *const *ids, enum hub_sort sort, enum hub_order order, const char *want)
{
	struct hub_filter f = { .sort = sort, .order = order, .stale_ms = 1 };
	struct hub_session s = HUB_SESSION_EMPTY;
	struct buf text = BUF_EMPTY;
	char letters[32] = "";
	size_t n = 1, at = 0;

	while (n) { /* a page is one session; each has a read of its own */
		struct hub_read *rd = NULL;

		assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
		assert_int_equal(k->st->t->read_list(rd, &f, &s, 1, &n), 0);
		k->st->t->read_end(rd);
		for (int i = 0; i < 5 && n; i++)
			if (strcmp(s.id, ids[i]) == 0)
				letters[at++] = (char)('a' + i);
		if (n)
			f.after = hub_cursor_at(&f, &s, &text);
	}
	hub_session_fini(&s);
	buf_fini(&text);
	assert_string_equal(letters, want);
}

static void pages_follow_each_other_under_every_sort(void **state)
{
	static const struct {
		const char *product, *hostname;
		int64_t created_ms;
	} made[5] = {
		{ "b", "h2", 500 }, { "a", "", 400 }, { "b", "h1", 500 }, { "B", "h1", 300 }, { "a", "h1", 400 }
	};
	struct kit *k = *state;
	char *ids[5];

	for (int i = 0; i < 5; i++) {
		ids[i] = kit_create_as(k, made[i].product, "1", made[i].hostname, made[i].created_ms);
		k->now_ms += 10;
	}
	for (int i = 4; i >= 0; i--) {
		assert_int_equal(kit_do(k, ids[i], HUB_OP_EVENT, "{\"name\":\"e\"}"), 200);
		k->now_ms += 10;
	}
	assert_int_equal(kit_do(k, ids[1], HUB_OP_EVENT, "{\"name\":\"e\"}"), 200);
	pages(k, ids, HUB_BY_CREATED, HUB_DESCENDING, "caebd");
	pages(k, ids, HUB_BY_CREATED, HUB_ASCENDING, "dbeac");
	pages(k, ids, HUB_BY_UPDATED, HUB_DESCENDING, "bacde");
	pages(k, ids, HUB_BY_UPDATED, HUB_ASCENDING, "edcab");
	pages(k, ids, HUB_BY_PRODUCT, HUB_ASCENDING, "dbeac"); /* by bytes: B before a */
	pages(k, ids, HUB_BY_PRODUCT, HUB_DESCENDING, "caebd");
	pages(k, ids, HUB_BY_HOSTNAME, HUB_ASCENDING, "bdeca");
	pages(k, ids, HUB_BY_EVENTS, HUB_DESCENDING, "bedca");
	for (int i = 0; i < 5; i++)
		free(ids[i]);
}

static int add_product(void *arg, const struct hub_product *p)
{
	buf_addf(arg, "%.*s/%.*s: %lld = %lld active, %lld suspended, %lld ended, %lld crashed; %lld hung; last %lld\n",
		 (int)p->product.n, p->product.p, (int)p->version.n, p->version.p, (long long)p->sessions,
		 (long long)p->active, (long long)p->suspended, (long long)p->ended, (long long)p->crashed,
		 (long long)p->hung, (long long)p->last_created_ms);
	return 0;
}

static void products_and_versions_are_counted_by_state(void **state)
{
	static const char hang[] = "{\"name\":\"application_appears_hung\"}";
	struct kit *k = *state;
	struct hub_read *rd = NULL;
	struct buf got = BUF_EMPTY;
	char *ids[6];

	for (int i = 0; i < 6; i++)
		ids[i] = kit_create_as(k, i == 5 ? "b" : "a", i == 4 ? "2" : "1", "", 100 + i);
	assert_int_equal(kit_do(k, ids[0], HUB_OP_HEARTBEAT, "{}"), 200);
	k->now_ms += TIMEOUT_MS + 1;
	assert_int_equal(kit_do(k, ids[1], HUB_OP_HEARTBEAT, "{}"), 200);
	assert_int_equal(kit_do(k, ids[1], HUB_OP_EVENT, hang), 200);
	assert_int_equal(kit_do(k, ids[2], HUB_OP_EVENT, hang), 200);
	assert_int_equal(kit_do(k, ids[2], HUB_OP_END, "{}"), 200);
	assert_int_equal(kit_do(k, ids[3], HUB_OP_CRASH, "{}"), 200);
	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_products(rd, kit_moment(k).stale_ms, add_product, &got), 0);
	k->st->t->read_end(rd);
	assert_string_equal(got.data, "a/1: 4 = 1 active, 1 suspended, 1 ended, 1 crashed; 1 hung; last 103\n"
				      "a/2: 1 = 1 active, 0 suspended, 0 ended, 0 crashed; 0 hung; last 104\n"
				      "b/1: 1 = 1 active, 0 suspended, 0 ended, 0 crashed; 0 hung; last 105\n");
	buf_fini(&got);
	for (int i = 0; i < 6; i++)
		free(ids[i]);
}

static void items_are_read_from_both_ends(void **state)
{
	static const struct {
		int64_t from;
		enum hub_order order;
		const char *want;
	} rows[] = {
		{ 0, HUB_ASCENDING, "012" }, { 1, HUB_ASCENDING, "12" },           { 3, HUB_ASCENDING, "" },
		{ 1, HUB_DESCENDING, "10" }, { INT64_MAX, HUB_DESCENDING, "210" }, { INT64_MAX, HUB_ASCENDING, "" }
	};
	struct kit *k = *state;
	char *ids[3] = { kit_create(k, "m", NULL), kit_create(k, "m", NULL), kit_create(k, "m", NULL) };
	struct hub_session s = HUB_SESSION_EMPTY;

	for (int i = 0; i < 9; i++)
		assert_int_equal(kit_do(k, ids[i % 3], HUB_OP_EVENT, "{\"name\":\"e\"}"), 200);
	kit_look(k, ids[1], &s);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf places = BUF_EMPTY;

		kit_places(k, s.number, rows[i].from, rows[i].order, &places);
		assert_string_equal(places.data, rows[i].want);
		buf_fini(&places);
	}
	hub_session_fini(&s);
	for (int i = 0; i < 3; i++)
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
	assert_true(hub_text_occurs(SLICE_LIT("{\"a\":\"AABAACAABAAD\"}"), SLICE_LIT("aabaad")));
	assert_true(hub_text_occurs(SLICE_LIT("{\"a\":\"aaab\"}"), SLICE_LIT("aab")));
	assert_false(hub_text_occurs(SLICE_LIT("{\"a\":\"abababc\"}"), SLICE_LIT("ababac")));
}

#define T(name) cmocka_unit_test_setup_teardown(name, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lists_are_filtered),
		T(long_names_are_told_apart),
		T(pages_follow_each_other_under_every_sort),
		T(products_and_versions_are_counted_by_state),
		T(items_are_read_from_both_ends),
		T(what_is_too_old_goes_in_small_steps),
		T(a_job_that_fails_leaves_nothing),
		cmocka_unit_test(text_is_looked_for_in_what_was_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
