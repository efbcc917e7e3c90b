/* outbox_index_test.c -- who may go, against a model that looks at every entry; keys in order, against a walk over all.
 * */
#include "store/outbox_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/obj.h"

#define ENTRIES 400

static const char *const texts[] = { "/",     "/a",       "/a/",      "/a/b",   "/a/b/",   "/a/b/c",  "/a/b/c/",
				     "/a0",   "/a/c",     "/b",       "/b/",    "/b/x",    "/b/x/y/", "/c",
				     "/a/b!", "/a/b/c/d", "/b/x/y/z", "/b/x/y", "/\xff/q", "/\xff/" };

static uint64_t random_state;

static unsigned roll(unsigned below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % below;
}

struct model {
	struct {
		bool is_there;
		unsigned key;
		enum outbox_state state;
		int64_t due_ms;
	} e[ENTRIES + 1]; /* by seq */
	unsigned count;
};

static bool is_related(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);

	if (strcmp(a, b) == 0)
		return true;
	return (a[n - 1] == '/' && strncmp(a, b, n) == 0) || (b[m - 1] == '/' && strncmp(b, a, m) == 0);
}

/* By the words of outbox.h. */
static bool model_may_go(const struct model *m, unsigned i, int64_t now_ms)
{
	if (m->e[i].state != OUTBOX_QUEUED || m->e[i].due_ms > now_ms)
		return false;
	for (unsigned k = 1; k <= m->count; k++) {
		if (k == i || !m->e[k].is_there || !outbox_state_is_pending(m->e[k].state) ||
		    !is_related(texts[m->e[i].key], texts[m->e[k].key]))
			continue;
		if (k < i || m->e[k].state == OUTBOX_SENDING)
			return false;
	}
	return true;
}

static bool model_is_pending(const struct model *m, unsigned key)
{
	for (unsigned k = 1; k <= m->count; k++)
		if (m->e[k].is_there && outbox_state_is_pending(m->e[k].state) &&
		    is_related(texts[key], texts[m->e[k].key]))
			return true;
	return false;
}

static void add(struct outbox_index *ix, struct model *m)
{
	struct outbox_item *i = xcalloc(1, sizeof(*i));
	unsigned n = ++m->count, key = roll(ARRAY_LEN(texts));

	i->seq = n;
	i->is_durable = i->is_counted = true;
	i->due_ms = roll(3) ? 0 : roll(2000);
	m->e[n].is_there = true;
	m->e[n].key = key;
	m->e[n].state = OUTBOX_QUEUED;
	m->e[n].due_ms = i->due_ms;
	outbox_index_add_take(ix, i, slice_str(texts[key]));
	outbox_index_count(ix, OUTBOX_QUEUED, 0, 1);
}

static void take(struct outbox_index *ix, struct model *m, int64_t now_ms)
{
	int64_t next;
	struct outbox_item *i = outbox_index_take_due(ix, now_ms, &next);
	unsigned could = 0;

	for (unsigned k = 1; k <= m->count; k++)
		could += m->e[k].is_there && model_may_go(m, k, now_ms);
	if (!i) {
		assert_int_equal(could, 0);
		return;
	}
	if (!model_may_go(m, (unsigned)i->seq, now_ms))
		fail_msg("%u of %s went too early", (unsigned)i->seq, texts[m->e[i->seq].key]);
	m->e[i->seq].state = OUTBOX_SENDING;
}

/* A settlement, a verb, or nothing: what a random entry may come to. */
static void change(struct outbox_index *ix, struct model *m)
{
	unsigned n = m->count ? 1 + roll(m->count) : 0;
	struct outbox_item *i = n ? outbox_index_find(ix, n) : NULL;
	enum outbox_state to;

	if (n)
		assert_int_equal(i != NULL, m->e[n].is_there);
	if (!i || (m->e[n].state == OUTBOX_QUEUED && roll(8)))
		return;
	to = (enum outbox_state[]){ OUTBOX_APPLIED, OUTBOX_DROPPED, OUTBOX_QUEUED, OUTBOX_HELD,
				    OUTBOX_CONFLICT }[roll(5)];
	i->due_ms = m->e[n].due_ms = to == OUTBOX_QUEUED && roll(2) ? roll(3000) : 0;
	outbox_index_move(ix, i, to);
	m->e[n].state = to;
	m->e[n].is_there = !outbox_state_is_settled(to);
}

static void compare(struct outbox_index *ix, const struct model *m)
{
	uint64_t counted[OUTBOX_STATES] = { 0 };

	for (unsigned k = 0; k < ARRAY_LEN(texts); k++) {
		uint64_t tail = 0;
		for (unsigned n = 1; n <= m->count; n++)
			if (m->e[n].is_there && m->e[n].key == k && outbox_state_is_pending(m->e[n].state))
				tail = n;
		assert_int_equal(outbox_index_is_pending(ix, slice_str(texts[k])), model_is_pending(m, k));
		assert_int_equal(outbox_index_tail(ix, slice_str(texts[k])), tail);
	}
	for (unsigned n = 1; n <= m->count; n++)
		counted[m->e[n].state]++;
	for (unsigned s = 0; s < OUTBOX_STATES; s++)
		assert_int_equal(ix->entries[s], counted[s]);
}

static void what_may_go_is_what_the_header_says_whatever_happens(void **state)
{
	for (unsigned round = 0; round < 60; round++) {
		struct outbox_index ix = { 0 };
		struct model m = { .count = 0 };
		int64_t now_ms = 0;

		random_state = round + 1;
		while (m.count < ENTRIES) {
			switch (roll(4)) {
			case 0:
				add(&ix, &m);
				break;
			case 1:
				now_ms += roll(20);
				take(&ix, &m, now_ms);
				break;
			default:
				change(&ix, &m);
			}
			if (m.count % 16 == 0)
				compare(&ix, &m);
		}
		outbox_index_fini(&ix);
	}
}

static void nothing_is_forgotten_until_all_is_gone(void **state)
{
	for (unsigned round = 0; round < 20; round++) {
		struct outbox_index ix = { 0 };
		struct model m = { .count = 0 };
		unsigned left = ENTRIES;
		int64_t next;

		random_state = round + 1000;
		while (m.count < ENTRIES)
			add(&ix, &m);
		while (left > 0) { /* nothing else wakes those that wait */
			struct outbox_item *i = outbox_index_take_due(&ix, 5000, &next);
			assert_non_null(i);
			outbox_index_move(&ix, i, OUTBOX_APPLIED);
			left--;
		}
		assert_int_equal(atomic_load(&ix.pending), 0);
		assert_null(ix.keys.root);
		outbox_index_fini(&ix);
	}
}

static void a_clock_that_is_set_back_does_not_put_off(void **state)
{
	struct outbox_index ix = { 0 };
	struct outbox_item *i = xcalloc(1, sizeof(*i));
	int64_t year_ms = 365LL * 24 * 3600 * 1000, next;

	i->seq = 1;
	i->is_durable = true;
	i->due_ms = year_ms + 60000;
	outbox_index_add_take(&ix, i, SLICE_LIT("/a"));
	assert_null(outbox_index_take_due(&ix, year_ms, &next));
	assert_int_equal(next, year_ms + 60000);
	assert_null(outbox_index_take_due(&ix, 1000, &next)); /* a year back */
	assert_int_equal(next, 61000);
	assert_non_null(outbox_index_take_due(&ix, 61000, &next));
	outbox_index_fini(&ix);
}

static struct outbox_key *earliest_below(struct outbox_key *k, const char *text)
{
	struct outbox_key *best = NULL, *others[2];
	size_t n = strlen(text);

	if (!k)
		return NULL;
	if (k->len > n && memcmp(k->text, text, n) == 0)
		best = k;
	others[0] = earliest_below(k->left, text);
	others[1] = earliest_below(k->right, text);
	for (int i = 0; i < 2; i++)
		if (others[i] && (!best || others[i]->first < best->first))
			best = others[i];
	return best;
}

static unsigned depth_of(const struct outbox_key *k)
{
	unsigned left = k ? depth_of(k->left) : 0, right = k ? depth_of(k->right) : 0;

	return k ? 1 + (left > right ? left : right) : 0;
}

static void keys_are_found_and_compared_below_a_directory(void **state)
{
	static const char *const dirs[] = { "/", "/1", "/12", "/3/", "/999", "x" };
	struct outbox_keys ks = { 0 };
	char text[32];

	random_state = 7;
	for (unsigned step = 0; step < 20000; step++) {
		struct outbox_key *k;

		(void)snprintf(text, sizeof(text), roll(3) ? "/%u" : "/%u/", roll(2000));
		k = outbox_keys_find(&ks, slice_str(text));
		if (k && roll(2)) {
			outbox_keys_remove(&ks, k);
			assert_null(outbox_keys_find(&ks, slice_str(text)));
		} else {
			k = outbox_keys_make(&ks, slice_str(text));
			outbox_keys_set_first(k, roll(4) ? roll(1000000) + 1 : OUTBOX_NO_SEQ);
		}
		if (step % 50)
			continue;
		for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
			struct outbox_key *want = earliest_below(ks.root, dirs[i]);
			struct outbox_key *got = outbox_keys_earliest_below(&ks, slice_str(dirs[i]));
			assert_int_equal(got != NULL, want != NULL);
			if (want)
				assert_int_equal(got->first, want->first);
		}
	}
	assert_in_range(depth_of(ks.root), 1, 60);
	while (ks.root)
		outbox_keys_remove(&ks, ks.root);
	assert_int_equal(ks.directories, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_found_and_compared_below_a_directory),
		cmocka_unit_test(what_may_go_is_what_the_header_says_whatever_happens),
		cmocka_unit_test(nothing_is_forgotten_until_all_is_gone),
		cmocka_unit_test(a_clock_that_is_set_back_does_not_put_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
