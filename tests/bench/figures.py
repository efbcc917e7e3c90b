"""figures -- what is measured. FIGURES at the end is the table: to add a figure, write a function that yields Lines and
name it there.

A figure function gets the Stage (the programs, started when first asked for) and yields one Line for each number.
Ratios are always ours by theirs; a goal is about the ratio, or about our own number.
"""

import concurrent.futures
import dataclasses
import functools
import os
import time
import typing

import client
import gauge
from actors import Nginx, Trouble, Weir

KIB, MIB = 1024, 1 << 20
STATIC, RETURN, BACKEND = "nginx, static file", "nginx, return 200", "git-http-backend alone"


@dataclasses.dataclass
class Line:
    name: str  # what was measured
    unit: str  # of ours and theirs: see run, show()
    ours: float
    theirs: typing.Optional[float] = None
    against: str = ""  # whose number `theirs` is
    ratio_at_least: typing.Optional[float] = None
    ratio_at_most: typing.Optional[float] = None
    ours_at_most: typing.Optional[float] = None
    rounds: dict = dataclasses.field(default_factory=dict)  # what the medians were taken of, for --json

    @property
    def ratio(self):
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self):
        """True, False, or None where there is no goal."""
        if self.ratio_at_least is not None:
            return self.ratio >= self.ratio_at_least
        if self.ratio_at_most is not None:
            return self.ratio <= self.ratio_at_most
        return None if self.ours_at_most is None else self.ours <= self.ours_at_most


def pkt(line):
    return b"%04x%s" % (len(line) + 4, line)


def between(rounds, key, other, name, unit, **goal):
    """The Line that sets the medians of weir's rounds beside those of `other`."""
    return Line(name, unit, gauge.median(rounds["weir"], key), gauge.median(rounds[other], key), other, **goal,
                rounds={side: [r[key] for r in got] for side, got in rounds.items() if side in ("weir", other)})


# ---- ref listings -----------------------------------------------------------------------------------------------

def ls_refs(prefix=None):
    """An ls-refs command as git writes it."""
    lines = [b"peel\n", b"symrefs\n", b"unborn\n"] + ([b"ref-prefix %s\n" % prefix] if prefix else [])
    return (pkt(b"command=ls-refs\n") + pkt(b"agent=git/2.39.5") + pkt(b"object-format=sha1") + b"0001" +
            b"".join(map(pkt, lines)) + b"0000")


LISTINGS = [  # repository, refs in it, ref-prefix, goal against git-http-backend
    ("work", 300, None, 50),
    ("work", 300, b"refs/heads/release/", 50),
    ("refs", 10000, None, 20),
    ("refs", 10000, b"refs/heads/release/", 50),
]
LARGE_BYTES = 256 * KIB  # of such answers, wrk's work would be the larger part


def listings(stage):
    """ls-refs from memory, upstream switched off, against git-http-backend and against nginx with the same bytes."""
    weir, nginx, chosen = stage.weir, stage.nginx, {}
    backends = {"nginx, git-http-backend": nginx, "lighttpd, git-http-backend": stage.upstream}
    for repo, count, prefix, goal in LISTINGS:
        what = f"ls-refs, {count:,} refs, {'ref-prefix' if prefix else 'whole'}"
        body = ls_refs(prefix)
        size, static = same_answer(stage, repo, body)

        def post(side, path, seconds=stage.seconds):
            return load(stage, side, path, body, size, seconds)

        if repo not in chosen:  # the faster way to serve git-http-backend
            chosen[repo] = max(backends, key=lambda name: post(backends[name], f"/{repo}.git", 1)["rate"])
        cgi = chosen[repo]
        rounds = gauge.in_turn(stage.rounds, {
            "weir": lambda: post(weir, weir.path(repo)),
            cgi: lambda: post(backends[cgi], f"/{repo}.git"),
            STATIC: lambda: load(stage, nginx, static, None, size, stage.seconds),
            BACKEND: lambda: gauge.http_backend(stage.repos, repo, body)})
        yield between(rounds, "rate", cgi, f"{what}: rate", "/s", ratio_at_least=goal)
        yield between(rounds, "rate", STATIC, f"{what}: rate", "/s", ratio_at_least=0.5)
        yield between(rounds, "p99_us", STATIC, f"{what}: p99", "us", ratio_at_most=2)
        yield between(rounds, "cpu_us", BACKEND, f"{what}: CPU", "us")
        yield between(rounds, "cpu_us", STATIC, f"{what}: CPU", "us")


def load(stage, side, path, body, size, seconds):
    """16 connections that POST a command, or GET a file when there is none."""
    if size > LARGE_BYTES:
        return gauge.charge(side, lambda: client.drain(side.port, path, body, 16, seconds))
    url, file = f"http://127.0.0.1:{side.port}{path}", None
    if body is not None:
        file = stage.folder / "command"
        file.write_bytes(body)
        url += "/git-upload-pack"
    return gauge.charge(side, lambda: gauge.wrk(url, 16, seconds, file))


def same_answer(stage, repo, body):
    """All three sides must send the same bytes: makes sure, makes nginx's file of them, and warms all three. Returns
    their number and that file's path."""
    backend, weir, nginx = (client.Client(side.port) for side in (stage.upstream, stage.weir, stage.nginx))
    right = backend.command(f"/{repo}.git", body, keep=True)
    ours = weir.command(stage.weir.path(repo), body, keep=True)
    if ours != right:
        raise Trouble(f"weir's listing of {repo} ({len(ours)} bytes) is not git-http-backend's ({len(right)} bytes)")
    path = f"/static/{len(os.listdir(stage.nginx.static))}"
    (stage.nginx.folder / path[1:]).write_bytes(right)
    gauge.warm(lambda: nginx.get(path), lambda: weir.command(stage.weir.path(repo), body),
               lambda: backend.command(f"/{repo}.git", body))
    for each in (backend, weir, nginx):
        each.close()
    return len(right), path


# ---- fetches ----------------------------------------------------------------------------------------------------

def fetch(wants, haves):
    """A fetch command as git writes it, with one more have of an object that nobody has: the answer is the same, but
    no answer to another command can be given for it."""
    unknown = os.urandom(20).hex()
    lines = ["thin-pack", "no-progress", "include-tag", "ofs-delta"] + [f"want {oid}" for oid in wants] + \
            [f"have {oid}" for oid in [*haves, unknown]] + ["done"]
    return (pkt(b"command=fetch") + pkt(b"agent=git/2.39.5") + pkt(b"object-format=sha1") + b"0001" +
            b"".join(pkt(f"{line}\n".encode()) for line in lines) + b"0000")


def fetches(stage):
    """A fetch from the cache against `git upload-pack` on the very same repository on disk."""
    weir = stage.weir
    git_dir = weir.git_dir("work")
    commits = stage.git("-C", git_dir, "rev-list", "--first-parent", "refs/heads/main").split()
    tips = sorted(set(stage.git("-C", git_dir, "for-each-ref", "--format=%(objectname)").split()))
    connection = client.Client(weir.port)

    def through_weir(wants, haves, times):
        weir.wait_idle()
        begin_cpu, begin, size = gauge.cpu_s(weir.process.pid), time.perf_counter(), 0
        for _ in range(times):
            size = connection.command(weir.path("work"), fetch(wants, haves))
        wall_s = time.perf_counter() - begin
        weir.wait_idle()
        return {"wall_s": wall_s / times, "cpu_s": (gauge.cpu_s(weir.process.pid) - begin_cpu) / times, "bytes": size}

    def git_itself(wants, haves, times):
        each = [gauge.upload_pack(git_dir, fetch(wants, haves)) for _ in range(times)]
        return {"wall_s": sum(e["wall_s"] for e in each) / times, "cpu_s": sum(e["cpu_s"] for e in each) / times,
                "bytes": each[-1]["bytes"]}

    for what, wants, haves in (("clone", tips, []), ("fetch of 50 commits", commits[:1], commits[50:66])):
        warm, got = git_itself(wants, haves, 3), through_weir(wants, haves, 3)
        if abs(got["bytes"] - warm["bytes"]) > warm["bytes"] * 0.02:  # threads may find other deltas
            raise Trouble(f"{what}: weir sent {got['bytes']} bytes, git upload-pack {warm['bytes']}")
        what = f"{what} ({warm['bytes'] / KIB:,.0f} KiB) from cache"
        times = max(3, int(stage.seconds / warm["wall_s"]))
        rounds = gauge.in_turn(stage.rounds, {"weir": lambda: through_weir(wants, haves, times),
                                              "git upload-pack": lambda: git_itself(wants, haves, times)})
        for key, name in (("wall_s", "time"), ("cpu_s", "CPU")):
            yield between(rounds, key, "git upload-pack", f"{what}: {name}", "s", ratio_at_most=1.1)
    connection.close()


# ---- small answers, connections ---------------------------------------------------------------------------------

def small_answers(stage):
    """/livez at 64 connections against nginx `return 200`, with as many workers."""
    for side in (stage.weir, stage.nginx):
        connection = client.Client(side.port)
        gauge.warm(functools.partial(connection.get, "/livez"))
        connection.close()

    def ask(side):
        return gauge.charge(side, lambda: gauge.wrk(f"http://127.0.0.1:{side.port}/livez", 64, stage.seconds))

    rounds = gauge.in_turn(stage.rounds, {"weir": lambda: ask(stage.weir), RETURN: lambda: ask(stage.nginx)})
    yield between(rounds, "rate", RETURN, "/livez, 64 connections: rate", "/s", ratio_at_least=0.9)
    yield between(rounds, "p99_us", RETURN, "/livez, 64 connections: p99", "us")
    yield between(rounds, "cpu_us", RETURN, "/livez, 64 connections: CPU", "us")


def idle_connections(stage):
    """What 5,000 kept-alive connections cost that have each had one answer."""
    count = min(5000, stage.descriptors - 200)
    if count < 5000:
        stage.say(f"idle connections: only {count:,}, as no more descriptors are allowed (ulimit -Hn)")
    cost = {}
    for side in (Weir(stage.folder / "idle-weir", stage.weir_bin), Nginx(stage.folder / "idle-nginx")):
        side.start()
        first = client.IdleConnections(side.port, 64)  # what a process needs once, whatever the number
        before = sum(map(gauge.rss_bytes, side.pids()))
        idle = client.IdleConnections(side.port, count)
        after = sum(map(gauge.rss_bytes, side.pids()))
        if idle.still_open() != count:
            raise Trouble(f"{side.name} closed {count - idle.still_open()} of {count} idle connections")
        idle.close()
        first.close()
        side.stop()
        cost[side.name] = (after - before) / count
    yield Line(f"{count:,} idle connections: memory each", "B", cost["weir"], cost["nginx"], "nginx",
               ours_at_most=8 * KIB)


# ---- memory and start-up ----------------------------------------------------------------------------------------

def resident_memory(stage):
    """Resident memory right after the start, and after 1,000 requests (800 ls-refs, 200 fetches, 8 at a time)."""
    nginx = Nginx(stage.folder / "memory-nginx").start()
    client.ask_once(nginx.port, "/livez")
    theirs = sum(gauge.memory(pid, "Pss") for pid in nginx.pids())  # what they share counts once
    nginx.stop()

    weir = Weir(stage.folder / "memory-weir", stage.weir_bin, stage.upstream).start()
    client.ask_once(weir.port, "/livez")
    yield Line("memory, idle, nothing cached", "B", gauge.rss_bytes(weir.process.pid), theirs, "nginx",
               ours_at_most=10 * MIB)
    yield Line("memory, idle: without shared files", "B", gauge.memory(weir.process.pid, "Anonymous"))
    weir.warm("work")
    weir.warm("refs")
    weir.go_offline()
    yield Line("memory, 10,300 refs cached", "B", gauge.rss_bytes(weir.process.pid))
    oids = stage.git("-C", weir.git_dir("work"), "rev-list", "refs/heads/main").split()

    def requests(seed):
        own = client.Client(weir.port)
        for i in range(125):
            if i % 5:
                own.command(weir.path("refs" if i % 2 else "work"), ls_refs())
            else:
                own.command(weir.path("work"), fetch([oids[seed * 10 + i % 10]], oids[50:66]))
        own.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(requests, range(8)))
    weir.wait_idle()
    yield Line("memory, after 1,000 requests", "B", gauge.rss_bytes(weir.process.pid))
    weir.stop()


def start_up(stage):
    """From exec to `ready` with two repositories on disk, against nginx from exec to running workers."""
    def once(side):
        begin = time.perf_counter()
        side.start()
        took = time.perf_counter() - begin
        side.stop()
        return {"s": took}

    full = Weir(stage.folder / "start-weir", stage.weir_bin, stage.upstream).start()
    full.warm("work")
    full.warm("refs")
    full.stop()
    nginx = Nginx(stage.folder / "start-nginx")
    rounds = gauge.in_turn(stage.rounds * 2 + 1, {"weir": lambda: once(full), "nginx": lambda: once(nginx)})
    yield between(rounds, "s", "nginx", "start-up, 10,300 refs cached", "s")


FIGURES = {
    "listings": listings,
    "fetches": fetches,
    "small-answers": small_answers,
    "idle-connections": idle_connections,
    "memory": resident_memory,
    "start-up": start_up,
}
