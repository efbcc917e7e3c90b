"""Reading while upstream is away, in each of the ways in which it can be (invariants 4 and 9)."""

import json
import threading

import pytest

from lab.cachekit import Cache, reply, version
from lab.faults import FaultProxy
from lab.wait import wait_until

HOUR = "Cache-Control: max-age=3600"
OLD = ["Cache-Control: max-age=60", "Age: 100"]


@pytest.fixture
def files(site):
    """A mirror behind a fault proxy before lighttpd's files."""
    return site.mirror("lighttpd")


def warm(files):
    """Reads a file and the listing of its folder; what came."""
    files.server.write("/docs/a.txt", "content of a")
    read = {path: files.get(path).text for path in ("/docs/a.txt", "/docs/")}
    assert read["/docs/a.txt"] == "content of a" and "a.txt" in read["/docs/"]
    return read


WEATHER = {"refused": FaultProxy.refuse, "unreachable": FaultProxy.unreachable, "black hole": FaultProxy.black_hole,
           "errors": lambda door: door.answer(503)}


@pytest.mark.parametrize("weather", WEATHER)
def test_what_was_read_is_there(files, weather):
    read = warm(files)
    WEATHER[weather](files.door)
    for _ in range(4):
        for path, text in read.items():
            got = files.get(path, cache_control="max-age=0")
            assert (got.status, got.text) == (200, text)
    files.weir.wait_upstream("down", "files")
    head = files.head("/docs/a.txt")
    assert (head.status, head.headers["content-length"]) == (200, "12")
    assert files.get("/docs/a.txt", range="bytes=0-6").text == "content"
    assert files.get("/docs/a.txt", if_none_match=head.headers["etag"]).status == 304
    assert "detail=offline" in files.get("/docs/a.txt", cache_control="max-age=0").headers["cache-status"]
    files.server.write("/docs/a.txt", "changed")
    files.line_is_back()
    assert files.get("/docs/a.txt", cache_control="no-cache").text == "changed"


@pytest.mark.parametrize("weather", ["refused", "black hole"])
def test_what_was_never_read_is_504_with_what_to_do(files, weather):
    warm(files)
    WEATHER[weather](files.door)
    for method in ("GET", "HEAD"):
        got = files.ask(method, "/docs/never.txt")
        assert got.status == 504 and got.headers["content-type"] == "application/problem+json"
        assert "detail=offline" in got.headers["cache-status"]
    problem = json.loads(files.get("/docs/never.txt").body)
    assert problem["status"] == 504 and problem["title"] and problem["detail"]


def test_a_black_hole_costs_one_client_its_patience_once(files):
    warm(files)
    files.door.black_hole()
    files.get("/docs/a.txt", cache_control="max-age=0")
    files.weir.wait_upstream("down", "files")
    files.door.forget()
    for _ in range(50):
        assert files.get("/docs/a.txt", cache_control="max-age=0").text == "content of a"
    assert files.door.count("/docs/") == 0


def test_the_outage_is_counted_and_told(files):
    warm(files)
    files.go_offline()
    fallbacks = files.weir.metric("weir_offline_fallbacks_total", service="files")
    files.get("/docs/a.txt", cache_control="max-age=0")
    assert files.weir.metric("weir_upstream_up", upstream="files") == 0
    assert files.weir.metric("weir_offline_fallbacks_total", service="files") > fallbacks
    files.weir.wait_log("upstream_down")
    files.weir.wait_log("offline_fallback")
    files.come_back()
    assert files.weir.metric("weir_upstream_up", upstream="files") == 1


def test_fresh_answers_need_no_upstream_and_say_nothing_of_the_outage(cache, path):
    cache.origin.tell(path, reply("content", HOUR))
    cache.get(path)
    with cache.offline():
        got = cache.get(path)
    assert got.hit and got.text == "content" and got.cache["ttl"] > 0


def test_an_upstream_that_stalls_in_mid_body_cuts_the_client_and_keeps_what_was_there(cache, path):
    never = threading.Event()

    def stalls(_request):
        yield reply("x" * 1000, HOUR)[:-500]
        never.wait(60)
    cache.origin.tell(path, reply("old", *OLD), stalls)
    cache.get(path)
    assert cache.is_cut(path) or cache.get(path).text == "old"
    cache.settle()
    with cache.offline():
        assert cache.get(path).text == "old"
    never.set()


def test_an_upstream_that_is_silent_for_one_uri_is_not_away_for_others(cache, path):
    silent, other = path + "-silent", path + "-other"
    cache.origin.tell(silent, reply("old", *OLD), reply("new", HOUR))
    cache.origin.tell(other, version("other", '"v1"', *OLD))
    for target in (silent, other):
        cache.get(target)
    with cache.origin.hold(silent):
        assert cache.get(silent).text == "old"
        assert cache.get(other).text == "other"
        assert cache.get(other).cache.get("fwd-status") == 304
    wait_until(lambda: cache.get(silent).text == "new")


def test_what_webdav_was_asked_before_is_there_when_the_operator_wants_that(site):
    cache = Cache(site, mirrors=[{"name": "plain"}], offline_propfind=True)
    cache.origin.tell("/folder/", lambda r: reply("in depth %s: %s" % (r.headers["depth"], r.text), status=207))

    def propfind(client, depth, body):
        return client.ask("PROPFIND", "/folder/", body, {"Depth": depth, "Content-Type": "application/xml"})
    for client in (cache, cache.on("plain")):
        for _ in range(2):
            assert propfind(client, "1", "<all/>").text == "in depth 1: <all/>"
    assert cache.asked("/folder/") == 4                     # online it is never reused
    with cache.offline(), cache.on("plain").offline():
        got = propfind(cache, "1", "<all/>")
        assert (got.status, got.text) == (207, "in depth 1: <all/>")
        assert got.cache["detail"] == "offline"
        for depth, body in (("0", "<all/>"), ("1", "<some/>")):
            assert propfind(cache, depth, body).status == 504
        assert propfind(cache.on("plain"), "1", "<all/>").status == 504


def test_reads_through_an_upstream_that_comes_and_goes(cache, path):
    """Every answer is right, whatever the weather."""
    cache.origin.tell(path, version("content", '"v1"', *OLD))
    cache.get(path)
    for _ in range(6):
        cache.origin.kill()
        for _ in range(5):
            assert cache.get(path).text == "content"
        cache.origin.start()
        for _ in range(5):
            assert cache.get(path).text == "content"
    cache.weir.wait_upstream("up", "files")
