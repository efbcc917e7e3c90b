/* cache_load.c -- stored responses back from disk.
 *
 * WHAT     The variants of a key that are not in memory are read, those that fit the request become hot, the most
 *          recent of all is the answer. One load for a key at a time: the second of a hundred clients finds it hot.
 * RULES    1. What is read counts only while its node is in the index, in the version that was looked for: a row that
 *             was replaced or dropped meanwhile is not damage, and the search begins anew.
 *          2. Row and body agree with their sums, a file once in a run, or they are damage: out of the index, the
 *             file into damaged/ (invariant 7). A disk that cannot be read just now, or no descriptor, is not damage.
 * THREADS  Workers: all of it blocks. Two that want the same key: the second waits on a condition, no lock is held in
 *          I/O. */
#include "mirror/cache_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "io/file.h"
#include "mirror/vary.h"
#include "store/wholefile.h"

#define TRIES 4 /* a key that is replaced faster than it is read is as good as not there */
#define PIECE (256 * 1024)

/* --- one at a time for a key ------------------------------------------------------------------------------------ */

struct load { /* on its thread's stack */
	struct list node;
	uint64_t hash;
};

static bool is_loading(struct cache *c, uint64_t hash)
{
	LIST_FOREACH(it, &c->loads)
		if (LIST_ENTRY(it, struct load, node)->hash == hash)
			return true;
	return false;
}

static void load_begin(struct cache *c, struct load *l)
{
	pthread_mutex_lock(&c->load_lock);
	while (is_loading(c, l->hash))
		pthread_cond_wait(&c->loaded, &c->load_lock);
	list_push_back(&c->loads, &l->node);
	pthread_mutex_unlock(&c->load_lock);
}

static void load_end(struct cache *c, struct load *l)
{
	pthread_mutex_lock(&c->load_lock);
	list_remove(&l->node);
	pthread_cond_broadcast(&c->loaded);
	pthread_mutex_unlock(&c->load_lock);
}

/* --- the body --------------------------------------------------------------------------------------------------- */

/* Whether the whole file has this sum. 0, WEIR_E_DAMAGED, -errno. */
static int check_file(int fd, uint64_t bytes, uint32_t want)
{
	unsigned char *piece = xmalloc(PIECE);
	uint64_t at = 0;
	uint32_t crc = 0;
	int r = 0;

	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint */
	while (r == 0 && at < bytes) {
		ssize_t n = pread(fd, piece, PIECE, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : WEIR_E_DAMAGED;
			break;
		}
		crc = crc32c(crc, piece, (size_t)n);
		at += (uint64_t)n;
	}
	free(piece);
	return r == 0 && crc != want ? WEIR_E_DAMAGED : r;
}

static int open_body(struct cache *c, const struct row *row, bool is_checked, struct spool **ret)
{
	char *path = body_path(c, row->id);
	struct stat st;
	int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	free(path);
	if (fd < 0)
		return errno == ENOENT ? WEIR_E_DAMAGED : -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != row->body_bytes)
		r = WEIR_E_DAMAGED;
	if (r == 0 && !is_checked)
		r = check_file(fd, row->body_bytes, row->body_crc);
	if (r < 0)
		fd_close(&fd);
	else
		r = spool_new_complete_take(fd, row->body_bytes, ret);
	return r;
}

static int read_body(struct reader *rd, const struct row *row, struct blob **ret)
{
	struct slice body;
	int r;

	if (row->body_bytes == 0)
		return 0;
	r = reader_body(rd, row->id, &body);
	if (r < 0)
		return r == -ENOENT ? WEIR_E_DAMAGED : r;
	if (body.n != row->body_bytes || crc32c(0, body.p, body.n) != row->body_crc)
		return WEIR_E_DAMAGED;
	*ret = blob_new_copy(body.p, body.n);
	return 0;
}

/* --- one response ----------------------------------------------------------------------------------------------- */

struct candidate { /* a node, as it was */
	uint64_t id;
	uint16_t version;
	bool is_checked;
	struct stored *hot; /* one reference; or NULL */
};

/* The response of a row that fits. -ENOENT: it does not fit, or is another key's. */
static int read_response(struct cache *c, struct reader *rd, const struct candidate *cand, struct slice key,
			 const struct httplines *request, struct stored **ret)
{
	struct stored_parts parts;
	struct row row;
	int r = reader_row(rd, cand->id, &row);

	if (r < 0)
		return r == -ENOENT ? WEIR_E_DAMAGED : r;
	if (!slice_eq(row.key, key) || (row.vary.n && !vary_matches(row.vary, request)))
		return -ENOENT;
	parts = (struct stored_parts){ .key = row.key,
				       .vary_key = row.vary,
				       .head = row.head,
				       .status = row.status,
				       .guarded = row.guarded,
				       .request_wall_ms = row.request_ms,
				       .response_wall_ms = row.response_ms,
				       .body_bytes = row.body_bytes,
				       .body_crc = row.body_crc };
	r = row.is_file ? open_body(c, &row, cand->is_checked, &parts.file) : read_body(rd, &row, &parts.body);
	if (r == 0)
		r = stored_new(&parts, ret);
	if (r == 0)
		(*ret)->id = cand->id;
	return r == WEIR_E_TOO_LARGE ? WEIR_E_DAMAGED : r; /* such a head is not stored */
}

/* Makes it hot, or takes what has become hot meanwhile. False: the node is gone or another version. */
static bool attach(struct cache *c, uint64_t hash, const struct candidate *cand, struct stored **s)
{
	struct shard *sh = shard_of(c, hash);
	struct node *n;

	pthread_rwlock_wrlock(&sh->lock);
	n = cache_node_find(sh, hash, cand->id);
	if (n && n->version == cand->version && !n->hot) {
		n->flags |= NODE_CHECKED;
		node_warm(c, sh, n, *s);
	} else if (n && n->version != cand->version) {
		n = NULL;
	}
	if (n)
		node_touch(c, n); /* what comes from disk is used as well */
	pthread_rwlock_unlock(&sh->lock);
	return n != NULL;
}

/* True: it was damage, and is gone now. False: it was replaced or dropped while we read. */
static bool drop_damaged(struct cache *c, uint64_t hash, const struct candidate *cand)
{
	struct shard *sh = shard_of(c, hash);
	struct node *n;

	pthread_rwlock_wrlock(&sh->lock);
	n = cache_node_find(sh, hash, cand->id);
	if (n && (n->version != cand->version || n->hot))
		n = NULL;
	if (n)
		node_detach(c, sh, n, ROW_DAMAGED);
	pthread_rwlock_unlock(&sh->lock);
	if (!n)
		return false;
	atomic_fetch_add(&c->damaged, 1);
	log_event(LOG_WARN, "cache_damaged", LOG_STR("folder", c->dir), LOG_INT("id", cand->id), LOG_END);
	node_dispose(c, n);
	return true;
}

/* --- all variants ----------------------------------------------------------------------------------------------- */

static size_t gather(struct cache *c, uint64_t hash, struct candidate *into)
{
	struct shard *sh = shard_of(c, hash);
	size_t count = 0;

	pthread_rwlock_rdlock(&sh->lock);
	for (struct node *n = sh->buckets[hash & sh->mask]; n && count < CACHE_MOST_VARIANTS; n = n->next)
		if (n->hash == hash)
			into[count++] = (struct candidate){ n->id, n->version, n->flags & NODE_CHECKED,
							    n->hot ? stored_ref(n->hot) : NULL };
	pthread_rwlock_unlock(&sh->lock);
	return count;
}

static void keep_newer(struct stored **best, struct stored **s)
{
	if (!*best || node_is_newer(*s, *best)) {
		struct stored *older = *best;
		*best = *s;
		*s = older;
	}
	stored_unref(s);
}

/* One variant. 0: *best is updated if it fits; -EAGAIN: things have changed, begin anew; -errno. */
static int consider(struct cache *c, struct reader *rd, uint64_t hash, struct candidate *cand, struct slice key,
		    const struct httplines *request, struct stored **best)
{
	struct stored *s = NULL;
	int r;

	if (cand->hot) {
		if (slice_eq(buf_slice(&cand->hot->key), key) &&
		    (!cand->hot->vary_key.len || vary_matches(buf_slice(&cand->hot->vary_key), request)))
			keep_newer(best, &cand->hot);
		return 0;
	}
	r = read_response(c, rd, cand, key, request, &s);
	if (r == -ENOENT)
		return 0;
	if (r == WEIR_E_DAMAGED)
		return drop_damaged(c, hash, cand) ? 0 : -EAGAIN;
	if (r < 0)
		return r;
	if (!attach(c, hash, cand, &s)) {
		stored_unref(&s);
		return -EAGAIN;
	}
	keep_newer(best, &s);
	return 0;
}

static int load_once(struct cache *c, struct reader *rd, uint64_t hash, struct slice key,
		     const struct httplines *request, struct stored **ret)
{
	struct candidate all[CACHE_MOST_VARIANTS];
	struct stored *best = NULL;
	size_t count = gather(c, hash, all);
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = consider(c, rd, hash, &all[i], key, request, &best);
	for (size_t i = 0; i < count; i++)
		stored_unref(&all[i].hot);
	if (r == 0 && !best)
		r = -ENOENT;
	if (r == 0)
		*ret = best;
	else
		stored_unref(&best);
	return r;
}

int cache_load(struct cache *c, struct slice key, const struct httplines *request, struct stored **ret)
{
	struct load l = { .hash = key_hash(key) };
	struct reader *rd = NULL;
	int r;

	load_begin(c, &l);
	r = cache_peek(c, key, request, ret);
	if (r == -EAGAIN)
		r = reader_get(c, &rd);
	for (int i = 0; rd && i < TRIES; i++) {
		r = load_once(c, rd, l.hash, key, request, ret);
		if (r != -EAGAIN)
			break;
	}
	reader_put(c, rd);
	load_end(c, &l);
	index_cool(c);
	return r == -EAGAIN ? -ENOENT : r;
}
