"""figures_sessions -- the session daemon beside the store that it writes to, and beside itself without syncs."""

import json
import subprocess
import urllib.request

import gauge
from actors import ENV, Trouble, Weir
from figures import Line, between

CLIENTS = (1, 32)
SESSIONS = 16           # that events are reported for, in turn
BODY = 256              # bytes of an event as it is kept, about

WEIR_YAML = """\
data_dir: data
log: {{level: warn}}
admin: {{listen: "127.0.0.1:0"}}
sessions:
  listen: 127.0.0.1:0
  enabled: false
  queue: {{max_entries: 10000000, max_bytes: 100GiB}}
"""


class SessionsWeir(Weir):
    """weir with the session daemon, whose server is switched off: what it takes, it keeps."""

    SERVICE = "sessions"

    def __init__(self, folder, binary, env=None):
        super().__init__(folder, binary)
        self.more_env = env or {}
        (folder / "weir.yaml").write_text(WEIR_YAML.format())

    def command(self):
        return ["env", *(f"{k}={v}" for k, v in self.more_env.items()), *super().command()]

    def post(self, path, **body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())

    def register(self, count):
        return [self.post("/register", product="bench", version=str(i))["session_id"] for i in range(count)]


def fresh(stage, **env):
    number = stage.running["sessions-weirs"] = stage.running.get("sessions-weirs", 0) + 1
    weir = SessionsWeir(stage.folder / f"sessions-weir-{number}", stage.weir_bin, env).start()
    (weir.folder / "ids").write_text("\n".join(weir.register(SESSIONS)) + "\n")
    return weir


def report(weir, clients, seconds):
    return gauge.charge(weir, lambda: gauge.wrk(f"http://127.0.0.1:{weir.port}", clients, seconds, script="events.lua",
                                                env=dict(ENV, BENCH_IDS=str(weir.folder / "ids"))))


def built(stage, name):
    path = stage.weir_bin.parent / "tests" / "bench" / name
    if not path.exists():
        raise Trouble(f"there is no {path}")
    return path


def store_puts(stage, threads):
    """The store's own API, with so many threads that each put the next when its last is durable."""
    number = stage.running["session-puts"] = stage.running.get("session-puts", 0) + 1
    done = subprocess.run([built(stage, "outbox_put"), stage.folder / f"session-puts-{number}", str(threads),
                           str(stage.seconds),
                           str(BODY)], env=ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"outbox_put: {done.stdout}{done.stderr}")
    return {"rate": float(done.stdout.split()[0])}


def session_events(stage):
    """Events that the daemon took durably a second, over 1 and 32 kept-alive connections, against the store's own puts
    with as many threads, and against the same daemon whose syncs do nothing (no_sync.c)."""
    weir, loose = fresh(stage), fresh(stage, LD_PRELOAD=str(built(stage, "libno_sync.so")))
    for clients in CLIENTS:
        rounds = gauge.in_turn(stage.rounds, {
            "weir": lambda n=clients: report(weir, n, stage.seconds),
            "the store's own puts": lambda n=clients: store_puts(stage, n),
            "without syncs": lambda n=clients: report(loose, n, stage.seconds)})
        what = f"events taken, {clients} client{'s' if clients > 1 else ''}"
        yield between(rounds, "rate", "the store's own puts", f"{what}: rate", "/s", ratio_at_least=0.4)
        yield between(rounds, "rate", "without syncs", f"{what}: rate", "/s")
        yield between(rounds, "cpu_us", "without syncs", f"{what}: CPU", "us")
        yield between(rounds, "p99_us", "without syncs", f"{what}: p99", "us")
    weir.stop()
    loose.stop()


def session_memory(stage):
    """Resident memory with 2,000 live sessions (500 in a quick run), each with a state, and for each of them."""
    count = 500 if stage.quick else 2000
    weir = SessionsWeir(stage.folder / "sessions-many", stage.weir_bin).start()
    weir.register(1)
    empty = gauge.memory(weir.process.pid, "Rss")
    for i, session_id in enumerate(weir.register(count)):
        weir.post("/state", session_id=session_id, state={"level": i, "name": "sea", "player": {"lives": 3}})
    full = gauge.rss_bytes(weir.process.pid)
    yield Line(f"memory, {count:,} sessions", "B", full)
    yield Line("memory, the same, for each session", "B", (gauge.memory(weir.process.pid, "Rss") - empty) / count)
    weir.stop()


FIGURES = {
    "session-events": session_events,
    "session-memory": session_memory,
}
