/* config_read.c -- the tree of values and the tables of settings to C structs; and freeing and comparing these.
 *
 * WHAT     One walk over a table for each verb: read, free, compare. What a member is, and where, only the table says.
 * WHY      A hand-written loader for each section would forget a default here and a range there. A table cannot.
 * RULES    1. Every member is written, whatever the tree holds: what is wrong or absent becomes the default.
 *          2. Defaults are text and take the same road as values, so a default out of its own range shows at once.
 *          3. Nothing stops the walk: all problems are found in one go. */
#include "core/config_priv.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

static inline void *member(const struct setting *s, const void *base)
{
	return (char *)(uintptr_t)base + s->offset;
}

const struct setting *setting_find(const struct setting *table, struct slice name)
{
	for (; table->name; table++) {
		if (slice_eq_str(name, table->name))
			return table;
	}
	return NULL;
}

static void join(char path[CONFIG_MOST_PATH], const char *where, const char *name)
{
	(void)snprintf(path, CONFIG_MOST_PATH, "%s%s%s", where, *where ? "." : "", name); /* cut: it is for a message */
}

/* --- reading --- */

size_t config_wrong_kind(struct config_reader *r, const struct setting *s, const struct node *n, const char *where)
{
	static const char *const kinds[] = { "is empty", "is one value", "is a list", "is a mapping" };
	struct buf accepts = BUF_EMPTY;

	config_value_accepts(s, &accepts);
	problem_at(r->problems, n, where, "%s; accepted: %s", kinds[n->kind], accepts.data);
	buf_fini(&accepts);
	return 1;
}

static void store(const struct setting *s, union config_value v, void *at)
{
	switch (s->type) {
	case SETTING_BOOL: *(bool *)at = v.yes; break;
	case SETTING_CHOICE: *(int *)at = v.choice; break;
	case SETTING_UINT:
	case SETTING_SIZE: *(uint64_t *)at = v.number; break;
	case SETTING_DURATION: *(int64_t *)at = v.ms; break;
	default: *(char **)at = v.text; break;
	}
}

static size_t read_scalar(struct config_reader *r, const struct setting *s, const struct node *n, void *at,
			  const char *where)
{
	struct buf why = BUF_EMPTY;
	union config_value v;
	int err;

	if (n->kind != NODE_SCALAR)
		return config_wrong_kind(r, s, n, where);
	err = config_value_parse(s, n->text, n->origin ? r->cwd : r->file_dir, &v, &why);
	if (err)
		problem_at(r->problems, n, where, "%s", why.data);
	else
		store(s, v, at);
	buf_fini(&why);
	return err ? 1 : 0;
}

static size_t read_strings(struct config_reader *r, const struct setting *s, const struct node *n, void *at,
			   const char *where)
{
	char **items = NULL;
	size_t wrong = 0, got = 0;

	if (n->kind != NODE_LIST)
		return config_wrong_kind(r, s, n, where);
	if (n->count)
		items = xcalloc(n->count + 1, sizeof(*items));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *item = n->items[i].value;

		if (item->kind == NODE_SCALAR)
			items[got++] = xstrdup(item->text);
		else
			wrong += config_wrong_kind(r, s, item, where);
	}
	*(char ***)at = items;
	return wrong;
}

static size_t read_present(struct config_reader *r, const struct setting *s, const struct node *n, void *at,
			   const char *where)
{
	switch (s->type) {
	case SETTING_STRINGS: return read_strings(r, s, n, at, where);
	case SETTING_MAPS:
		if (n->kind != NODE_LIST)
			return config_wrong_kind(r, s, n, where);
		return config_read_list(r, s->sub, s->sub_size, n, at, where);
	default: return read_scalar(r, s, n, at, where);
	}
}

/* A default is what would stand in the file; one that cannot be read is a bug in the table. */
static void read_fallback(struct config_reader *r, const struct setting *s, void *at, const char *where)
{
	struct node *n = NULL;

	if (!s->fallback)
		return;
	if (setting_is_scalar(s))
		n = node_new_scalar(s->fallback, NULL);
	else
		ENSURE(config_tree_read(slice_str(s->fallback), "default", where, r->problems, &n) == 0);
	ENSURE(n && read_present(r, s, n, at, where) == 0);
	node_free(n);
}

static void complain_missing(struct config_reader *r, const struct setting *s, const struct node *parent,
			     const char *where)
{
	struct buf accepts = BUF_EMPTY;

	config_value_accepts(s, &accepts);
	problem_at(r->problems, parent, where, "is missing; accepted: %s", accepts.data);
	buf_fini(&accepts);
}

static size_t read_setting(struct config_reader *r, const struct setting *s, const struct node *parent,
			   const struct node *n, void *at, const char *where)
{
	size_t wrong;

	if (s->type == SETTING_MAP) {
		if (n && n->kind != NODE_MAP && n->kind != NODE_NULL)
			return config_wrong_kind(r, s, n, where) + config_read_table(r, s->sub, NULL, at, where);
		return config_read_table(r, s->sub, n, at, where);
	}
	if (n && n->kind != NODE_NULL) {
		wrong = read_present(r, s, n, at, where);
		if (wrong && setting_is_scalar(s))
			read_fallback(r, s, at, where);
		return wrong;
	}
	if (s->required && parent) {
		complain_missing(r, s, n ? n : parent, where);
		return 1;
	}
	read_fallback(r, s, at, where);
	return 0;
}

static size_t find_strangers(struct config_reader *r, const struct setting *table, const struct node *n,
			     const char *where)
{
	char path[CONFIG_MOST_PATH];
	size_t wrong = 0;

	for (size_t i = 0; n && n->kind == NODE_MAP && i < n->count; i++) {
		const struct node_entry *e = &n->items[i];
		struct buf shown = BUF_EMPTY;

		if (setting_find(table, slice_str(e->key)))
			continue;
		str_add_escaped(&shown, slice_str(e->key), 60);
		join(path, where, shown.data);
		problem_no_such_key(r->problems, e->value, e->key_line, path, slice_str(e->key), table, r->all);
		buf_fini(&shown);
		wrong++;
	}
	return wrong;
}

/* --- checks that many tables share --- */

static const struct node *given(const struct node *n, const char *key)
{
	struct node **slot = n ? node_slot((struct node *)(uintptr_t)n, slice_str(key), false, NULL) : NULL;

	return slot && (*slot)->kind != NODE_NULL ? *slot : NULL;
}

/* A low that was not given follows a smaller max: `disk: {max: 10GiB}` should be enough to say. */
static size_t check_low(struct config_reader *r, const struct setting *table, const struct node *n, void *base,
			const char *where)
{
	const struct setting *max = setting_find(table, slice_str("max")), *low = setting_find(table, slice_str("low"));
	struct buf words = BUF_EMPTY;
	char path[CONFIG_MOST_PATH];
	uint64_t most, least;
	size_t wrong = 0;

	if (!max || !low || max->type != SETTING_SIZE || low->type != SETTING_SIZE)
		return 0;
	most = *(uint64_t *)member(max, base);
	least = *(uint64_t *)member(low, base);
	if (least <= most)
		return 0;
	if (!given(n, "low")) {
		*(uint64_t *)member(low, base) = most / 10 * 9;
		return 0;
	}
	config_format_bytes(least, &words);
	buf_add_str(&words, " is above max; accepted: at most ");
	config_format_bytes(most, &words);
	join(path, where, "low");
	problem_at(r->problems, given(n, "low"), path, "%s", words.data);
	wrong++;
	buf_fini(&words);
	return wrong;
}

static size_t check_pem(struct config_reader *r, const struct setting *s, const struct node *n, const void *base,
			const char *where)
{
	const char *file = *(char **)member(s, base);
	char path[CONFIG_MOST_PATH];

	if (!file || access(file, R_OK) == 0)
		return 0;
	join(path, where, s->name);
	problem_at(r->problems, given(n, s->name), path,
		   "\"%s\" cannot be read: %s; accepted: the path of a readable PEM file", file, err_text(-errno));
	return 1;
}

static size_t check_pair(struct config_reader *r, const struct setting *table, const struct node *n, const void *base,
			 const char *where)
{
	const struct setting *cert = setting_find(table, slice_str("cert_file")),
			     *key = setting_find(table, slice_str("key_file"));
	char path[CONFIG_MOST_PATH];
	bool has_cert, has_key;

	if (!cert || !key || cert->type != SETTING_PATH || key->type != SETTING_PATH)
		return 0;
	has_cert = *(char **)member(cert, base);
	has_key = *(char **)member(key, base);
	if (has_cert != has_key) {
		join(path, where, has_cert ? "key_file" : "cert_file");
		problem_at(r->problems, given(n, has_cert ? "cert_file" : "key_file"), path,
			   "is missing beside %s; accepted: both or neither", has_cert ? "cert_file" : "key_file");
		return 1;
	}
	return check_pem(r, cert, n, base, where) + check_pem(r, key, n, base, where);
}

size_t config_read_table(struct config_reader *r, const struct setting *table, const struct node *n, void *base,
			 const char *where)
{
	size_t wrong = find_strangers(r, table, n, where);
	char path[CONFIG_MOST_PATH];

	for (const struct setting *s = table; s->name; s++) {
		struct node **slot = n ? node_slot((struct node *)(uintptr_t)n, slice_str(s->name), false, NULL) : NULL;

		join(path, where, s->name);
		wrong += read_setting(r, s, n, slot ? *slot : NULL, member(s, base), path);
	}
	if (!wrong)
		wrong += check_low(r, table, n, base, where) + check_pair(r, table, n, base, where);
	return wrong;
}

size_t config_read_list(struct config_reader *r, const struct setting *sub, size_t sub_size, const struct node *n,
			struct setting_list *ret, const char *where)
{
	const struct setting as_map = { .type = SETTING_MAP, .sub = sub };
	char path[CONFIG_MOST_PATH], index[24];
	size_t wrong = 0;

	*ret = (struct setting_list){ n->count ? xcalloc(n->count, sub_size) : NULL, n->count };
	for (size_t i = 0; i < n->count; i++) {
		const struct node *item = n->items[i].value;
		void *at = (char *)ret->items + i * sub_size;

		(void)snprintf(index, sizeof(index), "%zu", i);
		join(path, where, index);
		if (item->kind != NODE_MAP) {
			wrong += config_wrong_kind(r, &as_map, item, path);
			item = NULL;
		}
		wrong += config_read_table(r, sub, item, at, path);
	}
	return wrong;
}

/* --- freeing --- */

void config_free_list(const struct setting *sub, size_t sub_size, struct setting_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		config_free_table(sub, (char *)l->items + i * sub_size);
	free(l->items);
	*l = (struct setting_list){ NULL, 0 };
}

void config_free_table(const struct setting *table, void *base)
{
	for (const struct setting *s = table; s->name; s++) {
		void *at = member(s, base);

		switch (s->type) {
		case SETTING_BOOL:
		case SETTING_CHOICE:
		case SETTING_UINT:
		case SETTING_SIZE:
		case SETTING_DURATION: break;
		case SETTING_STRINGS:
			for (char **p = *(char ***)at; p && *p; p++)
				free(*p);
			free(*(char ***)at);
			break;
		case SETTING_MAP: config_free_table(s->sub, at); break;
		case SETTING_MAPS: config_free_list(s->sub, s->sub_size, at); break;
		default: free(*(char **)at);
		}
	}
}

/* --- comparing --- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_texts(char *const *a, char *const *b)
{
	size_t i = 0;

	if (!a || !b)
		return a == b;
	while (a[i] && b[i] && !strcmp(a[i], b[i]))
		i++;
	return !a[i] && !b[i];
}

static bool same_value(const struct setting *s, const void *a, const void *b)
{
	switch (s->type) {
	case SETTING_BOOL: return *(const bool *)a == *(const bool *)b;
	case SETTING_CHOICE: return *(const int *)a == *(const int *)b;
	case SETTING_UINT:
	case SETTING_SIZE: return *(const uint64_t *)a == *(const uint64_t *)b;
	case SETTING_DURATION: return *(const int64_t *)a == *(const int64_t *)b;
	case SETTING_STRINGS: return same_texts(*(char *const *const *)a, *(char *const *const *)b);
	default: return same_text(*(char *const *)a, *(char *const *)b);
	}
}

void config_diff_list(const struct setting *s, const struct setting_list *a, const struct setting_list *b,
		      const char *where, struct buf *out)
{
	char path[CONFIG_MOST_PATH], index[24];

	if (a->count != b->count) {
		buf_addf(out, "%s\n", where);
		return;
	}
	for (size_t i = 0; i < a->count; i++) {
		(void)snprintf(index, sizeof(index), "%zu", i);
		join(path, where, index);
		config_diff_table(s->sub, (char *)a->items + i * s->sub_size, (char *)b->items + i * s->sub_size, path,
				  out);
	}
}

void config_diff_table(const struct setting *table, const void *a, const void *b, const char *where, struct buf *out)
{
	char path[CONFIG_MOST_PATH];

	for (const struct setting *s = table; s->name; s++) {
		const void *x = member(s, a), *y = member(s, b);

		if (s->live)
			continue;
		join(path, where, s->name);
		if (s->type == SETTING_MAP)
			config_diff_table(s->sub, x, y, path, out);
		else if (s->type == SETTING_MAPS)
			config_diff_list(s, x, y, path, out);
		else if (!same_value(s, x, y))
			buf_addf(out, "%s\n", path);
	}
}
