/* sessions_test_kit.h -- the service on a folder of its own, its server out of reach, its clock in the test's hands. */
#ifndef WEIR_SESSIONS_SESSIONS_TEST_KIT_H
#define WEIR_SESSIONS_SESSIONS_TEST_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "io/file.h"
#include "sessions/sessions_priv.h"
#include "sessions/sessions_service.h"

#define KIT __attribute__((unused)) static

static struct {
	char dir[64];
	struct config *config;
	struct outbox *outbox;
	struct core core;
	struct sessions *ss;
} kit;

static atomic_int_fast64_t fake_mono_ms, fake_wall_ms;

KIT int64_t fake_clock(int wall)
{
	return wall ? atomic_load(&fake_wall_ms) : atomic_load(&fake_mono_ms);
}

KIT void pass(int64_t mono_ms, int64_t wall_ms)
{
	atomic_fetch_add(&fake_mono_ms, mono_ms);
	atomic_fetch_add(&fake_wall_ms, wall_ms);
}

KIT void kit_begin(void)
{
	static const struct server_limits limits = { .connections = 16,
						     .header_bytes = 8192,
						     .request_body = 1 << 20,
						     .header_timeout_ms = 1000,
						     .idle_timeout_ms = 1000,
						     .body_timeout_ms = 1000,
						     .send_timeout_ms = 1000 };
	void *state = NULL;
	struct buf err = BUF_EMPTY;

	kit.core = (struct core){ .config = kit.config, .data_dir = kit.dir, .outbox = &kit.outbox, .version = "test" };
	kit.outbox = NULL;
	assert_int_equal(pool_new(8, &kit.core.pool), 0);
	kit.core.metrics = metrics_new();
	assert_int_equal(server_new(1, &limits, kit.core.metrics, &kit.core.server), 0);
	if (sessions_service.start(&kit.core, config_section(kit.config, "sessions"), &state, &err) < 0)
		fail_msg("%s", err.data);
	kit.ss = state;
}

KIT void kit_end(void)
{
	(void)server_stop(kit.core.server);
	sessions_service.stop(kit.ss);
	assert_int_equal(pool_drain(kit.core.pool, 10000), 0);
	outbox_close(kit.outbox);
	server_free(kit.core.server);
	pool_free(kit.core.pool);
	metrics_free(kit.core.metrics);
}

KIT int kit_set_up(void **state)
{
	static const char *const sets[] = { "sessions.listen=127.0.0.1:0", "sessions.server=http://127.0.0.1:9",
					    "sessions.enabled=false", "sessions.heartbeat_timeout=60s", NULL };
	static const struct config_section *const sections[] = { &sessions_section, NULL };
	const struct config_source src = { .file = "/dev/null", .sets = sets, .sections = sections };
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

	(void)snprintf(kit.dir, sizeof(kit.dir), "/tmp/weir-sessions-XXXXXX");
	assert_non_null(mkdtemp(kit.dir));
	if (config_load(&src, &kit.config, &problems, &warnings) < 0)
		fail_msg("%s", problems.data);
	buf_fini(&problems);
	buf_fini(&warnings);
	atomic_store(&fake_mono_ms, 1000000);
	atomic_store(&fake_wall_ms, 1767348245000);
	clock_set_fake(fake_clock);
	kit_begin();
	return 0;
}

KIT int kit_tear_down(void **state)
{
	kit_end();
	clock_set_fake(NULL);
	config_unref(&kit.config);
	return tree_remove(kit.dir);
}

/* In a database below the folder, from another connection: a trigger there stands for a disk that fails. */
KIT void kit_sql(const char *database, const char *sql)
{
	char *path = xstrf("%s/%s", kit.dir, database);
	sqlite3 *conn = NULL;

	assert_int_equal(sqlite3_open_v2(path, &conn, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	(void)sqlite3_busy_timeout(conn, 10000);
	assert_int_equal(sqlite3_exec(conn, sql, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(conn);
	free(path);
}

/* --- waiting for the writers --- */

KIT void on_done(void *arg, int code)
{
	assert_int_equal(code, 0);
	atomic_fetch_add((atomic_int *)arg, 1);
}

KIT void on_op(void *arg, int code, uint64_t seq)
{
	on_done(arg, code);
}

KIT void wait_for(atomic_int *count, int n)
{
	while (atomic_load(count) < n)
		usleep(500);
}

/* A session as register.c makes it. */
KIT struct session *kit_register(int64_t pid)
{
	static const char creation[] = "{\"product\":\"p\",\"version\":\"1\"}";
	atomic_int done = 0;
	struct session *s;

	pthread_mutex_lock(&kit.ss->lock);
	s = session_new(kit.ss);
	s->product = xstrdup("p");
	s->version = xstrdup("1");
	s->known = json_pack("{s:s}", "product", "p");
	s->pid = pid;
	watch_begin(kit.ss, s, watch_look(pid), true);
	assert_int_equal(ledger_save_start(kit.ss, s, on_done, &done), 0);
	assert_int_equal(op_put(kit.ss, s, OP_CREATE, slice_str(creation), true, on_op, &done), 0);
	pthread_mutex_unlock(&kit.ss->lock);
	wait_for(&done, 2);
	pthread_mutex_lock(&kit.ss->lock);
	s->is_created = true;
	pthread_mutex_unlock(&kit.ss->lock);
	return s;
}

KIT bool add_name(void *arg, const struct outbox_entry *e)
{
	struct spool *body = NULL;
	struct buf text = BUF_EMPTY;
	json_t *v = NULL;
	const char *name;

	assert_int_equal(outbox_body(kit.outbox, e, &body), 0);
	assert_true(pread(spool_fd(body), buf_reserve(&text, e->body_bytes), e->body_bytes, 0) ==
		    (ssize_t)e->body_bytes);
	text.len = e->body_bytes;
	assert_int_equal(json_read(buf_slice(&text), 0, &v, NULL), 0);
	name = json_string_value(json_object_get(v, "name"));
	buf_addf(arg, "%s%s", ((struct buf *)arg)->len ? " " : "",
		 name ? name : op_names[op_of_uri(buf_slice(&e->uri))]);
	json_decref(v);
	spool_unref(&body);
	buf_fini(&text);
	return true;
}

/* What waits for the server of a session: the names of events and metrics, what it is of all else. Everything that
 * was put is in. */
KIT void expect_queue(struct session *s, const char *names)
{
	struct buf key = BUF_EMPTY, got = BUF_EMPTY;

	pthread_mutex_lock(&kit.ss->lock);
	while (kit.ss->busy)
		pthread_cond_wait(&kit.ss->idle, &kit.ss->lock);
	session_key(s, &key);
	pthread_mutex_unlock(&kit.ss->lock);
	assert_int_equal(outbox_key_each(kit.ss->queue, buf_slice(&key), (struct slice){ NULL, 0 }, 0, add_name, &got),
			 0);
	assert_string_equal(got.data, names);
	buf_fini(&key);
	buf_fini(&got);
}

#endif
