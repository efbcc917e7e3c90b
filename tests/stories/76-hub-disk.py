"""The hub's disk is full, or its database is damaged."""

import os
import subprocess

import pytest

from lab.wait import wait_until
from lab.wire import Raw


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root")
    where = str(tmp_path / "small")
    os.makedirs(where)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "weir-story", where], check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def test_a_full_disk_is_an_error_and_no_loss(site, small_disk):
    hub = site.hub(weir={"data_dir": os.path.join(small_disk, "data")})
    session = hub.create()
    session.batch(*[("event", {"name": "before"})] * 10, first=1)
    ballast = os.path.join(small_disk, "ballast")
    with open(ballast, "wb") as f:
        try:
            while True:
                f.write(b"x" * 65536)
                f.flush()
        except OSError:
            pass
    kept, answer = 10, None
    for _ in range(200):
        answer = hub.ask("POST", session.path + "/events", {"name": "e", "message": "x" * 50000})
        if answer.status != 200:
            break
        kept += 1
    assert answer.status == 507 and "full" in answer.text, answer
    assert hub.ask("GET", "/livez").status == 200
    os.remove(ballast)
    wait_until(lambda: hub.ask("POST", session.path + "/events", {"name": "after"}).status == 200)
    names = [e["name"] for e in session.now()["events"]]
    assert names == ["before"] * 10 + ["e"] * (kept - 10) + ["after"]
    hub.kill9()
    hub.restart()
    assert [e["name"] for e in session.now()["events"]] == names


def test_a_large_answer_leaves_room_for_what_is_reported(site, small_disk):
    hub = site.hub(weir={"data_dir": os.path.join(small_disk, "data")})
    session = hub.create().state(large="x" * 500000)
    session.batch(*[("state", {"state": {"n": i}}) for i in range(100)], first=1)
    deaf = Raw(hub.ports["hub"])                        # 50 MB on a disk of 16, asked for by somebody who reads nothing
    deaf.send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % session.path)
    wait_until(lambda: "hub_answer_cut" in hub.whole_log())
    session.batch(*[("event", {"name": "e", "message": "x" * 1000})] * 100, first=101)
    deaf.close()
    assert hub.get("/api/data%s/events?from=99" % session.path[4:])[0]["name"] == "e"
    assert hub.get("/api/data%s?view=summary" % session.path[4:])["state"]["n"] == 99


def test_a_damaged_database_is_set_aside_and_said(site):
    hub = site.hub()
    hub.create().event("e")
    hub.stop()
    path = os.path.join(hub.data_dir, "hub.db")
    with open(path, "r+b") as f:
        f.write(b"this is no database" * 300)
    hub.restart()
    assert hub.list() == []
    assert "hub_database_damaged" in hub.whole_log()
    assert any(name.startswith("hub.db") for name in os.listdir(os.path.join(hub.data_dir, "damaged")))
    assert hub.health()["status"] == "degraded"
    hub.create()
    hub.restart()
    assert len(hub.list()) == 1 and hub.health()["status"] == "healthy"


def test_what_can_be_read_of_a_damaged_database_is_saved(site):
    hub = site.hub()
    small = [hub.create("p%d" % i, "1", machine_id="m", build=i).state(n=i).event("e", data={"n": i}).metric("m", i).end() for i in range(50)]
    large = hub.create("large", "1")
    for first in range(1, 10001, 1000):
        large.batch(*[("event", {"name": "e%d" % (first + i), "message": "x" * 300}) for i in range(1000)], first=first)
    before = {s.id: s.now() for s in small}
    hub.stop()
    path = os.path.join(hub.data_dir, "hub.db")
    with open(path, "r+b") as f:
        for place in (0.3, 0.6):                        # pages of events, as those are most of the file
            f.seek(int(os.path.getsize(path) * place) // 4096 * 4096)
            f.write(b"\xaa" * 8192)
    hub.restart()
    log = hub.whole_log()
    assert "hub_database_damaged" in log and "hub_database_salvaged" in log and hub.health()["status"] == "degraded"
    assert {s.id: s.now() for s in small} == before     # their pages are whole
    events = [int(e["name"][1:]) for e in large.now()["events"]]
    assert 9000 < len(events) < 10000 and events == sorted(set(events)) and events[0] == 1 and events[-1] == 10000
    large.event("after").state(a=1)
    assert hub.create().now()["events"] == []           # a number of its own
    now = large.now()
    assert now["events"][-1]["name"] == "after" and now["state"] == {"product": "large", "version": "1", "a": 1}
    hub.restart()
    assert large.now() == now and hub.health()["status"] == "healthy"


def test_a_database_of_a_newer_weir_is_left_alone(site):
    import sqlite3
    hub = site.hub()
    hub.create()
    hub.stop()
    path = os.path.join(hub.data_dir, "hub.db")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    from lab.daemon import run_weir
    code, _, err = run_weir("hub", "-c", hub.config_path, env=hub.env, cwd=hub.dir)
    assert code != 0 and "newer weir" in err, (code, err)
    assert not os.path.exists(os.path.join(hub.data_dir, "damaged"))
