/* server.h -- the listeners: HTTP front threads that make exchanges and hand them to a service.
 *
 * One front thread for each CPU, each with its own SO_REUSEPORT socket for each listener. */
#ifndef WEIR_CORE_SERVER_H
#define WEIR_CORE_SERVER_H

#include "base/buf.h"
#include "core/exchange.h"
#include "core/metrics.h"
#include "core/traffic.h"

struct server;

struct server_limits {
	unsigned connections;       /* over all listeners; further ones are answered 503 and closed */
	size_t header_bytes;        /* request line and headers: 431 (414 when the request line alone is longer) */
	uint64_t request_body;      /* 413, as sent and inflated */
	int64_t header_timeout_ms;  /* for a whole head, from its first byte (30 s): 408 */
	int64_t idle_timeout_ms;    /* kept alive without a request (75 s): closed */
	int64_t body_timeout_ms;    /* between two pieces of a body while we read (60 s): 408 */
	int64_t send_timeout_ms;    /* a client that takes no byte for so long while we have some for it (60 s): cut */
	int64_t shutdown_grace_ms;
};

struct listen_settings { /* the keys that every section with `listen` has; embedded in the services' settings structs */
	char *listen;      /* "127.0.0.1:8080", "[::1]:0" */
	char *cert_file, *key_file; /* both or neither */
	char **hosts;      /* NULL-terminated, or NULL: further names under which it may be addressed */
};

struct listener_options {
	const char *name;                    /* "git", "admin": for the `listening` line and labels; copied */
	const struct listen_settings *where; /* borrowed while the call lasts */
	exchange_fn *handle;                 /* runs on a front thread; see exchange.h */
	void *arg;
	/* Invariant 13, checked before handle(): Host must be localhost, a loopback literal or one of `hosts` (421) on
	 * a loopback listener when the request is origin-form; a foreign Origin gives 403 (all but git and mirror
	 * traffic). */
	bool check_host, check_origin;
	/* Accepts http_proxy requests, CONNECT too (its target is then "host:port", and handle() has to answer it);
	 * else absolute-form is answered as origin-form after a Host check (RFC 9112 3.2.2), and CONNECT with 405 by
	 * the front. */
	bool absolute_form;
	bool problem_json;                   /* errors the front itself makes: problem+json instead of text/plain */
};

/* Starts the front threads. 0 or -errno. m may be NULL (tests). */
int server_new(unsigned threads, const struct server_limits *limits, struct metrics *m, struct server **ret);
/* Binds and listens (so that port 0 is settled, and nobody else has the address); who connects waits for server_open(),
 * after which no listener can be added. 0; or a negative code with a sentence for the operator in err (-EADDRINUSE;
 * -EINVAL: certificate unreadable, ...). */
int server_listen(struct server *s, const struct listener_options *o, struct buf *err);
size_t server_listener_count(const struct server *s);
/* "127.0.0.1:8080" as bound */
void server_listener_at(const struct server *s, size_t i, const char **ret_name, char *ret_address, size_t room);
/* Adds what the listener of this name has answered: requests, errors (4xx and 5xx) and how long they took, whatever it
 * was that was asked for. Any thread. */
void server_add_traffic(const struct server *s, const char *name, struct traffic *into);
void server_open(struct server *s);      /* all listeners accept from now on */
void server_set_limits(struct server *s, const struct server_limits *limits); /* live, for new requests */
/* Graceful stop: closes the listeners, lets exchanges under way end, closes idle connections at once; after
 * shutdown_grace_ms cuts what is left. Blocks until no connection is left; true when nothing had to be cut. Not on a
 * front thread. */
bool server_stop(struct server *s);
/* fn(arg) runs in server_stop() when it has cut the clients that were left, on its thread: whoever goes on for a client
 * that is not there any more (a write whose outcome somebody wants to know) is to give up now, as the stop waits for
 * its reply. Before server_open(). arg outlives the stop. */
typedef void server_cut_fn(void *arg);
void server_on_cut(struct server *s, server_cut_fn *fn, void *arg);
void server_free(struct server *s);      /* after server_stop */

#endif
