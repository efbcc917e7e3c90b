/* blob.c -- counted immutable bytes. */
#include "base/blob.h"

#include <stdatomic.h>

#include "base/obj.h"

struct blob {
	_Atomic unsigned refs;
	size_t len;
	const char *data;
	char *owned; /* data, when it is ours to free */
};

struct blob *blob_new_take(struct buf *b)
{
	struct blob *n = xmalloc(sizeof(*n));

	atomic_init(&n->refs, 1);
	n->data = n->owned = buf_detach(b, &n->len);
	return n;
}

struct blob *blob_new_copy(const void *p, size_t n)
{
	struct buf b = BUF_EMPTY;

	buf_add(&b, p, n);
	return blob_new_take(&b);
}

struct blob *blob_new_static(const void *p, size_t n)
{
	struct blob *b = xmalloc(sizeof(*b));

	atomic_init(&b->refs, 1);
	b->data = p;
	b->len = n;
	b->owned = NULL;
	return b;
}

struct blob *blob_ref(struct blob *b)
{
	ENSURE(atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed) > 0);
	return b;
}

void blob_unref(struct blob **bp)
{
	struct blob *b = *bp;

	*bp = NULL;
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(b->owned);
	free(b);
}

struct slice blob_slice(const struct blob *b)
{
	return (struct slice){ b->data, b->len };
}
