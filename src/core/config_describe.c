/* config_describe.c -- the tables of settings as the settings part of weir.yaml(5), in mdoc(7).
 *
 * WHY      A manual that is written beside the tables drifts away from them; a part that is printed from them cannot. A
 *          test compares the page with what is printed here. */
#include "core/config_priv.h"

#include <ctype.h>

/* Text inside a macro line: backslashes would be read as roff. */
static void add_text(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\')
			buf_add_str(out, "\\e");
		else
			buf_add_char(out, *s);
	}
}

/* mdoc wants every sentence on a line of its own. */
static void add_sentences(struct buf *out, const char *s)
{
	if (*s == '.' || *s == '\'') /* would be read as a macro */
		buf_add_str(out, "\\&");
	for (; *s; s++) {
		if (*s == ' ' && s[-1] == '.' && isupper((unsigned char)s[1])) {
			buf_add_char(out, '\n');
			continue;
		}
		if (*s == '\\')
			buf_add_str(out, "\\e");
		else
			buf_add_char(out, *s);
	}
	buf_add_char(out, '\n');
}

static const char *type_name(const struct setting *s)
{
	switch (s->type) {
	case SETTING_STRING: return "text";
	case SETTING_PATH: return "path";
	case SETTING_SECRET_FILE: return "path of a secret";
	case SETTING_LISTEN: return "host:port";
	case SETTING_URL: return "URL";
	case SETTING_BOOL: return "true | false";
	case SETTING_UINT: return "number";
	case SETTING_DURATION: return "time";
	case SETTING_SIZE: return "size";
	case SETTING_CHOICE: return "choice";
	case SETTING_STRINGS: return "list";
	case SETTING_MAP: return "mapping";
	case SETTING_MAPS: return "list of mappings";
	}
	return "";
}

static void add_facts(const struct setting *s, struct buf *out)
{
	struct buf accepts = BUF_EMPTY;

	if (s->type == SETTING_CHOICE)
		config_value_accepts(s, &accepts);
	else
		config_value_range(s, &accepts);
	if (accepts.len)
		buf_addf(out, "Accepted: %s.\n", accepts.data);
	if (s->required) {
		buf_add_str(out, "Required.\n");
	} else if (s->fallback) {
		buf_add_str(out, "Default:\n.Li \"");
		for (const char *c = s->fallback; *c; c++) {
			if (*c == '"')
				buf_add_str(out, "\\(dq");
			else if (*c == '\\')
				buf_add_str(out, "\\e");
			else
				buf_add_char(out, *c);
		}
		buf_add_str(out, "\" .\n");
	}
	if (s->live)
		buf_add_str(out, "Can change at SIGHUP.\n");
	buf_fini(&accepts);
}

static void add_table(const struct setting *table, const char *where, struct buf *out)
{
	for (const struct setting *s = table; s->name; s++) {
		char path[CONFIG_MOST_PATH];

		(void)snprintf(path, sizeof(path), "%.200s%s%s", where, *where ? "." : "", s->name);
		if (s->type != SETTING_MAP) {
			buf_addf(out, ".It Ic %s : Ar %s\n", path, type_name(s));
			if (s->help)
				add_sentences(out, s->help);
			add_facts(s, out);
		}
		if (s->type == SETTING_MAPS)
			(void)snprintf(path + strlen(path), sizeof(path) - strlen(path), ".N");
		if (s->type == SETTING_MAP || s->type == SETTING_MAPS)
			add_table(s->sub, path, out);
	}
}

static void add_list(const struct setting *table, const char *where, struct buf *out)
{
	buf_add_str(out, ".Bl -tag -width Ds\n");
	add_table(table, where, out);
	buf_add_str(out, ".El\n");
}

void config_describe(const struct config_section *const *sections, struct buf *out_mdoc)
{
	struct setting *all = config_all_settings(sections);
	size_t core = 0;

	while (config_core_settings[core].name)
		core++;
	buf_add_str(out_mdoc, ".Ss Keys of the top level\n");
	add_list(config_core_settings, "", out_mdoc);
	for (const struct setting *s = all + core; s->name; s++) {
		char where[CONFIG_MOST_PATH];

		buf_add_str(out_mdoc, ".Ss The section ");
		add_text(out_mdoc, s->name);
		buf_add_char(out_mdoc, '\n');
		if (s->help)
			add_sentences(out_mdoc, s->help);
		(void)snprintf(where, sizeof(where), "%s%s", s->name, s->type == SETTING_MAPS ? ".N" : "");
		add_list(s->sub, where, out_mdoc);
	}
	free(all);
}
