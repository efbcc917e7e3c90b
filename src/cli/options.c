/* options.c -- reads the options and arguments that follow a command's name.
 *
 * WHAT     --name VALUE, --name=VALUE, -c VALUE, -cVALUE; options and arguments in any order; `--` ends options.
 * WHY      getopt_long() guesses at abbreviations, writes its own words, and cannot say what was meant. This is shorter
 *          than taming it. */
#include "cli/cli_priv.h"

#include <stdarg.h>
#include <unistd.h>

#include "core/suggest.h"

enum { HELP = 1 << 16, VERSION = 1 << 17, ALWAYS = HELP | VERSION };

static const struct option {
	const char *name;
	char letter;       /* 0: none */
	const char *value; /* NULL: takes none */
	unsigned bit;
	const char *help;
} options[] = {
	{ "config", 'c', "FILE", CLI_CONFIG,
	  "configuration file (default: ./weir.yaml, /etc/weir/weir.yaml, built-in)" },
	{ "set", 0, "KEY=VALUE", CLI_SET, "override one key of it, as in --set git.listen=127.0.0.1:0; repeatable" },
	{ "admin", 0, "HOST:PORT", CLI_ADMIN,
	  "where the daemon's admin listener is (default: WEIR_ADMIN, configuration)" },
	{ "json", 0, NULL, CLI_JSON, "print JSON" },
	{ "state", 0, "STATE", CLI_STATE, "only entries in this state" },
	{ "service", 0, "NAME", CLI_SERVICE, "only those of this service: a mirror's name, sessions" },
	{ "keep", 0, "ours|theirs", CLI_KEEP, "which version is to be upstream's in the end" },
	{ "from", 0, "DATABASE", CLI_FROM, "the database that is copied" },
	{ "to", 0, "DATABASE", CLI_TO, "the empty one that it is copied into" },
	{ "help", 'h', NULL, HELP, "this text" },
	{ "version", 'V', NULL, VERSION, "the version" },
	{ NULL, 0, NULL, 0, NULL },
};

void cli_complain(const char *fmt, ...)
{
	struct buf b = BUF_EMPTY;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "weir: %s\n", b.data); /* where else would a failure to complain be reported */
	buf_fini(&b);
}

static bool is_offered(const struct cli_command *c, const struct option *o)
{
	return (c->options | ALWAYS) & o->bit;
}

void cli_print_options(const struct cli_command *c)
{
	for (const struct option *o = options; o->name; o++) {
		char left[40];

		if (!is_offered(c, o))
			continue;
		if (o->letter)
			(void)snprintf(left, sizeof(left), "-%c, --%s%s%s", o->letter, o->name, o->value ? " " : "",
				       o->value ? o->value : "");
		else
			(void)snprintf(left, sizeof(left), "    --%s%s%s", o->name, o->value ? " " : "",
				       o->value ? o->value : "");
		printf("  %-24s %s\n", left, o->help);
	}
}

static int refuse_option(const struct cli *cli, const char *arg)
{
	const char *names[16], *near;
	struct slice word = slice_str(arg), name;
	size_t n = 0;

	while (word.n && word.p[0] == '-')
		word = slice_from(word, 1);
	(void)slice_cut(&word, '=', &name);
	for (const struct option *o = options; o->name; o++) {
		if (is_offered(cli->command, o))
			names[n++] = o->name;
	}
	names[n] = NULL;
	near = suggest_nearest(name, names);
	if (near)
		cli_complain("%s: no option %s; did you mean --%s?", cli->command->name, arg, near);
	else
		cli_complain("%s: no option %s; see weir %s --help", cli->command->name, arg, cli->command->name);
	return EXIT_USAGE;
}

static const struct option *find_option(const struct cli *cli, const char *arg, const char **ret_value)
{
	for (const struct option *o = options; o->name; o++) {
		size_t n = strlen(o->name);

		if (!is_offered(cli->command, o))
			continue;
		if (arg[1] == '-' && !strncmp(arg + 2, o->name, n) && (!arg[2 + n] || arg[2 + n] == '=')) {
			*ret_value = arg[2 + n] ? arg + 2 + n + 1 : NULL;
			return o;
		}
		if (o->letter && arg[1] == o->letter) {
			*ret_value = arg[2] ? arg + 2 : NULL;
			return o;
		}
	}
	return NULL;
}

static void take_option(struct cli *cli, const struct option *o, const char *value)
{
	switch (o->bit) {
	case CLI_CONFIG: cli->file = value; break;
	case CLI_SET: cli->sets[cli->set_count++] = value; break;
	case CLI_ADMIN: cli->admin = value; break;
	case CLI_JSON: cli->json = true; break;
	case CLI_STATE: cli->state = value; break;
	case CLI_SERVICE: cli->service = value; break;
	case CLI_KEEP: cli->keep = value; break;
	case CLI_FROM: cli->from = value; break;
	case CLI_TO: cli->to = value; break;
	case HELP: cli->help = true; break;
	default: cli->version = true; break;
	}
}

static int check_arguments(const struct cli *cli)
{
	const struct cli_command *c = cli->command;

	if (cli->help || cli->version)
		return 0;
	if (cli->arg_count > c->most) {
		cli_complain("%s: \"%s\" is one argument too many; usage: weir %s%s%s", c->name, cli->args[c->most],
			     c->name, *c->arguments ? " " : "", c->arguments);
		return EXIT_USAGE;
	}
	if (cli->arg_count < c->least) {
		cli_complain("%s: an argument is missing; usage: weir %s %s", c->name, c->name, c->arguments);
		return EXIT_USAGE;
	}
	return 0;
}

int cli_read(struct cli *cli, int argc, char **argv)
{
	cli->sets = xcalloc((size_t)argc + 1, sizeof(*cli->sets));
	cli->args = xcalloc((size_t)argc + 1, sizeof(*cli->args));
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i], *value = NULL;
		const struct option *o;

		if (!strcmp(arg, "--")) {
			while (++i < argc)
				cli->args[cli->arg_count++] = argv[i];
			break;
		}
		if (arg[0] != '-' || !arg[1]) {
			cli->args[cli->arg_count++] = arg;
			continue;
		}
		o = find_option(cli, arg, &value);
		if (!o || (value && !o->value))
			return refuse_option(cli, arg);
		if (o->value && !value) {
			if (i + 1 == argc) {
				cli_complain("%s: --%s needs a value: --%s %s", cli->command->name, o->name, o->name,
					     o->value);
				return EXIT_USAGE;
			}
			value = argv[++i];
		}
		take_option(cli, o, value);
	}
	return check_arguments(cli);
}

void cli_fini(struct cli *cli)
{
	free(cli->sets);
	free(cli->args);
	free(cli->sections);
}

int cli_load_config(const struct cli *cli, bool only_admin, struct config **ret)
{
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
	struct config_source src = {
		.file = cli->file,
		.sets = cli->sets,
		.env = (const char *const *)environ,
		.sections = cli->sections,
		.only_admin = only_admin,
		.always = cli->command->section,
	};
	int err = config_load(&src, ret, &problems, &warnings);

	if (warnings.len && !only_admin)
		(void)fprintf(stderr, "%s", warnings.data); /* as cli_complain() */
	if (err < 0)
		(void)fprintf(stderr, "%s", problems.data);
	buf_fini(&problems);
	buf_fini(&warnings);
	return err < 0 ? EXIT_USAGE : 0;
}
