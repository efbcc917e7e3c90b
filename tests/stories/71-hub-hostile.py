"""What strangers and broken programs send to a hub: clear refusals, nothing kept, nobody held up."""

import gzip
import json
import socket
import threading

import pytest

from lab.daemon import run_weir
from lab.hub import packed
from lab.wire import Raw

MIB = 1 << 20

BOTH_DATABASES = True


@pytest.fixture(scope="module")
def hub(shared_site):
    return shared_site.hub()


@pytest.fixture
def session(hub):
    """One that nothing is kept of, whatever the story sends to it."""
    session = hub.create()
    before = session.now()
    yield session
    assert session.now() == before


NO_JSON = {
    "empty": b"", "blank": b"  ", "cut": b'{"name": "e"', "trailing": b'{"name": "e"} x', "two": b'{"name": "e"}{"name": "e"}',
    "unquoted": b'{name: "e"}', "single quotes": b"{'name': 'e'}", "comma": b'{"name": "e",}', "NaN": b'{"name": "e", "data": {"x": NaN}}',
    "Infinity": b'{"name": "e", "data": {"x": Infinity}}', "-Infinity": b'{"name": "e", "value": -Infinity}',
    "too large": b'{"name": "e", "data": {"x": 1e400}, "value": 1e400}', "control": b'{"name": "a\nb"}', "NUL": b'{"name": "e\\u0000"}',
    "NUL byte": b'{"name": "e"}\x00', "invalid UTF-8": b'{"name": "\xff\xfe"}', "overlong": b'{"name": "\xc0\xaf"}',
    "surrogate": b'{"name": "\\ud800"}', "UTF-16": '{"name": "e"}'.encode("utf-16"), "BOM": b'\xef\xbb\xbf{"name": "e"}',
    "leading zero": b'{"name": "e", "value": 01}', "plus": b'{"name": "e", "value": +1}', "a word": b"hello", "a number": b"5",
    "a string": b'"e"', "null": b"null", "a list": b'[{"name": "e"}]', "binary": bytes(range(256)),
    "deep": b'{"name": "e", "data": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "deep and cut": b"[" * 60000,
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_json_is_refused_and_nothing_is_kept(hub, session, body):
    for what in ("events", "metrics", "state", "batch"):
        hub.refuses(400, "POST", "%s/%s" % (session.path, what), body)
    hub.refuses(400, "POST", "/api/sessions", body)


@pytest.mark.parametrize("what,body", [
    ("events", {"name": 5}), ("events", {"name": "e", "labels": "a"}), ("events", {"name": "e", "labels": [1]}),
    ("events", {"name": "e", "data": []}), ("events", {"name": "e", "stacktrace": "s"}), ("events", {"name": "e", "source_line": "7"}),
    ("events", {"name": "e", "source_line": 1.5}), ("events", {"name": "e", "timestamp": 5}),
    ("events", {"name": "e", "timestamp": "2026-13-01T00:00:00Z"}), ("events", {"name": "e", "timestamp": "2026-01-01"}),
    ("events", {"category": "x"}), ("metrics", {"name": "m"}), ("metrics", {"value": 1}), ("metrics", {"name": "m", "value": "1"}),
    ("metrics", {"name": "m", "value": None}), ("metrics", {"name": "m", "value": True}), ("metrics", {"name": "m", "value": 1, "count": 1.5}),
    ("metrics", {"name": "m", "value": 1, "tags": {}}), ("metrics", {"name": "m", "value": 1, "metadata": []}),
    ("metrics", {"name": "m", "value": 1, "type": 1}), ("state", {"state": {}, "timestamp": "noon"}),
])
def test_a_wrong_type_is_refused_by_name(hub, session, what, body):
    assert "Invalid request" in hub.refuses(400, "POST", "%s/%s" % (session.path, what), body)


def test_large_integers_and_unicode_are_kept_as_far_as_json_goes(hub):
    session = hub.create("pröd\U0001f600", "1")
    session.do("events", '{"name": "é\\ud83d\\ude00", "data": {"x": 1e2, "x": 18446744073709551616, "y": -9223372036854775808}}'.encode())
    event = session.now()["events"][0]
    assert event["name"] == "é\U0001f600"
    assert event["data"] == {"x": float(2 ** 64), "y": -2 ** 63}
    assert session.now()["state"]["product"] == "pröd\U0001f600"


def test_a_body_of_100_megabytes_is_refused_however_it_comes(hub, session):
    big, before = b'{"name": "' + b"x" * (100 * MIB) + b'"}', hub.figure("VmHWM")
    raw = Raw(hub.ports["hub"])
    raw.send("POST %s/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (session.path, len(big)))
    raw.send(big[:200000])
    assert b" 413 " in raw.read_until(b"\r\n")
    raw.close()
    raw = Raw(hub.ports["hub"])
    raw.send("POST %s/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % session.path)

    def send():
        try:
            for at in range(0, len(big), MIB):
                raw.send(b"%x\r\n%s\r\n" % (len(big[at:at + MIB]), big[at:at + MIB]))
        except OSError:
            pass    # it was told before all was sent

    sender = threading.Thread(target=send)
    sender.start()
    assert b" 413 " in raw.read_until(b"\r\n")
    raw.sock.shutdown(socket.SHUT_RDWR)
    sender.join()
    raw.close()
    assert hub.figure("VmHWM") - before < 40       # two bodies up to the limit; with sanitizers 18 MiB were seen


def test_gzip_is_undone_bombs_are_not(hub):
    session = hub.create()
    zipped = {"Content-Encoding": "gzip"}
    assert hub.ask("POST", session.path + "/events", packed({"name": "zipped"}), zipped).status == 200
    large = packed({"name": "large", "message": "x" * MIB})
    assert hub.ask("POST", session.path + "/events", large, zipped).status == 200
    bomb, before = gzip.compress(b'{"name": "' + b"x" * (100 * MIB) + b'"}'), hub.figure("VmHWM")
    assert len(bomb) < 200000
    for body, status in ((bomb, 413), (b'{"name": "e"}', 400), (packed({"name": "e"})[:-5], 400), (packed({"name": "e"}) + b"x", 400),
                         (b"\x1f\x8b" + b"\0" * 50, 400)):
        hub.refuses(status, "POST", session.path + "/events", body, zipped)
    assert [e["name"] for e in session.now()["events"]] == ["zipped", "large"]
    assert hub.figure("VmHWM") - before < 40


def test_bodies_up_to_the_limit_are_taken_and_the_limit_is_a_setting(site):
    hub = site.hub(max_body="64KiB")
    session = hub.create()
    session.event("fits", message="x" * 65000)
    for body in ({"name": "x" * 66000}, {"name": "x" * 300000}):
        assert "65536" in hub.refuses(413, "POST", session.path + "/events", body)
    assert [e["name"] for e in session.now()["events"]] == ["fits"]


def test_a_state_has_a_limit(hub):
    session = hub.create()
    session.state(a="x" * 900000)
    hub.refuses(413, "POST", session.path + "/state", {"state": {"b": "x" * 200000}})
    session.state(a=None).state(b="x" * 200000)
    assert sorted(session.now()["state"]) == ["b", "product", "version"]
    assert len(session.now()["state_history"]) == 3


def test_what_is_as_deep_as_may_be_can_be_read_back(hub):
    def deep(n):
        return b'{"a":' * (n - 1) + b"{}" + b"}" * (n - 1)
    session = hub.create()
    session.do("state", deep(100)).do("state", deep(100)).do("events", b'{"name": "e", "data": ' + deep(99) + b"}")
    for body in (deep(101), b'{"a":' + b"[[]" + b",[]" * 600000 + b"]}"):
        hub.refuses(400, "POST", session.path + "/state", body)
    now = session.now()
    assert len(now["state_history"]) == 2 and len(now["events"]) == 1
    assert hub.ids("text=deep&product=nobody") == []
    assert hub.ask("GET", "/api/data" + session.path[4:] + "/history?format=csv").status == 200


# Keys

@pytest.fixture(scope="module")
def guarded(shared_site):
    return shared_site.hub(api_key_file=shared_site.file("key", "s3cret\n"))


PATHS = [("POST", "/api/sessions"), ("GET", "/api/data/sessions"), ("GET", "/api/sessions/x"), ("POST", "/api/sessions/x/batch"),
         ("POST", "/api/sessions/x/events"), ("GET", "/nowhere"), ("DELETE", "/api/sessions"), ("GET", "/metrics"), ("GET", "/healthz")]


@pytest.mark.parametrize("given", [None, "", "s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cretx", "bearer s3cret",
                                   "Bearer  s3cret", "Basic czpzM2NyZXQ=", "Bearer s3cret s3cret"])
def test_without_the_key_there_is_nothing_but_health(guarded, given):
    headers = {} if given is None else {"Authorization": given}
    for method, path in PATHS:
        guarded.refuses(401, method, path, None if method == "GET" else {"product": "p", "version": "1"}, headers)
    assert guarded.ask("GET", "/health", None, headers).status == 200
    assert guarded.get("/api/data/sessions", Authorization="Bearer s3cret") == []


def test_the_key_is_checked_before_the_body_is_looked_at(guarded):
    for body in (gzip.compress(b"x" * (100 * MIB)), b"no gzip"):
        guarded.refuses(401, "POST", "/api/sessions", body, {"Content-Encoding": "gzip"})
    assert "s3cret" not in guarded.whole_log()


def test_a_new_key_is_taken_over_at_sighup(site):
    import signal

    from lab.wait import wait_until
    hub = site.hub(api_key_file=site.file("key", "old"))
    assert hub.ask("GET", "/api/data/sessions", None, {"Authorization": "Bearer old"}).status == 200
    site.file("key", "new")
    hub.process.send_signal(signal.SIGHUP)
    wait_until(lambda: hub.ask("GET", "/api/data/sessions", None, {"Authorization": "Bearer new"}).status == 200)
    hub.refuses(401, "GET", "/api/data/sessions", None, {"Authorization": "Bearer old"})


def test_it_listens_on_loopback_unless_told_otherwise(site):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9090))
            taken.listen()
        except OSError:
            pass                                        # somebody else has it: just as well
        config = site.file("loopback.yaml", "data_dir: %s/loopback\nhub: {retention: 1d}\n" % site.dir)
        code, _, err = run_weir("hub", "-c", config, env=site.env, cwd=site.dir)
    assert code != 0 and "127.0.0.1:9090" in err, err


@pytest.mark.parametrize("listen,key,warned", [("0.0.0.0:0", None, True), ("0.0.0.0:0", "s3cret", False), ("127.0.0.1:0", None, False)])
def test_a_hub_that_is_open_to_everybody_says_so(site, listen, key, warned):
    hub = site.hub(listen=listen, **({"api_key_file": site.file("key", key)} if key else {}))
    assert ("hub_open_to_everybody" in hub.whole_log()) is warned


# Manners

def test_pages_of_others_cannot_drive_it(hub):
    for headers, status in (({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
        assert hub.ask("POST", "/api/sessions", {"product": "p", "version": "1"}, headers).status == status


def test_slow_clients_hold_up_nobody(hub):
    """More of them than there are workers, each in the middle of a large body."""
    head = "POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    slow = [Raw(hub.ports["hub"]).send(head + '{"product": "' + "x" * 100000) for _ in range(100)]
    session = hub.create().event("e").metric("m", 1)
    assert len(session.now()["events"]) == 1
    assert hub.list()
    for raw in slow:
        raw.close()


def test_a_client_that_reads_nothing_holds_up_nobody(site):
    hub = site.hub()
    session = hub.create()
    for first in range(1, 30001, 1000):
        session.batch(*[("event", {"name": "e", "message": "x" * 900})] * 1000, first=first)
    deaf = [Raw(hub.ports["hub"]) for _ in range(20)]
    for raw in deaf:
        raw.send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % session.path)
    session.event("meanwhile")
    assert len(session.now()["events"]) == 30001
    for raw in deaf:
        raw.close()


def test_operations_that_are_refused_are_counted(site):
    hub = site.hub()
    session = hub.create()
    hub.refuses(400, "POST", session.path + "/events", {})
    hub.refuses(404, "POST", "/api/sessions/x/end", {})
    assert hub.metric("weir_hub_operations_total", type="event", outcome="refused") == 1
    assert hub.metric("weir_hub_refusals_total", reason="body") == 1
    assert hub.metric("weir_hub_refusals_total", reason="session") == 1
    assert json.loads(hub.ask("GET", "/health").text)["status"] == "healthy"
