/* hub_scan.h -- walking along an item as it is kept, without making values of it. Pure; any thread.
 *
 * For JSON that json_write() made, and for that alone: no space between tokens, each text escaped in one way only. So
 * two texts are equal when their bytes are, and what is looked for is written once and compared as it is. */
#ifndef WEIR_HUB_HUB_SCAN_H
#define WEIR_HUB_HUB_SCAN_H

#include <stdbool.h>

#include "base/buf.h"

struct hub_scan {
	struct slice left;
	bool broken; /* it is not what json_write() makes: the walk ended there */
};

/* Over the members of an object or the elements of a list. */
struct hub_scan hub_scan_of(struct slice value);
/* The next member: its name without quotes, its value as it is. False at the end. */
bool hub_scan_member(struct hub_scan *s, struct slice *ret_name, struct slice *ret_value);
bool hub_scan_element(struct hub_scan *s, struct slice *ret_value);

/* The members of these names, in one walk; value.p stays NULL for what is not there. Names end with a NULL. False: the
 * object is broken. */
struct hub_scan_want {
	const char *name;
	struct slice value;
};
bool hub_scan_members(struct slice object, struct hub_scan_want *wanted);

/* Values. False, and *ret as it was, when it is something else. */
bool hub_scan_number(struct slice value, double *ret);
bool hub_scan_time(struct slice value, int64_t *ret_ms); /* a text with RFC 3339 */
bool hub_scan_text(struct slice value, struct buf *out); /* appends it without quotes and escapes */

#endif
