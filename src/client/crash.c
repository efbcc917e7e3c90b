/* crash.c -- a program that dies of a signal says so first.
 *
 * WHAT     The handler lets the sender's thread empty the queue (it still runs; half a second at most, and only while
 *          it is connected), then sends one POST /event over a connection of its own and waits for the answer (half a
 *          second). When none came, the report goes into the file that was opened for it. Then the signal goes on to
 *          whoever had it before.
 * WHY      A connection is made in the handler, not before: connect(2) to a port of this machine is as safe there as
 *          write(2) on a descriptor opened earlier, and a daemon closes connections on which nothing is said. Waiting
 *          for the answer keeps the order: the daemon learns of the end from the process's pidfd the moment it is gone,
 *          and a request that is still on its way then would come after the crash.
 * RULES    1. In the handler only what signal-safety(7) lists, and clock_gettime, process_vm_readv, gettid, which are
 *             plain system calls (or less) on Linux: socket, connect, poll, send, recv, write, pwrite, close,
 *             sigaction, raise, memcpy and kin. No allocation, no lock, no stdio, no locale.
 *          2. It ends: each wait has a bound, a second in all. A second crash meanwhile, of another thread, waits as
 *             long for the first; one of the handler itself is the end (the signal is blocked there: the kernel kills).
 *          3. The process dies of the signal that it got, with the core that it would have left.
 *          4. A process after fork() has a copy of all this, and none of it is its own: `pid` says whose it is, before
 *             anything else is believed. It may take it over for a client of its own.
 * GLOBAL   What the handler needs, for one client of a process: signals belong to the process.
 * SEE      crash_text.c for what is in it, spool.c for the file */
#include "client/client_priv.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/crash_text.h"
#include "client/spool.h"

#define DRAIN_MS    500
#define ANSWER_MS   500
#define OTHERS_MS   1500
#define STACK_BYTES (64 * 1024)
#define MOST_PASSES 8 /* two handlers that pass a signal to each other do so no longer */

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT };
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

struct crash { /* made before the first signal is caught, and kept: another thread may be in the handler */
	struct weir_client *_Atomic client; /* NULL: nobody's */
	_Atomic pid_t pid; /* of the process that armed it */
	struct sigaction before[SIGNALS];
	struct weirc_modules modules;
	struct weirc_address to;
	char ids[2][129]; /* of the session; the other one is written */
	const char *_Atomic id;
	int spool_fd;
	char *spool_path;
	char tail[WEIRC_SPOOL_BYTES - 512], request[WEIRC_SPOOL_BYTES + 1024];
	atomic_bool is_reporting, is_reported, is_spooled;
	atomic_uint passes;
};

static struct crash crash = { .spool_fd = -1 };
/* The process in which a thread installs or gives back; 0: none. No mutex: a child could not open one that was held
 * when it was made. */
static _Atomic pid_t arming;

/* --- in the handler ---------------------------------------------------------------------------------------------- */

static void wait_ms(int ms)
{
	(void)poll(NULL, 0, ms); /* EINTR is sooner, and as good */
}

static void drain(struct weir_client *c)
{
	int64_t until = weirc_now_ms() + DRAIN_MS;

	if (atomic_load(&c->thread_id) == (pid_t)syscall(SYS_gettid))
		return;
	atomic_store(&c->urgent, true);
	weirc_sender_wake(c);
	while (atomic_load(&c->is_connected) && atomic_load(&c->waiting) && weirc_now_ms() < until)
		wait_ms(1);
}

static void write_request(struct weirc_text *t, const char *id, const struct weirc_text *tail)
{
	size_t bytes = sizeof("{\"session_id\":\"\",") - 1 + strlen(id) + tail->len;

	weirc_text_init(t, crash.request, sizeof(crash.request), sizeof(crash.request));
	weirc_text_str(t, "POST /event HTTP/1.1\r\nHost: ");
	weirc_text_str(t, crash.to.host);
	weirc_text_str(t, "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ");
	weirc_text_int(t, (long long)bytes);
	weirc_text_str(t, "\r\n\r\n{\"session_id\":\"");
	weirc_text_str(t, id);
	weirc_text_str(t, "\",");
	weirc_text_add(t, tail->data, tail->len);
}

static bool is_ready(int fd, short events, int64_t until_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left = until_ms - weirc_now_ms();

	return left > 0 && poll(&p, 1, (int)left) > 0;
}

/* Sends it, and reads as much of the answer as tells its status. */
static bool exchange(int fd, unsigned i, const struct weirc_text *t)
{
	int64_t until = weirc_now_ms() + ANSWER_MS;
	size_t sent = 0, got = 0;
	char status[13];

	if (connect(fd, (const struct sockaddr *)&crash.to.to[i], crash.to.bytes[i]) < 0 && errno != EINPROGRESS)
		return false;
	while (sent < t->len && is_ready(fd, POLLOUT, until)) {
		ssize_t n = send(fd, t->data + sent, t->len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		sent += n > 0 ? (size_t)n : 0;
	}
	while (sent == t->len && got < sizeof(status) - 1 && is_ready(fd, POLLIN, until)) {
		ssize_t n = recv(fd, status + got, sizeof(status) - 1 - got, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		got += n > 0 ? (size_t)n : 0;
	}
	return got == sizeof(status) - 1 && memcmp(status, "HTTP/1.", 7) == 0 && memcmp(status + 8, " 200", 4) == 0;
}

static bool send_report(const char *id, const struct weirc_text *tail)
{
	bool is_answered = false;
	struct weirc_text t;

	if (!*id)
		return false;
	write_request(&t, id, tail);
	for (unsigned i = 0; i < crash.to.count && !is_answered && !t.failed; i++) {
		int fd = socket(crash.to.to[i].ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (fd < 0)
			continue;
		is_answered = exchange(fd, i, &t);
		close(fd);
	}
	return is_answered;
}

static void report(struct weir_client *c, const siginfo_t *info, const void *context)
{
	const char *id = atomic_load(&crash.id);
	struct weirc_text tail;
	struct timespec now;

	weirc_text_init(&tail, crash.tail, sizeof(crash.tail), sizeof(crash.tail));
	weirc_crash_text(&tail, info, context, &crash.modules, c->pid, syscall(SYS_gettid));
	if (tail.failed)
		return; /* cannot be: 32 frames of 100 bytes and a kilobyte */
	drain(c);
	if (send_report(id, &tail)) {
		(void)unlink(crash.spool_path); /* nothing will be in it */
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	atomic_store(&crash.is_spooled, true); /* whole or not, it is no empty file any more */
	(void)weirc_spool_write(crash.spool_fd, id, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, tail.data,
				tail.len); /* if not even that: the daemon will tell of the end */
}

/* A fault comes again by itself when the handler is over, and then ends the program where it happened. What somebody
 * sent does not, nor a system call that was forbidden (it is skipped), nor a memory error that was found elsewhere. */
static void end_by(int sig, const siginfo_t *info)
{
	bool comes_again = info->si_code > 0 && sig != SIGSYS && !(sig == SIGBUS && info->si_code == BUS_MCEERR_AO);

	(void)signal(sig, SIG_DFL);
	if (!comes_again)
		(void)raise(sig); /* blocked until the handler is over */
}

/* To whoever had it before, also the next time: a handler that mends nothing and returns meets the same fault again. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *before = NULL;

	for (size_t i = 0; i < SIGNALS; i++)
		if (signals[i] == sig)
			before = &crash.before[i];
	if (!before || (!(before->sa_flags & SA_SIGINFO) && before->sa_handler == SIG_DFL) ||
	    atomic_fetch_add(&crash.passes, 1) > MOST_PASSES) {
		end_by(sig, info);
		return;
	}
	if (before->sa_flags & SA_RESETHAND)
		(void)signal(sig, SIG_DFL);
	else
		(void)sigaction(sig, before, NULL);
	if (before->sa_flags & SA_SIGINFO)
		before->sa_sigaction(sig, info, context);
	else if (before->sa_handler != SIG_IGN)
		before->sa_handler(sig);
}

/* Of another thread. */
static void wait_for_report(void)
{
	int64_t until = weirc_now_ms() + OTHERS_MS;

	while (!atomic_load(&crash.is_reported) && weirc_now_ms() < until)
		wait_ms(5);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	struct weir_client *c = atomic_load(&crash.client);
	int saved = errno;

	if (c && atomic_load(&crash.pid) == getpid()) { /* else c may be freed already */
		if (!atomic_exchange(&crash.is_reporting, true)) {
			report(c, info, context);
			atomic_store(&crash.is_reported, true);
		} else {
			wait_for_report();
		}
	}
	errno = saved;
	pass_on(sig, info, context);
}

/* --- before ------------------------------------------------------------------------------------------------------ */

/* With the client's lock held: one writer. */
void weirc_crash_session(struct weir_client *c, const char *session_id)
{
	const char *now = atomic_load(&crash.id);
	char *other = now == crash.ids[0] ? crash.ids[1] : crash.ids[0];

	if (atomic_load(&crash.client) != c)
		return;
	memcpy(other, session_id, strlen(session_id) + 1);
	atomic_store(&crash.id, other);
}

/* A stack that is used up has no room for a handler. */
static void give_stack(void)
{
	stack_t has, mine = { .ss_size = STACK_BYTES };

	if (sigaltstack(NULL, &has) < 0 || !(has.ss_flags & SS_DISABLE))
		return;
	mine.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (mine.ss_sp != MAP_FAILED)
		(void)sigaltstack(&mine, NULL); /* without it, all but an overflow of the stack is reported */
}

static bool is_ours(const struct sigaction *sa)
{
	return (sa->sa_flags & SA_SIGINFO) && sa->sa_sigaction == on_signal;
}

static int arm(struct weir_client *c)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK }, before;

	sigfillset(&sa.sa_mask);
	weirc_modules_load(&crash.modules);
	crash.to = c->address;
	crash.ids[0][0] = '\0';
	atomic_store(&crash.id, crash.ids[0]);
	atomic_store(&crash.is_reporting, false);
	atomic_store(&crash.is_reported, false);
	atomic_store(&crash.is_spooled, false);
	atomic_store(&crash.passes, 0);
	pthread_mutex_lock(&c->lock);
	atomic_store(&crash.pid, getpid());
	atomic_store(&crash.client, c);
	if (c->stats.session_id[0])
		weirc_crash_session(c, c->stats.session_id);
	pthread_mutex_unlock(&c->lock);
	give_stack();
	for (size_t i = 0; i < SIGNALS; i++) {
		if (sigaction(signals[i], &sa, &before) < 0)
			return -errno; /* cannot be: all of them may be caught */
		if (!is_ours(&before)) /* else we are a child: who was before its parent is before it */
			crash.before[i] = before;
	}
	return 0;
}

/* One thread of this process at a time. */
static bool claim(void)
{
	pid_t mine = getpid(), was = atomic_load(&arming);

	return was != mine && atomic_compare_exchange_strong(&arming, &was, mine);
}

static void close_spool(void)
{
	if (crash.spool_fd >= 0)
		close(crash.spool_fd);
	crash.spool_fd = -1;
	free(crash.spool_path);
	crash.spool_path = NULL;
}

static int take_over(struct weir_client *c, const char *folder, struct weirc_report **ret_reports)
{
	int r;

	if (atomic_load(&crash.client) && atomic_load(&crash.pid) == getpid())
		return -EBUSY;
	close_spool(); /* a parent's: ours is only the copy */
	r = weirc_reports_load(folder, c->product, ret_reports);
	if (r < 0)
		return r;
	r = weirc_spool_open(folder, c->product, &crash.spool_path);
	if (r < 0)
		return r;
	crash.spool_fd = r;
	return arm(c);
}

int weir_client_catch_crashes(struct weir_client *c, const char *folder)
{
	struct weirc_report *reports = NULL;
	int r;

	if (!c)
		return -EINVAL;
	if (weirc_is_child(c))
		return -ECHILD;
	if (!claim())
		return -EBUSY;
	r = take_over(c, folder, &reports);
	atomic_store(&arming, 0);
	if (r < 0) {
		weirc_reports_free(reports);
		return r;
	}
	pthread_mutex_lock(&c->lock);
	c->reports = reports;
	pthread_mutex_unlock(&c->lock);
	if (reports && atomic_exchange(&c->sleeping, false))
		weirc_sender_wake(c);
	return 0;
}

void weirc_crash_release(struct weir_client *c)
{
	struct sigaction now;

	if (atomic_load(&crash.client) != c)
		return;
	while (!claim())
		wait_ms(1); /* another client is just refused */
	atomic_store(&crash.client, NULL);
	if (atomic_load(&crash.is_reporting)) /* another thread is just crashing: it needs what is freed soon */
		wait_for_report();
	for (size_t i = 0; i < SIGNALS; i++) {
		/* somebody else's by now? Then it may pass on to ours, which passes on to the one before */
		if (sigaction(signals[i], NULL, &now) == 0 && is_ours(&now))
			(void)sigaction(signals[i], &crash.before[i], NULL);
	}
	if (!atomic_load(&crash.is_spooled))
		(void)unlink(crash.spool_path); /* empty: if it stays, the next start removes it */
	close_spool();
	atomic_store(&arming, 0);
}

void weirc_crash_forget(struct weir_client *c)
{
	if (atomic_load(&crash.client) == c)
		atomic_store(&crash.client, NULL);
}
