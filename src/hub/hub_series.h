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

/* What tells a series' tags from others: the tags of a kept list (p NULL: none), or a text with commas between, taken
 * apart at commas, in order, with commas between. Appends. False: not a list of texts. */
bool hub_tags_of_list(struct slice kept, struct buf *out);
void hub_tags_of_text(struct slice text, struct buf *out);

#endif
