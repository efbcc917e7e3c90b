"""figures_fetch -- clones and fetches of whole packs: warm ones against nginx with a file, cold ones against a clone of
upstream itself. As figures.py; FIGURES at the end is the table.

The repositories are those of repos_fetch.py. Upstream is lighttpd with git-http-backend over the repacked, bitmapped
repository, which is also what is measured as git-http-backend.
"""

import functools
import pathlib
import shutil
import subprocess
import time

import client
import gauge
import repos_fetch
from actors import ENV, Lighttpd, Line as LongLine, Nginx, Trouble, Weir, family, git, program, start
from figures import MIB, Line, between, ls_refs, pkt

NGINX, BACKEND, DIRECT = "nginx, same bytes", "git-http-backend", "git from upstream"
ROUND_TRIP_MS = 50


# ---- commands and programs --------------------------------------------------------------------------------------

def fetch_command(wants, *more):
    """A fetch command of a git client that has nothing, as git writes it."""
    lines = ["thin-pack", "no-progress", "include-tag", "ofs-delta", *more, *[f"want {oid}" for oid in wants], "done"]
    return (pkt(b"command=fetch") + pkt(b"agent=git/2.39.5") + pkt(b"object-format=sha1") + b"0001" +
            b"".join(pkt(f"{line}\n".encode()) for line in lines) + b"0000")


def clone_command(git_dir):
    """What a plain `git clone` sends: all branches and tags."""
    tips = git("-C", git_dir, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags").split()
    return fetch_command(dict.fromkeys(tips))


class Team:
    """The repository `team`, its upstream, a weir that holds it, and an nginx with weir's answers as files."""

    def __init__(self, stage):
        self.root = repos_fetch.make_team(stage.quick, stage.say)
        self.git_dir = self.root / "team.git"
        self.clone = clone_command(self.git_dir)
        self.upstream = Lighttpd(stage.folder / "team-upstream", self.root).start()
        self.weir = Weir(stage.folder / "team-weir", stage.weir_bin, self.upstream).start()
        self.weir.warm("team")
        self.nginx = Nginx(stage.folder / "team-nginx")
        self.size = self.store()
        self.nginx.start()

    def store(self):
        """Gives nginx what weir answers to a clone; returns the size of the pack's answer."""
        path, ours = self.weir.path("team"), client.Client(self.weir.port)
        advert = ours.ask(f"GET {path}/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                          "Git-Protocol: version=2\r\n\r\n".encode(), True)
        refs, pack = ours.command(path, ls_refs(), keep=True), ours.command(path, self.clone, keep=True)
        ours.close()
        self.nginx.store(advert, refs, pack)
        self.weir.wait_idle()
        return len(pack)

    def url(self, side):
        return {"weir": f"http://127.0.0.1:{self.weir.port}{self.weir.path('team')}",
                NGINX: f"http://127.0.0.1:{self.nginx.port}/stored.git",
                BACKEND: f"http://127.0.0.1:{self.upstream.port}/team.git"}[side]


def team_of(stage):
    return stage.once("team", lambda: Team(stage))


def cpu_s(server):
    """CPU of a server with its workers and all their children that have ended."""
    return sum(map(gauge.cpu_s, family(server.process.pid)))


def git_clones(url, into, count):
    """So many `git clone --bare` at once; returns their wall time. The clones are left in into/0, into/1..."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    log = into / "log"
    begin = time.perf_counter()
    with open(log, "wb") as words:
        clients = [start(["git", "clone", "-q", "--bare", url, into / str(i)], stderr=words) for i in range(count)]
        if any([c.wait(300) for c in clients]):  # all are waited for
            raise Trouble(f"git clone {url}: {log.read_text(errors='replace').strip()}")
    return {"wall_s": time.perf_counter() - begin}


def must_be_equal(git_dir, clone):
    """A clone must have what the repository has, and be whole."""
    refs = [git("-C", each, "for-each-ref", "refs/heads", "refs/tags") for each in (git_dir, clone)]
    if refs[0] != refs[1]:
        raise Trouble("a clone has other refs than upstream")
    git("-C", clone, "rev-list", "--objects", "--all", "--quiet")


# ---- warm clones ------------------------------------------------------------------------------------------------

def curls(stage, server, url, body, at_once, each, size):
    """So many curls at once, each sending a command `each` times (GET when body is None), the answers to /dev/null."""
    command = [program("curl"), "-sSf", "-w", "%{size_download}\n"]
    if body is not None:
        file = stage.folder / "clone-command"
        file.write_bytes(body)
        command += ["--data-binary", f"@{file}", "-H", "Content-Type: application/x-git-upload-pack-request", "-H",
                    "Accept: application/x-git-upload-pack-result", "-H", "Git-Protocol: version=2", "-H", "Expect:"]
    command += ["-o", "/dev/null", url] * each
    before, begin = cpu_s(server), time.perf_counter()
    clients = [subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
               for _ in range(at_once)]
    said = [c.communicate(timeout=300)[0] for c in clients]
    wall_s = time.perf_counter() - begin
    for words in said:
        sizes = words.split()
        if len(sizes) != each or not all(s.isdigit() and abs(int(s) - size) <= size * 0.02 for s in sizes):
            raise Trouble(f"curl {url}: {' '.join(sizes[:20])}, and not {each} times {size} bytes")
    return {"wall_s": wall_s, "speed": at_once * each * size / wall_s,
            "cpu_s": (cpu_s(server) - before) / (at_once * each)}


def warm_clones(stage):
    """The command of a full clone replayed by curl, from a kept answer, against nginx with the same bytes."""
    team = team_of(stage)
    sides = {
        "weir": (team.weir, team.url("weir") + "/git-upload-pack", team.clone),
        NGINX: (team.nginx, f"http://127.0.0.1:{team.nginx.port}/static/stored-fetch", None),
        BACKEND: (team.upstream, team.url(BACKEND) + "/git-upload-pack", team.clone),
    }

    def ask(side, at_once, each):
        server, url, body = sides[side]
        return curls(stage, server, url, body, at_once, each, team.size)

    for at_once in (1, 8):
        what = f"warm clone ({team.size / MIB:.0f} MiB), {at_once} at once"
        each = max(2, int(stage.seconds / ask(NGINX, at_once, 4)["wall_s"] * 4))
        ask("weir", at_once, 2)
        rounds = gauge.in_turn(stage.rounds, {s: functools.partial(ask, s, at_once, each) for s in ("weir", NGINX)})
        rounds[BACKEND] = [ask(BACKEND, at_once, 1) for _ in range(1 if stage.quick else 2)]
        yield between(rounds, "speed", NGINX, f"{what}: speed", "B/s", ratio_at_least=0.8)
        yield between(rounds, "cpu_s", NGINX, f"{what}: CPU", "s", ratio_at_most=1.5)
        yield between(rounds, "speed", BACKEND, f"{what}: speed", "B/s")
        yield between(rounds, "cpu_s", BACKEND, f"{what}: CPU", "s")


def git_warm_clones(stage):
    """Eight git clients at once that clone from weir's cache, against the same from nginx with the stored answers."""
    team, into = team_of(stage), stage.folder / "clones"
    for side in ("weir", NGINX):
        git_clones(team.url(side), into, 1)
        must_be_equal(team.git_dir, into / "0")
    rounds = gauge.in_turn(1 if stage.quick else 3, {
        side: functools.partial(git_clones, team.url(side), into, 8) for side in ("weir", NGINX)})
    shutil.rmtree(into)
    yield between(rounds, "wall_s", NGINX, "8 warm clones by git: time of all", "s", ratio_at_most=1.1)


# ---- cold clones ------------------------------------------------------------------------------------------------

def cold_clones(stage):
    """A clone through an empty weir against one from upstream itself, near, and behind a long line."""
    team, into = team_of(stage), stage.folder / "clones"

    def through_weir(upstream):
        weir = Weir(stage.folder / "cold-weir", stage.weir_bin, upstream).start()
        out = git_clones(f"http://127.0.0.1:{weir.port}{weir.path('team')}", into, 1)
        weir.wait_idle()  # what it does with the pack afterwards is not the next round's business
        weir.stop()
        shutil.rmtree(weir.folder)
        return out

    line = LongLine(stage.folder / "line", team.upstream, ROUND_TRIP_MS).start()
    for what, upstream in (("cold clone", team.upstream), (f"cold clone, {ROUND_TRIP_MS} ms away", line)):
        through_weir(upstream)
        must_be_equal(team.git_dir, into / "0")
        rounds = gauge.in_turn(1 if stage.quick else 4, {
            "weir": functools.partial(through_weir, upstream),
            DIRECT: lambda upstream=upstream: git_clones(f"http://127.0.0.1:{upstream.port}/team.git", into, 1)})
        yield between(rounds, "wall_s", DIRECT, f"{what}: time", "s", ratio_at_most=1.1)
    line.stop()
    shutil.rmtree(into)


# ---- shallow fetches --------------------------------------------------------------------------------------------

def shallow_fetches(stage):
    """100 clients that fetch one commit with depth 1, again and again."""
    team = team_of(stage)
    commit = git("-C", team.git_dir, "rev-parse", f"{repos_fetch.EARLY}^{{commit}}").strip()
    body = fetch_command([commit], "deepen 1")
    sides = {"weir": (team.weir.port, team.weir.path("team"), 5 if stage.quick else 20),
             BACKEND: (team.upstream.port, "/team.git", 1)}
    sizes = [client.burst(port, path, body, 1, 2)["bytes"] for port, path, _ in sides.values()]
    if abs(sizes[0] - sizes[1]) > sizes[1] * 0.02:
        raise Trouble(f"weir sent {sizes[0]} bytes for depth 1, git-http-backend {sizes[1]}")
    rounds = {name: [client.burst(port, path, body, 20 if stage.quick and name == BACKEND else 100, each)
                     for _ in range(1 if name == BACKEND else stage.rounds)] for name, (port, path, each) in sides.items()}
    yield between(rounds, "rate", BACKEND, f"--depth 1 ({sizes[0] / MIB:.1f} MiB), 100 clients: rate", "/s")


# ---- incremental fetches ----------------------------------------------------------------------------------------

NEW_COMMITS = 10


def incremental_fetches(stage):
    """Upstream's main goes on by ten commits, which a clone fetches through weir, and another from upstream itself."""
    count = 6 if stage.quick else 20
    folder = stage.folder / "incremental"
    folder.mkdir()
    root, git_dir = folder / "upstream", folder / "upstream" / "team.git"
    shutil.copytree(team_of(stage).git_dir, git_dir)
    main = git("-C", git_dir, "rev-list", "--first-parent", "main").split()
    steps = main[::NEW_COMMITS][:2 * count + 1]  # the newest first
    git("-C", git_dir, "update-ref", "refs/heads/main", steps.pop())
    near = Lighttpd(folder / "lighttpd", root).start()
    line = LongLine(folder / "line", near, ROUND_TRIP_MS).start()
    for what, upstream in (("", near), (f", {ROUND_TRIP_MS} ms away", line)):
        weir = Weir(folder / f"weir{upstream.port}", stage.weir_bin, upstream).start()
        weir.warm("team")
        urls = {"weir": f"http://127.0.0.1:{weir.port}{weir.path('team')}",
                DIRECT: f"http://127.0.0.1:{upstream.port}/team.git"}
        for i, url in enumerate(urls.values()):
            git("clone", "-q", "--bare", url, folder / f"clone{upstream.port}-{i}")
        rounds = {side: [] for side in urls}
        for step in range(count):
            new = steps.pop()
            git("-C", git_dir, "update-ref", "refs/heads/main", new)
            for i, side in sorted(enumerate(urls), reverse=step % 2 == 1):  # neither finds the files read by the other
                clone, begin = folder / f"clone{upstream.port}-{i}", time.perf_counter()
                git("-C", clone, "fetch", "-q", urls[side], "refs/heads/*:refs/heads/*")
                rounds[side].append({"wall_s": time.perf_counter() - begin})
                if git("-C", clone, "rev-parse", "main").strip() != new:
                    raise Trouble(f"a fetch from {side} did not bring the new commits")
                weir.wait_idle()
        weir.stop()
        yield between(rounds, "wall_s", DIRECT, f"fetch of {NEW_COMMITS} new commits{what}: time", "s",
                      ratio_at_most=1.2)
    line.stop()
    near.stop()
    shutil.rmtree(folder)


# ---- memory -----------------------------------------------------------------------------------------------------

def clone_memory(stage):
    """Peak memory of weir's process while 50 clients take a large pack at once: as it comes in, and from the cache."""
    root = repos_fetch.make_large(stage.quick, stage.say)
    name = "large"
    body = clone_command(root / f"{name}.git")
    upstream = Lighttpd(stage.folder / "large-upstream", root).start()
    weir = Weir(stage.folder / "large-weir", stage.weir_bin, upstream).start()
    git("ls-remote", f"http://127.0.0.1:{weir.port}{weir.path(name)}")
    weir.wait_idle()
    for what in ("cold", "warm"):
        gauge.peak_bytes(weir.process.pid, forget=True)
        got = client.burst(weir.port, weir.path(name), body, 50, 1)
        weir.wait_idle()
        yield Line(f"50 {what} clones of {got['bytes'] / MIB:,.0f} MiB: peak memory", "B",
                   gauge.peak_bytes(weir.process.pid), ours_at_most=64 * MIB)
    weir.stop()
    upstream.stop()
    shutil.rmtree(pathlib.Path(weir.folder))


FIGURES = {
    "warm-clones": warm_clones,
    "git-warm-clones": git_warm_clones,
    "cold-clones": cold_clones,
    "shallow-fetches": shallow_fetches,
    "incremental-fetches": incremental_fetches,
    "clone-memory": clone_memory,
}
