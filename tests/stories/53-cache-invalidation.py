"""What a write makes untrue (RFC 9111 section 4.4)."""

import random

import pytest

from lab.cachekit import CUT, reply

HOUR = "Cache-Control: max-age=3600"


def stored(cache, *paths):
    for path in paths:
        cache.origin.tell(path, reply("old", HOUR), reply("new", HOUR), method="GET")
        assert cache.get(path).text == "old"
        assert cache.get(path).hit


def write(cache, method, path, status=204, *lines):
    cache.origin.tell(path, reply("", *lines, status=status), method=method)
    got = cache.ask(method, path, None if method == "DELETE" else "content")
    assert got.status == status
    return got


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE", "MOVE", "PROPPATCH", "MKCOL", "LOCK"])
def test_4_4_after_an_unsafe_method_it_is_asked_for_anew(cache, path, method):
    stored(cache, path)
    write(cache, method, path)
    assert cache.get(path).text == "new"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 205, 301, 303, 307])
def test_4_4_after_success_and_redirection(cache, path, status):
    stored(cache, path)
    write(cache, "PUT", path, status, "Location: /elsewhere")
    assert cache.get(path).text == "new"


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 422])
def test_4_4_not_after_a_refusal(cache, path, status):
    """But for 412, which says that something else is there: see 57-mirror-found-by-hunting.py."""
    stored(cache, path)
    write(cache, "PUT", path, status)
    assert cache.get(path).hit and cache.get(path).text == "old"


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PROPFIND", "REPORT", "SEARCH"])
def test_4_4_not_after_safe_methods(cache, path, method):
    stored(cache, path)
    cache.origin.tell(path, reply("fine", HOUR), method=method)
    assert cache.ask(method, path).status == 200
    assert cache.get(path).text == "old"


@pytest.mark.parametrize("field", ["Location", "Content-Location"])
@pytest.mark.parametrize("form", ["{path}-other", "{origin}{path}-other", "//{host}{path}-other", "{name}-other",
                                  "./{name}-other", "../{name}-other#part"], ids=range(6))
def test_4_4_what_the_answer_names_of_the_same_origin(cache, path, field, form):
    other = path + "-other"
    stored(cache, other)
    write(cache, "POST", path, 201, field + ": " + form.format(path=path, origin=cache.origin.url, name=path[1:],
                                                               host=cache.origin.url.removeprefix("http://")))
    assert cache.get(other).text == "new"


@pytest.mark.parametrize("field", ["Location", "Content-Location"])
@pytest.mark.parametrize("origin", ["http://elsewhere.test", "https://{host}", "http://127.0.0.1:1", "http://127.0.0.1",
                                    "//elsewhere.test", "http://{host}@elsewhere.test", "ftp://{host}"])
def test_4_4_but_not_of_another_origin(cache, path, field, origin):
    """Or anybody could empty the cache of others."""
    other = path + "-other"
    stored(cache, other)
    host = cache.origin.url.removeprefix("http://")
    write(cache, "POST", path, 201, field + ": " + origin.format(host=host) + other)
    assert cache.get(other).text == "old"


def test_4_4_nor_after_a_refusal(cache, path):
    other = path + "-other"
    stored(cache, other)
    write(cache, "POST", path, 403, "Location: " + other)
    assert cache.get(other).text == "old"


def test_4_4_all_variants_go(cache, path):
    def by_language(age):
        return lambda r: reply(age + r.headers.get("accept-language", ""), HOUR, "Vary: Accept-Language")
    cache.origin.tell(path, by_language("old "), method="GET")
    for language in ("en", "de"):
        cache.get(path, accept_language=language)
    write(cache, "PUT", path)
    cache.origin.tell(path, by_language("new "), method="GET")
    for language in ("en", "de"):
        assert cache.get(path, accept_language=language).text == "new " + language


def test_4_4_neighbours_stay(cache, path):
    stored(cache, path, path + "/below", path + "-beside")
    write(cache, "PUT", path)
    assert cache.get(path).text == "new"
    assert cache.get(path + "/below").text == "old"
    assert cache.get(path + "-beside").text == "old"


def test_4_4_an_answer_that_was_under_way_before_the_write_is_not_kept_after_it(cache, path):
    """A slow GET that began before a PUT must not bring the old content back for an hour."""
    with cache.origin.hold(path) as gate:
        cache.origin.tell(path, reply("old", HOUR), reply("new", HOUR), method="GET")
        reader = cache.raw(path)
        gate.wait_arrived()
        del cache.origin.gates[path]
        write(cache, "PUT", path)
    assert reader.answer().body == b"old"
    reader.close()
    assert cache.get(path).text == "new"


def ends(head, body=b""):
    """An answer after which the connection ends, however much was announced."""
    return [head.encode("latin-1") + b"\r\n\r\n" + body]


UNFINISHED = {"cut": ends("HTTP/1.1 200 OK\r\nContent-Length: 100", b"half"),
              "cut-large": ends("HTTP/1.1 200 OK\r\nContent-Length: 200000", b"half"),
              "too-large": ends("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + "\r\n".join("X-%d: %s" % (i, "x" * 6000)
                                                                                           for i in range(30))),
              "nonsense": ends("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2", b"xx")}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "MOVE"])
@pytest.mark.parametrize("how", UNFINISHED)
def test_4_4_also_when_the_answer_cannot_be_passed_on(cache, path, method, how):
    """It was done, and the client is told to look rather than to repeat it; nothing of it is queued to be done again."""
    stored(cache, path)
    cache.origin.tell(path, UNFINISHED[how], method=method)
    try:
        got = cache.ask(method, path, None if method == "DELETE" else "content")
        assert got.status == 504 and "look there before you repeat it" in got.text, got.text
        assert ("200" in got.text) == (how.startswith("cut")), got.text
    except CUT:
        assert how == "cut-large"
    assert len(cache.origin.seen(path, method)) == 1
    assert cache.get(path).text == "new"
    assert cache.weir.outbox() == []


def test_a_refusal_that_is_cut_short_leaves_what_is_stored(cache, path):
    stored(cache, path)
    cache.origin.tell(path, ends("HTTP/1.1 403 No\r\nContent-Length: 100", b"half"), method="POST")
    assert cache.post(path, "content").status == 504
    assert cache.get(path).hit and cache.get(path).text == "old"


def test_a_write_makes_what_is_read_offline_not_the_old(cache, path):
    stored(cache, path)
    write(cache, "DELETE", path)
    with cache.offline():
        assert cache.get(path).text != "old"


@pytest.mark.parametrize("size", [8, 100000])
def test_4_4_nobody_reads_what_was_overwritten_before_they_asked(cache, path, size):
    """Four files that are written forty times each while six clients read them; what may be kept is fresh for an hour."""
    targets = ["%s-%d" % (path, i) for i in range(4)]
    written, wrong, reads = dict.fromkeys(targets, 0), [], []

    def content(n):
        return "%08d" % n + "." * (size - 8)
    for target in targets:
        cache.origin.put(target, content(0), cache_control="max-age=3600")

    def write(target):
        for n in range(1, 41):
            answer = cache.put(target, content(n))
            assert answer.status in (200, 201, 204), answer
            written[target] = n

    def read(i):
        while min(written.values()) < 40:
            target = random.choice(targets)
            least = written[target]
            got = cache.get(target)
            reads.append(got.hit)
            if got.status != 200 or len(got.body) != size or int(got.body[:8]) < least:
                wrong.append((least, got.status, got.body[:8], len(got.body), got.headers))

    for result in cache.together(10, lambda i: write(targets[i]) if i < 4 else read(i)):
        assert result is None, result
    assert not wrong, wrong[:3]
    assert min(written.values()) == 40
    assert len(reads) > 100
