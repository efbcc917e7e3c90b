/* listener.h -- listening sockets: one address, one socket for each front thread. */
#ifndef WEIR_IO_LISTENER_H
#define WEIR_IO_LISTENER_H

#include "base/buf.h"

#define LISTENER_ADDRESS_ROOM 64 /* "[xxxx:...]:65535" with its NUL */

/* Binds `count` sockets with SO_REUSEPORT to "HOST:PORT" or "[v6]:PORT"; "*:PORT" is all addresses of both kinds; port
 * 0: the first one picks, the others follow. They do not listen yet. Another program on that address (another weir too)
 * is -EADDRINUSE. 0, and ret_fds[0..count) are the caller's; or -errno with a sentence in err. ret_loopback: only this
 * machine can reach it. May block on name resolution. */
int listener_bind(const char *address, unsigned count, int *ret_fds, char ret_bound[LISTENER_ADDRESS_ROOM],
		  bool *ret_loopback, struct buf *err);
int listener_open(int fd); /* listen(2); 0 or -errno. Only from then on no other program can share the address. */
/* A connection, non-blocking, close-on-exec, without Nagle's delay. The descriptor, or -errno (-EAGAIN: none waits). */
int listener_accept(int fd, char ret_peer[LISTENER_ADDRESS_ROOM]); /* ret_peer: "127.0.0.1:4242" */

#endif
