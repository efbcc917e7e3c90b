/* kept.c -- fetch answers kept as files.
 *
 * WHAT     <answers_dir>/<repository's folder name>/<key in hexadecimal>: the answer's bytes, then a trailer with
 *          length and CRC32C. In memory: key -> file, and its descriptor once it was verified.
 * WHY      A pipeline asks the same question a hundred times. The second answer costs a sendfile(2).
 * RULES    1. Bytes from disk are sent only after length and checksum were found right, once in a daemon's life.
 *          2. A file that is being read is neither evicted nor changed; a dropped one is unlinked, and read to its end.
 *          3. The cache may be lost: nothing here is synced for its own sake, damage is removed and the answer made
 *             anew.
 * THREADS  Any; one lock, for pointer work only. Files are read, written and removed on workers. */
#include "git/kept.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "git/repo_disk.h"
#include "io/file.h"
#include "store/wholefile.h"

#define MAGIC "weirans1"
#define TRAILER_BYTES \
	24 /* magic, length (8, little endian), CRC32C of the answer (4), CRC32C of the 20 bytes before (4) */
#define MOST_ASKED 4096  /* keys remembered as asked for once */

struct kept_answer {
	struct git_item item;
	struct kept *k;
	unsigned char key[KEPT_KEY_BYTES];
	char *repo_name, *path;
	uint64_t bytes;       /* without the trailer */
	struct spool *spool;  /* NULL: not verified yet */
	unsigned refs;        /* the map's, and of each answer that is read; under the lock */
	bool dropped;
	int64_t used_mono_ms;
};

struct kept {
	struct git_service *g;
	pthread_mutex_t lock;
	struct map *all;   /* key -> struct kept_answer */
	struct map *asked; /* keys asked for once */
};

struct kept *kept_new(struct git_service *g)
{
	struct kept *k = xcalloc(1, sizeof(*k));

	k->g = g;
	pthread_mutex_init(&k->lock, NULL);
	k->all = map_new();
	k->asked = map_new();
	return k;
}

static struct slice key_of(const struct kept_answer *a)
{
	return (struct slice){ (const char *)a->key, KEPT_KEY_BYTES };
}

static void free_answer(struct kept_answer *a)
{
	spool_unref(&a->spool);
	free(a->repo_name);
	free(a->path);
	free(a);
}

void kept_free(struct kept *k)
{
	size_t pos = 0;
	void *a;

	if (!k)
		return;
	while (map_next(k->all, &pos, NULL, &a)) {
		budget_remove(k->g->budget, &((struct kept_answer *)a)->item.budget);
		free_answer(a);
	}
	map_free(k->all);
	map_free(k->asked);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static void unref(struct kept_answer *a)
{
	struct kept *k = a->k;
	bool last;

	pthread_mutex_lock(&k->lock);
	last = --a->refs == 0;
	pthread_mutex_unlock(&k->lock);
	if (last)
		free_answer(a);
}

/* Takes it off the map and the disk. False: somebody else did. Workers only. */
static bool drop(struct kept_answer *a)
{
	struct kept *k = a->k;
	bool mine;

	pthread_mutex_lock(&k->lock);
	mine = !a->dropped;
	a->dropped = true;
	if (mine)
		(void)map_remove(k->all, key_of(a));
	pthread_mutex_unlock(&k->lock);
	if (!mine)
		return false;
	budget_remove(k->g->budget, &a->item.budget);
	(void)unlink(a->path); /* a file that stays is found again at the next start */
	unref(a);
	return true;
}

static bool evict(struct git_item *it)
{
	struct kept_answer *a = CONTAINER_OF(it, struct kept_answer, item);
	bool in_use;

	pthread_mutex_lock(&a->k->lock);
	in_use = a->refs > 1;
	pthread_mutex_unlock(&a->k->lock);
	return !in_use && drop(a);
}

/* Puts an answer in the map; takes a. The one that stood there goes. */
static void insert(struct kept *k, struct kept_answer *a, int64_t used_wall_ms)
{
	struct kept_answer *old;

	a->k = k;
	a->refs = 1;
	a->item.evict = evict;
	a->used_mono_ms = clock_mono_ms();
	pthread_mutex_lock(&k->lock);
	old = map_put(k->all, key_of(a), a);
	if (old)
		old->dropped = true;
	pthread_mutex_unlock(&k->lock);
	budget_add(k->g->budget, &a->item.budget, a->bytes + TRAILER_BYTES, used_wall_ms);
	if (old) {
		budget_remove(k->g->budget, &old->item.budget);
		unref(old);
	}
}

/* --- the file --- */

static void put_le(unsigned char *p, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get_le(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static int checksum(int fd, uint64_t bytes, uint32_t *ret)
{
	char *piece = xmalloc(1 << 18);
	uint32_t crc = 0;
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < bytes;) {
		size_t want = bytes - at < 1 << 18 ? (size_t)(bytes - at) : 1 << 18;
		ssize_t n = pread(fd, piece, want, (off_t)at);

		if (n <= 0) {
			r = n < 0 ? -errno : WEIR_E_DAMAGED;
			break;
		}
		crc = crc32c(crc, piece, (size_t)n);
		at += (uint64_t)n;
	}
	free(piece);
	*ret = crc;
	return r;
}

static int write_trailer(int fd, uint64_t bytes)
{
	unsigned char t[TRAILER_BYTES];
	uint32_t crc;
	int r = checksum(fd, bytes, &crc);

	if (r < 0)
		return r;
	memcpy(t, MAGIC, 8);
	put_le(t + 8, bytes, 8);
	put_le(t + 16, crc, 4);
	put_le(t + 20, crc32c(0, t, 20), 4);
	return pwrite(fd, t, sizeof(t), (off_t)bytes) == (ssize_t)sizeof(t) ? 0 : -errno;
}

static int check_file(int fd, uint64_t *ret_bytes)
{
	unsigned char t[TRAILER_BYTES];
	struct stat st;
	uint32_t crc;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < TRAILER_BYTES || pread(fd, t, sizeof(t), st.st_size - TRAILER_BYTES) != (ssize_t)sizeof(t) ||
	    memcmp(t, MAGIC, 8) != 0 || get_le(t + 20, 4) != crc32c(0, t, 20) ||
	    get_le(t + 8, 8) != (uint64_t)st.st_size - TRAILER_BYTES)
		return WEIR_E_DAMAGED;
	*ret_bytes = get_le(t + 8, 8);
	r = checksum(fd, *ret_bytes, &crc);
	return r < 0 ? r : crc == get_le(t + 16, 4) ? 0 : WEIR_E_DAMAGED;
}

/* --- finding --- */

static void released(void *arg)
{
	struct kept_answer *a = arg;

	unref(a);
}

struct answer *kept_find(struct kept *k, struct slice key, bool *ret_unverified)
{
	struct kept_answer *a;
	struct spool *spool = NULL;
	struct answer *made;

	*ret_unverified = false;
	pthread_mutex_lock(&k->lock);
	a = map_get(k->all, key);
	if (a && a->spool) {
		spool = spool_ref(a->spool);
		a->refs++;
		a->used_mono_ms = clock_mono_ms();
	}
	*ret_unverified = a && !spool;
	pthread_mutex_unlock(&k->lock);
	if (!spool)
		return NULL;
	budget_touch(k->g->budget, &a->item.budget);
	made = answer_new_take(k->g->answers, key, spool, NULL);
	answer_on_release(made, released, a);
	metric_add(k->g->metrics.kept[GIT_KEPT_HIT], 1);
	return made;
}

static struct kept_answer *ref_of(struct kept *k, struct slice key)
{
	struct kept_answer *a;

	pthread_mutex_lock(&k->lock);
	a = map_get(k->all, key);
	if (a)
		a->refs++;
	pthread_mutex_unlock(&k->lock);
	return a;
}

bool kept_verify(struct kept *k, struct slice key)
{
	struct kept_answer *a = ref_of(k, key);
	struct spool *spool = NULL;
	uint64_t bytes = 0;
	int fd, r;

	if (!a)
		return false;
	fd = open(a->path, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : check_file(fd, &bytes);
	if (r == 0)
		r = spool_new_complete_take(fd, bytes, &spool); /* takes fd in any case */
	else
		fd_close(&fd);
	if (r == 0) {
		pthread_mutex_lock(&k->lock);
		if (!a->spool) {
			a->spool = spool;
			spool = NULL;
		}
		pthread_mutex_unlock(&k->lock);
		spool_unref(&spool);
	} else {
		metric_add(k->g->metrics.kept[GIT_KEPT_DAMAGED], 1);
		log_event(LOG_WARN, "answer_damaged", LOG_STR("file", a->path), LOG_ERR("why", r),
			  LOG_STR("effect", "removed; the answer is made anew"), LOG_END);
		(void)drop(a);
	}
	unref(a);
	return r == 0;
}

/* --- keeping --- */

bool kept_is_worth(struct kept *k, struct slice key, uint64_t bytes, int64_t cost_ms)
{
	static char once;
	bool again;

	if (!key.n)
		return false;
	if (bytes >= KEPT_COSTLY_BYTES || cost_ms >= KEPT_COSTLY_MS)
		return true;
	pthread_mutex_lock(&k->lock);
	if (map_count(k->asked) >= MOST_ASKED) {
		map_free(k->asked);
		k->asked = map_new();
	}
	again = map_put(k->asked, key, &once) != NULL;
	pthread_mutex_unlock(&k->lock);
	return again;
}

/* When there are too many, the one unused for longest goes. Workers only. */
static void make_room(struct kept *k)
{
	struct kept_answer *oldest = NULL;
	size_t pos = 0;
	void *v;

	pthread_mutex_lock(&k->lock);
	while (map_count(k->all) >= KEPT_MOST && map_next(k->all, &pos, NULL, &v)) {
		struct kept_answer *a = v;

		if (a->refs == 1 && (!oldest || a->used_mono_ms < oldest->used_mono_ms))
			oldest = a;
	}
	if (oldest)
		oldest->refs++;
	pthread_mutex_unlock(&k->lock);
	if (!oldest)
		return;
	(void)drop(oldest);
	unref(oldest);
}

static char *path_of(const struct kept *k, const char *repo_name, struct slice key)
{
	struct buf b = BUF_EMPTY;

	buf_addf(&b, "%s/%s/", k->g->answers_dir, repo_name);
	str_hex(key.p, key.n, &b);
	return buf_detach(&b, NULL);
}

static int write_file(struct kept *k, const char *repo_name, const char *path, struct spool *spool, uint64_t bytes)
{
	char *dir = xstrf("%s/%s", k->g->answers_dir, repo_name);
	int r = dir_make_all(dir, 0700);

	free(dir);
	if (r == 0)
		r = write_trailer(spool_fd(spool), bytes);
	return r == 0 ? spool_keep(spool, path) : r;
}

void kept_store(struct kept *k, struct repo *r, struct slice key, struct spool *spool)
{
	struct kept_answer *a = xcalloc(1, sizeof(*a));
	int err;

	ENSURE(key.n == KEPT_KEY_BYTES);
	make_room(k);
	(void)spool_peek(spool, &a->bytes, NULL);
	memcpy(a->key, key.p, KEPT_KEY_BYTES);
	a->repo_name = xstrdup(repo_disk_name(r));
	a->path = path_of(k, a->repo_name, key);
	err = write_file(k, a->repo_name, a->path, spool, a->bytes);
	if (err < 0) {
		log_event(LOG_DEBUG, "answer_not_kept", LOG_STR("repository", r->key), LOG_ERR("why", err), LOG_END);
		(void)unlink(a->path); /* it may not be there */
		free_answer(a);
		return;
	}
	a->spool = spool_ref(spool);
	insert(k, a, clock_wall_ms());
	metric_add(k->g->metrics.kept[GIT_KEPT_STORED], 1);
	(void)budget_enforce(k->g->budget);
}

/* --- repositories --- */

void kept_drop_repo(struct kept *k, const char *repo_name)
{
	char *dir = xstrf("%s/%s", k->g->answers_dir, repo_name);

	for (;;) {
		struct kept_answer *found = NULL;
		size_t pos = 0;
		void *v;

		pthread_mutex_lock(&k->lock);
		while (!found && map_next(k->all, &pos, NULL, &v))
			if (strcmp(((struct kept_answer *)v)->repo_name, repo_name) == 0)
				found = v;
		if (found)
			found->refs++;
		pthread_mutex_unlock(&k->lock);
		if (!found)
			break;
		(void)drop(found);
		unref(found);
	}
	(void)rmdir(dir); /* it may not be there, or not be empty: swept at the next start */
	free(dir);
}

/* --- start --- */

static void load_file(struct kept *k, const char *repo_name, int dir_fd, const char *name)
{
	struct kept_answer *a = xcalloc(1, sizeof(*a));
	struct stat st;

	if (str_unhex(slice_str(name), a->key, KEPT_KEY_BYTES) < 0 ||
	    fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_size < TRAILER_BYTES) {
		if (name[0] != '.')
			(void)unlinkat(dir_fd, name, 0); /* a temporary that a crash left */
		free(a);
		return;
	}
	a->bytes = (uint64_t)st.st_size - TRAILER_BYTES;
	a->repo_name = xstrdup(repo_name);
	a->path = path_of(k, repo_name, (struct slice){ (const char *)a->key, KEPT_KEY_BYTES });
	insert(k, a, (int64_t)st.st_mtim.tv_sec * 1000);
}

void kept_load_all(struct kept *k)
{
	DIR *all = opendir(k->g->answers_dir);
	struct dirent *e;

	while (all && (e = readdir(all))) {
		char *repo = xstrf("%s/%s", k->g->repos_dir, e->d_name),
		     *dir = xstrf("%s/%s", k->g->answers_dir, e->d_name);
		struct dirent *f;
		DIR *d = NULL;

		if (e->d_name[0] != '.' && access(repo, F_OK) < 0)
			(void)tree_remove(dir); /* its repository is gone */
		else if (e->d_name[0] != '.')
			d = opendir(dir);
		while (d && (f = readdir(d)))
			load_file(k, e->d_name, dirfd(d), f->d_name);
		if (d)
			closedir(d);
		free(repo);
		free(dir);
	}
	if (all)
		closedir(all);
}
