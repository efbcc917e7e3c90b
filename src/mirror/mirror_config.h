/* mirror_config.h -- the `mirror` section as C sees it: a list, one item for each mirror. See weir.yaml(5).
 * Immutable. */
#ifndef WEIR_MIRROR_MIRROR_CONFIG_H
#define WEIR_MIRROR_MIRROR_CONFIG_H

#include "core/config.h"
#include "mirror/policy.h"

struct mirror_config {
	char *name;
	struct listen_settings listen;
	char *upstream, *ca_file, *proxy;
	bool enabled;
	char *token_file, *client_token_file;
	bool allow_anonymous;
	struct {
		uint64_t max, low;
	} disk;
	uint64_t memory;
	int preconditions;            /* enum precondition_mode */
	char *serve_stale;            /* see mirror_serve_stale_ms() */
	char **serve_stale_against;   /* see mirror_stale_override() */
	bool offline_propfind;
	int64_t offline_grant, upstream_timeout, upstream_patience;
	struct {
		char **methods;
		uint64_t max_body, max_entries, max_bytes;
		bool repeat_unsafe;
		struct {
			int64_t first, max;
		} retry;
		int64_t keep_settled;
	} outbox;
};

extern const struct config_section mirror_section;

int64_t mirror_serve_stale_ms(const struct mirror_config *c); /* POLICY_STALE_FOREVER, 0 (never) or milliseconds */
unsigned mirror_stale_override(const struct mirror_config *c); /* enum policy_stale_forbidden */
bool mirror_queues(const struct mirror_config *c, struct slice method); /* outbox.methods has it */

#endif
