/* config_tree.c -- YAML text to a tree of nodes that know their line.
 *
 * WHAT     libyaml's events, gathered by a small recursive descent. Scalars stay text: what they mean is the tables'
 *          affair.
 * WHY      A message is worth most when it names the line, and a loader that goes straight into structs has lost it
 *          by then.
 * RULES    1. Only plain YAML: one document; no anchors, aliases, merge keys, tags; keys are scalars. A configuration
 *             that needs these is not read twice the same way by people.
 *          2. A key twice in one mapping is an error, as otherwise one of the two would be ignored in silence.
 *          3. Depth and size are bounded, also for a --set value, so that the recursion has an end. */
#include "core/config_priv.h"

#include <yaml.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

struct node *node_new(enum node_kind kind, unsigned line, const char *origin)
{
	struct node *n = xcalloc(1, sizeof(*n));

	n->kind = kind;
	n->line = line;
	n->origin = origin ? xstrdup(origin) : NULL;
	return n;
}

struct node *node_new_scalar(const char *text, const char *origin)
{
	struct node *n = node_new(*text ? NODE_SCALAR : NODE_NULL, 0, origin);

	if (*text)
		n->text = xstrdup(text);
	return n;
}

static void node_clear(struct node *n)
{
	for (size_t i = 0; i < n->count; i++) {
		free(n->items[i].key);
		node_free(n->items[i].value);
	}
	free(n->items);
	free(n->text);
	free(n->origin);
	n->items = NULL;
	n->count = 0;
	n->text = n->origin = NULL;
}

void node_free(struct node *n)
{
	if (!n)
		return;
	node_clear(n);
	free(n);
}

void node_become(struct node *n, enum node_kind kind, const char *origin)
{
	char *copy = origin ? xstrdup(origin) : NULL;

	node_clear(n);
	n->kind = kind;
	n->origin = copy;
}

void node_append(struct node *n, char *take_key, unsigned key_line, struct node *take_value)
{
	/* Doubling at powers of two spares a capacity field. */
	if ((n->count & (n->count - 1)) == 0)
		n->items = xrealloc(n->items, (n->count ? 2 * n->count : 1) * sizeof(*n->items));
	n->items[n->count++] = (struct node_entry){ take_key, key_line, take_value };
}

static struct node_entry *entry_find(const struct node *n, struct slice key)
{
	for (size_t i = 0; n && n->kind == NODE_MAP && i < n->count; i++) {
		if (slice_eq_str(key, n->items[i].key))
			return &n->items[i];
	}
	return NULL;
}

struct node **node_slot(struct node *n, struct slice key, bool make, const char *origin)
{
	struct node_entry *e = entry_find(n, key);

	if (!e && make) {
		ENSURE(n->kind == NODE_MAP);
		node_append(n, slice_dup(key), 0, node_new(NODE_NULL, 0, origin));
		e = &n->items[n->count - 1];
	}
	return e ? &e->value : NULL;
}

struct node **node_item(struct node *n, size_t i)
{
	return n->kind == NODE_LIST && i < n->count ? &n->items[i].value : NULL;
}

/* --- reading --- */

struct tree_reader {
	yaml_parser_t parser;
	const char *origin, *where;
	struct config_problems *problems;
	char path[CONFIG_MOST_PATH]; /* of what is being read, for messages */
};

static unsigned line_of(const struct tree_reader *r, yaml_mark_t mark)
{
	return r->origin ? 0 : (unsigned)mark.line + 1;
}

static void complain(struct tree_reader *r, unsigned line, const char *sentence)
{
	struct node at = { .line = line, .origin = (char *)(uintptr_t)r->origin };

	problem_at(r->problems, &at, r->path, "%s", sentence);
}

static int syntax_error(struct tree_reader *r)
{
	const yaml_parser_t *y = &r->parser;
	const char *what = y->problem ? y->problem : "cannot be read";
	/* A value cut off in the middle is reported at its end; where it began says more. */
	struct node at = { .line = r->origin ? 0 : (unsigned)y->problem_mark.line + 1,
			   .origin = (char *)(uintptr_t)r->origin };

	problem_at(r->problems, &at, r->path, "not YAML: %s%s%s (column %zu); accepted: YAML as in weir.yaml(5)%s",
		   what, y->context ? ", " : "", y->context ? y->context : "", y->problem_mark.column + 1,
		   y->problem && strstr(y->problem, "cannot start any token")
			   ? ", indented by spaces, with values that begin with @ ` or % in quotes"
			   : "");
	return -EINVAL;
}

static int next_event(struct tree_reader *r, yaml_event_t *ev)
{
	return yaml_parser_parse(&r->parser, ev) ? 0 : syntax_error(r);
}

static int build(struct tree_reader *r, yaml_event_t *ev, unsigned depth, struct node **ret);

static bool is_null_word(const char *s)
{
	return !*s || !strcmp(s, "~") || !strcmp(s, "null") || !strcmp(s, "Null") || !strcmp(s, "NULL");
}

static struct node *build_scalar(struct tree_reader *r, const yaml_event_t *ev)
{
	const char *text = (const char *)ev->data.scalar.value;
	unsigned line = line_of(r, ev->start_mark);
	bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	struct node *n = node_new(plain && is_null_word(text) ? NODE_NULL : NODE_SCALAR, line, r->origin);

	if (n->kind == NODE_NULL)
		return n;
	n->text = xstrdup(text);
	for (size_t i = 0; i < ev->data.scalar.length; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
			complain(r, line, "holds a control character; accepted: text on one line");
			node_become(n, NODE_NULL, r->origin);
			break;
		}
	}
	return n;
}

/* Appends ".part" to the path; returns what path_pop() needs. */
static size_t path_push(struct tree_reader *r, const char *part)
{
	size_t len = strlen(r->path);
	struct buf escaped = BUF_EMPTY;

	str_add_escaped(&escaped, slice_str(part), 60);
	(void)snprintf(r->path + len, sizeof(r->path) - len, "%s%s", len ? "." : "",
		       escaped.data); /* cut: it is for a message */
	buf_fini(&escaped);
	return len;
}

static int build_entry(struct tree_reader *r, yaml_event_t *ev, unsigned depth, struct node *map)
{
	unsigned line = line_of(r, ev->start_mark);
	struct node *value = NULL;
	const struct node_entry *before;
	char *key = NULL;
	size_t mark;
	int err;

	if (ev->type != YAML_SCALAR_EVENT) {
		complain(r, line, "a key that is not text; accepted: NAME: VALUE");
		yaml_event_delete(ev);
		return -EINVAL;
	}
	key = slice_dup((struct slice){ (const char *)ev->data.scalar.value, ev->data.scalar.length });
	yaml_event_delete(ev);
	before = entry_find(map, slice_str(key));
	mark = path_push(r, key);
	if (before) {
		struct buf sentence = BUF_EMPTY;

		if (before->key_line)
			buf_addf(&sentence, "given twice (first on line %u); accepted: once", before->key_line);
		else
			buf_add_str(&sentence, "given twice; accepted: once");
		complain(r, line, sentence.data);
		buf_fini(&sentence);
	}
	err = next_event(r, ev);
	if (!err)
		err = build(r, ev, depth + 1, &value);
	r->path[mark] = '\0';
	if (err || before) {
		free(key);
		node_free(value);
		return err;
	}
	node_append(map, key, line, value);
	return 0;
}

/* After a start event: entries or items up to the end event. */
static int build_collection(struct tree_reader *r, yaml_event_type_t end, unsigned depth, struct node *n)
{
	yaml_event_t ev;
	int err;

	for (;;) {
		struct node *value = NULL;
		char index[24];
		size_t mark;

		err = next_event(r, &ev);
		if (err)
			return err;
		if (ev.type == end) {
			yaml_event_delete(&ev);
			return 0;
		}
		if (n->kind == NODE_MAP) {
			err = build_entry(r, &ev, depth, n);
		} else {
			(void)snprintf(index, sizeof(index), "%zu", n->count);
			mark = path_push(r, index);
			err = build(r, &ev, depth + 1, &value);
			r->path[mark] = '\0';
			if (!err)
				node_append(n, NULL, 0, value);
		}
		if (err)
			return err;
	}
}

/* Reads the value that begins with ev, which is consumed. A failure is in the problems already. */
static int build(struct tree_reader *r, yaml_event_t *ev, unsigned depth, struct node **ret)
{
	unsigned line = line_of(r, ev->start_mark);
	yaml_event_type_t type = ev->type, end = YAML_MAPPING_END_EVENT;
	const yaml_char_t *anchor = NULL, *tag = NULL;
	struct node *n = NULL;
	int err = 0;

	if (type == YAML_SCALAR_EVENT) {
		anchor = ev->data.scalar.anchor;
		tag = ev->data.scalar.tag;
		n = build_scalar(r, ev);
	} else if (type == YAML_SEQUENCE_START_EVENT) {
		anchor = ev->data.sequence_start.anchor;
		tag = ev->data.sequence_start.tag;
		end = YAML_SEQUENCE_END_EVENT;
		n = node_new(NODE_LIST, line, r->origin);
	} else if (type == YAML_MAPPING_START_EVENT) {
		anchor = ev->data.mapping_start.anchor;
		tag = ev->data.mapping_start.tag;
		n = node_new(NODE_MAP, line, r->origin);
	}
	if (type == YAML_ALIAS_EVENT || anchor)
		complain(r, line,
			 "anchors (&name) and aliases (*name) are not supported; accepted: the value written out");
	if (tag)
		complain(r, line, "tags (!name) are not supported; accepted: the value alone");
	yaml_event_delete(ev);
	if (!n)
		n = node_new(NODE_NULL, line, r->origin);
	if (n->kind != NODE_LIST && n->kind != NODE_MAP) {
		*ret = n;
		return 0;
	}
	if (depth >= CONFIG_MOST_DEPTH) {
		complain(r, line, "nested too deep; accepted: the keys of weir.yaml(5)");
		err = -EINVAL;
	} else {
		err = build_collection(r, end, depth, n);
	}
	if (err)
		node_free(n);
	else
		*ret = n;
	return err;
}

static int build_documents(struct tree_reader *r, struct node **ret)
{
	bool first = true;
	yaml_event_t ev;
	int err;

	for (;;) {
		err = next_event(r, &ev);
		if (err)
			return err;
		switch (ev.type) {
		case YAML_STREAM_END_EVENT: yaml_event_delete(&ev); return 0;
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT: break;
		case YAML_DOCUMENT_START_EVENT:
			if (!first) {
				complain(r, line_of(r, ev.start_mark),
					 "a second document; accepted: one, without further `---`");
				yaml_event_delete(&ev);
				return -EINVAL;
			}
			first = false;
			break;
		default:
			err = build(r, &ev, 0, ret);
			if (err)
				return err;
			continue; /* build() has deleted the event */
		}
		yaml_event_delete(&ev);
	}
}

int config_tree_read(struct slice yaml, const char *origin, const char *where, struct config_problems *p,
		     struct node **ret)
{
	struct tree_reader r = { .origin = origin, .where = where, .problems = p };
	struct node *root = NULL;
	int err;

	(void)snprintf(r.path, sizeof(r.path), "%s", where);
	ENSURE(yaml_parser_initialize(&r.parser)); /* fails only when memory is out */
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)yaml.p, yaml.n);
	err = build_documents(&r, &root);
	yaml_parser_delete(&r.parser);
	if (err) {
		node_free(root);
		return err;
	}
	*ret = root;
	return 0;
}
