/* cache_threads_test.c -- many threads put, find, load, update and drop the same keys; run it with
 * -Db_sanitize=thread, too.
 *
 * Each body tells its key and a number that only grows. Nobody may see another key's body, a torn one, or a number
 * from before a drop that was over when he asked. */
#include "mirror/cache.h"

#include <pthread.h>

#include "base/rand.h"
#include "mirror/cache_test_kit.h"

#define KEYS   24
#define ROUNDS 600
#define BIG    (STORED_INLINE_BYTES + 1)

static char names[KEYS][16];
static _Atomic uint64_t counter, floors[KEYS]; /* no number below the floor is stored since a drop */
static _Atomic unsigned found, stale, updated;

static size_t size_of(unsigned k)
{
	return k % 6 == 0 ? BIG : 100 + k * 50;
}

/* What upstream has just now is the next number. */
static void fetch_and_put(unsigned k)
{
	uint64_t epoch = cache_epoch(cache, slice_str(names[k])), n = atomic_fetch_add(&counter, 1) + 1;
	char text[48];
	struct stored *s;
	int r;

	(void)snprintf(text, sizeof(text), "%s %020llu ", names[k], (unsigned long long)n);
	s = kit_stored(names[k], "", "ETag: \"1\"\n", text, size_of(k));
	r = cache_put(cache, s, epoch);
	ENSURE(r == 0 || r == -ESTALE);
	stale += r == -ESTALE;
	stored_unref(&s);
}

/* The number of what is found; 0: nothing. */
static uint64_t find(unsigned k, struct stored **ret)
{
	struct kit_lines rq;
	struct stored *s = NULL;
	struct buf got = BUF_EMPTY, want = BUF_EMPTY;
	uint64_t n;
	int r = cache_peek(cache, slice_str(names[k]), kit_lines(&rq, ""), &s);

	if (r == -EAGAIN)
		r = cache_load(cache, slice_str(names[k]), &rq.view, &s);
	ENSURE(r == 0 || r == -ENOENT);
	if (r < 0)
		return 0;
	kit_body_of(s, &got);
	ENSURE(got.len == size_of(k) && got.data[strlen(names[k])] == ' ');
	n = strtoull(got.data + strlen(names[k]), NULL, 10);
	buf_addf(&want, "%s %020llu ", names[k], (unsigned long long)n);
	ENSURE(memcmp(got.data, want.data, want.len) == 0);
	buf_fini(&got);
	buf_fini(&want);
	found++;
	if (ret)
		*ret = s;
	else
		stored_unref(&s);
	return n;
}

static void look(unsigned k)
{
	uint64_t least = floors[k], n = find(k, NULL);

	ENSURE(n == 0 || n > least);
}

/* A write at upstream, then the drop; what was made before it must not be seen by who asks after it. */
static void write_and_drop(unsigned k)
{
	uint64_t n = atomic_load(&counter), before = floors[k];

	cache_drop(cache, slice_str(names[k]));
	while (before < n && !atomic_compare_exchange_weak(&floors[k], &before, n))
		;
}

static void validate(unsigned k)
{
	struct stored *old = NULL, *fresh;
	struct stored_parts p;
	int r;

	if (find(k, &old) == 0)
		return;
	p = (struct stored_parts){ .key = slice_str(names[k]),
				   .head = SLICE_LIT("ETag: \"1\"\nMore: 1\n"),
				   .status = 200,
				   .body = old->body ? blob_ref(old->body) : NULL,
				   .file = old->file ? spool_ref(old->file) : NULL,
				   .body_bytes = old->body_bytes,
				   .body_crc = old->body_crc };
	ENSURE(stored_new(&p, &fresh) == 0);
	r = cache_update(cache, old, fresh);
	ENSURE(r == 0 || r == -ENOENT);
	updated += r == 0;
	stored_unref(&old);
	stored_unref(&fresh);
}

static void *act(void *arg)
{
	unsigned *seed = arg;

	for (int i = 0; i < ROUNDS; i++) {
		unsigned k = (unsigned)rand_r(seed) % KEYS, what = (unsigned)rand_r(seed) % 100;
		struct cache_figures f;
		if (what < 30)
			fetch_and_put(k);
		else if (what < 75)
			look(k);
		else if (what < 85)
			write_and_drop(k);
		else if (what < 97)
			validate(k);
		else if (what < 99)
			cache_figures(cache, &f);
		else
			(void)cache_drop_prefix(cache, slice_str(names[k]));
	}
	return NULL;
}

static void nobody_sees_what_is_torn_anothers_or_from_before_a_drop(void **state)
{
	pthread_t threads[8];
	unsigned seeds[8], there = 0;

	kit_options.memory_bytes = 12000; /* most of it is on disk only */
	kit_options.most_files = 1;
	kit_options.max_bytes = 250000; /* and some of it is evicted */
	kit_options.low_bytes = 200000;
	kit_reopen();
	for (unsigned k = 0; k < KEYS; k++)
		(void)snprintf(names[k], sizeof(names[k]), "/%c", 'a' + (int)k);
	for (unsigned i = 0; i < 8; i++) {
		seeds[i] = (unsigned)rand_u64();
		print_message("seed %u\n", seeds[i]);
		assert_int_equal(pthread_create(&threads[i], NULL, act, &seeds[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_true(found > 0 && updated > 0);
	assert_int_equal(kit_figures().damaged, 0);
	assert_int_equal(kit_figures().not_kept, 0);
	kit_reopen();
	for (unsigned k = 0; k < KEYS; k++) {
		look(k);
		there += kit_is_there(names[k]);
	}
	assert_int_equal(kit_figures().damaged, 0);
	assert_int_equal(kit_figures().responses, there);
	cache_drop_prefix(cache, SLICE_LIT(""));
	cache_sync(cache);
	assert_int_equal(kit_figures().bytes, 0);
	assert_int_equal(kit_figures().hot_bytes, 0);
	assert_int_equal(kit_files("bodies"), 0);
}

/* --- a large body is dropped while it gets its name --- */

static _Atomic bool is_over;

static void *drop_it(void *arg)
{
	while (!is_over)
		cache_drop(cache, SLICE_LIT("/a"));
	return NULL;
}

static void a_body_that_is_dropped_while_it_gets_its_name_leaves_no_file(void **state)
{
	pthread_t dropper;
	unsigned gone = 0;

	is_over = false;
	assert_int_equal(pthread_create(&dropper, NULL, drop_it, NULL), 0);
	for (int i = 0; i < 200; i++)
		gone += kit_put("/a", "large", BIG) == -ESTALE;
	is_over = true;
	pthread_join(dropper, NULL);
	assert_true(gone > 0);
	cache_drop(cache, SLICE_LIT("/a"));
	cache_sync(cache);
	assert_int_equal(kit_files("bodies"), 0);
	assert_int_equal(kit_figures().bytes, 0);
}

/* --- one validates, the others look, and hardly anything stays in memory --- */

static _Atomic int64_t validated; /* the response's time as of the last update that is over */

static void *look_at_heads(void *arg)
{
	struct kit_lines rq;

	while (!is_over) {
		struct stored *s = NULL;
		int64_t least = validated;
		int r = cache_peek(cache, SLICE_LIT("/a"), kit_lines(&rq, ""), &s);
		if (r == -EAGAIN)
			r = cache_load(cache, SLICE_LIT("/a"), &rq.view, &s);
		ENSURE(r == 0 && s->response_wall_ms >= least);
		stored_unref(&s);
		ENSURE(kit_put("/other", "other", 10) == 0); /* cools what may be cooled */
	}
	return NULL;
}

static void nobody_sees_a_head_from_before_an_update(void **state)
{
	struct stored *old = kit_stored("/a", "", "", "body", 100);
	pthread_t threads[3];

	kit_options.memory_bytes = 1;
	kit_reopen();
	is_over = false;
	validated = 0;
	assert_int_equal(cache_put(cache, old, cache_epoch(cache, SLICE_LIT("/a"))), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_at_heads, NULL), 0);
	for (int64_t at = old->response_wall_ms + 1, end = at + 1500; at < end; at++) {
		struct stored *fresh;
		struct stored_parts p = {
			.key = SLICE_LIT("/a"), .status = 200, .response_wall_ms = at, .body = blob_ref(old->body)
		};
		ENSURE(stored_new(&p, &fresh) == 0);
		ENSURE(cache_update(cache, old, fresh) == 0);
		validated = at;
		stored_unref(&old);
		old = fresh;
	}
	is_over = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	stored_unref(&old);
	kit_reopen();
	assert_true(kit_has("/a", "body", 100));
	assert_int_equal(kit_figures().damaged, 0);
}

static void *load_it(void *arg)
{
	look(0);
	return NULL;
}

static void a_hundred_who_want_the_same_from_disk_all_get_it(void **state)
{
	pthread_t threads[100];

	(void)snprintf(names[0], sizeof(names[0]), "/a");
	floors[0] = 0;
	fetch_and_put(0);
	kit_reopen();
	found = 0;
	for (int i = 0; i < 100; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_it, NULL), 0);
	for (int i = 0; i < 100; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(found, 100);
	assert_int_equal(kit_figures().hot_files, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nobody_sees_what_is_torn_anothers_or_from_before_a_drop),
		T(a_body_that_is_dropped_while_it_gets_its_name_leaves_no_file),
		T(nobody_sees_a_head_from_before_an_update),
		T(a_hundred_who_want_the_same_from_disk_all_get_it),
	};

	return cmocka_run_group_tests_name("cache_threads", tests, NULL, NULL);
}
