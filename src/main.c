/* main.c -- names each service once. Deleting a service is deleting its folder and its line here. */
#include <stddef.h>

#include "admin/admin.h"
#include "cli/cli.h"
#include "git/git_service.h"

static const struct service *const services[] = {
	&git_service,
	&admin_service, /* last: its routes are those of all before it */
	NULL,
};

int main(int argc, char **argv)
{
	return cli_main(argc, argv, services);
}
