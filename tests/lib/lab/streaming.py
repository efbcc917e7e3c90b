"""Readers at a speed of their own, what weir has on disk, and an upstream that lies.

Hostile is an HTTP server that answers with what git upload-pack says, takes the pack out of it, damages it, and puts it
back into packets that are right in every other way.
"""

import glob
import hashlib
import http.server
import os
import struct
import subprocess
import threading

from .wait import free_port, wait_until
from .wire import FLUSH, POST_V2, Raw, packs_in, pkt, pkts

BAND_BYTES = 32 * 1024


# Answers

def pack_of_answer(body):
    """The pack in a fetch answer."""
    return b"".join(p[1:] for p in pkts(body) if p and p[:1] == b"\x01")


def has_sound_pack(body):
    """Does the pack in a fetch answer end with its own checksum?"""
    pack = pack_of_answer(body)
    return pack[:4] == b"PACK" and hashlib.sha1(pack[:-20]).digest() == pack[-20:]


def post_head(weir, name, size, more=""):
    headers = "".join("%s: %s\r\n" % item for item in POST_V2.items())
    return "POST /%s/%s/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n%s%s\r\n" % (
        weir.host, name, size, headers, more)


def unchunk(answer):
    """Head and content of a whole HTTP answer, as it came from the socket."""
    head, body = answer.split(b"\r\n\r\n", 1)
    if b"chunked" not in head.lower():
        return head, body
    out = []
    while body:
        size, body = body.split(b"\r\n", 1)
        size = int(size, 16)
        if size == 0:
            break
        out.append(body[:size])
        body = body[size + 2:]
    return head, b"".join(out)


class SlowReader:
    """A client that reads an answer at so many bytes a second until it is told to hurry."""

    STEP_S = 0.125

    def __init__(self, weir, name, body, rate=64 * 1024):
        self.raw = Raw(weir.ports["git"], timeout=60)
        self.rate = rate
        self.read = bytearray()
        self.in_haste = threading.Event()
        self.raw.send(post_head(weir, name, len(body)))
        self.raw.send(body)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                data = self.raw.sock.recv(65536 if self.in_haste.is_set() else int(self.rate * self.STEP_S))
            except OSError:
                return
            if not data:
                return
            self.read += data
            if not self.in_haste.is_set():
                self.in_haste.wait(len(data) / self.rate)

    def hurry(self, limit=40):
        """Read the rest at full speed; returns (head, content)."""
        self.in_haste.set()
        self.thread.join(limit)
        assert not self.thread.is_alive(), "the slow reader never came to the end"
        self.raw.close()
        return unchunk(bytes(self.read))


# What weir has on disk

def bare_repository(weir):
    """The folder of the one bare repository that weir holds."""
    found = [os.path.dirname(p) for p in glob.glob(os.path.join(weir.data_dir, "git", "repos", "**", "objects"), recursive=True)]
    assert len(found) == 1, found
    return found[0]


def kept_files(weir):
    return sorted(p for p in glob.glob(os.path.join(weir.data_dir, "git", "answers", "*", "*")) if os.path.isfile(p))


def holds(weir, env, oid):
    """Is this object in weir's bare repository?"""
    r = subprocess.run(["git", "-C", bare_repository(weir), "cat-file", "-e", oid], env=env, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=30, check=False)
    return r.returncode == 0


def assert_nothing_taken_in(weir, env):
    """No object, no quarantine folder, no kept answer; and what there is is sound."""
    wait_no_quarantine(weir)
    for objects in glob.glob(os.path.join(weir.data_dir, "git", "repos", "**", "objects"), recursive=True):
        assert not glob.glob(os.path.join(objects, "pack", "*.pack")), "a pack was taken in"
        assert not glob.glob(os.path.join(objects, "[0-9a-f][0-9a-f]", "*")), "loose objects were taken in"
        assert_fsck(os.path.dirname(objects), env)
    assert kept_files(weir) == [], "a refused answer was kept"


def wait_no_quarantine(weir):
    """One that is seen now may belong to a sync that is under way; one that stays does not."""
    wait_until(lambda: not glob.glob(os.path.join(weir.data_dir, "git", "repos", "**", "incoming-*"), recursive=True),
               what="every quarantine folder is gone")


def assert_fsck(folder, env):
    r = subprocess.run(["git", "-C", folder, "fsck", "--full"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=60, check=False)
    assert r.returncode == 0, r.stdout.decode("utf-8", "replace")


# Packs

def seal(pack):
    """The right checksum for these bytes of a pack."""
    return pack + hashlib.sha1(pack).digest()


def announce(pack, count):
    """A pack that says it holds so many objects, with a checksum that agrees."""
    return seal(pack[:8] + struct.pack(">I", count) + pack[12:-20])


def object_count(pack):
    return struct.unpack(">I", pack[8:12])[0]


def make_pack(repo, oids):
    """A pack of exactly these objects."""
    r = subprocess.run(["git", "-C", repo.path, "pack-objects", "-q", "--stdout"], env=repo.env, stdout=subprocess.PIPE,
                       input="".join(o + "\n" for o in sorted(oids)).encode(), check=True, timeout=60)
    return r.stdout


def pack_without(repo, missing):
    """A pack of all that the refs reach but for one object."""
    oids = {line.split(" ")[0] for line in repo.git("rev-list", "--objects", "--all").splitlines()}
    assert missing in oids
    return make_pack(repo, oids - {missing})


# The upstream that lies

class Hostile:
    """`lie`: None, or a function from the pack of an answer to the bytes that are sent instead (without their packets).
    `behind`: bytes that follow the last packet. `cut`: how many bytes of the answer are left out at its end, under a
    proper Content-Length."""

    def __init__(self, root, env):
        self.root, self.env = root, env
        self.lie, self.behind, self.cut = None, b"", 0
        self.fetches = 0
        hostile = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hostile.advertise(self)

            def do_POST(self):
                hostile.answer(self)

            def log_message(self, *args):
                pass

        self.port = free_port()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def be_honest(self):
        self.lie, self.behind, self.cut = None, b"", 0

    def upload_pack(self, handler, *args, stdin=b""):
        path = handler.path.split("?")[0].rsplit("/git-upload-pack", 1)[0].rsplit("/info/refs", 1)[0]
        path = os.path.join(self.root, path.strip("/").removesuffix(".git") + ".git")
        env = dict(self.env, GIT_PROTOCOL=handler.headers.get("Git-Protocol", ""))
        r = subprocess.run(["git", "upload-pack", *args, path], input=stdin, env=env, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, timeout=60, check=False)
        return r.stdout

    def advertise(self, handler):
        body = self.upload_pack(handler, "--http-backend-info-refs")
        if "version=2" not in handler.headers.get("Git-Protocol", ""):
            body = pkt("# service=git-upload-pack\n") + FLUSH + body
        self.send(handler, "advertisement", body)

    def answer(self, handler):
        command = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        body = self.upload_pack(handler, "--stateless-rpc", stdin=command)
        if packs_in(body):
            self.fetches += 1
            body = self.disguise(body)
        self.send(handler, "result", body)

    def disguise(self, body):
        if self.lie:
            pack = self.lie(pack_of_answer(body))
            before = body[:body.index(b"packfile\n") + len(b"packfile\n")] if b"packfile\n" in body else pkt("NAK\n")
            bands = [pkt(b"\x01" + pack[i:i + BAND_BYTES]) for i in range(0, len(pack), BAND_BYTES)]
            body = before + b"".join(bands) + FLUSH
        body += self.behind
        return body[:len(body) - self.cut]

    def send(self, handler, kind, body):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-git-upload-pack-" + kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
