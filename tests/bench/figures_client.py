"""figures_client -- what a call of libweir-client costs the thread that makes it, beside a write(2) to nowhere."""

import subprocess

import gauge
from actors import ENV, Trouble
from figures import Line, between
from figures_sessions import built, fresh

THREADS = (1, 10)
CALLS = {"event": "event with data", "log": "formatted message", "gauge": "gauge", "state": "state"}
GOAL_US = 2


def timed(stage, weir, threads):
    done = subprocess.run([built(stage, "client_calls"), f"127.0.0.1:{weir.port}", str(threads),
                           str(2000 if stage.quick else 10000)], env=ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"client_calls: {done.stdout}{done.stderr}")
    return {kind: int(ns) / 1000 for kind, ns in (line.split() for line in done.stdout.splitlines())}


def client_calls(stage):
    """The median of all calls, while the library's thread takes them to a daemon whose hub is switched off; beside it
    the median of as many writes of an event's bytes to /dev/null, in the same process."""
    weir = fresh(stage)
    for threads in THREADS:
        rounds = {"weir": [timed(stage, weir, threads) for _ in range(stage.rounds)]}
        rounds["write to /dev/null"] = [{kind: r["write"] for kind in r} for r in rounds["weir"]]
        where = f"{threads} thread{'s' if threads > 1 else ''}"
        for kind, what in CALLS.items():
            line = between(rounds, kind, "write to /dev/null", f"client call, {what}, {where}", "us")
            line.ours_at_most = GOAL_US
            yield line
        yield Line(f"client call, heartbeat, {where}", "us", gauge.median(rounds["weir"], "heartbeat"))
        yield Line(f"client call, gauge, one a frame, {where}", "us", gauge.median(rounds["weir"], "frame"),
                   gauge.median(rounds["weir"], "frame-write"), "write to /dev/null")
    weir.stop()


FIGURES = {
    "client-calls": client_calls,
}
