/* hub_page.c -- a page of a session's events, from any place, in either direction, with a search.
 *
 * WHY      Who scrolls through 100,000 events wants a hundred of them now. A search that finds little must neither keep
 *          its client waiting nor a worker busy: a page looks at a bounded number of events and says where to go on.
 * RULES    1. `next` is set as long as there is something that was not looked at, also when the page is not full.
 * LIMITS   MOST_ITEMS, MOST_LOOKED_AT events or MOST_LOOKED_AT_BYTES, and about MOST_BYTES a page.
 * THREADS  Workers; the read belongs to the caller. */
#include "base/err.h"
#include "core/json.h"
#include "hub/hub_priv.h"
#include "hub/hub_scan.h"
#include "hub/hub_text.h"

#define DEFAULT_ITEMS        100
#define MOST_ITEMS           1000
#define MOST_LOOKED_AT       50000
#define MOST_LOOKED_AT_BYTES (32 * 1024 * 1024)
#define MOST_BYTES           (1024 * 1024)

struct page {
	const struct hub_query *query;
	struct buf levels; /* the texts wanted, as they are kept: ["error","critical"] */
	struct buf group, label;
	struct hub_out *out;
	const char *between;
	uint64_t limit, looked_at, found;
	size_t bytes, looked_at_bytes;
	int64_t next; /* -1: there is nothing further */
};
enum { PAGE_FULL = 1 };

static bool is_one_of(struct slice value, struct slice list)
{
	struct hub_scan s = hub_scan_of(list);
	struct slice one;

	while (hub_scan_element(&s, &one))
		if (slice_eq(one, value))
			return true;
	return false;
}

static bool is_in_time(const struct hub_filter *f, struct slice timestamp)
{
	int64_t ms;

	if (!f->since_ms && !f->until_ms)
		return true;
	return hub_scan_time(timestamp, &ms) && (!f->since_ms || ms >= f->since_ms) &&
	       (!f->until_ms || ms < f->until_ms);
}

/* What costs most comes last. 1, 0 or a code. */
static int fits(const struct page *p, struct slice body)
{
	struct hub_scan_want want[] = { { .name = "timestamp" },
					{ .name = "category" },
					{ .name = "group" },
					{ .name = "labels" },
					{ .name = NULL } };

	if (!hub_scan_members(body, want))
		return WEIR_E_DAMAGED;
	return is_in_time(&p->query->filter, want[0].value) &&
	       (!p->levels.len || is_one_of(want[1].value, buf_slice(&p->levels))) &&
	       (!p->group.len || slice_eq(want[2].value, buf_slice(&p->group))) &&
	       (!p->label.len || is_one_of(buf_slice(&p->label), want[3].value)) &&
	       (!p->query->filter.text.p || hub_text_occurs(body, p->query->filter.text));
}

static int take_event(void *arg, int64_t place, struct slice body)
{
	struct page *p = arg;
	struct buf *b = &p->out->b;
	int r;

	p->next = place;
	if (p->found == p->limit || p->looked_at == MOST_LOOKED_AT || p->looked_at_bytes > MOST_LOOKED_AT_BYTES ||
	    p->bytes > MOST_BYTES)
		return PAGE_FULL;
	p->looked_at++;
	p->looked_at_bytes += body.n;
	r = fits(p, body);
	if (r == 1) {
		buf_addf(b, "%s{\"place\":%lld,\"event\":", p->between, (long long)place);
		buf_add_slice(b, body);
		buf_add_char(b, '}');
		p->bytes += body.n;
		p->between = ",";
		p->found++;
	}
	p->next = -1;
	return r < 0 ? r : hub_out_move(p->out);
}

static void write_levels(struct slice levels, struct buf *out)
{
	const char *between = "[";
	struct slice one;
	bool more;

	do {
		more = slice_cut(&levels, ',', &one);
		buf_add_str(out, between);
		json_write_text(one, out);
		between = ",";
	} while (more);
	buf_add_char(out, ']');
}

int hub_look_page(const struct hub_looking *l)
{
	const struct hub_query *q = l->query;
	struct page p = { .query = q,
			  .levels = BUF_EMPTY,
			  .group = BUF_EMPTY,
			  .label = BUF_EMPTY,
			  .out = l->out,
			  .between = "",
			  .limit = !q->limit               ? DEFAULT_ITEMS
				   : q->limit < MOST_ITEMS ? q->limit
							   : MOST_ITEMS,
			  .next = -1 };
	enum hub_order order = q->filter.order;
	int64_t from = q->from >= 0 ? q->from : order == HUB_ASCENDING ? 0 : INT64_MAX;
	int r;

	if (q->levels.p)
		write_levels(q->levels, &p.levels);
	if (q->group.p)
		json_write_text(q->group, &p.group);
	if (q->label.p)
		json_write_text(q->label, &p.label);
	buf_add_str(&l->out->b, "{\"items\":[");
	r = l->out->h->store->t->read_items(l->rd, l->s->number, HUB_EVENTS, from, order, take_event, &p);
	buf_add_str(&l->out->b, "],\"next\":");
	if (p.next < 0)
		buf_add_str(&l->out->b, "null");
	else
		buf_addf(&l->out->b, "%lld", (long long)p.next);
	buf_addf(&l->out->b, ",\"total\":%lld}", (long long)l->s->counts[HUB_EVENTS]);
	buf_fini(&p.levels);
	buf_fini(&p.group);
	buf_fini(&p.label);
	return r == PAGE_FULL ? 0 : r;
}
