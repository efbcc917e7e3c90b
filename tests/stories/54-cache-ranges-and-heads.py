"""Parts of what is stored (RFC 9110 14), interim answers (15.2), and the fields that tell what weir did (RFC 9211, RFC
9110 7.6)."""

import email
import json
import re

import pytest

from lab.cachekit import reply, version, when
from lab.wait import free_port
from lab.wire import Raw, request

HOUR = "Cache-Control: max-age=3600"
OLD = "Age: 10000"
DIGITS = "0123456789"
DATE = "Sun, 01 Mar 2020 12:00:00 GMT"
TAGS = ['ETag: "v1"', "Last-Modified: " + DATE]


@pytest.mark.parametrize("asked, status, content, where", [
    ("bytes=0-3", 206, "0123", "0-3"), ("bytes=5-", 206, "56789", "5-9"), ("bytes=-2", 206, "89", "8-9"),
    ("bytes=0-0", 206, "0", "0-0"), ("bytes=9-9", 206, "9", "9-9"), ("bytes=2-100", 206, "23456789", "2-9"),
    ("bytes=-100", 206, DIGITS, "0-9"), ("bytes=0-99999999999999999999", 206, DIGITS, "0-9"),
    ("BYTES=0-3", 206, "0123", "0-3"),
    ("bytes=10-", 416, None, "*"), ("bytes=10-20", 416, None, "*"), ("bytes=-0", 416, None, "*"),
    ("bytes=99999999999999999999-", 416, None, "*"),
    ("bytes=3-1", 200, DIGITS, None), ("bytes=a-b", 200, DIGITS, None), ("bytes=", 200, DIGITS, None),
    ("bytes=--1", 200, DIGITS, None), ("lines=0-1", 200, DIGITS, None), ("0-1", 200, DIGITS, None),
    ("bytes=1-2, ,", 206, "12", "1-2"), ("bytes=1-2,20-", 206, "12", "1-2")])
@pytest.mark.parametrize("state", ["stored", "offline"])
def test_14_2_one_range(cache, path, asked, status, content, where, state):
    cache.origin.tell(path, reply(DIGITS, HOUR, *TAGS, *([OLD] if state == "offline" else [])))
    cache.get(path)
    if state == "offline":
        with cache.offline():
            got = cache.get(path, range=asked)
    else:
        got = cache.get(path, range=asked)
    assert got.status == status
    if where:
        assert got.headers["content-range"] == "bytes %s/10" % where
    if content:
        assert (got.text, got.headers["content-length"], got.headers["etag"]) == (content, str(len(content)), '"v1"')
    assert cache.asked(path) == 1


@pytest.mark.parametrize("asked, status, content", [
    ("bytes=0-3", 206, "0123"), ("bytes=5-", 206, "56789"), ("bytes=-2", 206, "89"), ("bytes=10-", 416, "")])
def test_14_2_a_range_of_what_is_not_stored_is_upstreams_and_never_the_whole(cache, path, asked, status, content):
    cache.origin.put(path, DIGITS, cache_control="max-age=3600")
    for _ in range(2):
        got = cache.get(path, range=asked)
        assert (got.status, got.text) == (status, content)
    assert cache.get(path).text == DIGITS
    got = cache.get(path, range=asked)
    assert got.status == status and got.hit


def parts_of(got):
    """The parts of a multipart/byteranges answer: (Content-Range, bytes)."""
    head = "Content-Type: %s\r\n\r\n" % got.headers["content-type"]
    message = email.message_from_bytes(head.encode() + got.body)
    assert message.get_content_type() == "multipart/byteranges"
    return [(p["Content-Range"], p.get_payload(decode=True)) for p in message.get_payload()]


def test_14_6_several_ranges_are_several_parts(cache, path):
    cache.origin.tell(path, reply(DIGITS, HOUR, *TAGS, "Content-Type: text/x-digits"))
    cache.get(path)
    got = cache.get(path, range="bytes=0-1,4-5,-1")
    assert got.status == 206 and "content-range" not in got.headers
    assert parts_of(got) == [("bytes 0-1/10", b"01"), ("bytes 4-5/10", b"45"), ("bytes 9-9/10", b"9")]
    assert b"text/x-digits" in got.body


@pytest.mark.parametrize("asked", ["bytes=" + ",".join(["0-"] * 200),
                                   "bytes=" + ",".join("%d-%d" % (i, i) for i in range(2000))], ids=["overlap", "many"])
def test_14_2_many_or_overlapping_ranges_cost_no_more_than_the_whole(cache, path, asked):
    """RFC 9110 17.15: an attack; the whole, some ranges put together, or a refusal are all right."""
    body = DIGITS * 1000
    cache.origin.tell(path, reply(body, HOUR))
    cache.get(path)
    got = cache.get(path, range=asked)
    assert got.status in (200, 206, 400, 416, 431) and len(got.body) < 2 * len(body) + 200000
    if got.status == 200:
        assert got.text == body


@pytest.mark.parametrize("condition, status", [
    ('"v1"', 206), ('"v2"', 200), ('W/"v1"', 200), (DATE, 206), ("Sun, 01 Mar 2020 12:00:01 GMT", 200),
    ("Sun, 01 Mar 2020 11:59:59 GMT", 200), ("nonsense", 200)])
def test_13_1_5_if_range(cache, path, condition, status):
    cache.origin.tell(path, reply(DIGITS, HOUR, *TAGS))
    cache.get(path)
    got = cache.get(path, range="bytes=0-3", if_range=condition)
    assert (got.status, got.text) == (status, "0123" if status == 206 else DIGITS)


def test_13_1_5_a_weak_tag_or_a_young_date_makes_no_part(cache, path):
    date = when(0)
    cache.origin.tell(path, reply(DIGITS, HOUR, 'ETag: W/"v1"', "Last-Modified: " + date))
    cache.get(path)
    for condition in ('W/"v1"', '"v1"', date):
        assert cache.get(path, range="bytes=0-3", if_range=condition).text == DIGITS


def test_13_2_2_conditions_come_before_ranges(cache, path):
    cache.origin.tell(path, reply(DIGITS, HOUR, *TAGS))
    cache.get(path)
    assert cache.get(path, range="bytes=0-3", if_none_match='"v1"').status == 304
    assert cache.get(path, range="bytes=20-", if_range='"v2"').status == 200


def test_14_2_range_means_nothing_to_head(cache, path):
    cache.origin.tell(path, reply(DIGITS, HOUR))
    cache.get(path)
    got = cache.head(path, range="bytes=0-3")
    assert (got.status, got.headers["content-length"]) == (200, "10")


@pytest.mark.parametrize("status", [203, 301, 404])
def test_14_2_nor_to_an_answer_that_is_no_200(cache, path, status):
    cache.origin.tell(path, reply(DIGITS, HOUR, "Location: /x", status=status))
    cache.get(path)
    got = cache.get(path, range="bytes=0-3")
    assert (got.status, got.text) == (status, DIGITS)


@pytest.mark.parametrize("first, last", [(0, 0), (65535, 65536), (1, 999998), (500000, 999999), (999999, 999999)])
def test_14_2_ranges_of_what_is_a_file(cache, first, last):
    body = b"".join(b"%07d\n" % i for i in range(125000))
    if not cache.asked("/a-file"):
        cache.settle()
        cache.origin.tell("/a-file", reply(body, HOUR))
        cache.store("/a-file")
    got = cache.get("/a-file", range="bytes=%d-%d" % (first, last))
    assert got.status == 206 and got.body == body[first:last + 1] and got.hit
    got = cache.get("/a-file", range="bytes=%d-%d,10-19" % (first, last))
    if got.status == 206 and "multipart" in got.headers["content-type"]:
        assert parts_of(got) == [("bytes %d-%d/1000000" % (first, last), body[first:last + 1]),
                                 ("bytes 10-19/1000000", body[10:20])]


def test_14_2_a_stale_whole_is_validated_before_a_part_of_it_is_given(cache, path):
    cache.origin.tell(path, version(DIGITS, '"v1"', HOUR, OLD), version("abcdefghij", '"v2"', HOUR))
    cache.get(path)
    assert cache.get(path, range="bytes=0-3").text == "abcd"


# Interim answers (RFC 9110 15.2)

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("interim", [
    HINTS, HINTS * 3, b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 199 Whatever\r\n\r\n"], ids=["103", "thrice-103", "102", "100", "199"])
def test_15_2_interim_answers_come_before_the_one_that_counts(cache, path, interim):
    cache.origin.tell(path, interim + reply("content", HOUR))
    with cache.raw(path) as client:
        answer = client.answer()
        while answer.status < 200:
            answer = client.answer()
        assert (answer.status, answer.body) == (200, b"content")
        assert "link" not in answer.headers
    got = cache.get(path)
    assert got.hit and got.text == "content" and "link" not in got.headers


@pytest.mark.parametrize("interim", [HINTS, HINTS * 3, b"HTTP/1.1 102 Processing\r\n\r\n"],
                         ids=["103", "thrice-103", "102"])
def test_15_2_what_passes_straight_through_has_them(cache, path, interim):
    cache.origin.tell(path, interim + reply("done"))
    with cache.raw(path, method="POST") as client:
        statuses, answer = [], client.answer()
        while answer.status < 200:
            statuses.append(answer.status)
            answer = client.answer()
        assert (answer.status, answer.body) == (200, b"done") and "link" not in answer.headers
    assert statuses == [103 if b"103" in interim else 102] * interim.count(b"HTTP/1.1")


def test_15_2_a_client_of_http_1_0_gets_none(cache, path):
    cache.origin.tell(path, HINTS + reply("done"))
    with cache.raw(path, "Content-Length: 0", method="POST", version="1.0") as client:
        assert client.answer().status == 200


def test_15_2_a_hit_has_no_interim_answers(cache, path):
    cache.origin.tell(path, HINTS + reply("content", HOUR))
    cache.get(path)
    with cache.raw(path) as client:
        assert client.answer().status == 200


# Cache-Status (RFC 9211)

FORWARDED = ("miss", "uri-miss", "vary-miss", "stale", "bypass", "method", "request", "partial")


def test_9211_a_miss_that_is_stored(cache, path):
    cache.origin.tell(path, reply("content", HOUR))
    got = cache.get(path).cache
    assert got["fwd"] in ("miss", "uri-miss") and got["stored"] is True and "hit" not in got


def test_9211_a_miss_that_is_not(cache, path):
    cache.origin.tell(path, reply("content", "Cache-Control: no-store"))
    got = cache.get(path).cache
    assert got["fwd"] in FORWARDED and "stored" not in got and "hit" not in got


def test_9211_a_hit(cache, path):
    cache.origin.tell(path, reply("content", HOUR))
    cache.get(path)
    got = cache.get(path).cache
    assert got["hit"] is True and "fwd" not in got and 3500 <= got["ttl"] <= 3600


def test_9211_stale_and_validated(cache, path):
    cache.origin.tell(path, version("content", '"v1"', HOUR, OLD))
    cache.get(path)
    got = cache.get(path).cache
    assert got["fwd"] == "stale" and got["fwd-status"] == 304


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_9211_other_methods_are_forwarded(cache, path, method):
    cache.origin.tell(path, reply("done"))
    got = cache.ask(method, path, "x" if method.startswith("P") else None).cache
    assert got["fwd"] in ("bypass", "method") and "hit" not in got and "stored" not in got


def test_9211_offline_with_and_without_content(cache, path):
    cache.origin.tell(path, reply("content", HOUR, OLD))
    cache.get(path)
    with cache.offline():
        assert cache.get(path).cache["detail"] == "offline"
        got = cache.get(path + "-never-read")
    assert got.status == 504 and got.cache["detail"] == "offline" and "hit" not in got.cache


def test_9211_what_caches_before_us_said_stays_before_what_we_say(cache, path):
    cache.origin.tell(path, reply("content", HOUR, 'Cache-Status: "Origin, cache; x"; hit; ttl=3'))
    for _ in range(2):
        got = cache.get(path)
        assert got.headers["cache-status"].startswith('"Origin, cache; x"; hit; ttl=3')
        assert got.cache
    assert got.hit


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "LOCK"])
def test_every_answer_has_a_request_id_of_its_own(cache, path, method):
    ids = [cache.ask(method, path, "x" if method == "PUT" else None).headers["x-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3


# What goes upstream, and comes back (RFC 9110 7.6)

def test_7_6_what_weir_adds_and_takes_away(cache, path):
    cache.origin.tell(path, reply("content", "Via: 1.0 origin", HOUR))
    for _ in range(2):
        got = cache.get(path, connection="close, X-Hop", x_hop="1", te="trailers", proxy_authorization="Basic x",
                        keep_alive="5", x_kept="2", via="1.0 client")
        assert re.fullmatch(r"1\.0 origin, 1\.1 weir", got.headers["via"])
    asked = cache.origin.seen(path)[0].headers
    assert asked["x-kept"] == "2" and asked["host"] == cache.origin.url.removeprefix("http://")
    assert not {"x-hop", "proxy-authorization", "keep-alive", "te"} & set(asked)
    assert re.fullmatch(r"1\.0 client, 1\.1 weir", asked["via"])
    assert "for=" in asked["forwarded"] and "proto=http" in asked["forwarded"]
    assert "x-request-id" in asked


def test_7_6_a_request_that_went_round_in_a_circle_ends(site):
    """A mirror whose upstream is itself must not eat all workers and hang."""
    port = free_port()
    here = "127.0.0.1:%d" % port
    site.start_weir(mirror=[{"name": "files", "listen": here, "upstream": "http://" + here, "upstream_timeout": "2s"}],
                    limits={"workers": 8})
    got = request(port, "GET", "/a", timeout=60)
    assert got.status in (502, 504, 508)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [1000, 200000])
def test_9112_a_client_of_http_1_0_is_sent_no_chunks(cache, path, framing, size):
    body = b"0123456789" * (size // 10)
    cache.origin.tell(path, reply(body, HOUR, framing=framing))
    for _ in range(2):
        with Raw(cache.port) as client:
            client.send("GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" % path)
            head, _, got = client.read_to_end().partition(b"\r\n\r\n")
        assert got == body and b"chunked" not in head.lower()


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_9112_7_1_what_has_no_length_yet_comes_in_chunks_and_ends_with_one(cache, path, framing):
    body = b"0123456789" * 20000
    cache.origin.tell(path, reply(body, "Cache-Control: no-store", framing=framing))
    for _ in range(2):
        got = cache.get(path)
        assert got.body == body and "content-length" not in got.headers
        assert got.headers["transfer-encoding"] == "chunked"


def test_9_3_1_a_body_that_comes_with_a_get_is_not_the_next_request(cache, path):
    cache.origin.tell(path, reply("content", HOUR))
    cache.origin.tell(path + "-poison", reply("poison", HOUR))
    inner = "GET %s-poison HTTP/1.1\r\nHost: localhost\r\n\r\n" % path
    for _ in range(2):
        with cache.raw(path, "Content-Length: %d" % len(inner)) as client:
            client.send(inner)
            first = client.answer()
            assert first.body == b"content" or first.status >= 400
            if first.status == 200:
                client.send("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path)
                assert client.answer().body == b"content"
    assert not cache.asked(path + "-poison")


def test_12_protocols_that_leave_http_are_refused_clearly(cache, path):
    got = cache.get(path, connection="Upgrade", upgrade="websocket", sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
                    sec_websocket_version="13")
    assert 400 <= got.status < 600 and got.status != 504
    assert "websocket" in json.loads(got.body)["detail"].lower()
    assert not cache.asked(path)
