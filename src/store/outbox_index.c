/* outbox_index.c -- the order in which a queue's entries may go.
 *
 * WHAT     An array by seq finds an entry; a tree of keys holds each key's entries; a heap holds the keys whose first
 *          entry may go, by the time it is due.
 * RULES    1. The first pending entry of a key stands for it: only that may go, and only when none of the key is being
 *             sent.
 *          2. It waits while a key above it (a directory) or, when it is a directory itself, a key below has an earlier
 *             pending entry or one that is being sent: "earliest" of outbox_keys.h answers both.
 *          3. A key is in the heap, or waits on one item, or neither can be (its first is held, being sent, not durable
 *             or in flux). Keys in the heap are looked at once more when their turn comes, as an operator may have
 *             queued an older entry anew.
 *          4. Who waits, waits on the last entry of one key that must go first: so each key is looked at about once for
 *             each key in its way, not once for each entry.
 *          5. A damaged entry has no key: it is found, listed, counted and dropped, and keeps nobody waiting.
 * COST     A put or a settlement is O(log n); a put to a path of d folders looks d keys up while directories are
 *          pending.
 * TRIED    Counting for each directory what is below it: a key of 8,000 slashes makes 8,000 counters. */
#include "store/outbox_index.h"

#include "base/obj.h"

#define FEWEST_SLOTS 64

/* An array is at most twice as long as what is in it, once entries have gone; malloc takes 16 bytes of its own. */
_Static_assert(sizeof(struct outbox_item) + sizeof(struct outbox_key) + 4 * sizeof(struct outbox_slot) +
			       2 * sizeof(struct outbox_key *) + 32 <= OUTBOX_INDEX_BYTES, "as the header says");

/* --- the array by seq ------------------------------------------------------------------------------------------- */

/* The first slot with a seq of at least `seq`. */
static size_t slot_at(const struct outbox_index *ix, uint64_t seq)
{
	size_t low = 0, high = ix->slot_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (ix->slots[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct outbox_item *outbox_index_find(const struct outbox_index *ix, uint64_t seq)
{
	size_t at = slot_at(ix, seq);

	return at < ix->slot_count && ix->slots[at].seq == seq ? ix->slots[at].item : NULL;
}

size_t outbox_index_after(const struct outbox_index *ix, uint64_t seq)
{
	return slot_at(ix, seq + 1);
}

static void slots_compact(struct outbox_index *ix)
{
	size_t kept = 0;

	for (size_t i = 0; i < ix->slot_count; i++)
		if (ix->slots[i].item)
			ix->slots[kept++] = ix->slots[i];
	ix->slot_count = kept;
	ix->slots_gone = 0;
	if (ix->slot_cap > FEWEST_SLOTS && ix->slot_cap / 4 > kept) {
		ix->slot_cap /= 2;
		ix->slots = xrealloc(ix->slots, ix->slot_cap * sizeof(*ix->slots));
	}
}

static void slots_add(struct outbox_index *ix, struct outbox_item *item)
{
	ENSURE(ix->slot_count == 0 || ix->slots[ix->slot_count - 1].seq < item->seq);
	if (ix->slot_count == ix->slot_cap) {
		ix->slot_cap = ix->slot_cap ? ix->slot_cap * 2 : FEWEST_SLOTS;
		ix->slots = xrealloc(ix->slots, ix->slot_cap * sizeof(*ix->slots));
	}
	ix->slots[ix->slot_count++] = (struct outbox_slot){ item->seq, item };
}

static void slots_remove(struct outbox_index *ix, uint64_t seq)
{
	ix->slots[slot_at(ix, seq)].item = NULL;
	ix->slots_gone++;
	if (ix->slots_gone > FEWEST_SLOTS && ix->slots_gone > ix->slot_count / 2)
		slots_compact(ix);
}

/* --- the heap of keys that may go ------------------------------------------------------------------------------- */

static struct outbox_item *first_of(const struct outbox_key *k)
{
	return list_is_empty(&k->pending) ? NULL : LIST_ENTRY(k->pending.next, struct outbox_item, in_key);
}

static bool goes_before(const struct outbox_key *a, const struct outbox_key *b)
{
	const struct outbox_item *x = first_of(a), *y = first_of(b);

	return x->due_ms != y->due_ms ? x->due_ms < y->due_ms : x->seq < y->seq;
}

static void heap_put(struct outbox_index *ix, size_t at, struct outbox_key *k)
{
	ix->heap[at] = k;
	k->heap_at = (uint32_t)at;
}

/* Puts k at `at`, or where it belongs above or below. */
static void heap_sift(struct outbox_index *ix, size_t at, struct outbox_key *k)
{
	while (at > 1 && goes_before(k, ix->heap[at / 2])) {
		heap_put(ix, at, ix->heap[at / 2]);
		at /= 2;
	}
	for (size_t child; (child = at * 2) <= ix->heap_count; at = child) {
		if (child < ix->heap_count && goes_before(ix->heap[child + 1], ix->heap[child]))
			child++;
		if (!goes_before(ix->heap[child], k))
			break;
		heap_put(ix, at, ix->heap[child]);
	}
	heap_put(ix, at, k);
}

static void heap_add(struct outbox_index *ix, struct outbox_key *k)
{
	if (ix->heap_count + 2 > ix->heap_cap) {
		ix->heap_cap = ix->heap_cap ? ix->heap_cap * 2 : FEWEST_SLOTS;
		ix->heap = xrealloc(ix->heap, ix->heap_cap * sizeof(struct outbox_key *));
	}
	ix->heap_count++;
	heap_sift(ix, ix->heap_count, k);
}

static void heap_remove(struct outbox_index *ix, struct outbox_key *k)
{
	size_t at = k->heap_at;
	struct outbox_key *last;

	if (at == 0)
		return;
	k->heap_at = 0;
	last = ix->heap[ix->heap_count--];
	if (last != k)
		heap_sift(ix, at, last);
}

/* --- who waits for whom ----------------------------------------------------------------------------------------- */

/* What keeps an entry of `seq` waiting under a related key; NULL: nothing. */
static struct outbox_item *blocker_in(const struct outbox_key *k, uint64_t seq)
{
	struct list *it;

	if (k->first >= seq)
		return NULL;
	if (k->sending)
		return k->sending;
	for (it = k->pending.prev; LIST_ENTRY(it, struct outbox_item, in_key)->seq > seq; it = it->prev)
		;
	return LIST_ENTRY(it, struct outbox_item, in_key);
}

static struct outbox_item *find_blocker(const struct outbox_index *ix, const struct outbox_key *k)
{
	uint64_t seq = first_of(k)->seq;
	struct slice text = outbox_key_text(k);
	struct outbox_item *found = NULL;
	struct outbox_key *other;

	for (size_t at = 0; !found && (other = outbox_keys_above(&ix->keys, text, &at));)
		found = blocker_in(other, seq);
	if (!found && outbox_key_is_directory(text)) {
		other = outbox_keys_earliest_below(&ix->keys, text);
		if (other)
			found = blocker_in(other, seq);
	}
	return found;
}

static bool may_go(const struct outbox_key *k)
{
	const struct outbox_item *i = first_of(k);

	return i && !k->sending && i->state == OUTBOX_QUEUED && i->is_durable && !i->in_flux;
}

/* Rule 3, for a key whose entries changed. */
static void reconsider(struct outbox_index *ix, struct outbox_key *k)
{
	struct outbox_item *i = first_of(k), *blocker;

	heap_remove(ix, k);
	list_remove(&k->wait);
	outbox_keys_set_first(k, k->sending ? 0 : i ? i->seq : OUTBOX_NO_SEQ);
	if (!may_go(k))
		return;
	blocker = find_blocker(ix, k);
	if (blocker)
		list_push_back(&blocker->waiters, &k->wait);
	else
		heap_add(ix, k);
}

static void wake_waiters(struct outbox_index *ix, struct outbox_item *item)
{
	struct list woken;

	list_init(&woken);
	list_splice(&woken, &item->waiters);
	while (!list_is_empty(&woken))
		reconsider(ix, LIST_ENTRY(woken.next, struct outbox_key, wait));
}

void outbox_index_reconsider(struct outbox_index *ix, struct outbox_item *item)
{
	if (item->key)
		reconsider(ix, item->key);
}

/* --- entries come, change and go -------------------------------------------------------------------------------- */

void outbox_index_count(struct outbox_index *ix, enum outbox_state state, uint64_t bytes, int by)
{
	if (by > 0) {
		ix->entries[state]++;
		ix->bytes[state] += bytes;
	} else {
		ix->entries[state]--;
		ix->bytes[state] -= bytes;
	}
}

/* Into the key's list; pending ones stand by seq. Mostly at the end: only an operator's verbs bring old ones back. */
static void key_take_in(struct outbox_item *item)
{
	struct list *after = item->key->pending.prev;

	if (!outbox_item_is_pending(item, item->state)) {
		list_push_back(&item->key->conflicts, &item->in_key);
		return;
	}
	if (!list_is_empty(&item->key->pending) && first_of(item->key)->seq > item->seq)
		after = &item->key->pending;
	while (after != &item->key->pending && LIST_ENTRY(after, struct outbox_item, in_key)->seq > item->seq)
		after = after->prev;
	list_push_front(after, &item->in_key);
}

static void key_let_go(struct outbox_index *ix, struct outbox_key *k)
{
	reconsider(ix, k);
	if (list_is_empty(&k->pending) && list_is_empty(&k->conflicts))
		outbox_keys_remove(&ix->keys, k);
}

void outbox_index_add_take(struct outbox_index *ix, struct outbox_item *item, struct slice key)
{
	list_init(&item->in_key);
	list_init(&item->waiters);
	slots_add(ix, item);
	if (item->is_damaged)
		return;
	item->key = outbox_keys_make(&ix->keys, key);
	key_take_in(item);
	if (outbox_item_is_pending(item, item->state))
		atomic_fetch_add(&ix->pending, 1);
	reconsider(ix, item->key);
}

/* One of the key that was being sent is not any more, and has another state, or is off its list. What was lent stood at
 * its beginning. */
static void stops_being_sent(struct outbox_key *k)
{
	k->sending = NULL;
	if (--k->sending_count == 0)
		return;
	LIST_FOREACH(it, &k->pending) {
		struct outbox_item *i = LIST_ENTRY(it, struct outbox_item, in_key);
		if (i->state == OUTBOX_SENDING) {
			k->sending = i;
			return;
		}
	}
}

void outbox_index_set_parent(struct outbox_item *item, struct outbox_item *parent)
{
	if (item->parent)
		item->parent->children--;
	item->parent = parent;
	if (parent)
		parent->children++;
}

/* Off its key, whatever its state. */
static void leave_key(struct outbox_index *ix, struct outbox_item *item)
{
	struct outbox_key *k = item->key;

	if (!k)
		return;
	if (outbox_item_is_pending(item, item->state))
		atomic_fetch_sub(&ix->pending, 1);
	heap_remove(ix, k); /* before its first changes */
	list_remove(&item->in_key);
	if (item->state == OUTBOX_SENDING)
		stops_being_sent(k);
	item->key = NULL;
	key_let_go(ix, k);
	wake_waiters(ix, item);
}

void outbox_index_remove(struct outbox_index *ix, struct outbox_item *item)
{
	ENSURE(item->children == 0 || !item->is_durable);
	for (struct list *it = item->in_key.next; item->children > 0; it = it->next) /* they stand behind it */
		if (it != &item->key->pending && LIST_ENTRY(it, struct outbox_item, in_key)->parent == item)
			outbox_index_set_parent(LIST_ENTRY(it, struct outbox_item, in_key), NULL);
	outbox_index_set_parent(item, NULL);
	leave_key(ix, item);
	if (item->is_counted)
		outbox_index_count(ix, item->state, item->body_bytes, -1);
	slots_remove(ix, item->seq);
	free(item);
}

void outbox_index_set_damaged(struct outbox_index *ix, struct outbox_item *item)
{
	leave_key(ix, item);
	outbox_index_set_parent(item, NULL);
	item->is_damaged = true;
	if (item->is_counted) {
		outbox_index_count(ix, item->state, item->body_bytes, -1);
		outbox_index_count(ix, OUTBOX_HELD, item->body_bytes, 1);
	}
	item->state = item->next_state = OUTBOX_HELD;
}

void outbox_index_move(struct outbox_index *ix, struct outbox_item *item, enum outbox_state to)
{
	struct outbox_key *k = item->key;
	bool was_pending = outbox_item_is_pending(item, item->state), was_sent = k && item->state == OUTBOX_SENDING;
	bool is_pending = outbox_item_is_pending(item, to);

	if (item->is_counted) {
		outbox_index_count(ix, item->state, item->body_bytes, -1);
		outbox_index_count(ix, to, item->body_bytes, 1);
	}
	if (outbox_state_is_settled(to)) {
		item->is_counted = false; /* it is counted where it went */
		outbox_index_remove(ix, item);
		return;
	}
	if (!k) {
		item->state = item->next_state = (uint8_t)to;
		return;
	}
	heap_remove(ix, k);
	item->state = item->next_state = (uint8_t)to;
	if (was_pending != is_pending) {
		list_remove(&item->in_key);
		key_take_in(item);
		if (was_pending)
			atomic_fetch_sub(&ix->pending, 1);
		else
			atomic_fetch_add(&ix->pending, 1);
	}
	if (was_sent)
		stops_being_sent(k);
	reconsider(ix, k);
	if (was_sent || (was_pending && !is_pending))
		wake_waiters(ix, item);
}

void outbox_index_fini(struct outbox_index *ix)
{
	for (size_t i = 0; i < ix->slot_count; i++)
		free(ix->slots[i].item);
	while (ix->keys.root)
		outbox_keys_remove(&ix->keys, ix->keys.root);
	free(ix->slots);
	free(ix->heap);
}

/* --- questions -------------------------------------------------------------------------------------------------- */

bool outbox_index_is_pending(const struct outbox_index *ix, struct slice key)
{
	const struct outbox_key *k = outbox_keys_find(&ix->keys, key);

	if (k && !list_is_empty(&k->pending))
		return true;
	for (size_t at = 0; (k = outbox_keys_above(&ix->keys, key, &at));)
		if (!list_is_empty(&k->pending))
			return true;
	if (!outbox_key_is_directory(key))
		return false;
	k = outbox_keys_earliest_below(&ix->keys, key);
	return k && k->first != OUTBOX_NO_SEQ;
}

uint64_t outbox_index_tail(const struct outbox_index *ix, struct slice key)
{
	const struct outbox_key *k = outbox_keys_find(&ix->keys, key);

	if (!k)
		return 0;
	for (struct list *it = k->pending.prev; it != &k->pending; it = it->prev) {
		struct outbox_item *i = LIST_ENTRY(it, struct outbox_item, in_key);
		if (i->is_durable)
			return i->seq;
	}
	return 0;
}

struct outbox_item *outbox_index_next_tail(const struct outbox_index *ix, struct slice key)
{
	const struct outbox_key *k = outbox_keys_find(&ix->keys, key);

	if (!k)
		return NULL;
	for (struct list *it = k->pending.prev; it != &k->pending; it = it->prev) {
		struct outbox_item *i = LIST_ENTRY(it, struct outbox_item, in_key);
		if (outbox_item_is_pending(i, i->next_state))
			return i;
	}
	return NULL;
}

static void heap_rebuild(struct outbox_index *ix)
{
	size_t n = ix->heap_count;

	ix->heap_count = 0;
	for (size_t i = 1; i <= n; i++) {
		struct outbox_key *k = ix->heap[i];
		ix->heap_count++;
		heap_sift(ix, ix->heap_count, k);
	}
}

void outbox_index_redate(struct outbox_index *ix, int64_t (*fn)(const struct outbox_item *item, void *arg), void *arg)
{
	for (size_t i = 0; i < ix->slot_count; i++) {
		struct outbox_item *item = ix->slots[i].item;
		if (item && item->state == OUTBOX_QUEUED)
			item->due_ms = fn(item, arg);
	}
	heap_rebuild(ix);
}

static int64_t set_back(const struct outbox_item *item, void *arg)
{
	const int64_t *by = arg;

	return item->due_ms > *by ? item->due_ms - *by : 0;
}

void outbox_index_send_too(struct outbox_index *ix, struct outbox_item *item)
{
	struct outbox_key *k = item->key;

	if (!k->sending)
		k->sending = item;
	k->sending_count++;
	if (item->is_counted) {
		outbox_index_count(ix, item->state, item->body_bytes, -1);
		outbox_index_count(ix, OUTBOX_SENDING, item->body_bytes, 1);
	}
	item->state = item->next_state = OUTBOX_SENDING;
}

struct outbox_item *outbox_index_take_due(struct outbox_index *ix, int64_t now_ms, int64_t *ret_next_ms)
{
	int64_t back = ix->last_now_ms - now_ms;

	/* Somebody set the clock back: what was to wait for a minute does not wait for a year. */
	if (back > 0)
		outbox_index_redate(ix, set_back, &back);
	ix->last_now_ms = now_ms;
	*ret_next_ms = INT64_MAX;
	while (ix->heap_count > 0) {
		struct outbox_key *k = ix->heap[1];
		struct outbox_item *item = first_of(k);

		if (item->due_ms > now_ms) {
			*ret_next_ms = item->due_ms;
			break;
		}
		if (find_blocker(ix, k)) {
			reconsider(ix, k);
			continue;
		}
		outbox_index_send_too(ix, item);
		reconsider(ix, k);
		return item;
	}
	return NULL;
}

int64_t outbox_index_oldest_ms(const struct outbox_index *ix)
{
	for (size_t i = 0; i < ix->slot_count; i++)
		if (ix->slots[i].item && outbox_state_is_pending(ix->slots[i].item->state))
			return ix->slots[i].item->queued_ms;
	return 0;
}
