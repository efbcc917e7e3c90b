/* outbox_test_kit.h -- a folder, an outbox in it, and short ways to put and look (tests of the outbox only). */
#ifndef WEIR_STORE_OUTBOX_TEST_KIT_H
#define WEIR_STORE_OUTBOX_TEST_KIT_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"
#include "store/outbox.h"

struct kit {
	char *dir;
	struct outbox *ob;
	struct outbox_queue *q;
	struct outbox_limits limits;
};

static inline void kit_open(struct kit *k)
{
	struct buf err = BUF_EMPTY;

	if (outbox_open(k->dir, &k->ob, &err) < 0)
		fail_msg("%s", err.data);
	buf_fini(&err);
	k->q = outbox_queue(k->ob, "files", &k->limits);
}

static inline void kit_reopen(struct kit *k)
{
	outbox_close(k->ob);
	kit_open(k);
}

static inline int kit_set_up(void **state)
{
	struct kit *k = xcalloc(1, sizeof(*k));
	char place[] = "/tmp/weir-outbox-XXXXXX";

	assert_non_null(mkdtemp(place));
	k->dir = xstrdup(place);
	k->limits.keep_settled_ms = 1000;
	kit_open(k);
	*state = k;
	return 0;
}

static inline int kit_tear_down(void **state)
{
	struct kit *k = *state;

	outbox_close(k->ob);
	(void)tree_remove(k->dir);
	free(k->dir);
	free(k);
	return 0;
}

/* A PUT of the key's own path that others may be based on. */
static inline struct outbox_write kit_write(const char *key, const char *body)
{
	return (struct outbox_write){ .key = slice_str(key),
				      .method = SLICE_LIT("PUT"),
				      .uri = slice_str(key),
				      .headers = SLICE_LIT("Content-Type: text/plain\n"),
				      .content_type = SLICE_LIT("text/plain"),
				      .wants_parent = true,
				      .is_base = true,
				      .body = slice_str(body),
				      .expect_tail = OUTBOX_ANY };
}

static inline uint64_t kit_put(struct kit *k, const char *key, const char *body)
{
	struct outbox_write w = kit_write(key, body);
	struct outbox_receipt got;

	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	return got.seq;
}

static inline uint64_t kit_put_large(struct kit *k, const char *key, size_t bytes)
{
	struct outbox_write w = kit_write(key, "");
	struct outbox_receipt got;
	char *p = xmalloc(bytes);

	memset(p, 'x', bytes);
	assert_int_equal(outbox_spool_new(k->q, &w.spool), 0);
	assert_int_equal(spool_append(w.spool, p, bytes), 0);
	spool_complete(w.spool);
	assert_int_equal(outbox_put(k->q, &w, &got), 0);
	spool_unref(&w.spool);
	free(p);
	return got.seq;
}

/* How many files a folder has; none when it is not there. */
static inline unsigned kit_files(struct kit *k, const char *folder)
{
	char *path = xstrf("%s/%s", k->dir, folder);
	DIR *d = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		(void)closedir(d);
	free(path);
	return n;
}

/* The seq of what is lent; 0: nothing is due. */
static inline uint64_t kit_lend(struct kit *k, int64_t now_ms)
{
	struct outbox_entry e;
	int64_t next;
	uint64_t seq;
	int r = outbox_lend(k->q, now_ms, &e, &next);

	if (r == -ENOENT)
		return 0;
	assert_int_equal(r, 0);
	assert_int_equal(e.state, OUTBOX_SENDING);
	seq = e.seq;
	outbox_entry_fini(&e);
	return seq;
}

static inline void kit_settle(struct kit *k, uint64_t seq, enum outbox_state to)
{
	struct outbox_settlement s = { .to = to, .status = to == OUTBOX_QUEUED ? 503 : 200 };

	assert_int_equal(outbox_settle(k->q, seq, &s), 0);
}

static inline enum outbox_state kit_state(struct kit *k, uint64_t seq)
{
	struct outbox_entry e;
	enum outbox_state s;

	assert_int_equal(outbox_get(k->ob, seq, &e), 0);
	s = e.state;
	outbox_entry_fini(&e);
	return s;
}

#endif
