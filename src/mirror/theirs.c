/* theirs.c -- what upstream has now, for an operator who compares it with a write that waits: core/delivery.h. */
#include "base/err.h"
#include "base/obj.h"
#include "mirror/look.h"

#define MOST_LINES 512
#define MOST_MS 10000 /* somebody waits before a page */

int mirror_theirs(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct delivery_theirs *ret,
		  struct buf *err)
{
	struct mirror *m = arg;
	struct slice lines[MOST_LINES];
	struct look k;
	int r;

	OBJ_CHECK(m, MIRROR_MAGIC);
	look_init(&k, ret->body.limit);
	k.total_ms = MOST_MS;
	r = look_at(m, "GET", buf_slice(&e->uri), cancel, &k);
	ret->is_cut = (r == WEIR_E_TOO_LARGE && k.status) || k.is_encoded;
	if (r == WEIR_E_TOO_LARGE && k.status)
		r = 0; /* the head is here, and says enough */
	if (r < 0) {
		buf_addf(err, "upstream of mirror %s gave no answer: %s", m->name, err_text(r));
	} else {
		struct httplines h = { lines, httplines_cut(buf_slice(&k.head), lines, MOST_LINES) };

		h.count = h.count < MOST_LINES ? h.count : MOST_LINES;
		ret->status = k.status;
		outbox_base_copy(&ret->now, &k.now);
		ret->body_bytes = ret->is_cut ? k.length : (int64_t)k.body.len;
		buf_add_slice(&ret->content_type, httplines_get(&h, "content-type"));
		if (!ret->is_cut)
			buf_add_slice(&ret->body, buf_slice(&k.body));
	}
	look_fini(&k);
	return r;
}
