"""figures_hub -- the hub beside a bare loop of its inserts on SQLite; lists and large sessions; as figures.py."""

import json
import os
import socket
import subprocess
import time
import urllib.request

import client
import gauge
from actors import ENV, Trouble, Weir
from figures import MIB, Line, between

SESSIONS = 256
CONNECTIONS = 32
BATCH = 100

HUB = """\
data_dir: ./data
log: {level: warn}
limits: {connections: 8192}
hub: {listen: "127.0.0.1:0"}
"""


class Hub(Weir):
    name = "weir hub"
    SERVICE = "hub"

    def __init__(self, folder, binary):
        super().__init__(folder, binary)
        (folder / "weir.yaml").write_text(HUB)
        self.seq = 1

    def command(self):
        return [self.binary, "hub", "-c", self.folder / "weir.yaml"]

    def post(self, path, value):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", json.dumps(value).encode(), timeout=60) as answer:
            return json.loads(answer.read())

    def create(self, product="bench"):
        return self.post("/api/sessions", {"product": product, "version": "1.0"})["session_id"]

    def batch(self, session, first, count):
        operations = [{"seq": first + i, "op": "event", "name": "level_loaded", "labels": ["game", "load"],
                       "message": "the level was loaded", "data": {"level": 17, "took_ms": 231.5}} for i in range(count)]
        answer = self.post(f"/api/sessions/{session}/batch", {"operations": operations})
        if answer["applied_seq"] != first + count - 1 or answer["refused"]:
            raise Trouble(f"a batch was not applied: {answer}")


def fresh_hub(stage):
    number = stage.running["hubs"] = stage.running.get("hubs", 0) + 1
    return Hub(stage.folder / f"hub-{number}", stage.weir_bin).start()


# ---- ingest -----------------------------------------------------------------------------------------------------

def ingest(stage):
    """Events a second, durable when answered: in batches of 100, and one in each request, from 32 connections to 256 sessions; against
    one thread that does the same inserts and nothing else: a transaction for each batch, and one for as many events as there are
    connections."""
    for events, together, what in ((BATCH, 1, "batches of 100"), (1, CONNECTIONS, "one by one")):
        hub = fresh_hub(stage)
        (hub.folder / "ids").write_text("".join(hub.create() + "\n" for _ in range(SESSIONS)))
        rounds = gauge.in_turn(stage.rounds, {
            "weir": lambda hub=hub, events=events: load(stage, hub, events),
            "a bare loop on SQLite": lambda events=events, together=together: bare(stage, events, together)})
        hub.stop()
        yield between(rounds, "rate", "a bare loop on SQLite", f"events into the hub, {what}", "/s", ratio_at_least=0.5)
        for key in ("p99_us", "cpu_us"):
            yield Line(f"events into the hub, {what}: {key.partition('_')[0]}", "us", gauge.median(rounds["weir"], key))


def load(stage, hub, events):
    env = dict(ENV, BENCH_IDS=str(hub.folder / "ids"), BENCH_BATCH=str(events if events > 1 else 0), BENCH_SEQ=str(hub.seq),
               BENCH_THREADS=str(min(gauge.CPUS, CONNECTIONS)))
    out = gauge.charge(hub, lambda: gauge.wrk(f"http://127.0.0.1:{hub.port}", CONNECTIONS, stage.seconds, script="hub.lua", env=env))
    hub.seq += 1_000_000_000
    return dict(out, rate=out["rate"] * events, cpu_us=out["cpu_us"] / events)


def bare(stage, events, together):
    program = stage.weir_bin.parent / "tests" / "bench" / "hub_insert"
    if not os.access(program, os.X_OK):
        raise Trouble(f"there is no {program}")
    number = stage.running["bare-hubs"] = stage.running.get("bare-hubs", 0) + 1
    done = subprocess.run([program, stage.folder / f"bare-hub-{number}", str(stage.seconds), str(events), str(SESSIONS), str(together)],
                          env=ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"hub_insert: {done.stdout}{done.stderr}")
    return {"rate": float(done.stdout.split()[0])}


# ---- large answers ----------------------------------------------------------------------------------------------

def large_answers(stage):
    """The list of 10,000 sessions, and a session of 100,000 events (a fifth of both in a quick run): until the first byte and until the
    last; and by how much the hub's memory grew over all that."""
    sessions, events = (2000, 20000) if stage.quick else (10000, 100000)
    hub = fresh_hub(stage)
    for _ in range(sessions):
        hub.create()
    large = hub.create("large")
    for first in range(1, events + 1, 1000):
        hub.batch(large, first, 1000)
    before = gauge.peak_bytes(hub.process.pid, forget=True)
    for what, path in ((f"list of {sessions:,} sessions", "/api/data/sessions?view=summary"),
                       (f"session of {events:,} events", f"/api/sessions/{large}")):
        took = [until_first_byte(hub.port, path) for _ in range(stage.rounds)]
        yield Line(f"{what}: first byte", "s", gauge.median(took, "first"))
        yield Line(f"{what}: all of it", "s", gauge.median(took, "all"))
    yield Line("memory that these answers took", "B", max(gauge.peak_bytes(hub.process.pid) - before, 0), ours_at_most=64 * MIB)
    hub.stop()


def until_first_byte(port, path):
    with socket.create_connection(("127.0.0.1", port), timeout=client.WAIT_S) as s:
        begin = time.perf_counter()
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        if not s.recv(1):
            raise Trouble(f"no answer to GET {path}")
        first = time.perf_counter() - begin
        while s.recv(1 << 20):
            pass
        return {"first": first, "all": time.perf_counter() - begin}


FIGURES = {
    "hub-ingest": ingest,
    "hub-answers": large_answers,
}
