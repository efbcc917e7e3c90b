"""What the hub's pages ask for: counts by state, a page of events, the state as it was, a session drawn as a timeline and as series."""

import datetime
import os
import re
import time

import pytest

from lab.daemon import sanitizer_environment
from lab.sessions import Sessions
from lab.wait import wait_until
from lab.wire import Raw

BOTH_DATABASES = True


@pytest.fixture(scope="module")
def hub(shared_site):
    return shared_site.hub()


def at(session, rest=""):
    return "/api/data/sessions/%s%s" % (session.id, rest)


def second(n):
    return "2026-01-02T03:%02d:%02dZ" % divmod(n, 60)


# Products

def test_products_and_versions_are_counted_by_state(site):
    hub = site.hub(heartbeat_timeout="400ms")
    assert hub.get("/api/data/products") == {"items": [], "next": None}
    hub.create("b", "1").end()
    hub.create("a", "2", created_at="2026-01-01T00:00:00Z").crash("oom")
    gone = hub.create("a", "1").heartbeat()
    hub.create("a", "1").event("application_appears_hung")
    hub.create("a", "1").event("application_appears_hung").end()
    wait_until(lambda: gone.now()["suspended"])
    items = hub.get("/api/data/products")["items"]
    assert [(i["product"], i["version"]) for i in items] == [("a", "1"), ("a", "2"), ("b", "1")]
    names = ("sessions", "active", "suspended", "ended", "crashed", "hung")
    assert [[i[n] for n in names] for i in items] == [[3, 1, 1, 1, 0, 1], [1, 0, 0, 0, 1, 0], [1, 0, 0, 1, 0, 0]]
    assert items[1]["last_created_at"] == "2026-01-01T00:00:00.000Z"
    hub.refuses(400, "GET", "/api/data/products?product=a")


# One session

def test_a_session_without_its_items(hub):
    session = hub.create("game", "1", machine_id="m").state(a=1).event("e").event("f").metric("m", 1)
    whole, short = session.now(), hub.get(at(session, "?view=summary"))
    assert short.pop("counts") == {"state_history": 1, "events": 2, "metrics": 1}
    for name in ("state_history", "events", "metrics"):
        del whole[name]
    assert short == whole
    assert hub.get(at(session, "?view=full")) == session.now()
    hub.refuses(400, "GET", at(session, "?view=page"))
    hub.refuses(404, "GET", "/api/data/sessions/nobody?view=summary")


def test_the_state_as_it_was_at_any_moment(hub):
    session = hub.create("game", "1", created_at="2026-01-01T00:00:00Z")
    base = {"product": "game", "version": "1"}
    assert hub.get(at(session, "/state")) == {"timestamp": "2026-01-01T00:00:00.000Z", "place": None, "state": base}
    session.do("state", {"state": {"a": {"b": 1}}, "timestamp": second(10)})
    session.do("state", {"state": {"a": {"c": 2}}, "timestamp": "2026-01-02T03:00:20.123456+00:00"})
    session.do("state", {"state": {"a": None}, "timestamp": second(30)})

    def then(time):
        answer = hub.get(at(session, "/state?at=" + time.replace("+", "%2B")))
        return answer["timestamp"], answer["place"], answer["state"]

    assert then(second(9)) == ("2026-01-01T00:00:00.000Z", None, base)
    assert then(second(10)) == (second(10), 0, dict(base, a={"b": 1}))
    assert then("2026-01-02T04:00:21+01:00") == ("2026-01-02T03:00:20.123456+00:00", 1, dict(base, a={"b": 1, "c": 2}))
    assert then(second(30)) == then(second(59)) == (second(30), 2, base)
    assert hub.get(at(session, "/state")) == {"timestamp": second(30), "place": 2, "state": base}
    for bad in ("?at=", "?at=now", "?since=" + second(1)):
        hub.refuses(400, "GET", at(session, "/state" + bad))
    hub.refuses(404, "GET", "/api/data/sessions/nobody/state")


# Events

@pytest.fixture(scope="module")
def events(hub):
    session = hub.create()
    session.batch(*[("event", {"name": "e%d" % i, "category": ["info", "error", "critical", "a,b"][i % 4], "group": "g%d" % (i % 3),
                               "labels": ["even"] if i % 2 == 0 else ["odd", 'quote"'], "message": "Nr. %d" % i, "timestamp": second(i)})
                    for i in range(100)], first=1)
    return session


def page(hub, session, query):
    answer = hub.get(at(session, "/events?view=page&" + query))
    assert sorted(answer) == ["items", "next", "total"]
    for item in answer["items"]:
        assert item["event"]["name"] == "e%d" % item["place"]
    return [item["place"] for item in answer["items"]], answer["next"], answer["total"]


@pytest.mark.parametrize("query,places,following", [
    ("limit=3", [0, 1, 2], 3), ("from=98", [98, 99], None), ("from=100", [], None), ("from=7&limit=2&order=asc", [7, 8], 9),
    ("order=desc&limit=3", [99, 98, 97], 96), ("order=desc&from=1", [1, 0], None), ("order=desc&from=5000&limit=1", [99], 98),
    ("level=critical&limit=2", [2, 6], 7), ("level=error,critical&limit=4", [1, 2, 5, 6], 7), ("group=g1&order=desc&limit=2", [97, 94], 93),
    ("label=odd&limit=2", [1, 3], 4), ("label=quote%22&level=info", [], None), ("text=nR.%209", [9] + list(range(90, 100)), None),
    ("since=%s&until=%s" % (second(97), second(99)), [97, 98], None), ("label=even&group=g0&level=critical&limit=2", [6, 18], 19),
    ("level=a", [], None), ("group=", [], None),
])
def test_a_page_of_events(hub, events, query, places, following):
    assert page(hub, events, query) == (places, following, 100)


def test_pages_of_events_meet_from_both_sides(hub, events):
    for order in ("asc", "desc"):
        seen, start = [], None
        while True:
            places, start, _ = page(hub, events, "order=%s&limit=7&level=info" % order + ("" if start is None else "&from=%d" % start))
            seen += places
            if start is None:
                break
        assert seen == sorted(range(0, 100, 4), reverse=order == "desc")


@pytest.mark.parametrize("query", ["level=error", "view=page&format=csv", "text=a", "order=desc", "view=page&level=", "view=page&label=", "view=summary",
                                   "view=page&from=-1", "view=page&limit=0", "view=page&order=up", "view=page&product=a", "view=page&until=noon"])
def test_what_is_no_page_of_events_is_refused(hub, events, query):
    assert "Invalid request" in hub.refuses(400, "GET", at(events, "/events?" + query))


def test_a_search_among_many_events_says_where_to_go_on(hub):
    session = hub.create()
    for first in range(0, 51000, 1000):
        session.batch(*[("event", {"name": "e%d" % (first + i), "message": "needle" if first + i == 50500 else "hay"}) for i in range(1000)],
                      first=first + 1)
    assert page(hub, session, "text=needle") == ([], 50000, 51000)
    assert page(hub, session, "text=needle&from=50000") == ([50500], None, 51000)


# Drawn

def ms(n):
    return 1767322800000 + n * 1000       # second(n)


def test_a_timeline_counts_by_time_and_level_and_shows_hangs(hub):
    session = hub.create(created_at=second(0))
    session.event("a", timestamp=second(1)).event("b", timestamp=second(1), category="error").event("c", timestamp=second(59))
    session.event("application_appears_hung", timestamp=second(10), category="error").event("application_recovered", timestamp=second(20))
    session.do("state", {"state": {"x": 1}, "timestamp": second(30)})
    got = hub.get(at(session, "/timeline?since=%s&until=%s&buckets=6" % (second(0), second(60))))
    assert got == {"since": ms(0), "until": ms(60), "step_ms": 10000, "levels": {"info": [1, 0, 1, 0, 0, 1], "error": [1, 1, 0, 0, 0, 0]},
                   "updates": [0, 0, 0, 1, 0, 0], "hangs": [{"from": ms(10), "until": ms(20)}], "outside": {"before": 0, "after": 0}}
    got = hub.get(at(session, "/timeline?since=%s&until=%s" % (second(20), second(30))))
    assert (got["levels"], got["outside"], got["hangs"]) == ({"info": [1] + [0] * 199}, {"before": 3, "after": 1}, [{"from": ms(10), "until": ms(20)}])
    whole = hub.get(at(session, "/timeline"))       # from the creation to now
    assert whole["since"] == ms(0) and whole["until"] > 1767322860000 and sum(whole["levels"]["info"]) == 3
    assert len(whole["updates"]) <= 200 and sum(whole["updates"]) == 1


def test_an_ended_session_is_drawn_to_its_end_and_no_further(hub):
    session = hub.create().event("a").metric("m", 1).event("b").end()
    end = session.now()["ended_at"]
    for what in ("/timeline", "/series/points?name=m"):
        got = hub.get(at(session, what))
        assert got["outside"] == {"before": 0, "after": 0} and got["until"] - got["since"] < 60000, got
        assert hub.get(at(session, what)) == got, end


def test_a_session_that_fell_silent_is_drawn_to_its_last_word(site):
    hub = site.hub(heartbeat_timeout="300ms")
    session = hub.create(machine_id="m").heartbeat().event("last")
    for state in ("suspended", "crashed"):
        if state == "crashed":
            hub.create(machine_id="m")          # the machine is back without it
        wait_until(lambda: session.now()[state])
        last = datetime.datetime.fromisoformat(session.now()["updated_at"].replace("Z", "+00:00"))
        got = hub.get(at(session, "/timeline"))
        assert got["until"] == round(last.timestamp() * 1000) + 1 and got["outside"] == {"before": 0, "after": 0}


def test_the_series_of_a_session_and_their_points(hub):
    session = hub.create(created_at=second(0))
    for i, value in enumerate([3, 1, 2, 10]):
        session.metric("temperature", value, timestamp=second(i), unit="C", tags=["room", "a,b"])
    session.metric("temperature", 99, timestamp=second(1))
    for i, total in enumerate([0, 10, 30, 5]):
        session.metric("frames", total, type="counter", timestamp=second(10 * i), tags=["gpu"])
    series = hub.get(at(session, "/series"))
    assert series["next"] is None and series["left_out"] == 0
    assert [(s["name"], s["type"], s["tags"], s["count"]) for s in series["items"]] == [
        ("frames", "counter", ["gpu"], 4), ("temperature", "gauge", ["a,b", "room"], 4), ("temperature", "gauge", [], 1)]
    assert series["items"][1] == {"name": "temperature", "type": "gauge", "tags": ["a,b", "room"], "unit": "C", "first_at": ms(0), "last_at": ms(3),
                                  "last": 10, "count": 4, "min": 1, "max": 10, "mean": 4, "median": 2.5, "exact": True}
    span = "&since=%s&until=%s&points=4" % (second(0), second(40))
    got = hub.get(at(session, "/series/points?name=frames&type=counter&tags=gpu" + span))
    assert got["rate"] == [None, 1, 2, 0.5] and got["t"] == [ms(0), ms(10), ms(20), ms(30)] and got["last"] == [0, 10, 30, 5]
    got = hub.get(at(session, "/series/points?name=temperature&tag=room&tag=a,b" + span))
    assert hub.get(at(session, "/series/points?name=temperature&tags=room,a,b" + span))["t"] == []     # three tags are not two
    assert (got["min"], got["max"], got["mean"], got["count"], got["unit"]) == ([1], [10], [4], [4], "C")
    assert hub.get(at(session, "/series/points?name=nothing"))["t"] == []
    for bad in ("", "?type=gauge", "?name=", "?name=a&points=0", "?name=a&points=5000", "?name=a&buckets=7", "?name=a&since=%s&until=%s" % ((second(1),) * 2)):
        hub.refuses(400, "GET", at(session, "/series/points" + bad))
    hub.refuses(400, "GET", at(session, "/series?name=a"))
    for what in ("timeline", "series", "series/points?name=a"):
        hub.refuses(404, "GET", "/api/data/sessions/nobody/" + what)
        assert hub.ask("HEAD", at(session, "/" + what)).status == 200


def test_what_a_real_daemon_reports_is_drawn(site):
    stage = Sessions(site, server=None)
    game = stage.program(product="game", version="1.0")
    for wait in (0.5, 1.5, 1.5, 9):
        game.metric("latency", wait, type="histogram", metadata={"buckets": [1, 2, "inf"]}, unit="ms")
    game.metric("frames", 0, type="counter", delta=60)
    game.metric("load", 0.25)
    game.event("started", labels=["x"])
    game.state(level=1)
    game.end()
    stage.wait_at_hub(game, lambda s: not s["active"], "its end")
    path = "/api/data/sessions/" + stage.hub_id(game.id)

    def get(rest):
        answer = stage.hub.hear("GET", path + rest)
        assert answer.status == 200, answer
        return answer.json

    kinds = {s["name"]: (s["type"], s["last"]) for s in get("/series")["items"]}
    assert kinds == {"frames": ("counter", 60), "latency": ("histogram", 3.125), "load": ("gauge", 0.25)}
    got = get("/series/points?name=latency&points=1")
    assert got["count"] == [4] and got["mean"] == [3.125] and got["p50"] == [1.5] and got["unit"] == "ms" and got["left_out"] == 0
    assert [(b["le"], b["count"]) for b in got["buckets"]] == [(1, 1), (2, 2), ("inf", 1)]
    timeline = get("/timeline")
    assert sum(timeline["levels"]["info"]) == 1 and sum(timeline["updates"]) == 1 and timeline["outside"] == {"before": 0, "after": 0}
    assert [i["event"]["name"] for i in get("/events?view=page&label=x")["items"]] == ["started"]
    stage.close()


@pytest.mark.limit(240)
def test_a_session_of_a_hundred_thousand_items_is_drawn_at_once(site):
    # The address sanitizer would keep 256 MiB of what was freed.
    hub = site.hub(weir={"log": {"level": "warn"}}, env={"ASAN_OPTIONS": sanitizer_environment()["ASAN_OPTIONS"] + ":quarantine_size_mb=8"})
    session = hub.create(created_at=second(0))
    for first in range(1, 100001, 1000):
        n = range(first, first + 1000)
        session.batch(*[("event", {"name": "e", "category": "error" if i % 7 == 0 else "info", "message": "m" * 200, "timestamp": second(i // 100)})
                        for i in n], first=2 * first - 1)
        session.batch(*[("metric", {"name": "m%d" % (i % 10), "value": i, "type": "timer", "timestamp": second(i // 100)}) for i in n],
                      first=2 * first + 999)
    before = hub.figure("VmHWM")
    for what in ("timeline", "series", "series/points?name=m3"):
        assert fastest(hub, at(session, "/" + what)) < 2, what      # a fifth of that without sanitizers
    assert sum(sum(l) for l in hub.get(at(session, "/timeline"))["levels"].values()) == 100000
    series = hub.get(at(session, "/series"))["items"]
    assert [(s["count"], s["exact"], s["median"]) for s in series] == [(10000, True, 50000 + (i or 10) - 5) for i in range(10)]
    points = hub.get(at(session, "/series/points?name=m3&since=%s&until=%s&points=100" % (second(0), second(1001))))
    assert sum(points["count"]) == 10000 and len(points["t"]) == 100
    assert hub.figure("VmHWM") - before < 60


def fastest(hub, target):
    """Of three, in seconds."""
    took = []
    for _ in range(3):
        begin = time.monotonic()
        hub.get(target)
        took.append(time.monotonic() - begin)
    return min(took)


def test_the_document_names_every_path_and_no_other():
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(os.path.join(top, "src", "hub", "hub_api.c")) as f:
        paths = {(m[0], m[1].replace("*", "{id}")) for m in re.findall(r'\{ "(GET|POST)", "([^"]+)"', f.read())}
    with open(os.path.join(top, "docs", "hub-api.md")) as f:
        text = f.read().replace("`, `/metrics`, `/history`", "`\n`GET /api/data/sessions/{id}/metrics`\n`GET /api/data/sessions/{id}/history`")
    assert len(paths) > 15 and paths == set(re.findall(r"`(GET|POST) (/api/[^`?]+)", text))


# Looks that nobody waits for

@pytest.mark.limit(240)
def test_looks_whose_clients_have_gone_keep_nobody_and_no_stop(site):
    hub = site.hub(weir={"log": {"level": "warn"}})
    session = hub.create("heavy")
    for first in range(1, 40001, 1000):
        session.batch(*[("event", {"name": "e", "message": "a" * 300})] * 1000, first=first)
    searches = ("/api/data/sessions?text=aaab&limit=50", at(session, "/events?view=page&text=aaab"), at(session, "/timeline"))

    def took(target):
        begin = time.monotonic()
        assert hub.ask("GET", target).status == 200
        return time.monotonic() - begin

    one = max(took(target) for target in searches)
    for _ in range(150):
        for target in searches:
            raw = Raw(hub.ports["hub"])
            raw.send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
            raw.close()
    for target in searches:
        assert took(target) < 10 + 5 * one      # and not 150 times as long
    waiting = [Raw(hub.ports["hub"]).send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % searches[i % 3]) for i in range(150)]
    begin = time.monotonic()
    hub.stop()                                  # which has a limit of its own
    assert time.monotonic() - begin < 10 + 5 * one
    for raw in waiting:
        raw.close()


def test_a_search_takes_as_long_as_there_are_bytes(hub):
    session = hub.create()
    for first in range(0, 600, 60):             # 36 MB that nearly match everywhere
        session.batch(*[("event", {"name": "e", "message": "a" * 60000})] * 60, first=first + 1)
    begin = time.monotonic()
    places, following, total = search(hub, session, "a" * 200 + "b")
    assert places == [] and 500 < following < 600 and total == 600      # 32 MiB were looked at
    assert time.monotonic() - begin < 8                                 # 200 times as many comparisons take longer


def search(hub, session, text):
    answer = hub.get(at(session, "/events?view=page&text=" + text))
    return answer["items"], answer["next"], answer["total"]
