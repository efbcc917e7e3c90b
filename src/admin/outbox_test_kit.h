/* outbox_test_kit.h -- what the tests of /api/v1/outbox share: the admin listener over a real socket, with a real
 * outbox of two queues: `files`, which a delivery runs, and `solo`, whose entries the tests lend and settle
 * themselves. */
#ifndef WEIR_ADMIN_OUTBOX_TEST_KIT_H
#define WEIR_ADMIN_OUTBOX_TEST_KIT_H

#include "admin/admin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/delivery.h"
#include "io/client.h"
#include "io/file.h"

#define KIT __attribute__((unused)) static

static struct service_instance instances[1];
static struct services services = { .items = instances, .count = 1 };
static struct outbox *ob;
static struct core core = { .version = "9.9", .services = &services, .outbox = &ob };
static struct outbox_queue *files, *solo;
static struct link *l;
static struct delivery *d;
static struct client *client;
static char folder[64];
static int rebase_error, theirs_error;
static struct delivery_theirs theirs_are; /* what the upstream is said to have */
static atomic_bool theirs_hold;           /* it does not answer yet */
static atomic_uint theirs_asked;

/* --- the ground --- */

KIT void carry_nothing(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
}

static int rebase(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct outbox_base *ret,
		  struct buf *err)
{
	if (rebase_error)
		buf_add_str(err, "the line is cut");
	ret->known = true;
	buf_add_str(&ret->etag, "\"now\"");
	return rebase_error;
}

static int theirs(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct delivery_theirs *ret,
		  struct buf *err)
{
	atomic_fetch_add(&theirs_asked, 1);
	while (atomic_load(&theirs_hold))
		usleep(1000);
	if (theirs_error)
		buf_add_str(err, "the line is cut");
	ret->status = theirs_are.status;
	outbox_base_copy(&ret->now, &theirs_are.now);
	ret->body_bytes = theirs_are.body_bytes;
	ret->is_cut = theirs_are.is_cut;
	buf_add_str(&ret->content_type, "text/plain");
	buf_add_slice(&ret->body, buf_slice(&theirs_are.body));
	return theirs_error;
}

KIT void start_link(void)
{
	const struct link_options o = {
		.name = "files",
		.service = "files",
		.url = "http://127.0.0.1:1",
		.enabled = false,
		.connect_timeout_ms = 1000,
		.stall_timeout_ms = 1000,
		.probe_first_ms = 3600000,
		.probe_max_ms = 3600000,
		.probe_patience_ms = 1000,
		.most_workers = 2,
	};

	assert_int_equal(link_new(&o, core.pool, core.metrics, &l), 0);
}

KIT void start_delivery(void)
{
	const struct delivery_options o = { .outbox = ob,
					    .queue = files,
					    .link = l,
					    .pool = core.pool,
					    .metrics = core.metrics,
					    .service = "files",
					    .most_parallel = 2,
					    .retry_first_ms = 1000,
					    .retry_max_ms = 1000,
					    .carry = carry_nothing,
					    .rebase = rebase,
					    .theirs = theirs };

	assert_int_equal(delivery_new(&o, &d), 0);
}

KIT void start_admin(void)
{
	static char listen[] = "127.0.0.1:0";
	static const struct config_admin section = { .listen = { .listen = listen } };
	struct client_options o = {
		.user_agent = "test", .connect_timeout_ms = 5000, .stall_timeout_ms = 5000, .most_idle = 1
	};
	struct buf err = BUF_EMPTY;
	char address[64], url[80];
	const char *name;

	if (admin_service.start(&core, &section, &instances[0].state, &err) < 0)
		fail_msg("%s", err.data);
	instances[0].service = &admin_service;
	server_open(core.server);
	server_listener_at(core.server, 0, &name, address, sizeof(address));
	(void)snprintf(url, sizeof(url), "http://%s", address);
	o.base_url = url;
	assert_int_equal(client_new(&o, &client), 0);
}

KIT int setup(void **state)
{
	static const struct outbox_limits limits = { .keep_settled_ms = 3600000 };
	const struct server_limits server = {
		.connections = 100,
		.header_bytes = 16384,
		.request_body = 1 << 20,
		.header_timeout_ms = 5000,
		.idle_timeout_ms = 5000,
		.body_timeout_ms = 5000,
		.send_timeout_ms = 5000,
		.shutdown_grace_ms = 5000,
	};
	struct buf err = BUF_EMPTY;

	(void)snprintf(folder, sizeof(folder), "/tmp/weir-admin-outbox-XXXXXX");
	assert_non_null(mkdtemp(folder));
	core.metrics = metrics_new();
	services.core = &core;
	assert_int_equal(pool_new(4, &core.pool), 0);
	assert_int_equal(server_new(1, &server, core.metrics, &core.server), 0);
	if (outbox_open(folder, &ob, &err) < 0)
		fail_msg("%s", err.data);
	files = outbox_queue(ob, "files", &limits);
	solo = outbox_queue(ob, "solo", &limits);
	rebase_error = theirs_error = 0;
	start_link();
	start_delivery();
	start_admin();
	return 0;
}

KIT int teardown(void **state)
{
	client_free(client);
	assert_true(server_stop(core.server));
	admin_service.stop(instances[0].state);
	delivery_stop(d);
	delivery_free(d);
	link_free(l);
	outbox_close(ob);
	ob = NULL;
	assert_int_equal(pool_drain(core.pool, 5000), 0);
	server_free(core.server);
	pool_free(core.pool);
	metrics_free(core.metrics);
	delivery_theirs_fini(&theirs_are);
	theirs_are = (struct delivery_theirs){ .body_bytes = 0 };
	return tree_remove(folder);
}

/* --- entries --- */

KIT struct outbox_receipt put(struct outbox_queue *q, const char *key, const char *text)
{
	struct outbox_write w = { .key = slice_str(key),
				  .method = SLICE_LIT("PUT"),
				  .uri = slice_str(key),
				  .headers = SLICE_LIT("Content-Type: text/plain\nX-Twice: 1\nX-Twice: 2\n"),
				  .content_type = SLICE_LIT("text/plain"),
				  .is_base = true,
				  .wants_parent = true,
				  .base = { .known = true, .etag = BUF_EMPTY, .mod_time = 1767323045 },
				  .body = slice_str(text),
				  .expect_tail = OUTBOX_ANY };
	struct outbox_receipt r;

	buf_add_str(&w.base.etag, "\"v1\"");
	assert_int_equal(outbox_put(q, &w, &r), 0);
	outbox_base_fini(&w.base);
	return r;
}

/* The oldest of `solo`, lent. */
KIT uint64_t lend(void)
{
	struct outbox_entry e = { .seq = 0 };
	int64_t next;
	uint64_t seq;

	assert_int_equal(outbox_lend(solo, clock_wall_ms(), &e, &next), 0);
	seq = e.seq;
	outbox_entry_fini(&e);
	return seq;
}

KIT void settle(uint64_t seq, enum outbox_state to)
{
	struct outbox_settlement s = { .to = to,
				       .status = 403,
				       .error = SLICE_LIT("upstream answered 403"),
				       .base = { .known = true, .etag = BUF_EMPTY, .mod_time = 1767323046 },
				       .answer = SLICE_LIT("no \xff way"),
				       .answer_type = SLICE_LIT("text/plain") };

	buf_add_str(&s.base.etag, "W/\"v2\"");
	assert_int_equal(outbox_settle(solo, seq, &s), 0);
	outbox_base_fini(&s.base);
}

/* --- asking --- */

static struct buf body = BUF_EMPTY, head = BUF_EMPTY;
static json_t *json;

KIT int take_head(void *arg, int status, const struct slice *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		buf_add_slice(&head, lines[i]);
		buf_add_char(&head, '\n');
	}
	return 0;
}

KIT int take_data(void *arg, const char *p, size_t n)
{
	buf_add(&body, p, n);
	return 0;
}

/* The status; body, head, and json when it is some. */
KIT int ask(const char *method, const char *path, const char *sent)
{
	const struct client_sink sink = { .on_head = take_head, .on_data = take_data };
	char *target = xstrf("/api/v1/outbox%s", path);
	struct client_request rq = { .method = method,
				     .target = slice_str(target),
				     .body = slice_str(sent),
				     .body_bytes = sent ? (int64_t)strlen(sent) : 0,
				     .total_ms = 20000 };
	struct client_result result;

	buf_reset(&head);
	buf_reset(&body);
	json_decref(json);
	assert_int_equal(client_call(client, &rq, &sink, NULL, &result), 0);
	json = json_loadb(body.data, body.len, 0, NULL);
	free(target);
	return result.status;
}

KIT int ask_of(const char *method, const struct outbox_receipt *r, const char *rest, const char *sent)
{
	char *path = xstrf("/%s%s", r->id, rest);
	int status = ask(method, path, sent);

	free(path);
	return status;
}

KIT void expect_in(const struct buf *where, const char *words)
{
	if (!strstr(where->data, words))
		fail_msg("\"%s\" is not in:\n%s", words, where->data);
}

KIT const char *text(const char *key)
{
	const char *s = json_string_value(json_object_get(json, key));

	if (!s)
		fail_msg("no text %s in:\n%s", key, body.data);
	return s;
}

KIT const char *state_of(const struct outbox_receipt *r)
{
	assert_int_equal(ask_of("GET", r, "", NULL), 200);
	return text("state");
}

KIT size_t items(void)
{
	assert_true(json_is_array(json_object_get(json, "items")));
	return json_array_size(json_object_get(json, "items"));
}

#endif
