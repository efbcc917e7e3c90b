/* health.h -- /healthz, /livez, /readyz and /metrics, the same on the git, admin and other listeners. */
#ifndef WEIR_CORE_HEALTH_H
#define WEIR_CORE_HEALTH_H

#include "core/service.h"

/* Answers ex when its path is one of the four (GET or HEAD; else 405) and returns true; otherwise leaves it alone.
 * Front threads; never blocks. */
bool health_handle(struct exchange *ex, const struct services *services);
/* The same for a path that the caller has cut out of an absolute-form target: "/healthz?detailed=true". */
bool health_handle_path(struct exchange *ex, struct slice path_and_query, const struct services *services);
/* The JSON of CONTRACT.md's /healthz?detailed=true; a new reference. */
json_t *health_json(const struct services *services);

#endif
