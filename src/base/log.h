/* log.h -- one event a line: a stable event name and key=value fields (or JSON), in UTC, to standard error.
 *
 *	log_event(LOG_INFO, "offline_fallback", LOG_STR("repository", name), LOG_INT("age_s", age), LOG_END);
 *
 * Levels are promises: error, somebody must act; warn, weir carried on and says how; info, a state changed; debug,
 * for whoever is looking. Values are escaped and cut at 512 bytes. The same event, level and fields repeated within a
 * second collapse into one line with repeated=N. Secrets are never passed in. Any thread; may block on a slow
 * standard error only as long as one write(2). */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include "base/buf.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
	const char *key; /* NULL ends the list */
	enum { LOG_F_SLICE, LOG_F_INT, LOG_F_ERR } type;
	struct slice slice;
	int64_t number;
};

#define LOG_STR(k, v) ((struct log_field){ .key = (k), .type = LOG_F_SLICE, .slice = slice_str(v) })
#define LOG_SLICE(k, v) ((struct log_field){ .key = (k), .type = LOG_F_SLICE, .slice = (v) })
#define LOG_INT(k, v) ((struct log_field){ .key = (k), .type = LOG_F_INT, .number = (int64_t)(v) })
#define LOG_ERR(k, v) ((struct log_field){ .key = (k), .type = LOG_F_ERR, .number = (v) }) /* as err_text() */
#define LOG_END ((struct log_field){ .key = NULL })

void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
void log_fields(enum log_level level, const char *event, const struct log_field *fields);
#define log_event(level, event, ...)                                                                                   \
	do {                                                                                                           \
		if (log_enabled(level))                                                                                \
			log_fields((level), (event), (const struct log_field[]){ __VA_ARGS__ });                       \
	} while (0)

/* 0 or -EINVAL; accepts debug info warn error, and text json. */
int log_parse_level(struct slice s, enum log_level *ret);
int log_parse_format(struct slice s, enum log_format *ret);

/* Writes a line for repeats still held back; call at exit. */
void log_flush(void);

#endif
