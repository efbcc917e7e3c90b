/* fuzz_stored.c -- an upstream's answer on its way into the cache and out again: what is stored of its head, what a 304
 * makes of that, and the lines that a client gets.
 *
 * The input is three blocks of lines with an empty line between them: the answer's head, a 304's, the request's. What
 * is stored is the same when it is stored again; what a 304 has changed stays when the same 304 comes again; nothing of
 * one connection is in it; a client gets no line end, and no name that is no token; the request that was answered is
 * found again by its own key. */
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/obj.h"
#include "mirror/heads.h"
#include "mirror/stored.h"
#include "mirror/vary.h"
#include "proto/httplist.h"

#define MOST_LINES 200
#define NOW_MS     1767348245000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct block {
	struct slice lines[MOST_LINES];
	struct httplines view;
};

static void cut(struct slice text, struct block *b)
{
	size_t n = httplines_cut(text, b->lines, MOST_LINES);

	b->view = (struct httplines){ b->lines, n < MOST_LINES ? n : MOST_LINES };
}

/* Up to the next empty line, which is taken as well. */
static struct slice take_block(struct slice *rest)
{
	const char *end = rest->n ? memmem(rest->p, rest->n, "\n\n", 2) : NULL;
	struct slice out = *rest;

	if (end)
		out.n = (size_t)(end - rest->p) + 1;
	*rest = slice_from(*rest, end ? out.n + 1 : rest->n);
	return out;
}

static void is_plain(const char *text)
{
	ENSURE(strpbrk(text, "\r\n") == NULL);
}

static void check_reply(const struct httplines *stored)
{
	struct arena a;
	struct header_line *lines;
	size_t n = 0;

	arena_init(&a, 1 << 20);
	lines = heads_for_reply(stored, &a, 0, &n);
	ENSURE(lines && n >= 1 && n <= stored->count + 1);
	for (size_t i = 0; i < n; i++) {
		ENSURE(httplist_is_token(slice_str(lines[i].name)));
		is_plain(lines[i].value);
		ENSURE(!fields_is_hop_by_hop(stored, slice_str(lines[i].name)));
	}
	arena_fini(&a);
}

static void check_stored(const struct block *stored, struct slice head, struct slice vary)
{
	const struct stored_parts p = { .key = SLICE_LIT("/a"), .vary_key = vary, .head = head, .status = 200,
					.request_wall_ms = NOW_MS - 10, .response_wall_ms = NOW_MS };
	const struct policy_times t = { NOW_MS - 10, NOW_MS };
	struct stored *s = NULL;

	if (stored_new(&p, &s) < 0)
		return;
	ENSURE(s->lines.count == stored->view.count);
	ENSURE(policy_age_ms(&s->policy, &t, NOW_MS + 5000) >= 0);
	for (size_t i = 0; i < s->reply_count; i++) {
		is_plain(s->reply[i].name);
		is_plain(s->reply[i].value);
	}
	stored_unref(&s);
}

static void store(const struct httplines *answer, const struct httplines *change, const struct httplines *request)
{
	struct buf once = BUF_EMPTY, twice = BUF_EMPTY, key = BUF_EMPTY;
	struct block stored;

	if (change)
		fields_update(answer, change, NOW_MS, &once);
	else
		fields_to_store(answer, NOW_MS, &once);
	cut(buf_slice(&once), &stored);
	ENSURE(httplines_get(&stored.view, "date").p != NULL || stored.view.count == MOST_LINES);
	if (change)
		fields_update(&stored.view, change, NOW_MS, &twice);
	else
		fields_to_store(&stored.view, NOW_MS, &twice);
	ENSURE(stored.view.count == MOST_LINES || slice_eq(buf_slice(&once), buf_slice(&twice)));
	if (vary_key(&stored.view, request, &key) == 0)
		ENSURE(vary_matches(buf_slice(&key), request));
	else
		ENSURE(key.len == 0);
	check_stored(&stored, buf_slice(&once), buf_slice(&key));
	check_reply(&stored.view);
	if (!change)
		ENSURE(httplines_get(&stored.view, "content-length").p == NULL);
	buf_fini(&once);
	buf_fini(&twice);
	buf_fini(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = { (const char *)data, size };
	struct block answer, change, request;
	struct buf kept = BUF_EMPTY;
	struct block old;

	if (size > 8192)
		return 0;
	cut(take_block(&rest), &answer);
	cut(take_block(&rest), &change);
	cut(rest, &request);
	store(&answer.view, NULL, &request.view);
	fields_to_store(&answer.view, NOW_MS - 1000, &kept);
	cut(buf_slice(&kept), &old);
	if (old.view.count < MOST_LINES / 2 && change.view.count < MOST_LINES / 2)
		store(&old.view, &change.view, &request.view);
	buf_fini(&kept);
	return 0;
}
