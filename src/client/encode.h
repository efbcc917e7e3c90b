/* encode.h -- what the program tells, as the end of the JSON that the daemon takes.
 *
 * Each adds the members of one operation and the closing brace: the sender puts {"session_id":"...", before it, which
 * it may not know yet. Pure but for the text's memory; any thread. A wrong argument sets t->failed to -EINVAL. */
#ifndef WEIR_CLIENT_ENCODE_H
#define WEIR_CLIENT_ENCODE_H

#include <weir/client.h>

#include "client/text.h"

void weirc_encode_state(struct weirc_text *t, const struct weir_field *fields);
void weirc_encode_state_json(struct weirc_text *t, const char *json);
void weirc_encode_event(struct weirc_text *t, const struct weir_event *e);
/* kind: "gauge", "counter" (value is the delta), "histogram", "timer". more may be NULL. */
void weirc_encode_metric(struct weirc_text *t, const char *kind, const char *name, double value,
			 const struct weir_metric *more);
/* The counts as an event of the library's own. */
void weirc_encode_drops(struct weirc_text *t, const unsigned long long counts[WEIR_CLIENT_TYPES]);

#endif
