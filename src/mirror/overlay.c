/* overlay.c -- see overlay.h. The outbox knows what waits; nothing of it is kept here, so that there is no second
 * truth. */
#include "mirror/overlay.h"

#include "base/err.h"
#include "base/obj.h"
#include "mirror/mirror_priv.h"
#include "proto/httpdate.h"
#include "proto/pathkey.h"

/* Fields of the request that describe the content (RFC 9110 8), and so hold for the answer to a GET of it. */
static const char *const entity_fields[] = { "content-type", "content-encoding", "content-language" };

bool overlay_may_be(struct mirror *m, struct slice target)
{
	struct buf key = BUF_EMPTY;
	bool may;

	if (outbox_is_idle(m->queue))
		return false;
	may = pathkey_add(target, &key) == 0 && outbox_key_is_pending(m->queue, buf_slice(&key));
	buf_fini(&key);
	return may;
}

void overlay_etag(const char *id, struct buf *out)
{
	buf_addf(out, "\"weir-%s\"", id);
}

static void add_head(const struct outbox_entry *e, struct buf *out)
{
	struct slice cut[128];
	struct httplines h = { cut, 0 };

	h.count = httplines_cut(buf_slice(&e->headers), cut, ARRAY_LEN(cut));
	if (h.count > ARRAY_LEN(cut))
		h.count = ARRAY_LEN(cut);
	for (size_t i = 0; i < ARRAY_LEN(entity_fields); i++) {
		struct slice v = httplines_get(&h, entity_fields[i]);

		if (v.p)
			buf_addf(out, "%s: %.*s\n", entity_fields[i], (int)v.n, v.p);
	}
	buf_add_str(out, "Date: ");
	httpdate_format(e->queued_wall_ms / 1000, out);
	buf_add_str(out, "\nLast-Modified: ");
	httpdate_format(e->queued_wall_ms / 1000, out);
	buf_add_str(out, "\nETag: ");
	overlay_etag(e->id, out);
	/* Upstream's answer to the same GET will be another one: nobody should keep this. */
	buf_add_str(out, "\nCache-Control: no-cache\n");
}

static int make(struct mirror *m, const struct outbox_entry *e, struct slice target, struct stored **ret)
{
	struct buf head = BUF_EMPTY;
	struct spool *body = NULL;
	int r = outbox_body(m->outbox, e, &body);

	if (r < 0)
		return r;
	add_head(e, &head);
	r = stored_new(&(struct stored_parts){ .key = target,
					       .head = buf_slice(&head),
					       .status = 200,
					       .request_wall_ms = e->queued_wall_ms,
					       .response_wall_ms = e->queued_wall_ms,
					       .file = body,
					       .body_bytes = e->body_bytes,
					       .body_crc = e->body_crc },
		       ret);
	buf_fini(&head);
	return r;
}

/* Whether a collection that target is in was deleted after entry `since`. */
static bool is_deleted_above(struct mirror *m, struct slice target, uint64_t since)
{
	struct buf key = BUF_EMPTY;
	bool is = false;

	for (size_t n = 1; n < target.n && target.p[n - 1] != '?' && !is; n++) {
		const struct slice above = { target.p, n };
		struct outbox_entry e = { .seq = 0 };

		if (target.p[n - 1] != '/')
			continue;
		buf_reset(&key);
		if (pathkey_add(above, &key) < 0 || outbox_overlay(m->queue, buf_slice(&key), above, &e) < 0)
			continue;
		is = e.seq > since && slice_eq_str(buf_slice(&e.method), "DELETE");
		outbox_entry_fini(&e);
	}
	buf_fini(&key);
	return is;
}

enum overlay overlay_view(struct mirror *m, struct slice target, struct stored **ret)
{
	struct outbox_entry e = { .seq = 0 };
	struct buf key = BUF_EMPTY;
	enum overlay view = OVERLAY_NONE;

	if (outbox_is_idle(m->queue))
		return OVERLAY_NONE;
	if (is_deleted_above(m, target, 0))
		view = OVERLAY_ABSENT;
	if (pathkey_add(target, &key) == 0 && outbox_overlay(m->queue, buf_slice(&key), target, &e) == 0) {
		if (slice_eq_str(buf_slice(&e.method), "DELETE") ||
		    (view == OVERLAY_ABSENT && is_deleted_above(m, target, e.seq)))
			view = OVERLAY_ABSENT;
		else if (make(m, &e, target, ret) == 0)
			view = OVERLAY_CONTENT;
		outbox_entry_fini(&e);
	}
	buf_fini(&key);
	return view;
}
