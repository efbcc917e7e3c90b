/* front_test_site.h -- for tests of the front: a server with a toy service behind it.
 *
 *	/count   a worker reads the body and counts it        /hold    a worker waits until the client leaves
 *	/echo    the front echoes a small body, or /count     /slow    a worker answers after site.go
 *	/park    parked until the client leaves               /never   a worker answers 401 and does not read the body
 *	/spool   site.spool, which the test appends to        /big     8 MB from memory
 *	/there-and-back  front, worker, front                 /file    site.file, whole, as a spool
 *	/all     a worker reads the body whole, at most 1000 bytes        /raw     the body as sent, by a worker
 *	/facts   what the exchange says about the request       /dated   with a Date of its own, and other headers
 *	/part    site.part_bytes of site.file, from site.part_from on
 *	/length  as for a body of 7 bytes, by exchange_reply_head(), with site.status; /no-length  the same, not known
 *	/figures 403 for pages of other origins                else     the target, as text */
#ifndef WEIR_CORE_FRONT_TEST_SITE_H
#define WEIR_CORE_FRONT_TEST_SITE_H

#include <poll.h>
#include <semaphore.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/front_test_kit.h"
#include "io/loop.h"

static struct {
	struct server *server;
	struct metrics *metrics;
	struct pool *pool;
	struct lane *lane;
	char dir[32];
	_Atomic int gone, cancelled, done_whole, done_cut;
	sem_t entered, go; /* /hold and the spools: the handler has come there, and may go on */
	struct spool *_Atomic spool;
	int file;
	int64_t file_bytes;
	uint64_t part_from, part_bytes;
	int status;
} site;

/* --- the toy service --- */

KIT void on_done(void *arg, int status, uint64_t bytes, bool whole)
{
	atomic_fetch_add(whole ? &site.done_whole : &site.done_cut, 1);
}

KIT void count_body(struct exchange *ex)
{
	char piece[10000];
	uint64_t total = 0, sum = 0;
	ssize_t n;

	while ((n = exchange_body_read(ex, piece, sizeof(piece))) > 0) {
		total += (uint64_t)n;
		for (ssize_t i = 0; i < n; i++)
			sum += (unsigned char)piece[i];
	}
	if (n < 0)
		exchange_reply_body_error(ex, (int)n);
	else
		exchange_reply_text(ex, 200, "%llu bytes, sum %llu", (unsigned long long)total,
				    (unsigned long long)sum);
}

KIT void hold(struct exchange *ex)
{
	struct cancel *c = exchange_cancel(ex);
	struct pollfd p = { cancel_fd(c), POLLIN, 0 };

	sem_post(&site.entered);
	if (poll(&p, 1, LIMIT_MS) == 1 && cancel_fired(c) && exchange_gone(ex))
		atomic_fetch_add(&site.cancelled, 1);
	exchange_reply_text(ex, 200, "nobody reads this");
}

KIT void slow(struct exchange *ex)
{
	sem_post(&site.entered);
	sem_wait(&site.go);
	exchange_reply_text(ex, 200, "slow");
}

KIT void never_reads(struct exchange *ex)
{
	exchange_reply_text(ex, 401, "no");
}

KIT void send_spool(struct exchange *ex)
{
	struct spool *s;
	bool known = slice_eq_str(exchange_target(ex), "/spool-known");

	struct spool *before = site.spool;

	ENSURE(spool_new(site.dir, 0, &s) == 0);
	spool_unref(&before);
	site.spool = spool_ref(s);
	exchange_reply_spool(ex, 200, NULL, 0, s, known ? 10 : -1);
	sem_post(&site.entered);
}

KIT void on_front_again(struct exchange *ex)
{
	ENSURE(loop_is_front());
	exchange_reply_text(ex, 200, "front, worker, front");
}

KIT void pass_back(struct exchange *ex)
{
	ENSURE(pool_is_worker());
	exchange_resume_front(ex, on_front_again);
}

KIT void on_gone(void *arg)
{
	atomic_fetch_add(&site.gone, 1);
	exchange_reply_dropped(arg);
}

KIT void park(struct exchange *ex)
{
	ENSURE(exchange_set_gone_hook(ex, on_gone, ex));
	sem_post(&site.entered);
}

KIT void echo_peek(struct exchange *ex)
{
	struct slice body;
	int r = exchange_body_peek(ex, &body);

	if (r == -EAGAIN)
		exchange_to_worker(ex, site.lane, count_body);
	else if (r < 0)
		exchange_reply_body_error(ex, r);
	else
		exchange_reply(ex, 200, NULL, 0, blob_new_copy(body.p, body.n));
}

KIT void big(struct exchange *ex)
{
	struct buf b = BUF_EMPTY;

	memset(buf_reserve(&b, 8000000), 'x', 8000000);
	b.len = 8000000;
	exchange_reply(ex, 200, NULL, 0, blob_new_take(&b));
}

KIT void echo_raw(struct exchange *ex)
{
	struct buf b = BUF_EMPTY;
	char piece[100];
	ssize_t n;

	while ((n = exchange_body_read_raw(ex, piece, sizeof(piece))) > 0)
		buf_add(&b, piece, (size_t)n);
	if (n < 0)
		exchange_reply_body_error(ex, (int)n);
	else
		exchange_reply(ex, 200, NULL, 0, blob_new_take(&b));
	buf_fini(&b);
}

KIT void echo_all(struct exchange *ex)
{
	struct buf b = BUF_LIMIT(1000);
	int r = exchange_body_read_all(ex, &b);

	if (r < 0)
		exchange_reply_body_error(ex, r);
	else
		exchange_reply(ex, 200, NULL, 0, blob_new_take(&b));
	buf_fini(&b);
}

KIT void tell_facts(struct exchange *ex)
{
	struct slice name, value, x = exchange_header(ex, "x-two");
	char *mine = arena_dup(exchange_arena(ex), SLICE_LIT("arena"));

	ENSURE(exchange_data(ex) == NULL && exchange_service_arg(ex) == &site && exchange_started_us(ex) > 0);
	exchange_set_data(ex, mine);
	exchange_set_service_arg(ex, mine);
	ENSURE(exchange_data(ex) == mine && exchange_service_arg(ex) == mine);
	ENSURE(!exchange_header(ex, "absent").p);
	exchange_header_at(ex, exchange_header_count(ex) - 1, &name, &value);
	exchange_reply_problem(ex, 418, "a \"title\"", "%s %s %.*s=%.*s two=%.*s body %lld%s from %.10s",
			       (char *)exchange_data(ex), exchange_id(ex), (int)name.n, name.p, (int)value.n, value.p,
			       (int)x.n, x.p, (long long)exchange_body_announced(ex),
			       exchange_body_is_encoded(ex) ? " packed" : "", exchange_peer(ex));
}

KIT void send_file(struct exchange *ex)
{
	struct spool *s;

	ENSURE(spool_new_complete_take(dup(site.file), (uint64_t)site.file_bytes, &s) == 0);
	exchange_reply_spool(ex, 200, NULL, 0, s, site.file_bytes);
}

KIT void send_part(struct exchange *ex)
{
	struct spool *s;

	ENSURE(spool_new_complete_take(dup(site.file), (uint64_t)site.file_bytes, &s) == 0);
	exchange_reply_spool_part(ex, 206, NULL, 0, s, site.part_from, site.part_bytes);
}

KIT void send_dated(struct exchange *ex)
{
	static const struct header_line lines[] = {
		{ "date", "Sun, 06 Nov 1994 08:49:37 GMT" },
		{ "Content-Encoding", "gzip" },
		{ "X-Empty", "" },
	};

	exchange_reply(ex, 200, lines, ARRAY_LEN(lines), blob_new_copy("dated", 5));
}

KIT void handle(struct exchange *ex)
{
	struct slice t = exchange_target(ex);

	exchange_set_done_hook(ex, on_done, NULL);
	if (slice_eq_str(exchange_method(ex), "CONNECT"))
		exchange_reply_text(ex, 405, "git config --global url.<base>.insteadOf");
	else if (slice_eq_str(t, "/count"))
		exchange_to_worker(ex, site.lane, count_body);
	else if (slice_eq_str(t, "/hold"))
		exchange_to_worker(ex, site.lane, hold);
	else if (slice_eq_str(t, "/slow"))
		exchange_to_worker(ex, site.lane, slow);
	else if (slice_eq_str(t, "/never"))
		exchange_to_worker(ex, site.lane, never_reads);
	else if (slice_starts(t, "/spool"))
		exchange_to_worker(ex, site.lane, send_spool);
	else if (slice_eq_str(t, "/there-and-back"))
		exchange_to_worker(ex, site.lane, pass_back);
	else if (slice_eq_str(t, "/park"))
		park(ex);
	else if (slice_eq_str(t, "/echo"))
		echo_peek(ex);
	else if (slice_eq_str(t, "/big"))
		big(ex);
	else if (slice_eq_str(t, "/all"))
		exchange_to_worker(ex, site.lane, echo_all);
	else if (slice_eq_str(t, "/raw"))
		exchange_to_worker(ex, site.lane, echo_raw);
	else if (slice_eq_str(t, "/facts"))
		tell_facts(ex);
	else if (slice_eq_str(t, "/file"))
		send_file(ex);
	else if (slice_eq_str(t, "/figures") && exchange_refuse_foreign(ex))
		return;
	else if (slice_eq_str(t, "/part"))
		send_part(ex);
	else if (slice_eq_str(t, "/dated"))
		send_dated(ex);
	else if (slice_eq_str(t, "/length") || slice_eq_str(t, "/no-length"))
		exchange_reply_head(ex, site.status, NULL, 0, slice_eq_str(t, "/length") ? 7 : -1);
	else if (slice_eq_str(t, "/nothing"))
		exchange_reply(ex, 204, NULL, 0, NULL);
	else
		exchange_reply_text(ex, 200, "%.*s", (int)t.n, t.p);
}

/* --- the stage --- */

static bool site_problem_json;  /* for the next start */
static exchange_fn *site_handle; /* in place of the toy service */

KIT void start_with(const struct server_limits *limits, struct listen_settings where, bool absolute_form)
{
	struct listener_options o = {
		.name = "toy",
		.where = &where,
		.handle = site_handle ? site_handle : handle,
		.arg = &site,
		.problem_json = site_problem_json,
		.check_host = true,
		.check_origin = !absolute_form,
		.absolute_form = absolute_form,
	};
	struct buf err = BUF_EMPTY;
	const char *name;
	char address[64];

	memset(&site, 0, sizeof(site));
	sem_init(&site.entered, 0, 0);
	sem_init(&site.go, 0, 0);
	(void)snprintf(site.dir, sizeof(site.dir), "/tmp/weir-front-XXXXXX");
	assert_non_null(mkdtemp(site.dir));
	site.metrics = metrics_new();
	assert_int_equal(pool_new(8, &site.pool), 0);
	site.lane = lane_new(site.pool, NULL, 8);
	assert_int_equal(server_new(2, limits, site.metrics, &site.server), 0);
	assert_int_equal(server_listen(site.server, &o, &err), 0);
	server_listener_at(site.server, 0, &name, address, sizeof(address));
	assert_string_equal(name, "toy");
	kit_port = (int)strtol(strrchr(address, ':') + 1, NULL, 10);
	assert_true(kit_port > 0);
	server_open(site.server);
	buf_fini(&err);
}

KIT void start(void)
{
	start_with(&usual, (struct listen_settings){ .listen = (char[]){ "127.0.0.1:0" } }, false);
}

KIT bool stop(void)
{
	bool clean = server_stop(site.server);

	server_free(site.server);
	metrics_free(site.metrics);
	lane_unref(&site.lane);
	assert_int_equal(pool_drain(site.pool, LIMIT_MS), 0);
	pool_free(site.pool);
	if (site.spool) {
		struct spool *s = site.spool;

		spool_unref(&s);
	}
	assert_int_equal(rmdir(site.dir), 0);
	return clean;
}

/* Whether the line stands in the metrics: `weir_x{a="b"} 1`. */
KIT bool metrics_say(const char *line)
{
	struct buf b = BUF_EMPTY;
	char wanted[200];
	bool found;

	(void)snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	metrics_render(site.metrics, &b);
	found = strstr(b.data, wanted) != NULL;
	buf_fini(&b);
	return found;
}

#endif
