/* git_service.h -- the git service, for main.c's table. */
#ifndef WEIR_GIT_GIT_SERVICE_H
#define WEIR_GIT_GIT_SERVICE_H

#include "core/service.h"

extern const struct service git_service;

#endif
