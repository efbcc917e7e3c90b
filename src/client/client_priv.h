/* client_priv.h -- what client.c, sender.c and crash.c share: one client.
 *
 *      a call --text--> [ lock: ring ] --record--> the sender --request--> the daemon
 *
 * THREADS  Under `lock`: what says so. The sender's own: what says so. The rest is set before the thread starts, or
 *          atomic. The lock is held for the copy of one record or a few counters, never across a system call but the
 *          wait of a condition. */
#ifndef WEIR_CLIENT_CLIENT_PRIV_H
#define WEIR_CLIENT_CLIENT_PRIV_H

#include <weir/client.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <unistd.h>

#include "client/conn.h"
#include "client/ring.h"
#include "client/text.h"

/* Types of records: those of the interface, and resume, which counts as pause. */
enum weirc_type { RECORD_STATE, RECORD_EVENT, RECORD_METRIC, RECORD_PAUSE, RECORD_RESUME };
#define RECORD_STATS(type) ((int)(type) < (int)WEIR_CLIENT_PAUSE ? (int)(type) : (int)WEIR_CLIENT_PAUSE)

enum { WEIRC_MARK_GONE, WEIRC_MARK, WEIRC_MARK_WEAK /* the kernel does not empty it */ };

#define WEIRC_HEAD_ROOM 1024 /* of a request before what the program told */

struct weirc_report; /* spool.h: what an earlier run left */

struct weir_client {
	unsigned char *mark; /* a page that is zero in a child after fork(); see client.c */
	pid_t pid;
	char *product, *version;
	struct weirc_address address;
	int64_t heartbeat_ms, answer_ms;
	bool beats_itself;
	int wake_fd;
	pthread_t thread;
	_Atomic pid_t thread_id;

	pthread_mutex_t lock;
	pthread_cond_t progress; /* on the monotonic clock: something was settled, or the sender has ended */
	struct weirc_ring ring;  /* lock */
	struct weir_client_stats stats; /* lock */
	uint64_t told, settled;  /* lock: tickets for flush() */
	unsigned waiters;        /* lock */
	bool closing, finished, has_ended; /* lock: the sender's thread is over; the daemon knows the end */
	struct weirc_report *reports; /* lock: to be sent before anything else */

	atomic_bool sleeping, urgent; /* the sender waits for something to do; somebody waits for it */
	_Atomic int64_t stop_at_ms;   /* it stops, whatever it does */
	atomic_ulong beats;           /* of the program */
	atomic_size_t waiting;        /* records in the ring, for the handler of signals */
	atomic_bool is_connected;

	/* the sender's own */
	struct weirc_conn conn;
	struct weirc_text request;
	char session_id[129]; /* "": none (yet) */
	char key[33];         /* of its registration: the same as long as no answer came */
	int64_t began_ms;     /* monotonic: when the program opened it */
	unsigned failures;    /* in a row */
	unsigned long beats_seen;
	int64_t next_beat_ms, busy_ms; /* when the last record was settled */
	bool is_paused, repeats_pause; /* the next session is to be paused, too */
	bool in_doubt, own_waits;      /* the oldest record; reports and drops let a record go first */
	unsigned forgotten;            /* sessions in a row that the daemon forgot before it answered anything */
	unsigned long long drops_told[WEIR_CLIENT_TYPES];
	uint32_t dice;
};

/* --- sender.c --- */
void *weirc_sender_main(void *client);
void weirc_sender_new_key(struct weir_client *c); /* before the thread starts, or on it */
void weirc_sender_wake(struct weir_client *c); /* any thread, also in a handler of signals */

/* --- crash.c --- */
void weirc_crash_session(struct weir_client *c, const char *session_id); /* it has one; with the lock */
void weirc_crash_release(struct weir_client *c); /* the signals are given back, if they are this client's */
void weirc_crash_forget(struct weir_client *c);  /* the same in a child: c is no more */

/* Is this a child of the process that opened it? */
static inline bool weirc_is_child(const struct weir_client *c)
{
	unsigned char mark = *(const volatile unsigned char *)c->mark;

	return mark == WEIRC_MARK_GONE || (mark == WEIRC_MARK_WEAK && getpid() != c->pid);
}

#endif
