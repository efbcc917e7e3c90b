/* hub_pg_test.c -- what PostgreSQL alone has: names without secrets, two hubs on one database, jobs that meet, a server
 * that is not there, versions of the schema. The server being killed, frozen and restarted: tests/stories/77. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "hub/hub_pg_priv.h"
#include "hub/hub_test_kit.h"

static void a_name_is_shown_without_user_and_password(void **state)
{
	static const struct {
		const char *url, *shown;
	} rows[] = {
		{ "postgresql://ann:pass%20word@db.example.org:5433/weir?sslmode=require", "db.example.org:5433/weir" },
		{ "postgres://ann@/weir?host=/run/pg", "/run/pg/weir" },
		{ "postgresql:///weir?user=ann&password=secret", "local/weir" },
		{ "postgresql://a,b/weir", "a,b/weir" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hub_pg_name n = { .url = NULL };

		assert_int_equal(hub_pg_name_init(&n, rows[i].url), 0);
		assert_string_equal(n.shown, rows[i].shown);
		hub_pg_name_fini(&n);
	}
	assert_false(hub_pg_is_url("postgresql://ann:secret@host/db?nonsense=1"));
	assert_false(hub_pg_is_url("postgresql://[half/db"));
}

static void a_server_that_is_not_there_is_away_and_the_store_is_open(void **state)
{
	static const char url[] = "postgresql://ann:swordfish@127.0.0.1:1/weir";
	struct hub_store *st = NULL;
	struct hub_read *rd = NULL;
	struct buf err = BUF_EMPTY, name = BUF_EMPTY, trouble = BUF_EMPTY;
	const char *why = NULL;

	assert_int_equal(hub_pg_open(url, 500, NULL, &st, &err), 0);
	assert_int_equal(st->t->ready(st, &why), WEIR_E_REFUSED);
	assert_non_null(strstr(why, "cannot be used"));
	assert_int_equal(st->t->submit_and_wait(st, NULL, NULL), WEIR_E_OPEN);
	assert_int_equal(st->t->read_begin(st, &rd), WEIR_E_OPEN);
	st->t->describe(st, &name, &trouble);
	assert_string_equal(name.data, "postgresql://127.0.0.1:1/weir");
	assert_non_null(strstr(trouble.data, "refused"));
	assert_null(strstr(trouble.data, "swordfish"));
	st->t->close(st);
	buf_fini(&err);
	buf_fini(&name);
	buf_fini(&trouble);
}

static void a_newer_schema_is_left_alone(void **state)
{
	struct kit *k = *state;
	struct hub_store *newer = NULL;
	struct buf err = BUF_EMPTY;

	kit_sql(k->path, "UPDATE weir_schema SET version = 99");
	assert_int_equal(hub_pg_open(k->path, 10000, NULL, &newer, &err), -EPROTO);
	assert_non_null(strstr(err.data, "newer weir"));
	buf_fini(&err);
}

/* --- two hubs ---------------------------------------------------------------------------------------------------- */

#define SESSIONS  4
#define BATCHES   60
#define IN_BATCH  5

struct feeder {
	struct kit kit; /* of its own store */
	char *const *ids;
	int first; /* which session it begins with: the two go through them in different orders */
};

/* Both send the same operations with the same numbers; whoever comes second is told that it was done. */
static void *feed(void *arg)
{
	struct feeder *f = arg;

	for (int b = 0; b < BATCHES; b++) {
		for (int i = 0; i < SESSIONS; i++) {
			struct buf body = BUF_EMPTY;

			buf_add_str(&body, "{\"operations\":[");
			for (int o = 0; o < IN_BATCH; o++)
				buf_addf(&body, "%s{\"seq\":%d,\"op\":\"event\",\"name\":\"e%d\"}", o ? "," : "",
					 b * IN_BATCH + o + 1, b * IN_BATCH + o);
			buf_add_str(&body, "]}");
			assert_true(kit_batch(&f->kit, f->ids[(f->first + i) % SESSIONS], body.data) >= (b + 1) * IN_BATCH);
			buf_fini(&body);
		}
	}
	return NULL;
}

static void two_hubs_apply_each_operation_once(void **state)
{
	struct kit *k = *state;
	char *ids[SESSIONS];
	struct feeder feeders[2];
	pthread_t threads[2];

	for (int i = 0; i < SESSIONS; i++)
		ids[i] = kit_create(k, "m", NULL);
	for (int i = 0; i < 2; i++) {
		feeders[i] = (struct feeder){ .kit = *k, .ids = ids, .first = i * 2 };
		kit_open(&feeders[i].kit);
		assert_int_equal(pthread_create(&threads[i], NULL, feed, &feeders[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		feeders[i].kit.st->t->close(feeders[i].kit.st);
	}
	for (int i = 0; i < SESSIONS; i++) {
		struct hub_session s = HUB_SESSION_EMPTY;
		struct buf places = BUF_EMPTY;

		kit_look(k, ids[i], &s);
		assert_int_equal(s.applied_seq, BATCHES * IN_BATCH);
		assert_int_equal(s.counts[HUB_EVENTS], BATCHES * IN_BATCH);
		kit_items(k, s.number, HUB_EVENTS, BATCHES * IN_BATCH - 1, &places);
		assert_non_null(strstr(places.data, "\"e299\""));
		buf_fini(&places);
		hub_session_fini(&s);
		free(ids[i]);
	}
}

#define ENDED 40

static void *beat(void *arg)
{
	struct feeder *f = arg;

	for (int round = 0; round < 8; round++)
		for (int i = 0; i < ENDED; i++)
			assert_int_equal(kit_do(&f->kit, f->ids[i], HUB_OP_HEARTBEAT, "{}"), 200);
	return NULL;
}

/* A heartbeat makes no item that could not be there twice: only the lock of the row keeps it from taking back what the
 * other hub has just written. */
static void an_end_at_one_hub_outlives_a_heartbeat_at_another(void **state)
{
	struct kit *k = *state;
	char *ids[ENDED];
	struct feeder other = { .kit = *k, .ids = ids };
	pthread_t thread;

	for (int i = 0; i < ENDED; i++)
		ids[i] = kit_create(k, "", NULL);
	kit_open(&other.kit);
	assert_int_equal(pthread_create(&thread, NULL, beat, &other), 0);
	for (int round = 0; round < 8; round++)
		for (int i = 0; i < ENDED; i++)
			if (i % 8 == round)
				assert_int_equal(kit_do(k, ids[i], HUB_OP_END, "{}"), 200);
	assert_int_equal(pthread_join(thread, NULL), 0);
	other.kit.st->t->close(other.kit.st);
	for (int i = 0; i < ENDED; i++) {
		struct hub_session s = HUB_SESSION_EMPTY;

		kit_look(k, ids[i], &s);
		assert_true(s.flags & HUB_ENDED);
		assert_int_equal(s.heartbeat_ms, k->now_ms);
		hub_session_fini(&s);
		free(ids[i]);
	}
}

/* --- jobs that meet ---------------------------------------------------------------------------------------------- */

#define JOBS 200

struct many {
	struct kit *k;
	const char *id; /* of the one session; NULL: nobody's */
	int runs;
	atomic_int *left;
	int code;
};

static int add_event(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct many *m = arg;
	struct hub_session s = HUB_SESSION_EMPTY;
	int r = st->t->find(tx, m->id ? slice_str(m->id) : SLICE_LIT("nobody"), &s);

	m->runs++;
	if (r == 0)
		r = st->t->put_item(tx, s.number, HUB_EVENTS, s.counts[HUB_EVENTS]++, SLICE_LIT("{}"));
	if (r == 0)
		r = st->t->update(tx, &s);
	hub_session_fini(&s);
	return r;
}

static void note_code(void *arg, int code)
{
	struct many *m = arg;

	m->code = code;
	(void)atomic_fetch_sub(m->left, 1);
}

/* In one transaction: every third job is for nobody, and fails; it takes none of the others with it. */
static void a_job_that_fails_in_a_group_fails_alone(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL);
	struct many jobs[JOBS];
	struct hub_session s = HUB_SESSION_EMPTY;
	atomic_int left = JOBS;
	int good = 0;

	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct many){ .k = k, .id = i % 3 ? id : NULL, .left = &left };
		assert_int_equal(k->st->t->submit(k->st, slice_str(jobs[i].id), add_event, note_code, &jobs[i]), 0);
		good += i % 3 != 0;
	}
	k->st->t->close(k->st); /* what was submitted is done first */
	assert_int_equal(atomic_load(&left), 0);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(jobs[i].code, i % 3 ? 0 : -ENOENT);
	kit_open(k);
	kit_look(k, id, &s);
	assert_int_equal(s.counts[HUB_EVENTS], good);
	hub_session_fini(&s);
	free(id);
}

/* An item that is there already: the server refuses the whole transaction, and the others have to be saved from it. */
static int add_a_broken_one(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct many *m = arg;
	struct hub_session s = HUB_SESSION_EMPTY;
	int r = st->t->find(tx, slice_str(m->id), &s);

	m->runs++;
	if (r == 0)
		r = st->t->put_item(tx, s.number, HUB_EVENTS, 0, SLICE_LIT("\xff is no UTF-8"));
	hub_session_fini(&s);
	return r;
}

static void a_job_that_the_server_refuses_takes_no_other_with_it(void **state)
{
	struct kit *k = *state;
	char *id = kit_create(k, "m", NULL), *other = kit_create(k, "m", NULL);
	struct many jobs[9];
	struct hub_session s = HUB_SESSION_EMPTY;
	atomic_int left = 9;

	for (int i = 0; i < 9; i++) {
		jobs[i] = (struct many){ .k = k, .id = i == 4 ? other : id, .left = &left };
		assert_int_equal(k->st->t->submit(k->st, slice_str(jobs[i].id), i == 4 ? add_a_broken_one : add_event,
						     note_code, &jobs[i]), 0);
	}
	k->st->t->close(k->st);
	for (int i = 0; i < 9; i++)
		assert_int_equal(jobs[i].code, i == 4 ? WEIR_E_PROTOCOL : 0);
	kit_open(k);
	kit_look(k, id, &s);
	assert_int_equal(s.counts[HUB_EVENTS], 8);
	hub_session_fini(&s);
	free(id);
	free(other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, kit_set_up, kit_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_shown_without_user_and_password),
		cmocka_unit_test(a_server_that_is_not_there_is_away_and_the_store_is_open),
		T(a_newer_schema_is_left_alone),
		T(two_hubs_apply_each_operation_once),
		T(an_end_at_one_hub_outlives_a_heartbeat_at_another),
		T(a_job_that_fails_in_a_group_fails_alone),
		T(a_job_that_the_server_refuses_takes_no_other_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
