/* client_test_kit.h -- small servers that misbehave, each a thread of the test, and calls that gather what came of it.
 *
 * A server runs its script for each connection in turn; scripts read requests and write bytes as the case wants. */
#ifndef WEIR_IO_CLIENT_TEST_KIT_H
#define WEIR_IO_CLIENT_TEST_KIT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/client.h"

/* --- servers ---------------------------------------------------------------------------------------------------- */

struct server {
	pthread_t thread;
	int fd, port;
	void (*script)(struct server *sv, int conn, unsigned nth); /* nth: from 0 */
	const char *answer;          /* for the simple scripts */
	struct buf seen;             /* all requests, as they came; changed and read elsewhere under the lock */
	size_t told;                 /* how much of it server_seen() gave */
	_Atomic unsigned connections;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool may_go_on;              /* server_hold() waits for it */
};

static inline void *server_main(void *arg)
{
	struct server *sv = arg;

	for (unsigned nth = 0;; nth++) {
		int conn = accept4(sv->fd, NULL, NULL, SOCK_CLOEXEC);
		if (conn < 0)
			return NULL; /* shut down */
		atomic_fetch_add(&sv->connections, 1);
		sv->script(sv, conn, nth);
		close(conn);
	}
}

static inline int listen_loopback(int backlog, int *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ENSURE(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, backlog) == 0);
	ENSURE(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static inline void server_start(struct server *sv, void (*script)(struct server *, int, unsigned), const char *answer)
{
	*sv = (struct server){ .script = script, .answer = answer, .seen = BUF_EMPTY,
			       .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	sv->fd = listen_loopback(16, &sv->port);
	ENSURE(pthread_create(&sv->thread, NULL, server_main, sv) == 0);
}

static inline void server_release(struct server *sv)
{
	pthread_mutex_lock(&sv->lock);
	sv->may_go_on = true;
	pthread_cond_broadcast(&sv->changed);
	pthread_mutex_unlock(&sv->lock);
}

static inline void server_stop(struct server *sv)
{
	server_release(sv);
	shutdown(sv->fd, SHUT_RDWR);
	pthread_join(sv->thread, NULL);
	close(sv->fd);
	buf_fini(&sv->seen);
}

/* Says nothing more until the test lets it go on. */
static inline void server_hold(struct server *sv)
{
	pthread_mutex_lock(&sv->lock);
	while (!sv->may_go_on)
		pthread_cond_wait(&sv->changed, &sv->lock);
	pthread_mutex_unlock(&sv->lock);
}

static inline void say(int conn, const char *text)
{
	(void)send(conn, text, strlen(text), MSG_NOSIGNAL); /* the client may have left */
}

/* Reads one request (head and a body by Content-Length or chunked). False when the client left. */
static inline bool hear(struct server *sv, int conn)
{
	size_t start = sv->seen.len, head_end = 0, want = 0;
	bool is_chunked = false;
	char chunk[8192];

	for (;;) {
		const char *at = sv->seen.data + start, *end = strstr(at, "\r\n\r\n"), *len;
		ssize_t n;
		if (end && !head_end) {
			head_end = (size_t)(end + 4 - at);
			len = strstr(at, "Content-Length: ");
			want = head_end + (len && len < end ? strtoul(len + 16, NULL, 10) : 0);
			is_chunked = strstr(at, "Transfer-Encoding: chunked") != NULL;
		}
		if (head_end && !is_chunked && sv->seen.len - start >= want)
			return true;
		if (head_end && is_chunked && strstr(at + head_end - 2, "\r\n0\r\n\r\n"))
			return true;
		n = recv(conn, chunk, sizeof(chunk), 0);
		if (n <= 0)
			return false;
		pthread_mutex_lock(&sv->lock);
		buf_add(&sv->seen, chunk, (size_t)n);
		pthread_mutex_unlock(&sv->lock);
	}
}

/* What was requested since the last time. */
static inline const char *server_seen(struct server *sv)
{
	static struct buf copy = BUF_EMPTY;

	buf_reset(&copy);
	pthread_mutex_lock(&sv->lock);
	buf_add_str(&copy, sv->seen.data + sv->told);
	sv->told = sv->seen.len;
	pthread_mutex_unlock(&sv->lock);
	return copy.data;
}

/* Reads until the client closes, so that a cut of ours is a FIN and not an RST. */
static inline void finish(int conn)
{
	char c[4096];

	shutdown(conn, SHUT_WR);
	while (recv(conn, c, sizeof(c), 0) > 0)
		;
}

static inline void answer_each(struct server *sv, int conn, unsigned nth)
{
	while (hear(sv, conn))
		say(conn, sv->answer);
}

static inline void answer_and_close(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	finish(conn);
}

static inline void answer_and_hold(struct server *sv, int conn, unsigned nth)
{
	if (hear(sv, conn))
		say(conn, sv->answer);
	server_hold(sv);
}

/* --- calls ------------------------------------------------------------------------------------------------------ */

struct got {
	int status, head_calls, head_return, data_return;
	struct buf head, body;
	struct client_result result;
};

static inline int got_head(void *arg, int status, const struct slice *headers, size_t header_count)
{
	struct got *g = arg;

	g->head_calls++;
	g->status = status;
	for (size_t i = 0; i < header_count; i++) {
		buf_add_slice(&g->head, headers[i]);
		buf_add_char(&g->head, '\n');
	}
	return g->head_return;
}

static inline int got_data(void *arg, const char *p, size_t n)
{
	struct got *g = arg;

	buf_add(&g->body, p, n);
	return g->data_return;
}

#define GOT_EMPTY { .head = BUF_EMPTY, .body = BUF_EMPTY }

static inline void got_reset(struct got *g)
{
	buf_fini(&g->head);
	buf_fini(&g->body);
	*g = (struct got)GOT_EMPTY;
}

static inline struct client *client_to(const char *scheme, int port)
{
	char *url = xstrf("%s://127.0.0.1:%d/base/", scheme, port);
	struct client_options o = { .base_url = url, .user_agent = "weir/test", .connect_timeout_ms = 10000,
				    .stall_timeout_ms = 10000, .most_idle = 4 };
	struct client *c;

	assert_int_equal(client_new(&o, &c), 0);
	free(url);
	return c;
}

static inline struct client *client_with_stall(int port, int stall_ms)
{
	char *url = xstrf("http://127.0.0.1:%d", port);
	struct client_options o = {
		.base_url = url, .connect_timeout_ms = 10000, .stall_timeout_ms = stall_ms, .most_idle = 4
	};
	struct client *c;

	assert_int_equal(client_new(&o, &c), 0);
	free(url);
	return c;
}

static inline struct client_request get(const char *target)
{
	return (struct client_request){ .method = "GET", .target = slice_str(target), .first_byte_ms = 10000 };
}

static inline int call(struct client *c, struct client_request rq, struct cancel *cancel, struct got *g)
{
	struct client_sink sink = { got_head, got_data, g };

	return client_call(c, &rq, &sink, cancel, &g->result);
}

/* One GET of one answer by one script: what becomes of it. */
static inline int outcome_of(void (*script)(struct server *, int, unsigned), const char *answer, int first_byte_ms,
		      int stall_ms, struct got *g)
{
	struct server sv;
	struct client *c;
	struct client_request rq = get("/");
	int r;

	server_start(&sv, script, answer);
	c = client_with_stall(sv.port, stall_ms);
	rq.first_byte_ms = first_byte_ms;
	got_reset(g);
	r = call(c, rq, NULL, g);
	client_free(c);
	server_stop(&sv);
	return r;
}

static inline void refuse_early(struct server *sv, int conn, unsigned nth)
{
	char c[1000];

	(void)recv(conn, c, sizeof(c), 0);
	say(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
	finish(conn);
}

#endif
