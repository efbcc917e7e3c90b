"""What a weir daemon and a hub have beyond the original: keys and numbers, so that nothing is made or applied twice."""

import random
import threading

import pytest

from lab.hub import packed

BOTH_DATABASES = True


@pytest.fixture(scope="module")
def hub(shared_site):
    return shared_site.hub()


def names(session):
    return [e["name"] for e in session.now()["events"]]


def test_the_same_key_makes_one_session(site):
    hub = site.hub()
    first = hub.create(key="k-1")
    assert hub.create(key="k-1").id == first.id and hub.create("other", key="k-1").id == first.id
    assert hub.create(key="k-2").id != first.id and hub.create().id != hub.create().id
    hub.kill9()
    hub.restart()
    assert hub.create(key="k-1").id == first.id
    assert len(hub.list()) == 4
    assert hub.metric("weir_hub_operations_total", type="create", outcome="repeated") == 1
    for key in ("", "x" * 129, 5):
        hub.refuses(400, "POST", "/api/sessions", {"product": "p", "version": "1", "key": key})


def test_a_hundred_at_once_with_one_key_make_one_session(hub):
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(hub.create(key="together").id)) for _ in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(ids) == 100 and len(set(ids)) == 1


def test_a_session_may_have_begun_earlier(hub):
    assert hub.create(created_at="2026-01-02T03:04:05.5+01:00").now()["created_at"] == "2026-01-02T02:04:05.500Z"
    assert hub.create(created_at="2999-01-01T00:00:00Z").now()["created_at"] < "2990"
    hub.refuses(400, "POST", "/api/sessions", {"product": "p", "version": "1", "created_at": "then"})


def test_a_batch_does_all_that_the_endpoints_do(hub):
    session = hub.create()
    answer = session.batch(
        {"seq": 3, "op": "state", "timestamp": "2026-01-02T03:04:05.678901Z", "state": {"level": 3, "boss": None}},
        {"seq": 4, "op": "event", "timestamp": "2026-01-02T03:04:06.678901Z", "name": "saved", "labels": ["auto"]},
        {"seq": 7, "op": "metric", "name": "frames", "type": "counter", "value": 7200},
        {"seq": 8, "op": "heartbeat"}, {"seq": 9, "op": "end", "timestamp": "2026-01-02T03:04:07Z"})
    assert answer == {"status": "ok", "applied_seq": 9, "refused": []}
    now = session.now()
    assert now["state"] == {"product": "game", "version": "1.0", "level": 3}
    assert [(h["timestamp"], h["state"]["level"]) for h in now["state_history"]] == [("2026-01-02T03:04:05.678901Z", 3)]
    assert [(e["timestamp"], e["name"], e["category"]) for e in now["events"]] == [("2026-01-02T03:04:06.678901Z", "saved", "info")]
    assert [(m["name"], m["type"], m["value"]) for m in now["metrics"]] == [("frames", "counter", 7200)]
    assert now["ended_at"] == "2026-01-02T03:04:07.000Z" and now["last_heartbeat"] and not now["active"]
    crashed = hub.create()
    crashed.batch({"seq": 1, "op": "crash", "reason": "gone", "timestamp": "2026-01-02T03:04:07Z"})
    now = crashed.now()
    assert now["crashed"] and now["ended_at"] == "2026-01-02T03:04:07.000Z"
    assert (now["events"][0]["timestamp"], now["events"][0]["data"]) == ("2026-01-02T03:04:07Z", {"reason": "gone"})


def test_what_was_applied_is_not_applied_again(hub):
    session = hub.create()
    ops = [("event", {"name": "e%d" % i}) for i in range(10)]
    assert session.batch(*ops[:5], first=1)["applied_seq"] == 5
    before = session.now()
    assert session.batch(*ops[:5], first=1)["applied_seq"] == 5
    assert session.batch(*ops[2:4], first=3)["applied_seq"] == 5
    assert session.now()["events"] == before["events"]
    assert session.batch(*ops, first=1)["applied_seq"] == 10
    assert session.batch()["applied_seq"] == 10
    assert names(session) == ["e%d" % i for i in range(10)]
    session.event("single")        # has no number
    assert session.batch(("event", {"name": "more"}), first=11)["applied_seq"] == 11
    assert names(session)[-2:] == ["single", "more"]


def test_a_refused_operation_is_done_with_and_stops_no_other(hub):
    session = hub.create()
    ops = [("event", {"name": "a"}), ("metric", {"name": "m"}), ("dance", {}), ("event", {"name": 5}), ("state", {"a": 1}),
           ("event", {"name": "b"})]
    for _ in range(2):
        answer = session.batch(*ops, first=1)
        assert answer["applied_seq"] == 6
        assert [(r["seq"], r["status"]) for r in answer["refused"]] == [(2, 400), (3, 400), (4, 400), (5, 400)]
        assert "\"value\" is missing" in answer["refused"][0]["error"]
    assert names(session) == ["a", "b"]
    big = [("state", {"state": {"s%d" % i: "x" * 400000}}) for i in range(4)] + [("event", {"name": "c"})]
    answer = session.batch(*big, first=7)
    assert [(r["seq"], r["status"]) for r in answer["refused"]] == [(9, 413), (10, 413)]
    assert names(session)[-1] == "c" and len(session.now()["state_history"]) == 2


@pytest.mark.parametrize("body", [
    {}, {"operations": {}}, {"operations": [5]}, {"operations": [{"op": "end"}]}, {"operations": [{"op": "end", "seq": "1"}]},
    {"operations": [{"op": "end", "seq": 0}]}, {"operations": [{"op": "end", "seq": -1}]}, {"operations": [{"op": "end", "seq": 2 ** 63}]},
    {"operations": [{"op": "event", "name": "e", "seq": 2}, {"op": "end", "seq": 1}]}])
def test_a_batch_with_a_broken_frame_does_nothing(hub, body):
    session = hub.create()
    before = session.now()
    hub.refuses(400, "POST", session.path + "/batch", body)
    assert session.now() == before
    assert session.batch(("event", {"name": "e"}), first=1)["applied_seq"] == 1


def test_a_batch_has_limits(hub):
    session = hub.create()
    ops = [{"op": "event", "name": "e", "seq": i} for i in range(1, 1002)]
    hub.refuses(413, "POST", session.path + "/batch", {"operations": ops})
    assert session.batch(*ops[:1000])["applied_seq"] == 1000
    a = hub.ask("POST", session.path + "/batch", packed({"operations": ops[1000:]}), {"Content-Encoding": "gzip"})
    assert a.json["applied_seq"] == 1001
    hub.refuses(413, "POST", session.path + "/batch", {"operations": [{"op": "event", "name": "x" * (5 << 20), "seq": 2000}]})
    hub.refuses(404, "POST", "/api/sessions/nobody/batch", {"operations": []})
    assert len(names(session)) == 1001
    assert session.batch({"op": "heartbeat", "seq": 2 ** 63 - 1})["applied_seq"] == 2 ** 63 - 1


@pytest.mark.limit(240)
def test_kill_9_in_the_middle_leaves_each_operation_once_and_in_order(site):
    """Eight senders repeat what was not answered; the hub dies again and again; the answers that it gave hold."""
    hub = site.hub()
    sessions = [hub.create(key="s%d" % i) for i in range(8)]
    wanted = 600

    def send(session):
        seq = 1
        while seq <= wanted:
            some = [("event", {"name": "e%d" % i}) for i in range(seq, min(seq + random.randrange(1, 40), wanted + 1))]
            try:
                answer = session.batch(*some, first=seq)
            except (OSError, AssertionError, EOFError):     # no answer: nobody knows
                continue
            assert answer["applied_seq"] >= seq
            seq = answer["applied_seq"] + 1

    threads = [threading.Thread(target=send, args=(s,)) for s in sessions]
    for t in threads:
        t.start()
    for _ in range(5):
        threads[0].join(random.uniform(0.05, 0.3))
        hub.kill9()
        hub.restart()
    for t in threads:
        t.join()
    for session in sessions:
        assert names(session) == ["e%d" % i for i in range(1, wanted + 1)]
