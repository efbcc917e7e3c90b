/* config_problem.c -- what is wrong with a configuration: gathered, sorted by line, said in one form.
 *
 * WHAT     "weir.yaml:12: git.refs_ttl: what is wrong; what is accepted", a line each.
 * WHY      Somebody who sees one error at a time starts a daemon ten times. So nothing here stops at the first. */
#include "core/config_priv.h"

#include "base/obj.h"
#include "base/str.h"
#include "core/suggest.h"

static void __attribute__((format(printf, 5, 0))) add(struct config_problems *p, unsigned line, const char *origin,
						      const char *where, const char *fmt, va_list ap)
{
	struct buf b = BUF_EMPTY;

	if (p->count == CONFIG_MOST_PROBLEMS) {
		p->more++;
		return;
	}
	if (origin)
		buf_addf(&b, "%s: ", origin);
	else if (p->file && line)
		buf_addf(&b, "%s:%u: ", p->file, line);
	else if (p->file)
		buf_addf(&b, "%s: ", p->file);
	if (where && *where)
		buf_addf(&b, "%s: ", where);
	buf_vaddf(&b, fmt, ap);
	if (!p->items)
		p->items = xcalloc(CONFIG_MOST_PROBLEMS, sizeof(*p->items));
	/* What stands in no line of the file comes after what does. */
	p->items[p->count] =
		(struct problem){ line && !origin ? line : UINT32_MAX, (unsigned)p->count, buf_detach(&b, NULL) };
	p->count++;
}

void problem_at(struct config_problems *p, const struct node *n, const char *where, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(p, n ? n->line : 0, n ? n->origin : NULL, where, fmt, ap);
	va_end(ap);
}

struct node *node_find(struct node *root, const char *path)
{
	struct slice rest = slice_str(path), part;
	struct node *n = root, **next;
	uint64_t index;

	while (n && rest.n) {
		(void)slice_cut(&rest, '.', &part); /* without a dot the rest is the last part */
		if (n->kind == NODE_LIST)
			next = str_parse_u64(part, &index) == 0 ? node_item(n, index) : NULL;
		else
			next = node_slot(n, part, false, NULL);
		if (!next)
			break;
		n = *next;
	}
	return n;
}

void config_problem(struct config_problems *p, const char *where, const char *fmt, ...)
{
	const struct node *n = node_find(p->root, where);
	va_list ap;

	va_start(ap, fmt);
	add(p, n && n != p->root ? n->line : 0, n ? n->origin : NULL, where, fmt, ap);
	va_end(ap);
}

void problems_fini(struct config_problems *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->items[i].text);
	free(p->items);
	p->items = NULL;
	p->count = p->more = 0;
}

static int by_line(const void *a, const void *b)
{
	const struct problem *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void problems_write(struct config_problems *p, struct buf *out)
{
	if (p->count)
		qsort(p->items, p->count, sizeof(*p->items), by_line);
	for (size_t i = 0; i < p->count; i++)
		buf_addf(out, "%s\n", p->items[i].text);
	if (p->more)
		buf_addf(out, "and %zu more\n", p->more);
}

/* --- keys that do not exist --- */

#define MOST_NAMES 64 /* settings of one table */

static void names_of(const struct setting *table, const char *names[MOST_NAMES + 1])
{
	size_t n = 0;

	for (; table->name; table++) {
		ENSURE(n < MOST_NAMES);
		names[n++] = table->name;
	}
	names[n] = NULL;
}

/* Where in the tables a key of exactly this name stands, as "git.refs_ttl"; false when nowhere. */
static bool find_elsewhere(const struct setting *table, struct slice key, struct buf *path)
{
	size_t mark = path->len;

	for (const struct setting *s = table; s->name; s++) {
		buf_addf(path, "%s%s", mark ? "." : "", s->name);
		if (slice_eq_str(key, s->name))
			return true;
		if (s->type == SETTING_MAP && find_elsewhere(s->sub, key, path))
			return true;
		buf_truncate(path, mark);
	}
	return false;
}

void problem_no_such_key(struct config_problems *p, const struct node *n, unsigned line, const char *where,
			 struct slice key, const struct setting *table, const struct setting *all)
{
	struct node at = { .line = n && !n->origin ? line : 0, .origin = n ? n->origin : NULL };
	const char *names[MOST_NAMES + 1], *near;
	struct buf sentence = BUF_EMPTY, path = BUF_EMPTY;

	names_of(table, names);
	near = suggest_nearest(key, names);
	buf_add_str(&sentence, "no such key");
	if (near)
		buf_addf(&sentence, " (did you mean %s?)", near);
	else if (find_elsewhere(all, key, &path))
		buf_addf(&sentence, " (did you mean %s?)", path.data);
	buf_add_str(&sentence, "; accepted: ");
	for (size_t i = 0; names[i]; i++)
		buf_addf(&sentence, "%s%s", i ? ", " : "", names[i]);
	problem_at(p, &at, where, "%s", sentence.data);
	buf_fini(&sentence);
	buf_fini(&path);
}
