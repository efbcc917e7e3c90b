/* scrub.c -- reading packs for their own sake. gitformat-pack: .pack and .idx end in a hash over all that stands
 * before. */
#include "git/scrub.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "git/maint.h"
#include "io/file.h"

#define PIECE_BYTES (1 << 18)

/* Hashes the first `bytes` of fd. */
static int hash_file(int fd, uint64_t bytes, const EVP_MD *md, struct cancel *cancel, unsigned char *ret)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	char *piece = xmalloc(PIECE_BYTES);
	int r = ctx && EVP_DigestInit_ex(ctx, md, NULL) == 1 ? 0 : -ENOMEM;

	for (uint64_t at = 0; r == 0 && at < bytes;) {
		size_t want = bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;
		ssize_t n = pread(fd, piece, want, (off_t)at);

		if (cancel_fired(cancel))
			r = WEIR_E_CANCELLED;
		else if (n <= 0)
			r = n < 0 ? -errno : WEIR_E_DAMAGED;
		else if (EVP_DigestUpdate(ctx, piece, (size_t)n) != 1)
			r = -ENOMEM;
		at += n > 0 ? (uint64_t)n : 0;
	}
	if (r == 0 && EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		r = -ENOMEM;
	EVP_MD_CTX_free(ctx);
	free(piece);
	return r;
}

static int check_file(int dir_fd, const char *name, enum oid_format f, struct cancel *cancel)
{
	unsigned char is[EVP_MAX_MD_SIZE], should[OID_MAX_BYTES];
	size_t n = oid_bytes(f);
	struct stat st;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (st.st_size < (off_t)n || pread(fd, should, n, st.st_size - (off_t)n) != (ssize_t)n)
		r = WEIR_E_DAMAGED;
	if (r == 0)
		r = hash_file(fd, (uint64_t)st.st_size - n, f == OID_SHA256 ? EVP_sha256() : EVP_sha1(), cancel, is);
	if (r == 0 && memcmp(is, should, n) != 0)
		r = WEIR_E_DAMAGED;
	fd_close(&fd);
	return r;
}

int scrub_packs(const char *git_dir, enum oid_format f, struct cancel *cancel, struct buf *why)
{
	char *path = xstrf("%s/objects/pack", git_dir);
	DIR *d = opendir(path);
	struct dirent *e;
	int r = d ? 0 : -errno;

	while (r == 0 && (e = readdir(d))) {
		struct slice name = slice_str(e->d_name);

		if (!slice_starts(name, "pack-") || !(slice_ends(name, ".pack") || slice_ends(name, ".idx")))
			continue;
		r = check_file(dirfd(d), e->d_name, f, cancel);
		if (r == WEIR_E_DAMAGED)
			buf_addf(why, "%s does not match its checksum", e->d_name);
	}
	if (d)
		closedir(d);
	free(path);
	return r;
}

static void run_scrub(void *arg)
{
	struct repo *r = arg;
	struct refs *refs = repo_refs(r, NULL);
	struct buf why = BUF_EMPTY;
	int64_t started = clock_mono_ms();
	unsigned pin;
	int err = -ENOENT;

	if (refs && repo_pin(r, &pin)) {
		err = scrub_packs(r->git_dir, refs_format(refs), r->g->stop, &why);
		repo_unpin(r, pin);
	}
	refs_unref(&refs);
	if (err == WEIR_E_DAMAGED) {
		log_event(LOG_ERROR, "pack_damaged", LOG_STR("repository", r->key), LOG_STR("why", why.data),
			  LOG_STR("effect", "git verifies it now"), LOG_END);
		maint_suspect(r, true, why.data);
	} else {
		log_event(LOG_DEBUG, "packs_scrubbed", LOG_STR("repository", r->key),
			  LOG_INT("ms", clock_mono_ms() - started), LOG_ERR("result", err), LOG_END);
	}
	buf_fini(&why);
	atomic_store(&r->g->scrubbing, false);
	repo_unref(&r);
}

/* The one on disk that was not looked at for longest, if that is long enough; one reference. */
static struct repo *most_due(struct git_service *g)
{
	int64_t now = clock_mono_ms();
	struct repo **all, *due = NULL;
	size_t n = repo_list(g, &all);

	for (size_t i = 0; i < n; i++) {
		struct repo *r = all[i];
		bool better;

		pthread_mutex_lock(&r->lock);
		better = r->state == REPO_READY && !r->suspect &&
			 (!r->scrubbed || now - r->scrubbed_mono_ms >= SCRUB_EVERY_MS) &&
			 (!due || r->scrubbed_mono_ms < due->scrubbed_mono_ms); /* only this thread changes it */
		pthread_mutex_unlock(&r->lock);
		if (better) {
			repo_unref(&due);
			due = repo_ref(r);
		}
		repo_unref(&all[i]);
	}
	free(all);
	return due;
}

void scrub_one(struct git_service *g)
{
	struct repo *r;

	if (clock_mono_ms() - g->core->started_mono_ms < SCRUB_FIRST_MS || atomic_load(&g->stopping) ||
	    atomic_exchange(&g->scrubbing, true))
		return;
	r = most_due(g);
	if (r) {
		pthread_mutex_lock(&r->lock);
		r->scrubbed = true;
		r->scrubbed_mono_ms = clock_mono_ms();
		pthread_mutex_unlock(&r->lock);
	}
	if (!r || pool_submit(r->sync_lane, run_scrub, r) < 0) {
		repo_unref(&r);
		atomic_store(&g->scrubbing, false);
	}
}
