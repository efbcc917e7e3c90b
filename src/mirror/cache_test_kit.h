/* cache_test_kit.h -- a cache in a folder of its own, and stored responses for it. For the tests of the cache only. */
#ifndef WEIR_MIRROR_CACHE_TEST_KIT_H
#define WEIR_MIRROR_CACHE_TEST_KIT_H

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"
#include "mirror/cache.h"
#include "mirror/vary.h"
#include "store/wholefile.h"

#define KIT __attribute__((unused)) static

static char kit_dir[64];
static struct cache *cache;
static struct cache_options kit_options;

KIT void kit_open(void)
{
	struct buf err = BUF_EMPTY;

	ENSURE(cache_open(&kit_options, &cache, &err) == 0);
	buf_fini(&err);
}

KIT void kit_reopen(void)
{
	cache_close(cache);
	kit_open();
}

KIT int kit_setup(void **state)
{
	memcpy(kit_dir, "/tmp/weir-cache-XXXXXX", 23);
	if (!mkdtemp(kit_dir))
		return -1;
	kit_options = (struct cache_options){
		.dir = kit_dir, .max_bytes = 64 << 20, .low_bytes = 48 << 20, .memory_bytes = 16 << 20, .most_files = 64
	};
	kit_open();
	return 0;
}

KIT int kit_teardown(void **state)
{
	cache_close(cache);
	cache = NULL;
	clock_set_fake(NULL);
	return tree_remove(kit_dir);
}

/* Up to 8 header lines from a text with line ends. */
struct kit_lines {
	struct slice items[8];
	struct httplines view;
};

KIT const struct httplines *kit_lines(struct kit_lines *l, const char *text)
{
	l->view = (struct httplines){ l->items, httplines_cut(slice_str(text), l->items, 8) };
	return &l->view;
}

/* A body of n bytes that begins with `text` and differs from others. */
KIT struct buf kit_body(const char *text, size_t n)
{
	struct buf b = BUF_EMPTY;

	buf_add_str(&b, text);
	while (b.len < n)
		buf_addf(&b, "%zu,", b.len);
	buf_truncate(&b, n);
	return b;
}

KIT struct spool *kit_spool(struct slice body)
{
	struct spool *f = NULL;

	ENSURE(spool_new(cache_spool_dir(cache), 0, &f) == 0);
	ENSURE(spool_append(f, body.p, body.n) == 0);
	spool_complete(f);
	return f;
}

/* A response to `request`, with `head` and a body of n bytes that begins with text: a file above the inline size. */
KIT struct stored *kit_stored(const char *key, const char *request, const char *head, const char *text, size_t n)
{
	struct buf body = kit_body(text, n), vary = BUF_EMPTY;
	struct kit_lines rq, rs;
	struct stored *s = NULL;
	struct stored_parts p = { .key = slice_str(key),
				  .head = slice_str(head),
				  .status = 200,
				  .request_wall_ms = clock_wall_ms() - 5,
				  .response_wall_ms = clock_wall_ms(),
				  .body_bytes = n,
				  .body_crc = crc32c(0, body.data, body.len) };

	ENSURE(vary_key(kit_lines(&rs, head), kit_lines(&rq, request), &vary) == 0);
	p.vary_key = buf_slice(&vary);
	if (n > STORED_INLINE_BYTES)
		p.file = kit_spool(buf_slice(&body));
	else if (n)
		p.body = blob_new_copy(body.data, body.len);
	ENSURE(stored_new(&p, &s) == 0);
	buf_fini(&vary);
	buf_fini(&body);
	return s;
}

KIT int kit_put_for(const char *key, const char *request, const char *head, const char *text, size_t n)
{
	struct stored *s = kit_stored(key, request, head, text, n);
	int r = cache_put(cache, s, cache_epoch(cache, slice_str(key)));

	stored_unref(&s);
	return r;
}

KIT int kit_put(const char *key, const char *text, size_t n)
{
	return kit_put_for(key, "", "Content-Type: text/plain\n", text, n);
}

KIT void kit_body_of(const struct stored *s, struct buf *out)
{
	buf_reset(out);
	if (s->body)
		buf_add_slice(out, blob_slice(s->body));
	if (s->file) {
		ENSURE(s->body_bytes < 1 << 28);
		ENSURE(buf_reserve(out, s->body_bytes) &&
		       pread(spool_fd(s->file), out->data, s->body_bytes, 0) == (ssize_t)s->body_bytes);
		out->len = s->body_bytes;
	}
}

/* Whether there is an answer whose body is what kit_stored() made of text and n; from memory or disk, as it comes. */
KIT bool kit_has_for(const char *key, const char *request, const char *text, size_t n)
{
	struct kit_lines rq;
	struct stored *s = NULL;
	struct buf got = BUF_EMPTY, want = kit_body(text, n);
	int r = cache_peek(cache, slice_str(key), kit_lines(&rq, request), &s);
	bool is_same;

	if (r == -EAGAIN)
		r = cache_load(cache, slice_str(key), &rq.view, &s);
	ENSURE(r == 0 || r == -ENOENT);
	if (r == 0)
		kit_body_of(s, &got);
	is_same = r == 0 && slice_eq_str(buf_slice(&s->key), key) && slice_eq(buf_slice(&got), buf_slice(&want));
	ENSURE(r < 0 || is_same || got.len == 0 || got.data[0] != text[0]); /* another body is another text */
	stored_unref(&s);
	buf_fini(&got);
	buf_fini(&want);
	return is_same;
}

KIT bool kit_has(const char *key, const char *text, size_t n)
{
	return kit_has_for(key, "", text, n);
}

KIT bool kit_is_there(const char *key)
{
	struct kit_lines rq;
	struct stored *s = NULL;
	int r = cache_peek(cache, slice_str(key), kit_lines(&rq, ""), &s);

	if (r == -EAGAIN)
		r = cache_load(cache, slice_str(key), &rq.view, &s);
	stored_unref(&s);
	return r == 0;
}

/* How many files are in a folder of the cache's. */
KIT unsigned kit_files(const char *folder)
{
	char *path = xstrf("%s/%s", kit_dir, folder);
	DIR *d = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	free(path);
	return n;
}

KIT struct cache_figures kit_figures(void)
{
	struct cache_figures f;

	cache_figures(cache, &f);
	return f;
}

#endif
