/* sessions_config.c -- the table of the `sessions` section. */
#include "sessions/sessions_config.h"

#include <stddef.h>

#define DAY_MS (24 * 3600 * 1000ULL)
#define AT(member) .offset = offsetof(struct sessions_config, member)
#define IN(outer, member) \
	.offset = offsetof(struct sessions_config, outer.member) - offsetof(struct sessions_config, outer), .live = true

static const char *const full_policies[] = { "drop_oldest_metrics", "reject", NULL };

static const struct setting queue_settings[] = {
	{ .name = "max_entries", .type = SETTING_UINT, IN(queue, max_entries), .fallback = "1000000", .min = 1, .max = 10000000,
	  .help = "Most operations waiting for the server, or held." },
	{ .name = "max_bytes", .type = SETTING_SIZE, IN(queue, max_bytes), .fallback = "1GiB", .min = 1,
	  .help = "Most bytes of them together." },
	{ .name = "on_full", .type = SETTING_CHOICE, IN(queue, on_full), .fallback = "drop_oldest_metrics",
	  .choices = full_policies,
	  .help = "What happens beyond that: the oldest metrics are dropped, counted and reported to the server, or new "
		  "operations are answered 503. What is no metric is never dropped." },
	{ .name = NULL },
};

static const struct setting retry_settings[] = {
	{ .name = "first", .type = SETTING_DURATION, IN(retry, first), .fallback = "1s", .min = 10, .max = DAY_MS,
	  .help = "Pause before the second attempt; it doubles with each, and is drawn at random below that." },
	{ .name = "max", .type = SETTING_DURATION, IN(retry, max), .fallback = "1m", .min = 10, .max = DAY_MS,
	  .help = "The longest pause between two attempts." },
	{ .name = NULL },
};

static const struct setting settings[] = {
	SETTINGS_LISTEN(struct sessions_config, listen, "127.0.0.1:8079"),
	{ .name = "server", .type = SETTING_URL, AT(server), .fallback = "http://127.0.0.1:9090",
	  .help = "The hub, or a DataCat server, that gets the sessions." },
	{ .name = "enabled", .type = SETTING_BOOL, AT(enabled), .fallback = "true", .live = true,
	  .help = "When false the server is never contacted, as in an outage." },
	{ .name = "api_key_file", .type = SETTING_SECRET_FILE, AT(api_key_file), .live = true,
	  .help = "File with the key that the server wants. Read again when it changes." },
	{ .name = "ca_file", .type = SETTING_PATH, AT(ca_file), .help = "PEM bundle to trust instead of the system's." },
	{ .name = "proxy", .type = SETTING_STRING, AT(proxy),
	  .help = "HTTP proxy towards the server, as http://host:port; the environment's is never used." },
	{ .name = "compression", .type = SETTING_BOOL, AT(compression), .fallback = "true", .live = true,
	  .help = "Whether what is sent is compressed with gzip." },
	{ .name = "batch_interval", .type = SETTING_DURATION, AT(batch_interval), .fallback = "5s", .max = DAY_MS, .live = true,
	  .help = "How long operations gather before they are sent together. Creations and ends do not wait." },
	{ .name = "max_batch", .type = SETTING_UINT, AT(max_batch), .fallback = "100", .min = 1, .max = 1000, .live = true,
	  .help = "Most operations in one request." },
	{ .name = "heartbeat_timeout", .type = SETTING_DURATION, AT(heartbeat_timeout), .fallback = "60s", .min = 100,
	  .max = 30 * DAY_MS, .live = true, .help = "A program that is silent for longer is reported as hung." },
	{ .name = "register_patience", .type = SETTING_DURATION, AT(register_patience), .fallback = "1s", .max = 60000,
	  .live = true, .help = "How long a program waits for the server's id of its session before it gets a local one." },
	{ .name = "queue", .type = SETTING_MAP, AT(queue), .sub = queue_settings, .help = "What waits for the server." },
	{ .name = "retry", .type = SETTING_MAP, AT(retry), .sub = retry_settings, .help = "When delivery is tried again." },
	{ .name = NULL },
};

const struct config_section sessions_section = {
	.name = "sessions",
	.settings = settings,
	.size = sizeof(struct sessions_config),
	.by_default = true,
	.help = "The daemon that takes sessions, state, events and metrics from local programs and forwards them.",
};
