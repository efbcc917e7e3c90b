/* hub_text.c -- looking for words in events.
 *
 * WHY      Events are kept as the JSON that is sent back. A look at the bytes rules most of them out; what is left is
 *          parsed, so that "message" finds no event because each has a member of that name.
 *          Whoever reports chooses the events, and who searches the words: so a look costs as much as there are bytes,
 *          whatever they are (Knuth, Morris and Pratt). */
#include "hub/hub_text.h"

#include <stdlib.h>

#include "base/obj.h"
#include "base/str.h"
#include "core/json.h"

struct needle {
	struct buf text; /* in lower case */
	size_t *back; /* of each length that fits: the longest shorter one that fits there too */
};

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* By how much of the needle what was read so far ends, with c behind it. */
static size_t go_on(const struct needle *n, size_t fits, char c)
{
	while (fits && n->text.data[fits] != c)
		fits = n->back[fits];
	return fits + (n->text.data[fits] == c);
}

static void needle_init(struct needle *n, struct slice text)
{
	*n = (struct needle){ .text = BUF_EMPTY, .back = xcalloc(text.n + 1, sizeof(*n->back)) };
	for (size_t i = 0; i < text.n; i++)
		buf_add_char(&n->text, lower(text.p[i]));
	for (size_t i = 1, fits = 0; i < text.n; i++) {
		fits = go_on(n, fits, n->text.data[i]);
		n->back[i + 1] = fits;
	}
}

static void needle_fini(struct needle *n)
{
	buf_fini(&n->text);
	free(n->back);
}

static bool occurs(struct slice in, const struct needle *n)
{
	size_t fits = 0;

	for (size_t i = 0; i < in.n && fits < n->text.len; i++)
		fits = go_on(n, fits, lower(in.p[i]));
	return fits == n->text.len;
}

static bool occurs_below(const json_t *v, const struct needle *n)
{
	json_t *member;
	const char *name;

	switch (json_typeof(v)) {
	case JSON_STRING: return occurs((struct slice){ json_string_value(v), json_string_length(v) }, n);
	case JSON_ARRAY:
		for (size_t i = 0; i < json_array_size(v); i++)
			if (occurs_below(json_array_get(v, i), n))
				return true;
		return false;
	case JSON_OBJECT:
		json_object_foreach((json_t *)v, name, member) if (occurs_below(member, n)) return true;
		return false;
	default: return false;
	}
}

static bool occurs_in_bytes(struct slice body, struct slice text)
{
	struct buf escaped = BUF_EMPTY;
	struct needle n;
	bool yes;

	str_add_json(&escaped, text); /* as it stands in the bytes */
	needle_init(&n, buf_slice(&escaped));
	yes = occurs(body, &n);
	needle_fini(&n);
	buf_fini(&escaped);
	return yes;
}

bool hub_text_occurs(struct slice body, struct slice text)
{
	struct needle n;
	json_t *v = NULL;
	bool yes;

	if (!occurs_in_bytes(body, text) || json_read(body, JSON_READ_KEPT, &v, NULL) < 0)
		return false;
	(void)json_object_del(v, "timestamp"); /* may be absent */
	needle_init(&n, text);
	yes = occurs_below(v, &n);
	needle_fini(&n);
	json_decref(v);
	return yes;
}
