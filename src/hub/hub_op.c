/* hub_op.c -- requests about a session, from JSON to what is kept.
 *
 * WHAT     A table for each kind of item names its fields, their types, and whether they are written when not given.
 *          One walk along it checks and writes.
 * RULES    1. A member of the wrong type is a refusal; null is as absent; members that the table does not name are kept
 *             as they are, behind those that it does.
 *          2. An item is written once, here, as it will be sent back.
 * THREADS  Pure.
 * SEE      the original's API: timestamps are kept as sent; category is info, or error when there is an exception */
#include "hub/hub_op.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"

const char *const hub_op_names[HUB_OP_COUNT + 1] = { "state", "event", "metric", "heartbeat", "end", "crash", NULL };

int hub_op_type_of(const char *name)
{
	for (int i = 0; i < HUB_OP_COUNT; i++)
		if (strcmp(name, hub_op_names[i]) == 0)
			return i;
	return -1;
}

void hub_op_fini(struct hub_op *op)
{
	buf_fini(&op->body);
	buf_fini(&op->error);
	json_decref(op->patch);
	op->patch = NULL;
}

void hub_ops_free(struct hub_op *ops, size_t count)
{
	for (size_t i = 0; i < count; i++)
		hub_op_fini(&ops[i]);
	free(ops);
}

/* --- values ----------------------------------------------------------------------------------------------------- */

static struct slice text_of(const json_t *v)
{
	return (struct slice){ json_string_value(v), json_string_length(v) };
}

/* NULL when absent or null. */
static json_t *member(const json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	return json_is_null(v) ? NULL : v;
}

int hub_op_text(const json_t *o, const char *name, struct slice *ret)
{
	json_t *v = member(o, name);

	*ret = v ? text_of(v) : SLICE_LIT("");
	return v && !json_is_string(v) ? WEIR_E_PARSE : 0;
}

int hub_op_time(struct slice text, int64_t *ret_ms)
{
	int64_t ms;

	if (text.n < 20 || (text.p[10] != 'T' && text.p[10] != 't') || clock_parse_rfc3339(text, &ms) < 0)
		return WEIR_E_PARSE;
	if (ret_ms)
		*ret_ms = ms;
	return 0;
}

static bool refuse(struct hub_op *op, const char *field, const char *what)
{
	op->status = 400;
	buf_reset(&op->error);
	buf_addf(&op->error, "Invalid request: \"%s\" %s", field, what);
	return false;
}

/* --- items ------------------------------------------------------------------------------------------------------ */

enum kind { TEXT, TEXTS, OBJECT, INTEGER, NUMBER };

struct field {
	const char *name;
	enum kind kind;
	bool required; /* a text: not empty */
	const char *fallback; /* written when not given; NULL: then it is not written at all */
};

static const struct field event_fields[] = {
	{ "name", TEXT, true, NULL },
	{ "category", TEXT, false, "\"info\"" },
	{ "group", TEXT, false, "\"\"" },
	{ "labels", TEXTS, false, "[]" },
	{ "message", TEXT, false, "\"\"" },
	{ "data", OBJECT, false, "{}" },
	{ "stacktrace", TEXTS, false, NULL },
	{ "exception_type", TEXT, false, NULL },
	{ "exception_msg", TEXT, false, NULL },
	{ "source_file", TEXT, false, NULL },
	{ "source_line", INTEGER, false, NULL },
	{ "source_function", TEXT, false, NULL },
	{ NULL, TEXT, false, NULL },
};

static const struct field metric_fields[] = {
	{ "name", TEXT, true, NULL },        { "type", TEXT, false, "\"gauge\"" }, { "value", NUMBER, true, NULL },
	{ "count", INTEGER, false, NULL },   { "unit", TEXT, false, NULL },        { "tags", TEXTS, false, NULL },
	{ "metadata", OBJECT, false, NULL }, { NULL, TEXT, false, NULL },
};

static const char *const kind_texts[] = {
	[TEXT] = "is not a string",    [TEXTS] = "is not a list of strings",
	[OBJECT] = "is not an object", [INTEGER] = "is not an integer of 64 bits",
	[NUMBER] = "is not a number",
};

static bool are_texts(const json_t *v)
{
	if (!json_is_array(v))
		return false;
	for (size_t i = 0; i < json_array_size(v); i++)
		if (!json_is_string(json_array_get(v, i)))
			return false;
	return true;
}

static bool is_of(enum kind k, const json_t *v)
{
	switch (k) {
	case TEXT: return json_is_string(v);
	case TEXTS: return are_texts(v);
	case OBJECT: return json_is_object(v);
	case INTEGER: return json_is_integer(v);
	default: return json_is_number(v);
	}
}

static bool is_empty(enum kind k, const json_t *v)
{
	switch (k) {
	case TEXT: return json_string_length(v) == 0;
	case TEXTS: return json_array_size(v) == 0;
	case OBJECT: return json_object_size(v) == 0;
	case INTEGER: return json_integer_value(v) == 0;
	default: return false;
	}
}

static void write_name(const char *name, struct buf *out)
{
	buf_addf(out, ",\"%s\":", name);
}

static bool write_fields(const struct field *f, const json_t *o, struct hub_op *op)
{
	for (; f->name; f++) {
		json_t *v = member(o, f->name);

		if (v && !is_of(f->kind, v))
			return refuse(op, f->name, kind_texts[f->kind]);
		if (v && is_empty(f->kind, v))
			v = NULL;
		if (!v && f->required)
			return refuse(op, f->name, "is missing");
		if (v || f->fallback)
			write_name(f->name, &op->body);
		if (v)
			json_write(v, &op->body);
		else if (f->fallback)
			buf_add_str(&op->body, f->fallback);
	}
	return true;
}

/* What frames a body rather than being of it. */
static const char *const frame[] = { "timestamp", NULL }, *const batch_frame[] = { "timestamp", "seq", "op", NULL };

static bool is_one_of(const char *name, const char *const *names)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

static bool is_field(const char *name, const struct field *f)
{
	while (f->name && strcmp(f->name, name) != 0)
		f++;
	return f->name;
}

static void write_further(const json_t *o, const struct field *known, const char *const *but, struct buf *out)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)o, name, value) /* changes nothing */
	{
		if (is_one_of(name, but) || (known && is_field(name, known)))
			continue;
		buf_add_char(out, ',');
		json_write_text(slice_str(name), out);
		buf_add_char(out, ':');
		json_write(value, out);
	}
}

void hub_op_write_further(const json_t *o, const char *const *but, struct buf *out)
{
	write_further(o, NULL, but, out);
}

/* {"timestamp":"..." -- the caller goes on behind it. */
static bool write_time(const json_t *o, struct slice now, struct hub_op *op)
{
	struct slice time;

	if (hub_op_text(o, "timestamp", &time) < 0 || (time.n && hub_op_time(time, NULL) < 0))
		return refuse(op, "timestamp", "is not a time as in 2026-01-02T03:04:05.678Z (RFC 3339)");
	buf_add_str(&op->body, "{\"timestamp\":");
	json_write_text(time.n ? time : now, &op->body);
	return true;
}

static bool read_item(const struct field *fields, json_t *o, bool is_batch, struct slice now, struct hub_op *op)
{
	if (!write_time(o, now, op) || !write_fields(fields, o, op))
		return false;
	write_further(o, fields, is_batch ? batch_frame : frame, &op->body);
	buf_add_char(&op->body, '}');
	return true;
}

/* An exception makes an event an error, unless it says something else than info. A borrowed o is not changed: the
 * category goes into a copy of its first level. */
static bool read_event(json_t *o, bool is_batch, struct slice now, struct hub_op *op)
{
	struct slice category, exception;
	json_t *copy = NULL;
	const char *name;
	bool ok;

	if (hub_op_text(o, "category", &category) == 0 && hub_op_text(o, "exception_type", &exception) == 0 &&
	    exception.n && (!category.n || slice_eq_str(category, "info"))) {
		copy = json_copy(o);
		(void)json_object_set_new(copy, "category", json_string("error")); /* neither is NULL */
	}
	ok = read_item(event_fields, copy ? copy : o, is_batch, now, op);
	name = ok ? json_string_value(json_object_get(o, "name")) : "";
	op->hang = strcmp(name, "application_appears_hung") == 0 ? HUB_HANG_BEGINS
		   : strcmp(name, "application_recovered") == 0  ? HUB_HANG_ENDS
								 : HUB_HANG_NONE;
	json_decref(copy);
	return ok;
}

/* Without an object `state` the whole body is the state -- but in a batch, where it has members of another kind. */
static bool read_state(json_t *o, bool is_batch, struct slice now, struct hub_op *op)
{
	static const struct field known[] = { { "state", OBJECT, true, NULL }, { NULL, TEXT, false, NULL } };
	json_t *state = json_object_get(o, "state");
	bool whole = !json_is_object(state);

	if (whole && is_batch)
		return refuse(op, "state", state ? "is not an object" : "is missing");
	if (whole)
		state = o;
	if (!write_time(whole ? NULL : o, now, op))
		return false;
	write_name("state", &op->body);
	json_write(state, &op->body);
	if (!whole)
		write_further(o, known, is_batch ? batch_frame : frame, &op->body);
	buf_add_char(&op->body, '}');
	op->patch = json_incref(state);
	return true;
}

/* --- ends ------------------------------------------------------------------------------------------------------- */

/* body may be NULL; what it has beside the reason stands beside it in the event's data. */
static void write_crash_event(struct slice time, struct slice reason, struct slice machine_id, const json_t *body,
			      struct buf *out)
{
	static const char *const but[] = { "timestamp", "seq", "op", "reason", "machine_id", NULL };

	buf_add_str(out, "{\"timestamp\":");
	json_write_text(time, out);
	buf_add_str(out,
		    ",\"name\":\"session_crashed_detected\",\"category\":\"critical\",\"group\":\"\",\"labels\":[],"
		    "\"message\":\"\",\"data\":{\"reason\":");
	json_write_text(reason, out);
	if (machine_id.p) {
		buf_add_str(out, ",\"machine_id\":");
		json_write_text(machine_id, out);
	}
	if (json_is_object(body))
		write_further(body, NULL, but, out);
	buf_add_str(out, "}}");
}

void hub_op_write_crash_event(struct slice time, struct slice reason, struct slice machine_id, struct buf *out)
{
	write_crash_event(time, reason, machine_id, NULL, out);
}

static bool read_end(json_t *o, bool is_batch, struct slice now, struct hub_op *op)
{
	struct slice time = { NULL, 0 }, reason = { NULL, 0 };

	if (is_batch && (hub_op_text(o, "timestamp", &time) < 0 || (time.n && hub_op_time(time, &op->time_ms) < 0)))
		return refuse(op, "timestamp", "is not a time as in 2026-01-02T03:04:05.678Z (RFC 3339)");
	if (op->type != HUB_OP_CRASH)
		return true;
	if (!json_is_object(o) || hub_op_text(o, "reason", &reason) < 0 || !reason.n)
		reason = SLICE_LIT("abnormal_termination");
	write_crash_event(time.n ? time : now, reason, (struct slice){ NULL, 0 }, o, &op->body);
	return true;
}

void hub_op_read(enum hub_op_type type, json_t *body, bool is_batch, struct slice now, struct hub_op *ret)
{
	bool wants_object = type == HUB_OP_STATE || type == HUB_OP_EVENT || type == HUB_OP_METRIC;

	*ret = (struct hub_op){ .type = type, .body = BUF_EMPTY, .error = BUF_EMPTY };
	if (wants_object && !json_is_object(body)) {
		ret->status = 400;
		buf_add_str(&ret->error, "Invalid request: the body is not a JSON object");
		return;
	}
	switch (type) {
	case HUB_OP_STATE: (void)read_state(body, is_batch, now, ret); break; /* refusals are in ret */
	case HUB_OP_EVENT: (void)read_event(body, is_batch, now, ret); break;
	case HUB_OP_METRIC: (void)read_item(metric_fields, body, is_batch, now, ret); break;
	case HUB_OP_END:
	case HUB_OP_CRASH: (void)read_end(body, is_batch, now, ret); break;
	default: break;
	}
}

/* --- the batch -------------------------------------------------------------------------------------------------- */

/* What is wrong with its frame spoils the whole: nobody could say then which numbers are done with. */
static int read_operation(json_t *o, int64_t above, struct slice now, struct hub_op *ret, struct buf *why)
{
	json_t *seq = json_object_get(o, "seq"), *op = json_object_get(o, "op");
	int type;

	if (!json_is_integer(seq) || json_integer_value(seq) <= above) {
		buf_addf(why,
			 "Invalid request: each operation needs an integer \"seq\" above that of the one before it");
		return WEIR_E_PARSE;
	}
	type = json_is_string(op) ? hub_op_type_of(json_string_value(op)) : -1;
	if (type < 0) {
		*ret = (struct hub_op){ .status = 400, .body = BUF_EMPTY, .error = BUF_EMPTY };
		buf_add_str(&ret->error,
			    "Invalid request: \"op\" is none of state, event, metric, heartbeat, end and crash");
	} else {
		hub_op_read((enum hub_op_type)type, o, true, now, ret);
	}
	ret->seq = json_integer_value(seq);
	return 0;
}

int hub_op_read_batch(json_t *body, struct slice now, struct hub_op **ret_ops, size_t *ret_count, struct buf *why)
{
	json_t *list = json_object_get(body, "operations");
	size_t n = json_array_size(list), got = 0;
	struct hub_op *ops;
	int64_t above = 0;

	if (!json_is_array(list)) {
		buf_add_str(why, "Invalid request: \"operations\" is not a list");
		return WEIR_E_PARSE;
	}
	if (n > HUB_MOST_OPERATIONS) {
		buf_addf(why, "A batch has at most %d operations, this one has %zu", HUB_MOST_OPERATIONS, n);
		return WEIR_E_TOO_LARGE;
	}
	ops = xcalloc(n + 1, sizeof(*ops));
	for (; got < n; got++) {
		if (read_operation(json_array_get(list, got), above, now, &ops[got], why) < 0) {
			hub_ops_free(ops, got);
			return WEIR_E_PARSE;
		}
		above = ops[got].seq;
	}
	*ret_ops = ops;
	*ret_count = n;
	return 0;
}
