/* hub_store.c -- what every engine needs: a session's end, and where a page goes on. */
#include "hub/hub_store.h"

void hub_session_fini(struct hub_session *s)
{
	buf_fini(&s->product);
	buf_fini(&s->version);
	buf_fini(&s->machine_id);
	buf_fini(&s->hostname);
	buf_fini(&s->extra);
	*s = (struct hub_session)HUB_SESSION_EMPTY;
}

struct hub_cursor hub_cursor_at(const struct hub_filter *f, const struct hub_session *s, struct buf *text)
{
	struct hub_cursor c = { .number = s->number, .value = s->created_ms };

	if (f->sort == HUB_BY_UPDATED)
		c.value = s->updated_ms;
	if (f->sort == HUB_BY_EVENTS)
		c.value = s->counts[HUB_EVENTS];
	buf_reset(text);
	if (f->sort == HUB_BY_PRODUCT || f->sort == HUB_BY_HOSTNAME)
		buf_add_slice(text, buf_slice(f->sort == HUB_BY_PRODUCT ? &s->product : &s->hostname));
	c.text = buf_slice(text);
	return c;
}
