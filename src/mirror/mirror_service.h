/* mirror_service.h -- the HTTP service, for the table in main.c: any number of mirrors, see README.md. */
#ifndef WEIR_MIRROR_MIRROR_SERVICE_H
#define WEIR_MIRROR_MIRROR_SERVICE_H

#include "core/service.h"

extern const struct service mirror_service;

#endif
