"""Waiting for a condition, never for a time; and ports that nobody takes while their server is down."""

import os
import random
import socket
import time

LIMIT_S = 20.0                      # generous: sanitizer builds on a busy machine
FIRST_PORT, LAST_PORT = 18000, 32000  # below the kernel's ephemeral range, so that no client's own port lands here

_random = random.Random(os.getpid() ^ time.monotonic_ns())


def wait_until(condition, limit=LIMIT_S, what=""):
    """Return the first true value of condition(); fail when none came within `limit` seconds."""
    end = time.monotonic() + limit
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.0f s in vain%s" % (limit, ": " + what if what else ""))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def free_port():
    """A port on 127.0.0.1 that is free now and stays out of the way of outgoing connections, so that its server can
    be stopped and started again on it."""
    for _ in range(1000):
        port = _random.randrange(FIRST_PORT, LAST_PORT)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port between %d and %d" % (FIRST_PORT, LAST_PORT))


def accepts(port):
    """Does somebody accept connections on this port?"""
    with socket.socket() as s:
        s.settimeout(2)
        return s.connect_ex(("127.0.0.1", port)) == 0


def tail(path, lines=60):
    """The last lines of a file, for a failing story's report."""
    try:
        with open(path, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 64 * 1024))
            text = f.read().decode("utf-8", "replace")
    except OSError as e:
        return "(%s)" % e
    return "\n".join(text.splitlines()[-lines:])
