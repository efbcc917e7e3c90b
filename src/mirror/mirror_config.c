/* mirror_config.c -- the table of the `mirror` section, and the checks that need several keys at once. */
#include "mirror/mirror_config.h"

#include <stddef.h>
#include <stdio.h>

#include "base/obj.h"
#include "base/str.h"
#include "proto/url.h"

#define DAY_MS (24 * 3600 * 1000ULL)

static const char *const precondition_names[] = {
	"auto", "if_match", "if_unmodified_since", "check_first", "none", NULL
};

static const struct {
	const char *name;
	unsigned bit;
} forbids[] = {
	{ "must-revalidate", POLICY_FORBIDS_MUST_REVALIDATE },
	{ "proxy-revalidate", POLICY_FORBIDS_PROXY_REVALIDATE },
	{ "s-maxage", POLICY_FORBIDS_S_MAXAGE },
	{ "no-cache", POLICY_FORBIDS_NO_CACHE },
};

static const char *const queueable[] = { "PUT", "POST", "PATCH", "DELETE" };

#define AT(member) .offset = offsetof(struct mirror_config, member)

static const struct setting disk_settings[] = {
	{ .name = "max", .type = SETTING_SIZE, .offset = 0, .fallback = "50GiB", .min = 1 << 20, .live = true,
	  .help = "Above this the least recently used responses are dropped, until disk.low is reached." },
	{ .name = "low", .type = SETTING_SIZE, .offset = sizeof(uint64_t), .fallback = "45GiB", .live = true,
	  .help = "What is left after dropping. When not given and above disk.max: nine tenths of that." },
	{ .name = NULL },
};

#define IN(member) \
	.offset = offsetof(struct mirror_config, outbox.member) - offsetof(struct mirror_config, outbox), .live = true

static const struct setting retry_settings[] = {
	{ .name = "first",
	  .type = SETTING_DURATION,
	  .offset = 0,
	  .fallback = "1s",
	  .min = 10,
	  .max = DAY_MS,
	  .live = true,
	  .help = "Pause before the second attempt; it doubles with each, and is drawn at random below that." },
	{ .name = "max",
	  .type = SETTING_DURATION,
	  .offset = sizeof(int64_t),
	  .fallback = "5m",
	  .min = 10,
	  .max = DAY_MS,
	  .live = true,
	  .help = "The longest pause between two attempts." },
	{ .name = NULL },
};

static const struct setting outbox_settings[] = {
	{ .name = "methods",
	  .type = SETTING_STRINGS,
	  IN(methods),
	  .fallback = "[PUT, POST, PATCH, DELETE]",
	  .help = "Which methods are queued when upstream is away; others are refused then. An empty list: none." },
	{ .name = "max_body",
	  .type = SETTING_SIZE,
	  IN(max_body),
	  .fallback = "256MiB",
	  .min = 1,
	  .help = "Largest body that is queued; a larger one is refused with 413 while upstream is away." },
	{ .name = "max_entries",
	  .type = SETTING_UINT,
	  IN(max_entries),
	  .fallback = "1000000",
	  .min = 1,
	  .max = 10000000,
	  .help = "Most writes waiting, held or in conflict; above it 507." },
	{ .name = "max_bytes",
	  .type = SETTING_SIZE,
	  IN(max_bytes),
	  .fallback = "10GiB",
	  .min = 1,
	  .help = "Most bytes of their bodies together; above it 507." },
	{ .name = "repeat_unsafe",
	  .type = SETTING_BOOL,
	  IN(repeat_unsafe),
	  .fallback = "false",
	  .help = "When true, a POST or PATCH whose outcome is unknown is sent again, with its Idempotency-Key, instead of held." },
	{ .name = "retry",
	  .type = SETTING_MAP,
	  IN(retry),
	  .sub = retry_settings,
	  .help = "When delivery is tried again." },
	{ .name = "keep_settled",
	  .type = SETTING_DURATION,
	  IN(keep_settled),
	  .fallback = "7d",
	  .max = 3650 * DAY_MS,
	  .help = "How long applied, dropped and resolved entries stay listed." },
	{ .name = NULL },
};

static const struct setting settings[] = {
	{ .name = "name",
	  .type = SETTING_STRING,
	  AT(name),
	  .required = true,
	  .help = "What it is called in logs, metrics and commands: letters, digits, '-', '_' and '.'." },
	SETTINGS_LISTEN(struct mirror_config, listen, "127.0.0.1:8081"),
	{ .name = "upstream",
	  .type = SETTING_URL,
	  AT(upstream),
	  .required = true,
	  .help = "The server it stands before; a path is put before every request's." },
	{ .name = "enabled",
	  .type = SETTING_BOOL,
	  AT(enabled),
	  .fallback = "true",
	  .live = true,
	  .help = "When false upstream is never contacted, as in an outage." },
	{ .name = "ca_file",
	  .type = SETTING_PATH,
	  AT(ca_file),
	  .help = "PEM bundle to trust instead of the system's." },
	{ .name = "proxy",
	  .type = SETTING_STRING,
	  AT(proxy),
	  .help = "HTTP proxy for this upstream, as http://host:port; the environment's is never used." },
	{ .name = "token_file",
	  .type = SETTING_SECRET_FILE,
	  AT(token_file),
	  .help = "Bearer token that weir itself presents, online and at delivery, in place of what clients send. It is read "
		  "again when the file changes." },
	{ .name = "client_token_file",
	  .type = SETTING_SECRET_FILE,
	  AT(client_token_file),
	  .help = "Bearer token (or Basic password) that clients must present to this listener." },
	{ .name = "allow_anonymous",
	  .type = SETTING_BOOL,
	  AT(allow_anonymous),
	  .fallback = "false",
	  .help = "With token_file on a listener beyond loopback: everybody may use weir's credential." },
	{ .name = "disk",
	  .type = SETTING_MAP,
	  AT(disk),
	  .sub = disk_settings,
	  .help = "Disk budget of stored responses." },
	{ .name = "memory",
	  .type = SETTING_SIZE,
	  AT(memory),
	  .fallback = "32MiB",
	  .help = "Memory for the responses that are asked for most." },
	{ .name = "preconditions",
	  .type = SETTING_CHOICE,
	  AT(preconditions),
	  .choices = precondition_names,
	  .fallback = "auto",
	  .help = "What this upstream honours on writes, so that a change made there meanwhile is noticed: see weir.yaml(5), "
		  "PRECONDITIONS." },
	{ .name = "serve_stale",
	  .type = SETTING_STRING,
	  AT(serve_stale),
	  .fallback = "forever",
	  .live = true,
	  .help = "While upstream is unavailable: how long after it became stale a response is still served; forever, "
		  "never, or a time." },
	{ .name = "serve_stale_against",
	  .type = SETTING_STRINGS,
	  AT(serve_stale_against),
	  .live = true,
	  .help = "Directives of upstream that do not keep a stale response from being served while it is unavailable: "
		  "must-revalidate, proxy-revalidate, s-maxage, no-cache." },
	{ .name = "offline_propfind",
	  .type = SETTING_BOOL,
	  AT(offline_propfind),
	  .fallback = "false",
	  .live = true,
	  .help = "Keep answers to WebDAV's PROPFIND, to be served while upstream is unavailable." },
	{ .name = "offline_grant",
	  .type = SETTING_DURATION,
	  AT(offline_grant),
	  .fallback = "24h",
	  .max = 3650 * DAY_MS,
	  .live = true,
	  .help = "How long upstream's yes to a credential is believed while upstream is down." },
	{ .name = "upstream_timeout",
	  .type = SETTING_DURATION,
	  AT(upstream_timeout),
	  .fallback = "30s",
	  .min = 100,
	  .max = DAY_MS,
	  .live = true,
	  .help = "Upstream silent for so long after a request: it is given up." },
	{ .name = "upstream_patience",
	  .type = SETTING_DURATION,
	  AT(upstream_patience),
	  .fallback = "3s",
	  .min = 10,
	  .max = DAY_MS,
	  .live = true,
	  .help = "Upstream silent for so long and a stored response may be served: use it." },
	{ .name = "outbox",
	  .type = SETTING_MAP,
	  AT(outbox),
	  .sub = outbox_settings,
	  .help = "Writes taken while upstream is away." },
	{ .name = NULL },
};

int64_t mirror_serve_stale_ms(const struct mirror_config *c)
{
	int64_t ms = 0;

	if (strcmp(c->serve_stale, "forever") == 0)
		return POLICY_STALE_FOREVER;
	return str_parse_duration_ms(slice_str(c->serve_stale), &ms) == 0 ? ms : 0;
}

static bool parse_forbidden(const char *name, unsigned *bits)
{
	for (size_t i = 0; i < ARRAY_LEN(forbids); i++)
		if (strcmp(name, forbids[i].name) == 0) {
			*bits |= forbids[i].bit;
			return true;
		}
	return false;
}

unsigned mirror_stale_override(const struct mirror_config *c)
{
	unsigned bits = 0;

	for (char **s = c->serve_stale_against; s && *s; s++)
		(void)parse_forbidden(*s, &bits); /* check() has seen to it */
	return bits;
}

bool mirror_queues(const struct mirror_config *c, struct slice method)
{
	for (char **m = c->outbox.methods; m && *m; m++)
		if (slice_eq_str(method, *m))
			return true;
	return false;
}

static bool is_loopback(const char *listen)
{
	return listen && (slice_starts(slice_str(listen), "127.") || slice_starts(slice_str(listen), "[::1]") ||
			  slice_starts(slice_str(listen), "localhost:"));
}

/* It becomes a folder, a label and a part of log lines. */
static bool name_is_fine(const char *name)
{
	static const char *const taken[] = { "git", "sessions", "hub", "admin" };
	size_t n = strlen(name);

	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		if (strcmp(name, taken[i]) == 0)
			return false;
	return n > 0 && n <= 64 && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static void check_texts(const struct mirror_config *c, size_t i, struct config_problems *p)
{
	char where[64];
	unsigned bits;
	int64_t ms;

	(void)snprintf(where, sizeof(where), "mirror.%zu.serve_stale", i);
	if (strcmp(c->serve_stale, "forever") != 0 && strcmp(c->serve_stale, "never") != 0 &&
	    str_parse_duration_ms(slice_str(c->serve_stale), &ms) < 0)
		config_problem(p, where, "\"%s\" is not understood; write forever, never, or a time such as 12h",
			       c->serve_stale);
	(void)snprintf(where, sizeof(where), "mirror.%zu.serve_stale_against", i);
	for (char **s = c->serve_stale_against; s && *s; s++)
		if (!parse_forbidden(*s, &bits))
			config_problem(p, where,
				       "\"%s\" is not one of must-revalidate, proxy-revalidate, s-maxage, no-cache",
				       *s);
	(void)snprintf(where, sizeof(where), "mirror.%zu.outbox.methods", i);
	for (char **m = c->outbox.methods; m && *m; m++) {
		bool known = false;

		for (size_t k = 0; k < ARRAY_LEN(queueable); k++)
			known = known || strcmp(*m, queueable[k]) == 0;
		if (!known)
			config_problem(p, where, "\"%s\" cannot be queued; accepted are PUT, POST, PATCH, DELETE", *m);
	}
}

static void check_one(const struct mirror_config *all, size_t i, struct config_problems *p)
{
	const struct mirror_config *c = &all[i];
	char where[64];

	(void)snprintf(where, sizeof(where), "mirror.%zu.name", i);
	if (!name_is_fine(c->name))
		config_problem(
			p, where,
			"\"%s\" cannot be a mirror's name; take letters, digits, '-', '_' and '.', and neither git, "
			"sessions, hub nor admin",
			c->name);
	for (size_t k = 0; k < i; k++)
		if (strcmp(c->name, all[k].name) == 0)
			config_problem(p, where, "\"%s\" is the name of two mirrors; each needs its own", c->name);
	(void)snprintf(where, sizeof(where), "mirror.%zu.token_file", i);
	if (c->token_file && !is_loopback(c->listen.listen) && !c->client_token_file && !c->allow_anonymous)
		config_problem(
			p, where,
			"adds weir's own credential on a listener beyond loopback: set client_token_file, or say "
			"allow_anonymous: true");
	check_texts(c, i, p);
}

static void check(const void *section, struct config_problems *p)
{
	const struct setting_list *list = section;
	const struct mirror_config *all = list->items;

	for (size_t i = 0; i < list->count; i++)
		check_one(all, i, p);
}

const struct config_section mirror_section = {
	.name = "mirror",
	.settings = settings,
	.size = sizeof(struct mirror_config),
	.is_list = true,
	.help = "HTTP upstreams that are cached, and whose writes survive an outage: a list, one item for each.",
	.check = check,
};
