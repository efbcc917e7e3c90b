"""The cache on its disk: its limit, what outlives the daemon, damage, and a disk that is full (invariants 7 and 8)."""

import glob
import os
import sqlite3
import subprocess
import time

import pytest

from lab.cachekit import Cache, reply
from lab.wait import wait_until

HOUR = "Cache-Control: max-age=3600"
KIB, MIB = 1024, 1 << 20


def body(i, size):
    return (b"%08d" % i) * (size // 8)


def fill(cache, numbers, size):
    for i in numbers:
        cache.origin.tell("/%d" % i, reply(body(i, size), HOUR))
        assert cache.get("/%d" % i).body == body(i, size)


def database(cache):
    found = glob.glob(os.path.join(cache.weir.data_dir, "**", "cache.db"), recursive=True)
    assert len(found) == 1, found
    return found[0]


def rows(cache):
    """How many responses the database holds."""
    with sqlite3.connect("file:%s?mode=ro" % database(cache), uri=True) as db:
        for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
            columns = [c[1] for c in db.execute("pragma table_info(%s)" % table)]
            if "head" in columns:
                return db.execute("select count(*) from " + table).fetchone()[0]
    raise AssertionError("no table of responses")


def bodies(cache):
    """The body files, largest first."""
    folder = os.path.join(os.path.dirname(database(cache)), "bodies")
    found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return sorted(found, key=os.path.getsize, reverse=True)


def is_there(cache, i, size):
    """Whether something is served while upstream is away; rightly, if so."""
    got = cache.get("/%d" % i)
    assert got.status == 504 or got.body == body(i, size)
    return got.status == 200


# The disk budget

@pytest.mark.parametrize("size", [200 * KIB, 40 * KIB])
def test_least_recently_used_goes_first_and_the_limit_holds(site, size):
    limit = 40 * size
    cache = Cache(site, disk={"max": "%dKiB" % (limit // KIB), "low": "%dKiB" % (limit // KIB * 3 // 4)}, memory="1MiB")
    for first in range(0, 120, 20):
        second = int(time.time())
        fill(cache, range(first, first + 20), size)
        wait_until(lambda second=second: int(time.time()) != second)    # use is noted to the second
        assert cache.get("/0").hit
    wait_until(lambda: cache.weir.metric("weir_cache_bytes", service="files") <= limit)
    assert cache.weir.metric("weir_cache_max_bytes", service="files") == limit
    assert cache.weir.metric("weir_cache_evictions_total", service="files") >= 75
    wait_until(lambda: sum(os.path.getsize(f) for f in bodies(cache)) <= limit)
    with cache.offline():
        there = [i for i in range(120) if is_there(cache, i, size)]
    assert 0 in there and 119 in there and 1 not in there and 20 <= len(there) <= 41, there


def test_what_is_larger_than_the_cache_passes_whole(site):
    cache = Cache(site, disk={"max": "2MiB", "low": "1MiB"}, memory="1MiB")
    fill(cache, [1], 100 * KIB)
    fill(cache, [2], 6 * MIB)
    fill(cache, [3], 100 * KIB)
    assert cache.get("/2").body == body(2, 6 * MIB)
    wait_until(lambda: cache.weir.metric("weir_cache_bytes", service="files") <= 2 * MIB)


def test_what_is_evicted_while_it_is_read_is_read_to_the_end(site):
    cache = Cache(site, disk={"max": "24MiB", "low": "18MiB"}, memory="1MiB")
    cache.origin.tell("/0", reply(body(0, 16 * MIB), HOUR))
    cache.store("/0")
    reader = cache.raw("/0")
    reader.read_until(b"\r\n\r\n")
    fill(cache, range(1, 13), MIB)
    wait_until(lambda: cache.weir.metric("weir_cache_evictions_total", service="files") >= 1)
    while len(reader.buffer) < 16 * MIB:
        data = reader.sock.recv(1 << 18)
        assert data
        reader.buffer += data
    assert reader.buffer == body(0, 16 * MIB)
    reader.close()


# Outliving the daemon

SIZES = {1: 8, 2: 1000, 3: 64 * KIB, 4: 64 * KIB + 8, 5: 2 * MIB}


def all_are_there(cache):
    with cache.offline():
        return [i for i, size in SIZES.items() if is_there(cache, i, size)]


@pytest.mark.parametrize("end", ["politely", "by kill -9"])
def test_what_is_stored_outlives_the_daemon(site, end):
    cache = Cache(site)
    for i, size in SIZES.items():
        fill(cache, [i], size)
    if end == "politely":
        cache.weir.stop()
    else:
        wait_until(lambda: rows(cache) == len(SIZES))
        cache.weir.kill9()
    cache.weir.restart()
    assert all_are_there(cache) == list(SIZES)
    for i in SIZES:
        assert cache.get("/%d" % i).hit
        assert cache.asked("/%d" % i) == 1


def test_kill_9_at_any_moment_leaves_nothing_half(site):
    cache = Cache(site)
    for turn in range(5):
        numbers = range(100 * turn + 1, 100 * turn + 31)
        for i in numbers:
            cache.origin.tell("/%d" % i, reply(body(i, 80 * KIB if i % 2 else 800), HOUR))
        before = cache.origin.count()
        clients = [cache.raw("/%d" % i) for i in numbers]
        wait_until(lambda: cache.origin.count() - before >= 6 * turn)
        cache.weir.kill9()
        for client in clients:
            client.close()
        cache.weir.restart()
        with cache.offline():
            for i in range(1, 100 * turn + 31):
                is_there(cache, i, 80 * KIB if i % 2 else 800)
    folder = os.path.dirname(database(cache))
    assert not [n for n in os.listdir(folder) if "damaged" in n and os.listdir(os.path.join(folder, n))]


# Damage

def damaged(cache, spoil):
    """Stores a body file, spoils it while the daemon is down; then what a client gets is right, and asked for anew."""
    fill(cache, [1], 2 * MIB)
    fill(cache, [2], 100 * KIB)
    cache.weir.stop()
    spoil(bodies(cache)[0])
    cache.weir.restart()
    with cache.offline():
        assert cache.get("/1").status == 504
        assert cache.get("/2").body == body(2, 100 * KIB)
    for _ in range(2):
        assert cache.get("/1").body == body(1, 2 * MIB)
    assert cache.asked("/1") == 2


def flip(file):
    with open(file, "r+b") as f:
        f.seek(MIB + 77)
        byte = f.read(1)
        f.seek(MIB + 77)
        f.write(bytes([byte[0] ^ 0x40]))


def lengthen(file):
    with open(file, "ab") as f:
        f.write(b"more")


@pytest.mark.parametrize("spoil", [
    flip, os.unlink, lengthen, lambda f: os.truncate(f, MIB), lambda f: os.truncate(f, 0)],
    ids=["a-flipped-bit", "gone", "longer", "shorter", "empty"])
def test_a_damaged_body_file_is_never_served_and_fetched_again(site, spoil):
    damaged(Cache(site), spoil)


def test_a_database_that_is_none_is_set_aside_and_the_cache_begins_anew(site):
    cache = Cache(site)
    fill(cache, [1, 2], 1000)
    cache.weir.stop()
    file = database(cache)
    with open(file, "r+b") as f:
        f.write(b"no database at all " * 1000)
    for more in ("-wal", "-shm"):
        if os.path.exists(file + more):
            os.unlink(file + more)
    cache.weir.restart()
    for i in (1, 2):
        assert cache.get("/%d" % i).body == body(i, 1000)
        assert cache.get("/%d" % i).hit


def test_pages_of_the_database_that_are_damaged_cost_what_was_on_them_alone(site):
    cache = Cache(site)
    fill(cache, range(200), 4000)
    cache.weir.stop()
    file = database(cache)
    with open(file, "r+b") as f:
        size = os.path.getsize(file)
        f.seek(size // 2 // 4096 * 4096)
        f.write(os.urandom(8192))
    cache.weir.restart()
    for i in range(200):
        assert cache.get("/%d" % i).body == body(i, 4000)


# A full disk

@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root")
    where = str(tmp_path / "small")
    os.makedirs(where)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=755", "weir-story", where], check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def test_requests_pass_through_a_full_disk(small_disk, site):
    cache = Cache(site, weir={"data_dir": os.path.join(small_disk, "data")})
    fill(cache, [1], 100 * KIB)
    with open(os.path.join(small_disk, "ballast"), "wb") as f:
        try:
            while f.write(b"x" * 65536):
                f.flush()
        except OSError:
            pass
    for i in range(10, 30):
        cache.origin.tell("/%d" % i, reply(body(i, 2000), HOUR))
        assert cache.get("/%d" % i).body == body(i, 2000)
    for i in range(30, 40):             # bodies above 64 KiB go through the disk
        cache.origin.tell("/%d" % i, reply(body(i, 300 * KIB), HOUR))
        assert cache.is_cut("/%d" % i) or cache.get("/%d" % i).body == body(i, 300 * KIB)
    assert cache.is_cut("/1") or cache.get("/1").body == body(1, 100 * KIB)     # it may have had to make room
    os.unlink(os.path.join(small_disk, "ballast"))
    fill(cache, [40], 100 * KIB)
    wait_until(lambda: cache.get("/40").hit)
    cache.weir.finish()                 # before the disk goes
    cache.weir.expect_alive = False


def test_what_is_larger_than_the_disk_passes_or_is_visibly_cut(small_disk, site):
    cache = Cache(site, weir={"data_dir": os.path.join(small_disk, "data")})
    cache.origin.tell("/1", reply(body(1, 12 * MIB), HOUR))
    assert cache.is_cut("/1") or cache.get("/1").body == body(1, 12 * MIB)
    cache.settle()
    fill(cache, [2], 100 * KIB)
    cache.weir.finish()
    cache.weir.expect_alive = False
