"""figures_hub -- the hub beside a bare loop of its inserts on SQLite; lists and large sessions; as figures.py."""

import contextlib
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import client
import gauge
from actors import ENV, Trouble, Weir
from figures import MIB, Line, between

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from lab import postgres  # noqa: E402 (the path comes first)

SESSIONS = 256
CONNECTIONS = 32
BATCH = 100

HUB = """\
data_dir: ./data
log: {level: warn}
limits: {connections: 8192}
hub: {listen: "127.0.0.1:0", database: "%s", retention: 36500d}
"""
SQLITE = "sqlite:hub.db"


class Hub(Weir):
    name = "weir hub"
    SERVICE = "hub"

    def __init__(self, folder, binary, database=SQLITE):
        super().__init__(folder, binary)
        (folder / "weir.yaml").write_text(HUB % database)
        self.seq = 1

    def command(self):
        return [self.binary, "hub", "-c", self.folder / "weir.yaml"]

    def post(self, path, value):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", json.dumps(value).encode(), timeout=60) as answer:
            return json.loads(answer.read())

    def get(self, path):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return json.loads(answer.read())

    def create(self, product="bench"):
        return self.post("/api/sessions", {"product": product, "version": "1.0"})["session_id"]

    def batch(self, session, first, count):
        operations = [{"seq": first + i, "op": "event", "name": "level_loaded", "labels": ["game", "load"],
                       "message": "the level was loaded", "data": {"level": 17, "took_ms": 231.5}} for i in range(count)]
        answer = self.post(f"/api/sessions/{session}/batch", {"operations": operations})
        if answer["applied_seq"] != first + count - 1 or answer["refused"]:
            raise Trouble(f"a batch was not applied: {answer}")


def fresh_hub(stage, database=SQLITE):
    number = stage.running["hubs"] = stage.running.get("hubs", 0) + 1
    return Hub(stage.folder / f"hub-{number}", stage.weir_bin, database).start()


def postgresql(stage):
    """The stories' server, with more memory; None: Debian's package is not there."""
    return stage.once("postgresql", lambda: postgres.Postgres(more="shared_buffers = 256MB\nmax_wal_size = 1GB\n")) if postgres.programs() \
        else None


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
    number = stage.running["bare-hubs"] = stage.running.get("bare-hubs", 0) + 1
    return run_bare(stage, "hub_insert", stage.folder / f"bare-hub-{number}", events, together)


def run_bare(stage, name, where, events, together):
    program = stage.weir_bin.parent / "tests" / "bench" / name
    if not os.access(program, os.X_OK):
        raise Trouble(f"there is no {program}")
    done = subprocess.run([program, where, str(stage.seconds), str(events), str(SESSIONS), str(together)], env=ENV, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise Trouble(f"{name}: {done.stdout}{done.stderr}")
    return {"rate": float(done.stdout.split()[0])}


def ingest_postgresql(stage):
    """The same on PostgreSQL; against one connection that brings the same events by COPY and does nothing else, a transaction for each
    batch, and one for as many events as there are connections. Beside it what COPY does with as many batches in a transaction as
    there are connections: no hub can know before that they will come."""
    server = postgresql(stage)
    if not server:
        raise Trouble("there is no PostgreSQL server: apt-get install postgresql")
    for events, together, what in ((BATCH, 1, "batches of 100"), (1, CONNECTIONS, "one by one")):
        url = server.database()
        hub = fresh_hub(stage, url)
        (hub.folder / "ids").write_text("".join(hub.create() + "\n" for _ in range(SESSIONS)))
        rounds = gauge.in_turn(stage.rounds, {
            "weir": lambda hub=hub, events=events: load(stage, hub, events),
            "a bare COPY": lambda url=url, events=events, together=together: run_bare(stage, "hub_pg_copy", url, events, together),
            "a large COPY": lambda url=url, events=events: run_bare(stage, "hub_pg_copy", url, events, CONNECTIONS)})
        hub.stop()
        goal = {"ratio_at_least": 0.4} if events > 1 else {}
        yield between(rounds, "rate", "a bare COPY", f"events into the hub on PostgreSQL, {what}", "/s", **goal)
        if together == 1:
            yield between(rounds, "rate", "a large COPY", f"events into the hub on PostgreSQL, {what}", "/s")
        for key in ("p99_us", "cpu_us"):
            yield Line(f"events into the hub on PostgreSQL, {what}: {key.partition('_')[0]}", "us", gauge.median(rounds["weir"], key))


# ---- a million sessions -----------------------------------------------------------------------------------------

MADE_AT_MS = 1_700_000_000_000
DAY_MS = 86_400_000
FILTERS = {
    "none": "", "product": "product=product-7", "product and version": "product=product-7&version=1.3", "machine": "machine=machine-77",
    "hostname": "hostname=host-77", "active": "state=active", "suspended": "state=suspended", "ended": "state=ended",
    "crashed": "state=crashed", "hung now": "hung=now",
    "since and until": "since=2023-06-01T00:00:00Z&until=2023-06-08T00:00:00Z", "until": "until=2023-06-01T00:00:00Z",
}


def sessions_sql(series, prefix):
    """Over 300 days: 20 products of 10 versions, 5,000 machines, 2,000 hosts; of 100 sessions 2 are active, 3 suspended, 5 crashed, the rest
    ended; one in 100 hung at some time, one in 1,000 does now."""
    return f"""INSERT INTO {prefix}sessions (number, id, product, version, machine_id, hostname, created_ms, updated_ms, ended_ms, heartbeat_ms,
        beat_ms, flags, applied_seq, events, metrics, history, extra)
        SELECT n, 'id-' || (n), 'product-' || (n % 20), '1.' || (n / 20 % 10), 'machine-' || (n % 5000),
        'host-' || (n % 2000), {MADE_AT_MS} - (:count - n) * ({300 * DAY_MS} / :count), {MADE_AT_MS}, 0,
        CASE WHEN n % 100 BETWEEN 2 AND 4 THEN 1 ELSE 0 END, CASE WHEN n % 100 BETWEEN 2 AND 4 THEN 1 ELSE 0 END,
        CASE WHEN n % 100 < 5 THEN 0 WHEN n % 100 < 10 THEN 2 ELSE 1 END + CASE WHEN n % 1000 = 0 THEN 12 WHEN n % 100 = 50 THEN 8 ELSE 0 END,
        0, 0, 0, 0, '' FROM {series}"""


def fill_sqlite(hub, count):
    series = "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :count) SELECT n FROM s)"
    with contextlib.closing(sqlite3.connect(hub.folder / "data" / "hub.db")) as db, db:
        db.execute(sessions_sql(series, ""), {"count": count})
        db.execute("INSERT INTO states SELECT number, '{\"product\":\"p\"}' FROM sessions")


def fill_postgresql(server, url, count):
    series = "generate_series(1::bigint, :count) AS n"
    sql = sessions_sql(series, "weir_").replace(":count", str(count))
    server.sql(sql + "; INSERT INTO weir_states SELECT number, '{\"product\":\"p\"}' FROM weir_sessions; ANALYZE", postgres.name_of(url),
               limit=600)
    server.sql("VACUUM", postgres.name_of(url), limit=600)


def lists(stage):
    """The first page of a list, 50 sessions, out of 1,000,000 (a tenth in a quick run), by each filter, on both databases: until the last
    byte. The median of 15."""
    count = 100_000 if stage.quick else 1_000_000
    server = postgresql(stage)
    for name in ("SQLite", "PostgreSQL") if server else ("SQLite",):
        url = server.database() if name == "PostgreSQL" else SQLITE
        hub = fresh_hub(stage, url)
        hub.stop()
        if name == "PostgreSQL":
            fill_postgresql(server, url, count)
        else:
            fill_sqlite(hub, count)
        hub.start()
        for what, query in FILTERS.items():
            path = f"/api/data/sessions?view=summary&limit=50&{query}"
            if not hub.get(path):
                raise Trouble(f"{path} finds no session")
            took = [until_first_byte(hub.port, path) for _ in range(15)]
            yield Line(f"list on {name}, by {what}", "s", gauge.median(took, "all"), ours_at_most=0.1)
        took = [until_first_byte(hub.port, "/api/data/products") for _ in range(5)]
        yield Line(f"products counted on {name}", "s", gauge.median(took, "all"))
        hub.stop()


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
    "hub-postgresql": ingest_postgresql,
    "hub-lists": lists,
}
