"""A proxy between weir and the upstream that makes faults on demand and remembers what passed.

It forwards bytes as they are, one upstream connection for each client connection, and understands just enough of
HTTP/1.1 to know where a message ends. One rule is in force at a time; each request takes the rule of the moment when
its head has arrived. `match` narrows a rule to requests whose head or body contains that text ("git-upload-pack",
"command=fetch"); everything else passes.
"""

import gzip
import select
import socket
import struct
import threading
import zlib

from .wait import free_port, wait_until
from .wire import packs_in

RECORD_BYTES = 64 * 1024 * 1024     # of each answer, for counting objects
BODY_BYTES = 1024 * 1024            # of each request


class Request:
    """One request as it arrived here, and what became of it."""

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        self.head = head
        self.method, self.target = parts[0], parts[1] if len(parts) > 1 else ""
        self.headers = {}
        for line in lines[1:]:
            if ":" in line:
                name, value = line.split(":", 1)
                self.headers[name.strip().lower()] = value.strip()
        self.body = bytearray()         # de-chunked; at most BODY_BYTES
        self.status = 0                 # of the answer that was sent on; 0: none
        self.answer = bytearray()       # its body, de-chunked; at most RECORD_BYTES
        self.answer_bytes = 0           # how much of it was sent on
        self.abandoned = False          # the client left before the end
        self.held = False               # waits here at this moment
        self.done = False

    def text(self):
        """The body as sent by the program, inflated when it came with gzip."""
        data = bytes(self.body)
        if self.headers.get("content-encoding") == "gzip":
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                pass
        return data.decode("latin-1")

    def command(self):
        """The v2 command: ls-refs, fetch, or nothing."""
        for name in ("ls-refs", "fetch", "object-info"):
            if "command=" + name in self.text():
                return name
        return ""

    def matches(self, match):
        return match in self.head.decode("latin-1") or match in self.text()

    def __repr__(self):
        return "<%s %s %s -> %d, %d bytes>" % (self.method, self.target, self.command(), self.status, self.answer_bytes)


class Rule:
    def __init__(self, kind, match="", after=0, rate=0, status=0, headers=(), body=b"", times=None):
        self.kind, self.match, self.after, self.rate = kind, match, after, rate
        self.status, self.headers, self.body = status, headers, body
        self.left = times               # how many requests it is still for; None: any number
        self.released = threading.Event()


class Gone(Exception):
    """One side closed its connection."""


class Stream:
    """A socket with a buffer: lines, heads, and bodies cut where HTTP says."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.total = 0

    def fill(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Gone
        self.total += len(data)
        self.buffer += data

    def until(self, mark):
        while mark not in self.buffer:
            self.fill()
        end = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    def some(self, limit):
        if not self.buffer:
            self.fill()
        data, self.buffer = self.buffer[:limit], self.buffer[limit:]
        return data

    def exactly(self, count):
        while count:
            piece = self.some(count)
            count -= len(piece)
            yield piece

    def body(self, headers, to_the_end=False):
        """Yield (bytes on the wire, bytes of content) until the message ends."""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            while True:
                line = self.until(b"\r\n")
                size = int(line.split(b";")[0], 16)
                yield line, b""
                if size == 0:
                    while True:
                        line = self.until(b"\r\n")
                        yield line, b""
                        if line == b"\r\n":
                            return
                for piece in self.exactly(size):
                    yield piece, piece
                yield self.until(b"\r\n"), b""
        elif "content-length" in headers:
            for piece in self.exactly(int(headers["content-length"])):
                yield piece, piece
        elif to_the_end:
            while True:
                try:
                    piece = self.some(65536)
                except Gone:
                    return
                yield piece, piece


def without(head, name):
    """A head without one of its headers."""
    if not name:
        return head
    lines = head.split(b"\r\n")
    return b"\r\n".join(l for l in lines if not l.lower().startswith(name.lower().encode() + b":"))


def parse_headers(head):
    return Request(head).headers


class FaultProxy:
    def __init__(self, upstream_port):
        self.upstream_port = upstream_port
        self.port = free_port()
        self.lock = threading.Lock()
        self.requests = []
        self.connections = 0            # accepted so far
        self.bytes_in = 0               # from weir, so far
        self.bytes_out = 0              # to weir, so far
        self.rule = Rule("pass")
        self.listener = None
        self.open_sockets = set()
        self.stuffing = []
        self.drop_header = ""           # name of a request header that is lost on its way to the upstream
        self._listen()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    # What the weather is

    def pass_all(self):
        self._set(Rule("pass"))

    def refuse(self):
        """Nobody listens here any more, and what was open is cut."""
        self._set(Rule("refuse"))
        self._close_listener()
        self._cut_all()

    def unreachable(self):
        """Connections are not even accepted: the handshake is never answered (a backlog stuffed to the brim)."""
        self._set(Rule("refuse"))
        self._close_listener()
        self._cut_all()
        self.listener = self._bind(backlog=0)
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", self.port))
            self.stuffing.append(s)

    def black_hole(self, match=""):
        """Connections are accepted and requests read, but nothing is ever answered."""
        self._set(Rule("black_hole", match))

    def hold(self, after=None, match=""):
        """Stop matching answers after so many bytes of their body (None: before the request goes on) until release()."""
        self._set(Rule("hold", match, after))

    def release(self):
        """Let go on what hold() stopped, and hold no more."""
        self.pass_all()

    def cut(self, after=0, match=""):
        """Close the connection after so many bytes of the answer's body."""
        self._set(Rule("cut", match, after))

    def lose_answer(self, match="", times=None):
        """The request reaches the upstream, which does what it says; of its answer nothing comes back."""
        self._set(Rule("lose_answer", match, times=times))

    def hold_answer(self, match=""):
        """The request reaches the upstream, which does what it says; its answer waits here until release()."""
        self._set(Rule("hold_answer", match))

    def cut_upload(self, after=0, match="", times=None):
        """Close the connection after so many bytes of the request's body; the upstream sees nothing of it. `match`
        looks at heads alone."""
        self._set(Rule("cut_upload", match, after, times=times))

    def shorten(self, after, match=""):
        """End the answer after so many bytes of its body, with a perfectly proper HTTP ending."""
        self._set(Rule("shorten", match, after))

    def corrupt(self, at, match=""):
        """Turn over the bits of one byte of the answer's body."""
        self._set(Rule("corrupt", match, at))

    def slow(self, bytes_per_second, match=""):
        self._set(Rule("slow", match, rate=bytes_per_second))

    def answer(self, status, headers=(), body=b"answered by the proxy\n", match="", times=None):
        """Answer with a fixed status instead of asking the upstream (so many times)."""
        self._set(Rule("answer", match, status=status, headers=headers, body=body, times=times))

    # What passed

    def seen(self, match="", method="", command=""):
        """The requests so far that contain `match`, newest last."""
        with self.lock:
            requests = list(self.requests)
        return [r for r in requests if (not method or r.method == method) and (not match or r.matches(match))
                and (not command or r.command() == command)]

    def count(self, match="", method="", command=""):
        return len(self.seen(match, method, command))

    def held(self):
        return sum(1 for r in self.seen() if r.held)

    def wait_held(self, count=1):
        wait_until(lambda: self.held() >= count, what="%d request(s) held at the upstream's door" % count)

    def forget(self):
        with self.lock:
            self.requests = []

    def objects_sent(self):
        """How many git objects all the packs held that went through here, whole or in part."""
        return sum(packs_in(bytes(r.answer)) for r in self.seen("git-upload-pack", "POST"))

    # The machinery

    def _set(self, rule):
        with self.lock:
            old, self.rule = self.rule, rule
        old.released.set()
        for s in self.stuffing:
            s.close()
        if self.stuffing:
            self.stuffing = []
            self._close_listener()
        if rule.kind != "refuse" and not self.listener:
            self._listen()

    def _bind(self, backlog):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", self.port))
        s.listen(backlog)
        return s

    def _listen(self):
        self.listener = self._bind(512)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _close_listener(self):
        if self.listener:
            try:
                self.listener.shutdown(socket.SHUT_RDWR)    # wakes the thread in accept()
            except OSError:
                pass
            self.listener.close()
            self.listener = None

    def _cut_all(self):
        with self.lock:
            sockets, self.open_sockets = self.open_sockets, set()
        for s in sockets:
            try:
                self._reset(s)
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.rule.released.set()
        for s in self.stuffing:
            s.close()
        self._close_listener()
        self._cut_all()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
                self.open_sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        client = Stream(sock)
        client.server = None            # the upstream's end, once there is one
        try:
            while True:
                request = Request(client.until(b"\r\n\r\n"))
                with self.lock:
                    self.requests.append(request)
                if not self._one(client, request):
                    break
        except (Gone, OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.open_sockets.discard(sock)
                self.bytes_in += client.total
            sock.close()
            if client.server:
                client.server.sock.close()

    def _one(self, client, request):
        """Pass one request and its answer; False when the connection is to be closed after it."""
        wants_continue = request.headers.get("expect", "").lower() == "100-continue"
        wire = []
        rule = self.rule
        if rule.kind == "cut_upload":
            if request.matches(rule.match) and self._use(rule):
                self._cut_upload(client, request, rule)
                return False
            rule = Rule("pass")
        if rule.kind != "pass":         # a rule may look into the body, so that has to come first
            if wants_continue:
                self._send(client, b"HTTP/1.1 100 Continue\r\n\r\n", request)
            for raw, data in client.body(request.headers):
                wire.append(raw)
                request.body += data[:BODY_BYTES - len(request.body)]
            if not request.matches(rule.match) or not self._use(rule):
                rule = Rule("pass")
        if rule.kind == "refuse":
            return False
        if rule.kind == "black_hole":
            self._watch(client, request, rule)
            return False
        if rule.kind == "answer":
            return self._answer(client, request, rule)
        if rule.kind == "hold" and rule.after is None:
            self._watch(client, request, rule)
            if self.rule.kind == "refuse":      # that is why it was let go
                return False
            rule = Rule("pass")
        if client.server and select.select([client.server.sock], [], [], 0)[0]:
            client.server.sock.close()      # an idle connection that the upstream has closed meanwhile
            client.server = None
        if not client.server:
            client.server = Stream(socket.create_connection(("127.0.0.1", self.upstream_port)))
        server = client.server
        server.sock.sendall(without(request.head, self.drop_header) + b"".join(wire))
        if rule.kind == "pass" and not wire:
            pump = threading.Thread(target=self._pump, args=(client, server, request), daemon=True)
            pump.start()
        else:
            pump = None
        keep = self._give(client, server, request, rule)
        if pump:
            pump.join()
        request.done = True
        return keep

    def _use(self, rule):
        """Is this rule for one more request?"""
        with self.lock:
            if rule.left is not None:
                rule.left -= 1
            return rule.left is None or rule.left >= 0

    def _cut_upload(self, client, request, rule):
        if request.headers.get("expect", "").lower() == "100-continue":
            self._send(client, b"HTTP/1.1 100 Continue\r\n\r\n", request)
        for _, data in client.body(request.headers):
            request.body += data
            if len(request.body) >= rule.after:
                break
        self._reset(client.sock)

    def _reset(self, sock):
        """An end that the other side cannot take for a proper one."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _pump(self, client, server, request):
        try:
            for raw, data in client.body(request.headers):
                server.sock.sendall(raw)
                request.body += data[:BODY_BYTES - len(request.body)]
        except (Gone, OSError):
            request.abandoned = not request.done
            try:
                server.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _answer(self, client, request, rule):
        head = "HTTP/1.1 %d Because\r\nContent-Length: %d\r\n" % (rule.status, len(rule.body))
        for name, value in rule.headers:
            head += "%s: %s\r\n" % (name, value)
        if not any(name.lower() == "content-type" for name, _ in rule.headers):
            head += "Content-Type: text/plain\r\n"
        request.status = rule.status
        self._send(client, head.encode() + b"\r\n" + (b"" if request.method == "HEAD" else rule.body), request)
        request.done = True
        return True

    def _give(self, client, server, request, rule):
        """Send the upstream's answer on, with the rule's fault."""
        while True:
            head = server.until(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if status >= 200:
                break
            self._send(client, head, request)       # 100 Continue and the like
        headers = parse_headers(head)
        request.status = status
        bodiless = request.method == "HEAD" or status in (204, 304)
        pieces = () if bodiless else server.body(headers, to_the_end=True)
        if rule.kind == "lose_answer":
            for _ in pieces:            # it was meant, whole
                pass
            self._reset(client.sock)
            return False
        if rule.kind == "hold_answer":
            self._watch(client, request, rule)
            if self.rule.kind == "refuse":      # that is why it was let go
                self._reset(client.sock)
                return False
        if rule.kind == "shorten":
            content = b"".join(data for _, data in pieces)[:rule.after]
            lines = [l for l in head.split(b"\r\n") if l and not l.lower().startswith((b"content-length",
                     b"transfer-encoding", b"connection"))]
            head = b"\r\n".join(lines) + b"\r\nContent-Length: %d\r\n\r\n" % len(content)
            pieces = [(content, content)]
        self._send(client, head, request)
        passed = 0
        for raw, data in pieces:
            if data and rule.kind == "corrupt" and passed <= rule.after < passed + len(data):
                at = rule.after - passed
                raw = data = data[:at] + bytes([data[at] ^ 0xff]) + data[at + 1:]
            if data and rule.kind in ("cut", "hold") and passed + len(data) > rule.after and not rule.released.is_set():
                keep = max(0, rule.after - passed)
                self._send(client, data[:keep], request, keep)
                passed += keep
                if rule.kind == "cut":
                    return False
                self._watch(client, request, rule)
                raw = data = data[keep:]
            if rule.kind == "slow":
                for i in range(0, len(raw), 1024):
                    self._send(client, raw[i:i + 1024], request)
                    rule.released.wait(len(raw[i:i + 1024]) / rule.rate)
            else:
                self._send(client, raw, request)
            passed += len(data)
            request.answer_bytes += len(data)
            request.answer += data[:RECORD_BYTES - len(request.answer)]
        return bodiless or "content-length" in parse_headers(head) or "chunked" in headers.get("transfer-encoding", "")

    def _send(self, client, data, request, recorded=0):
        if recorded:
            request.answer_bytes += recorded
            request.answer += data[:recorded]
        try:
            client.sock.sendall(data)
        except OSError:
            request.abandoned = True
            raise Gone from None
        with self.lock:
            self.bytes_out += len(data)

    def _watch(self, client, request, rule):
        """Keep a request waiting until its rule is gone; notice when the client leaves meanwhile."""
        request.held = True
        try:
            while not rule.released.is_set():
                readable, _, _ = select.select([client.sock], [], [], 0.02)
                if readable and not client.sock.recv(1, socket.MSG_PEEK):
                    raise OSError
                if readable:
                    rule.released.wait(0.02)
        except (OSError, ValueError):
            request.abandoned = True
            raise Gone from None
        finally:
            request.held = False
