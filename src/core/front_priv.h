/* front_priv.h -- what server.c, conn.c, conn_send.c, exchange.c and reply.c share: fronts, connections, exchanges.
 *
 * A front is a loop with its connections. A connection (struct conn) is a socket, a parser, and at most one exchange.
 *
 *   READING  --request is there--> HANDLING --reply--> SENDING --all sent--> READING (kept alive)
 *      |                              |                   |           `----> LINGER --client's end or time--> closed
 *      `--refused--> SENDING          `--client left: the socket is closed, the connection waits for the reply
 *
 * Everything here is the front thread's, but for the members of struct exchange that say otherwise. */
#ifndef WEIR_CORE_FRONT_PRIV_H
#define WEIR_CORE_FRONT_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/obj.h"
#include "core/body_pipe.h"
#include "core/exchange.h"
#include "core/read_ahead.h"
#include "core/server.h"
#include "io/http_parse.h"
#include "io/inflate.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/stream.h"

#define CONN_MAGIC 0x636f6e6eu
#define EXCHANGE_MAGIC 0x65786368u

#define FRONT_READ_BYTES (64 * 1024)   /* one buffer for each front thread, so that idle connections need none */
#define FRONT_SPARE_EXCHANGES 64       /* kept for the next requests */
#define FRONT_TICK_MS 250              /* how often deadlines are looked at, while there are connections */
#define FRONT_ACCEPT_AT_ONCE 64
#define EXCHANGE_ARENA_BYTES (1024 * 1024)

struct listener {
	struct server *server;
	char *name;
	char address[LISTENER_ADDRESS_ROOM];
	bool loopback, check_host, check_origin, absolute_form, problem_json;
	char **hosts; /* NULL-terminated; ours */
	exchange_fn *handle;
	void *arg;
	struct tls_context *tls;
	struct metric *requests[5]; /* by class of the status, 1xx ... 5xx */
	struct metric *duration;
	int *fds;                   /* one for each front; -1 once closed */
};

struct front_accept { /* a listener's socket in one front */
	struct front *front;
	struct listener *listener;
	int fd;
	struct loop_watch *watch;
};

struct front {
	struct server *server;
	struct loop *loop;
	struct server_limits limits;
	struct list conns, closed; /* closed: to be freed when the turn is over */
	struct front_accept *accepts;
	size_t accept_count;
	char *read_buf;           /* FRONT_READ_BYTES */
	struct buf head;          /* the head being put together */
	struct buf date;          /* of second `date_s` */
	int64_t date_s;
	uint64_t id_state;
	struct exchange *spare;
	unsigned spare_count;
	int reserve_fd;           /* given up for a moment when descriptors are used up */
	bool stopping;
};

struct server {
	unsigned front_count;
	struct front *fronts;
	struct listener **listeners;
	size_t listener_count;
	struct metrics *metrics;
	struct metric *refused[HTTP_REFUSE_COUNT];
	struct read_ahead *read_ahead;
	struct metric *gone;      /* clients that left before their answer */
	_Atomic unsigned connections;
	_Atomic unsigned most_connections;
	_Atomic bool was_cut;
	_Atomic int64_t grace_ms;

	struct cut_hook *cut_hooks;
	size_t cut_hook_count;

	pthread_mutex_t lock;     /* guards the waiting for `connections` to become 0 */
	pthread_cond_t none_left;
};

struct cut_hook {
	server_cut_fn *fn;
	void *arg;
};

enum conn_state { CONN_READING, CONN_HANDLING, CONN_SENDING, CONN_LINGER, CONN_CLOSED };

struct conn {
	unsigned magic;
	enum conn_state state;
	struct list link; /* front->conns */
	struct front *front;
	struct listener *listener;
	struct stream stream;
	struct loop_watch *watch;
	unsigned armed;           /* what the watch is set to */
	struct http_parse parse;
	struct buf in;            /* bytes read and not yet parsed; without memory while idle */
	struct exchange *ex;
	char peer[LISTENER_ADDRESS_ROOM];
	bool running;             /* service code or the parser is below us on the stack: replies wait for its return */
	bool reply_here;          /* a reply was given while running */
	bool peer_ended;          /* nothing more will be read */
	bool body_open;           /* the request's body has not ended */
	bool body_full;           /* the pipe is full: no reading */
	bool close_after;         /* the connection ends with this answer */
	bool dead;                /* socket closed; waits for the exchange */
	uint64_t body_seen;
	int64_t deadline_ms;      /* 0: none; monotonic */
	enum { CONN_WAIT_IDLE, CONN_WAIT_HEAD, CONN_WAIT_BODY, CONN_WAIT_SEND, CONN_WAIT_LINGER } waits_for;

	/* sending */
	struct buf out;           /* head or chunk framing not yet taken by the socket: out[out_at..] */
	size_t out_at;
	uint64_t sent;            /* bytes of body */
	uint64_t body_at;         /* next byte of blob or spool */
	uint64_t piece_left;      /* of the chunk, or of the announced length, that is being sent */
	bool chunked, last_chunk;
	uint64_t resident_to;     /* the file is in memory up to here, as far as we know */
};

struct exchange {
	unsigned magic;
	struct exchange *next_spare;
	struct conn *conn;
	struct front *front;
	struct listener *listener;
	struct buf head_bytes;    /* what the slices of `head` point into */
	struct http_head head;
	struct slice target;      /* as exchange_target() gives it */
	struct arena arena;
	char id[65];
	void *service_arg, *data;
	int64_t started_us;
	exchange_fn *fn;          /* what runs next, while it is handed over */

	/* body */
	struct body_pipe body;
	bool body_encoded, body_unknown_coding;
	uint64_t body_limit;
	_Atomic bool wants_continue; /* 100 has not been sent and would be welcome */
	struct inflate *inflate;
	struct buf inflated;      /* inflated and not yet handed out, from inflated_at on */
	size_t inflated_at;
	struct buf raw;           /* taken from the pipe and not yet inflated, from raw_at on */
	size_t raw_at;
	bool raw_ended;
	struct buf peeked;        /* the body inflated by exchange_body_peek() */
	int body_error;           /* first failure of a read; stays */

	/* the client leaving; any thread */
	pthread_mutex_t lock;     /* guards cancel, gone_hook, gone_arg; a leaf */
	_Atomic bool gone;
	struct cancel *cancel;
	exchange_gone_fn *gone_hook;
	void *gone_arg;

	/* the answer: written by the owner, then read by the front */
	_Atomic bool replied;
	int status;
	bool dropped;
	bool head_only;           /* no body, though total_bytes may be announced */
	bool has_date;            /* `lines` have one */
	struct buf lines;         /* the caller's header lines, each with its CR LF */
	struct blob *blob;
	struct spool *spool;
	uint64_t spool_from;      /* first byte that is sent */
	int64_t total_bytes;      /* of the spool that are sent, from there; -1: unknown */
	exchange_done_fn *done_hook;
	void *done_arg;

	struct spool_watch *watch;
	_Atomic bool noted;       /* a note of the spool, or of read_ahead, is or will be in the loop's mailbox */
	bool ended;               /* given back, but for that note */
};

/* conn.c */
void conn_read(struct conn *c);
void conn_event(void *conn, unsigned events); /* of the watch */
void conn_refuse(struct conn *c, enum http_refuse why);
void conn_call(struct exchange *ex, exchange_fn *fn); /* runs service code, then sends the reply if it gave one */
void conn_sent(struct conn *c);      /* the answer is out: next request, or the end */
void conn_arm(struct conn *c);
void conn_wait(struct conn *c, int what, int64_t ms); /* sets the deadline; ms 0: none */
void conn_resume_body(void *ex);     /* mail: the worker has made room */
struct interim { /* an interim answer on its way to the front */
	struct exchange *ex;
	struct buf text;
};
void conn_interim(void *interim);    /* mail: takes a struct interim */
void conn_continue(void *ex);        /* mail: the worker wants the body to begin: 100 Continue */

/* conn_life.c */
void conn_new(struct front *f, struct listener *l, int fd, const char *peer);
void conn_lost(struct conn *c);      /* the client is gone: cancels, and ends when no exchange is out */
void conn_cut(struct conn *c);       /* the same, and the peer sees a reset */
void conn_close(struct conn *c);     /* no exchange is left: the end */
void conn_sweep(void *front);        /* tick: deadlines */
void conn_stop_all(struct front *f, bool cut); /* graceful stop: idle ones; all of them when cut */

/* conn_send.c */
void conn_answer(void *ex);                  /* mail, or called by conn_run(): sends the reply */
bool conn_pump(struct conn *c);              /* goes on sending; false when the connection is gone */

/* exchange.c */
struct exchange *exchange_new(struct conn *c);
void exchange_free(struct exchange *ex);     /* back to the spares, or away */
void exchange_discard(struct exchange *ex);  /* a spare one: really */
void exchange_note_gone(struct exchange *ex); /* fires cancel and hook, once */
void exchange_set_head(struct exchange *ex); /* after http_parse_head(): id, target, body */
void exchange_finish(struct exchange *ex, uint64_t bytes_sent, bool whole); /* done hook and counters */

/* reply.c */
void reply_refusal(struct exchange *ex, enum http_refuse why);

/* host_check.c */
bool host_is_ours(const struct listener *l, struct slice authority);
bool origin_is_ours(struct slice origin, struct slice authority);

static inline void server_count(struct metric *m)
{
	if (m)
		metric_add(m, 1);
}

#endif
