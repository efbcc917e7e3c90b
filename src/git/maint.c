/* maint.c -- keeping repositories fit.
 *
 * WHAT     Packs that syncs bring are rolled up geometrically; bitmaps and a commit-graph make answers cheap; a
 *          repository over which a child failed is verified, and moved aside when git calls it damaged.
 * WHY      Without it every fetch leaves a pack, and looking an object up asks each of them.
 * RULES    1. New packs first, old ones go when no reader that began before is left. So a reader never loses a pack.
 *          2. What the refs on disk reach is never dropped; a whole repack drops what no ref reaches (deleted
 *             branches).
 *          3. One job at a time for each repository, in its sync lane: it never meets a sync.
 *          4. A suspicion is not a verdict: only git fsck's moves a repository aside, so a full disk or a killed child
 *             costs no cache.
 * THREADS  Workers. */
#include "git/maint.h"

#include <dirent.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "git/access.h"
#include "git/sync.h"
#include "io/child.h"
#include "io/file.h"

#define PACKS_BEFORE_REPACK 8     /* taken in since the last one */
#define MOST_PACKS 4096
#define WHOLE_FOR_MS 3600000
#define READERS_LIMIT_MS 600000   /* old packs stay for the next time when readers take longer */

struct pack {
	char *name; /* "pack-<hash>" */
	uint64_t bytes;
};

struct pack_list {
	struct pack *items;
	size_t count;
};

/* --- packs on disk --- */

static int larger_first(const void *a, const void *b)
{
	const struct pack *x = a, *y = b;

	return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

static void packs_fini(struct pack_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i].name);
	free(l->items);
	*l = (struct pack_list){ 0 };
}

static char *pack_path(const struct repo *r, const char *name, const char *suffix)
{
	return xstrf("%s/objects/pack/%s%s", r->git_dir, name, suffix);
}

static void packs_read(const struct repo *r, struct pack_list *ret)
{
	char *dir = xstrf("%s/objects/pack", r->git_dir);
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;

	ret->items = xcalloc(MOST_PACKS, sizeof(*ret->items));
	while (d && ret->count < MOST_PACKS && (e = readdir(d))) {
		struct slice name = slice_str(e->d_name);

		if (!slice_starts(name, "pack-") || !slice_ends(name, ".pack") ||
		    fstatat(dirfd(d), e->d_name, &st, 0) < 0)
			continue;
		name.n -= strlen(".pack");
		ret->items[ret->count++] = (struct pack){ slice_dup(name), (uint64_t)st.st_size };
	}
	if (d)
		closedir(d);
	free(dir);
	qsort(ret->items, ret->count, sizeof(*ret->items), larger_first);
}

/* How many of the largest packs may stay: each at least twice as large as all smaller ones together, so that their
 * number stays logarithmic and each byte is rewritten a logarithmic number of times. */
static size_t packs_to_keep(const struct pack_list *l)
{
	uint64_t below = 0;
	size_t keep = l->count;

	for (size_t i = l->count; i-- > 0;) {
		if (l->items[i].bytes < 2 * below)
			keep = i;
		below += l->items[i].bytes;
	}
	return keep;
}

static void pack_remove(const struct repo *r, const char *name)
{
	static const char *const suffixes[] = { ".idx", ".rev", ".bitmap",
						".pack" }; /* .idx first: git finds it by that */

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		char *path = pack_path(r, name, suffixes[i]);

		(void)unlink(path); /* what is left is found again the next time */
		free(path);
	}
}

/* --- git --- */

static int run_git(struct repo *r, const char *const *argv, struct slice input, struct buf *out, struct buf *words)
{
	static const char *const env[] = { "GIT_DIR=.", NULL };

	return child_run(&(struct child_options){ .argv = argv, .env = env, .cwd = r->git_dir, .idle = true }, input,
			 out, words, -1, r->g->stop, NULL);
}

/* All that refs reach in one pack with a bitmap; what they do not reach is left behind. */
static int pack_all(struct repo *r, struct buf *name, struct buf *words)
{
	static const char *const argv[] = { "git",
					    "pack-objects",
					    "--all",
					    "--quiet",
					    "--non-empty",
					    "--delta-base-offset",
					    "--threads=1",
					    "--honor-pack-keep",
					    "--write-bitmap-index",
					    "objects/pack/pack",
					    NULL };

	return run_git(r, argv, (struct slice){ NULL, 0 }, name, words);
}

/* The objects of the packs from `from` on in one. */
static int pack_some(struct repo *r, const struct pack_list *l, size_t from, struct buf *name, struct buf *words)
{
	static const char *const argv[] = { "git",         "pack-objects",      "--stdin-packs",
					    "--quiet",     "--non-empty",       "--delta-base-offset",
					    "--threads=1", "objects/pack/pack", NULL };
	struct buf input = BUF_EMPTY;
	int err;

	for (size_t i = 0; i < l->count; i++)
		buf_addf(&input, "%s%s.pack\n", i < from ? "^" : "", l->items[i].name);
	err = run_git(r, argv, buf_slice(&input), name, words);
	buf_fini(&input);
	return err;
}

static void write_graph(struct repo *r)
{
	static const char *const graph[] = { "git",         "commit-graph",    "write",
					     "--reachable", "--changed-paths", "--no-progress",
					     NULL };
	struct buf out = BUF_LIMIT(65536), words = BUF_EMPTY;

	if (run_git(r, graph, (struct slice){ NULL, 0 }, &out, &words) < 0)
		log_event(LOG_DEBUG, "commit_graph_failed", LOG_STR("repository", r->key), LOG_STR("git", words.data),
			  LOG_END);
	buf_fini(&out);
	buf_fini(&words);
}

static int repack(struct repo *r, unsigned pin, struct buf *words)
{
	struct pack_list packs = { 0 };
	struct buf name = BUF_LIMIT(4096);
	size_t keep;
	int err;

	packs_read(r, &packs);
	keep = packs_to_keep(&packs);
	if (packs.count < 2 || keep == packs.count) {
		packs_fini(&packs);
		buf_fini(&name);
		return 0;
	}
	err = keep == 0 ? pack_all(r, &name, words) : pack_some(r, &packs, keep, &name, words);
	if (err == 0 && name.len)
		buf_truncate(&name, name.len - 1);
	if (err == 0) {
		char *dir = xstrf("%s/objects/pack", r->git_dir);

		err = dir_sync(dir);
		free(dir);
	}
	if (err == 0 && repo_wait_for_readers(r, pin, READERS_LIMIT_MS)) /* rule 1 */
		for (size_t i = keep; i < packs.count; i++)
			if (!name.len || !strstr(packs.items[i].name, name.data))
				pack_remove(r, packs.items[i].name);
	if (err == 0)
		write_graph(r);
	packs_fini(&packs);
	buf_fini(&name);
	return err;
}

static void run_maintenance(void *arg)
{
	struct repo *r = arg;
	struct buf words = BUF_EMPTY;
	int64_t started = clock_mono_ms();
	unsigned pin;
	int err = -ENOENT;

	if (repo_pin(r, &pin)) {
		err = repack(r, pin, &words);
		repo_unpin(r, pin);
		repo_measure(r);
	}
	pthread_mutex_lock(&r->lock);
	r->maintaining = false;
	if (err == 0)
		r->packs_since_repack = 0;
	pthread_mutex_unlock(&r->lock);
	metric_add(r->g->metrics.maintenance[err != 0], 1);
	if (err == 0)
		log_event(LOG_INFO, "repo_repacked", LOG_STR("repository", r->key),
			  LOG_INT("ms", clock_mono_ms() - started), LOG_END);
	else if (err != WEIR_E_CANCELLED && err != -ENOENT)
		log_event(LOG_WARN, "repack_failed", LOG_STR("repository", r->key), LOG_ERR("why", err),
			  LOG_STR("git", words.data), LOG_STR("effect", "packs stay as they are; tried again later"),
			  LOG_END);
	if (err == WEIR_E_CHILD)
		maint_suspect(r, false, words.data); /* or a full disk */
	buf_fini(&words);
	repo_unref(&r);
}

void maint_note_pack(struct repo *r)
{
	pthread_mutex_lock(&r->lock);
	r->packs_since_repack++;
	pthread_mutex_unlock(&r->lock);
}

void maint_consider(struct repo *r)
{
	struct repo *held = NULL;

	pthread_mutex_lock(&r->lock);
	if (r->state == REPO_READY && !r->maintaining && r->packs_since_repack >= PACKS_BEFORE_REPACK &&
	    !atomic_load(&r->g->stopping)) {
		r->maintaining = true;
		held = repo_ref(r);
	}
	pthread_mutex_unlock(&r->lock);
	if (held && pool_submit(held->sync_lane, run_maintenance, held) < 0) {
		pthread_mutex_lock(&r->lock);
		r->maintaining = false;
		pthread_mutex_unlock(&r->lock);
		repo_unref(&held);
	}
}

/* --- verification --- */

/* Whether fsck ended because of what it read: rule 4. */
static bool is_verdict(int status, const struct buf *words)
{
	static const char *const other_reasons[] = { "Too many open files", "Cannot allocate memory", "out of memory",
						     "unable to create thread" };

	for (size_t i = 0; i < ARRAY_LEN(other_reasons); i++)
		if (words->len && strstr(words->data, other_reasons[i]))
			return false;
	return WIFEXITED(status);
}

int maint_verify(struct repo *r, struct cancel *cancel, struct buf *why)
{
	/* --connectivity-only would miss a flipped byte; the whole check reads everything. */
	static const char *const argv[] = { "git", "fsck", "--full", "--no-dangling", "--no-progress", NULL };
	static const char *const env[] = { "GIT_DIR=.", NULL };
	struct buf out = BUF_LIMIT(1 << 20), words = BUF_EMPTY;
	int err, status = 0;
	unsigned pin;

	if (!repo_pin(r, &pin))
		return -ENOENT;
	err = child_run(&(struct child_options){ .argv = argv, .env = env, .cwd = r->git_dir, .idle = true },
			(struct slice){ NULL, 0 }, &out, &words, -1, cancel, &status);
	repo_unpin(r, pin);
	if (err == WEIR_E_CHILD || err == WEIR_E_TOO_LARGE) {
		if (err == WEIR_E_TOO_LARGE || is_verdict(status, &words))
			err = WEIR_E_DAMAGED;
		buf_addf(why, "%.300s", words.len ? words.data : out.data);
	}
	buf_fini(&out);
	buf_fini(&words);
	return err;
}

struct suspicion {
	struct repo *repo;
	char *why;
};

void maint_refetch(struct repo *r)
{
	struct credential none;

	if (credential_init_own(&none, r->up, r->key) == 0)
		sync_start(r, &none, NULL); /* a private one waits for its next reader's credential */
	credential_fini(&none);
}

static void run_verification(void *arg)
{
	struct suspicion *s = arg;
	struct repo *r = s->repo;
	struct buf why = BUF_EMPTY;
	int err = maint_verify(r, r->g->stop, &why);

	pthread_mutex_lock(&r->lock);
	r->suspect = false;
	if (err == 0)
		r->found_whole_ms = clock_mono_ms();
	pthread_mutex_unlock(&r->lock);
	if (err == WEIR_E_DAMAGED) {
		if (repo_quarantine(r, why.data) == 0)
			maint_refetch(r);
	} else if (err == 0) {
		log_event(LOG_INFO, "repo_verified", LOG_STR("repository", r->key), LOG_STR("suspicion", s->why),
			  LOG_STR("verdict", "whole"), LOG_END);
	} else if (err != WEIR_E_CANCELLED && err != -ENOENT) {
		log_event(LOG_WARN, "repo_not_verified", LOG_STR("repository", r->key), LOG_STR("suspicion", s->why),
			  LOG_ERR("why", err), LOG_STR("git", why.data),
			  LOG_STR("effect", "tried again at the next suspicion"), LOG_END);
	}
	buf_fini(&why);
	free(s->why);
	free(s);
	repo_unref(&r);
}

void maint_suspect(struct repo *r, bool is_likely, const char *why)
{
	struct suspicion *s = NULL;
	int64_t now = clock_mono_ms();
	bool lately;

	pthread_mutex_lock(&r->lock);
	lately = r->found_whole_ms && now - r->found_whole_ms < WHOLE_FOR_MS;
	if (r->state == REPO_READY && !r->suspect && (is_likely || !lately) && !atomic_load(&r->g->stopping)) {
		r->suspect = true;
		s = xcalloc(1, sizeof(*s));
		s->repo = repo_ref(r);
		s->why = xstrf("%.300s", why);
	}
	pthread_mutex_unlock(&r->lock);
	if (s && pool_submit(r->sync_lane, run_verification, s) < 0) {
		pthread_mutex_lock(&r->lock);
		r->suspect = false;
		pthread_mutex_unlock(&r->lock);
		free(s->why);
		repo_unref(&s->repo);
		free(s);
	}
}
