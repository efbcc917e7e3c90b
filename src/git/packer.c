/* packer.c -- one git upload-pack child.
 *
 * WHAT     The request goes in by a memory file, the answer comes out through a pipe that is spliced into the spool, so
 *          no byte of a pack passes through our memory.
 * WHY      The child writes at its own speed to disk; slow clients read from there and hold no process.
 * RULES    1. An answer that ends early never looks whole: when the child fails, an error packet ends the stream, if
 *             it stands between packets, else the spool fails and the connections are cut.
 *          2. A child that nobody waits for is killed.
 *          3. Readers come in when pack data is there: what is wrong with a repository shows before, while git counts
 *             objects, and then somebody else can answer. After a second they come in anyway, to see git's progress.
 * THREADS  The calling worker. */
#include "git/packer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "io/child.h"
#include "io/file.h"
#include "proto/pktline.h"

#define SPLICE_BYTES (1 << 20)
#define HOLD_BACK_MS 1000
#define GATHER_AFTER_BYTES (128 * 1024) /* short answers leave at once */
#define GATHER_MS 2

struct run {
	const struct packer *p;
	struct child *child;
	int in_fd, out_fd, err_fd; /* memory file, our end of the pipe, memory file */
	bool begun;
	bool has_data;             /* pack data was seen, or what is no packet */
	bool has_err;              /* the answer is an ERR packet */
	uint64_t scanned;          /* offset of the next packet to look at */
	int64_t begin_at_ms;
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

struct packet_head {
	unsigned size; /* as it says; below 4: flush and its kin */
	char first[5]; /* of its data; zeros beyond its end */
};

/* The packet at offset `at` of the spool. 1; 0: not all of its head is there; -1: no packet. */
static int peek_packet(const struct packer *p, uint64_t at, uint64_t bytes, struct packet_head *ret)
{
	char head[9] = { 0 };
	size_t want = bytes - at < sizeof(head) ? (size_t)(bytes - at) : sizeof(head);
	unsigned char length[2];

	if (want < 4 || pread(spool_fd(p->spool), head, want, (off_t)at) != (ssize_t)want)
		return 0;
	if (str_unhex((struct slice){ head, 4 }, length, 2))
		return -1;
	ret->size = (unsigned)length[0] << 8 | length[1];
	if (ret->size > 4 && want == 4)
		return 0;
	memcpy(ret->first, head + 4, sizeof(ret->first));
	return 1;
}

/* Looks at packets as they come, until readers may come in. Rule 3. */
static void look_for_data(struct run *run)
{
	struct packet_head h;
	uint64_t bytes;
	int err, more = 1;

	(void)spool_peek(run->p->spool, &bytes, &err);
	while (!run->has_data && run->scanned < bytes && (more = peek_packet(run->p, run->scanned, bytes, &h)) > 0) {
		run->has_err |= h.size > 8 && memcmp(h.first, "ERR ", 4) == 0;
		run->has_data = h.size > 4 && h.first[0] == 1;
		run->scanned += h.size < 4 ? 4 : h.size;
	}
	run->has_data |= more < 0;
	if (run->has_data || (!run->has_err && clock_mono_ms() >= run->begin_at_ms))
		tell_begun(run);
}

/* git writes 8 KiB at a time, and a wake-up of ours and of each reader for every one of them costs more than the bytes
 * do. Ends at once with the child. Measured on a clone of 4 MB: 5 % of the CPU time. */
static void let_gather(struct run *run)
{
	struct pollfd waits[2] = { { .fd = child_pidfd(run->child), .events = POLLIN },
				   { .fd = cancel_fd(run->p->cancel), .events = POLLIN } };
	uint64_t bytes;

	(void)spool_peek(run->p->spool, &bytes, NULL);
	if (bytes >= GATHER_AFTER_BYTES)
		(void)poll(waits, 2, GATHER_MS); /* whatever it says, the pipe is read next */
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
			if (!run->begun)
				look_for_data(run);
			if (cancel_fired(run->p->cancel))
				return WEIR_E_CANCELLED;
			if (run->has_data)
				let_gather(run);
			continue;
		}
		if (n != -EAGAIN)
			return (int)n;
		if (poll(waits, 2, run->begun ? -1 : HOLD_BACK_MS) < 0 && errno != EINTR)
			return -errno;
		if (!run->begun)
			look_for_data(run);
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

enum tail { TAIL_BROKEN, TAIL_ENDED, TAIL_IN_PACK, TAIL_OTHER };

/* What a failed child left in the spool: walks the packets by their lengths. */
static enum tail inspect(const struct packer *p)
{
	enum tail last = TAIL_OTHER;
	struct packet_head h;
	uint64_t bytes, at = 0;
	int err;

	(void)spool_peek(p->spool, &bytes, &err);
	while (at < bytes) {
		if (peek_packet(p, at, bytes, &h) <= 0)
			return TAIL_BROKEN;
		if (h.size > 8 && (memcmp(h.first, "ERR ", 4) == 0 || h.first[0] == 3))
			last = TAIL_ENDED;
		else if (h.size > 4 && (h.first[0] == 1 || h.first[0] == 2 || memcmp(h.first, "packf", 5) == 0))
			last = TAIL_IN_PACK;
		else
			last = TAIL_OTHER;
		at += h.size < 4 ? 4 : h.size;
	}
	return at == bytes ? last : TAIL_BROKEN;
}

/* Rule 1, for an answer that somebody reads already. */
static void end_failed(struct run *run)
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

	r = child_wait(run->child, -1, run->p->cancel, &status);
	if (r < 0)
		return r;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		spool_complete(run->p->spool);
		tell_begun(run);
		return 0;
	}
	read_words(run, words);
	if (run->begun)
		end_failed(run);
	else
		spool_fail(run->p->spool, WEIR_E_CHILD);
	return WEIR_E_CHILD;
}

int packer_run(const struct packer *p, struct buf *words)
{
	struct run run = { .p = p, .in_fd = -1, .out_fd = -1, .err_fd = -1 };
	int r = start(&run);

	run.begin_at_ms = clock_mono_ms() + HOLD_BACK_MS;
	if (r == 0)
		r = pump(&run);
	if (r == 0)
		r = finish(&run, words);
	if (r < 0 && r != WEIR_E_CHILD)
		spool_fail(p->spool, r);
	run_fini(&run);
	return r;
}
