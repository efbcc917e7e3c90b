"""Speaking to weir without git: pkt-lines, requests by http.client, and bytes on a bare socket."""

import base64
import http.client
import socket
import ssl

FLUSH, DELIM, END = b"0000", b"0001", b"0002"
V2 = {"Git-Protocol": "version=2"}
POST_V0 = {"Content-Type": "application/x-git-upload-pack-request"}
POST_V2 = dict(V2, **POST_V0)


def pkt(text):
    data = text.encode() if isinstance(text, str) else text
    return b"%04x" % (len(data) + 4) + data


def pkts(data):
    """Cut pkt-lines: a list of bytes, with None for flush, delimiter and response end. Stops where the bytes end."""
    out, at = [], 0
    while at + 4 <= len(data):
        try:
            size = int(data[at:at + 4], 16)
        except ValueError:
            break
        if size < 4:
            out.append(None)
            at += 4
            continue
        out.append(data[at + 4:at + size])
        at += size
    return out


def packs_in(answer):
    """How many objects the pack in an upload-pack answer announces; 0 when there is none."""
    stream = b"".join(p[1:] for p in pkts(answer) if p and p[:1] == b"\x01")
    at = stream.find(b"PACK\x00\x00\x00\x02")
    if at < 0 or len(stream) < at + 12:
        return 0
    return int.from_bytes(stream[at + 8:at + 12], "big")


def ls_refs(prefixes=(), object_format="sha1"):
    """The body of a v2 ls-refs command, as git sends it."""
    return (pkt("command=ls-refs\n") + pkt("agent=git/2.39.5") + pkt("object-format=" + object_format) + DELIM
            + pkt("peel\n") + pkt("symrefs\n") + b"".join(pkt("ref-prefix %s\n" % p) for p in prefixes) + FLUSH)


def fetch(wants, haves=(), object_format="sha1"):
    """The body of a v2 fetch command that is ready for the pack at once."""
    return (pkt("command=fetch") + pkt("agent=git/2.39.5") + pkt("object-format=" + object_format) + DELIM
            + pkt("thin-pack") + pkt("ofs-delta") + b"".join(pkt("want %s\n" % w) for w in wants)
            + b"".join(pkt("have %s\n" % h) for h in haves) + pkt("done\n") + FLUSH)


def fetch_v0(wants):
    """The body of a v0 clone's request."""
    first = pkt("want %s side-band-64k ofs-delta agent=git/2.39.5\n" % wants[0])
    return first + b"".join(pkt("want %s\n" % w) for w in wants[1:]) + FLUSH + pkt("done\n")


def basic(user, password):
    return "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers          # names in lower case; repeated ones joined by ", "
        self.body = body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def __repr__(self):
        return "<%d %r %r>" % (self.status, self.headers, self.body[:400])


def request(port, method, target, headers=None, body=None, timeout=30, cafile=None):
    """One request on its own connection. The target goes out as it is; Host is 127.0.0.1:port unless given."""
    if cafile:
        conn = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout,
                                           context=ssl.create_default_context(cafile=cafile))
    else:
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    headers = dict(headers or {})
    try:
        conn.putrequest(method, target, skip_host="Host" in headers, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in headers and "Transfer-Encoding" not in headers:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            conn.putheader(name, value)
        conn.endheaders(body)
        r = conn.getresponse()
        found = {}
        for name, value in r.getheaders():
            name = name.lower()
            found[name] = found[name] + ", " + value if name in found else value
        return Answer(r.status, found, r.read())
    finally:
        conn.close()


class Raw:
    """A bare connection: send any bytes, read what comes."""

    def __init__(self, port, timeout=20):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def read_until(self, mark):
        while mark not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise AssertionError("closed before %r came; got %r" % (mark, self.buffer[:400]))
            self.buffer += data
        end = self.buffer.index(mark) + len(mark)
        out, self.buffer = self.buffer[:end], self.buffer[end:]
        return out

    def read_to_end(self):
        """Everything up to the end of the connection."""
        while True:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                break
            if not data:
                break
            self.buffer += data
        out, self.buffer = self.buffer, b""
        return out

    def answer(self):
        """One answer with its body (by Content-Length); the connection stays open."""
        head = self.read_until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {k.strip().lower(): v.strip() for k, v in (l.split(":", 1) for l in lines[1:] if ":" in l)}
        want = int(headers.get("content-length", 0)) if status >= 200 else 0
        while len(self.buffer) < want:
            data = self.sock.recv(65536)
            if not data:
                raise AssertionError("closed in mid-body")
            self.buffer += data
        body, self.buffer = self.buffer[:want], self.buffer[want:]
        return Answer(status, headers, body)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
