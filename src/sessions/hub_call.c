/* hub_call.c -- requests to the server: its key, gzip, and what it can do.
 *
 * RULES    1. The key is read again when its file changes, looked at once a second at most; it is never logged
 *          (invariant 10).
 *          2. Batches are sent only to a server whose /health says that it takes them; asked again after each time it
 *             was away, as it may have become another one. */
#include <zlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/secret.h"
#include "proto/httpdate.h"
#include "proto/url.h"
#include "sessions/answers.h"
#include "sessions/sessions_priv.h"

#define LOOK_AGAIN_MS  1000
#define TOTAL_MS       30000
#define HEALTH_MS      5000
#define MOST_HEALTH    65536

/* --- the key ---------------------------------------------------------------------------------------------------- */

void hub_key_free(struct sessions *ss)
{
	secret_free(ss->key);
	ss->key = NULL;
}

/* Under key_lock. */
static void read_key(struct sessions *ss, const char *path)
{
	struct buf why = BUF_EMPTY;

	buf_reset(&ss->key_seen);
	secret_fingerprint(path, &ss->key_seen);
	hub_key_free(ss);
	if (secret_read(path, &ss->key, &why) < 0)
		log_event(LOG_ERROR, "secret_not_read", LOG_STR("service", "sessions"), LOG_STR("file", path),
			  LOG_STR("why", why.data), LOG_END);
	buf_fini(&why);
}

bool hub_key_changed(struct sessions *ss)
{
	const char *path = sessions_config(ss)->api_key_file;
	struct buf now = BUF_EMPTY;
	bool changed;

	if (!path)
		return false;
	secret_fingerprint(path, &now);
	pthread_mutex_lock(&ss->key_lock);
	changed = !slice_eq(buf_slice(&now), buf_slice(&ss->key_seen));
	pthread_mutex_unlock(&ss->key_lock);
	buf_fini(&now);
	return changed;
}

/* Adds the header line, if there is a key. */
static void add_key(struct sessions *ss, struct buf *out)
{
	const char *path = sessions_config(ss)->api_key_file;
	int64_t now = clock_mono_ms();
	bool stale;

	if (!path)
		return;
	stale = hub_key_changed(ss);
	pthread_mutex_lock(&ss->key_lock);
	if (!ss->key_looked_mono_ms || (stale && now - ss->key_looked_mono_ms >= LOOK_AGAIN_MS)) {
		read_key(ss, path);
		ss->key_looked_mono_ms = now;
	}
	if (ss->key)
		buf_addf(out, "Authorization: Bearer %s", ss->key);
	pthread_mutex_unlock(&ss->key_lock);
}

/* --- one request ------------------------------------------------------------------------------------------------ */

static bool gzip(struct slice in, struct buf *out)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)in.n };
	uLong room;
	bool ok;

	if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) /* 16: a gzip header */
		return false;
	room = deflateBound(&z, (uLong)in.n);
	z.next_out = (Bytef *)buf_reserve(out, room);
	z.avail_out = (uInt)room;
	ok = deflate(&z, Z_FINISH) == Z_STREAM_END;
	if (ok)
		out->len += z.total_out;
	(void)deflateEnd(&z); /* what it says is known */
	return ok;
}

struct receiving {
	struct hub_answer *answer;
	size_t most;
};

static int on_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct receiving *in = arg;

	in->answer->status = status;
	in->answer->retry_after_ms = httpdate_retry_after_ms(client_header(headers, n, "retry-after"), clock_wall_ms(),
							     DELIVERY_RETRY_AFTER_MOST_MS);
	buf_reset(&in->answer->body);
	return 0;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct receiving *in = arg;

	if (n > in->most - in->answer->body.len)
		return WEIR_E_TOO_LARGE;
	buf_add(&in->answer->body, p, n);
	return 0;
}

int hub_call(struct sessions *ss, const char *method, const char *target, struct slice body, int64_t total_ms,
	     size_t most, struct cancel *cancel, struct hub_answer *ret)
{
	struct receiving in = { ret, most };
	const struct client_sink sink = { on_head, on_data, &in };
	struct buf key = BUF_EMPTY, packed = BUF_EMPTY;
	struct slice lines[4];
	struct client_request rq = { .method = method,
				     .target = slice_str(target),
				     .headers = lines,
				     .body = body,
				     .body_bytes = (int64_t)body.n,
				     .total_ms = total_ms ? total_ms : TOTAL_MS };
	struct client_result result;
	int r;

	add_key(ss, &key);
	if (key.len)
		lines[rq.header_count++] = buf_slice(&key);
	if (body.p) {
		lines[rq.header_count++] = SLICE_LIT("Content-Type: application/json");
		if (sessions_config(ss)->compression && gzip(body, &packed)) {
			lines[rq.header_count++] = SLICE_LIT("Content-Encoding: gzip");
			rq.body = buf_slice(&packed);
			rq.body_bytes = (int64_t)packed.len;
		}
	}
	r = link_call(ss->link, &rq, &sink, cancel, &result);
	if (key.cap)
		explicit_bzero(key.data, key.len);
	buf_fini(&key);
	buf_fini(&packed);
	return r;
}

void hub_target(struct buf *out, const char *hub_id, const char *path)
{
	buf_add_str(out, "/api/sessions/");
	url_encode(out, slice_str(hub_id), "");
	buf_add_str(out, path);
}

/* --- what it can do --------------------------------------------------------------------------------------------- */

int hub_takes_batches(struct sessions *ss, struct cancel *cancel)
{
	struct hub_answer a = HUB_ANSWER_EMPTY;
	int known = atomic_load(&ss->batches), r;

	if (known)
		return known > 0;
	r = hub_call(ss, "GET", "/health", (struct slice){ NULL, 0 }, HEALTH_MS, MOST_HEALTH, cancel, &a);
	if (r == 0 && (a.status >= 500 || a.status == 429))
		r = WEIR_E_STATUS;
	if (r == 0) {
		known = a.status == 200 && answer_takes_batches(buf_slice(&a.body)) ? 1 : -1;
		atomic_store(&ss->batches, known);
		r = known > 0;
	}
	buf_fini(&a.body);
	return r;
}
