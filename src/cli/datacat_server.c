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
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "cli/cli_priv.h"
#include "core/json.h"
#include "io/file.h"

#define CONFIG            "config.json"
#define MOST_CONFIG_BYTES (1024 * 1024)
#define MOST_SETS         16
#define NO_SETTINGS       "/dev/null" /* instead of a weir.yaml that may lie about */

static const char defaults[] = "{\n"
			       "  \"data_path\": \"./datacat_data\",\n"
			       "  \"retention_days\": 365,\n"
			       "  \"cleanup_interval_hours\": 24,\n"
			       "  \"server_port\": \"9090\",\n"
			       "  \"heartbeat_timeout_seconds\": 60,\n"
			       "  \"api_key\": \"\",\n"
			       "  \"require_api_key\": false,\n"
			       "  \"tls_cert_file\": \"\",\n"
			       "  \"tls_key_file\": \"\",\n"
			       "  \"log_file\": \"\"\n"
			       "}\n";

struct original {
	json_t *json;
	const char *sets[MOST_SETS + 1]; /* malloc'ed */
	size_t count;
	bool wrong;
};

/* --- the file --------------------------------------------------------------------------------------------------- */

static void write_defaults(void)
{
	int fd = open(CONFIG, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : fd_write_all(fd, defaults, strlen(defaults));

	fd_close(&fd);
	if (r < 0 && r != -EEXIST)
		cli_complain(CONFIG ": cannot be written: %s; going on with the defaults", err_text(r));
}

static int read_config(json_t **ret)
{
	struct buf text = BUF_EMPTY, why = BUF_EMPTY;
	int r = file_read_all(CONFIG, MOST_CONFIG_BYTES, &text);

	if (r == -ENOENT) {
		write_defaults();
		buf_add_str(&text, defaults);
		r = 0;
	}
	if (r < 0)
		cli_complain(CONFIG ": cannot be read: %s", err_text(r));
	else if ((r = json_read(buf_slice(&text), 0, ret, &why)) < 0)
		cli_complain(CONFIG ": is not JSON: %s", why.data);
	else if (!json_is_object(*ret)) {
		cli_complain(CONFIG ": is not a JSON object");
		json_decref(*ret);
		r = -EINVAL;
	}
	explicit_bzero(text.data, text.len);
	buf_fini(&text);
	buf_fini(&why);
	return r;
}

/* --- its values ------------------------------------------------------------------------------------------------- */

static void complain(struct original *o, const char *name, const char *what)
{
	cli_complain(CONFIG ": \"%s\" %s", name, what);
	o->wrong = true;
}

/* "" when absent, null or empty. */
static const char *text_of(struct original *o, const char *name)
{
	json_t *v = json_object_get(o->json, name);

	if (v && !json_is_string(v) && !json_is_null(v))
		complain(o, name, "is not a string");
	return json_is_string(v) ? json_string_value(v) : "";
}

/* The original's zero would delete everything at once, or leave no session active: nobody means that. */
static long long number_of(struct original *o, const char *name, long long fallback, long long most)
{
	json_t *v = json_object_get(o->json, name);

	if (v && !json_is_integer(v) && !json_is_null(v))
		complain(o, name, "is not a whole number");
	if (!json_is_integer(v) || json_integer_value(v) <= 0)
		return fallback;
	return json_integer_value(v) < most ? json_integer_value(v) : most;
}

static bool flag_of(struct original *o, const char *name)
{
	json_t *v = json_object_get(o->json, name);

	if (v && !json_is_boolean(v) && !json_is_null(v))
		complain(o, name, "is neither true nor false");
	return json_is_true(v);
}

static void set(struct original *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void set(struct original *o, const char *fmt, ...)
{
	struct buf b = BUF_EMPTY;
	va_list ap;

	ENSURE(o->count < MOST_SETS);
	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	o->sets[o->count++] = buf_detach(&b, NULL);
}

static void set_port(struct original *o)
{
	json_t *v = json_object_get(o->json, "server_port");
	const char *text = json_is_integer(v) ? "" : text_of(o, "server_port");
	long long port = json_is_integer(v) ? json_integer_value(v) : 9090;
	char *end = NULL;

	if (*text)
		port = strtoll(text, &end, 10);
	if ((end && *end) || port < 0 || port > 65535)
		complain(o, "server_port", "is no port; it takes a number from 0 to 65535, as in \"9090\"");
	else
		set(o, "hub.listen=*:%lld", port);
}

/* The descriptor stays open as long as the program: settings may be read again. */
static void set_key(struct original *o)
{
	const char *key = text_of(o, "api_key");
	int fd;

	if (!flag_of(o, "require_api_key"))
		return;
	if (!*key) {
		complain(o, "api_key", "is missing, and \"require_api_key\" is true");
		return;
	}
	fd = memfd_create("datacat-api-key", MFD_CLOEXEC);
	if (fd < 0 || fd_write_all(fd, key, strlen(key)) < 0)
		complain(o, "api_key", "cannot be kept in memory");
	else
		set(o, "hub.api_key_file=/proc/self/fd/%d", fd);
}

static void set_all(struct original *o)
{
	const char *path = text_of(o, "data_path"), *cert = text_of(o, "tls_cert_file"),
		   *key = text_of(o, "tls_key_file");
	int r;

	path = *path ? path : "./datacat_data";
	r = dir_make_all(path, 0700); /* now, while standard error is still the terminal's */
	if (r < 0)
		complain(o, "data_path", err_text(r));
	set(o, "data_dir=%s", path);
	set(o, "hub.retention=%lldd", number_of(o, "retention_days", 365, 36500));
	set(o, "hub.cleanup_interval=%lldh", number_of(o, "cleanup_interval_hours", 24, 8760));
	set(o, "hub.heartbeat_timeout=%llds", number_of(o, "heartbeat_timeout_seconds", 60, 31536000));
	set(o, "hub.max_body=16MiB"); /* the original has no limit */
	set_port(o);
	set_key(o);
	if (*cert && *key) {
		set(o, "hub.cert_file=%s", cert);
		set(o, "hub.key_file=%s", key);
	}
}

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

int cmd_datacat_server(const struct cli *cli)
{
	struct original o = { .json = NULL };
	struct cli hub = *cli;
	int status = EXIT_USAGE;

	if (read_config(&o.json) < 0)
		return EXIT_USAGE;
	set_all(&o);
	if (!o.wrong)
		open_log(text_of(&o, "log_file"));
	json_decref(o.json);
	hub.file = NO_SETTINGS;
	hub.sets = o.sets;
	if (!o.wrong)
		status = cmd_serve(&hub);
	while (o.count)
		free((char *)(uintptr_t)o.sets[--o.count]);
	return status;
}
