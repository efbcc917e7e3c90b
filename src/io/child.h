/* child.h -- running git (or another program) without a shell.
 *
 * posix_spawn with an own process group, a fixed environment, default signals, every descriptor but the three given
 * closed. A child is killed with its whole group. Any thread; child_wait and child_run block, for workers only. */
#ifndef WEIR_IO_CHILD_H
#define WEIR_IO_CHILD_H

#include "base/buf.h"
#include "io/cancel.h"

struct child;

struct child_options {
	const char *const *argv; /* NULL-terminated; argv[0] is looked up on the fixed PATH; borrowed */
	const char *const *env;  /* NULL-terminated extra "KEY=value", replacing a fixed one of that KEY; may be NULL */
	const char *cwd;         /* NULL: ours */
	int stdin_fd, stdout_fd, stderr_fd; /* borrowed; -1: /dev/null */
	bool idle;               /* lowest CPU and I/O priority: background work */
};

/* The fixed environment: PATH, HOME=/nonexistent, LANG=C.UTF-8, GIT_CONFIG_NOSYSTEM=1, GIT_CONFIG_GLOBAL=/dev/null,
 * GIT_TERMINAL_PROMPT=0, GIT_OPTIONAL_LOCKS=0, GIT_NO_REPLACE_OBJECTS=1, and nothing inherited (no proxy variables, no
 * secrets) but TMPDIR. 0; -ENOENT (no such program or cwd); -errno. */
int child_spawn(const struct child_options *o, struct child **ret);
/* Waits for the end, at most limit_ms (-1: no limit) or until `c` fires (may be NULL). 0 with *ret_status as of
 * waitpid(2); -ETIMEDOUT or WEIR_E_CANCELLED with the child still running. */
int child_wait(struct child *ch, int limit_ms, struct cancel *c, int *ret_status);
int child_pidfd(const struct child *ch); /* readable when it has ended; borrowed */
void child_kill(struct child *ch);       /* SIGTERM to the group */
void child_free(struct child **ch);      /* kills the group with SIGKILL when still running, reaps; *ch may be NULL */

/* Runs a program to its end: feeds `input`, gathers standard output into out (may be NULL; its own limit holds: beyond
 * it the child is ended, WEIR_E_TOO_LARGE) and adds the last 4 KiB of standard error to err_tail (may be NULL). 0 when
 * it exited with 0; WEIR_E_CHILD when it failed (*ret_status tells how; may be NULL); WEIR_E_CANCELLED; -ETIMEDOUT
 * after limit_ms (-1: none). A child that is ended early gets SIGTERM and 2 s to clean up. stdin_fd, stdout_fd and
 * stderr_fd of `o` are ignored. */
int child_run(const struct child_options *o, struct slice input, struct buf *out, struct buf *err_tail, int limit_ms,
	      struct cancel *c, int *ret_status);

#endif
