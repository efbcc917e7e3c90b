/* exchange.h -- one request and its answer, from the head of the request to the last byte of the answer.
 *
 * An exchange belongs to one party at a time: a front thread, a worker, or a list of waiters that parked it. Whoever
 * has it must, in the end, reply exactly once, also when the client has left (the reply is then dropped) -- that is how
 * it finds its way back to the front thread that frees it. After a reply the caller no longer touches it.
 *
 *   head complete -> service handle() on the front thread, once the body is whole in memory or has reached
 *   EXCHANGE_FRONT_BODY bytes (or at once when there is none) -> reply there, or exchange_to_worker(), or
 *   park and later exchange_resume_front()/exchange_to_worker() from any thread -> reply -> done hook, front thread.
 *
 * A request that says Expect: 100-continue comes to handle() at once, without body: the 100 is sent when a worker first
 * reads, so that an answer given before (401, 413) spares the client the upload. An answer before the body's end closes
 * the connection. Framing, Host, Origin and the announced size have been checked before handle() runs (see server.h).
 *
 * Threads: functions that name none may be called by the owner on any thread. Nothing here blocks unless it says so. */
#ifndef WEIR_CORE_EXCHANGE_H
#define WEIR_CORE_EXCHANGE_H

#include "base/arena.h"
#include "base/blob.h"
#include "base/buf.h"
#include "io/cancel.h"
#include "io/pool.h"
#include "store/spool.h"

#define EXCHANGE_FRONT_BODY (64 * 1024) /* bytes of body, as sent, gathered before handle() runs */

struct exchange;
typedef void exchange_fn(struct exchange *ex);

/* --- the request; slices live as long as the exchange --- */
struct slice exchange_method(const struct exchange *ex);
/* raw: origin-form as sent ("/a%2fb?x"), or absolute-form whole; never decoded */
struct slice exchange_target(const struct exchange *ex);
struct slice exchange_header(const struct exchange *ex, const char *lower_name); /* first value; p NULL when absent */
size_t exchange_header_count(const struct exchange *ex);
void exchange_header_at(const struct exchange *ex, size_t i, struct slice *ret_name, struct slice *ret_value);
/* X-Request-Id: ours, 16 hex digits; or the client's when it is a short plain token */
const char *exchange_id(const struct exchange *ex);
/* who is addressed: of an absolute-form target, else Host (RFC 9112 3.2.2); empty only in HTTP/1.0 */
struct slice exchange_authority(const struct exchange *ex);
bool exchange_is_tls(const struct exchange *ex);          /* the client came by https */
const char *exchange_peer(const struct exchange *ex);     /* "127.0.0.1:4242", for logs */
bool exchange_is_head(const struct exchange *ex);         /* a reply's body is then not sent */
struct arena *exchange_arena(struct exchange *ex);        /* 1 MiB ceiling, freed with the exchange */
void *exchange_service_arg(const struct exchange *ex);    /* the `arg` given with the listener */
/* admin hands a request on to a service's route, with its state */
void exchange_set_service_arg(struct exchange *ex, void *arg);
void exchange_set_data(struct exchange *ex, void *data);  /* the service's own state, not touched */
void *exchange_data(const struct exchange *ex);
int64_t exchange_started_us(const struct exchange *ex);   /* monotonic, when the head was complete */

/* --- the body (gzip is undone unless _raw; inflated bytes count against limits.request_body) --- */
int64_t exchange_body_announced(const struct exchange *ex); /* Content-Length as sent; 0: no body; -1: chunked */
bool exchange_body_is_encoded(const struct exchange *ex);   /* a Content-Encoding of gzip is there */
/* Front thread, in handle(): the whole inflated body when it is small. 0; -EAGAIN when there is more than fits here
 * (go to a worker); a code when it is malformed: exchange_reply_body_error() answers it. */
int exchange_body_peek(struct exchange *ex, struct slice *ret); /* valid as long as the exchange */
/* Worker: next inflated bytes, > 0; 0 at the end; WEIR_E_CANCELLED, WEIR_E_TOO_LARGE, WEIR_E_PARSE, WEIR_E_PROTOCOL (a
 * content coding other than gzip; _raw does not mind), -ETIMEDOUT. Blocks;
 * reading is what makes the front take more from the socket (back-pressure at 256 KiB). */
ssize_t exchange_body_read(struct exchange *ex, char *into, size_t room);
/* as sent, for passing on; never mixed with the other */
ssize_t exchange_body_read_raw(struct exchange *ex, char *into, size_t room);
int exchange_body_read_all(struct exchange *ex, struct buf *out); /* to the end, within out's limit. Blocks. */

/* --- handing over --- */
/* Runs fn(ex) on a worker, in the lane. When the pool refuses (shutting down, queue full) the exchange is answered
 * 503 with Retry-After here, so this always takes it. Any thread that owns ex. */
void exchange_to_worker(struct exchange *ex, struct lane *lane, exchange_fn *fn);
void exchange_resume_front(struct exchange *ex, exchange_fn *fn); /* runs fn(ex) on its front thread */

/* --- the client leaving --- */
bool exchange_gone(const struct exchange *ex);        /* the client has left; a reply is still owed */
/* fires when the client leaves; borrowed; made at first use; NULL when descriptors are used up */
struct cancel *exchange_cancel(struct exchange *ex);
/* hook(arg) runs once on the front thread when the client leaves while the hook is set. Setting returns false (and does
 * not set) when it has left already. Clearing returns false when the hook ran or is running: then the hook owns what it
 * owns. For parked exchanges: whoever wins, the hook or the resume, has the exchange and must reply. */
typedef void exchange_gone_fn(void *arg);
bool exchange_set_gone_hook(struct exchange *ex, exchange_gone_fn *hook, void *arg);
bool exchange_clear_gone_hook(struct exchange *ex);

/* --- the answer --- */
struct header_line {
	const char *name, *value; /* borrowed until the reply call returns; no CR, LF or NUL inside (checked: a bug) */
};
/* Headers that the front adds itself: Connection, Content-Length or Transfer-Encoding, X-Request-Id; and Date, unless
 * the caller gives one, as a proxy passes on upstream's (RFC 9110 6.6.1). All others are the caller's. `body` may be
 * NULL (empty); its reference is taken. A HEAD is answered by the same call as a GET would be: the length is announced
 * and the body dropped. 204 and 304 go without either (RFC 9110 8.6, 15.4.5). */
void exchange_reply(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
		    struct blob *body);
/* Sends the spool from its first byte as it grows; takes the reference. total_bytes: announced length, or -1 for
 * chunked (HTTP/1.0: until close). If the spool fails, the connection is cut. */
void exchange_reply_spool(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
			  struct spool *spool, int64_t total_bytes);
/* Sends `bytes` bytes of a spool that has them, or will, from byte `from` on; takes the reference. */
void exchange_reply_spool_part(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
			       struct spool *spool, uint64_t from, uint64_t bytes);
/* A head without a body: to a HEAD, or with status 204 or 304 (else a bug). `bytes` is the length that the body of a
 * GET would have, announced unless the status is 204; -1: not known, not announced. */
void exchange_reply_head(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
			 int64_t bytes);
/* text/plain, one line plus "\n", for git, sessions and hub; and application/problem+json (RFC 9457) for mirrors and
 * admin. */
void exchange_reply_text(struct exchange *ex, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void exchange_reply_problem(struct exchange *ex, int status, const char *title, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The same with header lines of the caller's behind Content-Type and Cache-Control, at most EXCHANGE_PROBLEM_LINES. */
#define EXCHANGE_PROBLEM_LINES 14
void exchange_reply_problem_with(struct exchange *ex, int status, const struct header_line *headers,
				 size_t header_count, const char *title, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));
/* For what a listener without check_origin serves beside git and mirror traffic (invariant 13): answers 403 and returns
 * true when the request comes from a page of another origin. */
bool exchange_refuse_foreign(struct exchange *ex);
/* 400, 413, 408 ... for a code of exchange_body_*, as text/plain */
void exchange_reply_body_error(struct exchange *ex, int err);
void exchange_reply_dropped(struct exchange *ex);             /* the client has left: nothing to say */

/* hook(arg, status, bytes_sent, whole) runs once, on the front thread, when the answer was sent or given up:
 * whole is false when the connection ended before the answer did. For counters and access logs. */
typedef void exchange_done_fn(void *arg, int status, uint64_t bytes_sent, bool whole);
void exchange_set_done_hook(struct exchange *ex, exchange_done_fn *hook, void *arg);

/* An interim answer (102 to 199) before the reply, RFC 9110 15.2: passed on as it is; dropped for a client of HTTP/1.0,
 * and when the socket has no room. Any thread that owns ex, but not within handle(). */
void exchange_send_interim(struct exchange *ex, int status, const struct header_line *headers, size_t header_count);

const char *http_status_text(int status);

#endif
