"""The hub answers DataCat's API to the letter: the life of a session, as its clients know it."""

import random
import re

import pytest

from lab import postgres

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ALWAYS = ["id", "created_at", "updated_at", "active", "suspended", "crashed", "hung", "state", "state_history", "events",
          "metrics"]
SOMETIMES = ["ended_at", "last_heartbeat", "machine_id", "hostname"]

BOTH_DATABASES = True


@pytest.fixture(scope="module")
def hub(shared_site):
    return shared_site.hub()


def test_health_is_the_originals_and_says_that_batches_are_understood(hub):
    for method in ("GET", "POST", "DELETE"):
        a = hub.ask(method, "/health")
        assert a.status == 200
        assert {k: a.json[k] for k in ("status", "service", "version")} == {
            "status": "healthy", "service": "datacat-server", "version": "1.0.0"}
        assert a.json["batch"] is True and a.json["weir"]


def test_a_new_session_has_everything_and_nothing_that_is_not_set(hub):
    session = hub.create("game", "2.1")
    assert UUID4.fullmatch(session.id)
    now = session.now()
    assert sorted(now) == sorted(ALWAYS)
    assert now["id"] == session.id
    assert (now["active"], now["suspended"], now["crashed"], now["hung"]) == (True, False, False, False)
    assert now["state"] == {"product": "game", "version": "2.1"}
    assert now["state_history"] == now["events"] == now["metrics"] == []
    assert TIME.fullmatch(now["created_at"]) and TIME.fullmatch(now["updated_at"])
    more = hub.create("game", "2.1", machine_id="m1", hostname="desk").heartbeat().end().now()
    assert sorted(more) == sorted(ALWAYS + SOMETIMES)
    assert (more["machine_id"], more["hostname"], more["active"]) == ("m1", "desk", False)
    assert TIME.fullmatch(more["ended_at"]) and TIME.fullmatch(more["last_heartbeat"])


def test_the_state_merges_deeply_and_its_history_has_each_whole_state(hub):
    session = hub.create()
    session.do("state", {"state": {"a": {"b": 1, "c": [1, 2]}, "n": {"x": None}}, "timestamp": "2026-01-02T03:04:05.123456789Z"})
    session.do("state", {"a": {"b": None, "d": 0.1}, "gone": None})
    session.do("state", {"state": {"a": {"c": "new"}}})
    now = session.now()
    base = {"product": "game", "version": "1.0"}
    states = [dict(base, a={"b": 1, "c": [1, 2]}, n={"x": None}), dict(base, a={"c": [1, 2], "d": 0.1}, n={"x": None}),
              dict(base, a={"c": "new", "d": 0.1}, n={"x": None})]
    assert [h["state"] for h in now["state_history"]] == states and now["state"] == states[-1]
    assert all(sorted(h) == ["state", "timestamp"] for h in now["state_history"])
    assert now["state_history"][0]["timestamp"] == "2026-01-02T03:04:05.123456789Z"
    assert TIME.fullmatch(now["state_history"][1]["timestamp"])


def test_events_have_their_fields_and_exceptions_are_errors(hub):
    session = hub.create()
    session.event("plain")
    session.event("full", timestamp="2026-01-02T03:04:05+02:00", category="warning", group="g", labels=["a", "b"], message="m",
                  data={"k": [1, {"z": None}]}, stacktrace=["f1", "f2"], exception_type="E", exception_msg="boom",
                  source_file="a.c", source_line=7, source_function="f", unknown=1)
    session.event("thrown", exception_type="E", category="info")
    session.event("empty", stacktrace=[], exception_type="", source_line=0, labels=None)
    plain, full, thrown, empty = session.now()["events"]
    assert list(plain) == ["timestamp", "name", "category", "group", "labels", "message", "data"]
    assert (plain["category"], plain["group"], plain["labels"], plain["message"], plain["data"]) == ("info", "", [], "", {})
    assert full == {"timestamp": "2026-01-02T03:04:05+02:00", "name": "full", "category": "warning", "group": "g",
                    "labels": ["a", "b"], "message": "m", "data": {"k": [1, {"z": None}]}, "stacktrace": ["f1", "f2"],
                    "exception_type": "E", "exception_msg": "boom", "source_file": "a.c", "source_line": 7,
                    "source_function": "f", "unknown": 1}
    assert thrown["category"] == "error"
    assert sorted(empty) == sorted(plain)


def test_further_members_are_kept_and_sent_back(hub):
    session = hub.create("game", "1", machine_id="m9", team={"name": "red", "size": [3, None]}, build=7, active="maybe", counts=1)
    session.event("e", thread=3, timestamp="2026-01-02T03:04:05Z").metric("m", 1, host="h").do("state", {"state": {"a": 1}, "by": "timer"})
    session.batch(("event", {"name": "f", "thread": None}), ("metric", {"name": "n", "value": 2, "seqno": 9}), ("state", {"state": {"a": 2}, "by": 1}),
                  ("crash", {"reason": "segv", "signal": 11}), first=1)
    now = session.now()
    assert (now["team"], now["build"], now["active"], "counts" in now) == ({"name": "red", "size": [3, None]}, 7, False, False)
    e, f, crash = now["events"]
    assert (e["thread"], list(f)[-1], f["thread"], crash["data"]) == (3, "thread", None, {"reason": "segv", "signal": 11})
    assert not {"seq", "op"} & (set(e) | set(f) | set(now["metrics"][1]) | set(now["state_history"][1]))
    assert (now["metrics"][0]["host"], now["metrics"][1]["seqno"]) == ("h", 9)
    assert [h["by"] for h in now["state_history"]] == ["timer", 1] and now["state"]["a"] == 2 and "by" not in now["state"]
    assert next(s for s in hub.list("view=summary&machine=m9"))["team"] == now["team"]
    assert "65536" in hub.refuses(400, "POST", "/api/sessions", {"product": "p", "version": "1", "more": "x" * 70000})


def test_metrics_keep_their_numbers(hub):
    session = hub.create()
    numbers = [0, -1, 0.1, 1e300, 5e-324, 2 ** 63 - 1, -2 ** 63, 3.141592653589793, 123456789.123456789]
    for n in numbers:
        session.metric("m", n)
    session.metric("full", 1.5, type="histogram", count=3, unit="s", tags=["a"], metadata={"buckets": [{"le": 1, "count": 2}]})
    session.metric("empty", 1, count=0, unit="", tags=[], metadata={})
    *plain, full, empty = session.now()["metrics"]
    assert [m["value"] for m in plain] == numbers
    assert list(plain[0]) == ["timestamp", "name", "type", "value"] and plain[0]["type"] == "gauge"
    assert {k: v for k, v in full.items() if k != "timestamp"} == {
        "name": "full", "type": "histogram", "value": 1.5, "count": 3, "unit": "s", "tags": ["a"],
        "metadata": {"buckets": [{"le": 1, "count": 2}]}}
    assert sorted(empty) == sorted(plain[0])


def test_hanging_recovering_ending_and_crashing(hub):
    session = hub.create()
    assert session.event("application_appears_hung", category="error").now()["hung"] is True
    assert session.event("application_recovered").now()["hung"] is False
    ended = session.end().now()
    assert (ended["active"], ended["crashed"], ended["suspended"]) == (False, False, False)
    first = ended["ended_at"]
    assert session.end().now()["ended_at"] == first
    crashed = hub.create().event("application_appears_hung").crash("segv").now()
    assert (crashed["active"], crashed["crashed"], crashed["suspended"], crashed["hung"]) == (False, True, False, False)
    assert TIME.fullmatch(crashed["ended_at"])
    assert crashed["events"][-1]["name"] == "session_crashed_detected"
    assert (crashed["events"][-1]["category"], crashed["events"][-1]["data"]) == ("critical", {"reason": "segv"})


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"reason": 5}'])
def test_a_crash_without_a_reason_is_an_abnormal_termination(hub, body):
    session = hub.create()
    assert hub.post(session.path + "/crash", body) == {"status": "ok"}
    assert session.now()["events"][-1]["data"] == {"reason": "abnormal_termination"}


@pytest.mark.parametrize("what", ["heartbeat", "end"])
@pytest.mark.parametrize("body", [b"", b"not json \xff", b"[1]"])
def test_what_has_no_body_minds_none(hub, what, body):
    session = hub.create()
    assert hub.post("%s/%s" % (session.path, what), body) == {"status": "ok"}


def test_who_is_not_there_is_not_found(hub):
    for what in ("state", "events", "metrics", "heartbeat", "end", "crash"):
        body = {"name": "x", "value": 1, "state": {}}
        assert hub.refuses(404, "POST", "/api/sessions/nobody/" + what, body) == "Session not found\n"
    assert hub.refuses(404, "GET", "/api/sessions/nobody") == "Session not found\n"
    session = hub.create()
    for path in ("/api/sessions/%s/dance" % session.id, "/api/sessions/%s/state/more" % session.id, "/nowhere",
                 "/api", "/api/data", "/api/sessionsx"):
        hub.refuses(404, "POST", path, {})
        hub.refuses(404, "GET", path)
    hub.refuses(400, "GET", "/api/sessions/")
    hub.refuses(400, "POST", "/api/sessions//state", {})


def test_other_methods_are_not_allowed(hub):
    session = hub.create()
    for method, path, allow in (("GET", "/api/sessions", "POST"), ("PUT", "/api/sessions", "POST"),
                                ("POST", "/api/data/sessions", "GET, HEAD"), ("DELETE", "/api/data/sessions", "GET, HEAD"),
                                ("POST", session.path, "GET, HEAD"), ("GET", session.path + "/state", "POST")):
        a = hub.ask(method, path, {} if method == "POST" else None)
        assert (a.status, a.headers.get("allow")) == (405, allow), (method, path, a)


def test_creation_wants_product_and_version(hub):
    for body in ({}, {"product": "p"}, {"version": "1"}, {"product": "", "version": "1"}, {"product": "p", "version": ""},
                 {"product": 1, "version": "1"}, {"product": "p", "version": ["1"]}, {"product": "p", "version": "1", "hostname": 5},
                 {"product": "p", "version": "1", "machine_id": {}}, {"product": None, "version": "1"}, [], None):
        hub.refuses(400, "POST", "/api/sessions", body if body is not None else b"")
    assert hub.create("p", "1", machine_id=None, unknown={"x": 1}).now()["state"] == {"product": "p", "version": "1"}


def test_the_list_is_an_array_of_whole_sessions(site):
    hub = site.hub()
    assert hub.list() == []
    made = [hub.create("p%d" % i).event("e").state(a=i) for i in range(3)]
    assert sorted(s["id"] for s in hub.list()) == sorted(s.id for s in made)
    assert {s["id"]: s for s in hub.list()} == {s.id: s.now() for s in made}


def test_an_event_does_not_write_the_session_again(hub, database):
    """Neither its state nor the events before it: of either it would be 90 MB and more."""
    session = hub.create().state(text=random.Random(1).randbytes(450000).hex())    # what does not compress
    session.batch(*[("event", {"name": "e", "message": "x" * 1000})] * 1000, first=1)

    def written():
        if database == "postgresql":
            return int(postgres.the_server().sql("SELECT pg_current_wal_lsn() - '0/0'")[0][0])
        with open("/proc/%d/io" % hub.process.pid) as f:
            return int(dict(line.split(": ") for line in f)["wchar"])
    before = written()
    for _ in range(100):
        session.event("e").metric("m", 1).heartbeat()
    assert 0 < written() - before < 30e6


def test_updated_at_is_the_time_of_the_last_write(hub):
    session = hub.create()
    last = session.now()["updated_at"]
    for step in (lambda: session.event("e", timestamp="2001-01-01T00:00:00Z"), lambda: session.metric("m", 1),
                 lambda: session.state(a=1), session.heartbeat, session.end):
        step()
        now = session.now()["updated_at"]
        assert now >= last
        last = now


def test_everything_survives_a_restart_and_kill_9(site):
    hub = site.hub()
    session = hub.create(machine_id="m", hostname="h").state(a=1).event("e").metric("m", 1.5).heartbeat()
    ended = hub.create().end()
    before = [session.now(), ended.now()]
    hub.restart()
    assert [session.now(), ended.now()] == before
    session.event("after")
    before = session.now()
    hub.kill9()
    hub.restart()
    assert session.now() == before and len(before["events"]) == 2


def test_the_hub_runs_beside_weir_serve_on_one_folder_but_not_twice(site):
    from lab.daemon import run_weir
    weir = site.weir
    hub = site.hub(weir={"data_dir": weir.data_dir})
    hub.create()
    code, _, err = run_weir("hub", "-c", hub.config_path, env=hub.env, cwd=hub.dir)
    assert code == 2 and str(hub.process.pid) in err, err
    assert weir.ask("GET", "/livez").status == 200 and hub.ask("GET", "/livez").status == 200


def test_health_metrics_and_status_are_as_everywhere(hub):
    hub.create().event("e")
    assert hub.ask("GET", "/readyz").status == 200 and hub.ask("GET", "/healthz").status == 200
    assert hub.ask("GET", "/metrics").status == 200
    assert hub.metric("weir_hub_operations_total", type="event", outcome="applied") >= 1
    assert hub.metric("weir_hub_operations_total", type="create", outcome="applied") >= 1
    assert hub.status()["hub"]["operations"]["event"] >= 1
    assert "session_created" in hub.whole_log()
