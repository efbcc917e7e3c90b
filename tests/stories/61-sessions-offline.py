"""Sessions while the hub is away, comes back, dies in the middle; and the daemon dying whenever it likes.

Events carry a number, so that the hub's list can be compared with what was acknowledged: each once, in order."""

import glob
import hashlib
import json
import os
import random
import threading
import time

import pytest

from lab.clock import WallClock
from lab.sessions import OldServer, Program, Refused, Sessions, names
from lab.wait import wait_until

LOCAL = "local-session-"
MANY = int(os.environ.get("STORY_SESSIONS", "2000"))        # fewer where time is short
OPERATIONS = int(os.environ.get("STORY_OPERATIONS", "10000"))


@pytest.fixture
def lab(site):
    stage = Sessions(site)
    yield stage
    stage.close()


def numbers(session):
    return [e["data"]["n"] for e in session["events"] if "n" in e.get("data", {})]


def test_the_life_of_a_session(lab):
    p = lab.program("game", "1.2")
    assert not p.id.startswith(LOCAL), "the hub was there: its id"
    p.state(level={"name": "sea", "depth": 3}, lives=2)
    p.state(lives=2)                                        # nothing new: not sent
    p.state(level={"depth": 4, "boss": True})
    p.state(level={"boss": None}, unknown_to_all=[1, {"a": None}])
    p.event("saved", category="info", group="io", labels=["auto"], message="grün", data={"n": 1})
    p.event("failed", exception_type="ValueError", exception_msg="no", stacktrace=["a", "b"], source_file="x.py",
            source_line=7, source_function="f", colour="of our own")
    p.metric("fps", 59.5, unit="1/s", tags=["b", "a"], metadata={"gpu": 1})
    p.metric("load", 1.5, type="timer", count=3, unit="s")
    p.heartbeat()
    p.end()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    assert s["state"] == {"product": "game", "version": "1.2", "level": {"name": "sea", "depth": 4}, "lives": 2,
                          "unknown_to_all": [1, {"a": None}]}
    assert [h["state"].get("level", {}).get("boss") for h in s["state_history"]] == [None, True, None]
    assert names(s) == ["saved", "failed"]
    saved, failed = s["events"]
    assert (saved["category"], saved["group"], saved["labels"], saved["message"]) == ("info", "io", ["auto"], "grün")
    assert (failed["category"], failed["source_line"], failed["stacktrace"]) == ("error", 7, ["a", "b"])
    fps, load = s["metrics"]
    assert (fps["name"], fps["type"], fps["value"], fps["unit"]) == ("fps", "gauge", 59.5, "1/s")
    assert (load["type"], load["count"]) == ("timer", 3)
    assert s["ended_at"] and not s["crashed"] and s["hostname"] and s.get("machine_id", "") == machine_id()
    assert p.look()["active"] is False
    lab.wait_delivered()


def machine_id():
    """md5 of the first MAC; "" without any."""
    macs = {}
    for folder in glob.glob("/sys/class/net/*"):
        with open(folder + "/address") as a, open(folder + "/ifindex") as i:
            macs[int(i.read())] = a.read().strip() if not folder.endswith("/lo") else ""
    found = [mac for _, mac in sorted(macs.items()) if len(mac) == 17 and mac != "00:00:00:00:00:00"]
    return hashlib.md5(found[0].encode()).hexdigest() if found else ""


def test_the_list_is_the_hubs_with_what_is_known_here(lab):
    """One of this daemon's with both ids, one of another machine's, one that the hub has not heard of."""
    p = lab.program("ours")
    theirs = lab.hub.hear("POST", "/api/sessions", {"product": "theirs", "version": "1"}).json["session_id"]
    listed = {s["id"]: s for s in p.send("GET", "/sessions").json}
    assert set(listed) == {p.id, theirs}
    assert listed[p.id]["local_id"].startswith(LOCAL) and "local_id" not in listed[theirs]
    lab.door.hold(match="POST /api/sessions")
    q = lab.program("new")
    listed = {s["id"]: s for s in p.send("GET", "/sessions").json}
    assert set(listed) == {p.id, theirs, q.id} and q.id.startswith(LOCAL)
    lab.door.pass_all()
    lab.door.release()
    lab.wait_delivered()


def test_samples_without_a_delta_go_as_they_are(lab):
    """A counter without one is no total, and one of any other type means nothing."""
    p = lab.program()
    for value in (7, 7, 3):
        p.metric("plain", value, type="counter", unit="n")
    p.metric("gauge", 1.5, delta=9)
    p.end()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    assert [(m["name"], m["type"], m["value"]) for m in s["metrics"]] == [
        ("plain", "counter", 7), ("plain", "counter", 7), ("plain", "counter", 3), ("gauge", "gauge", 1.5)]
    assert not any("delta" in m for m in s["metrics"]) and s["metrics"][0]["unit"] == "n"


def test_counters_and_histograms_arrive_as_totals(lab):
    p = lab.program()
    for _ in range(5):
        p.metric("shots", 1, type="counter", delta=2, tags=["b", "a"])
    p.metric("shots", 1, type="counter", delta=2.5, tags=["a", "b"])
    for value in (0.2, 0.7, 7.5):
        a = p.send("POST", "/metric", b'{"session_id":"%s","name":"wait","type":"histogram","value":%r,"unit":"s",'
                   b'"metadata":{"buckets":[1, 0.5, Infinity],"of":"disk"}}' % (p.id.encode(), value))
        assert a.status == 200, a
    p.end()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    shots = [m for m in s["metrics"] if m["name"] == "shots"]
    assert shots[-1]["value"] == 12.5 and shots[-1]["tags"] == ["a", "b"] and shots[-1]["type"] == "counter"
    values = [m["value"] for m in shots]
    assert values == sorted(set(values)), "only when changed"
    wait = [m for m in s["metrics"] if m["name"] == "wait"][-1]
    assert wait["metadata"]["count"] == 3 and abs(wait["metadata"]["sum"] - 8.4) < 1e-9 and wait["unit"] == "s"
    assert [b["count"] for b in wait["metadata"]["buckets"]] == [1, 1, 1] and wait["metadata"]["of"] == "disk"
    assert abs(wait["value"] - 2.8) < 1e-9


def test_a_histogram_goes_on_through_restarts_and_is_sent_when_it_changed(lab):
    p = lab.program()

    def sample(value):
        p.metric("wait", value, type="histogram", metadata={"buckets": [1, 2]})

    def told():
        return [(m["metadata"]["count"], m["metadata"]["sum"]) for m in lab.at_hub(p)["metrics"] if m["name"] == "wait"]
    sample(0.5)
    sample(1.5)
    lab.wait_at_hub(p, lambda s: s["metrics"], "told")
    lab.wait_delivered()
    before = told()
    assert before[-1] == (2, 2.0)
    for how in (lab.weir.kill9, lab.weir.stop):
        how()
        lab.weir.start(keep_ports=True)
        p.event("a while goes by")
        lab.flush()
        lab.wait_delivered()
        assert told() == before, "nothing new, nothing told"
    lab.weir.kill9()
    lab.weir.start(keep_ports=True)
    sample(7)
    lab.wait_at_hub(p, lambda s: told()[-1] == (3, 9.0), "it goes on where it was")
    assert len(told()) == len(before) + 1
    last = lab.at_hub(p)["metrics"][-1]
    assert [b["count"] for b in last["metadata"]["buckets"]] == [1, 2] and last["value"] == 3.0


def test_one_that_is_held_up_holds_up_no_other(site):
    """By a server that takes a minute over one session's batch; by one that refuses another's for good."""
    lab = Sessions(site, weir={"links": {"stall_timeout": "60s"}})
    try:
        slow, held, quick = (lab.program(n) for n in ("slow", "held", "quick"))
        lab.wait_delivered()
        lab.door.hold(match="/api/sessions/%s/batch" % slow.id)
        slow.event("waits at the door")
        lab.door.wait_held(1)
        for n in range(50):
            quick.event("step", data={"n": n})
        quick.end()
        fresh = lab.program("fresh")
        fresh.event("step", data={"n": 0})
        lab.wait_at_hub(quick, lambda s: not s["active"], "the quick one has passed")
        lab.wait_at_hub(fresh, lambda s: s["events"], "and one that came later")
        assert lab.door.held() and lab.hub.session(slow.id)["events"] == []
        lab.door.release()
        lab.door.answer(400, body=b"no\n", match="/api/sessions/%s/" % held.id)
        held.event("refused")
        wait_until(lambda: lab.queue()["held"], 20, "it is held")
        quick.event("afterwards")
        lab.wait_at_hub(quick, lambda s: names(s)[-1] == "afterwards", "a refused one holds up no other, either")
        lab.wait_at_hub(slow, lambda s: s["events"], "and the slow one comes")
    finally:
        lab.close()


def test_what_is_refused_for_good_blocks_only_what_depends_on_it(site):
    """Nothing depends on an event; on its creation, all of a session does, and nothing of any other."""
    server = OldServer()
    lab = Sessions(site, server=server.url)
    try:
        p = lab.program("fine")
        server.say("/api/sessions/%s/events" % p.id, 422, body=b"not this one\n", times=1)
        for n in range(3):
            p.event("step", data={"n": n})
        p.state(a=1)
        p.end()
        wait_until(lambda: server.kinds(p.id)[-1:] == ["end"], 20, "its end has passed")
        assert server.kinds(p.id) == ["events", "events", "state", "end"]
        assert [e["data"]["n"] for e in server.of(p.id, "events")] == [1, 2]
        wait_until(lambda: lab.queue()["held"] == 1 and lab.queue()["entries"] == 0, 20, "each is settled")
        refused, = lab.weir.outbox(service="sessions", state="held")
        assert refused["last_status"] == 422 and "not this one" in lab.weir.admin("GET", "/api/v1/outbox/%s" % refused["id"]).text
        server.say("/api/sessions", 400, body=b"no such product\n", method="POST", times=1)
        q = lab.program("unwanted")
        assert q.id.startswith(LOCAL)
        wait_until(lambda: lab.queue()["held"] == 2, 20, "its creation is held")
        q.event("kept")
        q.end()
        r = lab.program("next")
        r.event("through")
        r.end()
        wait_until(lambda: server.kinds(r.id) == ["events", "end"], 20, "another session has passed")
        assert lab.queue()["entries"] == 2 and [e["name"] for e in q.look()["events"]] == ["kept"]
        creation, = [e for e in lab.weir.outbox(service="sessions", state="held") if e["id"] != refused["id"]]
        assert lab.weir.entry_do(creation["id"], "retry").status == 200
        assert lab.weir.entry_do(refused["id"], "drop").status == 200
        lab.wait_delivered()
        assert server.kinds(lab.hub_id(q.id)) == ["events", "end"]
    finally:
        lab.close()
        server.close()


@pytest.mark.parametrize("compression", [True, False])
def test_what_goes_to_the_hub_is_packed_unless_told_otherwise(site, compression):
    lab = Sessions(site, compression=compression)
    try:
        p = lab.program()
        p.event("long", message="la " * 3000)
        lab.wait_delivered()
        assert lab.at_hub(p)["events"][0]["message"] == "la " * 3000
        batches = lab.door.seen(match="/batch")
        assert batches
        for r in batches:
            assert (r.headers.get("content-encoding") == "gzip") is compression
            assert (len(r.body) < 3000) is compression and "la la" in r.text()
    finally:
        lab.close()


def test_a_batch_has_as_many_operations_as_the_configuration_says(site):
    lab = Sessions(site, max_batch=20)
    try:
        lab.go_offline()
        p = lab.program()
        for n in range(110):
            p.event("step", data={"n": n})
        lab.come_back()
        lab.wait_delivered()
        assert numbers(lab.at_hub(p)) == list(range(110))
        sizes = [len(json.loads(r.text())["operations"]) for r in lab.door.seen(match="/batch")]
        assert sum(sizes) == 110 and max(sizes) == 20, sizes
    finally:
        lab.close()


def test_a_hub_that_keeps_silent_fails_no_look(lab):
    """A look is answered with what is known here, while the hub still thinks about it."""
    p = lab.program()
    p.state(level=1)
    lab.wait_delivered()
    lab.door.hold(match="GET /api/")
    assert p.look()["state"]["level"] == 1
    assert lab.door.count(match="GET /api/sessions/" + p.id) == 1, "it was asked"
    assert [s["id"] for s in p.send("GET", "/sessions").json] == [p.id]
    lab.door.pass_all()
    lab.door.release()


def test_many_that_are_refused_for_now_do_not_come_back_together(site):
    """Full jitter: each waits for a random part of the time that doubles."""
    lab = Sessions(site, batch_interval="1ms", retry={"first": "60s", "max": "60s"})
    try:
        programs = [lab.program(str(n)) for n in range(40)]
        lab.wait_delivered()
        lab.door.answer(429, match="/batch")
        for p in programs:
            p.event("step")

        def put_off():
            return [e for e in lab.weir.outbox(service="sessions", state="queued") if e["attempts"]]
        wait_until(lambda: len(put_off()) == len(programs), 30, "each was tried")
        now = time.time()
        delays = sorted(stamp(e["next_attempt_at"]) - now for e in put_off())
        assert -15 < delays[0] and delays[-1] <= 61, delays
        assert len({round(d, 2) for d in delays}) > 30, "not equal: %s" % delays
        # Of 40 that are uniform in 0..60 s fewer than 8 below (or above) 30 s come once in 90,000 runs.
        assert 8 <= sum(d < 30 for d in delays) <= 32, delays
        assert delays[-1] - delays[0] > 30, delays
    finally:
        lab.close()


def test_offline_from_the_start_and_synced_later(lab):
    lab.go_offline()
    p = lab.program("game", "2")
    local = p.id
    assert local.startswith(LOCAL)
    p.state(level=1)
    for n in range(50):
        p.event("step", data={"n": n})
    p.metric("shots", 1, type="counter", delta=3)
    seen = p.look()
    assert seen["id"] == local and seen["active"] and seen["state"]["level"] == 1
    assert local in [s["id"] for s in p.send("GET", "/sessions").json]
    before = time.time()
    p.end()
    seen = p.look()
    assert seen["active"] is False and seen["ended_at"]
    lab.weir.kill9()
    lab.weir.start(keep_ports=True)
    assert p.look()["active"] is False
    lab.come_back()
    lab.wait_delivered()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    assert numbers(s) == list(range(50))
    assert s["state"]["level"] == 1 and [m["value"] for m in s["metrics"] if m["name"] == "shots"] == [3]
    assert stamp(s["ended_at"]) <= before + 5, "when it ended, not when the hub heard of it"
    assert p.look(local)["id"] == s["id"] and p.look(local)["local_id"] == local
    assert p.look(s["id"])["local_id"] == local
    assert sum(x["state"].get("version") == "2" for x in lab.hub.sessions()) == 1


def stamp(text):
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")[:26].rstrip("+0:") + "+00:00").timestamp() \
        if "." in text else datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_an_outage_in_the_middle(lab):
    p = lab.program()
    for n in range(30):
        if n == 10:
            lab.go_offline()
        if n == 20:
            lab.come_back()
        p.event("step", data={"n": n})
    lab.wait_delivered()
    assert numbers(lab.at_hub(p)) == list(range(30))


@pytest.mark.both_databases
def test_the_hub_is_killed_half_way_through_batches(lab):
    p = lab.program()
    stop = threading.Event()

    def kill():
        dice = random.Random(5)
        for _ in range(6):
            before = lab.door.count(match="/batch")
            wait_until(lambda: lab.door.count(match="/batch") > before or stop.is_set(), 30)
            time.sleep(dice.random() * 0.02)                # into the batch, not a wait for anything
            lab.hub.kill9()
            lab.hub.start_again()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for n in range(1500):
            p.event("step", data={"n": n})
    finally:
        stop.set()
        killer.join()
    lab.wait_delivered(60)
    assert numbers(lab.at_hub(p)) == list(range(1500))


@pytest.mark.limit(300)
def test_the_daemon_is_killed_at_random_moments(lab):
    """What was acknowledged arrives exactly once and in order; what was cut off without an answer at most once."""
    writers = [Writer(lab, i, OPERATIONS // 6) for i in range(6)]
    for w in writers:
        w.thread.start()
    dice = random.Random(7)
    kills = 0
    while any(w.thread.is_alive() for w in writers):
        time.sleep(0.1 + dice.random() * 0.5)               # the moments
        lab.weir.kill9()
        lab.weir.start(keep_ports=True)
        kills += 1
    for w in writers:
        w.thread.join()
        assert w.trouble is None, w.trouble
    assert kills > 1
    lab.wait_delivered(60)
    for w in writers:
        s = lab.wait_at_hub(w.program, lambda s: not s["active"], "it has ended")
        got = numbers(s)
        assert got == sorted(set(got)), "once, and in order"
        missing = set(w.acknowledged) - set(got)
        assert not missing, missing
        assert set(got) - set(w.acknowledged) <= set(w.unknown)
        assert s["state"]["last"] in (w.last, *w.maybe_last)
        shots = [m["value"] for m in s["metrics"] if m["name"] == "shots"]
        assert shots == sorted(shots) and len(shots) - len(set(shots)) <= kills, "again after a kill at most"
        assert w.shots <= shots[-1] <= w.shots + w.maybe_shots, (shots, w.shots)


class Writer:
    """Reports on and on; a report that got no answer is not repeated, but remembered as unknown."""

    def __init__(self, lab, number, count):
        self.program = lab.program("game", str(number))
        self.program.repeats = False
        self.acknowledged, self.unknown = [], []
        self.shots = self.maybe_shots = 0
        self.last, self.maybe_last = None, []
        self.count = count
        self.trouble = None
        self.thread = threading.Thread(target=self.run)

    def tell(self, path, **body):
        """True: acknowledged. False: cut off. Tries again only while nobody listens."""
        end = time.monotonic() + 60
        while True:
            try:
                self.program.tell(path, session_id=self.program.id, **body)
                return True
            except ConnectionRefusedError:
                assert time.monotonic() < end, "nobody listens"
                time.sleep(0.02)
            except OSError:
                return False
            except Refused as e:
                raise AssertionError("%s %s" % (path, e)) from None
            except Exception:                               # an answer that was cut
                self.program.close()
                self.program.conn = None
                return False

    def run(self):
        try:
            for n in range(self.count):
                if n % 10 == 3:
                    if self.tell("/state", state={"last": n}):
                        self.last, self.maybe_last = n, []
                    else:
                        self.maybe_last.append(n)
                if n % 10 == 7:
                    if self.tell("/metric", name="shots", value=1, type="counter", delta=1):
                        self.shots += 1
                    else:
                        self.maybe_shots += 1
                (self.acknowledged if self.tell("/event", name="step", data={"n": n}) else self.unknown).append(n)
            while not self.tell("/end"):
                pass
        except BaseException as e:
            self.trouble = e


def use_every_endpoint(p, session_id, n):
    a = Program(p.port, register=False)
    a.id = session_id
    a.state(**{"k%d" % n: n})
    a.event("by", data={"n": n})
    a.metric("m", n)
    a.heartbeat()
    a.pause()
    a.resume()
    assert a.look()["active"]
    a.close()


def test_both_ids_are_valid_at_each_moment(lab):
    lab.go_offline()
    p = lab.program()
    local = p.id
    use_every_endpoint(p, local, 0)
    lab.door.hold(match="POST /api/sessions")               # the creation stands at the door
    lab.door.wait_held(1)
    use_every_endpoint(p, local, 1)
    lab.door.pass_all()
    lab.door.release()
    hub_id = lab.hub_id(local)
    for n, session_id in enumerate((local, hub_id, local, hub_id), start=2):
        use_every_endpoint(p, session_id, n)
    for how in (lab.weir.kill9, lab.weir.stop):
        how()
        lab.weir.start(keep_ports=True)
        use_every_endpoint(p, local, n := n + 1)
        use_every_endpoint(p, hub_id, n := n + 1)
    lab.go_offline()
    use_every_endpoint(p, hub_id, n := n + 1)
    lab.weir.kill9()
    lab.weir.start(keep_ports=True)
    use_every_endpoint(p, hub_id, n := n + 1)
    use_every_endpoint(p, local, n := n + 1)
    lab.come_back()
    p.end()
    lab.wait_delivered()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    assert numbers(s) == list(range(n + 1))
    assert [m["value"] for m in s["metrics"]] == list(range(n + 1))
    for again in range(2):
        for session_id in (local, hub_id):
            seen = p.look(session_id)
            assert (seen["id"], seen["local_id"], seen["active"]) == (hub_id, local, False)
            assert p.tell("/heartbeat", session_id=session_id) and p.tell("/end", session_id=session_id)
        lab.weir.restart()


@pytest.mark.both_databases
@pytest.mark.parametrize("when", ["at once", "after a restart of the daemon"])
def test_a_creation_whose_answer_is_lost_makes_one_session(lab, when):
    lab.door.lose_answer(match="POST /api/sessions ", times=3)
    p = lab.program("lost", "9")
    p.event("step", data={"n": 0})
    wait_until(lambda: lab.door.count(match="POST /api/sessions ") > 0, 20)
    if when != "at once":
        lab.weir.kill9()
        lab.weir.start(keep_ports=True)
    lab.wait_delivered()
    assert lab.door.count(match="POST /api/sessions ") > 1
    assert len([s for s in lab.hub.sessions() if s["state"]["product"] == "lost"]) == 1
    assert numbers(lab.at_hub(p)) == [0]


@pytest.mark.both_databases
def test_a_batch_whose_answer_is_lost_is_applied_once(lab):
    p = lab.program()
    lab.wait_delivered()
    lab.door.lose_answer(match="/batch", times=3)
    p.state(a=1)
    for n in range(40):
        p.event("step", data={"n": n})
    p.state(a=None)
    p.state(a=2)
    lab.wait_delivered()
    s = lab.at_hub(p)
    assert numbers(s) == list(range(40))
    assert [h["state"].get("a") for h in s["state_history"]] == [1, None, 2]


@pytest.mark.both_databases
@pytest.mark.parametrize("victim", ["daemon", "hub", "both"])
@pytest.mark.parametrize("point", ["before the hub has it", "after the hub has it"])
def test_a_kill_in_the_middle_of_a_batch(lab, point, victim):
    """Not at random: the batch stands at the door, or its answer does."""
    p = lab.program()
    lab.wait_delivered()
    (lab.door.hold if point.startswith("before") else lab.door.hold_answer)(match="/batch")
    p.state(a=1)
    for n in range(30):
        p.event("step", data={"n": n})
    lab.door.wait_held(1)
    if point.startswith("after"):
        wait_until(lambda: lab.hub.session(p.id)["events"], 20, "the hub has committed")
    if victim != "hub":
        lab.weir.kill9()
    if victim != "daemon":
        lab.hub.kill9()
        lab.hub.start_again()
    lab.door.pass_all()                                     # what was held meets a closed connection
    lab.door.release()
    if victim != "hub":
        lab.weir.start(keep_ports=True)
    p.state(a=2)
    p.event("step", data={"n": 30})
    p.end()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    lab.wait_delivered()
    assert numbers(s) == list(range(31))
    assert [h["state"]["a"] for h in s["state_history"]] == [1, 2]


@pytest.mark.parametrize("held", ["request", "answer"])
def test_daemon_and_hub_are_restarted_in_the_middle_of_a_remap(lab, held):
    lab.go_offline()
    programs = [lab.program("remap", str(i)) for i in range(5)]
    for p in programs:
        for n in range(5):
            p.event("step", data={"n": n})
    if held == "request":
        lab.door.hold(match="POST /api/sessions")
    else:
        lab.door.hold_answer(match="POST /api/sessions")
    lab.door.wait_held(1)
    lab.weir.kill9()
    lab.hub.kill9()
    lab.door.pass_all()
    lab.door.release()
    lab.weir.start(keep_ports=True)
    for p in programs:
        p.event("step", data={"n": 5})
    lab.hub.start_again()
    for p in programs:
        p.event("step", data={"n": 6})
        p.end()
    lab.wait_delivered()
    for p in programs:
        s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
        assert numbers(s) == list(range(7)), numbers(s)
    assert len([s for s in lab.hub.sessions() if s["state"]["product"] == "remap"]) == 5


@pytest.mark.limit(400)
def test_many_sessions_at_once(lab):
    """Registered offline by eight programs' worth of threads, then delivered together."""
    lab.go_offline()
    ids, lock, trouble = [], threading.Lock(), []

    def run(first, count):
        try:
            for i in range(first, first + count):
                p = Program(lab.port, "crowd", str(i))
                p.state(i=i)
                for n in range(3):
                    p.event("step", data={"n": n})
                if i % 2:
                    p.end()
                p.close()
                with lock:
                    ids.append((p.id, i))
        except BaseException as e:
            trouble.append(e)
    threads = [threading.Thread(target=run, args=(k * (MANY // 8), MANY // 8)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not trouble, trouble
    assert len({i for i, _ in ids}) == MANY // 8 * 8
    lab.come_back()
    lab.wait_delivered(240)
    crowd = {s["state"]["i"]: s for s in lab.hub.sessions() if s["state"]["product"] == "crowd"}
    assert sorted(crowd) == list(range(MANY // 8 * 8))
    for i, s in crowd.items():
        assert numbers(s) == [0, 1, 2] and s["active"] == (i % 2 == 0)


@pytest.mark.parametrize("ahead", [3 * 24 * 3600, -3 * 24 * 3600], ids=["ahead", "back"])
def test_the_wall_clock_is_set_while_operations_wait(site, ahead):
    """Nothing waits for as long as the clock was set back, nobody hangs or crashes of it, and the order is as it was told;
    through a kill while the clock is elsewhere, too."""
    clock = WallClock(site.dir)
    lab = Sessions(site, env=clock.env, batch_interval="1s", heartbeat_timeout="1h")
    try:
        child = lab.child()
        p, n = lab.program("game", "1", pid=child.pid), 0

        def tell():
            nonlocal n
            p.event("step", data={"n": n})
            p.state(n=n)
            p.metric("m", n)                                # no counter: its total would wake what waits before it
            n += 1
        tell()
        lab.go_offline()
        tell()
        clock.set(ahead)
        tell()
        q = lab.program("other")
        assert q.id.startswith(LOCAL) and abs(int(q.id.split("-")[2]) - time.time() - ahead) < 3600
        lab.come_back()
        lab.wait_delivered()
        assert numbers(lab.at_hub(p)) == list(range(n))
        p.heartbeat()
        tell()
        clock.set(0)                                        # with one that waits for its time in the queue
        lab.wait_delivered()
        lab.go_offline()
        tell()
        lab.weir.kill9()
        clock.set(ahead)
        lab.weir.start(keep_ports=True)
        tell()
        lab.come_back()
        lab.wait_delivered()
        clock.set(0)
        lab.weir.restart()
        tell()
        p.end()
        s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
        assert names(s) == ["step"] * n and numbers(s) == list(range(n)), "neither hung nor crashed"
        assert [h["state"]["n"] for h in s["state_history"]] == list(range(n))
        assert [m["value"] for m in s["metrics"]] == list(range(n))
        assert lab.at_hub(q)["active"] and not lab.at_hub(q)["crashed"]
    finally:
        lab.close()


def test_a_hub_that_is_overloaded_is_left_alone_for_a_while(lab):
    p = lab.program()
    lab.wait_delivered()
    lab.door.answer(503, [("Retry-After", "2")], match="/batch", times=1)
    began = time.monotonic()
    p.event("step", data={"n": 0})
    lab.wait_delivered()
    assert time.monotonic() - began >= 1.5
    assert numbers(lab.at_hub(p)) == [0]
    assert lab.queue()["retries"] >= 1


def test_a_full_queue_drops_the_oldest_metrics_and_says_so(site):
    lab = Sessions(site, queue={"max_entries": 60})
    try:
        lab.go_offline()
        p = lab.program()
        for n in range(40):
            p.metric("fps", n)
        for n in range(40):
            p.event("step", data={"n": n})
        assert lab.weir.metric("weir_session_operations_total", type="metric", outcome="dropped") > 0
        with pytest.raises(Refused) as full:
            for n in range(40, 100):
                p.event("step", data={"n": n})
        assert full.value.answer.status == 503, full.value.answer
        lab.come_back()
        lab.wait_delivered()
        s = lab.at_hub(p)
        got = numbers(s)
        assert got[:40] == list(range(40)) and got == sorted(set(got))
        kept = [m["value"] for m in s["metrics"] if m["name"] == "fps"]
        assert kept == sorted(kept) and (not kept or kept[-1] == 39), "the oldest went"
    finally:
        lab.close()


@pytest.mark.parametrize("limit", [{"max_entries": 30}, {"max_bytes": "24KiB"}], ids=["entries", "bytes"])
def test_a_full_queue_that_may_not_drop_refuses(site, limit):
    lab = Sessions(site, queue=dict(limit, on_full="reject"))
    try:
        lab.go_offline()
        p = lab.program()
        kept = 0
        with pytest.raises(Refused) as full:
            for n in range(60):
                p.metric("fps", n, metadata={"why": "x" * 1000})
                kept += 1
        assert full.value.answer.status == 503, full.value.answer
        assert 20 < kept < 30
        lab.come_back()
        lab.wait_delivered()
        assert [m["value"] for m in lab.at_hub(p)["metrics"]] == list(range(kept))
        p.metric("fps", 1000)
    finally:
        lab.close()
