/* fields.c -- the members of requests, as DATACAT_API.md section 1 has them; "key" and "age_ms" are weir's own. */
#include "sessions/fields.h"

#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"

#define MOST_DEPTH (JSON_MOST_DEPTH - 4) /* in a batch, or among others in a histogram, it stands deeper */
#define MOST_NAME  4096 /* bytes, as a hub takes them: else their session would never be created */

const struct field fields_register[] = {
	{ "parent_pid", INTEGER, false }, { "product", NAME, true }, { "version", NAME, true }, { "key", NAME, false },
	{ "age_ms", INTEGER, false },     { NULL, TEXT, false },
};
const struct field fields_session[] = { { "session_id", TEXT, false }, { NULL, TEXT, false } };
const struct field fields_state[] = {
	{ "session_id", TEXT, false }, { "state", OBJECT, true }, { "age_ms", INTEGER, false }, { NULL, TEXT, false }
};
const struct field fields_event[] = {
	{ "session_id", TEXT, false },      { "name", TEXT, true },         { "category", TEXT, false },
	{ "group", TEXT, false },           { "labels", TEXTS, false },     { "message", TEXT, false },
	{ "data", OBJECT, false },          { "stacktrace", TEXTS, false }, { "exception_type", TEXT, false },
	{ "exception_msg", TEXT, false },   { "source_file", TEXT, false }, { "source_line", INTEGER, false },
	{ "source_function", TEXT, false }, { "age_ms", INTEGER, false },   { NULL, TEXT, false },
};
const struct field fields_metric[] = {
	{ "session_id", TEXT, false }, { "name", TEXT, true },      { "value", NUMBER, true }, { "type", TEXT, false },
	{ "delta", NUMBER, false },    { "count", INTEGER, false }, { "unit", TEXT, false },   { "tags", TEXTS, false },
	{ "metadata", OBJECT, false }, { "age_ms", INTEGER, false }, { NULL, TEXT, false },
};

static bool are_texts(const json_t *v)
{
	for (size_t i = 0; i < json_array_size(v); i++)
		if (!json_is_string(json_array_get(v, i)))
			return false;
	return json_is_array(v);
}

static bool is_of(enum field_kind k, const json_t *v)
{
	switch (k) {
	case TEXT:
	case NAME: return json_is_string(v);
	case TEXTS: return are_texts(v);
	case OBJECT: return json_is_object(v);
	case INTEGER: return json_is_integer(v);
	default: return json_is_number(v);
	}
}

static int check(const json_t *body, const struct field *fields, struct buf *why)
{
	static const char *const kinds[] = { [TEXT] = "a string",
					     [NAME] = "a string",
					     [TEXTS] = "a list of strings",
					     [OBJECT] = "an object",
					     [INTEGER] = "an integer of 64 bits",
					     [NUMBER] = "a number" };

	for (const struct field *f = fields; f->name; f++) {
		const json_t *v = json_object_get(body, f->name);
		bool is_missing = !v || json_is_null(v);

		if (!is_missing && !is_of(f->kind, v)) {
			buf_addf(why, "\"%s\" is not %s", f->name, kinds[f->kind]);
			return WEIR_E_PARSE;
		}
		if (f->required && (is_missing || (is_of(TEXT, v) && !json_string_length(v)))) {
			buf_addf(why, "\"%s\" is missing", f->name);
			return WEIR_E_PARSE;
		}
		if (f->kind == NAME && json_string_length(v) > MOST_NAME) {
			buf_addf(why, "\"%s\" is longer than %d bytes", f->name, MOST_NAME);
			return WEIR_E_PARSE;
		}
	}
	return 0;
}

static unsigned depth_of(json_t *v)
{
	unsigned deepest = 0, d;
	const char *name;
	json_t *one;
	size_t i;

	json_array_foreach(v, i, one) if ((d = depth_of(one)) > deepest) deepest = d;
	json_object_foreach(v, name, one) if ((d = depth_of(one)) > deepest) deepest = d;
	return deepest + (json_is_array(v) || json_is_object(v));
}

int fields_check(json_t *body, const struct field *fields, struct buf *why)
{
	if (!json_is_object(body)) {
		buf_add_str(why, "the body is not an object");
		return WEIR_E_PARSE;
	}
	if (depth_of(body) > MOST_DEPTH) {
		buf_addf(why, "more than %d levels deep", MOST_DEPTH);
		return WEIR_E_PARSE;
	}
	return check(body, fields, why);
}
