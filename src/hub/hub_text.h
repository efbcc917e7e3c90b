/* hub_text.h -- whether some text occurs in an event. Pure; any thread. */
#ifndef WEIR_HUB_HUB_TEXT_H
#define WEIR_HUB_HUB_TEXT_H

#include "base/buf.h"

/* Whether `text` occurs in a string value of the JSON object `body` (names of members do not count, nor the timestamp),
 * ASCII case ignored. Takes as long as both are. */
bool hub_text_occurs(struct slice body, struct slice text);

#endif
