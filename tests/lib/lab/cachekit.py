"""A cache before an upstream that says any bytes, and answers that tell what the cache did.

    cache.origin.tell("/a", reply("one", "Cache-Control: max-age=60"))
    assert cache.get("/a").text == "one"
    assert cache.get("/a").hit and cache.origin.count("/a") == 1

The daemon's clock is not touched: what should be old comes with an `Age` or a `Date` that says so.
"""

import contextlib
import http.client
import itertools
import re
import threading
import time

from .daemon import merge
from .mirror import NAME, Mirror, named, options_of_a_mirror
from .origin import Origin, http_date
from .wait import wait_until
from .wire import Raw


def when(seconds=0):
    """An HTTP date so many seconds from now."""
    return http_date(time.time() + seconds)


def reply(body=b"", *lines, status=200, date=0, framing="length"):
    """The bytes of an answer. date: seconds from now, None for none; framing: length, chunked, close, none."""
    data = body.encode() if isinstance(body, str) else body
    head = ["HTTP/1.1 %d Because" % status, *lines]
    if date is not None:
        head.append("Date: " + when(date))
    if status in (204, 304):
        data = b""
    elif framing == "length":
        head.append("Content-Length: %d" % len(data))
    elif framing == "chunked":
        head.append("Transfer-Encoding: chunked")
        data = b"".join(b"%x\r\n%s\r\n" % (len(data[i:i + 1000]), data[i:i + 1000]) for i in range(0, len(data), 1000))
        data += b"0\r\n\r\n"
    elif framing == "close":
        head.append("Connection: close")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + data


def version(body, etag, *lines, date=0, modified=None):
    """A resource with validators: 304 for who has it already, else all of it. Either may be None."""
    dated = when(modified) if modified is not None else None
    own = (["ETag: " + etag] if etag else []) + (["Last-Modified: " + dated] if dated else []) + list(lines)

    def answer(request):
        has = request.headers.get("if-none-match")
        same = etag in has if has and etag else dated is not None and request.headers.get("if-modified-since") == dated
        return reply(b"" if same else body, *own, status=304 if same else 200, date=date)
    return answer


CUT = (http.client.HTTPException, ConnectionError)      # not: silence until the client gives up


class Teller(Origin):
    """An Origin that can be told what to say to the byte."""

    def __init__(self):
        self.tales = {}                 # (method or "", path or target) -> what is said, in order; the last repeats
        super().__init__()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def tell(self, path, *told, method=""):
        """Each of told is bytes, an iterable of them (the connection ends after it), or a function of the request that
        returns one. Of bytes a HEAD gets the head."""
        with self.lock:
            self.tales[method, path] = list(told)

    def _tale(self, request):
        with self.lock:
            for key in itertools.product((request.method, ""), (request.target, request.path)):
                tale = self.tales.get(key)
                if tale:
                    return tale.pop(0) if len(tale) > 1 else tale[0]
        return None

    def _answer(self, sock, request):
        tale = self._tale(request)
        if tale is None:
            return super()._answer(sock, request)
        gate = self.gates.get(request.path)
        if gate:
            gate.arrived += 1
            gate.opened.wait(120)
        if callable(tale):
            tale = tale(request)
        if not isinstance(tale, bytes):
            for piece in tale:
                sock.sendall(piece)
            return False
        head, mark, body = tale.partition(b"\r\n\r\n")
        sock.sendall(head + mark + (b"" if request.method == "HEAD" else body))
        found = re.match(rb"HTTP/1.1 (\d+)", head)
        request.status = int(found[1]) if found else 0
        return b"connection: close" not in head.lower()


def cache_status(headers, name="weir"):
    """Parameters of our member of Cache-Status (RFC 9211), which is the last; {} when there is none."""
    members = re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', headers.get("cache-status", ""))
    if not members or not re.fullmatch(name, members[-1].split(";")[0].strip()):
        return {}
    out = {}
    for parameter in members[-1].split(";")[1:]:
        key, _, value = parameter.strip().partition("=")
        out[key] = int(value) if re.fullmatch(r"-?\d+", value) else value.strip('"') or True
    return out


class Cache(Mirror):
    """A mirror with no proxy before its upstream, which is a Teller."""

    def __init__(self, site, mirrors=(), weir=None, **options):
        """mirrors: options of further ones, each with its name: see on()."""
        self.server = self.door = self.origin = Teller()
        self.name = NAME
        site.mirrors.append(self)
        every = [merge(options_of_a_mirror(self.origin), options)]
        every += [merge(options_of_a_mirror(self.origin, more["name"]), more) for more in mirrors]
        self.weir = site.start_weir(**dict(weir or {}, mirror=every))

    def on(self, name):
        """A client of another mirror of the same origin."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__, name=name)
        return view

    @property
    def port(self):
        return self.weir.ports[self.name]

    def ask(self, method, path, body=None, headers=None, timeout=30):
        data = body.encode() if isinstance(body, str) else body
        answer = self.weir.ask(method, path, headers, data, timeout, self.name)
        answer.cache = cache_status(answer.headers)
        answer.hit = "hit" in answer.cache
        return answer

    def store(self, path):
        """Has something stored: what is large may still be on its way to the disk when its reader has all of it."""
        answer = self.get(path)
        wait_until(lambda: self.get(path, cache_control="only-if-cached, max-stale").status != 504, what="it is stored")
        return answer

    def is_cut(self, path, **headers):
        """Whether the answer to a GET visibly fails: an error status, or an end of the connection before the body's."""
        try:
            return self.ask("GET", path, None, named(headers)).status >= 500
        except CUT:
            return True

    def asked(self, path):
        """How often the origin was asked for this, by whatever method."""
        return self.origin.count(path)

    def raw(self, path, *lines, method="GET", version="1.1"):
        """A bare connection on which this was asked."""
        head = ["%s %s HTTP/%s" % (method, path, version), "Host: 127.0.0.1", *lines]
        return Raw(self.port).send("\r\n".join(head) + "\r\n\r\n")

    def together(self, count, ask):
        """What ask(i) gives (or raises) for each i, all at once."""
        out = [None] * count

        def one(i):
            try:
                out[i] = ask(i)
            except (http.client.HTTPException, OSError, AssertionError) as e:
                out[i] = e

        threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        return out

    # The weather

    @contextlib.contextmanager
    def offline(self):
        """Upstream is not reached, by the operator's switch; what is served now comes from the cache."""
        self.weir.switch_upstream(False, self.name)
        try:
            yield
        finally:
            self.weir.switch_upstream(True, self.name)
            self.weir.wait_upstream("up", self.name)

    def settle(self):
        """Wait for an end of what a story's errors did to the breaker."""
        wait_until(lambda: self.weir.upstream(self.name)["state"] in ("up", "unknown"), what="%s is up" % self.name)

    def go_offline(self):
        self.origin.kill()
        self.get("/weather-check")
        self.weir.wait_upstream("down", self.name)

    def come_back(self):
        self.origin.start()
        self.weir.wait_upstream("up", self.name)

    def reports(self):
        return [("what reached the upstream", "\n".join(map(repr, self.origin.seen()[-60:])))]

    def let_go(self):
        for gate in list(self.origin.gates.values()):
            gate.open()

    def close(self):
        self.origin.close()
