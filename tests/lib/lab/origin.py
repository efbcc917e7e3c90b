"""An upstream that does what a story says: a store of resources with validators, and scripted answers before it.

    origin.put("/a.txt", "one")                      somebody at headquarters writes
    origin.say("/a.txt", 500, times=2)               the next two requests for it get this, whatever the method
    origin.say("/a.txt", 400, method="PUT")          every PUT gets this until unsay()
    origin.cut("/a.txt", "after")                    it is done, and the connection ends without an answer
    with origin.hold("/a.txt") as gate: ...          requests wait at the gate; gate.wait_arrived(2); leaving opens it
    origin.seen("/a.txt", "PUT")                     what arrived, in order, with headers and bodies
    origin.applied("/a.txt")                         what was done to it, in order

Requests without a script are served from the store: GET and HEAD with ETag, Last-Modified, 304 and ranges; PUT and
DELETE judged by the preconditions named in `honours`; POST and PATCH kept in `applied`. It speaks HTTP/1.1, one thread
for each connection.
"""

import email.utils
import socket
import struct
import threading

from .faults import Gone, Stream
from .wait import free_port, wait_until

START = 1767348245                  # 2026-01-02T10:04:05Z; each change is a second younger than the one before
REASONS = {200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 304: "Not Modified"}


def http_date(seconds):
    return email.utils.formatdate(seconds, usegmt=True)


class Seen:
    """One request as it arrived, and the status that it got (0: none)."""

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.head = head.decode("latin-1")
        self.method, self.target = lines[0].split(" ")[:2]
        self.path = self.target.split("?")[0]
        self.lines = [tuple(part.strip() for part in l.split(":", 1)) for l in lines[1:] if ":" in l]
        self.headers = {}
        for name, value in self.lines:
            name = name.lower()
            self.headers[name] = self.headers[name] + ", " + value if name in self.headers else value
        self.body = b""
        self.whole = False              # the body came to its end
        self.status = 0

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def __repr__(self):
        return "<%s %s %r -> %d>" % (self.method, self.target, self.body[:40], self.status)


class Resource:
    def __init__(self, content, etag, modified, headers=()):
        self.content, self.etag, self.modified, self.headers = content, etag, modified, dict(headers)


class Script:
    """What a request gets instead of the store's answer."""

    def __init__(self, status=0, headers=(), body=b"", cut="", times=None, apply=False):
        self.status, self.headers = status, list(dict(headers).items())
        self.cut, self.left, self.apply = cut, times, apply
        self.body = body.encode() if isinstance(body, str) else body


class Gate:
    """Requests wait here until it opens."""

    def __init__(self):
        self.opened = threading.Event()
        self.arrived = 0

    def wait_arrived(self, count=1):
        wait_until(lambda: self.arrived >= count, what="%d request(s) at the gate" % count)

    def open(self):
        self.opened.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.open()


class Origin:
    def __init__(self):
        self.lock = threading.RLock()
        self.store = {}
        self.requests = []
        self.changes = []               # (method, path, body, headers) of each write that was done, in order
        self.scripts = {}               # (method or "", path) -> scripts, the first is next
        self.gates = {}
        self.honours = {"if-match", "if-none-match", "if-unmodified-since"}
        self.tags = "strong"            # or "weak", "none": what ETags are like
        self.answers_tag = True         # whether answers to a PUT carry the ETag
        self.dates = True               # whether there is a Last-Modified
        self.clock = START
        self.serial = 0
        self.connections = 0
        self.sockets = set()
        self.listener = None
        self.port = free_port()
        self.start()

    # Life

    def start(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", self.port))
        s.listen(512)
        self.listener = s
        threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    def kill(self):
        if self.listener:
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            self.listener = None
        with self.lock:
            sockets, self.sockets = self.sockets, set()
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        with self.lock:
            for gate in self.gates.values():
                gate.open()
        self.kill()

    # What is there, as somebody else at headquarters sees and changes it

    def put(self, path, content, **headers):
        """Headers by keyword, with underscores: cache_control="max-age=60"."""
        data = content.encode() if isinstance(content, str) else content
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.lock:
            self.serial += 1
            self.clock += 1
            tag = {"strong": '"v%d"', "weak": 'W/"v%d"', "none": ""}[self.tags]
            old = self.store.get(path)
            self.store[path] = Resource(data, tag % self.serial if tag else "", self.clock,
                                        more or (old.headers if old else {}))
        return self.store[path]

    def remove(self, path):
        with self.lock:
            return self.store.pop(path, None)

    def read(self, path):
        found = self.store.get(path)
        return found.content if found else None

    def text(self, path):
        data = self.read(path)
        return None if data is None else data.decode()

    # The script

    def say(self, path, status, headers=(), body=b"", method="", times=None):
        """times: for so many requests; the next say() of the path comes after those. Nothing is done to the store."""
        self._script(method, path, Script(status, headers, body, times=times))

    def cut(self, path, when, method="", times=None):
        """End the connection without an answer: `before` the store has heard of it, or `after` it was done."""
        self._script(method, path, Script(cut=when, times=times, apply=when == "after"))

    def _script(self, method, path, script):
        with self.lock:
            queue = self.scripts.setdefault((method, path), [])
            if script.left is None:
                queue[:] = [s for s in queue if s.left is not None]     # the old rest of time makes way for the new
            queue.append(script)

    def unsay(self, path=None):
        with self.lock:
            for key in [k for k in self.scripts if path in (None, k[1])]:
                del self.scripts[key]

    def hold(self, path):
        with self.lock:
            gate = self.gates[path] = Gate()
        return gate

    # What happened

    def seen(self, path=None, method=""):
        with self.lock:
            return [r for r in self.requests if path in (None, r.path, r.target) and (not method or r.method == method)]

    def count(self, path=None, method=""):
        return len(self.seen(path, method))

    def applied(self, path=None, method=""):
        """Bodies (for DELETE: None) of the writes that were done, in order."""
        with self.lock:
            return [body for m, p, body, _ in self.changes if path in (None, p) and (not method or m == method)]

    def forget(self):
        with self.lock:
            self.requests = []

    # The machinery

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
                self.sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        stream = Stream(sock)
        try:
            while True:
                request = Seen(stream.until(b"\r\n\r\n"))
                with self.lock:
                    self.requests.append(request)
                if request.headers.get("expect", "").lower() == "100-continue":
                    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.body = b"".join(data for _, data in stream.body(request.headers))
                request.whole = True
                if not self._answer(sock, request):
                    break
        except (Gone, OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()

    def _next_script(self, request):
        with self.lock:
            for key in ((request.method, request.path), ("", request.path)):
                queue = self.scripts.get(key, [])
                while queue and queue[0].left == 0:
                    queue.pop(0)
                if queue:
                    if queue[0].left is not None:
                        queue[0].left -= 1
                    return queue[0]
        return None

    def _answer(self, sock, request):
        """False when the connection is to end."""
        gate = self.gates.get(request.path)
        if gate:
            with self.lock:
                gate.arrived += 1
            gate.opened.wait(120)
        script = self._next_script(request)
        if script and script.status:
            status, headers, body = script.status, script.headers, script.body
        elif script and script.cut == "before":
            return self._reset(sock)
        else:
            with self.lock:
                status, headers, body = self._do(request)
            if script and script.cut == "after":
                return self._reset(sock)
        head = "HTTP/1.1 %d %s\r\nDate: %s\r\n" % (status, REASONS.get(status, "Because"),
                                                  email.utils.formatdate(usegmt=True))
        names = {name.lower() for name, _ in headers}
        if status not in (204, 304) and not names & {"content-length", "transfer-encoding"}:
            headers = [*headers, ("Content-Length", len(body))]
        head += "".join("%s: %s\r\n" % h for h in headers)
        request.status = status
        bodiless = request.method == "HEAD" or status in (204, 304)
        sock.sendall(head.encode("latin-1") + b"\r\n" + (b"" if bodiless else body))
        return "close" not in (dict(headers).get("Connection", ""), request.headers.get("connection", "").lower())

    def _reset(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def _do(self, request):
        found = self.store.get(request.path)
        if request.method in ("GET", "HEAD"):
            return self._read(request, found)
        if request.method == "OPTIONS":
            return 200, [("Allow", "GET, HEAD, PUT, DELETE, POST, PATCH, OPTIONS"), ("DAV", "1")], b""
        if request.method not in ("PUT", "DELETE", "POST", "PATCH"):
            return 501, [], b"not here\n"
        if not self._permitted(request.headers, found):
            return 412, [], b"precondition failed\n"
        if request.method == "DELETE" and not found:
            return 404, [], b"nothing here\n"
        self.changes.append((request.method, request.path, None if request.method == "DELETE" else request.body,
                             request.headers))
        if request.method == "DELETE":
            self.remove(request.path)
            return 204, [], b""
        if request.method == "POST":
            return 200, [("Content-Type", "text/plain")], b"taken\n"
        if request.method == "PATCH":
            new = self.put(request.path, (found.content if found else b"") + request.body)
        else:
            new = self.put(request.path, request.body)
        return (204 if found else 201), self._validators(new) if self.answers_tag else [], b""

    def _permitted(self, headers, found):
        tag = found.etag if found else None
        if "if-match" in headers and "if-match" in self.honours:
            wanted = [t.strip() for t in headers["if-match"].split(",")]
            if not found or ("*" not in wanted and (tag not in wanted or tag.startswith("W/"))):
                return False
        elif "if-unmodified-since" in headers and "if-unmodified-since" in self.honours:
            if found and found.modified > email.utils.parsedate_to_datetime(headers["if-unmodified-since"]).timestamp():
                return False
        if "if-none-match" in headers and "if-none-match" in self.honours:
            wanted = [t.strip().removeprefix("W/") for t in headers["if-none-match"].split(",")]
            if found and ("*" in wanted or tag.removeprefix("W/") in wanted):
                return False
        return True

    def _validators(self, resource):
        out = [("ETag", resource.etag)] if resource.etag else []
        return out + ([("Last-Modified", http_date(resource.modified))] if self.dates else [])

    def _read(self, request, found):
        if not found:
            return 404, [("Content-Type", "text/plain")], b"nothing here\n"
        headers = self._validators(found) + list(found.headers.items())
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "text/plain"))
        h = request.headers
        if "if-none-match" in h:
            same = found.etag and found.etag.removeprefix("W/") in [t.strip().removeprefix("W/")
                                                                    for t in h["if-none-match"].split(",")]
        else:
            same = self.dates and h.get("if-modified-since") == http_date(found.modified)
        if same:
            return 304, headers, b""
        in_force = h.get("if-range", found.etag) == found.etag
        if h.get("range", "").startswith("bytes=") and "," not in h["range"] and in_force:
            first, last = h["range"][6:].split("-")
            size = len(found.content)
            start = int(first) if first else max(0, size - int(last))
            end = min(int(last) if first and last else size - 1, size - 1)
            if start >= size:
                return 416, [("Content-Range", "bytes */%d" % size)], b""
            headers.append(("Content-Range", "bytes %d-%d/%d" % (start, end, size)))
            return 206, headers, found.content[start:end + 1]
        return 200, headers, found.content
