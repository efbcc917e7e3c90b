/* hub_get.c -- looking at sessions: from the request to the answer. What a look writes is in hub_look.c and its like.
 *
 * WHAT     A worker takes a read, which is one moment of the database, and writes what it finds into an answer that
 *          grows.
 * RULES    1. The list is the original's: an array of whole objects, of all sessions. limit and after make pages of it;
 *             where there is a next one, a Link header says so (RFC 8288).
 *          2. A read never waits for a client: what is large goes through a spool. From the moment that it does, the
 *             exchange may be gone.
 * THREADS  Begun on the front; the rest on workers of one lane. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_priv.h"

#define PAGE (HUB_MOST_PAGE + 1) /* sessions that are in memory at a time: a page, and whether there is more */

static void look_begin(struct hub *h)
{
	pthread_mutex_lock(&h->lock);
	h->looks++;
	pthread_mutex_unlock(&h->lock);
}

static void look_end(struct hub *h)
{
	pthread_mutex_lock(&h->lock);
	if (--h->looks == 0)
		pthread_cond_broadcast(&h->no_looks);
	pthread_mutex_unlock(&h->lock);
}

void hub_get_wait_none(struct hub *h)
{
	pthread_mutex_lock(&h->lock);
	while (h->looks)
		pthread_cond_wait(&h->no_looks, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

/* --- one session, or none --------------------------------------------------------------------------------------- */

#define MOST_QUERY_BYTES (256 * 1024)

static hub_look_fn *const looks[] = {
	[HUB_LOOK_EVENTS] = hub_look_items,      [HUB_LOOK_METRICS] = hub_look_items,
	[HUB_LOOK_HISTORY] = hub_look_items,     [HUB_LOOK_SESSION] = hub_look_session,
	[HUB_LOOK_STATE] = hub_look_state,       [HUB_LOOK_PRODUCTS] = hub_look_products,
	[HUB_LOOK_TIMELINE] = hub_look_timeline, [HUB_LOOK_SERIES] = hub_look_series,
	[HUB_LOOK_POINTS] = hub_look_points,
};

/* The query's texts are in an arena of its own: a look can outlive its exchange. */
static bool read_query(struct exchange *ex, enum hub_look look, struct arena *arena, struct hub_query *ret)
{
	struct hub_request *q = hub_request_of(ex);
	struct buf why = BUF_EMPTY;
	int r = hub_query_read(q->query, look, arena, ret, &why);

	if (r < 0)
		hub_refuse(ex, HUB_REFUSED_PATH, 400, "%s", why.data);
	buf_fini(&why);
	return r == 0;
}

static void set_format(struct hub_out *out, const struct hub_query *query, const char *csv_name)
{
	if (query->format != HUB_CSV)
		return;
	out->type = "text/csv; charset=utf-8";
	out->disposition = csv_name;
}

static const char *const csv_names[] = {
	[HUB_LOOK_EVENTS] = "attachment; filename=\"events.csv\"",
	[HUB_LOOK_METRICS] = "attachment; filename=\"metrics.csv\"",
	[HUB_LOOK_HISTORY] = "attachment; filename=\"history.csv\"",
	[HUB_LOOK_SESSIONS] = "attachment; filename=\"sessions.csv\"",
};

static void look(struct exchange *ex, enum hub_look which, const struct hub_query *query)
{
	struct hub_request *q = hub_request_of(ex);
	struct hub *h = q->h;
	const struct hub_store_table *t = h->store->t;
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_out out;
	struct hub_looking l = { .which = which, .s = &s, .query = query, .out = &out };
	int r;

	look_begin(h);
	hub_moment_now(h, &l.m);
	hub_out_init(&out, h, ex, "application/json");
	set_format(&out, query, csv_names[which]);
	r = t->read_begin(h->store, &l.rd);
	if (r == 0 && which != HUB_LOOK_PRODUCTS)
		r = t->read_session(l.rd, q->id, &s);
	if (r == 0)
		r = (which == HUB_LOOK_EVENTS && query->is_page ? hub_look_page : looks[which])(&l);
	t->read_end(l.rd);
	hub_out_end(&out, r);
	hub_session_fini(&s);
	look_end(h);
}

static void answer_look(struct exchange *ex)
{
	enum hub_look which = (enum hub_look)hub_request_of(ex)->what;
	struct hub_query query;
	struct arena arena;

	arena_init(&arena, MOST_QUERY_BYTES);
	if (read_query(ex, which, &arena, &query))
		look(ex, which, &query);
	arena_fini(&arena);
}

void hub_get_look(struct exchange *ex, struct slice id, int what)
{
	exchange_to_worker(ex, hub_request_of(ex)->h->looking, answer_look);
}

static void answer_original(struct exchange *ex)
{
	const struct hub_query all = { .limit = 0 };

	look(ex, HUB_LOOK_SESSION, &all);
}

/* The original looks at no query. */
void hub_get_original(struct exchange *ex, struct slice id, int what)
{
	exchange_to_worker(ex, hub_request_of(ex)->h->looking, answer_original);
}

/* --- the list --------------------------------------------------------------------------------------------------- */

struct listing {
	struct arena arena;
	struct hub_read *rd;
	struct hub_query query;
	struct hub_moment moment;
	struct buf cursor_text; /* what query.filter.after points into */
	struct hub_session page[PAGE];
	size_t count, written;
};

static int render_one(struct listing *l, const struct hub_session *s, struct hub_out *out)
{
	if (l->query.format == HUB_CSV) {
		hub_csv_session(s, l->moment.stale_ms, &out->b);
		return hub_out_move(out);
	}
	if (l->written)
		buf_add_char(&out->b, ',');
	return hub_render_session(l->rd, s, l->moment.stale_ms, l->query.view, out);
}

static int next_page(struct listing *l, struct hub_store *st)
{
	uint64_t left = l->query.limit ? l->query.limit - l->written : PAGE;
	size_t room = left < PAGE ? (size_t)left : PAGE;

	if (l->count)
		l->query.filter.after = hub_cursor_at(&l->query.filter, &l->page[l->count - 1], &l->cursor_text);
	l->count = 0;
	return room ? st->t->read_list(l->rd, &l->query.filter, l->page, room, &l->count) : 0;
}

static void write_link(struct slice query, const struct hub_filter *f, struct buf *link)
{
	buf_add_str(link, "</api/data/sessions?");
	while (query.n) {
		struct slice pair;

		(void)slice_cut(&query, '&', &pair);
		if (pair.n && !slice_starts(pair, "after="))
			buf_addf(link, "%.*s&", (int)pair.n, pair.p);
	}
	buf_add_str(link, "after=");
	hub_cursor_write(f, link);
	buf_add_str(link, ">; rel=\"next\"");
}

static void finish(struct hub_out *out, const struct listing *l)
{
	if (l->query.format != HUB_CSV)
		buf_add_char(&out->b, ']');
}

static void begin(struct hub_out *out, const struct listing *l)
{
	if (l->query.format == HUB_CSV)
		hub_csv_session_head(&out->b);
	else
		buf_add_char(&out->b, '[');
}

/* A page that is in memory whole, with one session more: so it is known whether there is a next one. */
static int render_page(struct listing *l, struct hub_store *st, struct slice query, struct hub_out *out)
{
	struct hub_filter *f = &l->query.filter;
	size_t got = 0;
	int r = st->t->read_list(l->rd, f, l->page, (size_t)l->query.limit + 1, &got);

	if (r == 0 && got > l->query.limit) {
		got--;
		f->after = hub_cursor_at(f, &l->page[got - 1], &l->cursor_text);
		write_link(query, f, out->link);
	}
	begin(out, l);
	for (size_t i = 0; i < got && r == 0; i++, l->written++)
		r = render_one(l, &l->page[i], out);
	finish(out, l);
	return r;
}

/* Of a longer one the Link has to be known before the first byte as well: its cursor is the last session that will be
 * on it, and whether there is one behind it has to be looked up. */
static int find_link(struct listing *l, struct hub_store *st, struct slice query, struct buf *link)
{
	struct hub_filter f = l->query.filter;
	struct buf text = BUF_EMPTY;
	size_t got = 0;
	uint64_t seen = 0;
	int r = 0;

	while (r == 0 && seen < l->query.limit) {
		uint64_t left = l->query.limit - seen;

		r = st->t->read_list(l->rd, &f, l->page, left < PAGE ? (size_t)left : PAGE, &got);
		if (r < 0 || !got)
			break;
		f.after = hub_cursor_at(&f, &l->page[got - 1], &text);
		seen += got;
	}
	if (r == 0 && got)
		r = st->t->read_list(l->rd, &f, l->page, 1, &got);
	if (r == 0 && got)
		write_link(query, &f, link);
	buf_fini(&text);
	return r;
}

static int render_all(struct listing *l, struct hub_store *st, struct hub_out *out)
{
	int r = 0;

	begin(out, l);
	do {
		r = next_page(l, st);
		for (size_t i = 0; i < l->count && r == 0; i++, l->written++)
			r = render_one(l, &l->page[i], out);
	} while (r == 0 && l->count == PAGE);
	finish(out, l);
	return r;
}

static bool is_wanted(void *out)
{
	return hub_out_wanted(out) == 0;
}

static void answer_list(struct exchange *ex)
{
	struct hub_request *q = hub_request_of(ex);
	struct hub *h = q->h;
	struct hub_store *st = h->store;
	struct listing *l = xcalloc(1, sizeof(*l));
	struct buf link = BUF_EMPTY;
	struct hub_out out;
	int r;

	arena_init(&l->arena, MOST_QUERY_BYTES);
	if (!read_query(ex, HUB_LOOK_SESSIONS, &l->arena, &l->query)) {
		arena_fini(&l->arena);
		free(l);
		return;
	}
	look_begin(h);
	l->cursor_text = (struct buf)BUF_EMPTY;
	for (size_t i = 0; i < PAGE; i++)
		l->page[i] = (struct hub_session)HUB_SESSION_EMPTY;
	hub_moment_now(h, &l->moment);
	l->query.filter.stale_ms = l->moment.stale_ms;
	hub_out_init(&out, h, ex, "application/json");
	set_format(&out, &l->query, csv_names[HUB_LOOK_SESSIONS]);
	out.link = &link;
	l->query.filter.is_wanted = is_wanted;
	l->query.filter.wanted_arg = &out;
	r = st->t->read_begin(st, &l->rd);
	if (r == 0 && l->query.limit && l->query.limit < PAGE) {
		r = render_page(l, st, q->query, &out);
	} else if (r == 0) {
		r = l->query.limit ? find_link(l, st, q->query, &link) : 0;
		if (r == 0)
			r = render_all(l, st, &out);
	}
	st->t->read_end(l->rd);
	hub_out_end(&out, r == -ECANCELED && out.error ? out.error : r);
	for (size_t i = 0; i < PAGE; i++)
		hub_session_fini(&l->page[i]);
	buf_fini(&link);
	buf_fini(&l->cursor_text);
	arena_fini(&l->arena);
	free(l);
	look_end(h);
}

/* A search in events may take long; those have a lane of their own, so that they keep nobody from other looks. */
void hub_get_list(struct exchange *ex, struct slice id, int what)
{
	struct hub_request *q = hub_request_of(ex);
	bool is_search = memmem(q->query.p, q->query.n, "text=", 5) != NULL;

	exchange_to_worker(ex, is_search ? q->h->searching : q->h->looking, answer_list);
}
