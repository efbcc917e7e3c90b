"""What the session daemon has answered is there, and what it could not keep is nowhere: with rows that cannot be
written, a queue that is full, and kill -9 in between.

A trigger in the database stands for the disk: it refuses one kind of row, and the others go through."""

import os
import resource
import signal
import sqlite3

import pytest

from lab.sessions import Refused, Sessions, names
from lab.wait import wait_until

LEDGER, OUTBOX = "sessions/sessions.db", "outbox/outbox.db"


@pytest.fixture
def lab(site):
    stage = Sessions(site)
    yield stage
    stage.close()


def run_sql(lab, database, sql):
    conn = sqlite3.connect(os.path.join(lab.weir.dir, "data", database), timeout=20)
    try:
        conn.executescript(sql)
    finally:
        conn.close()


def refuse(lab, database, table, when):
    """Rows of this kind cannot be written from now on."""
    run_sql(lab, database, "CREATE TRIGGER refused BEFORE INSERT ON %s WHEN %s BEGIN SELECT RAISE(FAIL, 'no'); END;"
            % (table, when))


def accept(lab, database):
    run_sql(lab, database, "DROP TRIGGER refused;")


def numbers(session):
    return [e["data"]["n"] for e in session["events"] if "n" in e.get("data", {})]


def test_the_servers_id_is_written_down_before_the_creation_leaves_the_queue(lab):
    refuse(lab, LEDGER, "sessions", "NEW.hub_id IS NOT NULL")
    p = lab.program()
    assert p.id.startswith("local-session-")
    p.event("step", data={"n": 0})
    wait_until(lambda: lab.queue()["retries"] >= 3, 20, "it was tried again")
    lab.weir.kill9()
    accept(lab, LEDGER)
    lab.weir.start(keep_ports=True)
    p.event("step", data={"n": 1})
    lab.wait_delivered()
    assert numbers(lab.at_hub(p)) == [0, 1]
    assert len(lab.hub.sessions()) == 1


def test_an_end_leaves_the_queue_when_the_row_has_it(lab):
    p = lab.program()
    lab.wait_delivered()
    refuse(lab, LEDGER, "sessions", "NEW.flags & 1")
    p.end()
    wait_until(lambda: lab.queue()["retries"] >= 3, 20, "it was tried again")
    lab.weir.kill9()
    accept(lab, LEDGER)
    lab.weir.start(keep_ports=True)
    assert p.look()["active"] is False
    lab.wait_delivered()
    lab.weir.kill9()
    lab.weir.start(keep_ports=True)
    assert p.look()["active"] is False


def test_a_session_is_not_done_while_a_total_of_it_waits(lab):
    p = lab.program()
    p.metric("shots", 1, type="counter", delta=5)
    refuse(lab, OUTBOX, "entries", "NEW.uri LIKE '%/metrics'")
    p.end()
    lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    lab.wait_delivered()
    assert not lab.item(p.id)["delivered"]
    lab.weir.kill9()
    accept(lab, OUTBOX)
    lab.weir.start(keep_ports=True)
    s = lab.wait_at_hub(p, lambda s: s["metrics"], "the total arrives")
    assert [m["value"] for m in s["metrics"]] == [5]
    wait_until(lambda: lab.item(p.id)["delivered"], 20, "now it is done")


def test_a_sample_that_comes_after_the_end_goes_on_from_the_total(lab):
    """Of a session that is done with: nothing of it is in memory after a restart."""
    p = lab.program()
    p.metric("shots", 1, type="counter", delta=10, tags=["b", "a"])
    p.metric("wait", 3, type="histogram", metadata={"buckets": [1, 5]})
    p.end()
    lab.wait_delivered()
    wait_until(lambda: lab.item(p.id)["delivered"], 20, "it is done")
    lab.weir.restart()
    assert not lab.item(p.id)
    p.metric("shots", 1, type="counter", delta=2, tags=["a", "b"])
    p.metric("wait", 1, type="histogram", metadata={"buckets": [1, 5]})
    s = lab.wait_at_hub(p, lambda s: len(s["metrics"]) == 4, "both totals came again")
    assert [m["value"] for m in s["metrics"] if m["name"] == "shots"] == [10, 12]
    assert [m["metadata"]["count"] for m in s["metrics"] if m["name"] == "wait"] == [1, 2]


def test_a_session_that_cannot_be_looked_up_is_not_said_to_be_unknown(lab):
    """No descriptor is left for the database: a program that hears 404 would begin a new session."""
    p, q = lab.program("done"), lab.program("alive")
    p.end()
    lab.wait_delivered()
    wait_until(lambda: lab.item(p.id)["delivered"], 20, "it is done")
    lab.weir.restart()
    q.heartbeat()                                       # a connection, and p is in the database alone
    pid = lab.weir.process.pid
    used = {int(fd) for fd in os.listdir("/proc/%d/fd" % pid)}
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(len(used) + 1)) - used), before[1]))
    try:
        for a in (q.send("GET", "/session?session_id=" + p.id), q.send("POST", "/event", {"session_id": p.id, "name": "late"})):
            assert a.status == 503 and "looked up" in a.text, a
        assert q.send("GET", "/session?session_id=" + q.id).status == 200
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert q.send("GET", "/session?session_id=" + p.id).json["active"] is False
    assert q.send("GET", "/session?session_id=nobody").status == 404
    p.event("late")
    lab.wait_delivered()


def test_a_sample_that_was_refused_is_not_counted(lab):
    p = lab.program()
    p.metric("shots", 1, type="counter", delta=5)
    refuse(lab, LEDGER, "totals", "1")
    for name in ("shots", "other"):
        a = p.send("POST", "/metric", {"session_id": p.id, "name": name, "value": 1, "type": "counter", "delta": 100})
        assert a.status == 503
    accept(lab, LEDGER)
    p.metric("shots", 1, type="counter", delta=2)
    p.end()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    assert [m["value"] for m in s["metrics"] if m["name"] == "shots"][-1] == 7
    assert not [m for m in s["metrics"] if m["name"] == "other"]


def test_a_program_whose_end_could_not_be_kept_is_watched_on(lab):
    child = lab.child()
    p = lab.program(pid=child.pid)
    refuse(lab, OUTBOX, "entries", "NEW.uri LIKE '%/end'")
    a = p.send("POST", "/end", {"session_id": p.id})
    assert a.status == 503
    assert p.look()["active"]
    accept(lab, OUTBOX)
    child.end(signal.SIGKILL)
    s = lab.wait_at_hub(p, lambda s: s["crashed"], "it has crashed")
    assert names(s).count("parent_process_crashed") == 1


def test_a_pause_is_durable_when_it_is_answered(lab):
    p = lab.program()
    lab.wait_delivered()
    refuse(lab, LEDGER, "sessions", "NEW.flags & 8")
    a = p.send("POST", "/pause_heartbeat", {"session_id": p.id})
    assert a.status == 503
    assert not lab.item(p.id)["paused"]
    accept(lab, LEDGER)
    for want in (True, False):
        p.pause() if want else p.resume()
        lab.weir.kill9()
        lab.weir.start(keep_ports=True)
        assert lab.item(p.id)["paused"] is want


def fill(p, room):
    """Reports until the queue is full but for `room` entries; how many events."""
    n = 0
    while True:
        try:
            p.event("step", data={"n": n})
        except Refused as e:
            assert e.answer.status == 503
            return n
        n += 1
        assert n < 1000
        if room(n):
            return n


def test_a_crash_in_a_queue_with_room_for_half_of_it_is_told_once(site):
    lab = Sessions(site, queue={"max_entries": 20, "on_full": "reject"})
    try:
        child = lab.child()
        p = lab.program(pid=child.pid)
        lab.wait_delivered()
        lab.go_offline()
        fill(p, lambda n: lab.queue()["entries"] == 19)
        child.end(signal.SIGKILL)
        wait_until(lambda: lab.queue()["entries"] == 20, 20, "the event took the last place")
        first = next(e for e in lab.weir.outbox(service="sessions") if e["raw_uri"].endswith("/events"))
        assert lab.weir.entry_do(first["id"], "drop").status == 200
        wait_until(lambda: lab.item(p.id)["crashed"], 20, "the crash has the place that became free")
        lab.come_back()
        s = lab.wait_at_hub(p, lambda s: s["crashed"], "it has crashed")
        assert names(s).count("parent_process_crashed") == 1
    finally:
        lab.close()


def test_the_daemon_makes_room_for_what_it_has_to_tell_itself(site):
    lab = Sessions(site, queue={"max_entries": 20}, heartbeat_timeout="1s")
    try:
        child = lab.child()
        p, q = lab.program(pid=child.pid), lab.program()
        p.pause()
        lab.wait_delivered()
        lab.go_offline()
        while lab.queue()["entries"] < 20:
            q.metric("fps", 60)
        child.end(signal.SIGKILL)
        wait_until(lambda: lab.item(p.id)["crashed"] and lab.item(q.id)["hung"], 20, "both are told")
        lab.come_back()
        s = lab.wait_at_hub(p, lambda s: s["crashed"], "it has crashed")
        assert names(s).count("parent_process_crashed") == 1
        s = lab.wait_at_hub(q, lambda s: "operations_dropped" in names(s), "what was dropped is told")
        told = sum(e["data"]["metrics"] for e in s["events"] if e["name"] == "operations_dropped")
        dropped = lab.weir.metric("weir_session_operations_total", type="metric", outcome="dropped")
        lab.wait_delivered()
        assert told == dropped > 0
    finally:
        lab.close()


def test_a_total_that_was_dropped_goes_again(site):
    lab = Sessions(site, queue={"max_entries": 20})
    try:
        p = lab.program()
        lab.wait_delivered()
        lab.go_offline()
        p.metric("shots", 1, type="counter", delta=5)
        p.metric("wait", 0.2, type="histogram", tags=["b", "a"])
        wait_until(lambda: sum(e["raw_uri"].endswith("/metrics") for e in lab.weir.outbox(service="sessions")) == 2, 20)
        while not lab.weir.metric("weir_session_operations_total", type="metric", outcome="dropped"):
            p.metric("fps", 60)
        lab.weir.kill9()
        lab.weir.start(keep_ports=True)
        lab.come_back()
        p.end()
        s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
        assert {m["value"] for m in s["metrics"] if m["name"] == "shots"} == {5}
        assert {m["value"] for m in s["metrics"] if m["name"] == "wait"} == {0.2}
    finally:
        lab.close()


def test_what_was_dropped_is_told_through_a_kill(site):
    lab = Sessions(site, queue={"max_entries": 20})
    try:
        p = lab.program()
        lab.wait_delivered()
        lab.go_offline()
        refuse(lab, OUTBOX, "entries", "NEW.uri LIKE '%/events'")
        dropped = 0
        while not dropped:
            p.metric("fps", 60)
            dropped = lab.weir.metric("weir_session_operations_total", type="metric", outcome="dropped")
        lab.weir.kill9()
        accept(lab, OUTBOX)
        lab.weir.start(keep_ports=True)
        lab.come_back()
        s = lab.wait_at_hub(p, lambda s: s["events"], "it is told")
        event, = s["events"]
        assert event["name"] == "operations_dropped" and event["data"] == {"metrics": dropped}
        assert (event["category"], event["group"]) == ("warning", "datacat.daemon")
    finally:
        lab.close()


def damage(lab, first, count):
    """Pages of sessions.db with nonsense in them; the daemon is down."""
    path = os.path.join(lab.weir.dir, "data", LEDGER)
    with open(path, "r+b") as f:
        f.seek(16)
        page = int.from_bytes(f.read(2), "big")
        f.seek(0, os.SEEK_END)
        assert f.tell() > page * (first + count), "that many pages are there"
        f.seek(page * first)
        f.write(os.urandom(page * count))


@pytest.mark.parametrize("first, count, saved", [(0, 1, 0), (20, 1, 40)], ids=["nothing of it", "one page of it"])
def test_a_damaged_database_of_sessions(lab, first, count, saved):
    done = [lab.program("done", str(i)) for i in range(60)]
    for p in done:
        p.state(text="x" * 1500)                            # so that it is many pages
    lab.wait_delivered()
    lab.go_offline()
    waits = [lab.program("waits", str(i)) for i in range(3)]
    for p in waits:
        p.event("step", data={"n": 0})
        p.state(level=1)
    lab.weir.stop()
    damage(lab, first, count)
    lab.weir.start(keep_ports=True)
    assert lab.weir.log_has("sessions_damaged")
    health = lab.weir.health()
    assert health["status"] == "degraded", health
    told = waits[0].send("GET", "/health").json["damaged"]["saved"]
    assert told >= saved + 3
    assert lab.weir.admin("GET", "/api/v1/status").json["sessions"]["damaged"]["saved"] == told
    known = [p for p in done if p.send("GET", "/session?session_id=" + p.id).status == 200]
    assert len(known) >= saved
    fresh = lab.program("fresh")
    assert fresh.id not in [p.id for p in done + waits]
    for p in waits:
        assert p.look()["state"]["level"] == 1
        p.event("step", data={"n": 1})
        p.end()
    lab.come_back()
    for p in waits:
        s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
        assert numbers(s) == [0, 1] and s["state"]["level"] == 1
    for p in known:
        p.event("step", data={"n": 7})
    lab.wait_delivered()
    for p in known:
        assert numbers(lab.hub.session(p.id)) == [7], "it goes on"
    lab.weir.restart()
    assert lab.weir.health()["status"] == "healthy", "it is told once"


def test_a_database_of_the_first_version_is_brought_up_to_date(lab):
    lab.go_offline()
    p = lab.program()
    p.state(level=1)
    lab.weir.stop()
    run_sql(lab, LEDGER, "ALTER TABLE sessions DROP COLUMN dropped; ALTER TABLE sessions DROP COLUMN client_key;"
            "PRAGMA user_version=1;")
    for _ in range(2):
        lab.weir.start(keep_ports=True)
        assert p.look()["state"]["level"] == 1
        lab.weir.stop()


@pytest.mark.parametrize("where", ["online", "offline"])
def test_a_registration_made_again_under_its_key_is_the_same_session_through_a_kill(lab, where):
    if where == "offline":
        lab.go_offline()
    p = lab.program("game", "1", key="my-own-name")
    lab.weir.kill9()
    lab.weir.start(keep_ports=True)
    q = lab.program("game", "1", key="my-own-name")
    other = lab.program("game", "1", key="another")
    ids = {p.look()["local_id"], q.look()["local_id"]}
    assert len(ids) == 1 and other.look()["local_id"] not in ids
    if where == "offline":
        lab.come_back()
    q.end()
    lab.wait_at_hub(q, lambda s: not s["active"], "it has ended")
    lab.wait_delivered()
    assert len([s for s in lab.hub.sessions() if s["state"]["product"] == "game"]) == 2
    again = lab.program("game", "1", key="my-own-name")
    assert again.look()["local_id"] not in ids, "a new one, as the first has ended"
