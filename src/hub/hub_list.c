/* hub_list.c -- query strings: which sessions or items, how many, from where, in which form.
 *
 *   product= version= machine= hostname=   equal
 *   state=active,suspended,ended,crashed   any of these
 *   since= until=                          created in [since, until): RFC 3339
 *   hung=now|ever|recovered|ended|crashed  hangs now; ever hung; hung and recovered; hung when it ended or crashed
 *   text=                                  occurs in an event
 *   sort=created|updated|product|hostname|events   order=desc|asc
 *   limit= after=                          a page: so many, behind the one with this cursor
 *   view=full|summary|brief   format=json|csv
 *   from=                                  of items: the first one's place
 *   level= group= label= text= since= until= order=   of events with view=page
 *   name= type= tags= tag= points=         of a series of metrics
 *   at=   buckets=                         of the state; of a timeline
 *
 * The table below tells which look takes what.
 *
 *
 * A cursor is "c.1767323045678.17": the sort's first letter, then what the last session of the page is sorted by, its
 * number, and for texts ".text", escaped. It says where a page begins, not which session was there: so nothing moves
 * when sessions come, and none has to stay. Nobody but us reads it.
 *
 * RULES    A name that is not one of these, or a value that is not understood, is refused: a filter with a slip of the
 *          pen must not look like an answer.
 * THREADS  Pure. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "hub/hub_priv.h"

#define MOST_TEXT 256
#define TIME      "a time as in 2026-01-02T03:04:05Z"

static int unhex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* %XX and '+' undone, in the arena. 0 or WEIR_E_PARSE. */
static int decode(struct slice s, struct arena *arena, struct slice *ret)
{
	char *out = arena_alloc(arena, s.n + 1);
	size_t n = 0;

	if (!out)
		return WEIR_E_PARSE;
	for (size_t i = 0; i < s.n; i++) {
		bool escape = s.p[i] == '%';
		int high = escape && i + 2 < s.n ? unhex(s.p[i + 1]) : -1, low = high >= 0 ? unhex(s.p[i + 2]) : -1;

		if (escape && (low < 0 || !(high | low)))
			return WEIR_E_PARSE;
		out[n++] = escape ? (char)(high << 4 | low) : s.p[i] == '+' ? ' ' : s.p[i];
		i += escape ? 2 : 0;
	}
	out[n] = '\0';
	*ret = (struct slice){ out, n };
	return 0;
}

/* --- values ----------------------------------------------------------------------------------------------------- */

struct word {
	const char *name;
	unsigned value;
};

static bool take_word(struct slice s, const struct word *words, unsigned *ret)
{
	for (; words->name; words++) {
		if (!slice_eq_str(s, words->name))
			continue;
		*ret = words->value;
		return true;
	}
	return false;
}

static bool take_state(struct hub_query *q, struct slice v)
{
	static const struct word words[] = { { "active", HUB_IS_ACTIVE },
					     { "suspended", HUB_IS_SUSPENDED },
					     { "ended", HUB_IS_ENDED },
					     { "crashed", HUB_IS_CRASHED },
					     { NULL, 0 } };
	struct slice one;
	unsigned bit = 0;

	do {
		bool more = slice_cut(&v, ',', &one);

		if (!take_word(one, words, &bit))
			return false;
		q->filter.conditions |= bit;
		if (!more)
			return true;
	} while (true);
}

static bool take_hung(struct hub_query *q, struct slice v)
{
	static const struct word words[] = {
		{ "now", HUB_HUNG },          { "ever", HUB_HUNG_EVER },        { "recovered", HUB_HUNG_RECOVERED },
		{ "ended", HUB_HUNG_AT_END }, { "crashed", HUB_HUNG_AT_CRASH }, { NULL, 0 }
	};

	return take_word(v, words, &q->filter.flags);
}

static const struct word sorts[] = { { "created", HUB_BY_CREATED }, { "updated", HUB_BY_UPDATED },
				     { "product", HUB_BY_PRODUCT }, { "hostname", HUB_BY_HOSTNAME },
				     { "events", HUB_BY_EVENTS },   { NULL, 0 } };

static bool take_number(struct slice v, uint64_t least, uint64_t most, uint64_t *ret)
{
	return str_parse_u64(v, ret) == 0 && *ret >= least && *ret <= most;
}

static bool take_limit(struct hub_query *q, struct slice v)
{
	return take_number(v, 1, INT32_MAX, &q->limit);
}

/* Whether its letter is the sort's can be told when all is read: see fits_sort(). */
static bool take_after(struct hub_query *q, struct slice v)
{
	struct slice letter, value, number;
	uint64_t n, u;
	bool negative, has_text;

	if (!slice_cut(&v, '.', &letter) || letter.n != 1 || !slice_cut(&v, '.', &value))
		return false;
	negative = slice_starts(value, "-");
	has_text = slice_cut(&v, '.', &number);
	if (str_parse_u64(negative ? slice_from(value, 1) : value, &u) < 0 || u > INT64_MAX ||
	    !take_number(number, 1, INT32_MAX, &n))
		return false;
	q->cursor_sort = letter.p[0];
	q->filter.after = (struct hub_cursor){ .number = (int64_t)n, .value = negative ? -(int64_t)u : (int64_t)u };
	if (has_text)
		q->filter.after.text = v;
	return true;
}

static bool take_sort(struct hub_query *q, struct slice v)
{
	unsigned value = HUB_BY_CREATED;
	bool ok = take_word(v, sorts, &value);

	q->filter.sort = (enum hub_sort)value;
	return ok;
}

static bool take_order(struct hub_query *q, struct slice v)
{
	static const struct word words[] = { { "asc", HUB_ASCENDING }, { "desc", HUB_DESCENDING }, { NULL, 0 } };
	unsigned value = HUB_DESCENDING;
	bool ok = take_word(v, words, &value);

	q->filter.order = (enum hub_order)value;
	q->is_ordered = true;
	return ok;
}

static bool take_from(struct hub_query *q, struct slice v)
{
	uint64_t n;

	if (!take_number(v, 0, UINT32_MAX, &n))
		return false;
	q->from = (int64_t)n;
	return true;
}

/* The beginning of 1970, which means no bound elsewhere, is a millisecond earlier. */
static bool take_bound(struct slice v, int64_t *ret)
{
	bool ok = hub_op_time(v, ret) == 0;

	if (ok && *ret == 0)
		*ret = -1;
	return ok;
}

static bool take_since(struct hub_query *q, struct slice v)
{
	return take_bound(v, &q->filter.since_ms);
}

static bool take_until(struct hub_query *q, struct slice v)
{
	return take_bound(v, &q->filter.until_ms);
}

static bool take_view(struct hub_query *q, struct slice v)
{
	static const struct word words[] = {
		{ "full", HUB_VIEW_FULL }, { "summary", HUB_VIEW_SUMMARY }, { "brief", HUB_VIEW_BRIEF }, { NULL, 0 }
	};
	unsigned value = 0;
	bool ok = take_word(v, words, &value);

	q->view = (enum hub_view)value;
	return ok;
}

static bool take_format(struct hub_query *q, struct slice v)
{
	static const struct word words[] = { { "json", HUB_JSON }, { "csv", HUB_CSV }, { NULL, 0 } };
	unsigned value = HUB_JSON;
	bool ok = take_word(v, words, &value);

	q->format = (enum hub_format)value;
	return ok;
}

static bool take_text(struct hub_query *q, struct slice v)
{
	q->filter.text = v;
	return v.n > 0 && v.n <= MOST_TEXT;
}

static bool take_page_view(struct hub_query *q, struct slice v)
{
	static const struct word words[] = { { "full", false }, { "page", true }, { NULL, 0 } };
	unsigned value = 0;
	bool ok = take_word(v, words, &value);

	q->is_page = value;
	return ok;
}

static bool take_buckets(struct hub_query *q, struct slice v)
{
	return take_number(v, 1, HUB_MOST_BUCKETS, &q->buckets);
}

static bool take_at(struct hub_query *q, struct slice v)
{
	q->has_at = hub_op_time(v, &q->at_ms) == 0;
	return q->has_at;
}

static bool take_level(struct hub_query *q, struct slice v)
{
	q->levels = v;
	return v.n > 0;
}

static bool take_group(struct hub_query *q, struct slice v)
{
	q->group = v;
	return true;
}

static bool take_label(struct hub_query *q, struct slice v)
{
	q->label = v;
	return v.n > 0;
}

static bool take_name(struct hub_query *q, struct slice v)
{
	q->name = v;
	return v.n > 0;
}

static bool take_type(struct hub_query *q, struct slice v)
{
	q->type = v;
	return v.n > 0;
}

/* One, which may have a comma in it. */
static bool take_tag(struct hub_query *q, struct slice v)
{
	if (q->tag_count == HUB_MOST_TAGS)
		return false;
	q->tags[q->tag_count++] = v;
	return true;
}

static bool take_tags(struct hub_query *q, struct slice v)
{
	struct slice one;

	while (v.n) {
		(void)slice_cut(&v, ',', &one);
		if (!take_tag(q, one))
			return false;
	}
	return true;
}

static bool take_product(struct hub_query *q, struct slice v)
{
	q->filter.product = v;
	return true;
}

static bool take_version(struct hub_query *q, struct slice v)
{
	q->filter.version = v;
	return true;
}

static bool take_machine(struct hub_query *q, struct slice v)
{
	q->filter.machine_id = v;
	return true;
}

static bool take_hostname(struct hub_query *q, struct slice v)
{
	q->filter.hostname = v;
	return true;
}

/* --- which parameters there are --------------------------------------------------------------------------------- */

#define OF(look)  (1u << HUB_LOOK_##look)
#define OF_LIST   OF(SESSIONS)
#define OF_EVENTS OF(EVENTS)
#define OF_ITEMS  (OF(EVENTS) | OF(METRICS) | OF(HISTORY))
#define OF_SPANS  (OF(TIMELINE) | OF(POINTS))

static const struct parameter {
	const char *name;
	unsigned of; /* which looks take it */
	bool (*take)(struct hub_query *q, struct slice v);
	const char *accepted;
} parameters[] = {
	{ "product", OF_LIST, take_product, "a product" },
	{ "version", OF_LIST, take_version, "a version" },
	{ "machine", OF_LIST, take_machine, "a machine_id" },
	{ "machine_id", OF_LIST, take_machine, "a machine_id" },
	{ "hostname", OF_LIST, take_hostname, "a hostname" },
	{ "state", OF_LIST, take_state, "active, suspended, ended, crashed, or several with commas between" },
	{ "hung", OF_LIST, take_hung, "now, ever, recovered, ended or crashed" },
	{ "since", OF_LIST | OF_EVENTS | OF_SPANS, take_since, TIME },
	{ "until", OF_LIST | OF_EVENTS | OF_SPANS, take_until, TIME },
	{ "at", OF(STATE), take_at, TIME },
	{ "text", OF_LIST | OF_EVENTS, take_text, "1 to 256 bytes" },
	{ "level", OF_EVENTS, take_level, "a category, or several with commas between" },
	{ "group", OF_EVENTS, take_group, "a group" },
	{ "label", OF_EVENTS, take_label, "a label" },
	{ "name", OF(POINTS), take_name, "a metric's name" },
	{ "type", OF(POINTS), take_type, "a metric's type" },
	{ "tags", OF(POINTS), take_tags, "a metric's tags with commas between, 64 at most" },
	{ "tag", OF(POINTS), take_tag, "one of a metric's tags, and there may be 64 of them" },
	{ "buckets", OF(TIMELINE), take_buckets, "a number from 1 to 2000" },
	{ "points", OF(POINTS), take_buckets, "a number from 1 to 2000" },
	{ "sort", OF_LIST, take_sort, "created, updated, product, hostname or events" },
	{ "order", OF_LIST | OF_EVENTS, take_order, "desc or asc" },
	{ "limit", OF_LIST | OF_ITEMS, take_limit, "a number from 1 on" },
	{ "after", OF_LIST, take_after, "what the Link header of the page before said" },
	{ "from", OF_ITEMS, take_from, "a number from 0 on" },
	{ "view", OF_LIST | OF(SESSION), take_view, "full, summary or brief" },
	{ "view", OF_EVENTS, take_page_view, "full or page" },
	{ "format", OF_LIST | OF_ITEMS, take_format, "json or csv" },
};

static int take_parameter(enum hub_look look, struct slice name, struct slice value, struct hub_query *ret,
			  struct buf *why)
{
	const char *between = "; there are ";

	for (const struct parameter *p = parameters; p < parameters + ARRAY_LEN(parameters); p++) {
		if (!(p->of & 1u << look) || !slice_eq_str(name, p->name))
			continue;
		if (p->take(ret, value))
			return 0;
		buf_addf(why, "Invalid request: %s takes %s", p->name, p->accepted);
		return -EINVAL;
	}
	buf_add_str(why, "Invalid request: no parameter ");
	str_add_escaped(why, name, 40);
	for (const struct parameter *p = parameters; p < parameters + ARRAY_LEN(parameters); p++) {
		if (!(p->of & 1u << look))
			continue;
		buf_addf(why, "%s%s", between, p->name);
		between = ", ";
	}
	return -EINVAL;
}

static bool has_text(enum hub_sort sort)
{
	return sort == HUB_BY_PRODUCT || sort == HUB_BY_HOSTNAME;
}

static bool fits_sort(const struct hub_query *q)
{
	return q->cursor_sort == sorts[q->filter.sort].name[0] && !q->filter.after.text.p == !has_text(q->filter.sort);
}

/* What goes together only in some ways; NULL: all is well. Not every engine has an index on what changes with each write: a
 * list by it is sorted anew for each page. */
static const char *misfit(enum hub_look look, const struct hub_query *q)
{
	const struct hub_filter *f = &q->filter;
	bool chooses = q->levels.p || q->group.p || q->label.p || f->text.p || f->since_ms || f->until_ms;

	if (f->after.number && !fits_sort(q))
		return "after is not of a list with this sort";
	if ((f->sort == HUB_BY_UPDATED || f->sort == HUB_BY_EVENTS) && (!q->limit || q->limit > HUB_MOST_PAGE))
		return "sort=updated and sort=events want a limit of 1 to 255";
	if (look == HUB_LOOK_EVENTS && !q->is_page && (chooses || q->is_ordered))
		return "level, group, label, text, since, until and order want view=page";
	if (q->is_page && q->format != HUB_JSON)
		return "view=page has no other format than json";
	if ((OF_SPANS & 1u << look) && f->since_ms && f->until_ms && f->since_ms >= f->until_ms)
		return "since is not before until";
	if (look == HUB_LOOK_POINTS && !q->name.n)
		return "name is missing";
	return NULL;
}

int hub_query_read(struct slice query, enum hub_look look, struct arena *arena, struct hub_query *ret, struct buf *why)
{
	struct slice pair, name, value;
	const char *wrong;
	int r = 0;

	*ret = (struct hub_query){ .filter = { .order = look == HUB_LOOK_SESSIONS ? HUB_DESCENDING : HUB_ASCENDING },
				   .from = -1 };
	while (query.n && r == 0) {
		(void)slice_cut(&query, '&', &pair);
		if (!pair.n)
			continue;
		(void)slice_cut(&pair, '=', &name); /* without one, the value is empty */
		if (decode(pair, arena, &value) < 0) {
			buf_add_str(why, "Invalid request: a %-escape in the query is broken");
			r = -EINVAL;
		} else {
			r = take_parameter(look, name, value, ret, why);
		}
	}
	wrong = r == 0 ? misfit(look, ret) : NULL;
	if (wrong)
		buf_addf(why, "Invalid request: %s", wrong);
	return wrong ? -EINVAL : r;
}

/* --- cursors ---------------------------------------------------------------------------------------------------- */

/* What a URI may have as it is stays (RFC 3986 2.3). */
static void add_escaped(struct slice s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (isalnum(c) || strchr("-._~", c)) /* in the C locale; never NUL */
			buf_add_char(out, (char)c);
		else
			buf_addf(out, "%%%02X", c);
	}
}

void hub_cursor_write(const struct hub_filter *f, struct buf *out)
{
	buf_addf(out, "%c.%lld.%lld", sorts[f->sort].name[0], (long long)f->after.value, (long long)f->after.number);
	if (has_text(f->sort)) {
		buf_add_char(out, '.');
		add_escaped(f->after.text, out);
	}
}
