/* cache_open.c -- the index made from the database at a start.
 *
 * WHAT     Each row becomes a node, in the order of its last use; then files that no row names are removed.
 * WHY      One pass over a table of small rows: 100,000 responses take 0.3 s. Heads, bodies and sums are looked at
 *          when a response is asked for; the sizes of files are believed until then.
 * RULES    1. Of two rows for the same key and vary key the newer stays: a kill between a new row and the end of the
 *             old one leaves both.
 *          2. A size that cannot be is damage: nobody is evicted for it. */
#include "mirror/cache_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"

struct opening {
	struct cache *c;
	struct found {
		struct node *node;
		uint64_t bytes;
		int64_t used_ms;
	} * found;
	size_t count, room;
};

static void take_row(void *arg, const struct row *row)
{
	struct opening *o = arg;
	struct node *n = cache_node_new(row->key, row->vary, row->id, row->is_file);

	if (o->count == o->room) {
		o->room = o->room ? o->room * 2 : 1024;
		o->found = xrealloc(o->found, o->room * sizeof(*o->found));
	}
	atomic_store(&n->used_s, (uint32_t)(row->used_ms / 1000));
	o->found[o->count++] =
		(struct found){ n, response_bytes(o->c, row->head_bytes, row->key, row->vary, row->body_bytes),
				row->used_ms };
	if (row->id >= o->c->next_id)
		o->c->next_id = row->id + 1;
}

static int by_use(const void *a, const void *b)
{
	int64_t x = ((const struct found *)a)->used_ms, y = ((const struct found *)b)->used_ms;

	return (x > y) - (x < y);
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void adopt(struct cache *c, struct found *f)
{
	struct shard *sh = shard_of(c, f->node->hash);
	struct node *old = node_rival(sh, f->node), *lost = NULL;

	if (f->bytes > c->max_bytes || (old && old->id > f->node->id))
		lost = f->node;
	else if (old)
		lost = old;
	if (lost == old && old)
		node_detach(c, sh, old, ROW_DROPPED);
	if (lost != f->node) {
		node_insert(c, sh, f->node);
		budget_add(c->budget, &f->node->item, f->bytes, f->used_ms);
	} else {
		f->node->flags |= NODE_GONE;
		rows_remove(c, f->node->id, f->node->flags & NODE_FILE, ROW_DROPPED, NULL);
	}
	if (lost)
		node_dispose(c, lost);
}

/* Files without a row, names that are none of ours. */
static int sweep(struct cache *c, const uint64_t *files, size_t count)
{
	DIR *d = opendir(c->bodies);
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		struct slice name = slice_str(e->d_name);
		uint64_t id = 0;
		if (e->d_name[0] == '.')
			continue;
		if (name.n == 16 && str_is_hex(name))
			id = strtoull(e->d_name, NULL, 16);
		if (!id || !bsearch(&id, files, count, sizeof(id), by_id))
			(void)unlinkat(dirfd(d), e->d_name, 0); /* what stays is found again */
	}
	(void)closedir(d);
	return 0;
}

int index_load(struct cache *c)
{
	struct opening o = { .c = c };
	uint64_t *files;
	size_t count = 0;
	int r;

	r = rows_scan(c, take_row, &o);
	for (size_t i = 0; r < 0 && i < o.count; i++)
		free(o.found[i].node);
	if (r < 0)
		o.count = 0;
	files = xcalloc(o.count + 1, sizeof(*files));
	for (size_t i = 0; i < o.count; i++)
		if (o.found[i].node->flags & NODE_FILE)
			files[count++] = o.found[i].node->id; /* in order, as they were read */
	if (o.count)
		qsort(o.found, o.count, sizeof(*o.found), by_use);
	for (size_t i = 0; i < o.count; i++)
		adopt(c, &o.found[i]);
	if (r == 0)
		r = sweep(c, files, count);
	free(files);
	free(o.found);
	return r;
}
