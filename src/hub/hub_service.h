/* hub_service.h -- the session server, for the second table in main.c: see README.md. */
#ifndef WEIR_HUB_HUB_SERVICE_H
#define WEIR_HUB_HUB_SERVICE_H

#include "core/service.h"

extern const struct service hub_service;

#endif
