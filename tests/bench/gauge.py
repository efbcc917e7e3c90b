"""gauge -- how things are measured: wrk for rates and latencies, /proc and wait4 for CPU and memory, rounds in turn."""

import fcntl
import json
import os
import pathlib
import re
import select
import socket
import statistics
import subprocess
import time

from actors import CPUS, ENV, Trouble, program

POST_LUA = pathlib.Path(__file__).with_name("post.lua")
PIPE_BYTES = 1 << 20
WARM_S = 0.25
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


# ---- rounds -----------------------------------------------------------------------------------------------------

def in_turn(rounds, sides):
    """Runs sides ({name: function}) in turn, A B A B; returns {name: [what each round returned]}. Whatever else the
    machine does, and however its clock drifts, then meets all sides alike."""
    out = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            out[name].append(run())
    return out


def median(rounds, key):
    return statistics.median(r[key] for r in rounds)


# ---- requests ---------------------------------------------------------------------------------------------------

def wrk(url, connections, seconds, body=None):
    """wrk's figures as a dict: `rate` (answers a second), `p50_us`, `p99_us`, `bytes`. An answer that is no success,
    or a connection that breaks, is Trouble: such a rate would mean nothing."""
    env = dict(ENV, BENCH_BODY=str(body)) if body else ENV
    done = subprocess.run([program("wrk"), "-t", str(min(CPUS, connections)), "-c", str(connections), "-d",
                           f"{seconds}s", "-s", str(POST_LUA), url], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    found = re.search(r"^JSON (.*)$", done.stdout, re.M)
    if done.returncode or not found:
        raise Trouble(f"wrk {url}: {done.stdout}{done.stderr}")
    out = json.loads(found[1])
    if out["errors"] or not out["requests"]:
        raise Trouble(f"wrk {url}: {out['errors']} of {out['requests']} requests failed")
    out["rate"] = out["requests"] * 1e6 / out["duration_us"]
    return out


def warm(*asks):
    """Asks each of these for a moment, so that no side is measured with cold caches."""
    for ask in asks:
        until = time.monotonic() + WARM_S
        while time.monotonic() < until:
            ask()


class Client:
    """One kept-alive HTTP connection that counts what it is sent and keeps nothing of it: cheap, so that what is
    timed is the server. Understands Content-Length and chunked bodies."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port, self.room, self.have = port, bytearray(PIPE_BYTES), b""

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
        data = self.socket.recv(65536)
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
        while left:
            n = self.socket.recv_into(self.room, min(left, len(self.room)))
            if not n:
                raise Trouble("the server closed the connection in the middle of an answer")
            if parts is not None:
                parts.append(bytes(self.room[:n]))
            left -= n
        return size


# ---- git itself -------------------------------------------------------------------------------------------------

def upload_pack(git_dir, body):
    """Runs `git upload-pack` on this request, as a server does, and reads its answer from a pipe; returns wall_s, cpu_s
    (its own and its children's, from wait4) and bytes."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    request = os.memfd_create("request")
    os.write(request, body)
    os.lseek(request, 0, os.SEEK_SET)
    room, size = bytearray(PIPE_BYTES), 0
    begin = time.perf_counter()
    pid = os.posix_spawn(program("git"), ["git", "upload-pack", "--stateless-rpc", "--strict", str(git_dir)],
                         dict(ENV, GIT_PROTOCOL="version=2"),
                         file_actions=[(os.POSIX_SPAWN_DUP2, request, 0), (os.POSIX_SPAWN_DUP2, write_end, 1)])
    os.close(write_end)
    while n := os.readv(read_end, [room]):
        size += n
    wall_s = time.perf_counter() - begin
    _, status, usage = os.wait4(pid, 0)
    os.close(read_end)
    os.close(request)
    if status:
        raise Trouble(f"git upload-pack ended with status {status}")
    return {"wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime, "bytes": size}


# ---- processes --------------------------------------------------------------------------------------------------

def cpu_s(pid):
    """CPU seconds of a process and of those children of it that have ended and been waited for (proc(5), stat)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * TICK_S


def rss_bytes(pid):
    return memory(pid, "Rss")


def memory(pid, what):
    """Rss or Pss of a process in bytes (proc(5), smaps_rollup)."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{what}: +(\d+) kB", text, re.M)[1]) * 1024


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
