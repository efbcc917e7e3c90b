/* sessions_service.h -- the service `sessions`: the daemon that takes what local programs report (DATACAT_API.md,
 * section 1). */
#ifndef WEIR_SESSIONS_SESSIONS_SERVICE_H
#define WEIR_SESSIONS_SESSIONS_SERVICE_H

#include "core/service.h"

extern const struct service sessions_service;

#endif
