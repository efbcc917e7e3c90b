/* hub_render.c -- a session as the API has it.
 *
 * WHAT     The fields of the record, then state, state_history, events, metrics. Items are copied as they were kept;
 *          the history is made: what each update changed, merged into what was before.
 * THREADS  Workers; the read belongs to the caller. */
#include "base/clock.h"
#include "base/err.h"
#include "core/json_merge.h"
#include "hub/hub_priv.h"

void hub_render_time(int64_t ms, struct buf *out)
{
	buf_add_char(out, '"');
	clock_format_rfc3339(ms, out);
	buf_add_char(out, '"');
}

static void add_time(struct buf *b, const char *name, int64_t ms)
{
	buf_addf(b, ",\"%s\":", name);
	hub_render_time(ms, b);
}

static void add_text(struct buf *b, const char *name, const struct buf *text)
{
	if (!text->len)
		return;
	buf_addf(b, ",\"%s\":", name);
	json_write_text(buf_slice(text), b);
}

static void render_record(const struct hub_session *s, int64_t stale_ms, struct buf *b)
{
	struct hub_status is = hub_session_status(s, stale_ms);

	buf_addf(b, "{\"id\":\"%s\"", s->id);
	add_time(b, "created_at", s->created_ms);
	add_time(b, "updated_at", s->updated_ms);
	if (s->ended_ms)
		add_time(b, "ended_at", s->ended_ms);
	buf_addf(b, ",\"active\":%s,\"suspended\":%s,\"crashed\":%s,\"hung\":%s", is.active ? "true" : "false",
		 is.suspended ? "true" : "false", is.crashed ? "true" : "false", is.hung ? "true" : "false");
	if (s->heartbeat_ms)
		add_time(b, "last_heartbeat", s->heartbeat_ms);
	add_text(b, "machine_id", &s->machine_id);
	add_text(b, "hostname", &s->hostname);
	if (s->extra.len > 2) {
		buf_add_char(b, ',');
		buf_add(b, s->extra.data + 1, s->extra.len - 2);
	}
}

/* --- items ------------------------------------------------------------------------------------------------------ */

struct walk {
	struct hub_out *out;
	const char *between;
	int64_t from;
	uint64_t left; /* 0 at the start: no limit */
	bool limited;
	json_t *state; /* of the history */
};
enum { WALK_ENOUGH = 1 };

static int take_item(void *arg, int64_t place, struct slice body)
{
	struct walk *w = arg;

	if (w->limited && w->left-- == 0)
		return WALK_ENOUGH;
	buf_add_str(&w->out->b, w->between);
	buf_add_slice(&w->out->b, body);
	w->between = ",";
	return hub_out_move(w->out);
}

int hub_render_items(struct hub_read *rd, const struct hub_session *s, enum hub_list list, int64_t from, uint64_t most,
		     struct hub_out *o)
{
	struct walk w = { .out = o, .between = "", .left = most, .limited = most != 0 };
	int r;

	buf_add_char(&o->b, '[');
	r = o->h->store->t->read_items(rd, s->number, list, from, HUB_ASCENDING, take_item, &w);
	buf_add_char(&o->b, ']');
	return r == WALK_ENOUGH ? 0 : r;
}

static int take_update(void *arg, int64_t place, struct slice body)
{
	static const char *const but[] = { "timestamp", "state", NULL };
	struct walk *w = arg;
	json_t *item = NULL;
	int r = json_read(body, JSON_READ_KEPT, &item, NULL);

	if (r < 0)
		return WEIR_E_DAMAGED;
	json_merge(w->state, json_object_get(item, "state"));
	if (place >= w->from) {
		if (w->limited && w->left-- == 0)
			r = WALK_ENOUGH;
		if (r == 0) {
			buf_addf(&w->out->b, "%s{\"timestamp\":", w->between);
			json_write(json_object_get(item, "timestamp"), &w->out->b);
			buf_add_str(&w->out->b, ",\"state\":");
			json_write(w->state, &w->out->b);
			hub_op_write_further(item, but, &w->out->b);
			buf_add_char(&w->out->b, '}');
			w->between = ",";
		}
	}
	json_decref(item);
	return r ? r : hub_out_move(w->out);
}

json_t *hub_render_first_state(const struct hub_session *s)
{
	return json_pack("{s:s%, s:s%}", "product", s->product.data, s->product.len, "version", s->version.data,
			 s->version.len);
}

int hub_render_history(struct hub_read *rd, const struct hub_session *s, int64_t from, uint64_t most, struct hub_out *o)
{
	struct walk w = { .out = o, .between = "", .from = from, .left = most, .limited = most != 0 };
	int r;

	w.state = hub_render_first_state(s);
	if (!w.state)
		return WEIR_E_DAMAGED; /* no UTF-8: not what was written */
	buf_add_char(&o->b, '[');
	r = o->h->store->t->read_items(rd, s->number, HUB_HISTORY, 0, HUB_ASCENDING, take_update, &w);
	buf_add_char(&o->b, ']');
	json_decref(w.state);
	return r == WALK_ENOUGH ? 0 : r;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

int hub_render_session(struct hub_read *rd, const struct hub_session *s, int64_t stale_ms, enum hub_view view,
		       struct hub_out *o)
{
	int r = 0;

	render_record(s, stale_ms, &o->b);
	if (view == HUB_VIEW_BRIEF) {
		add_text(&o->b, "product", &s->product);
		add_text(&o->b, "version", &s->version);
	} else {
		buf_add_str(&o->b, ",\"state\":");
		r = o->h->store->t->read_state(rd, s->number, &o->b);
	}
	if (r < 0)
		return r == -ENOENT ? WEIR_E_DAMAGED : r;
	if (view != HUB_VIEW_FULL) {
		buf_addf(&o->b, ",\"counts\":{\"state_history\":%lld,\"events\":%lld,\"metrics\":%lld}}",
			 (long long)s->counts[HUB_HISTORY], (long long)s->counts[HUB_EVENTS],
			 (long long)s->counts[HUB_METRICS]);
		return hub_out_move(o);
	}
	buf_add_str(&o->b, ",\"state_history\":");
	r = hub_render_history(rd, s, 0, 0, o);
	if (r == 0) {
		buf_add_str(&o->b, ",\"events\":");
		r = hub_render_items(rd, s, HUB_EVENTS, 0, 0, o);
	}
	if (r == 0) {
		buf_add_str(&o->b, ",\"metrics\":");
		r = hub_render_items(rd, s, HUB_METRICS, 0, 0, o);
	}
	buf_add_char(&o->b, '}');
	return r == 0 ? hub_out_move(o) : r;
}
