/* cache.c -- a scenario: the mirror's cache may be lost, but never serves half a body, another's, or what was dropped.
 *
 * Responses of several sizes are kept, replaced, and dropped as writes drop them. Each body says which version of which
 * key it is. After the restart whatever is served is whole, of its own key, and none that a drop ended which was told
 * to be done: a client that has written does not read the old after a power cut. */
#include "crash.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "mirror/cache.h"
#include "store/wholefile.h"

#define KEYS 5

struct cache_room {
	atomic_uint put[KEYS];   /* versions 0 to this - 1 were put, or nearly */
	atomic_uint least[KEYS]; /* older ones were dropped, durably */
};

static const struct {
	const char *key;
	size_t bytes;
} keys[KEYS] = {
	{ "/small", 100 }, { "/inline", STORED_INLINE_BYTES }, { "/file", STORED_INLINE_BYTES + 1 },
	{ "/folder/a", 300 }, { "/folder/b", 200000 },
};

static struct cache *cache;

static int open_cache(struct run *run)
{
	const struct cache_options o = { .dir = run_path(run, "cache"),
					 .max_bytes = 64 << 20,
					 .low_bytes = 60 << 20,
					 .memory_bytes = 1 << 20,
					 .most_files = 8 };
	struct buf err = BUF_EMPTY;
	int r = cache_open(&o, &cache, &err);

	buf_fini(&err);
	return r;
}

static void open_somehow(struct run *run)
{
	if (open_cache(run) == 0)
		return;
	disk_heal();
	EXPECT(run, open_cache(run) == 0, "does not open on a sound disk");
}

/* "K V " and then what only this version has. */
static void body_of(unsigned k, unsigned version, struct buf *out)
{
	buf_addf(out, "%u %u ", k, version);
	while (out->len < keys[k].bytes)
		buf_addf(out, "%u.%zu,", version, out->len);
	buf_truncate(out, keys[k].bytes);
}

/* One that comes in as an answer does; when the disk refuses it, it is not kept. */
static void put(struct run *run, unsigned k)
{
	struct cache_room *room = run->room;
	struct buf body = BUF_EMPTY;
	struct stored_parts p = { .key = slice_str(keys[k].key),
				  .head = SLICE_LIT("Cache-Control: max-age=3600\n"),
				  .status = 200,
				  .request_wall_ms = clock_wall_ms(),
				  .response_wall_ms = clock_wall_ms(),
				  .body_bytes = keys[k].bytes };
	struct stored *s = NULL;
	int r = 0;

	body_of(k, atomic_fetch_add(&room->put[k], 1), &body);
	p.body_crc = crc32c(0, body.data, body.len);
	if (body.len > STORED_INLINE_BYTES) {
		r = spool_new(cache_spool_dir(cache), 0, &p.file);
		if (r == 0)
			r = spool_append(p.file, body.data, body.len);
		if (r == 0)
			spool_complete(p.file);
	} else {
		p.body = blob_new_copy(body.data, body.len);
	}
	if (r < 0)
		spool_unref(&p.file);
	else if (stored_new(&p, &s) == 0)
		(void)cache_put(cache, s, cache_epoch(cache, p.key));
	stored_unref(&s);
	buf_fini(&body);
}

/* As after a write: nothing that was put before is served again, once that is told. */
static void drop(struct run *run, unsigned first, unsigned last)
{
	struct cache_room *room = run->room;

	if (first == last)
		(void)cache_drop(cache, slice_str(keys[first].key));
	else
		(void)cache_drop_prefix(cache, SLICE_LIT("/folder/"));
	if (cache_sync_drops(cache) == 0)
		for (unsigned k = first; k <= last; k++)
			atomic_store(&room->least[k], atomic_load(&room->put[k]));
}

static void put_all(struct run *run)
{
	for (unsigned k = 0; k < KEYS; k++)
		put(run, k);
}

static void act(struct run *run)
{
	open_somehow(run);
	put_all(run);
	drop(run, 0, 0);
	put(run, 0);
	drop(run, 2, 2);
	put(run, 2);
	put(run, 1);
	(void)cache_sync(cache);
	drop(run, 3, 4);
	cache_close(cache);
	open_somehow(run);
	put_all(run);
	drop(run, 1, 1);
	put(run, 4);
	drop(run, 2, 2);
	disk_heal();
	put_all(run);
	(void)cache_sync(cache);
	drop(run, 3, 4);
}

static void look(struct run *run)
{
	struct cache_room *room = run->room;

	for (unsigned k = 0; k < KEYS; k++) {
		const struct httplines none = { NULL, 0 };
		struct buf want = BUF_EMPTY, got = BUF_EMPTY;
		struct stored *s = NULL;
		unsigned version;
		int r = cache_peek(cache, slice_str(keys[k].key), &none, &s);

		if (r == -EAGAIN)
			r = cache_load(cache, slice_str(keys[k].key), &none, &s);
		EXPECT(run, r == 0 || r == -ENOENT, "%s: %s", keys[k].key, err_text(r));
		if (r < 0)
			continue;
		if (s->body)
			buf_add_slice(&got, blob_slice(s->body));
		else
			EXPECT(run,
			       pread(spool_fd(s->file), buf_reserve(&got, keys[k].bytes + 1), keys[k].bytes + 1, 0) ==
				       (ssize_t)keys[k].bytes,
			       "%s is cut", keys[k].key);
		got.len = s->body ? got.len : keys[k].bytes;
		version = (unsigned)strtoul(got.data + 2, NULL, 10);
		body_of(k, version, &want);
		EXPECT(run, slice_eq(buf_slice(&got), buf_slice(&want)), "%s is not whole, or another's", keys[k].key);
		EXPECT(run, version >= atomic_load(&room->least[k]), "version %u of %s was dropped", version,
		       keys[k].key);
		EXPECT(run, version < atomic_load(&room->put[k]), "version %u of %s was never put", version,
		       keys[k].key);
		stored_unref(&s);
		buf_fini(&want);
		buf_fini(&got);
	}
}

static void check(struct run *run)
{
	struct cache_figures f;

	EXPECT(run, open_cache(run) == 0, "does not open");
	look(run);
	put_all(run);
	drop(run, 0, 0);
	cache_figures(cache, &f);
	EXPECT(run, f.responses == KEYS - 1, "%llu responses", (unsigned long long)f.responses);
	cache_close(cache);
	EXPECT(run, open_cache(run) == 0, "does not open again");
	look(run);
	cache_figures(cache, &f);
	EXPECT(run, f.responses == KEYS - 1, "%llu responses after a start", (unsigned long long)f.responses);
	cache_close(cache);
}

const struct scenario cache_scenarios[] = {
	{ "cache", NULL, act, check, DISK_BLIND_FILES, LONG, NULL },
	{ 0 },
};
