"""What the hub's pages ask for: counts by state, a page of events, the state as it was, a session drawn as a timeline and as series."""

import pytest

from lab.wait import wait_until

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
