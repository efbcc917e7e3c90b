"""`weir session ls | show | flush`, and what /queue, /health, metrics and logs say of the same."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from lab.daemon import run_weir
from lab.sessions import Sessions
from lab.wait import wait_until


@pytest.fixture
def lab(site):
    stage = Sessions(site, batch_interval="10m")            # nothing goes unless somebody flushes
    yield stage
    stage.close()


def row_of(out, word):
    return next((line for line in out.splitlines() if word in line), None)


def test_a_daemon_without_sessions(lab):
    code, out, err = lab.weir.command("session", "ls")
    assert (code, out, err) == (0, "no sessions\n", "")
    assert lab.weir.command("session", "ls", "--json")[1].strip() == "[]"


def test_ls_shows_each_with_its_state(lab):
    child = lab.child()
    p, q, r = lab.program("alive", "1", pid=child.pid), lab.program("paused", "2"), lab.program("over", "3")
    q.pause()
    r.end()
    code, out, _ = lab.weir.command("session", "ls")
    assert code == 0
    assert p.id in row_of(out, "alive") and "active" in row_of(out, "alive") and str(child.pid) in row_of(out, "alive")
    assert "paused" in row_of(out, q.id).split()[3] and "ended" in row_of(out, r.id)
    items = {i["product"]: i for i in json.loads(lab.weir.command("session", "ls", "--json")[1])}
    assert items["alive"]["id"] == p.id and items["alive"]["local_id"].startswith("local-session-")
    assert items["alive"]["active"] and items["paused"]["paused"] and not items["over"]["active"]
    child.end(signal.SIGKILL)
    wait_until(lambda: "crashed" in row_of(lab.weir.command("session", "ls")[1], "alive"), 20, "it has crashed")


def test_show_by_either_id(lab):
    p = lab.program("game\x1b[2J", "1")
    p.state(level=3)
    p.event("saved\x1b[2J", category="error")
    p.metric("fps", 60.5)
    local = lab.item(p.id)["local_id"]
    for session_id in (p.id, local):
        code, out, _ = lab.weir.command("session", "show", session_id)
        assert code == 0 and "\x1b" not in out
        assert local in out and '"level": 3' in out and "saved" in out and "error" in out and "fps = 60.5" in out
    found = json.loads(lab.weir.command("session", "show", local, "--json")[1])
    assert found["id"] == p.id and found["events"][0]["category"] == "error" and found["state"]["level"] == 3
    code, out, err = lab.weir.command("session", "show", "nobody")
    assert code == 1 and not out and "nobody" in err


def test_flush_sends_what_waits_for_its_time(lab):
    p = lab.program()
    p.event("waits")
    p.metric("shots", 1, type="counter", delta=2)
    assert lab.queue()["entries"] >= 1
    assert lab.at_hub(p)["events"] == []
    code, out, _ = lab.weir.command("session", "flush")
    assert code == 0 and "due now" in out
    s = lab.wait_at_hub(p, lambda s: s["events"] and s["metrics"], "both arrived")
    assert [m["value"] for m in s["metrics"]] == [2]
    lab.wait_delivered()
    p.event("waits, too")
    lab.flush()                                             # the daemon's own POST /flush does the same
    lab.wait_at_hub(p, lambda s: len(s["events"]) == 2, "it arrived")


def test_flush_while_the_hub_is_away_says_so(lab):
    lab.go_offline()
    p = lab.program()
    p.event("waits")
    code, out, _ = lab.weir.command("session", "flush")
    assert code == 0 and "away" in out
    code, out, _ = lab.weir.command("session", "ls")
    assert p.id in out and p.id.startswith("local-session-")


def test_what_the_queue_and_health_say(lab):
    assert lab.queue() == dict(lab.queue(), entries=0, held=0, bytes=0, paused="")
    lab.go_offline()
    p = lab.program()
    for n in range(10):
        p.event("step", data={"n": n})
    q = lab.queue()
    assert q["entries"] >= 11 and q["bytes"] > 0 and q["oldest_age_seconds"] >= 0 and q["server"] == "down"
    h = p.send("GET", "/health").json
    assert h["status"] == "ok" and h["sessions"] >= 1 and h["queue"]["entries"] == q["entries"]
    assert lab.weir.health()["components"]["outbox"]["queued"] >= 11
    assert lab.weir.metric("weir_outbox_entries", service="sessions", state="queued") >= 11


def test_counts_and_log_lines(lab):
    child = lab.child()
    p = lab.program(pid=child.pid)
    for _ in range(3):
        p.event("x")
    p.metric("m", 1)
    assert p.send("POST", "/event", b"{").status == 400

    def count(kind, outcome):
        return lab.weir.metric("weir_session_operations_total", type=kind, outcome=outcome)
    assert count("event", "accepted") == 3 and count("metric", "accepted") == 1 and count("create", "accepted") == 1
    assert count("crash", "accepted") == 0 and count("end", "dropped") == 0
    lab.flush()
    lab.wait_delivered()
    wait_until(lambda: count("event", "delivered") == 3, 20, "counted as delivered")
    child.end(signal.SIGKILL)
    lab.weir.wait_log("session_crashed")
    local = lab.item(p.id)["local_id"]
    assert lab.weir.log_has("session_created", session=local)
    wait_until(lambda: count("crash", "accepted") == 1, 20)
    lab.go_offline()
    q = lab.program()
    lab.come_back()
    lab.weir.wait_log("session_remapped", q.id)
    assert lab.weir.log_has("session_remapped", lab.hub_id(q.id))


def test_no_daemon_no_sessions_no_arguments(lab, site):
    nowhere = dict(lab.weir.env, WEIR_ADMIN="127.0.0.1:1")
    assert run_weir("session", "ls", env=nowhere, cwd=site.dir)[0] == 3
    assert run_weir("session", "show", env=nowhere, cwd=site.dir)[0] == 2
    assert run_weir("session", env=nowhere, cwd=site.dir)[0] == 2
    assert run_weir("session", "--help", env=nowhere, cwd=site.dir)[0] == 0
    code, _, err = run_weir("session", "lss", env=nowhere, cwd=site.dir)
    assert code == 2 and "lss" in err


def test_a_weir_without_sessions_says_so(site):
    weir = site.start_weir()
    code, _, err = weir.command("session", "ls")
    assert code == 1 and err


TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def document():
    with open(os.path.join(TOP, "docs", "daemon-api.md")) as f:
        return f.read()


def test_the_document_names_every_path_and_no_other():
    with open(os.path.join(TOP, "src", "sessions", "api.c")) as f:
        paths = set(re.findall(r'\.path = "([^"]+)"', f.read()))
    assert len(paths) == 13
    assert paths == set(re.findall(r"^\| `(?:GET|POST) (/\w+)", document(), re.M))


def test_the_documents_examples_are_taken(lab):
    """Each body of the table is sent as it stands, with a session's id in its place."""
    p = lab.program()
    examples = re.findall(r"^\| `POST (/\w+)` \| `(\{.*?\})` \|", document(), re.M)
    assert len(examples) == 8
    for path, body in examples:
        a = p.send("POST", path, body.replace('"ID"', json.dumps(p.id)).replace("4711", "0").encode())
        assert a.status == 200, (path, a)
        assert list(a.json) == ["session_id"] if path == "/register" else a.json == {"status": "ok"}


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_the_documents_session_by_hand(lab):
    script = document().split("```sh\n")[1].split("```")[0].replace("127.0.0.1:8079", "127.0.0.1:%d" % lab.port)
    script = script.replace("jq -r .session_id", """python3 -c 'import json; print(json.loads(input())["session_id"])'""")
    done = subprocess.run(["bash", "-e", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["active"] is False and [e["name"] for e in seen["events"]] == ["level_loaded"]


def test_the_documents_histogram_is_what_comes(lab):
    p = lab.program()
    for _ in range(2):
        p.metric("load", 0.3, type="histogram", unit="s", tags=[], metadata={"buckets": [0.1, 0.5, "inf"]})
    lab.flush()
    s = lab.wait_at_hub(p, lambda s: s["metrics"], "it arrived")
    shown = json.loads(document().split("```json\n")[1].split("```")[0])
    got = {k: v for k, v in s["metrics"][0].items() if k in shown}
    assert got == {k: v for k, v in shown.items() if v != []}
