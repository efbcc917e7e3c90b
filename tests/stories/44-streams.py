"""Large bodies stream: through weir while they come, or to the disk, and never as a whole into memory.

And bytes are not touched on the way: weir transforms nothing, so what RFC 9111 asks of `no-transform` holds for all.
"""

import gzip
import hashlib
import socket
import threading

import pytest

from lab.cachekit import Cache, reply
from lab.faults import Gone, Stream
from lab.mirror import NAME
from lab.origin import Origin
from lab.wait import wait_until
from lab.wire import Raw

MIB = 1024 * 1024
LARGE = 64 * MIB
PIECE = bytes(range(256)) * 256                 # 64 KiB
MOST_MEMORY = 40                                # MiB more than before; the bodies are larger


def memory(weir):
    with open("/proc/%d/status" % weir.process.pid) as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS:"))


class Growth:
    """The most that weir's memory grew, in MiB, looked at again and again."""

    def __init__(self, weir):
        self.weir, self.before, self.most, self.over = weir, memory(weir), 0, threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        while not self.over.wait(0.01):
            self.most = max(self.most, memory(self.weir) - self.before)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Counter(Origin):
    """An origin that keeps no bodies: it counts and hashes them while they come, and sends as fast as it is let."""

    def __init__(self):
        self.got, self.hash, self.sent, self.ended = 0, hashlib.sha256(), 0, 0
        super().__init__()

    def _serve(self, sock):
        stream = Stream(sock)
        try:
            while True:
                head = stream.until(b"\r\n\r\n").decode("latin-1").lower()
                if head.startswith("put"):
                    length = int(head.split("content-length:")[1].split("\r\n")[0])
                    while self.got < length:
                        data = stream.some(65536)
                        self.hash.update(data)
                        self.got += len(data)
                    sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                elif head.startswith("get /large"):
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
                    for _ in range(LARGE // len(PIECE)):
                        sock.sendall(PIECE)
                        self.sent += len(PIECE)
                    self.ended += 1
                else:
                    sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        except (Gone, OSError):
            pass
        finally:
            sock.close()


@pytest.fixture
def mirror(site):
    return site.mirror(Counter())


def begin_put(mirror, path, length):
    raw = Raw(mirror.weir.ports[NAME], timeout=60)
    return raw.send("PUT %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (path, length))


def test_a_large_write_is_at_the_upstream_before_its_end_is_sent(mirror):
    sink, expected = mirror.server, hashlib.sha256()
    with Growth(mirror.weir) as grown:
        writer = begin_put(mirror, "/large", LARGE)
        for i in range(LARGE // len(PIECE)):
            writer.send(PIECE)
            expected.update(PIECE)
            if i == 15:                         # one of 64 MiB was sent, and no more comes until most of it is there
                wait_until(lambda: sink.got > 512 * 1024, what="the first bytes are at the upstream")
        assert writer.answer().status == 201
    assert sink.got == LARGE and sink.hash.digest() == expected.digest()
    assert grown.most < MOST_MEMORY, grown.most


def test_a_large_write_that_has_to_wait_goes_to_the_disk_as_it_comes(mirror):
    sink, expected = mirror.server, hashlib.sha256()
    mirror.go_offline()
    with Growth(mirror.weir) as grown:
        writer = begin_put(mirror, "/large", LARGE)
        for _ in range(LARGE // len(PIECE)):
            writer.send(PIECE)
            expected.update(PIECE)
        assert writer.answer().status == 202
        mirror.come_back()
        mirror.weir.wait_outbox_empty()
    assert sink.got == LARGE and sink.hash.digest() == expected.digest()
    assert grown.most < MOST_MEMORY, grown.most


def test_slow_readers_hold_neither_memory_nor_the_upstream(mirror):
    """Who does not read gets the rest from the disk; the upstream has long been done."""
    source, readers = mirror.server, []
    with Growth(mirror.weir) as grown:
        for _ in range(4):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            raw.settimeout(60)
            raw.connect(("127.0.0.1", mirror.weir.ports[NAME]))
            raw.sendall(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            readers.append(raw)
        wait_until(lambda: source.sent == LARGE * max(1, source.ended) and source.ended, limit=60,
                   what="the upstream has sent all of it, though nobody reads")
        for raw in readers:
            body, at = hashlib.sha256(), b""
            while b"\r\n\r\n" not in at:
                at += raw.recv(65536)
            data, length = at.split(b"\r\n\r\n", 1)[1], 0
            while data:
                body.update(data)
                length += len(data)
                data = raw.recv(1 << 20)
            assert length == LARGE and body.digest() == hashlib.sha256(PIECE * (LARGE // len(PIECE))).digest()
            raw.close()
    assert grown.most < MOST_MEMORY, grown.most


@pytest.mark.parametrize("more", [(), ("Cache-Control: max-age=60, no-transform",)], ids=["plain", "no-transform"])
@pytest.mark.parametrize("asks", [{}, {"accept_encoding": "gzip"}, {"accept_encoding": "identity"}],
                         ids=["nothing", "gzip", "identity"])
@pytest.mark.parametrize("size", [200, 200000])
def test_bytes_and_encodings_pass_unchanged(site, size, asks, more):
    """Compressed or not, from the upstream, from the cache, or while the upstream is away."""
    cache = Cache(site)
    plain = b"".join(b"%d " % i for i in range(size))[:size]
    packed = gzip.compress(plain) + b"\0" * 3       # as it is: nobody may make sense of it
    fields = more or ("Cache-Control: max-age=60",)
    cache.origin.tell("/packed", reply(packed, 'ETag: "v1"', "Content-Encoding: gzip", "Content-Type: text/plain", *fields))
    cache.origin.tell("/plain", reply(plain, 'ETag: "v2"', "Content-Type: image/png", *fields))
    cache.store("/packed"), cache.store("/plain")

    def look():
        for path, body, encoding, tag in (("/packed", packed, "gzip", '"v1"'), ("/plain", plain, None, '"v2"')):
            got = cache.get(path, **asks)
            assert got.body == body and got.headers.get("content-encoding") == encoding
            assert got.headers["etag"] == tag and int(got.headers["content-length"]) == len(body)
            assert "warning" not in got.headers
    look()
    with cache.offline():
        look()


@pytest.mark.parametrize("offline", [False, True])
def test_an_encoded_write_arrives_as_it_was_sent(site, offline):
    mirror = site.mirror(Origin())
    packed = gzip.compress(b"some text " * 1000) + b"\0" * 3
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain", "Cache-Control": "no-transform"}
    if offline:
        mirror.go_offline()
    assert mirror.ask("PUT", "/a", packed, headers).status == (202 if offline else 201)
    if offline:
        mirror.come_back()
        mirror.weir.wait_outbox_empty()
    sent = mirror.server.seen("/a", "PUT")[-1]
    assert sent.body == packed
    assert all(sent.headers[name.lower()] == value for name, value in headers.items())
