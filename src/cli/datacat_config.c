/* datacat_config.c -- the original's configurations as settings.
 *
 * RULES    1. Of the daemon's nothing ends a start but an address that cannot be meant: its clients do not look at
 *             what it says. Of the server's every strange value does: one whose require_api_key cannot be read must
 *             not run without.
 *          2. A key is never on a command line or in a file of ours. */
#include "cli/datacat_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "cli/cli_priv.h"
#include "core/json.h"
#include "io/file.h"

#define MOST_CONFIG_BYTES (1024 * 1024)
#define USUAL_DAEMON_PORT "8079"
#define USUAL_SERVER_PORT 9090

const char datacat_daemon_defaults[] = "{\n"
				       "  \"daemon_port\": \"" USUAL_DAEMON_PORT "\",\n"
				       "  \"server_url\": \"" DATACAT_DAEMON_SERVER "\",\n"
				       "  \"batch_interval_seconds\": 5,\n"
				       "  \"max_batch_size\": 100,\n"
				       "  \"heartbeat_timeout_seconds\": 60,\n"
				       "  \"api_key\": \"\",\n"
				       "  \"enable_compression\": true,\n"
				       "  \"tls_verify\": true,\n"
				       "  \"tls_insecure_skip_verify\": false\n"
				       "}\n";

const char datacat_server_defaults[] = "{\n"
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

/* --- the file --------------------------------------------------------------------------------------------------- */

static void write_defaults(const char *path, const char *defaults)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : fd_write_all(fd, defaults, strlen(defaults));

	fd_close(&fd);
	if (r < 0 && r != -EEXIST)
		cli_complain("%s: cannot be written: %s; going on with the defaults", path, err_text(r));
}

int datacat_config_read(const char *path, const char *defaults, json_t **ret, struct buf *err)
{
	struct buf text = BUF_EMPTY, why = BUF_EMPTY;
	json_t *json = NULL;
	int r = file_read_all(path, MOST_CONFIG_BYTES, &text);

	if (r == -ENOENT) {
		write_defaults(path, defaults);
		buf_reset(&text);
		buf_add_str(&text, defaults);
		r = 0;
	}
	if (r < 0) {
		buf_addf(err, "cannot be read: %s", err_text(r));
	} else if ((r = json_read(buf_slice(&text), 0, &json, &why)) < 0) {
		buf_addf(err, "is not JSON: %s", why.data);
	} else if (!json_is_object(json)) {
		buf_add_str(err, "is not a JSON object");
		json_decref(json);
		r = -EINVAL;
	} else {
		*ret = json;
	}
	if (text.cap)
		explicit_bzero(text.data, text.len); /* there may be a key in it */
	buf_fini(&text);
	buf_fini(&why);
	return r;
}

/* --- settings --------------------------------------------------------------------------------------------------- */

void datacat_set(struct datacat_sets *s, const char *fmt, ...)
{
	struct buf b = BUF_EMPTY;
	va_list ap;

	ENSURE(s->count < DATACAT_MOST_SETS);
	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	s->items[s->count++] = buf_detach(&b, NULL);
}

void datacat_sets_fini(struct datacat_sets *s)
{
	while (s->count)
		free((char *)(uintptr_t)s->items[--s->count]);
}

int datacat_set_key(struct datacat_sets *s, const char *setting, const char *key)
{
	int fd = memfd_create("datacat-api-key", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : fd_write_all(fd, key, strlen(key));

	if (r < 0)
		fd_close(&fd);
	else
		datacat_set(s, "%s=/proc/self/fd/%d", setting, fd); /* open for good: settings may be read again */
	return r;
}

const char *datacat_text(const json_t *config, const char *name, const char *fallback)
{
	const char *s = json_string_value(json_object_get(config, name));

	return s && *s ? s : fallback;
}

/* --- the daemon's ----------------------------------------------------------------------------------------------- */

/* The original takes zero for what is missing, and panics. */
static double number_of(const json_t *config, const char *name, double fallback, double least, double most)
{
	double v = json_number_value(json_object_get(config, name));

	return !(v > 0) ? fallback : v < least ? least : v > most ? most : v;
}

static void set_daemon_port(const json_t *config, bool delivers_only, struct datacat_sets *to)
{
	json_t *v = json_object_get(config, "daemon_port");

	if (delivers_only)
		datacat_set(to, "sessions.listen=127.0.0.1:0");
	else if (json_is_integer(v))
		datacat_set(to, "sessions.listen=127.0.0.1:%lld", (long long)json_integer_value(v));
	else
		datacat_set(to, "sessions.listen=127.0.0.1:%s",
			    datacat_text(config, "daemon_port", USUAL_DAEMON_PORT));
}

void datacat_daemon_settings(const json_t *config, bool delivers_only, struct datacat_sets *to)
{
	bool is_packed = !json_is_false(json_object_get(config, "enable_compression"));

	set_daemon_port(config, delivers_only, to);
	datacat_set(to, "sessions.server=%s", datacat_text(config, "server_url", DATACAT_DAEMON_SERVER));
	datacat_set(to, "sessions.batch_interval=%.0fms",
		    number_of(config, "batch_interval_seconds", 5, 0.001, 3600) * 1000);
	datacat_set(to, "sessions.max_batch=%.0f", number_of(config, "max_batch_size", 100, 1, 1000));
	datacat_set(to, "sessions.heartbeat_timeout=%.0fms",
		    number_of(config, "heartbeat_timeout_seconds", 60, 0.1, 86400) * 1000);
	datacat_set(to, "sessions.compression=%s", is_packed ? "true" : "false");
	if (*datacat_text(config, "ca_file", ""))
		datacat_set(to, "sessions.ca_file=%s", datacat_text(config, "ca_file", ""));
}

/* --- the server's ----------------------------------------------------------------------------------------------- */

static void refuse(struct buf *wrong, const char *name, const char *what)
{
	buf_addf(wrong, "\"%s\" %s\n", name, what);
}

/* "" when absent, null or empty. */
static const char *strict_text(const json_t *config, const char *name, struct buf *wrong)
{
	const json_t *v = json_object_get(config, name);

	if (v && !json_is_string(v) && !json_is_null(v))
		refuse(wrong, name, "is not a string");
	return datacat_text(config, name, "");
}

/* The original's zero would delete everything at once, or leave no session active: nobody means that. */
static long long strict_number(const json_t *config, const char *name, long long fallback, long long most,
			       struct buf *wrong)
{
	const json_t *v = json_object_get(config, name);

	if (v && !json_is_integer(v) && !json_is_null(v))
		refuse(wrong, name, "is not a whole number");
	if (!json_is_integer(v) || json_integer_value(v) <= 0)
		return fallback;
	return json_integer_value(v) < most ? json_integer_value(v) : most;
}

static bool strict_flag(const json_t *config, const char *name, struct buf *wrong)
{
	const json_t *v = json_object_get(config, name);

	if (v && !json_is_boolean(v) && !json_is_null(v))
		refuse(wrong, name, "is neither true nor false");
	return json_is_true(v);
}

static void set_server_port(const json_t *config, struct datacat_sets *to, struct buf *wrong)
{
	const json_t *v = json_object_get(config, "server_port");
	const char *text = json_is_integer(v) ? "" : strict_text(config, "server_port", wrong);
	uint64_t port = USUAL_SERVER_PORT;
	bool is_one = true;

	if (json_is_integer(v))
		port = (uint64_t)json_integer_value(v);
	else if (*text)
		is_one = str_parse_u64(slice_str(text), &port) == 0;
	if (!is_one || port > 65535)
		refuse(wrong, "server_port", "is no port; it takes a number from 0 to 65535, as in \"9090\"");
	else
		datacat_set(to, "hub.listen=*:%u", (unsigned)port);
}

void datacat_server_settings(const json_t *config, struct datacat_sets *to, struct buf *wrong)
{
	const char *path = strict_text(config, "data_path", wrong), *cert = strict_text(config, "tls_cert_file", wrong),
		   *key = strict_text(config, "tls_key_file", wrong);

	datacat_set(to, "data_dir=%s", *path ? path : "./datacat_data");
	datacat_set(to, "hub.retention=%lldd", strict_number(config, "retention_days", 365, 36500, wrong));
	datacat_set(to, "hub.cleanup_interval=%lldh", strict_number(config, "cleanup_interval_hours", 24, 8760, wrong));
	datacat_set(to, "hub.heartbeat_timeout=%llds",
		    strict_number(config, "heartbeat_timeout_seconds", 60, 31536000, wrong));
	datacat_set(to, "hub.max_body=16MiB"); /* the original has no limit */
	set_server_port(config, to, wrong);
	(void)strict_text(config, "log_file", wrong); /* it is opened by whoever runs */
	if (strict_flag(config, "require_api_key", wrong) && !*strict_text(config, "api_key", wrong))
		refuse(wrong, "api_key", "is missing, and \"require_api_key\" is true");
	if (*cert && *key) {
		datacat_set(to, "hub.cert_file=%s", cert);
		datacat_set(to, "hub.key_file=%s", key);
	}
}
