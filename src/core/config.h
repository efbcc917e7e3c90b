/* config.h -- settings: declared in tables, read from YAML, environment and --set, checked all at once.
 *
 * A section is a C struct and a table of settings that name its members. One table drives everything: reading,
 * defaults, ranges, --set, WEIR_* variables, what can change at SIGHUP, and weir.yaml(5). Services bring their own
 * sections; core's are data_dir, shutdown_grace, log, limits, links, admin. */
#ifndef WEIR_CORE_CONFIG_H
#define WEIR_CORE_CONFIG_H

#include "base/buf.h"
#include "base/log.h"
#include "core/server.h"

enum setting_type {
	SETTING_STRING, /* char *, or NULL when not given and without default */
	SETTING_PATH, /* char *, made absolute from the configuration file's folder */
	SETTING_SECRET_FILE, /* as PATH; must be readable, not empty; never the value itself */
	SETTING_LISTEN, /* char *, HOST:PORT or [v6]:PORT */
	SETTING_URL, /* char *, http or https, no user information, no query or fragment */
	SETTING_BOOL, /* bool */
	SETTING_UINT, /* uint64_t, within min and max */
	SETTING_DURATION, /* int64_t, milliseconds, within min and max */
	SETTING_SIZE, /* uint64_t, bytes, within min and max */
	SETTING_CHOICE, /* int, index into choices */
	SETTING_STRINGS, /* char **, NULL-terminated (NULL when empty) */
	SETTING_MAP, /* a struct of its own: `sub`, inside the parent at offset */
	SETTING_MAPS,     /* a list of structs: struct setting_list at offset */
};

struct setting_list {
	void *items;
	size_t count;
};

struct setting {
	const char *name;            /* NULL ends a table */
	enum setting_type type;
	size_t offset;               /* in the section's struct */
	const char *fallback;        /* the default, as it would stand in the file; for STRINGS: "[a, b]"; NULL: none */
	uint64_t min, max;           /* UINT, DURATION (ms), SIZE; max 0: no bound */
	const char *const *choices;  /* NULL-terminated */
	const struct setting *sub;   /* MAP, MAPS */
	size_t sub_size;             /* MAPS: size of an item's struct */
	bool required;               /* in an item of MAPS or a section: must be given */
	bool live;                   /* can change at SIGHUP */
	const char *help;            /* a sentence, for weir.yaml(5) and --help of the key */
};

/* The settings that struct listen_settings embedded at `member` has; part of a table's initialiser. */
#define SETTINGS_LISTEN(owner, member, address)                                                    \
	{ .name = "listen",                                                                        \
	  .type = SETTING_LISTEN,                                                                  \
	  .offset = offsetof(owner, member.listen),                                                \
	  .fallback = (address),                                                                   \
	  .help = "Address and port to listen on; port 0 picks a free one." },                     \
		{ .name = "cert_file",                                                             \
		  .type = SETTING_PATH,                                                            \
		  .offset = offsetof(owner, member.cert_file),                                     \
		  .help = "PEM certificate chain; with key_file the listener speaks TLS." },       \
		{ .name = "key_file",                                                              \
		  .type = SETTING_PATH,                                                            \
		  .offset = offsetof(owner, member.key_file),                                      \
		  .help = "PEM private key of cert_file." },                                       \
	{                                                                                          \
		.name = "hosts", .type = SETTING_STRINGS, .offset = offsetof(owner, member.hosts), \
		.help = "Further host names under which this listener may be addressed."           \
	}

struct config_problems; /* gathers what is wrong, with file, line and key */
/* where: "git.disk.low"; the sentence says what is accepted. */
void config_problem(struct config_problems *p, const char *where, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct config_section {
	const char *name;              /* "git" */
	const struct setting *settings;
	size_t size;                   /* of its struct */
	bool is_list;                  /* `mirror`: a list of structs */
	bool by_default;               /* run when there is no configuration file at all */
	const char *help;              /* a sentence or two for weir.yaml(5); may be NULL */
	/* Checks that need several keys at once; may be NULL. */
	void (*check)(const void *section, struct config_problems *p);
};

struct config_limits {
	uint64_t connections, header_bytes, request_body, workers;
};
struct config_links {
	int64_t connect_timeout, stall_timeout, probe_first, probe_max;
};
struct config_admin {
	struct listen_settings listen;
	char *token_file;
};

/* The admin section is core's, as every command needs it to find the daemon; src/admin names it as its own. It need
 * not be among config_source's sections, but may be. */
extern const struct config_section config_admin_section;

struct config; /* immutable; counted */
struct config *config_ref(struct config *c);
void config_unref(struct config **c);

struct config_source {
	const char *file;          /* of -c; NULL: ./weir.yaml, then /etc/weir/weir.yaml, then defaults */
	const char *const *sets;   /* "KEY=VALUE", NULL-terminated; may be NULL */
	const char *const *env;    /* environ-like; may be NULL */
	const struct config_section *const *sections; /* the services', NULL-terminated; must live on */
	/* For commands that only look for the daemon: what the services' sections say is neither read nor checked. */
	bool only_admin;
	/* This section is there even if nobody names it, and no other is by default. NULL: see by_default. */
	const char *always;
};
/* 0 with *ret; -EINVAL with every problem in problems, a line each: "weir.yaml:12: git.refs_ttl: what is wrong; what
 * is accepted", in the order of the file, then --set and variables. Warnings (WEIR_* variables that name no key) in
 * warnings, a line each. Beyond the settings' own ranges it checks: in a table with cert_file and key_file that both
 * or neither are given and readable; in one with `max` and `low` sizes that low <= max (a low that is not given and
 * would be above becomes nine tenths of max); that no two listeners share an address or a name; that admin.token_file
 * is given unless admin.listen is loopback. A section's own check() runs only when all of its values could be read.
 * Reads files; blocks. */
int config_load(const struct config_source *src, struct config **ret, struct buf *problems, struct buf *warnings);

const char *config_file(const struct config *c);     /* path that was read, or NULL */
const char *config_data_dir(const struct config *c); /* absolute */
int64_t config_shutdown_grace_ms(const struct config *c);
enum log_level config_log_level(const struct config *c);
enum log_format config_log_format(const struct config *c);
const struct config_limits *config_limits(const struct config *c);
const struct config_links *config_links(const struct config *c);
const struct config_admin *config_admin(const struct config *c); /* NULL: no admin section */
const void *config_section(const struct config *c,
			   const char *name); /* its struct (or struct setting_list); NULL when absent */
/* Names of settings that differ between two configurations and cannot change live, one a line. */
void config_diff_not_live(const struct config *old, const struct config *new, struct buf *out);
/* The tables as mdoc for weir.yaml(5): a subsection for each section, one entry a setting. */
void config_describe(const struct config_section *const *sections, struct buf *out_mdoc);

#endif
