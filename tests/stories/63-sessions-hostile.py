"""What a client should not send, to the daemon and to the hub: a clear 4xx, nothing kept, nothing leaked; and keys."""

import gzip
import socket
import threading

import pytest

from lab import wire
from lab.sessions import Program, Sessions, names
from lab.wait import wait_until

NO_JSON = [
    b"", b" ", b"{", b"}", b"nonsense", b"[]]", b"{}{}", b'{"a":1}x', b"{'a':1}", b'{"a":1,}', b'{"a" 1}', b'{"a":}',
    b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":1.}', b'{"a":0x10}', b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":Inf}',
    b'{"a":tru}', b'{"a":"\x01"}', b'{"a":"\n"}', b'{"a":"\\x"}', b'{"a":"\\ud800"}',
    b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}',
    b'{"a":"\xed\xa0\x80"}', b'{"a":"\\u0000"}', b'{"a\\u0000b":1}', b'{"a":1e400}',
    b'{"a":-1e999}', b'{"a":1' + b"0" * 400 + b"}",
    b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[" * 100000, b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00", b"null", b"true", b"1", b'"text"', b"[]", b"[{}]",
]

# (path, body without the session, what is wrong)
WRONG_TYPES = [
    ("/register", {"product": 1, "version": "1"}), ("/register", {"product": "", "version": "1"}),
    ("/register", {"product": "a"}), ("/register", {"version": "1"}), ("/register", {"product": None, "version": "1"}),
    ("/register", {"product": "a", "version": "1", "parent_pid": "7"}),
    ("/register", {"product": "a", "version": "1", "parent_pid": 1.5}),
    ("/register", {"product": ["a"], "version": {}}),
    ("/register", {"product": "a" * 4097, "version": "1"}), ("/register", {"product": "a", "version": "\u00fc" * 2049}),
    ("/state", {"state": "no"}), ("/state", {"state": []}), ("/state", {"state": 1}),
    ("/event", {"name": 1}), ("/event", {"name": "a", "labels": "x"}), ("/event", {"name": "a", "labels": [1]}),
    ("/event", {"name": "a", "data": []}), ("/event", {"name": "a", "data": "x"}),
    ("/event", {"name": "a", "stacktrace": {}}),
    ("/event", {"name": "a", "source_line": "7"}), ("/event", {"name": "a", "source_line": 7.5}),
    ("/event", {"name": "a", "category": 7}), ("/event", {"name": "a", "message": {}}),
    ("/metric", {"name": "a", "value": "1"}), ("/metric", {"name": "a"}), ("/metric", {"value": 1}),
    ("/metric", {"name": "a", "value": True}), ("/metric", {"name": "a", "value": 1, "tags": {}}),
    ("/metric", {"name": "a", "value": 1, "tags": [None]}), ("/metric", {"name": "a", "value": 1, "metadata": []}),
    ("/metric", {"name": "a", "value": 1, "type": 1}),
    ("/metric", {"name": "a", "value": 1, "type": "counter", "delta": "1"}),
    ("/metric", {"name": "a", "value": 1, "count": 1.5}),
    ("/metric", {"name": "a", "value": 1, "type": "histogram", "metadata": {"buckets": [{}]}}),
    ("/heartbeat", {"session_id": 7}), ("/end", {"session_id": ["x"]}), ("/pause_heartbeat", {"session_id": {}}),
]

PATHS = ["/register", "/state", "/event", "/metric", "/heartbeat", "/pause_heartbeat", "/resume_heartbeat", "/end"]


@pytest.fixture(scope="module")
def lab(shared_site):
    stage = Sessions(shared_site)
    yield stage
    stage.close()


@pytest.fixture
def own(site):
    stage = Sessions(site)
    yield stage
    stage.close()


def is_clear(a, *statuses):
    assert a.status in (statuses or (400,)), a
    assert a.headers["content-type"].startswith("text/plain"), a
    assert a.text.strip() and len(a.text.strip().splitlines()) == 1 and len(a.text) < 500, a


def test_what_is_no_json_is_refused_by_the_daemon_and_nothing_is_kept(lab):
    p = lab.program()
    lab.wait_delivered()
    for path in PATHS:
        for body in NO_JSON:
            is_clear(p.send("POST", path, body))
    assert p.look()["events"] == [] and p.look()["metrics"] == []
    assert lab.queue()["entries"] == 0


def test_what_is_no_json_is_refused_by_the_hub_and_nothing_is_kept(lab):
    p = lab.program()
    before = lab.at_hub(p)
    many = len(lab.hub.sessions())
    for path in ("", "/%s/state" % p.id, "/%s/events" % p.id, "/%s/metrics" % p.id, "/%s/batch" % p.id):
        for body in NO_JSON:
            a = lab.hub.hear("POST", "/api/sessions" + path, body)
            is_clear(a)
    after = lab.at_hub(p)
    for name in ("events", "metrics", "state", "state_history"):
        assert after[name] == before[name]
    assert len(lab.hub.sessions()) == many


def test_wrong_types_are_refused_by_the_daemon(lab):
    p = lab.program()
    lab.wait_delivered()
    for path, body in WRONG_TYPES:
        a = p.send("POST", path, dict({"session_id": p.id}, **body) if path != "/register" else body)
        assert a.status == 400, (path, body, a)
        is_clear(a)
    seen = p.look()
    assert seen["events"] == [] and seen["metrics"] == [] and seen["active"]
    assert seen["state"] == {"product": "game", "version": "1.0"}


def test_json_comes_before_the_session_and_the_session_has_to_be_known(lab):
    p = lab.program()
    for path in PATHS[1:]:
        body = {"session_id": "nobody", "state": {}, "name": "a", "value": 1}
        is_clear(p.send("POST", path, body), 404)
        is_clear(p.send("POST", path, dict(body, session_id="")), 404)
        is_clear(p.send("POST", path, dict(body, session_id="x" * 100000)), 404)
        is_clear(p.send("POST", path, b'{"session_id":"nobody"'), 400)
    is_clear(p.send("GET", "/session"), 400)
    is_clear(p.send("GET", "/session?session_id=nobody"), 404)
    is_clear(p.send("GET", "/session?session_id=%00%ff"), 400, 404)
    is_clear(p.send("GET", "/nowhere"), 404)
    for path in PATHS:
        assert p.send("GET", path).status == 405
        assert p.send("DELETE", path).status == 405
    assert p.send("POST", "/session", b"{}").status == 405
    assert p.send("PUT", "/health", b"{}").status == 200, "any method"


def test_numbers_go_through_as_they_are(lab):
    """64 bits are kept, other numbers read back equal; of a repeated name the last one counts."""
    p = lab.program()
    body = (b'{"session_id":"%s","name":"n","data":{"big":9223372036854775807,"small":-9223372036854775808,"tenth":0.1,'
            b'"more":12345678901234567890,"tiny":5e-324,"huge":1.7976931348623157e308,"third":0.3333333333333333,'
            b'"twice":1,"twice":2,"deep":%s}}' % (p.id.encode(), b"[" * 60 + b"]" * 60))
    assert p.send("POST", "/event", body).status == 200
    s = lab.wait_at_hub(p, lambda s: s["events"], "it arrived")
    d = s["events"][0]["data"]
    assert d["big"] == 2**63 - 1 and d["small"] == -2**63 and d["tenth"] == 0.1 and d["tiny"] == 5e-324
    assert d["huge"] == 1.7976931348623157e308 and d["third"] == 1 / 3 and d["twice"] == 2
    assert float(d["more"]) == 12345678901234567890.0


def test_fields_of_their_own_are_kept_whatever_they_are_called(lab):
    """Names that the daemon and the hub use between them, and values as deep as is allowed."""
    p = lab.program()
    p.event("one", seq=2**63 - 1, op="end", type="metric", key="k", refused=[1], applied_seq=7, timestamp="never")
    p.metric("two", 2, seq=-1, op="crash", reason="none")
    p.tell("/state", session_id=p.id, state={"seq": 5}, seq=0, op={})
    deep = b"[" * 94 + b"]" * 94
    body = b'{"session_id":"%s","name":"deep","data":{"a":%s}}' % (p.id.encode(), deep)
    assert p.send("POST", "/event", body).status == 200
    p.event("last")
    s = lab.wait_at_hub(p, lambda s: names(s)[-1:] == ["last"], "all arrived")
    assert names(s) == ["one", "deep", "last"] and s["active"] and s["state"]["seq"] == 5
    assert [m["value"] for m in s["metrics"]] == [2]
    lab.wait_delivered()
    assert names(p.look()) == ["one", "deep", "last"]


def test_text_of_all_kinds_goes_through_as_it_is(lab):
    p = lab.program()
    text = "grün \U0001f600 \u2028 \x7f \"\\/ \t <&> " + "".join(chr(c) for c in range(0x80, 0x180))
    p.event(text, message=text, data={text: text}, labels=[text], **{"own field": text})
    s = lab.wait_at_hub(p, lambda s: s["events"], "it arrived")
    e = s["events"][0]
    assert e["name"] == text and e["message"] == text and e["data"] == {text: text} and e["labels"] == [text]


def test_a_body_of_100_mb(lab):
    """Announced, it is refused before it is sent; unannounced, as soon as it is too long. Memory stays where it is."""
    p = lab.program()
    lab.wait_delivered()
    for port, path, weir in ((lab.port, "/event", lab.weir),
                             (lab.hub.ports["hub"], "/api/sessions/%s/events" % p.id, lab.hub)):
        before = weir.metric("weir_process_resident_memory_bytes")
        a = wire.request(port, "POST", path, {"Content-Length": "104857600", "Expect": "100-continue"}, None)
        assert a.status == 413, a
        for chunked in (False, True):
            assert send_much(port, path, 100 << 20, chunked) == 413
        body = gzip.compress(b'{"name":"x","message":"' + b"a" * (100 << 20) + b'"}', 1)
        a = wire.request(port, "POST", path, {"Content-Encoding": "gzip"}, body)
        assert a.status in (400, 413), a
        assert weir.metric("weir_process_resident_memory_bytes") - before < 64 << 20
    assert lab.at_hub(p)["events"] == []
    p.event("small")
    lab.wait_at_hub(p, lambda s: names(s) == ["small"], "and it goes on")


def send_much(port, path, count, chunked):
    """Sends until somebody objects; the status that came."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % count
        s.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % (path.encode(), how))
        piece = (b'{"name":"' + b"a" * 65536)[:65536]
        try:
            for _ in range(count // 65536):
                s.sendall(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
        except OSError:
            pass
        data = b""
        try:
            while b"\r\n" not in data:
                more = s.recv(4096)
                if not more:
                    break
                data += more
        except OSError:
            pass
        return int(data.split(b" ")[1]) if data.startswith(b"HTTP/1.1 ") else 0


def test_wide_and_long_but_legal(own):
    """Half a megabyte of names, of tags, of labels: taken or refused as too large, and the daemon goes on."""
    lab = own
    p = lab.program()
    p.state(**{"k%d" % i: i for i in range(20000)})
    p.event("many", labels=["l%d" % i for i in range(20000)])
    for i in range(300):
        p.metric("m", 1, type="counter", delta=1, tags=["t%d" % i])
    a = p.send("POST", "/metric", {"session_id": p.id, "name": "h", "value": 1, "type": "histogram",
                                   "metadata": {"buckets": list(range(5000))}})
    assert a.status in (200, 400, 413), a
    p.end()
    s = lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    assert s["state"]["k19999"] == 19999 and len(s["events"][0]["labels"]) == 20000
    assert len({tuple(m["tags"]) for m in s["metrics"] if m["name"] == "m"}) == 300


def test_names_as_long_as_the_hub_takes_them(lab):
    p = lab.program("p" * 4096, "v" * 4096)
    assert lab.at_hub(p)["state"] == {"product": "p" * 4096, "version": "v" * 4096}


def test_further_members_are_as_many_as_the_hub_takes(lab):
    """More would be refused there for good, and all of the session with them."""
    most = 65536 - len('{"note":""}')
    p = lab.program("wordy", note="x" * most)
    assert lab.at_hub(p)["note"] == "x" * most
    stranger = lab.program(register=False)
    a = stranger.send("POST", "/register", {"product": "wordy", "version": "1", "note": "x" * (most + 1)})
    is_clear(a, 400)
    assert "64 KiB" in a.text and "/state" in a.text


def test_a_state_does_not_grow_beyond_what_the_hub_takes(own):
    """1 MiB, as JSON. What is refused changes nothing, and what takes something away goes through."""
    lab = own
    p = lab.program()
    for n in range(9):
        p.state(**{"k%d" % n: "x" * 100000})
    for body in ({"more": "y" * 200000}, {"k%d" % n: "z" * 130000 for n in range(8)}):
        a = p.send("POST", "/state", {"session_id": p.id, "state": body})
        is_clear(a, 413)
        assert "1048576" in a.text and "state" in a.text
    p.state(k0=None, more="y" * 200000)
    p.state(k1="small")
    lab.wait_delivered()
    s = lab.at_hub(p)
    assert "k0" not in s["state"] and s["state"]["k1"] == "small" and len(s["state"]["more"]) == 200000
    assert p.look()["state"] == s["state"]
    lab.weir.kill9()
    lab.weir.start(keep_ports=True)
    is_clear(p.send("POST", "/state", {"session_id": p.id, "state": {"more": "y" * 500000}}), 413)


def test_slow_clients_hold_nobody_up(own):
    lab = own
    slow = []
    for port in (lab.port, lab.hub.ports["hub"]):
        for _ in range(150):
            s = socket.create_connection(("127.0.0.1", port))
            s.sendall(b"POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            slow.append(s)
    p = lab.program()
    p.event("through")
    p.end()
    lab.wait_at_hub(p, lambda s: not s["active"], "it has ended")
    for s in slow:
        s.close()


def test_web_pages_cannot_speak_to_the_daemon(lab):
    p = Program(lab.port, register=False)
    body = {"product": "a", "version": "1"}
    assert p.send("POST", "/register", body, {"Host": "evil.example"}).status == 421
    assert p.send("POST", "/register", body, {"Origin": "http://evil.example"}).status == 403
    assert p.send("POST", "/register", body, {"Host": "localhost:%d" % lab.port}).status == 200


def test_keys_towards_the_hub(site):
    """A missing or wrong key is no reason to lose anything: the queue pauses, and goes on when the key is right."""
    key = site.file("key", "sesame\n")
    theirs = site.file("theirs", "wrong\n")
    lab = Sessions(site, hub={"api_key_file": key}, api_key_file=theirs)
    try:
        p = lab.program()
        assert p.id.startswith("local-session-")
        for n in range(5):
            p.event("step", data={"n": n})
        wait_until(lambda: lab.queue()["paused"], 20, "it says that the key is refused")
        assert lab.queue()["entries"] >= 6
        assert "wrong" not in lab.weir.whole_log() and "sesame" not in lab.weir.whole_log() + lab.hub.whole_log()
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame"},
                        {"Authorization": "Bearer sesame2"}):
            a = lab.hub.hear("GET", "/api/data/sessions", headers=headers)
            is_clear(a, 401)
            assert lab.hub.hear("POST", "/api/sessions", {"product": "a", "version": "1"}, headers).status == 401
        assert lab.hub.hear("GET", "/health").status == 200
        with open(theirs, "w") as f:
            f.write("sesame\n")
        lab.wait_delivered()
        found = lab.hub.session(lab.hub_id(p.id), {"Authorization": "Bearer sesame"})
        assert [e["data"]["n"] for e in found["events"]] == list(range(5))
    finally:
        lab.close()


def test_what_the_hub_refuses_for_good_is_shown_and_blocks_only_its_session(own):
    """A hub that says 400 to one session's operations; another session's go through."""
    lab = own
    p, q = lab.program(), lab.program()
    lab.wait_delivered()
    lab.door.answer(400, body=b"no such thing\n", match="/api/sessions/%s/" % p.id)
    p.event("refused")
    q.event("fine")
    lab.wait_at_hub(q, lambda s: names(s) == ["fine"], "the other one's arrived")
    wait_until(lambda: lab.queue()["held"] > 0, 20, "it is held")
    entry = lab.weir.outbox(state="held", service="sessions")[0]
    assert entry["last_status"] == 400
    lab.door.pass_all()
    assert lab.weir.entry_do(entry["id"], "retry").status == 200
    lab.wait_at_hub(p, lambda s: names(s) == ["refused"], "sent again by hand")
    lab.wait_delivered()


def test_a_hub_that_answers_nonsense(own):
    """Whatever comes, nothing is lost and nobody is answered 5xx."""
    lab = own
    lab.door.answer(200, body=b"<html>welcome to the hotel</html>", match="POST /api/sessions", times=3)
    p = lab.program()
    p.event("one")
    assert p.look()["active"]
    lab.wait_delivered(60)
    for body in (b"[]", b"{}", b'{"status":"ok","applied_seq":"many"}',
                 b'{"status":"ok","applied_seq":-5}', b"\xff" * 100):
        lab.door.answer(200, body=body, match="/batch", times=1)
        p.event("more")
        lab.wait_delivered(60)
    lab.door.answer(200, body=b"{" * 100000, match="GET /api")
    assert p.look()["active"] and isinstance(p.send("GET", "/sessions").json, list)
    lab.door.pass_all()
    s = lab.at_hub(p)
    assert names(s) == ["one"] + ["more"] * 5, names(s)


def test_a_hub_that_forgot_the_session(own):
    """Its database was lost: 404 for what it had confirmed. It is not repeated for ever, and others go on."""
    lab = own
    p = lab.program()
    lab.wait_delivered()
    lab.door.answer(404, body=b"Session not found\n", match="/api/sessions/%s/" % p.id)
    p.event("lost")
    q = lab.program()
    q.event("fine")
    lab.wait_at_hub(q, lambda s: names(s) == ["fine"], "the other one's arrived")
    assert p.look()["active"]
    wait_until(lambda: lab.queue()["held"] + lab.queue()["entries"] > 0, 20)
    lab.door.pass_all()


def test_memory_does_not_grow_with_refusals(own):
    lab = own
    p = lab.program()

    def hammer():
        q = Program(lab.port, register=False)
        for i in range(400):
            assert q.send("POST", "/event", NO_JSON[i % len(NO_JSON)][:2000]).status == 400
        q.close()
    hammer()
    before = lab.weir.metric("weir_process_resident_memory_bytes")
    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert lab.weir.metric("weir_process_resident_memory_bytes") - before < 48 << 20
    p.event("fine")
    lab.wait_at_hub(p, lambda s: names(s) == ["fine"], "it goes on")
