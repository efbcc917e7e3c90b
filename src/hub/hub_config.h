/* hub_config.h -- the settings of the section `hub`. */
#ifndef WEIR_HUB_HUB_CONFIG_H
#define WEIR_HUB_HUB_CONFIG_H

#include "core/config.h"

struct hub_config {
	struct listen_settings listen;
	char *database;
	int64_t database_timeout; /* ms */
	char *api_key_file;
	int64_t retention, cleanup_interval, heartbeat_timeout; /* ms */
	uint64_t max_body;
};

extern const struct config_section hub_section;

/* The path of an sqlite: database, absolute or below data_dir; malloc'ed. NULL: the database is not a file, but a URL.
 * The configuration was checked. */
char *hub_config_path(const struct hub_config *c, const char *data_dir);

#endif
