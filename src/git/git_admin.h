/* git_admin.h -- the git service's part of the admin API: /api/v1/repos. */
#ifndef WEIR_GIT_GIT_ADMIN_H
#define WEIR_GIT_GIT_ADMIN_H

#include "core/service.h"

extern const struct admin_route git_admin_routes[];

#endif
