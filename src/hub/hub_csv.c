/* hub_csv.c -- sessions and their items as tables (RFC 4180): a head line, CRLF, quotes where they are needed.
 *
 * WHAT     Lists and objects stand in their column as JSON. What a spreadsheet would take for a formula ('=', '+', '-',
 *          '@' first, in a text) gets a ' before it: what a program reports must not run in the program of who looks at
 *          it.
 * THREADS  Workers; the read belongs to the caller. */
#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_priv.h"

static void add_quoted(struct slice s, struct buf *out)
{
	buf_add_char(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			buf_add_char(out, '"');
		buf_add_char(out, s.p[i]);
	}
	buf_add_char(out, '"');
}

static void add_cell(struct slice s, bool is_text, struct buf *out)
{
	bool formula = is_text && s.n && memchr("=+-@\t\r", s.p[0], 6);
	bool special = formula;

	for (size_t i = 0; i < s.n && !special; i++)
		special = s.p[i] == '"' || s.p[i] == ',' || s.p[i] == '\n' || s.p[i] == '\r';
	if (!special) {
		buf_add_slice(out, s);
	} else if (!formula) {
		add_quoted(s, out);
	} else {
		buf_add_str(out, "\"'");
		for (size_t i = 0; i < s.n; i++) {
			if (s.p[i] == '"')
				buf_add_char(out, '"');
			buf_add_char(out, s.p[i]);
		}
		buf_add_char(out, '"');
	}
}

/* --- the list --------------------------------------------------------------------------------------------------- */

void hub_csv_session_head(struct buf *out)
{
	buf_add_str(
		out,
		"id,product,version,machine_id,hostname,created_at,updated_at,ended_at,last_heartbeat,state,hung,ever_hung,"
		"state_changes,events,metrics\r\n");
}

static void add_time(int64_t ms, struct buf *out)
{
	buf_add_char(out, ',');
	if (ms)
		clock_format_rfc3339(ms, out);
}

void hub_csv_session(const struct hub_session *s, int64_t stale_ms, struct buf *out)
{
	const struct buf *texts[] = { &s->product, &s->version, &s->machine_id, &s->hostname };
	struct hub_status is = hub_session_status(s, stale_ms);

	buf_add_str(out, s->id);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		buf_add_char(out, ',');
		add_cell(buf_slice(texts[i]), true, out);
	}
	add_time(s->created_ms, out);
	add_time(s->updated_ms, out);
	add_time(s->ended_ms, out);
	add_time(s->heartbeat_ms, out);
	buf_addf(out, ",%s,%s,%s,%lld,%lld,%lld\r\n",
		 is.crashed     ? "crashed"
		 : is.suspended ? "suspended"
		 : is.active    ? "active"
				: "ended",
		 is.hung ? "true" : "false", s->flags & HUB_HUNG_EVER ? "true" : "false",
		 (long long)s->counts[HUB_HISTORY], (long long)s->counts[HUB_EVENTS],
		 (long long)s->counts[HUB_METRICS]);
}

/* --- items ------------------------------------------------------------------------------------------------------ */

static const char *const event_columns[] = {
	"timestamp",  "name",           "category",      "group",       "labels",      "message",         "data",
	"stacktrace", "exception_type", "exception_msg", "source_file", "source_line", "source_function", NULL
};
static const char *const metric_columns[] = { "timestamp", "name", "type",     "value", "count",
					      "unit",      "tags", "metadata", NULL };
static const char *const history_columns[] = { "timestamp", "state", NULL };
static const char *const *const columns[HUB_LIST_COUNT] = { event_columns, metric_columns, history_columns };

struct table {
	struct hub_out *out;
	const char *const *columns;
	uint64_t left;
	bool limited;
};
enum { TABLE_ENOUGH = 1 };

static int take_row(void *arg, int64_t place, struct slice body)
{
	struct table *t = arg;
	struct buf text = BUF_EMPTY;
	json_t *item = NULL;

	if (t->limited && t->left-- == 0)
		return TABLE_ENOUGH;
	if (json_read(body, JSON_READ_KEPT, &item, NULL) < 0)
		return WEIR_E_DAMAGED;
	buf_addf(&t->out->b, "%lld", (long long)place);
	for (size_t i = 0; t->columns[i]; i++) {
		json_t *v = json_object_get(item, t->columns[i]);

		buf_add_char(&t->out->b, ',');
		buf_reset(&text);
		if (json_is_string(v))
			buf_add(&text, json_string_value(v), json_string_length(v));
		else if (v)
			json_write(v, &text);
		add_cell(buf_slice(&text), json_is_string(v), &t->out->b);
	}
	buf_add_str(&t->out->b, "\r\n");
	json_decref(item);
	buf_fini(&text);
	return hub_out_move(t->out);
}

int hub_csv_items(struct hub_read *rd, const struct hub_session *s, enum hub_list list, int64_t from, uint64_t most,
		  struct hub_out *o)
{
	struct table t = { .out = o, .columns = columns[list], .left = most, .limited = most != 0 };
	int r;

	buf_add_str(&o->b, "place");
	for (size_t i = 0; t.columns[i]; i++)
		buf_addf(&o->b, ",%s", t.columns[i]);
	buf_add_str(&o->b, "\r\n");
	r = o->h->store->t->read_items(rd, s->number, list, from, HUB_ASCENDING, take_row, &t);
	return r == TABLE_ENOUGH ? 0 : r;
}
