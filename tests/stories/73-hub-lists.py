"""Lists of a hub: filters, pages, exports; and answers of any size in little memory."""

import csv
import io
import time
import urllib.parse

import pytest

from lab.daemon import sanitizer_environment
from lab.wait import wait_until
from lab.wire import Raw

STATES = ["active", "suspended", "ended", "crashed"]

BOTH_DATABASES = True


@pytest.fixture(scope="module")
def place(shared_site):
    """A hub with sessions of every kind, by name."""
    hub = shared_site.hub(heartbeat_timeout="300ms")
    made = {"old": hub.create("game", "1.0", machine_id="m1", hostname="desk", created_at="2026-01-01T00:00:00Z"),
            "new": hub.create("game", "2.0", machine_id="m1", created_at="2026-02-01T00:00:00Z"),
            "tool": hub.create("tool & more", "1.0", machine_id="m2", created_at="2026-03-01T00:00:00Z"),
            "suspended": hub.create("game", "1.0").heartbeat(), "ended": hub.create("game", "1.0").end(),
            "crashed": hub.create("game", "1.0").crash("oom"),
            "hangs": hub.create("game", "1.0").event("application_appears_hung", message="Für immer: \"weg\""),
            "recovered": hub.create("game", "1.0").event("application_appears_hung").event("application_recovered"),
            "hung-ended": hub.create("game", "1.0").event("application_appears_hung").end(),
            "hung-crashed": hub.create("game", "1.0").event("application_appears_hung").crash("killed")}
    wait_until(lambda: made["suspended"].now()["suspended"])
    return hub, made


@pytest.mark.parametrize("query,wanted", [
    ("", "hung-crashed hung-ended recovered hangs crashed ended suspended tool new old"),
    ("machine=m1", "new old"), ("machine_id=m1&version=1.0", "old"), ("product=tool%20%26+more", "tool"), ("product=nothing", ""),
    ("hostname=desk", "old"), ("state=suspended", "suspended"), ("state=ended", "hung-ended ended"),
    ("state=crashed", "hung-crashed crashed"), ("state=active", "recovered hangs tool new old"),
    ("state=suspended,crashed", "hung-crashed crashed suspended"), ("since=2026-02-01T00:00:00Z&until=2026-03-01T00:00:00Z", "new"),
    ("until=2026-01-01T01:00:00%2B01:00", ""), ("until=1970-01-01T00:00:00Z", ""), ("until=2026-01-01T01:00:01%2B01:00", "old"),
    ("hung=now", "hung-ended hangs"), ("hung=ever", "hung-crashed hung-ended recovered hangs"), ("hung=recovered", "recovered"),
    ("hung=ended", "hung-ended"), ("hung=crashed", "hung-crashed"), ("text=" + urllib.parse.quote('IMMER: "weg"'), "hangs"),
    ("text=oom", "crashed"), ("text=timestamp", ""), ("text=application&state=ended", "hung-ended"), ("limit=2", "hung-crashed hung-ended"),
])
def test_lists_are_filtered(place, query, wanted):
    hub, made = place
    by_id = {s.id: name for name, s in made.items()}
    assert " ".join(by_id[i] for i in hub.ids(query)) == wanted


@pytest.mark.parametrize("query", ["state=asleep", "state=", "hung=maybe", "since=yesterday", "limit=0", "limit=x", "limit=-1", "after=x", "text=",
                                   "after=17", "after=c.1.0", "after=c.x.1", "after=u.1.1", "after=c.1.1.text", "after=p.1.1&sort=product",
                                   "sort=name", "sort=", "sort=updated", "sort=events&limit=256", "order=up", "view=all", "format=xml", "produkt=game", "product=%zz", "product=%00", "product=%4", "text=" + "x" * 300])
def test_what_is_no_filter_is_refused(place, query):
    assert "Invalid request" in place[0].refuses(400, "GET", "/api/data/sessions?" + query)


@pytest.mark.parametrize("sort", ["", "&sort=created&order=asc", "&sort=updated", "&sort=product", "&order=asc&sort=hostname", "&sort=events"])
def test_pages_follow_their_links(place, sort):
    hub, made = place
    target, seen, pages = "/api/data/sessions?limit=3&product=game" + sort, [], 0
    while target:
        a = hub.ask("GET", target)
        assert a.status == 200 and len(a.json) <= 3
        seen += [s["id"] for s in a.json]
        pages += 1
        link = a.headers.get("link")
        assert link is None or link.endswith('>; rel="next"')
        target = link and link[1:link.index(">")]
        hub.create("other")     # what comes meanwhile moves nothing
    assert pages == 3 and seen == hub.ids("limit=200&product=game" + sort)


def test_lists_are_sorted(place):
    hub, made = place
    for sort, key in (("created", "created_at"), ("updated", "updated_at"), ("product", "product"), ("hostname", "hostname"), ("events", "events")):
        up, down = ([value(s, key) for s in hub.list("view=summary&limit=200&sort=%s&order=%s" % (sort, o))] for o in ("asc", "desc"))
        assert up == sorted(up) and down == sorted(up, reverse=True) and len(set(up)) > 1, sort
        assert hub.ids("limit=200&sort=%s&order=asc" % sort) == hub.ids("limit=200&sort=" + sort)[::-1]


def value(session, key):
    return session["counts"]["events"] if key == "events" else session["state"]["product"] if key == "product" else session.get(key, "")


def test_a_summary_has_counts_instead_of_items(place):
    hub, made = place
    s = next(s for s in hub.list("view=summary") if s["id"] == made["recovered"].id)
    assert s["counts"] == {"state_history": 0, "events": 2, "metrics": 0} and "events" not in s and s["state"]["product"] == "game"


def test_a_brief_one_has_its_product_instead_of_its_state(place):
    hub, _ = place
    session = hub.create("game", "7").state(product="renamed", large="x" * 100000)
    brief, record = hub.get("/api/data/sessions/%s?view=brief" % session.id), session.now()
    assert brief == {k: v for k, v in record.items() if k not in ("state", "state_history", "events", "metrics")} | {
        "product": "game", "version": "7", "counts": {"state_history": 1, "events": 0, "metrics": 0}}
    assert next(s for s in hub.list("view=brief") if s["id"] == session.id) == brief
    hub.refuses(400, "GET", "/api/data/sessions?view=short")


def table(answer):
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_the_list_is_exported_as_csv(place):
    hub, made = place
    rows = table(hub.ask("GET", "/api/data/sessions?format=csv"))
    assert [r["id"] for r in rows] == hub.ids()
    row = next(r for r in rows if r["id"] == made["tool"].id)
    assert (row["product"], row["version"], row["machine_id"], row["state"], row["hung"]) == ("tool & more", "1.0", "m2", "active", "false")
    assert next(r["state"] for r in rows if r["id"] == made["hung-crashed"].id) == "crashed"


def test_items_are_exported_as_json_and_csv(place):
    hub, _ = place
    session = hub.create('quo"te,d', "=1+1")
    session.event("a", message='comma, "quote"\nline', labels=["x", "y"], data={"k": 1}).event("b", message="=cmd()", source_line=3)
    session.metric("m", 0.1, tags=["t"]).metric("n", -5).state(a=1).state(a=2)
    at = "/api/data/sessions/%s/" % session.id
    now = session.now()
    assert hub.get(at + "events") == now["events"] and hub.get(at + "metrics") == now["metrics"]
    assert hub.get(at + "history") == now["state_history"] and hub.get(at[:-1]) == now
    assert hub.get(at + "events?from=1") == now["events"][1:] and hub.get(at + "events?limit=1") == now["events"][:1]
    assert hub.get(at + "history?from=1&limit=5") == now["state_history"][1:] and hub.get(at + "metrics?from=2") == []
    a, b = table(hub.ask("GET", at + "events?format=csv"))
    assert (a["place"], a["message"], a["labels"], a["data"]) == ("0", 'comma, "quote"\nline', '["x","y"]', '{"k":1}')
    assert (b["message"], b["source_line"]) == ("'=cmd()", "3")       # no formula for a spreadsheet
    m, n = table(hub.ask("GET", at + "metrics?format=csv"))
    assert (m["value"], m["tags"], n["value"]) == ("0.1", '["t"]', "-5")
    assert table(hub.ask("GET", at + "history?format=csv"))[1]["timestamp"] == now["state_history"][1]["timestamp"]
    hub.refuses(404, "GET", "/api/data/sessions/nobody/events")
    row = next(r for r in table(hub.ask("GET", "/api/data/sessions?format=csv")) if r["id"] == session.id)
    assert (row["product"], row["version"]) == ('quo"te,d', "'=1+1")


def test_head_says_what_get_would(place):
    hub, made = place
    a = hub.ask("HEAD", made["old"].path)
    assert a.status == 200 and a.body == b"" and int(a.headers["content-length"]) == len(hub.ask("GET", made["old"].path).body)


# Masses

def first_byte(hub, target):
    """Seconds until the answer begins, and its bytes."""
    raw = Raw(hub.ports["hub"], timeout=60)
    begin = time.monotonic()
    raw.send("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target)
    raw.read_until(b"\r\n\r\n")
    took = time.monotonic() - begin
    size = len(raw.buffer)
    while data := raw.sock.recv(1 << 20):
        size += len(data)
    raw.close()
    return took, size


@pytest.mark.limit(300)
def test_ten_thousand_sessions_and_a_session_of_a_hundred_thousand_events(site):
    asan = sanitizer_environment()["ASAN_OPTIONS"] + ":quarantine_size_mb=8"    # which would count as the hub's memory
    hub = site.hub(weir={"log": {"level": "warn"}}, env={"ASAN_OPTIONS": asan})
    lines = [Raw(hub.ports["hub"], timeout=60) for _ in range(100)]
    for i in range(100):
        body = b'{"product": "p%d", "version": "1"}' % (i % 7)
        for line in lines:
            line.send(b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert all(line.answer().status == 200 for line in lines)
    for line in lines:
        line.close()
    large = hub.create("large")
    for first in range(1, 100001, 1000):
        large.batch(*[("event", {"name": "e", "message": "m" * 300, "data": {"n": first + i}}) for i in range(1000)], first=first)
    before = hub.figure("VmHWM")
    took, size = first_byte(hub, large.path)
    assert size > 40e6
    assert took < 5
    took, size = first_byte(hub, "/api/data/sessions?view=summary")
    assert size > 2e6 and took < 5
    assert len(hub.ids("product=p3")) == len(range(3, 100, 7)) * 100
    target, seen = "/api/data/sessions?view=summary&limit=3000", []
    while target:
        a = hub.ask("GET", target)
        seen.append([s["id"] for s in a.json])
        target = a.headers.get("link") and a.headers["link"].split(">")[0][1:]
    assert [len(page) for page in seen] == [3000, 3000, 3000, 1001] and len(set(sum(seen, []))) == 10001
    events = hub.get("/api/data/sessions/%s/events?from=99990" % large.id)
    assert [e["data"]["n"] for e in events] == list(range(99991, 100001))
    assert [s["id"] for s in hub.list("text=mmmm&limit=1")] == [large.id]
    grown = hub.figure("VmHWM") - before
    assert grown < 100, "answers of %d MiB took %d MiB" % (size >> 20, grown)
    for target in ("/api/data/sessions?product=large&text=MMM", large.path, "/api/data/sessions/%s/events?format=csv" % large.id):
        raw = Raw(hub.ports["hub"])         # the hub is stopped while somebody who has left is still being answered
        raw.send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target).read_until(b"\r\n\r\n")
        raw.close()
    hub.stop()
