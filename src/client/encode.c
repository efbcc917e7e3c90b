/* encode.c -- see encode.h. Members that the program did not give are left out: the daemon knows their defaults. */
#include "client/encode.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "client/json.h"

#define MOST_LIST 1024 /* texts of one list, fields of one object: what has no end is a mistake of the program */

static void fail(struct weirc_text *t)
{
	if (!t->failed)
		t->failed = -EINVAL;
}

/* "name": of the next member, with a comma when it is not the first of its object. */
static void name_of(struct weirc_text *t, const char *name)
{
	if (t->len && t->data[t->len - 1] != '{')
		weirc_text_char(t, ',');
	weirc_text_char(t, '"');
	weirc_text_str(t, name); /* our own: plain */
	weirc_text_add(t, "\":", 2);
}

static void text_member(struct weirc_text *t, const char *name, const char *text)
{
	if (!text)
		return;
	name_of(t, name);
	weirc_text_json(t, text);
}

static void list_member(struct weirc_text *t, const char *name, const char *const *texts)
{
	size_t i;

	if (!texts)
		return;
	name_of(t, name);
	weirc_text_char(t, '[');
	for (i = 0; texts[i] && i < MOST_LIST; i++) {
		if (i)
			weirc_text_char(t, ',');
		weirc_text_json(t, texts[i]);
	}
	if (i == MOST_LIST)
		fail(t);
	weirc_text_char(t, ']');
}

static void json_value(struct weirc_text *t, const char *json, bool object)
{
	size_t n = json ? strlen(json) : 0;

	if (n > t->most) {
		t->failed = t->failed ? t->failed : -EMSGSIZE;
	} else if (!json || !weirc_json_is_value(json, n, object)) {
		fail(t);
	} else {
		weirc_text_add(t, json, n);
	}
}

static void field_value(struct weirc_text *t, const struct weir_field *f)
{
	switch (f->kind) {
	case WEIR_TEXT: weirc_text_json(t, f->value.text); break;
	case WEIR_INT: weirc_text_int(t, f->value.integer); break;
	case WEIR_NUMBER: weirc_text_number(t, f->value.number); break;
	case WEIR_BOOL: weirc_text_str(t, f->value.integer ? "true" : "false"); break;
	case WEIR_NULL: weirc_text_str(t, "null"); break;
	case WEIR_JSON: json_value(t, f->value.text, false); break;
	default: fail(t);
	}
}

static void object(struct weirc_text *t, const struct weir_field *fields)
{
	size_t i;

	weirc_text_char(t, '{');
	for (i = 0; fields[i].kind != WEIR_END && i < MOST_LIST; i++) {
		if (i)
			weirc_text_char(t, ',');
		if (!fields[i].key || !*fields[i].key)
			fail(t);
		weirc_text_json(t, fields[i].key);
		weirc_text_char(t, ':');
		field_value(t, &fields[i]);
	}
	if (i == MOST_LIST)
		fail(t);
	weirc_text_char(t, '}');
}

static void needed_name(struct weirc_text *t, const char *name)
{
	if (!name || !*name)
		fail(t);
	text_member(t, "name", name);
}

void weirc_encode_state(struct weirc_text *t, const struct weir_field *fields)
{
	name_of(t, "state");
	if (fields)
		object(t, fields);
	else
		fail(t);
	weirc_text_char(t, '}');
}

void weirc_encode_state_json(struct weirc_text *t, const char *json)
{
	name_of(t, "state");
	json_value(t, json, true);
	weirc_text_char(t, '}');
}

void weirc_encode_event(struct weirc_text *t, const struct weir_event *e)
{
	needed_name(t, e->name);
	text_member(t, "category", e->category);
	text_member(t, "group", e->group);
	text_member(t, "message", e->message);
	list_member(t, "labels", e->labels);
	if (e->data) {
		name_of(t, "data");
		object(t, e->data);
	} else if (e->data_json) {
		name_of(t, "data");
		json_value(t, e->data_json, true);
	}
	text_member(t, "exception_type", e->exception_type);
	text_member(t, "exception_msg", e->exception_message);
	list_member(t, "stacktrace", e->stacktrace);
	text_member(t, "source_file", e->source_file);
	if (e->source_line > 0) {
		name_of(t, "source_line");
		weirc_text_int(t, e->source_line);
	}
	text_member(t, "source_function", e->source_function);
	weirc_text_char(t, '}');
}

/* The last bound may be infinite, which JSON cannot say: the daemon knows it as "inf". */
static void buckets(struct weirc_text *t, const struct weir_metric *m)
{
	name_of(t, "metadata");
	weirc_text_str(t, "{\"buckets\":[");
	if (m->bucket_count > MOST_LIST)
		fail(t);
	for (size_t i = 0; i < m->bucket_count && !t->failed; i++) {
		if (isnan(m->buckets[i]) || m->buckets[i] == -INFINITY || (i && m->buckets[i] <= m->buckets[i - 1]))
			fail(t);
		if (i)
			weirc_text_char(t, ',');
		if (isinf(m->buckets[i]))
			weirc_text_str(t, "\"inf\"");
		else
			weirc_text_number(t, m->buckets[i]);
	}
	weirc_text_str(t, "]}");
}

void weirc_encode_metric(struct weirc_text *t, const char *kind, const char *name, double value,
			 const struct weir_metric *more)
{
	static const struct weir_metric nothing;
	const struct weir_metric *m = more ? more : &nothing;

	if (!isfinite(value))
		fail(t);
	needed_name(t, name);
	text_member(t, "type", kind);
	name_of(t, "value");
	weirc_text_number(t, value);
	if (*kind == 'c') {
		name_of(t, "delta");
		weirc_text_number(t, value);
	}
	text_member(t, "unit", m->unit ? m->unit : *kind == 't' ? "seconds" : NULL); /* as DataCat has it */
	list_member(t, "tags", m->tags);
	if (m->count > 0) {
		name_of(t, "count");
		weirc_text_int(t, m->count);
	}
	if (m->buckets && m->bucket_count)
		buckets(t, m);
	weirc_text_char(t, '}');
}

void weirc_encode_drops(struct weirc_text *t, const unsigned long long counts[WEIR_CLIENT_TYPES])
{
	const struct weir_field data[] = {
		weir_int("states", (long long)counts[WEIR_CLIENT_STATE]),
		weir_int("events", (long long)counts[WEIR_CLIENT_EVENT]),
		weir_int("metrics", (long long)counts[WEIR_CLIENT_METRIC]),
		weir_int("pauses", (long long)counts[WEIR_CLIENT_PAUSE]),
		weir_end(),
	};
	const struct weir_event e = {
		.name = "client_operations_dropped",
		.category = "warning",
		.group = "weir.client",
		.labels = WEIR_TEXTS("queue", "dropped"),
		.message = "The program told more than the daemon took, or before it was there: the queue was full",
		.data = data,
	};

	weirc_encode_event(t, &e);
}
