"""gauge -- how things are measured: wrk for rates and latencies, /proc and wait4 for CPU and memory, rounds in turn."""

import fcntl
import json
import os
import pathlib
import re
import statistics
import subprocess
import time

from actors import CPUS, ENV, Trouble, backend, program

HERE = pathlib.Path(__file__).parent
PIPE_BYTES = 1 << 20
WARM_S = 0.25
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


# ---- rounds -----------------------------------------------------------------------------------------------------

def in_turn(rounds, sides):
    """Runs sides ({name: function}) in turn, A B A B; returns {name: [what each round returned]}. Whatever else the
    machine does, and however its clock drifts, then meets all sides alike."""
    out = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            out[name].append(run())
    return out


def median(rounds, key):
    return statistics.median(r[key] for r in rounds)


# ---- requests ---------------------------------------------------------------------------------------------------

def wrk(url, connections, seconds, body=None, script="post.lua", env=ENV):
    """wrk's figures as a dict: `requests`, `rate` (answers a second), `p50_us`, `p99_us`. An answer that is no success,
    or a connection that breaks, is Trouble: such a rate would mean nothing."""
    env = dict(env, BENCH_BODY=str(body)) if body else env
    done = subprocess.run([program("wrk"), "-t", str(min(CPUS, connections)), "-c", str(connections), "-d",
                           f"{seconds}s", "-s", str(HERE / script), url], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    found = re.search(r"^JSON (.*)$", done.stdout, re.M)
    if done.returncode or not found:
        raise Trouble(f"wrk {url}: {done.stdout}{done.stderr}")
    out = json.loads(found[1])
    if out["errors"] or not out["requests"]:
        raise Trouble(f"wrk {url}: {out['errors']} of {out['requests']} requests failed")
    out["rate"] = out["requests"] * 1e6 / out["duration_us"]
    return out


def charge(side, load):
    """Runs a load, as wrk() or client.drain(), and adds `cpu_us`: what an answer cost the processes of `side`."""
    before = sum(map(cpu_s, side.pids()))
    out = load()
    out["cpu_us"] = (sum(map(cpu_s, side.pids())) - before) * 1e6 / out["requests"]
    return out


def warm(*asks):
    """Asks each of these for a moment, so that no side is measured with cold caches."""
    for ask in asks:
        until = time.monotonic() + WARM_S
        while time.monotonic() < until:
            ask()


# ---- git itself -------------------------------------------------------------------------------------------------

def upload_pack(git_dir, body):
    """`git upload-pack` on this request, as a server runs it."""
    return child([program("git"), "upload-pack", "--stateless-rpc", "--strict", str(git_dir)],
                 {"GIT_PROTOCOL": "version=2"}, body)


def http_backend(root, repo, body):
    """git-http-backend on this request, without the server that would start it."""
    return child([backend()], {
        "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "HTTP_GIT_PROTOCOL": "version=2",
        "REQUEST_METHOD": "POST", "PATH_INFO": f"/{repo}.git/git-upload-pack", "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-git-upload-pack-request"}, body)


def child(argv, env, body):
    """Runs a program with `body` to read and reads its answer from a pipe; returns wall_s, cpu_s (its own and its
    children's, from wait4) and bytes."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    request = os.memfd_create("request")
    os.write(request, body)
    os.lseek(request, 0, os.SEEK_SET)
    room, size = bytearray(PIPE_BYTES), 0
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, dict(ENV, **env),
                         file_actions=[(os.POSIX_SPAWN_DUP2, request, 0), (os.POSIX_SPAWN_DUP2, write_end, 1)])
    os.close(write_end)
    while n := os.readv(read_end, [room]):
        size += n
    wall_s = time.perf_counter() - begin
    _, status, usage = os.wait4(pid, 0)
    os.close(read_end)
    os.close(request)
    if status:
        raise Trouble(f"{' '.join(argv)} ended with status {status}")
    took_s = usage.ru_utime + usage.ru_stime
    return {"wall_s": wall_s, "cpu_s": took_s, "cpu_us": took_s * 1e6, "bytes": size}


# ---- processes --------------------------------------------------------------------------------------------------

def cpu_s(pid):
    """CPU seconds of a process and of those children of it that have ended and been waited for (proc(5), stat)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * TICK_S


def peak_bytes(pid, forget=False):
    """The most resident memory a process ever had (VmHWM); with forget, since now."""
    if forget:
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.M)[1]) * 1024


def rss_bytes(pid):
    return memory(pid, "Rss")


def memory(pid, what):
    """Rss or Pss of a process in bytes (proc(5), smaps_rollup)."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{what}: +(\d+) kB", text, re.M)[1]) * 1024
