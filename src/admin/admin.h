/* admin.h -- the admin service: a page for people, the API that the commands use, health and metrics.
 *
 * It knows the other services only through core/service.h: their links, their status, their admin_routes. */
#ifndef WEIR_ADMIN_ADMIN_H
#define WEIR_ADMIN_ADMIN_H

#include "core/service.h"

extern const struct service admin_service;

#endif
