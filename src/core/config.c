/* config.c -- the order in which a configuration is read, and what it says to whom.
 *
 * WHAT     File, then variables, then --set, make one tree; the tables turn it into structs; checks across keys follow.
 * WHY      One settings table drives it all (config.h), read by our own walk over libyaml's events instead of a
 *          loader that stops at the first error and has forgotten the lines.
 * RULES    1. All or nothing: a configuration with a problem is not made, so a broken file at SIGHUP changes nothing.
 *          2. A section runs when it is named, by whatever source; without any file those with by_default run too. A
 *             command that is there for one section (`always`) runs that one in any case, and no others by default.
 *          3. A struct config is immutable and counted: whoever needs it keeps a reference, a reload makes another one.
 * THREADS  Loading blocks; getters may be called from any thread. */
#include "core/config.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/config_priv.h"
#include "io/file.h"

/* --- the configuration --- */

#define MOST_SECTIONS 16

struct section {
	const struct config_section *what;
	bool present;
	void *data;               /* a struct of what->settings */
	struct setting_list list; /* instead, when what->is_list */
};

struct config {
	_Atomic unsigned refs;
	char *file;
	struct config_core core;
	struct section sections[MOST_SECTIONS];
	size_t section_count;
};

struct config *config_ref(struct config *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void config_unref(struct config **c)
{
	struct config *old = *c;

	*c = NULL;
	if (!old || atomic_fetch_sub(&old->refs, 1) != 1)
		return;
	config_free_table(config_core_settings, &old->core);
	for (size_t i = 0; i < old->section_count; i++) {
		struct section *s = &old->sections[i];

		if (s->data)
			config_free_table(s->what->settings, s->data);
		free(s->data);
		config_free_list(s->what->settings, s->what->size, &s->list);
	}
	free(old->file);
	free(old);
}

static void add_sections(struct config *c, const struct config_section *const *sections)
{
	c->sections[c->section_count++].what = &config_admin_section;
	for (; sections && *sections; sections++) {
		if (*sections == &config_admin_section)
			continue;
		ENSURE(c->section_count < MOST_SECTIONS);
		c->sections[c->section_count++].what = *sections;
	}
}

struct setting *config_all_settings(const struct config_section *const *sections)
{
	struct config names = { .section_count = 0 };
	struct setting *all;
	size_t n = 0;

	add_sections(&names, sections);
	while (config_core_settings[n].name)
		n++;
	all = xcalloc(n + names.section_count + 1, sizeof(*all));
	memcpy(all, config_core_settings, n * sizeof(*all));
	for (size_t i = 0; i < names.section_count; i++) {
		const struct config_section *s = names.sections[i].what;

		all[n++] = (struct setting){ .name = s->name,
					     .type = s->is_list ? SETTING_MAPS : SETTING_MAP,
					     .sub = s->settings,
					     .sub_size = s->size,
					     .help = s->help };
	}
	return all;
}

/* --- loading --- */

struct loading {
	const struct config_source *src;
	struct config *config;
	struct config_problems problems;
	struct config_reader reader;
	struct node *root;
	struct setting *all;
	char *file_dir, *cwd;
};

static const char *const usual_files[] = { "weir.yaml", "/etc/weir/weir.yaml", NULL };

static const char *choose_file(const struct config_source *src)
{
	if (src->file)
		return src->file;
	for (size_t i = 0; usual_files[i]; i++) {
		if (access(usual_files[i], F_OK) == 0)
			return usual_files[i];
	}
	return NULL;
}

static char *folder_of(const char *path, const char *cwd)
{
	char *whole = config_path_absolute(cwd, path);
	char *slash = strrchr(whole, '/');

	slash[slash == whole] = '\0';
	return whole;
}

static void read_file(struct loading *l, const char *file)
{
	struct buf text = BUF_EMPTY;
	int err = file_read_all(file, CONFIG_MOST_FILE_BYTES, &text);

	if (err == WEIR_E_TOO_LARGE)
		problem_at(&l->problems, NULL, "", "is larger than 1MiB; accepted: a YAML file as in weir.yaml(5)");
	else if (err < 0)
		problem_at(&l->problems, NULL, "", "cannot be read: %s; accepted: a readable YAML file", err_text(err));
	else
		(void)config_tree_read(buf_slice(&text), NULL, "", &l->problems, &l->root); /* said in the problems */
	buf_fini(&text);
	if (l->root && l->root->kind != NODE_MAP) {
		if (l->root->kind != NODE_NULL)
			problem_at(&l->problems, l->root, "",
				   "is not a mapping of keys; accepted: a YAML file as in weir.yaml(5)");
		node_become(l->root, NODE_MAP, NULL);
	}
}

static char *working_folder(void)
{
	char *path = getcwd(NULL, 0);

	return path ? path : xstrdup("/");
}

/* Gathers everything that was said, whoever said it, into l->root. */
static void gather(struct loading *l, struct buf *warnings)
{
	const char *file = choose_file(l->src);

	l->cwd = working_folder();
	l->file_dir = file ? folder_of(file, l->cwd) : xstrdup(l->cwd);
	l->problems.file = file;
	if (file) {
		l->config->file = xstrdup(file);
		read_file(l, file);
	}
	if (!l->root)
		l->root = node_new(NODE_MAP, 0, NULL);
	l->problems.root = l->root;
	config_apply_env(l->root, l->all, l->src->env, &l->problems, warnings);
	for (const char *const *set = l->src->sets; set && *set; set++)
		config_apply_set(l->root, l->all, *set, &l->problems);
}

static void read_section(struct loading *l, struct section *s)
{
	struct node **slot = node_slot(l->root, slice_str(s->what->name), false, NULL);
	struct setting as_setting = { .type = s->what->is_list ? SETTING_MAPS : SETTING_MAP, .sub = s->what->settings };
	enum node_kind wanted = s->what->is_list ? NODE_LIST : NODE_MAP;
	struct node *n = slot ? *slot : NULL;
	size_t wrong = 0;

	s->present = n || (l->src->always ? !strcmp(s->what->name, l->src->always)
					  : s->what->by_default && !l->config->file);
	if (!s->present)
		return;
	if (n && n->kind != NODE_NULL && n->kind != wanted) {
		(void)config_wrong_kind(&l->reader, &as_setting, n, s->what->name); /* counted in the problems */
		return;
	}
	if (!s->what->is_list) {
		s->data = xcalloc(1, s->what->size);
		wrong = config_read_table(&l->reader, s->what->settings, n, s->data, s->what->name);
	} else if (n && n->kind == NODE_LIST) {
		wrong = config_read_list(&l->reader, s->what->settings, s->what->size, n, &s->list, s->what->name);
	}
	if (!wrong && s->what->check)
		s->what->check(s->what->is_list ? (const void *)&s->list : s->data, &l->problems);
}

/* The part of the tree that is core's, as the strangers in it are for find_strangers() of the whole. */
static void read_core(struct loading *l)
{
	struct node *core = node_new(NODE_MAP, 0, NULL);

	for (size_t i = 0; i < l->root->count; i++) {
		struct node_entry *e = &l->root->items[i];

		if (setting_find(config_core_settings, slice_str(e->key)))
			node_append(core, xstrdup(e->key), e->key_line, e->value);
		else if (!setting_find(l->all, slice_str(e->key)) && !l->src->only_admin)
			problem_no_such_key(&l->problems, e->value, e->key_line, e->key, slice_str(e->key), l->all,
					    l->all);
	}
	(void)config_read_table(&l->reader, config_core_settings, core, &l->config->core,
				""); /* counted in the problems */
	for (size_t i = 0; i < core->count; i++)
		core->items[i].value = NULL; /* still root's */
	node_free(core);
	if (l->config->core.links.probe_max < l->config->core.links.probe_first && !l->problems.count)
		config_problem(&l->problems, "links.probe_max",
			       "is below links.probe_first; accepted: at least as much");
}

/* --- checks between sections --- */

struct listener_seen {
	const char *address;
	char where[CONFIG_MOST_PATH];
};

static void check_listener(struct loading *l, const struct setting *table, const void *base, const char *where,
			   struct listener_seen *seen, size_t *count, size_t most)
{
	const struct setting *s = setting_find(table, slice_str("listen"));
	char path[CONFIG_MOST_PATH];
	const char *address;

	if (!s || s->type != SETTING_LISTEN)
		return;
	address = *(char *const *)(const void *)((const char *)base + s->offset);
	if (!address || config_listen_port(address) <= 0)
		return;
	(void)snprintf(path, sizeof(path), "%.200s.listen", where);
	for (size_t i = 0; i < *count; i++) {
		if (!strcmp(seen[i].address, address)) {
			config_problem(&l->problems, path, "%s is taken by %s; accepted: another address or port",
				       address, seen[i].where);
			return;
		}
	}
	if (*count < most) {
		seen[*count].address = address;
		memcpy(seen[*count].where, path, sizeof(path));
		(*count)++;
	}
}

static bool is_section_name(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->section_count; i++) {
		if (!strcmp(c->sections[i].what->name, name) && !c->sections[i].what->is_list)
			return true;
	}
	return !strcmp(name, "git") || !strcmp(name, "sessions") || !strcmp(name, "hub") || !strcmp(name, "admin");
}

/* Names of a list's items become names of listeners and labels. */
static void check_names(struct loading *l, const struct section *s)
{
	const struct setting *name = setting_find(s->what->settings, slice_str("name"));
	char path[CONFIG_MOST_PATH];

	for (size_t i = 0; name && name->type == SETTING_STRING && i < s->list.count; i++) {
		const char *mine = *(char **)(void *)((char *)s->list.items + i * s->what->size + name->offset);

		(void)snprintf(path, sizeof(path), "%s.%zu.name", s->what->name, i);
		if (mine && is_section_name(l->config, mine))
			config_problem(&l->problems, path, "\"%s\" is the name of a service; accepted: another name",
				       mine);
		for (size_t j = 0; mine && j < i; j++) {
			const char *other =
				*(char **)(void *)((char *)s->list.items + j * s->what->size + name->offset);

			if (other && !strcmp(mine, other))
				config_problem(&l->problems, path, "\"%s\" is taken by %s.%zu; accepted: another name",
					       mine, s->what->name, j);
		}
	}
}

#define MOST_LISTENERS 64 /* compared; the operating system finds the rest */

static void check_between(struct loading *l)
{
	struct listener_seen seen[MOST_LISTENERS];
	char where[CONFIG_MOST_PATH];
	size_t count = 0;

	for (size_t i = 0; i < l->config->section_count; i++) {
		const struct section *s = &l->config->sections[i];

		if (s->data)
			check_listener(l, s->what->settings, s->data, s->what->name, seen, &count, MOST_LISTENERS);
		for (size_t j = 0; j < s->list.count; j++) {
			(void)snprintf(where, sizeof(where), "%s.%zu", s->what->name, j);
			check_listener(l, s->what->settings, (char *)s->list.items + j * s->what->size, where, seen,
				       &count, MOST_LISTENERS);
		}
		if (s->what->is_list)
			check_names(l, s);
	}
}

int config_load(const struct config_source *src, struct config **ret, struct buf *problems, struct buf *warnings)
{
	struct loading l = { .src = src, .config = xcalloc(1, sizeof(struct config)) };
	int err = 0;

	atomic_init(&l.config->refs, 1);
	add_sections(l.config, src->sections);
	l.all = config_all_settings(src->sections);
	gather(&l, warnings);
	l.reader = (struct config_reader){ l.all, l.file_dir, l.cwd, &l.problems };
	read_core(&l);
	for (size_t i = 0; i < (src->only_admin ? 1 : l.config->section_count); i++)
		read_section(&l, &l.config->sections[i]);
	check_between(&l);
	if (l.problems.count) {
		problems_write(&l.problems, problems);
		config_unref(&l.config);
		err = -EINVAL;
	} else {
		*ret = l.config;
	}
	problems_fini(&l.problems);
	node_free(l.root);
	free(l.all);
	free(l.file_dir);
	free(l.cwd);
	return err;
}

/* --- getters --- */

const char *config_file(const struct config *c)
{
	return c->file;
}

const char *config_data_dir(const struct config *c)
{
	return c->core.data_dir;
}

int64_t config_shutdown_grace_ms(const struct config *c)
{
	return c->core.shutdown_grace;
}

enum log_level config_log_level(const struct config *c)
{
	return (enum log_level)c->core.log.level;
}

enum log_format config_log_format(const struct config *c)
{
	return (enum log_format)c->core.log.format;
}

const struct config_limits *config_limits(const struct config *c)
{
	return &c->core.limits;
}

const struct config_links *config_links(const struct config *c)
{
	return &c->core.links;
}

static const struct section *section_find(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->section_count; i++) {
		if (!strcmp(c->sections[i].what->name, name))
			return &c->sections[i];
	}
	return NULL;
}

const void *config_section(const struct config *c, const char *name)
{
	const struct section *s = section_find(c, name);

	if (!s || !s->present)
		return NULL;
	return s->what->is_list ? (const void *)&s->list : s->data;
}

const struct config_admin *config_admin(const struct config *c)
{
	return config_section(c, "admin");
}

void config_diff_not_live(const struct config *old, const struct config *new, struct buf *out)
{
	config_diff_table(config_core_settings, &old->core, &new->core, "", out);
	for (size_t i = 0; i < old->section_count; i++) {
		const struct section *a = &old->sections[i], *b = section_find(new, a->what->name);
		struct setting as_list = { .type = SETTING_MAPS, .sub = a->what->settings, .sub_size = a->what->size };

		if (!b || a->present != b->present)
			buf_addf(out, "%s\n", a->what->name);
		else if (a->present && a->what->is_list)
			config_diff_list(&as_list, &a->list, &b->list, a->what->name, out);
		else if (a->present)
			config_diff_table(a->what->settings, a->data, b->data, a->what->name, out);
	}
}
