/* hub_text.c -- looking for words in events.
 *
 * WHY      Events are kept as the JSON that is sent back. A look at the bytes rules most of them out; what is left is
 *          parsed, so that "message" finds no event because each has a member of that name. */
#include "hub/hub_text.h"

#include <strings.h>

#include "base/str.h"
#include "core/json.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool occurs(struct slice in, struct slice text)
{
	if (!text.n)
		return true;
	for (size_t i = 0; i + text.n <= in.n; i++)
		if (lower(in.p[i]) == lower(text.p[0]) && strncasecmp(in.p + i, text.p, text.n) == 0)
			return true;
	return false;
}

static bool occurs_below(const json_t *v, struct slice text)
{
	json_t *member;
	const char *name;

	switch (json_typeof(v)) {
	case JSON_STRING: return occurs((struct slice){ json_string_value(v), json_string_length(v) }, text);
	case JSON_ARRAY:
		for (size_t i = 0; i < json_array_size(v); i++)
			if (occurs_below(json_array_get(v, i), text))
				return true;
		return false;
	case JSON_OBJECT:
		json_object_foreach((json_t *)v, name, member) if (occurs_below(member, text)) return true;
		return false;
	default: return false;
	}
}

bool hub_text_occurs(struct slice body, struct slice text)
{
	struct buf escaped = BUF_EMPTY;
	json_t *v = NULL;
	bool yes;

	str_add_json(&escaped, text); /* as it stands in the bytes */
	yes = occurs(body, buf_slice(&escaped)) && json_read(body, JSON_READ_KEPT, &v, NULL) == 0;
	if (yes) {
		(void)json_object_del(v, "timestamp"); /* may be absent */
		yes = occurs_below(v, text);
	}
	json_decref(v);
	buf_fini(&escaped);
	return yes;
}
