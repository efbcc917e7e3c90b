/* client.c -- the calls of weir/client.h: format, copy, count.
 *
 * WHY      JSON is made in the caller's thread, on its stack and outside the lock; under the lock a record is copied
 *          and nothing else happens, so that ten threads at full speed wait for a memcpy and not for each other's
 *          formatting. A lock-free queue of records of any size would save the uncontended 20 ns and cost a page of
 *          proof.
 * RULES    1. The thread is woken when it sleeps, which it does only a second after the last call: the wake-up is for
 *             who calls rarely.
 *          2. After fork() the queue may be half written and its lock held for ever, so a child touches neither. It is
 *             known by a page that the kernel empties in it (MADV_WIPEONFORK, Linux 4.14): a load instead of a
 *             getpid(2), and no pthread_atfork(3), which could never be taken back. On a kernel without it getpid(2) is
 *             asked.
 * THREADS  Any; see client_priv.h. */
#include "client/client_priv.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/crash_text.h"
#include "client/encode.h"
#include "client/spool.h"

#define QUEUE_BYTES    (1024 * 1024)
#define LEAST_BYTES    (256 * 1024)
#define MOST_BYTES     (1024 * 1024 * 1024)
#define QUEUE_ENTRIES  8192
#define MOST_ENTRIES   (16 * 1024 * 1024)
#define HEARTBEAT_MS   5000
#define ANSWER_MS      30000
#define MOST_NAME      1024 /* bytes of product and of version */
#define MOST_MESSAGE   4096
#define STACK_BYTES    (256 * 1024)
#define ON_STACK       1536 /* of an operation, before it needs the heap */
#define METRICS_LEAVE  4 /* sixteenths of the queue */
#define MARK_BYTES     4096
#define MOST_FRAME     96 /* bytes of the text of one */

/* --- a child after fork() ---------------------------------------------------------------------------------------- */

static int mark_make(struct weir_client *c)
{
	void *p = mmap(NULL, MARK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	c->mark = p;
	c->mark[0] = madvise(p, MARK_BYTES, MADV_WIPEONFORK) == 0 ? WEIRC_MARK : WEIRC_MARK_WEAK;
	return 0;
}

static int is_usable(const struct weir_client *c)
{
	return !c ? -EINVAL : weirc_is_child(c) ? -ECHILD : 0;
}

/* --- open -------------------------------------------------------------------------------------------------------- */

static int check_options(const struct weir_client_options *o)
{
	if (!o || !o->product || !*o->product || !o->version || !*o->version)
		return -EINVAL;
	if (strlen(o->product) > MOST_NAME || strlen(o->version) > MOST_NAME || o->heartbeat_ms < 0 || o->answer_ms < 0)
		return -EINVAL;
	if (o->queue_bytes && (o->queue_bytes < LEAST_BYTES || o->queue_bytes > MOST_BYTES))
		return -EINVAL;
	if (o->queue_entries > MOST_ENTRIES || (o->flags & ~(unsigned)WEIR_CLIENT_BEATS_ITSELF))
		return -EINVAL;
	return 0;
}

static int find_daemon(const struct weir_client_options *o, struct weirc_address *ret)
{
	const char *said = o->daemon ? o->daemon : secure_getenv("WEIR_SESSIONS_LISTEN");

	return weirc_address_parse(said && *said ? said : "127.0.0.1:8079", ret);
}

static int make_locks(struct weir_client *c)
{
	pthread_mutexattr_t how;
	pthread_condattr_t clock;

	if (pthread_mutexattr_init(&how) != 0)
		return -ENOMEM;
	/* held for a copy: spinning a little is cheaper than a system call */
	(void)pthread_mutexattr_settype(&how, PTHREAD_MUTEX_ADAPTIVE_NP);
	(void)pthread_mutex_init(&c->lock, &how); /* cannot fail for a plain one */
	(void)pthread_mutexattr_destroy(&how);
	if (pthread_condattr_init(&clock) != 0)
		return -ENOMEM;
	(void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&c->progress, &clock);
	(void)pthread_condattr_destroy(&clock);
	return 0;
}

static int make(struct weir_client *c, const struct weir_client_options *o)
{
	size_t room = WEIRC_HEAD_ROOM + WEIR_CLIENT_MOST_BYTES;
	char *request;
	int r;

	r = mark_make(c);
	if (r == 0)
		r = make_locks(c);
	if (r == 0)
		r = find_daemon(o, &c->address);
	if (r == 0)
		r = weirc_ring_init(&c->ring, o->queue_bytes ? o->queue_bytes : QUEUE_BYTES,
				    o->queue_entries ? o->queue_entries : QUEUE_ENTRIES);
	if (r < 0)
		return r;
	c->product = strdup(o->product);
	c->version = strdup(o->version);
	request = malloc(room);
	weirc_text_init(&c->request, request, room, room);
	if (!c->product || !c->version || !request)
		return -ENOMEM;
	c->wake_fd = c->conn.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return c->wake_fd < 0 ? -errno : 0;
}

static int start(struct weir_client *c)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT };
	sigset_t all, before;
	pthread_attr_t attr;
	int r;

	if (pthread_attr_init(&attr) != 0)
		return -ENOMEM;
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES); /* else the default, which is larger */
	sigfillset(&all); /* signals are for the program's own threads, but what a fault raises */
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&c->thread, &attr, weirc_sender_main, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		(void)pthread_setname_np(c->thread, "weir-client"); /* only for who looks at it with top */
	return r;
}

static void release(struct weir_client *c, bool is_own)
{
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	if (c->conn.fd >= 0)
		close(c->conn.fd); /* a child's copy */
	if (is_own && c->mark) {
		pthread_mutex_destroy(&c->lock);
		pthread_cond_destroy(&c->progress);
	}
	weirc_reports_free(c->reports);
	weirc_ring_fini(&c->ring);
	free(c->request.storage);
	free(c->product);
	free(c->version);
	if (c->mark)
		munmap(c->mark, MARK_BYTES);
	free(c);
}

int weir_client_open(const struct weir_client_options *o, struct weir_client **ret)
{
	struct weir_client *c;
	int r = check_options(o);

	if (!ret)
		return -EINVAL;
	*ret = NULL;
	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->pid = getpid();
	c->wake_fd = c->conn.fd = -1;
	c->conn.address = &c->address;
	c->conn.stop_at_ms = &c->stop_at_ms;
	atomic_store(&c->stop_at_ms, INT64_MAX);
	c->heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : HEARTBEAT_MS;
	c->answer_ms = o->answer_ms ? o->answer_ms : ANSWER_MS;
	c->beats_itself = o->flags & WEIR_CLIENT_BEATS_ITSELF;
	c->began_ms = weirc_told_ms();
	weirc_sender_new_key(c);
	c->dice = (uint32_t)weirc_now_ms() ^ (uint32_t)c->pid;
	r = make(c, o);
	if (r == 0)
		r = start(c);
	if (r < 0) {
		release(c, true);
		return r;
	}
	*ret = c;
	return 0;
}

/* --- telling ----------------------------------------------------------------------------------------------------- */

static void wake_if_asleep(struct weir_client *c)
{
	if (atomic_load(&c->sleeping) && atomic_exchange(&c->sleeping, false))
		weirc_sender_wake(c);
}

static int put(struct weir_client *c, enum weirc_type type, const struct weirc_text *t)
{
	int64_t now = weirc_told_ms();
	int r = t->failed;

	pthread_mutex_lock(&c->lock);
	if (c->closing)
		r = -ESHUTDOWN;
	if (r == 0)
		r = weirc_ring_put(&c->ring, type, now, t->data, t->len, type == RECORD_METRIC ? METRICS_LEAVE : 0);
	if (r == 0) {
		c->stats.taken[RECORD_STATS(type)]++;
		c->told++;
		atomic_store_explicit(&c->waiting, c->ring.entries, memory_order_relaxed);
	} else if (r == -ENOBUFS || r == -EMSGSIZE || r == -ENOMEM) {
		c->stats.dropped[RECORD_STATS(type)]++;
	}
	pthread_mutex_unlock(&c->lock);
	if (r == 0)
		wake_if_asleep(c);
	return r;
}

/* The text of one operation, on the stack of its caller. */
#define TEXT(t)                                                            \
	char t##_storage[ON_STACK];                                        \
	struct weirc_text t;                                               \
	weirc_text_init(&t, t##_storage, ON_STACK, WEIR_CLIENT_MOST_BYTES)

static int put_and_free(struct weir_client *c, enum weirc_type type, struct weirc_text *t)
{
	int r = put(c, type, t);

	weirc_text_fini(t);
	return r;
}

int weir_client_state(struct weir_client *c, const struct weir_field *fields)
{
	int r = is_usable(c);
	TEXT(t);

	if (r < 0)
		return r;
	weirc_encode_state(&t, fields);
	return put_and_free(c, RECORD_STATE, &t);
}

int weir_client_state_json(struct weir_client *c, const char *json)
{
	int r = is_usable(c);
	TEXT(t);

	if (r < 0)
		return r;
	weirc_encode_state_json(&t, json);
	return put_and_free(c, RECORD_STATE, &t);
}

static int put_event(struct weir_client *c, const struct weir_event *event)
{
	TEXT(t);

	weirc_encode_event(&t, event);
	return put_and_free(c, RECORD_EVENT, &t);
}

/* caller: where the program goes on after its call. */
static int put_with_stack(struct weir_client *c, const struct weir_event *event, const void *caller)
{
	char texts[WEIRC_FRAMES][MOST_FRAME];
	const char *stack[WEIRC_FRAMES + 1];
	struct weir_event e = *event;
	uintptr_t frames[WEIRC_FRAMES];
	struct weirc_modules modules;
	size_t n;

	weirc_modules_load(&modules);
	n = weirc_frames_from((uintptr_t)caller, event->stack_here, &modules, frames);
	for (size_t i = 0; i < n; i++) {
		struct weirc_text t;

		weirc_text_init(&t, texts[i], MOST_FRAME - 1, MOST_FRAME - 1);
		weirc_frame_text(&t, &modules, frames[i]);
		texts[i][t.len] = '\0';
		stack[i] = texts[i];
	}
	stack[n] = NULL;
	e.stacktrace = stack;
	return put_event(c, &e);
}

int weir_client_event(struct weir_client *c, const struct weir_event *event)
{
	int r = event ? is_usable(c) : -EINVAL;

	if (r < 0)
		return r;
	if (event->stack_here && !event->stacktrace)
		return put_with_stack(c, event, __builtin_return_address(0));
	return put_event(c, event);
}

int weir_client_log(struct weir_client *c, const char *category, const char *name, const char *file, int line,
		    const char *function, const char *format, ...)
{
	char message[MOST_MESSAGE + 1];
	struct weir_event e = { .name = name,
				.category = category,
				.message = message,
				.source_file = file,
				.source_line = line,
				.source_function = function };
	int r = is_usable(c), saved = errno;
	va_list args;

	if (r < 0)
		return r;
	va_start(args, format);
	errno = saved; /* for %m */
	if (vsnprintf(message, sizeof(message), format, args) < 0)
		e.message = format; /* what cannot be formatted is shown as it is */
	va_end(args);
	r = weir_client_event(c, &e);
	errno = saved;
	return r;
}

static int metric(struct weir_client *c, const char *kind, const char *name, double value,
		  const struct weir_metric *more)
{
	int r = is_usable(c);
	TEXT(t);

	if (r < 0)
		return r;
	weirc_encode_metric(&t, kind, name, value, more);
	return put_and_free(c, RECORD_METRIC, &t);
}

int weir_client_gauge(struct weir_client *c, const char *name, double value, const struct weir_metric *more)
{
	return metric(c, "gauge", name, value, more);
}

int weir_client_counter(struct weir_client *c, const char *name, double delta, const struct weir_metric *more)
{
	return metric(c, "counter", name, delta, more);
}

int weir_client_histogram(struct weir_client *c, const char *name, double value, const struct weir_metric *more)
{
	return metric(c, "histogram", name, value, more);
}

int weir_client_timer(struct weir_client *c, const char *name, double seconds, const struct weir_metric *more)
{
	return metric(c, "timer", name, seconds, more);
}

double weir_client_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- heartbeats -------------------------------------------------------------------------------------------------- */

void weir_client_heartbeat(struct weir_client *c)
{
	if (c && !weirc_is_child(c))
		atomic_fetch_add_explicit(&c->beats, 1, memory_order_relaxed);
}

static int put_bare(struct weir_client *c, enum weirc_type type)
{
	int r = is_usable(c);
	TEXT(t);

	if (r < 0)
		return r;
	weirc_text_char(&t, '}');
	return put_and_free(c, type, &t);
}

int weir_client_pause(struct weir_client *c)
{
	return put_bare(c, RECORD_PAUSE);
}

int weir_client_resume(struct weir_client *c)
{
	return put_bare(c, RECORD_RESUME);
}

/* --- flush, close ------------------------------------------------------------------------------------------------ */

static struct timespec in_ms(int64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static void hurry(struct weir_client *c)
{
	atomic_store(&c->urgent, true);
	atomic_store(&c->sleeping, false);
	weirc_sender_wake(c);
}

int weir_client_flush(struct weir_client *c, int timeout_ms)
{
	struct timespec until = in_ms(timeout_ms > 0 ? timeout_ms : 0);
	int r = is_usable(c);
	uint64_t ticket;

	if (r < 0)
		return r;
	hurry(c);
	pthread_mutex_lock(&c->lock);
	ticket = c->told;
	c->waiters++;
	while (c->settled < ticket && !c->finished && r == 0)
		r = -pthread_cond_timedwait(&c->progress, &c->lock, &until);
	r = c->settled >= ticket ? 0 : -ETIMEDOUT;
	c->waiters--;
	pthread_mutex_unlock(&c->lock);
	return r;
}

int weir_client_close(struct weir_client *c, int timeout_ms)
{
	int r;

	if (!c)
		return 0;
	if (weirc_is_child(c)) {
		weirc_crash_forget(c);
		release(c, false);
		return -ECHILD;
	}
	pthread_mutex_lock(&c->lock);
	c->closing = true;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->stop_at_ms, weirc_now_ms() + (timeout_ms > 0 ? timeout_ms : 0));
	hurry(c);
	pthread_join(c->thread, NULL);
	weirc_crash_release(c);
	r = c->has_ended ? 0 : -ETIMEDOUT;
	release(c, true);
	return r;
}

int weir_client_stats(struct weir_client *c, struct weir_client_stats *ret, size_t bytes)
{
	struct weir_client_stats now;
	int r = ret ? is_usable(c) : -EINVAL;

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	c->stats.queued_entries = c->ring.entries;
	c->stats.queued_bytes = weirc_ring_bytes(&c->ring);
	now = c->stats;
	pthread_mutex_unlock(&c->lock);
	if (bytes > sizeof(now)) {
		memset((char *)ret + sizeof(now), 0, bytes - sizeof(now));
		bytes = sizeof(now);
	}
	memcpy(ret, &now, bytes);
	return 0;
}
