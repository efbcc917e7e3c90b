"""What a hostile or broken upstream, a slow client, and a stop in the middle may do to a mirror, and may not."""

import http.client
import signal
import threading

import pytest

from lab.cachekit import Cache, reply
from lab.origin import Origin
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
