/* hub_test_kit.h -- a store in a folder of its own, and short ways to do things to sessions (tests of this folder
 * only). */
#ifndef WEIR_HUB_HUB_TEST_KIT_H
#define WEIR_HUB_HUB_TEST_KIT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "base/obj.h"
#include "hub/hub_session.h"
#include "io/file.h"

#define TIMEOUT_MS 60000

/* The same tests for both engines: WEIR_TEST_POSTGRESQL names a database by URL, in which each test gets a schema of its
 * own (tests/lib/with-postgresql). Unset: a file. */
struct kit {
	char dir[64], *path;
	bool is_postgresql; /* path is a URL */
	struct hub_store *st;
	int64_t now_ms; /* the scripted time, for both clocks */
};

static inline void kit_open(struct kit *k)
{
	struct buf err = BUF_EMPTY;
	bool damaged = false;
	int r = k->is_postgresql ? hub_pg_open(k->path, 10000, NULL, &k->st, &err) :
				   hub_sqlite_open(k->path, &k->st, &damaged, &err);
	const char *why;

	if (r < 0)
		fail_msg("%s", err.data);
	assert_false(damaged);
	if (k->st->t->ready && k->st->t->ready(k->st, &why) < 0)
		fail_msg("%s", why);
	buf_fini(&err);
}

static inline void kit_reopen(struct kit *k)
{
	k->st->t->close(k->st);
	kit_open(k);
}

static inline void kit_sql(const char *url, const char *sql)
{
	PGconn *pg = PQconnectdb(url);
	PGresult *res = PQexec(pg, sql);

	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		fail_msg("%s", PQerrorMessage(pg));
	PQclear(res);
	PQfinish(pg);
}

static inline char *kit_schema(const char *url)
{
	static int count;
	char sql[64];

	(void)snprintf(sql, sizeof(sql), "CREATE SCHEMA t_%d_%d", (int)getpid(), ++count);
	kit_sql(url, sql);
	return xstrf("%s&options=-csearch_path%%3Dt_%d_%d", url, (int)getpid(), count);
}

static inline int kit_set_up(void **state)
{
	struct kit *k = xcalloc(1, sizeof(*k));
	const char *url = getenv("WEIR_TEST_POSTGRESQL");

	(void)snprintf(k->dir, sizeof(k->dir), "/tmp/weir-hub-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	k->is_postgresql = url != NULL;
	k->path = url ? kit_schema(url) : xstrf("%s/hub.db", k->dir);
	k->now_ms = 1000000;
	kit_open(k);
	*state = k;
	return 0;
}

static inline int kit_tear_down(void **state)
{
	struct kit *k = *state;

	k->st->t->close(k->st);
	(void)tree_remove(k->dir);
	free(k->path);
	free(k);
	return 0;
}

struct kit_job {
	struct kit *k;
	struct hub_creation creation;
	struct hub_session session;
	bool known;
	int64_t crashed;
	const char *id;
	struct hub_op *ops;
	size_t count;
	bool by_seq;
	int64_t applied;
};

static inline struct hub_moment kit_moment(const struct kit *k)
{
	return (struct hub_moment){ k->now_ms, k->now_ms, k->now_ms - TIMEOUT_MS };
}

static inline int kit_create_job(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct kit_job *j = arg;
	struct hub_moment m = kit_moment(j->k);

	return hub_session_create(st, tx, &j->creation, &m, &j->session, &j->known, &j->crashed);
}

/* The id; the caller frees. */
static inline char *kit_create_as(struct kit *k, const char *product, const char *version, const char *hostname,
				  int64_t created_ms)
{
	struct kit_job j = { .k = k,
			     .creation = { .product = slice_str(product),
					   .version = slice_str(version),
					   .machine_id = SLICE_LIT(""),
					   .hostname = slice_str(hostname),
					   .created_ms = created_ms },
			     .session = HUB_SESSION_EMPTY };
	char *id;

	assert_int_equal(k->st->t->submit_and_wait(k->st, kit_create_job, &j), 0);
	id = xstrdup(j.session.id);
	hub_session_fini(&j.session);
	return id;
}

static inline char *kit_create(struct kit *k, const char *machine, const char *key)
{
	struct kit_job j = { .k = k,
			     .creation = { .key = key ? slice_str(key) : (struct slice){ NULL, 0 },
					   .product = SLICE_LIT("game"),
					   .version = SLICE_LIT("1.2"),
					   .machine_id = slice_str(machine),
					   .hostname = SLICE_LIT("desk") },
			     .session = HUB_SESSION_EMPTY };
	char *id;

	assert_int_equal(k->st->t->submit_and_wait(k->st, kit_create_job, &j), 0);
	id = xstrdup(j.session.id);
	hub_session_fini(&j.session);
	return id;
}

static inline int kit_apply_job(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct kit_job *j = arg;
	struct hub_moment m = kit_moment(j->k);

	return hub_session_apply(st, tx, slice_str(j->id), j->ops, j->count, j->by_seq, &m, &j->applied);
}

/* One operation, by itself. Its status; a code of the store is negative. */
static inline int kit_do(struct kit *k, const char *id, enum hub_op_type type, const char *body)
{
	struct hub_op op;
	struct kit_job j = { .k = k, .id = id, .ops = &op, .count = 1 };
	json_t *v = NULL;
	int r;

	assert_int_equal(json_read(slice_str(body), 0, &v, NULL), 0);
	hub_op_read(type, v, false, SLICE_LIT("2026-01-01T00:00:00Z"), &op);
	r = k->st->t->submit_and_wait(k->st, kit_apply_job, &j);
	r = r < 0 ? r : op.status ? op.status : 200;
	hub_op_fini(&op);
	json_decref(v);
	return r;
}

/* A batch; its applied_seq. */
static inline int64_t kit_batch(struct kit *k, const char *id, const char *body)
{
	struct kit_job j = { .k = k, .id = id, .by_seq = true };
	struct buf why = BUF_EMPTY;
	json_t *v = NULL;

	assert_int_equal(json_read(slice_str(body), 0, &v, NULL), 0);
	assert_int_equal(hub_op_read_batch(v, SLICE_LIT("2026-01-01T00:00:00Z"), &j.ops, &j.count, &why), 0);
	assert_int_equal(k->st->t->submit_and_wait(k->st, kit_apply_job, &j), 0);
	hub_ops_free(j.ops, j.count);
	json_decref(v);
	buf_fini(&why);
	return j.applied;
}

/* The record. */
static inline void kit_look(struct kit *k, const char *id, struct hub_session *ret)
{
	struct hub_read *rd = NULL;

	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_session(rd, slice_str(id), ret), 0);
	k->st->t->read_end(rd);
}

/* Items of a list, a line each. */
static inline int kit_add_line(void *arg, int64_t place, struct slice body)
{
	buf_addf(arg, "%lld %.*s\n", (long long)place, (int)body.n, body.p);
	return 0;
}

static inline void kit_items(struct kit *k, int64_t number, enum hub_list list, int64_t from, struct buf *out)
{
	struct hub_read *rd = NULL;

	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_items(rd, number, list, from, HUB_ASCENDING, kit_add_line, out), 0);
	k->st->t->read_end(rd);
}

static inline int kit_add_place(void *arg, int64_t place, struct slice body)
{
	buf_addf(arg, "%lld", (long long)place);
	return 0;
}

/* Of events, one behind the other. */
static inline void kit_places(struct kit *k, int64_t number, int64_t from, enum hub_order order, struct buf *out)
{
	struct hub_read *rd = NULL;

	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_items(rd, number, HUB_EVENTS, from, order, kit_add_place, out), 0);
	k->st->t->read_end(rd);
}

static inline void kit_state(struct kit *k, int64_t number, struct buf *out)
{
	struct hub_read *rd = NULL;

	buf_reset(out);
	assert_int_equal(k->st->t->read_begin(k->st, &rd), 0);
	assert_int_equal(k->st->t->read_state(rd, number, out), 0);
	k->st->t->read_end(rd);
}

#endif
