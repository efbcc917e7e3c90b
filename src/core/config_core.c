/* config_core.c -- the settings of core itself, and of the section `admin`. What is written here is also the manual. */
#include "core/config_priv.h"

/* In the order of enum log_level and enum log_format. */
static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const log_formats[] = { "text", "json", NULL };

#define HOUR_MS 3600000ull
#define DAY_MS (24 * HOUR_MS)

static const struct setting log_settings[] = {
	{ .name = "level",
	  .type = SETTING_CHOICE,
	  .offset = offsetof(struct config_core, log.level) - offsetof(struct config_core, log),
	  .fallback = "info",
	  .choices = log_levels,
	  .live = true,
	  .help = "What is logged: error, somebody must act; warn, weir carried on and says how; info, a state "
		  "changed; debug, for whoever is looking." },
	{ .name = "format",
	  .type = SETTING_CHOICE,
	  .offset = offsetof(struct config_core, log.format) - offsetof(struct config_core, log),
	  .fallback = "text",
	  .choices = log_formats,
	  .live = true,
	  .help = "One event a line, as key=value or as a JSON object." },
	{ .name = NULL },
};

static const struct setting limits_settings[] = {
	{ .name = "connections",
	  .type = SETTING_UINT,
	  .offset = offsetof(struct config_limits, connections),
	  .fallback = "4096",
	  .min = 1,
	  .max = 1000000,
	  .live = true,
	  .help = "Client connections over all listeners; further ones are answered 503 and closed." },
	{ .name = "header_bytes",
	  .type = SETTING_SIZE,
	  .offset = offsetof(struct config_limits, header_bytes),
	  .fallback = "32KiB",
	  .min = 1024,
	  .max = 1024 * 1024,
	  .live = true,
	  .help = "A request's first line and headers; more is answered 414 or 431." },
	{ .name = "request_body",
	  .type = SETTING_SIZE,
	  .offset = offsetof(struct config_limits, request_body),
	  .fallback = "1GiB",
	  .min = 1024,
	  .max = 1ull << 40,
	  .live = true,
	  .help = "A request's body, as sent and as inflated; more is answered 413. A git push is a request body." },
	{ .name = "workers",
	  .type = SETTING_UINT,
	  .offset = offsetof(struct config_limits, workers),
	  .fallback = "64",
	  .min = 2,
	  .max = 1024,
	  .help = "Threads for what may block: upstream calls, git, disks." },
	{ .name = NULL },
};

static const struct setting links_settings[] = {
	{ .name = "connect_timeout",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct config_links, connect_timeout),
	  .fallback = "3s",
	  .min = 10,
	  .max = HOUR_MS,
	  .help = "For a connection to an upstream, TLS included." },
	{ .name = "stall_timeout",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct config_links, stall_timeout),
	  .fallback = "60s",
	  .min = 10,
	  .max = HOUR_MS,
	  .help = "A transfer that moves no byte for so long is given up. There is no limit for the whole of a "
		  "transfer." },
	{ .name = "probe_first",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct config_links, probe_first),
	  .fallback = "1s",
	  .min = 10,
	  .max = HOUR_MS,
	  .help = "While an upstream is away: time to the first look whether it is back. Doubles each time." },
	{ .name = "probe_max",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct config_links, probe_max),
	  .fallback = "10s",
	  .min = 10,
	  .max = HOUR_MS,
	  .help = "The longest time between two looks; must not be below probe_first." },
	{ .name = NULL },
};

const struct setting config_core_settings[] = {
	{ .name = "data_dir",
	  .type = SETTING_PATH,
	  .offset = offsetof(struct config_core, data_dir),
	  .fallback = "./weir-data",
	  .help = "Everything that weir keeps. One daemon at a time; a second one says who holds it and exits with "
		  "2." },
	{ .name = "shutdown_grace",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct config_core, shutdown_grace),
	  .fallback = "30s",
	  .max = DAY_MS,
	  .live = true,
	  .help = "After SIGTERM: how long requests under way may take before they are cut off." },
	{ .name = "log",
	  .type = SETTING_MAP,
	  .offset = offsetof(struct config_core, log),
	  .sub = log_settings,
	  .help = "Log lines, on standard error." },
	{ .name = "limits",
	  .type = SETTING_MAP,
	  .offset = offsetof(struct config_core, limits),
	  .sub = limits_settings,
	  .help = "What clients may use, over all services." },
	{ .name = "links",
	  .type = SETTING_MAP,
	  .offset = offsetof(struct config_core, links),
	  .sub = links_settings,
	  .help = "Towards every upstream." },
	{ .name = NULL },
};

static const struct setting admin_settings[] = {
	SETTINGS_LISTEN(struct config_admin, listen, "127.0.0.1:8070"),
	{ .name = "token_file",
	  .type = SETTING_SECRET_FILE,
	  .offset = offsetof(struct config_admin, token_file),
	  .help = "File with a bearer token that the page, /metrics and /api/v1/ then ask for; required when listen "
		  "is not a loopback address. /healthz, /livez and /readyz stay open. The file is read again at "
		  "SIGHUP." },
	{ .name = NULL },
};

static void check_admin(const void *section, struct config_problems *p)
{
	const struct config_admin *a = section;

	if (!a->token_file && !config_listen_is_loopback(a->listen.listen))
		config_problem(
			p, "admin.token_file",
			"is missing while admin.listen is %s, which is not loopback; accepted: the path of a file "
			"that holds a token",
			a->listen.listen);
}

const struct config_section config_admin_section = {
	.name = "admin",
	.settings = admin_settings,
	.size = sizeof(struct config_admin),
	.by_default = true,
	.check = check_admin,
	.help = "The page for people, the API that the commands use, health and metrics.",
};
