/* hub_pg_search.c -- the list of sessions in whose events some text occurs.
 *
 * WHY      Text is not looked for by the server: it knows nothing of JSON that is kept as it was written. It rules most
 *          events out by a run of plain characters, and hub_text.h decides about the rest.
 * THREADS  As hub_pg_read.c. */
#include "hub/hub_store.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "hub/hub_pg_priv.h"
#include "hub/hub_text.h"

#define SCAN       256 /* sessions whose events are searched with one question; the first ones with fewer */
#define FIRST_SCAN 16
#define MOST_MS    20000 /* of a search */
#define FIRST_LOOK 16 /* events of each */

/* The longest run of characters that stand in JSON as they are, as a pattern for ILIKE; there may be none: then all fit. */
static void write_pattern(struct slice text, struct buf *out)
{
	size_t best = 0, best_at = 0, n = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		n = isascii(c) && (isalnum(c) || c == ' ' || c == '-' || c == '.' || c == ':') ? n + 1 : 0;
		if (n > best) {
			best = n;
			best_at = i + 1 - n;
		}
	}
	buf_add_char(out, '%');
	buf_add(out, text.p + best_at, best);
	buf_add_char(out, '%');
}

struct search {
	struct slice text;
	const struct hub_session *sessions;
	bool *has; /* of each */
	size_t *looked_at; /* events of each */
	size_t count;
};

static int look_at_event(void *arg, const PGresult *row, int at)
{
	struct search *s = arg;
	int64_t number = hub_pg_number(row, at, 0);

	for (size_t i = 0; i < s->count; i++) {
		if (s->sessions[i].number != number)
			continue;
		s->looked_at[i]++;
		s->has[i] = s->has[i] || hub_text_occurs(hub_pg_text(row, at, 1), s->text);
	}
	return 0;
}

static int search_events(struct hub_read *rd, struct search *s, int64_t most)
{
	struct hub_pg_params p = { 0 };
	struct hub_pg_array numbers;
	struct buf pattern = BUF_EMPTY;
	int r;

	hub_pg_array_init(&numbers, HUB_PG_INT8);
	for (size_t i = 0; i < s->count; i++)
		hub_pg_array_number(&numbers, s->sessions[i].number);
	write_pattern(s->text, &pattern);
	hub_pg_add_array(&p, &numbers);
	hub_pg_add_text(&p, buf_slice(&pattern));
	hub_pg_add_number(&p, most);
	r = hub_pg_each(hub_pg_read_conn(rd), "search", &p, look_at_event, s);
	buf_fini(&numbers.b);
	buf_fini(&pattern);
	return r;
}

/* Nearly always one of the first events that the server finds decides; of whom none does, all are looked at. */
static int search_sessions(struct hub_read *rd, struct slice text, const struct hub_session *sessions, size_t count,
			   bool *has)
{
	size_t looked_at[SCAN] = { 0 };
	int r = search_events(rd, &(struct search){ text, sessions, has, looked_at, count }, FIRST_LOOK);

	for (size_t i = 0; i < count && r == 0; i++)
		if (!has[i] && looked_at[i] == FIRST_LOOK)
			r = search_events(rd, &(struct search){ text, &sessions[i], &has[i], &looked_at[i], 1 }, INT64_MAX);
	return r;
}

static void move_session(struct hub_session *to, struct hub_session *from)
{
	hub_session_fini(to);
	*to = *from;
	*from = (struct hub_session)HUB_SESSION_EMPTY;
}

int hub_pg_list_by_text(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
			size_t *ret_count)
{
	struct hub_session *some = xcalloc(SCAN, sizeof(*some));
	struct hub_filter next = *f;
	struct buf text = BUF_EMPTY;
	int64_t deadline_ms = clock_mono_ms() + MOST_MS;
	size_t size = FIRST_SCAN, got = size, n = 0;
	int r = 0;

	for (size_t i = 0; i < SCAN; i++)
		some[i] = (struct hub_session)HUB_SESSION_EMPTY;
	while (r == 0 && n < room && got == size) {
		bool has[SCAN] = { false };

		size = size * 2 < SCAN ? size * 2 : SCAN;
		r = hub_pg_ask_list(rd, &next, some, size, &got);
		if (r == 0 && got) {
			r = search_sessions(rd, f->text, some, got, has);
			next.after = hub_cursor_at(f, &some[got - 1], &text);
		}
		for (size_t i = 0; r == 0 && i < got && n < room; i++)
			if (has[i])
				move_session(&into[n++], &some[i]);
		if (r == 0 && f->is_wanted && !f->is_wanted(f->wanted_arg))
			r = -ECANCELED;
		if (r == 0 && n < room && clock_mono_ms() > deadline_ms)
			r = -ETIMEDOUT;
	}
	for (size_t i = 0; i < SCAN; i++)
		hub_session_fini(&some[i]);
	free(some);
	buf_fini(&text);
	if (r == 0)
		*ret_count = n;
	return r;
}
