/* config_toy.h -- for the tests of the configuration: a section `toy` as a service's, `pond` as one that is a list,
 * and a folder of their own to load them in. Included once by each test program. */
#ifndef WEIR_CORE_CONFIG_TOY_H
#define WEIR_CORE_CONFIG_TOY_H

#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/config_priv.h"

struct toy_upstream {
	char *match, *url;
	int auth;
	bool enabled;
	char *secret_file;
};
struct toy {
	struct listen_settings listen;
	bool offline;
	int64_t refs_ttl, stale_after;
	char **sync_refs;
	struct {
		uint64_t max, low;
	} disk;
	char *webhook_secret_file;
	struct setting_list upstreams;
};
struct pond {
	char *name;
	struct listen_settings listen;
};

static const char *const auths[] = { "passthrough", "none", "bearer", NULL };
static const struct setting upstream_settings[] = {
	{ .name = "match",
	  .type = SETTING_STRING,
	  .offset = offsetof(struct toy_upstream, match),
	  .required = true,
	  .help = "Its host." },
	{ .name = "url", .type = SETTING_URL, .offset = offsetof(struct toy_upstream, url), .required = true },
	{ .name = "auth",
	  .type = SETTING_CHOICE,
	  .offset = offsetof(struct toy_upstream, auth),
	  .fallback = "passthrough",
	  .choices = auths },
	{ .name = "enabled",
	  .type = SETTING_BOOL,
	  .offset = offsetof(struct toy_upstream, enabled),
	  .fallback = "true",
	  .live = true },
	{ .name = "secret_file", .type = SETTING_SECRET_FILE, .offset = offsetof(struct toy_upstream, secret_file) },
	{ .name = NULL },
};
static const struct setting disk_settings[] = {
	{ .name = "max", .type = SETTING_SIZE, .offset = 0, .fallback = "100GiB", .min = 1024 * 1024, .live = true },
	{ .name = "low", .type = SETTING_SIZE, .offset = sizeof(uint64_t), .fallback = "90GiB", .live = true },
	{ .name = NULL },
};
static const struct setting toy_settings[] = {
	SETTINGS_LISTEN(struct toy, listen, "127.0.0.1:8080"),
	{ .name = "offline", .type = SETTING_BOOL, .offset = offsetof(struct toy, offline), .fallback = "true" },
	{ .name = "refs_ttl",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct toy, refs_ttl),
	  .fallback = "0s",
	  .max = 86400000,
	  .live = true,
	  .help = "How long. A second sentence." },
	{ .name = "stale_after",
	  .type = SETTING_DURATION,
	  .offset = offsetof(struct toy, stale_after),
	  .fallback = "5m",
	  .min = 1000 },
	{ .name = "sync_refs",
	  .type = SETTING_STRINGS,
	  .offset = offsetof(struct toy, sync_refs),
	  .fallback = "[refs/heads/, refs/tags/]" },
	{ .name = "disk", .type = SETTING_MAP, .offset = offsetof(struct toy, disk), .sub = disk_settings },
	{ .name = "webhook_secret_file",
	  .type = SETTING_SECRET_FILE,
	  .offset = offsetof(struct toy, webhook_secret_file) },
	{ .name = "upstreams",
	  .type = SETTING_MAPS,
	  .offset = offsetof(struct toy, upstreams),
	  .sub = upstream_settings,
	  .sub_size = sizeof(struct toy_upstream),
	  .fallback =
		  "[{match: github.com, url: \"https://github.com\"}, {match: gitlab.com, url: "
		  "\"https://gitlab.com\"}]" },
	{ .name = NULL },
};
static const struct setting pond_settings[] = {
	{ .name = "name", .type = SETTING_STRING, .offset = offsetof(struct pond, name), .required = true },
	SETTINGS_LISTEN(struct pond, listen, "127.0.0.1:8081"),
	{ .name = NULL },
};

static void check_toy(const void *section, struct config_problems *p)
{
	const struct toy *t = section;
	const struct toy_upstream *u = t->upstreams.items;

	for (size_t i = 0; i < t->upstreams.count; i++) {
		char where[64];

		(void)snprintf(where, sizeof(where), "toy.upstreams.%zu.secret_file", i);
		if (u[i].auth == 2 && !u[i].secret_file)
			config_problem(p, where, "is missing while auth is bearer; accepted: the path of a file");
	}
}

static const struct config_section toy_section = {
	.name = "toy", .settings = toy_settings, .size = sizeof(struct toy), .by_default = true, .check = check_toy,
	.help = "A section for tests.",
};
static const struct config_section pond_section = {
	.name = "pond", .settings = pond_settings, .size = sizeof(struct pond), .is_list = true,
};
static const struct config_section *const sections[] = { &toy_section, &pond_section, &config_admin_section, NULL };

/* --- the ground: a folder of its own, made the working directory --- */

static char folder[64], start[4096];

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int ground_make(void **state)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/weir-config-XXXXXX");
	assert_non_null(getcwd(start, sizeof(start)));
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("sub", 0700), 0);
	put("empty-secret", " \n");
	put("two-lines", "one\ntwo\n");
	put("secret", "hunter2\n");
	put("cert.pem", "c");
	put("key.pem", "k");
	return 0;
}

static int ground_clear(void **state)
{
	static const char *const names[] = { "empty-secret", "two-lines", "secret",    "cert.pem", "key.pem",
					     "t.yaml",       "sub/t.yaml", "weir.yaml" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlink(names[i]);
	(void)rmdir("sub");
	assert_int_equal(chdir(start), 0);
	return rmdir(folder);
}

/* Loads `yaml` as t.yaml (NULL: no file given, and there is none); problems and warnings in static buffers. */
static struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

static struct config *load(const char *yaml, const char *const *sets, const char *const *env)
{
	struct config_source src = { .file = yaml ? "t.yaml" : NULL, .sets = sets, .env = env, .sections = sections };
	struct config *c = NULL;
	int err;

	if (yaml)
		put("t.yaml", yaml);
	buf_fini(&problems);
	buf_fini(&warnings);
	err = config_load(&src, &c, &problems, &warnings);
	assert_int_equal(err, c ? 0 : -EINVAL);
	assert_int_equal(problems.len == 0, err == 0);
	return c;
}

static void done(struct config **c)
{
	config_unref(c);
	buf_fini(&problems);
	buf_fini(&warnings);
}

#define SETS(...) ((const char *const[]){ __VA_ARGS__, NULL })

#endif
