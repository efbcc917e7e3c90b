"""weir under the original's names, started as clients of the original start it: from a configuration file of theirs,
with pipes that nobody reads, and a server that may be the original's."""

import glob
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from lab import wire
from lab.daemon import SANITIZER, sanitizer_environment
from lab.sessions import Child, DropIn, OldServer, Program, names
from lab.wait import accepts, free_port, wait_until


class Stage:
    """Daemons of one user: they share a state folder."""

    def __init__(self, site):
        self.site = site
        self.env = dict(site.env, XDG_STATE_HOME=os.path.join(site.dir, "state"), **sanitizer_environment())
        self.server = OldServer()
        self.daemons = []

    def daemon(self, config=None, name=None, start=True, **more):
        port = free_port()
        if config is None:
            config = {"daemon_port": str(port), "server_url": self.server.url, "batch_interval_seconds": 1,
                      "max_batch_size": 100, "heartbeat_timeout_seconds": 60}
        d = DropIn(os.path.join(self.site.dir, name or "app-%d" % len(self.daemons)), "datacat-daemon", self.env,
                   config, **more)
        self.daemons.append(d)
        return d.start(port) if start else d

    def folders(self, what="lock"):
        """Numbers of the state folders that have such a file."""
        found = glob.glob(os.path.join(self.env["XDG_STATE_HOME"], "weir/datacat/*/" + what))
        return sorted(int(p.split("/")[-2]) for p in found)

    def close(self):
        for d in self.daemons:
            d.stop()
            report = SANITIZER.search(d.errors()) if d.process else None
            assert not report, report
        self.server.close()


@pytest.fixture
def stage(site):
    s = Stage(site)
    yield s
    s.close()


def test_a_program_and_its_daemon_and_the_originals_server(stage):
    """A POST for each item, in order, at the server's own paths; and it ends soon after the program's session."""
    d = stage.daemon()
    p = Program(d.port)
    assert p.id in stage.server.taken, "the server's own id"
    assert "machine_id" in stage.server.made[0] and stage.server.made[0]["hostname"]
    p.state(level=1)
    for n in range(20):
        p.event("step", data={"n": n})
    p.metric("fps", 60.5, unit="1/s")
    p.end()
    assert d.wait_end() == 0
    assert [e["data"]["n"] for e in stage.server.of(p.id, "events")] == list(range(20))
    assert stage.server.of(p.id, "state")[0]["state"] == {"level": 1}
    assert [(m["name"], m["value"], m["type"]) for m in stage.server.of(p.id, "metrics")] == [("fps", 60.5, "gauge")]
    assert stage.server.kinds(p.id) == ["state"] + ["events"] * 20 + ["metrics", "end"]
    assert not [r for r in stage.server.seen() if "/batch" in r.path]
    assert all("timestamp" in e for e in stage.server.of(p.id, "events"))


def test_compression_and_the_key_of_the_configuration(stage):
    stage.server.key = "sesame"
    port = free_port()
    d = stage.daemon({"daemon_port": str(port), "server_url": stage.server.url + "/", "api_key": "sesame",
                      "enable_compression": True, "batch_interval_seconds": 1}, start=False)
    d.start(port)
    p = Program(port)
    assert p.id in stage.server.taken
    p.event("long", message="la " * 500)
    p.end()
    assert d.wait_end() == 0
    assert stage.server.of(p.id, "events")[0]["message"].startswith("la la")
    assert any(r.headers.get("content-encoding") == "gzip" for r in stage.server.seen(method="POST"))
    kept = subprocess.run(["grep", "-rl", "sesame", stage.env["XDG_STATE_HOME"]], stdout=subprocess.PIPE)
    assert not kept.stdout, "the key is in no file of ours"


def test_as_the_originals_python_client_does_it(stage):
    """Its own file among others, five members in it, a port of its choice, pipes that nobody reads, `localhost`; values
    as json.dumps writes them, Infinity too; and in the end SIGTERM, five seconds, and the file is gone."""
    port = free_port()
    d = stage.daemon(start=False, config={})
    os.makedirs(os.path.join(d.dir, "tmp/daemon_configs"))
    d.config_path = os.path.join(d.dir, "tmp/daemon_configs/daemon_config_%d.json" % port)
    with open(d.config_path, "w") as f:
        json.dump({"daemon_port": str(port), "server_url": stage.server.url, "batch_interval_seconds": 5,
                   "max_batch_size": 100, "heartbeat_timeout_seconds": 60}, f, indent=2)
    d.env["DATACAT_CONFIG"] = d.config_path
    d.start(port)
    assert d.process.poll() is None

    def post(path, **body):
        request = urllib.request.Request("http://localhost:%d%s" % (port, path), json.dumps(body).encode(),
                                         {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=10) as a:
            assert a.status == 200
            return json.loads(a.read())
    session = post("/register", parent_pid=os.getpid(), product="app", version="1.0")["session_id"]
    assert post("/state", session_id=session, state={"window": {"w": 1, "h": None}}) == {"status": "ok"}
    post("/event", session_id=session, name="opened", category="info", labels=["ui"], message="", data={"n": 1.5})
    post("/event", session_id=session, name="failed", exception_type="ValueError", exception_msg="bad",
         stacktrace=["a.py:1"], source_file="a.py", source_line=1, source_function="f")
    post("/metric", session_id=session, name="memory", value=12.5, type="gauge", unit="MB", tags=["rss"])
    post("/metric", session_id=session, name="clicks", value=1, type="counter", delta=1, tags=[])
    post("/metric", session_id=session, name="clicks", value=1, type="counter", delta=2, tags=[])
    post("/metric", session_id=session, name="latency", value=0.2, type="histogram", unit="s", tags=[],
         metadata={"buckets": [0.1, 0.5, float("inf")]})
    post("/metric", session_id=session, name="load", value=1.5, type="timer", count=3, unit="s", tags=[])
    for path in ("/heartbeat", "/pause_heartbeat", "/resume_heartbeat"):
        post(path, session_id=session)
    with urllib.request.urlopen("http://localhost:%d/session?session_id=%s" % (port, session), timeout=10) as a:
        assert json.loads(a.read())["active"]
    post("/end", session_id=session)
    with urllib.request.urlopen("http://localhost:%d/session?session_id=%s" % (port, session), timeout=10) as a:
        seen = json.loads(a.read())
    assert seen["active"] is False and seen["ended_at"]
    d.stop()
    assert d.process.returncode == 0
    os.remove(d.config_path)
    assert stage.server.kinds(session)[-1] == "end"
    assert [e["name"] for e in stage.server.of(session, "events")] == ["opened", "failed"]
    metrics = {m["name"]: m for m in stage.server.of(session, "metrics")}
    assert metrics["clicks"]["value"] == 3 and metrics["load"]["count"] == 3 and metrics["memory"]["unit"] == "MB"
    assert [b["count"] for b in metrics["latency"]["metadata"]["buckets"]] == [0, 1, 0]


def test_a_configuration_that_is_not_there_is_written(stage):
    if accepts(8079):
        pytest.skip("somebody has the original's port")
    d = stage.daemon("", start=False)
    os.remove(d.config_path)
    d.start(8079)
    with open(d.config_path) as f:
        found = json.load(f)
    assert found["daemon_port"] == "8079" and found["server_url"] == "http://localhost:9090"
    assert found["batch_interval_seconds"] == 5 and found["enable_compression"] is True


@pytest.mark.parametrize("text", ["{not json", "[1]", '{"batch_interval_seconds": "no", "max_batch_size": -1, %s}',
                                  '{"heartbeat_timeout_seconds": 0, "enable_compression": 7, "unheard_of": {}, %s}'])
def test_a_strange_configuration_is_no_reason_not_to_start(stage, text):
    port = free_port() if "%s" in text else 8079
    if port == 8079 and accepts(8079):
        pytest.skip("somebody has the original's port")
    text = text.replace("%s", '"daemon_port": %d, "server_url": "%s"' % (port, stage.server.url))
    d = stage.daemon(text, start=False, config_name="other.json")
    d.env["DATACAT_CONFIG"] = "other.json"
    d.start(port)
    assert Program(port).id
    with open(d.config_path) as f:
        assert f.read() == text, "it is left alone"


def test_it_starts_within_a_second_and_listens_for_localhost(stage):
    """A client waits one second, then asks; the best of three, as a machine may be busy."""
    took = []
    for _ in range(3):
        d = stage.daemon(start=False)
        began = time.monotonic()
        d.start(d.config["daemon_port"])
        took.append(time.monotonic() - began)
    assert min(took) < 1, took
    a = Program(d.port).send("GET", "/health", headers={"Host": "localhost:%d" % d.port})
    assert a.status == 200 and a.json["status"] == "ok"


def test_output_that_nobody_reads_blocks_nothing(stage):
    """Standard error is a pipe that is full from the start, and a server that comes and goes is worth a line."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while os.write(write, b"x" * 4096):
            pass
    except BlockingIOError:
        pass                                            # full to the brim
    os.set_blocking(write, True)
    d = stage.daemon(start=False)
    d.start(d.config["daemon_port"], stderr=write)
    p = Program(d.port)
    for n in range(20):
        stage.server.kill()
        p.event("step", data={"n": n})
        stage.server.start()
    p.end()
    assert d.wait_end() == 0
    assert os.get_blocking(write), "the caller's pipe is as it was"
    os.close(read)
    os.close(write)
    got = [e["data"]["n"] for e in stage.server.of(p.id, "events")]
    assert list(dict.fromkeys(got)) == list(range(20)), got
    d.process = None


def test_a_session_that_begins_while_it_is_about_to_end_keeps_it(stage):
    d = stage.daemon()
    Program(d.port).end()
    time.sleep(2)                                       # within its last three seconds
    p = Program(d.port)
    with pytest.raises(subprocess.TimeoutExpired):
        d.wait_end(5)
    p.event("still here")
    p.end()
    assert d.wait_end() == 0
    assert [e["name"] for e in stage.server.of(p.id, "events")] == ["still here"]


def test_it_ends_when_its_last_program_has_crashed(stage):
    d = stage.daemon()
    children = [Child(), Child()]
    try:
        first, last = (Program(d.port, pid=c.pid) for c in children)
        children[0].end(signal.SIGKILL)
        wait_until(lambda: stage.server.of(first.id, "crash"), 30, "one has crashed, and one is there")
        with pytest.raises(subprocess.TimeoutExpired):
            d.wait_end(5)
        last.metric("shots", 1, type="counter", delta=3)
        children[1].end(signal.SIGSEGV)
        assert d.wait_end() == 0
        assert stage.server.kinds(last.id) == ["metrics", "events", "crash"] or \
            stage.server.kinds(last.id) == ["events", "metrics", "crash"]
        assert stage.server.of(last.id, "crash")[0]["reason"] == "parent_process_terminated"
    finally:
        for c in children:
            c.close()


def test_two_daemons_at_once_and_what_they_leave_is_taken_over(stage):
    """Both are killed with undelivered operations; the next start delivers what both left."""
    a, b = stage.daemon(), stage.daemon()
    assert stage.folders() == [0, 1]
    stage.server.kill()
    pa, pb = Program(a.port, "a"), Program(b.port, "b")
    assert pa.id.startswith("local-session-") and pb.id.startswith("local-session-")
    for n in range(10):
        pa.event("step", data={"n": n})
        pb.event("step", data={"n": n})
    a.kill9()
    b.kill9()
    assert stage.folders("server") == [0, 1]
    stage.server.start()
    c = stage.daemon()
    wait_until(lambda: sorted(m["product"] for m in stage.server.made) == ["a", "b"], 30, "both sessions are made")
    wait_until(lambda: sorted(len(stage.server.of(i, "events")) for i in stage.server.taken) == [10, 10], 30,
               "all events")
    for session_id in stage.server.taken:
        assert [e["data"]["n"] for e in stage.server.of(session_id, "events")] == list(range(10))
    p = Program(c.port, "c")
    p.end()
    assert c.wait_end() == 0


def test_what_was_meant_for_another_server_stays(stage):
    a = stage.daemon()
    stage.server.kill()
    p = Program(a.port, "first")
    p.event("private")
    a.kill9()
    other = OldServer()
    port = free_port()
    b = stage.daemon({"daemon_port": str(port), "server_url": other.url, "batch_interval_seconds": 1}, start=False)
    b.start(port)
    q = Program(port, "second")
    q.end()
    assert b.wait_end() == 0
    assert [m["product"] for m in other.made] == ["second"]
    other.close()
    stage.server.start()
    stage.daemon()
    wait_until(lambda: [m["product"] for m in stage.server.made] == ["first"], 30, "the first one's server has it")


def test_a_folder_with_nothing_left_is_for_anybody(stage):
    d = stage.daemon()
    p = Program(d.port)
    p.end()
    assert d.wait_end() == 0
    assert stage.folders() == [0] and stage.folders("server") == []


def test_the_end_of_the_process_that_started_it(stage):
    """Its sessions get an event and end as crashed, and it goes."""
    d = stage.daemon(start=False)
    port = int(d.config["daemon_port"])
    out = os.path.join(d.dir, "pid")
    starter = subprocess.Popen([sys.executable, "-c",
                                "import subprocess, sys\n"
                                "p = subprocess.Popen([sys.argv[1]], cwd=sys.argv[2])\n"
                                "open(sys.argv[3], 'w').write(str(p.pid))\nsys.stdin.read()", d.path, d.dir, out],
                               stdin=subprocess.PIPE, env=d.env)
    wait_until(lambda: accepts(port), 20, "it accepts connections")
    p = Program(port)
    p.event("working")
    pid = int(open(out).read())
    starter.kill()
    starter.wait()
    wait_until(lambda: not running(pid), 40, "it has ended")
    events = [e["name"] for e in stage.server.of(p.id, "events")]
    assert events == ["working", "daemon_parent_exited"]
    last = stage.server.of(p.id, "events")[-1]
    assert (last["category"], last["group"], last["labels"]) == ("critical", "datacat.daemon", ["crash", "daemon"])
    assert last["data"]["daemon_parent_pid"] == starter.pid
    assert stage.server.of(p.id, "crash")[0]["reason"] == "daemon_parent_process_exited"


def running(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_a_program_tells_beside_goes_along(stage):
    d = stage.daemon()
    p = Program(d.port, "game", "7", pid=os.getpid(), colour="blue", build={"n": [1, None]}, key="mine", hostname="lie")
    wait_until(lambda: stage.server.made, 20, "created")
    made = stage.server.made[0]
    assert (made["product"], made["version"], made["colour"], made["build"]) == ("game", "7", "blue", {"n": [1, None]})
    assert made["key"] != "mine" and made["hostname"] != "lie" and "parent_pid" not in made
    p.end()
    assert d.wait_end() == 0


def test_sigterm_leaves_nothing_behind_that_is_lost(stage):
    d = stage.daemon()
    stage.server.kill()
    p = Program(d.port)
    for n in range(5):
        p.event("step", data={"n": n})
    began = time.monotonic()
    d.stop()
    assert d.process.returncode == 0
    assert time.monotonic() - began < 15
    stage.server.start()
    stage.daemon()
    wait_until(lambda: [len(stage.server.of(i, "events")) for i in stage.server.taken] == [5], 30,
               "delivered by the next")


def test_it_stays_while_the_server_takes_what_it_has(stage):
    d = stage.daemon()
    p = Program(d.port)
    gate = stage.server.hold("/api/sessions/%s/events" % p.id)
    p.event("slow")
    p.end()
    gate.wait_arrived(1)
    with pytest.raises(subprocess.TimeoutExpired):
        d.wait_end(4)
    gate.open()
    assert d.wait_end() == 0
    assert stage.server.kinds(p.id) == ["events", "end"]


def test_an_answer_that_is_lost_is_asked_for_again(stage):
    """At least once, in order: the original's server cannot tell a repeat."""
    d = stage.daemon()
    p = Program(d.port)
    stage.server.cut("/api/sessions/%s/events" % p.id, "after", times=1)
    for n in range(3):
        p.event("step", data={"n": n})
    p.end()
    assert d.wait_end() == 0
    got = [e["data"]["n"] for e in stage.server.of(p.id, "events")]
    assert got == [0, 0, 1, 2]


def test_the_servers_name(stage):
    """datacat-server, from a config.json; a daemon of weir's speaks batches with it."""
    port = free_port()
    s = DropIn(os.path.join(stage.site.dir, "server"), "datacat-server", stage.env,
               {"server_port": str(port), "data_path": "./kept", "retention_days": 30,
                "require_api_key": True, "api_key": "k"})
    stage.daemons.append(s)
    s.start(port)
    dport = free_port()
    d = stage.daemon({"daemon_port": str(dport), "server_url": "http://localhost:%d" % port, "api_key": "k",
                      "batch_interval_seconds": 1}, start=False).start(dport)
    p = Program(dport)
    assert not p.id.startswith("local-session-")
    p.event("one")
    p.event("two")
    p.end()
    assert d.wait_end() == 0
    bearer = {"Authorization": "Bearer k"}
    q = Program(port, register=False)
    assert q.send("GET", "/api/sessions/" + p.id).status == 401
    found = q.send("GET", "/api/sessions/" + p.id, headers=bearer).json
    assert names(found) == ["one", "two"] and not found["active"]
    assert os.path.isdir(os.path.join(s.dir, "kept")) and glob.glob(os.path.join(s.dir, "datacat-server-*.log"))
    s.stop()
    s.start(port)
    assert names(q.send("GET", "/api/sessions/" + p.id, headers=bearer).json) == ["one", "two"]


def test_a_server_without_a_place_for_its_data_does_not_start(stage):
    s = DropIn(os.path.join(stage.site.dir, "server"), "datacat-server", stage.env,
               {"server_port": "0", "data_path": "/proc/nowhere"})
    r = subprocess.run([s.path], cwd=s.dir, env=s.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
    assert r.returncode != 0


def test_between_the_originals_names_over_tls(stage):
    """Certificates are verified whatever tls_insecure_skip_verify says: the daemon says so and loses nothing, and one with
    the authority delivers what that one could not."""
    port, dports = free_port(), [free_port(), free_port()]
    s = DropIn(os.path.join(stage.site.dir, "server"), "datacat-server", stage.env,
               {"server_port": str(port), "tls_cert_file": "cert.pem", "tls_key_file": "key.pem"})
    stage.daemons.append(s)
    cert = os.path.join(s.dir, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", os.path.join(s.dir, "key.pem"), "-out", cert], check=True, capture_output=True)
    s.start(port)
    config = {"server_url": "https://localhost:%d" % port, "batch_interval_seconds": 1}
    careless = stage.daemon(dict(config, daemon_port=str(dports[0]), tls_insecure_skip_verify=True), start=False).start(dports[0])
    p = Program(dports[0], "careless")
    assert p.id.startswith("local-session-")
    p.event("kept")
    careless.stop()
    assert "ca_file" in careless.process.stderr.peek().decode()

    def listed():
        return json.loads(wire.request(port, "GET", "/api/data/sessions", cafile=cert).body)
    assert listed() == []
    d = stage.daemon(dict(config, daemon_port=str(dports[1]), ca_file=cert), start=False).start(dports[1])
    q = Program(dports[1], "careful")
    assert not q.id.startswith("local-session-")
    q.event("told")
    wait_until(lambda: {x["state"]["product"]: names(x) for x in listed()} == {"careful": ["told"], "careless": ["kept"]}, 30,
               "both are there")
    q.end()
    assert d.wait_end() == 0
