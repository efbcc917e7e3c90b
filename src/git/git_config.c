/* git_config.c -- the table of the `git` section, and the checks that need several keys at once. */
#include "git/git_config.h"

#include <stddef.h>

#include "base/obj.h"
#include "proto/target.h"

static const char *const sync_names[] = { "full", "on_demand", NULL };
static const char *const scope_names[] = { "repository", "credential", NULL };
static const char *const auth_names[] = { "passthrough", "none", "bearer", "basic", NULL };

#define DAY_MS (24 * 3600 * 1000ULL)

static const struct setting upstream_settings[] = {
	{ .name = "match",
	  .type = SETTING_STRING,
	  .offset = offsetof(struct git_upstream_config, match),
	  .required = true,
	  .help = "Host, or host:port, as clients name it in their URLs." },
	{ .name = "url",
	  .type = SETTING_URL,
	  .offset = offsetof(struct git_upstream_config, url),
	  .required = true,
	  .help = "Where weir reaches it." },
	{ .name = "auth",
	  .type = SETTING_CHOICE,
	  .offset = offsetof(struct git_upstream_config, auth),
	  .choices = auth_names,
	  .fallback = "passthrough",
	  .help = "Whose credential goes upstream: the client's own, none, or weir's from secret_file." },
	{ .name = "enabled",
	  .type = SETTING_BOOL,
	  .offset = offsetof(struct git_upstream_config, enabled),
	  .fallback = "true",
	  .live = true,
	  .help = "When false it is never contacted, as in an outage." },
	{ .name = "secret_file",
	  .type = SETTING_SECRET_FILE,
	  .offset = offsetof(struct git_upstream_config, secret_file),
	  .help = "The token (bearer) or user:password (basic)." },
	{ .name = "ca_file",
	  .type = SETTING_PATH,
	  .offset = offsetof(struct git_upstream_config, ca_file),
	  .help = "PEM bundle to trust instead of the system's." },
	{ .name = "proxy",
	  .type = SETTING_STRING,
	  .offset = offsetof(struct git_upstream_config, proxy),
	  .help = "HTTP proxy for this upstream, as http://host:port; the environment's is never used." },
	{ .name = NULL },
};

static const struct setting warm_settings[] = {
	{ .name = "repos", .type = SETTING_STRINGS, .offset = offsetof(struct git_warm_config, repos),
	  .live = true, .help = "Repositories, as host/path, that are kept filled without being asked for." },
	{ .name = "every", .type = SETTING_DURATION, .offset = offsetof(struct git_warm_config, every),
	  .fallback = "1h", .min = 1000, .max = 365 * DAY_MS, .live = true, .help = "How often." },
	{ .name = NULL },
};

static const struct setting disk_settings[] = {
	{ .name = "max", .type = SETTING_SIZE, .offset = offsetof(struct git_disk_config, max),
	  .fallback = "100GiB", .min = 1 << 20, .live = true,
	  .help = "Above this the least recently used repositories are dropped, until disk.low is reached." },
	{ .name = "low", .type = SETTING_SIZE, .offset = offsetof(struct git_disk_config, low),
	  .fallback = "90GiB", .live = true,
	  .help = "What is left after dropping. When not given and above disk.max: nine tenths of that." },
	{ .name = NULL },
};

static const struct setting settings[] = {
	SETTINGS_LISTEN(struct git_config, listen, "127.0.0.1:8080"),
	{ .name = "offline_mode",
	  .type = SETTING_BOOL,
	  .offset = offsetof(struct git_config, offline_mode),
	  .fallback = "true",
	  .live = true,
	  .help = "When false, an upstream that is away is an error to the client instead of an answer from the "
		  "cache." },
	{ .name = "sync",
	  .type = SETTING_CHOICE,
	  .offset = offsetof(struct git_config, sync),
	  .choices = sync_names,
	  .fallback = "full",
	  .live = true,
	  .help = "full: all of a repository (sync_refs) is fetched in the background; on_demand: only what was "
		  "asked for." },
	{ .name = "refs_ttl",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct git_config, refs_ttl),
	  .fallback = "0s",
	  .max = 365 * DAY_MS,
	  .live = true,
	  .help = "How long a listing of refs answers without asking upstream." },
	{ .name = "stale_after",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct git_config, stale_after),
	  .fallback = "5m",
	  .max = 3650 * DAY_MS,
	  .live = true,
	  .help = "An offline answer older than this is logged and counted as stale." },
	{ .name = "sync_refs",
	  .type = SETTING_STRINGS,
	  .offset = offsetof(struct git_config, sync_refs),
	  .fallback = "[refs/heads/, refs/tags/, refs/notes/]",
	  .live = true,
	  .help = "Prefixes of the refs that are fetched unasked; others when somebody wants them." },
	{ .name = "refs_scope",
	  .type = SETTING_CHOICE,
	  .offset = offsetof(struct git_config, refs_scope),
	  .choices = scope_names,
	  .fallback = "repository",
	  .help = "credential: for upstreams that show different people different refs (Gerrit)." },
	{ .name = "warm",
	  .type = SETTING_MAP,
	  .offset = offsetof(struct git_config, warm),
	  .sub = warm_settings,
	  .help = "Repositories kept filled." },
	{ .name = "webhook_secret_file",
	  .type = SETTING_SECRET_FILE,
	  .offset = offsetof(struct git_config, webhook_secret_file),
	  .help = "Enables POST /hooks/push; the secret that GitHub signs with and GitLab sends." },
	{ .name = "client_token_file",
	  .type = SETTING_SECRET_FILE,
	  .offset = offsetof(struct git_config, client_token_file),
	  .help = "Where an upstream has auth bearer or basic: what its clients must present, as a bearer token or "
		  "as a Basic password." },
	{ .name = "allow_anonymous",
	  .type = SETTING_BOOL,
	  .offset = offsetof(struct git_config, allow_anonymous),
	  .fallback = "false",
	  .help = "Instead of client_token_file: everybody who reaches the listener may read with weir's credential." },
	{ .name = "upstream_timeout",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct git_config, upstream_timeout),
	  .fallback = "30s",
	  .min = 100,
	  .max = DAY_MS,
	  .live = true,
	  .help = "For a whole exchange about refs; a transfer of objects has links.stall_timeout instead." },
	{ .name = "upstream_patience",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct git_config, upstream_patience),
	  .fallback = "3s",
	  .min = 10,
	  .max = DAY_MS,
	  .live = true,
	  .help = "When upstream is silent for this long and the cache has an answer, the cache answers." },
	{ .name = "grant_ttl",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct git_config, grant_ttl),
	  .fallback = "60s",
	  .max = DAY_MS,
	  .live = true,
	  .help = "How long upstream's yes to a credential is believed while upstream is up." },
	{ .name = "offline_grant",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct git_config, offline_grant),
	  .fallback = "24h",
	  .max = 3650 * DAY_MS,
	  .live = true,
	  .help = "How long upstream's yes to a credential is believed while upstream is down." },
	{ .name = "disk",
	  .type = SETTING_MAP,
	  .offset = offsetof(struct git_config, disk),
	  .sub = disk_settings,
	  .help = "Disk budget of the repositories." },
	{ .name = "upstreams",
	  .type = SETTING_MAPS,
	  .offset = offsetof(struct git_config, upstreams),
	  .sub = upstream_settings,
	  .sub_size = sizeof(struct git_upstream_config),
	  .fallback = "[{match: github.com, url: \"https://github.com\"}, "
		      "{match: gitlab.com, url: \"https://gitlab.com\"}]",
	  .live = true,
	  .help = "The only hosts that may be reached. At SIGHUP upstreams come and go, and are enabled or not; the "
		  "other keys of one that stays change at the next start." },
	{ .name = NULL },
};

static bool is_loopback(const char *listen)
{
	return listen && (slice_starts(slice_str(listen), "127.") || slice_starts(slice_str(listen), "[::1]") ||
			  slice_starts(slice_str(listen), "localhost:"));
}

static void check_upstream(const struct git_config *c, size_t i, struct config_problems *p)
{
	const struct git_upstream_config *all = c->upstreams.items, *u = &all[i];
	bool own = u->auth == GIT_AUTH_BEARER || u->auth == GIT_AUTH_BASIC;
	char where[64];

	(void)snprintf(where, sizeof(where), "git.upstreams.%zu.secret_file", i);
	if (own && !u->secret_file)
		config_problem(p, where, "is needed for auth: %s; name a file that holds %s", auth_names[u->auth],
			       u->auth == GIT_AUTH_BEARER ? "the token" : "user:password");
	if (!own && u->secret_file)
		config_problem(p, where, "is only used with auth: bearer or basic; remove it or set auth");
	(void)snprintf(where, sizeof(where), "git.upstreams.%zu.auth", i);
	if (own && !is_loopback(c->listen.listen) && !c->client_token_file && !c->allow_anonymous)
		config_problem(
			p, where,
			"adds weir's own credential on a listener beyond loopback: set git.client_token_file, or say "
			"git.allow_anonymous: true");
	for (size_t k = 0; k < i; k++)
		if (u->match && all[k].match && slice_ieq_str(slice_str(u->match), all[k].match)) {
			(void)snprintf(where, sizeof(where), "git.upstreams.%zu.match", i);
			config_problem(p, where, "\"%s\" is listed twice; each host may stand here once", u->match);
		}
}

static bool is_listed(const struct git_config *c, const char *host)
{
	const struct git_upstream_config *all = c->upstreams.items;
	char known[URL_HOSTPORT_ROOM];

	for (size_t i = 0; i < c->upstreams.count; i++)
		if (all[i].match && url_normalize_hostport(slice_str(all[i].match), known) == 0 &&
		    strcmp(known, host) == 0)
			return true;
	return false;
}

static void check_warm(const struct git_config *c, size_t i, struct config_problems *p)
{
	const char *name = c->warm.repos[i], *why = "malformed";
	struct target t;
	char where[64];

	(void)snprintf(where, sizeof(where), "git.warm.repos.%zu", i);
	if (target_parse_repo(slice_str(name), &t, &why) < 0)
		config_problem(p, where, "\"%s\" is not a repository's name (%s); write host/path", name,
			       why ? why : "malformed");
	else if (!is_listed(c, t.host))
		config_problem(p, where, "%s is not among git.upstreams; add - {match: \"%s\", url: \"https://%s\"}",
			       t.host, t.host, t.host);
}

static void check(const void *section, struct config_problems *p)
{
	const struct git_config *c = section;

	for (size_t i = 0; c->warm.repos && c->warm.repos[i]; i++)
		check_warm(c, i, p);
	if (c->disk.low > c->disk.max)
		config_problem(p, "git.disk.low", "must not be above git.disk.max");
	for (char **r = c->sync_refs; r && *r; r++)
		if (!slice_starts(slice_str(*r), "refs/"))
			config_problem(p, "git.sync_refs", "\"%s\" is not a prefix of refs; prefixes begin with refs/",
				       *r);
	for (size_t i = 0; i < c->upstreams.count; i++)
		check_upstream(c, i, p);
}

const struct config_section git_section = {
	.name = "git",
	.settings = settings,
	.size = sizeof(struct git_config),
	.by_default = true,
	.help = "The cache of Git repositories.",
	.check = check,
};
