/* hub_series.h -- which series a session's metrics are. Pure; one thread at a time. */
#ifndef WEIR_HUB_HUB_SERIES_H
#define WEIR_HUB_HUB_SERIES_H

#include <stdbool.h>

#include "base/buf.h"

struct hub_series_set;

struct hub_series_set *hub_series_new(void);
void hub_series_free(struct hub_series_set *set); /* NULL is fine */
/* A metric as it is kept, in the order of places. False: it is damaged. */
bool hub_series_take(struct hub_series_set *set, struct slice body);
void hub_series_write(struct hub_series_set *set, struct buf *out); /* a JSON object; sorts what is kept */

#define HUB_MOST_SERIES_BYTES 4096 /* of name, type and tags as JSON; beyond that it is no series */
/* The tags of a list as it is kept (p NULL: none), ordered by their bytes, as a list. Appends. False: it is no list, or too
 * long. */
bool hub_tags_sort(struct slice kept, struct buf *out);

#endif
