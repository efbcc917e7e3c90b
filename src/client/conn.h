/* conn.h -- the connection to the daemon: loopback TCP, one request and its answer at a time.
 *
 * Used by the sender alone. Nothing waits longer than it is told, nor than stop_at_ms, which another thread may bring
 * forward (and then writes to wake_fd, an eventfd). No signal: MSG_NOSIGNAL. */
#ifndef WEIR_CLIENT_CONN_H
#define WEIR_CLIENT_CONN_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "client/answer.h"

#define WEIRC_ADDRESSES 2 /* "localhost" is both */

struct weirc_address {
	struct sockaddr_storage to[WEIRC_ADDRESSES];
	socklen_t bytes[WEIRC_ADDRESSES];
	unsigned count;
	char host[64]; /* as the field Host says it */
};

/* "127.0.0.1:8079", "[::1]:8079", "localhost:8079". 0, or -EINVAL: it is none, or not loopback. */
int weirc_address_parse(const char *text, struct weirc_address *ret);

struct weirc_conn {
	const struct weirc_address *address;
	int fd, wake_fd;
	const _Atomic int64_t *stop_at_ms; /* monotonic */
	struct weirc_answer answer;
	bool was_sent; /* the last call's request, or a part of it, left */
};

static inline bool weirc_conn_is_open(const struct weirc_conn *c)
{
	return c->fd >= 0;
}

/* 0 or -ECONNREFUSED, -ETIMEDOUT, ... Gives up after patience_ms for each address. */
int weirc_conn_open(struct weirc_conn *c, int64_t patience_ms);
void weirc_conn_close(struct weirc_conn *c);
/* Has the daemon closed it, or said something unasked? Then it is closed here, too. Never blocks. */
bool weirc_conn_look(struct weirc_conn *c);
/* Sends n bytes and reads the answer into c->answer: its status, or a code (-ETIMEDOUT, -ECONNRESET, -EPROTO, ...), and
 * then the connection is closed. Also closed when the answer says so. */
int weirc_conn_call(struct weirc_conn *c, const char *request, size_t n, int64_t patience_ms);
/* Waits until_ms for events on fd (-1: only for the clock), or for wake_fd. 1: fd is ready; 0: woken; -ETIMEDOUT. */
int weirc_wait(const struct weirc_conn *c, int fd, short events, int64_t until_ms);

int64_t weirc_now_ms(void);  /* monotonic: for waiting */
int64_t weirc_told_ms(void); /* goes on while the machine sleeps: for how long ago something was told */

#endif
