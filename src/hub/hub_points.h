/* hub_points.h -- one series of metrics, reduced to what a chart can show. Pure; one thread at a time. */
#ifndef WEIR_HUB_HUB_POINTS_H
#define WEIR_HUB_HUB_POINTS_H

#include <stdbool.h>

#include "base/buf.h"
#include "hub/hub_span.h"

struct hub_points;

/* The series of this name, type (p NULL: that of the first metric found) and tags (a JSON list, in any order). The texts
 * are copied. */
struct hub_points *hub_points_new(struct hub_span span, struct slice name, struct slice type, struct slice tags);
void hub_points_free(struct hub_points *p); /* NULL is fine */
/* A metric as it is kept, in the order of places; those of other series are passed over. False: it is damaged. */
bool hub_points_take(struct hub_points *p, struct slice body);
void hub_points_write(struct hub_points *p, struct buf *out); /* a JSON object; sorts what is kept */

#endif
