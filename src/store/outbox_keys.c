/* outbox_keys.c -- a treap of keys that knows, for each subtree, the key with the earliest pending entry.
 *
 * WHY      A DELETE of a directory waits for everything below that came before it: with a million keys that must not be
 *          a walk over all. Keys below a directory are neighbours in the order of bytes, so it is the smallest of a
 *          range, which a balanced tree answers in one descent. Random priorities balance it whatever keys a peer
 *          chooses.
 * RULES    In order: left < key < right. Heap: a parent's priority is at most its children's. `earliest` is right
 *          for each node whenever a function of this file returns. */
#include "store/outbox_keys.h"

#include "base/rand.h"

/* --- the tree --------------------------------------------------------------------------------------------------- */

static struct outbox_key *earlier(struct outbox_key *a, struct outbox_key *b)
{
	if (!a || !b)
		return a ? a : b;
	return b->first < a->first ? b : a;
}

static struct outbox_key *earliest_of(const struct outbox_key *k)
{
	return k ? k->earliest : NULL;
}

static void refresh(struct outbox_key *k)
{
	k->earliest = earlier(k, earlier(earliest_of(k->left), earliest_of(k->right)));
}

static void refresh_up(struct outbox_key *k)
{
	for (; k; k = k->up)
		refresh(k);
}

/* Where the tree points at k. */
static struct outbox_key **place_of(struct outbox_keys *ks, struct outbox_key *k)
{
	if (!k->up)
		return &ks->root;
	return k->up->left == k ? &k->up->left : &k->up->right;
}

/* k changes places with its parent. */
static void rotate_up(struct outbox_keys *ks, struct outbox_key *k)
{
	struct outbox_key *parent = k->up, **place = place_of(ks, parent), *middle;

	if (parent->left == k) {
		middle = k->right;
		parent->left = middle;
		k->right = parent;
	} else {
		middle = k->left;
		parent->right = middle;
		k->left = parent;
	}
	if (middle)
		middle->up = parent;
	k->up = parent->up;
	parent->up = k;
	*place = k;
	refresh(parent);
	refresh(k);
}

static uint32_t next_priority(struct outbox_keys *ks)
{
	if (ks->seed == 0)
		ks->seed = rand_u64() | 1;
	ks->seed ^= ks->seed << 13; /* xorshift64, Marsaglia 2003 */
	ks->seed ^= ks->seed >> 7;
	ks->seed ^= ks->seed << 17;
	return (uint32_t)(ks->seed >> 32);
}

struct outbox_key *outbox_keys_find(const struct outbox_keys *ks, struct slice text)
{
	struct outbox_key *k = ks->root;

	while (k) {
		int c = slice_cmp(text, outbox_key_text(k));
		if (c == 0)
			break;
		k = c < 0 ? k->left : k->right;
	}
	return k;
}

static struct outbox_key *key_new(struct outbox_keys *ks, struct slice text)
{
	struct outbox_key *k = xcalloc(1, sizeof(*k) + text.n + 1);

	k->earliest = k;
	k->first = OUTBOX_NO_SEQ;
	k->priority = next_priority(ks);
	list_init(&k->pending);
	list_init(&k->conflicts);
	list_init(&k->wait);
	k->len = text.n;
	if (text.n)
		memcpy(k->text, text.p, text.n);
	if (outbox_key_is_directory(text)) {
		ks->directories++;
		if (ks->longest_directory < text.n)
			ks->longest_directory = text.n;
	}
	return k;
}

struct outbox_key *outbox_keys_make(struct outbox_keys *ks, struct slice text)
{
	struct outbox_key **place = &ks->root, *up = NULL, *k;

	while (*place) {
		int c = slice_cmp(text, outbox_key_text(*place));
		if (c == 0)
			return *place;
		up = *place;
		place = c < 0 ? &up->left : &up->right;
	}
	k = key_new(ks, text);
	k->up = up;
	*place = k;
	refresh_up(up);
	while (k->up && k->priority < k->up->priority)
		rotate_up(ks, k);
	return k;
}

void outbox_keys_remove(struct outbox_keys *ks, struct outbox_key *k)
{
	while (k->left || k->right) {
		bool takes_left = !k->right || (k->left && k->left->priority < k->right->priority);
		rotate_up(ks, takes_left ? k->left : k->right);
	}
	*place_of(ks, k) = NULL;
	refresh_up(k->up);
	if (outbox_key_is_directory(outbox_key_text(k)) && --ks->directories == 0)
		ks->longest_directory = 0;
	free(k);
}

void outbox_keys_set_first(struct outbox_key *k, uint64_t first)
{
	if (k->first == first)
		return;
	k->first = first;
	refresh_up(k);
}

/* --- relatives -------------------------------------------------------------------------------------------------- */

struct outbox_key *outbox_keys_above(const struct outbox_keys *ks, struct slice text, size_t *at)
{
	struct outbox_key *k = NULL;

	if (ks->directories == 0)
		return NULL;
	while (!k && *at + 1 < text.n && *at < ks->longest_directory) {
		const char *slash = memchr(text.p + *at, '/', text.n - 1 - *at);
		if (!slash)
			break;
		*at = (size_t)(slash - text.p) + 1;
		k = outbox_keys_find(ks, (struct slice){ text.p, *at });
	}
	return k;
}

/* <0: sorts before all that begin with text and are longer; 0: is one; >0: after them. */
static int against_range(const struct outbox_key *k, struct slice text)
{
	if (k->len > text.n && memcmp(k->text, text.p, text.n) == 0)
		return 0;
	return slice_cmp(outbox_key_text(k), text) <= 0 ? -1 : 1;
}

struct outbox_key *outbox_keys_earliest_below(const struct outbox_keys *ks, struct slice text)
{
	struct outbox_key *top = ks->root, *best, *k;
	int c;

	while (top && (c = against_range(top, text)) != 0)
		top = c < 0 ? top->right : top->left;
	if (!top)
		return NULL;
	best = top;
	for (k = top->left; k;) { /* left of top nothing is after the range: whole right subtrees are in it */
		if (against_range(k, text) < 0) {
			k = k->right;
			continue;
		}
		best = earlier(best, earlier(k, earliest_of(k->right)));
		k = k->left;
	}
	for (k = top->right; k;) { /* and the other way round */
		if (against_range(k, text) > 0) {
			k = k->left;
			continue;
		}
		best = earlier(best, earlier(k, earliest_of(k->left)));
		k = k->right;
	}
	return best;
}
