/* sessions_config.h -- the `sessions` section as C sees it. See weir.yaml(5). Immutable. */
#ifndef WEIR_SESSIONS_SESSIONS_CONFIG_H
#define WEIR_SESSIONS_SESSIONS_CONFIG_H

#include "core/config.h"

enum sessions_on_full { SESSIONS_DROP_OLDEST_METRICS, SESSIONS_REJECT };

struct sessions_config {
	struct listen_settings listen;
	char *server, *api_key_file, *ca_file, *proxy;
	bool enabled, compression;
	int64_t batch_interval, heartbeat_timeout, register_patience;
	uint64_t max_batch;
	struct {
		uint64_t max_entries, max_bytes;
		int on_full; /* enum sessions_on_full */
	} queue;
	struct {
		int64_t first, max;
	} retry;
};

extern const struct config_section sessions_section;

#endif
