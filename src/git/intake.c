/* intake.c -- from bytes of a peer to objects of a repository.
 *
 * WHAT     `git index-pack --stdin --fix-thin --strict` in a quarantine folder that sees the repository as an
 *          alternate, then `git rev-list --objects TIPS --not --all` with the same view, then rename.
 * WHY      A pack is a stranger's until each object was hashed, parsed and found connected. index-pack's strict mode
 *          parses; rev-list proves that nothing is missing below the tips. The refs on disk name only whole closures,
 *          so `--not --all` is where the walk may stop.
 * RULES    1. Nothing of the pack is visible to readers before both children said yes.
 *          2. .pack and .rev move before .idx: git finds a pack by its .idx.
 *          3. index-pack has synced the files (core.fsync's default covers packs); the folder is synced here.
 * THREADS  One worker for each intake. */
#include "git/intake.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "base/str.h"
#include "io/child.h"
#include "io/file.h"

/* What strict checking makes of each flaw. index-pack's strict mode turns every warning into an error, so what old
 * public histories are full of and harms nobody must be named here; what protects is named too, lest a default of
 * another git version weaken it. Names: git-fsck(1). */
static const struct {
	const char *flaw, *verdict;
} strictness[] = {
	{ "zeroPaddedFilemode", "ignore" },
	{ "badFilemode", "ignore" },
	{ "badTimezone", "ignore" },
	{ "badDate", "ignore" },
	{ "badDateOverflow", "ignore" },
	{ "zeroPaddedDate", "ignore" },
	{ "missingSpaceBeforeDate", "ignore" },
	{ "missingSpaceBeforeEmail", "ignore" },
	{ "missingNameBeforeEmail", "ignore" },
	{ "missingEmail", "ignore" },
	{ "badEmail", "ignore" },
	{ "badName", "ignore" },
	{ "emptyName", "ignore" },
	{ "missingTaggerEntry", "ignore" },
	{ "badTagName", "ignore" },
	{ "multipleAuthors", "ignore" },
	{ "nulInCommit", "ignore" },
	{ "hasDot", "error" },
	{ "hasDotdot", "error" },
	{ "hasDotgit", "error" },
	{ "fullPathname", "error" },
	{ "nullSha1", "error" },
	{ "duplicateEntries", "error" },
	{ "treeNotSorted", "error" },
	{ "gitmodulesName", "error" },
	{ "gitmodulesUrl", "error" },
	{ "gitmodulesPath", "error" },
	{ "gitmodulesSymlink", "error" },
	{ "gitmodulesUpdate", "error" },
};

struct intake {
	struct intake_options o;
	char *git_dir, *quarantine;
	char *env_objects, *env_alternates, *env_shallow; /* the last may be NULL */
	struct child *index_pack;
	int pipe_fd;           /* our end of its standard input; -1 when closed */
	int out_fd, err_fd;    /* its words, in memory files: it never blocks on us */
	uint64_t bytes;
	bool refused_more;     /* index-pack took no more while we still had some */
};

#define INCOMING "incoming-"

static char *objects_path(const char *git_dir, const char *name)
{
	return xstrf("%s/objects/%s", git_dir, name);
}

static void strict_argument(struct buf *out)
{
	buf_add_str(out, "--strict=");
	for (size_t i = 0; i < ARRAY_LEN(strictness); i++)
		buf_addf(out, "%s%s=%s", i ? "," : "", strictness[i].flaw, strictness[i].verdict);
}

void intake_add_fsck_config(struct buf *out)
{
	buf_add_str(out, "[fsck]\n");
	for (size_t i = 0; i < ARRAY_LEN(strictness); i++)
		buf_addf(out, "\t%s = %s\n", strictness[i].flaw, strictness[i].verdict);
}

static void set_environment(struct intake *in)
{
	char *objects = objects_path(in->git_dir, "");

	objects[strlen(objects) - 1] = '\0';
	in->env_objects = xstrf("GIT_OBJECT_DIRECTORY=%s", in->quarantine);
	in->env_alternates = xstrf("GIT_ALTERNATE_OBJECT_DIRECTORIES=%s", objects);
	free(objects);
}

static int start_index_pack(struct intake *in, int stdin_fd)
{
	struct buf strict = BUF_EMPTY, limit = BUF_EMPTY;
	const char *env[] = { "GIT_DIR=.", in->env_objects, in->env_alternates, in->env_shallow, NULL };
	const char *argv[12];
	size_t n = 0;
	int r;

	strict_argument(&strict);
	argv[n++] = "git";
	argv[n++] = "index-pack";
	argv[n++] = "--stdin";
	argv[n++] = "--fix-thin";
	argv[n++] = strict.data;
	if (in->o.background)
		argv[n++] = "--threads=1";
	if (in->o.most_bytes) {
		buf_addf(&limit, "--max-input-size=%llu", (unsigned long long)in->o.most_bytes);
		argv[n++] = limit.data;
	}
	argv[n] = NULL;
	r = child_spawn(&(struct child_options){ .argv = argv,
						 .env = env,
						 .cwd = in->git_dir,
						 .stdin_fd = stdin_fd,
						 .stdout_fd = in->out_fd,
						 .stderr_fd = in->err_fd,
						 .idle = in->o.background },
			&in->index_pack);
	buf_fini(&strict);
	buf_fini(&limit);
	return r;
}

static int memory_file(int *ret_fd)
{
	*ret_fd = memfd_create("weir-child", MFD_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

/* Where the history in the pack ends: git must not look for parents below. */
static int write_shallow(struct intake *in)
{
	char *path = xstrf("%s/shallow", in->quarantine);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;

	r = fd < 0 ? -errno : fd_write_all(fd, in->o.shallow.p, in->o.shallow.n);
	fd_close(&fd);
	in->env_shallow = xstrf("GIT_SHALLOW_FILE=%s", path);
	free(path);
	return r;
}

int intake_begin(const struct intake_options *o, struct intake **ret)
{
	struct intake *in = xcalloc(1, sizeof(*in));
	int fds[2] = { -1, -1 }, r;
	char *pack_dir;

	in->o = *o;
	in->pipe_fd = in->out_fd = in->err_fd = -1;
	in->git_dir = xstrdup(o->git_dir);
	in->o.git_dir = in->git_dir;
	in->quarantine = xstrf("%s/objects/" INCOMING "%016llx", o->git_dir, (unsigned long long)rand_u64());
	set_environment(in);
	pack_dir = xstrf("%s/pack", in->quarantine);
	r = dir_make_all(pack_dir, 0700);
	free(pack_dir);
	if (r < 0)
		goto out;
	if (o->shallow.n)
		r = write_shallow(in);
	if (r < 0)
		goto out;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		r = -errno;
		goto out;
	}
	(void)fcntl(fds[1], F_SETPIPE_SZ, 1 << 20); /* a wish: fewer wake-ups */
	if (fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0) {
		r = -errno;
		goto out;
	}
	r = memory_file(&in->out_fd);
	if (r == 0)
		r = memory_file(&in->err_fd);
	if (r == 0)
		r = start_index_pack(in, fds[0]);
	if (r < 0)
		goto out;
	in->pipe_fd = fds[1];
	fds[1] = -1;
	*ret = in;
	in = NULL;
out:
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	intake_free(&in);
	return r;
}

int intake_write(struct intake *in, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(in->pipe_fd, p, n);
		struct pollfd waits[2] = { { .fd = in->pipe_fd, .events = POLLOUT },
					   { .fd = cancel_fd(in->o.cancel), .events = POLLIN } };

		if (done > 0) {
			p += done;
			n -= (size_t)done;
			in->bytes += (uint64_t)done;
			continue;
		}
		if (done < 0 && errno == EPIPE) {
			in->refused_more = true;
			return WEIR_E_CHILD;
		}
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (poll(waits, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (cancel_fired(in->o.cancel))
			return WEIR_E_CANCELLED;
	}
	return 0;
}

/* What a child wrote into a memory file, at most 4 KiB of its end, as one line for a person. */
static void read_words(int fd, struct buf *out)
{
	char text[4096];
	off_t size = lseek(fd, 0, SEEK_END);
	off_t from = size > (off_t)sizeof(text) ? size - (off_t)sizeof(text) : 0;
	ssize_t n = pread(fd, text, sizeof(text), from);

	if (!out)
		return;
	for (ssize_t i = 0; i < n; i++)
		buf_add_char(out, text[i] == '\n'                ? (i + 1 < n ? ';' : ' ')
				  : text[i] < 32 && text[i] >= 0 ? ' '
								 : text[i]);
	while (out->len && out->data[out->len - 1] == ' ')
		buf_truncate(out, out->len - 1);
}

/* The disk being full is not the pack's fault: git says so in words only. */
static int judge_failure(const struct buf *words)
{
	if (words && (strstr(words->data, "No space left") || strstr(words->data, "Disk quota")))
		return -ENOSPC;
	return WEIR_E_DAMAGED;
}

/* index-pack says "pack", a tab, the hash; then it gives back what stood behind the pack, and finds nothing wrong with
 * that. */
static bool has_no_tail(const struct intake *in)
{
	return lseek(in->out_fd, 0, SEEK_END) == (off_t)(strlen("pack\t") + oid_hex_chars(in->o.format) + 1);
}

static int finish_index_pack(struct intake *in, struct buf *why)
{
	int status, r;

	fd_close(&in->pipe_fd); /* end of input */
	r = child_wait(in->index_pack, -1, in->o.cancel, &status);
	if (r < 0)
		return r;
	child_free(&in->index_pack);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		read_words(in->err_fd, why);
		return judge_failure(why);
	}
	if (!in->refused_more && has_no_tail(in))
		return 0;
	if (why)
		buf_add_str(why, "bytes behind the end of the pack");
	return WEIR_E_DAMAGED;
}

/* Every tip is there, and everything below it that the repository did not have whole before. */
static int check_connected(struct intake *in, const struct oid_list *tips, struct buf *why)
{
	const char *env[] = { "GIT_DIR=.", in->env_objects, in->env_alternates, in->env_shallow, NULL };
	const char *argv[] = { "git", "rev-list", "--objects", "--quiet", "--stdin", "--not", "--all", NULL };
	struct buf input = BUF_EMPTY, out = BUF_LIMIT(4096), words = BUF_EMPTY;
	int r;

	for (size_t i = 0; i < tips->count; i++) {
		oid_add_hex(&input, in->o.format, &tips->items[i]);
		buf_add_char(&input, '\n');
	}
	r = child_run(&(struct child_options){ .argv = argv, .env = env, .cwd = in->git_dir, .idle = in->o.background },
		      buf_slice(&input), &out, &words, -1, in->o.cancel, NULL);
	if (r == WEIR_E_CHILD || r == WEIR_E_TOO_LARGE) {
		r = judge_failure(&words);
		if (why)
			buf_addf(why, "not connected: %s", words.data);
	}
	buf_fini(&input);
	buf_fini(&out);
	buf_fini(&words);
	return r;
}

static int move_with_suffix(const char *from_dir, const char *to_dir, const char *suffix)
{
	DIR *d = opendir(from_dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while (r == 0 && (e = readdir(d))) {
		char *from, *to;

		if (!slice_starts(slice_str(e->d_name), "pack-") || !slice_ends(slice_str(e->d_name), suffix))
			continue;
		from = xstrf("%s/%s", from_dir, e->d_name);
		to = xstrf("%s/%s", to_dir, e->d_name);
		if (rename(from, to) < 0)
			r = -errno;
		free(from);
		free(to);
	}
	closedir(d);
	return r;
}

static int migrate(struct intake *in)
{
	static const char *const order[] = { ".pack", ".rev", ".idx" }; /* rule 2 */
	char *from = xstrf("%s/pack", in->quarantine), *to = objects_path(in->git_dir, "pack");
	int r = dir_make_all(to, 0700);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(order); i++)
		r = move_with_suffix(from, to, order[i]);
	if (r == 0)
		r = dir_sync(to);
	free(from);
	free(to);
	return r;
}

/* index-pack's standard output is "pack\t<hash>"; an empty pack (nothing new) leaves a file with no object, which is
 * not worth keeping. */
static bool pack_is_empty(struct intake *in)
{
	char *dir = xstrf("%s/pack", in->quarantine);
	unsigned char head[12];
	bool empty = true;
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int fd;

		if (!slice_ends(slice_str(e->d_name), ".pack"))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 &&
		    (pread(fd, head, sizeof(head), 0) != sizeof(head) || memcmp(head + 8, "\0\0\0\0", 4) != 0))
			empty = false;
		fd_close(&fd);
	}
	if (d)
		closedir(d);
	free(dir);
	return empty;
}

int intake_finish(struct intake *in, const struct oid_list *tips, struct buf *why)
{
	int r = finish_index_pack(in, why);

	if (r == 0)
		r = check_connected(in, tips, why);
	if (r == 0 && !in->o.only_look && !pack_is_empty(in))
		r = migrate(in);
	return r;
}

uint64_t intake_bytes(const struct intake *in)
{
	return in->bytes;
}

void intake_free(struct intake **inp)
{
	struct intake *in = *inp;

	*inp = NULL;
	if (!in)
		return;
	fd_close(&in->pipe_fd);
	child_free(&in->index_pack);
	fd_close(&in->out_fd);
	fd_close(&in->err_fd);
	if (in->quarantine)
		(void)tree_remove(in->quarantine); /* what stays is swept at the next start */
	free(in->git_dir);
	free(in->quarantine);
	free(in->env_objects);
	free(in->env_alternates);
	free(in->env_shallow);
	free(in);
}

void intake_sweep(const char *git_dir)
{
	char *objects = objects_path(git_dir, "");
	DIR *d = opendir(objects);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char *path;

		if (!slice_starts(slice_str(e->d_name), INCOMING))
			continue;
		path = objects_path(git_dir, e->d_name);
		(void)tree_remove(path); /* tried again at the next start */
		free(path);
	}
	if (d)
		closedir(d);
	free(objects);
}
