"""The disk is full, or fails: a write that cannot be kept is refused whole, everything else goes on, and when
there is space again weir takes writes again by itself.

The full disk is a small tmpfs. A failing one is made by strace, which answers weir's syncs with EIO in its stead.
"""

import http.client
import os
import resource
import shutil
import subprocess
import threading
import time

import pytest

from lab.origin import Origin
from lab.wait import wait_until


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root")
    where = str(tmp_path / "small")
    os.makedirs(where)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "weir-story", where], check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


@pytest.fixture
def mirror(small_disk, site):
    mirror = site.mirror(Origin(), weir={"data_dir": os.path.join(small_disk, "data")}, disk={"max": "4MiB"})
    mirror.disk = small_disk
    mirror.server.put("/read.txt", "read before", cache_control="max-age=3600")
    assert mirror.get("/read.txt").status == 200
    yield mirror
    mirror.let_go()
    mirror.weir.finish()                # before the disk goes
    mirror.weir.expect_alive = False


def fill_up(disk):
    """Not a byte is left."""
    with open(os.path.join(disk, "filler"), "wb", buffering=0) as f:
        size = 1 << 20
        while size:
            try:
                if f.write(b"x" * size) < size:
                    size //= 2
            except OSError:
                size //= 2


def make_space(disk):
    os.unlink(os.path.join(disk, "filler"))


def assert_refused(mirror, path, body):
    answer = mirror.put(path, body)
    assert answer.status == 507, answer
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "weir-outbox-id" not in answer.headers


@pytest.mark.parametrize("size", [20, 40000, 300000], ids=["tiny", "in the record", "as a file"])
def test_a_write_that_finds_no_space_is_refused_whole(mirror, size):
    weir = mirror.weir
    mirror.go_offline()
    kept = mirror.queue("PUT", "/kept", "kept before")
    files = weir.outbox_bodies()
    fill_up(mirror.disk)
    for i in range(3):
        assert_refused(mirror, "/refused/%d" % i, b"y" * size)
    assert weir.metric("weir_outbox_refused_total", service="files", reason="disk") >= 3
    assert [e["id"] for e in weir.outbox()] == [kept] and weir.outbox_bodies() == files
    assert mirror.get("/kept").text == "kept before" and mirror.get("/read.txt").text == "read before"
    assert mirror.get("/refused/1").status == 504               # nothing is seen of it
    assert weir.ask("GET", "/livez", service="admin").status == 200

    make_space(mirror.disk)
    later = wait_until(lambda: (lambda a: a.headers["weir-outbox-id"] if a.status == 202 else None)(
        mirror.put("/later", b"z" * size)), what="it takes writes again, by itself")
    mirror.come_back()
    weir.wait_outbox_empty()
    assert weir.entry(later)["state"] == "applied"
    assert {p for _, p, _, _ in mirror.server.changes} == {"/kept", "/later"}


def test_the_disk_fills_up_while_large_bodies_come(mirror):
    mirror.go_offline()
    answers = [mirror.put("/%d" % i, b"x" * (3 << 20)) for i in range(10)]
    taken = [i for i, a in enumerate(answers) if a.status == 202]
    assert {a.status for a in answers} == {202, 507} and taken
    assert len(mirror.weir.outbox()) == len(taken)
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert sorted(p for _, p, _, _ in mirror.server.changes) == sorted("/%d" % i for i in taken)
    assert mirror.put("/again", b"x" * (3 << 20)).status == 201
    mirror.go_offline()
    mirror.queue("PUT", "/once-more", b"x" * (3 << 20))         # applied ones have given their space back


def test_the_cache_gives_way_to_a_write(small_disk, site):
    """What can be fetched again makes room for what cannot (invariant 7)."""
    mirror = site.mirror(Origin(), weir={"data_dir": os.path.join(small_disk, "data")})
    for i in range(14):     # twice what the disk holds
        mirror.server.put("/%d" % i, b"x" * (3 << 20), cache_control="max-age=3600")
        assert len(mirror.get("/%d" % i).body) == 3 << 20
    assert mirror.weir.log_has("cache_gave_way")
    for i in range(6):
        assert len(mirror.get("/%d" % i).body) == 3 << 20
    wait_until(lambda: mirror.weir.metric("weir_cache_bytes", service="files") > (12 << 20), what="the disk is full of cache")
    mirror.go_offline()
    answer = wait_until(lambda: (lambda a: a if a.status == 202 else None)(mirror.put("/ours", b"y" * (14 << 20))),
                        what="the write is taken")
    assert mirror.get("/ours").body == b"y" * (14 << 20)
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.weir.entry(answer.headers["weir-outbox-id"])["state"] == "applied"
    mirror.let_go()
    mirror.weir.finish()
    mirror.weir.expect_alive = False


def test_what_waits_is_delivered_though_the_disk_is_full(mirror):
    """Its end may have to be written down later; then it may be sent twice, which does no harm to a PUT."""
    weir, origin = mirror.weir, mirror.server
    mirror.go_offline()
    for i in range(5):
        mirror.queue("PUT", "/%d" % i, "content %d" % i)
    fill_up(mirror.disk)
    mirror.come_back()
    wait_until(lambda: all(origin.text("/%d" % i) == "content %d" % i for i in range(5)), what="all have arrived")
    make_space(mirror.disk)
    weir.wait_outbox_empty()
    assert weir.outbox_count("applied") == 5


def test_weir_starts_on_a_full_disk_and_delivers(mirror):
    weir, origin = mirror.weir, mirror.server
    mirror.go_offline()
    mirror.queue("PUT", "/a", "ours")
    weir.stop()
    fill_up(mirror.disk)
    try:
        weir.restart()
    except AssertionError:              # it may say that it cannot: in a sentence, and nothing is lost
        assert "space" in weir.whole_log() or "full" in weir.whole_log()
        make_space(mirror.disk)
        weir.restart()
    else:
        make_space(mirror.disk)
    mirror.come_back()
    weir.wait_outbox_empty()
    assert origin.text("/a") == "ours"


def test_limits_of_the_queue_are_said_before_anything_is_kept(site):
    mirror = site.mirror(Origin(), outbox={"max_entries": 3, "max_bytes": "64KiB", "max_body": "60KiB"})
    weir = mirror.weir
    mirror.go_offline()
    too_large = mirror.put("/large", b"x" * (60 * 1024 + 1))
    assert too_large.status == 413 and too_large.headers["content-type"].startswith("application/problem+json")
    mirror.queue("PUT", "/a", b"x" * (60 * 1024))
    full = mirror.put("/b", b"x" * (10 * 1024))
    assert full.status == 507 and "max_bytes" in full.text
    mirror.queue("PUT", "/c", "small")
    mirror.queue("PUT", "/d", "small")
    full = mirror.put("/e", "small")
    assert full.status == 507 and "max_entries" in full.text
    assert [e["raw_uri"] for e in weir.outbox()] == ["/a", "/c", "/d"]
    assert mirror.get("/e").status == 504 and mirror.get("/c").text == "small"
    mirror.come_back()
    weir.wait_outbox_empty()
    assert mirror.put("/large", b"x" * (60 * 1024 + 1)).status == 201       # no limit for what passes straight through
    mirror.go_offline()
    mirror.queue("PUT", "/f", "there is room again")


def test_a_chunked_body_above_the_limit_is_refused_too(site):
    mirror = site.mirror(Origin(), outbox={"max_body": "10KiB"})
    mirror.go_offline()
    body = b"".join(b"%x\r\n%s\r\n" % (1000, b"x" * 1000) for _ in range(20)) + b"0\r\n\r\n"
    answer = mirror.ask("PUT", "/a", body, {"Transfer-Encoding": "chunked"})
    assert answer.status == 413 and mirror.weir.outbox() == [] and mirror.weir.outbox_bodies() == []


# A disk that fails

class FailingSyncs:
    """While it lasts, every fsync and fdatasync of weir is answered with EIO."""

    def __init__(self, weir):
        self.weir = weir

    def __enter__(self):
        self.strace = subprocess.Popen(
            ["strace", "-f", "-q", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-o",
             os.path.join(self.weir.dir, "strace.log"), "-p", str(self.weir.process.pid)], stderr=subprocess.PIPE)
        threads = "/proc/%d/task" % self.weir.process.pid
        wait_until(lambda: self.strace.poll() is not None
                   or all(traced(os.path.join(threads, t)) for t in os.listdir(threads)), what="strace holds all of it")
        if self.strace.poll() is not None:
            pytest.skip("strace may not attach here: " + self.strace.stderr.read().decode("utf-8", "replace"))
        return self

    def __exit__(self, *_):
        self.strace.terminate()
        self.strace.wait()
        self.strace.stderr.close()


def traced(thread):
    try:
        with open(os.path.join(thread, "status")) as f:
            return any(l.startswith("TracerPid:") and l.split()[1] != "0" for l in f)
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_sync_that_fails_is_never_taken_for_done(site):
    mirror = site.mirror(Origin())
    weir, origin = mirror.weir, mirror.server
    mirror.go_offline()
    kept = mirror.queue("PUT", "/kept", "kept before")
    with FailingSyncs(weir):
        answer = mirror.put("/lost", "not kept")
        assert answer.status == 507 and "weir-outbox-id" not in answer.headers
        assert "not known to be kept" in answer.text and "restart weir" in answer.text
        assert mirror.get("/kept").text == "kept before"        # reading goes on
    # After a failed sync nothing can be promised until a restart, and weir says so.
    answer = mirror.put("/later", "not kept either")
    assert answer.status == 507 and "restart weir" in answer.text, answer
    assert weir.health()["components"]["outbox"]["status"] != "healthy"
    mirror.crash()
    # Whether the one whose sync failed has come to the disk nobody can know; the one after it has certainly not.
    assert kept in [e["id"] for e in weir.outbox()]
    mirror.queue("PUT", "/afterwards", "kept")
    mirror.come_back()
    weir.wait_outbox_empty()
    assert {"/kept", "/afterwards"} <= {p for _, p, _, _ in origin.changes} <= {"/kept", "/afterwards", "/lost"}


def test_many_writers_meet_a_full_disk_and_every_promise_is_kept(mirror):
    weir, origin = mirror.weir, mirror.server
    mirror.go_offline()
    promised, lock, stop = [], threading.Lock(), threading.Event()

    def write(who):
        number = 0
        while not stop.is_set():
            path = "/%d/%d" % (who, number)
            status = mirror.put(path, b"x" * 3000).status
            assert status in (202, 507), status
            if status == 202:
                with lock:
                    promised.append(path)
            number += 1
    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    wait_until(lambda: len(promised) > 20)
    fill_up(mirror.disk)
    full_at = time.monotonic()
    wait_until(lambda: time.monotonic() - full_at > 0.5)
    make_space(mirror.disk)
    before = len(promised)
    wait_until(lambda: len(promised) > before + 20, what="writes are taken again")
    stop.set()
    for t in threads:
        t.join()
    assert sorted(e["raw_uri"] for e in weir.outbox()) == sorted(promised)
    mirror.crash()
    assert sorted(e["raw_uri"] for e in weir.outbox()) == sorted(promised)
    mirror.come_back()
    weir.wait_outbox_empty()
    assert sorted(p for _, p, _, _ in origin.changes) == sorted(promised)


def test_descriptors_are_used_up(site):
    """weir may open no more files: it refuses what it cannot keep, loses nothing, and goes on when it may again."""
    mirror = site.mirror(Origin())
    weir, origin = mirror.weir, mirror.server
    mirror.go_offline()
    kept = mirror.queue("PUT", "/kept", b"x" * 100000)
    pid = weir.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir("/proc/%d/fd" % pid)) + 1, limits[1]))
    answers = []
    for i in range(5):
        try:
            answers.append(mirror.ask("PUT", "/%d" % i, b"x" * 100000, timeout=5).status)
        except (OSError, http.client.HTTPException):
            answers.append(0)           # it could not even take the connection
    assert weir.alive() and set(answers) <= {0, 202, 500, 503, 507}, answers
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: mirror.put("/later", "ours").status == 202, what="it takes writes again")
    taken = {"/%d" % i for i, status in enumerate(answers) if status == 202}
    assert {e["raw_uri"] for e in weir.outbox()} == {"/kept", "/later"} | taken
    mirror.come_back()
    weir.wait_outbox_empty()
    assert weir.entry(kept)["state"] == "applied" and origin.read("/kept") == b"x" * 100000
