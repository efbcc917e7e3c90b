"""Many clients at once, each on a connection of its own, each waiting for its answer before it goes on.

One thread and a selector: two hundred of them cost a story's machine little.
"""

import collections
import re
import selectors
import socket
import threading

Reply = collections.namedtuple("Reply", "tag status head body")     # status 0: the connection ended without an answer

LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.I)
CHUNKED = re.compile(rb"\r\nTransfer-Encoding: *chunked", re.I)


class Client:
    def __init__(self, jobs):
        self.jobs = jobs                # an iterator, or a generator that is sent each reply
        self.sock = None
        self.begun = False
        self.busy = False               # an answer is to come
        self.tag = self.message = None
        self.got = b""


class Writers:
    """`jobs`: one iterable for each client, of (tag, request bytes), or None for "ask me again in a moment". A
    generator receives each Reply from its yield.
    `on_reply`, if given, is called with each reply, on the writers' thread."""

    def __init__(self, port, jobs, on_reply=None):
        self.port = port
        self.on_reply = on_reply or (lambda reply: None)
        self.clients = [Client(iter(j)) for j in jobs]
        self.waiting = []               # those whose connection failed: they go on at the next turn
        self.stopping = False
        self.trouble = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        """No client begins anything more; returns when all have their answers."""
        self.stopping = True
        self.join()

    def join(self, limit=80):
        self.thread.join(limit)
        assert not self.thread.is_alive(), "the writers have not come to an end"
        if self.trouble:
            raise self.trouble

    # The machinery

    def _run(self):
        try:
            with selectors.DefaultSelector() as self.selector:
                for client in self.clients:
                    self._next(client, None)
                while self.selector.get_map() or self.waiting:
                    for key, _ in self.selector.select(0.05 if self.waiting else 1):
                        self._readable(key.data)
                    again, self.waiting = self.waiting, []
                    for client, reply in again:
                        self._next(client, reply)
        except Exception as e:          # shown where the story joins
            self.trouble = e

    def _next(self, client, reply):
        """Send the client's next request; with none left, it leaves."""
        try:
            if client.begun and hasattr(client.jobs, "send"):
                job = client.jobs.send(reply)   # it hears of the last one, too
            elif not self.stopping:
                job = next(client.jobs)
            if self.stopping:
                raise StopIteration
            client.begun = True
        except StopIteration:
            self._leave(client)
            return
        client.busy = job is not None
        if job:
            client.tag, client.message = job
            self._send(client)
        else:
            self.waiting.append((client, None))

    def _leave(self, client):
        if client.sock:
            self.selector.unregister(client.sock)
            client.sock.close()
            client.sock = None

    def _send(self, client):
        try:
            if not client.sock:
                client.sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
                client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.selector.register(client.sock, selectors.EVENT_READ, client)
            client.sock.sendall(client.message)
        except OSError:
            self._reply(client, Reply(client.tag, 0, b"", b""), ended=True)

    def _readable(self, client):
        try:
            data = client.sock.recv(65536)
        except OSError:
            data = b""
        if not data and not client.busy:
            self._leave(client)
            return
        if not data:
            self._reply(client, Reply(client.tag, 0, b"", b""), ended=True)
            return
        client.got += data
        head_end = client.got.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head, rest = client.got[:head_end], client.got[head_end + 4:]
        length = LENGTH.search(head)
        if length:
            if len(rest) < int(length.group(1)):
                return
        elif CHUNKED.search(head):
            if not rest.endswith(b"0\r\n\r\n"):
                return
            rest = unchunk(rest)
        ended = b"\r\nconnection: close" in head.lower()
        self._reply(client, Reply(client.tag, int(head[9:12]), head, rest), ended)

    def _reply(self, client, reply, ended):
        client.got = b""
        if ended:
            self._leave(client)
        self.on_reply(reply)
        if reply.status:
            self._next(client, reply)
        else:
            self.waiting.append((client, reply))


def unchunk(data):
    out = []
    while True:
        size, data = data.split(b"\r\n", 1)
        size = int(size, 16)
        if size == 0:
            return b"".join(out)
        out.append(data[:size])
        data = data[size + 2:]


def message(method, target, body=b"", more=""):
    """A request as bytes."""
    head = "%s %s HTTP/1.1\r\nHost: localhost\r\n%s" % (method, target, more)
    if method not in ("GET", "HEAD", "DELETE"):
        head += "Content-Length: %d\r\n" % len(body)
    return head.encode() + b"\r\n" + body
