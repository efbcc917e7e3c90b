/* answers.c -- answers under way, shared by key.
 *
 * RULES    1. What is listed can be joined: its spool has not failed and its cancel has not fired.
 *          2. Both counts change under the list's lock, so finding and the last leaving exclude each other.
 * THREADS  Any; one lock, held for pointer work only. */
#include "git/answers.h"

#include <pthread.h>

#include "base/map.h"
#include "base/obj.h"

struct answers {
	pthread_mutex_t lock;
	struct map *listed;
};

struct answer {
	unsigned refs, parties; /* under the list's lock */
	struct answers *as;
	char *key;
	size_t key_len;
	bool listed;            /* likewise */
	struct spool *spool;
	struct cancel *cancel;  /* NULL: complete from the beginning */
	void (*released)(void *arg);
	void *arg;
};

struct answers *answers_new(void)
{
	struct answers *as = xcalloc(1, sizeof(*as));

	pthread_mutex_init(&as->lock, NULL);
	as->listed = map_new();
	return as;
}

void answers_free(struct answers *as)
{
	if (!as)
		return;
	ENSURE(map_count(as->listed) == 0);
	map_free(as->listed);
	pthread_mutex_destroy(&as->lock);
	free(as);
}

struct answer *answer_find(struct answers *as, struct slice key)
{
	struct answer *a;

	pthread_mutex_lock(&as->lock);
	a = map_get(as->listed, key);
	if (a) {
		a->refs++;
		a->parties++;
	}
	pthread_mutex_unlock(&as->lock);
	return a;
}

struct answer *answer_new_take(struct answers *as, struct slice key, struct spool *spool, struct cancel *cancel)
{
	struct answer *a = xcalloc(1, sizeof(*a));

	a->refs = a->parties = 1;
	a->as = as;
	a->spool = spool;
	a->cancel = cancel ? cancel_ref(cancel) : NULL;
	a->key = slice_dup(key);
	a->key_len = key.n;
	pthread_mutex_lock(&as->lock);
	if (key.n && !map_get(as->listed, key)) {
		map_put(as->listed, key, a);
		a->listed = true;
	}
	pthread_mutex_unlock(&as->lock);
	return a;
}

static void unlist_locked(struct answer *a)
{
	if (a->listed)
		(void)map_remove(a->as->listed, (struct slice){ a->key, a->key_len });
	a->listed = false;
}

struct answer *answer_join(struct answer *a)
{
	pthread_mutex_lock(&a->as->lock);
	a->refs++;
	a->parties++;
	pthread_mutex_unlock(&a->as->lock);
	return a;
}

void answer_unlist(struct answer *a)
{
	pthread_mutex_lock(&a->as->lock);
	unlist_locked(a);
	pthread_mutex_unlock(&a->as->lock);
}

/* Lowers the counts; fires and frees outside the lock. */
static void give_back(struct answer *a, unsigned refs, unsigned parties)
{
	struct answers *as = a->as;
	bool last_party, last_ref;

	pthread_mutex_lock(&as->lock);
	ENSURE(a->refs >= refs && a->parties >= parties);
	a->refs -= refs;
	a->parties -= parties;
	last_party = parties && !a->parties;
	last_ref = !a->refs;
	if (last_party || last_ref)
		unlist_locked(a);
	if (last_party && a->cancel)
		cancel_fire(a->cancel); /* one write to an eventfd: does not block, and a is still ours here */
	pthread_mutex_unlock(&as->lock);
	if (!last_ref)
		return;
	if (a->released)
		a->released(a->arg);
	spool_unref(&a->spool);
	cancel_unref(&a->cancel);
	free(a->key);
	free(a);
}

void answer_on_release(struct answer *a, void (*fn)(void *arg), void *arg)
{
	a->released = fn;
	a->arg = arg;
}

void answer_handed_over(struct answer *a)
{
	give_back(a, 0, 1);
}

void answer_unref(struct answer **ap)
{
	if (*ap)
		give_back(*ap, 1, 0);
	*ap = NULL;
}

void answer_leave(struct answer **ap)
{
	if (*ap)
		give_back(*ap, 1, 1);
	*ap = NULL;
}

struct spool *answer_spool(const struct answer *a)
{
	return a->spool;
}

struct cancel *answer_cancel(const struct answer *a)
{
	return a->cancel;
}
