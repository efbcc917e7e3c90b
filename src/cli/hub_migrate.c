/* hub_migrate.c -- `weir hub migrate`: the hub's database into another one; the copying is the hub's. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "cli/cli_priv.h"

#define TELL_EVERY_MS 500

struct telling {
	bool is_terminal;
	const char *what; /* told last */
	int64_t told_ms;
};

/* On a terminal one line that is written over; elsewhere a line now and then, and each whole. */
static void tell(void *arg, const char *what, int64_t done, int64_t total)
{
	struct telling *t = arg;
	int64_t now = clock_mono_ms();

	if (done < total && now - t->told_ms < TELL_EVERY_MS)
		return;
	if (t->is_terminal && t->what && t->what != what)
		(void)putchar('\n'); /* finish() of cli.c looks for errors */
	printf("%s%-10s %12lld of %lld%s", t->is_terminal ? "\r" : "", what, (long long)done, (long long)total,
	       t->is_terminal ? "" : "\n");
	(void)fflush(stdout); /* as above */
	t->what = what;
	t->told_ms = now;
}

int cmd_hub_migrate(const struct cli *cli)
{
	struct telling t = { .is_terminal = isatty(STDOUT_FILENO) };
	struct buf err = BUF_EMPTY;
	const struct service *const *s = cli->services;
	int r;

	if (!cli->from || !cli->to) {
		cli_complain("hub migrate: needs --from and --to; see weir hub migrate --help");
		return EXIT_USAGE;
	}
	while (*s && !(*s)->migrate)
		s++;
	ENSURE(*s); /* the hub's has one */
	r = (*s)->migrate(cli->from, cli->to, tell, &t, &err);
	if (t.is_terminal && t.what)
		(void)putchar('\n'); /* as above */
	if (r < 0)
		cli_complain("hub migrate: %s", err.data);
	else
		printf("done: set hub.database, and start the hub\n");
	buf_fini(&err);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
