/* config_priv.h -- what the files of the configuration share: the tree of values, the problems, the walk along tables.
 *
 *   config_tree.c     YAML text -> tree of nodes that know their line
 *   config_set.c      --set and WEIR_* variables -> changes of that tree
 *   config_value.c    one scalar -> one C value, and the words for what is accepted
 *   config_read.c     tree and tables -> structs, defaults filled in; and freeing, comparing them
 *   config_problem.c  what is wrong, gathered, sorted and said
 *   config_core.c     the settings of core itself
 *   config.c          the order of it all, getters
 *   config_describe.c tables -> mdoc */
#ifndef WEIR_CORE_CONFIG_PRIV_H
#define WEIR_CORE_CONFIG_PRIV_H

#include "core/config.h"

#define CONFIG_MOST_FILE_BYTES (1024 * 1024)
#define CONFIG_MOST_DEPTH 16
#define CONFIG_MOST_PROBLEMS 100 /* further ones are counted */
#define CONFIG_MOST_PATH 256     /* bytes of "git.upstreams.0.url" */

/* --- the tree --- */
enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node;
struct node_entry {
	char *key; /* NULL in a list */
	unsigned key_line;
	struct node *value;
};
struct node {
	enum node_kind kind;
	unsigned line; /* in the file; 0: from elsewhere */
	char *origin;  /* NULL: the file; else "--set", or the variable's name */
	char *text;    /* SCALAR */
	struct node_entry *items; /* LIST, MAP */
	size_t count;
};

struct node *node_new(enum node_kind kind, unsigned line, const char *origin);
struct node *node_new_scalar(const char *text, const char *origin); /* an empty text makes a NULL node */
void node_free(struct node *n);                                     /* NULL is fine */
/* The value's place in map n, made (as a NODE_NULL) when `make`; NULL when absent. Valid until n changes. */
struct node **node_slot(struct node *n, struct slice key, bool make, const char *origin);
struct node **node_item(struct node *n, size_t i); /* NULL beyond the end */
void node_append(struct node *n, char *take_key, unsigned key_line, struct node *take_value);
/* Empties n into another kind, keeping line; origin is replaced. */
void node_become(struct node *n, enum node_kind kind, const char *origin);

/* Reads YAML into *ret (NULL: nothing in it). Problems go to p under `where` ("" for a file). origin NULL: lines
 * count. */
int config_tree_read(struct slice yaml, const char *origin, const char *where, struct config_problems *p,
		     struct node **ret);

/* --- problems --- */
struct config_problems {
	const char *file;  /* as the user named it; NULL: none */
	struct node *root; /* borrowed: where config_problem() looks up lines */
	struct problem {
		unsigned line, order;
		char *text;
	} *items;
	size_t count, more;
};
void problems_fini(struct config_problems *p);
/* At a node; NULL: about the whole file. */
void problem_at(struct config_problems *p, const struct node *n, const char *where, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void problems_write(struct config_problems *p, struct buf *out);
/* "no such key (did you mean refs_ttl?); accepted: a, b, c". all: the root table, to find a key that stands
 * elsewhere. */
void problem_no_such_key(struct config_problems *p, const struct node *n, unsigned line, const char *where,
			 struct slice key, const struct setting *table, const struct setting *all);
struct node *node_find(struct node *root, const char *path); /* the deepest node on the path that exists */

/* --- tables --- */
/* The keys of the top level, but for sections; config_core_settings describes it. */
struct config_core {
	char *data_dir;
	int64_t shutdown_grace;
	struct {
		int level, format;
	} log;
	struct config_limits limits;
	struct config_links links;
};
extern const struct setting config_core_settings[];

const struct setting *setting_find(const struct setting *table, struct slice name);
static inline bool setting_is_scalar(const struct setting *s)
{
	return s->type < SETTING_STRINGS;
}

/* --- values --- */
/* What a scalar becomes. */
union config_value {
	char *text; /* owned */
	bool yes;
	uint64_t number;
	int64_t ms;
	int choice;
};
/* Reads text as s says. 0; or -EINVAL with "what is wrong; what is accepted" in why. base_dir: where relative paths
 * start. */
int config_value_parse(const struct setting *s, const char *text, const char *base_dir, union config_value *ret,
		       struct buf *why);
void config_value_accepts(const struct setting *s, struct buf *out); /* "a time from 1s to 1h, as in 30s" */
void config_value_range(const struct setting *s, struct buf *out);   /* "from 1s to 1h"; nothing when there is none */
void config_format_duration(int64_t ms, struct buf *out);             /* exact and readable again: "90s" */
void config_format_bytes(uint64_t bytes, struct buf *out);            /* exact: "32KiB" */
char *config_path_absolute(const char *base_dir, const char *path);   /* malloc'ed; "./" and "//" taken out */
bool config_listen_is_loopback(const char *listen);
int config_listen_port(const char *listen);

/* --- --set and variables --- */
void config_apply_set(struct node *root, const struct setting *all, const char *set, struct config_problems *p);
void config_apply_env(struct node *root, const struct setting *all, const char *const *env, struct config_problems *p,
		      struct buf *warnings);

/* --- structs --- */
struct config_reader {
	const struct setting *all; /* the root table, for suggestions */
	const char *file_dir, *cwd;
	struct config_problems *problems;
};
/* Says that n is of another kind than s accepts; gives 1. */
size_t config_wrong_kind(struct config_reader *r, const struct setting *s, const struct node *n, const char *where);
/* Fills the struct at base from map n (NULL: all defaults). Defaults stand where something is wrong. Number of
 * problems found. */
size_t config_read_table(struct config_reader *r, const struct setting *table, const struct node *n, void *base,
			 const char *where);
size_t config_read_list(struct config_reader *r, const struct setting *sub, size_t sub_size, const struct node *n,
			struct setting_list *ret, const char *where);
void config_free_table(const struct setting *table, void *base); /* what the members own, not base */
void config_free_list(const struct setting *sub, size_t sub_size, struct setting_list *l);
/* Names of settings in which a and b differ and that are not live, one a line. */
void config_diff_table(const struct setting *table, const void *a, const void *b, const char *where, struct buf *out);
void config_diff_list(const struct setting *s, const struct setting_list *a, const struct setting_list *b,
		      const char *where, struct buf *out);

/* The root table: core's own keys and each section as a MAP or MAPS; ends with name NULL. malloc'ed; the caller
 * frees. */
struct setting *config_all_settings(const struct config_section *const *sections);

#endif
