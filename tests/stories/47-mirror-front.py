"""What passes through a mirror and what does not: header fields, methods, credentials, paths; and how a queued
write looks to those who read it, ask conditions about it, or want a part of it.
"""

import os
import signal

import pytest

from lab.daemon import run_weir
from lab.faults import FaultProxy
from lab.mirror import options_of_a_mirror
from lab.origin import Origin
from lab.wait import wait_until
from lab.wire import Raw, basic

SECRET, OTHER = "c2VjcmV0LXRva2Vu", "b3RoZXItdG9rZW4"


@pytest.fixture
def mirror(site):
    return site.mirror(Origin())


def raw(mirror, head, body=b""):
    """A request whose every byte the story decides; the answer."""
    with Raw(mirror.port) as connection:
        connection.send(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body)
        return connection.answer()


# Header fields

def test_hop_by_hop_fields_stay_here_and_all_others_pass(mirror):
    raw(mirror, "PUT /a HTTP/1.1\nHost: 127.0.0.1\nConnection: keep-alive, X-Private\nKeep-Alive: timeout=5\nTE: gzip\n"
                "X-Private: mine\nProxy-Authorization: Basic abc\nX-Twice: one\nX-Twice: two\nCookie: a=b\n"
                "X-Odd: caf\xe9 \t ok\nContent-Language: de\nContent-Length: 3\n", b"one")
    got = mirror.server.seen("/a")[-1]
    assert not {"keep-alive", "x-private", "proxy-authorization", "te"} & got.headers.keys()
    assert "x-private" not in got.headers.get("connection", "").lower()
    assert got.headers["x-twice"] == "one, two" and got.headers["cookie"] == "a=b"
    assert got.headers["content-language"] == "de" and got.headers["x-odd"] == "caf\xe9 \t ok" and got.body == b"one"


def test_the_upstream_is_told_its_own_name_and_who_asks(mirror):
    raw(mirror, "GET /a HTTP/1.1\nHost: localhost:%d\nVia: 1.0 before\n" % mirror.port)
    got = mirror.server.seen("/a")[-1].headers
    assert got["host"] == "127.0.0.1:%d" % mirror.door.port
    assert got["via"].startswith("1.0 before, 1.1 weir")
    assert "for=" in got["forwarded"] and "127.0.0.1" in got["forwarded"] and "proto=http" in got["forwarded"]
    assert "host=" in got["forwarded"] and "localhost:%d" % mirror.port in got["forwarded"]


def test_answers_carry_via_cache_status_and_an_id_but_nothing_of_the_hop(mirror):
    mirror.server.say("/a", 200, {"Connection": "keep-alive, X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=9",
                                  "X-End": "2", "Content-Type": "text/plain"}, "one")
    answer = mirror.get("/a")
    assert answer.text == "one" and answer.headers["x-end"] == "2"
    assert not {"x-hop", "keep-alive"} & answer.headers.keys()
    assert "weir" in answer.headers["via"] and answer.headers["cache-status"].startswith("weir;")
    assert answer.headers["x-request-id"]


def test_end_to_end_fields_of_a_queued_write_are_kept(mirror):
    mirror.go_offline()
    mirror.queue("PUT", "/a", "ours", content_type="text/x-thing", content_language="de", x_more="more",
                 connection="X-Hop", x_hop="1")
    mirror.crash()
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    got = mirror.server.seen("/a", "PUT")[-1].headers
    assert (got["content-type"], got["content-language"], got["x-more"]) == ("text/x-thing", "de", "more")
    assert "x-hop" not in got and "weir" in got["via"] and got["idempotency-key"]
    assert got["host"] == "127.0.0.1:%d" % mirror.door.port


def test_a_clients_own_idempotency_key_is_kept(mirror):
    mirror.go_offline()
    entry = mirror.queue("POST", "/orders", "x", idempotency_key='"of-the-client"')
    assert "of-the-client" in mirror.weir.entry(entry)["idempotency_key"]
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.seen("/orders", "POST")[-1].headers["idempotency-key"] == '"of-the-client"'


def test_the_raw_target_goes_through_untouched(mirror):
    for target in ("/a%2Fb", "/a%20b?c=%26&d", "/x//y/./z/../w", "/%41", "/semi;colon,comma", "/?", "/caf%C3%A9"):
        mirror.put(target, "x")
        assert mirror.server.seen()[-1].target == target
        mirror.get(target)
        assert mirror.server.seen()[-1].target == target
    mirror.go_offline()
    mirror.queue("PUT", "/q/a%2Fb//c?d=%26", "x")
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.seen(method="PUT")[-1].target == "/q/a%2Fb//c?d=%26"


def test_an_upstream_with_a_path_has_it_put_before(site):
    origin = Origin()
    mirror = site.mirror(origin)
    mirror.weir.stop()
    section = dict(mirror.weir.options["mirror"][0], upstream=mirror.door.url + "/base/")
    mirror.weir.configure(site.options(mirror=[section]))
    mirror.weir.start()
    origin.put("/base/a", "one")
    assert mirror.get("/a").text == "one"
    mirror.go_offline()
    mirror.queue("PUT", "/a", "two")
    assert mirror.get("/a").text == "two"
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert origin.text("/base/a") == "two"


# Methods

@pytest.mark.parametrize("how", ["Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
                                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n",
                                 "Upgrade: foo/2\nConnection: upgrade\n"])
def test_leaving_http_is_refused_clearly(mirror, how):
    answer = raw(mirror, "GET /chat HTTP/1.1\nHost: 127.0.0.1\n" + how)
    assert answer.status in (400, 426, 501) and answer.headers["content-type"].startswith("application/problem+json")
    assert "websocket" in answer.text.lower() or "upgrade" in answer.text.lower()
    assert mirror.server.count("/chat") == 0


@pytest.mark.parametrize("method,body", [("OPTIONS", None), ("PROPFIND", b"<propfind/>"), ("PROPPATCH", b"<x/>"),
                                         ("MKCOL", b""), ("COPY", None), ("MOVE", None), ("LOCK", b"<lock/>"),
                                         ("UNLOCK", None), ("REPORT", b"<r/>"), ("SEARCH", b"q")])
def test_other_methods_pass_through(mirror, method, body):
    mirror.server.say("/dir/", 207, {"Content-Type": "application/xml", "DAV": "1,2"}, "<multistatus/>", method=method)
    answer = mirror.ask(method, "/dir/", body, {"Depth": "1", "Destination": "http://elsewhere/b"})
    assert (answer.status, answer.text, answer.headers["dav"]) == (207, "<multistatus/>", "1,2")
    got = mirror.server.seen("/dir/", method)[-1]
    assert got.headers["depth"] == "1" and got.body == (body or b"")
    mirror.go_offline()
    answer = mirror.ask(method, "/dir/", body)
    assert answer.status in (503, 504) and answer.headers["content-type"].startswith("application/problem+json")
    assert mirror.weir.outbox() == []                           # they cannot be queued


def test_webdav_works_against_a_real_server(site):
    mirror = site.mirror("apache")
    assert mirror.ask("MKCOL", "/folder").status == 201
    assert mirror.put("/folder/a.txt", "one").status == 201
    answer = mirror.ask("PROPFIND", "/folder/", headers={"Depth": "1"})
    assert answer.status == 207 and "/folder/a.txt" in answer.text
    assert "PROPFIND" in mirror.ask("OPTIONS", "/folder/").headers["allow"]
    assert mirror.get("/folder/a.txt").text == "one"
    assert mirror.ask("DELETE", "/folder").status == 204        # and with it goes what was below
    assert mirror.get("/folder/a.txt").status == 404


def test_a_move_or_copy_is_noticed_by_readers(site):
    mirror = site.mirror("nginx")
    mirror.server.write("/a.txt", "one", mtime=1600000000)
    assert mirror.get("/a.txt").text == "one" and mirror.get("/b.txt").status == 404
    assert mirror.ask("MOVE", "/a.txt", headers={"Destination": "/b.txt"}).status in (201, 204)
    assert mirror.get("/a.txt").status == 404 and mirror.get("/b.txt").text == "one"


def test_trace_is_not_echoed(mirror):
    assert mirror.ask("TRACE", "/a", headers={"Cookie": "a=b"}).status in (405, 501)
    assert mirror.server.requests == []


def test_listings_by_propfind_are_there_offline_when_asked_for(site):
    mirror = site.mirror("apache", offline_propfind=True)
    mirror.server.write("/folder/a.txt", "one")
    depth = {"Depth": "1"}
    online = mirror.ask("PROPFIND", "/folder/", headers=depth)
    assert online.status == 207
    mirror.go_offline()
    offline = mirror.ask("PROPFIND", "/folder/", headers=depth)
    assert (offline.status, offline.body) == (207, online.body)
    assert mirror.ask("PROPFIND", "/folder/", headers={"Depth": "0"}).status == 504         # that is another question
    assert mirror.ask("PROPFIND", "/folder/", "<propfind xmlns='DAV:'><allprop/></propfind>", depth).status == 504


def test_only_the_configured_methods_are_queued(site):
    mirror = site.mirror(Origin(), outbox={"methods": ["PUT"]})
    mirror.go_offline()
    mirror.queue("PUT", "/a", "ours")
    for method in ("POST", "PATCH", "DELETE"):
        assert mirror.ask(method, "/b", None if method == "DELETE" else b"x").status in (503, 504)
    assert len(mirror.weir.outbox()) == 1


# Credentials

def on_disk(weir, *words):
    """The files below data_dir that hold one of these words."""
    found = []
    for where, _, names in os.walk(weir.data_dir):
        for name in names:
            with open(os.path.join(where, name), "rb") as f:
                data = f.read()
            found += [os.path.join(where, name) for w in words if w.encode() in data]
    return found


def test_a_clients_credential_is_passed_on_and_never_kept(mirror):
    auth = {"Authorization": "Bearer " + SECRET}
    mirror.server.put("/a", "one")
    assert mirror.ask("GET", "/a", headers=auth).status == 200
    assert mirror.ask("PUT", "/a", "two", auth).status == 204
    assert mirror.server.seen("/a", "PUT")[-1].headers["authorization"] == "Bearer " + SECRET
    mirror.go_offline()
    answer = mirror.ask("PUT", "/a", "three", auth)             # nobody could send it later
    assert answer.status == 503 and answer.headers["content-type"].startswith("application/problem+json")
    assert "token_file" in answer.text and mirror.weir.outbox() == []
    mirror.weir.stop()
    assert on_disk(mirror.weir, SECRET) == [] and SECRET not in mirror.weir.whole_log()


def test_with_a_token_of_its_own_weir_speaks_for_all(site):
    mirror = site.mirror(Origin(), token_file=site.file("token", OTHER + "\n"))
    auth = {"Authorization": "Bearer " + SECRET}
    mirror.server.put("/a", "one")
    mirror.ask("GET", "/a", headers=auth)
    assert mirror.server.seen("/a")[-1].headers["authorization"] == "Bearer " + OTHER
    mirror.go_offline()
    assert mirror.ask("PUT", "/a", "two", auth).status == 202
    mirror.crash()
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.seen("/a", "PUT")[-1].headers["authorization"] == "Bearer " + OTHER
    mirror.weir.stop()
    assert on_disk(mirror.weir, SECRET, OTHER) == []
    assert SECRET not in mirror.weir.whole_log() and OTHER not in mirror.weir.whole_log()


def test_the_token_file_is_read_again_when_it_changes(site):
    path = site.file("token", "first\n")
    mirror = site.mirror(Origin(), token_file=path)

    def token(number):
        mirror.put("/%d" % number, "x")
        return mirror.server.seen("/%d" % number)[-1].headers["authorization"]
    assert token(0) == "Bearer first"
    site.file("token", "second\n")
    number = iter(range(1, 10000))
    wait_until(lambda: token(next(number)) == "Bearer second", what="the new token is used")


def test_what_was_read_with_a_credential_is_shown_to_nobody_else(mirror):
    origin = mirror.server
    origin.put("/secret", "for Ann", cache_control="private, max-age=60")
    origin.put("/shared", "for all who may", cache_control="public, max-age=60")
    ann = {"Authorization": "Bearer " + SECRET}
    assert mirror.ask("GET", "/secret", headers=ann).text == "for Ann"
    assert mirror.ask("GET", "/shared", headers=ann).text == "for all who may"
    origin.say("/secret", 401)
    assert mirror.get("/secret").status == 401
    mirror.go_offline()
    assert mirror.get("/secret").status in (401, 403, 504)
    assert mirror.get("/shared").text == "for all who may"      # upstream said `public`


@pytest.mark.parametrize("auth,status", [(None, 401), ("Bearer wrong", 401), ("Bearer " + OTHER, 200),
                                         (basic("any", OTHER), 200), (basic("any", "wrong"), 401), ("Bearer", 401),
                                         ("Bearer " + OTHER + "x", 401)])
def test_the_listeners_own_token(site, auth, status):
    mirror = site.mirror(Origin(), client_token_file=site.file("client-token", OTHER + "\n"),
                         token_file=site.file("token", SECRET + "\n"))
    mirror.server.put("/a", "one")
    headers = {"Authorization": auth} if auth else {}
    assert mirror.ask("GET", "/a", headers=headers).status == status
    assert mirror.ask("PUT", "/b", "x", headers).status == (201 if status == 200 else status)
    if status == 401:
        assert mirror.server.requests == []
        assert "bearer" in mirror.ask("GET", "/a", headers=headers).headers["www-authenticate"].lower()
    else:
        assert all(r.headers["authorization"] == "Bearer " + SECRET for r in mirror.server.requests)


@pytest.mark.parametrize("content", ["", " \n", "\0", "\0" + OTHER, "two\nlines"])
def test_a_client_token_that_everybody_could_present_is_refused_at_start(site, content):
    """`Basic Og==` is an empty user and an empty password."""
    text = ("mirror:\n  - name: files\n    listen: 127.0.0.1:0\n    upstream: http://files.test\n"
            "    client_token_file: %s\n" % site.file("client-token", content))
    code, out, err = run_weir("serve", "-c", site.file("weir.yaml", text), env=site.env, cwd=site.dir)
    assert code == 2 and "weir.yaml:5: mirror.0.client_token_file" in out + err, out + err
    assert "is empty" in out + err or "is not one line of text" in out + err


def test_beyond_loopback_a_token_must_be_guarded(site):
    token = site.file("token", OTHER + "\n")

    def check(more):
        text = ("mirror:\n  - name: files\n    listen: 0.0.0.0:0\n    upstream: http://files.test\n"
                "    token_file: %s\n%s" % (token, more))
        code, out, err = run_weir("check", "-c", site.file("weir.yaml", text), env=site.env, cwd=site.dir)
        return code, out + err
    code, said = check("")
    assert code == 2 and "client_token_file" in said and "allow_anonymous" in said and "weir.yaml:" in said
    assert check("    allow_anonymous: true\n")[0] == 0
    assert check("    client_token_file: %s\n" % token)[0] == 0


def test_a_name_that_is_taken_is_refused(site):
    for name in ("git", "admin", "sessions", "hub"):
        path = site.file("weir.yaml", "mirror:\n  - {name: %s, upstream: 'http://files.test'}\n" % name)
        code, out, err = run_weir("check", "-c", path, env=site.env, cwd=site.dir)
        assert code == 2 and name in out + err


def test_rebound_names_are_refused(mirror):
    assert raw(mirror, "GET /a HTTP/1.1\nHost: evil.example\n").status == 421
    assert raw(mirror, "GET /a HTTP/1.1\nHost: localhost\n").status == 404


# The queued content, for those who read

def queued(mirror, path="/a", content="queued content", before="common"):
    if before is not None:
        mirror.server.put(path, before)
        mirror.get(path)
    mirror.go_offline()
    return mirror.queue("PUT", path, content, content_type="text/x-queued")


def test_queued_content_reads_like_a_file(mirror):
    queued(mirror)
    answer = mirror.get("/a")
    assert (answer.status, answer.text, answer.headers["weir-overlay"]) == (200, "queued content", "queued")
    assert answer.headers["content-type"] == "text/x-queued" and answer.headers["content-length"] == "14"
    assert "weir" in answer.headers["cache-status"]
    head = mirror.head("/a")
    assert head.status == 200 and head.body == b"" and head.headers["content-length"] == "14"
    assert head.headers["weir-overlay"] == "queued" and head.headers.get("etag") == answer.headers.get("etag")
    for wanted, status, text in (("bytes=0-5", 206, "queued"), ("bytes=7-", 206, "content"), ("bytes=-3", 206, "ent"),
                                 ("bytes=50-", 416, None), ("lines=1-2", 200, "queued content")):
        part = mirror.get("/a", range=wanted)
        assert part.status == status and (text is None or part.text == text), wanted
        if status == 206:
            assert part.headers["content-range"].endswith("/14")


def test_conditions_on_queued_content(mirror):
    queued(mirror)
    tag = mirror.get("/a").headers["etag"]
    assert tag.startswith('"') and tag != '"v1"'
    assert mirror.get("/a", if_none_match=tag).status == 304
    assert mirror.head("/a", if_none_match=tag).status == 304
    assert mirror.get("/a", if_none_match='"v1"').status == 200
    assert mirror.get("/a", range="bytes=0-5", if_range=tag).status == 206
    assert mirror.get("/a", range="bytes=0-5", if_range='"v1"').status == 200
    mirror.queue("PUT", "/a", "another one")
    assert mirror.get("/a").headers["etag"] != tag and mirror.get("/a", if_none_match=tag).text == "another one"


def test_a_writers_conditions_are_judged_by_what_it_was_shown(mirror):
    queued(mirror)
    tag = mirror.get("/a").headers["etag"]
    assert mirror.put("/a", "x", if_match='"v1"').status == 412         # that is no longer what one sees
    assert mirror.put("/a", "x", if_none_match="*").status == 412
    assert mirror.put("/a", "x", if_none_match=tag).status == 412
    assert mirror.delete("/a", if_match='"other"').status == 412
    assert mirror.put("/a", "x", if_unmodified_since="Thu, 01 Jan 2015 00:00:00 GMT").status == 412
    assert mirror.put("/a", "second", if_match=tag).status == 202
    assert mirror.delete("/a", if_match="*").status == 202
    assert mirror.put("/a", "x", if_match="*").status == 412            # it is gone
    assert mirror.put("/a", "made again", if_none_match="*").status == 202
    assert [e["method"] for e in mirror.weir.outbox()] == ["PUT", "PUT", "DELETE", "PUT"]
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.applied("/a") == [b"queued content", b"second", None, b"made again"]
    assert mirror.weir.outbox_count("conflict") == 0


def test_a_writers_conditions_are_judged_by_the_stored_answer_too(mirror):
    tag = mirror.server.put("/a", "common").etag
    mirror.get("/a")
    mirror.get("/nothing")
    mirror.go_offline()
    assert mirror.put("/a", "x", if_match='"other"').status == 412
    assert mirror.put("/a", "x", if_none_match="*").status == 412
    assert mirror.put("/a", "ours", if_match=tag).status == 202
    assert mirror.put("/nothing", "x", if_match="*").status == 412
    assert mirror.put("/nothing", "new", if_none_match="*").status == 202
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/a") == "ours" and mirror.server.text("/nothing") == "new"


def test_a_writers_own_condition_on_what_was_never_seen_goes_along(mirror):
    """weir cannot judge it; upstream will."""
    mirror.server.put("/a", "common")
    mirror.go_offline()
    right = mirror.queue("PUT", "/a", "ours", if_match='"v1"')
    mirror.server.put("/b", "common")
    wrong = mirror.queue("PUT", "/b", "ours", if_match='"v1"')
    mirror.come_back()
    mirror.weir.wait_entry(right, "applied")
    mirror.weir.wait_entry(wrong, "conflict")
    assert mirror.server.seen("/a", "PUT")[0].headers["if-match"] == '"v1"' and mirror.server.text("/b") == "common"


def test_after_a_queued_delete_there_is_nothing(mirror):
    mirror.server.put("/a", "common")
    mirror.get("/a")
    mirror.go_offline()
    mirror.queue("DELETE", "/a")
    for answer in (mirror.get("/a"), mirror.head("/a"), mirror.get("/a", range="bytes=0-1"),
                   mirror.get("/a", if_none_match='"v1"')):
        assert answer.status == 404 and answer.headers["weir-overlay"] == "queued"
    mirror.queue("PUT", "/a", "again")
    assert mirror.get("/a").text == "again"


def test_post_and_patch_are_not_seen_by_readers(mirror):
    mirror.server.put("/a", "common")
    mirror.get("/a")
    mirror.go_offline()
    mirror.queue("POST", "/a", "posted")
    mirror.queue("PATCH", "/a", "patched")
    answer = mirror.get("/a")
    assert answer.text == "common" and "weir-overlay" not in answer.headers
    mirror.queue("PUT", "/a", "put")
    mirror.queue("PATCH", "/a", "patched")
    assert mirror.get("/a").text == "put"


def test_the_overlay_is_of_one_uri_and_query(mirror):
    mirror.go_offline()
    mirror.queue("PUT", "/a?version=1", "one")
    assert mirror.get("/a?version=1").text == "one"
    assert mirror.get("/a").status == 504 and mirror.get("/a?version=2").status == 504


def test_the_overlay_lasts_until_delivery_and_also_while_upstream_is_there(mirror):
    origin = mirror.server
    queued(mirror)
    with origin.hold("/a") as gate:
        mirror.come_back()
        gate.wait_arrived()
        assert mirror.get("/a").text == "queued content" and origin.text("/a") == "common"
    mirror.weir.wait_outbox_empty()
    answer = mirror.get("/a")
    assert answer.text == "queued content" and "weir-overlay" not in answer.headers


def test_a_held_write_is_still_what_its_writer_sees(mirror):
    entry = queued(mirror)
    mirror.server.say("/a", 403, method="PUT")
    mirror.come_back()
    mirror.weir.wait_entry(entry, "held")
    answer = mirror.get("/a")
    assert answer.text == "queued content" and answer.headers["weir-overlay"] == "queued"
    mirror.weir.entry_do(entry, "drop")
    assert mirror.get("/a").text == "common"


def test_readers_at_once_of_a_large_queued_body(mirror):
    content = os.urandom(3 << 20)
    mirror.go_offline()
    mirror.queue("PUT", "/large", content)
    for wanted, part in (("bytes=0-99", content[:100]), ("bytes=1000000-1999999", content[1000000:2000000]),
                         ("bytes=-5", content[-5:])):
        assert mirror.get("/large", range=wanted).body == part
    assert mirror.get("/large").body == content


def test_an_empty_body_is_a_body(mirror):
    mirror.server.put("/a", "common")
    mirror.get("/a")
    mirror.go_offline()
    mirror.queue("PUT", "/a", "")
    answer = mirror.get("/a")
    assert answer.status == 200 and answer.body == b"" and answer.headers["content-length"] == "0"
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.read("/a") == b""


def test_a_chunked_write_is_kept_whole(mirror):
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a", b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", transfer_encoding="chunked")
    assert mirror.weir.entry(entry)["body_bytes"] == 7 and mirror.get("/a").text == "abcdefg"
    mirror.come_back()
    mirror.weir.wait_outbox_empty()
    assert mirror.server.text("/a") == "abcdefg"


def test_a_client_that_leaves_in_mid_body_has_written_nothing(mirror):
    mirror.go_offline()
    with Raw(mirror.port) as connection:
        connection.send("PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nonly so much")
    mirror.queue("PUT", "/b", "whole")
    assert [e["raw_uri"] for e in mirror.weir.outbox()] == ["/b"] and mirror.get("/a").status == 504


def test_a_client_that_leaves_in_mid_body_online_has_written_nothing(mirror):
    mirror.server.put("/a", "common")
    with Raw(mirror.port) as connection:
        connection.send("PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nonly so much")
    mirror.put("/b", "whole")
    assert mirror.server.text("/a") == "common" and mirror.weir.outbox() == []
    assert not any(r.whole for r in mirror.server.seen("/a", "PUT"))


def test_expect_100_continue_is_answered_also_offline(mirror):
    mirror.go_offline()
    with Raw(mirror.port) as connection:
        connection.send("PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert connection.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        connection.send("ours")
        assert connection.answer().status == 202
    assert mirror.get("/a").text == "ours"


def test_limits_change_live(site):
    """SIGHUP: what the file says now is what holds."""
    mirror = site.mirror(Origin(), outbox={"max_entries": 1})
    weir = mirror.weir
    mirror.go_offline()
    mirror.queue("PUT", "/a", "x")
    assert mirror.put("/b", "x").status == 507
    section = weir.options["mirror"][0]
    weir.configure(dict(weir.options, mirror=[dict(section, listen="127.0.0.1:%d" % mirror.port,
                                                   outbox=dict(section["outbox"], max_entries=2))]))
    weir.process.send_signal(signal.SIGHUP)
    wait_until(lambda: mirror.put("/b", "x").status == 202, what="the new limit is in force")
    assert mirror.put("/c", "x").status == 507


def test_two_mirrors_have_nothing_to_do_with_each_other(site):
    first, second = Origin(), Origin()
    mirror = site.mirror(first)
    weir = mirror.weir
    weir.stop()
    other = {"name": "others", "listen": "127.0.0.1:0", "upstream": "http://127.0.0.1:%d" % second.port}
    weir.configure(dict(weir.options, mirror=[*weir.options["mirror"], other]))
    weir.start()
    try:
        first.put("/a", "first")
        second.put("/a", "second")
        assert mirror.get("/a").text == "first" and weir.ask("GET", "/a", service="others").text == "second"
        mirror.go_offline()
        mirror.queue("PUT", "/a", "first, changed")
        assert weir.ask("PUT", "/a", None, b"second, changed", service="others").status == 204
        assert weir.ask("GET", "/a", service="others").text == "second, changed"
        assert mirror.get("/a").text == "first, changed" and [e["service"] for e in weir.outbox()] == ["files"]
        assert weir.upstream("others")["state"] == "up" and weir.upstream("files")["state"] == "down"
        assert weir.metric("weir_outbox_entries", service="others", state="queued") == 0
        mirror.come_back()
        weir.wait_outbox_empty()
        assert first.text("/a") == "first, changed"
    finally:
        second.close()


def test_a_mirror_that_is_taken_out_of_the_file_keeps_its_queue(site):
    mirror = site.mirror(Origin())
    weir, sections = mirror.weir, mirror.weir.options
    mirror.go_offline()
    entry = mirror.queue("PUT", "/a", "ours")
    weir.stop()
    weir.configure(dict(sections, mirror=[dict(sections["mirror"][0], name="renamed")]))
    weir.start()
    shown = weir.outbox()
    assert [e["id"] for e in shown] == [entry] and shown[0]["state"] == "queued"
    weir.stop()
    weir.configure(sections)
    weir.start()
    mirror.come_back()
    weir.wait_entry(entry, "applied")
    assert mirror.server.text("/a") == "ours"


def test_a_weir_before_a_weir(site):
    """A branch office's weir before a region's: whichever line is down, everything arrives."""
    region = site.mirror(Origin())
    region_as_upstream = FaultProxy(region.port)
    branch = site.start_weir(mirror=[options_of_a_mirror(region_as_upstream)])

    def ask(method, path, body=None, **headers):
        return branch.ask(method, path, {k.replace("_", "-"): v for k, v in headers.items()}, body, service="files")
    try:
        origin = region.server
        origin.put("/a", "common")
        assert ask("GET", "/a").text == "common"
        region.go_offline()                                     # the region's line
        far = ask("PUT", "/a", b"first")
        assert far.status == 202 and [e["id"] for e in region.weir.outbox()] == [far.headers["weir-outbox-id"]]
        assert ask("GET", "/a").text == "first" and branch.outbox() == []
        region_as_upstream.refuse()                             # and the branch's
        near = ask("PUT", "/b", b"second")
        assert near.status == 202 and [e["id"] for e in branch.outbox()] == [near.headers["weir-outbox-id"]]
        region_as_upstream.pass_all()
        region.come_back()                                      # until then the branch keeps it: a 504 is no news
        branch.wait_outbox_empty()
        region.weir.wait_outbox_empty()
        assert origin.text("/a") == "first" and origin.text("/b") == "second"
        assert ask("GET", "/a").text == "first" and ask("GET", "/b").text == "second"
        via = origin.seen("/a", "PUT")[-1].headers["via"]
        assert via.count("weir") == 2
    finally:
        region_as_upstream.close()


@pytest.mark.parametrize("size", [1000, 400000], ids=["short bodies", "long bodies"])
@pytest.mark.parametrize("offline", [True, False], ids=["offline", "online"])
def test_clients_that_stop_in_the_middle_harm_nobody(mirror, offline, size):
    """A hundred of them take no worker from those who read, nor from those whose write is here whole."""
    mirror.server.put("/read", "read before", cache_control="max-age=3600")
    mirror.get("/read")
    if offline:
        mirror.go_offline()
    slow, done = [], 202 if offline else 201
    try:
        for i in range(100):
            connection = Raw(mirror.port, timeout=60)
            connection.send("PUT /slow/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (i, size))
            slow.append(connection.send("x" * (size - 900)))
        for i in range(3):
            assert mirror.ask("GET", "/read", timeout=15).text == "read before"
            assert mirror.ask("PUT", "/quick/%d" % i, b"x" * 60000, timeout=15).status == done
            assert mirror.ask("GET", "/quick/%d" % i, timeout=15).status == 200
            assert mirror.ask("DELETE", "/quick/%d" % i, timeout=15).status == (202 if offline else 204)
            assert mirror.weir.admin("GET", "/api/v1/outbox").status == 200
        for connection in slow:
            connection.send("x" * 900)
        assert {connection.answer().status for connection in slow} == {done}
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "online"])
def test_requests_sent_in_one_go_are_answered_in_their_order(mirror, offline):
    if offline:
        mirror.go_offline()
    head = "%s /a HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s"
    with Raw(mirror.port) as connection:
        connection.send("".join(head % ("PUT", "Content-Length: 3\r\n", text) + head % ("GET", "", "")
                                for text in ("one", "two", "six")))
        answers = [connection.answer() for _ in range(6)]
    assert [a.status for a in answers] == ([202, 200] * 3 if offline else [201, 200, 204, 200, 204, 200])
    assert [a.text for a in answers[1::2]] == ["one", "two", "six"]
    if offline:
        mirror.come_back()
        mirror.weir.wait_outbox_empty()
    assert mirror.server.applied("/a") == [b"one", b"two", b"six"]
