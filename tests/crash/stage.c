/* stage.c -- see stage.h. */
#include "stage.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

#define ANSWER_LIMIT_S 30

static void load_config(struct stage *st)
{
	const struct config_section *const sections[] = { st->service->section, NULL };
	const struct config_source src = { .file = "/dev/null", .sets = st->sets, .sections = sections };
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

	EXPECT(st->run, config_load(&src, &st->config, &problems, &warnings) == 0, "%s", problems.data);
	buf_fini(&problems);
	buf_fini(&warnings);
}

int stage_open(struct stage *st, struct buf *err)
{
	static const struct server_limits limits = { .connections = 16,
						     .header_bytes = 8192,
						     .request_body = 4 << 20,
						     .header_timeout_ms = 60000,
						     .idle_timeout_ms = 60000,
						     .body_timeout_ms = 60000,
						     .send_timeout_ms = 60000 };
	const char *name;
	int r;

	if (!st->config)
		load_config(st);
	st->outbox = NULL;
	st->core = (struct core){
		.config = st->config, .data_dir = st->run->dir, .outbox = &st->outbox, .version = "test"
	};
	ENSURE(pool_new(4, &st->core.pool) == 0);
	st->core.metrics = metrics_new();
	ENSURE(server_new(1, &limits, st->core.metrics, &st->core.server) == 0);
	r = st->service->start(&st->core, config_section(st->config, st->service->section->name), &st->state, err);
	if (r < 0) {
		st->state = NULL;
		stage_close(st);
		return r;
	}
	server_listener_at(st->core.server, 0, &name, st->address, sizeof(st->address));
	server_open(st->core.server);
	return 0;
}

void stage_open_somehow(struct stage *st)
{
	struct buf err = BUF_EMPTY;
	int r = stage_open(st, &err);

	if (r < 0) {
		disk_heal();
		buf_reset(&err);
		r = stage_open(st, &err);
	}
	EXPECT(st->run, r == 0, "does not start on a sound disk: %s", err.data);
	buf_fini(&err);
}

void stage_close(struct stage *st)
{
	(void)server_stop(st->core.server);
	if (st->state)
		st->service->stop(st->state);
	st->state = NULL;
	ENSURE(pool_drain(st->core.pool, 10000) == 0);
	outbox_close(st->outbox);
	st->outbox = NULL;
	server_free(st->core.server);
	pool_free(st->core.pool);
	metrics_free(st->core.metrics);
}

/* --- the client ------------------------------------------------------------------------------------------------- */

static int dial(struct stage *st)
{
	const struct timeval limit = { .tv_sec = ANSWER_LIMIT_S };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons((uint16_t)strtoul(strrchr(st->address, ':') + 1, NULL, 10));
	ENSURE(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	EXPECT(st->run, connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "nobody listens at %s", st->address);
	return fd;
}

int stage_ask(struct stage *st, const char *method, const char *target, const char *body, struct buf *ret)
{
	struct buf head = BUF_EMPTY, answer = BUF_EMPTY;
	int fd = dial(st), status;
	const char *at;
	ssize_t n;

	buf_addf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\n", method,
		 target, st->address);
	if (body)
		buf_addf(&head, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	else
		buf_add_str(&head, "\r\n");
	ENSURE(send(fd, head.data, head.len, MSG_NOSIGNAL) == (ssize_t)head.len);
	while ((n = recv(fd, buf_reserve(&answer, 65536), 65536, 0)) > 0)
		answer.len += (size_t)n;
	buf_add_char(&answer, '\0'); /* strstr() below */
	(void)close(fd);
	at = strstr(answer.data, "\r\n\r\n");
	EXPECT(st->run, n == 0 && at && slice_starts(buf_slice(&answer), "HTTP/1.1 "), "no answer to %s %s: %s", method,
	       target, answer.data);
	status = (int)strtol(answer.data + strlen("HTTP/1.1 "), NULL, 10);
	buf_reset(ret);
	buf_add_str(ret, at + 4);
	buf_fini(&head);
	buf_fini(&answer);
	return status;
}
