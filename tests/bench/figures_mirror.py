"""figures_mirror -- the mirror beside nginx's proxy_cache and Varnish, the outbox beside a bare log; as figures.py."""

import contextlib
import os
import subprocess
import threading
import time

import client
import gauge
from actors import ENV, Trouble, wait_until
from actors_mirror import Files, MirrorWeir, NginxCache, Varnish
from figures import KIB, MIB, Line, between

WRITERS = 32
BODY = 4 * KIB


# ---- the actors -------------------------------------------------------------------------------------------------

def origin(stage):
    def make():
        files = Files(stage.folder / "mirror-origin")
        for name, size in SIZES.items():
            (files.files / name).write_bytes(os.urandom(size))
        return files.start()
    return stage.once("mirror-origin", make)


def fresh_weir(stage):
    """A weir of a figure's own, with an empty outbox."""
    number = stage.running["mirror-weirs"] = stage.running.get("mirror-weirs", 0) + 1
    return MirrorWeir(stage.folder / f"mirror-weir-{number}", stage.weir_bin, origin(stage)).start()


# ---- cache hits -------------------------------------------------------------------------------------------------

SIZES = {"small": KIB, "large": 10 * MIB}
HITS = [  # file, connections, goal against the fastest of the others
    ("small", 64, 1.0),
    ("large", 16, 0.9),
]


def mirror_hits(stage):
    """Hits of 1 KiB and 10 MiB, all three warm, against the faster of nginx and Varnish, and against each."""
    sides = {"weir": fresh_weir(stage), "nginx": NginxCache(stage.folder / "nginx-cache", origin(stage)).start(),
             "Varnish": Varnish(stage.folder / "varnish", origin(stage)).start()}
    for name, connections, goal in HITS:
        path = f"/{name}"
        same_content(sides, path, origin(stage).files / name)
        rounds = gauge.in_turn(stage.rounds, {
            who: lambda side=side: load(side, path, connections, stage.seconds) for who, side in sides.items()})
        what = f"cache hits of {'1 KiB' if name == 'small' else '10 MiB'}"
        fastest = max(("nginx", "Varnish"), key=lambda who: gauge.median(rounds[who], "rate"))
        for who in ("nginx", "Varnish"):
            wanted = {"ratio_at_least": goal} if who == fastest else {}
            yield between(rounds, "rate", who, f"{what}: rate", "/s", **wanted)
            yield between(rounds, "cpu_us", who, f"{what}: CPU", "us")
        yield between(rounds, "p99_us", fastest, f"{what}: p99", "us")
    for who in ("nginx", "Varnish"):
        sides[who].stop()
    sides["weir"].stop()


def load(side, path, connections, seconds):
    if SIZES[path[1:]] > 256 * KIB:
        return gauge.charge(side, lambda: client.drain(side.port, path, None, connections, seconds))
    return gauge.charge(side, lambda: gauge.wrk(f"http://127.0.0.1:{side.port}{path}", connections, seconds))


def same_content(sides, path, file):
    """All send the file, and none asks for it again once it is warm."""
    right = file.read_bytes()
    for side in sides.values():
        connection = client.Client(side.port)
        if connection.get(path, keep=True) != right:
            raise Trouble(f"{side.name} does not send {path} as it is")
        gauge.warm(lambda connection=connection: connection.get(path))
        connection.close()


# ---- durable writes ---------------------------------------------------------------------------------------------

def wrk_put(port, prefix, connections, seconds, size=BODY, keys=0, pause_ms=0):
    env = dict(ENV, BENCH_BYTES=str(size), BENCH_PREFIX=prefix, BENCH_KEYS=str(keys), BENCH_PAUSE=str(pause_ms))
    return gauge.wrk(f"http://127.0.0.1:{port}", connections, seconds, script="put.lua", env=env)


def outbox_writes(stage):
    """Durable 4 KiB writes a second, 32 at once: 202s over HTTP and the store's own API, against a log with append,
    fdatasync and group commit, and against two synced files in a synced folder for each (as ZDDC has it)."""
    weir = fresh_weir(stage)
    weir.go_offline()
    turns = iter(range(1000))
    rounds = gauge.in_turn(stage.rounds, {
        "weir": lambda: gauge.charge(weir, lambda: wrk_put(weir.port, f"/{next(turns)}", WRITERS, stage.seconds)),
        "API": lambda: outbox_put(stage),
        "log": lambda: outbox_put(stage, "--log"),
        "files": lambda: outbox_put(stage, "--files")})
    weir.stop()
    api = {"weir": rounds["API"], "log": rounds["log"], "files": rounds["files"]}
    http = {"weir": rounds["weir"], "log": rounds["log"], "files": rounds["files"]}
    for sides, what, goal in ((api, "durable 4 KiB writes, store", 0.6), (http, "durable 4 KiB writes, HTTP", 0.3)):
        for other, against, least in (("log", "append and fdatasync", goal), ("files", "two synced files", 8)):
            line = between(sides, "rate", other, f"{what}: rate", "/s", ratio_at_least=least)
            line.against = against
            yield line
    for key in ("p99_us", "cpu_us"):
        yield Line(f"{what}: {key.partition('_')[0]}", "us", gauge.median(rounds["weir"], key))


def outbox_put(stage, *how):
    """tests/bench/outbox_put.c: so many threads, each putting the next when its last is durable."""
    program = stage.weir_bin.parent / "tests" / "bench" / "outbox_put"
    if not program.exists():
        raise Trouble(f"there is no {program}")
    number = stage.running["puts"] = stage.running.get("puts", 0) + 1
    done = subprocess.run([program, *how, stage.folder / f"puts-{number}", str(WRITERS), str(stage.seconds), str(BODY)],
                          env=ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"outbox_put: {done.stdout}{done.stderr}")
    return {"rate": float(done.stdout.split()[0])}


# ---- delivery ---------------------------------------------------------------------------------------------------

def deliveries(stage):
    """How fast what has waited is delivered, from the first to the last: writes to one URI, and to 16."""
    for keys in (1, 16):
        weir = fresh_weir(stage)
        weir.go_offline()
        count = 2000 if stage.quick else 10000
        fill(weir, f"/deliver-{keys}", count, keys)
        queued = weir.queued()
        before = gauge.cpu_s(weir.process.pid)
        weir.go_online()
        begun, rate = None, 0
        while left := weir.queued():
            if begun is None and left < queued * 0.9:
                begun = (time.perf_counter(), left)
            time.sleep(0.02)
        if begun:
            rate = begun[1] / (time.perf_counter() - begun[0])
        cpu = (gauge.cpu_s(weir.process.pid) - before) / queued
        weir.stop()
        yield Line(f"delivery, {keys} key{'s' if keys > 1 else ''}: rate", "/s", rate)
        yield Line(f"delivery, {keys} key{'s' if keys > 1 else ''}: CPU", "us", cpu * 1e6)


def fill(weir, prefix, count, keys=0, size=BODY):
    """Queues at least so many writes. wrk has two threads, each with half of the keys."""
    before = weir.queued()
    threads = 1 if keys == 1 else WRITERS
    while weir.queued() - before < count:
        wrk_put(weir.port, prefix, threads, 1, size, keys // min(threads, gauge.CPUS) if keys else 0)
        if not keys:
            prefix += "x"


# ---- reads beside writes ----------------------------------------------------------------------------------------

def reads_beside_writes(stage):
    """Hits of 1 KiB at 16 connections, alone, and while the outbox takes about 1,000 writes of 4 KiB a second."""
    weir = fresh_weir(stage)
    url = f"http://127.0.0.1:{weir.port}/small"
    first = client.Client(weir.port)
    first.get("/small")
    first.close()
    weir.go_offline()
    turns = iter(range(1000))

    def hits():
        return gauge.wrk(url, 16, stage.seconds)

    def hits_beside_writes():
        with writing(weir, f"/beside-{next(turns)}", stage.seconds + 1) as rate:
            out = hits()
        return dict(out, writes=rate())

    rounds = gauge.in_turn(stage.rounds, {"alone": hits, "weir": hits_beside_writes})
    weir.stop()
    writes = gauge.median(rounds["weir"], "writes")
    for key, unit in (("p99_us", "us"), ("p50_us", "us"), ("rate", "/s")):
        yield between(rounds, key, "alone", f"hits beside {writes:,.0f} writes/s: {key.partition('_')[0]}", unit)


@contextlib.contextmanager
def writing(weir, prefix, seconds):
    """Some 1,000 writes a second meanwhile; gives a function that tells how many it were, once all are done."""
    got = {}
    thread = threading.Thread(target=lambda: got.update(wrk_put(weir.port, prefix, 16, seconds, pause_ms=13)))
    thread.start()
    wait_until("writes go on", lambda: weir.queued() > 0)

    def rate():
        thread.join()
        return got["rate"]
    yield rate
    thread.join()


# ---- many entries -----------------------------------------------------------------------------------------------

def many_entries(stage):
    """Start-up and memory with 100,000 queued writes (20,000 in a quick run) of 64 bytes."""
    count = 20000 if stage.quick else 100000
    weir = fresh_weir(stage)
    weir.go_offline()
    empty = gauge.rss_bytes(weir.process.pid)
    fill(weir, "/many", count, size=64)
    count = int(weir.queued())
    yield Line(f"memory, {count:,} writes queued", "B", gauge.rss_bytes(weir.process.pid))
    yield Line("memory, the same, for each write", "B", (gauge.memory(weir.process.pid, "Rss") - empty) / count)
    weir.stop()
    (weir.folder / "weir.yaml").write_text((weir.folder / "weir.yaml").read_text() + "    enabled: false\n")
    took = []
    for _ in range(stage.rounds):
        begin = time.perf_counter()
        weir.start()
        took.append({"s": time.perf_counter() - begin})
        if weir.queued() != count:
            raise Trouble(f"{count} writes were queued, {weir.queued():.0f} are after a restart")
        weir.stop()
    yield Line(f"start-up, {count:,} writes queued", "s", gauge.median(took, "s"), ours_at_most=2 * count / 100000)


FIGURES = {
    "mirror-hits": mirror_hits,
    "outbox-writes": outbox_writes,
    "deliveries": deliveries,
    "reads-beside-writes": reads_beside_writes,
    "many-entries": many_entries,
}
