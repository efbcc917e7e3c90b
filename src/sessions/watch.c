/* watch.c -- programs that end without saying so, or fall silent; and everything else that happens by the clock.
 *
 * WHAT     One thread. It waits for pidfds, which tell the end of a process at once, and looks at the sessions once a
 *          second: silence, heartbeats to the server, totals that are due, rows that lag behind, registrations that
 *          waited long enough.
 * RULES    1. A process is its pid and its start. The pidfd is opened first and the start read after it: if the
 *             process is alive then, the start is its own. After a restart of the daemon a pid with another start is
 *             somebody else: the program has ended.
 *          2. Where there is no pidfd (none left, an old kernel, a sandbox) the start is read once a second. That a
 *             process may not be signalled (EPERM) is nothing; it is never signalled. Where neither works nothing is
 *             reported, and session_unwatched says so.
 *          3. Silence counts on CLOCK_MONOTONIC, which stands still while the machine sleeps. When this thread was not
 *             run either (a stopped virtual machine, SIGSTOP), the pause is nobody's fault: it is added to every
 *             program's time.
 *          4. A session that has ended is watched by nobody; one whose end could not be kept is watched on.
 *          5. What finds a full queue is told by a later look, once, and room is made for it meanwhile.
 * THREADS  Its own; watch_begin and watch_end with sessions.lock. epoll is the kernel's: registering needs no lock of
 *          ours. Files of /proc are read without the lock.
 * SEE      pidfd_open(2), proc(5) */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "io/file.h"
#include "sessions/sessions_priv.h"

#define LOOK_EVERY_MS    1000
#define STOPPED_MS       5000 /* a gap between two looks that only a stopped process has */
#define FORWARD_EVERY_MS 15000
#define KEEP_UNUSED_MS   (10 * 60 * 1000) /* in memory, after the end */

struct watched { /* a session's process */
	int fd; /* -1: it is looked at in /proc */
};

struct watcher {
	pthread_t thread;
	int epoll, wake;
	atomic_bool stopping;
	atomic_bool has_polled; /* perhaps: some process is looked at in /proc */
	int64_t looked_mono_ms;
	bool is_running;
	bool is_making_room; /* sessions.lock */
};

/* --- room in a full queue: what is to be told is tried again by the next look ------------------------------------ */

static void make_room(void *arg)
{
	struct sessions *ss = arg;

	pthread_mutex_lock(&ss->drop_lock);
	(void)op_make_room(ss); /* or the next look asks again */
	pthread_mutex_unlock(&ss->drop_lock);
	pthread_mutex_lock(&ss->lock);
	ss->watcher->is_making_room = false;
	sessions_leave(ss);
	pthread_mutex_unlock(&ss->lock);
}

/* With the lock held. code: of what could not be put. */
static void want_room(struct sessions *ss, int code)
{
	struct watcher *w = ss->watcher;

	if (code != -EDQUOT || w->is_making_room || ss->stopping || pool_submit(ss->read_lane, make_room, ss) < 0)
		return;
	w->is_making_room = true;
	sessions_enter(ss);
}

/* --- a process -------------------------------------------------------------------------------------------------- */

struct process watch_look(int64_t pid)
{
	struct process p = { .fd = -ESRCH };

	if (!pid)
		return p;
	p.fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (p.fd < 0)
		p.fd = -errno;
	if (p.fd != -ESRCH)
		p.start = machine_process_start(pid); /* after it was opened: rule 1 */
	return p;
}

static void process_close(struct process *p)
{
	if (p->fd >= 0)
		fd_close(&p->fd);
}

/* Finds out whether it is the one that is meant. 0: it is watched; 1: it has ended; or a code: it cannot be watched
 * so. */
static int take_process(struct sessions *ss, struct session *s, struct process *p, bool is_new)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = (uint64_t)s->number };

	if (p->fd == -ESRCH)
		return 1;
	if (is_new)
		s->pid_start = p->start;
	else if (s->pid_start == WATCH_ANOTHER_BOOT || (s->pid_start && p->start && p->start != s->pid_start))
		return 1;
	if (p->fd < 0 || epoll_ctl(ss->watcher->epoll, EPOLL_CTL_ADD, p->fd, &ev) < 0)
		return p->start ? -EAGAIN : -EPERM;
	s->watched = xcalloc(1, sizeof(*s->watched));
	s->watched->fd = p->fd;
	p->fd = -EAGAIN;
	return 0;
}

void watch_by_polling(struct sessions *ss, struct session *s)
{
	watch_end(ss, s);
	s->watched = xcalloc(1, sizeof(*s->watched));
	s->watched->fd = -1;
	s->watch = "poll";
	atomic_store(&ss->watcher->has_polled, true);
}

/* It has ended: every look finds that until somebody is told. */
static void watch_as_ended(struct sessions *ss, struct session *s)
{
	watch_by_polling(ss, s);
	s->pid_start = WATCH_ANOTHER_BOOT;
}

struct told {
	struct sessions *ss;
	struct session *s;
	uint64_t dropped;
};

static struct told *told_new(struct sessions *ss, struct session *s)
{
	struct told *t = xcalloc(1, sizeof(*t));

	*t = (struct told){ ss, s, s->dropped };
	return t;
}

static void on_crash_told(void *arg, int code, uint64_t seq)
{
	struct told *t = arg;

	pthread_mutex_lock(&t->ss->lock);
	t->s->is_telling_crash = false;
	if (code == 0) {
		t->s->flags |= SESSION_CRASH_TOLD;
		session_changed(t->s);
	}
	pthread_mutex_unlock(&t->ss->lock);
	free(t);
}

/* Once: when the crash itself finds no room, the next look comes here again. */
static int tell_crash(struct sessions *ss, struct session *s, const struct own_event *event)
{
	struct told *t = told_new(ss, s);
	int r = op_put_event(ss, s, event, on_crash_told, t);

	if (r < 0)
		free(t);
	s->is_telling_crash = r == 0;
	return r;
}

int watch_report_crash(struct sessions *ss, struct session *s, const char *event, const char *labels,
		       const char *pid_name, int64_t pid, const char *reason)
{
	const struct ending how = { OP_CRASH, reason };
	int r = 0;

	outbox_gather(ss->outbox, true); /* else a stop in between would have it told twice */
	if (!s->is_telling_crash && !(s->flags & SESSION_CRASH_TOLD))
		r = tell_crash(ss, s,
			       &(struct own_event){ .name = event,
						    .category = "critical",
						    .labels = labels,
						    .data = json_pack("{s:I}", pid_name, (json_int_t)pid),
						    .mark = "crashed",
						    .urgent = true });
	if (r == 0)
		r = session_end(ss, s, &how, NULL, NULL);
	outbox_gather(ss->outbox, false);
	if (r == 0)
		log_event(LOG_WARN, "session_crashed", LOG_STR("session", s->local_id), LOG_STR("product", s->product),
			  LOG_STR("reason", reason), LOG_INT("pid", pid), LOG_END);
	return r;
}

static void crashed(struct sessions *ss, struct session *s)
{
	if (!s->is_created) /* the next look will find both */
		return;
	if ((s->flags & SESSION_ENDED) && !s->ending) {
		watch_end(ss, s);
		return;
	}
	if (s->pid_start != WATCH_ANOTHER_BOOT)
		watch_as_ended(ss, s); /* whatever comes of it: a full disk, an end on its way */
	if (!s->ending)
		want_room(ss, watch_report_crash(ss, s, "parent_process_crashed", "[\"crash\",\"process\"]",
						 "parent_pid", s->pid, "parent_process_terminated"));
}

void watch_begin(struct sessions *ss, struct session *s, struct process take, bool is_new)
{
	int r = 0;

	if (s->pid && !(s->flags & SESSION_ENDED) && !s->watched) {
		r = take_process(ss, s, &take, is_new);
		s->watch = r == 0 ? "pidfd" : "no";
	}
	process_close(&take);
	s->try_again = 0;
	if (r == 1) { /* it has ended: told by the next look, when the session is in the queue */
		watch_as_ended(ss, s);
	} else if (r == -EAGAIN) {
		watch_by_polling(ss, s);
	} else if (r < 0) {
		s->try_again = is_new ? machine_now_as_start() : 0; /* a loaded one is tried at the next start */
		atomic_store(&ss->watcher->has_polled, true);
		log_event(LOG_WARN, "session_unwatched", LOG_STR("session", s->local_id), LOG_INT("pid", s->pid),
			  LOG_STR("reason",
				  "neither a pidfd nor /proc tells of this process: its end is not noticed"),
			  LOG_END);
	}
}

void watch_end(struct sessions *ss, struct session *s)
{
	if (!s->watched)
		return;
	if (s->watched->fd >= 0)
		(void)epoll_ctl(ss->watcher->epoll, EPOLL_CTL_DEL, s->watched->fd, NULL); /* it is there */
	fd_close(&s->watched->fd);
	free(s->watched);
	s->watched = NULL;
}

/* --- by the clock: with the lock held --------------------------------------------------------------------------- */

static void on_hang_told(void *arg, int code, uint64_t seq)
{
	struct told *t = arg;

	pthread_mutex_lock(&t->ss->lock);
	t->s->is_telling_hang = false;
	if (code == 0 && (t->s->flags & SESSION_CRASHED)) { /* which is more; but that may fail yet */
		t->s->flags_before_end |= SESSION_HUNG;
	} else if (code == 0) {
		t->s->flags |= SESSION_HUNG;
		session_changed(t->s);
	}
	pthread_mutex_unlock(&t->ss->lock);
	free(t);
}

static int tell_hang(struct sessions *ss, struct session *s, int64_t silent_ms)
{
	struct told *t = told_new(ss, s);
	struct buf last = BUF_EMPTY;
	int r;

	clock_format_rfc3339(s->beat_wall_ms, &last);
	r = op_put_event(ss, s,
			 &(struct own_event){ .name = "application_appears_hung",
					      .category = "error",
					      .labels = "[\"heartbeat\",\"hung\"]",
					      .data = json_pack("{s:s, s:f}", "last_heartbeat", last.data,
								"seconds_since_heartbeat", (double)silent_ms / 1000),
					      .mark = "hung" },
			 on_hang_told, t);
	if (r < 0)
		free(t);
	s->is_telling_hang = r == 0;
	buf_fini(&last);
	return r;
}

static void look_for_silence(struct sessions *ss, struct session *s, int64_t now)
{
	int64_t silent = now - s->beat_mono_ms;
	int r;

	if ((s->flags & (SESSION_PAUSED | SESSION_HUNG | SESSION_ENDED)) || s->is_telling_hang ||
	    silent <= sessions_config(ss)->heartbeat_timeout)
		return;
	r = tell_hang(ss, s, silent);
	want_room(ss, r);
	if (r == 0)
		log_event(LOG_WARN, "session_hung", LOG_STR("session", s->local_id), LOG_STR("product", s->product),
			  LOG_INT("silent_s", silent / 1000), LOG_END);
}

static void on_told_dropped(void *arg, int code, uint64_t seq)
{
	struct told *t = arg;

	pthread_mutex_lock(&t->ss->lock);
	t->s->is_telling_dropped = false;
	if (code == 0) {
		t->s->dropped -= t->dropped;
		session_changed(t->s);
	}
	pthread_mutex_unlock(&t->ss->lock);
	free(t);
}

static void tell_dropped(struct sessions *ss, struct session *s)
{
	struct told *t = told_new(ss, s);

	s->is_telling_dropped =
		op_put_event(ss, s,
			     &(struct own_event){ .name = "operations_dropped",
						  .category = "warning",
						  .labels = "[\"queue\",\"dropped\"]",
						  .data = json_pack("{s:I}", "metrics", (json_int_t)s->dropped) },
			     on_told_dropped, t) == 0;
	if (!s->is_telling_dropped)
		free(t);
}

static bool is_done(struct sessions *ss, const struct session *s)
{
	struct buf key = BUF_EMPTY;
	bool is;

	if (!(s->flags & SESSION_ENDED) || s->uses || !session_is_saved(s) || s->dropped || totals_is_dirty(s))
		return false;
	session_key(s, &key);
	is = !outbox_key_is_pending(ss->queue, buf_slice(&key));
	buf_fini(&key);
	return is;
}

/* True: it is gone. */
static bool look_at_end(struct sessions *ss, struct session *s, int64_t now)
{
	if (!(s->flags & SESSION_DONE) && is_done(ss, s)) {
		s->flags |= SESSION_DONE;
		ss->count--;
		session_changed(s);
	}
	if (!(s->flags & SESSION_DONE) || s->uses || s->waiter || !session_is_saved(s) ||
	    now - s->used_mono_ms < KEEP_UNUSED_MS)
		return false;
	session_forget(ss, s);
	return true;
}

/* When its totals are due; 0: none are. */
static int64_t look_at(struct sessions *ss, struct session *s, int64_t now, bool is_look)
{
	if (s->flush_mono_ms && s->flush_mono_ms <= now)
		totals_flush(ss, s);
	if (!is_look)
		return s->flush_mono_ms;
	if (look_at_end(ss, s, now))
		return 0;
	if (s->watched && s->pid_start == WATCH_ANOTHER_BOOT)
		crashed(ss, s);
	look_for_silence(ss, s, now);
	if (s->dropped && !s->is_telling_dropped)
		tell_dropped(ss, s);
	if (!(s->flags & SESSION_ENDED) && now - s->forwarded_mono_ms >= FORWARD_EVERY_MS)
		beat_wanted(ss, s);
	if (session_wants_save(s))
		(void)ledger_save_start(ss, s, NULL, NULL); /* or later */
	return s->flush_mono_ms;
}

static void forgive_pause(struct sessions *ss, int64_t gap)
{
	LIST_FOREACH (it, &ss->all)
		LIST_ENTRY(it, struct session, node)->beat_mono_ms += gap;
}

static bool is_polled(const struct session *s)
{
	return s->watched && s->watched->fd < 0 && s->pid_start && s->pid_start != WATCH_ANOTHER_BOOT;
}

/* There may be a descriptor for it by now. When the process that has the pid is younger than the session, it is
 * somebody else's. */
static void try_again(struct sessions *ss, struct session *s)
{
	struct process p = watch_look(s->pid); /* which never changes */

	pthread_mutex_lock(&ss->lock);
	if (p.fd == -ESRCH || p.start > s->try_again) {
		process_close(&p);
		s->try_again = 0;
		watch_as_ended(ss, s);
	} else if (p.fd >= 0 && p.start) {
		watch_begin(ss, s, p, true);
		session_changed(s);
	} else {
		process_close(&p);
		atomic_store(&ss->watcher->has_polled, true);
	}
	pthread_mutex_unlock(&ss->lock);
}

/* Those without a pidfd, whose start is read from /proc: without the lock. */
static void look_at_polled(struct sessions *ss)
{
	size_t count;
	struct session **all;

	if (!atomic_exchange(&ss->watcher->has_polled, false))
		return;
	all = sessions_use_all(ss, &count);
	for (size_t i = 0; i < count; i++) {
		struct session *s = all[i];
		uint64_t start;
		bool is, is_tried;

		pthread_mutex_lock(&ss->lock);
		is = is_polled(s);
		is_tried = s->try_again && !(s->flags & SESSION_ENDED);
		pthread_mutex_unlock(&ss->lock);
		if (is_tried)
			try_again(ss, s);
		if (!is)
			continue;
		start = machine_process_start(s->pid); /* which never changes */
		pthread_mutex_lock(&ss->lock);
		if (is_polled(s) && start != s->pid_start)
			watch_as_ended(ss, s);
		else
			atomic_store(&ss->watcher->has_polled, true); /* to be looked at again */
		pthread_mutex_unlock(&ss->lock);
	}
	sessions_unuse_all(ss, all, count);
}

/* Whether it is time for a look. With the lock held. */
static bool begin_look(struct sessions *ss, int64_t now)
{
	struct watcher *w = ss->watcher;
	int64_t gap = now - w->looked_mono_ms;

	if (gap < LOOK_EVERY_MS)
		return false;
	if (w->looked_mono_ms && gap > STOPPED_MS)
		forgive_pause(ss, gap);
	w->looked_mono_ms = now;
	return true;
}

/* The lock is held for each session alone, as rows and totals are written out on the way. This thread is the only one
 * that takes any off the list, so that what comes after one is still there when the lock is had again. */
int64_t watch_tick(struct sessions *ss)
{
	int64_t now = clock_mono_ms(), next = register_expire(ss, now), flush;
	bool is_look;

	pthread_mutex_lock(&ss->lock);
	is_look = begin_look(ss, now);
	if (ss->watcher->looked_mono_ms + LOOK_EVERY_MS < next)
		next = ss->watcher->looked_mono_ms + LOOK_EVERY_MS;
	pthread_mutex_unlock(&ss->lock);
	if (is_look)
		look_at_polled(ss);
	pthread_mutex_lock(&ss->lock);
	LIST_FOREACH_SAFE (it, after, &ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		flush = look_at(ss, s, now, is_look);
		if (flush && flush < next)
			next = flush;
		pthread_mutex_unlock(&ss->lock);
		pthread_mutex_lock(&ss->lock);
	}
	pthread_mutex_unlock(&ss->lock);
	return next > now ? next - now : 1;
}

/* --- the thread ------------------------------------------------------------------------------------------------- */

static void process_ended(struct sessions *ss, int64_t number)
{
	pthread_mutex_lock(&ss->lock);
	LIST_FOREACH_SAFE (it, after, &ss->all) {
		struct session *s = LIST_ENTRY(it, struct session, node);

		if (s->number == number && s->watched)
			crashed(ss, s);
	}
	pthread_mutex_unlock(&ss->lock);
}

static void *watcher_main(void *arg)
{
	struct sessions *ss = arg;
	struct watcher *w = ss->watcher;
	struct epoll_event events[64];
	uint64_t count;

	while (!atomic_load(&w->stopping)) {
		int n = epoll_wait(w->epoll, events, ARRAY_LEN(events), (int)watch_tick(ss));

		for (int i = 0; i < n; i++) {
			if (events[i].data.u64)
				process_ended(ss, (int64_t)events[i].data.u64);
			else if (read(w->wake, &count, sizeof(count)) < 0)
				continue; /* somebody poked, and is heard */
		}
	}
	return NULL;
}

void watcher_poke(struct sessions *ss)
{
	uint64_t one = 1;

	if (write(ss->watcher->wake, &one, sizeof(one)) < 0)
		return; /* it is full of pokes */
}

int watcher_start(struct sessions *ss)
{
	struct watcher *w = ss->watcher;
	struct epoll_event ev = { .events = EPOLLIN };
	sigset_t all, before;
	int r;

	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->wake, &ev) < 0)
		return -errno;
	sigfillset(&all); /* signals are for the main thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&w->thread, NULL, watcher_main, ss);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		(void)pthread_setname_np(w->thread, "weir-watch"); /* only for who looks at it with top */
	w->is_running = r == 0;
	return r;
}

int watcher_new(struct sessions *ss)
{
	struct watcher *w = xcalloc(1, sizeof(*w));

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ss->watcher = w;
	return w->epoll < 0 || w->wake < 0 ? -errno : 0;
}

void watcher_stop(struct sessions *ss)
{
	struct watcher *w = ss->watcher;

	if (!w || !w->is_running)
		return;
	atomic_store(&w->stopping, true);
	watcher_poke(ss);
	pthread_join(w->thread, NULL);
	w->is_running = false;
}

void watcher_free(struct sessions *ss)
{
	if (!ss->watcher)
		return;
	fd_close(&ss->watcher->epoll);
	fd_close(&ss->watcher->wake);
	free(ss->watcher);
	ss->watcher = NULL;
}
