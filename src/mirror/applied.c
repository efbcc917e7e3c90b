/* applied.c -- see applied.h.
 *
 * WHAT     After a PUT: a strong ETag in the answer is the validator of what was sent (RFC 9110 9.3.4), and what is
 *          stored is fetched anew in the background. Without one (nginx, Apache) it has to be looked for: a small
 *          content is read back and compared, of a large one the length is compared, and our own bytes are stored under
 *          the head that upstream gives them, as a poor line should carry them once, not twice.
 * WHY      A site wants to read in the next outage what it wrote, and a write queued on top must not conflict with our
 *          own.
 * RULES    If somebody else wrote in between, small contents show it: the next write is then based on something that
 *          upstream no longer has, and becomes a conflict, as it should. For large ones with equal length there is a
 *          window of one round trip. */
#include "mirror/applied.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "mirror/invalidate.h"
#include "mirror/look.h"
#include "mirror/vary.h"

#define READ_BACK_BYTES (64 * 1024) /* contents up to this are read back whole */
#define NEVER_MATCHES "\"weir-overwritten\""
#define MOST_LINES 512

struct dropping {
	struct mirror *m;
	bool is_asked, with_members;
};

/* A collection is mostly named without a '/' as well, and then looks like a file without a suffix; to look through the
 * whole cache for members of every file that is deleted would cost too much. */
static bool may_have_members(struct slice target)
{
	size_t n = target.n;

	while (n && target.p[n - 1] != '/' && target.p[n - 1] != '.')
		n--;
	return n && target.p[n - 1] == '/';
}

static void drop_members(struct cache *c, struct slice target)
{
	struct buf prefix = BUF_EMPTY;

	buf_add_slice(&prefix, target);
	if (!slice_ends(target, "/"))
		buf_add_char(&prefix, '/');
	(void)cache_drop_prefix(c, buf_slice(&prefix)); /* how many is for people */
	buf_fini(&prefix);
}

static void drop(void *arg, struct slice target)
{
	struct dropping *d = arg;

	d->is_asked = true;
	(void)cache_drop(d->m->cache, target); /* if there is none now, its row may still be on its way out */
	if (d->with_members && may_have_members(target))
		drop_members(d->m->cache, target);
}

/* RFC 4918 9.6.1, 9.8, 9.9: on a collection they act on all that is in it. */
static bool is_for_members_too(struct slice method)
{
	return slice_eq_str(method, "DELETE") || slice_eq_str(method, "MOVE") || slice_eq_str(method, "COPY");
}

static size_t cut_head(struct slice head, struct slice cut[MOST_LINES])
{
	size_t n = httplines_cut(head, cut, MOST_LINES);

	return n < MOST_LINES ? n : MOST_LINES;
}

/* Beyond RFC 9111 4.4: what is refused as it is not there, or not what it was, is not what is stored; who reads it
 * again before the next try would else get the same as before, and be refused again. */
static int meaning_of(const struct applied *a)
{
	bool is_gone = slice_eq_str(a->method, "DELETE") && (a->status == 404 || a->status == 410);

	return is_gone || a->status == 412 ? 204 : a->status;
}

void applied_invalidate(struct mirror *m, const struct applied *a)
{
	struct slice cut[MOST_LINES];
	const struct httplines h = { cut, cut_head(a->head, cut) };
	struct dropping d = { .m = m, .with_members = is_for_members_too(a->method) };
	struct slice path;

	invalidate_after(a->method, meaning_of(a), slice_str(m->origin), a->target, &h, drop, &d);
	if (a->destination.p && a->status < 300 && mirror_own_path(m, a->destination, &path) && path.n)
		drop(&d, path);
	if (d.is_asked)
		(void)cache_sync_drops(m->cache); /* else a power cut might bring it back, while it seems fresh */
}

/* What upstream says of it now, with our bytes or those read back (one of body and file), goes into the cache if a GET
 * without any header field of the client's would have. epoch: from before upstream was asked. */
static void store(struct mirror *m, const struct applied *a, const struct look *k, struct spool *file, uint64_t epoch)
{
	struct slice cut[MOST_LINES];
	const struct httplines h = { cut, cut_head(buf_slice(&k->head), cut) }, none = { NULL, 0 };
	struct stored_parts parts = { .key = a->target,
				      .head = buf_slice(&k->head),
				      .status = 200,
				      .request_wall_ms = k->request_wall_ms,
				      .response_wall_ms = k->response_wall_ms };
	struct policy_request rq;
	struct policy_response rs;
	struct stored *s = NULL;
	struct buf vary = BUF_EMPTY;

	policy_request_read(SLICE_LIT("GET"), &none, &rq);
	policy_response_read(200, &h, k->response_wall_ms / 1000, &rs);
	if (policy_may_store(&rq, &rs, NULL) == POLICY_KEEP_SHARED && vary_key(&h, &none, &vary) == 0) {
		parts.vary_key = buf_slice(&vary);
		parts.file = file ? spool_ref(file) : NULL;
		parts.body = file ? NULL : blob_new_copy(k->body.data, k->body.len);
		parts.body_bytes = file ? a->body_bytes : k->body.len;
		parts.body_crc = file ? a->body_crc : 0;
		if (stored_new(&parts, &s) == 0)
			(void)cache_put(m->cache, s, epoch); /* else it is fetched when it is asked for */
		stored_unref(&s);
	}
	buf_fini(&vary);
}

/* Whether that is what was written: 1, 0, or -errno when ours cannot be read, which says nothing. */
static int is_same(const struct applied *a, const struct look *k)
{
	char ours[4096];
	size_t at = 0;

	if (k->status != 200 || k->is_encoded || k->body.len != a->body_bytes)
		return 0;
	while (at < k->body.len) {
		ssize_t got = pread(spool_fd(a->body), ours, sizeof(ours), (off_t)at);

		if (got <= 0)
			return got < 0 ? -errno : WEIR_E_DAMAGED;
		if (memcmp(ours, k->body.data + at, (size_t)got) != 0)
			return 0;
		at += (size_t)got;
	}
	return 1;
}

static void overwritten(struct outbox_base *ret)
{
	ret->known = true;
	ret->absent = false;
	buf_reset(&ret->etag);
	buf_add_str(&ret->etag, NEVER_MATCHES);
	ret->mod_time = 0;
}

static void read_back(struct mirror *m, const struct applied *a, struct cancel *cancel, struct outbox_base *ret)
{
	uint64_t epoch = cache_epoch(m->cache, a->target);
	struct look k;

	look_init(&k, READ_BACK_BYTES);
	if (look_at(m, "GET", a->target, cancel, &k) == 0 && k.now.known) {
		int same = is_same(a, &k);

		if (k.status == 200)
			store(m, a, &k, NULL, epoch);
		if (ret && same > 0)
			outbox_base_copy(ret, &k.now);
		else if (ret && same == 0)
			overwritten(ret); /* else it stays unknown, as when nobody could be asked */
	}
	look_fini(&k);
}

static void look_back(struct mirror *m, const struct applied *a, struct slice put_etag, struct cancel *cancel,
		      struct outbox_base *ret)
{
	uint64_t epoch = cache_epoch(m->cache, a->target);
	struct look k;

	look_init(&k, 0);
	if (look_at(m, "HEAD", a->target, cancel, &k) == 0 && k.now.known) {
		bool ours = k.status == 200 && !k.is_encoded && !a->is_encoded && k.length == (int64_t)a->body_bytes &&
			    (!put_etag.n || slice_eq(put_etag, buf_slice(&k.now.etag)));

		if (ours)
			store(m, a, &k, a->body, epoch);
		if (ret && !ret->known && ours)
			outbox_base_copy(ret, &k.now);
		else if (ret && !ret->known)
			overwritten(ret);
	}
	look_fini(&k);
}

static void learn_put(struct mirror *m, const struct applied *a, struct cancel *cancel, struct outbox_base *ret)
{
	struct outbox_base put = { .known = false };
	bool strong;

	buf_init(&put.etag, 0);
	look_validators(a->head, &put);
	strong = put.etag.len && put.etag.data[0] == '"';
	if (strong && ret) {
		outbox_base_copy(ret, &put);
		ret->mod_time = 0; /* the answer's Last-Modified, if any, is not known to be the content's */
	}
	if (!a->body || a->is_encoded)
		fetch_background(m, a->target, NULL, NULL);
	else if (a->body_bytes > READ_BACK_BYTES)
		look_back(m, a, strong ? buf_slice(&put.etag) : (struct slice){ NULL, 0 }, cancel, ret);
	else if (strong || !ret)
		fetch_background(m, a->target, NULL, NULL);
	else
		read_back(m, a, cancel, ret);
	outbox_base_fini(&put);
}

void applied_learn(struct mirror *m, const struct applied *a, struct cancel *cancel, struct outbox_base *ret)
{
	struct look k;

	if (slice_eq_str(a->method, "PUT")) {
		learn_put(m, a, cancel, ret);
		return;
	}
	if (slice_eq_str(a->method, "DELETE")) {
		if (ret)
			ret->known = ret->absent = true;
	} else if (slice_eq_str(a->method, "PATCH") && ret) {
		look_init(&k, 0);
		if (look_at(m, "HEAD", a->target, cancel, &k) == 0 && k.now.known)
			outbox_base_copy(ret, &k.now);
		look_fini(&k);
	} else if (!slice_eq_str(a->method, "PATCH")) {
		return; /* a POST says nothing of what is at its target */
	}
	fetch_background(m, a->target, NULL, NULL);
}
