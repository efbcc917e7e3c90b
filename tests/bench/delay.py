"""delay -- a line of some length: a TCP proxy on loopback that hands every byte on half a round trip after it came.

    delay.py PORT TARGET-PORT ROUND-TRIP-MS

As on a real line, opening a connection takes a round trip of its own before the client can speak. Throughput is not
limited, as it is by a line that is long but wide and a window that has grown.
"""

import collections
import selectors
import socket
import sys
import time

PIECE = 1 << 18
MOST_UNDER_WAY = 64 << 20


class Half:
    """One direction of a connection."""

    def __init__(self, source, sink, delay_s, first_s):
        self.source, self.sink, self.delay_s, self.first_s = source, sink, delay_s, first_s
        self.under_way, self.bytes, self.is_over, self.is_shut = collections.deque(), 0, False, False

    def read(self, now):
        try:
            data = self.source.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.under_way.append((now + self.delay_s + self.first_s, data))
        self.first_s = 0
        self.bytes += len(data)
        self.is_over = not data

    def write(self, now):
        """Hands on what is due; returns when to come again, or None."""
        while self.under_way and self.under_way[0][0] <= now:
            due, data = self.under_way[0]
            try:
                sent = self.sink.send(data) if data else 0
            except BlockingIOError:
                return None  # the selector tells
            except OSError:
                self.under_way.clear()
                self.is_over = self.is_shut = True
                return None
            if not data:
                self.is_shut = True
                try:
                    self.sink.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            self.bytes -= sent
            if sent < len(data):
                self.under_way[0] = (due, memoryview(data)[sent:])
                return None
            self.under_way.popleft()
        return self.under_way[0][0] if self.under_way else None

    def is_full_now(self, now):
        return bool(self.under_way) and self.under_way[0][0] <= now


def main(port, target, delay_s):
    selector, pairs = selectors.DefaultSelector(), []
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    wait_s = None
    while True:
        ready = selector.select(wait_s)
        now = time.monotonic()
        if any(key.fileobj is listener for key, _ in ready):
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", target))
            for s in (near, far):
                s.setblocking(False)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(s, selectors.EVENT_READ)
            pairs.append((Half(near, far, delay_s, 2 * delay_s), Half(far, near, delay_s, 0)))
        readable = {key.fileobj for key, mask in ready if mask & selectors.EVENT_READ}
        dues = []
        for pair in pairs[:]:
            for half in pair:
                if half.source in readable and not half.is_over:
                    half.read(now)
                due = half.write(now)
                if due is not None:
                    dues.append(due)
            arm(selector, pair, now)
            if all(half.is_shut for half in pair):
                pairs.remove(pair)
                for half in pair:
                    half.source.close()
        wait_s = max(0, min(dues) - time.monotonic()) if dues else None


def arm(selector, pair, now):
    """What each socket of a pair is waited for, as an end that was read would be ready for ever."""
    for half, other in (pair, pair[::-1]):
        mask = 0 if half.is_over or half.bytes > MOST_UNDER_WAY else selectors.EVENT_READ
        if other.is_full_now(now):
            mask |= selectors.EVENT_WRITE
        known = selector.get_map().get(half.source.fileno())
        if all(h.is_shut for h in pair):
            mask = 0
        if known and not mask:
            selector.unregister(half.source)
        elif known and known.events != mask:
            selector.modify(half.source, mask)
        elif not known and mask:
            selector.register(half.source, mask)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 2000)
