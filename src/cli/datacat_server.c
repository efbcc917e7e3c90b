/* datacat_server.c -- `datacat-server`: the hub under the original's name, with the original's configuration.
 *
 * WHAT     ./config.json becomes --set values of `weir hub`, which then runs as ever. There is none: its defaults are
 *          written there.
 * WHY      Whoever runs the original puts a link to weir in its place, and nothing else changes.
 * RULES    1. What is missing has the original's default; a wrong type, or a file that is no JSON, ends the start: a
 *             server whose require_api_key cannot be read must not run without.
 *          2. The key is never on a command line or in a file of ours: it reaches the settings through a memfd.
 *          3. It listens on all addresses, of both kinds, as the original does.
 * SEE      the original's API, section "Server" */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "cli/cli_priv.h"
#include "cli/datacat_config.h"
#include "io/file.h"

#define CONFIG "config.json"

/* --- the log ---------------------------------------------------------------------------------------------------- */

static void open_log(const char *name)
{
	time_t now = (time_t)(clock_wall_ms() / 1000);
	char usual[64], stamp[32];
	struct tm tm;
	int fd;

	if (!*name) {
		(void)strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", localtime_r(&now, &tm));
		(void)snprintf(usual, sizeof(usual), "datacat-server-%s-%d.log", stamp, (int)getpid());
		name = usual;
	}
	fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		cli_complain("%s: cannot be opened: %s; the log goes to standard error", name, err_text(-errno));
	fd_close(&fd);
}

/* Each line of it; whether there is any. */
static bool complain(struct slice wrong)
{
	struct slice line;
	bool is_any = wrong.n > 0;

	while (wrong.n) {
		(void)slice_cut(&wrong, '\n', &line); /* each ends with one */
		cli_complain(CONFIG ": %.*s", (int)line.n, line.p);
	}
	return is_any;
}

static void set_all(const json_t *config, struct datacat_sets *sets, struct buf *wrong)
{
	const char *path = datacat_text(config, "data_path", "./datacat_data"),
		   *key = datacat_text(config, "api_key", "");
	int r = dir_make_all(path, 0700); /* now, while standard error is still the terminal's */

	datacat_server_settings(config, sets, wrong);
	if (r < 0)
		buf_addf(wrong, "\"data_path\" %s\n", err_text(r));
	if (!json_is_true(json_object_get(config, "require_api_key")) || !*key)
		return;
	r = datacat_set_key(sets, "hub.api_key_file", key);
	if (r < 0)
		buf_addf(wrong, "\"api_key\" cannot be kept in memory: %s\n", err_text(r));
}

int cmd_datacat_server(const struct cli *cli)
{
	struct datacat_sets sets = DATACAT_SETS_EMPTY;
	struct buf wrong = BUF_EMPTY;
	struct cli hub = *cli;
	json_t *json = NULL;
	int status = EXIT_USAGE;

	if (datacat_config_read(CONFIG, datacat_server_defaults, &json, &wrong) < 0)
		buf_add_char(&wrong, '\n');
	else
		set_all(json, &sets, &wrong);
	if (!complain(buf_slice(&wrong))) {
		open_log(datacat_text(json, "log_file", ""));
		hub.file = DATACAT_NO_FILE;
		hub.sets = sets.items;
		status = cmd_serve(&hub);
	}
	json_decref(json);
	datacat_sets_fini(&sets);
	buf_fini(&wrong);
	return status;
}
