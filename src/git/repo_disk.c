/* repo_disk.c -- a repository's folder: making, loading, saving, measuring, moving aside, dropping.
 *
 * RULES    1. Small files appear whole (store/wholefile.h).
 *          2. The snapshot file decides what is servable. packed-refs is written before it, so after a crash between
 *             the two it may be newer; loading writes it again from the snapshot. Nothing prunes objects in between.
 *          3. Damage is moved to <dir>/damaged, not deleted; of what lies there the newest MOST_DAMAGED stay.
 *          4. A folder leaves its place by rename before it is removed: a half-removed repository is never met under
 *             its name.
 * THREADS  Workers, and start-up. */
#include "git/repo_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/rand.h"
#include "base/str.h"
#include "git/intake.h"
#include "git/kept.h"
#include "io/file.h"
#include "proto/url.h"
#include "store/wholefile.h"

#define NAME_FILE_MOST 8192
#define REFS_FILE_MOST (512u << 20)
#define READABLE_CHARS 80

/* Readable for an operator, and unique by the hash, as names may be long and differ only in what a folder cannot
 * hold. */
char *repo_disk_dir(const struct git_service *g, const char *key)
{
	struct buf out = BUF_EMPTY;
	unsigned char sha[SHA256_DIGEST_LENGTH];
	size_t n = strlen(key);

	SHA256((const unsigned char *)key, n, sha);
	buf_addf(&out, "%s/", g->repos_dir);
	for (size_t i = 0; i < n && i < READABLE_CHARS; i++) {
		char c = key[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
			     c == '-';

		buf_add_char(&out, plain ? c : '_');
	}
	buf_add_char(&out, '-');
	str_hex(sha, 8, &out);
	return buf_detach(&out, NULL);
}

const char *repo_disk_name(const struct repo *r)
{
	return strrchr(r->dir, '/') + 1;
}

static int write_in(const char *dir, const char *name, struct slice data)
{
	char *path = xstrf("%s/%s", dir, name);
	int r = wholefile_write(path, data, 0600);

	free(path);
	return r;
}

/* --- snapshots --- */

static void save_refs(struct repo *r, const struct refs *refs, const char *name)
{
	struct buf data = BUF_EMPTY;
	char *path = xstrf("%s/%s", r->dir, name);
	int err;

	refs_save(refs, &data);
	err = wholefile_write_checked(path, REFS_FILE_NAME, REFS_FILE_VERSION, buf_slice(&data));
	if (err < 0)
		log_event(LOG_WARN, "refs_not_saved", LOG_STR("repository", r->key), LOG_ERR("why", err),
			  LOG_STR("effect", "after a restart the listing is the one before"), LOG_END);
	buf_fini(&data);
	free(path);
}

static struct refs *peek_refs(struct repo *r, struct scope *s, bool *ret_on_disk)
{
	struct refs *refs;

	pthread_mutex_lock(&r->lock);
	*ret_on_disk = r->state == REPO_READY;
	refs = s->refs ? refs_ref(s->refs) : NULL;
	pthread_mutex_unlock(&r->lock);
	return refs;
}

static void scope_file_name(struct slice key, struct buf *out)
{
	buf_add_str(out, REFS_FILE_NAME "-");
	str_hex(key.p, key.n, out);
}

void repo_disk_drop_scope(struct repo *r, const struct grant_key *key)
{
	struct buf path = BUF_EMPTY;

	buf_addf(&path, "%s/", r->dir);
	scope_file_name((struct slice){ (const char *)key->bytes, sizeof(key->bytes) }, &path);
	(void)unlink(path.data); /* one that stays is dropped at another time */
	buf_fini(&path);
}

/* only: of all scopes this one; NULL: each. */
static void save_scopes(struct repo *r, const struct grant_key *only)
{
	size_t pos = 0;
	struct slice key;
	void *scope;

	while (map_next(r->scopes, &pos, &key, &scope)) { /* only changed under save_lock */
		bool on_disk;
		struct buf name = BUF_EMPTY;
		struct refs *refs;

		if (only && memcmp(key.p, only->bytes, sizeof(only->bytes)) != 0)
			continue;
		refs = peek_refs(r, scope, &on_disk);
		scope_file_name(key, &name);
		if (refs && on_disk)
			save_refs(r, refs, name.data);
		buf_fini(&name);
		refs_unref(&refs);
	}
}

static bool save_main(struct repo *r)
{
	bool on_disk;
	struct refs *refs = peek_refs(r, &r->main, &on_disk);

	if (refs && on_disk)
		save_refs(r, refs, REFS_FILE_NAME);
	refs_unref(&refs);
	return on_disk;
}

void repo_disk_save(struct repo *r)
{
	if (save_main(r) && r->scopes)
		save_scopes(r, NULL);
}

void repo_disk_save_view(struct repo *r, const struct grant_key *cred)
{
	if (save_main(r) && r->scopes && cred)
		save_scopes(r, cred);
}

int repo_disk_write_refs(struct repo *r, const struct refs *refs)
{
	struct buf data = BUF_EMPTY;
	int err;

	refs_packed_refs(refs, &data);
	err = write_in(r->git_dir, "packed-refs", buf_slice(&data));
	buf_reset(&data);
	if (err == 0 && refs_head_file(refs, &data) == 0)
		err = write_in(r->git_dir, "HEAD", buf_slice(&data));
	buf_fini(&data);
	return err;
}

/* --- making --- */

/* What git finds in the repository. allowPackReuse is off as it would copy bytes of a pack unchecked, so that a flipped
 * bit reached a client; without it each object's checksum is compared. The rest: git must do nothing unasked. */
static void config_text(enum oid_format f, struct buf *out)
{
	buf_addf(
		out,
		"[core]\n\trepositoryformatversion = %d\n\tfilemode = true\n\tbare = true\n\tlogallrefupdates = false\n",
		f == OID_SHA256 ? 1 : 0);
	if (f == OID_SHA256)
		buf_add_str(out, "[extensions]\n\tobjectformat = sha256\n");
	buf_add_str(out,
		    "[uploadpack]\n\tallowAnySHA1InWant = true\n\tallowFilter = true\n\tadvertiseRefInWant = false\n"
		    "[pack]\n\tallowPackReuse = false\n\twriteBitmapHashCache = true\n"
		    "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[receive]\n\tautogc = false\n");
	intake_add_fsck_config(out); /* git fsck forgives what was forgiven at the door */
}

static int make_git_dir(struct repo *r, enum oid_format f)
{
	static const char *const folders[] = { "objects/info", "objects/pack", "refs/heads", "refs/tags", "info" };
	struct buf config = BUF_EMPTY;
	int err = 0;

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(folders); i++) {
		char *path = xstrf("%s/%s", r->git_dir, folders[i]);

		err = dir_make_all(path, 0700);
		free(path);
	}
	config_text(f, &config);
	if (err == 0)
		err = write_in(r->git_dir, "config", buf_slice(&config));
	if (err == 0)
		err = write_in(r->git_dir, "HEAD", SLICE_LIT("ref: refs/heads/main\n"));
	if (err == 0)
		err = dir_sync(r->git_dir);
	buf_fini(&config);
	return err;
}

static int write_name(struct repo *r)
{
	char *path = xstrf("%s/name", r->dir);
	int err = wholefile_write_checked(path, "name", 1, slice_str(r->key));

	free(path);
	return err;
}

static void become_ready(struct repo *r, uint64_t bytes)
{
	bool was;

	pthread_mutex_lock(&r->lock);
	was = r->state != REPO_UNKNOWN; /* then it holds its reference already */
	r->state = REPO_READY;
	if (!r->used_wall_ms)
		r->used_wall_ms = clock_wall_ms();
	pthread_mutex_unlock(&r->lock);
	if (!was)
		repo_ref(r);
	budget_add(r->g->budget, &r->item.budget, bytes, r->used_wall_ms);
}

int repo_make_on_disk(struct repo *r, enum oid_format f)
{
	int err = 0;
	bool ready;

	pthread_mutex_lock(&r->save_lock);
	pthread_mutex_lock(&r->lock);
	ready = r->state == REPO_READY;
	pthread_mutex_unlock(&r->lock);
	if (!ready) {
		err = make_git_dir(r, f);
		if (err == 0)
			err = write_name(r); /* last: without it the folder does not count */
		if (err == 0)
			err = dir_sync(r->g->repos_dir);
		if (err == 0)
			become_ready(r, 0);
		if (err == 0)
			repo_disk_save(r);
	}
	pthread_mutex_unlock(&r->save_lock);
	return err;
}

/* --- loading --- */

static int load_refs_file(struct repo *r, const char *name, struct refs **ret)
{
	char *path = xstrf("%s/%s", r->dir, name);
	struct buf data = BUF_EMPTY;
	int err = wholefile_read_checked(path, REFS_FILE_NAME, REFS_FILE_VERSION, REFS_FILE_MOST, &data);

	if (err == 0)
		err = refs_load(buf_slice(&data), ret);
	if (err == WEIR_E_DAMAGED || err == WEIR_E_PARSE || err == WEIR_E_TOO_LARGE) {
		log_event(LOG_WARN, "refs_damaged", LOG_STR("repository", r->key), LOG_STR("file", name),
			  LOG_STR("effect", "set aside; upstream is asked again"), LOG_END);
		(void)wholefile_set_aside(path, r->g->dir); /* when even that fails the next save replaces it */
	}
	buf_fini(&data);
	free(path);
	return err;
}

/* Rule 2: makes packed-refs say what the snapshot says. */
static void align_packed_refs(struct repo *r, const struct refs *refs)
{
	char *path = xstrf("%s/packed-refs", r->git_dir);
	struct buf is = BUF_EMPTY, should = BUF_EMPTY;
	int err = file_read_all(path, REFS_FILE_MOST, &is);

	refs_packed_refs(refs, &should);
	if (err < 0 || !slice_eq(buf_slice(&is), buf_slice(&should)))
		if (repo_disk_write_refs(r, refs) < 0)
			log_event(LOG_WARN, "packed_refs_not_written", LOG_STR("repository", r->key), LOG_END);
	buf_fini(&is);
	buf_fini(&should);
	free(path);
}

static void load_scopes(struct repo *r)
{
	DIR *d = opendir(r->dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct slice hex = slice_str(e->d_name);
		struct grant_key key;
		struct scope *s;
		struct refs *refs = NULL;

		if (!slice_starts(hex, REFS_FILE_NAME "-") ||
		    str_unhex(slice_from(hex, sizeof(REFS_FILE_NAME)), key.bytes, sizeof(key.bytes)) ||
		    load_refs_file(r, e->d_name, &refs) < 0)
			continue;
		s = xcalloc(1, sizeof(*s));
		s->cover = (struct cover)COVER_EMPTY;
		s->refs = refs;
		map_put(r->scopes, (struct slice){ (const char *)key.bytes, sizeof(key.bytes) }, s);
	}
	if (d)
		closedir(d);
}

static void load_one(struct git_service *g, const char *dir, const char *key, int64_t used_wall_ms)
{
	struct slice path = slice_str(key), host;
	struct upstream *up;
	struct slice room[SYNC_MOST_PREFIXES];
	struct repo *r;
	char *host_text;
	uint64_t bytes = 0;

	if (!slice_cut(&path, '/', &host))
		return;
	host_text = slice_dup(host);
	up = upstream_find(g, host_text);
	free(host_text);
	if (!up) {
		log_event(LOG_WARN, "repo_without_upstream", LOG_STR("repository", key), LOG_STR("folder", dir),
			  LOG_STR("effect",
				  "left alone; list its host under git.upstreams to serve it, or remove the folder"),
			  LOG_END);
		return;
	}
	r = repo_get(g, up, key, path.p);
	if (strcmp(r->dir, dir) == 0) {
		intake_sweep(r->git_dir);
		r->used_wall_ms = r->used_saved_ms = used_wall_ms;
		if (load_refs_file(r, REFS_FILE_NAME, &r->main.refs) == 0) {
			align_packed_refs(r, r->main.refs);
			r->seen_at_ms = refs_contact_wall_ms(r->main.refs);
			r->servable_at_ms =
				refs_behind_count(r->main.refs, sync_prefixes(git_config(g), room)) ? 0 : r->seen_at_ms;
		}
		if (r->scopes)
			load_scopes(r);
		(void)tree_bytes(r->dir, &bytes); /* measured again after the next sync */
		become_ready(r, bytes);
	}
	repo_unref(&r);
}

int repo_load_all(struct git_service *g, struct buf *err)
{
	DIR *d = opendir(g->repos_dir);
	struct dirent *e;

	if (!d) {
		buf_addf(err, "cannot read %s: %s", g->repos_dir, err_text(-errno));
		return -errno;
	}
	while ((e = readdir(d))) {
		char *dir = xstrf("%s/%s", g->repos_dir, e->d_name), *name = xstrf("%s/name", dir);
		struct buf key = BUF_EMPTY;
		struct stat st;

		if (slice_starts(slice_str(e->d_name), "trash-"))
			(void)tree_remove(dir); /* rule 4: what a crash left half-removed */
		else if (e->d_name[0] != '.' && stat(name, &st) == 0 &&
			 wholefile_read_checked(name, "name", 1, NAME_FILE_MOST, &key) == 0)
			load_one(g, dir, key.data, (int64_t)st.st_mtim.tv_sec * 1000);
		buf_fini(&key);
		free(dir);
		free(name);
	}
	closedir(d);
	return 0;
}

/* --- use, size --- */

void repo_disk_save_used(struct repo *r)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { 0 } };
	int64_t used;
	bool due;
	char *path;

	pthread_mutex_lock(&r->lock);
	used = r->used_wall_ms;
	due = r->state == REPO_READY && used / 1000 != r->used_saved_ms / 1000;
	r->used_saved_ms = used;
	pthread_mutex_unlock(&r->lock);
	if (!due)
		return;
	path = xstrf("%s/name", r->dir);
	times[1].tv_sec = (time_t)(used / 1000);
	(void)utimensat(AT_FDCWD, path, times, 0); /* only the order of eviction after a restart depends on it */
	free(path);
}

void repo_measure(struct repo *r)
{
	uint64_t bytes = 0;

	if (tree_bytes(r->dir, &bytes) == 0)
		budget_resize(r->g->budget, &r->item.budget, bytes);
}

/* --- moving aside, dropping --- */

#define MOST_DAMAGED 5

static int is_no_dot(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Folders there end in "-<milliseconds>". */
static int older_first(const struct dirent **a, const struct dirent **b)
{
	const char *x = strrchr((*a)->d_name, '-'), *y = strrchr((*b)->d_name, '-');

	return strcmp(x ? x : "", y ? y : "");
}

/* Whether it may go now; then it is `next` from here on. */
static int leave_ready(struct repo *r, enum repo_state next, bool even_in_use)
{
	int err = 0;

	pthread_mutex_lock(&r->lock);
	if (r->state != REPO_READY)
		err = -ENOENT;
	else if (!even_in_use && (r->readers[0] || r->readers[1] || r->syncing || r->maintaining))
		err = -EBUSY;
	else
		r->state = next;
	pthread_mutex_unlock(&r->lock);
	return err;
}

/* Nothing of it can be served any more. */
static void forget_servable(struct repo *r)
{
	struct refs *empty;

	pthread_mutex_lock(&r->lock);
	empty = r->main.refs ? refs_set_servable(r->main.refs, NULL, 0, true) : NULL;
	if (empty) {
		refs_unref(&r->main.refs);
		r->main.refs = empty;
		for (size_t i = 0; i < ARRAY_LEN(r->main.made); i++) {
			blob_unref(&r->main.made[i].key);
			blob_unref(&r->main.made[i].answer);
		}
	}
	pthread_mutex_unlock(&r->lock);
}

/* Takes the repository out of its place by rename. What is to be evicted is not waited for: budget_remove() waits for
 * an eviction under way, so with save_lock held it may only be called when none can be waiting for that lock. */
static int take_away(struct repo *r, const char *to, enum repo_state next, bool even_in_use)
{
	int err;

	if (even_in_use)
		pthread_mutex_lock(&r->save_lock);
	else if (pthread_mutex_trylock(&r->save_lock) != 0)
		return -EBUSY;
	err = leave_ready(r, next, even_in_use);
	if (err == 0 && rename(r->dir, to) < 0) {
		err = -errno;
		pthread_mutex_lock(&r->lock);
		r->state = REPO_READY;
		pthread_mutex_unlock(&r->lock);
	}
	if (err == 0) {
		forget_servable(r);
		budget_remove(r->g->budget, &r->item.budget); /* before it can be made anew and added again */
	}
	pthread_mutex_unlock(&r->save_lock);
	if (err == 0)
		kept_drop_repo(r->g->kept, repo_disk_name(r));
	return err;
}

/* Evidence is kept, but a disk that damages something every night must not fill up with it. */
static void trim_damaged(struct git_service *g)
{
	struct dirent **names = NULL;
	int n;

	while ((n = scandir(g->damaged_dir, &names, is_no_dot, older_first)) > MOST_DAMAGED) {
		char *path = xstrf("%s/%s", g->damaged_dir, names[0]->d_name);
		int err = tree_remove(path);

		free(path);
		while (n > 0)
			free(names[--n]);
		free(names);
		if (err < 0)
			return; /* tried again the next time */
	}
	while (n > 0)
		free(names[--n]);
	free(names);
}

int repo_quarantine(struct repo *r, const char *why)
{
	char *to = xstrf("%s/%s-%lld", r->g->damaged_dir, repo_disk_name(r), (long long)clock_wall_ms());
	int err = dir_make_all(r->g->damaged_dir, 0700);

	if (err == 0)
		err = take_away(r, to, REPO_QUARANTINED, true);
	if (err == 0) {
		trim_damaged(r->g);
		metric_add(r->g->metrics.quarantined, 1);
		log_event(LOG_ERROR, "repo_quarantined", LOG_STR("repository", r->key), LOG_STR("moved_to", to),
			  LOG_STR("why", why), LOG_STR("effect", "fetched anew from upstream"), LOG_END);
	}
	free(to);
	return err;
}

int repo_evict(struct repo *r)
{
	char *trash = xstrf("%s/trash-%016llx", r->g->repos_dir, (unsigned long long)rand_u64());
	int err = take_away(r, trash, REPO_UNKNOWN, false);

	if (err == 0) {
		struct repo *own = r;

		metric_add(r->g->metrics.shared.evictions, 1);
		log_event(LOG_INFO, "repo_evicted", LOG_STR("repository", r->key), LOG_END);
		(void)tree_remove(trash); /* the rest goes at the next start */
		repo_unref(&own);	  /* the one to itself */
	}
	free(trash);
	return err;
}

bool repo_item_evict(struct git_item *it)
{
	struct repo *r = repo_ref(CONTAINER_OF(it, struct repo, item));
	int err;

	err = repo_evict(r);
	repo_unref(&r);
	return err == 0;
}
