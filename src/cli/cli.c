/* cli.c -- the table of commands, and finding one in it.
 *
 * WHY      Help, usage lines, did-you-mean and weir(1)'s list come from one table. A command is a row here and a
 *          file. */
#include "cli/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include "cli/cli_priv.h"
#include "core/suggest.h"
#include "io/file.h"

#define CLIENT (CLI_CONFIG | CLI_SET | CLI_ADMIN)

const struct cli_command cli_commands[] = {
	{ .name = "serve",
	  .arguments = "",
	  .summary = "run the daemon: the services that the configuration names",
	  .about = "Runs in the foreground. Prints `listening SERVICE HOST:PORT` for each listener, then `ready`.\n"
		   "SIGTERM and SIGINT end it gracefully, a second one at once; SIGHUP re-reads the configuration.\n",
	  .options = CLI_CONFIG | CLI_SET,
	  .run = cmd_serve },
	{ .name = "hub migrate",
	  .arguments = "",
	  .summary = "copy the hub's database into another one",
	  .about = "DATABASE is as hub.database has it: sqlite:FILE or postgresql://USER@HOST/DATABASE. The target has to be empty,\n"
		   "and the hub of the source stopped. What was interrupted goes on when it is started again. A password in a\n"
		   "URL can be seen by others on this machine (ps): better name a file, as ?passfile=FILE.\n",
	  .options = CLI_FROM | CLI_TO,
	  .section = "hub",
	  .run = cmd_hub_migrate },
	{ .name = "hub",
	  .arguments = "",
	  .summary = "run the session server",
	  .about = "Reads the sections hub and admin of the same configuration; needs neither. It has its own part of\n"
		   "data_dir, so that it may run beside weir serve. Output and signals are those of weir serve.\n",
	  .options = CLI_CONFIG | CLI_SET,
	  .section = "hub",
	  .run = cmd_serve },
	{ .name = "check",
	  .arguments = "",
	  .summary = "validate a configuration and say what it would run",
	  .about = "Names each problem with file, line, key and what is accepted; exits with 2 when there is one.\n",
	  .options = CLI_CONFIG | CLI_SET,
	  .run = cmd_check },
	{ .name = "status",
	  .arguments = "",
	  .summary = "state of upstreams, caches and counters of a running daemon",
	  .about = "",
	  .options = CLIENT | CLI_JSON,
	  .run = cmd_status },
	{ .name = "repo ls",
	  .arguments = "",
	  .summary = "list the cached repositories",
	  .about = "",
	  .options = CLIENT | CLI_JSON,
	  .run = cmd_repo_ls },
	{ .name = "repo warm",
	  .arguments = "URL...",
	  .summary = "fetch repositories into the cache, showing progress",
	  .about = "URL is as for git clone (https://github.com/org/repo) or HOST/PATH (github.com/org/repo).\n",
	  .options = CLIENT,
	  .least = 1,
	  .most = SIZE_MAX,
	  .run = cmd_repo_warm },
	{ .name = "repo verify",
	  .arguments = "[URL]",
	  .summary = "check one cached repository, or all, for damage",
	  .about = "Exits with 1 when damage was found. A damaged repository is set aside and fetched again.\n",
	  .options = CLIENT,
	  .most = 1,
	  .run = cmd_repo_verify },
	{ .name = "repo evict",
	  .arguments = "URL",
	  .summary = "drop one cached repository",
	  .about = "",
	  .options = CLIENT,
	  .least = 1,
	  .most = 1,
	  .run = cmd_repo_evict },
	{ .name = "outbox ls",
	  .arguments = "",
	  .summary = "list the writes that the outbox holds",
	  .about = "In the order in which they were taken; settled ones as long as they are kept.\n"
		   "States: queued, sending, applied, conflict, held, dropped, resolved.\n",
	  .options = CLIENT | CLI_JSON | CLI_STATE | CLI_SERVICE,
	  .run = cmd_outbox_ls },
	{ .name = "outbox show",
	  .arguments = "ID",
	  .summary = "tell all about one write, and what can be done",
	  .about = "",
	  .options = CLIENT | CLI_JSON,
	  .least = 1,
	  .most = 1,
	  .run = cmd_outbox_show },
	{ .name = "outbox body",
	  .arguments = "ID",
	  .summary = "print the content of a write, as it is",
	  .about = "",
	  .options = CLIENT,
	  .least = 1,
	  .most = 1,
	  .run = cmd_outbox_body },
	{ .name = "outbox retry",
	  .arguments = "ID...",
	  .summary = "send writes again, now",
	  .about = "For queued, conflict and held. It also ends a pause of their service.\n",
	  .options = CLIENT,
	  .least = 1,
	  .most = SIZE_MAX,
	  .run = cmd_outbox_retry },
	{ .name = "outbox drop",
	  .arguments = "ID...",
	  .summary = "give writes up: the upstream never gets them",
	  .about = "For queued, conflict and held. What was dropped stays listed for a while, and is gone then.\n",
	  .options = CLIENT,
	  .least = 1,
	  .most = SIZE_MAX,
	  .run = cmd_outbox_drop },
	{ .name = "outbox resolve",
	  .arguments = "ID...",
	  .summary = "end conflicts: --keep ours, or --keep theirs",
	  .about = "For conflict and held. --keep ours bases the write on what the upstream has now and sends it\n"
		   "again; --keep theirs gives it up, and what the upstream has stays. One of them must be given.\n",
	  .options = CLIENT | CLI_KEEP,
	  .least = 1,
	  .most = SIZE_MAX,
	  .run = cmd_outbox_resolve },
	{ .name = "outbox flush",
	  .arguments = "",
	  .summary = "send everything that waits for its time, now",
	  .about = "It also ends a pause. While an upstream is away nothing is sent to it all the same.\n",
	  .options = CLIENT | CLI_SERVICE,
	  .run = cmd_outbox_flush },
	{ .name = "session ls",
	  .arguments = "",
	  .summary = "list the sessions that the daemon holds",
	  .about = "Those that live, those that are not delivered yet, and those that were looked at lately.\n",
	  .options = CLIENT | CLI_JSON,
	  .run = cmd_session_ls },
	{ .name = "session show",
	  .arguments = "ID",
	  .summary = "tell all about one session, by its local id or the server's",
	  .about = "With what waits to be sent, and what the server knows when it answers quickly.\n",
	  .options = CLIENT | CLI_JSON,
	  .least = 1,
	  .most = 1,
	  .run = cmd_session_show },
	{ .name = "session flush",
	  .arguments = "",
	  .summary = "send everything that the sessions have gathered, now",
	  .about = "",
	  .options = CLIENT,
	  .run = cmd_session_flush },
	{ .name = "describe-settings",
	  .arguments = "",
	  .summary = "the settings part of weir.yaml(5), as mdoc",
	  .about = "",
	  .hidden = true,
	  .run = cmd_describe_settings },
	{ .name = NULL },
};

/* Names under which this program is another: a link to it is put where the original's binary was. */
static const struct cli_command dropins[] = {
	{ .name = "datacat-server",
	  .arguments = "",
	  .summary = "run the session server as the original was run",
	  .about = "Reads ./config.json, and writes one when there is none.\n",
	  .section = "hub",
	  .run = cmd_datacat_server },
	{ .name = "datacat-daemon",
	  .arguments = "",
	  .summary = "run the session daemon of one program as the original was run",
	  .about =
		  "Reads the file that DATACAT_CONFIG names, else ./daemon_config.json, and writes one when there is none.\n",
	  .most = 1, /* hidden: a folder to be taken over */
	  .run = cmd_datacat_daemon },
	{ .name = NULL },
};

static void print_usage(FILE *to)
{
	(void)fprintf(to, "usage: weir COMMAND [OPTION]...\n\n");
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		char left[40];

		if (c->hidden)
			continue;
		(void)snprintf(left, sizeof(left), "%s %s", c->name, c->arguments);
		(void)fprintf(to, "  %-20s %s\n", left, c->summary);
	}
	(void)fprintf(to, "\nweir COMMAND --help tells about one of them; man weir about all.\n");
}

static void print_help(const struct cli_command *c)
{
	printf("usage: weir %s [OPTION]...%s%s\n\n%c%s.\n%s%s\n", c->name, *c->arguments ? " " : "", c->arguments,
	       c->summary[0] - 'a' + 'A', c->summary + 1, *c->about ? "\n" : "", c->about);
	cli_print_options(c);
}

static bool is_help(const char *arg)
{
	return !strcmp(arg, "--help") || !strcmp(arg, "-h") || !strcmp(arg, "help");
}

static bool is_version(const char *arg)
{
	return !strcmp(arg, "--version") || !strcmp(arg, "-V") || !strcmp(arg, "version");
}

static int print_version(void)
{
	printf("weir %s\n", WEIR_VERSION);
	return EXIT_DONE;
}

static const struct cli_command *find_dropin(const char *program)
{
	const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;

	for (const struct cli_command *c = dropins; c->name; c++) {
		if (!strcmp(c->name, name))
			return c;
	}
	return NULL;
}

/* The row for argv[1] (and argv[2]); *ret_words tells how many were used. */
static const struct cli_command *find_command(int argc, char **argv, int *ret_words)
{
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		struct slice rest = slice_str(c->name), first;
		bool two = slice_cut(&rest, ' ', &first);

		if (!slice_eq_str(first, argv[1]) || (two && (argc < 3 || !slice_eq_str(rest, argv[2]))))
			continue;
		*ret_words = two ? 2 : 1;
		return c;
	}
	return NULL;
}

static bool is_group(const char *word)
{
	size_t n = strlen(word);

	for (const struct cli_command *c = cli_commands; c->name; c++) {
		if (!strncmp(c->name, word, n) && c->name[n] == ' ')
			return true;
	}
	return false;
}

/* `weir repo` alone, or with something that is not a verb of it: says what there is. */
static int explain_group(int argc, char **argv)
{
	size_t n = strlen(argv[1]);
	bool wants_help = argc > 2 && is_help(argv[2]);
	FILE *to = wants_help ? stdout : stderr;

	if (argc > 2 && is_version(argv[2]))
		return print_version();
	if (argc > 2 && !wants_help)
		cli_complain("%s: no command %s", argv[1], argv[2]);
	(void)fprintf(to, "usage: weir %s COMMAND [OPTION]...\n\n", argv[1]);
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		if (strncmp(c->name, argv[1], n) || c->name[n] != ' ')
			continue;
		(void)fprintf(to, "  %-14s %-8s %s\n", c->name, c->arguments, c->summary);
	}
	return wants_help ? EXIT_DONE : EXIT_USAGE;
}

static int refuse_command(const char *word)
{
	const char *names[32], *near;
	size_t n = 0;

	for (const struct cli_command *c = cli_commands; c->name; c++) {
		if (!c->hidden)
			names[n++] = c->name;
	}
	names[n++] = "repo";
	names[n++] = "outbox";
	names[n++] = "session";
	names[n] = NULL;
	near = suggest_nearest(slice_str(word), names);
	if (near)
		cli_complain("no command %s; did you mean weir %s?", word, near);
	else
		cli_complain("no command %s; see weir --help", word);
	return EXIT_USAGE;
}

/* Adds those that are not there yet. */
static void add_sections(const struct config_section **list, const struct service *const *services)
{
	for (; *services; services++) {
		size_t i = 0;

		while (list[i] && list[i] != (*services)->section)
			i++;
		list[i] = (*services)->section;
	}
}

#define MOST_SECTIONS 16

static int run_command(const struct cli_command *c, int argc, char **argv, const struct service *const *services,
		       const struct service *const *hub_services)
{
	struct cli cli = { .command = c,
			   .services = c->section ? hub_services : services,
			   .sections = xcalloc(MOST_SECTIONS + 1, sizeof(*cli.sections)) };
	int status;

	add_sections(cli.sections, services);
	add_sections(cli.sections, hub_services);
	status = cli_read(&cli, argc, argv);

	if (status == 0 && cli.help)
		print_help(c);
	else if (status == 0 && cli.version)
		status = print_version();
	else if (status == 0)
		status = c->run(&cli);
	cli_fini(&cli);
	return status;
}

/* Output that did not arrive (a full disk, a closed pipe) is a failure that a script should see. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	cli_complain("standard output: cannot be written");
	return status ? status : EXIT_FAILED;
}

/* A daemon started with one of its standard descriptors closed would get a socket in its place, and log into it. */
static void keep_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	fd_close(&fd);
}

int cli_main(int argc, char **argv, const struct service *const *services, const struct service *const *hub_services)
{
	const struct cli_command *c;
	int words = 0;

	keep_standard_descriptors();
	c = argc > 0 ? find_dropin(argv[0]) : NULL;
	if (c)
		return finish(run_command(c, argc - 1, argv + 1, services, hub_services));
	if (argc < 2) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	if (is_help(argv[1])) {
		print_usage(stdout);
		return finish(EXIT_DONE);
	}
	if (is_version(argv[1]))
		return finish(print_version());
	c = find_command(argc, argv, &words);
	if (c)
		return finish(run_command(c, argc - 1 - words, argv + 1 + words, services, hub_services));
	if (is_group(argv[1]))
		return finish(explain_group(argc, argv));
	return refuse_command(argv[1]);
}
