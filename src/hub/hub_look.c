/* hub_look.c -- what is answered about products, one session, its items and its state.
 *
 * RULES    1. A list in an answer has an end that does not depend on the database, or goes out through hub_out_move()
 *             item by item.
 * THREADS  Workers; the read belongs to the caller. */
#include "base/err.h"
#include "base/str.h"
#include "core/json_merge.h"
#include "hub/hub_priv.h"
#include "hub/hub_points.h"
#include "hub/hub_scan.h"
#include "hub/hub_series.h"
#include "hub/hub_timeline.h"

/* --- products --------------------------------------------------------------------------------------------------- */

struct products {
	struct hub_out *out;
	const char *between;
};

static int write_product(void *arg, const struct hub_product *p)
{
	struct products *w = arg;
	struct buf *b = &w->out->b;

	buf_addf(b, "%s{\"product\":", w->between);
	json_write_text(p->product, b);
	buf_add_str(b, ",\"version\":");
	json_write_text(p->version, b);
	buf_addf(b,
		 ",\"sessions\":%lld,\"active\":%lld,\"suspended\":%lld,\"ended\":%lld,\"crashed\":%lld,\"hung\":%lld,",
		 (long long)p->sessions, (long long)p->active, (long long)p->suspended, (long long)p->ended,
		 (long long)p->crashed, (long long)p->hung);
	buf_add_str(b, "\"last_created_at\":");
	hub_render_time(p->last_created_ms, b);
	buf_add_char(b, '}');
	w->between = ",";
	return hub_out_move(w->out);
}

int hub_look_products(const struct hub_looking *l)
{
	struct products w = { .out = l->out, .between = "" };
	int r;

	buf_add_str(&l->out->b, "{\"items\":[");
	r = l->out->h->store->t->read_products(l->rd, l->m.stale_ms, write_product, &w);
	buf_add_str(&l->out->b, "],\"next\":null}");
	return r;
}

/* --- a session and its items ------------------------------------------------------------------------------------ */

int hub_look_session(const struct hub_looking *l)
{
	return hub_render_session(l->rd, l->s, l->m.stale_ms, l->query->view, l->out);
}

int hub_look_items(const struct hub_looking *l)
{
	enum hub_list list = (enum hub_list)l->which;
	int64_t from = l->query->from < 0 ? 0 : l->query->from;

	if (l->query->format == HUB_CSV)
		return hub_csv_items(l->rd, l->s, list, from, l->query->limit, l->out);
	if (list == HUB_HISTORY)
		return hub_render_history(l->rd, l->s, from, l->query->limit, l->out);
	return hub_render_items(l->rd, l->s, list, from, l->query->limit, l->out);
}

/* --- the state at some time ------------------------------------------------------------------------------------- */

/* Updates are applied in the order in which they came, whatever their clocks said: so the state at a time is the one
 * after the last update that was not later. */
struct past {
	int64_t at_ms;
	int64_t place; /* -1: none was that early */
	struct buf time; /* of that one, in JSON */
	json_t *state;
	struct hub_out *out;
};

static int find_update(void *arg, int64_t place, struct slice body)
{
	struct hub_scan_want want[] = { { .name = "timestamp" }, { .name = NULL } };
	struct past *p = arg;
	int64_t ms;

	if (!hub_scan_members(body, want) || !hub_scan_time(want[0].value, &ms))
		return WEIR_E_DAMAGED;
	if (ms > p->at_ms)
		return hub_out_move(p->out);
	p->place = place;
	buf_reset(&p->time);
	buf_add_slice(&p->time, want[0].value);
	return hub_out_move(p->out);
}

enum { ALL_MERGED = 1 };

static int merge_update(void *arg, int64_t place, struct slice body)
{
	struct past *p = arg;
	json_t *item = NULL;

	if (place > p->place)
		return ALL_MERGED;
	if (json_read(body, JSON_READ_KEPT, &item, NULL) < 0)
		return WEIR_E_DAMAGED;
	json_merge(p->state, json_object_get(item, "state"));
	json_decref(item);
	return hub_out_move(p->out);
}

static int find_past(const struct hub_looking *l, struct past *p)
{
	const struct hub_store_table *t = l->out->h->store->t;
	int r;

	p->state = hub_render_first_state(l->s);
	if (!p->state)
		return WEIR_E_DAMAGED; /* no UTF-8: not what was written */
	r = t->read_items(l->rd, l->s->number, HUB_HISTORY, 0, HUB_ASCENDING, find_update, p);
	if (r == 0 && p->place >= 0)
		r = t->read_items(l->rd, l->s->number, HUB_HISTORY, 0, HUB_ASCENDING, merge_update, p);
	return r == ALL_MERGED ? 0 : r;
}

static int find_present(const struct hub_looking *l, struct past *p, struct buf *state)
{
	const struct hub_store_table *t = l->out->h->store->t;
	int r = t->read_state(l->rd, l->s->number, state);

	p->at_ms = INT64_MAX;
	if (r == 0 && l->s->counts[HUB_HISTORY])
		r = t->read_items(l->rd, l->s->number, HUB_HISTORY, l->s->counts[HUB_HISTORY] - 1, HUB_ASCENDING,
				  find_update, p);
	return r;
}

int hub_look_state(const struct hub_looking *l)
{
	struct past p = { .at_ms = l->query->at_ms, .place = -1, .time = BUF_EMPTY, .out = l->out };
	struct buf state = BUF_EMPTY, *b = &l->out->b;
	int r = l->query->has_at ? find_past(l, &p) : find_present(l, &p, &state);

	buf_add_str(b, "{\"timestamp\":");
	if (p.place < 0)
		hub_render_time(l->s->created_ms, b);
	else
		buf_add_slice(b, buf_slice(&p.time));
	if (p.place < 0)
		buf_add_str(b, ",\"place\":null,\"state\":");
	else
		buf_addf(b, ",\"place\":%lld,\"state\":", (long long)p.place);
	if (p.state)
		json_write(p.state, b);
	else
		buf_add_slice(b, buf_slice(&state));
	buf_add_char(b, '}');
	json_decref(p.state);
	buf_fini(&state);
	buf_fini(&p.time);
	return r == 0 ? hub_out_move(l->out) : r;
}

/* --- what is drawn ---------------------------------------------------------------------------------------------- */

#define TIMELINE_STEPS 200
#define CHART_POINTS   500

/* What was asked for; otherwise from the creation to the end: of one that is silent, to the last that came of it. */
static struct hub_span span_of(const struct hub_looking *l, uint64_t steps)
{
	const struct hub_filter *f = &l->query->filter;
	bool lives = hub_session_status(l->s, l->m.stale_ms).active;
	int64_t end = (l->s->ended_ms ? l->s->ended_ms : lives ? l->m.now_ms : l->s->updated_ms) + 1;

	return hub_span_of(f->since_ms ? f->since_ms : l->s->created_ms, f->until_ms ? f->until_ms : end,
			   l->query->buckets ? l->query->buckets : steps);
}

/* A stop of the hub does not wait for it; see hub_out_move(). */
static int go_on(const struct hub_looking *l, bool ok)
{
	return !ok ? WEIR_E_DAMAGED : hub_out_move(l->out);
}

struct drawing {
	const struct hub_looking *l;
	struct hub_timeline *timeline;
	struct hub_series_set *series;
	struct hub_points *points;
};

static int draw_event(void *arg, int64_t place, struct slice body)
{
	struct drawing *d = arg;

	return go_on(d->l, hub_timeline_event(d->timeline, body));
}

static int draw_update(void *arg, int64_t place, struct slice body)
{
	struct drawing *d = arg;

	return go_on(d->l, hub_timeline_update(d->timeline, body));
}

static int draw_series(void *arg, int64_t place, struct slice body)
{
	struct drawing *d = arg;

	return go_on(d->l, hub_series_take(d->series, body));
}

static int draw_points(void *arg, int64_t place, struct slice body)
{
	struct drawing *d = arg;

	return go_on(d->l, hub_points_take(d->points, body));
}

static int walk(const struct hub_looking *l, enum hub_list list, hub_item_fn *fn, struct drawing *d)
{
	return l->out->h->store->t->read_items(l->rd, l->s->number, list, 0, HUB_ASCENDING, fn, d);
}

int hub_look_timeline(const struct hub_looking *l)
{
	struct drawing d = { .l = l, .timeline = hub_timeline_new(span_of(l, TIMELINE_STEPS)) };
	int r = walk(l, HUB_EVENTS, draw_event, &d);

	if (r == 0)
		r = walk(l, HUB_HISTORY, draw_update, &d);
	if (r == 0)
		hub_timeline_write(d.timeline, &l->out->b);
	hub_timeline_free(d.timeline);
	return r;
}

int hub_look_series(const struct hub_looking *l)
{
	struct drawing d = { .l = l, .series = hub_series_new() };
	int r = walk(l, HUB_METRICS, draw_series, &d);

	if (r == 0)
		hub_series_write(d.series, &l->out->b);
	hub_series_free(d.series);
	return r;
}

static void write_tags(const struct hub_query *q, struct buf *out)
{
	buf_add_char(out, '[');
	for (size_t i = 0; i < q->tag_count; i++) {
		buf_add_str(out, i ? ",\"" : "\"");
		str_add_json(out, q->tags[i]);
		buf_add_char(out, '"');
	}
	buf_add_char(out, ']');
}

int hub_look_points(const struct hub_looking *l)
{
	const struct hub_query *q = l->query;
	struct drawing d = { .l = l };
	struct buf tags = BUF_EMPTY;
	int r;

	write_tags(q, &tags);
	d.points = hub_points_new(span_of(l, CHART_POINTS), q->name, q->type, buf_slice(&tags));
	buf_fini(&tags);
	r = walk(l, HUB_METRICS, draw_points, &d);
	if (r == 0)
		hub_points_write(d.points, &l->out->b);
	hub_points_free(d.points);
	return r;
}
