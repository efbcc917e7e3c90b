/* datacat_daemon.c -- `datacat-daemon`: the sessions service under the original's name, for the one program that
 * starts it.
 *
 * WHAT     The original's JSON configuration becomes --set values; a folder of this user is taken (datacat_folder.h);
 *          the service runs as ever, and ends by the original's rules (daemon_life.h). For each further folder that a
 *          daemon left with something undelivered, another process is started that delivers it and ends.
 * WHY      Clients start the original's binary by its name. They give it a port and a server, expect it to accept
 *          connections within a second, never read its output, and stop it with SIGTERM; or they just end.
 * RULES    1. Nothing in the configuration ends the start, but an address that cannot be meant: what is missing or
 *             strange has the original's default. A file that is not there is written; one that is no JSON is left
 *             alone.
 *          2. No write to standard output or error blocks, though nobody reads them.
 *          3. The key reaches the settings through a memfd, never a command line or a file.
 *          4. It listens on the loopback address only, unlike the original.
 * SEE      the original's API, section "Daemon"; weir(1) */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "cli/cli_priv.h"
#include "cli/daemon_life.h"
#include "cli/datacat_config.h"
#include "cli/datacat_folder.h"
#include "core/delivery.h"
#include "io/file.h"

#define MOST_TAKEN_OVER 16

struct datacat {
	json_t *json; /* an object */
	char *server;
	struct datacat_sets sets;
	struct datacat_folder folder;
	bool takes_over; /* it was started to deliver what another left */
	pid_t owner;     /* who started it; 1: nobody whose end would tell anything */
	bool asked_to_end;
	struct life life;
};

/* --- its configuration ------------------------------------------------------------------------------------------ */

/* Always an object. */
static json_t *read_config(void)
{
	const char *named = getenv("DATACAT_CONFIG"), *path = named && *named ? named : "daemon_config.json";
	struct buf why = BUF_EMPTY;
	json_t *json = NULL;

	if (datacat_config_read(path, datacat_daemon_defaults, &json, &why) < 0)
		cli_complain("%s: %s; going on with the defaults", path, why.data);
	buf_fini(&why);
	return json ? json : json_object();
}

static void set_all(struct datacat *d)
{
	const char *key = datacat_text(d->json, "api_key", "");

	datacat_set(&d->sets, "data_dir=%s", d->folder.path);
	datacat_set(&d->sets, "log.level=warn");
	datacat_set(&d->sets, "shutdown_grace=2s"); /* a client kills after 5 s */
	datacat_daemon_settings(d->json, d->takes_over, &d->sets);
	if (*key && datacat_set_key(&d->sets, "sessions.api_key_file", key) < 0)
		cli_complain("\"api_key\" cannot be kept in memory: the server is asked without");
	if (json_is_true(json_object_get(d->json, "tls_insecure_skip_verify")))
		cli_complain("\"tls_insecure_skip_verify\" is not obeyed: certificates are always verified; "
			     "\"ca_file\" may name the server's authority");
}

/* --- output that nobody reads ----------------------------------------------------------------------------------- */

/* A new description of the same pipe: the flag must not become that of whoever gave it to us. */
static void never_block(int fd)
{
	char path[32];
	struct stat st;
	int mine;

	if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		return;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mine = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (mine < 0)
		mine = open("/dev/null", O_WRONLY | O_CLOEXEC); /* nobody is at its other end */
	if (mine >= 0)
		(void)dup2(mine, fd); /* else it stays as it was */
	fd_close(&mine);
}

/* --- folders that others left ----------------------------------------------------------------------------------- */

static void start_one(unsigned number)
{
	char arg[16], *argv[] = { (char *)(uintptr_t) "datacat-daemon", arg, NULL };
	posix_spawnattr_t attributes;
	sigset_t none;
	pid_t pid;

	(void)snprintf(arg, sizeof(arg), "%u", number);
	(void)sigemptyset(&none);
	if (posix_spawnattr_init(&attributes) != 0)
		return; /* the next start tries again */
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	(void)posix_spawn(&pid, "/proc/self/exe", NULL, &attributes, argv, environ); /* as above */
	(void)posix_spawnattr_destroy(&attributes);
}

static void ready(void *arg)
{
	struct datacat *d = arg;
	unsigned numbers[MOST_TAKEN_OVER];
	size_t n = 0;

	if (!d->takes_over)
		n = datacat_folder_left(d->folder.number, d->server, numbers, MOST_TAKEN_OVER);
	for (size_t i = 0; i < n; i++)
		start_one(numbers[i]);
}

/* --- its life --------------------------------------------------------------------------------------------------- */

static const struct service_instance *sessions_of(const struct core *core)
{
	ENSURE(core->services->count == 1);
	return &core->services->items[0];
}

static uint64_t waiting_of(const struct delivery_sum *sum)
{
	return sum->entries[OUTBOX_QUEUED] + sum->entries[OUTBOX_SENDING];
}

static uint64_t count_of(const struct core *core, const char *name)
{
	const struct service_instance *s = sessions_of(core);
	json_t *status = json_object();
	uint64_t n;

	s->service->status(s->state, status);
	n = (uint64_t)json_integer_value(json_object_get(status, name));
	json_decref(status);
	return n;
}

static bool tick(void *arg, const struct core *core)
{
	const struct service_instance *s = sessions_of(core);
	struct datacat *d = arg;
	struct delivery_sum sum = { 0 };
	struct life_facts facts = {
		.now_ms = clock_mono_ms(),
		.live = count_of(core, "live"),
		.ended = count_of(core, "ended"),
		.owner_gone = d->owner != 1 && getppid() != d->owner,
		.asked_to_end = d->asked_to_end,
	};
	enum life_verdict verdict;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		; /* those of start_one(); this service has no other children */
	delivery_sum(&sum);
	facts.waiting = waiting_of(&sum);
	verdict = life_look(&d->life, &facts);
	if (verdict == LIFE_OWNER_GONE && !d->takes_over && s->service->owner_gone)
		s->service->owner_gone(s->state, d->owner);
	return verdict == LIFE_ENDS;
}

static void asked_to_end(void *arg)
{
	struct datacat *d = arg;

	d->asked_to_end = true;
}

/* Nobody can bring anything more. */
static void closed(void *arg, const struct core *core)
{
	struct datacat *d = arg;
	struct delivery_sum sum = { 0 };

	delivery_sum(&sum);
	if (waiting_of(&sum) == 0 && sum.entries[OUTBOX_HELD] == 0 && count_of(core, "count") == 0)
		datacat_folder_is_empty(&d->folder);
}

static int take_folder(struct datacat *d, const struct cli *cli)
{
	struct buf err = BUF_EMPTY;
	uint64_t number;
	int r;

	if (!d->takes_over)
		r = datacat_folder_take(d->server, &d->folder, &err);
	else if (str_parse_u64(slice_str(cli->args[0]), &number) == 0 && number < UINT_MAX)
		r = datacat_folder_take_over((unsigned)number, d->server, &d->folder, &err);
	else
		r = -EINVAL;
	if (r == -EINVAL && d->takes_over)
		cli_complain("datacat-daemon takes no arguments");
	else if (r < 0 && !(d->takes_over && (r == -EBUSY || r == -ENOENT)))
		cli_complain("%s", err.data);
	buf_fini(&err);
	return r;
}

int cmd_datacat_daemon(const struct cli *cli)
{
	struct datacat d = { .owner = getppid(), .takes_over = cli->arg_count > 0, .folder = DATACAT_FOLDER_NONE };
	struct serve_extra extra = {
		.ready = ready, .tick = tick, .asked_to_end = asked_to_end, .closed = closed, .arg = &d
	};
	struct cli sessions = *cli;
	int status = EXIT_FAILED;

	never_block(STDOUT_FILENO);
	never_block(STDERR_FILENO);
	d.life.delivers_only = d.takes_over;
	d.json = read_config();
	d.server = xstrdup(datacat_text(d.json, "server_url", DATACAT_DAEMON_SERVER));
	if (take_folder(&d, cli) == 0) {
		set_all(&d);
		extra.lock_fd = d.folder.lock_fd;
		sessions.file = DATACAT_NO_FILE;
		sessions.sets = d.sets.items;
		sessions.extra = &extra;
		status = cmd_serve(&sessions);
	}
	datacat_sets_fini(&d.sets);
	datacat_folder_fini(&d.folder);
	json_decref(d.json);
	free(d.server);
	return status;
}
