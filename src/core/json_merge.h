/* json_merge.h -- the deep merge of a session's states, which the session daemon and the hub have to do alike. Pure. */
#ifndef WEIR_CORE_JSON_MERGE_H
#define WEIR_CORE_JSON_MERGE_H

#include <jansson.h>

/* Objects merge, null takes a member away (which may be absent), all else replaces; an object that is new is kept as
 * sent, with its nulls. base comes to share no value with patch. */
void json_merge(json_t *base, const json_t *patch);

#endif
