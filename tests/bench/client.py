"""client -- our own HTTP clients, where wrk is not the right one: to read an answer, to time one command after the
other, to hold connections open, and to take large answers, of which wrk's own work would be the larger part.
"""

import json
import os
import re
import select
import socket
import statistics
import struct
import time

from actors import Trouble

WAIT_S = 60
MOST_AT_ONCE = 1 << 20


class Client:
    """One kept-alive HTTP connection that counts what it is sent and keeps nothing of it (MSG_TRUNC: the kernel drops
    it without a copy): cheap, so that what is timed is the server. Knows Content-Length and chunked bodies."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.socket.setblocking(True)  # a limit of the kernel's costs no poll(2) before each call
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", WAIT_S, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port, self.room, self.have = port, bytearray(MOST_AT_ONCE), b""

    def close(self):
        self.socket.close()

    def get(self, path, keep=False):
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode(), keep)

    def command(self, path, body, keep=False):
        """POSTs a git protocol v2 command."""
        head = (f"POST {path}/git-upload-pack HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
                "Content-Type: application/x-git-upload-pack-request\r\n"
                "Accept: application/x-git-upload-pack-result\r\nGit-Protocol: version=2\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")
        return self.ask(head.encode() + body, keep)

    def ask(self, request, keep):
        """Returns the number of bytes of the body, or with keep the body itself. Trouble unless the status is 200."""
        self.socket.sendall(request)
        head = self.until(b"\r\n\r\n").decode("latin-1")
        parts = [] if keep else None
        if re.search(r"^transfer-encoding: *chunked", head, re.I | re.M):
            size = 0
            while chunk := int(self.until(b"\r\n").split(b";")[0], 16):
                size += self.take(chunk, parts)
                self.until(b"\r\n")
            self.until(b"\r\n")
        else:
            found = re.search(r"^content-length: *(\d+)", head, re.I | re.M)
            if not found:
                raise Trouble(f"an answer without a length:\n{head}")
            size = self.take(int(found[1]), parts)
        if not head.startswith("HTTP/1.1 200 "):
            raise Trouble(f"{request.split(b' HTTP')[0].decode()}: {head.splitlines()[0]}")
        return b"".join(parts) if keep else size

    def more(self):
        data = self.socket.recv(1024)
        if not data:
            raise Trouble("the server closed the connection in the middle of an answer")
        self.have += data

    def until(self, mark):
        while mark not in self.have:
            self.more()
        head, _, self.have = self.have.partition(mark)
        return head

    def take(self, size, parts):
        left = size - min(size, len(self.have))
        if parts is not None:
            parts.append(self.have[:size])
        self.have = self.have[size:]
        how = socket.MSG_WAITALL | (socket.MSG_TRUNC if parts is None else 0)
        while left:
            n = self.socket.recv_into(self.room, min(left, MOST_AT_ONCE), how)
            if not n:
                raise Trouble("the server closed the connection in the middle of an answer")
            if parts is not None:
                parts.append(bytes(self.room[:n]))
            left -= n
        return size


def ask_once(port, path):
    """One GET on a connection of its own."""
    connection = Client(port)
    connection.get(path)
    connection.close()


def drain(port, path, body, connections, seconds):
    """As gauge.wrk, for large answers: a process for each connection sends this command (body None: GET) again and
    again. Returns requests, rate, p50_us, p99_us."""
    begin = time.monotonic() + 0.2  # when all have connected
    pipes = {}
    for _ in range(connections):
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                with open(write_end, "w", encoding="ascii") as out:
                    json.dump(drain_one(port, path, body, begin, seconds), out)
            finally:
                os._exit(0)  # nothing of ours may run twice
        os.close(write_end)
        pipes[pid] = read_end
    took_us = []
    for pid, read_end in pipes.items():
        with open(read_end, encoding="ascii") as answer:
            got = json.loads(answer.read() or '"a client died"')
        os.waitpid(pid, 0)
        if isinstance(got, str):
            raise Trouble(got)
        took_us += got
    if len(took_us) < 2:
        raise Trouble(f"{path}: fewer than two answers in {seconds} s")
    cut = statistics.quantiles(took_us, n=100, method="inclusive")
    return {"requests": len(took_us), "rate": len(took_us) / seconds, "p50_us": cut[49], "p99_us": cut[98]}


def drain_one(port, path, body, begin, seconds):
    """How long each answer took, of those that came in time; or a text that says what went wrong."""
    took_us = []
    try:
        client = Client(port)
        ask = (lambda: client.get(path)) if body is None else (lambda: client.command(path, body))
        ask()
        time.sleep(max(0, begin - time.monotonic()))
        while True:
            before = time.monotonic()
            ask()
            after = time.monotonic()
            if after > begin + seconds:
                return took_us
            took_us.append(round((after - before) * 1e6))
    except (Trouble, OSError, ValueError) as e:
        return f"{path}: {e}"


def burst(port, path, body, clients, each):
    """So many clients at once, each a process that sends this command `each` times; returns the wall time of all, from
    when every one has connected, and the bytes of one answer. All must be of one size, but for some packets' heads: git
    cuts a pack into packets as it comes out of a pipe."""
    begin_read, begin_write = os.pipe2(os.O_CLOEXEC)
    pipes = {}
    for _ in range(clients):
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                os.close(begin_write)
                with open(write_end, "w", encoding="ascii") as out:
                    json.dump(burst_one(port, path, body, each, begin_read, out), out)
            finally:
                os._exit(0)  # nothing of ours may run twice
        os.close(write_end)
        pipes[pid] = open(read_end, encoding="ascii")
    os.close(begin_read)
    for ready in pipes.values():
        ready.readline()
    begin = time.perf_counter()
    os.close(begin_write)
    got = []
    for pid, answer in pipes.items():
        with answer:
            got.append(json.loads(answer.read() or '"a client died"'))
        os.waitpid(pid, 0)
    wall_s = time.perf_counter() - begin
    for one in got:
        if isinstance(one, str):
            raise Trouble(one)
    if max(got) - min(got) > max(got) * 0.01:
        raise Trouble(f"{path}: answers of different sizes: {sorted(set(got))}")
    return {"wall_s": wall_s, "bytes": got[0], "rate": clients * each / wall_s}


def burst_one(port, path, body, each, begin_read, out):
    try:
        client = Client(port)
        out.write("\n")
        out.flush()
        os.read(begin_read, 1)  # its end: all have connected
        return [client.command(path, body) for _ in range(each)][-1]
    except (Trouble, OSError, ValueError) as e:
        return f"{path}: {e}"


class IdleConnections:
    """Kept-alive connections that have each had one answer, and now wait."""

    def __init__(self, port, count, path="/livez"):
        self.sockets = []
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        for first in range(0, count, 100):  # few enough at a time for the backlog
            some = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(min(100, count - first))]
            self.sockets += some
            for s in some:
                s.sendall(request)
            for s in some:
                if not s.recv(4096).startswith(b"HTTP/1.1 200 "):
                    raise Trouble(f"{path}: no answer on connection {len(self.sockets)}")

    def still_open(self):
        """How many the server has not closed."""
        poll = select.poll()
        for s in self.sockets:
            poll.register(s, select.POLLIN)
        return len(self.sockets) - len(poll.poll(0))

    def close(self):
        for s in self.sockets:
            s.close()
