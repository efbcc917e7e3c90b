/* hub_list.c -- the query strings of lists: which sessions, how many, from where, in which form.
 *
 *   product= version= machine= hostname=   equal
 *   state=active,suspended,ended,crashed   any of these
 *   since= until=                          created in [since, until): RFC 3339
 *   hung=now|ever|recovered|ended|crashed  hangs now; ever hung; hung and recovered; was hung when it ended; when it
 *   crashed text=                                  in an event
 *   limit= after=                          a page: so many, behind the one with this cursor
 *   view=full|summary   format=json|csv
 *   from=                                  of items: the first one's place
 *
 * RULES    A name that is not one of these, or a value that is not understood, is refused: a filter with a slip of the
 *          pen must not look like an answer.
 * THREADS  Pure. */
#include <errno.h>

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

static bool take_number(struct slice v, uint64_t least, uint64_t most, uint64_t *ret)
{
	return str_parse_u64(v, ret) == 0 && *ret >= least && *ret <= most;
}

static bool take_limit(struct hub_query *q, struct slice v)
{
	return take_number(v, 1, INT32_MAX, &q->limit);
}

/* The cursor is a session's number: an order that does not move while one turns the pages. */
static bool take_after(struct hub_query *q, struct slice v)
{
	uint64_t n;

	if (!take_number(v, 1, INT32_MAX, &n))
		return false;
	q->filter.before = (int64_t)n;
	return true;
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

int hub_query_read(struct slice query, struct arena *arena, struct hub_query *ret, struct buf *why)
{
	struct slice pair, name, value;
	int r = 0;

	*ret = (struct hub_query){ .limit = 0 };
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
	return r;
}
