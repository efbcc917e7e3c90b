/* git_config.h -- the `git` section of weir.yaml. Filled by core/config from the table in git_config.c. */
#ifndef WEIR_GIT_GIT_CONFIG_H
#define WEIR_GIT_GIT_CONFIG_H

#include "core/config.h"

enum git_sync_mode { GIT_SYNC_FULL, GIT_SYNC_ON_DEMAND };
enum git_refs_scope { GIT_SCOPE_REPOSITORY, GIT_SCOPE_CREDENTIAL };
enum git_auth { GIT_AUTH_PASSTHROUGH, GIT_AUTH_NONE, GIT_AUTH_BEARER, GIT_AUTH_BASIC };

struct git_upstream_config {
	char *match;       /* host[:port] as clients write it */
	char *url;
	int auth;          /* enum git_auth */
	bool enabled;
	char *secret_file; /* bearer: the token; basic: user:password */
	char *ca_file, *proxy;
};

struct git_warm_config {
	char **repos;      /* host/path */
	int64_t every;
};

struct git_disk_config {
	uint64_t max, low;
};

struct git_config {
	struct listen_settings listen;
	bool offline_mode;
	int sync;          /* enum git_sync_mode */
	int64_t refs_ttl, stale_after;
	char **sync_refs;  /* prefixes */
	int refs_scope;    /* enum git_refs_scope */
	struct git_warm_config warm;
	char *webhook_secret_file;
	char *client_token_file;
	bool allow_anonymous;
	int64_t upstream_timeout, upstream_patience, grant_ttl, offline_grant;
	struct git_disk_config disk;
	struct setting_list upstreams; /* of struct git_upstream_config */
};

extern const struct config_section git_section;

#endif
