/* cli_priv.h -- what commands share: the line as it was read, and the table of commands. */
#ifndef WEIR_CLI_CLI_PRIV_H
#define WEIR_CLI_CLI_PRIV_H

#include "core/service.h"

enum exit_status { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

/* Options that a command may take; --help and --version are everybody's. */
enum cli_option_bit {
	CLI_CONFIG = 1 << 0, /* -c, --config FILE */
	CLI_SET = 1 << 1,    /* --set KEY=VALUE, any number */
	CLI_ADMIN = 1 << 2,  /* --admin HOST:PORT */
	CLI_JSON = 1 << 3,   /* --json */
	CLI_STATE = 1 << 4,  /* --state STATE */
	CLI_SERVICE = 1 << 5, /* --service NAME */
	CLI_KEEP = 1 << 6,   /* --keep ours|theirs */
	CLI_FROM = 1 << 7,   /* --from DATABASE */
	CLI_TO = 1 << 8,     /* --to DATABASE */
};

struct cli;
struct cli_command {
	const char *name;      /* "serve", "repo warm" */
	const char *arguments; /* for the usage line: "URL..."; "" */
	const char *summary;   /* half a line */
	const char *about;     /* a paragraph for --help, lines of 78 */
	unsigned options;      /* bits */
	size_t least, most;    /* arguments */
	bool hidden;           /* not in the list: for the build */
	/* A daemon for this one section: it runs whether named or not, from the second table of services, with its own
	 * folder below data_dir, so that it may run beside `weir serve`. NULL: everybody else. */
	const char *section;
	int (*run)(const struct cli *cli);
};

/* What a daemon under another name has beyond `weir serve`: see datacat_daemon.c. All run on the main thread. */
struct serve_extra {
	int lock_fd;                /* of data_dir, taken already; serve closes it */
	void (*ready)(void *arg);   /* all listeners are open; may be NULL */
	/* About four times a second; true: end now, as at SIGTERM. May be NULL. */
	bool (*tick)(void *arg, const struct core *core);
	/* SIGTERM or SIGINT came: tick decides from now on when it is over. May be NULL: at once. */
	void (*asked_to_end)(void *arg);
	/* No connection is left; the services, and the lock, still stand. May be NULL. */
	void (*closed)(void *arg, const struct core *core);
	void *arg;
};

struct cli {
	const struct cli_command *command;
	const struct service *const *services;
	const struct config_section **sections; /* of all services, these and others, NULL-terminated */
	const char *file, *admin;               /* NULL: not given */
	const char *state, *service, *keep;     /* the same */
	const char *from, *to;                  /* the same */
	const char **sets;                      /* NULL-terminated */
	const char **args;                      /* NULL-terminated */
	size_t set_count, arg_count;
	bool json, help, version;
	const struct serve_extra *extra; /* NULL: none */
};

extern const struct cli_command cli_commands[]; /* ends with name NULL */

/* Reads what follows the command's name. 0, or EXIT_USAGE with a line on standard error. The arrays are cli's;
 * cli_fini() frees. */
int cli_read(struct cli *cli, int argc, char **argv);
void cli_fini(struct cli *cli);
void cli_print_options(const struct cli_command *c);

/* "weir: ..." and a line end, on standard error. */
void cli_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Loads the configuration that the line names; warnings and problems go to standard error. 0 or EXIT_USAGE. */
int cli_load_config(const struct cli *cli, bool only_admin, struct config **ret);

int cmd_serve(const struct cli *cli);
int cmd_hub_migrate(const struct cli *cli);
int cmd_datacat_server(const struct cli *cli);
int cmd_datacat_daemon(const struct cli *cli);
int cmd_check(const struct cli *cli);
int cmd_describe_settings(const struct cli *cli);
int cmd_status(const struct cli *cli);
int cmd_repo_ls(const struct cli *cli);
int cmd_repo_warm(const struct cli *cli);
int cmd_repo_verify(const struct cli *cli);
int cmd_repo_evict(const struct cli *cli);
int cmd_outbox_ls(const struct cli *cli);
int cmd_outbox_show(const struct cli *cli);
int cmd_outbox_body(const struct cli *cli);
int cmd_outbox_retry(const struct cli *cli);
int cmd_outbox_drop(const struct cli *cli);
int cmd_outbox_resolve(const struct cli *cli);
int cmd_outbox_flush(const struct cli *cli);
int cmd_session_ls(const struct cli *cli);
int cmd_session_show(const struct cli *cli);
int cmd_session_flush(const struct cli *cli);

#endif
