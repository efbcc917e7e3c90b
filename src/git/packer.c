/* packer.c -- one git upload-pack child.
 *
 * WHAT     The request goes in by a memory file, the answer comes out through a pipe that is spliced into the spool, so
 *          no byte of a pack passes through our memory.
 * WHY      The child writes at its own speed to disk; slow clients read from there and hold no process.
 * RULES    1. An answer that ends early never looks whole: when the child fails, an error packet ends the stream, if
 *             it stands between packets, else the spool fails and the connections are cut.
 *          2. A child that nobody waits for is killed.
 * THREADS  The calling worker. */
#include "git/packer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "io/child.h"
#include "io/file.h"
#include "proto/pktline.h"

#define SPLICE_BYTES (1 << 20)

struct run {
	const struct packer *p;
	struct child *child;
	int in_fd, out_fd, err_fd; /* memory file, our end of the pipe, memory file */
	bool begun;
};

static int prepare(struct run *run, int *ret_write_end)
{
	int fds[2];

	run->in_fd = memfd_create("weir-request", MFD_CLOEXEC);
	run->err_fd = memfd_create("weir-words", MFD_CLOEXEC);
	if (run->in_fd < 0 || run->err_fd < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	run->out_fd = fds[0];
	*ret_write_end = fds[1];
	(void)fcntl(fds[0], F_SETPIPE_SZ, SPLICE_BYTES); /* a wish: fewer wake-ups */
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	if (fd_write_all(run->in_fd, run->p->body.p, run->p->body.n) < 0 || lseek(run->in_fd, 0, SEEK_SET) < 0)
		return -EIO;
	return 0;
}

static int start(struct run *run)
{
	static const char *const argv[] = { "git", "upload-pack", "--stateless-rpc", "--strict", ".", NULL };
	char version[32];
	const char *env[] = { version, NULL };
	int write_end = -1, r = prepare(run, &write_end);

	(void)snprintf(version, sizeof(version), "GIT_PROTOCOL=version=%d", run->p->version);
	if (r == 0)
		r = child_spawn(&(struct child_options){ .argv = argv, .env = env, .cwd = run->p->repo->git_dir,
							 .stdin_fd = run->in_fd, .stdout_fd = write_end,
							 .stderr_fd = run->err_fd },
				&run->child);
	fd_close(&write_end);
	return r;
}

static void tell_begun(struct run *run)
{
	if (run->begun)
		return;
	run->begun = true;
	run->p->begun(run->p->arg);
}

/* Moves what the child says into the spool until it closes its output. */
static int pump(struct run *run)
{
	for (;;) {
		struct pollfd waits[2] = { { .fd = run->out_fd, .events = POLLIN },
					   { .fd = cancel_fd(run->p->cancel), .events = POLLIN } };
		ssize_t n = spool_append_splice(run->p->spool, run->out_fd, SPLICE_BYTES);

		if (n == 0)
			return 0;
		if (n > 0) {
			tell_begun(run);
			if (cancel_fired(run->p->cancel))
				return WEIR_E_CANCELLED;
			continue;
		}
		if (n != -EAGAIN)
			return (int)n;
		if (poll(waits, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (cancel_fired(run->p->cancel))
			return WEIR_E_CANCELLED;
	}
}

static void read_words(struct run *run, struct buf *out)
{
	char text[2048];
	off_t size = lseek(run->err_fd, 0, SEEK_END);
	off_t from = size > (off_t)sizeof(text) ? size - (off_t)sizeof(text) : 0;
	ssize_t n = pread(run->err_fd, text, sizeof(text), from);

	str_add_escaped(out, slice_trim((struct slice){ text, n > 0 ? (size_t)n : 0 }), sizeof(text));
}

enum tail { TAIL_BROKEN, TAIL_ERR, TAIL_FATAL, TAIL_IN_PACK, TAIL_OTHER };

/* What a failed child left in the spool: walks the packets by their lengths. */
static enum tail inspect(const struct packer *p)
{
	enum tail last = TAIL_OTHER;
	uint64_t bytes, at = 0;
	int err;

	(void)spool_peek(p->spool, &bytes, &err);
	while (at < bytes) {
		char head[9];
		ssize_t n = pread(spool_fd(p->spool), head, sizeof(head), (off_t)at);
		unsigned char length[2];
		unsigned size;

		if (n < 4 || str_unhex((struct slice){ head, 4 }, length, 2))
			return TAIL_BROKEN;
		size = (unsigned)length[0] << 8 | length[1];
		if (size < 4) {
			at += 4;
			last = TAIL_OTHER;
			continue;
		}
		if (n >= 8 && memcmp(head + 4, "ERR ", 4) == 0)
			last = TAIL_ERR;
		else if (n >= 5 && head[4] == 3)
			last = TAIL_FATAL;
		else if (n >= 5 && (head[4] == 1 || head[4] == 2))
			last = TAIL_IN_PACK;
		else
			last = n >= 9 && memcmp(head + 4, "packf", 5) == 0 ? TAIL_IN_PACK : TAIL_OTHER;
		at += size;
	}
	return at == bytes ? last : TAIL_BROKEN;
}

/* Rule 1. An ERR packet of git's own is its answer to a request that cannot be fulfilled ("not our ref"); all else is trouble. */
static int end_failed(struct run *run)
{
	static const char text[] = "weir: git upload-pack failed on the cached copy; it is being verified, try again\n";
	struct buf packet = BUF_EMPTY;
	enum tail tail = inspect(run->p);

	if (tail == TAIL_IN_PACK)
		pkt_add_band(&packet, 3, slice_str(text));
	else if (tail == TAIL_OTHER)
		pkt_add_err(&packet, slice_str(text));
	if (tail == TAIL_BROKEN || (packet.len && spool_append(run->p->spool, packet.data, packet.len) < 0))
		spool_fail(run->p->spool, WEIR_E_CHILD);
	else
		spool_complete(run->p->spool);
	buf_fini(&packet);
	return tail == TAIL_ERR ? WEIR_E_PROTOCOL : WEIR_E_CHILD;
}

static void run_fini(struct run *run)
{
	child_free(&run->child);
	fd_close(&run->in_fd);
	fd_close(&run->out_fd);
	fd_close(&run->err_fd);
}

static int finish(struct run *run, struct buf *words)
{
	int status, r;
	uint64_t bytes;
	int err;

	r = child_wait(run->child, -1, run->p->cancel, &status);
	if (r < 0)
		return r;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		spool_complete(run->p->spool);
		tell_begun(run);
		return 0;
	}
	read_words(run, words);
	(void)spool_peek(run->p->spool, &bytes, &err);
	return bytes ? end_failed(run) : WEIR_E_CHILD;
}

int packer_run(const struct packer *p, struct buf *words)
{
	struct run run = { .p = p, .in_fd = -1, .out_fd = -1, .err_fd = -1 };
	int r = start(&run);

	if (r == 0)
		r = pump(&run);
	if (r == 0)
		r = finish(&run, words);
	if (r < 0 && r != WEIR_E_CHILD && r != WEIR_E_PROTOCOL)
		spool_fail(p->spool, r);
	run_fini(&run);
	return r;
}
