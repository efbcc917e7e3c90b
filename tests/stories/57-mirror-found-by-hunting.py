"""What a hostile or broken upstream, a slow client, and a stop in the middle may do to a mirror, and may not."""

import gzip
import http.client
import os
import signal
import threading
import time

import pytest

from lab.cachekit import Cache, Teller, reply
from lab.origin import Origin
from lab.wait import wait_until
from lab.wire import Raw


http.client._MAXHEADERS = 2000


def many_lines(count, name="X-Line-%d: %d"):
    return [name % (i, i) for i in range(count)]


# Heads with as many lines as are let in

@pytest.mark.parametrize("size", [100, 200000], ids=["small", "large"])
def test_an_answer_with_512_lines_and_no_date(site, size):
    cache = Cache(site)
    cache.origin.tell("/a", [reply(b"x" * size, "Cache-Control: max-age=60", *many_lines(511), date=None, framing="none")])
    assert cache.store("/a").headers["x-line-510"] == "510"
    assert cache.get("/a").headers["x-line-510"] == "510"


def test_a_write_is_answered_with_512_lines_and_no_date(site):
    cache = Cache(site)
    cache.origin.tell("/a", [reply("done", *many_lines(512), date=None, framing="none")], method="POST")
    answer = cache.post("/a", "x")
    assert answer.status == 200 and answer.headers["x-line-511"] == "511"


def test_a_304_brings_hundreds_of_lines_more(site):
    cache = Cache(site)
    cache.origin.tell("/a", reply("one", 'ETag: "1"', "Cache-Control: max-age=0", *many_lines(400)),
                      reply("", 'ETag: "1"', "Cache-Control: max-age=60", *many_lines(400, "Y-Line-%d: %d"), status=304))
    assert cache.get("/a").status == 200
    answer = cache.get("/a")
    assert answer.text == "one" and answer.headers["x-line-399"] == answer.headers["y-line-399"] == "399"
    assert cache.get("/a").hit


# Stopping

SMALL_POST = "POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"


@pytest.mark.parametrize("client", ["there", "gone"])
def test_a_stop_does_not_wait_for_an_upstream_that_says_nothing_to_a_post(site, client):
    origin = Origin()
    mirror = site.mirror(origin, weir={"shutdown_grace": "1s"}, upstream_timeout="5m")
    with origin.hold("/orders") as gate, Raw(mirror.port).send(SMALL_POST) as connection:
        gate.wait_arrived()
        if client == "gone":
            connection.close()
        mirror.weir.stop()


def test_a_stop_while_it_is_looked_what_has_become_of_a_large_put(site):
    """The client has its answer already; only a look at the upstream is under way when the mirror is taken down."""
    cache = Cache(site, weir={"shutdown_grace": "1s"}, upstream_timeout="5m")
    looking, go_on = threading.Event(), threading.Event()

    def head(_request):
        looking.set()
        go_on.wait(60)
        return reply("x")

    cache.origin.tell("/big", reply("", status=201), method="PUT")
    cache.origin.tell("/big", head, method="HEAD")
    assert cache.put("/big", b"x" * 200000).status == 201
    assert looking.wait(20)
    cache.weir.process.send_signal(signal.SIGTERM)
    cache.weir.wait_log("stopped")
    go_on.set()
    cache.weir.wait_stopped()


# Workers

def test_slow_uploads_offline_keep_nobody_from_reading_the_disk(site):
    """Each upload that trickles in takes a worker; readers of what is stored have workers of their own."""
    cache = Cache(site, weir={"limits": {"workers": 8}})
    cache.origin.tell("/stored", reply(b"x" * 30000, "Cache-Control: max-age=600"))
    cache.store("/stored")
    cache.weir.restart()        # nothing is in memory
    with cache.offline():
        slow = [cache.raw("/slow-%d" % i, "Content-Length: 200000", method="PUT").send(b"x" * 100000) for i in range(8)]
        answer = cache.get("/stored")
        assert answer.status == 200 and answer.hit
        for s in slow:
            s.close()


def endless(started):
    def tell(_request):
        def pieces():
            yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            started.set()
            while True:
                yield b"6\r\ndata\n\n\r\n"
                time.sleep(0.05)
        return pieces()
    return tell


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_endless_answer_ends_when_nobody_follows_it(site, method):
    cache = Cache(site)
    started = threading.Event()
    cache.origin.tell("/events", endless(started))
    connection = cache.raw("/events", "Content-Length: 0", method=method)
    connection.read_until(b"data")
    assert cache.origin.sockets
    connection.close()
    wait_until(lambda: not cache.origin.sockets, limit=20, what="the upstream's connection is given up")


# Names

def test_a_redirect_out_of_the_base_path_leads_to_the_upstream_itself(site):
    origin = Teller()
    cache = Cache(site, upstream=origin.url + "/base")
    origin.tell("/base/in", reply("", "Location: /base/new?x=1", status=302))
    origin.tell("/base/out", reply("", "Location: /other", status=302))
    origin.tell("/base/near", reply("", "Location: /based", status=302))
    origin.tell("/base/full", reply("", "Location: %s/base/new" % origin.url, status=302))
    try:
        found = [cache.get(path).headers["location"] for path in ("/in", "/out", "/near", "/full")]
        assert found == ["/new?x=1", origin.url + "/other", origin.url + "/based", "/new"]
    finally:
        origin.close()


def test_a_delivery_does_not_follow_a_redirect_out_of_the_base_path(site):
    origin = Teller()
    cache = Cache(site, upstream=origin.url + "/base")
    try:
        origin.tell("/base/a", reply("", "Location: /other", status=307), method="PUT")
        cache.weir.switch_upstream(False, "files")
        entry = cache.queue("PUT", "/a", "x")
        cache.weir.switch_upstream(True, "files")
        cache.weir.wait_entry(entry, "held")
        assert not [r for r in origin.seen() if r.method == "PUT" and r.path != "/base/a"]
    finally:
        origin.close()


@pytest.mark.parametrize("destination", ["http://127.0.0.1:%d", "http://127.0.0.1:%d?x", "http://127.0.0.1:%d/", "/", "", "x",
                                         "http://", "http:///x", "http://127.0.0.1:%d/%%"])
def test_odd_destinations_harm_nobody(site, destination):
    cache = Cache(site)
    cache.origin.tell("/a", reply("", status=201), method="MOVE")
    if "%d" in destination:
        destination = destination % cache.port
    assert cache.ask("MOVE", "/a", None, {"Destination": destination}).status == 201


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_what_was_overwritten_by_a_move_is_not_served_from_the_cache(site, method):
    cache = Cache(site)
    cache.origin.tell("/a", reply("new", "Cache-Control: max-age=600"))
    cache.origin.tell("/b", reply("old", "Cache-Control: max-age=600"), reply("new", "Cache-Control: max-age=600"))
    cache.store("/b")
    cache.origin.tell("/a", reply("", status=204), method=method)
    assert cache.ask(method, "/a", None, {"Destination": "http://127.0.0.1:%d/b" % cache.port}).status == 204
    assert cache.get("/b").text == "new"


# Requests

def test_a_get_with_a_body_passes_with_its_body(site):
    cache = Cache(site)
    cache.origin.tell("/search", reply("all", "Cache-Control: max-age=600"))
    cache.store("/search")
    cache.origin.tell("/search", reply("some", "Cache-Control: max-age=600"))
    assert cache.ask("GET", "/search", "query").text == "some"
    assert cache.origin.seen("/search")[-1].text == "query"
    assert cache.get("/search").text == "all"


def test_options_with_no_hop_left_is_answered_here(site):
    cache = Cache(site)
    assert cache.ask("OPTIONS", "/", None, {"Max-Forwards": "0"}).status == 204
    assert cache.ask("OPTIONS", "/", None, {"Max-Forwards": "1"}).status == 200
    assert [r.headers["max-forwards"] for r in cache.origin.seen("/", "OPTIONS")] == ["0"]


def test_a_trace_is_told_what_is_allowed(site):
    answer = Cache(site).ask("TRACE", "/")
    assert answer.status == 405 and "GET" in answer.headers["allow"]


def test_the_clients_token_for_weir_is_not_shown_to_the_upstream(site):
    """It does not make a write the client's own business either."""
    token = site.file("client-token", "s3cret\n")
    cache = Cache(site, client_token_file=token)
    ours = {"Authorization": "Bearer s3cret"}
    assert cache.ask("GET", "/a").status == 401
    cache.origin.tell("/a", reply("x", "Cache-Control: max-age=600"))
    assert cache.ask("GET", "/a", None, ours).status == 200
    assert cache.ask("GET", "/a", None, ours).hit
    with cache.offline():
        assert cache.ask("PUT", "/a", "y", ours).status == 202
    cache.weir.wait_outbox_empty()
    assert not [r for r in cache.origin.seen() if "authorization" in r.headers]


def test_a_part_is_not_queued_as_if_it_were_the_whole(site):
    """PUT with Content-Range (RFC 9110 14.4) is between the client and an upstream that understands it."""
    cache = Cache(site)
    cache.origin.put("/a", "0123456789")
    cache.get("/a")
    with cache.offline():
        answer = cache.ask("PUT", "/a", "xx", {"Content-Range": "bytes 2-3/10"})
        assert answer.status == 503, answer
        assert cache.get("/a").text == "0123456789"
    assert cache.ask("PUT", "/a", "xx", {"Content-Range": "bytes 2-3/10"}).status in (200, 201, 204)


@pytest.mark.parametrize("content", ["", "x"])
def test_an_empty_file_is_a_file(site, content):
    cache = Cache(site)
    assert cache.put("/online", content).status == 201
    with cache.offline():
        entry = cache.queue("PUT", "/a", content)
        answer = cache.get("/a")
        assert answer.status == 200 and answer.text == content
        assert cache.head("/a").headers["content-length"] == str(len(content))
    cache.weir.wait_entry(entry, "applied")
    assert cache.origin.text("/a") == cache.origin.text("/online") == content


@pytest.mark.parametrize("target", ["/a b", "/\\x", "/\xe4", "/%", "/%0", "/%zz", "/a#b", "//", "//x", "/?", "/a?b#c", "/\"<>^`{|}",
                                    "/[x]", "/../../x", "/a/./b", "/%2F%2e%00", "/x\x7f"])
def test_what_the_front_lets_in_can_be_sent(site, target):
    """Else it would be queued for ever."""
    cache = Cache(site)
    head = " " + target + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
    online = Raw(cache.port).send("POST" + head).answer()
    assert online.status != 500, online.text
    if online.status >= 400:
        return
    with cache.offline():
        assert Raw(cache.port).send("PUT" + head).answer().status == 202
    cache.weir.wait_outbox_empty()
    assert cache.origin.seen()[-1].target == target or target in [r.target for r in cache.origin.seen()]


@pytest.mark.parametrize("name", ["/d/", "/d"])
def test_what_a_deleted_collection_held_is_not_served_from_the_cache(site, name):
    cache = Cache(site)
    cache.origin.tell("/d/x", reply("old", "Cache-Control: max-age=600"), reply("", status=404))
    cache.origin.tell("/da", reply("other", "Cache-Control: max-age=600"))
    cache.store("/d/x")
    cache.store("/da")
    cache.origin.tell(name, reply("", status=204), method="DELETE")
    assert cache.delete(name).status == 204
    assert cache.get("/d/x").status == 404 and cache.get("/da").hit


def test_what_somebody_had_deleted_before_us_is_gone_here_too(site):
    """A queued DELETE meets a 404: it is applied, and the stored copy goes, whatever becomes of the look after it."""
    cache = Cache(site)
    cache.origin.tell("/a", reply("old", "Cache-Control: max-age=600"),
                      reply("", "Cache-Control: no-store", status=404))
    cache.store("/a")
    with cache.offline():
        entry = cache.queue("DELETE", "/a")
    cache.weir.wait_entry(entry, "applied")
    assert cache.get("/a").status == 404


@pytest.mark.parametrize("token", ["one\nX-Evil: two", "one\r\n\r\nGET /evil", "\x01"])
def test_a_token_file_that_comes_to_hold_no_token(site, token):
    path = site.file("token", "one\n")
    cache = Cache(site, token_file=path)
    site.file("token", token)
    answer = cache.get("/a")
    assert answer.status >= 500 and "token" in answer.text, answer.text
    assert cache.weir.log_has("secret_not_read")
    assert not cache.origin.seen("/a")


def test_a_token_file_that_is_gone_pauses_the_queue_once(site):
    """Not in a circle: that it still cannot be read is no reason to go on."""
    token = site.file("token", "one")
    cache = Cache(site, token_file=token)
    with cache.offline():
        entry = cache.queue("PUT", "/a", "x")
        os.rename(token, token + ".old")
    cache.weir.wait_log("outbox_paused")
    for _ in range(20):
        assert cache.get("/b").status == 503        # each of them looks at the file
    assert len(cache.weir.log_lines("outbox_paused")) == 1 and not cache.weir.log_lines("outbox_resumed")
    os.rename(token + ".old", token)
    cache.weir.wait_entry(entry, "applied")


def test_what_a_queued_delete_takes_with_its_collection_is_not_there(site):
    """Neither for readers, nor as the base of a write after it, which would be a conflict with ourselves."""
    cache = Cache(site)
    for path in ("/d/x", "/d/y"):
        cache.origin.put(path, "old", cache_control="max-age=600")
        cache.store(path)
    with cache.offline():
        cache.queue("PUT", "/d/y", "newer")
        cache.queue("DELETE", "/d/")
        assert [cache.get(path).status for path in ("/d/x", "/d/y", "/d/")] == [404, 404, 404]
        entry = cache.queue("PUT", "/d/x", "new")
        assert cache.get("/d/x").text == "new" and cache.get("/d/y").status == 404
        cache.origin.remove("/d/x")         # what the DELETE does at a server of collections
    cache.weir.wait_entry(entry, "applied")
    assert cache.origin.text("/d/x") == "new"


@pytest.mark.parametrize("method, status", [("DELETE", 404), ("DELETE", 410), ("PUT", 412)])
def test_what_a_refusal_contradicts_is_not_served_from_the_cache(site, method, status):
    """Who writes on top of what was stored and is told 412 would else read the same again, and be told 412 again."""
    cache = Cache(site)
    cache.origin.tell("/a", reply("old", 'ETag: "1"', "Cache-Control: max-age=600"),
                      reply("new", 'ETag: "2"', "Cache-Control: max-age=600"), method="GET")
    cache.origin.tell("/a", reply("", status=status), method=method)
    tag = cache.store("/a").headers["etag"]
    assert cache.ask(method, "/a", "mine" if method == "PUT" else None, {"If-Match": tag}).status == status
    assert cache.get("/a").text == "new"


def test_a_propfind_that_came_compressed_goes_on_as_it_is_read(site):
    cache = Cache(site, offline_propfind=True)
    cache.origin.tell("/", reply("<multistatus/>", status=207), method="PROPFIND")
    assert cache.ask("PROPFIND", "/", gzip.compress(b"<q/>"), {"Depth": "1", "Content-Encoding": "gzip"}).status == 207
    seen = cache.origin.seen("/", "PROPFIND")[-1]
    assert seen.text == "<q/>" and "content-encoding" not in seen.headers
    with cache.offline():
        assert cache.ask("PROPFIND", "/", "<q/>", {"Depth": "1"}).text == "<multistatus/>"
    answer = cache.ask("PROPFIND", "/", "x" * 70000)
    assert answer.status == 413 and "offline_propfind" in answer.text


def test_a_write_with_a_cookie_is_not_queued_without_it(site):
    """It would be refused at delivery, when its client is gone; with a token of weir's own it needs none."""
    cache = Cache(site)
    with cache.offline():
        answer = cache.ask("PUT", "/a", "mine", {"Cookie": "session=secret"})
        assert answer.status == 503 and "Cookie" in answer.text and not cache.weir.outbox()


def test_a_collection_that_was_deleted_in_part_is_held(site):
    cache = Cache(site)
    cache.origin.tell("/d/", reply("<multistatus/>", status=207), method="DELETE")
    with cache.offline():
        entry = cache.queue("DELETE", "/d/")
    assert cache.weir.wait_entry(entry, "held")["last_status"] == 207


def test_a_reload_leaves_a_switch_as_the_operator_set_it(site):
    cache = Cache(site)
    cache.weir.switch_upstream(False, "files")
    cache.weir.process.send_signal(signal.SIGHUP)
    cache.weir.wait_log("config_reloaded")
    assert cache.weir.upstream("files")["state"] == "disabled"


# Races

@pytest.mark.parametrize("condition", ["if-match", "if-none-match"])
def test_one_of_many_writers_with_one_condition_wins(site, condition):
    """Each is judged on what is there when it is queued: also on a write that is on its way to the disk just then."""
    cache = Cache(site)
    for turn in range(6):
        path = "/%d" % turn
        headers = {"If-None-Match": "*"}
        if condition == "if-match":
            cache.origin.put(path, "common")
            headers = {"If-Match": cache.get(path).headers["etag"]}
        with cache.offline():
            answers = cache.together(30, lambda i: cache.ask("PUT", path, "writer %d" % i, headers))
            winners = [i for i, a in enumerate(answers) if a.status == 202]
            assert len(winners) == 1 and {a.status for a in answers} == {202, 412}
            assert cache.get(path).text == "writer %d" % winners[0]
