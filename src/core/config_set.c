/* config_set.c -- --set KEY=VALUE and WEIR_* variables, as changes of the tree that the file made.
 *
 * WHAT     A key is walked along the tables: git.disk.max, git.upstreams.0.url, mirror.0.listen. A list is addressed by
 *          index; one past its end appends. A scalar's value is taken as it stands; a list or a mapping is YAML:
 *          --set 'git.upstreams=[{match: x, url: "http://127.0.0.1:1"}]'.
 * WHY      Changing the tree, not the structs, means that what comes from a flag is checked by the very code that
 *          checks the file, and is reported beside it.
 * RULES    1. Variables first, then --set in its order: the later one wins.
 *          2. An empty value means "as if it were not in the file".
 *          3. A list that has a default and is addressed by index starts as that default.
 *          4. A variable's name is matched against the tables, as underscores stand both for dots and for themselves;
 *             so only known keys can be meant. Others get a warning, except what Kubernetes puts there by itself. */
#include "core/config_priv.h"

#include <ctype.h>

#include "base/err.h"
#include "base/str.h"

static bool part_is_last(struct slice rest)
{
	return rest.n == 0;
}

static bool is_collection(const struct setting *s)
{
	return !setting_is_scalar(s);
}

/* Replaces *slot by what text says, as s would have it in the file. */
static void put_value(struct node **slot, const struct setting *s, const char *key, const char *text,
		      const char *origin, struct config_problems *p)
{
	struct node *n = NULL;

	if (is_collection(s) && *text) {
		if (config_tree_read(slice_str(text), origin, key, p, &n) < 0)
			return;
		if (!n)
			n = node_new(NODE_NULL, 0, origin);
	} else {
		n = node_new_scalar(text, origin);
		for (const char *c = text; *c; c++) {
			if ((unsigned char)*c < 0x20 || *c == 0x7f) {
				problem_at(p, n, key, "holds a control character; accepted: text on one line");
				node_become(n, NODE_NULL, origin);
				break;
			}
		}
	}
	node_free(*slot);
	*slot = n;
}

/* Makes sure that n is a list, the default one when it says nothing. */
static void materialise_list(struct node *n, const struct setting *s, const char *origin)
{
	struct config_problems ignored = { .file = NULL };
	struct node *list = NULL;

	if (n->kind == NODE_LIST)
		return;
	node_become(n, NODE_LIST, origin);
	if (!s->fallback || config_tree_read(slice_str(s->fallback), origin, "", &ignored, &list) < 0 || !list)
		return;
	for (size_t i = 0; i < list->count; i++) {
		node_append(n, NULL, 0, list->items[i].value);
		list->items[i].value = NULL;
	}
	node_free(list);
	problems_fini(&ignored);
}

/* Cuts an index off *rest and gives the item's place; NULL with a problem noted. */
static struct node **take_item(struct node *list, const char *key, struct slice *rest, const char *origin,
			       struct config_problems *p)
{
	struct node at = { .origin = (char *)(uintptr_t)origin };
	struct slice part;
	uint64_t index;

	(void)slice_cut(rest, '.', &part);
	if (str_parse_u64(part, &index) < 0) {
		problem_at(p, &at, key,
			   "addresses a list without an index; accepted: an index from 0 to %zu in its place",
			   list->count);
		return NULL;
	}
	if (index > list->count) {
		problem_at(
			p, &at, key,
			"index %.*s is beyond the end of a list of %zu; accepted: 0 to %zu, the last of which appends",
			(int)part.n, part.p, list->count, list->count);
		return NULL;
	}
	if (index == list->count)
		node_append(list, NULL, 0, node_new(NODE_NULL, 0, origin));
	return node_item(list, index);
}

static void apply(struct node *root, const struct setting *all, const char *key, const char *text, const char *origin,
		  struct config_problems *p)
{
	static const struct setting as_map = { .type = SETTING_MAP }, as_text = { .type = SETTING_STRING };
	struct node at = { .origin = (char *)(uintptr_t)origin }, *n = root, **slot;
	const struct setting *table = all, *s;
	struct slice rest = slice_str(key), part;

	for (;;) {
		(void)slice_cut(&rest, '.', &part);
		s = setting_find(table, part);
		if (!s) {
			problem_no_such_key(p, &at, 0, key, part, table, all);
			return;
		}
		slot = node_slot(n, part, true, origin);
		if (part_is_last(rest)) {
			put_value(slot, s, key, text, origin, p);
			return;
		}
		if (s->type == SETTING_MAPS || s->type == SETTING_STRINGS) {
			materialise_list(*slot, s, origin);
			slot = take_item(*slot, key, &rest, origin, p);
			if (!slot)
				return;
			if (part_is_last(rest)) {
				put_value(slot, s->type == SETTING_MAPS ? &as_map : &as_text, key, text, origin, p);
				return;
			}
		}
		if (s->type != SETTING_MAP && s->type != SETTING_MAPS) {
			problem_at(p, &at, key, "has nothing below %s; accepted: %s=VALUE", s->name, s->name);
			return;
		}
		if ((*slot)->kind != NODE_MAP)
			node_become(*slot, NODE_MAP, origin);
		n = *slot;
		table = s->sub;
	}
}

void config_apply_set(struct node *root, const struct setting *all, const char *set, struct config_problems *p)
{
	struct node at = { .origin = (char *)(uintptr_t) "--set" };
	struct slice rest = slice_str(set), key;
	struct buf shown = BUF_EMPTY;
	char *text;

	if (slice_cut(&rest, '=', &key) && key.n && key.n < CONFIG_MOST_PATH) {
		text = slice_dup(key);
		apply(root, all, text, rest.p, "--set", p);
		free(text);
		return;
	}
	str_add_escaped(&shown, key, 60);
	problem_at(p, &at, "", "\"%s\" is not KEY=VALUE; accepted: as in git.listen=127.0.0.1:0", shown.data);
	buf_fini(&shown);
}

/* --- variables --- */

static bool starts_upper(struct slice s, const char *name)
{
	size_t n = strlen(name);

	if (s.n < n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s.p[i] != toupper((unsigned char)name[i]))
			return false;
	}
	return true;
}

static bool match(const struct setting *table, struct slice rest, struct buf *path);

/* What follows a setting's name in a variable's: an index for lists, then perhaps a key below. */
static bool match_below(const struct setting *s, struct slice rest, struct buf *path)
{
	struct slice index;
	bool more;

	if (s->type == SETTING_MAP)
		return match(s->sub, rest, path);
	if (s->type != SETTING_MAPS && s->type != SETTING_STRINGS)
		return false;
	more = slice_cut(&rest, '_', &index);
	if (!index.n || index.n > 6)
		return false;
	for (size_t i = 0; i < index.n; i++) {
		if (!isdigit((unsigned char)index.p[i]))
			return false;
	}
	buf_add_char(path, '.');
	buf_add_slice(path, index);
	return !more || (s->type == SETTING_MAPS && match(s->sub, rest, path));
}

/* Finds the key that rest ("GIT_DISK_MAX") stands for and adds it to path. */
static bool match(const struct setting *table, struct slice rest, struct buf *path)
{
	size_t mark = path->len;

	for (const struct setting *s = table; s->name; s++) {
		size_t n = strlen(s->name);

		if (!starts_upper(rest, s->name))
			continue;
		buf_addf(path, "%s%s", mark ? "." : "", s->name);
		if (rest.n == n || (rest.p[n] == '_' && match_below(s, slice_from(rest, n + 1), path)))
			return true;
		buf_truncate(path, mark);
	}
	return false;
}

/* A Kubernetes service named weir or weir-git puts WEIR_SERVICE_HOST, WEIR_GIT_PORT=tcp://... into every pod. */
static bool is_kubernetes(const char *name, const char *value)
{
	return strstr(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT") || strstr(name, "_TCP") ||
	       strstr(name, "_UDP") || !strncmp(value, "tcp://", 6) || !strncmp(value, "udp://", 6);
}

void config_apply_env(struct node *root, const struct setting *all, const char *const *env, struct config_problems *p,
		      struct buf *warnings)
{
	for (; env && *env; env++) {
		struct slice value = slice_str(*env), name;
		struct buf path = BUF_EMPTY;
		char *text;

		if (!slice_starts(value, "WEIR_") || !slice_cut(&value, '=', &name))
			continue;
		if (slice_eq_str(name, "WEIR_ADMIN")) /* where commands find the daemon, not a section */
			continue;
		text = slice_dup(name);
		if (match(all, slice_from(name, 5), &path)) {
			apply(root, all, path.data, value.p, text, p);
		} else if (!is_kubernetes(text, value.p)) {
			struct buf shown = BUF_EMPTY;

			str_add_escaped(&shown, name, 80);
			buf_addf(warnings, "%s: names no key and is ignored\n", shown.data);
			buf_fini(&shown);
		}
		free(text);
		buf_fini(&path);
	}
}
