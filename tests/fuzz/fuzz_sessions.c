/* fuzz_sessions.c -- every JSON entry point of the session daemon, with a real hub behind it.
 *
 * WHAT     Both services run in this process and speak HTTP over loopback. The first byte chooses the endpoint and
 *          whether the rest is the body as it is, or gets the id of a session in front, so that it reaches what lies
 *          behind that check.
 * WHY      Beside memory errors, the thing to find is what the daemon takes and the hub does not: an operation that
 *          was acknowledged, and can never be delivered.
 * RULES    1. The daemon answers 200, 400, 404 or 413; what it answers with 200 is JSON.
 *          2. All that it took, the hub takes: nothing is held when the queue is empty. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "core/json.h"
#include "core/service.h"
#include "hub/hub_service.h"
#include "io/file.h"
#include "sessions/sessions_service.h"
#include "store/outbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUND 32 /* inputs for one session; then all is delivered and looked at */
#define MOST_WAIT_MS 60000

static const char *const paths[] = { "/register", "/state", "/event", "/metric", "/heartbeat", "/pause_heartbeat",
				     "/resume_heartbeat", "/end" };

static char dir[64];
static struct server *server;
static struct pool *pool;
static struct metrics *metrics;
static struct outbox *outbox;
static struct service_instance items[1], hub_items[1];
static struct services services = { .items = items, .count = 1 }, hub_services = { .items = hub_items, .count = 1 };
static struct core core, hub_core;
static struct config *config, *hub_config;
static int port, fd = -1;
static char session_id[200];
static unsigned in_round;

/* --- the two services ------------------------------------------------------------------------------------------- */

static struct config *load(const char *server_url)
{
	static const struct config_section *sections[3];
	char *data_dir = xstrf("data_dir=%s", dir), *url = xstrf("sessions.server=%s", server_url);
	const char *const sets[] = { data_dir, url, "sessions.listen=127.0.0.1:0", "sessions.batch_interval=1ms",
				     "hub.listen=127.0.0.1:0", NULL };
	struct config_source src = { .file = "/dev/null", .sets = sets, .sections = sections };
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
	struct config *c = NULL;

	sections[0] = sessions_service.section;
	sections[1] = hub_service.section;
	if (config_load(&src, &c, &problems, &warnings) < 0)
		(void)fprintf(stderr, "%s", problems.data);
	ENSURE(c);
	buf_fini(&problems);
	buf_fini(&warnings);
	free(data_dir);
	free(url);
	return c;
}

static void start_one(struct core *c, struct services *all, const struct service *s)
{
	struct buf err = BUF_EMPTY;
	void *state = NULL;

	*c = (struct core){ .config = config, .server = server, .pool = pool, .metrics = metrics, .data_dir = dir,
			    .version = "0", .started_mono_ms = clock_mono_ms(), .started_wall_ms = clock_wall_ms(),
			    .outbox = &outbox, .services = all };
	all->core = c;
	if (s->start(c, config_section(config, s->name), &state, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.data);
	ENSURE(state);
	all->items[0] = (struct service_instance){ s, state };
	buf_fini(&err);
}

static void address_of(size_t i, char *ret, size_t room)
{
	const char *name;

	server_listener_at(server, i, &name, ret, room);
}

/* --- a client --------------------------------------------------------------------------------------------------- */

static void dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ENSURE(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0);
}

static bool read_more(struct buf *in)
{
	char some[16384];
	ssize_t n;

	do {
		n = read(fd, some, sizeof(some));
	} while (n < 0 && errno == EINTR); /* libFuzzer's alarm */
	if (n > 0)
		buf_add(in, some, (size_t)n);
	return n > 0;
}

/* The status; the body of the answer in out. */
static int ask(const char *method, const char *target, struct slice body, struct buf *out)
{
	struct buf text = BUF_EMPTY, in = BUF_EMPTY;
	const char *length, *end;
	size_t head, want;
	int status;

	if (fd < 0)
		dial();
	buf_addf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", method, target, body.n);
	buf_add_slice(&text, body);
	ENSURE(fd_write_all(fd, text.data, text.len) == 0);
	while (!(end = memmem(in.data, in.len, "\r\n\r\n", 4)))
		ENSURE(read_more(&in));
	head = (size_t)(end - in.data) + 4;
	length = strcasestr(in.data, "\r\ncontent-length:");
	ENSURE(length && length < end);
	want = head + strtoul(length + 17, NULL, 10);
	while (in.len < want)
		ENSURE(read_more(&in));
	status = (int)strtol(in.data + strlen("HTTP/1.1 "), NULL, 10);
	buf_reset(out);
	buf_add(out, in.data + head, want - head);
	if (strcasestr(in.data, "\r\nconnection: close"))
		fd_close(&fd);
	buf_fini(&text);
	buf_fini(&in);
	return status;
}

static json_t *must_be_json(const struct buf *text)
{
	json_t *v = NULL;

	ENSURE(json_read(buf_slice(text), 0, &v, NULL) == 0);
	return v;
}

static void begin_session(void)
{
	struct buf answer = BUF_EMPTY;
	json_t *v;

	ENSURE(ask("POST", "/register", slice_str("{\"product\":\"p\",\"version\":\"1\"}"), &answer) == 200);
	v = must_be_json(&answer);
	(void)snprintf(session_id, sizeof(session_id), "%s", json_string_value(json_object_get(v, "session_id")));
	json_decref(v);
	buf_fini(&answer);
}

/* Rule 2. */
static void end_session(void)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	int64_t limit = clock_mono_ms() + MOST_WAIT_MS;
	struct buf text = BUF_EMPTY, answer = BUF_EMPTY;
	long long left = 1, held = 0;

	buf_addf(&text, "/session?session_id=%s", session_id);
	ENSURE(ask("GET", text.data, slice_str(""), &answer) == 200);
	json_decref(must_be_json(&answer));
	buf_reset(&text);
	buf_addf(&text, "{\"session_id\":\"%s\"}", session_id);
	ENSURE(ask("POST", "/end", buf_slice(&text), &answer) == 200);
	while (left && !held && clock_mono_ms() < limit) {
		json_t *q;

		ENSURE(ask("GET", "/queue", slice_str(""), &answer) == 200);
		q = must_be_json(&answer); /* as it is said when it does not come to an end */
		left = (long long)json_integer_value(json_object_get(q, "entries"));
		held = (long long)json_integer_value(json_object_get(q, "held"));
		json_decref(q);
		(void)nanosleep(&pause, NULL);
	}
	if (left || held)
		(void)fprintf(stderr, "%s", answer.data);
	ENSURE(held == 0);
	ENSURE(left == 0);
	buf_fini(&text);
	buf_fini(&answer);
}

/* --- start and stop --------------------------------------------------------------------------------------------- */

static void stop(void)
{
	if (in_round)
		end_session();
	fd_close(&fd);
	(void)server_stop(server);
	sessions_service.stop(items[0].state);
	hub_service.stop(hub_items[0].state);
	(void)pool_drain(pool, 5000);
	outbox_close(outbox);
	server_free(server);
	pool_free(pool);
	metrics_free(metrics);
	config_unref(&config);
	config_unref(&hub_config);
	(void)tree_remove(dir);
}

static void start(void)
{
	struct server_limits limits = { .connections = 64, .header_bytes = 32768, .request_body = 1 << 30,
					.header_timeout_ms = 30000, .idle_timeout_ms = 600000, .body_timeout_ms = 30000,
					.send_timeout_ms = 30000, .shutdown_grace_ms = 1000 };
	char address[128], *url;

	log_configure(LOG_ERROR, LOG_TEXT);
	ENSURE(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	(void)snprintf(dir, sizeof(dir), "%s/weir-fuzz-sessions-%d",
		       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	ENSURE(tree_remove(dir) == 0 && pool_new(16, &pool) == 0);
	metrics = metrics_new();
	ENSURE(server_new(1, &limits, metrics, &server) == 0);
	config = hub_config = load("http://127.0.0.1:1"); /* nobody knows yet where the hub is */
	start_one(&hub_core, &hub_services, &hub_service);
	address_of(0, address, sizeof(address));
	url = xstrf("http://%s", address);
	config = load(url);
	start_one(&core, &services, &sessions_service);
	address_of(1, address, sizeof(address));
	port = (int)strtol(strrchr(address, ':') + 1, NULL, 10);
	server_open(server);
	free(url);
	ENSURE(atexit(stop) == 0);
}

/* --- an input --------------------------------------------------------------------------------------------------- */

static void make_body(const uint8_t *data, size_t size, struct buf *out)
{
	struct slice rest = { (const char *)data + 1, size - 1 };

	if (data[0] & 0x80 || !rest.n || rest.p[0] != '{') {
		buf_add_slice(out, rest);
		return;
	}
	buf_addf(out, "{\"session_id\":\"%s\"", session_id);
	rest = slice_from(rest, 1);
	if (rest.n && rest.p[0] != '}')
		buf_add_char(out, ',');
	buf_add_slice(out, rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf body = BUF_EMPTY, answer = BUF_EMPTY;
	int status;

	if (size < 2)
		return 0;
	if (!server)
		start();
	if (in_round == 0)
		begin_session();
	make_body(data, size, &body);
	status = ask("POST", paths[(data[0] & 0x7f) % ARRAY_LEN(paths)], buf_slice(&body), &answer);
	ENSURE(status == 200 || status == 400 || status == 404 || status == 413);
	if (status == 200)
		json_decref(must_be_json(&answer));
	if (++in_round == ROUND || size >= 4096) {
		end_session();
		in_round = 0;
	}
	buf_fini(&body);
	buf_fini(&answer);
	return 0;
}
