/* cli.h -- the command line: finds the command, reads its options, runs it, gives the exit status.
 *
 * Exit statuses are the interface contract's: 0 done; 1 the operation failed; 2 usage or configuration; 3 no daemon
 * answered. Human output goes to standard output, diagnostics to standard error. */
#ifndef WEIR_CLI_CLI_H
#define WEIR_CLI_CLI_H

#include "core/service.h"

/* services, hub_services: NULL-terminated, in the order in which `weir serve` and `weir hub` start them. */
int cli_main(int argc, char **argv, const struct service *const *services, const struct service *const *hub_services);

#endif
