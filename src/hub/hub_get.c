/* hub_get.c -- looking at sessions: one, its items, the list.
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

#define PAGE 64 /* sessions that are in memory at a time */

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

/* --- one session ------------------------------------------------------------------------------------------------ */

static void answer_session(struct exchange *ex)
{
	struct hub_request *q = hub_request_of(ex);
	struct hub *h = q->h;
	struct hub_store *st = h->store;
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_read *rd = NULL;
	struct hub_moment m;
	struct hub_out out;
	int r;

	look_begin(h);
	hub_moment_now(h, &m);
	hub_out_init(&out, h, ex, "application/json");
	r = st->t->read_begin(st, &rd);
	if (r == 0)
		r = st->t->read_session(rd, q->id, &s);
	if (r == 0)
		r = hub_render_session(rd, &s, m.stale_ms, false, &out);
	st->t->read_end(rd);
	hub_out_end(&out, r);
	hub_session_fini(&s);
	look_end(h);
}

void hub_get_session(struct exchange *ex, struct slice id, int what)
{
	exchange_to_worker(ex, hub_request_of(ex)->h->looking, answer_session);
}

/* --- what the query says ---------------------------------------------------------------------------------------- */

/* Its texts are in the arena, which has to live as long as they are looked at: a list outlives its exchange. */
static bool read_query(struct exchange *ex, struct arena *arena, struct hub_query *ret)
{
	struct hub_request *q = hub_request_of(ex);
	struct buf why = BUF_EMPTY;
	int r = hub_query_read(q->query, arena, ret, &why);

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

/* --- its items -------------------------------------------------------------------------------------------------- */

static int render_list(struct hub_read *rd, const struct hub_session *s, enum hub_list list,
		       const struct hub_query *query, struct hub_out *out)
{
	if (query->format == HUB_CSV)
		return hub_csv_items(rd, s, list, query->from, query->limit, out);
	if (list == HUB_HISTORY)
		return hub_render_history(rd, s, query->from, query->limit, out);
	return hub_render_items(rd, s, list, query->from, query->limit, out);
}

static void answer_items(struct exchange *ex)
{
	static const char *const files[HUB_LIST_COUNT] = {
		"attachment; filename=\"events.csv\"",
		"attachment; filename=\"metrics.csv\"",
		"attachment; filename=\"history.csv\"",
	};
	struct hub_request *q = hub_request_of(ex);
	struct hub *h = q->h;
	struct hub_store *st = h->store;
	enum hub_list list = (enum hub_list)q->what;
	struct hub_session s = HUB_SESSION_EMPTY;
	struct hub_read *rd = NULL;
	struct hub_query query;
	struct hub_out out;
	int r;

	if (!read_query(ex, exchange_arena(ex), &query))
		return;
	look_begin(h);
	hub_out_init(&out, h, ex, "application/json");
	set_format(&out, &query, files[list]);
	r = st->t->read_begin(st, &rd);
	if (r == 0)
		r = st->t->read_session(rd, q->id, &s);
	if (r == 0)
		r = render_list(rd, &s, list, &query, &out);
	st->t->read_end(rd);
	hub_out_end(&out, r);
	hub_session_fini(&s);
	look_end(h);
}

void hub_get_items(struct exchange *ex, struct slice id, int what)
{
	exchange_to_worker(ex, hub_request_of(ex)->h->looking, answer_items);
}

/* --- the list --------------------------------------------------------------------------------------------------- */

#define MOST_QUERY_BYTES (256 * 1024)

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
	return hub_render_session(l->rd, s, l->moment.stale_ms, l->query.summary, out);
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

/* For a page the Link has to be known before the first byte: its cursor is the last session that will be on it, and
 * whether there is one behind it has to be looked up. */
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
	bool csv = l->query.format == HUB_CSV;
	int r = 0;

	if (csv)
		hub_csv_session_head(&out->b);
	else
		buf_add_char(&out->b, '[');
	do {
		r = next_page(l, st);
		for (size_t i = 0; i < l->count && r == 0; i++, l->written++)
			r = render_one(l, &l->page[i], out);
	} while (r == 0 && l->count == PAGE);
	if (!csv)
		buf_add_char(&out->b, ']');
	return r;
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
	if (!read_query(ex, &l->arena, &l->query)) {
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
	set_format(&out, &l->query, "attachment; filename=\"sessions.csv\"");
	out.link = &link;
	r = st->t->read_begin(st, &l->rd);
	if (r == 0 && l->query.limit)
		r = find_link(l, st, q->query, &link);
	if (r == 0)
		r = render_all(l, st, &out);
	st->t->read_end(l->rd);
	hub_out_end(&out, r);
	for (size_t i = 0; i < PAGE; i++)
		hub_session_fini(&l->page[i]);
	buf_fini(&link);
	buf_fini(&l->cursor_text);
	arena_fini(&l->arena);
	free(l);
	look_end(h);
}

void hub_get_list(struct exchange *ex, struct slice id, int what)
{
	exchange_to_worker(ex, hub_request_of(ex)->h->looking, answer_list);
}
