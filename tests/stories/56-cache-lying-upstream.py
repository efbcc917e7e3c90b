"""An upstream that lies, in framing, in fields, in numbers: nobody gets half of something for the whole, or one answer
for another, and nothing of it is kept (RFC 9112 sections 4 to 8; RFC 9111 section 3.3)."""

import pytest

from lab.cachekit import CUT, reply, version

HOUR = "Cache-Control: max-age=3600"


def afterwards(cache, path):
    """The next to ask gets what the upstream says then, rightly, from upstream; and weir lives."""
    asked = cache.asked(path)
    cache.settle()
    cache.origin.tell(path, reply("the truth", HOUR))
    got = cache.get(path)
    assert (got.status, got.text) == (200, "the truth") and not got.hit and cache.asked(path) == asked + 1
    assert cache.get(path).text == "the truth"
    assert cache.weir.alive()


def raw(*lines, body=b""):
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


CHUNKED = ("HTTP/1.1 200 OK", HOUR, "Transfer-Encoding: chunked")
SHORT = {
    "length-too-long": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: 100", body=b"short"),
    "length-far-too-long": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: 50000000", body=b"short"),
    "no-body-at-all": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: 1"),
    "chunk-cut": raw(*CHUNKED, body=b"a\r\nshort"),
    "last-chunk-missing": raw(*CHUNKED, body=b"5\r\nshort\r\n"),
    "end-of-trailers-missing": raw(*CHUNKED, body=b"5\r\nshort\r\n0\r\n"),
    "chunk-size-that-is-none": raw(*CHUNKED, body=b"5\r\nshort\r\nzz\r\n\r\n"),
    "chunk-size-of-20-digits": raw(*CHUNKED, body=b"fffffffffffffffffffff\r\nx"),
    "chunk-size-below-zero": raw(*CHUNKED, body=b"-5\r\nshort\r\n0\r\n\r\n"),
    "chunk-longer-than-its-size": raw(*CHUNKED, body=b"2\r\nshort\r\n0\r\n\r\n"),
    "head-cut": b"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Le",
    "closed-at-once": b"",
}


@pytest.mark.parametrize("case", SHORT)
def test_3_3_what_is_not_whole_is_visibly_cut_and_not_kept(cache, path, case):
    cache.origin.tell(path, [SHORT[case]])
    assert cache.is_cut(path)
    afterwards(cache, path)


def test_3_3_a_body_that_ends_with_its_connection_cannot_be_told_from_a_whole_one_and_passes(cache, path):
    cache.origin.tell(path, [raw("HTTP/1.1 200 OK", HOUR, "Connection: close", body=b"to the end")])
    assert cache.get(path).text == "to the end"


NONSENSE = {
    "status-999": raw("HTTP/1.1 999 Odd", "Content-Length: 2", body=b"no"),
    "status-99": raw("HTTP/1.1 99 Odd", "Content-Length: 2", body=b"no"),
    "status-1000": raw("HTTP/1.1 1000 Odd", "Content-Length: 2", body=b"no"),
    "status-in-words": raw("HTTP/1.1 OK fine", "Content-Length: 2", body=b"no"),
    "status-minus": raw("HTTP/1.1 -20 Odd", "Content-Length: 2", body=b"no"),
    "another-protocol": raw("ICY 200 OK", "Content-Length: 2", body=b"no"),
    "version-3": raw("HTTP/3.7 200 OK", "Content-Length: 2", body=b"no"),
    "no-head": b"no head at all, just text\n" * 10,
    "binary": bytes(range(256)) * 40,
    "two-lengths": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: 2", "Content-Length: 4", body=b"nono"),
    "two-lengths-in-a-list": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: 2, 4", body=b"nono"),
    "length-below-zero": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: -2", body=b"no"),
    "length-in-words": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: two", body=b"no"),
    "length-of-30-digits": raw("HTTP/1.1 200 OK", HOUR, "Content-Length: 999999999999999999999999999999", body=b"no"),
    "unknown-coding": raw("HTTP/1.1 200 OK", HOUR, "Transfer-Encoding: rot13", "Content-Length: 2", body=b"no"),
    "switching-unasked": raw("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "Connection: Upgrade", body=b"no"),
    "a-304-that-nobody-asked-for": raw("HTTP/1.1 304 Not Modified", HOUR, 'ETag: "x"'),
    "head-of-a-megabyte": raw("HTTP/1.1 200 OK", HOUR, "X-Bomb: " + "x" * (1 << 20), "Content-Length: 2", body=b"no"),
    "head-of-50000-lines": raw("HTTP/1.1 200 OK", HOUR, *["X-%d: x" % i for i in range(50000)], "Content-Length: 2",
                               body=b"no"),
    "a-head-without-end": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 4000000,
}


@pytest.mark.parametrize("case", NONSENSE)
def test_what_is_no_answer_is_a_clear_error_and_not_kept(cache, path, case):
    cache.origin.tell(path, [NONSENSE[case]])
    try:
        got = cache.get(path)
        assert got.status in (502, 504), got
        assert "application/problem+json" in got.headers["content-type"] and got.body != b"no"
    except CUT:
        pass                            # cut: as clear
    afterwards(cache, path)


ODD = {
    "a-field-without-a-name": ": nothing", "a-field-without-a-colon": "nothing",
    "a-space-before-the-colon": "X-Odd : 1", "a-name-with-a-space": "X Odd: 1",
    "a-nul": "X-Odd: a\0b", "a-bare-cr": "X-Odd: a\rX-Injected: 1", "a-bare-lf": "X-Odd: a\nX-Injected: 1",
    "a-folded-line": "X-Odd: a\r\n b", "bytes-above-127": "X-Odd: \xff\xfe\x80",
    "a-name-of-8000": "X-" + "y" * 8000 + ": 1",
    "a-value-of-20000": "X-Odd: " + "y" * 20000, "300-lines": "\r\n".join("X-%d: 1" % i for i in range(300)),
    "1000-cookies": "\r\n".join("Set-Cookie: a%d=b" % i for i in range(1000)),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_fields_reach_the_client_whole_or_not_at_all(cache, path, case):
    cache.origin.tell(path, [raw("HTTP/1.1 200 OK", HOUR, ODD[case], "Content-Length: 7", body=b"content")])
    for _ in range(2):
        try:
            got = cache.get(path)
        except CUT:
            continue
        assert (got.status == 200 and got.body == b"content") or got.status == 502, got
        assert "x-injected" not in got.headers or case == "a-bare-lf"
        assert "\0" not in str(got.headers) and "\r" not in "".join(got.headers.values())
    assert cache.weir.alive()


@pytest.mark.parametrize("size", [60000, 70000])
def test_heads_around_64_kib(cache, path, size):
    """What is stored has a limit, what passes may have a larger one: right both times, in any case."""
    cache.origin.tell(path, reply("content", HOUR, *["X-%d: %s" % (i, "x" * 990) for i in range(size // 1000)]))
    for _ in range(2):
        try:
            with cache.raw(path, "Connection: close") as client:
                answer = client.read_to_end()
        except CUT:
            continue
        assert b"502" in answer[:20] or answer.endswith(b"content"), answer[:200]
    assert cache.weir.alive()


SURPLUS = {"another-answer": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", "a-byte": b"x",
           "empty-lines": b"\r\n" * 100, "much": b"y" * 100000}


@pytest.mark.parametrize("surplus", SURPLUS)
def test_more_bytes_than_the_length_says_never_become_the_answer_to_somebody_else(cache, path, surplus):
    """RFC 9112 6.3, 9.2: response splitting by an upstream that says too much on a connection that is kept."""
    cache.origin.tell(path, reply("content", "Cache-Control: no-store") + SURPLUS[surplus])
    for _ in range(3):
        try:
            assert cache.get(path).text == "content"
        except CUT:
            pass
        for i in range(3):
            other = "%s-%d" % (path, i)
            cache.origin.tell(other, reply("of " + other, "Cache-Control: no-store"))
            assert cache.get(other).text == "of " + other


def test_6_3_a_length_beside_chunks_is_not_believed(cache, path):
    cache.origin.tell(path, [raw("HTTP/1.1 200 OK", HOUR, "Content-Length: 3", "Transfer-Encoding: chunked",
                                 body=b"7\r\ncontent\r\n0\r\n\r\n")])
    for _ in range(2):
        try:
            got = cache.get(path)
        except CUT:
            continue
        assert got.status == 502 or got.body == b"content"


def test_7_1_2_trailers_do_not_become_fields(cache, path):
    cache.origin.tell(path, [raw(*CHUNKED, "Trailer: X-After, Cache-Control",
                                 body=b"7\r\ncontent\r\n0\r\nX-After: 1\r\nCache-Control: no-store\r\n\r\n")])
    for _ in range(2):
        got = cache.get(path)
        assert got.text == "content" and "x-after" not in got.headers and got.headers["cache-control"] == "max-age=3600"
    assert got.hit


@pytest.mark.parametrize("status", [204, 304])
def test_6_3_bytes_after_an_answer_without_a_body(cache, path, status):
    cache.origin.tell(path, version("content", '"v1"', "Cache-Control: max-age=0"))
    cache.get(path)
    said = raw("HTTP/1.1 %d Because" % status, "Content-Length: 6", "Cache-Control: max-age=0", 'ETag: "v1"',
               body=b"poison")
    cache.origin.tell(path, said)
    for _ in range(2):
        try:
            got = cache.get(path)
            assert got.body == (b"content" if status == 304 else b"") or got.status >= 500, got
        except CUT:
            pass
    afterwards(cache, path)


def test_9_3_2_bytes_after_the_answer_to_a_head(cache, path):
    cache.origin.tell(path, lambda r: [reply("content", "Cache-Control: no-store")], method="HEAD")
    for _ in range(3):
        assert cache.head(path).body == b""
    afterwards(cache, path)


def test_8_4_what_is_coded_stays_coded(cache, path):
    """Whatever Content-Encoding says, right or wrong: the bytes are not touched."""
    for i, coding in enumerate(("gzip", "br", "gzip, gzip", "identity", "none-such")):
        target = "%s-%d" % (path, i)
        cache.origin.tell(target, reply(b"\x1f\x8bnot really", HOUR, "Content-Encoding: " + coding))
        for _ in range(2):
            got = cache.get(target)
            assert got.body == b"\x1f\x8bnot really" and got.headers["content-encoding"] == coding


def test_a_thousand_interim_answers(cache, path):
    cache.origin.tell(path, [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000, reply("content", HOUR)])
    with cache.raw(path) as client:
        try:
            answer = client.answer()
            while answer.status < 200:
                answer = client.answer()
            assert (answer.status, answer.body) in ((200, b"content"), (502, answer.body))
        except AssertionError as e:
            assert "closed" in str(e)
    assert cache.weir.alive()


def test_dates_and_ages_that_nobody_can_mean(cache, path):
    for i, line in enumerate([
            "Date: " + "x" * 1000, "Date: Sun, 99 Foo 99999 99:99:99 GMT", "Age: -1", "Age: 1e9", "Age: 1, 2",
            "Expires: " + "9" * 500, "Last-Modified: Thu, 01 Jan 1601 00:00:00 GMT", "ETag: no-quotes", "ETag:",
            'ETag: "' + "x" * 9000 + '"', "Vary: " + ", ".join("x-%d" % i for i in range(500)), "Vary: a b c",
            "Cache-Control: " + "max-age=1, " * 2000, "Content-Type: " + "y" * 5000]):
        target = "%s-%d" % (path, i)
        cache.origin.tell(target, reply("content", line, date=None if line.startswith("Date") else 0))
        for _ in range(2):
            got = cache.get(target)
            assert (got.status == 200 and got.text == "content") or got.status == 502, (line[:60], got)
