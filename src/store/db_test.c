/* db_test.c -- answers come after the commit, failures stay alone, damage is moved aside. */
#include "store/db.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

static char dir[64], path[100];
static struct db *d;

static const struct db_options options = { .path = path,
					   .schema = "CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)",
					   .version = 1 };

static int setup(void **state)
{
	memcpy(dir, "/tmp/weir-db-XXXXXX", 20);
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/t.db", dir);
	return db_open(&options, &d, NULL);
}

static int teardown(void **state)
{
	db_close(d);
	d = NULL;
	return tree_remove(dir);
}

static int insert(sqlite3 *conn, void *arg)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "INSERT INTO t (n) VALUES (%d)", *(int *)arg);
	return db_code(sqlite3_exec(conn, text, NULL, NULL, NULL));
}

static int insert_then_fail(sqlite3 *conn, void *arg)
{
	int r = insert(conn, arg);

	return r < 0 ? r : -ECANCELED;
}

static int number_of(const char *text)
{
	sqlite3_stmt *st;
	sqlite3 *conn;
	int n;

	assert_int_equal(db_reader(d, &conn), 0);
	assert_int_equal(sqlite3_prepare_v2(conn, text, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(conn);
	return n;
}

static void a_job_is_durable_when_it_is_answered(void **state)
{
	int n = 7;

	assert_int_equal(db_do(d, insert, &n), 0);
	assert_int_equal(number_of("SELECT n FROM t"), 7);
	assert_int_equal(db_do(d, insert, &n), -EEXIST);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 1);
}

static int check_settings(sqlite3 *conn, void *arg)
{
	static const struct {
		const char *text;
		int want;
	} rows[] = { { "PRAGMA synchronous", 2 },
		     { "PRAGMA wal_autocheckpoint", 16384 },
		     { "PRAGMA user_version", 1 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		sqlite3_stmt *st;
		ENSURE(sqlite3_prepare_v2(conn, rows[i].text, -1, &st, NULL) == SQLITE_OK &&
		       sqlite3_step(st) == SQLITE_ROW);
		ENSURE(sqlite3_column_int(st, 0) == rows[i].want);
		sqlite3_finalize(st);
	}
	return 0;
}

static void it_is_set_to_survive_a_power_cut(void **state)
{
	assert_int_equal(db_do(d, check_settings, NULL), 0);
}

static void a_job_that_fails_is_undone_alone(void **state)
{
	int one = 1, two = 2, three = 3;

	assert_int_equal(db_do(d, insert, &one), 0);
	assert_int_equal(db_do(d, insert_then_fail, &two), -ECANCELED);
	assert_int_equal(db_do(d, insert, &three), 0);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 2);
	assert_int_equal(number_of("SELECT count(*) FROM t WHERE n = 2"), 0);
}

/* --- many jobs at once: one transaction for whatever waits --- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool may_go_on;
} gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };

static int wait_at_gate(sqlite3 *conn, void *arg)
{
	pthread_mutex_lock(&gate.lock);
	while (!gate.may_go_on)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	return 0;
}

static _Atomic int commits, answers, failures;
static int count_commit(void *arg)
{
	atomic_fetch_add(&commits, 1);
	return 0;
}

static int install_hook(sqlite3 *conn, void *arg)
{
	sqlite3_commit_hook(conn, count_commit, NULL);
	return 0;
}

static void count_answer(void *arg, int code)
{
	atomic_fetch_add(&answers, 1);
	atomic_fetch_add(&failures, code < 0);
}

static void what_waits_shares_one_commit(void **state)
{
	static int n[1500];

	commits = answers = failures = 0;
	gate.may_go_on = false;
	assert_int_equal(db_do(d, install_hook, NULL), 0);
	assert_int_equal(db_submit(d, wait_at_gate, NULL, NULL), 0);
	for (int i = 0; i < 1500; i++) {
		n[i] = i;
		assert_int_equal(db_submit(d, i % 100 == 99 ? insert_then_fail : insert, count_answer, &n[i]), 0);
	}
	assert_int_equal(answers, 0);
	pthread_mutex_lock(&gate.lock);
	gate.may_go_on = true;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
	assert_int_equal(db_do(d, insert, &(int){ 6000 }), 0);
	assert_int_equal(answers, 1500);
	assert_int_equal(failures, 15);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 1486);
	assert_true(commits <= 6); /* the hook's own, the gate's, two or three of up to 1,000, the last */
}

/* One job, then the rest of a transaction's 1,000 and more: all of it is one, wherever the writer is. */
static void what_is_gathered_is_one_transaction(void **state)
{
	static int n[1500];

	commits = answers = failures = 0;
	assert_int_equal(db_do(d, install_hook, NULL), 0);
	commits = 0;
	db_gather(d, true);
	for (int i = 0; i < 1500; i++) {
		n[i] = i;
		assert_int_equal(db_submit(d, insert, count_answer, &n[i]), 0);
	}
	assert_int_equal(answers, 0);
	db_gather(d, false);
	assert_int_equal(db_do(d, insert, &(int){ 6000 }), 0);
	assert_int_equal(answers, 1500);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 1501);
	assert_true(commits <= 3); /* at most the hook's own, what was gathered, the last */
}

/* A transaction ends between two of them once it has its 1,000: 4 of 300 in each of two, and the rest. */
static void gatherings_that_follow_each_other_are_not_one(void **state)
{
	static int n[3000];

	commits = answers = 0;
	gate.may_go_on = false;
	assert_int_equal(db_do(d, install_hook, NULL), 0);
	assert_int_equal(db_submit(d, wait_at_gate, NULL, NULL), 0);
	for (int i = 0; i < 3000; i++) {
		if (i % 300 == 0)
			db_gather(d, true);
		n[i] = i;
		assert_int_equal(db_submit(d, insert, count_answer, &n[i]), 0);
		if (i % 300 == 299)
			db_gather(d, false);
	}
	commits = 0;
	pthread_mutex_lock(&gate.lock);
	gate.may_go_on = true;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
	assert_int_equal(db_do(d, insert, &(int){ 6000 }), 0);
	assert_int_equal(answers, 3000);
	assert_in_range(commits, 3, 4); /* and perhaps the last */
}

static void *submit_many(void *arg)
{
	for (int i = 0; i < 200; i++)
		ENSURE(db_do(d, insert, &(int){ *(int *)arg * 1000 + i }) == 0);
	return NULL;
}

static void many_threads_may_write(void **state)
{
	int ids[8];
	pthread_t t[8];

	for (int i = 0; i < 8; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&t[i], NULL, submit_many, &ids[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 1600);
}

static void closing_runs_what_waits(void **state)
{
	static int n[100];

	answers = failures = 0;
	for (int i = 0; i < 100; i++) {
		n[i] = i;
		assert_int_equal(db_submit(d, insert, count_answer, &n[i]), 0);
	}
	db_close(d);
	assert_int_equal(answers, 100);
	assert_int_equal(db_open(&options, &d, NULL), 0);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 100);
}

/* --- trouble --- */

static int files_in_damaged(void)
{
	char *where = xstrf("%s/damaged", dir);
	struct dirent *e;
	DIR *f = opendir(where);
	int n = 0;

	while (f && (e = readdir(f)))
		n += e->d_name[0] != '.';
	if (f)
		closedir(f);
	free(where);
	return n;
}

static void overwrite(const char *bytes, size_t n, off_t at)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, at), n);
	fd_close(&fd);
}

static int insert_much(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn,
				    "WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 2000)"
				    "INSERT INTO t SELECT i, randomblob(100) FROM c",
				    NULL, NULL, NULL));
}

static void a_corrupt_database_is_moved_aside(void **state)
{
	static const struct {
		const char *bytes;
		off_t at;
	} damage[] = { { "this is no database at all", 0 },
		       { "\xff\xff\xff\xff\xff\xff\xff\xff", 4096 },
		       { "\xff\xff\xff\xff\xff\xff\xff\xff", 12288 } };
	bool damaged = false;

	for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
		assert_int_equal(db_do(d, insert_much, NULL), 0);
		db_close(d);
		overwrite(damage[i].bytes, strlen(damage[i].bytes), damage[i].at);
		damaged = false;
		assert_int_equal(db_open(&options, &d, &damaged), 0);
		assert_true(damaged);
		assert_int_equal(files_in_damaged(), i + 1);
		assert_int_equal(number_of("SELECT count(*) FROM t"), 0);
	}
	db_close(d);
	assert_int_equal(db_open(&options, &d, &damaged), 0);
	assert_false(damaged);
}

static void a_newer_database_is_refused(void **state)
{
	struct db_options older = options;
	struct db *other = NULL;

	db_close(d);
	older.version = 3;
	(void)unlink(path);
	assert_int_equal(db_open(&older, &d, NULL), 0);
	assert_int_equal(db_open(&options, &other, NULL), -EPROTO);
	assert_null(other);
	older.path = "/nonexistent/x.db";
	assert_int_equal(db_open(&older, &other, NULL), -ENOENT);
}

/* Writes beyond a size fail as on a full disk; what was there stays, and when there is room again it goes on. */
static void a_write_error_reaches_the_job(void **state)
{
	struct rlimit before, small;
	int n = 100000, r;

	assert_int_equal(db_do(d, insert, &n), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){ 65536, before.rlim_max };
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	r = db_do(d, insert_much, NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	assert_true(r == -EIO || r == -ENOSPC);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 1);
	db_close(d);
	assert_int_equal(db_open(&options, &d, NULL), 0);
	n = 2;
	assert_int_equal(db_do(d, insert, &n), 0);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 2);
}

static int set_room(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn, arg, NULL, NULL, NULL));
}

/* SQLite undoes the whole transaction when a statement finds the disk full; that is no reason to give the file up. */
static void when_the_disk_was_full_the_next_job_may_succeed(void **state)
{
	int n = 3000;

	assert_int_equal(db_do(d, set_room, (void *)(uintptr_t)"PRAGMA max_page_count=10"), 0);
	assert_int_equal(db_do(d, insert_much, NULL), -ENOSPC);
	assert_int_equal(db_do(d, insert, &n), 0);
	assert_int_equal(db_do(d, set_room, (void *)(uintptr_t)"PRAGMA max_page_count=1073741823"), 0);
	assert_int_equal(db_do(d, insert_much, NULL), 0);
	assert_int_equal(number_of("SELECT count(*) FROM t"), 2001);
}

/* Every answered job is there after a kill -9. */
static void what_was_answered_survives_a_kill(void **state)
{
	int n = 0;

	db_close(d);
	for (int round = 0; round < 5; round++) {
		int p[2], last = -1;
		pid_t pid;

		assert_int_equal(pipe2(p, O_CLOEXEC), 0);
		pid = fork();
		if (pid == 0) {
			struct db *mine;
			ENSURE(db_open(&options, &mine, NULL) == 0);
			for (;; n++) {
				ENSURE(db_do(mine, insert, &n) == 0);
				ENSURE(write(p[1], &n, sizeof(n)) == sizeof(n));
			}
		}
		fd_close(&p[1]);
		for (int i = 0; i < 20 + round * 7; i++)
			assert_int_equal(read(p[0], &last, sizeof(last)), sizeof(last));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		fd_close(&p[0]);
		assert_int_equal(db_open(&options, &d, NULL), 0);
		assert_true(number_of("SELECT count(*) FROM t") >= last + 1);
		assert_int_equal(number_of("SELECT count(*) FROM t"), number_of("SELECT max(n) + 1 FROM t"));
		n = number_of("SELECT max(n) + 1 FROM t");
		db_close(d);
	}
	assert_int_equal(db_open(&options, &d, NULL), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_job_is_durable_when_it_is_answered),
		T(it_is_set_to_survive_a_power_cut),
		T(a_job_that_fails_is_undone_alone),
		T(what_waits_shares_one_commit),
		T(what_is_gathered_is_one_transaction),
		T(gatherings_that_follow_each_other_are_not_one),
		T(many_threads_may_write),
		T(closing_runs_what_waits),
		T(a_corrupt_database_is_moved_aside),
		T(a_newer_database_is_refused),
		T(a_write_error_reaches_the_job),
		T(when_the_disk_was_full_the_next_job_may_succeed),
		T(what_was_answered_survives_a_kill),
	};

	return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
