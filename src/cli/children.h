/* children.h -- ending whatever child processes this process still has. */
#ifndef WEIR_CLI_CHILDREN_H
#define WEIR_CLI_CHILDREN_H

/* SIGKILL to the process group that each child leads. For the moment before _exit(2), when nobody is left to do it in
 * order. How many groups there were. */
unsigned children_kill(void);

#endif
