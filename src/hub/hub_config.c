/* hub_config.c -- the table of the section `hub`, and what needs more than a range. */
#include "hub/hub_config.h"

#include <stddef.h>

#include "hub/hub_store.h"

#define DAY_MS     (24 * 3600 * 1000ULL)
#define SQLITE     "sqlite:"
#define AT(member) .offset = offsetof(struct hub_config, member)

static const struct setting settings[] = {
	SETTINGS_LISTEN(struct hub_config, listen, "127.0.0.1:9090"),
	{ .name = "database",
	  .type = SETTING_STRING,
	  AT(database),
	  .fallback = "sqlite:hub.db",
	  .help = "Where sessions are kept: sqlite: and a path, which starts at data_dir unless it begins with a slash; or "
		  "postgresql://USER@HOST:PORT/DATABASE, with the parameters that libpq knows, as ?sslmode=verify-full. The "
		  "password is best kept in ~/.pgpass or the file that ?passfile= names." },
	{ .name = "database_timeout",
	  .type = SETTING_DURATION,
	  AT(database_timeout),
	  .fallback = "10s",
	  .min = 500,
	  .max = 300000,
	  .help = "A PostgreSQL server that says nothing for so long is away: requests are answered 503 until it is back." },
	{ .name = "api_key_file",
	  .type = SETTING_SECRET_FILE,
	  AT(api_key_file),
	  .live = true,
	  .help = "File with the key that clients must send as Authorization: Bearer, everywhere but to /health. Read again at "
		  "SIGHUP." },
	{ .name = "retention",
	  .type = SETTING_DURATION,
	  AT(retention),
	  .fallback = "365d",
	  .min = 1000,
	  .max = 36500 * DAY_MS,
	  .live = true,
	  .help = "Sessions that were created longer ago than this are deleted." },
	{ .name = "cleanup_interval",
	  .type = SETTING_DURATION,
	  AT(cleanup_interval),
	  .fallback = "24h",
	  .min = 100,
	  .max = 365 * DAY_MS,
	  .live = true,
	  .help = "How often they are looked for; the first time at the start." },
	{ .name = "heartbeat_timeout",
	  .type = SETTING_DURATION,
	  AT(heartbeat_timeout),
	  .fallback = "60s",
	  .min = 100,
	  .max = 365 * DAY_MS,
	  .live = true,
	  .help = "A session whose last heartbeat is older than this is suspended." },
	{ .name = "max_body",
	  .type = SETTING_SIZE,
	  AT(max_body),
	  .fallback = "4MiB",
	  .min = 1024,
	  .max = 64 << 20,
	  .live = true,
	  .help = "A request's body, as sent and as inflated; more is answered 413." },
	{ .name = NULL },
};

char *hub_config_path(const struct hub_config *c, const char *data_dir)
{
	const char *path = c->database + strlen(SQLITE);

	if (!slice_starts(slice_str(c->database), SQLITE))
		return NULL;
	return *path == '/' ? xstrdup(path) : xstrf("%s/%s", data_dir, path);
}

static void check(const void *section, struct config_problems *p)
{
	const struct hub_config *c = section;
	struct slice database = slice_str(c->database);
	bool is_file = slice_starts(database, SQLITE) && database.n > strlen(SQLITE);
	bool is_url = slice_starts(database, "postgresql://") || slice_starts(database, "postgres://");

	/* What it is instead is not shown: there may be a password in it. */
	if (!is_file && !is_url)
		config_problem(p, "hub.database",
			       "is not understood; accepted: sqlite:PATH, as in sqlite:hub.db, and postgresql://USER@HOST/DATABASE");
	else if (is_url && !hub_pg_is_url(c->database))
		config_problem(p, "hub.database",
			       "is no URL that libpq understands; as in postgresql://weir@db.example.org:5432/weir?sslmode=require");
}

const struct config_section hub_section = {
	.name = "hub",
	.settings = settings,
	.size = sizeof(struct hub_config),
	.help = "The session server, which weir hub runs. weir serve does not, but accepts the section, so that both can have "
		"one file.",
	.check = check,
};
