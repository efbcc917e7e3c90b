/* sender.c -- the thread that takes what was told to the daemon.
 *
 * WHAT     Again and again one step, the first of these that there is to do: a session, a heartbeat (a queue that is
 *          full there must not make us look dead), reports of crashes of earlier runs, what was dropped, the oldest
 *          record, and when the client closes the end.
 * RULES    1. One request at a time; a record leaves the queue when it is answered. So order holds, and at most one
 *             operation is in doubt when a connection is lost. (Pipelining would bring nothing: the daemon answers one
 *             request of a connection after the other.)
 *          2. No answer in time, or none that is to be trusted: the connection is closed, and the same is sent again
 *             over another, after a pause that doubles from 50 ms to 5 s, with jitter.
 *          3. 200 is done. 404 means that the daemon has forgotten the session (another data folder, or an original
 *             daemon that was restarted): a new one is begun, three at most of which it then knows nothing either. 400,
 *             413 and the like: refused, counted, gone, as it would be refused again. All else (503: its queue or disk
 *             is full; 421 and 403: it is not for us): again later.
 *          4. After stop_at_ms nothing is waited for.
 * THREADS  One, all signals blocked. What is behind `the sender's own` is touched here alone. */
#include "client/client_priv.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/encode.h"
#include "client/json.h"
#include "client/spool.h"

#define CONNECT_MS     2000
#define FIRST_PAUSE_MS 50
#define MOST_PAUSE_MS  5000
#define HASTY_PAUSE_MS 50 /* while somebody waits in close() */
#define LOOK_EVERY_MS  20 /* into an empty queue, while the program tells something now and then: */
#define STAY_AWAKE_MS  1000 /* so long after the last; then it sleeps, and the next call has to wake it */
#define AGE_MS         1000 /* younger than that: it was told now */
#define MOST_FORGOTTEN 3    /* sessions in a row of which nothing was ever answered */

enum step { STEP_ON, STEP_PAUSE, STEP_IDLE, STEP_END };
enum verdict { DONE, AGAIN, FORGOTTEN, REFUSED };

/* So that a registration whose answer was lost is not made twice: weir's daemon knows it by its key. */
void weirc_sender_new_key(struct weir_client *c)
{
	unsigned char random[16] = { 0 };
	struct weirc_text t;

	if (getrandom(random, sizeof(random), GRND_NONBLOCK) < 0) { /* early in the boot: unique here will do */
		memcpy(random, &c->pid, sizeof(c->pid));
		memcpy(random + 8, &(int64_t){ weirc_now_ms() }, 8);
	}
	weirc_text_init(&t, c->key, sizeof(c->key), sizeof(c->key));
	for (size_t i = 0; i < sizeof(random); i++)
		weirc_text_hex(&t, random[i], 2);
	weirc_text_char(&t, '\0');
}

/* --- one call ---------------------------------------------------------------------------------------------------- */

static void note_failure(struct weir_client *c, int r)
{
	atomic_store(&c->is_connected, false);
	c->forgotten = 0;
	pthread_mutex_lock(&c->lock);
	c->stats.is_connected = 0;
	c->stats.last_error = r;
	pthread_mutex_unlock(&c->lock);
}

static int be_connected(struct weir_client *c)
{
	int r;

	(void)weirc_conn_look(&c->conn); /* closed meanwhile, or not */
	if (weirc_conn_is_open(&c->conn))
		return 0;
	r = weirc_conn_open(&c->conn, CONNECT_MS);
	if (r < 0) {
		note_failure(c, r);
		return r;
	}
	pthread_mutex_lock(&c->lock);
	c->stats.connects++;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static void write_request(struct weir_client *c, const char *path, const char *head, const char *tail, size_t n)
{
	struct weirc_text *t = &c->request;
	size_t bytes = strlen(head) + n;

	t->len = 0;
	t->failed = 0;
	weirc_text_str(t, "POST ");
	weirc_text_str(t, path);
	weirc_text_str(t, " HTTP/1.1\r\nHost: ");
	weirc_text_str(t, c->address.host);
	weirc_text_str(t, "\r\nContent-Type: application/json\r\nContent-Length: ");
	weirc_text_int(t, (long long)bytes);
	weirc_text_str(t, "\r\n\r\n");
	weirc_text_str(t, head);
	weirc_text_add(t, tail, n);
}

/* The status of the answer, or a code. The body is head and tail. */
static int call(struct weir_client *c, const char *path, const char *head, const char *tail, size_t n)
{
	int r = be_connected(c);

	c->conn.was_sent = false;
	if (r < 0)
		return r;
	write_request(c, path, head, tail, n);
	if (c->request.failed)
		return c->request.failed; /* cannot be: both are bounded */
	r = weirc_conn_call(&c->conn, c->request.data, c->request.len, c->answer_ms);
	if (r < 0) {
		note_failure(c, r);
		return r;
	}
	atomic_store(&c->is_connected, true);
	pthread_mutex_lock(&c->lock);
	c->stats.is_connected = 1;
	c->stats.last_error = 0;
	c->stats.last_status = r;
	pthread_mutex_unlock(&c->lock);
	return r;
}

static enum verdict verdict_of(int r)
{
	if (r < 0 || r >= 500)
		return AGAIN;
	if (r < 300)
		return DONE;
	switch (r) {
	case 404: return FORGOTTEN;
	case 401:
	case 403:
	case 405:
	case 408:
	case 421:
	case 429: return AGAIN;
	default: return REFUSED;
	}
}

/* An operation of the session: tail as encode.h makes it, without the brace that opens; "}" when there is nothing. */
static enum verdict operation(struct weir_client *c, const char *path, int64_t age_ms, const char *tail, size_t n)
{
	char head[256];
	int at;

	at = snprintf(head, sizeof(head), "{\"session_id\":\"%s\"", c->session_id);
	if (age_ms >= AGE_MS)
		at += snprintf(head + at, sizeof(head) - (size_t)at, ",\"age_ms\":%lld", (long long)age_ms);
	if (n > 1)
		(void)snprintf(head + at, sizeof(head) - (size_t)at, ","); /* fits: 129 and 40 */
	return verdict_of(call(c, path, head, tail, n));
}

/* 404: another session is begun; but not for ever, when nothing was ever answered in the last ones: a daemon that knows
 * no session of ours (as it does not see our process, say) would only have more of them to report as crashed. Then it
 * is as if it were away, until the connection breaks, as it does when a daemon is restarted. */
static enum step forget_session(struct weir_client *c)
{
	if (c->forgotten >= MOST_FORGOTTEN)
		return STEP_PAUSE;
	c->session_id[0] = '\0';
	weirc_sender_new_key(c);
	c->began_ms = weirc_told_ms();
	return c->forgotten++ ? STEP_PAUSE : STEP_ON;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

static enum step begin_session(struct weir_client *c)
{
	int64_t age = weirc_told_ms() - c->began_ms;
	char storage[512], id[sizeof(c->session_id)];
	struct weirc_text body;
	int r;

	weirc_text_init(&body, storage, sizeof(storage), WEIR_CLIENT_MOST_BYTES);
	weirc_text_str(&body, "{\"parent_pid\":");
	weirc_text_int(&body, c->pid);
	weirc_text_str(&body, ",\"product\":");
	weirc_text_json(&body, c->product);
	weirc_text_str(&body, ",\"version\":");
	weirc_text_json(&body, c->version);
	weirc_text_str(&body, ",\"key\":");
	weirc_text_json(&body, c->key);
	if (age >= AGE_MS) {
		weirc_text_str(&body, ",\"age_ms\":");
		weirc_text_int(&body, age);
	}
	weirc_text_char(&body, '}');
	r = body.failed ? body.failed : call(c, "/register", "", body.data, body.len);
	weirc_text_fini(&body);
	if (r < 0 || r >= 300 ||
	    weirc_json_text_of(c->conn.answer.body, c->conn.answer.body_kept, "session_id", id, sizeof(id)) < 0)
		return STEP_PAUSE;
	memcpy(c->session_id, id, sizeof(id));
	c->next_beat_ms = weirc_now_ms() + c->heartbeat_ms; /* registering was one */
	c->repeats_pause = c->is_paused; /* of a session that was forgotten: this one is not paused yet */
	pthread_mutex_lock(&c->lock);
	c->stats.sessions++;
	memcpy(c->stats.session_id, id, sizeof(id));
	weirc_crash_session(c, id);
	pthread_mutex_unlock(&c->lock);
	return STEP_ON;
}

static enum step repeat_pause(struct weir_client *c)
{
	enum verdict v = operation(c, "/pause_heartbeat", 0, "}", 1);

	if (v == FORGOTTEN)
		return forget_session(c);
	if (v == AGAIN)
		return STEP_PAUSE;
	c->repeats_pause = false;
	return STEP_ON;
}

/* What an earlier run left: for its own session, and when that is not known, for this one. */
static enum step send_report(struct weir_client *c, struct weirc_report *report)
{
	char own[sizeof(c->session_id)];
	enum verdict v;

	memcpy(own, c->session_id, sizeof(own));
	if (report->session_id[0])
		memcpy(c->session_id, report->session_id, sizeof(own));
	v = operation(c, "/event", weirc_report_age_ms(report), report->tail, report->bytes);
	memcpy(c->session_id, own, sizeof(own));
	if (v == FORGOTTEN && report->session_id[0]) {
		report->session_id[0] = '\0';
		return STEP_ON;
	}
	if (v == FORGOTTEN)
		return forget_session(c);
	if (v == AGAIN)
		return STEP_PAUSE;
	pthread_mutex_lock(&c->lock);
	c->reports = report->next;
	c->stats.crash_reports += v == DONE;
	pthread_mutex_unlock(&c->lock);
	weirc_report_done(report);
	return STEP_ON;
}

static enum step send_drops(struct weir_client *c, const unsigned long long dropped[WEIR_CLIENT_TYPES])
{
	unsigned long long since[WEIR_CLIENT_TYPES];
	struct weirc_text t;
	enum verdict v;
	char storage[512];

	for (int i = 0; i < WEIR_CLIENT_TYPES; i++)
		since[i] = dropped[i] - c->drops_told[i];
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	weirc_encode_drops(&t, since);
	v = operation(c, "/event", 0, t.data, t.len);
	if (v == FORGOTTEN)
		return forget_session(c);
	if (v == AGAIN)
		return STEP_PAUSE;
	memcpy(c->drops_told, dropped, sizeof(c->drops_told));
	return STEP_ON;
}

static bool beat_is_due(struct weir_client *c)
{
	int64_t now;
	unsigned long beats;

	if (c->is_paused)
		return false;
	now = weirc_now_ms();
	if (now < c->next_beat_ms)
		return false;
	if (!c->beats_itself)
		return true;
	beats = atomic_load_explicit(&c->beats, memory_order_relaxed);
	if (beats == c->beats_seen) {
		c->next_beat_ms = now + c->heartbeat_ms;
		return false;
	}
	c->beats_seen = beats;
	return true;
}

static enum step send_beat(struct weir_client *c)
{
	enum verdict v = operation(c, "/heartbeat", 0, "}", 1);

	if (v == FORGOTTEN)
		return forget_session(c);
	if (v == AGAIN) {
		c->next_beat_ms = weirc_now_ms(); /* a beat of the program that was seen is not lost */
		c->beats_seen--;
		return STEP_PAUSE;
	}
	c->next_beat_ms = weirc_now_ms() + c->heartbeat_ms;
	pthread_mutex_lock(&c->lock);
	c->stats.heartbeats++;
	pthread_mutex_unlock(&c->lock);
	return STEP_ON;
}

static void settle(struct weir_client *c, enum weirc_type type, enum verdict v)
{
	if (type == RECORD_PAUSE || type == RECORD_RESUME) {
		c->is_paused = type == RECORD_PAUSE;
		c->next_beat_ms = weirc_now_ms() + c->heartbeat_ms;
	}
	c->in_doubt = false;
	c->forgotten = 0; /* a heartbeat that was answered proves less */
	c->busy_ms = weirc_now_ms();
	pthread_mutex_lock(&c->lock);
	weirc_ring_pop(&c->ring);
	atomic_store_explicit(&c->waiting, c->ring.entries, memory_order_relaxed);
	if (v == DONE)
		c->stats.answered[RECORD_STATS(type)]++;
	else
		c->stats.refused[RECORD_STATS(type)]++;
	c->settled++;
	if (c->waiters)
		pthread_cond_broadcast(&c->progress);
	pthread_mutex_unlock(&c->lock);
}

static enum step send_record(struct weir_client *c, const struct weirc_record *record)
{
	static const char *const paths[] = { "/state", "/event", "/metric", "/pause_heartbeat", "/resume_heartbeat" };
	enum weirc_type type = (enum weirc_type)record->type;
	enum verdict v;

	if (c->in_doubt) {
		pthread_mutex_lock(&c->lock);
		c->stats.repeated++;
		pthread_mutex_unlock(&c->lock);
		c->in_doubt = false;
	}
	v = operation(c, paths[type], weirc_told_ms() - record->when_ms, record->text, record->bytes);
	if (v == AGAIN) {
		c->in_doubt = c->conn.was_sent && !weirc_conn_is_open(&c->conn);
		return STEP_PAUSE;
	}
	if (v == FORGOTTEN)
		return forget_session(c);
	settle(c, type, v);
	return STEP_ON;
}

static enum step send_end(struct weir_client *c)
{
	enum verdict v = operation(c, "/end", 0, "}", 1);

	if (v == AGAIN)
		return STEP_PAUSE;
	pthread_mutex_lock(&c->lock);
	c->has_ended = true;
	pthread_mutex_unlock(&c->lock);
	return STEP_END;
}

/* --- what is to be done? ----------------------------------------------------------------------------------------- */

struct outlook { /* of one moment */
	const struct weirc_record *record;
	struct weirc_report *report;
	bool closing, tell_drops;
	unsigned long long dropped[WEIR_CLIENT_TYPES];
};

static void look(struct weir_client *c, struct outlook *o)
{
	pthread_mutex_lock(&c->lock);
	o->record = weirc_ring_peek(&c->ring);
	o->report = c->reports;
	o->closing = c->closing;
	memcpy(o->dropped, c->stats.dropped, sizeof(o->dropped));
	/* when the flood is over, so that it is told once */
	o->tell_drops = memcmp(o->dropped, c->drops_told, sizeof(o->dropped)) != 0 &&
			c->ring.entries < c->ring.most_entries / 2 && weirc_ring_bytes(&c->ring) < c->ring.size / 2;
	pthread_mutex_unlock(&c->lock);
}

/* What the library itself has to tell. A daemon that does not take it now may take what the program tells: that has the
 * next turn. */
static enum step send_own(struct weir_client *c, const struct outlook *o)
{
	enum step s = o->report ? send_report(c, o->report) : send_drops(c, o->dropped);

	c->own_waits = s == STEP_PAUSE;
	return s;
}

static enum step step(struct weir_client *c)
{
	struct outlook o;

	look(c, &o);
	if (!c->session_id[0])
		return begin_session(c);
	if (c->repeats_pause)
		return repeat_pause(c);
	if (beat_is_due(c))
		return send_beat(c);
	if ((o.report || o.tell_drops) && !(c->own_waits && (o.record || o.closing)))
		return send_own(c, &o);
	c->own_waits = false;
	if (o.record)
		return send_record(c, o.record);
	return o.closing ? send_end(c) : STEP_IDLE;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

void weirc_sender_wake(struct weir_client *c)
{
	uint64_t one = 1;
	int saved = errno;

	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		errno = saved; /* it is full of wake-ups */
}

/* Until there may be something to do. Waking a thread costs its waker some 5 us, as much as twenty calls: a program
 * that tells something in each frame should not pay that sixty times a second. So for a while nobody has to. */
static void idle(struct weir_client *c)
{
	int64_t until = c->is_paused ? INT64_MAX : c->next_beat_ms, now = weirc_now_ms();
	bool is_empty;

	if (now - c->busy_ms < STAY_AWAKE_MS) {
		if (!atomic_exchange(&c->urgent, false))
			(void)weirc_wait(&c->conn, -1, 0, until < now + LOOK_EVERY_MS ? until : now + LOOK_EVERY_MS);
		return;
	}
	atomic_store(&c->urgent, false);
	pthread_mutex_lock(&c->lock);
	is_empty = c->ring.entries == 0 && !c->closing && !c->reports;
	atomic_store(&c->sleeping, is_empty);
	pthread_mutex_unlock(&c->lock);
	if (!is_empty)
		return;
	if (weirc_wait(&c->conn, c->conn.fd, POLLIN | POLLRDHUP, until) == 1)
		(void)weirc_conn_look(&c->conn); /* closed: the next step opens another when it needs one */
	atomic_store(&c->sleeping, false);
}

static void pause_before_next(struct weir_client *c)
{
	int64_t pause = c->failures < 7 ? FIRST_PAUSE_MS << c->failures : MOST_PAUSE_MS, until;

	c->failures++;
	c->dice = c->dice * 1664525u + 1013904223u;
	pause = pause / 2 + (int64_t)(c->dice >> 16) % (pause / 2 + 1);
	if (atomic_load(c->conn.stop_at_ms) != INT64_MAX && pause > HASTY_PAUSE_MS)
		pause = HASTY_PAUSE_MS;
	until = weirc_now_ms() + pause;
	while (!atomic_exchange(&c->urgent, false) && weirc_wait(&c->conn, -1, 0, until) != -ETIMEDOUT)
		;
}

static bool is_over(struct weir_client *c)
{
	return weirc_now_ms() >= atomic_load(&c->stop_at_ms);
}

void *weirc_sender_main(void *arg)
{
	struct weir_client *c = arg;
	enum step s = STEP_ON;

	atomic_store(&c->thread_id, (pid_t)syscall(SYS_gettid));
	while (s != STEP_END && !is_over(c)) {
		s = step(c);
		if (s == STEP_PAUSE)
			pause_before_next(c);
		else
			c->failures = 0;
		if (s == STEP_IDLE)
			idle(c);
	}
	weirc_conn_close(&c->conn);
	atomic_store(&c->is_connected, false);
	pthread_mutex_lock(&c->lock);
	c->finished = true;
	pthread_cond_broadcast(&c->progress);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}
