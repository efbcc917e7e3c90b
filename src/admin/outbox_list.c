/* outbox_list.c -- GET /api/v1/outbox: the writes that wait for an upstream, and those that did.
 *
 * WHAT     Entries in queue order or newest first, by service, state and text; a page of them, and where the next one
 *          begins.
 * WHY      A text is looked for by reading what is there: an index of addresses would be paid by every write, and is
 *          asked by a person now and then. So an answer looks at SEARCH_LIMIT entries at most, may have fewer items
 *          than asked for, or none, and says where to go on.
 * THREADS  Workers: it reads the disk. */
#include <ctype.h>

#include "admin/admin_priv.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "proto/url.h"

#define LIST_LIMIT 1000 /* items in one answer, unless the client asks for fewer */
#define SEARCH_LIMIT 5000 /* entries that one answer looks at; the next page goes on from there */

struct listing {
	struct buf service; /* empty: all */
	struct buf text;    /* in lower case; empty: all */
	int state;          /* below 0: all */
	bool newest_first;
	size_t seen;
	uint64_t after;
	size_t limit;
	json_t *items;
	uint64_t last; /* seq of the last one given */
	bool more;
};

/* `after` is a sequence number, as `next` of an earlier page, or an entry's id. */
static const char *read_after(struct outbox *ob, struct slice text, uint64_t *ret)
{
	struct outbox_entry e = { .seq = 0 };

	if (str_parse_u64(text, ret) == 0)
		return NULL;
	if (!ob || outbox_find(ob, text, &e) < 0)
		return "after: accepted: \"next\" of the page before, or the id of an entry";
	*ret = e.seq;
	outbox_entry_fini(&e);
	return NULL;
}

static void make_lower(struct buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		b->data[i] = (char)tolower((unsigned char)b->data[i]);
}

/* Newest first is for what is over, and for all: of what waits the oldest is the one to look at, and among very many
 * rows it would have to be searched for. */
static const char *read_order(struct listing *l, struct slice text, const char *fault)
{
	l->newest_first = slice_eq_str(text, "desc");
	if (!fault && !l->newest_first && !slice_eq_str(text, "asc"))
		fault = "order: accepted: asc, desc";
	if (!fault && l->newest_first && l->state >= 0 && !outbox_state_is_settled((enum outbox_state)l->state))
		fault = "order: desc is for all entries, or state applied, dropped, resolved";
	return fault;
}

/* What is wrong with the query; NULL: nothing. */
static const char *read_query(struct outbox *ob, struct slice query, struct listing *l)
{
	static const char limit_fault[] = "limit: accepted: 1 to 1000";
	enum outbox_state state = OUTBOX_QUEUED;
	struct buf text = BUF_EMPTY;
	const char *fault = NULL;
	uint64_t n = LIST_LIMIT;

	if (url_query_get(query, "service", &l->service) == WEIR_E_PARSE)
		fault = "service: is not encoded rightly";
	if (url_query_get(query, "text", &l->text) == WEIR_E_PARSE)
		fault = "text: is not encoded rightly";
	make_lower(&l->text);
	if (url_query_get(query, "state", &text) == 0 && text.len) {
		if (outbox_state_parse(buf_slice(&text), &state) < 0)
			fault = "state: accepted: queued, sending, applied, conflict, held, dropped, resolved";
		l->state = (int)state;
	}
	buf_reset(&text);
	if (url_query_get(query, "order", &text) == 0 && text.len)
		fault = read_order(l, buf_slice(&text), fault);
	buf_reset(&text);
	if (url_query_get(query, "limit", &text) == 0 && (str_parse_u64(buf_slice(&text), &n) < 0 || !n))
		fault = limit_fault;
	l->limit = n < LIST_LIMIT ? (size_t)n : LIST_LIMIT;
	buf_reset(&text);
	if (!fault && url_query_get(query, "after", &text) == 0 && text.len)
		fault = read_after(ob, buf_slice(&text), &l->after);
	buf_fini(&text);
	return fault;
}

static bool has_text(const struct buf *b, const struct buf *lower)
{
	struct buf copy = BUF_EMPTY;
	bool found;

	buf_add_slice(&copy, buf_slice(b));
	make_lower(&copy);
	found = memmem(copy.data, copy.len, lower->data, lower->len) != NULL;
	buf_fini(&copy);
	return found;
}

/* By what a person would know of an entry: the address, as sent and as a path, its id, what became of it. */
static bool is_wanted(const struct listing *l, const struct outbox_entry *e)
{
	struct buf id = BUF_EMPTY;
	bool yes;

	if (!l->text.len)
		return true;
	buf_add_str(&id, e->id);
	yes = has_text(&e->uri, &l->text) || has_text(&e->key, &l->text) || has_text(&id, &l->text) ||
	      has_text(&e->last_error, &l->text);
	buf_fini(&id);
	return yes;
}

static bool add_item(void *arg, const struct outbox_entry *e)
{
	struct listing *l = arg;

	if (json_array_size(l->items) == l->limit || l->seen == SEARCH_LIMIT) {
		l->more = true;
		return false;
	}
	if (is_wanted(l, e))
		(void)json_array_append_new(l->items, outbox_entry_json(e));
	l->seen++;
	l->last = e->seq;
	return true;
}

static json_t *list_json(struct listing *l)
{
	char next[24];

	(void)snprintf(next, sizeof(next), "%llu", (unsigned long long)l->last);
	return json_pack("{s:O, s:o}", "items", l->items, "next", l->more ? json_string(next) : json_null());
}

void outbox_list_entries(struct exchange *ex)
{
	struct listing l = { .service = BUF_EMPTY, .text = BUF_EMPTY, .state = -1, .items = json_array() };
	struct outbox *ob = outbox_of(ex);
	struct slice query;
	const char *fault;
	int err = 0;

	(void)route_path(exchange_target(ex), &query);
	fault = read_query(ob, query, &l);
	if (!fault && ob && l.newest_first)
		err = outbox_list_back(ob, l.service.len ? l.service.data : NULL, l.state,
				       l.after ? l.after : UINT64_MAX, SIZE_MAX, add_item, &l);
	else if (!fault && ob)
		err = outbox_list(ob, l.service.len ? l.service.data : NULL, l.state, l.after, SIZE_MAX, add_item, &l);
	if (fault)
		exchange_reply_problem(ex, 400, "Bad request", "%s", fault);
	else if (err)
		exchange_reply_problem(ex, 503, "Not listed", "the outbox cannot be read: %s", err_text(err));
	else
		admin_reply_json(ex, 200, list_json(&l));
	json_decref(l.items);
	buf_fini(&l.service);
	buf_fini(&l.text);
}
