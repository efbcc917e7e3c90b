/* main.c -- names each service once. Deleting a service is deleting its folder and its line here. */
#include <stddef.h>

#include "admin/admin.h"
#include "cli/cli.h"
#include "git/git_service.h"
#include "hub/hub_service.h"
#include "mirror/mirror_service.h"
#include "sessions/sessions_service.h"

static const struct service *const services[] = {
	&git_service,
	&mirror_service,
	&sessions_service,
	&admin_service, /* last: its routes are those of all before it */
	NULL,
};

static const struct service *const hub_services[] = {
	&hub_service,
	&admin_service,
	NULL,
};

/* libcurl brings librtmp, and that GnuTLS, whose constructor costs every start a megabyte for a TLS that is not used
 * here: OpenSSL's is. GnuTLS asks this function before (gnutls.h, GNUTLS_SKIP_GLOBAL_INIT). Where it is not linked
 * nobody asks. */
int _gnutls_global_init_skip(void);
int _gnutls_global_init_skip(void)
{
	return 1;
}

int main(int argc, char **argv)
{
	return cli_main(argc, argv, services, hub_services);
}
