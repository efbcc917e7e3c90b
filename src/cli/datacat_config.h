/* datacat_config.h -- the original's two JSON configurations, and what they are as settings of weir's: what
 * datacat_daemon.c and datacat_server.c have in common. All but the first two is pure. */
#ifndef WEIR_CLI_DATACAT_CONFIG_H
#define WEIR_CLI_DATACAT_CONFIG_H

#include <jansson.h>

#include "base/buf.h"

#define DATACAT_MOST_SETS 16
#define DATACAT_NO_FILE   "/dev/null" /* instead of a weir.yaml that may lie about */

struct datacat_sets { /* "KEY=VALUE", as after --set; datacat_sets_fini() */
	const char *items[DATACAT_MOST_SETS + 1]; /* NULL-terminated */
	size_t count;
};
#define DATACAT_SETS_EMPTY { .count = 0 }

/* The object in the file. When there is no file, `defaults` are written there (or that is complained of) and read. 0;
 * or a code with half a sentence in err: *ret is untouched. Blocks. */
int datacat_config_read(const char *path, const char *defaults, json_t **ret, struct buf *err);
/* The key as a file that only this process sees: setting=/proc/self/fd/N, open for good. 0 or -errno. */
int datacat_set_key(struct datacat_sets *s, const char *setting, const char *key);

void datacat_set(struct datacat_sets *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void datacat_sets_fini(struct datacat_sets *s);
/* A member that is a string and not empty; else fallback. Borrowed. */
const char *datacat_text(const json_t *config, const char *name, const char *fallback);

#define DATACAT_DAEMON_SERVER "http://localhost:9090" /* where nothing else is said */
extern const char datacat_daemon_defaults[];
/* What is missing or strange has the original's default. delivers_only: nobody asks this one anything. */
void datacat_daemon_settings(const json_t *config, bool delivers_only, struct datacat_sets *to);

extern const char datacat_server_defaults[];
/* What is missing has the original's default; what is strange is refused: a line each in wrong. */
void datacat_server_settings(const json_t *config, struct datacat_sets *to, struct buf *wrong);

#endif
