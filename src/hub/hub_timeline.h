/* hub_timeline.h -- a session's events and updates, counted by time. Pure; one thread at a time. */
#ifndef WEIR_HUB_HUB_TIMELINE_H
#define WEIR_HUB_HUB_TIMELINE_H

#include <stdbool.h>

#include "base/buf.h"
#include "hub/hub_span.h"

struct hub_timeline;

struct hub_timeline *hub_timeline_new(struct hub_span span);
void hub_timeline_free(struct hub_timeline *t); /* NULL is fine */
/* An item of the events, of the history, as it is kept, in the order of their places. False: it is damaged. */
bool hub_timeline_event(struct hub_timeline *t, struct slice body);
bool hub_timeline_update(struct hub_timeline *t, struct slice body);
void hub_timeline_write(const struct hub_timeline *t, struct buf *out); /* a JSON object */

#endif
