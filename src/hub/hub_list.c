/* hub_list.c -- the query strings of lists: which sessions, how many, from where, in which form.
 *
 *   product= version= machine= hostname=   equal
 *   state=active,suspended,ended,crashed   any of these
 *   since= until=                          created in [since, until): RFC 3339
 *   hung=now|ever|recovered|ended|crashed  hangs now; ever hung; hung and recovered; hung when it ended or crashed
 *   text=                                  occurs in an event
 *   sort=created|updated|product|hostname|events   order=desc|asc
 *   limit= after=                          a page: so many, behind the one with this cursor
 *   view=full|summary   format=json|csv
 *   from=                                  of items: the first one's place
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

static bool take_since(struct hub_query *q, struct slice v)
{
	return hub_op_time(v, &q->filter.since_ms) == 0;
}

static bool take_until(struct hub_query *q, struct slice v)
{
	return hub_op_time(v, &q->filter.until_ms) == 0;
}

static bool take_view(struct hub_query *q, struct slice v)
{
	static const struct word words[] = { { "full", false }, { "summary", true }, { NULL, 0 } };
	unsigned value = 0;
	bool ok = take_word(v, words, &value);

	q->summary = value;
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

static const struct {
	const char *name;
	bool (*take)(struct hub_query *q, struct slice v);
	const char *accepted;
} parameters[] = {
	{ "product", take_product, "a product" },
	{ "version", take_version, "a version" },
	{ "machine", take_machine, "a machine_id" },
	{ "machine_id", take_machine, "a machine_id" },
	{ "hostname", take_hostname, "a hostname" },
	{ "state", take_state, "active, suspended, ended, crashed, or several with commas between" },
	{ "hung", take_hung, "now, ever, recovered, ended or crashed" },
	{ "since", take_since, "a time as in 2026-01-02T03:04:05Z" },
	{ "until", take_until, "a time as in 2026-01-02T03:04:05Z" },
	{ "text", take_text, "1 to 256 bytes" },
	{ "sort", take_sort, "created, updated, product, hostname or events" },
	{ "order", take_order, "desc or asc" },
	{ "limit", take_limit, "a number from 1 on" },
	{ "after", take_after, "what the Link header of the page before said" },
	{ "from", take_from, "a number from 0 on" },
	{ "view", take_view, "full or summary" },
	{ "format", take_format, "json or csv" },
};

static int take_parameter(struct slice name, struct slice value, struct hub_query *ret, struct buf *why)
{
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
		if (!slice_eq_str(name, parameters[i].name))
			continue;
		if (parameters[i].take(ret, value))
			return 0;
		buf_addf(why, "Invalid request: %s takes %s", parameters[i].name, parameters[i].accepted);
		return -EINVAL;
	}
	buf_add_str(why, "Invalid request: no parameter ");
	str_add_escaped(why, name, 40);
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++)
		buf_addf(why, "%s%s", i ? ", " : "; there are ", parameters[i].name);
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

int hub_query_read(struct slice query, struct arena *arena, struct hub_query *ret, struct buf *why)
{
	struct slice pair, name, value;
	int r = 0;

	*ret = (struct hub_query){ .filter = { .order = HUB_DESCENDING } };
	while (query.n && r == 0) {
		(void)slice_cut(&query, '&', &pair);
		if (!pair.n)
			continue;
		(void)slice_cut(&pair, '=', &name); /* without one, the value is empty */
		if (decode(pair, arena, &value) < 0) {
			buf_add_str(why, "Invalid request: a %-escape in the query is broken");
			r = -EINVAL;
		} else {
			r = take_parameter(name, value, ret, why);
		}
	}
	if (r == 0 && ret->filter.after.number && !fits_sort(ret)) {
		buf_add_str(why, "Invalid request: after is not of a list with this sort");
		r = -EINVAL;
	}
	return r;
}

/* --- cursors ---------------------------------------------------------------------------------------------------- */

struct hub_cursor hub_cursor_at(const struct hub_filter *f, const struct hub_session *s, struct buf *text)
{
	struct hub_cursor c = { .number = s->number, .value = s->created_ms };

	if (f->sort == HUB_BY_UPDATED)
		c.value = s->updated_ms;
	if (f->sort == HUB_BY_EVENTS)
		c.value = s->counts[HUB_EVENTS];
	buf_reset(text);
	if (has_text(f->sort))
		buf_add_slice(text, buf_slice(f->sort == HUB_BY_PRODUCT ? &s->product : &s->hostname));
	c.text = buf_slice(text);
	return c;
}

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
