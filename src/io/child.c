/* child.c -- running git (or another program) without a shell.
 *
 * WHAT     posix_spawn(3) with everything stated: three descriptors and no others, an own process group, default
 *          signals, a fixed environment. A pidfd tells the end, so that waiting is poll(2) beside a cancel.
 * WHY      fork(2) in a threaded program with gigabytes of page tables is slow and unsafe; posix_spawn is a vfork
 *          inside. Nothing is inherited, since a sidecar inherits HTTP_PROXY=weir (a loop) and secrets.
 * RULES    1. A group is signalled only while its leader is not reaped: after that its number may be another's.
 *          2. Who is cancelled gets SIGTERM and a moment first, so that git can remove its lock and temporary files.
 *          3. child_run() moves all three streams in one poll loop: a child that writes before it reads, or never
 *             reads, cannot make it stand still.
 *          4. When the child has ended, what is in the pipes is read, and then no more is waited for: a process that it
 *             left behind may hold them open for ever.
 * THREADS  Any; `lock` makes rule 1 hold when one thread kills what another waits for. */
#include "io/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

#define CHILD_MAGIC 0x6368696cu
#define MOST_ENV 64
#define ERR_TAIL_BYTES 4096
#define TERM_GRACE_MS 2000
#define CHUNK 16384

struct child {
	unsigned magic;
	pthread_mutex_t lock;
	pid_t pid;
	int pidfd;
	bool reaped;
	int status;
};

static const char *const search_path[] = { "/usr/local/bin", "/usr/bin", "/bin" };

static const char *const fixed_env[] = {
	"PATH=/usr/local/bin:/usr/bin:/bin", /* as search_path */
	"HOME=/nonexistent",
	"LANG=C.UTF-8",
	"GIT_CONFIG_NOSYSTEM=1",
	"GIT_CONFIG_GLOBAL=/dev/null",
	"GIT_TERMINAL_PROMPT=0",
	"GIT_OPTIONAL_LOCKS=0",
	"GIT_NO_REPLACE_OBJECTS=1",
};

/* --- what a child is given -------------------------------------------------------------------------------------- */

static char *find_program(const char *name)
{
	if (strchr(name, '/'))
		return xstrdup(name);
	for (size_t i = 0; i < ARRAY_LEN(search_path); i++) {
		char *path = xstrf("%s/%s", search_path[i], name);
		struct stat st;
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

struct env {
	const char *list[MOST_ENV + 1];
	size_t n;
};

/* Adds or replaces; false when it is full. */
static bool env_set(struct env *e, const char *pair)
{
	size_t key = strcspn(pair, "=") + 1, i = 0;

	while (i < e->n && strncmp(e->list[i], pair, key) != 0)
		i++;
	if (i == MOST_ENV)
		return false;
	e->list[i] = pair;
	if (i == e->n)
		e->list[++e->n] = NULL;
	return true;
}

static bool env_fill(struct env *e, const char *const *extra, char *tmpdir)
{
	bool fits = true;

	*e = (struct env){ .n = 0 };
	for (size_t i = 0; i < ARRAY_LEN(fixed_env); i++)
		fits = fits && env_set(e, fixed_env[i]);
	if (tmpdir)
		fits = fits && env_set(e, tmpdir);
	for (; extra && *extra; extra++)
		fits = fits && env_set(e, *extra);
	return fits;
}

/* A descriptor among 0 to 2 could be overwritten by an earlier dup2 of the same list: such ones move up first. */
static int above_standard(int fd, int *ret_moved)
{
	if (fd < 0 || fd > 2)
		return fd;
	*ret_moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret_moved;
}

static int add_streams(posix_spawn_file_actions_t *fa, const struct child_options *o, int moved[3])
{
	const int given[3] = { o->stdin_fd, o->stdout_fd, o->stderr_fd };
	int r = 0;

	for (int i = 0; i < 3 && r == 0; i++) {
		int fd = above_standard(given[i], &moved[i]);
		if (fd < 0 && given[i] >= 0)
			return errno;
		if (fd < 0)
			r = posix_spawn_file_actions_addopen(fa, i, "/dev/null", i ? O_WRONLY : O_RDONLY, 0);
		else
			r = posix_spawn_file_actions_adddup2(fa, fd, i);
	}
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(fa, 3);
	if (r == 0 && o->cwd)
		r = posix_spawn_file_actions_addchdir_np(fa, o->cwd);
	return r;
}

static int set_attributes(posix_spawnattr_t *a)
{
	sigset_t all, none;
	int r;

	sigfillset(&all);
	sigemptyset(&none);
	r = posix_spawnattr_setflags(a, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	if (r == 0)
		r = posix_spawnattr_setpgroup(a, 0);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(a, &all);
	if (r == 0)
		r = posix_spawnattr_setsigmask(a, &none);
	return r;
}

/* Lowest priority, as far as the system lets us: background work is then only slower. */
static void make_idle(pid_t pid)
{
	const struct sched_param none = { 0 };

	(void)setpriority(PRIO_PGRP, (id_t)pid, 19);
	(void)sched_setscheduler(pid, SCHED_BATCH, &none);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PGRP, pid, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 7));
}

/* posix_spawn's own convention: 0 or a positive errno. */
static int spawn(const struct child_options *o, const char *program, const struct env *e, pid_t *ret_pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int moved[3] = { -1, -1, -1 }, r;

	ENSURE(posix_spawn_file_actions_init(&fa) == 0);
	ENSURE(posix_spawnattr_init(&attr) == 0);
	r = add_streams(&fa, o, moved);
	if (r == 0)
		r = set_attributes(&attr);
	if (r == 0)
		r = posix_spawn(ret_pid, program, &fa, &attr, (char *const *)o->argv, (char *const *)e->list);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	for (int i = 0; i < 3; i++)
		fd_close(&moved[i]);
	return r;
}

int child_spawn(const struct child_options *o, struct child **ret)
{
	const char *tmp = getenv("TMPDIR");
	char *program = find_program(o->argv[0]), *tmpdir = tmp ? xstrf("TMPDIR=%s", tmp) : NULL;
	struct child *ch;
	struct env e;
	pid_t pid = -1;
	int pidfd, r;

	if (!program)
		r = ENOENT;
	else if (!env_fill(&e, o->env, tmpdir))
		r = E2BIG;
	else
		r = spawn(o, program, &e, &pid);
	free(program);
	free(tmpdir);
	if (r != 0)
		return -r;
	pidfd = pidfd_open(pid, 0); /* close-on-exec by itself */
	if (pidfd < 0) {
		r = -errno;
		(void)kill(-pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return r;
	}
	if (o->idle)
		make_idle(pid);
	ch = xcalloc(1, sizeof(*ch));
	ch->magic = CHILD_MAGIC;
	ch->pid = pid;
	ch->pidfd = pidfd;
	ENSURE(pthread_mutex_init(&ch->lock, NULL) == 0);
	*ret = ch;
	return 0;
}

/* --- its life and end ------------------------------------------------------------------------------------------- */

int child_pidfd(const struct child *ch)
{
	OBJ_CHECK(ch, CHILD_MAGIC);
	return ch->pidfd;
}

static void child_signal(struct child *ch, int sig)
{
	pthread_mutex_lock(&ch->lock);
	if (!ch->reaped)
		(void)kill(-ch->pid, sig); /* ESRCH cannot be: the leader is at least a zombie */
	pthread_mutex_unlock(&ch->lock);
}

void child_kill(struct child *ch)
{
	OBJ_CHECK(ch, CHILD_MAGIC);
	child_signal(ch, SIGTERM);
}

/* Only when it has ended, so this does not block. */
static int child_reap(struct child *ch)
{
	int status;

	pthread_mutex_lock(&ch->lock);
	if (!ch->reaped) {
		while (waitpid(ch->pid, &ch->status, 0) < 0)
			ENSURE(errno == EINTR);
		ch->reaped = true;
	}
	status = ch->status;
	pthread_mutex_unlock(&ch->lock);
	return status;
}

/* Milliseconds until `until_ms` (monotonic; negative: never) as poll(2) wants them. */
static int time_left(int64_t until_ms)
{
	int64_t left;

	if (until_ms < 0)
		return -1;
	left = until_ms - clock_mono_ms();
	if (left < 0)
		return 0;
	return left > INT32_MAX ? INT32_MAX : (int)left;
}

int child_wait(struct child *ch, int limit_ms, struct cancel *c, int *ret_status)
{
	struct pollfd p[2] = { { .fd = ch->pidfd, .events = POLLIN }, { .fd = cancel_fd(c), .events = POLLIN } };
	int64_t until = limit_ms < 0 ? -1 : clock_mono_ms() + limit_ms;
	int n, status;

	OBJ_CHECK(ch, CHILD_MAGIC);
	do
		n = poll(p, 2, time_left(until));
	while (n < 0 && errno == EINTR);
	ENSURE(n >= 0);
	if (!p[0].revents)
		return p[1].revents ? WEIR_E_CANCELLED : -ETIMEDOUT;
	status = child_reap(ch);
	if (ret_status)
		*ret_status = status;
	return 0;
}

void child_free(struct child **chp)
{
	struct child *ch = *chp;

	*chp = NULL;
	if (!ch)
		return;
	OBJ_CHECK(ch, CHILD_MAGIC);
	child_signal(ch, SIGKILL);
	(void)child_reap(ch); /* SIGKILL cannot be refused: this is soon */
	fd_close(&ch->pidfd);
	pthread_mutex_destroy(&ch->lock);
	ch->magic = 0;
	free(ch);
}

/* --- a whole run ------------------------------------------------------------------------------------------------ */

struct run {
	struct child *child;
	struct slice input;       /* what is left to feed */
	struct buf *out, err;     /* out may be NULL */
	int in_fd, out_fd, err_fd; /* our ends; -1 when done */
};

/* A pipe whose end [ours] does not block. */
static int make_pipe(int ours, int *ret_ours, int *ret_theirs)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	ENSURE(fcntl(p[ours], F_SETFL, O_NONBLOCK) == 0);
	*ret_ours = p[ours];
	*ret_theirs = p[!ours];
	return 0;
}

static int run_start(struct run *rn, const struct child_options *given, bool wants_err)
{
	struct child_options o = *given;
	int r = 0;

	o.stdin_fd = o.stdout_fd = o.stderr_fd = -1;
	if (rn->input.n > 0)
		r = make_pipe(1, &rn->in_fd, &o.stdin_fd);
	if (r == 0 && rn->out)
		r = make_pipe(0, &rn->out_fd, &o.stdout_fd);
	if (r == 0 && wants_err)
		r = make_pipe(0, &rn->err_fd, &o.stderr_fd);
	if (r == 0)
		r = child_spawn(&o, &rn->child);
	fd_close(&o.stdin_fd);
	fd_close(&o.stdout_fd);
	fd_close(&o.stderr_fd);
	return r;
}

/* Feeds what the pipe takes. A child that does not want the rest (EPIPE) is no failure: its exit status tells. */
static void feed(struct run *rn)
{
	while (rn->input.n > 0) {
		ssize_t n = write(rn->in_fd, rn->input.p, rn->input.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		rn->input = slice_from(rn->input, (size_t)n);
	}
	fd_close(&rn->in_fd);
}

/* Takes what is there, but no more than the largest pipe holds (1 MiB), as somebody may write without end.
 * 0, or the failure of `into`. */
static int gather(int *fd, struct buf *into, bool only_tail)
{
	char chunk[CHUNK];

	for (size_t got = 0; got < (size_t)1 << 20;) {
		ssize_t n = read(*fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			fd_close(fd);
			return 0;
		}
		got += (size_t)n;
		buf_add(into, chunk, (size_t)n);
		if (only_tail && into->len > ERR_TAIL_BYTES)
			buf_consume(into, into->len - ERR_TAIL_BYTES);
		if (buf_error(into) < 0)
			return buf_error(into);
	}
	return 0;
}

static int gather_both(struct run *rn)
{
	int r = 0;

	if (rn->err_fd >= 0)
		r = gather(&rn->err_fd, &rn->err, true);
	if (r == 0 && rn->out_fd >= 0)
		r = gather(&rn->out_fd, rn->out, false);
	return r;
}

/* Until the child has ended and its pipes are read. */
static int run_pump(struct run *rn, int64_t until_ms, struct cancel *c)
{
	for (;;) {
		struct pollfd p[5] = {
			{ .fd = rn->in_fd, .events = POLLOUT },  { .fd = rn->out_fd, .events = POLLIN },
			{ .fd = rn->err_fd, .events = POLLIN },  { .fd = child_pidfd(rn->child), .events = POLLIN },
			{ .fd = cancel_fd(c), .events = POLLIN },
		};
		int n = poll(p, ARRAY_LEN(p), time_left(until_ms)), r;

		if (n < 0 && errno == EINTR)
			continue;
		ENSURE(n >= 0);
		if (n == 0)
			return -ETIMEDOUT;
		if (p[4].revents)
			return WEIR_E_CANCELLED;
		if (p[0].revents)
			feed(rn);
		r = gather_both(rn);
		if (r < 0 || p[3].revents)
			return r;
	}
}

/* A write to a pipe that nobody reads must not end us with SIGPIPE, whatever the thread's mask is. */
static void sigpipe_block(sigset_t *ret_before, bool *ret_was_pending)
{
	sigset_t pipe_only, pending;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigpending(&pending);
	*ret_was_pending = sigismember(&pending, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_only, ret_before);
}

static void sigpipe_restore(const sigset_t *before, bool was_pending)
{
	const struct timespec at_once = { 0, 0 };
	sigset_t pipe_only;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	if (!was_pending)
		while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

int child_run(const struct child_options *o, struct slice input, struct buf *out, struct buf *err_tail, int limit_ms,
	      struct cancel *c, int *ret_status)
{
	struct run rn = { .input = input, .out = out, .err = BUF_EMPTY, .in_fd = -1, .out_fd = -1, .err_fd = -1 };
	int64_t until = limit_ms < 0 ? -1 : clock_mono_ms() + limit_ms;
	bool was_pending;
	sigset_t before;
	int r, status = 0;

	r = run_start(&rn, o, err_tail != NULL);
	if (r < 0)
		goto out;
	sigpipe_block(&before, &was_pending);
	r = run_pump(&rn, until, c);
	sigpipe_restore(&before, was_pending);
	if (r < 0) { /* rule 2; child_free() then sees to it that it has gone */
		child_kill(rn.child);
		(void)child_wait(rn.child, TERM_GRACE_MS, NULL, NULL);
		(void)gather_both(&rn); /* its last words */
	} else {
		status = child_reap(rn.child);
		r = status == 0 ? 0 : WEIR_E_CHILD;
		if (ret_status)
			*ret_status = status;
	}
out:
	if (err_tail)
		buf_add(err_tail, rn.err.data, rn.err.len);
	buf_fini(&rn.err);
	fd_close(&rn.in_fd);
	fd_close(&rn.out_fd);
	fd_close(&rn.err_fd);
	child_free(&rn.child);
	return r;
}
