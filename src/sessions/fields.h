/* fields.h -- what stands in the bodies that programs send: which members are known, and of which type. Pure. */
#ifndef WEIR_SESSIONS_FIELDS_H
#define WEIR_SESSIONS_FIELDS_H

#include <jansson.h>

#include "base/buf.h"

enum field_kind { TEXT, NAME, TEXTS, OBJECT, INTEGER, NUMBER };
struct field {
	const char *name; /* NULL ends a table */
	enum field_kind kind;
	bool required; /* a text: not empty */
};
extern const struct field fields_register[], fields_session[], fields_state[], fields_event[], fields_metric[];

/* A known member may be null, which is as good as absent; others may be anything. 0; or WEIR_E_PARSE with half a
 * sentence in why. */
int fields_check(json_t *body, const struct field *fields, struct buf *why);

#endif
