/* cache_fault_test.c -- damage is set aside, counted and not there; a full disk keeps nothing and stops nothing. */
#include "mirror/cache.h"

#include <signal.h>
#include <sys/wait.h>

#include "mirror/cache_priv.h"
#include "mirror/cache_test_kit.h"

#define BIG (STORED_INLINE_BYTES + 300000) /* more than one piece of reading */

/* Changes the database while no cache has it open. */
static void change(const char *text)
{
	char *path = xstrf("%s/cache.db", kit_dir);
	sqlite3 *conn;

	assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
	assert_int_equal(sqlite3_exec(conn, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(conn), SQLITE_OK);
	free(path);
}

/* Or while it is open, on the writer's connection. */
static int run_text(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn, arg, NULL, NULL, NULL));
}

static void change_open(const char *text)
{
	assert_int_equal(db_do(cache->db, run_text, (void *)(uintptr_t)text), 0);
}

static char *only_body(void)
{
	char *bodies = xstrf("%s/bodies", kit_dir), *path = NULL;
	DIR *d = opendir(bodies);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			path = xstrf("%s/%s", bodies, e->d_name);
	closedir(d);
	free(bodies);
	assert_non_null(path);
	return path;
}

static void a_row_that_does_not_agree_with_its_sum_is_dropped_and_its_neighbour_is_not(void **state)
{
	static const char *const damages[] = {
		"UPDATE response SET head=x'41' WHERE id=1",
		"UPDATE response SET vary=x'610a' WHERE id=1", /* fits any request without a */
		"UPDATE response SET guarded=1 WHERE id=1",
		"UPDATE response SET response_at=response_at + 1 WHERE id=1",
		"UPDATE response SET body_crc=body_crc + 1 WHERE id=1",
		"UPDATE response SET body_bytes=body_bytes + 1 WHERE id=1",
		"UPDATE response SET is_file=1 WHERE id=1",
		"UPDATE body SET bytes=zeroblob(length(bytes)) WHERE id=1",
		"DELETE FROM body WHERE id=1",
	};

	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		kit_options.max_bytes += 1; /* a fresh cache for each */
		cache_close(cache);
		assert_int_equal(tree_remove(kit_dir), 0);
		kit_open();
		assert_int_equal(kit_put("/a", "a", 5000), 0);
		assert_int_equal(kit_put("/b", "b", 5000), 0);
		cache_close(cache);
		change(damages[i]);
		kit_open();
		assert_false(kit_is_there("/a"));
		assert_int_equal(kit_figures().damaged, 1);
		assert_int_equal(kit_figures().responses, 1);
		assert_true(kit_has("/b", "b", 5000));
		kit_reopen();
		assert_int_equal(kit_figures().responses, 1);
		assert_int_equal(kit_put("/a", "again", 5000), 0);
		assert_true(kit_has("/a", "again", 5000));
	}
}

static void a_row_whose_key_is_damaged_is_not_found(void **state)
{
	assert_int_equal(kit_put("/a", "a", 100), 0);
	cache_close(cache);
	change("UPDATE response SET key=CAST('/x' AS BLOB) WHERE id=1");
	kit_open();
	assert_false(kit_is_there("/a"));
	assert_false(kit_is_there("/x"));
	assert_int_equal(kit_figures().damaged, 1);
}

static void a_size_beyond_belief_evicts_nobody(void **state)
{
	assert_int_equal(kit_put("/a", "a", 100), 0);
	assert_int_equal(kit_put("/b", "b", 100), 0);
	cache_close(cache);
	change("UPDATE response SET body_bytes=4611686018427387904 WHERE id=1");
	kit_open();
	assert_false(kit_is_there("/a"));
	assert_true(kit_has("/b", "b", 100));
}

static void flip(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	assert_int_equal(pread(fd, &c, 1, BIG - 5), 1);
	c ^= 4;
	assert_int_equal(pwrite(fd, &c, 1, BIG - 5), 1);
	fd_close(&fd);
}

static void cut(const char *path)
{
	assert_int_equal(truncate(path, BIG - 1), 0);
}

static void take_away(const char *path)
{
	assert_int_equal(unlink(path), 0);
}

static void a_damaged_body_file_is_set_aside(void **state)
{
	static const struct {
		void (*damage)(const char *path);
		unsigned set_aside;
	} rows[] = { { flip, 1 }, { cut, 2 }, { take_away, 2 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *path;
		assert_int_equal(kit_put("/a", "large", BIG), 0);
		cache_close(cache);
		path = only_body();
		rows[i].damage(path);
		free(path);
		kit_open();
		assert_false(kit_is_there("/a"));
		assert_false(kit_is_there("/a"));
		assert_int_equal(kit_figures().damaged, 1);
		cache_sync(cache);
		assert_int_equal(kit_files("damaged"), rows[i].set_aside);
		assert_int_equal(kit_files("bodies"), 0);
	}
	assert_int_equal(kit_put("/a", "anew", BIG), 0);
	assert_true(kit_has("/a", "anew", BIG));
}

static void files_without_a_row_are_swept_at_the_start(void **state)
{
	static const char *const names[] = { "0000000000000777", "0000000000000001.tmp-0123456789abcdef", "hello",
					     "spool-x", "0000000000000000" };

	assert_int_equal(kit_put("/a", "large", BIG), 0);
	cache_close(cache);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *path = xstrf("%s/bodies/%s", kit_dir, names[i]);
		assert_int_equal(wholefile_write(path, SLICE_LIT("x"), 0), 0);
		free(path);
	}
	kit_open();
	assert_int_equal(kit_files("bodies"), 1);
	assert_true(kit_has("/a", "large", BIG));
}

/* A kill between the row of the new and the end of the old. */
static void of_two_rows_for_the_same_the_newer_counts(void **state)
{
	assert_int_equal(kit_put("/a", "one", 100), 0);
	assert_int_equal(kit_put("/b", "two", 100), 0);
	assert_int_equal(kit_put("/b", "three", 100), 0);
	cache_close(cache);
	/* Rows 1 and 3 are there; the first becomes a copy of the third, used later. */
	change("INSERT INTO response SELECT 2, used_at + 5, is_file, body_bytes, body_crc, key, vary, status, guarded,"
	       " request_at, response_at, row_crc, head FROM response WHERE id=3");
	kit_open();
	assert_int_equal(kit_figures().responses, 2);
	assert_true(kit_has("/b", "three", 100));
	assert_int_equal(kit_figures().damaged, 0);
	kit_reopen();
	assert_int_equal(kit_figures().responses, 2);
}

static void a_corrupt_database_is_set_aside_and_the_cache_begins_empty(void **state)
{
	char *path = xstrf("%s/cache.db", kit_dir);
	int fd;

	assert_int_equal(kit_put("/a", "large", BIG), 0);
	cache_close(cache);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "no database at all", 18, 0), 18);
	fd_close(&fd);
	free(path);
	kit_open();
	assert_int_equal(kit_figures().responses, 0);
	assert_int_equal(kit_figures().damaged, 1);
	assert_int_equal(kit_files("damaged"), 1);
	assert_int_equal(kit_files("bodies"), 0);
	assert_int_equal(kit_put("/a", "anew", BIG), 0);
	kit_reopen();
	assert_true(kit_has("/a", "anew", BIG));
	assert_int_equal(kit_figures().damaged, 0);
}

/* Only small databases are read through at the opening; the others show it when their rows are read. */
static void a_large_corrupt_database_is_set_aside_too(void **state)
{
	char *path = xstrf("%s/cache.db", kit_dir);
	char key[20], dirt[3 * 4096];
	int fd;

	for (int i = 0; i < 300; i++) {
		(void)snprintf(key, sizeof(key), "/%d", i);
		assert_int_equal(kit_put(key, key, 300), 0);
	}
	cache_close(cache);
	memset(dirt, 0xff, sizeof(dirt));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, dirt, sizeof(dirt), 5 * 4096), sizeof(dirt));
	assert_int_equal(ftruncate(fd, 300 << 20), 0); /* a hole; SQLite knows how many pages are its */
	fd_close(&fd);
	free(path);
	kit_open();
	assert_int_equal(kit_figures().responses, 0);
	assert_int_equal(kit_figures().damaged, 1);
	assert_int_equal(kit_files("damaged"), 1);
	assert_int_equal(kit_put("/a", "anew", BIG), 0);
	kit_reopen();
	assert_true(kit_has("/a", "anew", BIG));
}

static void a_newer_database_is_refused_in_a_sentence(void **state)
{
	struct buf err = BUF_EMPTY;
	struct cache *other = NULL;

	cache_close(cache);
	change("PRAGMA user_version=99");
	assert_int_equal(cache_open(&kit_options, &other, &err), -EPROTO);
	assert_null(other);
	assert_non_null(strstr(err.data, "newer weir"));
	buf_fini(&err);
	change("PRAGMA user_version=1");
	kit_open();
}

/* --- a full disk ------------------------------------------------------------------------------------------------ */

static void a_full_disk_keeps_nothing_and_stops_nothing(void **state)
{
	assert_int_equal(kit_put("/a", "a", 30000), 0);
	cache_sync(cache);
	change_open("PRAGMA max_page_count=16"); /* SQLITE_FULL beyond it */
	assert_int_equal(kit_put("/b", "b", 60000), 0);
	assert_int_equal(kit_put("/c", "c", 60000), 0);
	cache_sync(cache);
	assert_false(kit_is_there("/b"));
	assert_false(kit_is_there("/c"));
	assert_true(kit_has("/a", "a", 30000));
	assert_int_equal(kit_figures().not_kept, 2);
	assert_int_equal(kit_figures().responses, 1);
	change_open("PRAGMA max_page_count=1073741823");
	assert_int_equal(kit_put("/b", "b", 60000), 0);
	kit_reopen();
	assert_true(kit_has("/b", "b", 60000));
	assert_true(kit_has("/a", "a", 30000));
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static int wait_at_gate(sqlite3 *conn, void *arg)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return 0;
}

/* A disk that has come to a standstill: memory is bounded, and it goes on when the disk does. */
static void when_too_much_waits_to_be_written_nothing_more_is_kept(void **state)
{
	char key[20];
	int r = 0, i;

	pthread_mutex_lock(&gate);
	assert_int_equal(db_submit(cache->db, wait_at_gate, NULL, NULL), 0);
	for (i = 0; r == 0 && i < 10000; i++) {
		(void)snprintf(key, sizeof(key), "/%d", i);
		r = kit_put(key, key, 60000);
	}
	assert_int_equal(r, -EBUSY);
	assert_in_range(kit_figures().hot_bytes, 1, 70 << 20);
	assert_true(kit_has("/1000", "/1000", 60000));
	assert_int_equal(kit_figures().not_kept, 1);
	pthread_mutex_unlock(&gate);
	cache_sync(cache);
	assert_int_equal(kit_put("/a", "a", 60000), 0);
	assert_in_range(kit_figures().hot_bytes, 1, 16 << 20);
	assert_true(kit_has("/1000", "/1000", 60000));
}

static void a_body_that_gets_no_name_is_not_kept(void **state)
{
	char *bodies = xstrf("%s/bodies", kit_dir);
	struct stored *s = kit_stored("/a", "", "", "large", BIG);

	assert_int_equal(tree_remove(bodies), 0);
	assert_int_equal(cache_put(cache, s, cache_epoch(cache, SLICE_LIT("/a"))), -ENOENT);
	assert_false(kit_is_there("/a"));
	assert_int_equal(kit_figures().not_kept, 1);
	assert_int_equal(kit_put("/a", "small", 10), 0);
	assert_true(kit_has("/a", "small", 10));
	stored_unref(&s);
	free(bodies);
}

/* Else an invalidated answer would be back after the next start. */
static void a_removal_that_failed_is_done_later(void **state)
{
	assert_int_equal(kit_put("/a", "a", 100), 0);
	assert_int_equal(kit_put("/b", "large", BIG), 0);
	cache_sync(cache);
	change_open("CREATE TEMP TRIGGER t BEFORE DELETE ON response BEGIN SELECT RAISE(ABORT, 'no'); END");
	cache_drop(cache, SLICE_LIT("/a"));
	cache_drop(cache, SLICE_LIT("/b"));
	assert_int_equal(cache_sync_drops(cache), -ENOSPC); /* not as if it were done */
	assert_int_equal(cache_sync_drops(cache), -ENOSPC); /* nor the next time, though nothing new was dropped */
	assert_int_equal(kit_figures().responses, 0);
	change_open("DROP TRIGGER t");
	assert_int_equal(cache_sync_drops(cache), 0); /* it has tried them again */
	assert_int_equal(kit_put("/c", "c", 100), 0);
	kit_reopen();
	assert_int_equal(kit_figures().responses, 1);
	assert_false(kit_is_there("/a"));
	assert_false(kit_is_there("/b"));
	assert_true(kit_has("/c", "c", 100));
}

/* A 304 whose row cannot be written takes the response along: nobody may see the old head after a restart. */
static void an_update_that_fails_ends_the_response(void **state)
{
	struct stored *old = kit_stored("/a", "", "", "a", 100), *fresh;
	struct stored_parts p = { .key = SLICE_LIT("/a"), .status = 200, .body = blob_ref(old->body) };

	assert_int_equal(cache_put(cache, old, cache_epoch(cache, SLICE_LIT("/a"))), 0);
	cache_sync(cache);
	change_open("CREATE TEMP TRIGGER t BEFORE UPDATE ON response BEGIN SELECT RAISE(ABORT, 'no'); END");
	assert_int_equal(stored_new(&p, &fresh), 0);
	assert_int_equal(cache_update(cache, old, fresh), 0);
	cache_sync(cache);
	assert_false(kit_is_there("/a"));
	kit_reopen();
	assert_false(kit_is_there("/a"));
	stored_unref(&old);
	stored_unref(&fresh);
}

static void what_was_synced_survives_a_kill(void **state)
{
	pid_t pid;

	cache_close(cache);
	pid = fork();
	if (pid == 0) {
		kit_open();
		ENSURE(kit_put("/a", "a", 100) == 0 && kit_put("/b", "large", BIG) == 0 &&
		       kit_put("/c", "c", BIG) == 0);
		ENSURE(cache_sync(cache) == 0);
		cache_drop(cache, SLICE_LIT("/a"));
		cache_drop(cache, SLICE_LIT("/c"));
		ENSURE(cache_sync(cache) == 0);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	kit_open();
	assert_int_equal(kit_figures().responses, 1);
	assert_false(kit_is_there("/a"));
	assert_false(kit_is_there("/c"));
	assert_true(kit_has("/b", "large", BIG));
	assert_int_equal(kit_files("bodies"), 1);
}

/* Somebody else has dropped it a moment ago, and its row is still there: whoever finds nothing has to wait, too. */
static void a_drop_that_finds_nothing_waits_for_one_that_did(void **state)
{
	pid_t pid;

	cache_close(cache);
	pid = fork();
	if (pid == 0) {
		struct stored *s = kit_stored("/a", "", "", "a", 100);

		kit_open();
		ENSURE(cache_put(cache, s, cache_epoch(cache, SLICE_LIT("/a"))) == 0);
		ENSURE(cache_sync(cache) == 0);
		pthread_mutex_lock(&gate);
		ENSURE(db_submit(cache->db, wait_at_gate, NULL, NULL) == 0);
		cache_drop_one(cache, s);
		pthread_mutex_unlock(&gate);
		ENSURE(!cache_drop(cache, SLICE_LIT("/a")));
		ENSURE(cache_sync_drops(cache) == 0);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	kit_open();
	assert_int_equal(kit_figures().responses, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_row_that_does_not_agree_with_its_sum_is_dropped_and_its_neighbour_is_not),
		T(a_row_whose_key_is_damaged_is_not_found),
		T(a_size_beyond_belief_evicts_nobody),
		T(a_damaged_body_file_is_set_aside),
		T(files_without_a_row_are_swept_at_the_start),
		T(of_two_rows_for_the_same_the_newer_counts),
		T(a_corrupt_database_is_set_aside_and_the_cache_begins_empty),
		T(a_large_corrupt_database_is_set_aside_too),
		T(a_newer_database_is_refused_in_a_sentence),
		T(a_full_disk_keeps_nothing_and_stops_nothing),
		T(when_too_much_waits_to_be_written_nothing_more_is_kept),
		T(a_body_that_gets_no_name_is_not_kept),
		T(a_removal_that_failed_is_done_later),
		T(an_update_that_fails_ends_the_response),
		T(what_was_synced_survives_a_kill),
		T(a_drop_that_finds_nothing_waits_for_one_that_did),
	};

	return cmocka_run_group_tests_name("cache_fault", tests, NULL, NULL);
}
