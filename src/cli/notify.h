/* notify.h -- tells systemd (Type=notify) how the daemon is doing; see sd_notify(3). Nothing happens without
 * NOTIFY_SOCKET. */
#ifndef WEIR_CLI_NOTIFY_H
#define WEIR_CLI_NOTIFY_H

/* state: "READY=1", "STOPPING=1". Best effort: a manager that cannot be told is no reason not to serve. */
void notify_manager(const char *state);

#endif
